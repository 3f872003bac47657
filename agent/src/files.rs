//! Files beneath one directory, and none beside it.
//!
//! Everything goes through descriptors: the directory a path stands in is opened with `openat2` so that no symbolic
//! link is followed and nothing above the root is reached, then the last name is acted on by itself. So a link swapped
//! in at the wrong moment changes nothing.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::AtFlags;
use rustix::fs::Dir;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::ResolveFlags;
use rustix::fs::Stat;
use rustix::fs::StatxFlags;
use rustix::io::Errno;

use crate::path::RelPath;

/// How directories are opened: no link followed.
pub(crate) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory and what is beneath it.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
}

/// Tells one directory from another that later stands at the same path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Inode number.
    pub inode: u64,
    /// Birth in nanoseconds; 0 where the file system does not know it.
    pub born: i128,
}

impl Root {
    /// Opens a directory. The path to it may hold links: it is the owner's word, not a peer's.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { directory: rustix::fs::open(path, flags, Mode::empty())? })
    }

    /// Its descriptor.
    pub fn directory(&self) -> &OwnedFd {
        &self.directory
    }

    /// Which directory this is.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn identity(&self) -> io::Result<Identity> {
        let wanted = StatxFlags::INO | StatxFlags::BTIME;
        let stat = rustix::fs::statx(&self.directory, c"", AtFlags::EMPTY_PATH, wanted)?;
        let born = if stat.stx_mask & StatxFlags::BTIME.bits() == 0 {
            0
        } else {
            i128::from(stat.stx_btime.tv_sec) * 1_000_000_000 + i128::from(stat.stx_btime.tv_nsec)
        };
        Ok(Identity { inode: stat.stx_ino, born })
    }

    /// What stands at `path` itself; `None` when nothing does.
    ///
    /// # Errors
    /// As the kernel says; a path through a file or a link is *nothing there*.
    pub fn stat(&self, path: &RelPath) -> io::Result<Option<Stat>> {
        let stat = self.parent(path).and_then(|parent| {
            Ok(rustix::fs::statat(parent.get(self), path.name(), AtFlags::SYMLINK_NOFOLLOW)?)
        });
        match stat {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a regular file for reading; never waits for the other end of a pipe, never follows a link.
    ///
    /// # Errors
    /// As the kernel says, and `InvalidInput` for anything that is no regular file.
    pub fn open_file(&self, path: &RelPath) -> io::Result<File> {
        let parent = self.parent(path)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(parent.get(self), path.name(), flags, Mode::empty())?;
        if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        Ok(File::from(file))
    }

    /// Creates a file that must not be there yet, for writing.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn create_file(&self, path: &RelPath) -> io::Result<File> {
        let parent = self.parent(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(parent.get(self), path.name(), flags, Mode::from_raw_mode(0o600))?))
    }

    /// Opens the directory at `path`, the root itself for `None`.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn open_directory(&self, path: Option<&RelPath>) -> io::Result<OwnedFd> {
        let Some(path) = path else {
            return Ok(rustix::fs::openat(&self.directory, c".", DIRECTORY, Mode::empty())?);
        };
        beneath(&self.directory, path)
    }

    /// The names in a directory, in the file system's order.
    ///
    /// # Errors
    /// As the kernel says; a listing is whole or an error.
    pub fn list(&self, path: Option<&RelPath>) -> io::Result<Vec<Vec<u8>>> {
        list(self.open_directory(path)?)
    }

    /// Reads a symbolic link.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn read_link(&self, path: &RelPath) -> io::Result<Vec<u8>> {
        let parent = self.parent(path)?;
        Ok(rustix::fs::readlinkat(parent.get(self), path.name(), Vec::new())?.into_bytes())
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn make_directory(&self, path: &RelPath) -> io::Result<()> {
        let parent = self.parent(path)?;
        Ok(rustix::fs::mkdirat(parent.get(self), path.name(), Mode::from_raw_mode(0o755))?)
    }

    /// Makes a symbolic link.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn make_link(&self, path: &RelPath, target: &[u8]) -> io::Result<()> {
        let parent = self.parent(path)?;
        Ok(rustix::fs::symlinkat(target, parent.get(self), path.name())?)
    }

    /// Sets the permission bits of a regular file.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn set_executable(&self, path: &RelPath, executable: bool) -> io::Result<()> {
        let file = self.open_file(path)?;
        Ok(rustix::fs::fchmod(file.as_fd(), mode(executable))?)
    }

    /// Moves `from` to `to` in one step, replacing a file or link there.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn rename(&self, from: &RelPath, to: &RelPath) -> io::Result<()> {
        let (source, target) = (self.parent(from)?, self.parent(to)?);
        Ok(rustix::fs::renameat(source.get(self), from.name(), target.get(self), to.name())?)
    }

    /// Removes a file or link. Absent is success.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn remove_file(&self, path: &RelPath) -> io::Result<()> {
        self.unlink(path, AtFlags::empty())
    }

    /// Removes an empty directory. Absent is success.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn remove_directory(&self, path: &RelPath) -> io::Result<()> {
        self.unlink(path, AtFlags::REMOVEDIR)
    }

    fn unlink(&self, path: &RelPath, flags: AtFlags) -> io::Result<()> {
        let removed = self
            .parent(path)
            .and_then(|parent| Ok(rustix::fs::unlinkat(parent.get(self), path.name(), flags)?));
        match removed {
            Err(error) if is_absent(&error) => Ok(()),
            other => other,
        }
    }

    /// Opens the directory `path` stands in.
    pub(crate) fn parent(&self, path: &RelPath) -> io::Result<Parent> {
        path.parent().map_or(Ok(Parent::Root), |parent| beneath(&self.directory, &parent).map(Parent::Below))
    }
}

