//! How a changed file travels as what is different in it. Pure.
//!
//! A file is thought of in [parts](PART) at fixed places. The [outline] of a content says what is in each part:
//! it falls out of the very hash that makes its digest, so nothing is read for it twice. Two sides that compare
//! outlines copy what is equal from the version the receiver has; for the rest the receiver [signs](rsync::sign) that
//! version around the part, and the sender [tells](rsync::diff) what is different there, as rsync does.
//!
//! Nothing of it is trusted. MD4 in a signature finds what may be equal, an outline may be a lie: what was put together
//! is hashed again while it is written, and counts only with the digest that was asked for.

pub mod outline;
pub mod rsync;

use serde::Deserialize;
use serde::Serialize;

use crate::entry::Digest;
use crate::path::RelPath;

/// The bytes of one part: a power of two, so that a part is a subtree of the hash.
pub const PART: u64 = 256 * 1024;
/// A file no longer than this travels whole: there is little to save.
pub const WHOLE: u64 = 64 * 1024;
/// A file longer than this travels whole: its outline would not be short any more.
pub const OUTLINED_MAX: u64 = 32 << 30;
/// How far before and behind its own place a part is looked for in the version the receiver has.
pub const SLACK: u64 = 64 * 1024;
/// The longest stretch that is copied or signed at a time.
pub const SPAN_MAX: u64 = 1024 * 1024;

/// A stretch of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Its first byte.
    pub from: u64,
    /// How many there are.
    pub length: u64,
}

/// A version of a file that its receiver has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// Where it stands.
    pub path: RelPath,
    /// Its content.
    pub digest: Digest,
}

impl Span {
    /// Its length as one of bytes in memory; `None` when it is longer than anybody asks for.
    pub fn bytes(&self) -> Option<usize> {
        (self.length <= SPAN_MAX).then(|| usize::try_from(self.length).ok()).flatten()
    }
}

/// How many parts a content of so many bytes has.
pub fn parts(size: u64) -> u64 {
    size.div_ceil(PART)
}

#[cfg(test)]
mod tests;
