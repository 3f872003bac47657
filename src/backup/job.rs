//! A workspace in a run: whether it is as it was, and how it goes to a repository if not.

use std::collections::BTreeSet;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use futures::StreamExt as _;
use futures::TryStreamExt as _;
use futures::stream;
use jiff::Timestamp;

use super::control::Backups;
use super::control::Inner;
use super::control::Outcome;
use super::control::Workspace;
use super::control::blocking;
use super::destination::Destination;
use super::digest::Print;
use super::digest::Seen;
use super::known;
use super::known::Known;
use super::look::Look;
use super::objects::Objects;
use super::repository::Access;
use super::repository::Subject;
use super::repository::Writer;
use super::snapshot::Saved;
use super::snapshot::Snapshot;
use super::state;
use super::trouble::Trouble;
use super::walk;
use super::walk::Report;
use super::walk::Shared;
use super::walk::Walk;
use crate::base::clock;
use crate::base::fault;

/// So many snapshots are asked for at once.
const ASKED: usize = 8;

/// A workspace that is to be backed up, unless it is as it was.
pub(super) struct Job {
    pub(super) workspace: Workspace,
    /// The fingerprint of the node's own state, if it is that.
    pub(super) state: Option<String>,
    /// What there is to say of it when nothing has changed, and the object that has to be there for that.
    pub(super) unchanged: Option<(Outcome, String)>,
    /// What is known of it when something has changed, and what was seen of that.
    since: Option<(Known, Look)>,
}

impl Outcome {
    /// What is known of the workspace from now on. Where something was missed or moved under the hand, the next run is
    /// to look again.
    pub(super) fn known(&self, seen: Seen, object: String, index: BTreeSet<String>) -> Option<Known> {
        let saved = self.saved.as_ref()?;
        if self.report.unreadable.total + self.report.changed.total > 0 {
            return None;
        }
        let (folder, snapshot) = (self.folder.clone(), saved.id()?.to_owned());
        let Seen { digest, directories } = seen;
        Some(Known { folder, digest, snapshot, object, directories, index })
    }
}

impl Backups {
    /// Which workspaces are as they were when they were last backed up there, as far as this node remembers.
    pub(super) async fn look(
        &self,
        destination: &Destination,
        workspaces: Vec<Workspace>,
    ) -> Result<Vec<Job>, Trouble> {
        let (this, name) = (self.clone(), destination.name.clone());
        blocking(move || {
            let job = |workspace| Job::look(workspace, this.inner(), &name);
            Ok(workspaces.into_iter().map(job).collect())
        })
        .await
    }

    /// The node's own state as it is now, ready to be read; one destination after the other brings it up to date.
    pub(super) async fn look_at_state(&self, destination: &Destination) -> Result<Job, Trouble> {
        let inner = self.inner();
        let staged = {
            let _alone = inner.staging.lock().await;
            state::stage(&inner.store, &inner.home).await?
        };
        let known = known::load(&inner.home, &destination.name, state::ID);
        let known = known.filter(|known| known.digest.as_ref() == Some(&staged.digest));
        let unchanged = known.map(|known| {
            let saved = Some(Saved::nothing_since(known.snapshot));
            let (folder, report) = (String::new(), Report::default());
            (Outcome { folder, report, saved, failure: None }, known.object)
        });
        let workspace = Workspace { id: state::ID.to_owned(), folder: String::new(), path: staged.folder };
        Ok(Job { workspace, state: Some(staged.digest), unchanged, since: None })
    }
}

impl Job {
    fn look(workspace: Workspace, inner: &Inner, destination: &str) -> Self {
        let job = Self { workspace, state: None, unchanged: None, since: None };
        let known = known::load(&inner.home, destination, &job.workspace.id);
        let Some(known) = known.filter(|known| known.folder == job.workspace.folder) else { return job };
        let Ok(look) = look_at(&job.workspace, inner, &known) else { return job };
        let report = walk::lock(&look.report).clone();
        let digest = &look.seen.digest;
        if digest.is_none() || *digest != known.digest || report.unreadable.total > 0 {
            return Self { since: Some((known, look)), ..job };
        }
        let saved = Some(Saved::nothing_since(known.snapshot));
        let folder = job.workspace.folder.clone();
        Self { unchanged: Some((Outcome { folder, report, saved, failure: None }, known.object)), ..job }
    }

    /// Saves it to a repository that holds these snapshots, and says what is known of it from now on.
    pub(super) fn save(
        self,
        writer: &Writer,
        inner: &Inner,
        snapshots: &[Snapshot],
        now: Timestamp,
        read: &Arc<AtomicU64>,
    ) -> Result<(Outcome, Option<Known>), Trouble> {
        let Self { workspace, since, .. } = self;
        let folder = workspace.folder.clone();
        let failed = |failure: String| {
            let (folder, report) = (folder.clone(), Report::default());
            (Outcome { folder, report, saved: None, failure: Some(failure) }, None)
        };
        let had = snapshots.iter().any(|one| one.folder == folder && one.files > 0);
        if had && is_empty(&workspace) {
            // An unmounted disk looks like an empty folder.
            return Ok(failed("the folder is empty and was not before; is its disk mounted?".to_owned()));
        }
        let done = |saved: Saved, seen: Seen, report: &Shared| {
            let (folder, report) = (folder.clone(), walk::lock(report).clone());
            let object = Access::key(saved.id().unwrap_or_default());
            let outcome = Outcome { folder, report, saved: Some(saved), failure: None };
            let known = outcome.known(seen, object, writer.index());
            (outcome, known)
        };
        let subject = Subject::workspace(&folder, &workspace.id, &inner.host, now);
        let since = since.filter(|(known, _)| snapshots.iter().any(|one| one.id == known.snapshot));
        let since = since.and_then(|(known, look)| {
            // Others may have had their turn meanwhile.
            let look = if look.is_fresh() { look } else { look_at(&workspace, inner, &known).ok()? };
            Some((known, look))
        });
        if let Some((known, look)) = since {
            let report = Arc::clone(&look.report);
            if let Some((saved, seen)) = writer.save_since(&subject, look, &known, Arc::clone(read))? {
                return Ok(done(saved, seen, &report));
            }
        }
        let report = Shared::default();
        let walk = match Walk::new(&workspace.path, &inner.settings.selection, Arc::clone(&report)) {
            Ok(walk) => walk,
            Err(error) => return Ok(failed(fault::chain(&error).to_string())),
        };
        let (saved, seen) = writer.save(&subject, walk, Arc::clone(&report), Arc::clone(read))?;
        Ok(done(saved, seen, &report))
    }
}

fn look_at(workspace: &Workspace, inner: &Inner, known: &Known) -> Result<Look, walk::Error> {
    let directories: HashSet<Print> = known.directories.iter().copied().collect();
    Look::take(&workspace.path, &inner.settings.selection, &directories, clock::now())
}

fn is_empty(workspace: &Workspace) -> bool {
    std::fs::read_dir(&workspace.path).is_ok_and(|mut entries| entries.next().is_none())
}

/// Asks the destination whether the snapshots that nothing has changed since are there. Those that are gone are taken
/// anew.
pub(super) async fn confirm(objects: &Objects, jobs: Vec<Job>) -> Result<Vec<Job>, Trouble> {
    let ask = |job: Job| async {
        let Some((_, object)) = &job.unchanged else { return Ok(job) };
        let there = objects.size(object).await?.is_some_and(|size| size > 0);
        Ok(if there { job } else { Job { unchanged: None, ..job } })
    };
    stream::iter(jobs).map(ask).buffered(ASKED).try_collect().await
}
