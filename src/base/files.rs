//! File operations that keep their word: replacing whole, reading beneath a root.

use std::fs::File;
use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::path::Path;

use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::ResolveFlags;

/// Replaces `path` with `content`: written beside it, synced, renamed over it, and the directory synced. Its owner alone
/// can read it.
///
/// # Errors
/// When any of that fails; `path` has its old content then.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut temporary = tempfile::NamedTempFile::new_in(directory)?;
    temporary.write_all(content)?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|error| error.error)?;
    File::open(directory)?.sync_all()
}

/// Reads a regular file beneath `root` of at most `max` bytes. Follows no link on the way and never blocks on a pipe.
///
/// # Errors
/// When it cannot be opened, is no regular file, is larger, or lies elsewhere.
pub fn read_beneath(root: &Path, relative: &Path, max: u64) -> io::Result<Vec<u8>> {
    let directory = File::open(root)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let file = File::from(rustix::fs::openat2(&directory, relative, flags, Mode::empty(), resolve)?);
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > max {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file of that size"));
    }
    let mut bytes = Vec::new();
    file.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens what is at a path beneath `root`, following links that stay inside; never blocks on a pipe.
///
/// # Errors
/// When it cannot be opened; `CrossesDevices` when a link leads out of `root`.
pub fn open_inside(root: &Path, relative: &Path, read: bool) -> io::Result<File> {
    let directory = File::open(root)?;
    let access = if read { OFlags::RDONLY | OFlags::NONBLOCK } else { OFlags::PATH };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
    Ok(File::from(rustix::fs::openat2(
        &directory,
        relative,
        access | OFlags::CLOEXEC,
        Mode::empty(),
        resolve,
    )?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_is_old_or_new() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn reading_beneath_never_leaves() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(directory.path().join("secret"), "s").unwrap();
        std::fs::write(root.join("icon.svg"), "<svg/>").unwrap();
        std::os::unix::fs::symlink("../secret", root.join("link")).unwrap();
        let read = |path: &str| read_beneath(&root, Path::new(path), 100);
        assert_eq!(read("icon.svg").unwrap(), b"<svg/>");
        for bad in ["../secret", "link", "/etc/passwd", ".", "missing"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(read_beneath(&root, Path::new("icon.svg"), 3).is_err());
    }
}
