//! What is to be done on one side, in which order and in which portions. Pure.
//!
//! A large new directory is taken apart, so that no portion is large and an edit elsewhere never waits for all of it.
//! What only moved (the same digest goes in one place and comes in another) stays together, so that the side can move
//! it instead of receiving it again.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;

use crate::delta::Base;
use crate::entry::Digest;
use crate::message::PAGE;
use crate::path::RelPath;
use crate::reconcile::Transition;
use crate::tree::Directory;
use crate::tree::File;
use crate::tree::Item;

/// Entries one portion holds at most, unless it is a single change.
const PORTION_ENTRIES: u64 = 1_000;
/// Bytes it takes to tell of a portion at most, unless it is a single change.
const PORTION_WEIGHT: usize = PAGE;
/// Bytes of content one portion holds at most, unless it is a single change.
const PORTION_BYTES: u64 = 8 * 1024 * 1024;
/// A file from this size on goes by itself, and everything else overtakes it.
const LARGE: u64 = 1024 * 1024;
/// A new directory with more entries than this is taken apart.
const WHOLE: u64 = 256;

/// A content that a portion needs from the other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Where the other side has it.
    pub(super) path: RelPath,
    pub(super) digest: Digest,
    pub(super) size: u64,
    /// What it takes the place of on the side that needs it.
    pub(super) base: Option<Replaced>,
}

/// The version of a file that is to be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Replaced {
    pub(super) base: Base,
    pub(super) size: u64,
}

/// What is applied together.
#[derive(Debug, Default)]
pub(super) struct Portion {
    pub(super) transitions: Vec<Transition>,
    /// The entries and the bytes of content in all.
    pub(super) amount: (u64, u64),
    /// Each content once.
    pub(super) wanted: Vec<Wanted>,
}

/// Changes that wait, in an order in which they can be made.
#[derive(Debug, Default)]
pub(super) struct Queue {
    small: VecDeque<Transition>,
    large: VecDeque<Transition>,
    /// Directories in `small` that are made for what else is in the queue.
    making: BTreeSet<Option<RelPath>>,
    /// Entries and bytes in all.
    waiting: (u64, u64),
}

impl Queue {
    /// Takes transitions apart and puts them in order.
    pub(super) fn new(transitions: Vec<Transition>) -> Self {
        let moved = moved(&transitions);
        let mut queue = Self::default();
        let (mut moving, others): (Vec<_>, Vec<_>) =
            transitions.into_iter().partition(|transition| is_moved(transition, &moved));
        // The two ends of a move side by side, the leaving one first.
        moving.sort_by_key(|transition| (digest_of(transition), transition.new.is_some()));
        for transition in moving {
            queue.put(transition, false);
        }
        for transition in others {
            queue.add(transition);
        }
        queue
    }

    pub(super) fn is_empty(&self) -> bool {
        self.small.is_empty() && self.large.is_empty()
    }

    /// How many entries wait, and how many bytes of content they hold.
    pub(super) fn waiting(&self) -> (u64, u64) {
        self.waiting
    }

    /// The next portion of small changes; ends before one that needs a content that is already `on_its_way`.
    pub(super) fn next_small(&mut self, on_its_way: impl Fn(&Digest) -> bool) -> Option<Portion> {
        let mut portion = Gathering::default();
        while let Some(transition) = self.small.front() {
            if !portion.takes(transition, &on_its_way) {
                break;
            }
            let Some(transition) = self.small.pop_front() else { break };
            self.making.remove(&transition.path);
            self.taken(&transition);
            portion.put(transition);
        }
        portion.end()
    }

    /// The next large file, once the directory it goes into is no longer waiting.
    pub(super) fn next_large(&mut self, on_its_way: impl Fn(&Digest) -> bool) -> Option<Portion> {
        let free = |transition: &Transition| {
            let parent = transition.path.as_ref().map(RelPath::parent);
            parent.is_none_or(|parent| !self.making.contains(&parent))
                && wanted(transition).iter().all(|wanted| !on_its_way(&wanted.digest))
        };
        let index = self.large.iter().position(free)?;
        let transition = self.large.remove(index)?;
        self.taken(&transition);
        let mut portion = Gathering::default();
        portion.put(transition);
        portion.end()
    }

    fn add(&mut self, transition: Transition) {
        let new = match (&transition.old, &transition.new) {
            (Some(Item::Directory(_)), _) => None,
            (_, Some(Item::Directory(new))) if new.count() > WHOLE => Some(new.clone()),
            _ => None,
        };
        let Some(new) = new else {
            let large = matches!(&transition.new, Some(Item::File(file)) if file.size >= LARGE);
            return self.put(transition, large);
        };
        let path = transition.path.clone();
        self.making.insert(path.clone());
        self.put(Transition { new: Some(Item::Directory(Directory::empty())), ..transition }, false);
        for (name, item) in new.iter() {
            // A path that is too long for the kernel was never seen there.
            let Ok(path) = RelPath::child(path.as_ref(), name) else { continue };
            self.add(Transition { path: Some(path), old: None, new: Some(item.clone()) });
        }
    }

