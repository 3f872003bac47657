//! What the web port has done and is doing, as numbers. No site names: they would be labels without bound.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters (since the start) and gauges (now).
#[derive(Debug, Default)]
pub struct Metrics {
    requests: AtomicU64,
    refused: AtomicU64,
    upstream_failures: AtomicU64,
    escapes: AtomicU64,
    connections: AtomicU64,
    tunnels: AtomicU64,
}

/// One reading of [`Metrics`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// `nexus_router_requests_total`: requests answered.
    pub requests: u64,
    /// `nexus_router_refused_total`: requests refused because their head is ambiguous or malformed.
    pub refused: u64,
    /// `nexus_router_upstream_failures_total`: requests whose upstream gave no answer.
    pub upstream_failures: u64,
    /// `nexus_router_escapes_total`: root-absolute links led back to the site whose page asked.
    pub escapes: u64,
    /// `nexus_router_connections_open`: client connections open now.
    pub connections: u64,
    /// `nexus_router_tunnels_open`: WebSockets open now.
    pub tunnels: u64,
}

/// Counts something as open until dropped.
pub(crate) struct Open<'a>(&'a AtomicU64);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// Reads all numbers. They are read one by one: sums may be off by a request in flight.
    pub fn read(&self) -> Reading {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Reading {
            requests: read(&self.requests),
            refused: read(&self.refused),
            upstream_failures: read(&self.upstream_failures),
            escapes: read(&self.escapes),
            connections: read(&self.connections),
            tunnels: read(&self.tunnels),
        }
    }

    pub(crate) fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refusal(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn upstream_failure(&self) {
        self.upstream_failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn escape(&self) {
        self.escapes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connection(&self) -> Open<'_> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Open(&self.connections)
    }

    pub(crate) fn tunnel(&self) -> Open<'_> {
        self.tunnels.fetch_add(1, Ordering::Relaxed);
        Open(&self.tunnels)
    }
}
