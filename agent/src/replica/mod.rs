//! One side of a session, on a disk: looks, tells, reads, stores and applies. The same on the host and in a container.
//!
//! It answers [`ToSide`] with [`FromSide`] and reports what a look has shown. Laws: what it has told and what the
//! session believes are the same tree; a change is applied only where that tree still is what the order expects; what
//! comes from the other side is bounded and verified before it is used.

mod contents;

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use contents::Contents;
use contents::Here;

use crate::apply;
use crate::apply::Batch;
use crate::disk::At;
use crate::disk::Disk;
use crate::disk::Identity;
use crate::disk::Slot;
use crate::entry::Digest;
use crate::log::Medium;
use crate::look::Dirty;
use crate::look::Impatient;
use crate::look::Look;
use crate::look::LookError;
use crate::look::Part;
use crate::look::Seen;
use crate::look::Sentry;
use crate::look::Symlinks;
use crate::message::FromSide;
use crate::message::Order;
use crate::message::Outcome;
use crate::message::Problem;
use crate::message::ToSide;
use crate::message::pages;
use crate::path::RelPath;
use crate::reconcile::Transition;
use crate::tree::Change;
use crate::tree::Item;
use crate::tree::Tree;
use crate::tree::diff;
use crate::versions::Versions;

/// Git holds this while it changes files, and has them all changed once it is gone.
const GIT_LOCK: &[u8] = b".git/index.lock";
/// How soon it is looked for again, and for how long: one that stays longer was left behind.
const GIT_AGAIN: Duration = Duration::from_millis(20);
const GIT_MAX: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub struct Replica<D: Disk, M> {
    disk: D,
    look: Look,
    versions: Versions<M>,
    /// Which folder this was when it was first looked at.
    first: Option<Identity>,
    /// What the session was told.
    told: Tree,
    attached: bool,
    contents: Contents<D::Reader, D::Writer>,
    /// Looks that are answered once no file is left that is still being written.
    owed: Vec<u64>,
    /// Since when git has been changing files, and whether the session was told so.
    burst: Option<Duration>,
    burst_told: bool,
    /// When something was last found to need another look, on the caller's clock.
    again: Option<Duration>,
}

/// The other side asked for something nobody asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other end asked for something that makes no sense")]
pub struct Nonsense;

impl<D: Disk, M: Medium> Replica<D, M> {
    /// A side with what was kept of it.
    pub fn new(disk: D, look: Look, versions: Versions<M>) -> Self {
        Self {
            disk,
            look,
            versions,
            first: None,
            told: Tree::default(),
            attached: false,
            contents: Contents::default(),
            owed: Vec::new(),
            burst: None,
            burst_told: false,
            again: None,
        }
    }

    /// What is known of the folder.
    pub fn known(&self) -> &Look {
        &self.look
    }

    /// The folder as it was last seen.
    pub fn tree(&self) -> &Tree {
        self.look.tree()
    }

    /// What was displaced here.
    pub fn versions(&self) -> &Versions<M> {
        &self.versions
    }

    /// The disk and what was displaced on it.
    pub(crate) fn parts(&mut self) -> (&D, &mut Versions<M>) {
        (&self.disk, &mut self.versions)
    }

    /// When to look again although no event asks for it, on the caller's clock.
    pub fn again(&self) -> Option<Duration> {
        self.again
    }

    /// Looks at everything, and says how many files had to be read for it.
    #[cfg(test)]
    pub(crate) fn look_and_count(&mut self) -> usize {
        self.look.full(&self.disk, &mut (), Duration::ZERO).unwrap().read
    }

    /// Lets go of versions that are too old or too many.
    ///
    /// # Errors
    /// As the kernel says; what could not be let go stays.
    pub fn prune(&mut self) -> io::Result<usize> {
        self.versions.prune(&self.disk, self.disk.now())
    }

