//! One content on its way to a side: which parts are asked for, what of it is there already, in which order it is stored.
//! Pure.
//!
//! A file the side has another version of is brought as what is different in it: both sides outline their versions; equal
//! parts are copied over there, the others are looked for in a stretch around their place (see [`crate::delta`]). What the
//! side has at another place is copied there as a whole. Whatever
//! goes wrong on that way (the version changes meanwhile, something was a lie), the content is brought whole.

use std::collections::VecDeque;

use super::queue::Wanted;
use crate::delta;
use crate::delta::Base;
use crate::delta::OUTLINED_MAX;
use crate::delta::PART;
use crate::delta::SLACK;
use crate::delta::SPAN_MAX;
use crate::delta::Span;
use crate::delta::WHOLE;
use crate::delta::outline::Chain;
use crate::entry::Digest;
use crate::message::CHUNK;
use crate::message::Part;
use crate::message::Piece;
use crate::message::ToSide;

/// After so many parts in a row that were not found again, the others are not looked for.
const POOR: u32 = 4;

/// See the module.
#[derive(Debug)]
pub(super) struct Arrival {
    wanted: Wanted,
    way: Way,
    /// From which byte on nothing was asked for.
    offset: u64,
    /// What is asked for and not stored, in the order of the file.
    steps: VecDeque<Step>,
    /// Raised when it is begun again: what was asked for before is of no use.
    attempt: u32,
    /// Parts said to be stored and not answered; how many of the next answers are about an attempt before this one.
    open: u32,
    stale: u32,
    /// As many bytes are stored.
    stored: u64,
    /// It goes on from what was stored before the connection broke.
    resumed: bool,
}

#[derive(Debug)]
enum Way {
    Whole,
    /// What there is on the side it comes to, and where it comes from.
    Outlining([Pages; 2]),
    Parts(Parts),
}

/// An outline that is coming in.
#[derive(Debug, Default)]
struct Pages {
    parts: Vec<Chain>,
    asked: bool,
}

#[derive(Debug, Default)]
struct Parts {
    /// What was outlined on each side; of contents of one part nothing is.
    outlines: [Vec<Chain>; 2],
    /// The part before was different too: what is inserted or removed there moves the rest, which is as far from the end
    /// as it was.
    shifted: bool,
    /// So many parts in a row were not found again.
    poor: u32,
    /// It is the same content at another place.
    all: bool,
}

#[derive(Debug)]
struct Step {
    offset: u64,
    bytes: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Signing(Span),
    Reading(Option<Span>),
    Ready(Part),
}

/// Of the two sides of an arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Target,
    Source,
}

/// What is asked about a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Outline { of: End },
    Sign { offset: u64 },
    Read { offset: u64 },
}

/// A question on behalf of an arrival.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) of: End,
    pub(super) message: ToSide,
    /// The content the answer is about.
    pub(super) about: Digest,
    pub(super) what: What,
    pub(super) attempt: u32,
    /// How much content comes with the answer.
    pub(super) bytes: u64,
}

/// What comes next of an arrival.
#[derive(Debug)]
pub(super) enum Next {
    Ask(Question),
    /// So many bytes need no question.
    Here(u64),
}

/// An answer that no honest side gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Absurd;

impl Arrival {
    /// Of `stored` bytes it is known that the target has them.
    pub(super) fn new(wanted: Wanted, stored: u64, stale: u32) -> Self {
        let base = wanted.base.as_ref().filter(|base| base.size > 0);
        let way = match base.map(|base| base.size) {
            Some(_) if base.is_some_and(|base| base.base.digest == wanted.digest) => Way::Parts(Parts::all()),
            Some(size) if wanted.size > WHOLE && size.max(wanted.size) <= OUTLINED_MAX => {
                if size.min(wanted.size) > PART {
                    Way::Outlining(Default::default())
                } else {
                    Way::Parts(Parts::default())
                }
            }
            _ => Way::Whole,
        };
        let resumed = stored > 0 && stored < wanted.size && stored.is_multiple_of(PART) && stale == 0;
        let stored = if resumed { stored } else { 0 };
        Self {
            wanted,
            way,
            offset: stored,
            steps: VecDeque::new(),
            attempt: 0,
            open: 0,
            stale,
            stored,
            resumed,
        }
    }

    /// How many bytes of it are stored.
    pub(super) fn stored(&self) -> u64 {
        self.stored
    }

    /// How many answers are to come.
    pub(super) fn open(&self) -> u32 {
        self.stale + self.open
    }

