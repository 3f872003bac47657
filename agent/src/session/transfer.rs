//! How changes and contents get to a side: in portions, small ones first, as much at a time as may be on its way.

use std::collections::BTreeSet;

use super::Asked;
use super::Event;
use super::Instant;
use super::Nonsense;
use super::Replica;
use super::Run;
use super::STALLED;
use super::Session;
use super::Sight;
use super::arrival::Absurd;
use super::arrival::Arrival;
use super::arrival::End;
use super::arrival::Next;
use super::arrival::Question;
use super::arrival::What;
use super::batch::Batch;
use super::batch::Half;
use super::nearby;
use crate::delta::outline::Chain;
use crate::entry::Digest;
use crate::message::Piece;
use crate::message::Problem;
use crate::message::ToSide;
use crate::reconcile::Side;

/// Batches under way to one side: small ones, and single large files.
const SMALL: usize = 4;
const LARGE: usize = 2;
/// Bytes of content that may be on their way to one side; large files may have half of it.
const WINDOW: u64 = 8 * 1024 * 1024;

impl Session {
    /// The answer to what was asked of a side has come, or never will.
    fn asked(&mut self, side: Side, about: Digest, is_it: impl Fn(What) -> bool) -> Result<Asked, Nonsense> {
        match self.replica_mut(side).asked.pop_front() {
            Some(asked) if asked.about == about && is_it(asked.what) => Ok(asked),
            _ => Err(Nonsense::Unasked),
        }
    }

    /// What it was asked for, if that is still on its way as it was then.
    fn arrival(&mut self, asked: &Asked) -> Option<&mut Arrival> {
        let batch = self.batches.get_mut(&asked.batch).filter(|batch| batch.awaits(&asked.digest))?;
        batch.arrival(&asked.digest).filter(|arrival| arrival.is_current(asked.attempt))
    }

    pub(super) fn outlined(
        &mut self,
        side: Side,
        about: Digest,
        from: u64,
        parts: Vec<Chain>,
    ) -> Result<(), Nonsense> {
        let asked = self.asked(side, about, |what| matches!(what, What::Outline { .. }))?;
        let What::Outline { of } = asked.what else { return Err(Nonsense::Unasked) };
        let Some(arrival) = self.arrival(&asked) else { return Ok(()) };
        arrival.outlined(of, from, parts).map_err(|Absurd| Nonsense::Unasked)
    }

    pub(super) fn signed(&mut self, side: Side, about: Digest, signature: Vec<u8>) -> Result<(), Nonsense> {
        let asked = self.asked(side, about, |what| matches!(what, What::Sign { .. }))?;
        let What::Sign { offset } = asked.what else { return Err(Nonsense::Unasked) };
        let question = self.arrival(&asked).and_then(|arrival| arrival.signed(offset, signature));
        if let Some(question) = question {
            self.ask(side, asked.batch, asked.digest, question);
        }
        Ok(())
    }

    pub(super) fn content(
        &mut self,
        side: Side,
        digest: Digest,
        offset: u64,
        piece: Piece,
    ) -> Result<(), Nonsense> {
        let asked = self.asked(side, digest, |what| what == What::Read { offset })?;
        let Some(arrival) = self.arrival(&asked) else { return Ok(()) };
        arrival.content(offset, piece).map_err(|Absurd| Nonsense::Unasked)?;
        let stores = arrival.stores();
        self.bring(side.other(), stores);
        Ok(())
    }

    /// What a side was asked about is not there any more.
    pub(super) fn gone(&mut self, side: Side, about: Digest, now: Instant) -> Result<(), Nonsense> {
        let asked = self.asked(side, about, |_| true)?;
        if self.arrival(&asked).is_none() {
            return Ok(());
        }
        // What the target had is of no use then; without what it is to have there is nothing to bring.
        if asked.about == asked.digest {
            self.give_up(side.other(), asked.digest, "it changed while it was read", now);
        } else if let Some(batch) = self.batches.get_mut(&asked.batch) {
            batch.fall_back(&asked.digest);
        }
        Ok(())
    }

