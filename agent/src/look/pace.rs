//! When a file may be read: not again and again while somebody is still writing it.
//!
//! A file that was saved is read at once, however often it is saved. One that keeps growing, or changes while it is
//! read, is read less and less often, but as soon as it has come to rest for [`QUIET`]. So a file that is appended to
//! for a minute costs ten readings and not a thousand.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::path::RelPath;
use crate::tree::Stamp;

/// After this long without a change a file is taken for finished.
pub(super) const QUIET: Duration = Duration::from_millis(500);
/// A file written in this very moment is looked at again after this long: the file system's clock has moved on then.
pub(super) const TICK: Duration = Duration::from_millis(12);
/// What cannot be read is tried again after this long, then twice as long, and so on.
const TROUBLE: Duration = Duration::from_secs(1);
/// But never less often than this.
const TROUBLE_MAX: Duration = Duration::from_secs(20);
/// The first wait of a file that keeps growing, after so many readings.
const GROWING: Duration = Duration::from_secs(1);
const GROWING_FREE: u32 = 3;
const GROWING_MAX: Duration = Duration::from_secs(32);
/// So long a file that may have been half written is not believed when something is said of it.
const DOUBT: Duration = Duration::from_secs(10);
/// Readings further apart than this have nothing to do with one another.
const APART: Duration = Duration::from_secs(1);

/// The files and directories that are to be looked at again, and when. All times are on the caller's clock.
#[derive(Debug, Default)]
pub(super) struct Pace {
    paths: BTreeMap<RelPath, Beat>,
}

#[derive(Debug, Default)]
struct Beat {
    /// When to look again, if at all.
    due: Option<Duration>,
    /// What the file looked like last, and since when it has.
    seen: Option<(Stamp, Duration)>,
    /// When it was last read, and how long it was.
    read: Option<(Duration, u64)>,
    /// How many readings in a row found it grown or changing.
    strikes: u32,
    /// How often it could not be looked at.
    troubles: u32,
    /// The stamp it was read with, though it may have been half written, and until when that is of interest.
    doubt: Option<(Stamp, Duration)>,
}

impl Pace {
    /// Whether the file may be read now; if not it is looked at again in time.
    pub(super) fn allows(&mut self, path: &RelPath, stamp: Stamp, now: Duration) -> bool {
        let Some(beat) = self.paths.get_mut(path) else { return true };
        let since = match beat.seen {
            Some((seen, since)) if seen == stamp => since,
            _ => now,
        };
        beat.seen = Some((stamp, since));
        let Some((read, _)) = beat.read else { return true };
        let due = (read + wait(beat.strikes)).min(since + QUIET);
        if now >= due {
            return true;
        }
        beat.due = Some(due);
        false
    }

    /// The file was read, or somebody wrote it meanwhile (`torn`). `again`: look again as soon as the clock has moved.
    pub(super) fn read(
        &mut self,
        path: &RelPath,
        stamp: Stamp,
        size: u64,
        torn: bool,
        again: bool,
        now: Duration,
    ) {
        if !torn && !again && !self.paths.contains_key(path) {
            return;
        }
        let beat = self.paths.entry(path.clone()).or_default();
        let since = wait(beat.strikes) + APART;
        let grown =
            beat.read.is_some_and(|(read, length)| now.saturating_sub(read) <= since && size > length);
        let same = beat.seen.is_some_and(|(seen, _)| seen == stamp) && beat.read.is_some();
        beat.strikes = match (torn || grown, same) {
            (true, _) => beat.strikes + 1,
            // Read again only to be sure: neither growing nor finished.
            (false, true) => beat.strikes,
            (false, false) => 0,
        };
        if beat.seen.is_none_or(|(seen, _)| seen != stamp) {
            beat.seen = Some((stamp, now));
        }
        beat.read = Some((now, size));
        beat.troubles = 0;
        beat.due = match beat.strikes {
            _ if torn => Some(now + wait(beat.strikes).max(TICK)),
            0 => again.then_some(now + TICK),
            // The next change is on its way.
            _ => again.then_some(now + QUIET),
        };
    }

    /// The file was read, but somebody may have been writing it: its stamp alone says nothing for a while.
    pub(super) fn doubt(&mut self, path: &RelPath, stamp: Stamp, now: Duration) {
        self.paths.entry(path.clone()).or_default().doubt = Some((stamp, now + DOUBT));
    }

