//! Moving a file or link out of the tree, and back when it is not what it should be.

use std::io;

use crate::apply::Applier;
use crate::apply::Problem;
use crate::content;
use crate::disk::Disk;
use crate::disk::Facts;
use crate::disk::Kind;
use crate::disk::Slot;
use crate::log::Medium;
use crate::path::RelPath;
use crate::tree::Item;
use crate::tree::Stamp;
use crate::versions;
use crate::versions::Announcement;
use crate::versions::Cause;
use crate::versions::What;

/// How often a race for a path is run. Each turn of it needs a writer that is faster than us.
const TURNS: usize = 8;

/// What stands at a path, looked at and found to be what the plan was made from.
pub(super) struct Checked<'a> {
    pub(super) item: &'a Item,
    pub(super) facts: Facts,
    /// Whether a write since would not show in the file's times.
    doubtful: bool,
}

impl<'a> Checked<'a> {
    /// Content of ours, staged, looked at after `now`.
    pub(super) fn ours(item: &'a Item, facts: Facts, now: i64) -> Self {
        Self { item, facts, doubtful: facts.modified >= now }
    }
}

impl<D: Disk, M: Medium> Applier<'_, D, M> {
    /// Takes a file or link out of the tree and makes a version of it; what `moves` waits in the staging area instead,
    /// and is a version only if it does not arrive anywhere. `None` when it was gone already.
    pub(super) fn take_aside(
        &mut self,
        path: &RelPath,
        local: &Item,
        cause: Cause,
        moves: bool,
    ) -> Result<Option<u64>, Problem> {
        let Some(checked) = self.check(path, local)? else { return Ok(None) };
        let id = self.announce(path, &checked, cause, None)?;
        let taken = if moves {
            self.disk.take(path, Slot::Taken(id)).map(|()| Slot::Taken(id))
        } else {
            self.versions.take(self.disk, path, id)
        };
        let taken = match taken {
            Ok(taken) => taken,
            Err(error) => {
                self.versions.forget(id)?;
                let gone = error.kind() == io::ErrorKind::NotFound;
                return if gone { Ok(None) } else { Err(error.into()) };
            }
        };
        if !self.is_expected(taken, &checked).unwrap_or(false) {
            self.give_back(path, taken, id)?;
            return Err(Problem::Changed);
        }
        if !moves {
            self.keep(id, taken)?;
        }
        Ok(Some(id))
    }

    /// Looks whether what the plan was made from still stands there; `None` when nothing does.
    pub(super) fn check<'a>(&self, path: &RelPath, item: &'a Item) -> Result<Option<Checked<'a>>, Problem> {
        // Before looking: whatever is written after the look has a time not before this.
        let now = self.disk.now();
        let Some(facts) = self.disk.stat(path.into())? else { return Ok(None) };
        let checked = Checked { item, facts, doubtful: facts.modified >= now };
        if !self.rules.check || self.is_unchanged(path, item, &facts)? {
            return Ok(Some(checked));
        }
        Err(Problem::Changed)
    }

    fn is_unchanged(&self, path: &RelPath, item: &Item, facts: &Facts) -> io::Result<bool> {
        match (item, facts.kind) {
            (Item::File(file), Kind::File) => {
                if file.size != facts.size || file.executable != facts.executable() {
                    return Ok(false);
                }
                if file.stamp != Stamp::UNKNOWN && file.stamp == facts.stamp() {
                    return Ok(true);
                }
                let (digest, after) = content::read(self.disk, path.into(), &mut io::sink())?;
                Ok(digest == file.digest && after.unwritten_since(facts))
            }
            (Item::Symlink(target), Kind::Symlink) => {
                Ok(self.disk.read_link(path.into())? == target.as_bytes())
            }
            _ => Ok(false),
        }
    }

    pub(super) fn announce(
        &mut self,
        path: &RelPath,
        checked: &Checked<'_>,
        cause: Cause,
        slot: Option<Slot>,
    ) -> Result<u64, Problem> {
        let what = match checked.item {
            Item::File(file) => {
                What::File { size: file.size, executable: file.executable, digest: file.digest }
            }
            Item::Symlink(target) => What::Symlink { target: target.as_bytes().into() },
            _ => What::Directory,
        };
        let modified = checked.facts.modified;
        let announcement = Announcement { batch: self.batch, path, what, modified, cause, slot };
        Ok(self.versions.announce(self.disk.now(), announcement)?)
    }

    /// Whether what arrived in a slot is what was checked, not written since.
    pub(super) fn is_expected(&self, slot: Slot, checked: &Checked<'_>) -> Result<bool, Problem> {
        if !self.rules.verify {
            return Ok(true);
        }
        let Some(facts) = self.disk.stat(slot.into())? else { return Err(Problem::Changed) };
        if !facts.unwritten_since(&checked.facts) || facts.mode != checked.facts.mode {
            return Ok(false);
        }
        match checked.item {
            Item::File(file) if checked.doubtful => {
                Ok(content::digest(self.disk, slot.into(), &facts)? == Some(file.digest))
            }
            Item::Symlink(target) => Ok(self.disk.read_link(slot.into())? == target.as_bytes()),
            _ => Ok(true),
        }
    }

    /// The displaced has been found to be the expected: it is a version.
    pub(super) fn keep(&mut self, id: u64, slot: Slot) -> Result<(), Problem> {
        if self.rules.keep {
            self.versions.keep(self.disk, id, slot)?;
        } else {
            self.disk.discard(slot)?;
            self.versions.forget(id)?;
        }
        Ok(())
    }

    /// Puts what was taken back where it stood; a version when something stands there again.
    fn give_back(&mut self, path: &RelPath, slot: Slot, id: u64) -> Result<(), Problem> {
        if self.rules.put_back && self.disk.place(slot, path).is_ok() {
            self.versions.forget(id)?;
            return Ok(());
        }
        if !self.rules.put_back {
            self.disk.dispose(slot)?;
        }
        self.keep_unexpected(slot, id)
    }

    /// Puts what was exchanged for our content back. Ours may have been written to by then, or removed: whatever stood
    /// there last stands there in the end, and all else but ours is kept.
    pub(super) fn change_back(
        &mut self,
        path: &RelPath,
        slot: Slot,
        id: u64,
        ours: &Checked<'_>,
    ) -> Result<(), Problem> {
        if !self.rules.put_back {
            self.disk.dispose(slot)?;
            return Ok(());
        }
        let mut twice = false;
        for _ in 0..TURNS {
            let returned = match self.disk.exchange(slot, path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if self.disk.place(slot, path).is_ok() {
                        self.versions.forget(id)?;
                        return Ok(());
                    }
                    continue;
                }
                done => done,
            };
            if returned.is_err() {
                break;
            }
            if self.is_expected(slot, ours).unwrap_or(false) {
                self.versions.forget(id)?;
                return Ok(());
            }
            // What is in the slot stood there a moment ago, and what stands there now is older: change once more.
            if std::mem::replace(&mut twice, true) {
                break;
            }
        }
        self.keep_unexpected(slot, id)
    }

    /// Makes a version of what is in a slot, whatever it is.
    fn keep_unexpected(&mut self, slot: Slot, id: u64) -> Result<(), Problem> {
        let Some(facts) = self.disk.stat(slot.into())? else {
            self.versions.forget(id)?;
            return Ok(());
        };
        let what = versions::describe(self.disk, slot.into(), &facts)?;
        self.versions.amend(id, what, facts.modified, Cause::Overwritten)?;
        Ok(self.versions.keep(self.disk, id, slot)?)
    }
}