    /// Whether it is brought as a whole, in one part.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.way, Way::Whole) && self.wanted.size <= CHUNK
    }

    /// Whether something of it is still to be asked for.
    pub(super) fn has_more(&self) -> bool {
        matches!(self.way, Way::Outlining(_)) || self.offset < self.wanted.size
    }

    /// The bytes that wait for an answer before they are asked for, or for what comes before them.
    pub(super) fn waiting(&self) -> u64 {
        let waits = |step: &&Step| !matches!(step.state, State::Reading(_));
        self.steps.iter().filter(waits).map(|step| step.bytes).sum()
    }

    /// What comes next; `None` while an answer is waited for, or when all was asked for.
    pub(super) fn next(&mut self) -> Option<Next> {
        match &mut self.way {
            Way::Outlining(pages) => {
                let end = [End::Target, End::Source].into_iter().find(|end| !pages[*end as usize].asked)?;
                let pages = &mut pages[end as usize];
                pages.asked = true;
                let from = pages.parts.len() as u64;
                let file = self.wanted.at(end)?;
                let (about, path) = (file.digest, file.path);
                let message = ToSide::Outline { path, digest: about, from };
                let attempt = self.attempt;
                Some(Next::Ask(Question {
                    of: end,
                    message,
                    about,
                    what: What::Outline { of: end },
                    attempt,
                    bytes: 0,
                }))
            }
            _ if self.offset == self.wanted.size => None,
            Way::Whole => Some(Next::Ask(self.read(None))),
            Way::Parts(_) => Some(self.next_part()),
        }
    }

    fn next_part(&mut self) -> Next {
        let offset = self.offset;
        let bytes = (self.wanted.size - offset).min(CHUNK);
        let Way::Parts(ways) = &mut self.way else { return Next::Ask(self.read(None)) };
        let equal = ways.equal_from(offset, self.wanted.size);
        let base = self.wanted.base.as_ref();
        if equal > 0
            && let Some(base) = base
        {
            ways.shifted = false;
            let span = Span { from: offset, length: equal };
            let part = Part::Same { base: base.base.clone(), span };
            self.steps.push_back(Step { offset, bytes: equal, state: State::Ready(part) });
            self.offset += equal;
            return Next::Here(equal);
        }
        let (shifted, size) = (ways.shifted, self.wanted.size);
        let place = |old: u64| if shifted { (offset + old).saturating_sub(size) } else { offset };
        let base = base.filter(|_| ways.poor < POOR);
        let span = base.map(|base| around(place(base.size), bytes, base.size));
        ways.shifted = true;
        match (span.filter(|span| span.length > 0), base) {
            (Some(span), Some(base)) => {
                let about = base.base.digest;
                let message = ToSide::Sign { base: base.base.clone(), span };
                self.steps.push_back(Step { offset, bytes, state: State::Signing(span) });
                self.offset += bytes;
                let (what, attempt) = (What::Sign { offset }, self.attempt);
                Next::Ask(Question { of: End::Target, message, about, what, attempt, bytes })
            }
            _ => Next::Ask(self.read(None)),
        }
    }

    /// Asks for the next part as it is.
    fn read(&mut self, span: Option<Span>) -> Question {
        let offset = self.offset;
        let bytes = (self.wanted.size - offset).min(CHUNK);
        self.steps.push_back(Step { offset, bytes, state: State::Reading(span) });
        self.offset += bytes;
        self.question(offset, bytes, Vec::new())
    }

    fn question(&self, offset: u64, bytes: u64, like: Vec<u8>) -> Question {
        let (path, about) = (self.wanted.path.clone(), self.wanted.digest);
        let message = ToSide::Read { path, digest: about, offset, like };
        let what = What::Read { offset };
        Question { of: End::Source, message, about, what, attempt: self.attempt, bytes }
    }

    /// Some parts of a version are outlined.
    pub(super) fn outlined(&mut self, end: End, from: u64, parts: Vec<Chain>) -> Result<(), Absurd> {
        let size = self.wanted.at(end).ok_or(Absurd)?.size;
        let Way::Outlining(pages) = &mut self.way else { return Ok(()) };
        let here = &mut pages[end as usize];
        let length = here.parts.len() as u64 + parts.len() as u64;
        if from != here.parts.len() as u64 || parts.is_empty() || length > delta::parts(size) {
            return Err(Absurd);
        }
        here.parts.extend(parts);
        here.asked = length == delta::parts(size);
        let sizes = [End::Target, End::Source].map(|end| self.wanted.at(end).map_or(0, |file| file.size));
        if pages.iter().zip(sizes).all(|(pages, size)| pages.parts.len() as u64 == delta::parts(size)) {
            let outlines = pages.each_mut().map(|pages| std::mem::take(&mut pages.parts));
            self.way = Way::Parts(Parts { outlines, ..Parts::default() });
        }
        Ok(())
    }

    /// A stretch is signed: what is different from it can be asked for.
    pub(super) fn signed(&mut self, offset: u64, signature: Vec<u8>) -> Option<Question> {
        let step = self.steps.iter_mut().find(|step| step.offset == offset)?;
        let State::Signing(span) = step.state else { return None };
        step.state = State::Reading(Some(span));
        let bytes = step.bytes;
        Some(self.question(offset, bytes, signature))
    }

    /// A part has come.
    pub(super) fn content(&mut self, offset: u64, piece: Piece) -> Result<(), Absurd> {
        let step = self.steps.iter_mut().find(|step| step.offset == offset).ok_or(Absurd)?;
        let State::Reading(span) = step.state else { return Err(Absurd) };
        let part = match (piece, span, &self.wanted.base) {
            (Piece::Whole(bytes), _, _) if bytes.len() as u64 == step.bytes => Part::Sent(bytes),
            (Piece::Delta(delta), Some(span), Some(base)) if delta.len() as u64 <= step.bytes => {
                Part::Differing { base: base.base.clone(), span, delta, size: step.bytes }
            }
            _ => return Err(Absurd),
        };
        if let Way::Parts(ways) = &mut self.way
            && span.is_some()
        {
            ways.poor = if matches!(part, Part::Sent(_)) { ways.poor + 1 } else { 0 };
        }
        step.state = State::Ready(part);
        Ok(())
    }

    /// What can be stored now, in order.
    pub(super) fn stores(&mut self) -> Vec<ToSide> {
        let mut stores = Vec::new();
        while let Some(Step { state: State::Ready(_), .. }) = self.steps.front()
            && let Some(Step { offset, bytes, state: State::Ready(part) }) = self.steps.pop_front()
        {
            self.open += 1;
            let last = offset + bytes == self.wanted.size;
            stores.push(ToSide::Store { digest: self.wanted.digest, offset, part, last });
        }
        stores
    }

    /// A part is stored, or is not. Says whether that is about this attempt.
    pub(super) fn answered(&mut self, bytes: u64, failed: bool) -> bool {
        if self.stale > 0 {
            self.stale -= 1;
            return false;
        }
        self.open = self.open.saturating_sub(1);
        self.stored += if failed { 0 } else { bytes };
        true
    }

    /// Begins again, and brings it whole; says whether it was anything but that.
    pub(super) fn fall_back(&mut self) -> bool {
        if matches!(self.way, Way::Whole) && !self.resumed {
            return false;
        }
        self.way = Way::Whole;
        (self.offset, self.stored, self.resumed) = (0, 0, false);
        self.steps.clear();
        self.attempt += 1;
        self.stale += self.open;
        self.open = 0;
        true
    }

    /// Whether an answer is to what is asked now.
    pub(super) fn is_current(&self, attempt: u32) -> bool {
        self.attempt == attempt
    }
}

