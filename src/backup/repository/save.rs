//! Takes snapshots: of all that a walk finds, or of what a look says has changed since another one.
//!
//! rustic goes through every entry of a folder and every tree of the snapshot before, however little has changed. It takes
//! a directory with a tree as it is, though, where it is given one that it need not go into. Which those are, and that
//! nothing of theirs is missing, is found out here before it begins.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;

use jiff::tz::TimeZone;
use nexus_agent::path::RelPath;
use rustic_core::BackupOptions;
use rustic_core::IndexedIdsStatus;
use rustic_core::RusticError;
use rustic_core::SnapshotOptions;
use rustic_core::TreeId;
use rustic_core::repofile::SnapshotFile;
use rustic_core::repofile::SnapshotId;

use super::Repository;
use super::Saved;
use super::Subject;
use super::source::Found;
use super::source::Source;
use crate::backup::digest::Listing;
use crate::backup::digest::Seen;
use crate::backup::known::Known;
use crate::backup::look::Look;
use crate::backup::look::Same;
use crate::backup::look::Step;
use crate::backup::trouble::Trouble;
use crate::backup::walk::Entry;
use crate::backup::walk::Kind;
use crate::backup::walk::Shared;
use crate::backup::walk::Walk;
use crate::base::clock;

/// Trees of a snapshot by the names of their directories.
type Trees = HashMap<OsString, TreeId>;

impl Repository<IndexedIdsStatus> {
    /// Takes a snapshot of a folder. Bytes read from the folder are added to `read`.
    ///
    /// # Errors
    /// When there is no new snapshot; nothing that is listed is half written then.
    pub fn save(
        &self,
        subject: &Subject<'_>,
        walk: Walk,
        report: Shared,
        read: Arc<AtomicU64>,
    ) -> Result<(Saved, Seen), Trouble> {
        let root = walk.root();
        let listing = Arc::new(Mutex::new(Listing::new(clock::now())));
        let found = Found::Walk(Box::new(walk), Arc::clone(&listing));
        let source = Source::new(found, root, &subject.path, report, read);
        let saved = self.take(subject, self.described(subject)?, None, &source)?;
        let seen = listing.lock().unwrap_or_else(PoisonError::into_inner).finish();
        Ok((saved, seen))
    }

    /// Takes a snapshot of what a look says has changed since another one; `None` where that one is not to be gone on
    /// from, and all of the folder has to be read again. Bytes read from the folder are added to `read`.
    ///
    /// # Errors
    /// When there is no new snapshot; nothing that is listed is half written then.
    pub fn save_since(
        &self,
        subject: &Subject<'_>,
        look: Look,
        known: &Known,
        read: Arc<AtomicU64>,
    ) -> Result<Option<(Saved, Seen)>, Trouble> {
        let Some(steps) = look.steps else { return Ok(None) };
        // Whoever takes data out of a repository writes an index without them in the place of one with them.
        if known.index.is_empty() || !known.index.is_subset(&self.index()) {
            return Ok(None);
        }
        let mut snapshot = self.described(subject)?;
        for step in &steps {
            if let Step::Same(same) = step {
                count(&mut snapshot, same);
            }
        }
        let Some(found) = self.with_trees(&known.snapshot, &subject.path, steps) else {
            // Whatever the matter was, it is said by the run that reads everything if it still is.
            self.backend.take_trouble();
            return Ok(None);
        };
        let source = Source::new(Found::Kept(found.into_iter()), look.root, &subject.path, look.report, read);
        let saved = self.take(subject, snapshot, Some(&known.snapshot), &source)?;
        Ok(Some((saved, look.seen)))
    }

    /// What the index consists of, by the beginnings of its files' names.
    pub fn index(&self) -> BTreeSet<String> {
        self.backend.index()
    }

