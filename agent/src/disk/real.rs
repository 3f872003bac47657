//! A folder on a real disk.

use std::fs::File;
use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use std::os::fd::AsFd as _;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use rustix::fs::AtFlags;
use rustix::fs::Gid;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::Uid;
use rustix::io::Errno;
use rustix::time::ClockId;

use crate::disk::At;
use crate::disk::Content;
use crate::disk::Disk;
use crate::disk::Facts;
use crate::disk::Identity;
use crate::disk::Kind;
use crate::disk::Listing;
use crate::disk::Nonce;
use crate::disk::Owner;
use crate::disk::STAGED_MODE;
use crate::disk::Slot;
use crate::disk::mark;
use crate::disk::order::Order;
use crate::disk::pending::Pending;
use crate::disk::rename;
use crate::disk::rename::Spot;
use crate::disk::room::Room;
use crate::disk::room::STAGING;
use crate::disk::room::StageAt;
use crate::files;
use crate::files::Root;
use crate::path::RelPath;

/// A folder on a real disk, with its staging area and its kept files.
#[derive(Debug)]
pub struct Folder {
    root: Root,
    staging: Room,
    kept: Room,
    order: Order,
    /// Whether the file system can let two names change places.
    exchanges: AtomicBool,
    user: Owner,
    pending: Mutex<Pending>,
}

/// Of a long file the disk is given so much at a time while more comes: otherwise all of it is waited for in the end.
const KEPT_BACK: usize = 8 << 20;

/// How anything is opened: no link followed, nothing waited for.
const OPEN: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// A file that is open for reading.
#[derive(Debug)]
pub struct Reading(File);

/// A file that is being written in the staging area.
#[derive(Debug)]
pub struct Writing {
    file: File,
    part: Slot,
    order: Order,
    /// How many bytes nobody has asked the disk to take.
    kept_back: usize,
}

impl Folder {
    /// Opens a folder. The paths may hold links: they are the owner's words, not a peer's.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn open(root: &Path, staging: StageAt, kept: &Path) -> io::Result<Self> {
        let root = Root::open(root)?;
        let kind = rustix::fs::fstatfs(root.directory())?.f_type as u64;
        Ok(Self {
            root,
            staging: Room::at(staging),
            kept: Room::at(StageAt::Beside(kept.to_owned())),
            order: Order::of(kind),
            exchanges: AtomicBool::new(exchanges(kind)),
            user: Owner {
                user: rustix::process::geteuid().as_raw(),
                group: rustix::process::getegid().as_raw(),
            },
            pending: Mutex::new(Pending::new()),
        })
    }

    /// The folder's descriptor, for whoever watches it.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// As on a file system that cannot exchange.
    #[cfg(test)]
    pub(super) fn forget_exchange(&self) {
        self.exchanges.store(false, Ordering::Relaxed);
    }

    fn room(&self, slot: Slot) -> &Room {
        if matches!(slot, Slot::Kept(_)) { &self.kept } else { &self.staging }
    }

    /// Does something with the directory a thing stands in and its name there.
    fn at<T>(&self, at: At<'_>, act: impl Fn(&OwnedFd, &[u8]) -> rustix::io::Result<T>) -> io::Result<T> {
        match at {
            At::Root => Ok(act(self.root.directory(), b".")?),
            At::Path(path) => {
                self.refuse_staging(path)?;
                let parent = self.root.parent(path)?;
                Ok(act(parent.get(&self.root), path.name())?)
            }
            At::Slot(slot) => self.room(slot).with(&self.root, |room| act(room, slot.name().as_bytes())),
        }
    }

    fn between<'a, T>(
        &self,
        from: impl Into<At<'a>>,
        to: impl Into<At<'a>>,
        act: impl Fn(Spot<'_>, Spot<'_>) -> rustix::io::Result<T>,
    ) -> io::Result<T> {
        let to = to.into();
        let inner = |from_directory: &OwnedFd, from_name: &[u8]| {
            self.at(to, |to_directory, to_name| {
                let from = Spot { directory: from_directory, name: from_name };
                act(from, Spot { directory: to_directory, name: to_name })
            })
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        };
        self.at(from.into(), inner)
    }

    fn refuse_staging(&self, path: &RelPath) -> io::Result<()> {
        let inside = matches!(self.staging.at, StageAt::Inside);
        if inside && path.components().next() == Some(STAGING) {
            return Err(Errno::NOENT.into());
        }
        Ok(())
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As if this were on its way to the disk.
    #[cfg(test)]
    pub(super) fn send_off(&self, slot: Slot, file: File) {
        self.pending().send(slot, file);
    }

    fn open_at(&self, at: At<'_>, flags: OFlags) -> io::Result<File> {
        self.at(at, |directory, name| rustix::fs::openat(directory, name, flags | OPEN, Mode::empty()))
            .map(File::from)
    }
}

