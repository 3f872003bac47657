//! Makes a plan true on a disk, and loses nothing that is written meanwhile.
//!
//! What is to be displaced is compared with what the plan was made from, just in time; then it is moved aside in one
//! step, looked at again, and only then called old: it goes to the [version store](crate::versions). Was it written in
//! between, it is put back, and the path reported as changed. So a write is never lost, whenever it happens: it stays
//! where it is, or it is a version.
//!
//! Removals come first, what is below before what is above; then what is new, above before below. A rename is a removal
//! and a creation of the same content: the file is moved, not copied.

mod build;
mod displace;
mod remove;
mod restore;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::io;

use rustix::io::Errno;

use crate::disk::At;
use crate::disk::Disk;
use crate::disk::Facts;
use crate::disk::Owner;
use crate::disk::Slot;
use crate::entry::Digest;
use crate::files;
use crate::log::Medium;
use crate::path::RelPath;
use crate::reconcile::Transition;
use crate::tree::Item;
use crate::tree::Tree;
use crate::versions::Versions;

pub use restore::RestoreError;
pub use restore::restore;

/// Changes that belong together.
#[derive(Debug)]
pub struct Batch<'a> {
    /// Its number; versions are kept under it.
    pub id: u64,
    /// The changes. No path is inside another.
    pub transitions: &'a [Transition],
    /// The paths among them where what stands there lost a conflict.
    pub lost: &'a BTreeSet<Option<RelPath>>,
    /// Whether a link is made wherever it leads; otherwise one that leads out of the folder is refused.
    pub raw_links: bool,
}

/// Content that came whole, all at once: it waits under the part it was written to, and is worth nothing after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fresh {
    /// The number of its part.
    pub part: u64,
    /// What is known of it.
    pub facts: Facts,
}

/// What has become of a path of a batch, or of one below: where both old and new are directories, the paths that differ
/// are reported by themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Which.
    pub path: Option<RelPath>,
    /// What of the carried content stands there now, as far as is known: after a problem, what was known before.
    pub now: Option<Item>,
    /// What went wrong, there and below.
    pub problems: Vec<Failure>,
}

/// Something that was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Where.
    pub path: Option<RelPath>,
    /// Why.
    pub problem: Problem,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It is to be looked at again, and planned anew.
    #[error("it was changed meanwhile")]
    Changed,
    /// The directory stays.
    #[error("the directory holds something that is not synchronised")]
    NotEmpty,
    /// To be staged, and tried again.
    #[error("its content has not arrived")]
    Missing {
        /// Which.
        digest: Digest,
    },
    /// The batch stopped here: the rest of it has not been tried.
    #[error("the disk is full")]
    Full,
    /// What the system said.
    #[error("{0}")]
    Refused(String),
}

/// Applies a batch to the folder `local` describes, and says of each path what stands there now. Contents are staged
/// whole, or `fresh`, from where they go once they are in place. Durable after [`Disk::sync`] and [`Versions::sync`].
pub fn apply<D: Disk, M: Medium>(
    disk: &D,
    versions: &mut Versions<M>,
    local: &Tree,
    batch: &Batch<'_>,
    fresh: &mut BTreeMap<Digest, Fresh>,
) -> Vec<Outcome> {
    apply_by(Rules::ALL, disk, versions, local, batch, fresh)
}

fn apply_by<D: Disk, M: Medium>(
    rules: Rules,
    disk: &D,
    versions: &mut Versions<M>,
    local: &Tree,
    batch: &Batch<'_>,
    fresh: &mut BTreeMap<Digest, Fresh>,
) -> Vec<Outcome> {
    let mut tasks = Vec::new();
    for transition in batch.transitions {
        let lost = batch.lost.contains(&transition.path);
        let local = local.get(transition.path.as_ref());
        expand(
            transition.path.clone(),
            local,
            transition.old.as_ref(),
            transition.new.as_ref(),
            lost,
            &mut tasks,
        );
    }
    let mut applier = Applier {
        disk,
        versions,
        fresh,
        rules,
        batch: batch.id,
        raw_links: batch.raw_links,
        lost: false,
        wanted: BTreeSet::new(),
        moving: BTreeMap::new(),
        placed: HashMap::new(),
        spare: BTreeSet::new(),
        owners: None,
        problems: Vec::new(),
        full: false,
        part: 0,
    };
    for task in tasks.iter().filter(|task| !task.replaces()) {
        applier.wanted.extend(files_of(task.new).map(|file| file.digest));
    }
    for task in &mut tasks {
        applier.clear(task);
    }
    for task in &mut tasks {
        applier.fill(task);
    }
    applier.keep_what_did_not_arrive();
    applier.clear_what_was_not_used();
    tasks.into_iter().map(Task::into_outcome).collect()
}

