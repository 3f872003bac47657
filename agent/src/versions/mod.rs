//! The version store: every version that synchronisation overwrites or deletes, in any mode.
//!
//! A version is announced in a [log](crate::log) before its file is displaced, so that a crash in between leaves a
//! file whose name and past are known. Its content is the displaced inode itself, moved: nothing is read or copied,
//! except where the kept files are on another mount (then [`settle`](Versions::settle), later).
//! Invariant: a file in one of our slots is content on its way in, by its digest, or it is in the store.

mod record;
mod recover;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::disk::At;
use crate::disk::Disk;
use crate::disk::Slot;
use crate::entry::Digest;
use crate::log::Log;
use crate::log::Medium;
use crate::path::RelPath;
use crate::reconcile::Side;

use record::Record;
pub(crate) use recover::describe;

/// Something that stood in the folder and was displaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Grows with time: nanoseconds since 1970 when it was kept, made unique.
    pub id: u64,
    /// The batch of changes that displaced it.
    pub batch: u64,
    /// The side it stood on.
    pub side: Side,
    /// Where it stood; `None` when only its content survived a crash.
    pub path: Option<RelPath>,
    /// What it is.
    pub what: What,
    /// When its content was last written, in nanoseconds since 1970.
    pub modified: i64,
    /// Why it was displaced.
    pub cause: Cause,
}

/// The kinds of versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A regular file.
    File {
        /// Its length in bytes.
        size: u64,
        /// Whether anybody could execute it.
        executable: bool,
        /// Its content when it was displaced.
        digest: Digest,
    },
    /// A symbolic link.
    Symlink {
        /// What it says.
        target: Box<[u8]>,
    },
    /// A directory somebody put in a file's place at the very moment the file was displaced; moved whole.
    Directory,
}

/// Why a version was displaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The other side's content is in its place.
    Overwritten,
    /// The other side removed it.
    Deleted,
    /// It lost a conflict.
    LostConflict,
    /// It was not removed but renamed: its content is there.
    Moved(RelPath),
    /// An undo put an earlier version in its place.
    Undone,
    /// Found after a crash.
    Recovered,
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// For how long.
    pub age: Duration,
    /// How many bytes in all; the oldest go first.
    pub bytes: u64,
}

/// The version store of one side.
#[derive(Debug)]
pub struct Versions<M> {
    log: Log<M>,
    side: Side,
    limits: Limits,
    entries: BTreeMap<u64, Entry>,
    /// Those of them that are announced, by where they arrive.
    announced: BTreeMap<Slot, u64>,
    /// Those of them that are not yet among the kept files.
    unsettled: BTreeSet<u64>,
    /// Content nobody wants, on its way out.
    disposed: Vec<u64>,
    /// Whether the kept files are on another mount.
    apart: bool,
    last: u64,
    records: usize,
}

#[derive(Debug, Clone)]
struct Entry {
    version: Version,
    place: Place,
}

/// Where a version's content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Announced; when it is displaced it arrives in this slot.
    Announced(Slot),
    /// In the staging area, until it is settled.
    Staged,
    /// Among the kept files.
    Kept,
    /// In the tree, where it was moved to.
    Tree,
}

/// What is announced.
pub(crate) struct Announcement<'a> {
    pub(crate) batch: u64,
    pub(crate) path: &'a RelPath,
    pub(crate) what: What,
    pub(crate) modified: i64,
    pub(crate) cause: Cause,
    /// Where it arrives; `None` is the version's own slot.
    pub(crate) slot: Option<Slot>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { age: Duration::from_secs(30 * 24 * 60 * 60), bytes: 2 << 30 }
    }
}

impl Version {
    /// When it was kept, in nanoseconds since 1970.
    pub fn kept_at(&self) -> i64 {
        i64::try_from(self.id).unwrap_or(i64::MAX)
    }

    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        match self.what {
            What::File { size, .. } => size,
            What::Symlink { .. } | What::Directory => 0,
        }
    }
}

impl What {
    /// A file's digest.
    pub fn digest(&self) -> Option<Digest> {
        if let Self::File { digest, .. } = self { Some(*digest) } else { None }
    }
}

