//! What a run has to do: what a walk finds, held against what the last manifest says. Pure.
//!
//! Both come in the order of paths, so that two looks at a time are enough, however many there are.
//!
//! Invariant: unknown is not absent. What could not be looked at stays as the manifest has it. A file counts as unchanged
//! only if size, time, the kernel's own time of change and inode are the same, and if that change was not so shortly
//! before the last run that a second one would look no different.

use std::iter::Peekable;

use jiff::Timestamp;
use nexus_agent::path::RelPath;

use super::manifest::Entry;
use super::manifest::Kind;
use crate::backup::digest::YOUNG;

/// So many files may always go.
const FEW: u64 = 20;
/// Of more, half of what there was.
const SHARE: u64 = 2;

/// A thing that a walk found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it is, what it is, as it will be written; a file without its hash and its run.
    pub path: RelPath,
    /// What it is.
    pub kind: FoundKind,
    /// Permissions.
    pub mode: u32,
    /// When it was last changed.
    pub modified: Option<Timestamp>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundKind {
    /// A directory.
    Directory,
    /// A file.
    File {
        /// Its size.
        size: u64,
        /// When the kernel last changed anything about it.
        changed: Option<Timestamp>,
        /// Its inode.
        inode: u64,
    },
    /// A symbolic link and what it says.
    Link(std::ffi::OsString),
}

/// What is to be done about one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing but naming it in the manifest. `other` when the manifest says it otherwise so far.
    Name {
        /// As it is to be named.
        entry: Entry,
        /// Whether that is news.
        other: bool,
    },
    /// Its content is to be read; `before` is what the manifest has at this path, if that is a file.
    Read {
        /// What was found.
        found: Found,
        /// What is stored.
        before: Option<Entry>,
    },
    /// It is there no longer, or no longer a file.
    Gone(Entry),
}

/// Holds a walk against a manifest.
pub struct Steps<F: Iterator, M: Iterator, U> {
    found: Peekable<F>,
    manifest: Peekable<M>,
    /// Whether a path could not be looked at.
    unseen: U,
    /// Files that the kernel changed from then on are read again.
    young: Timestamp,
    /// What comes right after.
    then: Option<Step>,
}

impl<F, M, U> Steps<F, M, U>
where
    F: Iterator<Item = Found>,
    M: Iterator<Item = Entry>,
    U: Fn(&RelPath) -> bool,
{
    /// `written` is when the run of the manifest began.
    pub fn new(found: F, manifest: M, unseen: U, written: Timestamp) -> Self {
        let young = written.checked_sub(YOUNG).unwrap_or(Timestamp::MIN);
        Self { found: found.peekable(), manifest: manifest.peekable(), unseen, young, then: None }
    }

    fn both(&mut self, found: Found, before: Entry) -> Step {
        let (path, mode, modified) = (found.path.clone(), found.mode, found.modified);
        let name =
            |kind: Kind, other: bool| Step::Name { entry: Entry { path, kind, mode, modified }, other };
        match (&found.kind, &before.kind) {
            (FoundKind::File { size, changed, inode }, Kind::File(stored)) => {
                let same = stored.size == *size
                    && before.modified == found.modified
                    && stored.changed == *changed
                    && stored.inode == *inode
                    && changed.is_some_and(|changed| changed < self.young);
                if same {
                    return name(before.kind.clone(), before.mode != found.mode);
                }
                Step::Read { before: Some(before), found }
            }
            // A directory's time changes with everything that is made and left out in it: it is no news by itself.
            (FoundKind::Directory, Kind::Directory) => name(Kind::Directory, before.mode != found.mode),
            (FoundKind::Link(target), Kind::Link(old)) => {
                name(Kind::Link(target.clone()), target != old || before.modified != found.modified)
            }
            (_, Kind::File(_)) => {
                self.then = Some(alone(found));
                Step::Gone(before)
            }
            _ => alone(found),
        }
    }
}

fn alone(found: Found) -> Step {
    let kind = match &found.kind {
        FoundKind::File { .. } => return Step::Read { found, before: None },
        FoundKind::Directory => Kind::Directory,
        FoundKind::Link(target) => Kind::Link(target.clone()),
    };
    let Found { path, mode, modified, .. } = found;
    Step::Name { entry: Entry { path, kind, mode, modified }, other: true }
}

