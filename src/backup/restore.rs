//! Puts what a snapshot holds back into a folder.
//!
//! A snapshot is other people's words: its paths may say anything. Each is taken apart into names that cannot leave the
//! folder, and everything is opened beneath the folder without following a link, also one that appears while we work.
//! A file appears whole or not at all, under its name in one step. What is there already and is the same is left alone,
//! so that a restore that was interrupted goes on where it was. What is replaced is kept aside first.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use jiff::Timestamp;
use nexus_agent::path::RelPath;
use rustix::fs::AtFlags;
use rustix::fs::Dir;
use rustix::fs::FileType;
use rustix::fs::Gid;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::ResolveFlags;
use rustix::fs::Stat;
use rustix::fs::Timespec;
use rustix::fs::Timestamps;
use rustix::fs::Uid;

use super::trouble::Cause;
use crate::base::ids;

/// What a snapshot says should be at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Where, as the snapshot says it.
    pub path: OsString,
    /// What.
    pub kind: Kind,
    /// Permissions.
    pub mode: Option<u32>,
    /// When it was last changed.
    pub modified: Option<Timestamp>,
}

impl Wanted {
    /// How large it says it is.
    pub fn size(&self) -> u64 {
        match self.kind {
            Kind::File { size } => size,
            _ => 0,
        }
    }
}

/// What something is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file.
    File {
        /// Its size.
        size: u64,
    },
    /// A symbolic link and what it says.
    Link(OsString),
    /// What is never restored: devices, pipes, sockets.
    Other(String),
}

/// What is to be done about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing is there.
    Add,
    /// Something else of the same kind is there: it is kept aside.
    Replace,
    /// The same is there.
    Leave,
    /// Something of another kind is there and stays.
    InTheWay,
    /// It is of a kind that is never restored.
    Never,
}

/// Why a path could not be restored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path leads out of the folder, or is none.
    #[error("the path is refused: {0}")]
    Path(#[from] nexus_agent::path::PathError),
    /// The disk says no.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Why not.
        source: io::Error,
    },
}

fn failed(doing: &'static str) -> impl Fn(rustix::io::Errno) -> Error {
    move |error| Error::Io { doing, source: error.into() }
}

/// What the name of a file begins with that is not whole yet.
const HALF: &str = ".nexus-restore-";
/// How many random characters follow.
const HALF_RANDOM: usize = 10;

/// Decides about a path. `found` is what stands there, without following a link.
pub fn decide(wanted: &Wanted, found: Option<&Stat>, link: Option<&OsString>) -> Action {
    let Some(stat) = found else {
        return if matches!(wanted.kind, Kind::Other(_)) { Action::Never } else { Action::Add };
    };
    match (&wanted.kind, FileType::from_raw_mode(stat.st_mode)) {
        (Kind::Other(_), _) => Action::Never,
        (Kind::Directory, FileType::Directory) => Action::Leave,
        (Kind::File { size }, FileType::RegularFile) => {
            let modified = Timestamp::new(stat.st_mtime, i32::try_from(stat.st_mtime_nsec).unwrap_or(0)).ok();
            let same_size = u64::try_from(stat.st_size) == Ok(*size);
            if same_size && modified == wanted.modified { Action::Leave } else { Action::Replace }
        }
        (Kind::Link(target), FileType::Symlink) => {
            if Some(target) == link {
                Action::Leave
            } else {
                Action::Replace
            }
        }
        _ => Action::InTheWay,
    }
}

/// A folder that things are restored into, by several hands at once.
pub struct Target {
    root: OwnedFd,
    /// Where what is replaced goes.
    aside: PathBuf,
    /// Directories whose times are set when all is in them.
    directories: Mutex<Vec<(RelPath, Wanted)>>,
    /// The directory that was looked into last: what comes next is mostly in the same.
    last: Mutex<Option<(Option<RelPath>, Arc<Parent>)>>,
}

/// A directory of the folder.
#[derive(Debug)]
struct Parent {
    fd: OwnedFd,
    /// Whom what is new in it is to belong to; none where that is so by itself, or unknown.
    owner: Option<(Uid, Gid)>,
}

/// A place in the folder that was looked at.
#[derive(Debug)]
pub struct Spot {
    /// Where it is.
    pub path: RelPath,
    /// The directory it is in, if that was there.
    parent: Option<Arc<Parent>>,
}

