//! Decides which snapshots to keep. Pure.
//!
//! Each rule keeps the newest snapshot of each of its last periods that have one. What any rule keeps stays.
//!
//! Invariants: the newest snapshot is never dropped, and snapshots from the future (a clock that was wrong, or someone
//! who wants the good ones pushed out) never count against others.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use jiff::Timestamp;
use jiff::Zoned;
use jiff::tz::TimeZone;

/// How far a clock may be off before a snapshot is of the future.
const SKEW: SignedDuration = SignedDuration::from_hours(1);

/// The rules, in the order they are written.
const RULES: [&str; 6] = ["last", "hourly", "daily", "weekly", "monthly", "yearly"];

/// How many periods of each kind keep a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// By the order of the rules.
    counts: [u32; 6],
}

/// Why rules mean nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// Not of the form.
    #[error(
        "`{0}` is no rule of what to keep; write `last=3 hourly=24 daily=7 weekly=5 monthly=12 yearly=3`"
    )]
    Form(String),
    /// Everything would go.
    #[error(
        "it would keep nothing; give at least one of `last`, `hourly`, `daily`, `weekly`, `monthly`, `yearly`"
    )]
    Nothing,
}

/// A snapshot as far as this decision needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its id.
    pub id: String,
    /// When it was taken.
    pub time: Timestamp,
}

/// What becomes of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It stays, because of these rules.
    Keep(Vec<&'static str>),
    /// No rule keeps it.
    Drop,
}

impl Policy {
    /// Reads `last=3 hourly=24 ...`.
    ///
    /// # Errors
    /// When a word is no rule, or all of them together keep nothing.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let mut counts = [0; 6];
        for word in text.split([' ', ',']).filter(|word| !word.is_empty()) {
            let rule = word.split_once('=').and_then(|(name, count)| {
                let index = RULES.iter().position(|rule| *rule == name)?;
                Some((index, count.parse::<u32>().ok()?))
            });
            let (index, count) = rule.ok_or_else(|| Wrong::Form(word.to_owned()))?;
            counts[index] = count;
        }
        if counts.iter().all(|count| *count == 0) { Err(Wrong::Nothing) } else { Ok(Self { counts }) }
    }
}

/// Judges the snapshots of one workspace at one destination, in the order they came.
pub fn judge(policy: &Policy, snapshots: &[Snapshot], zone: &TimeZone, now: Timestamp) -> Vec<Verdict> {
    let future = now.checked_add(SKEW).unwrap_or(Timestamp::MAX);
    let mut newest_first: Vec<usize> = (0..snapshots.len()).collect();
    newest_first.sort_by_key(|index| (std::cmp::Reverse(snapshots[*index].time), *index));
    let mut reasons: BTreeMap<usize, Vec<&'static str>> = BTreeMap::new();
    let (ahead, past): (Vec<usize>, Vec<usize>) =
        newest_first.into_iter().partition(|index| snapshots[*index].time > future);
    for index in ahead {
        reasons.entry(index).or_default().push("from the future");
    }
    if let Some(newest) = past.first() {
        reasons.entry(*newest).or_default().push("newest");
    }
    for (rule, (name, count)) in RULES.iter().zip(policy.counts).enumerate() {
        let mut left = count;
        let mut period = None;
        for index in &past {
            let this = key(rule, *index, &snapshots[*index].time.to_zoned(zone.clone()));
            if left == 0 {
                break;
            }
            if period.as_ref() != Some(&this) {
                reasons.entry(*index).or_default().push(name);
                period = Some(this);
                left -= 1;
            }
        }
    }
    (0..snapshots.len()).map(|index| reasons.remove(&index).map_or(Verdict::Drop, Verdict::Keep)).collect()
}