impl<F, M, U> Iterator for Steps<F, M, U>
where
    F: Iterator<Item = Found>,
    M: Iterator<Item = Entry>,
    U: Fn(&RelPath) -> bool,
{
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if let Some(then) = self.then.take() {
            return Some(then);
        }
        let order = match (self.found.peek(), self.manifest.peek()) {
            (None, None) => return None,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(found), Some(before)) => found.path.cmp(&before.path),
        };
        match order {
            std::cmp::Ordering::Less => self.found.next().map(alone),
            std::cmp::Ordering::Greater => {
                let before = self.manifest.next()?;
                if (self.unseen)(&before.path) {
                    return Some(Step::Name { entry: before, other: false });
                }
                Some(Step::Gone(before))
            }
            std::cmp::Ordering::Equal => {
                let (found, before) = (self.found.next()?, self.manifest.next()?);
                Some(self.both(found, before))
            }
        }
    }
}

/// What a run would do, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Files of the manifest.
    pub files: u64,
    /// Files of it that are gone.
    pub gone: u64,
    /// Files that are read.
    pub read: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Whether something else is to be named otherwise.
    pub other: bool,
    /// Files of the manifest whose objects are in the way of new ones: a directory where a file was, and the reverse.
    pub in_the_way: Vec<RelPath>,
    /// The last file that was found.
    last: Option<RelPath>,
    /// The last file that is gone.
    last_gone: Option<RelPath>,
}

impl Survey {
    /// Counts a step.
    pub fn add(&mut self, step: &Step) {
        match step {
            Step::Name { entry, other } => {
                self.other |= other;
                self.files += u64::from(matches!(entry.kind, Kind::File(_)));
                if matches!(entry.kind, Kind::Directory) && self.last_gone.as_ref() == Some(&entry.path) {
                    self.in_the_way.push(entry.path.clone());
                }
            }
            Step::Read { found, before } => {
                self.files += u64::from(before.is_some());
                self.read += 1;
                if let FoundKind::File { size, .. } = found.kind {
                    self.bytes += size;
                }
                self.last = Some(found.path.clone());
            }
            Step::Gone(entry) => {
                self.other = true;
                if !matches!(entry.kind, Kind::File(_)) {
                    return;
                }
                self.files += 1;
                self.gone += 1;
                if self.last.as_ref().is_some_and(|last| entry.path.is_within(last)) {
                    self.in_the_way.push(entry.path.clone());
                }
                self.last_gone = Some(entry.path.clone());
            }
        }
    }

    /// Whether there is anything to do.
    pub fn is_nothing(&self) -> bool {
        self.read == 0 && !self.other
    }

    /// Whether so much is gone that a person has to say yes.
    pub fn is_held(&self) -> bool {
        is_held(self.gone, self.files)
    }
}

