//! How changes and contents get to a side: in portions, small ones first, as much at a time as may be on its way.

use super::Asked;
use super::Event;
use super::Instant;
use super::Nonsense;
use super::Run;
use super::Session;
use super::Sight;
use super::batch::Batch;
use crate::entry::Digest;
use crate::message::ToSide;
use crate::reconcile::Side;

/// Batches under way to one side: small ones, and single large files.
const SMALL: usize = 4;
const LARGE: usize = 2;
/// Bytes of content that may be on their way to one side; large files may have half of it.
const WINDOW: u64 = 8 * 1024 * 1024;

impl Session {
    /// A part that was asked for has come, or never will.
    pub(super) fn answered(&mut self, side: Side, digest: Digest) -> Result<Asked, Nonsense> {
        match self.replica_mut(side).asked.pop_front() {
            Some(asked) if asked.digest == digest => Ok(asked),
            _ => Err(Nonsense::Unasked),
        }
    }

    /// Whether what was asked for is still of use.
    pub(super) fn awaits(&self, asked: &Asked) -> bool {
        self.batches.get(&asked.batch).is_some_and(|batch| batch.awaits(&asked.digest))
    }

    /// A content will not come to `target`.
    pub(super) fn give_up(&mut self, target: Side, digest: Digest, reason: &str, now: Instant) {
        let mut paths = Vec::new();
        for batch in self.batches.values_mut().filter(|batch| batch.target == target && batch.awaits(&digest))
        {
            paths.extend(batch.give_up(&digest));
        }
        if !paths.is_empty() {
            self.say(target, ToSide::Drop { digest });
        }
        self.batches.retain(|_, batch| !batch.transitions.is_empty());
        for path in paths {
            self.defer(path, reason.to_owned(), now);
        }
    }

    /// Nothing is left to do: what a side has stored, and nothing needs, is of no use any more.
    pub(super) fn clear_stored(&mut self) {
        for side in Side::BOTH {
            for digest in std::mem::take(&mut self.replica_mut(side).stored) {
                self.say(side, ToSide::Drop { digest });
            }
        }
    }

    /// Makes batches of what waits.
    pub(super) fn portion(&mut self, side: Side, now: Instant) {
        if self.replica(side).stalled.is_some() {
            return;
        }
        loop {
            let underway = |large| self.batches_to(side).filter(|batch| batch.large == large).count();
            let (small, large) = (underway(false) < SMALL, underway(true) < LARGE);
            let mut queue = std::mem::take(&mut self.replica_mut(side).queue);
            let used = |digest: &Digest| self.batches_to(side).any(|batch| batch.needs().contains(digest));
            let portion = small.then(|| queue.next_small(used)).flatten().map(|portion| (portion, false));
            let portion = portion
                .or_else(|| large.then(|| queue.next_large(used)).flatten().map(|portion| (portion, true)));
            self.replica_mut(side).queue = queue;
            let Some((portion, large)) = portion else { return };
            let told = self.told;
            self.replica_mut(side).run.get_or_insert_with(|| Run::since(told));
            for transition in &portion.transitions {
                let rule = self.rule(side, transition.path.as_ref());
                let new = Sight::of(transition.new.as_ref());
                let event = Event::Decided { target: side, new, rule };
                self.memory.note(now, transition.path.clone(), event);
            }
            let batch = Batch::new(side, portion, large, &self.replica(side).stored);
            self.batches.insert(self.next, batch);
            self.next += 1;
        }
    }

    /// Asks the other side for contents, as much as may be on its way at a time; small changes first.
    pub(super) fn read(&mut self, target: Side) {
        let source = target.other();
        let asked: u64 = self.replica(source).asked.iter().map(|asked| asked.bytes).sum();
        let mut afloat = self.replica(target).unstored + asked;
        for large in [false, true] {
            let window = if large { WINDOW / 2 } else { WINDOW };
            let mut reads = Vec::new();
            let mut batches: Vec<_> = self
                .batches
                .iter_mut()
                .filter(|(_, batch)| batch.target == target && batch.large == large)
                .collect();
            for (id, batch) in &mut batches {
                while afloat < window
                    && let Some((read, digest, bytes)) = batch.next_read()
                {
                    afloat += bytes;
                    reads.push((read, Asked { batch: **id, digest, bytes }));
                }
            }
            for (read, asked) in reads {
                self.replica_mut(source).asked.push_back(asked);
                self.say(source, read);
            }
        }
    }

    /// Has what is ready applied: small batches in their order, since one may make the directory for the next.
    pub(super) fn send(&mut self, target: Side) {
        let mut ready = Vec::new();
        for (id, batch) in self.batches.iter_mut().filter(|(_, batch)| batch.target == target) {
            if batch.is_ready() {
                batch.sent = true;
                ready.push((*id, batch.orders()));
            } else if !batch.large && !batch.sent {
                break;
            }
        }
        self.unsettled |= target == Side::Beta && !ready.is_empty();
        for (batch, orders) in ready {
            self.say(target, ToSide::Apply { batch, orders });
        }
    }
}