    pub(super) fn stored(
        &mut self,
        side: Side,
        digest: Digest,
        bytes: u64,
        whole: bool,
        problem: Option<Problem>,
        now: Instant,
    ) -> Result<(), Nonsense> {
        let replica = self.replica_mut(side);
        replica.unstored = replica.unstored.checked_sub(bytes).ok_or(Nonsense::Unasked)?;
        let mut batches = self.batches.values_mut().filter(|batch| batch.target == side);
        let Some(batch) = batches.find(|batch| batch.awaits(&digest)) else {
            self.half(side, digest, bytes, whole, problem.is_some());
            return Ok(());
        };
        let Some(arrival) = batch.arrival(&digest) else {
            // It was begun for another batch, and is not yet for this one.
            if !self.replica(side).halves.contains_key(&digest) {
                return Err(Nonsense::Unasked);
            }
            self.half(side, digest, bytes, whole, problem.is_some());
            return Ok(());
        };
        if !arrival.answered(bytes, problem.is_some()) {
            return Ok(());
        }
        match problem {
            Some(Problem::Full) => {
                self.replica_mut(side).stalled = Some(now + STALLED);
                self.give_up(side, digest, &Problem::Full.to_string(), now);
            }
            Some(problem) => {
                if !batch.fall_back(&digest) {
                    self.give_up(side, digest, &problem.to_string(), now);
                }
            }
            None => {
                batch.arrived += bytes;
                if whole {
                    let replica = self.replica_mut(side);
                    replica.stored.insert(digest);
                    replica.halves.remove(&digest);
                    self.batches
                        .values_mut()
                        .filter(|batch| batch.target == side)
                        .for_each(|batch| batch.stored(&digest));
                }
            }
        }
        Ok(())
    }

    /// A part was stored of what is on its way no more.
    fn half(&mut self, side: Side, digest: Digest, bytes: u64, whole: bool, failed: bool) {
        let replica = self.replica_mut(side);
        // What nobody has sent is not believed to be there.
        let Some(half) = replica.halves.get_mut(&digest) else { return };
        half.open = half.open.saturating_sub(1);
        if half.dropped {
            if half.open == 0 {
                replica.halves.remove(&digest);
            }
            return;
        }
        half.stored = if failed { 0 } else { half.stored + bytes };
        if whole {
            replica.halves.remove(&digest);
            replica.stored.insert(digest);
        }
    }

    fn ask(&mut self, target: Side, batch: u64, digest: Digest, question: Question) {
        let Question { of, message, about, what, attempt, bytes } = question;
        let side = if of == End::Target { target } else { target.other() };
        self.replica_mut(side).asked.push_back(Asked { batch, digest, attempt, about, what, bytes });
        self.say(side, message);
    }

    /// Has parts stored.
    fn bring(&mut self, target: Side, stores: Vec<ToSide>) {
        for store in stores {
            if let ToSide::Store { part, .. } = &store {
                self.replica_mut(target).unstored += part.size();
            }
            self.say(target, store);
        }
    }

    /// A content will not come to `target`.
    pub(super) fn give_up(&mut self, target: Side, digest: Digest, reason: &str, now: Instant) {
        let (mut paths, mut open, mut awaited) = (Vec::new(), 0, false);
        for batch in self.batches.values_mut().filter(|batch| batch.target == target && batch.awaits(&digest))
        {
            open += batch.arrival(&digest).map_or(0, |arrival| arrival.open());
            paths.extend(batch.give_up(&digest));
            awaited = true;
        }
        // Also where what it was brought for was given up before: some of it may be there.
        if awaited {
            self.replica_mut(target).halves.entry(digest).or_default().open += open;
            self.drop_half(target, digest);
        }
        // What else was brought for the same directory is on its way, or there.
        let emptied = self.batches.extract_if(.., |_, batch| batch.transitions.is_empty());
        let emptied = emptied.map(|(_, batch)| batch).collect();
        self.abandon(emptied);
        for path in paths {
            self.defer(path, reason.to_owned(), now);
        }
    }

