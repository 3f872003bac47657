//! Gathers events until they make sense together.
//!
//! What was written and closed is ready at once. A name that was removed, moved away or is being written may be
//! something else in a moment (editors save by moving aside and writing anew): it waits until nothing has happened to
//! it for [`QUIET`], but no longer than [`QUIET_MAX`]. Each name waits for itself: a busy log holds nobody up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::look::Dirty;
use crate::look::Part;
use crate::path::RelPath;
use crate::tree::Name;

/// After this long without an event a name is ready.
const QUIET: Duration = Duration::from_millis(2);
/// After this long it is ready whatever happens.
const QUIET_MAX: Duration = Duration::from_millis(50);
/// So many names are kept apart; with more, everything is looked at.
const NAMES_MAX: usize = 50_000;

/// The directory an event is about; `None` is the root.
pub(super) type Place = Option<Arc<RelPath>>;

/// What an event says of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    /// More is likely to follow: created, written to, removed, moved away.
    Begun,
    /// It is as somebody wanted it: closed after writing, moved here.
    Done,
}

#[derive(Debug, Default)]
pub(super) struct Batch {
    ready: Dirty,
    names: BTreeMap<(Place, Name), Wait>,
}

#[derive(Debug)]
struct Wait {
    first: Duration,
    last: Duration,
    done: bool,
}

impl Batch {
    /// Takes an event about a name.
    pub(super) fn name(&mut self, place: &Place, name: &Name, says: Says, now: Duration) {
        let key = (place.clone(), name.clone());
        let wait = self.names.entry(key).or_insert(Wait { first: now, last: now, done: false });
        (wait.last, wait.done) = (now, says == Says::Done);
        if self.names.len() > NAMES_MAX {
            self.everything();
        }
    }

    /// What a name was waiting for has come.
    pub(super) fn done(&mut self, place: &Place, name: &Name) {
        if let Some(wait) = self.names.get_mut(&(place.clone(), name.clone())) {
            wait.done = true;
        }
    }

    /// Takes what is ready at once.
    pub(super) fn ready(&mut self, dirty: Dirty) {
        self.ready.merge(dirty);
    }

    /// A part of a directory is ready at once.
    pub(super) fn part(&mut self, directory: Option<RelPath>, part: Part) {
        self.ready.add(directory, part);
    }

    /// Everything is dirty.
    pub(super) fn everything(&mut self) {
        self.ready = Dirty::All;
        self.names.clear();
    }

    /// When something is ready, if anything will be.
    pub(super) fn due(&self) -> Option<Duration> {
        let ready = (!self.ready.is_nowhere()).then_some(Duration::ZERO);
        ready.or_else(|| self.names.values().map(Wait::due).min())
    }

    /// What is ready now.
    pub(super) fn take(&mut self, now: Duration) -> Dirty {
        let mut dirty = std::mem::take(&mut self.ready);
        self.names.retain(|(place, name), wait| {
            let ready = wait.due() <= now;
            if ready {
                dirty.name(place.as_deref().cloned(), name.clone());
            }
            !ready
        });
        dirty
    }
}

impl Wait {
    fn due(&self) -> Duration {
        if self.done { Duration::ZERO } else { (self.last + QUIET).min(self.first + QUIET_MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn name(text: &str) -> Name {
        text.as_bytes().into()
    }

    fn taken(batch: &mut Batch, now: u32) -> Vec<String> {
        match batch.take(MS * now) {
            Dirty::All => vec!["everything".to_owned()],
            Dirty::Parts(parts) => parts
                .into_values()
                .flat_map(|part| match part {
                    Part::Names(names) => {
                        names.iter().map(|name| String::from_utf8_lossy(name).into()).collect()
                    }
                    other => vec![format!("{other:?}")],
                })
                .collect(),
        }
    }

    #[test]
    fn a_finished_write_is_ready_at_once_and_a_removal_in_a_moment() {
        let mut batch = Batch::default();
        batch.name(&None, &name("saved"), Says::Begun, MS);
        batch.name(&None, &name("saved"), Says::Done, MS);
        batch.name(&None, &name("removed"), Says::Begun, MS);
        assert_eq!(taken(&mut batch, 1), ["saved"]);
        assert_eq!(batch.due(), Some(MS * 3));
        assert!(taken(&mut batch, 2).is_empty());
        assert_eq!(taken(&mut batch, 3), ["removed"]);
        assert_eq!(batch.due(), None);
    }

    #[test]
    fn a_file_moved_aside_and_written_anew_is_never_seen_missing() {
        let mut batch = Batch::default();
        batch.name(&None, &name("a"), Says::Begun, MS * 10);
        batch.name(&None, &name("a~"), Says::Done, MS * 10);
        assert_eq!(taken(&mut batch, 11), ["a~"]);
        batch.name(&None, &name("a"), Says::Begun, MS * 11);
        batch.name(&None, &name("a"), Says::Done, MS * 12);
        assert_eq!(taken(&mut batch, 12), ["a"]);
    }

    #[test]
    fn who_writes_all_the_time_is_heard_every_now_and_then_and_holds_nobody_up() {
        let mut batch = Batch::default();
        let (mut busy, mut other) = (Vec::new(), Vec::new());
        for now in 0..200 {
            batch.name(&None, &name("log"), Says::Begun, MS * now);
            if now % 20 == 7 {
                batch.name(&None, &name("x"), Says::Done, MS * now);
            }
            for name in taken(&mut batch, now) {
                if name == "x" { other.push(now) } else { busy.push(now) }
            }
        }
        assert_eq!(other, [7, 27, 47, 67, 87, 107, 127, 147, 167, 187]);
        assert_eq!(busy, [50, 101, 152]);
    }
}
