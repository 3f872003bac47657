//! A portion on its way to one side: which contents are asked for, which have arrived, whether it may be applied.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;

use super::arrival::Arrival;
use super::arrival::Next;
use super::decide::overlaps;
use super::queue::Portion;
use super::queue::Wanted;
use crate::entry::Digest;
use crate::message::Order;
use crate::path::RelPath;
use crate::reconcile::Side;
use crate::reconcile::Transition;
use crate::tree::Item;

/// Contents of several parts that are asked for side by side, of one batch: each is a file the target holds open.
const ASKING: usize = 4;

/// A content of which the target has the beginning.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Half {
    /// So many bytes.
    pub(super) stored: u64,
    /// So many parts were said to be stored and are not answered.
    pub(super) open: u32,
    /// The target was told to drop it: the answers to come are about nothing that is there.
    pub(super) dropped: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) target: Side,
    pub(super) transitions: Vec<Transition>,
    /// By itself: nothing waits for it.
    pub(super) large: bool,
    unread: VecDeque<Wanted>,
    /// What is on its way and not stored; of those something is still to be asked for; and those that need more than a
    /// question and an answer.
    arrivals: BTreeMap<Digest, Arrival>,
    asking: VecDeque<Digest>,
    mending: BTreeSet<Digest>,
    /// Every content it needs, and of those what it needed only for what was given up.
    needs: BTreeSet<Digest>,
    orphaned: BTreeSet<Digest>,
    /// Those not stored yet, now and at first.
    missing: BTreeSet<Digest>,
    brought: BTreeSet<Digest>,
    /// What a person made, and the other side has no more than this one.
    pub(super) made: BTreeSet<Digest>,
    pub(super) sent: bool,
    /// The entries and the bytes of content in all, and the bytes that have arrived.
    pub(super) amount: (u64, u64),
    pub(super) arrived: u64,
}

impl Batch {
    /// `stored` are the contents the target has already.
    pub(super) fn new(target: Side, portion: Portion, large: bool, stored: &BTreeSet<Digest>) -> Self {
        let needs = portion.wanted.iter().map(|wanted| wanted.digest).collect();
        let unread: VecDeque<_> =
            portion.wanted.into_iter().filter(|wanted| !stored.contains(&wanted.digest)).collect();
        let missing: BTreeSet<_> = unread.iter().map(|wanted| wanted.digest).collect();
        Self {
            target,
            transitions: portion.transitions,
            large,
            unread,
            arrivals: BTreeMap::new(),
            asking: VecDeque::new(),
            mending: BTreeSet::new(),
            needs,
            orphaned: BTreeSet::new(),
            brought: missing.clone(),
            missing,
            made: BTreeSet::new(),
            sent: false,
            amount: portion.amount,
            arrived: 0,
        }
    }

    /// What comes next, of which content. `halves` are those the target has the beginning of.
    pub(super) fn next(&mut self, halves: &mut BTreeMap<Digest, Half>) -> Option<(Digest, Next)> {
        loop {
            let mut ready = None;
            let Self { asking, arrivals, .. } = self;
            asking.retain(|digest| {
                let Some(arrival) = arrivals.get_mut(digest) else { return false };
                if ready.is_none() {
                    ready = arrival.next().map(|next| (*digest, next));
                }
                arrival.has_more()
            });
            if ready.is_some() {
                return ready;
            }
            if self.asking.len() >= ASKING {
                return None;
            }
            let wanted = self.unread.pop_front()?;
            let digest = wanted.digest;
            let half = halves.remove(&digest).unwrap_or_default();
            let arrival = Arrival::new(wanted, half.stored, half.open);
            self.arrived += arrival.stored();
            self.asking.push_back(digest);
            if !arrival.is_plain() {
                self.mending.insert(digest);
            }
            self.arrivals.insert(digest, arrival);
        }
    }

    /// A content on its way.
    pub(super) fn arrival(&mut self, digest: &Digest) -> Option<&mut Arrival> {
        self.arrivals.get_mut(digest)
    }

    /// The bytes that wait on their way, here and there, for an answer or for what comes before them.
    pub(super) fn waiting(&self) -> u64 {
        let mending = self.mending.iter().filter_map(|digest| self.arrivals.get(digest));
        mending.map(Arrival::waiting).sum()
    }

    /// A content cannot be brought the way it was begun. Says whether there is another.
    pub(super) fn fall_back(&mut self, digest: &Digest) -> bool {
        let Some(arrival) = self.arrivals.get_mut(digest) else { return false };
        let stored = arrival.stored();
        if !arrival.fall_back() {
            return false;
        }
        self.arrived -= stored;
        if !self.asking.contains(digest) {
            self.asking.push_back(*digest);
        }
        true
    }

