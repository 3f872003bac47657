//! Keeps two sides equal: hears what each holds, decides, and says what to do. No IO of its own, no clock, no thread:
//! messages and the time come in, [`Effect`]s go out, so that a simulation can run all of it.
//!
//! Laws: the ancestor is only what both sides really held, and is recorded only once it would survive a power cut on
//! both; whatever stands between two looks and a change is checked by the side that makes it; a path under way is not
//! planned again until its outcome is known.

mod arrival;
mod batch;
mod clock;
mod decide;
mod nearby;
mod offer;
mod outcome;
mod preview;
mod queue;
mod status;
mod trace;
mod transfer;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::time::Duration;

use arrival::What;
use batch::Batch;
use batch::Half;
use clock::Clock;
use nearby::Removed;
use offer::Offers;
use outcome::Unrecorded;
use queue::Queue;
use status::Run;
use trace::Memory;

use crate::disk::Identity;
use crate::entry::Digest;
use crate::message::FromSide;
use crate::message::ToSide;
use crate::path::RelPath;
use crate::reconcile::Conflict;
use crate::reconcile::Mode;
use crate::reconcile::Plan;
use crate::reconcile::Side;
use crate::resolve::Choice;
use crate::resolve::Refusal;
use crate::resolve::Strategy;
use crate::resolve::choose;
use crate::resolve::halfway;
use crate::safety::Cause;
use crate::safety::Ebb;
use crate::safety::Halt;
use crate::safety::Hold;
use crate::safety::Limits;
use crate::safety::Standing;
use crate::safety::standing;
use crate::tree::Change;
use crate::tree::Tree;
use crate::tree::TreeError;

pub use preview::Counts;
pub use preview::Named;
pub use preview::Preview;
pub use status::Amount;
pub use status::Dispute;
pub use status::Presence;
pub use status::Progress;
pub use status::SideStatus;
pub use status::State;
pub use status::Status;
pub use trace::Event;
pub use trace::Record;
pub use trace::Rule;
pub use trace::Sight;
pub use trace::Trace;
pub use trace::Verdict;

/// Since some fixed moment; only differences count.
pub type Instant = Duration;

/// How soon a side that could not be looked at is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How soon what was left undecided is looked at again.
const UNDECIDED: Duration = Duration::from_millis(50);
/// How long a side whose disk is full is left alone.
const STALLED: Duration = Duration::from_secs(2);
/// How long nothing is planned because git is changing files.
const BURST_MAX: Duration = Duration::from_secs(5);

/// What a session has to have done.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Say this to a side.
    Say(Side, ToSide),
    /// Write this to the journal, for good.
    Record(Vec<Change>),
    /// Forget the journal and begin one for these two roots.
    Begin([Identity; 2]),
    /// The journal is of these two roots, the same as before: more is known of them now.
    Known([Identity; 2]),
    /// Whoever asked for this flush is answered.
    Flushed(u64),
    /// All that could be brought to the container is there, for the first time or after more was.
    Settled,
}

/// What is known of one side.
#[derive(Debug, Default)]
struct Replica {
    tree: Tree,
    /// All of its tree is known.
    attached: bool,
    identity: Option<Identity>,
    /// What its clock said when it was last attached.
    clock: Option<Clock>,
    /// Its tree is coming in.
    attaching: bool,
    /// Contents it has already.
    stored: BTreeSet<Digest>,
    /// Contents it has the beginning of, on their way no more.
    halves: BTreeMap<Digest, Half>,
    /// What was removed from it not long ago.
    removed: Removed,
    /// Bytes sent to it and not stored yet.
    unstored: u64,
    /// What it was asked to read and has not answered yet, in order.
    asked: VecDeque<Asked>,
    /// What waits to be changed here.
    queue: Queue,
    /// Why it cannot be looked at, and when it is asked again.
    unavailable: Option<(String, Instant)>,
    /// Nothing is sent before this: its disk is full.
    stalled: Option<Instant>,
    /// Until when git is given to change files here.
    burst: Option<Instant>,
    /// What is being brought here, until nothing is left to bring.
    run: Option<Run>,
}

