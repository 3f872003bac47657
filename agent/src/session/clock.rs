//! When the two versions of a conflict were made, in one time.
//!
//! Each side tells the times of its files by its own clock, and what that clock says when it is attached. Two clocks that
//! are apart are so compared by what they said, so that nobody's edit wins because a clock is wrong. Clocks that seem
//! close are taken for one: what seems is then the time messages took.

use super::Instant;
use super::Session;
use crate::reconcile::Conflict;
use crate::reconcile::Side;
use crate::tree::Item;

/// Two clocks no further apart than this, in nanoseconds, are one.
const CLOSE: i128 = 2_000_000_000;

/// What a clock said when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    pub(super) says: i64,
    pub(super) at: Instant,
}

impl Clock {
    /// What it said at the beginning of our own time.
    fn origin(self) -> i128 {
        i128::from(self.says) - i128::try_from(self.at.as_nanos()).unwrap_or(i128::MAX)
    }
}

impl Session {
    /// When a side's version of a conflict was made, by the host's clock; of a directory, the last that was made in it.
    pub(super) fn modified(&self, side: Side, conflict: &Conflict) -> Option<i128> {
        let files = conflict.on(side)?.walk(None).filter_map(|(_, item)| match item {
            Item::File(file) if file.modified != 0 => Some(file.modified),
            _ => None,
        });
        files.max().map(|latest| i128::from(latest) - self.ahead(side))
    }

    /// How far a side's clock is ahead of the host's.
    fn ahead(&self, side: Side) -> i128 {
        let [Some(host), Some(theirs)] = [Side::Alpha, side].map(|side| self.replica(side).clock) else {
            return 0;
        };
        let ahead = theirs.origin().saturating_sub(host.origin());
        if ahead.saturating_abs() <= CLOSE { 0 } else { ahead }
    }
}