    /// The session is gone, and with it whatever was on its way.
    pub fn detach(&mut self) {
        self.attached = false;
        self.burst_told = false;
        self.owed.clear();
        self.contents.detach(&self.disk);
    }

    /// Looks where something may have changed and tells what has.
    pub fn look(&mut self, dirty: Dirty, sentry: &mut impl Sentry, now: Duration, say: &mut Vec<FromSide>) {
        if let Err(reason) = self.identify() {
            self.unavailable(reason, say);
            return;
        }
        let ongoing = self.is_bursting(now);
        if ongoing {
            self.tell_burst(true, say);
        }
        let seen = if self.owed.is_empty() {
            self.look.dirty(&self.disk, sentry, dirty, now)
        } else {
            // Somebody waits for what is there now, finished or not.
            self.look.dirty(&self.disk, &mut Impatient(sentry), dirty, now)
        };
        self.contents.outlined(self.look.take_outlines());
        self.seen(seen, say);
        if ongoing {
            let soon = now + GIT_AGAIN;
            self.again = Some(self.again.map_or(soon, |again| again.min(soon)));
        } else {
            self.tell_burst(false, say);
        }
    }

    /// Whether git is changing files. Asked before a look, so that what it changed last is seen before its end is told.
    fn is_bursting(&mut self, now: Duration) -> bool {
        let lock = RelPath::parse(GIT_LOCK).ok();
        let held = lock.is_some_and(|lock| matches!(self.disk.stat(At::Path(&lock)), Ok(Some(_))));
        self.burst = held.then(|| self.burst.unwrap_or(now));
        self.burst.is_some_and(|since| now < since + GIT_MAX)
    }

    fn tell_burst(&mut self, ongoing: bool, say: &mut Vec<FromSide>) {
        if self.attached && self.burst_told != ongoing {
            self.burst_told = ongoing;
            say.push(FromSide::Burst { ongoing });
        }
    }

    /// Does what it is asked.
    ///
    /// # Errors
    /// When it makes no sense: the connection is to be ended.
    pub fn hear(
        &mut self,
        message: ToSide,
        sentry: &mut impl Sentry,
        now: Duration,
        say: &mut Vec<FromSide>,
    ) -> Result<(), Nonsense> {
        let here = Here { disk: &self.disk, tree: self.look.tree(), versions: &self.versions };
        match message {
            ToSide::Attach { have } => self.attach(have, sentry, now, say),
            ToSide::Look { token } => {
                self.owed.push(token);
                self.look(Dirty::All, sentry, now, say);
            }
            ToSide::Outline { path, digest, from } => {
                let outlined = self.contents.outline(&here, &path, (digest, from));
                say.push(outlined.unwrap_or(FromSide::Gone { digest }));
            }
            ToSide::Sign { base, span } => {
                let signed = self.contents.sign(&here, &base, span);
                say.push(signed.unwrap_or(FromSide::Gone { digest: base.digest }));
            }
            ToSide::Read { path, digest, offset, like } => {
                let read = self.contents.read(&here, &path, (digest, offset), &like);
                say.push(read.unwrap_or(FromSide::Gone { digest }));
            }
            ToSide::Store { digest, offset, part, last } => {
                say.push(self.contents.store(&here, (digest, offset), part, last)?);
            }
            ToSide::Drop { digest } => {
                self.contents.forget(&self.disk, &digest);
                // Under the name of a content may be what it was exchanged for.
                if !self.versions.claims(Slot::Whole(digest)) {
                    drop(self.disk.discard(Slot::Whole(digest)));
                }
            }
            ToSide::Apply { batch, orders } => self.apply(batch, orders, sentry, now, say),
            ToSide::Sync { token } => {
                let done = self.disk.sync();
                self.synced(token, done, say);
            }
        }
        Ok(())
    }

