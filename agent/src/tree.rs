//! A folder as a value: each path with what stands there.

use std::collections::BTreeMap;

use crate::entry::Entry;
use crate::path::RelPath;

/// Everything in a folder, a directory before what it holds.
pub type Tree = BTreeMap<RelPath, Entry>;

/// A digest of all of it: two trees with the same fingerprint hold the same files.
pub fn fingerprint<'a>(entries: impl Iterator<Item = (&'a RelPath, &'a Entry)>) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for (path, entry) in entries {
        let bytes = postcard::to_allocvec(&(path, entry)).expect("an entry has a wire form");
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(&bytes);
    }
    hasher.finalize()
}
