//! Says how each destination is, to whoever watches, and keeps what of that outlives the node.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;

use super::control::Backups;
use super::destination::Destination;
use super::drill;
use super::drill::sample::Drill;
use super::past;
use super::probe;
use super::schedule::Due;
use super::schedule::MISSED_MAX;
use super::status::Status;
use crate::base::clock;
use crate::base::home::Home;

/// How often it is said how far a run is.
const TOLD: Duration = Duration::from_secs(1);

impl Backups {
    /// How each destination is.
    pub fn statuses(&self) -> watch::Receiver<Vec<Status>> {
        self.inner().statuses.subscribe()
    }

    /// How a destination is now.
    pub(super) fn status(&self, name: &str) -> Option<Status> {
        self.inner().statuses.borrow().iter().find(|one| one.name == name).cloned()
    }

    /// How far a run is.
    pub(super) fn progress(&self, name: &str, done: usize, bytes: u64) {
        self.change(name, |status| {
            if let Some(running) = &mut status.running {
                running.workspaces.0 = done;
                running.bytes = bytes;
            }
        });
    }

    /// Says how much a run has read, as long as it goes on.
    pub(super) async fn telling<T>(&self, name: &str, read: &AtomicU64, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let mut ticks = tokio::time::interval(TOLD);
        let mut told = 0;
        loop {
            tokio::select! {
                // Cancel-safe: the work is pinned outside, a tick is only a moment.
                done = &mut work => return done,
                _ = ticks.tick() => {}
            }
            let bytes = read.load(Ordering::Relaxed);
            if bytes != told {
                told = bytes;
                self.change(name, |status| {
                    if let Some(running) = &mut status.running {
                        running.bytes = bytes;
                    }
                });
            }
        }
    }

    /// Changes how a destination is, and keeps what outlives the node.
    pub(super) fn change(&self, name: &str, change: impl FnOnce(&mut Status)) {
        let now = clock::now();
        let Ok(destination) = self.destination(name) else { return };
        let mut kept = None;
        self.inner().statuses.send_modify(|statuses| {
            let Some(status) = statuses.iter_mut().find(|status| status.name == name) else { return };
            let before = (status.past, status.figures);
            change(status);
            let seed = self.seed(destination);
            let moment = |due| match due {
                Due::Now => Some(now),
                Due::At(time) => Some(time),
                Due::Never => None,
            };
            status.next = moment(destination.schedule.due(&status.past, &seed, now));
            let (drills, last) = (&self.inner().settings.drill, status.drill.as_ref());
            status.next_drill = moment(drill::sample::due(drills, last, status.past.succeeded, &seed, now));
            status.alert = destination.schedule.missed(&status.past, now) >= MISSED_MAX
                || last.is_some_and(Drill::is_alarming);
            let after = (status.past, status.figures);
            kept = (after != before).then_some(after);
        });
        if let Some((past, figures)) = kept {
            past::save(&self.inner().home, name, &past, figures);
        }
    }
}

/// How a destination is when the node starts.
pub(super) fn first_status(destination: &Destination, home: &Home) -> Status {
    let (past, figures) = past::load(home, &destination.name);
    Status {
        name: destination.name.clone(),
        place: destination.place.to_string(),
        form: destination.form,
        past,
        failure: None,
        next: None,
        alert: false,
        figures,
        errors: 0,
        running: None,
        probe: probe::kept::load(home, &destination.name),
        drill: drill::kept::load(home, &destination.name),
        next_drill: None,
    }
}
