//! The two renames that lose nothing: never over something, and one for the other; with what stands in for them on
//! file systems that lack them.

use std::os::fd::OwnedFd;

use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::RenameFlags;
use rustix::io::Errno;
use rustix::io::Result;

/// A name in an open directory.
#[derive(Clone, Copy)]
pub(super) struct Spot<'a> {
    pub(super) directory: &'a OwnedFd,
    pub(super) name: &'a [u8],
}

/// Moves `from` to `to`, where nothing may be.
pub(super) fn to_free(from: Spot<'_>, to: Spot<'_>) -> Result<()> {
    match renameat_with(from, to, RenameFlags::NOREPLACE) {
        Err(error) if is_unsupported(error) => to_free_by_link(from, to),
        done => done,
    }
}

/// A second name, then the first removed: a name in use is refused by the kernel too. Directories have no second name;
/// the kernel replaces none but empty ones.
fn to_free_by_link(from: Spot<'_>, to: Spot<'_>) -> Result<()> {
    if is_directory(from)? {
        return match rustix::fs::statat(to.directory, to.name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => rename(from, to),
            Err(error) => Err(error),
            Ok(_) => Err(Errno::EXIST),
        };
    }
    rustix::fs::linkat(from.directory, from.name, to.directory, to.name, AtFlags::empty())?;
    rustix::fs::unlinkat(from.directory, from.name, AtFlags::empty())
}

/// Lets `ours` and `theirs` change places.
pub(super) fn exchange(ours: Spot<'_>, theirs: Spot<'_>) -> Result<()> {
    renameat_with(ours, theirs, RenameFlags::EXCHANGE)
}

/// What stands in for [`exchange`]: the displaced gets a second name, ours is renamed over its first. The path is never
/// empty. Left open is a moment between two calls in which a *replacement* of the path by somebody else would be
/// replaced in turn; a write into the file is not lost, because both names are one file. `spare` is a free name.
pub(super) fn exchange_by_link(ours: Spot<'_>, theirs: Spot<'_>, spare: Spot<'_>) -> Result<()> {
    if is_directory(ours)? || is_directory(theirs)? {
        return exchange_by_steps(ours, theirs, spare);
    }
    match rustix::fs::linkat(theirs.directory, theirs.name, spare.directory, spare.name, AtFlags::empty()) {
        Ok(()) => {}
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK) => return exchange_by_steps(ours, theirs, spare),
        Err(error) => return Err(error),
    }
    let same = inode(theirs).and_then(|theirs| Ok(theirs == inode(spare)?));
    if same != Ok(true) {
        rustix::fs::unlinkat(spare.directory, spare.name, AtFlags::empty())?;
        return Err(same.err().unwrap_or(Errno::AGAIN));
    }
    if let Err(error) = rename(ours, theirs) {
        rustix::fs::unlinkat(spare.directory, spare.name, AtFlags::empty())?;
        return Err(error);
    }
    rename(spare, ours)
}

/// Where there are no second names either: the path is empty for a moment, but nothing can be replaced unseen.
fn exchange_by_steps(ours: Spot<'_>, theirs: Spot<'_>, spare: Spot<'_>) -> Result<()> {
    to_free(theirs, spare)?;
    if let Err(error) = to_free(ours, theirs) {
        to_free(spare, theirs)?;
        return Err(error);
    }
    to_free(spare, ours)
}

/// Whether the error means that the file system, or the kernel, does not know this kind of rename.
pub(super) fn is_unsupported(error: Errno) -> bool {
    matches!(error, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
}

fn renameat_with(from: Spot<'_>, to: Spot<'_>, flags: RenameFlags) -> Result<()> {
    rustix::fs::renameat_with(from.directory, from.name, to.directory, to.name, flags)
}

fn rename(from: Spot<'_>, to: Spot<'_>) -> Result<()> {
    rustix::fs::renameat(from.directory, from.name, to.directory, to.name)
}

fn is_directory(spot: Spot<'_>) -> Result<bool> {
    let stat = rustix::fs::statat(spot.directory, spot.name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn inode(spot: Spot<'_>) -> Result<u64> {
    Ok(rustix::fs::statat(spot.directory, spot.name, AtFlags::SYMLINK_NOFOLLOW)?.st_ino as u64)
}
