//! How a session is at one moment: a value for whoever shows it, with nothing of the session in it.

use std::sync::Arc;
use std::time::Duration;

use super::Deferred;
use super::Instant;
use super::Replica;
use super::Session;
use crate::entry::Digest;
use crate::path::RelPath;
use crate::reconcile::Conflict;
use crate::reconcile::Side;
use crate::resolve::token;
use crate::safety::Halt;
use crate::safety::Hold;
use crate::tree::Item;
use crate::tree::problems;

/// So many of the things on a side that cannot be read or carried are told.
const PROBLEMS: usize = 100;

/// How a session is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Host first.
    pub sides: [SideStatus; 2],
    /// Somebody has stopped it.
    pub paused: bool,
    /// Something has changed, and what follows from it is not decided yet.
    pub undecided: bool,
    /// Why everything stops until a person decides.
    pub halt: Option<Halt>,
    /// What both sides last agreed on.
    pub agreed: Amount,
    /// The files and links in that.
    pub agreed_files: u64,
    /// What neither side may be given without a decision.
    pub conflicts: Vec<Dispute>,
    /// What waits for a yes.
    pub holds: Vec<Hold>,
    /// What failed and is tried again, in the order of the paths.
    pub deferred: Vec<(Option<RelPath>, Deferred)>,
    /// How long the last change took, from when it was heard of until it stood on the other side.
    pub latency: Option<Duration>,
}

/// How one side is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SideStatus {
    /// Whether it is there.
    pub presence: Presence,
    /// Its disk is full: it is left alone for a moment, and tried again.
    pub stalled: bool,
    /// The files and links it holds.
    pub files: u64,
    /// All it holds.
    pub holds: Amount,
    /// What is being brought to it.
    pub progress: Progress,
    /// What is there and can be neither read nor carried, and why; the first hundred.
    pub problems: Vec<(Option<RelPath>, Arc<str>)>,
}

/// Whether a side is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// Nobody speaks for it.
    Detached,
    /// It is saying what it holds.
    Attaching,
    /// All it holds is known.
    Attached,
    /// Its folder cannot be looked at.
    Unavailable {
        /// One sentence for people.
        reason: String,
    },
}

/// How much something is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Files, links and directories.
    pub entries: u64,
    /// Bytes of content.
    pub bytes: u64,
}

/// How far something is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// As much is done.
    pub done: Amount,
    /// Of so much.
    pub total: Amount,
}

/// A conflict, and what stands for it as it is now: to be given with a choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispute {
    /// What stands against what.
    pub conflict: Conflict,
    /// See [`token`].
    pub key: Digest,
}

/// A session in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Somebody has stopped it.
    Paused,
    /// A whole folder seems to have gone: a person decides.
    Halted,
    /// A side is not there.
    Apart,
    /// Something is on its way.
    Working,
    /// A disk is full, or something failed and is tried again.
    Retrying,
    /// Nothing is on its way, and something waits for a person.
    Waiting,
    /// Both sides are equal.
    Equal,
}

/// What is being brought to a side.
#[derive(Debug)]
pub(super) struct Run {
    /// When the first of it was heard of.
    pub(super) since: Instant,
    pub(super) done: Amount,
}

impl Run {
    pub(super) fn since(since: Instant) -> Self {
        Self { since, done: Amount::default() }
    }
}

impl Status {
    /// In a word.
    pub fn state(&self) -> State {
        let busy = |side: &SideStatus| side.progress.done != side.progress.total;
        if self.paused {
            State::Paused
        } else if self.halt.is_some() {
            State::Halted
        } else if self.sides.iter().any(|side| side.presence != Presence::Attached) {
            State::Apart
        } else if self.sides.iter().any(|side| side.stalled) {
            State::Retrying
        } else if self.undecided || self.sides.iter().any(busy) {
            State::Working
        } else if !self.deferred.is_empty() {
            State::Retrying
        } else if !(self.conflicts.is_empty() && self.holds.is_empty()) {
            State::Waiting
        } else {
            State::Equal
        }
    }

    /// One side.
    pub fn side(&self, side: Side) -> &SideStatus {
        &self.sides[side as usize]
    }
}

impl State {
    /// Every state.
    pub const ALL: [Self; 7] =
        [Self::Paused, Self::Halted, Self::Apart, Self::Working, Self::Retrying, Self::Waiting, Self::Equal];

    /// Its name in tables and events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Halted => "halted",
            Self::Apart => "apart",
            Self::Working => "working",
            Self::Retrying => "retrying",
            Self::Waiting => "waiting",
            Self::Equal => "equal",
        }
    }
}

impl Amount {
    fn of(item: Option<&Item>) -> Self {
        Self { entries: item.map_or(0, Item::count), bytes: item.map_or(0, Item::bytes) }
    }

    fn plus(self, (entries, bytes): (u64, u64)) -> Self {
        Self { entries: self.entries + entries, bytes: self.bytes.saturating_add(bytes) }
    }
}

impl Session {
    /// How it is now. Costs what is in conflict, deferred or unreadable, and not what is in the folders.
    pub fn status(&self) -> Status {
        let dispute = |conflict: &Conflict| Dispute { key: token(conflict), conflict: conflict.clone() };
        Status {
            sides: Side::BOTH.map(|side| self.side_status(side)),
            paused: self.paused,
            undecided: self.stale,
            halt: self.halt,
            agreed: Amount::of(self.ancestor.root()),
            agreed_files: self.ancestor.root().map_or(0, Item::files),
            conflicts: self.conflicts.iter().map(dispute).collect(),
            holds: self.holds.clone(),
            deferred: self.deferred.iter().map(|(path, deferred)| (path.clone(), deferred.clone())).collect(),
            latency: self.latency,
        }
    }

    fn side_status(&self, side: Side) -> SideStatus {
        let replica = self.replica(side);
        let root = replica.tree.root();
        let done = replica.run.as_ref().map_or(Amount::default(), |run| run.done);
        let batches = || self.batches_to(side);
        let arrived = batches().map(|batch| batch.arrived.min(batch.amount.1)).sum();
        let total = batches().fold(done, |total, batch| total.plus(batch.amount));
        SideStatus {
            presence: replica.presence(),
            stalled: replica.stalled.is_some(),
            files: root.map_or(0, Item::files),
            holds: Amount::of(root),
            progress: Progress { done: done.plus((0, arrived)), total: total.plus(replica.queue.waiting()) },
            problems: problems(root, PROBLEMS),
        }
    }
}

impl Replica {
    fn presence(&self) -> Presence {
        match &self.unavailable {
            Some((reason, _)) => Presence::Unavailable { reason: reason.clone() },
            None if self.attached => Presence::Attached,
            None if self.attaching => Presence::Attaching,
            None => Presence::Detached,
        }
    }
}