impl Target {
    /// Opens the folder, which must be there.
    ///
    /// # Errors
    /// When it cannot be opened, or is a link.
    pub fn open(root: &Path, aside: PathBuf) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(root, flags, Mode::empty()).map_err(failed("cannot open the folder"))?;
        Ok(Self { root, aside, directories: Mutex::default(), last: Mutex::default() })
    }

    /// Bytes that can still be written.
    pub fn space(&self) -> Option<u64> {
        let stat = rustix::fs::fstatvfs(&self.root).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// What is to be done about a path.
    ///
    /// # Errors
    /// When the path is refused, or what is there cannot be seen.
    pub fn look(&self, wanted: &Wanted) -> Result<(Spot, Action), Error> {
        let path = RelPath::parse(wanted.path.as_bytes())?;
        let parent = match self.parent(&path) {
            Ok(parent) => parent,
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok((Spot { path, parent: None }, decide(wanted, None, None)));
            }
            Err(error) => return Err(error),
        };
        let found = match rustix::fs::statat(&parent.fd, path.name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(stat),
            Err(rustix::io::Errno::NOENT) => None,
            Err(error) => return Err(failed("cannot look")(error)),
        };
        let is_link = found.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink);
        let read = || rustix::fs::readlinkat(&parent.fd, path.name(), Vec::new()).ok();
        let link = is_link.then(read).flatten();
        let link = link.map(|link| std::os::unix::ffi::OsStringExt::from_vec(link.into_bytes()));
        let action = decide(wanted, found.as_ref(), link.as_ref());
        Ok((Spot { path, parent: Some(parent) }, action))
    }

    /// Gives a directory its permissions and time when all is in it.
    pub fn finish_later(&self, path: &RelPath, wanted: &Wanted) {
        let mut directories = self.directories.lock().unwrap_or_else(PoisonError::into_inner);
        directories.push((path.clone(), wanted.clone()));
    }

    /// Removes what a restore that was killed has half written in a directory, `None` being the folder itself.
    ///
    /// # Errors
    /// When the directory cannot be looked into.
    pub fn sweep(&self, directory: Option<&RelPath>) -> Result<(), Error> {
        let path = directory.map_or(Path::new("."), RelPath::as_path);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat2(&self.root, path, flags, Mode::empty(), beneath())
            .map_err(failed("cannot open a directory"))?;
        for entry in Dir::read_from(&fd).map_err(failed("cannot look into a directory"))? {
            let entry = entry.map_err(failed("cannot look into a directory"))?;
            let is_ours =
                entry.file_name().to_bytes().strip_prefix(HALF.as_bytes()).is_some_and(|rest| {
                    rest.len() == HALF_RANDOM && rest.iter().all(u8::is_ascii_alphanumeric)
                });
            if is_ours {
                rustix::fs::unlinkat(&fd, entry.file_name(), AtFlags::empty())
                    .map_err(failed("cannot remove what an earlier restore has left"))?;
            }
        }
        Ok(())
    }

    /// Does it. `write` gives a file's content.
    ///
    /// # Errors
    /// When it is not done; what was there is still there then.
    pub fn put<E: From<Error>>(
        &self,
        spot: &Spot,
        wanted: &Wanted,
        action: Action,
        write: impl FnOnce(&mut File) -> Result<(), E>,
    ) -> Result<(), E> {
        let parent = match &spot.parent {
            Some(parent) => Arc::clone(parent),
            None => self.parent(&spot.path)?,
        };
        let path = &spot.path;
        match &wanted.kind {
            Kind::Directory if action == Action::Add => Ok(self.directory(&parent, path, wanted)?),
            Kind::File { .. } => self.file(&parent, path, wanted, action, write),
            Kind::Link(target) => Ok(self.link(&parent, path, wanted, target, action)?),
            Kind::Directory | Kind::Other(_) => Ok(()),
        }
    }

    fn directory(&self, parent: &Parent, path: &RelPath, wanted: &Wanted) -> Result<(), Error> {
        rustix::fs::mkdirat(&parent.fd, path.name(), Mode::from_bits_retain(0o700))
            .map_err(failed("cannot make the directory"))?;
        parent.belong(path.name());
        // What it is to be at once, as far as we can still write into it: we may never come to its end.
        let mode = Mode::from_bits_retain(wanted.mode.unwrap_or(0o755) & 0o1777 | 0o700);
        rustix::fs::chmodat(&parent.fd, path.name(), mode, AtFlags::empty())
            .map_err(failed("cannot set the permissions"))?;
        self.finish_later(path, wanted);
        Ok(())
    }

    fn file<E: From<Error>>(
        &self,
        parent: &Parent,
        path: &RelPath,
        wanted: &Wanted,
        action: Action,
        write: impl FnOnce(&mut File) -> Result<(), E>,
    ) -> Result<(), E> {
        let name = format!("{HALF}{}", ids::random(HALF_RANDOM));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&parent.fd, &name, flags, Mode::from_bits_retain(0o600))
            .map_err(failed("cannot make a file"))?;
        let mut file = File::from(fd);
        parent.belong(name.as_bytes());
        let done = write(&mut file).and_then(|()| {
            finish(&file, wanted)?;
            self.keep(&parent.fd, path, action)?;
            rustix::fs::renameat(&parent.fd, &name, &parent.fd, path.name())
                .map_err(failed("cannot put the file in place"))?;
            Ok(())
        });
        if done.is_err() {
            // Half a file helps nobody; when even this fails its name says what it is.
            let _ignored = rustix::fs::unlinkat(&parent.fd, &name, AtFlags::empty());
        }
        done
    }

    fn link(
        &self,
        parent: &Parent,
        path: &RelPath,
        wanted: &Wanted,
        target: &OsString,
        action: Action,
    ) -> Result<(), Error> {
        let name = format!("{HALF}{}", ids::random(HALF_RANDOM));
        rustix::fs::symlinkat(target.as_bytes(), &parent.fd, &name).map_err(failed("cannot make a link"))?;
        parent.belong(name.as_bytes());
        let done = dress(&parent.fd, &name, wanted)
            .and_then(|()| self.keep(&parent.fd, path, action))
            .and_then(|()| {
                rustix::fs::renameat(&parent.fd, &name, &parent.fd, path.name())
                    .map_err(failed("cannot put the link in place"))
            });
        if done.is_err() {
            let _ignored = rustix::fs::unlinkat(&parent.fd, &name, AtFlags::empty());
        }
        done
    }

    /// Moves a file or a link aside, and removes a directory that is empty; whether it is gone.
    ///
    /// # Errors
    /// When it is still there and should not be.
    pub fn set_aside(&self, path: &RelPath) -> Result<bool, Error> {
        let parent = self.parent(path)?;
        let look = || {
            rustix::fs::statat(&parent.fd, path.name(), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(failed("cannot look"))
        };
        let before = look()?;
        if FileType::from_raw_mode(before.st_mode) == FileType::Directory {
            // Nobody is to look into it any more.
            self.last.lock().unwrap_or_else(PoisonError::into_inner).take();
            return match rustix::fs::unlinkat(&parent.fd, path.name(), AtFlags::REMOVEDIR) {
                Ok(()) => Ok(true),
                // What no backup takes is in it, and stays.
                Err(rustix::io::Errno::NOTEMPTY | rustix::io::Errno::EXIST) => Ok(false),
                Err(error) => Err(failed("cannot remove a directory")(error)),
            };
        }
        let to = self.aside.join(path.as_path());
        let io = |source| Error::Io { doing: "cannot keep aside what is there", source };
        std::fs::create_dir_all(to.parent().unwrap_or(&self.aside)).map_err(io)?;
        if rustix::fs::renameat(&parent.fd, path.name(), rustix::fs::CWD, &to).is_ok() {
            return Ok(true);
        }
        // The node's home is on another disk.
        self.keep(&parent.fd, path, Action::Replace)?;
        let after = look()?;
        let state = |stat: &Stat| (stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
        if state(&before) != state(&after) {
            return Err(io(io::Error::other("it was written to meanwhile")));
        }
        rustix::fs::unlinkat(&parent.fd, path.name(), AtFlags::empty())
            .map_err(failed("cannot remove it"))?;
        Ok(true)
    }

    /// Copies aside what is about to be replaced.
    fn keep(&self, parent: &OwnedFd, path: &RelPath, action: Action) -> Result<(), Error> {
        if action != Action::Replace {
            return Ok(());
        }
        let io = |source| Error::Io { doing: "cannot keep aside what is there", source };
        let to = self.aside.join(path.as_path());
        std::fs::create_dir_all(to.parent().unwrap_or(&self.aside)).map_err(io)?;
        if let Ok(link) = rustix::fs::readlinkat(parent, path.name(), Vec::new()) {
            let link: OsString = std::os::unix::ffi::OsStringExt::from_vec(link.into_bytes());
            return std::os::unix::fs::symlink(link, &to).map_err(io);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(parent, path.name(), flags, Mode::empty())
            .map_err(|error| io(error.into()))?;
        let mut copy = File::create(&to).map_err(io)?;
        io::copy(&mut File::from(fd), &mut copy).map_err(io)?;
        copy.sync_all().map_err(io)
    }

    /// Sets what could not be set before all was in place: permissions and times of directories, with `root` also those
    /// of the folder itself.
    ///
    /// # Errors
    /// The first directory that did not take it.
    pub fn close(self, root: Option<&Wanted>) -> Result<(), Error> {
        let directories = self.directories.lock().unwrap_or_else(PoisonError::into_inner);
        for (path, wanted) in directories.iter().rev() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::openat2(&self.root, path.as_path(), flags, Mode::empty(), beneath())
                .map_err(failed("cannot open a directory"))?;
            finish(&File::from(fd), wanted)?;
        }
        if let Some(root) = root {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(&self.root, ".", flags, Mode::empty())
                .map_err(failed("cannot open the folder"))?;
            finish(&File::from(fd), root)?;
        }
        rustix::fs::fsync(&self.root).map_err(failed("cannot finish the folder"))
    }

    /// The directory something is in.
    fn parent(&self, path: &RelPath) -> Result<Arc<Parent>, Error> {
        let above = path.parent();
        let last = || self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((path, parent)) = &*last()
            && *path == above
        {
            return Ok(Arc::clone(parent));
        }
        let path = above.as_ref().map_or(Path::new("."), RelPath::as_path);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat2(&self.root, path, flags, Mode::empty(), beneath())
            .map_err(failed("cannot open its directory"))?;
        let parent = Arc::new(Parent::new(fd));
        *last() = Some((above, Arc::clone(&parent)));
        Ok(parent)
    }
}

impl Parent {
    fn new(fd: OwnedFd) -> Self {
        let owner =
            rustix::fs::fstat(&fd).ok().map(|stat| (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid)));
        let ours = (rustix::process::geteuid(), rustix::process::getegid());
        Self { fd, owner: owner.filter(|owner| *owner != ours) }
    }

    /// Gives what is new in the directory its owner: the node may be root, and the folder is a person's. Where that is not
    /// allowed it stays ours.
    fn belong(&self, name: &[u8]) {
        if let Some((user, group)) = self.owner {
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            let _kept = rustix::fs::chownat(&self.fd, name, Some(user), Some(group), flags);
        }
    }
}

