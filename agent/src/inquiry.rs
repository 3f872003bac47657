//! What a person can ask of one side, and what it answers: the versions it keeps, what a file holds, why something is
//! not carried. Plain values for the wire; [`Replica::answer`] answers them.

use std::io;
use std::io::Read as _;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::apply::restore;
use crate::disk::At;
use crate::disk::Content as _;
use crate::disk::Disk;
use crate::disk::Kind;
use crate::entry::Digest;
use crate::log::Medium;
use crate::look::Dirty;
use crate::look::Sentry;
use crate::message::FromSide;
use crate::path::RelPath;
use crate::reconcile::Side;
use crate::replica::Replica;
use crate::rules::Verdict;
use crate::tree::Item;
use crate::versions::Cause;
use crate::versions::Version;
use crate::versions::What;

/// More versions than this are not listed at once: the newest are.
pub const VERSIONS_MAX: usize = 2_000;
/// More of a content than this is not shown, in bytes.
pub const CONTENT_MAX: u64 = 1 << 20;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// Which versions are kept of what stood at a path or below it; of everything without one.
    Versions {
        /// Where.
        path: Option<RelPath>,
    },
    /// Bring back what was displaced.
    Undo {
        /// What.
        which: Which,
        /// The batch that what stands there now becomes a version of.
        batch: u64,
        /// Only say what would be brought back.
        dry_run: bool,
    },
    /// What a file holds, or what a version of it held.
    Content {
        /// Where.
        path: RelPath,
        /// The version; what stands there now without one.
        version: Option<u64>,
    },
    /// What stands at a path, and whether it is carried.
    Why {
        /// Where.
        path: RelPath,
    },
}

/// What is to be brought back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Which {
    /// What the last batch displaced at a path or below it.
    Path(RelPath),
    /// All that a batch displaced.
    Batch(u64),
    /// One version.
    Version(u64),
}

/// What there is to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The oldest first.
    Versions(Vec<Kept>),
    /// What was brought back, or would be, and what could not be.
    Undone {
        /// Where.
        paths: Vec<RelPath>,
        /// Where not, and why.
        failed: Vec<(String, String)>,
    },
    /// The beginning of a content.
    Content {
        /// At most [`CONTENT_MAX`] bytes of it.
        bytes: Vec<u8>,
        /// Its length.
        size: u64,
        /// When it was last written, in nanoseconds since 1970.
        modified: i64,
    },
    /// What stands there.
    Standing {
        /// `file`, `directory`, `link`, `ignored`, `problem` or `absent`.
        what: String,
        /// The rule that keeps it from being carried, or what is wrong with it.
        reason: Option<String>,
        /// A file's content.
        digest: Option<Digest>,
    },
    /// There is nothing to say, and why.
    Nothing {
        /// One sentence for people.
        reason: String,
    },
}

/// A version, as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its number: nanoseconds since 1970 when it was kept, made unique.
    pub id: u64,
    /// The batch that displaced it.
    pub batch: u64,
    /// The side it stood on.
    pub side: Side,
    /// Where; `None` when only its content survived a crash.
    pub path: Option<RelPath>,
    /// `file`, `link` or `directory`.
    pub what: String,
    /// A file's length in bytes.
    pub size: u64,
    /// A file's content.
    pub digest: Option<Digest>,
    /// When its content was last written, in nanoseconds since 1970.
    pub modified: i64,
    /// Why it was displaced: one word or two.
    pub cause: String,
}

impl From<&Version> for Kept {
    fn from(version: &Version) -> Self {
        let what = match version.what {
            What::File { .. } => "file",
            What::Symlink { .. } => "link",
            What::Directory => "directory",
        };
        let cause = match &version.cause {
            Cause::Overwritten => "overwritten".to_owned(),
            Cause::Deleted => "deleted".to_owned(),
            Cause::LostConflict => "lost a conflict".to_owned(),
            Cause::Moved(to) => format!("moved to {to}"),
            Cause::Undone => "undone".to_owned(),
            Cause::Recovered => "found after a crash".to_owned(),
        };
        Self {
            id: version.id,
            batch: version.batch,
            side: version.side,
            path: version.path.clone(),
            what: what.to_owned(),
            size: version.size(),
            digest: version.what.digest(),
            modified: version.modified,
            cause,
        }
    }
}

