//! A disk in memory on which anything can go wrong, the same way each time.
//!
//! Before every call a [`Hook`] decides: let a user change something first, fail the call, or crash. Deterministic from
//! a seed.

mod medium;
mod open;
mod random;
mod user;
mod volume;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use rustix::io::Errno;

use crate::disk::At;
use crate::disk::Disk;
use crate::disk::Facts;
use crate::disk::Identity;
use crate::disk::Kind;
use crate::disk::Listing;
use crate::disk::Nonce;
use crate::disk::Owner;
use crate::disk::STAGED_MODE;
use crate::disk::Slot;
use crate::path::RelPath;
use crate::tree::Name;

use medium::Sheet;
use volume::Body;

pub use medium::SimMedium;
pub use open::SimReading;
pub use open::SimWriting;
pub use random::Random;
pub use user::Held;
pub use user::Seen;
pub use volume::TICK;
pub use volume::Volume;

/// What is about to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// How many there were before it.
    pub number: u64,
    /// The method, `read`, `write`, or `append`, `truncate`, `replace`, `flush` on a log.
    pub name: &'static str,
    /// The path it is about.
    pub path: Option<RelPath>,
    /// The slot it is about.
    pub slot: Option<Slot>,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is made.
    Go,
    /// It fails and does nothing.
    Fail(Errno),
    /// The machine stops before it.
    Crash,
}

/// Asked before each call.
pub type Hook = Box<dyn FnMut(&mut Volume, &Call) -> Fate + Send>;

/// The error of every call from a crash to the restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the simulated machine has stopped")]
pub struct Crashed;

/// The engine's side of a [`Volume`]. A clone is the same disk.
#[derive(Clone)]
pub struct SimDisk {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    volume: Volume,
    hook: Option<Hook>,
    calls: u64,
    crashed: bool,
    /// Whether kept files are on another mount.
    apart: bool,
    unordered: bool,
    sheets: Vec<Sheet>,
}

impl SimDisk {
    /// An empty folder.
    pub fn new(seed: u64) -> Self {
        let shared = Shared {
            volume: Volume::new(seed),
            hook: None,
            calls: 0,
            crashed: false,
            apart: false,
            unordered: false,
            sheets: Vec::new(),
        };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    /// Another disk that is in the same state, with no hook.
    #[must_use]
    pub fn copy(&self) -> Self {
        let shared = self.lock();
        let Shared { volume, calls, crashed, apart, unordered, sheets, hook: _ } = &*shared;
        let (volume, sheets) = (volume.clone(), sheets.clone());
        let (calls, crashed, apart, unordered) = (*calls, *crashed, *apart, *unordered);
        let copy = Shared { volume, hook: None, calls, crashed, apart, unordered, sheets };
        Self { shared: Arc::new(Mutex::new(copy)) }
    }

    /// Puts the kept files on another mount.
    pub fn keep_apart(&self) {
        self.lock().apart = true;
    }

    /// As a disk whose `finish` does not bring content to the disk.
    pub fn forget_order(&self) {
        self.lock().unordered = true;
    }

    /// From now on asks `hook` before each call.
    pub fn set_hook(&self, hook: impl FnMut(&mut Volume, &Call) -> Fate + Send + 'static) {
        self.lock().hook = Some(Box::new(hook));
    }

    /// Asks nobody any more.
    pub fn clear_hook(&self) {
        self.lock().hook = None;
    }

    /// Does something as a user, or looks.
    pub fn user<T>(&self, act: impl FnOnce(&mut Volume) -> T) -> T {
        act(&mut self.lock().volume)
    }

    /// How many calls there have been.
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// Stops the machine (if the hook has not) and starts it again with what survived.
    pub fn restart(&self) {
        let mut shared = self.lock();
        let Shared { volume, sheets, .. } = &mut *shared;
        volume.crash();
        sheets.iter_mut().for_each(|sheet| sheet.crash(&mut volume.random));
        shared.crashed = false;
    }

    /// The process ends and begins again: the machine did not stop, so nothing is lost.
    pub fn revive(&self) {
        self.lock().crashed = false;
    }

    /// The log file with this number, made when it is not there.
    pub fn medium(&self, sheet: usize) -> SimMedium {
        let mut shared = self.lock();
        while shared.sheets.len() <= sheet {
            shared.sheets.push(Sheet::default());
        }
        drop(shared);
        SimMedium::new(self.clone(), sheet)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the hook, then lets a little time pass.
    fn call(&self, name: &'static str, at: Option<At<'_>>) -> io::Result<MutexGuard<'_, Shared>> {
        let mut shared = self.lock();
        if shared.crashed {
            return Err(io::Error::other(Crashed));
        }
        let (path, slot) = match at {
            Some(At::Path(path)) => (Some(path.clone()), None),
            Some(At::Slot(slot)) => (None, Some(slot)),
            Some(At::Root) | None => (None, None),
        };
        let call = Call { number: shared.calls, name, path, slot };
        shared.calls += 1;
        if let Some(mut hook) = shared.hook.take() {
            let fate = hook(&mut shared.volume, &call);
            shared.hook = Some(hook);
            match fate {
                Fate::Go => {}
                Fate::Fail(errno) => return Err(errno.into()),
                Fate::Crash => {
                    shared.crashed = true;
                    return Err(io::Error::other(Crashed));
                }
            }
        }
        shared.volume.advance(50_000);
        Ok(shared)
    }
}

impl Crashed {
    /// Whether this is why a call failed.
    pub fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Self>())
    }
}