fn beneath() -> ResolveFlags {
    ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS
}

/// Gives a link its time; it has no permissions of its own.
fn dress(parent: &OwnedFd, name: &str, wanted: &Wanted) -> Result<(), Error> {
    let Some(times) = wanted.modified.map(times) else { return Ok(()) };
    rustix::fs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(failed("cannot set the time"))
}

/// Permissions and times, and the content onto the disk. No backup gives anybody the rights of another.
fn finish(file: &File, wanted: &Wanted) -> Result<(), Error> {
    if let Some(mode) = wanted.mode {
        let mode = Mode::from_bits_retain(mode & 0o1777);
        rustix::fs::fchmod(file, mode).map_err(failed("cannot set the permissions"))?;
    }
    if let Some(times) = wanted.modified.map(times) {
        rustix::fs::futimens(file, &times).map_err(failed("cannot set the time"))?;
    }
    Ok(())
}

fn times(modified: Timestamp) -> Timestamps {
    let time = Timespec { tv_sec: modified.as_second(), tv_nsec: modified.subsec_nanosecond().into() };
    // Before 1970 the parts count in the other direction.
    let time = if time.tv_nsec < 0 {
        Timespec { tv_sec: time.tv_sec - 1, tv_nsec: time.tv_nsec + 1_000_000_000 }
    } else {
        time
    };
    Timestamps { last_access: time, last_modification: time }
}