impl<M: Medium> Versions<M> {
    /// Every version there is, oldest first.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = &Version> {
        self.entries
            .values()
            .filter(|entry| !matches!(entry.place, Place::Announced(_)))
            .map(|entry| &entry.version)
    }

    /// The versions of a path and of what is below it, oldest first.
    pub fn of_path(&self, path: &RelPath) -> impl DoubleEndedIterator<Item = &Version> {
        self.all().filter(move |version| version.path.as_ref().is_some_and(|at| at.is_within(path)))
    }

    /// The versions a batch displaced, oldest first.
    pub fn of_batch(&self, batch: u64) -> impl DoubleEndedIterator<Item = &Version> {
        self.all().filter(move |version| version.batch == batch)
    }

    /// One version.
    pub fn get(&self, id: u64) -> Option<&Version> {
        self.entries.get(&id).map(|entry| &entry.version)
    }

    /// Where a version's content is; `None` when there is no such version, or its content is not in the store because
    /// it was moved within the tree.
    pub fn place(&self, id: u64) -> Option<Slot> {
        match self.entries.get(&id)?.place {
            Place::Staged => Some(Slot::Taken(id)),
            Place::Kept => Some(Slot::Kept(id)),
            Place::Tree | Place::Announced(_) => None,
        }
    }

    /// Where content may be found that was moved within the tree: where it went, or in the store under another name.
    /// To be compared with the digest.
    pub(crate) fn whereabouts(&self, id: u64) -> Vec<At<'_>> {
        let Some(entry) = self.entries.get(&id) else { return Vec::new() };
        let digest = entry.version.what.digest();
        let same = self.all().filter(|other| digest.is_some() && other.what.digest() == digest);
        let mut places: Vec<_> = same.filter_map(|other| self.place(other.id).map(At::Slot)).collect();
        if let Cause::Moved(path) = &entry.version.cause {
            places.push(At::Path(path));
        }
        places
    }

    /// The versions that bring back what stood at a path, or below it, before the last batch that displaced something
    /// there.
    pub fn undo_path(&self, path: &RelPath) -> Vec<u64> {
        let Some(batch) = self.of_path(path).next_back().map(|version| version.batch) else {
            return Vec::new();
        };
        first_of_each(self.of_path(path).filter(|version| version.batch == batch))
    }

    /// The versions that bring back what a batch displaced.
    pub fn undo_batch(&self, batch: u64) -> Vec<u64> {
        first_of_each(self.of_batch(batch))
    }

    /// The bytes it holds.
    pub fn bytes(&self) -> u64 {
        let own = |entry: &&Entry| matches!(entry.place, Place::Kept | Place::Staged);
        self.entries.values().filter(own).map(|entry| entry.version.size()).sum()
    }

    /// Moves what is still in the staging area to the kept files, and lets go of what nobody wants. Not urgent: to be
    /// called when there is time.
    ///
    /// # Errors
    /// As the kernel says; what could not be moved stays where it is, and is tried again.
    pub fn settle(&mut self, disk: &impl Disk) -> io::Result<()> {
        let mut settled = Ok(());
        for id in self.unsettled.clone() {
            let Some(entry) = self.entries.get(&id) else { continue };
            // A directory stays: it cannot be copied in one step, and it is hardly ever there.
            if entry.version.what != What::Directory {
                match disk.archive(Slot::Taken(id), id) {
                    Ok(()) => self.put(id, Place::Kept),
                    Err(error) => settled = Err(error),
                }
            }
        }
        self.disposed.retain(|id| match disk.dispose(Slot::Taken(*id)) {
            Ok(()) => false,
            Err(error) => {
                settled = Err(error);
                true
            }
        });
        settled
    }

    /// Drops what is too old, then the oldest until the rest fits. Returns how many.
    ///
    /// # Errors
    /// As the kernel says; nothing is dropped from the list whose content is still there.
    pub fn prune(&mut self, disk: &impl Disk, now: i64) -> io::Result<usize> {
        let age = i64::try_from(self.limits.age.as_nanos()).unwrap_or(i64::MAX);
        let mut bytes = self.bytes();
        let mut dropped = Vec::new();
        for (id, entry) in &self.entries {
            let old = entry.version.kept_at() < now.saturating_sub(age);
            if matches!(entry.place, Place::Announced(_)) || !old && bytes <= self.limits.bytes {
                continue;
            }
            match entry.place {
                Place::Kept => disk.dispose(Slot::Kept(*id))?,
                Place::Staged => disk.dispose(Slot::Taken(*id))?,
                Place::Tree | Place::Announced(_) => {}
            }
            bytes = bytes.saturating_sub(entry.version.size());
            dropped.push(*id);
        }
        for id in &dropped {
            self.forget(*id)?;
        }
        self.compact()?;
        Ok(dropped.len())
    }

    /// Changes how much is kept, from the next [`prune`](Self::prune) on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Returns when the list survives a crash. The files do after [`Disk::sync`].
    ///
    /// # Errors
    /// As the kernel says.
    pub fn sync(&mut self) -> io::Result<()> {
        self.log.sync()
    }

    /// Says what is about to be displaced. Nothing may be displaced when this fails.
    pub(crate) fn announce(&mut self, now: i64, announcement: Announcement<'_>) -> io::Result<u64> {
        let id = self.next(now);
        let slot = announcement.slot.unwrap_or_else(|| self.slot(id));
        let version = Version {
            id,
            batch: announcement.batch,
            side: self.side,
            path: Some(announcement.path.clone()),
            what: announcement.what,
            modified: announcement.modified,
            cause: announcement.cause,
        };
        self.write(&Record::kept(&version, slot))?;
        self.enter(version, Place::Announced(slot));
        Ok(id)
    }

    /// The slot a version's content has once it is displaced.
    pub(crate) fn slot(&self, id: u64) -> Slot {
        if self.apart { Slot::Taken(id) } else { Slot::Kept(id) }
    }

    /// Moves what stands at `path` out of the tree, to the version's slot.
    pub(crate) fn take(&mut self, disk: &impl Disk, path: &RelPath, id: u64) -> io::Result<Slot> {
        match disk.take(path, self.slot(id)) {
            Err(error) if !self.apart && error.kind() == io::ErrorKind::CrossesDevices => {
                self.apart = true;
                disk.take(path, self.slot(id))?;
            }
            done => done?,
        }
        Ok(self.slot(id))
    }

    /// What was announced has arrived in `from`, and is a version now.
    pub(crate) fn keep(&mut self, disk: &impl Disk, id: u64, from: Slot) -> io::Result<()> {
        if from != self.slot(id) {
            match disk.shift(from, self.slot(id)) {
                Err(error) if !self.apart && error.kind() == io::ErrorKind::CrossesDevices => {
                    self.apart = true;
                    if from != self.slot(id) {
                        disk.shift(from, self.slot(id))?;
                    }
                }
                done => done?,
            }
        }
        self.put(id, if self.apart { Place::Staged } else { Place::Kept });
        Ok(())
    }

    /// It was not displaced after all.
    pub(crate) fn forget(&mut self, id: u64) -> io::Result<()> {
        let gone = self.entries.remove(&id);
        self.left(id, gone.map(|entry| entry.place));
        self.write(&Record::Gone { id })
    }

    /// What arrived is not what was announced.
    pub(crate) fn amend(&mut self, id: u64, what: What, modified: i64, cause: Cause) -> io::Result<()> {
        let Some(entry) = self.entries.get_mut(&id) else { return Ok(()) };
        let version = &mut entry.version;
        (version.what, version.modified, version.cause) = (what, modified, cause);
        let record = entry.record();
        self.write(&record)
    }

    /// What was announced is back in the tree, at another path.
    pub(crate) fn moved(&mut self, id: u64, to: RelPath) -> io::Result<()> {
        self.put(id, Place::Tree);
        let Some(entry) = self.entries.get_mut(&id) else { return Ok(()) };
        entry.version.cause = Cause::Moved(to);
        let record = entry.record();
        self.write(&record)
    }

    /// Whether a slot holds, or may hold, somebody's version rather than content on its way in.
    pub(crate) fn claims(&self, slot: Slot) -> bool {
        self.announced.contains_key(&slot)
    }

    fn enter(&mut self, version: Version, place: Place) {
        let id = version.id;
        self.entries.insert(id, Entry { version, place });
        self.put(id, place);
    }

    fn put(&mut self, id: u64, place: Place) {
        let before = self.entries.get_mut(&id).map(|entry| std::mem::replace(&mut entry.place, place));
        self.left(id, before);
        match place {
            Place::Announced(slot) => drop(self.announced.insert(slot, id)),
            Place::Staged => drop(self.unsettled.insert(id)),
            Place::Kept | Place::Tree => {}
        }
    }

    /// A version is not in this place any more.
    fn left(&mut self, id: u64, place: Option<Place>) {
        match place {
            Some(Place::Announced(slot)) if self.announced.get(&slot) == Some(&id) => {
                self.announced.remove(&slot);
            }
            Some(Place::Staged) => drop(self.unsettled.remove(&id)),
            _ => {}
        }
    }

    /// A slot for content nobody wants: whatever is moved there is removed when there is time.
    pub(crate) fn dispose(&mut self, now: i64) -> io::Result<Slot> {
        let id = self.next(now);
        self.write(&Record::Disposed { id })?;
        self.disposed.push(id);
        Ok(Slot::Taken(id))
    }

    fn next(&mut self, now: i64) -> u64 {
        self.last = u64::try_from(now).unwrap_or_default().max(self.last + 1);
        self.last
    }

    fn write(&mut self, record: &Record) -> io::Result<()> {
        self.log.append(&record.encode())?;
        self.records += 1;
        Ok(())
    }

    /// Writes the list anew once most of the log is about what is gone.
    fn compact(&mut self) -> io::Result<()> {
        if self.records <= 2 * self.entries.len() + 1_000 {
            return Ok(());
        }
        let disposed = self.disposed.iter().map(|id| Record::Disposed { id: *id });
        let records: Vec<_> = self.entries.values().map(Entry::record).chain(disposed).collect();
        let bodies: Vec<_> = records.iter().map(Record::encode).collect();
        self.log.replace(bodies.iter().map(Vec::as_slice))?;
        self.records = records.len();
        Ok(())
    }
}

/// Of each path the first: what stood there before all the others.
fn first_of_each<'a>(versions: impl Iterator<Item = &'a Version>) -> Vec<u64> {
    let mut first = BTreeMap::new();
    for version in versions {
        if let Some(path) = &version.path {
            first.entry(path).or_insert(version.id);
        }
    }
    first.into_values().collect()
}

impl Entry {
    fn record(&self) -> Record {
        let slot = if let Place::Announced(slot) = self.place { slot } else { Slot::Taken(self.version.id) };
        Record::kept(&self.version, slot)
    }
}

#[cfg(test)]
mod tests;
