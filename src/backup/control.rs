//! The handle on backups, and what a run is.
//!
//! Reads: the workspaces there are, on a channel. Publishes: the state of each destination, on a channel. Each
//! destination has one piece of work at a time; destinations work beside each other, and what happens at one never
//! reaches another. What was done when is kept in the node's home, so that a restart does not start everything anew.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use futures::future::join_all;
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::sync::OwnedMutexGuard;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::destination::Destination;
use super::destination::Form;
use super::error::Error;
use super::forget::dropped;
use super::job;
use super::job::Job;
use super::known;
use super::objects::Patience;
use super::objects::unless_stopped;
use super::pace::Pace;
use super::progress::Restoring;
use super::publish::first_status;
use super::repository::Lock;
use super::repository::RENEW;
use super::repository::Repository;
use super::schedule::Schedule;
use super::snapshot::Saved;
use super::state;
use super::status::Figures;
use super::status::Running;
use super::status::Status;
use super::trouble::Cause;
use super::trouble::Trouble;
use super::walk;
use super::walk::Report;
use super::walk::Selection;
use super::walk::Shared;
use super::walk::Walk;
use crate::base::clock;
use crate::base::home::Home;
use crate::base::sealed::Sealed;
use crate::base::tasks;
use crate::store::Store;

/// What the owner decides about backups.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder workspaces lie in.
    pub directory: PathBuf,
    /// Where they go.
    pub destinations: Vec<Destination>,
    /// What is taken.
    pub selection: Selection,
    /// How long what was edited is left alone before it is backed up besides the schedule; not at all when absent.
    pub quiet: Option<Duration>,
    /// When a sample of what is stored is restored to prove that it comes back.
    pub drill: Schedule,
    /// How patient we are with servers.
    pub patience: Patience,
    /// Where the recovery passwords of repositories made elsewhere come from, by destination.
    pub passwords: BTreeMap<String, Sealed<String>>,
}

/// A workspace that can be backed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    /// Its id.
    pub id: String,
    /// Its folder's name.
    pub folder: String,
    /// Its folder.
    pub path: PathBuf,
}

/// What became of one workspace in a run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The workspace's folder.
    pub folder: String,
    /// What was found in it.
    pub report: Report,
    /// What was saved; none when nothing was to be written.
    pub saved: Option<Saved>,
    /// Why it is not saved.
    pub failure: Option<String>,
}

/// What became of a run at one destination.
#[derive(Debug, Clone)]
pub struct Run {
    /// The destination.
    pub destination: String,
    /// Each workspace.
    pub outcomes: Vec<Outcome>,
    /// Why it ended early.
    pub failure: Option<Trouble>,
    /// Snapshots that the rules no longer keep and that were forgotten.
    pub forgotten: usize,
}

/// The handle. Cheap to clone.
#[derive(Clone)]
pub struct Backups {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) settings: Settings,
    pub(super) host: String,
    pub(super) home: Home,
    pub(super) runtime: Handle,
    pub(super) store: Store,
    pub(super) workspaces: watch::Receiver<Vec<Workspace>>,
    pub(super) statuses: watch::Sender<Vec<Status>>,
    pub(super) restores: watch::Sender<Vec<Restoring>>,
    /// Held by whoever works at a destination.
    busy: BTreeMap<String, Arc<Mutex<()>>>,
    /// The lines that are slower than they could be.
    pub(super) paces: BTreeMap<String, Arc<Pace>>,
    /// Held by whoever writes the copy of the node's own state.
    pub(super) staging: Mutex<()>,
    pub(super) closing: CancellationToken,
}

impl Backups {
    /// Reads what is known of the past; starts nothing. `host` is what snapshots of this node say they come from.
    pub fn new(
        settings: Settings,
        host: String,
        home: Home,
        store: Store,
        workspaces: watch::Receiver<Vec<Workspace>>,
        closing: CancellationToken,
    ) -> Self {
        let statuses =
            settings.destinations.iter().map(|destination| first_status(destination, &home)).collect();
        let busy = settings.destinations.iter().map(|one| (one.name.clone(), Arc::default())).collect();
        let paced = |one: &Destination| Some((one.name.clone(), Arc::new(Pace::new(one.bandwidth?))));
        let paces = settings.destinations.iter().filter_map(paced).collect();
        let (statuses, _) = watch::channel(statuses);
        let runtime = Handle::current();
        Self {
            inner: Arc::new(Inner {
                settings,
                host,
                home,
                runtime,
                store,
                workspaces,
                statuses,
                restores: watch::Sender::default(),
                busy,
                paces,
                staging: Mutex::default(),
                closing,
            }),
        }
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// Backs up now: to one destination or all, one workspace or all.
    ///
    /// # Errors
    /// When there is no such destination or workspace.
    pub async fn run(&self, destination: Option<&str>, folder: Option<&str>) -> Result<Vec<Run>, Error> {
        self.run_as(destination, folder, false).await
    }

    /// The same; with `accept`, a person has said yes to a mass of losses.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_as(
        &self,
        destination: Option<&str>,
        folder: Option<&str>,
        accept: bool,
    ) -> Result<Vec<Run>, Error> {
        let destinations = match destination {
            Some(name) => vec![self.destination(name)?],
            None => self.inner.settings.destinations.iter().collect(),
        };
        if let Some(folder) = folder
            && !self.inner.workspaces.borrow().iter().any(|workspace| workspace.folder == folder)
        {
            return Err(Error::NoWorkspace { folder: folder.to_owned() });
        }
        let names: Vec<String> = destinations.into_iter().map(|one| one.name.clone()).collect();
        let (this, folder) = (self.clone(), folder.map(str::to_owned));
        self.to_its_end(async move {
            let chosen = names.iter().filter_map(|name| this.destination(name).ok()).collect();
            Ok(this.at(chosen, folder.as_deref(), accept).await)
        })
        .await
    }