/// What tells one period of a rule from the next.
fn key(rule: usize, index: usize, time: &Zoned) -> (i64, i64, i64, i64) {
    let (year, month, day) = (i64::from(time.year()), i64::from(time.month()), i64::from(time.day()));
    match RULES[rule] {
        "hourly" => (year, month, day, i64::from(time.hour())),
        "daily" => (year, month, day, 0),
        "weekly" => {
            let week = time.date().iso_week_date();
            (i64::from(week.year()), i64::from(week.week()), 0, 0)
        }
        "monthly" => (year, month, 0, 0),
        "yearly" => (year, 0, 0, 0),
        _ => (i64::try_from(index).unwrap_or(i64::MAX), 0, 0, 0),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn snapshots(times: &[i64]) -> Vec<Snapshot> {
        let one = |(index, time): (usize, &i64)| Snapshot {
            id: index.to_string(),
            time: Timestamp::from_second(*time).unwrap(),
        };
        times.iter().enumerate().map(one).collect()
    }

    fn kept(policy: &str, times: &[i64], now: i64) -> Vec<usize> {
        let policy = Policy::parse(policy).unwrap();
        let verdicts =
            judge(&policy, &snapshots(times), &TimeZone::UTC, Timestamp::from_second(now).unwrap());
        let kept = verdicts.iter().enumerate().filter(|(_, verdict)| **verdict != Verdict::Drop);
        kept.map(|(index, _)| index).collect()
    }

    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;
    /// 2024-01-15 00:00:00 UTC, a Monday.
    const MONDAY: i64 = 1_705_276_800;

    #[test]
    fn the_newest_of_each_period_stays() {
        let every_ten_minutes: Vec<i64> = (0..12).map(|step| MONDAY + step * 600).collect();
        assert_eq!(kept("last=2", &every_ten_minutes, MONDAY + DAY), [10, 11]);
        assert_eq!(kept("hourly=5", &every_ten_minutes, MONDAY + DAY), [5, 11]);
        let days: Vec<i64> = (0..40).map(|day| MONDAY + day * DAY).collect();
        assert_eq!(kept("daily=3", &days, MONDAY + 40 * DAY), [37, 38, 39]);
        // Sundays, and the newest.
        assert_eq!(kept("weekly=3", &days, MONDAY + 40 * DAY), [27, 34, 39]);
        // The last day of January, and the newest.
        assert_eq!(kept("monthly=9", &days, MONDAY + 40 * DAY), [16, 39]);
    }

    #[test]
    fn snapshots_from_the_future_push_nothing_out() {
        let mut times: Vec<i64> = (0..3).map(|hour| MONDAY + hour * HOUR).collect();
        times.extend((0..50).map(|year| MONDAY + (year + 1) * 365 * DAY));
        let kept = kept("last=2 yearly=9", &times, MONDAY + 3 * HOUR);
        assert_eq!(kept[..2], [1, 2], "the good ones stay");
        assert_eq!(kept.len(), 52, "and nothing of the future is dropped unseen");
    }

    #[test]
    fn rules_that_keep_nothing_are_refused() {
        assert_eq!(Policy::parse(""), Err(Wrong::Nothing));
        assert_eq!(Policy::parse("last=0 daily=0"), Err(Wrong::Nothing));
        for bad in ["last", "last=x", "last=-1", "fortnightly=2", "hourly = 3"] {
            assert!(matches!(Policy::parse(bad), Err(Wrong::Form(_))), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn the_newest_stays_and_more_rules_never_keep_less(
            times in prop::collection::vec(MONDAY - 900 * DAY..MONDAY, 1..60),
            last in 0_u32..4, hourly in 0_u32..4, daily in 1_u32..4, yearly in 0_u32..3,
        ) {
            let text = format!("last={last} hourly={hourly} daily={daily} yearly={yearly}");
            let few = kept(&text, &times, MONDAY);
            let newest = times.iter().max().unwrap();
            prop_assert!(few.iter().any(|index| times[*index] == *newest));
            prop_assert!(few.len() as u32 <= last + hourly + daily + yearly + 1);
            let more = kept(&format!("{text} weekly=4 monthly=4"), &times, MONDAY);
            prop_assert!(few.iter().all(|index| more.contains(index)));
        }
    }
}
