//! Files beneath one directory, and none beside it.
//!
//! Everything goes through descriptors: the directory a path stands in is opened with `openat2` so that no symbolic
//! link is followed and nothing above the root is reached, then the last name is acted on by itself. So a link swapped
//! in at the wrong moment changes nothing.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::AtFlags;
use rustix::fs::Dir;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::ResolveFlags;
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
    fn no_link_is_followed_on_the_way() {
        let outside = tempfile::tempdir().unwrap();
        let inside = tempfile::tempdir().unwrap();
        symlink(outside.path(), inside.path().join("way")).unwrap();
        let root = Root::open(inside.path()).unwrap();
        assert!(root.open_directory(Some(&path("way"))).is_err());
        assert!(root.parent(&path("way/secret")).is_err());
        assert!(step_by_step(&root.directory, &path("way")).is_err());
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
