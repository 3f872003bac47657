//! What has become of changes: what both sides agree on now, what is tried again, what is known to last.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Deferred;
use super::Effect;
use super::Event;
use super::Instant;
use super::Nonsense;
use super::Recording;
use super::Replica;
use super::STALLED;
use super::Session;
use super::Sight;
use super::batch::Batch;
use super::decide::overlaps;
use crate::entry::Digest;
use crate::message::Outcome;
use crate::message::Problem;
use crate::message::ToSide;
use crate::path::RelPath;
use crate::reconcile::Side;
use crate::safety::deletions;
use crate::tree::Change;
use crate::tree::Directory;
use crate::tree::Item;

/// How long a change that failed waits at first, and at most.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// What both sides agree on is recorded once nothing was added for so long: both disks are asked to make all of it last,
/// and whoever writes meanwhile waits.
const RECORD_REST: Duration = Duration::from_millis(500);
/// How long it may be known only in memory.
const RECORD_MAX: Duration = Duration::from_secs(20);

/// How long there has been something to record.
#[derive(Debug, Default)]
pub(super) struct Unrecorded {
    changes: usize,
    /// Since when, and when something was added last.
    since: Option<(Instant, Instant)>,
}

impl Unrecorded {
    fn count(&mut self, changes: usize, now: Instant) {
        if changes == 0 {
            *self = Self::default();
        } else if changes != self.changes {
            self.changes = changes;
            self.since = Some((self.since.map_or(now, |(first, _)| first), now));
        }
    }

    /// When it is to be recorded. More that is `underway` is waited for: a disk that is told in the middle to make all of
    /// it last does nothing else meanwhile.
    fn due(&self, underway: bool) -> Option<Instant> {
        let (first, last) = self.since?;
        let latest = first + RECORD_MAX;
        Some(if underway { latest } else { latest.min(last + RECORD_REST) })
    }
}

impl Session {
    pub(super) fn applied(
        &mut self,
        side: Side,
        id: u64,
        outcomes: &[Outcome],
        now: Instant,
    ) -> Result<(), Nonsense> {
        let Replica { tree, removed, .. } = self.replica_mut(side);
        for outcome in outcomes.iter().filter(|outcome| outcome.now.is_none()) {
            if let Some(gone) = tree.get(outcome.path.as_ref()) {
                removed.note(outcome.path.as_ref(), gone);
            }
        }
        // Nothing where nothing was needs no directory around it.
        let news = outcomes
            .iter()
            .filter(|outcome| outcome.now.is_some() || tree.get(outcome.path.as_ref()).is_some());
        let changes: Vec<_> =
            news.map(|outcome| Change { path: outcome.path.clone(), item: outcome.now.clone() }).collect();
        tree.apply(&changes)?;
        // Of a connection before this one: the next plan sees what came of it.
        let Some(batch) = self.batches.remove(&id) else {
            self.stale = true;
            return Ok(());
        };
        if batch.target != side || !batch.sent {
            return Err(Nonsense::Unasked);
        }
        self.ebbed(side, &batch, now);
        self.used(side, &batch, outcomes);
        self.progressed(side, &batch, outcomes, now);
        let mut agreed = Vec::new();
        let intents = batch.intents();
        for outcome in outcomes {
            let path = outcome.path.as_ref();
            let new = intents.at(path).ok_or(Nonsense::Unasked)?;
            // Of what a person made both sides agree when the second has it.
            let other = self.replica(side.other()).tree.get(path);
            if batch.is_shared(new, other) {
                advance(path, new, outcome.now.as_ref(), self.ancestor.get(path), &mut agreed);
            }
            match &outcome.problem {
                None => {
                    let event = Event::Done { on: side, now: Sight::of(outcome.now.as_ref()) };
                    self.memory.note(now, outcome.path.clone(), event);
                    self.settle(path);
                }
                Some(problem) => {
                    if *problem == Problem::Full {
                        self.replica_mut(side).stalled = Some(now + STALLED);
                    }
                    self.defer(outcome.path.clone(), problem.to_string(), now);
                }
            }
        }
        // What waits was decided from the same trees, and would be decided again. What did not come true is put off, or
        // found in the end.
        let more = self.batches_to(side).next().is_some() || !self.replica(side).queue.is_empty();
        self.stale |= !more;
        self.agree(agreed)
    }

    /// Counts the files that have gone with a batch.
    fn ebbed(&mut self, side: Side, batch: &Batch, now: Instant) {
        let mut gone = deletions(&batch.transitions);
        if gone.is_empty() {
            return;
        }
        let tree = &self.replica(side).tree;
        gone.retain(|path| !matches!(tree.get(Some(path)), Some(Item::File(_) | Item::Symlink(_))));
        self.ebbs[side as usize].went(&gone, now);
    }

    /// Counts what is done, and how long all of it took once nothing is left to do on this side.
    fn progressed(&mut self, side: Side, batch: &Batch, outcomes: &[Outcome], now: Instant) {
        let more = self.batches_to(side).next().is_some();
        let failed = outcomes.iter().filter(|outcome| outcome.problem.is_some()).count() as u64;
        let replica = self.replica_mut(side);
        let more = more || !replica.queue.is_empty();
        let Some(run) = &mut replica.run else { return };
        run.done.entries += batch.amount.0.saturating_sub(failed);
        run.done.bytes += batch.amount.1;
        if !more {
            let since = run.since;
            replica.run = None;
            if failed == 0 {
                self.latency = Some(now.saturating_sub(since));
            }
        }
    }