    /// Whether a file with this stamp has to be read again, now that something was said of it.
    pub(super) fn doubts(&self, path: &RelPath, stamp: Stamp, now: Duration) -> bool {
        let doubt = self.paths.get(path).and_then(|beat| beat.doubt);
        doubt.is_some_and(|(doubtful, until)| doubtful == stamp && now < until)
    }

    /// The file is not to be read yet: it is being written, or was this very moment and is too long to be read twice.
    pub(super) fn later(&mut self, path: &RelPath, due: Duration) {
        self.paths.entry(path.clone()).or_default().due = Some(due);
    }

    /// It could not be looked at, which may pass.
    pub(super) fn trouble(&mut self, path: &RelPath, now: Duration) {
        let beat = self.paths.entry(path.clone()).or_default();
        let wait = TROUBLE.saturating_mul(1 << beat.troubles.min(16)).min(TROUBLE_MAX);
        beat.troubles += 1;
        beat.due = Some(now + wait);
    }

    /// Nothing more is wanted of it.
    pub(super) fn settle(&mut self, path: &RelPath) {
        if let Some(beat) = self.paths.get_mut(path) {
            beat.due = None;
        }
    }

    /// When the next is to be looked at.
    pub(super) fn next(&self) -> Option<Duration> {
        self.paths.values().filter_map(|beat| beat.due).min()
    }

    /// Those to be looked at now. Forgets those of which nothing was heard since the last time, or for long.
    pub(super) fn due(&mut self, now: Duration) -> Vec<RelPath> {
        self.paths.retain(|_, beat| {
            let recent = |(read, _)| now.saturating_sub(read) <= wait(beat.strikes) + APART;
            let doubted = beat.doubt.is_some_and(|(_, until)| now < until);
            beat.due.is_some() || doubted || beat.read.is_some_and(recent)
        });
        let due = self.paths.iter_mut().filter(|(_, beat)| beat.due.is_some_and(|due| due <= now));
        due.map(|(path, beat)| {
            beat.due = None;
            path.clone()
        })
        .collect()
    }
}

/// How long a file that keeps changing is left alone.
fn wait(strikes: u32) -> Duration {
    match strikes.checked_sub(GROWING_FREE) {
        None => Duration::ZERO,
        Some(doublings) => GROWING.saturating_mul(1 << doublings.min(16)).min(GROWING_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path() -> RelPath {
        RelPath::parse(b"log").unwrap()
    }

    /// Plays one minute of writes every 50 ms, each noticed at once; returns when the file was read.
    fn readings(size: impl Fn(u64) -> u64) -> Vec<Duration> {
        let (mut pace, mut readings) = (Pace::default(), Vec::new());
        let mut look = |pace: &mut Pace, write: u64, now: Duration| {
            let stamp = Stamp(1 + write);
            if pace.allows(&path(), stamp, now) {
                readings.push(now);
                pace.read(&path(), stamp, size(write), false, write * 50 == now.as_millis() as u64, now);
            }
        };
        for now in 0..63_000 {
            let (now, write) = (Duration::from_millis(now), (now / 50).min(1199));
            if now.as_millis() as u64 == write * 50 {
                look(&mut pace, write, now);
            } else if pace.next().is_some_and(|due| due <= now) {
                pace.due(now);
                look(&mut pace, write, now);
            }
        }
        readings
    }

    #[test]
    fn a_file_that_grows_for_a_minute_is_read_seldom_and_at_its_end() {
        let readings = readings(|write| write);
        let last_write = Duration::from_millis(1199 * 50);
        assert!(readings.len() <= 11, "{readings:?}");
        let last = *readings.last().unwrap();
        assert!(last >= last_write && last <= last_write + Duration::from_secs(2), "{readings:?}");
    }

    #[test]
    fn a_file_that_is_saved_often_is_read_each_time() {
        assert!(readings(|_| 100).len() >= 1200);
    }

    #[test]
    fn what_cannot_be_read_is_tried_again_within_thirty_seconds() {
        let (mut pace, mut now) = (Pace::default(), Duration::ZERO);
        for _ in 0..40 {
            pace.trouble(&path(), now);
            let due = pace.next().unwrap();
            assert!(due > now && due - now < Duration::from_secs(30));
            now = due;
            assert_eq!(pace.due(now), [path()]);
            assert_eq!(pace.next(), None);
        }
    }
}