/// The directory a path stands in.
pub(crate) enum Parent {
    Root,
    Below(OwnedFd),
}

impl Parent {
    pub(crate) fn get<'a>(&'a self, root: &'a Root) -> &'a OwnedFd {
        match self {
            Self::Root => &root.directory,
            Self::Below(directory) => directory,
        }
    }
}

/// The permission bits a file gets.
pub fn mode(executable: bool) -> Mode {
    Mode::from_raw_mode(if executable { 0o755 } else { 0o644 })
}

/// The names in an open directory.
///
/// # Errors
/// As the kernel says; a listing is whole or an error.
pub fn list(directory: OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::new(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

/// Whether the error means that nothing stands at the path.
pub fn is_absent(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
}

fn beneath(root: &OwnedFd, path: &RelPath) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(root, path.as_path(), DIRECTORY, Mode::empty(), resolve) {
        // Old kernels and strict sandboxes have no `openat2`: the same, one component at a time.
        Err(Errno::NOSYS | Errno::PERM) => step_by_step(root, path),
        opened => Ok(opened?),
    }
}

fn step_by_step(root: &OwnedFd, path: &RelPath) -> io::Result<OwnedFd> {
    let mut at = rustix::fs::openat(root, c".", DIRECTORY, Mode::empty())?;
    for component in path.components() {
        at = rustix::fs::openat(&at, component, DIRECTORY, Mode::empty())?;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn no_link_is_followed_on_the_way_nor_at_the_end() {
        let outside = tempfile::tempdir().unwrap();
        let inside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "s").unwrap();
        symlink(outside.path(), inside.path().join("way")).unwrap();
        symlink(outside.path().join("secret"), inside.path().join("end")).unwrap();
        let root = Root::open(inside.path()).unwrap();

        assert!(root.open_file(&path("way/secret")).is_err());
        assert!(root.open_file(&path("end")).is_err());
        assert!(root.create_file(&path("way/new")).is_err());
        assert!(root.make_directory(&path("way/new")).is_err());
        assert!(root.stat(&path("way/secret")).unwrap().is_none());
        root.remove_file(&path("way/secret")).unwrap();
        assert!(outside.path().join("secret").exists());
        assert!(step_by_step(&root.directory, &path("way")).is_err());
    }

    #[test]
    fn a_pipe_is_not_opened_and_not_waited_for() {
        let inside = tempfile::tempdir().unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            inside.path().join("pipe"),
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let root = Root::open(inside.path()).unwrap();
        assert_eq!(root.open_file(&path("pipe")).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_directory_made_again_is_another_one() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("folder");
        std::fs::create_dir(&folder).unwrap();
        // Held open, so that its inode cannot be given to the next.
        let first = Root::open(&folder).unwrap();
        assert_eq!(Root::open(&folder).unwrap().identity().unwrap(), first.identity().unwrap());
        std::fs::remove_dir(&folder).unwrap();
        std::fs::create_dir(&folder).unwrap();
        assert_ne!(Root::open(&folder).unwrap().identity().unwrap(), first.identity().unwrap());
    }
}