    /// The disk was asked to make everything last that was done before `token` was heard, and was `done` with it.
    pub fn synced(&mut self, token: u64, done: io::Result<()>, say: &mut Vec<FromSide>) {
        let lasts = done.and_then(|()| self.versions.sync()).and_then(|()| self.versions.settle(&self.disk));
        // Without an answer nothing is recorded, and it is asked again with the next connection.
        if self.attached && lasts.is_ok() {
            say.push(FromSide::Synced { token });
        }
    }

    fn attach(&mut self, have: Digest, sentry: &mut impl Sentry, now: Duration, say: &mut Vec<FromSide>) {
        self.detach();
        let identity = match self.identify() {
            Ok(identity) => identity,
            Err(reason) => return self.unavailable(reason, say),
        };
        if let Err(error) =
            self.look.dirty(&self.disk, sentry, Dirty::All, now).map(|seen| self.again = seen.again)
        {
            return self.unavailable(error.to_string(), say);
        }
        self.contents.outlined(self.look.take_outlines());
        let anew = have != self.told.digest();
        if anew {
            self.told = Tree::default();
        }
        let whole = |slot| match slot {
            Slot::Whole(digest) if !self.versions.claims(slot) => Some(digest),
            _ => None,
        };
        let whole = self.disk.slots().unwrap_or_default().into_iter().filter_map(whole);
        let stored = whole.chain(self.contents.fresh.keys().copied()).collect();
        self.attached = true;
        let begun = self.contents.begun();
        say.push(FromSide::Attached { identity, anew, stored, begun, clock: self.disk.now() });
        self.tell(true, say);
    }