impl Disk for Folder {
    type Reader = Reading;
    type Writer = Writing;

    fn identity(&self) -> io::Result<Identity> {
        let files::Identity { inode, born } = self.root.identity()?;
        let device = rustix::fs::fstat(self.root.directory())?.st_dev as u64;
        Ok(Identity { device, inode, born, nonce: mark::folder(self.root.directory())?.unwrap_or_default() })
    }

    fn mark(&self, nonce: Nonce) -> io::Result<()> {
        mark::claim(self.root.directory(), nonce)
    }

    fn now(&self) -> i64 {
        let now = rustix::time::clock_gettime(ClockId::RealtimeCoarse);
        now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec as i64)
    }

    fn free(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(self.root.directory())?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn stat(&self, at: At<'_>) -> io::Result<Option<Facts>> {
        let stat =
            self.at(at, |directory, name| rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW));
        match stat {
            Ok(stat) => Ok(Some(Facts::of(&stat))),
            Err(error) if files::is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn list(&self, directory: At<'_>) -> io::Result<Listing> {
        let handle = match directory {
            At::Root => self.root.open_directory(None)?,
            other => self.open_at(other, OFlags::RDONLY | OFlags::DIRECTORY)?.into(),
        };
        let inside = matches!((directory, &self.staging.at), (At::Root, StageAt::Inside));
        let mut listing = Listing::new();
        for name in files::list(handle.try_clone()?)? {
            if inside && name == STAGING {
                continue;
            }
            match rustix::fs::statat(&handle, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => listing.push((name.into(), Ok(Facts::of(&stat)))),
                Err(Errno::NOENT) => {}
                Err(error) => listing.push((name.into(), Err(error.into()))),
            }
        }
        Ok(listing)
    }

    fn read_link(&self, at: At<'_>) -> io::Result<Vec<u8>> {
        let read = |directory: &OwnedFd, name: &[u8]| rustix::fs::readlinkat(directory, name, Vec::new());
        Ok(self.at(at, read)?.into_bytes())
    }

    fn open(&self, at: At<'_>) -> io::Result<(Reading, Facts)> {
        // A pipe or a device would be opened for a moment, and a device may notice: look first, then again.
        let reading = self.at(at, |directory, name| {
            let before = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if Facts::of(&before).kind != Kind::File {
                return Err(Errno::INVAL);
            }
            rustix::fs::openat(directory, name, OFlags::RDONLY | OPEN, Mode::empty())
        });
        let reading = Reading(reading?.into());
        let facts = reading.facts()?;
        if facts.kind != Kind::File {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok((reading, facts))
    }

    fn slots(&self) -> io::Result<Vec<Slot>> {
        let mut slots = Vec::new();
        for (room, parse) in [(&self.staging, Slot::staged as fn(&[u8]) -> _), (&self.kept, Slot::kept)] {
            let Some(handle) = room.existing(&self.root)? else { continue };
            let again = rustix::fs::openat(&*handle, c".", files::DIRECTORY, Mode::empty())?;
            slots.extend(files::list(again)?.iter().filter_map(|name| parse(name)));
        }
        slots.sort();
        Ok(slots)
    }

    fn stage(&self, part: u64) -> io::Result<Writing> {
        let part = Slot::Part(part);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(STAGED_MODE);
        let file = self.at(part.into(), |room, name| rustix::fs::openat(room, name, flags, mode))?;
        Ok(Writing { file: file.into(), part, order: self.order, kept_back: 0 })
    }

    fn finish(&self, writer: Writing, slot: Slot) -> io::Result<Facts> {
        let wait = self.order.begin(&writer.file)?;
        if slot != writer.part {
            self.shift(writer.part, slot)?;
        }
        let facts = Facts::of(&rustix::fs::fstat(&writer.file)?);
        if wait {
            self.pending().send(slot, writer.file);
        }
        Ok(facts)
    }

    fn stage_link(&self, slot: Slot, target: &[u8]) -> io::Result<()> {
        self.at(slot.into(), |room, name| rustix::fs::symlinkat(target, room, name))
    }

    fn dress(&self, slot: Slot, mode: u32, owner: Owner) -> io::Result<()> {
        self.own(slot.into(), owner)?;
        // Through a descriptor: `chmod` by name follows links.
        match self.open_at(slot.into(), OFlags::RDONLY) {
            Ok(file) => Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o777))?),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::LOOP) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn shift(&self, from: Slot, to: Slot) -> io::Result<()> {
        self.between(from, to, rename::to_free)?;
        self.pending().readdress(from, to);
        Ok(())
    }

    fn archive(&self, from: Slot, kept: u64) -> io::Result<()> {
        let kept = Slot::Kept(kept);
        if self.stat(from.into())?.ok_or(Errno::NOENT)?.kind == Kind::Symlink {
            let target = self.read_link(from.into())?;
            self.at(kept.into(), |room, name| rustix::fs::symlinkat(target.as_slice(), room, name))?;
        } else {
            self.copy_to_kept(from, kept)?;
        }
        self.at(kept.into(), |room, _| rustix::fs::fsync(room))?;
        self.discard(from)
    }

    fn discard(&self, slot: Slot) -> io::Result<()> {
        self.pending().forget(slot);
        absent_is_done(self.at(slot.into(), |room, name| rustix::fs::unlinkat(room, name, AtFlags::empty())))
    }

    fn dispose(&self, slot: Slot) -> io::Result<()> {
        self.pending().forget(slot);
        absent_is_done(self.at(slot.into(), remove_all))
    }

    fn place(&self, slot: Slot, path: &RelPath) -> io::Result<Option<Facts>> {
        self.pending().wait(slot)?;
        self.between(slot, path, |ours, theirs| {
            rename::to_free(ours, theirs)?;
            let stat = rustix::fs::statat(theirs.directory, theirs.name, AtFlags::SYMLINK_NOFOLLOW);
            Ok(stat.ok().as_ref().map(Facts::of))
        })
    }

    fn exchange(&self, slot: Slot, path: &RelPath) -> io::Result<()> {
        self.pending().wait(slot)?;
        if self.exchanges.load(Ordering::Relaxed) {
            let done = self.between(slot, path, rename::exchange);
            let errno = done.as_ref().err().and_then(Errno::from_io_error);
            if !errno.is_some_and(rename::is_unsupported) {
                return done;
            }
            self.exchanges.store(false, Ordering::Relaxed);
        }
        let spare = spare(slot).name();
        self.between(slot, path, |ours, theirs| {
            let spare = Spot { directory: ours.directory, name: spare.as_bytes() };
            rename::exchange_by_link(ours, theirs, spare)
        })
    }

    fn take(&self, path: &RelPath, slot: Slot) -> io::Result<()> {
        self.between(path, slot, rename::to_free)
    }

    fn rename(&self, from: &RelPath, to: &RelPath) -> io::Result<()> {
        self.between(from, to, rename::to_free)
    }

    fn make_directory(&self, path: &RelPath, mode: u32, owner: Owner) -> io::Result<()> {
        let mode = Mode::from_raw_mode(mode & 0o777);
        self.at(path.into(), |directory, name| rustix::fs::mkdirat(directory, name, mode))?;
        self.own(path.into(), owner)
    }

    fn remove_directory(&self, path: &RelPath) -> io::Result<()> {
        self.at(path.into(), |directory, name| rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR))
    }

    fn set_mode(&self, path: &RelPath, inode: u64, mode: u32) -> io::Result<bool> {
        let (reading, facts) = self.open(path.into())?;
        if facts.inode != inode {
            return Ok(false);
        }
        rustix::fs::fchmod(&reading.0, Mode::from_raw_mode(mode & 0o777))?;
        Ok(true)
    }

    fn sync(&self) -> io::Result<()> {
        rustix::fs::syncfs(self.root.directory())?;
        let Some(kept) = self.kept.existing(&self.root)? else { return Ok(()) };
        if rustix::fs::fstat(&*kept)?.st_dev != rustix::fs::fstat(self.root.directory())?.st_dev {
            rustix::fs::syncfs(&*kept)?;
        }
        Ok(())
    }
}

