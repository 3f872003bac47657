//! Opening the store: what a crash left in the slots finds its place.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;

use crate::content;
use crate::disk::At;
use crate::disk::Disk;
use crate::disk::Facts;
use crate::disk::Kind;
use crate::disk::Slot;
use crate::log::Log;
use crate::log::Medium;
use crate::reconcile::Side;
use crate::versions::Cause;
use crate::versions::Entry;
use crate::versions::Limits;
use crate::versions::Place;
use crate::versions::Version;
use crate::versions::Versions;
use crate::versions::What;
use crate::versions::record::Record;

impl<M: Medium> Versions<M> {
    /// Opens the store of one side. Whatever is in a slot and is no whole content on its way in becomes a version;
    /// half-written content is removed.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn open(disk: &impl Disk, medium: M, side: Side, limits: Limits) -> io::Result<Self> {
        let (log, found) = Log::open(medium)?;
        let mut past = Past::default();
        found.records.iter().filter_map(|body| Record::decode(body)).for_each(|record| past.read(record));
        let mut versions = Self {
            log,
            side,
            limits,
            entries: BTreeMap::new(),
            announced: BTreeMap::new(),
            unsettled: BTreeSet::new(),
            disposed: Vec::new(),
            apart: false,
            last: past.last(),
            records: found.records.len(),
        };
        // What was there when the log ended: versions that have their place in the tree need no file.
        let moved = past.known.iter().filter(|(_, entry)| entry.place == Place::Tree);
        versions.entries.extend(moved.map(|(id, entry)| (*id, entry.clone())));
        for slot in disk.slots()? {
            versions.recover(disk, slot, &past)?;
        }
        for id in
            past.known.keys().filter(|id| !versions.entries.contains_key(id)).copied().collect::<Vec<_>>()
        {
            if !past.gone.contains(&id) {
                versions.forget(id)?;
            }
        }
        versions.compact()?;
        Ok(versions)
    }

    fn recover(&mut self, disk: &impl Disk, slot: Slot, past: &Past) -> io::Result<()> {
        match slot {
            Slot::Part(_) => disk.dispose(slot),
            Slot::Taken(id) if past.disposed.contains(&id) => {
                self.disposed.push(id);
                Ok(())
            }
            // Copied across mounts, and the original not yet gone. Slots come in order, the staged before the kept.
            Slot::Kept(id) if self.entries.get(&id).is_some_and(|entry| entry.place == Place::Staged) => {
                self.drop_one(disk, id)
            }
            Slot::Taken(id) | Slot::Kept(id) => {
                let Some(facts) = disk.stat(slot.into())? else { return Ok(()) };
                self.adopt(disk, slot, &facts, id, past.known.get(&id))
            }
            Slot::Whole(digest) => {
                let Some(facts) = disk.stat(slot.into())? else { return Ok(()) };
                if content::digest(disk, slot.into(), &facts)? == Some(digest) {
                    return Ok(());
                }
                let announced = |entry: &&Entry| entry.place == Place::Announced(slot);
                let entry = past.known.values().rev().find(announced);
                let id = entry.map_or_else(|| self.next(disk.now()), |entry| entry.version.id);
                self.adopt(disk, slot, &facts, id, entry)
            }
        }
    }

    /// Tries again what failed while content was exchanged: the slot is free afterwards, or holds that content. Until then
    /// what was displaced would be taken for it.
    ///
    /// # Errors
    /// As the kernel says; the slot is not to be used.
    pub(crate) fn put_away(&mut self, disk: &impl Disk, slot: Slot) -> io::Result<()> {
        let announced = self.announced.get(&slot).and_then(|id| self.get(*id));
        let Some(Version { id, what, cause, .. }) = announced.cloned() else { return Ok(()) };
        let Some(facts) = disk.stat(slot.into())? else { return self.forget(id) };
        let digest = content::digest(disk, slot.into(), &facts)?;
        if digest.is_some_and(|digest| slot == Slot::Whole(digest)) {
            return self.forget(id);
        }
        let found = describe(disk, slot.into(), &facts)?;
        if found != what {
            self.amend(id, found, facts.modified, cause)?;
        }
        self.keep(disk, id, slot)
    }

    /// Makes a version of what is in a slot: the announced one, if it is that.
    fn adopt(
        &mut self,
        disk: &impl Disk,
        slot: Slot,
        facts: &Facts,
        id: u64,
        announced: Option<&Entry>,
    ) -> io::Result<()> {
        let same = |version: &Version| {
            version.modified == facts.modified && version.size() == facts.size && facts.kind == Kind::File
        };
        let id = if self.entries.contains_key(&id) { self.next(disk.now()) } else { id };
        self.last = self.last.max(id);
        let version = match announced.map(|entry| entry.version.clone()) {
            Some(version) if version.id == id && same(&version) => version,
            known => Version {
                id,
                batch: known.as_ref().map_or(0, |version| version.batch),
                side: self.side,
                path: known.as_ref().and_then(|version| version.path.clone()),
                what: describe(disk, slot.into(), facts)?,
                modified: facts.modified,
                cause: known.map_or(Cause::Recovered, |version| version.cause),
            },
        };
        self.write(&Record::kept(&version, Slot::Taken(id)))?;
        self.enter(version, Place::Announced(slot));
        match slot {
            Slot::Kept(kept) if kept == id => {
                self.put(id, Place::Kept);
                Ok(())
            }
            Slot::Taken(taken) if taken == id => {
                self.put(id, Place::Staged);
                self.unstage(disk, id)
            }
            _ => self.keep(disk, id, slot),
        }
    }

    /// Of a version and its copy drops the version, unless it was written to since.
    fn drop_one(&mut self, disk: &impl Disk, id: u64) -> io::Result<()> {
        let (staged, kept) = (Slot::Taken(id), Slot::Kept(id));
        let describe = |slot: Slot| match disk.stat(slot.into())? {
            Some(facts) => describe(disk, slot.into(), &facts).map(Some),
            None => Ok(None),
        };
        if describe(staged)? != describe(kept)? {
            return disk.discard(kept);
        }
        self.put(id, Place::Kept);
        disk.discard(staged)
    }

    /// Moves a version out of the staging area if it can be done without copying.
    fn unstage(&mut self, disk: &impl Disk, id: u64) -> io::Result<()> {
        match disk.shift(Slot::Taken(id), Slot::Kept(id)) {
            Ok(()) => {
                self.put(id, Place::Kept);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                self.apart = true;
                Ok(())
            }
            // Its copy, of which the next slot tells.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// What the log tells.
#[derive(Default)]
struct Past {
    /// By version, also those that are gone: their files may be back after a crash.
    known: BTreeMap<u64, Entry>,
    gone: BTreeSet<u64>,
    disposed: BTreeSet<u64>,
}

impl Past {
    fn read(&mut self, record: Record) {
        match record {
            Record::Kept { id, batch, container, path, what, modified, cause, exchanged } => {
                let side = if container { Side::Beta } else { Side::Alpha };
                let (what, cause) = (what.read(), cause.read());
                let place = match (&cause, exchanged) {
                    (Cause::Moved(_), _) => Place::Tree,
                    (_, Some(digest)) => Place::Announced(Slot::Whole(digest)),
                    (_, None) => Place::Announced(Slot::Taken(id)),
                };
                let version = Version { id, batch, side, path, what, modified, cause };
                self.gone.remove(&id);
                self.known.insert(id, Entry { version, place });
            }
            Record::Gone { id } => {
                if let Some(Entry { place: place @ Place::Tree, .. }) = self.known.get_mut(&id) {
                    *place = Place::Announced(Slot::Taken(id));
                }
                self.gone.insert(id);
            }
            Record::Disposed { id } => drop(self.disposed.insert(id)),
        }
    }

    fn last(&self) -> u64 {
        self.known.keys().chain(&self.disposed).copied().max().unwrap_or_default()
    }
}

impl<M: Medium> Versions<M> {
    /// What a version's content in the store is now: somebody may have held it open and written to it since.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn describe(&self, disk: &impl Disk, id: u64) -> io::Result<Option<What>> {
        let Some(slot) = self.place(id) else { return Ok(None) };
        match disk.stat(slot.into())? {
            Some(facts) => describe(disk, slot.into(), &facts).map(Some),
            None => Ok(None),
        }
    }
}

/// What stands there, as a version.
pub(crate) fn describe(disk: &impl Disk, at: At<'_>, facts: &Facts) -> io::Result<What> {
    match facts.kind {
        Kind::File => {
            let (digest, facts) = content::read(disk, at, &mut io::sink())?;
            Ok(What::File { size: facts.size, executable: facts.executable(), digest })
        }
        Kind::Symlink => Ok(What::Symlink { target: disk.read_link(at)?.into() }),
        // Pipes and the like are moved whole, as directories are.
        _ => Ok(What::Directory),
    }
}