/// A question about a content that a side was asked.
#[derive(Debug)]
struct Asked {
    /// For which batch.
    batch: u64,
    /// The content it brings, and which attempt to bring it this is.
    digest: Digest,
    attempt: u32,
    /// The content the answer is about.
    about: Digest,
    what: What,
    /// How much content comes with the answer.
    bytes: u64,
}

/// A change that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deferred {
    /// When it is tried again.
    pub until: Instant,
    /// How often it has failed.
    pub attempts: u32,
    /// One sentence for people.
    pub reason: String,
}

/// See the module.
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    ancestor: Tree,
    /// As much of it as would survive a crash of either side.
    lasting: Tree,
    /// The two roots the ancestor speaks of.
    bound: Option<[Identity; 2]>,
    replicas: [Replica; 2],
    batches: BTreeMap<u64, Batch>,
    next: u64,
    /// Something is different since the last plan.
    stale: bool,
    planned: Instant,
    deferred: BTreeMap<Option<RelPath>, Deferred>,
    conflicts: Vec<Conflict>,
    /// Why everything stops, and what a person has said yes to nevertheless.
    halt: Option<Halt>,
    accepted: Option<Halt>,
    /// What waits for a yes, and what has got it.
    holds: Vec<Hold>,
    approved: BTreeSet<Digest>,
    /// How the files of each side have gone lately, and those of which somebody said that they may.
    ebbs: [Ebb; 2],
    /// What a person chose of conflicts, and the contents they made for it.
    choices: BTreeMap<Option<RelPath>, Chosen>,
    offers: Offers,
    /// When a side last told of a change, and since when deletions wait for that to end.
    told: Instant,
    deleting: Option<Instant>,
    /// Agreed on, and not yet known to last.
    agreed: Vec<Change>,
    recording: Option<Recording>,
    unrecorded: Unrecorded,
    flushes: Vec<Flush>,
    /// The container has not been told that it has all there is.
    unsettled: bool,
    paused: bool,
    /// How long the last change took from one side to the other.
    latency: Option<Duration>,
    memory: Memory,
    effects: Vec<Effect>,
}

/// What a session goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Which side's changes go where.
    pub mode: Mode,
    /// Who wins where both have changed.
    pub strategy: Strategy,
    /// What is too much to go without a yes.
    pub limits: Limits,
}

/// What a person chose of a conflict.
#[derive(Debug)]
struct Chosen {
    /// Stand for the conflict they were shown, and for what it is when one side has got what they chose.
    seen: Vec<Digest>,
    choice: Choice,
}

/// Changes that both sides are asked to make last.
#[derive(Debug)]
struct Recording {
    token: u64,
    changes: Vec<Change>,
    /// Who has not answered yet.
    open: BTreeSet<Side>,
}

/// Somebody waits until both sides are equal.
#[derive(Debug)]
struct Flush {
    token: u64,
    /// Which sides have not looked yet.
    open: BTreeSet<Side>,
}

impl Session {
    /// A session that remembers `ancestor` of the two roots it is `bound` to; without them it remembers nothing.
    pub fn new(settings: Settings, ancestor: Tree, bound: Option<[Identity; 2]>) -> Self {
        Self::numbered(1, settings, ancestor, bound)
    }

    /// The same, whose batches are numbered from `first` on.
    pub fn numbered(first: u64, settings: Settings, ancestor: Tree, bound: Option<[Identity; 2]>) -> Self {
        let ancestor = if bound.is_some() { ancestor } else { Tree::default() };
        Self {
            settings,
            lasting: ancestor.clone(),
            ancestor,
            bound,
            replicas: [Replica::default(), Replica::default()],
            batches: BTreeMap::new(),
            next: first,
            stale: false,
            planned: Instant::ZERO,
            deferred: BTreeMap::new(),
            conflicts: Vec::new(),
            halt: None,
            accepted: None,
            holds: Vec::new(),
            approved: BTreeSet::new(),
            ebbs: [Ebb::default(), Ebb::default()],
            choices: BTreeMap::new(),
            offers: Offers::default(),
            told: Instant::ZERO,
            deleting: None,
            agreed: Vec::new(),
            recording: None,
            unrecorded: Unrecorded::default(),
            flushes: Vec::new(),
            unsettled: true,
            paused: false,
            latency: None,
            memory: Memory::default(),
            effects: Vec::new(),
        }
    }

