//! What a restore drill takes, what it came to, and when the next one is due. Pure.

use jiff::Timestamp;

use crate::backup::schedule::Due;
use crate::backup::schedule::Past;
use crate::backup::schedule::Schedule;

/// So many files of each workspace are restored.
pub const FILES: usize = 24;
/// They have no more bytes than this together, unless there is no smaller file.
pub const BYTES: u64 = 64 << 20;
/// So many that could not be done are an alert.
const FAILURES_MAX: u32 = 3;

/// Chooses some of many without knowing how many come: each has the same chance.
pub struct Sample<T> {
    seen: u64,
    chosen: Vec<(u64, T)>,
    /// The smallest of those that are too large to be chosen by chance.
    large: Option<(u64, T)>,
}

impl<T> Default for Sample<T> {
    fn default() -> Self {
        Self { seen: 0, chosen: Vec::new(), large: None }
    }
}

impl<T> Sample<T> {
    /// Takes one into account. `chance` is any number.
    pub fn offer(&mut self, size: u64, one: T, chance: u64) {
        if size > BYTES {
            if self.large.as_ref().is_none_or(|(smallest, _)| size < *smallest) {
                self.large = Some((size, one));
            }
            return;
        }
        self.seen += 1;
        if self.chosen.len() < FILES {
            return self.chosen.push((size, one));
        }
        let place = usize::try_from(chance % self.seen).unwrap_or(usize::MAX);
        if let Some(chosen) = self.chosen.get_mut(place) {
            *chosen = (size, one);
        }
    }

    /// What is chosen: as many as fit, and always one if there is any.
    pub fn chosen(self) -> Vec<T> {
        let mut left = BYTES;
        let mut taken = Vec::new();
        for (size, one) in self.chosen {
            if size <= left {
                left -= size;
                taken.push(one);
            }
        }
        if taken.is_empty() {
            taken.extend(self.large.map(|(_, one)| one));
        }
        taken
    }
}

/// What a restore drill came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drill {
    /// When it was begun.
    pub time: Timestamp,
    /// Each workspace.
    pub workspaces: Vec<Tried>,
    /// Why it could not be done.
    pub failure: Option<String>,
    /// How many in a row could not be done.
    pub failures: u32,
    /// When a drill of everything proved last that it comes back.
    pub proved: Option<Timestamp>,
}

/// What came back of a workspace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tried {
    /// Its folder's name.
    pub folder: String,
    /// The snapshot.
    pub snapshot: String,
    /// Files that were restored.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many of them were compared with the folder, where they had not changed since.
    pub compared: u64,
    /// What did not come back as it should.
    pub findings: Vec<String>,
}

impl Drill {
    /// Whether something did not come back as it should.
    pub fn is_bad(&self) -> bool {
        self.workspaces.iter().any(|tried| !tried.findings.is_empty())
    }

    /// Whether its owner should know: something did not come back, or it could not be tried several times.
    pub fn is_alarming(&self) -> bool {
        self.is_bad() || self.failures >= FAILURES_MAX
    }

    /// Whether it came to its end and everything came back.
    pub fn is_good(&self) -> bool {
        self.failure.is_none() && !self.workspaces.is_empty() && !self.is_bad()
    }
}

/// When the next drill is due at a destination that had its first backup at `succeeded`: the first moment after that, and
/// then after each drill.
pub fn due(
    schedule: &Schedule,
    last: Option<&Drill>,
    succeeded: Option<Timestamp>,
    seed: &str,
    now: Timestamp,
) -> Due {
    // Where nothing is there is nothing to be proved.
    let Some(succeeded) = succeeded else { return Due::Never };
    let begun = Some(last.map_or(succeeded, |drill| drill.time));
    let failures = last.map_or(0, |drill| drill.failures);
    schedule.due(&Past { begun, succeeded: begun, failures }, seed, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_bounded_and_never_empty_where_there_is_something() {
        let sample = |sizes: &[u64]| {
            let mut sample = Sample::default();
            for (number, size) in sizes.iter().enumerate() {
                sample.offer(*size, number, 7 * number as u64);
            }
            sample.chosen()
        };
        assert_eq!(sample(&[]), [0; 0]);
        assert_eq!(sample(&[1, 2, 3]), [0, 1, 2], "few are all taken");
        assert_eq!(sample(&[1; 1000]).len(), FILES);
        assert_eq!(sample(&[BYTES / 2, BYTES / 2, 1]), [0, 1], "what does not fit is left");
        assert_eq!(sample(&[BYTES + 2, BYTES + 1, BYTES + 3]), [1], "the smallest of the large ones");
        assert_eq!(sample(&[BYTES + 1, 5]), [1]);
    }

    #[test]
    fn each_has_the_same_chance() {
        let mut counts = [0_u32; 100];
        let mut state = 1_u64;
        for _ in 0..4000 {
            let mut sample = Sample::default();
            for number in 0..counts.len() {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                sample.offer(1, number, state);
            }
            sample.chosen().into_iter().for_each(|number| counts[number] += 1);
        }
        // 960 are to be expected of each.
        assert!(counts.iter().all(|count| (800..1120).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_drill_is_due_by_the_clock_once_there_is_something_and_sooner_after_a_failure() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let weekly = Schedule::parse("0 4 * * 0", "UTC").unwrap();
        // A Wednesday.
        let now = at("2026-03-11T12:00:00Z");
        let drill = |time: &str, failures| Drill {
            time: at(time),
            workspaces: vec![],
            failure: None,
            failures,
            proved: None,
        };
        let due =
            |last: Option<&Drill>, succeeded: Option<&str>| due(&weekly, last, succeeded.map(at), "a", now);
        assert_eq!(due(None, None), Due::Never);
        assert!(
            matches!(due(None, Some("2026-03-11T11:00:00Z")), Due::At(time) if time > at("2026-03-15T04:00:00Z"))
        );
        assert_eq!(due(None, Some("2026-03-01T00:00:00Z")), Due::Now);
        let recent = "2026-03-11T11:00:00Z";
        assert!(matches!(due(Some(&drill(recent, 0)), Some(recent)), Due::At(_)));
        assert_eq!(due(Some(&drill(recent, 1)), Some(recent)), Due::Now);
        assert_eq!(super::due(&Schedule::Never, None, Some(now), "a", now), Due::Never);
    }
}
