//! Probes in the hands of [`Backups`]: one now, what was found last, and what follows from it.

use std::sync::Arc;
use std::time::Duration;

use super::ask;
use super::finding;
use super::finding::Ability;
use super::finding::Probe;
use super::finding::Verdict;
use super::kept;
use crate::backup::control::Backups;
use crate::backup::destination::Destination;
use crate::backup::destination::Place;
use crate::backup::error::Error;
use crate::backup::http::Line;
use crate::backup::objects::Patience;
use crate::backup::objects::asked;
use crate::backup::trouble::Cause;
use crate::backup::trouble::Trouble;
use crate::base::clock;

/// One small request takes no longer.
const REQUEST: Duration = Duration::from_secs(30);
/// All of them take no longer.
const ALL: Duration = Duration::from_secs(5 * 60);

impl Backups {
    /// Finds out what a destination does, and keeps that.
    ///
    /// # Errors
    /// When there is no such destination, or it does not answer, or not to us.
    pub async fn probe(&self, name: &str) -> Result<Probe, Error> {
        let (this, name) = (self.clone(), name.to_owned());
        self.to_its_end(async move { this.probe_now(&name).await }).await
    }

    async fn probe_now(&self, name: &str) -> Result<Probe, Error> {
        let destination = self.destination(name)?;
        let patience = &self.inner().settings.patience;
        let patience = Patience { request: patience.request.min(REQUEST), ..*patience };
        let line = Arc::new(Line::default());
        let store = asked(&destination.place, &patience, &line)?;
        let shown = destination.place.to_string();
        let server = matches!(destination.place, Place::Bucket(_));
        let asking = ask::ask(store.as_ref(), server.then_some(line.as_ref()), &shown);
        let answers = tokio::time::timeout(ALL, asking)
            .await
            .map_err(|_| Trouble::new(Cause::TimedOut, format!("find out what {shown} does"), ""))??;
        let findings = finding::judge(&answers, server);
        let probe = Probe { time: clock::now(), place: shown, findings };
        kept::save(&self.inner().home, name, &probe);
        self.change(name, |status| status.probe = Some(probe.clone()));
        Ok(probe)
    }

    /// What is known of an ability of a destination, as it is described now.
    pub(in crate::backup) fn known(&self, destination: &Destination, ability: Ability) -> Verdict {
        let probe = self.status(&destination.name).and_then(|status| status.probe);
        let probe = probe.filter(|probe| probe.place == destination.place.to_string());
        probe.map_or(Verdict::Unknown, |probe| probe.verdict(ability))
    }

    /// Whether snapshots can be forgotten there. A key that may only add is a good one to have on this machine: what it
    /// cannot do is not tried, and is no failure.
    pub(in crate::backup) fn may_forget(&self, destination: &Destination) -> bool {
        self.known(destination, Ability::Delete) != Verdict::Absent
    }
}