    /// A side is there (again) and takes messages.
    pub fn connected(&mut self, side: Side) -> Vec<Effect> {
        self.unsettled |= side == Side::Beta;
        let have = self.replica(side).tree.digest();
        self.say(side, ToSide::Attach { have });
        self.effects()
    }

    /// A side is gone, with every message on its way to it or from it.
    pub fn lost(&mut self, side: Side) {
        let replica = self.replica_mut(side);
        replica.attached = false;
        replica.attaching = false;
        replica.stored.clear();
        replica.halves.clear();
        replica.asked.clear();
        replica.unstored = 0;
        replica.unavailable = None;
        replica.burst = None;
        for replica in &mut self.replicas {
            replica.queue = Queue::default();
            replica.run = None;
        }
        // It may come back with less than it said it had: then what was agreed on since is no deletion or edit of its own.
        let batches = std::mem::take(&mut self.batches).into_values();
        self.abandon(batches.filter(|batch| batch.target != side).collect());
        self.ancestor.clone_from(&self.lasting);
        self.agreed.clear();
        self.recording = None;
        self.stale = true;
    }

    /// Why everything has stopped.
    pub fn halt(&self) -> Option<Halt> {
        self.halt
    }

    /// Says yes to what is held under this key, and to nothing else. Says whether there is such a thing.
    pub fn approve(&mut self, key: Digest) -> bool {
        let Some(hold) = self.holds.iter().find(|hold| hold.key == key) else { return false };
        match hold.cause {
            // To each of them: what waits is less with every portion that went.
            Cause::MassDeletion { from, .. } => self.ebbs[from as usize].allow(hold.paths.iter().cloned()),
            Cause::ConflictStorm { .. } => drop(self.approved.insert(key)),
        }
        self.stale = true;
        true
    }

    /// Says yes to going on although everything has stopped.
    pub fn accept(&mut self, halt: Halt) -> bool {
        let halted = self.halt == Some(halt);
        if halted {
            self.accepted = Some(halt);
            self.bind();
            self.stale = true;
        }
        halted
    }

    /// Settles a conflict as a person chose who was shown the version that `seen` stands for.
    ///
    /// # Errors
    /// Says why not, and changes nothing.
    pub fn choose(&mut self, path: Option<RelPath>, seen: Digest, choice: Choice) -> Result<(), Refusal> {
        let mut plan = Plan { conflicts: self.conflicts.clone(), ..Plan::default() };
        choose(&mut plan, self.settings.mode, path.as_ref(), seen, &choice)?;
        self.memory.note(self.told, path.clone(), Event::Chosen(choice.clone()));
        let conflict = self.conflicts.iter().find(|conflict| conflict.path == path);
        let halfway = conflict.map(|conflict| halfway(conflict, &choice)).unwrap_or_default();
        let seen = [seen].into_iter().chain(halfway).collect();
        self.choices.insert(path, Chosen { seen, choice });
        self.stale = true;
        Ok(())
    }