    fn described(&self, subject: &Subject<'_>) -> Result<SnapshotFile, Trouble> {
        let failed = |error: Box<RusticError>| self.trouble("back up to", &error);
        let mut options = SnapshotOptions::default();
        options.host = Some(subject.host.to_owned());
        options.time = Some(subject.now.to_zoned(TimeZone::UTC));
        options.command = Some("nexus backup".to_owned());
        options.add_tags(&subject.tag).and_then(|options| options.to_snapshot()).map_err(failed)
    }

    fn take(
        &self,
        subject: &Subject<'_>,
        snapshot: SnapshotFile,
        since: Option<&str>,
        source: &Source,
    ) -> Result<Saved, Trouble> {
        let mut backup = BackupOptions::default().no_scan(true);
        backup.parent_opts.skip_if_unchanged = true;
        backup.parent_opts.parents = since.map(str::to_owned).into_iter().collect();
        let saved = self
            .inner
            .archive(&backup, source, snapshot, std::slice::from_ref(&subject.path))
            .map_err(|error| self.trouble("back up to", &error))?;
        // rustic passes over errors of single files; one of ours is never about a single file.
        if let Some(first) = self.backend.take_trouble() {
            return Err(first);
        }
        let summary = saved.summary.clone().unwrap_or_default();
        let snapshot = (saved.id != Default::default()).then(|| saved.id.to_hex().as_str().to_owned());
        let since = saved.parent.filter(|_| snapshot.is_none()).map(|id| id.to_hex().as_str().to_owned());
        let (new, changed) = (summary.files_new, summary.files_changed);
        Ok(Saved { snapshot, since, new, changed, stored: summary.data_added_packed })
    }

    /// The steps, each directory that is as it was with its tree of the snapshot before; none when one has no tree there.
    fn with_trees(
        &self,
        snapshot: &str,
        path: &Path,
        steps: Vec<Step>,
    ) -> Option<Vec<(Entry, Option<TreeId>)>> {
        let id: SnapshotId = snapshot.parse().ok()?;
        let root = self.inner.get_file::<SnapshotFile>(&id).ok()?.tree;
        let mut open: Vec<(Option<RelPath>, Trees)> = Vec::new();
        let mut found = Vec::with_capacity(steps.len());
        for step in steps {
            let entry = match &step {
                Step::Found(entry) | Step::Same(Same { entry, .. }) => entry,
            };
            let parent = entry.path.as_ref().and_then(RelPath::parent);
            while open.len() > 1 && open.last().is_some_and(|(path, _)| *path != parent) {
                open.pop();
            }
            let name = entry.path.as_ref().map(|path| OsStr::from_bytes(path.name()));
            let tree = match name {
                None => self.inner.node_from_path(root, path).ok()?.subtree,
                Some(name) => open.last()?.1.get(name).copied(),
            };
            found.push(match step {
                Step::Same(same) => (same.entry, Some(tree?)),
                Step::Found(entry) => {
                    if entry.kind == Kind::Directory {
                        // A new one has none.
                        let trees = tree.map_or_else(|| Some(Trees::new()), |id| self.trees(id))?;
                        open.push((entry.path.clone(), trees));
                    }
                    (entry, None)
                }
            });
        }
        Some(found)
    }

    fn trees(&self, id: TreeId) -> Option<Trees> {
        let nodes = self.inner.get_tree(&id).ok()?.nodes;
        Some(nodes.iter().filter_map(|node| Some((node.name().into_owned(), node.subtree?))).collect())
    }
}

/// Counts what a directory holds that is not gone through. It counts as a file itself where it is met.
fn count(snapshot: &mut SnapshotFile, same: &Same) {
    let summary = snapshot.summary.get_or_insert_default();
    let files = same.files.saturating_sub(1);
    summary.files_unmodified += files;
    summary.total_files_processed += files;
    summary.total_bytes_processed += same.bytes;
    summary.dirs_unmodified += same.directories;
    summary.total_dirs_processed += same.directories;
}