fn files_of(item: Option<&Item>) -> impl Iterator<Item = &crate::tree::File> {
    let all = item.into_iter().flat_map(|item| item.walk(None));
    all.filter_map(|(_, item)| if let Item::File(file) = item { Some(file) } else { None })
}

/// Removes staged content, except what is still of use.
///
/// # Errors
/// As the kernel says.
pub fn clear_staging<M: Medium>(
    disk: &impl Disk,
    versions: &Versions<M>,
    useful: impl Fn(&Digest) -> bool,
) -> io::Result<()> {
    for slot in disk.slots()? {
        match slot {
            Slot::Whole(digest) if !useful(&digest) && !versions.claims(slot) => disk.discard(slot)?,
            Slot::Part(_) => disk.discard(slot)?,
            _ => {}
        }
    }
    Ok(())
}

/// One path to change, where not both old and new are directories.
struct Task<'a> {
    path: Option<RelPath>,
    local: Option<&'a Item>,
    old: Option<&'a Item>,
    new: Option<&'a Item>,
    lost: bool,
    now: Option<Item>,
    failed: bool,
    problems: Vec<Failure>,
}

fn expand<'a>(
    path: Option<RelPath>,
    local: Option<&'a Item>,
    old: Option<&'a Item>,
    new: Option<&'a Item>,
    lost: bool,
    tasks: &mut Vec<Task<'a>>,
) {
    let (Some(Item::Directory(before)), Some(Item::Directory(after))) = (old, new) else {
        tasks.push(Task { path, local, old, new, lost, now: None, failed: false, problems: Vec::new() });
        return;
    };
    let names: BTreeSet<_> = before.iter().chain(after).map(|(name, _)| name).collect();
    for name in names {
        let (old, new) = (before.get(name), after.get(name));
        // What is not carried is not ours to change.
        if old != new
            && old.is_none_or(Item::is_carried)
            && let Ok(path) = RelPath::child(path.as_ref(), name)
        {
            let local = local.and_then(Item::as_directory).and_then(|directory| directory.get(name));
            expand(Some(path), local, old, new, lost, tasks);
        }
    }
}

impl Task<'_> {
    /// Whether one file or link takes another's place, in one step.
    fn replaces(&self) -> bool {
        let leaf = |item: Option<&Item>| matches!(item, Some(Item::File(_) | Item::Symlink(_)));
        leaf(self.old) && leaf(self.new)
    }

    fn into_outcome(self) -> Outcome {
        Outcome { path: self.path, now: self.now, problems: self.problems }
    }
}

/// One batch being applied.
struct Applier<'a, D, M> {
    disk: &'a D,
    versions: &'a mut Versions<M>,
    fresh: &'a mut BTreeMap<Digest, Fresh>,
    rules: Rules,
    batch: u64,
    raw_links: bool,
    /// Whether the current path lost a conflict.
    lost: bool,
    /// Content that is to be somewhere in the end.
    wanted: BTreeSet<Digest>,
    /// Files taken from where they were, as versions, until they are where they belong.
    moving: BTreeMap<Digest, u64>,
    /// Where content was put.
    placed: HashMap<Digest, RelPath>,
    /// Staged content that nobody else will ask for if it is not used.
    spare: BTreeSet<Slot>,
    /// The last directory something was put into, and whose it is.
    owners: Option<(Option<RelPath>, Owner)>,
    problems: Vec<Failure>,
    full: bool,
    part: u64,
}

/// What makes it safe; each can be left out to see a test fail.
#[derive(Debug, Clone, Copy)]
struct Rules {
    /// Compare with what the plan was made from before anything is moved.
    check: bool,
    /// Look again at what was moved.
    verify: bool,
    /// Put back what should not have been moved.
    put_back: bool,
    /// Keep what was displaced.
    keep: bool,
    /// Leave a directory that holds what nobody named.
    only_named: bool,
    /// Never put anything over something.
    never_over: bool,
}