impl Folder {
    fn copy_to_kept(&self, from: Slot, kept: Slot) -> io::Result<()> {
        let (mut reading, facts) = self.open(from.into())?;
        let aside = format!("new-{}", kept.name());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = |room: &OwnedFd, _: &[u8]| {
            rustix::fs::openat(room, aside.as_str(), flags, Mode::from_raw_mode(0o600))
        };
        let mut copy = File::from(self.at(kept.into(), create)?);
        io::copy(&mut reading.0, &mut copy)?;
        rustix::fs::fchmod(&copy, Mode::from_raw_mode(facts.mode & 0o777))?;
        copy.set_modified(written(&facts))?;
        copy.sync_all()?;
        self.at(kept.into(), |directory, name| {
            rename::to_free(Spot { directory, name: aside.as_bytes() }, Spot { directory, name })
        })
    }

    /// Only a privileged process can give a file away; everybody else's files are their own.
    fn own(&self, at: At<'_>, owner: Owner) -> io::Result<()> {
        if owner == self.user {
            return Ok(());
        }
        let (user, group) = (Uid::from_raw(owner.user), Gid::from_raw(owner.group));
        let chown = |directory: &OwnedFd, name: &[u8]| {
            rustix::fs::chownat(directory, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)
        };
        match self.at(at, chown) {
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::PERM | Errno::INVAL)) => Ok(()),
            done => done,
        }
    }
}

