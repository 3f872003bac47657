//! Who is writing which file, as far as events tell.
//!
//! A write that no closing has followed yet is in the middle of something: whoever pauses there has a file that looks
//! finished and is half of one. It is waited for until it closes the file, but no longer than [`STILL`] after its last
//! write, and no longer than [`LONGEST`] in all: databases and logs stay open for days, and a program that hangs may not
//! hold its file back for ever. Where events were lost, or never come, nothing is known and times alone decide.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::look::Pen;
use crate::path::RelPath;
use crate::tree::Name;

use super::batch::Place;

/// Nobody pauses for longer than this in the middle of a file, unless they are done and do not say so.
pub(super) const STILL: Duration = Duration::from_secs(5);
/// After this long a file that is still open is taken as it is, at the next moment of rest; and then again.
pub(super) const LONGEST: Duration = Duration::from_secs(30);
/// So many files are kept in mind; with more, those that rest are forgotten, and then all.
const MANY: usize = 10_000;

type Key = (Place, Name);

#[derive(Debug, Default)]
pub(super) struct Pens {
    down: BTreeMap<Key, Writing>,
    /// Lifted, and not asked about since.
    lifted: BTreeSet<Key>,
}

#[derive(Debug)]
struct Writing {
    first: Duration,
    last: Duration,
}

impl Pens {
    /// Somebody has written.
    pub(super) fn wrote(&mut self, place: &Place, name: &Name, now: Duration) {
        let key = (place.clone(), name.clone());
        self.down.entry(key).or_insert(Writing { first: now, last: now }).last = now;
        if self.down.len() > MANY {
            self.down.retain(|_, writing| now < writing.last + STILL);
            if self.down.len() > MANY {
                self.down.clear();
            }
        }
    }

    /// Somebody has closed what they could write to.
    pub(super) fn closed(&mut self, place: &Place, name: &Name) {
        let key = (place.clone(), name.clone());
        self.down.remove(&key);
        if self.lifted.len() >= MANY {
            self.lifted.clear();
        }
        self.lifted.insert(key);
    }

    /// It is another file by now, or none.
    pub(super) fn gone(&mut self, place: &Place, name: &Name) {
        let key = (place.clone(), name.clone());
        self.down.remove(&key);
        self.lifted.remove(&key);
    }

    /// Below this directory nothing is known any more.
    pub(super) fn leave(&mut self, directory: &RelPath) {
        let within = |(place, _): &Key| place.as_ref().is_some_and(|place| place.is_within(directory));
        self.down.retain(|key, _| !within(key));
        self.lifted.retain(|key| !within(key));
    }

    /// Events were lost.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// What is known of a file.
    pub(super) fn of(&mut self, path: &RelPath, now: Duration) -> Pen {
        if self.down.is_empty() && self.lifted.is_empty() {
            return Pen::None;
        }
        let key = (path.parent().map(Arc::new), Name::from(path.name()));
        let lifted = self.lifted.remove(&key);
        match self.down.get(&key).map(|writing| (writing.last + STILL).min(writing.first + LONGEST)) {
            Some(until) if now < until => Pen::Down(until - now),
            Some(_) => {
                // From here on it is a new story.
                self.down.remove(&key);
                Pen::None
            }
            None if lifted => Pen::Lifted,
            None => Pen::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn path() -> RelPath {
        RelPath::parse(b"d/file").unwrap()
    }

    fn place() -> (Place, Name) {
        (path().parent().map(Arc::new), b"file"[..].into())
    }

    #[test]
    fn a_writer_is_waited_for_until_it_closes_the_file() {
        let (mut pens, (place, name)) = (Pens::default(), place());
        assert_eq!(pens.of(&path(), SECOND), Pen::None);
        pens.wrote(&place, &name, SECOND);
        pens.wrote(&place, &name, SECOND * 3);
        assert_eq!(pens.of(&path(), SECOND * 4), Pen::Down(STILL - SECOND));
        assert_eq!(pens.of(&RelPath::parse(b"file").unwrap(), SECOND * 4), Pen::None, "another file");
        pens.closed(&place, &name);
        assert_eq!(pens.of(&path(), SECOND * 4), Pen::Lifted);
        assert_eq!(pens.of(&path(), SECOND * 4), Pen::None, "once");
    }

    #[test]
    fn a_writer_that_never_closes_is_not_waited_for_for_ever() {
        let (mut pens, (place, name)) = (Pens::default(), place());
        let mut taken = Vec::new();
        for second in 0..100 {
            pens.wrote(&place, &name, SECOND * second);
            if pens.of(&path(), SECOND * second) == Pen::None {
                taken.push(second);
            }
        }
        assert_eq!(taken, [30, 61, 92], "busy all the time");
        assert_eq!(pens.of(&path(), SECOND * 104), Pen::None, "at rest");
    }

    #[test]
    fn another_file_under_the_name_has_no_writer() {
        let (mut pens, (place, name)) = (Pens::default(), place());
        for act in [
            |pens: &mut Pens| pens.gone(&self::place().0, &self::place().1),
            |pens: &mut Pens| pens.leave(&RelPath::parse(b"d").unwrap()),
            Pens::forget,
        ] {
            pens.wrote(&place, &name, SECOND);
            act(&mut pens);
            assert_eq!(pens.of(&path(), SECOND), Pen::None);
        }
    }
}
