//! What the files of a folder held when they were last read, kept for the next start, so that a folder of any size is
//! not read again to learn what is known.
//!
//! Only ever a saving: it counts for the very folder it was taken from, and whatever is wrong with it (absent, torn,
//! another version) means that files are read.

use std::fs::File;
use std::io;
use std::io::Write as _;
use std::path::Path;

use serde::Deserialize;
use serde::Serialize;

use crate::disk::Identity;
use crate::entry::Digest;
use crate::tree::Stamp;

/// Raise this whenever what a [`Stamp`] is made of, or the form of an [`Identity`], changes: an old or new reader then reads the files instead.
const VERSION: u32 = 2;
/// A longer file is none of ours: two million files.
const LENGTH_MAX: u64 = 128 << 20;
/// The length of the digest at its end.
const SEAL: usize = 32;

#[derive(Serialize, Deserialize)]
struct Saved {
    version: u32,
    folder: Identity,
    stamps: Vec<(u64, Digest)>,
}

/// Writes stamps of `folder` down, in one step.
///
/// # Errors
/// As the kernel says; what was there before still is.
pub fn save(
    path: &Path,
    folder: Identity,
    stamps: impl IntoIterator<Item = (Stamp, Digest)>,
) -> io::Result<()> {
    let stamps = stamps.into_iter().map(|(stamp, digest)| (stamp.0, digest)).collect();
    let mut bytes = postcard::to_allocvec(&Saved { version: VERSION, folder, stamps })
        .expect("stamps have a form on the disk");
    bytes.extend_from_slice(blake3::hash(&bytes).as_bytes());
    let aside = path.with_extension("new");
    File::create(&aside)?.write_all(&bytes)?;
    std::fs::rename(&aside, path)
}

/// The stamps of `folder` that were saved; none when there are none to be trusted.
pub fn load(path: &Path, folder: Identity) -> Vec<(Stamp, Digest)> {
    read(path)
        .filter(|saved| saved.version == VERSION && saved.folder == folder)
        .map(|saved| saved.stamps.into_iter().map(|(stamp, digest)| (Stamp(stamp), digest)).collect())
        .unwrap_or_default()
}

fn read(path: &Path) -> Option<Saved> {
    if std::fs::metadata(path).ok()?.len() > LENGTH_MAX {
        return None;
    }
    let bytes = std::fs::read(path).ok()?;
    let (body, seal) = bytes.split_at_checked(bytes.len().checked_sub(SEAL)?)?;
    (blake3::hash(body).as_bytes() == seal).then(|| postcard::from_bytes(body).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Nonce;

    #[test]
    fn stamps_count_for_their_folder_and_only_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("stamps");
        let folder = Identity { device: 1, inode: 2, born: 3, nonce: Nonce([4; 16]) };
        let stamps = vec![(Stamp(7), Digest([7; 32])), (Stamp(8), Digest([8; 32]))];
        assert_eq!(load(&path, folder), []);
        save(&path, folder, stamps.clone()).unwrap();
        assert_eq!(load(&path, folder), stamps);
        assert_eq!(load(&path, Identity { born: 4, ..folder }), []);
        assert_eq!(load(&path, Identity { nonce: Nonce([5; 16]), ..folder }), []);
        let whole = std::fs::read(&path).unwrap();
        for torn in [&whole[..whole.len() - 1], &whole[..10], &[]] {
            std::fs::write(&path, torn).unwrap();
            assert_eq!(load(&path, folder), []);
        }
    }
}
