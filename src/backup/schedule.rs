//! When a destination's next run is due. Pure: time comes in as `now`.
//!
//! A run is due at the first moment of its schedule after the last one that was begun, however long ago that moment
//! was: a node that was off catches up once, not once for every hour it missed. A destination that never had a run is
//! due at once, so that a first backup exists within the first minute. A run that failed is tried again sooner than its
//! schedule says, waiting longer each time.

use std::time::Duration;

use croner::Cron;
use croner::parser::CronParser;
use croner::parser::Seconds;
use jiff::SignedDuration;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// First wait after a failure; doubles.
const RETRY_FIRST: Duration = Duration::from_secs(60);
/// Longest wait after a failure.
const RETRY_MAX: Duration = Duration::from_secs(30 * 60);
/// Runs are spread over at most this long, so that many nodes do not meet at one server at the full hour.
const SPREAD: u64 = 120;
/// So many moments without a success are an alert.
pub const MISSED_MAX: usize = 2;
/// No more moments than this are counted.
const COUNTED: usize = 100;

/// When a destination is backed up to.
#[derive(Debug, Clone)]
pub enum Schedule {
    /// Only when asked.
    Never,
    /// At the moments of a cron expression.
    Cron {
        /// The moments.
        cron: Box<Cron>,
        /// Where the clock on the wall hangs.
        zone: TimeZone,
    },
}

/// Why a schedule means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// No cron expression.
    #[error("`{text}` is no schedule: {reason}; write five fields such as `0 * * * *` (hourly), or `never`")]
    Cron {
        /// As written.
        text: String,
        /// What the parser says.
        reason: String,
    },
    /// No time zone.
    #[error("`{0}` is no time zone; write one such as `Europe/Berlin`, or `UTC`")]
    Zone(String),
    /// It never comes.
    #[error("`{0}` never comes")]
    Nothing(String),
}

/// What happened at a destination so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Past {
    /// When the last run began.
    pub begun: Option<Timestamp>,
    /// When the last run that succeeded began.
    pub succeeded: Option<Timestamp>,
    /// How many runs have failed since.
    pub failures: u32,
}

/// When to run next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Now.
    Now,
    /// Not before then.
    At(Timestamp),
    /// Not by itself.
    Never,
}

impl Schedule {
    /// Reads a cron expression of five fields, or `never`.
    ///
    /// # Errors
    /// When it is neither, never comes, or the zone is unknown.
    pub fn parse(text: &str, zone: &str) -> Result<Self, Wrong> {
        let text = text.trim();
        if text == "never" {
            return Ok(Self::Never);
        }
        let wrong = |reason: String| {
            let reason = reason.trim_start_matches("Invalid pattern: ").trim_end_matches('.').to_owned();
            Wrong::Cron { text: text.to_owned(), reason }
        };
        let parser = CronParser::builder().seconds(Seconds::Disallowed).build();
        let cron = parser.parse(text).map_err(|error| wrong(error.to_string()))?;
        let zone = TimeZone::get(zone).map_err(|_| Wrong::Zone(zone.to_owned()))?;
        let schedule = Self::Cron { cron: Box::new(cron), zone };
        match schedule.after(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(schedule),
            None => Err(Wrong::Nothing(text.to_owned())),
        }
    }

    /// The first moment after `time`.
    pub fn after(&self, time: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Never => None,
            Self::Cron { cron, zone } => cron
                .find_next_occurrence(&time.to_zoned(zone.clone()), false)
                .ok()
                .map(|moment| moment.timestamp()),
        }
    }

    /// When to run next. `seed` tells destinations and nodes apart.
    pub fn due(&self, past: &Past, seed: &str, now: Timestamp) -> Due {
        if matches!(self, Self::Never) {
            return Due::Never;
        }
        let Some(begun) = past.begun else { return Due::Now };
        // A clock that was set back must not stop backups until it has caught up.
        let begun = begun.min(now);
        let Some(moment) = self.after(begun) else { return Due::Never };
        let planned = later(moment, self.spread(moment, seed));
        let due = match past.failures {
            0 => planned,
            failures => planned.min(later(begun, retry(failures))),
        };
        if due <= now { Due::Now } else { Due::At(due) }
    }

    /// When to run because what was edited has been left alone for a while: once after the last edit that no run has taken.
    pub fn due_after_edits(
        &self,
        past: &Past,
        edited: Option<Timestamp>,
        quiet: Option<Duration>,
        now: Timestamp,
    ) -> Due {
        let (Some(edited), Some(quiet), Self::Cron { .. }) = (edited, quiet, self) else { return Due::Never };
        if past.begun.is_some_and(|begun| begun >= edited) {
            return Due::Never;
        }
        // A clock that was set back must not make it wait until it has caught up.
        let due = later(edited.min(now), quiet);
        if due <= now { Due::Now } else { Due::At(due) }
    }

    /// How many moments have passed since the last success.
    pub fn missed(&self, past: &Past, now: Timestamp) -> usize {
        let Some(mut time) = past.succeeded.or(past.begun) else { return 0 };
        let mut count = 0;
        while count < COUNTED {
            match self.after(time) {
                // A moment that has only just come is not missed.
                Some(moment) if later(moment, Duration::from_secs(SPREAD)) < now => time = moment,
                _ => break,
            }
            count += 1;
        }
        count
    }

    /// The same for each destination and moment, a tenth of the distance to the next moment at most.
    fn spread(&self, moment: Timestamp, seed: &str) -> Duration {
        let gap = self.after(moment).map_or(0, |next| next.duration_since(moment).as_secs());
        let most = (gap.unsigned_abs() / 10).clamp(1, SPREAD);
        let hash = blake3::hash(seed.as_bytes());
        let number = hash.as_bytes().iter().take(8).fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        Duration::from_secs(number % most)
    }
}