impl Rules {
    const ALL: Self =
        Self { check: true, verify: true, put_back: true, keep: true, only_named: true, never_over: true };
}

impl<D: Disk, M: Medium> Applier<'_, D, M> {
    /// Removes what is in the way; after that, a path that has not failed is free or holds a file or link to replace.
    fn clear(&mut self, task: &mut Task<'_>) {
        self.lost = task.lost;
        task.now = task.local.and_then(Item::carried);
        if !fits(task.local, task.old) {
            task.fail(Problem::Changed);
            return;
        }
        let Some((local, old)) = task.local.zip(task.old.filter(|old| old.is_carried())) else { return };
        let replaced =
            old.as_directory().is_none() && task.new.is_some_and(|new| new.as_directory().is_none());
        if replaced {
            return;
        }
        if self.full {
            task.fail(Problem::Full);
            return;
        }
        task.now = self.remove(task.path.as_ref(), local, old);
        task.problems.append(&mut self.problems);
        task.failed = task.now.is_some() && task.path.is_some();
        if task.path.is_none() && task.new.is_none() {
            task.fail(Problem::Refused("the folder itself is not removed".to_owned()));
        }
    }

    /// Puts what is new in its place.
    fn fill(&mut self, task: &mut Task<'_>) {
        let Some(new) = task.new.filter(|_| !task.failed) else { return };
        self.lost = task.lost;
        if self.full {
            task.fail(Problem::Full);
            return;
        }
        task.now =
            self.build(task.path.as_ref(), task.now.take().as_ref().filter(|_| task.path.is_some()), new);
        task.problems.append(&mut self.problems);
    }

    /// Notes what went wrong; a full disk ends the batch.
    fn fail(&mut self, path: Option<&RelPath>, problem: Problem) {
        self.full |= problem == Problem::Full;
        self.problems.push(Failure { path: path.cloned(), problem });
    }

    fn keep_what_did_not_arrive(&mut self) {
        for id in std::mem::take(&mut self.moving).into_values() {
            // Stays staged and announced otherwise, and is found when the store is opened.
            self.versions.keep(self.disk, id, Slot::Taken(id)).ok();
        }
    }

    fn clear_what_was_not_used(&mut self) {
        let unused = self.spare.iter().filter(|slot| !self.versions.claims(**slot));
        unused.for_each(|slot| drop(self.disk.discard(*slot)));
        self.fresh.retain(|_, fresh| !self.spare.contains(&Slot::Part(fresh.part)));
    }

    /// Whose something new in this directory is: whoever owns the directory.
    fn owner_in(&mut self, directory: Option<RelPath>) -> Result<Owner, Problem> {
        if let Some((known, owner)) = &self.owners
            && *known == directory
        {
            return Ok(*owner);
        }
        let facts = self.disk.stat(At::from(directory.as_ref()))?.ok_or(Problem::Changed)?;
        self.owners = Some((directory, facts.owner));
        Ok(facts.owner)
    }
}

impl Task<'_> {
    fn fail(&mut self, problem: Problem) {
        self.failed = true;
        self.problems.push(Failure { path: self.path.clone(), problem });
    }
}

/// Whether what was last seen here is what the plan was made from. Directories are compared name by name later.
fn fits(local: Option<&Item>, old: Option<&Item>) -> bool {
    match (local, old) {
        (None, None) => true,
        (Some(Item::Directory(_)), Some(Item::Directory(_))) => true,
        (Some(local), Some(old)) => local.carries_same(old),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(Errno::NOSPC | Errno::DQUOT) => Self::Full,
            Some(Errno::EXIST | Errno::AGAIN) => Self::Changed,
            Some(Errno::NOTEMPTY) => Self::NotEmpty,
            Some(Errno::ACCESS | Errno::PERM) => Self::Refused("permission denied".to_owned()),
            Some(Errno::ROFS) => Self::Refused("the file system is read-only".to_owned()),
            Some(Errno::BUSY) => Self::Refused("something is mounted there".to_owned()),
            _ if files::is_absent(&error) => Self::Changed,
            _ => Self::Refused(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
