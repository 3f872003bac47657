//! The mirror form in the hands of [`Backups`]: what a run, a list, a restore and a proof are here.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::name::Names;
use super::name::Stamp;
use super::run::NotSaved;
use super::run::Order;
use crate::backup::control::Backups;
use crate::backup::control::Outcome;
use crate::backup::control::Workspace;
use crate::backup::destination::Destination;
use crate::backup::digest::Seen;
use crate::backup::job::Job;
use crate::backup::known;
use crate::backup::objects::Objects;
use crate::backup::retention;
use crate::backup::retention::Verdict;
use crate::backup::state;
use crate::backup::trouble::Trouble;
use crate::backup::walk;
use crate::backup::walk::Report;
use crate::backup::walk::Selection;
use crate::backup::walk::Shared;
use crate::base::fault;

impl Backups {
    /// Saves each workspace that is not as it was, and forgets what the rules drop of those.
    pub(in crate::backup) async fn mirror_all(
        &self,
        destination: &Destination,
        objects: &Objects,
        jobs: Vec<Job>,
        now: Timestamp,
        accept: bool,
        read: &Arc<AtomicU64>,
    ) -> Result<(Vec<Outcome>, usize), Trouble> {
        let (mut outcomes, mut forgotten) = (Vec::new(), 0);
        for (done, Job { workspace, state, unchanged, .. }) in jobs.into_iter().enumerate() {
            self.progress(&destination.name, done, read.load(Ordering::Relaxed));
            if let Some(digest) = state {
                if unchanged.is_none() {
                    forgotten += self.mirror_state(destination, objects, &workspace, &digest, now).await?;
                }
                continue;
            }
            if let Some((unchanged, _)) = unchanged {
                outcomes.push(unchanged);
                continue;
            }
            let mirror = self.mirrors(objects.clone()).of(Names::new(&self.inner().host, &workspace.folder));
            let order = self.order(destination, &workspace, now, accept, read);
            let done = match mirror.save(&order).await {
                Ok(done) => done,
                Err(NotSaved::Trouble(trouble)) => return Err(trouble),
                Err(refused) => {
                    let failure = fault::chain(&refused).to_string().replace("FOLDER", &workspace.folder);
                    let (folder, report) = (workspace.folder, Report::default());
                    outcomes.push(Outcome { folder, report, saved: None, failure: Some(failure) });
                    continue;
                }
            };
            let report = walk::lock(&order.report).clone();
            let folder = workspace.folder.clone();
            let outcome = Outcome { folder, report, saved: Some(done.saved), failure: None };
            let seen = Seen { digest: done.digest, ..Seen::default() };
            let last = done.stamps.last().map(|last| mirror.names.manifest(*last));
            let known = last.and_then(|last| outcome.known(seen, last, BTreeSet::new()));
            known::save(&self.inner().home, &destination.name, &workspace.id, known.as_ref());
            outcomes.push(outcome);
            let drop = self.dropped(destination, &mirror.names, &done.stamps, now);
            if !drop.is_empty() {
                forgotten += mirror.forget(&drop).await?;
            }
        }
        Ok((outcomes, forgotten))
    }

    /// Saves the node's own state, and forgets what the rules drop of it.
    async fn mirror_state(
        &self,
        destination: &Destination,
        objects: &Objects,
        staged: &Workspace,
        digest: &str,
        now: Timestamp,
    ) -> Result<usize, Trouble> {
        let mirror = self.mirrors(objects.clone()).of(Names::of_state(&self.inner().host));
        let order = self.order(destination, staged, now, false, &Arc::default());
        // What the owner leaves out of workspaces is no part of this.
        let order = Order { selection: Selection::default(), ..order };
        let done = mirror.save(&order).await.map_err(|not_saved| match not_saved {
            NotSaved::Trouble(trouble) => trouble,
            refused => state::failed(fault::chain(&refused).to_string()),
        })?;
        if let Some(trouble) = state::unread(&walk::lock(&order.report)) {
            return Err(trouble);
        }
        let snapshot = done.saved.id().map(str::to_owned);
        let known = snapshot
            .zip(done.stamps.last())
            .map(|(snapshot, last)| state::known(digest, mirror.names.manifest(*last), snapshot));
        known::save(&self.inner().home, &destination.name, state::ID, known.as_ref());
        let drop = self.dropped(destination, &mirror.names, &done.stamps, now);
        if drop.is_empty() { Ok(0) } else { mirror.forget(&drop).await }
    }

    /// The moments of runs that go: what the rules drop, where anything may.
    fn dropped(
        &self,
        destination: &Destination,
        names: &Names,
        stamps: &[Stamp],
        now: Timestamp,
    ) -> Vec<Stamp> {
        if self.may_forget(destination) { dropped(destination, names, stamps, now) } else { Vec::new() }
    }

    fn order(
        &self,
        destination: &Destination,
        workspace: &Workspace,
        now: Timestamp,
        accept: bool,
        read: &Arc<AtomicU64>,
    ) -> Order {
        let inner = self.inner();
        let marker = inner.home.backup().join("mirror").join(&destination.name).join(&workspace.id);
        Order {
            workspace: workspace.id.clone(),
            path: workspace.path.clone(),
            selection: inner.settings.selection.clone(),
            report: Shared::default(),
            read: Arc::clone(read),
            now,
            marker,
            accept,
        }
    }
}

/// The moments of runs that the rules no longer keep.
fn dropped(destination: &Destination, names: &Names, stamps: &[Stamp], now: Timestamp) -> Vec<Stamp> {
    let snapshot = |stamp: &Stamp| retention::Snapshot { id: names.id(*stamp), time: stamp.time() };
    let all: Vec<_> = stamps.iter().map(snapshot).collect();
    let verdicts = retention::judge(&destination.keep, &all, &TimeZone::UTC, now);
    let pairs = stamps.iter().zip(verdicts);
    pairs.filter(|(_, verdict)| *verdict == Verdict::Drop).map(|(stamp, _)| *stamp).collect()
}