impl Shared {
    fn spot(&self, at: At<'_>) -> io::Result<(u64, Name)> {
        match at {
            At::Root => Err(Errno::BUSY.into()),
            At::Path(path) => self.volume.spot(path),
            At::Slot(slot) => {
                let room = if matches!(slot, Slot::Kept(_)) { volume::KEPT } else { volume::STAGING };
                Ok((room, slot.name().into_bytes().into()))
            }
        }
    }

    fn find(&self, at: At<'_>) -> io::Result<u64> {
        if let At::Root = at {
            return Ok(volume::ROOT);
        }
        let (directory, name) = self.spot(at)?;
        Ok(*self.volume.directories[&directory].get(&name).ok_or(Errno::NOENT)?)
    }

    fn move_to_free(&mut self, from: At<'_>, to: At<'_>) -> io::Result<()> {
        let (from_spot, to_spot) = (self.spot(from)?, self.spot(to)?);
        self.find(from)?;
        if self.apart && (from_spot.0 == volume::KEPT) != (to_spot.0 == volume::KEPT) {
            return Err(Errno::XDEV.into());
        }
        if self.find(to).is_ok() {
            return Err(Errno::EXIST.into());
        }
        self.volume.relocate(from_spot, to_spot)
    }
}

impl Disk for SimDisk {
    type Reader = SimReading;
    type Writer = SimWriting;

    fn identity(&self) -> io::Result<Identity> {
        let shared = self.call("identity", None)?;
        let root = &shared.volume.inodes[&volume::ROOT];
        let nonce = shared.volume.nonce;
        Ok(Identity { device: 1, inode: root.number, born: i128::from(root.born), nonce })
    }

    fn mark(&self, nonce: Nonce) -> io::Result<()> {
        let mut shared = self.call("mark", None)?;
        if shared.volume.nonce.is_absent() {
            shared.volume.nonce = nonce;
        }
        Ok(())
    }

    fn now(&self) -> i64 {
        self.lock().volume.now()
    }

    fn free(&self) -> io::Result<u64> {
        Ok(self.call("free", None)?.volume.free())
    }

    fn stat(&self, at: At<'_>) -> io::Result<Option<Facts>> {
        let shared = self.call("stat", Some(at))?;
        Ok(shared.find(at).ok().map(|key| shared.volume.facts(key)))
    }

