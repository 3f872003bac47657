//! Why a path is as it is: what was decided about it and by what, as far back as it is remembered, and how it stands now.
//!
//! Of each path the last decisions are kept, and of all paths together so many; those decided longest ago are forgotten
//! first.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::fmt;

use super::Instant;
use super::Session;
use super::decide::overlaps;
use crate::entry::Digest;
use crate::path::RelPath;
use crate::reconcile::Mode;
use crate::reconcile::Side;
use crate::reconcile::only_removes;
use crate::reconcile::same;
use crate::resolve::Choice;
use crate::resolve::Strategy;
use crate::resolve::token;
use crate::safety::Cause;
use crate::safety::Halt;
use crate::tree::Item;
use crate::tree::Tree;

/// Decisions remembered in all, and of one path.
const RECORDS: usize = 4_096;
const RECORDS_OF_ONE: usize = 16;
/// Decisions about what is below a path that are told with it.
const BELOW: usize = 100;

/// What there is to say of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// What the host has there.
    pub host: Sight,
    /// What the container has there.
    pub container: Sight,
    /// What both last agreed on.
    pub agreed: Sight,
    /// How it stands.
    pub verdict: Verdict,
    /// What was decided about it, about what it is in and about what is below it; oldest first.
    pub records: Vec<Record>,
}

/// One decision, or what led to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When.
    pub at: Instant,
    /// About which path; `None` is the root.
    pub path: Option<RelPath>,
    /// What.
    pub event: Event,
}

/// What happened to a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A side told what stands there.
    Told {
        /// Who.
        by: Side,
        /// What.
        now: Sight,
    },
    /// Both sides were found to have the same.
    Agreed {
        /// What.
        on: Sight,
    },
    /// A side is to get this.
    Decided {
        /// Who.
        target: Side,
        /// What.
        new: Sight,
        /// Why.
        rule: Rule,
    },
    /// It stands there now.
    Done {
        /// On which side.
        on: Side,
        /// What.
        now: Sight,
    },
    /// It was not done, and will be tried again.
    Failed {
        /// Why.
        reason: String,
    },
    /// Neither side may be written there without a decision.
    Conflict,
    /// A person chose.
    Chosen(Choice),
    /// A side is another folder than before, or new: nothing is remembered of what was.
    Begun,
}

/// Why a side is to get what the other has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Only the other side changed it.
    OnlyOneChanged,
    /// What somebody made beats that it was deleted.
    EditBeatsDeletion,
    /// Both deleted, one of them more.
    FullerDeletion,
    /// In this mode the host stands.
    Mode(Mode),
    /// Both changed it, and this decides.
    Strategy(Strategy),
    /// A person chose.
    Chosen,
}

/// What stands somewhere, in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// Nothing.
    Nothing,
    /// A directory with so much in it.
    Directory {
        /// At any depth.
        entries: u64,
    },
    /// A file.
    File {
        /// Its length in bytes.
        size: u64,
        /// Whether it may be executed.
        executable: bool,
        /// Its content.
        digest: Digest,
    },
    /// A symbolic link.
    Symlink {
        /// Where it leads.
        target: Vec<u8>,
    },
    /// Something that is not carried.
    Ignored,
    /// Something that cannot be carried or read now.
    Problem(String),
}

/// How a path stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is there on either side.
    Nowhere,
    /// Both sides have the same.
    Equal,
    /// A side does not carry it.
    Ignored {
        /// Which.
        on: Side,
        /// What is left alone: the path itself or what it is in.
        at: Option<RelPath>,
    },
    /// A side cannot read it.
    Unreadable {
        /// Which.
        on: Side,
        /// The path itself, or what it is in.
        at: Option<RelPath>,
        /// Why.
        reason: String,
    },
    /// A side is not there.
    Apart {
        /// Which.
        without: Side,
    },
    /// Somebody has stopped everything.
    Paused,
    /// Everything waits for a person.
    Halted(Halt),
    /// Both changed it, and nobody has decided.
    Conflict {
        /// The path itself, or what it is in.
        at: Option<RelPath>,
        /// To be given with a choice.
        key: Digest,
    },
    /// It waits for a yes, because much would be deleted at once.
    Held {
        /// To be given with the yes.
        key: Digest,
    },
    /// It failed and is tried again.
    Deferred {
        /// Why it failed.
        reason: String,
        /// How often.
        attempts: u32,
    },
    /// It is on its way.
    Underway {
        /// To which side.
        to: Side,
    },
    /// It waits for its turn.
    Waiting,
    /// What only the container has and the mode leaves to it.
    Left,
}

