//! Says how each destination is, to whoever watches, and keeps what of that outlives the node.

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

impl Backups {
    /// How each destination is.
    pub fn statuses(&self) -> watch::Receiver<Vec<Status>> {
        self.inner().statuses.subscribe()
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

    /// Changes how a destination is, and keeps what outlives the node.
    pub(super) fn change(&self, name: &str, change: impl FnOnce(&mut Status)) {
        let now = clock::now();
        let Ok(destination) = self.destination(name) else { return };
        let mut kept = None;
        self.inner().statuses.send_modify(|statuses| {
            let Some(status) = statuses.iter_mut().find(|status| status.name == name) else { return };
            let before = status.past;
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
            kept = (status.past != before).then_some(status.past);
        });
        if let Some(past) = kept {
            past::save(&self.inner().home, name, &past);
        }
    }
}

/// How a destination is when the node starts.
pub(super) fn first_status(destination: &Destination, home: &Home) -> Status {
    Status {
        name: destination.name.clone(),
        place: destination.place.to_string(),
        form: destination.form,
        past: past::load(home, &destination.name),
        failure: None,
        next: None,
        alert: false,
        running: None,
        probe: probe::kept::load(home, &destination.name),
        drill: drill::kept::load(home, &destination.name),
        next_drill: None,
    }
}