    /// Batches will not be: what they have begun to bring may be gone on with, and what was said to be stored for them is
    /// still answered.
    pub(super) fn abandon(&mut self, batches: Vec<Batch>) {
        for batch in batches {
            let target = batch.target;
            let mut unfinished: BTreeSet<_> = batch.missing().collect();
            for (digest, half) in batch.into_halves() {
                self.replica_mut(target).halves.insert(digest, half);
            }
            unfinished.retain(|digest| !self.replica(target).halves.contains_key(digest));
            for digest in unfinished {
                self.say(target, ToSide::Drop { digest });
            }
        }
    }

    /// Nobody goes on with a content that was begun. Answers that are on their way count for nothing then, and least of
    /// all for the same content when it is brought again.
    fn drop_half(&mut self, side: Side, digest: Digest) {
        let halves = &mut self.replica_mut(side).halves;
        if let Some(half) = halves.get_mut(&digest) {
            *half = Half { stored: 0, open: half.open, dropped: true };
            if half.open == 0 {
                halves.remove(&digest);
            }
        }
        self.say(side, ToSide::Drop { digest });
    }

    /// Nothing is left to do: what a side has stored, and nothing needs, is of no use any more.
    pub(super) fn clear_stored(&mut self) {
        for side in Side::BOTH {
            let replica = self.replica_mut(side);
            let mut unused = std::mem::take(&mut replica.stored);
            unused.extend(replica.halves.iter().filter(|(_, half)| !half.dropped).map(|(digest, _)| *digest));
            for digest in unused {
                self.drop_half(side, digest);
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
            let Some((mut portion, large)) = portion else { return };
            let Replica { tree, removed, .. } = self.replica(side);
            nearby::find(tree, removed, &mut portion.wanted);
            // No side can say how what a person made differs from what there is.
            for wanted in portion.wanted.iter_mut().filter(|wanted| self.offers.has(&wanted.digest)) {
                wanted.base = None;
            }
            let told = self.told;
            self.replica_mut(side).run.get_or_insert_with(|| Run::since(told));
            for transition in &portion.transitions {
                let rule = self.rule(side, transition.path.as_ref());
                let new = Sight::of(transition.new.as_ref());
                let event = Event::Decided { target: side, new, rule };
                self.memory.note(now, transition.path.clone(), event);
            }
            let mut batch = Batch::new(side, portion, large, &self.replica(side).stored);
            batch.made = self.offers.among(&batch.transitions);
            self.batches.insert(self.next, batch);
            self.next += 1;
        }
    }

    /// Brings contents, as much as may be on its way at a time; small changes first.
    pub(super) fn read(&mut self, target: Side) {
        let asked: u64 = self.replica(target.other()).asked.iter().map(|asked| asked.bytes).sum();
        let waiting: u64 = self.batches_to(target).map(Batch::waiting).sum();
        let mut afloat = self.replica(target).unstored + asked + waiting;
        let mut halves = std::mem::take(&mut self.replica_mut(target).halves);
        for large in [false, true] {
            let window = if large { WINDOW / 2 } else { WINDOW };
            let (mut questions, mut stores) = (Vec::new(), Vec::new());
            let batches =
                self.batches.iter_mut().filter(|(_, batch)| batch.target == target && batch.large == large);
            for (id, batch) in batches {
                while afloat < window
                    && let Some((digest, next)) = batch.next(&mut halves)
                {
                    match next {
                        Next::Ask(question) => {
                            afloat += question.bytes;
                            questions.push((*id, digest, question));
                        }
                        Next::Here(bytes) => {
                            afloat += bytes;
                            stores.extend(batch.arrival(&digest).into_iter().flat_map(Arrival::stores));
                        }
                    }
                }
            }
            for (batch, digest, question) in questions {
                let Some((offset, piece)) = self.offers.answer(&digest, &question) else {
                    self.ask(target, batch, digest, question);
                    continue;
                };
                let arrival = self.batches.get_mut(&batch).and_then(|batch| batch.arrival(&digest));
                if let Some(arrival) = arrival
                    && arrival.content(offset, piece).is_ok()
                {
                    stores.extend(arrival.stores());
                }
            }
            self.bring(target, stores);
        }
        self.replica_mut(target).halves = halves;
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