/// What was decided lately.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) records: BTreeMap<u64, Record>,
    pub(super) of: BTreeMap<Option<RelPath>, VecDeque<u64>>,
    next: u64,
}

impl Memory {
    pub(super) fn note(&mut self, at: Instant, path: Option<RelPath>, event: Event) {
        let number = self.next;
        self.next += 1;
        let of = self.of.entry(path.clone()).or_default();
        of.push_back(number);
        if of.len() > RECORDS_OF_ONE {
            of.pop_front().and_then(|oldest| self.records.remove(&oldest));
        }
        self.records.insert(number, Record { at, path, event });
        if self.records.len() > RECORDS
            && let Some((_, oldest)) = self.records.pop_first()
            && let Some(of) = self.of.get_mut(&oldest.path)
        {
            of.pop_front();
            if of.is_empty() {
                self.of.remove(&oldest.path);
            }
        }
    }

    pub(super) fn about(&self, path: Option<&RelPath>) -> Vec<Record> {
        let mut numbers = Vec::new();
        let mut at = path.cloned();
        loop {
            numbers.extend(self.of.get(&at).into_iter().flatten());
            let Some(inner) = at else { break };
            at = inner.parent();
        }
        if let Some(path) = path {
            let below =
                self.of.range(Some(path.clone())..).skip_while(|(other, _)| other.as_ref() == Some(path));
            let below =
                below.take_while(|(other, _)| other.as_ref().is_some_and(|other| other.is_within(path)));
            numbers.extend(below.flat_map(|(_, numbers)| numbers).take(BELOW));
        }
        numbers.sort_unstable();
        numbers.iter().filter_map(|number| self.records.get(number).cloned()).collect()
    }
}

impl Sight {
    pub(super) fn of(item: Option<&Item>) -> Self {
        match item {
            None => Self::Nothing,
            Some(Item::Directory(directory)) => Self::Directory { entries: directory.count() },
            Some(Item::File(file)) => {
                Self::File { size: file.size, executable: file.executable, digest: file.digest }
            }
            Some(Item::Symlink(target)) => Self::Symlink { target: target.as_bytes().into() },
            Some(Item::Untracked(_)) => Self::Ignored,
            Some(Item::Problematic(problem)) => Self::Problem(problem.to_string()),
        }
    }
}

impl Session {
    /// Why something stands at a path, or does not. Costs what is in conflict, held, put off and on its way.
    pub fn trace(&self, path: Option<&RelPath>) -> Trace {
        let [host, container] = Side::BOTH.map(|side| Sight::of(self.replica(side).tree.get(path)));
        let agreed = Sight::of(self.ancestor.get(path));
        Trace { host, container, agreed, verdict: self.verdict(path), records: self.memory.about(path) }
    }

    fn verdict(&self, path: Option<&RelPath>) -> Verdict {
        for side in Side::BOTH {
            match blocked(&self.replica(side).tree, path) {
                Some((at, Item::Untracked(_))) => return Verdict::Ignored { on: side, at },
                Some((at, Item::Problematic(reason))) => {
                    return Verdict::Unreadable { on: side, at, reason: reason.to_string() };
                }
                _ => {}
            }
        }
        if let Some(without) = Side::BOTH.into_iter().find(|side| !self.replica(*side).attached) {
            return Verdict::Apart { without };
        }
        let [alpha, beta] = Side::BOTH.map(|side| self.replica(side).tree.get(path));
        if same(alpha, beta) {
            return if alpha.is_some_and(Item::is_carried) { Verdict::Equal } else { Verdict::Nowhere };
        }
        if let Some(halt) = self.halt {
            return Verdict::Halted(halt);
        }
        if self.paused {
            return Verdict::Paused;
        }
        let touching = |other: &Option<RelPath>| overlaps(other.as_ref(), path);
        if let Some(conflict) = self.conflicts.iter().find(|conflict| touching(&conflict.path)) {
            return Verdict::Conflict { at: conflict.path.clone(), key: token(conflict) };
        }
        let mut batches = self.batches.values();
        let underway =
            batches.find(|batch| batch.transitions.iter().any(|transition| touching(&transition.path)));
        if let Some(batch) = underway {
            return Verdict::Underway { to: batch.target };
        }
        if let Some((_, deferred)) = self.deferred.iter().find(|(other, _)| touching(other)) {
            return Verdict::Deferred { reason: deferred.reason.clone(), attempts: deferred.attempts };
        }
        for hold in &self.holds {
            if let Cause::MassDeletion { from, .. } = hold.cause
                && self.replica(from).tree.get(path).is_some()
                && self.replica(from.other()).tree.get(path).is_none()
            {
                return Verdict::Held { key: hold.key };
            }
        }
        let waits = self.stale || self.replicas.iter().any(|replica| !replica.queue.is_empty());
        if waits { Verdict::Waiting } else { Verdict::Left }
    }

