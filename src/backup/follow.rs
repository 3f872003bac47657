//! Starts what is due by itself, and says in the log what did not work.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;
use std::time::Instant;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::control::Backups;
use super::control::Run;
use super::destination::Destination;
use super::drill::sample;
use super::drill::sample::Drill;
use super::probe::finding;
use super::schedule::Due;
use crate::base::clock;
use crate::base::fault;

/// The longest sleep between two looks at the schedules: clocks are set, machines sleep.
const LOOK: Duration = Duration::from_secs(60);
/// How long a run that is due waits for workspaces that are on their way up.
const HELD_MAX: Duration = Duration::from_secs(10 * 60);

impl Backups {
    /// Whether edits make a backup due, and not the schedules alone.
    pub fn follows_edits(&self) -> bool {
        self.inner().settings.quiet.is_some()
    }

    /// Starts what is due until the token is cancelled; while workspaces are on their way up (`busy`) it waits a while,
    /// for it would read the very files that are being carried. `edited` is when something was last carried between a
    /// folder and a container. Each destination is worked at by itself: one that takes long delays no other.
    pub async fn follow_schedules(
        self,
        busy: watch::Receiver<bool>,
        mut edited: watch::Receiver<Option<Timestamp>>,
        token: CancellationToken,
    ) {
        let mut held: Option<Instant> = None;
        let (mut working, mut names) = (FuturesUnordered::new(), BTreeSet::new());
        loop {
            let now = clock::now();
            let last = *edited.borrow_and_update();
            let (mut due, mut wait) = self.due(last, now);
            due.retain(|destination| !names.contains(&destination.name));
            let hold = *busy.borrow() && held.is_none_or(|since| since.elapsed() < HELD_MAX);
            if !due.is_empty() && hold {
                held.get_or_insert_with(Instant::now);
                wait = Duration::from_secs(1);
            } else if !due.is_empty() {
                held = None;
                for destination in due {
                    names.insert(destination.name.clone());
                    working.push(self.at(vec![destination], None, false));
                }
            }
            tokio::select! {
                // Cancel-safe: all only wait; an edit that is not taken is still there, and so is work that has not ended.
                () = token.cancelled() => break,
                Some(runs) = working.next() => {
                    for run in runs {
                        names.remove(&run.destination);
                        report(&run);
                    }
                }
                () = tokio::time::sleep(wait) => {}
                Ok(()) = edited.changed() => {}
            }
        }
        // Whoever closes the node has told them to stop.
        while let Some(runs) = working.next().await {
            runs.iter().for_each(report);
        }
    }

    /// Finds out what destinations do, at first and each week, and proves by its schedule that what is there comes back,
    /// until the token is cancelled.
    pub async fn look_after(self, token: CancellationToken) {
        self.sweep_drills();
        let mut tried: BTreeMap<String, Timestamp> = BTreeMap::new();
        loop {
            for destination in &self.inner().settings.destinations {
                self.probe_if_due(destination, &mut tried).await;
                self.drill_if_due(destination).await;
            }
            tokio::select! {
                // Cancel-safe: both only wait.
                () = token.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    async fn probe_if_due(&self, destination: &Destination, tried: &mut BTreeMap<String, Timestamp>) {
        let (name, now) = (&destination.name, clock::now());
        let known = self.status(name).and_then(|status| status.probe);
        let place = destination.place.to_string();
        if !finding::is_due(known.as_ref(), &place, tried.get(name).copied(), now) {
            return;
        }
        tried.insert(name.clone(), now);
        match self.probe(name).await {
            Ok(_) => drop(tried.remove(name)),
            Err(error) => {
                tracing::warn!(destination = name, error = %fault::chain(&error), "what a destination does is not known");
            }
        }
    }

    async fn drill_if_due(&self, destination: &Destination) {
        let name = &destination.name;
        let Some(status) = self.status(name) else { return };
        let seed = self.seed(destination);
        let last = status.drill.as_ref();
        let due = sample::due(&self.inner().settings.drill, last, status.past.succeeded, &seed, clock::now());
        if due != Due::Now || status.running.is_some() || self.inner().workspaces.borrow().is_empty() {
            return;
        }
        match self.drill(name, None).await {
            Ok(drill) => report_drill(name, &drill),
            Err(error) => {
                tracing::warn!(destination = name, error = %fault::chain(&error), "a restore drill could not be done");
            }
        }
    }

    /// Which destinations are due, else how long to wait.
    fn due(&self, edited: Option<Timestamp>, now: Timestamp) -> (Vec<&Destination>, Duration) {
        // Before the workspaces are known there is nothing to back up, and no reason to say that it was.
        if self.inner().workspaces.borrow().is_empty() {
            return (Vec::new(), Duration::from_secs(1));
        }
        let mut wait = LOOK;
        let mut due = Vec::new();
        let statuses = self.inner().statuses.borrow().clone();
        for (destination, status) in self.inner().settings.destinations.iter().zip(statuses) {
            let quiet = self.inner().settings.quiet;
            let moments = [
                destination.schedule.due(&status.past, &self.seed(destination), now),
                destination.schedule.due_after_edits(&status.past, edited, quiet, now),
            ];
            if moments.contains(&Due::Now) && status.running.is_none() {
                due.push(destination);
            }
            for moment in moments {
                if let Due::At(time) = moment {
                    wait = wait.min(time.duration_since(now).unsigned_abs().max(Duration::from_secs(1)));
                }
            }
        }
        (due, wait)
    }

    /// What tells this destination of this node apart from others.
    pub(super) fn seed(&self, destination: &Destination) -> String {
        format!("{} {}", self.inner().host, destination.name)
    }
}

fn report(run: &Run) {
    if let Some(trouble) = &run.failure {
        return tracing::warn!(destination = run.destination, error = %trouble, "a backup failed");
    }
    for outcome in &run.outcomes {
        if let Some(failure) = &outcome.failure {
            tracing::warn!(
                destination = run.destination,
                workspace = outcome.folder,
                error = failure,
                "a workspace was not backed up"
            );
        }
    }
}

fn report_drill(destination: &str, drill: &Drill) {
    if let Some(failure) = &drill.failure {
        return tracing::warn!(destination, error = failure, "a restore drill could not be done");
    }
    let (mut files, mut bytes) = (0, 0);
    for tried in &drill.workspaces {
        files += tried.files;
        bytes += tried.bytes;
        for finding in &tried.findings {
            tracing::error!(
                destination,
                workspace = tried.folder,
                snapshot = tried.snapshot,
                error = finding,
                "a restore drill found what does not come back"
            );
        }
    }
    tracing::info!(destination, files, bytes, "a restore drill came to its end");
}