/// Whether so many gone of so many are to be held.
pub fn is_held(gone: u64, files: u64) -> bool {
    gone > FEW && gone.saturating_mul(SHARE) > files
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::mirror::manifest::Stored;
    use crate::backup::mirror::name::Stamp;

    const AT: &str = "2026-01-01T12:00:00Z";

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).unwrap()
    }

    fn found(text: &str, kind: FoundKind) -> Found {
        Found { path: path(text), kind, mode: 0o644, modified: Some(time(AT)) }
    }

    fn file(size: u64) -> FoundKind {
        FoundKind::File { size, changed: Some(time(AT)), inode: 1 }
    }

    fn entry(text: &str, kind: Kind) -> Entry {
        Entry { path: path(text), kind, mode: 0o644, modified: Some(time(AT)) }
    }

    fn stored(size: u64) -> Stored {
        let since = Stamp::next(time(AT), None);
        Stored { size, hash: blake3::hash(b""), since, changed: Some(time(AT)), inode: 1 }
    }

    fn steps(found: Vec<Found>, manifest: Vec<Entry>, unseen: &str) -> Vec<Step> {
        let unseen = path(unseen);
        let hidden = |path: &RelPath| *path == unseen || path.is_within(&unseen);
        Steps::new(found.into_iter(), manifest.into_iter(), hidden, time("2026-01-01T13:00:00Z")).collect()
    }

    fn shown(steps: &[Step]) -> Vec<String> {
        let word = |step: &Step| match step {
            Step::Name { entry, other } => format!("name {} {other}", entry.path),
            Step::Read { found, before } => format!("read {} {}", found.path, before.is_some()),
            Step::Gone(entry) => format!("gone {}", entry.path),
        };
        steps.iter().map(word).collect()
    }

    #[test]
    fn only_what_differs_is_read() {
        let found = vec![
            found("a", FoundKind::Directory),
            found("a/new", file(1)),
            found("a/same", file(2)),
            found("a/size", file(3)),
            found("link", FoundKind::Link("b".into())),
        ];
        let manifest = vec![
            entry("a", Kind::Directory),
            entry("a/gone", Kind::File(stored(1))),
            entry("a/same", Kind::File(stored(2))),
            entry("a/size", Kind::File(stored(2))),
            entry("gone", Kind::Directory),
            entry("link", Kind::Link("a".into())),
        ];
        let steps = steps(found, manifest, "nothing");
        let expect = [
            "name a false",
            "gone a/gone",
            "read a/new false",
            "name a/same false",
            "read a/size true",
            "gone gone",
            "name link true",
        ];
        assert_eq!(shown(&steps), expect);
    }

    #[test]
    fn each_sign_of_a_change_is_enough() {
        let same = found("f", file(2));
        let with = |kind: FoundKind| Found { kind, ..same.clone() };
        let later = Some(time("2026-01-01T12:00:01Z"));
        for other in [
            with(FoundKind::File { size: 2, changed: later, inode: 1 }),
            with(FoundKind::File { size: 2, changed: None, inode: 1 }),
            with(FoundKind::File { size: 2, changed: Some(time(AT)), inode: 2 }),
            Found { modified: later, ..same.clone() },
            Found { modified: None, ..same.clone() },
        ] {
            let steps = steps(vec![other.clone()], vec![entry("f", Kind::File(stored(2)))], "x");
            assert_eq!(shown(&steps), ["read f true"], "{other:?}");
        }
        let old = entry("f", Kind::File(stored(2)));
        let young = |written: &str| {
            let steps =
                Steps::new([same.clone()].into_iter(), [old.clone()].into_iter(), |_| false, time(written));
            shown(&steps.collect::<Vec<_>>())
        };
        assert_eq!(young("2026-01-01T12:00:02Z"), ["read f true"], "changed just before the last run");
        assert_eq!(young("2026-01-01T12:00:03Z"), ["name f false"]);
    }

    #[test]
    fn what_could_not_be_seen_stays() {
        let manifest = vec![
            entry("d", Kind::Directory),
            entry("d/x", Kind::File(stored(1))),
            entry("d/y/z", Kind::File(stored(1))),
            entry("e", Kind::File(stored(1))),
        ];
        let steps = steps(vec![found("d", FoundKind::Directory)], manifest, "d");
        assert_eq!(shown(&steps), ["name d false", "name d/x false", "name d/y/z false", "gone e"]);
    }

    #[test]
    fn what_is_in_the_way_is_known_before() {
        let manifest = vec![
            entry("a", Kind::Directory),
            entry("a/x", Kind::File(stored(1))),
            entry("b", Kind::File(stored(1))),
            entry("c", Kind::File(stored(1))),
        ];
        let found = vec![
            found("a", file(1)),
            found("b", FoundKind::Directory),
            found("b/x", file(1)),
            found("c", FoundKind::Link("a".into())),
        ];
        let steps = steps(found, manifest, "nothing");
        let expect =
            ["read a false", "gone a/x", "gone b", "name b true", "read b/x false", "gone c", "name c true"];
        assert_eq!(shown(&steps), expect);
        let mut survey = Survey::default();
        steps.iter().for_each(|step| survey.add(step));
        assert_eq!(survey.in_the_way, [path("a/x"), path("b")]);
        assert_eq!((survey.files, survey.gone, survey.read), (3, 3, 2));
    }

    #[test]
    fn a_mass_of_losses_waits_for_a_person() {
        for (gone, files, held) in [
            (0, 0, false),
            (20, 20, false),
            (21, 21, true),
            (21, 42, false),
            (22, 43, true),
            (500, 20_000, false),
        ] {
            assert_eq!(is_held(gone, files), held, "{gone} of {files}");
        }
    }
}