fn retry(failures: u32) -> Duration {
    (RETRY_FIRST * 2_u32.saturating_pow(failures.saturating_sub(1).min(16))).min(RETRY_MAX)
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| time.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn hourly() -> Schedule {
        Schedule::parse("0 * * * *", "UTC").unwrap()
    }

    #[test]
    fn a_first_run_is_due_at_once_and_later_ones_by_the_clock() {
        let now = at("2026-01-10T12:30:00Z");
        assert_eq!(hourly().due(&Past::default(), "a", now), Due::Now);
        let past = Past { begun: Some(now), succeeded: Some(now), failures: 0 };
        let Due::At(next) = hourly().due(&past, "a", now) else { panic!("not due yet") };
        assert!(next >= at("2026-01-10T13:00:00Z") && next < at("2026-01-10T13:02:00Z"), "{next}");
        assert_eq!(hourly().due(&past, "a", next), Due::Now);
        assert_eq!(Schedule::Never.due(&Past::default(), "a", now), Due::Never);
    }

    #[test]
    fn what_was_edited_is_due_once_it_has_been_left_alone() {
        let begun = at("2026-01-10T12:00:00Z");
        let past = Past { begun: Some(begun), succeeded: Some(begun), failures: 0 };
        let quiet = Some(Duration::from_secs(300));
        let now = at("2026-01-10T12:20:00Z");
        let due = |edited: &str| hourly().due_after_edits(&past, Some(at(edited)), quiet, now);
        assert_eq!(due("2026-01-10T11:59:00Z"), Due::Never, "a run has taken it");
        assert_eq!(due("2026-01-10T12:15:00Z"), Due::Now);
        assert_eq!(due("2026-01-10T12:16:00Z"), Due::At(at("2026-01-10T12:21:00Z")));
        assert_eq!(due("2026-01-10T13:00:00Z"), Due::At(at("2026-01-10T12:25:00Z")), "a clock set back");
        assert_eq!(hourly().due_after_edits(&past, None, quiet, now), Due::Never);
        assert_eq!(hourly().due_after_edits(&past, Some(now), None, now), Due::Never);
        let edited = Some(at("2026-01-10T12:10:00Z"));
        assert_eq!(Schedule::Never.due_after_edits(&past, edited, quiet, now), Due::Never);
    }

    #[test]
    fn a_node_that_was_off_catches_up_once() {
        let begun = at("2026-01-10T12:00:00Z");
        let past = Past { begun: Some(begun), succeeded: Some(begun), failures: 0 };
        let now = at("2026-01-13T08:10:00Z");
        assert_eq!(hourly().due(&past, "a", now), Due::Now);
        let past = Past { begun: Some(now), succeeded: Some(now), failures: 0 };
        assert!(matches!(hourly().due(&past, "a", now), Due::At(_)));
    }

    #[test]
    fn a_failed_run_is_tried_again_before_its_time_and_no_faster_each_time() {
        let begun = at("2026-01-10T12:00:10Z");
        let daily = Schedule::parse("0 3 * * *", "UTC").unwrap();
        let waits: Vec<i64> = [1, 2, 3, 9]
            .map(|failures| {
                match daily.due(&Past { begun: Some(begun), succeeded: None, failures }, "a", begun) {
                    Due::At(time) => time.duration_since(begun).as_secs(),
                    other => panic!("{other:?}"),
                }
            })
            .into();
        assert_eq!(waits, [60, 120, 240, 1800]);
    }

    #[test]
    fn two_moments_without_a_success_are_missed() {
        let success = at("2026-01-10T12:00:10Z");
        let past = Past { begun: Some(success), succeeded: Some(success), failures: 0 };
        assert_eq!(hourly().missed(&past, at("2026-01-10T13:00:30Z")), 0);
        assert_eq!(hourly().missed(&past, at("2026-01-10T13:30:00Z")), 1);
        assert_eq!(hourly().missed(&past, at("2026-01-10T14:30:00Z")), MISSED_MAX);
    }

    #[test]
    fn the_clock_on_the_wall_counts_also_when_it_jumps() {
        // 02:30 does not exist on the night the clocks go forward in Berlin.
        let schedule = Schedule::parse("30 2 * * *", "Europe/Berlin").unwrap();
        let next = schedule.after(at("2026-03-28T12:00:00Z")).unwrap();
        assert!(next > at("2026-03-28T12:00:00Z") && next <= at("2026-03-29T02:00:00Z"), "{next}");
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for bad in ["", "hourly please", "61 * * * *", "* * * * * *", "0 0 31 2 *"] {
            assert!(Schedule::parse(bad, "UTC").is_err(), "{bad}");
        }
        assert_eq!(
            Schedule::parse("0 * * * *", "Mars/Olympus").unwrap_err(),
            Wrong::Zone("Mars/Olympus".to_owned())
        );
    }

    proptest! {
        #[test]
        fn a_run_that_has_just_begun_is_never_due_again_at_once(minute in 0_i64..10_000_000, seed in "[a-z]{1,8}") {
            let now = Timestamp::from_second(1_700_000_000 + minute * 60).unwrap();
            let past = Past { begun: Some(now), succeeded: Some(now), failures: 0 };
            let Due::At(next) = hourly().due(&past, &seed, now) else { panic!("due again at once") };
            prop_assert!(next > now && next.duration_since(now).as_secs() <= 3720);
        }
    }
}
