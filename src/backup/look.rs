//! A look at a folder that was backed up before: whether it is as it was, and where not.
//!
//! Directories that are as they were, with all below them, are told by their fingerprints and become one step each. So a
//! change costs what the directories above it hold and not what the folder holds. The steps are kept until they are
//! backed up: when there would be too many there are none, and the folder is walked through then as if it were new.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use jiff::Timestamp;

use super::digest::Listing;
use super::digest::Print;
use super::digest::Seen;
use super::walk;
use super::walk::Entry;
use super::walk::Kind;
use super::walk::Selection;
use super::walk::Shared;
use super::walk::Walk;

/// More steps than this are not kept: each is a few hundred bytes, and other workspaces have theirs.
const STEPS_MAX: usize = 16_384;
/// And of more than this only where most of the folder is left out by them.
const STEPS_FEW: usize = 1024;
/// An older look is taken anew before it is backed up: files change.
const FRESH: Duration = Duration::from_secs(5);

/// One step of a backup.
#[derive(Debug)]
pub enum Step {
    /// Something that may have changed.
    Found(Entry),
    /// A directory that is as it was.
    Same(Same),
}

/// A directory that is as it was.
#[derive(Debug)]
pub struct Same {
    /// The directory.
    pub entry: Entry,
    /// Files and links below it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// It and the directories below it.
    pub directories: u64,
}

/// What a look found.
pub struct Look {
    /// The folder, for opening what is in it.
    pub root: Arc<OwnedFd>,
    /// What there is to say of it.
    pub report: Shared,
    /// Its fingerprints.
    pub seen: Seen,
    /// What a backup has to go through; none when that is everything.
    pub steps: Option<Vec<Step>>,
    taken: Instant,
}

impl Look {
    /// Looks at a folder; `known` are the directories whose content is known by their fingerprints.
    ///
    /// # Errors
    /// When it cannot be opened, or a rule of the selection means nothing.
    pub fn take(
        folder: &Path,
        selection: &Selection,
        known: &HashSet<Print>,
        now: Timestamp,
    ) -> Result<Self, walk::Error> {
        let report = Shared::default();
        let (taken, mut listing) = (Instant::now(), Listing::new(now));
        let walk = Walk::new(folder, selection, Arc::clone(&report))?;
        let root = walk.root();
        let mut steps = Steps::new(known);
        let mut all = 0;
        for entry in walk {
            all += 1;
            listing.add(&entry);
            steps.close(listing.closed());
            steps.add(entry);
        }
        let seen = listing.finish();
        steps.close(listing.closed());
        // What cannot be read now was never said to be as it was.
        let whole = walk::lock(&report).unreadable.total == 0;
        let steps = steps.kept.filter(|steps| whole && is_worth_keeping(steps.len(), all));
        Ok(Self { root, report, seen, steps, taken })
    }

    /// Whether what it says may still be backed up.
    pub fn is_fresh(&self) -> bool {
        self.taken.elapsed() < FRESH
    }
}

/// Whether so many steps for so many entries are kept until they are backed up.
fn is_worth_keeping(steps: usize, entries: usize) -> bool {
    steps <= STEPS_FEW || steps <= entries / 2
}

/// Steps that become fewer wherever a directory turns out to be as it was.
struct Steps<'a> {
    known: &'a HashSet<Print>,
    kept: Option<Vec<Step>>,
    /// Directories without an end yet: where their steps begin, and what they hold so far.
    open: Vec<Open>,
    /// So many had their end.
    closed: usize,
}

#[derive(Default)]
struct Open {
    at: usize,
    files: u64,
    bytes: u64,
    directories: u64,
}

impl<'a> Steps<'a> {
    fn new(known: &'a HashSet<Print>) -> Self {
        // Nothing could become fewer.
        let kept = (!known.is_empty()).then(Vec::new);
        Self { known, kept, open: Vec::new(), closed: 0 }
    }

    /// The next entry; directories that it does not lie in had their end.
    fn add(&mut self, entry: Entry) {
        let Some(kept) = &mut self.kept else { return };
        if entry.kind == Kind::Directory {
            self.open.push(Open { at: kept.len(), directories: 1, ..Open::default() });
        } else if let Some(open) = self.open.last_mut() {
            open.files += 1;
            open.bytes += walk::size(&entry.stat);
        }
        kept.push(Step::Found(entry));
        if kept.len() > STEPS_MAX {
            self.kept = None;
        }
    }