    /// What the target has the beginning of.
    pub(super) fn into_halves(self) -> impl Iterator<Item = (Digest, Half)> {
        let half =
            |arrival: &Arrival| Half { stored: arrival.stored(), open: arrival.open(), dropped: false };
        let begun = self.arrivals.into_iter().map(move |(digest, arrival)| (digest, half(&arrival)));
        begun.filter(|(_, half)| half.stored > 0 || half.open > 0)
    }

    /// Every content it needs, stored or not.
    pub(super) fn needs(&self) -> &BTreeSet<Digest> {
        &self.needs
    }

    /// Those of them that it uses up when it is applied.
    pub(super) fn uses(&self) -> impl Iterator<Item = &Digest> {
        self.needs.difference(&self.orphaned)
    }

    /// Whether the target had this content before the batch was made.
    pub(super) fn was_stored(&self, digest: &Digest) -> bool {
        !self.brought.contains(digest)
    }

    /// Whether it puts this content at or below a path, or above it.
    pub(super) fn puts(&self, digest: &Digest, path: Option<&RelPath>) -> bool {
        let mut about = self.transitions.iter().filter(|transition| overlaps(transition.path.as_ref(), path));
        about.any(|transition| transition.new.as_ref().is_some_and(|new| holds(new, digest)))
    }

    /// Whether this content is on its way with this batch.
    pub(super) fn awaits(&self, digest: &Digest) -> bool {
        self.missing.contains(digest)
    }

    /// The contents not stored yet.
    pub(super) fn missing(&self) -> impl Iterator<Item = Digest> {
        self.missing.iter().copied()
    }

    /// A content is there.
    pub(super) fn stored(&mut self, digest: &Digest) {
        self.missing.remove(digest);
        self.let_go(digest);
    }

    fn let_go(&mut self, digest: &Digest) {
        self.arrivals.remove(digest);
        self.asking.retain(|asking| asking != digest);
        self.mending.remove(digest);
    }

    /// A content will not come: gives up the transitions that need it, and returns their paths.
    pub(super) fn give_up(&mut self, digest: &Digest) -> Vec<Option<RelPath>> {
        self.let_go(digest);
        self.unread.retain(|wanted| wanted.digest != *digest);
        self.missing.remove(digest);
        let needs = |transition: &Transition| transition.new.as_ref().is_some_and(|new| holds(new, digest));
        let given_up = self.transitions.iter().filter(|transition| needs(transition));
        let paths = given_up.map(|transition| transition.path.clone()).collect();
        self.transitions.retain(|transition| !needs(transition));
        // It still keeps others from bringing the same, but nothing of it will take them.
        let wanted = self
            .transitions
            .iter()
            .filter_map(|transition| transition.new.as_ref())
            .flat_map(|new| new.walk(None))
            .filter_map(|(_, item)| if let Item::File(file) = item { Some(file.digest) } else { None })
            .collect();
        self.orphaned = self.needs.difference(&wanted).copied().collect();
        paths
    }

    /// Whether `new` is something the other side had when this was decided, or has by now.
    pub(super) fn is_shared(&self, new: Option<&Item>, other: Option<&Item>) -> bool {
        match new {
            Some(Item::File(file)) if self.made.contains(&file.digest) => {
                other.is_some_and(|other| Item::File(file.clone()).carries_same(other))
            }
            _ => true,
        }
    }

    /// Whether everything it needs is there.
    pub(super) fn is_ready(&self) -> bool {
        self.missing.is_empty() && !self.sent
    }

    /// What shall stand where.
    pub(super) fn intents(&self) -> Intents<'_> {
        Intents(
            self.transitions
                .iter()
                .map(|transition| (transition.path.clone(), transition.new.as_ref()))
                .collect(),
        )
    }

    /// What the target is told.
    pub(super) fn orders(&self) -> Vec<Order> {
        let order = |transition: &Transition| Order {
            path: transition.path.clone(),
            expected: transition.old.as_ref().map(Item::digest),
            new: transition.new.clone(),
        };
        self.transitions.iter().map(order).collect()
    }
}

/// What shall stand at the paths of a batch.
pub(super) struct Intents<'a>(BTreeMap<Option<RelPath>, Option<&'a Item>>);

impl<'a> Intents<'a> {
    /// At a path of one of its transitions, or below it; `None` when the batch is about no such path.
    pub(super) fn at(&self, path: Option<&RelPath>) -> Option<Option<&'a Item>> {
        let mut names = Vec::new();
        let mut at = path.cloned();
        loop {
            if let Some(new) = self.0.get(&at) {
                let below = names
                    .iter()
                    .rev()
                    .try_fold(*new, |item, name: &Vec<u8>| Some(item?.as_directory()?.get(name)));
                return Some(below.flatten());
            }
            let inner = at?;
            names.push(inner.name().to_vec());
            at = inner.parent();
        }
    }
}

fn holds(item: &Item, digest: &Digest) -> bool {
    match item {
        Item::File(file) => file.digest == *digest,
        Item::Directory(directory) => directory.iter().any(|(_, item)| holds(item, digest)),
        _ => false,
    }
}
