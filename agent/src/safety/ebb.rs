//! How a side's files have gone lately. Pure.
//!
//! Whoever deletes a folder file by file never deletes much at once, and has deleted all of it in the end. So what went
//! within the last [`WINDOW`] counts together with what is about to go, and against what there was at the most in that
//! time. Files that come and go, as those of a build do, leave the side as large as it was: no more has gone than the
//! side has shrunk.

use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::time::Duration;

use crate::path::RelPath;

/// How long what went is remembered.
pub const WINDOW: Duration = Duration::from_secs(300);
/// What happens within this is one thing.
const STEP: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Ebb {
    steps: VecDeque<Step>,
    /// How many files there were when this was last asked.
    files: u64,
    /// What somebody has said yes to, until it has gone.
    allowed: BTreeSet<RelPath>,
}

/// Some seconds.
#[derive(Debug, Clone)]
struct Step {
    since: Duration,
    /// How many files there were at the most.
    most: u64,
    /// How many of them sync has removed.
    gone: u64,
}

/// What went before, seen together with what is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// So many files have gone already that have not been made up for.
    pub before: u64,
    /// Of so many that there were.
    pub of: u64,
}

impl Ebb {
    /// So many files are there now. Forgets what was long ago, unless something `waits` for a yes because of it.
    pub fn saw(&mut self, files: u64, now: Duration, waits: bool) {
        if !waits {
            while self.steps.front().is_some_and(|step| step.since + WINDOW <= now) {
                self.steps.pop_front();
            }
        }
        let step = self.step(now);
        step.most = step.most.max(files);
        self.files = files;
    }

    /// Sync has removed these files; those that somebody said yes to do not count.
    pub fn went<'a>(&mut self, paths: impl IntoIterator<Item = &'a RelPath>, now: Duration) {
        let gone = paths.into_iter().filter(|path| !self.allowed.contains(path)).count();
        self.step(now).gone += gone as u64;
    }

    /// Somebody said yes to these: they may go, and what comes after them is a matter of its own.
    pub fn allow(&mut self, paths: impl IntoIterator<Item = RelPath>) {
        self.allowed.extend(paths);
        self.steps.clear();
        self.files = 0;
    }

    /// A yes ends with the plan to remove what it was said to.
    pub fn forget_all_but(&mut self, planned: &BTreeSet<&RelPath>) {
        self.allowed.retain(|path| planned.contains(path));
    }

    /// Whether somebody has said yes to this.
    pub fn allows(&self, path: &RelPath) -> bool {
        self.allowed.contains(path)
    }

    /// What went before, where `files` are there now and `going` of them are to go.
    pub fn flow(&self, files: u64, going: u64) -> Flow {
        let of = self.steps.iter().map(|step| step.most).fold(files, u64::max);
        let gone: u64 = self.steps.iter().map(|step| step.gone).sum();
        let shrunk = of - files.saturating_sub(going).min(of);
        Flow { before: (gone + going).min(shrunk).saturating_sub(going), of }
    }

    fn step(&mut self, now: Duration) -> &mut Step {
        if self.steps.back().is_none_or(|step| step.since + STEP <= now) {
            self.steps.push_back(Step { since: now, most: self.files, gone: 0 });
        }
        self.steps.back_mut().expect("one was just there or put there")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sample::cases;

    const SECOND: Duration = Duration::from_secs(1);

    fn paths(many: u64) -> Vec<RelPath> {
        (0..many).map(|number| RelPath::parse(number.to_string().as_bytes()).unwrap()).collect()
    }

    #[test]
    fn what_went_long_ago_is_forgotten_unless_something_waits() {
        let mut ebb = Ebb::default();
        ebb.saw(100, Duration::ZERO, false);
        ebb.went(&paths(30), SECOND);
        let now = WINDOW - SECOND;
        ebb.saw(70, now, false);
        assert_eq!(ebb.flow(70, 1), Flow { before: 30, of: 100 });
        ebb.saw(70, now + STEP, true);
        assert_eq!(ebb.flow(70, 1), Flow { before: 30, of: 100 });
        ebb.saw(70, now + STEP, false);
        assert_eq!(ebb.flow(70, 1).before, 0);
    }

    #[test]
    fn files_that_come_and_go_and_files_that_come_back_have_not_gone() {
        let mut ebb = Ebb::default();
        for second in 0..100 {
            ebb.saw(21, SECOND * second, false);
            ebb.went(&paths(1), SECOND * second);
            ebb.saw(20, SECOND * second, false);
        }
        assert_eq!(ebb.flow(20, 1), Flow { before: 1, of: 21 });
        let mut back = Ebb::default();
        back.saw(100, SECOND, false);
        back.went(&paths(60), SECOND);
        back.saw(100, SECOND, false);
        assert_eq!(back.flow(100, 10), Flow { before: 0, of: 100 });
    }

    #[test]
    fn what_a_person_said_yes_to_does_not_count_and_begins_anew() {
        let mut ebb = Ebb::default();
        ebb.saw(100, SECOND, false);
        ebb.went(&paths(40), SECOND);
        ebb.allow(paths(50));
        ebb.saw(60, SECOND, false);
        ebb.went(&paths(50), SECOND);
        ebb.saw(10, SECOND, false);
        assert_eq!(ebb.flow(10, 1).before, 0);
        ebb.forget_all_but(&BTreeSet::new());
        ebb.went(&paths(3), SECOND);
        assert_eq!(ebb.flow(7, 1).before, 3);
    }

    proptest! {
        #![proptest_config(cases())]

        /// However the deletions are spread over the window, none of them is left out; and never is more told than went.
        #[test]
        fn every_pace_is_the_same(parts in prop::collection::vec((0..20_000_u64, 0..20_u64), 1..40)) {
            let (mut ebb, mut files, mut now, mut all) = (Ebb::default(), 1_000_u64, Duration::ZERO, Vec::new());
            ebb.saw(files, now, false);
            for (pause, gone) in parts {
                now += Duration::from_millis(pause);
                ebb.went(&paths(gone), now);
                all.push((now, gone));
                files -= gone;
                ebb.saw(files, now, false);
            }
            let lately = |window: Duration| -> u64 {
                all.iter().filter(|(at, _)| *at + window > now).map(|(_, gone)| gone).sum()
            };
            let flow = ebb.flow(files, 1);
            prop_assert!(flow.before >= lately(WINDOW - STEP), "{flow:?}");
            prop_assert!(flow.before <= lately(WINDOW), "{flow:?}");
            prop_assert!(flow.of >= files + flow.before);
        }
    }
}
