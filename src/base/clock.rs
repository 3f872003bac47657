//! The one place that asks what time it is. Pure code takes `now` as an argument.

use std::time::Duration;

pub use jiff::Timestamp;

/// The wall clock now. For display and retention only: no decision about which version of a file wins rests on it.
#[expect(clippy::disallowed_methods, reason = "the lawful home of the clock")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// How long it is until the clock next reads a whole number of `period`s. Whoever does something regularly for each of
/// many workspaces does it then: a machine at rest is woken once for all of them instead of once for each.
pub fn until_next(period: Duration) -> Duration {
    until_whole(now(), period)
}

fn until_whole(now: Timestamp, period: Duration) -> Duration {
    let period = period.as_nanos().max(1);
    let past = now.as_nanosecond().unsigned_abs() % period;
    Duration::from_nanos(u64::try_from(period - past).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_whole_period_is_never_now_and_never_further_off_than_one() {
        let second = Duration::from_secs(1);
        let at = |text: &str| until_whole(text.parse().unwrap(), second);
        assert_eq!(at("2024-01-15T10:30:00Z"), second);
        assert_eq!(at("2024-01-15T10:30:00.25Z"), Duration::from_millis(750));
        assert_eq!(at("2024-01-15T10:30:00.999999999Z"), Duration::from_nanos(1));
    }
}