    /// Does work to its end also when whoever asked has gone: a half of it would leave a lock at the destination and
    /// threads at work that nobody waits for. It ends with the node, whose closing every access watches.
    pub(super) async fn to_its_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        self.inner.runtime.spawn(work).await.map_err(|_| Error::Closing)?
    }

    pub(super) async fn at(
        &self,
        destinations: Vec<&Destination>,
        folder: Option<&str>,
        accept: bool,
    ) -> Vec<Run> {
        let runs = destinations.into_iter().map(|destination| self.run_at(destination, folder, accept));
        let runs = join_all(runs).await;
        nexus_agent::memory::give_back();
        runs
    }

    /// What a run would take, without touching a destination. What is left out is measured.
    ///
    /// # Errors
    /// When there is no such workspace.
    pub async fn plan(&self, folder: Option<&str>) -> Result<Vec<Outcome>, Error> {
        let workspaces = self.workspaces(folder);
        if let (Some(folder), true) = (folder, workspaces.is_empty()) {
            return Err(Error::NoWorkspace { folder: folder.to_owned() });
        }
        let selection = Selection { measure: true, ..self.inner.settings.selection.clone() };
        let look = move || workspaces.iter().map(|workspace| plan(workspace, &selection)).collect();
        tokio::task::spawn_blocking(look).await.map_err(|_| Error::Closing)
    }

    fn workspaces(&self, folder: Option<&str>) -> Vec<Workspace> {
        let all = self.inner.workspaces.borrow();
        all.iter()
            .filter(|workspace| folder.is_none_or(|folder| workspace.folder == folder))
            .cloned()
            .collect()
    }

    pub(super) fn destination(&self, name: &str) -> Result<&Destination, Error> {
        let all = &self.inner.settings.destinations;
        all.iter().find(|one| one.name == name).ok_or_else(|| Error::NoDestination {
            name: name.to_owned(),
            known: all.iter().map(|one| one.name.clone()).collect(),
        })
    }

    pub(super) async fn hold(&self, destination: &Destination) -> Result<OwnedMutexGuard<()>, Trouble> {
        let busy = self.inner.busy.get(&destination.name).cloned().unwrap_or_default();
        busy.try_lock_owned().map_err(|_| {
            Trouble::new(
                Cause::Locked,
                format!("work at `{}`", destination.name),
                "this node is already at work there",
            )
        })
    }

    async fn run_at(&self, destination: &Destination, folder: Option<&str>, accept: bool) -> Run {
        let mut run =
            Run { destination: destination.name.clone(), outcomes: Vec::new(), failure: None, forgotten: 0 };
        let _held = match self.hold(destination).await {
            Ok(held) => held,
            Err(trouble) => return Run { failure: Some(trouble), ..run },
        };
        let now = clock::now();
        let workspaces = self.workspaces(folder);
        self.change(&destination.name, |status| {
            status.past.begun = Some(now);
            status.running = Some(Running { since: now, workspaces: (0, workspaces.len()), bytes: 0 });
        });
        let (begun, read) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let work = self.save_all(destination, workspaces, folder.is_some(), now, accept, &read);
        match self.telling(&destination.name, &read, work).await {
            Ok((outcomes, forgotten)) => (run.outcomes, run.forgotten) = (outcomes, forgotten),
            Err(trouble) => run.failure = Some(trouble),
        }
        let whole = run.failure.is_none() && run.outcomes.iter().all(|outcome| outcome.failure.is_none());
        let took = begun.elapsed();
        self.change(&destination.name, |status| {
            status.running = None;
            status.failure = run.failure.clone();
            status.errors += u64::from(!whole);
            // Part of the workspaces is no proof about the others.
            if whole && folder.is_none() {
                status.past.succeeded = Some(now);
                status.figures = Some(figures(&run, took));
            }
            status.past.failures = if whole { 0 } else { status.past.failures.saturating_add(1) };
        });
        run
    }

    /// Opens, locks, saves each workspace, forgets what the rules drop.
    async fn save_all(
        &self,
        destination: &Destination,
        workspaces: Vec<Workspace>,
        alone: bool,
        now: Timestamp,
        accept: bool,
        read: &Arc<AtomicU64>,
    ) -> Result<(Vec<Outcome>, usize), Trouble> {
        let objects = self.objects(destination)?;
        let mut jobs = self.look(destination, workspaces).await?;
        // A run of one workspace says nothing about the others, and so nothing about the node.
        if !alone {
            jobs.push(self.look_at_state(destination).await?);
        }
        let jobs = unless_stopped(&self.inner.closing, job::confirm(&objects, jobs)).await?;
        if !jobs.is_empty() && jobs.iter().all(|job| job.unchanged.is_some()) {
            // No new snapshot, so none that the rules drop for it: there is nothing to open the repository for.
            let workspaces = jobs.into_iter().filter(|job| job.state.is_none());
            return Ok((workspaces.filter_map(|job| job.unchanged).map(|(outcome, _)| outcome).collect(), 0));
        }
        let access = match destination.form {
            Form::Incremental => self.access(destination)?,
            Form::Mirror => return self.mirror_all(destination, &objects, jobs, now, accept, read).await,
        };
        let opening = access.clone();
        let password = self.inner.settings.passwords.get(&destination.name).cloned();
        let repository = blocking(move || opening.open_or_create(password)).await?;
        let lock = Lock::take(repository.objects(), &repository.master(), &self.inner.host, now).await?;
        let (this, keep, read) = (self.clone(), destination.clone(), Arc::clone(read));
        let work = blocking(move || this.save_each(repository, &keep, jobs, now, &read));
        renewing(Some(lock), work).await
    }

    fn save_each(
        &self,
        repository: Repository,
        destination: &Destination,
        jobs: Vec<Job>,
        now: Timestamp,
        read: &Arc<AtomicU64>,
    ) -> Result<(Vec<Outcome>, usize), Trouble> {
        let (snapshots, states) = repository.all()?;
        let ours = self.workspaces(None);
        let drop = match self.may_forget(destination) {
            true => dropped(destination, &snapshots, &states, &ours, &self.inner.host, now),
            false => Vec::new(),
        };
        let writer = repository.writer()?;
        let mut outcomes = Vec::new();
        for (done, job) in jobs.into_iter().enumerate() {
            self.progress(&destination.name, done, read.load(Ordering::Relaxed));
            if let Some(digest) = job.state {
                if job.unchanged.is_none() {
                    let path = &job.workspace.path;
                    let known = state::save(&writer, path, &digest, &self.inner.host, now)?;
                    known::save(&self.inner.home, &destination.name, state::ID, known.as_ref());
                }
                continue;
            }
            if let Some((unchanged, _)) = job.unchanged {
                outcomes.push(unchanged);
                continue;
            }
            let workspace = job.workspace.id.clone();
            let (outcome, known) = job.save(&writer, &self.inner, &snapshots, now, read)?;
            known::save(&self.inner.home, &destination.name, &workspace, known.as_ref());
            outcomes.push(outcome);
        }
        if snapshots.is_empty() {
            // Two nodes that make a repository at once overwrite each other's `config`; what the one has written is lost then.
            self.access(destination)?.open()?;
        }
        let failed = outcomes.iter().any(|outcome| outcome.failure.is_some());
        // Nothing is forgotten while something could not be saved.
        if drop.is_empty() || failed {
            return Ok((outcomes, 0));
        }
        let Some(again) = self.access(destination)?.open()? else { return Ok((outcomes, 0)) };
        again.forget(&drop)?;
        Ok((outcomes, drop.len()))
    }
}