    /// Why `target` gets what the other side has at a path.
    pub(super) fn rule(&self, target: Side, path: Option<&RelPath>) -> Rule {
        let (Mode::TwoWaySafe | Mode::TwoWayResolved) = self.settings.mode else {
            return Rule::Mode(self.settings.mode);
        };
        if self.choices.contains_key(&path.cloned()) {
            return Rule::Chosen;
        }
        let ancestor = self.ancestor.get(path);
        let theirs = self.replica(target).tree.get(path);
        let new = self.replica(target.other()).tree.get(path);
        match (only_removes(ancestor, theirs), only_removes(ancestor, new)) {
            _ if same(ancestor, theirs) => Rule::OnlyOneChanged,
            (true, true) => Rule::FullerDeletion,
            (true, false) => Rule::EditBeatsDeletion,
            _ if self.settings.mode == Mode::TwoWayResolved => Rule::Mode(self.settings.mode),
            _ => Rule::Strategy(self.settings.strategy),
        }
    }
}

/// What is not carried at a path or above it.
fn blocked<'a>(tree: &'a Tree, path: Option<&RelPath>) -> Option<(Option<RelPath>, &'a Item)> {
    let mut at = None;
    let mut item = tree.root()?;
    let mut names = path.into_iter().flat_map(RelPath::components);
    loop {
        if !item.is_carried() {
            return Some((at, item));
        }
        let name = names.next()?;
        item = item.as_directory()?.get(name)?;
        at = RelPath::child(at.as_ref(), name).ok();
    }
}

impl fmt::Display for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Directory { entries } => write!(f, "a directory with {entries} entries"),
            Self::File { size, executable, digest } => {
                let kind = if *executable { "an executable file" } else { "a file" };
                write!(f, "{kind} of {size} bytes ({digest:?})")
            }
            Self::Symlink { target } => write!(f, "a link to {:?}", String::from_utf8_lossy(target)),
            Self::Ignored => f.write_str("something that is ignored"),
            Self::Problem(problem) => write!(f, "something that is not carried: {problem}"),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnlyOneChanged => f.write_str("only the other side changed it"),
            Self::EditBeatsDeletion => f.write_str("an edit beats a deletion"),
            Self::FullerDeletion => f.write_str("both deleted, the other side more"),
            Self::Mode(mode) => write!(f, "the mode is {mode}"),
            Self::Strategy(strategy) => write!(f, "both changed it, and the strategy is {strategy}"),
            Self::Chosen => f.write_str("a person chose it"),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Told { by, now } => write!(f, "the {by} has {now}"),
            Self::Agreed { on } => write!(f, "both sides have {on}"),
            Self::Decided { target, new, rule } => write!(f, "the {target} is to have {new}: {rule}"),
            Self::Done { on, now } => write!(f, "the {on} now has {now}"),
            Self::Failed { reason } => write!(f, "not done: {reason}"),
            Self::Conflict => f.write_str("a conflict: both sides changed it"),
            Self::Chosen(Choice::Host) => f.write_str("a person chose the version of the host"),
            Self::Chosen(Choice::Container) => f.write_str("a person chose the version of the container"),
            Self::Chosen(Choice::Merged(_)) => f.write_str("a person chose a version made of both"),
            Self::Begun => f.write_str("a new pairing of two folders began"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |at: &Option<RelPath>| at.as_ref().map_or("the root".to_owned(), |at| format!("`{at}`"));
        match self {
            Self::Nowhere => f.write_str("nothing is there on either side"),
            Self::Equal => f.write_str("both sides have the same"),
            Self::Ignored { on, at } => write!(f, "the {on} ignores {}", shown(at)),
            Self::Unreadable { on, at, reason } => {
                write!(f, "{} is not carried from the {on}: {reason}", shown(at))
            }
            Self::Apart { without } => write!(f, "the {without} is not connected"),
            Self::Paused => f.write_str("the session is paused"),
            Self::Halted(halt) => write!(f, "everything has stopped: {halt}"),
            Self::Conflict { at, .. } => write!(f, "{} is in conflict and waits for a decision", shown(at)),
            Self::Held { .. } => f.write_str("its deletion waits for a yes, because much would go at once"),
            Self::Deferred { reason, attempts } => {
                write!(f, "it failed {attempts} times and is tried again: {reason}")
            }
            Self::Underway { to } => write!(f, "it is on its way to the {to}"),
            Self::Waiting => f.write_str("it waits for its turn"),
            Self::Left => f.write_str("the mode leaves it as it is"),
        }
    }
}