    fn list(&self, directory: At<'_>) -> io::Result<Listing> {
        let shared = self.call("list", Some(directory))?;
        let key = shared.find(directory)?;
        let names = shared.volume.directories.get(&key).ok_or(Errno::NOTDIR)?.clone();
        drop(shared);
        let mut listing = Listing::new();
        for (name, _) in names {
            let path = match directory {
                At::Path(parent) => parent.join(&name).ok(),
                At::Root | At::Slot(_) => RelPath::parse(&name).ok(),
            };
            match self.call("stat", path.as_ref().map(At::Path)) {
                Ok(shared) => {
                    let entry = shared.volume.directories.get(&key).and_then(|entries| entries.get(&name));
                    listing.extend(entry.map(|entry| (name.clone(), Ok(shared.volume.facts(*entry)))));
                }
                Err(error) if Crashed::is(&error) => return Err(error),
                Err(error) => listing.push((name, Err(error))),
            }
        }
        Ok(listing)
    }

    fn read_link(&self, at: At<'_>) -> io::Result<Vec<u8>> {
        let shared = self.call("read_link", Some(at))?;
        match &shared.volume.inodes[&shared.find(at)?].body {
            Body::Link(target) => Ok(target.clone()),
            _ => Err(Errno::INVAL.into()),
        }
    }