    fn put(&mut self, transition: Transition, large: bool) {
        let (entries, bytes) = amount(&transition);
        self.waiting.0 += entries;
        self.waiting.1 += bytes;
        if large {
            self.large.push_back(transition);
        } else {
            self.small.push_back(transition);
        }
    }

    fn taken(&mut self, transition: &Transition) {
        let (entries, bytes) = amount(transition);
        self.waiting.0 -= entries;
        self.waiting.1 -= bytes;
    }
}

/// A portion as it grows.
#[derive(Debug, Default)]
struct Gathering {
    transitions: Vec<Transition>,
    wanted: BTreeMap<Digest, Wanted>,
    gone: BTreeSet<Digest>,
    entries: u64,
    bytes: u64,
    weight: usize,
}

impl Gathering {
    fn takes(&self, transition: &Transition, on_its_way: impl Fn(&Digest) -> bool) -> bool {
        let (entries, bytes) = amount(transition);
        let fits = self.transitions.is_empty()
            || self.entries + entries <= PORTION_ENTRIES
                && self.bytes + bytes <= PORTION_BYTES
                && self.weight + transition.change().weight() <= PORTION_WEIGHT;
        fits && wanted(transition).iter().all(|wanted| !on_its_way(&wanted.digest))
    }

    fn put(&mut self, transition: Transition) {
        let (entries, bytes) = amount(&transition);
        self.entries += entries;
        self.bytes += bytes;
        self.weight += transition.change().weight();
        if let (Some(old), None) = (&transition.old, &transition.new) {
            self.gone.insert(old.digest());
        }
        let moved = digest_of(&transition).is_some_and(|digest| self.gone.contains(&digest));
        if !moved {
            self.wanted.extend(wanted(&transition).into_iter().map(|wanted| (wanted.digest, wanted)));
        }
        self.transitions.push(transition);
    }

    fn end(self) -> Option<Portion> {
        let wanted = self.wanted.into_values().collect();
        let amount = (self.entries, self.bytes);
        (!self.transitions.is_empty()).then_some(Portion { transitions: self.transitions, amount, wanted })
    }
}

/// The digests that go in one place and come in another.
fn moved(transitions: &[Transition]) -> BTreeSet<Digest> {
    let gone: BTreeSet<_> = transitions
        .iter()
        .filter(|transition| transition.new.is_none())
        .filter_map(|transition| transition.old.as_ref().map(|old| old.digest()))
        .collect();
    transitions
        .iter()
        .filter(|transition| transition.old.is_none())
        .filter_map(|transition| transition.new.as_ref().map(|new| new.digest()))
        .filter(|digest| gone.contains(digest))
        .collect()
}

fn is_moved(transition: &Transition, moved: &BTreeSet<Digest>) -> bool {
    digest_of(transition).is_some_and(|digest| moved.contains(&digest))
}

/// Of what goes, or of what comes; `None` for what is replaced.
fn digest_of(transition: &Transition) -> Option<Digest> {
    match (&transition.old, &transition.new) {
        (Some(item), None) | (None, Some(item)) => Some(item.digest()),
        _ => None,
    }
}

/// How many entries a transition makes or removes, and how many bytes of content it puts there.
fn amount(transition: &Transition) -> (u64, u64) {
    let entries = |item: &Option<Item>| item.as_ref().map_or(0, Item::count);
    let bytes = wanted(transition).iter().map(|wanted| wanted.size).sum();
    (entries(&transition.new).max(1), bytes)
}

/// The contents of `new` that do not stand at the same path in `old`.
fn wanted(transition: &Transition) -> Vec<Wanted> {
    let mut contents = Vec::new();
    collect(transition.path.as_ref(), transition.old.as_ref(), transition.new.as_ref(), &mut contents);
    contents
}

fn collect(path: Option<&RelPath>, old: Option<&Item>, new: Option<&Item>, contents: &mut Vec<Wanted>) {
    match (new, path) {
        (Some(Item::File(new)), Some(path)) => {
            let same = matches!(old, Some(Item::File(old)) if old.digest == new.digest);
            // Whoever applies can make an empty file without help.
            if !same && new.size > 0 {
                let base = match old {
                    Some(Item::File(File { digest, size, .. })) => {
                        let base = Base { path: path.clone(), digest: *digest };
                        Some(Replaced { base, size: *size })
                    }
                    _ => None,
                };
                contents.push(Wanted { path: path.clone(), digest: new.digest, size: new.size, base });
            }
        }
        (Some(Item::Directory(directory)), _) => {
            let before = match old {
                Some(Item::Directory(before)) => Some(before),
                _ => None,
            };
            for (name, item) in directory.iter() {
                let Ok(path) = RelPath::child(path, name) else { continue };
                collect(Some(&path), before.and_then(|before| before.get(name)), Some(item), contents);
            }
        }
        _ => {}
    }
}
