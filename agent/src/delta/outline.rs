//! What is in each part of a content, and what follows from that for the whole: the digest.
//!
//! BLAKE3 is a tree, and a part is one of its subtrees. So the hashes of the parts come for free with the digest, and the
//! digest follows from them.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

use blake3::hazmat::HasherExt as _;
use blake3::hazmat::Mode;
use serde::Deserialize;
use serde::Serialize;

use crate::delta::PART;
use crate::entry::Digest;

/// The outlines that are remembered, counted in parts: those of 8 GB.
const REMEMBERED: usize = 32 * 1024;
/// Of contents with fewer parts than this none is remembered: they are read again as fast.
const PARTS_MIN: usize = 16;

/// Stands for what is in one part, at its place.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain(pub [u8; 32]);

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Makes a digest, and the outline with it.
#[derive(Debug)]
pub struct Outliner {
    parts: Vec<Chain>,
    /// Of the part that is not over.
    hasher: blake3::Hasher,
    filled: u64,
}

impl Default for Outliner {
    fn default() -> Self {
        Self { parts: Vec::new(), hasher: blake3::Hasher::new(), filled: 0 }
    }
}

impl Outliner {
    /// Takes what comes next.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            // A part is over when another begins: the only one is not a part but the whole.
            if self.filled == PART {
                self.parts.push(Chain(self.hasher.finalize_non_root()));
                self.hasher = blake3::Hasher::new();
                self.hasher.set_input_offset(self.length());
                self.filled = 0;
            }
            let room = usize::try_from(PART - self.filled).unwrap_or(bytes.len());
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.hasher.update(now);
            self.filled += now.len() as u64;
            bytes = later;
        }
    }

    /// How many bytes there are in the parts that are over.
    fn length(&self) -> u64 {
        self.parts.len() as u64 * PART
    }

    /// The digest of all of it. The outline of a content that has a single part is empty.
    pub fn finish(mut self) -> (Digest, Vec<Chain>) {
        if self.parts.is_empty() {
            return (self.hasher.finalize().into(), Vec::new());
        }
        self.parts.push(Chain(self.hasher.finalize_non_root()));
        (root(&self.parts), self.parts)
    }
}

/// What stands for these bytes as the part with this number, of a content of several parts.
pub fn part(number: u64, bytes: &[u8]) -> Chain {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(number * PART);
    hasher.update(bytes);
    Chain(hasher.finalize_non_root())
}

/// The digest of the content with these parts, of which there are several.
pub fn root(parts: &[Chain]) -> Digest {
    let (left, right) = halves(parts);
    blake3::hazmat::merge_subtrees_root(&chain(left), &chain(right), Mode::Hash).into()
}

fn chain(parts: &[Chain]) -> [u8; 32] {
    if let [only] = parts {
        return only.0;
    }
    let (left, right) = halves(parts);
    blake3::hazmat::merge_subtrees_non_root(&chain(left), &chain(right), Mode::Hash)
}

/// Of every subtree the left half is as large as it can be while it is whole and something is left.
fn halves(parts: &[Chain]) -> (&[Chain], &[Chain]) {
    parts.split_at(parts.len().div_ceil(2).next_power_of_two())
}

/// The outlines of contents that were hashed not long ago.
#[derive(Debug, Default)]
pub struct Outlines {
    known: HashMap<Digest, Arc<[Chain]>>,
    order: VecDeque<Digest>,
    parts: usize,
}

impl Outlines {
    /// Remembers one, and forgets the oldest for it.
    pub fn put(&mut self, digest: Digest, parts: Vec<Chain>) {
        if parts.len() < PARTS_MIN || parts.len() > REMEMBERED || self.known.contains_key(&digest) {
            return;
        }
        self.parts += parts.len();
        self.known.insert(digest, parts.into());
        self.order.push_back(digest);
        while self.parts > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.parts -= self.known.remove(&oldest).map_or(0, |parts| parts.len());
        }
    }

    /// The outline of a content, if it is remembered.
    pub fn get(&self, digest: &Digest) -> Option<Arc<[Chain]>> {
        self.known.get(digest).cloned()
    }
}