    fn open(&self, at: At<'_>) -> io::Result<(SimReading, Facts)> {
        let mut shared = self.call("open", Some(at))?;
        let key = shared.find(at)?;
        let facts = shared.volume.facts(key);
        if facts.kind != Kind::File {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if let Some(inode) = shared.volume.inodes.get_mut(&key) {
            inode.opens += 1;
        }
        drop(shared);
        Ok((SimReading::new(self.clone(), key, at), facts))
    }

    fn slots(&self) -> io::Result<Vec<Slot>> {
        let shared = self.call("slots", None)?;
        let names = |room: u64, parse: fn(&[u8]) -> Option<Slot>| {
            shared.volume.directories[&room].keys().filter_map(|name| parse(name)).collect::<Vec<_>>()
        };
        let mut slots = names(volume::STAGING, Slot::staged);
        slots.extend(names(volume::KEPT, Slot::kept));
        slots.sort();
        Ok(slots)
    }

    fn stage(&self, part: u64) -> io::Result<SimWriting> {
        let part = Slot::Part(part);
        let mut shared = self.call("stage", Some(part.into()))?;
        let (room, name) = shared.spot(part.into())?;
        let key = shared.volume.create_at(room, name, Body::empty(), STAGED_MODE)?;
        drop(shared);
        Ok(SimWriting::new(self.clone(), key, part))
    }

    fn finish(&self, writer: SimWriting, slot: Slot) -> io::Result<Facts> {
        let mut shared = self.call("order", Some(writer.part.into()))?;
        if !shared.unordered {
            shared.volume.order(writer.key);
        }
        drop(shared);
        let mut shared = self.call("finish", Some(slot.into()))?;
        if slot != writer.part {
            shared.move_to_free(writer.part.into(), slot.into())?;
        }
        Ok(shared.volume.facts(writer.key))
    }

    fn stage_link(&self, slot: Slot, target: &[u8]) -> io::Result<()> {
        let mut shared = self.call("stage_link", Some(slot.into()))?;
        let (room, name) = shared.spot(slot.into())?;
        shared.volume.create_at(room, name, Body::Link(target.to_vec()), 0o777).map(drop)
    }

    fn dress(&self, slot: Slot, mode: u32, owner: Owner) -> io::Result<()> {
        let mut shared = self.call("dress", Some(slot.into()))?;
        let key = shared.find(slot.into())?;
        if shared.volume.facts(key).kind != Kind::Symlink {
            shared.volume.set_mode(key, mode & 0o777);
        }
        if let Some(inode) = shared.volume.inodes.get_mut(&key) {
            inode.owner = owner;
        }
        Ok(())
    }

    fn shift(&self, from: Slot, to: Slot) -> io::Result<()> {
        self.call("shift", Some(from.into()))?.move_to_free(from.into(), to.into())
    }

    fn archive(&self, from: Slot, kept: u64) -> io::Result<()> {
        let kept = Slot::Kept(kept);
        let mut shared = self.call("archive", Some(from.into()))?;
        let source = shared.volume.inodes[&shared.find(from.into())?].clone();
        let (room, name) = shared.spot(kept.into())?;
        let body = match source.body {
            Body::File { now, .. } => Body::File { safe: now.clone(), now },
            Body::Link(target) => Body::Link(target),
            Body::Directory | Body::Other(_) => return Err(Errno::ISDIR.into()),
        };
        let key = shared.volume.create_at(room, name, body, source.mode)?;
        if let Some(inode) = shared.volume.inodes.get_mut(&key) {
            inode.modified = source.modified;
        }
        // More than is promised, and enough.
        shared.volume.sync();
        drop(shared);
        self.discard(from)
    }

    fn discard(&self, slot: Slot) -> io::Result<()> {
        let mut shared = self.call("discard", Some(slot.into()))?;
        match shared.find(slot.into()) {
            Ok(key) if shared.volume.is_directory(key) => return Err(Errno::ISDIR.into()),
            Ok(_) => {}
            Err(_) => return Ok(()),
        }
        let (room, name) = shared.spot(slot.into())?;
        shared.volume.unlink(room, name)
    }

    fn dispose(&self, slot: Slot) -> io::Result<()> {
        let mut shared = self.call("dispose", Some(slot.into()))?;
        match shared.find(slot.into()) {
            Ok(_) => {
                let (room, name) = shared.spot(slot.into())?;
                shared.volume.unlink_all(room, name);
                Ok(())
            }
            Err(_) => Ok(()),
        }
    }

    fn place(&self, slot: Slot, path: &RelPath) -> io::Result<Option<Facts>> {
        self.call("place", Some(path.into()))?.move_to_free(slot.into(), path.into())?;
        Ok(self.stat(path.into()).unwrap_or_default())
    }

    fn exchange(&self, slot: Slot, path: &RelPath) -> io::Result<()> {
        let mut shared = self.call("exchange", Some(path.into()))?;
        let (ours, theirs) = (shared.spot(slot.into())?, shared.spot(path.into())?);
        shared.volume.swap(ours, theirs)
    }

    fn take(&self, path: &RelPath, slot: Slot) -> io::Result<()> {
        self.call("take", Some(path.into()))?.move_to_free(path.into(), slot.into())
    }

    fn rename(&self, from: &RelPath, to: &RelPath) -> io::Result<()> {
        self.call("rename", Some(from.into()))?.move_to_free(from.into(), to.into())
    }

    fn make_directory(&self, path: &RelPath, mode: u32, owner: Owner) -> io::Result<()> {
        let mut shared = self.call("make_directory", Some(path.into()))?;
        let (directory, name) = shared.spot(path.into())?;
        let key = shared.volume.create_at(directory, name, Body::Directory, mode & 0o777)?;
        if let Some(inode) = shared.volume.inodes.get_mut(&key) {
            inode.owner = owner;
        }
        Ok(())
    }

    fn remove_directory(&self, path: &RelPath) -> io::Result<()> {
        let mut shared = self.call("remove_directory", Some(path.into()))?;
        let key = shared.find(path.into())?;
        if !shared.volume.is_directory(key) {
            return Err(Errno::NOTDIR.into());
        }
        let (directory, name) = shared.spot(path.into())?;
        shared.volume.unlink(directory, name)
    }

    fn set_mode(&self, path: &RelPath, inode: u64, mode: u32) -> io::Result<bool> {
        let mut shared = self.call("set_mode", Some(path.into()))?;
        let key = shared.find(path.into())?;
        let facts = shared.volume.facts(key);
        if facts.kind != Kind::File {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if facts.inode == inode {
            shared.volume.set_mode(key, mode & 0o777);
        }
        Ok(facts.inode == inode)
    }

    fn sync(&self) -> io::Result<()> {
        self.call("sync", None)?.volume.sync();
        Ok(())
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = self.lock();
        f.debug_struct("SimDisk").field("calls", &shared.calls).field("volume", &shared.volume).finish()
    }
}

#[cfg(test)]
mod tests;