    /// Stops making changes, or goes on.
    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
        self.stale = true;
    }

    /// Goes by other settings from now on. What is on its way and not handed over yet is decided anew.
    pub fn configure(&mut self, settings: Settings, now: Instant) -> Vec<Effect> {
        self.settings = settings;
        let unsent = self.batches.extract_if(.., |_, batch| !batch.sent).map(|(_, batch)| batch).collect();
        self.abandon(unsent);
        self.stale = true;
        self.go_on(now);
        self.effects()
    }

    /// What it goes by.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// What both sides last agreed on.
    pub fn ancestor(&self) -> &Tree {
        &self.ancestor
    }

    /// What it is waiting for, for whoever looks for a fault.
    pub fn explain(&self) -> String {
        let replica = |replica: &Replica| {
            format!(
                "attached {} unavailable {:?} stalled {:?} unstored {} asked {} waiting {:?}",
                replica.attached,
                replica.unavailable,
                replica.stalled,
                replica.unstored,
                replica.asked.len(),
                replica.queue.waiting()
            )
        };
        format!(
            "alpha {}\nbeta {}\nstale {} deferred {:#?}\nbatches {:#?}\nflushes {:?}",
            replica(&self.replicas[0]),
            replica(&self.replicas[1]),
            self.stale,
            self.deferred,
            self.batches,
            self.flushes
        )
    }

    /// Takes what a side says.
    ///
    /// # Errors
    /// When it makes no sense: the connection to that side is to be ended.
    pub fn hear(&mut self, side: Side, message: FromSide, now: Instant) -> Result<Vec<Effect>, Nonsense> {
        match message {
            FromSide::Attached { identity, anew, stored, begun, clock } => {
                self.replica_mut(side).clock = Some(Clock { says: clock, at: now });
                let half = |stored| Half { stored, ..Half::default() };
                let begun = begun.into_iter().map(|(digest, stored)| (digest, half(stored)));
                self.replica_mut(side).halves = begun.collect();
                self.attached(side, identity, anew, stored);
            }
            FromSide::Changes { changes, more } => {
                self.told = now;
                self.changed(side, &changes, more)?;
                for change in &changes {
                    let event = Event::Told { by: side, now: Sight::of(change.item.as_ref()) };
                    self.memory.note(now, change.path.clone(), event);
                }
            }
            FromSide::Looked { token } => {
                for flush in self.flushes.iter_mut().filter(|flush| flush.token == token) {
                    flush.open.remove(&side);
                }
            }
            FromSide::Outlined { digest, from, parts } => self.outlined(side, digest, from, parts)?,
            FromSide::Signed { digest, signature } => self.signed(side, digest, signature)?,
            FromSide::Content { digest, offset, piece } => self.content(side, digest, offset, piece)?,
            FromSide::Gone { digest } => self.gone(side, digest, now)?,
            FromSide::Stored { digest, bytes, whole, problem } => {
                self.stored(side, digest, bytes, whole, problem, now)?;
            }
            FromSide::Applied { batch, outcomes } => self.applied(side, batch, &outcomes, now)?,
            FromSide::Synced { token } => self.synced(side, token),
            FromSide::Burst { ongoing } => {
                self.replica_mut(side).burst = ongoing.then_some(now + BURST_MAX);
            }
            FromSide::Unavailable { reason } => {
                let replica = self.replica_mut(side);
                replica.attached = false;
                replica.unavailable = Some((reason, now + ASK_AGAIN));
            }
        }
        self.go_on(now);
        Ok(self.effects())
    }

    /// Lets time pass: what was put off is tried again.
    pub fn tick(&mut self, now: Instant) -> Vec<Effect> {
        let due = |deferred: &Deferred| deferred.until <= now;
        self.stale |= self.deferred.values().any(due);
        for side in Side::BOTH {
            if let Some((_, again)) = &mut self.replica_mut(side).unavailable
                && *again <= now
            {
                *again = now + ASK_AGAIN;
                let have = self.replica(side).tree.digest();
                self.say(side, ToSide::Attach { have });
            }
        }
        for replica in &mut self.replicas {
            if replica.stalled.is_some_and(|until| until <= now) {
                replica.stalled = None;
                self.stale = true;
            }
        }
        self.go_on(now);
        self.effects()
    }

    /// The ancestor as far as it is recorded.
    pub fn lasting(&self) -> &Tree {
        &self.lasting
    }

    /// When time itself changes something: whoever keeps the session lets it [`tick`](Self::tick) then.
    pub fn due(&self) -> Option<Instant> {
        let apart =
            self.replicas.iter().filter_map(|replica| replica.unavailable.as_ref().map(|(_, at)| *at));
        let stalled = self.replicas.iter().filter_map(|replica| replica.stalled);
        let works = !self.paused && self.replicas.iter().all(|replica| replica.attached);
        let deferred = self.deferred.values().filter(|_| works).map(|deferred| deferred.until);
        // Decided later on purpose: while deletions go on, or not too often with much to do.
        let undecided = (works && self.stale).then_some(self.planned + UNDECIDED);
        let record = self.record_due().filter(|_| works);
        apart.chain(stalled).chain(deferred).chain(undecided).chain(record).min()
    }

    /// Has both sides look at everything and answers with [`Effect::Flushed`] when they are equal: never while
    /// everything is halted.
    pub fn flush(&mut self, token: u64, now: Instant) -> Vec<Effect> {
        self.flushes.push(Flush { token, open: Side::BOTH.into() });
        for side in Side::BOTH {
            self.say(side, ToSide::Look { token });
        }
        self.go_on(now);
        self.effects()
    }

    fn attached(&mut self, side: Side, identity: Identity, anew: bool, stored: Vec<Digest>) {
        let replica = self.replica_mut(side);
        replica.identity = Some(identity);
        replica.unavailable = None;
        replica.attached = false;
        replica.attaching = true;
        replica.stored = stored.into_iter().collect();
        if anew {
            replica.tree = Tree::default();
        }
    }

    fn changed(&mut self, side: Side, changes: &[Change], more: bool) -> Result<(), Nonsense> {
        let replica = self.replica_mut(side);
        replica.tree.apply(changes)?;
        if !more && std::mem::take(&mut replica.attaching) {
            replica.attached = true;
            self.bind();
            // What was asked before the connection broke is asked again.
            for token in self
                .flushes
                .iter()
                .filter(|flush| flush.open.contains(&side))
                .map(|flush| flush.token)
                .collect::<Vec<_>>()
            {
                self.say(side, ToSide::Look { token });
            }
        }
        if !self.deferred.is_empty() {
            for change in changes {
                self.settle(change.path.as_ref());
            }
        }
        self.stale |= !more;
        Ok(())
    }

    /// What is remembered counts for the two roots it was learnt from, and for no others.
    fn bind(&mut self) {
        let [Some(alpha), Some(beta)] = self.replicas.each_ref().map(|replica| replica.identity) else {
            return;
        };
        let found = [alpha, beta];
        match self.bound.as_ref().map(|bound| standing(bound, &found)) {
            Some(Standing::Trusted) => {
                if self.bound.replace(found) != Some(found) {
                    self.effects.push(Effect::Known(found));
                }
                // The folder is back that another one stood in for.
                self.halt = self.halt.filter(|halt| *halt != Halt::RootReplaced);
                return;
            }
            Some(Standing::Halted(halt)) if self.accepted != Some(halt) => {
                self.halt = Some(halt);
                return;
            }
            _ => {}
        }
        (self.halt, self.accepted) = (None, None);
        self.bound = Some(found);
        (self.ancestor, self.lasting) = (Tree::default(), Tree::default());
        self.agreed.clear();
        self.recording = None;
        self.memory.note(self.told, None, Event::Begun);
        self.effects.push(Effect::Begin(found));
    }

    /// Does whatever can be done now.
    fn go_on(&mut self, now: Instant) {
        let attached = self.replicas.iter().all(|replica| replica.attached);
        if attached && !self.paused {
            self.plan(now);
            for side in Side::BOTH {
                self.portion(side, now);
                self.read(side);
                self.send(side);
            }
            self.record(now);
        }
        for side in Side::BOTH {
            if self.replica(side).queue.is_empty() && self.batches_to(side).next().is_none() {
                self.replica_mut(side).run = None;
            }
        }
        let rests = attached
            && !self.stale
            && self.halt.is_none()
            && self.batches.is_empty()
            && self.replicas.iter().all(|replica| replica.queue.is_empty());
        if rests && std::mem::take(&mut self.unsettled) {
            self.effects.push(Effect::Settled);
        }
        if rests && self.deferred.is_empty() {
            self.clear_stored();
            let (done, open): (Vec<_>, Vec<_>) =
                self.flushes.drain(..).partition(|flush| flush.open.is_empty());
            self.flushes = open;
            self.effects.extend(done.into_iter().map(|flush| Effect::Flushed(flush.token)));
        }
    }

    fn say(&mut self, side: Side, message: ToSide) {
        self.effects.push(Effect::Say(side, message));
    }

    fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    fn batches_to(&self, target: Side) -> impl Iterator<Item = &Batch> {
        self.batches.values().filter(move |batch| batch.target == target)
    }

    fn replica(&self, side: Side) -> &Replica {
        &self.replicas[side as usize]
    }

    fn replica_mut(&mut self, side: Side) -> &mut Replica {
        &mut self.replicas[side as usize]
    }
}

/// Why a connection is to be ended.
#[derive(Debug, thiserror::Error)]
pub enum Nonsense {
    /// An answer nobody asked for, or to something else than was asked.
    #[error("the other end answered what it was not asked")]
    Unasked,
    /// A change that does not fit the tree it is about.
    #[error("the other end tells of a change that does not fit")]
    Tree(#[from] TreeError),
}

#[cfg(test)]
mod tests;
