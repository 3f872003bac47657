//! Reading what stands somewhere on a disk, whole, and knowing that it was not written meanwhile.

use std::io;
use std::io::Read as _;
use std::io::Write;

use crate::disk::At;
use crate::disk::Content as _;
use crate::disk::Disk;
use crate::disk::Facts;
use crate::disk::Kind;
use crate::disk::Slot;
use crate::entry::Digest;

const CHUNK: usize = 128 << 10;

/// The digest a link is staged under. It cannot be that of a file one could name.
pub fn digest_of_link(target: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key("nexus symbolic link target");
    hasher.update(target);
    Digest::from(hasher.finalize())
}

/// The digest under which what stands there would be staged; `None` for what is neither file nor link.
///
/// # Errors
/// As the kernel says.
pub fn digest(disk: &impl Disk, at: At<'_>, facts: &Facts) -> io::Result<Option<Digest>> {
    match facts.kind {
        Kind::File => read(disk, at, &mut io::sink()).map(|(digest, _)| Some(digest)),
        Kind::Symlink => Ok(Some(digest_of_link(&disk.read_link(at)?))),
        _ => Ok(None),
    }
}

/// Reads a file to the end and passes it on. The facts are those after reading, so that a file that was written
/// meanwhile does not look like what was read.
///
/// # Errors
/// As the kernel says.
pub fn read(disk: &impl Disk, at: At<'_>, into: &mut impl Write) -> io::Result<(Digest, Facts)> {
    let (mut reader, _) = disk.open(at)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; CHUNK];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok((hasher.finalize().into(), reader.facts()?)),
            Ok(length) => {
                hasher.update(&buffer[..length]);
                into.write_all(&buffer[..length])?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Stages a copy of the file at `from`, if it has this content. `part` is a free number.
///
/// # Errors
/// As the kernel says.
pub fn copy(disk: &impl Disk, from: At<'_>, digest: Digest, part: u64) -> io::Result<bool> {
    let mut writer = disk.stage(part)?;
    let copied = read(disk, from, &mut writer).and_then(|(found, _)| {
        if found != digest {
            return Ok(false);
        }
        disk.finish(writer, Slot::Whole(digest))?;
        Ok(true)
    });
    if !matches!(copied, Ok(true)) {
        disk.discard(Slot::Part(part))?;
    }
    copied
}