/// A staging area inside the folder is not left behind for its owner to wonder about.
impl Drop for Folder {
    fn drop(&mut self) {
        if matches!(self.staging.at, StageAt::Inside) {
            let _ = rustix::fs::unlinkat(self.root.directory(), STAGING, AtFlags::REMOVEDIR);
        }
    }
}

impl Content for Reading {
    fn facts(&self) -> io::Result<Facts> {
        Ok(Facts::of(&rustix::fs::fstat(self.0.as_fd())?))
    }
}

impl Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Seek for Reading {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

impl Write for Writing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.kept_back += written;
        if self.kept_back >= KEPT_BACK {
            self.kept_back = 0;
            self.order.ahead(&self.file)?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// When it was last written, as the standard library says it.
fn written(facts: &Facts) -> SystemTime {
    let nanoseconds = Duration::from_nanos(facts.modified.unsigned_abs());
    if facts.modified < 0 { UNIX_EPOCH - nanoseconds } else { UNIX_EPOCH + nanoseconds }
}

fn absent_is_done(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if files::is_absent(&error) => Ok(()),
        done => done,
    }
}

/// Removes a name and all below it, through descriptors.
fn remove_all(directory: &OwnedFd, name: &[u8]) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => {}
        done => return done,
    }
    let inner = rustix::fs::openat(directory, name, files::DIRECTORY, Mode::empty())?;
    let again = rustix::fs::openat(&inner, c".", files::DIRECTORY, Mode::empty())?;
    for child in files::list(again).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))? {
        remove_all(&inner, &child)?;
    }
    rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)
}

/// A name nobody else gives, found like any other after a crash in the middle.
fn spare(slot: Slot) -> Slot {
    let number = match slot {
        Slot::Whole(digest) => digest.0.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte)),
        Slot::Part(number) | Slot::Taken(number) | Slot::Kept(number) => number,
    };
    Slot::Taken(1 << 63 | number)
}

/// The file systems whose exchange is known to be sound. On others (VirtioFS loses data by it) it is not tried.
fn exchanges(kind: u64) -> bool {
    const BTRFS: u64 = 0x9123_683e;
    const EXT4: u64 = 0xef53;
    const F2FS: u64 = 0xf2f5_2010;
    const OVERLAY: u64 = 0x794c_7630;
    const TMPFS: u64 = 0x0102_1994;
    const XFS: u64 = 0x5846_5342;
    [BTRFS, EXT4, F2FS, OVERLAY, TMPFS, XFS].contains(&kind)
}
