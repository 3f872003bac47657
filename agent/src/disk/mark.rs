//! What is written on a folder so that nobody sees it in there: extended attributes. Where the file system holds none,
//! nothing is.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::disk::Nonce;
use crate::files::Root;

/// Tells this folder from any other: see [`Disk::claim`](crate::disk::Disk::claim).
const FOLDER: &str = "user.nexus.root";
/// Tells how far this folder had come when something was last remembered of it.
const MEMORY: &str = "user.nexus.memory";

/// The nonce of a folder.
pub(super) fn folder(folder: impl AsFd) -> io::Result<Option<Nonce>> {
    read(folder, FOLDER)
}

/// Gives a folder its nonce, unless somebody has.
pub(super) fn claim(folder: impl AsFd, nonce: Nonce) -> io::Result<()> {
    match rustix::fs::fsetxattr(folder, FOLDER, &nonce.0, XattrFlags::CREATE) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What was last written on a folder with [`remember`].
///
/// # Errors
/// As the kernel says.
pub fn remembered(folder: &Path) -> io::Result<Option<Nonce>> {
    read(Root::open(folder)?.directory(), MEMORY)
}

/// Writes on a folder that something was remembered of it.
///
/// # Errors
/// As the kernel says.
pub fn remember(folder: &Path, nonce: Nonce) -> io::Result<()> {
    let root = Root::open(folder)?;
    Ok(rustix::fs::fsetxattr(root.directory(), MEMORY, &nonce.0, XattrFlags::empty())?)
}

/// What is longer than a nonce is none.
fn read(folder: impl AsFd, name: &str) -> io::Result<Option<Nonce>> {
    let mut nonce = Nonce::default();
    match rustix::fs::fgetxattr(folder, name, &mut nonce.0) {
        Ok(_) => Ok(Some(nonce)),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