/// Runs what blocks where it may, and where nobody has to wait for it: the first backup of a folder begins while its
/// workspace comes up.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Trouble> + Send + 'static,
) -> Result<T, Trouble> {
    let stopped = || Trouble::new(Cause::Stopped, "go on", "");
    tasks::aside("backup", work).await.ok_or_else(stopped)?
}

/// Renews the lock, if there is one, while work goes on, and gives it back.
pub(super) async fn renewing<T>(
    mut lock: Option<Lock>,
    work: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    let mut work = std::pin::pin!(work);
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + RENEW, RENEW);
    let done = loop {
        tokio::select! {
            // Cancel-safe: the work is pinned outside, a tick is only a moment.
            done = &mut work => break done,
            _ = ticks.tick() => {
                let Some(lock) = &mut lock else { continue };
                if let Err(trouble) = lock.renew(clock::now()).await {
                    tracing::warn!(error = %trouble, "a lock at a destination could not be renewed");
                }
            }
        }
    };
    if let Some(lock) = lock {
        lock.release().await;
    }
    done
}

/// What a run of everything took.
fn figures(run: &Run, took: Duration) -> Figures {
    let mut figures = Figures { took, ..Figures::default() };
    for outcome in &run.outcomes {
        figures.files += outcome.report.files;
        figures.bytes += outcome.report.bytes;
        figures.stored += outcome.saved.as_ref().map_or(0, |saved| saved.stored);
    }
    figures
}

fn plan(workspace: &Workspace, selection: &Selection) -> Outcome {
    let report = Shared::default();
    let failure = match Walk::new(&workspace.path, selection, Arc::clone(&report)) {
        Ok(walk) => {
            walk.for_each(drop);
            None
        }
        Err(error) => Some(crate::base::fault::chain(&error).to_string()),
    };
    let report = walk::lock(&report).clone();
    Outcome { folder: workspace.folder.clone(), report, saved: None, failure }
}