    /// These had their end so far.
    fn close(&mut self, closed: &[Option<Print>]) {
        let Some(kept) = &mut self.kept else { return };
        for print in &closed[self.closed..] {
            let Some(done) = self.open.pop() else { break };
            let Open { at, files, bytes, directories } = done;
            if let Some(above) = self.open.last_mut() {
                above.files += files;
                above.bytes += bytes;
                above.directories += directories;
            }
            // One without a file is as quickly gone through, and the folder itself is nothing below anything.
            let same = print.is_some_and(|print| self.known.contains(&print)) && files > 0 && at > 0;
            if !same {
                continue;
            }
            let first = kept.drain(at..).next();
            if let Some(Step::Found(entry)) = first {
                kept.push(Step::Same(Same { entry, files, bytes, directories }));
            }
        }
        self.closed = closed.len();
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::base::clock;

    fn look(folder: &Path, known: &Seen) -> Look {
        let later = clock::now().checked_add(SignedDuration::from_secs(60)).unwrap();
        let known = known.directories.iter().copied().collect();
        Look::take(folder, &Selection::default(), &known, later).unwrap()
    }

    /// Each step: its path, and of a directory that is as it was what it holds.
    fn steps(look: &Look) -> Vec<String> {
        let shown = |entry: &Entry| entry.path.as_ref().map_or_else(|| ".".to_owned(), ToString::to_string);
        let line = |step: &Step| match step {
            Step::Found(entry) => shown(entry),
            Step::Same(same) => {
                format!("{} {} {} {}", shown(&same.entry), same.files, same.bytes, same.directories)
            }
        };
        look.steps.as_ref().unwrap().iter().map(line).collect()
    }

    #[test]
    fn directories_that_are_as_they_were_are_one_step_each() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for name in ["a/b", "a/c/d", "e/f", "empty/g"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        for name in ["a/b/1", "a/c/2", "a/c/d/3", "e/4", "e/f/5", "6"] {
            std::fs::write(at(name), name).unwrap();
        }
        std::os::unix::fs::symlink("far away", at("e/f/link")).unwrap();
        let first = look(directory.path(), &Seen::default());
        assert!(first.steps.is_none(), "nothing is known, so everything is to be gone through");
        let again = look(directory.path(), &first.seen);
        assert_eq!(again.seen, first.seen);
        assert_eq!(steps(&again), [".", "6", "a 3 17 4", "e 3 8 2", "empty", "empty/g"]);
        std::fs::write(at("a/b/1"), "changed").unwrap();
        std::fs::write(at("e/7"), "new").unwrap();
        let changed = look(directory.path(), &first.seen);
        let expected =
            [".", "6", "a", "a/b", "a/b/1", "a/c 2 12 2", "e", "e/4", "e/7", "e/f 2 5 1", "empty", "empty/g"];
        assert_eq!(steps(&changed), expected);
        // Whatever is one step, the fingerprints and the numbers are those of everything.
        let whole = look(directory.path(), &Seen::default());
        assert_eq!(changed.seen, whole.seen);
        assert_eq!(*walk::lock(&changed.report), *walk::lock(&whole.report));
        let newest = look(directory.path(), &changed.seen);
        assert_eq!(steps(&newest), [".", "6", "a 3 19 4", "e 4 11 2", "empty", "empty/g"]);
    }

    #[test]
    fn more_steps_than_can_be_kept_are_none() {
        let directory = tempfile::tempdir().unwrap();
        let entry =
            Walk::new(directory.path(), &Selection::default(), Shared::default()).unwrap().next().unwrap();
        let known = HashSet::from([[0; 16]]);
        let mut steps = Steps::new(&known);
        for _ in 0..STEPS_MAX {
            steps.add(entry.clone());
        }
        assert_eq!(steps.kept.as_ref().map(Vec::len), Some(STEPS_MAX));
        steps.add(entry);
        assert!(steps.kept.is_none());
        steps.close(&[Some([0; 16])]);
        assert!(steps.kept.is_none());
        assert!(is_worth_keeping(3, 4) && is_worth_keeping(2000, 20_000));
        assert!(!is_worth_keeping(2000, 2100), "nearly everything is gone through anyway");
    }
}