    /// Whether this is still the folder it was.
    fn identify(&mut self) -> Result<Identity, String> {
        match self.disk.identity() {
            Ok(identity) if *self.first.get_or_insert(identity) == identity => Ok(identity),
            Ok(_) => Err("another folder stands in its place".to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err("the folder is gone".to_owned()),
            Err(error) => Err(format!("the folder cannot be read: {error}")),
        }
    }

    fn unavailable(&mut self, reason: String, say: &mut Vec<FromSide>) {
        self.attached = false;
        say.push(FromSide::Unavailable { reason });
    }

    fn seen(&mut self, seen: Result<Seen, LookError>, say: &mut Vec<FromSide>) {
        match seen {
            Ok(seen) => {
                self.again = seen.again;
                self.tell(false, say);
                if self.again.is_none() {
                    say.extend(self.owed.drain(..).map(|token| FromSide::Looked { token }));
                }
            }
            Err(error) => self.unavailable(error.to_string(), say),
        }
    }

    /// Tells what differs from what was told.
    fn tell(&mut self, even_nothing: bool, say: &mut Vec<FromSide>) {
        if !self.attached {
            return;
        }
        let changes = diff(&self.told, self.look.tree());
        self.told = self.look.tree().clone();
        let mut pages = pages(changes).into_iter().peekable();
        if pages.peek().is_none() && even_nothing {
            say.push(FromSide::Changes { changes: Vec::new(), more: false });
        }
        while let Some(changes) = pages.next() {
            say.push(FromSide::Changes { changes, more: pages.peek().is_some() });
        }
    }

    fn apply(
        &mut self,
        batch: u64,
        orders: Vec<Order>,
        sentry: &mut impl Sentry,
        now: Duration,
        say: &mut Vec<FromSide>,
    ) {
        // What was said before the session heard that nothing can be done here.
        if !self.attached {
            let outcomes = orders.iter().map(|order| self.refused(order)).collect();
            say.push(FromSide::Applied { batch, outcomes });
            return;
        }
        let transitions: Vec<_> = orders.iter().filter_map(|order| self.transition(order)).collect();
        let planned: BTreeSet<_> = transitions.iter().map(|transition| &transition.path).collect();
        let refused = orders.iter().filter(|order| !planned.contains(&order.path));
        let mut outcomes: Vec<_> = refused.map(|order| self.refused(order)).collect();
        let lost = BTreeSet::new();
        let raw_links = self.look.symlinks() == Symlinks::PosixRaw;
        let work = Batch { id: batch, transitions: &transitions, lost: &lost, raw_links };
        let done =
            apply::apply(&self.disk, &mut self.versions, self.look.tree(), &work, &mut self.contents.fresh);
        outcomes.extend(done.into_iter().map(|outcome| self.outcome(outcome)));
        self.mind_the_gaps(&mut outcomes);
        let changes: Vec<_> = outcomes
            .iter()
            .filter(|outcome| outcome.now.is_some() || self.told.get(outcome.path.as_ref()).is_some())
            .map(|outcome| Change { path: outcome.path.clone(), item: outcome.now.clone() })
            .collect();
        let mut dirty = Dirty::nowhere();
        if self.look.adopt(&changes).is_err() {
            dirty = Dirty::All;
        }
        for failed in outcomes.iter().filter(|outcome| outcome.problem.is_some()) {
            match &failed.path {
                Some(path) => {
                    dirty.path(path);
                    dirty.add(Some(path.clone()), Part::Below);
                }
                None => dirty = Dirty::All,
            }
        }
        // The session does the same with what it is told.
        drop(self.told.apply(&changes));
        self.told.share(self.look.tree());
        say.push(FromSide::Applied { batch, outcomes });
        if !dirty.is_nowhere() {
            self.look(dirty, sentry, now, say);
        }
    }

    /// A directory that was gone when the session was last told may be there again: what was put into it cannot be told
    /// of before the directory is.
    fn mind_the_gaps(&self, outcomes: &mut [Outcome]) {
        let is_directory = |item: Option<&Item>| item.and_then(Item::as_directory).is_some();
        let made: BTreeSet<_> = outcomes
            .iter()
            .filter(|outcome| is_directory(outcome.now.as_ref()))
            .map(|outcome| outcome.path.clone())
            .collect();
        for outcome in outcomes.iter_mut().filter(|outcome| outcome.now.is_some()) {
            let Some(parent) = outcome.path.as_ref().map(RelPath::parent) else { continue };
            if !is_directory(self.told.get(parent.as_ref())) && !made.contains(&parent) {
                outcome.now = None;
                outcome.problem = Some(Problem::from(&apply::Problem::Changed));
            }
        }
    }

    /// The change an order asks for, if what stands there is what it expects and may be replaced.
    fn transition(&self, order: &Order) -> Option<Transition> {
        let old = self.look.tree().get(order.path.as_ref());
        let free = old
            .and_then(Item::as_directory)
            .is_none_or(|old| !old.holds_protected() && !old.holds_problems());
        let expected = old.and_then(Item::carried).map(|item| item.digest());
        let fits = free && expected == order.expected && order.new.as_ref().is_none_or(Item::is_carried);
        fits.then(|| Transition { path: order.path.clone(), old: old.cloned(), new: order.new.clone() })
    }

    fn refused(&self, order: &Order) -> Outcome {
        let now = self.told.get(order.path.as_ref()).cloned();
        Outcome { path: order.path.clone(), now, problem: Some(Problem::from(&apply::Problem::Changed)) }
    }

    /// What is not carried is not in the outcome, and still stands there.
    fn outcome(&self, done: apply::Outcome) -> Outcome {
        let before = self.look.tree().get(done.path.as_ref());
        let same = match (before, &done.now) {
            (Some(before), Some(now)) => before.carries_same(now),
            (Some(before), None) => !before.is_carried(),
            (None, _) => false,
        };
        let stamped = |now: &Item| !matches!(now, Item::File(_));
        let now = if same && done.now.as_ref().is_none_or(stamped) { before.cloned() } else { done.now };
        let problem = done.problems.first().map(|failure| Problem::from(&failure.problem));
        Outcome { path: done.path, now, problem }
    }
}

impl From<&apply::Problem> for Problem {
    fn from(problem: &apply::Problem) -> Self {
        match problem {
            apply::Problem::Full => Self::Full,
            other => Self::Other(other.to_string()),
        }
    }
}
