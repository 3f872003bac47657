//! A side that is only a tree.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;

use crate::delta;
use crate::delta::outline::Chain;
use crate::disk::Identity;
use crate::disk::Nonce;
use crate::entry::Digest;
use crate::message::CHUNK;
use crate::message::FromSide;
use crate::message::Order;
use crate::message::Outcome;
use crate::message::Part;
use crate::message::Piece;
use crate::message::Problem;
use crate::message::ToSide;
use crate::path::RelPath;
use crate::tree::Change;
use crate::tree::Directory;
use crate::tree::Item;
use crate::tree::Tree;
use crate::tree::diff;

/// A side that keeps its promises, and a person who edits there.
#[derive(Default)]
pub(super) struct Fake {
    pub(super) number: u64,
    pub(super) clock: i64,
    pub(super) tree: Tree,
    pub(super) reported: Tree,
    pub(super) attached: bool,
    pub(super) stored: BTreeSet<Digest>,
    /// What is stored up to a byte.
    pub(super) begun: BTreeMap<Digest, u64>,
    /// Everything ever displaced by an order.
    pub(super) kept: BTreeSet<Digest>,
    pub(super) inbox: VecDeque<ToSide>,
    pub(super) outbox: VecDeque<FromSide>,
}

impl Fake {
    pub(super) fn new(number: u64) -> Self {
        let root = Tree::with_root(Some(Item::Directory(Directory::empty())));
        Self { number, tree: root, ..Self::default() }
    }

    pub(super) fn set(&mut self, path: &RelPath, item: Option<Item>) {
        drop(self.tree.apply(&[Change { path: Some(path.clone()), item }]));
    }

    /// How long the file is that stands there, if it is this one.
    fn has(&self, path: &RelPath, digest: Digest) -> Option<u64> {
        match self.tree.get(Some(path)) {
            Some(Item::File(file)) if file.digest == digest => Some(file.size),
            _ => None,
        }
    }

    /// Says nothing before it was asked who it is.
    pub(super) fn report(&mut self) {
        if !self.attached {
            return;
        }
        let changes = diff(&self.reported, &self.tree);
        self.reported = self.tree.clone();
        if !changes.is_empty() {
            self.outbox.push_back(FromSide::Changes { changes, more: false });
        }
    }

    pub(super) fn step(&mut self) {
        let Some(message) = self.inbox.pop_front() else { return };
        let reply = match message {
            ToSide::Attach { have } => {
                self.attached = true;
                let anew = have != self.reported.digest();
                if anew {
                    self.reported = Tree::default();
                }
                let identity = Identity { device: 1, inode: self.number, born: 1, nonce: Nonce::default() };
                let stored = self.stored.iter().copied().collect();
                let begun = self.begun.iter().map(|(digest, length)| (*digest, *length)).collect();
                let clock = self.clock;
                self.outbox.push_back(FromSide::Attached { identity, anew, stored, begun, clock });
                let changes = diff(&self.reported, &self.tree);
                self.reported = self.tree.clone();
                FromSide::Changes { changes, more: false }
            }
            ToSide::Look { token } => {
                self.report();
                FromSide::Looked { token }
            }
            ToSide::Read { path, digest, offset, like } => match self.has(&path, digest) {
                Some(size) => {
                    let part = (size - offset).min(CHUNK);
                    let bytes = vec![0; usize::try_from(part).unwrap()];
                    let found = !like.is_empty() && offset.is_multiple_of(2);
                    let piece = if found { Piece::Delta(vec![1]) } else { Piece::Whole(bytes) };
                    FromSide::Content { digest, offset, piece }
                }
                None => FromSide::Gone { digest },
            },
            ToSide::Outline { path, digest, from } => match self.has(&path, digest) {
                Some(size) => {
                    let chain = |part: u64| Chain(if part.is_multiple_of(3) { [0; 32] } else { digest.0 });
                    let parts = (from..delta::parts(size)).take(2).map(chain).collect();
                    FromSide::Outlined { digest, from, parts }
                }
                None => FromSide::Gone { digest },
            },
            ToSide::Sign { base, span } => match self.has(&base.path, base.digest) {
                Some(size) => {
                    assert!(span.length > 0 && span.from + span.length <= size, "{span:?} of {size}");
                    FromSide::Signed { digest: base.digest, signature: vec![7] }
                }
                None => FromSide::Gone { digest: base.digest },
            },
            ToSide::Store { digest, offset, part, last } => {
                let begun = self.begun.remove(&digest).unwrap_or_default();
                let based = match &part {
                    Part::Sent(_) => true,
                    Part::Differing { base, .. } | Part::Same { base, .. } => {
                        self.has(&base.path, base.digest).is_some()
                    }
                };
                let fits = (offset == 0 || offset == begun) && based;
                if fits && last {
                    self.stored.insert(digest);
                } else if fits {
                    self.begun.insert(digest, offset + part.size());
                }
                let problem = (!fits).then(|| Problem::Other("it does not fit".to_owned()));
                FromSide::Stored { digest, bytes: part.size(), whole: fits && last, problem }
            }
            ToSide::Drop { digest } => {
                self.stored.remove(&digest);
                self.begun.remove(&digest);
                return;
            }
            ToSide::Apply { batch, orders } => {
                let gone: BTreeSet<_> = orders
                    .iter()
                    .filter(|order| order.new.is_none())
                    .filter_map(|order| order.expected)
                    .collect();
                let outcomes = orders.iter().map(|order| self.apply(order, &gone)).collect();
                let moved: Vec<_> = orders.iter().filter_map(|order| order.new.as_ref()).collect();
                for item in moved {
                    contents(item).for_each(|digest| {
                        self.stored.remove(&digest);
                    });
                }
                FromSide::Applied { batch, outcomes }
            }
            ToSide::Sync { token } => FromSide::Synced { token },
        };
        self.outbox.push_back(reply);
    }

    fn apply(&mut self, order: &Order, gone: &BTreeSet<Digest>) -> Outcome {
        let path = order.path.as_ref();
        let before = self.tree.get(path).cloned();
        let known = self.reported.get(path).cloned();
        let as_expected = before.as_ref().map(Item::digest) == order.expected && before == known;
        let here = order.new.as_ref().is_none_or(|new| {
            let kept =
                before.as_ref().map(|item| contents(item).collect::<BTreeSet<_>>()).unwrap_or_default();
            gone.contains(&new.digest())
                || contents(new).all(|digest| self.stored.contains(&digest) || kept.contains(&digest))
        });
        let change = Change { path: order.path.clone(), item: order.new.clone() };
        let problem = if !as_expected {
            Some("it changed meanwhile".to_owned())
        } else if !here {
            Some("its content is missing".to_owned())
        } else {
            before.iter().flat_map(contents).for_each(|digest| {
                self.kept.insert(digest);
            });
            self.tree
                .apply(std::slice::from_ref(&change))
                .and_then(|()| self.reported.apply(&[change]))
                .err()
                .map(|error| error.to_string())
        };
        let now = self.reported.get(path).cloned();
        Outcome { path: order.path.clone(), now, problem: problem.map(Problem::Other) }
    }
}

pub(super) fn contents(item: &Item) -> impl Iterator<Item = Digest> {
    let files = item.walk(None).filter_map(|(_, item)| match item {
        Item::File(file) if file.size > 0 => Some(file.digest),
        _ => None,
    });
    files.collect::<Vec<_>>().into_iter()
}
