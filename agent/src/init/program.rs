//! Watches a running program: which ports it opens, when it is ready, what only listens inside.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::output::Reporter;
use crate::forward;
use crate::listen;
use crate::report::Listener;
use crate::report::Phase;

/// A port nobody asked for counts once it has been there for this long: a debugger may open before the server.
const SETTLED: Duration = Duration::from_millis(250);
/// How long a program may run without listening before that is said.
const QUIET: Duration = Duration::from_secs(30);

/// What is expected of a program.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expectation {
    /// The port it was told to use.
    pub(super) asked: u16,
    /// The port it is likely to use.
    pub(super) hint: Option<u16>,
    /// Whether it is ready only when it listens.
    pub(super) http: bool,
}

/// Watches one run of a program. Dropping it closes the ports it forwards.
pub(super) struct Watch<'a> {
    reporter: &'a Arc<Reporter>,
    expectation: Expectation,
    /// What was there before anything was started.
    foreign: &'a BTreeSet<Listener>,
    seen: BTreeMap<Listener, Instant>,
    port: Option<Listener>,
    forwards: BTreeMap<u16, JoinSet<()>>,
    started: Instant,
}

impl<'a> Watch<'a> {
    pub(super) fn new(
        reporter: &'a Arc<Reporter>,
        expectation: Expectation,
        foreign: &'a BTreeSet<Listener>,
    ) -> Self {
        let (seen, forwards, started) = (BTreeMap::new(), BTreeMap::new(), Instant::now());
        Self { reporter, expectation, foreign, seen, port: None, forwards, started }
    }

    /// Watches until dropped.
    pub(super) async fn run(mut self) -> std::convert::Infallible {
        let mut told_quiet = false;
        let mut changed_at = self.started;
        loop {
            if self.look().await {
                changed_at = Instant::now();
            }
            if self.expectation.http && self.port.is_none() && !told_quiet && self.started.elapsed() > QUIET {
                told_quiet = true;
                let asked = self.expectation.asked;
                self.reporter.update(|report| {
                    report.notes.push(format!(
                        "it has run for {}s and listens on no port; it was given PORT={asked} and HOST=0.0.0.0",
                        QUIET.as_secs()
                    ));
                });
            }
            tokio::time::sleep(self.pace(changed_at.elapsed())).await;
        }
    }

    /// Often while something is about to happen, seldom when nothing has for long.
    fn pace(&self, quiet: Duration) -> Duration {
        let waiting = self.expectation.http && self.port.is_none();
        let millis = match (waiting, quiet.as_secs()) {
            (true, 0..3) => 5,
            (true, 3..30) => 25,
            (true, 30..120) => 100,
            (false, 0..3) => 50,
            (true, _) | (false, 3..60) => 1_000,
            (false, _) => 5_000,
        };
        Duration::from_millis(millis)
    }

    /// Looks once; says whether anything is different.
    async fn look(&mut self) -> bool {
        let found = self.observe();
        let now = Instant::now();
        let same = found.len() == self.seen.len() && found.iter().all(|one| self.seen.contains_key(one));
        if !same {
            self.seen.retain(|listener, _| found.contains(listener));
            for listener in &found {
                self.seen.entry(*listener).or_insert(now);
            }
            self.forward().await;
        }
        let port = self.choose(&found, now).await;
        let other = port != self.port;
        self.port = port;
        if !same || other {
            self.tell(found);
        }
        !same || other
    }

    fn observe(&self) -> BTreeSet<Listener> {
        let own = if self.forwards.is_empty() { BTreeSet::new() } else { listen::own_addresses() };
        let mut found = listen::observe();
        found.retain(|listener| {
            let forwarded = self.forwards.contains_key(&listener.port)
                && matches!(listener.address, IpAddr::V4(address) if own.contains(&address));
            !forwarded && !self.foreign.contains(listener)
        });
        found
    }

    async fn choose(&self, found: &BTreeSet<Listener>, now: Instant) -> Option<Listener> {
        if self.port.is_some_and(|port| port.port == self.expectation.asked && found.contains(&port)) {
            return self.port;
        }
        for candidate in listen::candidates(found, self.expectation.asked, self.expectation.hint) {
            let expected =
                candidate.port == self.expectation.asked || Some(candidate.port) == self.expectation.hint;
            let settled = self.seen.get(&candidate).is_some_and(|since| now - *since >= SETTLED);
            if self.port == Some(candidate) || (expected || settled) && listen::accepts(&candidate).await {
                return Some(candidate);
            }
        }
        None
    }

    /// Opens the ports that only listen inside on the container's own addresses, and closes those that need it no more.
    async fn forward(&mut self) {
        let reachable: BTreeSet<u16> =
            self.seen.keys().filter(|listener| !listener.loopback).map(|listener| listener.port).collect();
        let inside: BTreeMap<u16, SocketAddr> = self
            .seen
            .keys()
            .filter(|listener| listener.loopback && !reachable.contains(&listener.port))
            .map(|listener| (listener.port, listen::dial_address(listener)))
            .collect();
        self.forwards.retain(|port, _| inside.contains_key(port));
        for (port, target) in inside {
            if self.forwards.contains_key(&port) {
                continue;
            }
            let mut tasks = JoinSet::new();
            for address in listen::own_addresses() {
                if let Ok(listener) = TcpListener::bind((address, port)).await {
                    tasks.spawn(forward::serve(listener, target));
                }
            }
            self.forwards.insert(port, tasks);
        }
    }

    fn tell(&self, found: BTreeSet<Listener>) {
        let ready = self.port.is_some() || !self.expectation.http;
        self.reporter.update(|report| {
            report.phase = if ready { Phase::Ready } else { Phase::Starting };
            report.port = self.port.map(|listener| listener.port);
            if self.port.is_some() {
                report.failure = None;
            }
            report.notes.clear();
            if let Some(port) = self.port.filter(|port| self.forwards.contains_key(&port.port)) {
                report.notes.push(format!(
                    "it listens on {} only, where nobody outside of the container reaches it; the agent forwards port {}",
                    port.address, port.port
                ));
            }
            report.listeners = found.into_iter().collect();
        });
    }
}