impl<D: Disk, M: Medium> Replica<D, M> {
    /// Answers a person. What an undo changes is looked at and told like any other edit.
    pub fn answer(
        &mut self,
        question: Question,
        sentry: &mut impl Sentry,
        now: Duration,
        say: &mut Vec<FromSide>,
    ) -> Answer {
        match question {
            Question::Versions { path } => {
                let versions = self.versions();
                let mut kept: Vec<Kept> = match &path {
                    Some(path) => versions.of_path(path).rev().take(VERSIONS_MAX).map(Kept::from).collect(),
                    None => versions.all().rev().take(VERSIONS_MAX).map(Kept::from).collect(),
                };
                kept.reverse();
                Answer::Versions(kept)
            }
            Question::Undo { which, batch, dry_run } => self.undo(&which, batch, dry_run, sentry, now, say),
            Question::Content { path, version } => self.content(&path, version).unwrap_or_else(|error| {
                let reason = match error.kind() {
                    io::ErrorKind::NotFound => "there is no such file".to_owned(),
                    _ => error.to_string(),
                };
                Answer::Nothing { reason }
            }),
            Question::Why { path } => self.why(&path),
        }
    }

    fn undo(
        &mut self,
        which: &Which,
        batch: u64,
        dry_run: bool,
        sentry: &mut impl Sentry,
        now: Duration,
        say: &mut Vec<FromSide>,
    ) -> Answer {
        let ids = match which {
            Which::Path(path) => self.versions().undo_path(path),
            Which::Batch(batch) => self.versions().undo_batch(*batch),
            Which::Version(id) => vec![*id],
        };
        let (mut paths, mut failed, mut dirty) = (Vec::new(), Vec::new(), Dirty::nowhere());
        for id in ids {
            let known = self.versions().get(id).and_then(|version| version.path.clone());
            if dry_run {
                paths.extend(known);
                continue;
            }
            let (disk, versions) = self.parts();
            match restore(disk, versions, id, batch) {
                Ok(path) => {
                    // Directories may have been made on the way to it.
                    std::iter::successors(Some(path.clone()), RelPath::parent).for_each(|at| dirty.path(&at));
                    paths.push(path);
                }
                Err(error) => {
                    let place = known.map_or_else(|| format!("{id:016x}"), |path| path.to_string());
                    let cause = std::error::Error::source(&error)
                        .map(|cause| format!(": {cause}"))
                        .unwrap_or_default();
                    failed.push((place, format!("{error}{cause}")));
                }
            }
        }
        if !dirty.is_nowhere() {
            self.look(dirty, sentry, now, say);
        }
        Answer::Undone { paths, failed }
    }

    fn content(&mut self, path: &RelPath, version: Option<u64>) -> io::Result<Answer> {
        let (disk, versions) = self.parts();
        let absent = || io::Error::from(io::ErrorKind::NotFound);
        let at = match version {
            Some(id) => At::Slot(versions.place(id).ok_or_else(absent)?),
            None => At::Path(path),
        };
        let facts = disk.stat(at)?.ok_or_else(absent)?;
        if facts.kind != Kind::File {
            return Ok(Answer::Nothing { reason: "it is no file".to_owned() });
        }
        let (reader, _) = disk.open(at)?;
        let facts = reader.facts()?;
        let mut bytes = Vec::new();
        reader.take(CONTENT_MAX).read_to_end(&mut bytes)?;
        Ok(Answer::Content { bytes, size: facts.size, modified: facts.modified })
    }

    fn why(&self, path: &RelPath) -> Answer {
        let rules = self.known().rules();
        // The first directory on the way, or the thing itself, that is not carried.
        let mut way: Vec<_> = std::iter::successors(Some(path.clone()), RelPath::parent).collect();
        way.reverse();
        for at in &way {
            let item = self.tree().get(Some(at));
            let is_directory = at != path || matches!(item, Some(Item::Directory(_)));
            let left = matches!(item, Some(Item::Untracked(_)))
                || rules.judge(at, is_directory) != Verdict::Carry && !item.is_some_and(Item::is_carried);
            if left {
                let reason = rules.reason(at, true).or_else(|| rules.reason(at, false));
                let said = reason.map_or_else(
                    || format!("{at} is not carried"),
                    |reason| format!("{at} is not carried: `{}` in {}", reason.pattern, reason.source),
                );
                return standing("ignored", Some(said), None);
            }
            if let Some(Item::Problematic(reason)) = item {
                return standing("problem", Some(format!("{at}: {reason}")), None);
            }
        }
        match self.tree().get(Some(path)) {
            None => standing("absent", None, None),
            Some(Item::File(file)) => standing("file", None, Some(file.digest)),
            Some(Item::Symlink(_)) => standing("link", None, None),
            Some(_) => standing("directory", None, None),
        }
    }
}

fn standing(what: &str, reason: Option<String>, digest: Option<Digest>) -> Answer {
    Answer::Standing { what: what.to_owned(), reason, digest }
}