/// What the disk's error means.
pub fn cause_of(error: &io::Error) -> Cause {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Cause::Full,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Cause::Denied,
        _ => Cause::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::fs::symlink;

    use super::*;

    fn wanted(path: &str, kind: Kind) -> Wanted {
        let modified = Timestamp::from_second(1_700_000_000).ok();
        Wanted { path: path.into(), kind, mode: Some(0o644), modified }
    }

    fn put(target: &Target, wanted: &Wanted, text: &str) -> Result<Action, Error> {
        let (path, action) = target.look(wanted)?;
        if matches!(action, Action::Add | Action::Replace) {
            target.put(&path, wanted, action, |file| {
                file.write_all(text.as_bytes()).map_err(|source| Error::Io { doing: "write", source })
            })?;
        }
        Ok(action)
    }

    #[test]
    fn nothing_hostile_leaves_the_folder() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        let outside = directory.path().join("outside");
        std::fs::create_dir(&root).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("passwd"), "root").unwrap();
        symlink(&outside, root.join("planted")).unwrap();
        symlink(outside.join("passwd"), root.join("file")).unwrap();
        let target = Target::open(&root, directory.path().join("aside")).unwrap();
        let file = || Kind::File { size: 4 };
        for bad in [
            "../x",
            "a/../../x",
            "/etc/x",
            "..",
            ".",
            "",
            "a//b",
            "a/./b",
            "./a",
            "a/",
            "x\0y",
            "planted/passwd",
            "planted/new",
            "planted/../x",
        ] {
            assert!(put(&target, &wanted(bad, file()), "evil").is_err(), "{bad}");
        }
        // A link that the snapshot itself brings, then something through it.
        let link = wanted("way", Kind::Link(outside.clone().into_os_string()));
        put(&target, &link, "").unwrap();
        assert!(put(&target, &wanted("way/passwd", file()), "evil").is_err());
        assert!(put(&target, &wanted("way/dir", Kind::Directory), "").is_err());
        // A link where a file should be is in the way, and never written through.
        assert_eq!(put(&target, &wanted("file", file()), "evil").unwrap(), Action::InTheWay);
        assert_eq!(
            put(&target, &wanted("dev", Kind::Other("chardev".to_owned())), "").unwrap(),
            Action::Never
        );
        let setuid = Wanted { mode: Some(0o104_755), ..wanted("suid", file()) };
        put(&target, &setuid, "evil").unwrap();
        target.close(None).unwrap();
        assert_eq!(std::fs::metadata(root.join("suid")).unwrap().permissions().mode() & 0o7777, 0o755);
        let left: Vec<_> =
            std::fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["passwd"]);
        assert_eq!(std::fs::read_to_string(outside.join("passwd")).unwrap(), "root");
        assert!(!directory.path().join("x").exists());
    }

    #[test]
    fn what_is_replaced_is_kept_and_what_is_the_same_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        std::fs::write(root.join("sub/edited"), "mine, newer").unwrap();
        let aside = directory.path().join("aside");
        let target = Target::open(&root, aside.clone()).unwrap();
        let file = wanted("sub/edited", Kind::File { size: 4 });
        assert_eq!(put(&target, &file, "old!").unwrap(), Action::Replace);
        assert_eq!(put(&target, &file, "old!").unwrap(), Action::Leave, "a restore goes on where it was");
        assert_eq!(std::fs::read_to_string(aside.join("sub/edited")).unwrap(), "mine, newer");
        assert_eq!(std::fs::read_to_string(root.join("sub/edited")).unwrap(), "old!");
        let (path, action) = target.look(&wanted("sub/other", Kind::File { size: 1 })).unwrap();
        let broken = target.put(&path, &wanted("sub/other", Kind::File { size: 1 }), action, |_| {
            Err(Error::Io { doing: "read", source: io::Error::other("damaged") })
        });
        assert!(broken.is_err());
        assert_eq!(std::fs::read_dir(root.join("sub")).unwrap().count(), 1, "half a file is no file");
    }

    #[test]
    fn what_is_new_belongs_to_the_owner_of_the_folder() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(directory.path(), Some(4321), Some(1234)).unwrap();
        let target = Target::open(directory.path(), directory.path().join("aside")).unwrap();
        put(&target, &Wanted { mode: Some(0o755), ..wanted("sub", Kind::Directory) }, "").unwrap();
        put(&target, &wanted("sub/file", Kind::File { size: 1 }), "x").unwrap();
        put(&target, &wanted("sub/link", Kind::Link("file".into())), "").unwrap();
        target.close(None).unwrap();
        for path in ["sub", "sub/file", "sub/link"] {
            let meta = std::fs::symlink_metadata(directory.path().join(path)).unwrap();
            let owner =
                (std::os::unix::fs::MetadataExt::uid(&meta), std::os::unix::fs::MetadataExt::gid(&meta));
            assert_eq!(owner, (4321, 1234), "{path}");
        }
    }
}