    /// What was brought for a change that failed is still there for the next attempt. Was any of it there before this
    /// one, that may be what was at fault, and all is brought again.
    fn used(&mut self, side: Side, batch: &Batch, outcomes: &[Outcome]) {
        let failed: Vec<_> = outcomes.iter().filter(|outcome| outcome.problem.is_some()).collect();
        let of_use =
            |digest: &&Digest| failed.iter().any(|outcome| batch.puts(digest, outcome.path.as_ref()));
        let (unused, used): (BTreeSet<&Digest>, BTreeSet<&Digest>) = batch.uses().partition(of_use);
        let doubtful = unused.iter().any(|digest| batch.was_stored(digest));
        for digest in used {
            self.replica_mut(side).stored.remove(digest);
        }
        for digest in unused.into_iter().filter(|_| doubtful) {
            self.replica_mut(side).stored.remove(digest);
            self.say(side, ToSide::Drop { digest: *digest });
        }
    }

    pub(super) fn agree(&mut self, changes: Vec<Change>) -> Result<(), Nonsense> {
        self.ancestor.apply(&changes)?;
        self.agreed.extend(changes);
        Ok(())
    }

    pub(super) fn defer(&mut self, path: Option<RelPath>, reason: String, now: Instant) {
        self.memory.note(now, path.clone(), Event::Failed { reason: reason.clone() });
        let attempts = self.deferred.get(&path).map_or(1, |deferred| deferred.attempts + 1);
        let pause = RETRY_MIN.saturating_mul(1 << attempts.min(16)).min(RETRY_MAX);
        self.deferred.insert(path, Deferred { until: now + pause, attempts, reason });
    }

    /// Whatever was wrong at a path or below may be right now.
    pub(super) fn settle(&mut self, path: Option<&RelPath>) {
        self.deferred.retain(|deferred, _| !overlaps(deferred.as_ref(), path));
    }

    pub(super) fn synced(&mut self, side: Side, token: u64) {
        let Some(recording) = self.recording.as_mut().filter(|recording| recording.token == token) else {
            return;
        };
        recording.open.remove(&side);
        if recording.open.is_empty()
            && let Some(recording) = self.recording.take()
        {
            self.lasting.apply(&recording.changes).expect("it fitted when it was agreed on");
            // What was made apart costs as much again, for each of them.
            let [alpha, beta] = &mut self.replicas;
            beta.tree.share(&alpha.tree);
            self.ancestor.share(&alpha.tree);
            self.lasting.share(&self.ancestor);
            self.effects.push(Effect::Record(recording.changes));
        }
    }

    /// When both sides are to be asked to make things last; not while they have not answered.
    pub(super) fn record_due(&self) -> Option<Instant> {
        self.unrecorded.due(!self.batches.is_empty()).filter(|_| self.recording.is_none())
    }

    pub(super) fn record(&mut self, now: Instant) {
        self.unrecorded.count(self.agreed.len(), now);
        if self.record_due().is_none_or(|due| now < due) {
            return;
        }
        self.unrecorded = Unrecorded::default();
        let token = self.next;
        self.next += 1;
        self.recording =
            Some(Recording { token, changes: std::mem::take(&mut self.agreed), open: Side::BOTH.into() });
        for side in Side::BOTH {
            self.say(side, ToSide::Sync { token });
        }
    }
}

/// What both sides hold now that a change to `new` has led to `now`: adds to `agreed` where they are the same.
fn advance(
    path: Option<&RelPath>,
    new: Option<&Item>,
    now: Option<&Item>,
    before: Option<&Item>,
    agreed: &mut Vec<Change>,
) {
    let carried = now.filter(|now| now.is_carried());
    let same = match (new, carried) {
        (Some(new), Some(now)) => new.carries_same(now),
        (new, now) => new.is_none() && now.is_none(),
    };
    if same {
        if before != new {
            agreed.push(Change { path: path.cloned(), item: new.cloned() });
        }
        return;
    }
    let (new, now) = match (new, now) {
        (Some(Item::Directory(new)), Some(Item::Directory(now))) => {
            if !matches!(before, Some(Item::Directory(_))) {
                agreed.push(Change { path: path.cloned(), item: Some(Item::Directory(Directory::empty())) });
            }
            (new.clone(), now)
        }
        // Not all of it could be removed.
        (None, Some(Item::Directory(now))) if matches!(before, Some(Item::Directory(_))) => {
            (Directory::empty(), now)
        }
        _ => return,
    };
    let before = match before {
        Some(Item::Directory(before)) => before.clone(),
        _ => Directory::empty(),
    };
    let names: BTreeSet<_> = new.iter().chain(before.iter()).map(|(name, _)| name).collect();
    for name in names {
        let Ok(path) = RelPath::child(path, name) else { continue };
        advance(Some(&path), new.get(name), now.get(name), before.get(name), agreed);
    }
}