/// A version of the file of an arrival.
struct Version {
    path: crate::path::RelPath,
    digest: Digest,
    size: u64,
}

impl Wanted {
    fn at(&self, end: End) -> Option<Version> {
        match end {
            End::Source => Some(Version { path: self.path.clone(), digest: self.digest, size: self.size }),
            End::Target => self.base.as_ref().map(|old| {
                let Base { path, digest } = old.base.clone();
                Version { path, digest, size: old.size }
            }),
        }
    }
}

impl Parts {
    /// Nothing is different.
    fn all() -> Self {
        Self { all: true, ..Self::default() }
    }

    /// For how many bytes both versions are the same.
    fn equal_from(&self, offset: u64, size: u64) -> u64 {
        if self.all {
            return SPAN_MAX.min(size - offset);
        }
        let first = usize::try_from(offset / PART).unwrap_or(usize::MAX);
        let [old, new] = self.outlines.each_ref().map(|parts| parts.get(first..).unwrap_or_default());
        let most = usize::try_from(SPAN_MAX / PART).unwrap_or(1);
        let equal = old.iter().zip(new).take(most).take_while(|(old, new)| old == new).count() as u64;
        (equal * PART).min(size - offset)
    }
}

/// The stretch of an old version, `size` bytes long, in which most of a part may be that stood at `place` there.
fn around(place: u64, bytes: u64, size: u64) -> Span {
    let from = place.saturating_sub(SLACK).min(size);
    let end = (place + bytes + SLACK).min(size);
    Span { from, length: end - from }
}

#[cfg(test)]
mod tests;
