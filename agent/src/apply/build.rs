//! Putting what is new in its place.

use std::io;

use crate::apply::Applier;
use crate::apply::Fresh;
use crate::apply::Problem;
use crate::apply::displace::Checked;
use crate::content;
use crate::disk::At;
use crate::disk::Disk;
use crate::disk::Facts;
use crate::disk::Kind;
use crate::disk::Owner;
use crate::disk::STAGED_MODE;
use crate::disk::Slot;
use crate::entry::Digest;
use crate::log::Medium;
use crate::path::RelPath;
use crate::tree::Directory;
use crate::tree::File;
use crate::tree::Item;
use crate::tree::Stamp;
use crate::versions::Cause;

/// The bits of a new directory; a new file's are in [`dressed`].
const DIRECTORY_MODE: u32 = 0o755;

impl<D: Disk, M: Medium> Applier<'_, D, M> {
    /// Puts `new` where `now` (nothing, a file or a link) stands; returns what stands there then.
    pub(super) fn build(&mut self, path: Option<&RelPath>, now: Option<&Item>, new: &Item) -> Option<Item> {
        let done = match (path, new) {
            (path, Item::Directory(directory)) => self.build_directory(path, directory),
            (Some(path), new) => self.put(path, now, new),
            (None, _) => Err(Problem::Refused("the folder itself stays a directory".to_owned())),
        };
        done.map_err(|problem| self.fail(path, problem)).ok().or_else(|| now.cloned())
    }

    fn build_directory(&mut self, path: Option<&RelPath>, directory: &Directory) -> Result<Item, Problem> {
        if let Some(path) = path {
            let owner = self.owner_in(path.parent())?;
            match self.disk.make_directory(path, DIRECTORY_MODE, owner) {
                // Somebody was faster, and meant the same.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let facts = self.disk.stat(path.into())?;
                    if facts.is_none_or(|facts| facts.kind != Kind::Directory) {
                        return Err(Problem::Changed);
                    }
                }
                done => done?,
            }
        }
        let mut children = Vec::new();
        for (name, child) in directory {
            let below = RelPath::child(path, name).map_err(|error| Problem::Refused(error.to_string()))?;
            if self.full {
                self.fail(Some(&below), Problem::Full);
                break;
            }
            let built = self.build(Some(&below), None, child);
            children.extend(built.map(|built| (name.clone(), built)));
        }
        Ok(Item::Directory(Directory::from_children(children)))
    }

    fn put(&mut self, path: &RelPath, now: Option<&Item>, new: &Item) -> Result<Item, Problem> {
        if let (Some(Item::File(old)), Item::File(new)) = (now, new)
            && old.digest == new.digest
        {
            return self.set_mode(path, old, new);
        }
        let (slot, known) = self.supply(path, new, now.is_none())?;
        match now {
            None => self.put_at_free(path, new, slot, known),
            Some(old) => self.put_for(path, old, new, slot),
        }
    }

    /// Brings the content to a slot; says what is known of it without looking. What was taken from another path is used
    /// for a free one only, and what is fresh under its part: exchanged, the slot would hold something else than was
    /// said of it.
    fn supply(&mut self, path: &RelPath, new: &Item, free: bool) -> Result<(Slot, Option<Facts>), Problem> {
        let digest = match new {
            Item::File(file) => file.digest,
            Item::Symlink(target) if self.raw_links || target.fits(path) => {
                content::digest_of_link(target.as_bytes())
            }
            Item::Symlink(_) => return Err(Problem::Refused("the link leads out of the folder".to_owned())),
            _ => return Err(Problem::Refused("it is of a kind that is not carried".to_owned())),
        };
        let slot = Slot::Whole(digest);
        if let Some(id) = self.moving.get(&digest).filter(|_| free) {
            // It may have been brought all the same.
            self.spare.insert(slot);
            self.spare.extend(self.fresh.get(&digest).map(|fresh| Slot::Part(fresh.part)));
            return Ok((Slot::Taken(*id), None));
        }
        if matches!(new, Item::File(File { size: 0, .. })) && !self.fresh.contains_key(&digest) {
            self.make_empty(digest)?;
        }
        if let Some(fresh) = self.fresh.get(&digest).filter(|_| free) {
            return Ok((Slot::Part(fresh.part), Some(fresh.facts)));
        }
        self.versions.put_away(self.disk, slot)?;
        if let Some(&Fresh { part, .. }) = self.fresh.get(&digest) {
            match self.disk.shift(Slot::Part(part), slot) {
                // It was staged before, and is as good.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    self.disk.discard(Slot::Part(part))?;
                }
                done => done?,
            }
            self.fresh.remove(&digest);
            if self.spare.remove(&Slot::Part(part)) {
                self.spare.insert(slot);
            }
        }
        if self.disk.stat(slot.into())?.is_none() {
            match new {
                Item::Symlink(target) => self.disk.stage_link(slot, target.as_bytes())?,
                _ if self.copy(digest)? => {}
                _ => return Err(Problem::Missing { digest }),
            }
            self.spare.insert(slot);
        }
        Ok((slot, None))
    }

    /// Makes the content that nobody sends.
    fn make_empty(&mut self, digest: Digest) -> Result<(), Problem> {
        self.part += 1;
        let slot = Slot::Part(self.part);
        // One of an earlier batch that could not be removed.
        self.disk.discard(slot)?;
        let facts = self.disk.finish(self.disk.stage(self.part)?, slot)?;
        self.fresh.insert(digest, Fresh { part: self.part, facts });
        self.spare.insert(slot);
        Ok(())
    }

    /// Copies from where the batch has put it before.
    fn copy(&mut self, digest: Digest) -> Result<bool, Problem> {
        let moving = self.moving.get(&digest).map(|id| At::Slot(Slot::Taken(*id)));
        let Some(from) = moving.or(self.placed.get(&digest).map(At::Path)) else { return Ok(false) };
        self.part += 1;
        let part = self.part;
        match content::copy(self.disk, from, digest, part) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => Err(error.into()),
            done => Ok(done.unwrap_or(false)),
        }
    }

    fn put_at_free(
        &mut self,
        path: &RelPath,
        new: &Item,
        slot: Slot,
        known: Option<Facts>,
    ) -> Result<Item, Problem> {
        let ours = self.dress(slot, new, known, None, path)?;
        let before = self.disk.now();
        let placed = match self.disk.place(slot, path) {
            Err(error) if !self.rules.never_over && error.kind() == io::ErrorKind::AlreadyExists => {
                self.disk.exchange(slot, path)?;
                self.disk.dispose(slot)?;
                self.disk.stat(path.into())?
            }
            done => done?,
        };
        self.arrived(path, new, slot)?;
        Ok(stamped(placed, new, &ours, before))
    }

    fn put_for(&mut self, path: &RelPath, old: &Item, new: &Item, slot: Slot) -> Result<Item, Problem> {
        let checked = self.check(path, old)?.ok_or(Problem::Changed)?;
        let facts = checked.facts;
        let ours = self.dress(slot, new, None, Some((facts.mode, facts.owner)), path)?;
        let cause = if self.lost { Cause::LostConflict } else { Cause::Overwritten };
        let id = self.announce(path, &checked, cause, Some(slot))?;
        let before = self.disk.now();
        if let Err(error) = self.disk.exchange(slot, path) {
            self.versions.forget(id)?;
            return Err(error.into());
        }
        if !self.is_expected(slot, &checked).unwrap_or(false) {
            self.change_back(path, slot, id, &ours)?;
            return Err(Problem::Changed);
        }
        self.arrived(path, new, slot)?;
        self.keep(id, slot)?;
        Ok(stamped(self.disk.stat(path.into())?, new, &ours, before))
    }

    /// Gives what is staged its mode and owner: those of what it replaces, else those of its directory. What is moved
    /// keeps its own.
    fn dress<'a>(
        &mut self,
        slot: Slot,
        new: &'a Item,
        known: Option<Facts>,
        replaced: Option<(u32, Owner)>,
        path: &RelPath,
    ) -> Result<Checked<'a>, Problem> {
        let executable = matches!(new, Item::File(file) if file.executable);
        let staged = match known {
            Some(facts) => facts,
            None => self.disk.stat(slot.into())?.ok_or(Problem::Changed)?,
        };
        let moves = matches!(slot, Slot::Taken(_));
        let (mode, owner) = match replaced {
            Some(theirs) => theirs,
            None if moves => (staged.mode, staged.owner),
            None => (STAGED_MODE, self.owner_in(path.parent())?),
        };
        let mode = dressed(mode, executable);
        if (mode, owner) != (staged.mode, staged.owner) {
            self.disk.dress(slot, mode, owner)?;
        } else if known.is_some() {
            return Ok(Checked::ours(new, staged, staged.modified));
        }
        let now = self.disk.now();
        let facts = self.disk.stat(slot.into())?.ok_or(Problem::Changed)?;
        // It may not be placed, and tried again elsewhere.
        if let (Item::File(file), Slot::Part(_)) = (new, slot)
            && let Some(fresh) = self.fresh.get_mut(&file.digest)
        {
            fresh.facts = facts;
        }
        Ok(Checked::ours(new, facts, now))
    }

    /// What was in the slot is in the tree.
    fn arrived(&mut self, path: &RelPath, new: &Item, slot: Slot) -> Result<(), Problem> {
        let Item::File(File { digest, .. }) = new else { return Ok(()) };
        self.placed.insert(*digest, path.clone());
        match slot {
            Slot::Taken(id) => {
                self.moving.remove(digest);
                self.versions.moved(id, path.clone())?;
            }
            Slot::Part(_) => drop(self.fresh.remove(digest)),
            Slot::Whole(_) | Slot::Kept(_) => {}
        }
        Ok(())
    }

    /// Makes a file executable, or not, in place.
    fn set_mode(&mut self, path: &RelPath, old: &File, new: &File) -> Result<Item, Problem> {
        let item = Item::File(old.clone());
        let checked = self.check(path, &item)?.ok_or(Problem::Changed)?;
        let mode = dressed(checked.facts.mode, new.executable);
        if !self.disk.set_mode(path, checked.facts.inode, mode)? {
            return Err(Problem::Changed);
        }
        let before = self.disk.now();
        Ok(stamped(self.disk.stat(path.into())?, &Item::File(new.clone()), &checked, before))
    }
}

/// What stands there now, with its stamp if that is worth something: a write in the tick our content was written in
/// would not show.
fn stamped(facts: Option<Facts>, new: &Item, ours: &Checked<'_>, before: i64) -> Item {
    let Item::File(file) = new else { return new.clone() };
    let sure = |facts: &Facts| {
        facts.unwritten_since(&ours.facts) && facts.executable() == file.executable && facts.modified < before
    };
    let facts = facts.filter(sure);
    let stamp = facts.map_or(Stamp::UNKNOWN, |facts| facts.stamp());
    let modified = facts.map_or(file.modified, |facts| facts.modified);
    Item::File(File { modified, stamp, ..file.clone() })
}

/// Permission bits with nothing changed but who may execute: whoever may read, or nobody.
fn dressed(mode: u32, executable: bool) -> u32 {
    let mode = mode & 0o777;
    if executable { mode | (mode & 0o444) >> 2 } else { mode & !0o111 }
}
