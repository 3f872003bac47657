//! What the node counts and measures, for Prometheus, in its text format (version 0.0.4).
//!
//! All of it is read when asked. Names of workspaces and destinations are labels: there are as many as their owner has.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse as _;
use axum::response::Response;
use nexus_agent::reconcile::Side;
use nexus_agent::session;
use nexus_agent::session::State as SyncState;
use prometheus::Encoder as _;
use prometheus::GaugeVec;
use prometheus::IntCounterVec;
use prometheus::IntGauge;
use prometheus::IntGaugeVec;
use prometheus::Opts;
use prometheus::Registry;
use prometheus::TextEncoder;
use prometheus::core::Collector;

use crate::api::Api;
use crate::api::wire;
use crate::backup;
use crate::backup::drill::sample::Tried;
use crate::backup::probe::finding::Verdict;
use crate::base::clock;
use crate::router;

/// What the node counts and measures.
#[utoipa::path(get, path = "/metrics", tag = "node", responses(
    (status = 200, body = String, content_type = "text/plain", description = "Prometheus' text format"), (status = "4XX", body = wire::Failure)))]
pub async fn read(State(api): State<Api>) -> Response {
    let page = Page::default();
    page.web(api.web().read());
    let sync = page.sync();
    for (id, session) in api.workspaces().sessions().borrow().iter() {
        let Ok(view) = api.workspaces().find(id.as_str()) else { continue };
        sync.set(&view.name, session.status.borrow().session.as_ref());
    }
    let backups = page.backups();
    api.backups().statuses().borrow().iter().for_each(|status| backups.set(status));
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], page.text()).into_response()
}

/// What is measured, under way to becoming text.
#[derive(Default)]
struct Page(Registry);

/// Gauges of sync sessions.
struct Sync {
    state: IntGaugeVec,
    files: IntGaugeVec,
    bytes: IntGaugeVec,
    pending_bytes: IntGaugeVec,
    agreed: IntGaugeVec,
    conflicts: IntGaugeVec,
    errors: IntGaugeVec,
    latency: GaugeVec,
}

/// Gauges of backups' destinations.
struct Backups {
    success: IntGaugeVec,
    failures: IntGaugeVec,
    alert: IntGaugeVec,
    running: IntGaugeVec,
    age: GaugeVec,
    files: IntGaugeVec,
    bytes: IntGaugeVec,
    stored: IntGaugeVec,
    duration: GaugeVec,
    errors: IntCounterVec,
    ability: IntGaugeVec,
    drill: IntGaugeVec,
    drill_ok: IntGaugeVec,
    drill_proved: IntGaugeVec,
    drill_files: IntGaugeVec,
    drill_findings: IntGaugeVec,
}

impl Page {
    fn add<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let collector = made.expect("the names here are lawful");
        self.0.register(Box::new(collector.clone())).expect("no two names here are the same");
        collector
    }

    fn integers(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn web(&self, web: router::Reading) {
        let counters = [
            ("requests_total", "Requests answered on the web port", web.requests),
            ("refused_total", "Requests refused because their head is ambiguous or malformed", web.refused),
            ("upstream_failures_total", "Requests whose upstream gave no answer", web.upstream_failures),
            ("escapes_total", "Root-absolute links led back to the site whose page asked", web.escapes),
        ];
        for (name, help, value) in counters {
            let counter = prometheus::IntCounter::new(format!("nexus_router_{name}"), help);
            self.add(counter).inc_by(value);
        }
        let gauges = [
            ("connections_open", "Client connections open on the web port", web.connections),
            ("tunnels_open", "WebSockets open on the web port", web.tunnels),
        ];
        for (name, help, value) in gauges {
            self.add(IntGauge::new(format!("nexus_router_{name}"), help)).set(integer(value));
        }
    }

    fn sync(&self) -> Sync {
        let gauge =
            |name: &str, help, labels: &[&str]| self.integers(&format!("nexus_sync_{name}"), help, labels);
        let (one, side) = (&["workspace"][..], &["workspace", "side"][..]);
        let latency =
            Opts::new("nexus_sync_latency_seconds", "How long the last change took to the other side");
        Sync {
            state: gauge("state", "1 for the state the session is in", &["workspace", "state"]),
            files: gauge("files", "Files and links a side holds", side),
            bytes: gauge("bytes", "Bytes of content a side holds", side),
            pending_bytes: gauge("pending_bytes", "Bytes on their way to a side and not there yet", side),
            agreed: gauge("agreed_entries", "Entries both sides have agreed on", one),
            conflicts: gauge("conflicts", "Conflicts that wait for a person", one),
            errors: gauge(
                "errors",
                "Paths that cannot be read or carried, or failed and are tried again",
                one,
            ),
            latency: self.add(GaugeVec::new(latency, one)),
        }
    }

    fn backups(&self) -> Backups {
        let gauge = |name: &str, help| self.integers(&format!("nexus_backup_{name}"), help, &["destination"]);
        Backups {
            success: gauge(
                "last_success_timestamp_seconds",
                "When the last run that succeeded began, Unix time",
            ),
            failures: gauge("failures", "Runs that have failed since the last success"),
            alert: gauge("alert", "1 when a destination has missed its runs"),
            running: gauge("running", "1 while a run is under way"),
            age: self.decimals("age_seconds", "How long ago the last run that succeeded began"),
            files: gauge("files", "Files that the last run that succeeded has backed up, new or not"),
            bytes: gauge("bytes", "Their bytes"),
            stored: gauge("stored_bytes", "Bytes that were stored for it, compressed"),
            duration: self.decimals("duration_seconds", "How long it took"),
            errors: self.add(IntCounterVec::new(
                Opts::new("nexus_backup_errors_total", "Runs that failed since the node started"),
                &["destination"],
            )),
            ability: self.integers(
                "nexus_backup_ability",
                "1 for what a destination was proved to do, 0 for what it was not",
                &["destination", "ability"],
            ),
            drill: gauge("drill_timestamp_seconds", "When the last restore drill began, Unix time"),
            drill_ok: gauge("drill_success", "1 when everything came back in the last restore drill"),
            drill_proved: gauge(
                "drill_last_success_timestamp_seconds",
                "When a restore drill of all workspaces proved last that they come back, Unix time",
            ),
            drill_files: gauge("drill_files", "Files restored in the last restore drill"),
            drill_findings: gauge("drill_findings", "What did not come back in the last restore drill"),
        }
    }

    fn decimals(&self, name: &str, help: &str) -> GaugeVec {
        self.add(GaugeVec::new(Opts::new(format!("nexus_backup_{name}"), help), &["destination"]))
    }

    fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.0.gather(), &mut text).expect("what is gathered becomes text");
        text
    }
}

impl Sync {
    fn set(&self, workspace: &str, status: Option<&session::Status>) {
        let now = status.map(session::Status::state);
        for state in SyncState::ALL {
            self.state.with_label_values(&[workspace, state.name()]).set(i64::from(now == Some(state)));
        }
        let Some(status) = status else { return };
        let mut errors = status.deferred.len();
        for side in Side::BOTH {
            let (name, on) = (side.to_string(), status.side(side));
            let labels = [workspace, name.as_str()];
            self.files.with_label_values(&labels).set(integer(on.files));
            self.bytes.with_label_values(&labels).set(integer(on.holds.bytes));
            let pending = on.progress.total.bytes.saturating_sub(on.progress.done.bytes);
            self.pending_bytes.with_label_values(&labels).set(integer(pending));
            errors += on.problems.len();
        }
        let one = [workspace];
        self.agreed.with_label_values(&one).set(integer(status.agreed.entries));
        self.conflicts.with_label_values(&one).set(integer(status.conflicts.len() as u64));
        self.errors.with_label_values(&one).set(integer(errors as u64));
        if let Some(latency) = status.latency {
            self.latency.with_label_values(&one).set(latency.as_secs_f64());
        }
    }
}

impl Backups {
    fn set(&self, status: &backup::status::Status) {
        let one = [status.name.as_str()];
        if let Some(succeeded) = status.past.succeeded {
            self.success.with_label_values(&one).set(succeeded.as_second());
            let age = clock::now().duration_since(succeeded);
            self.age.with_label_values(&one).set(age.as_secs_f64().max(0.0));
        }
        self.failures.with_label_values(&one).set(i64::from(status.past.failures));
        self.alert.with_label_values(&one).set(i64::from(status.alert));
        self.running.with_label_values(&one).set(i64::from(status.running.is_some()));
        self.errors.with_label_values(&one).inc_by(status.errors);
        if let Some(figures) = status.figures {
            self.files.with_label_values(&one).set(integer(figures.files));
            self.bytes.with_label_values(&one).set(integer(figures.bytes));
            self.stored.with_label_values(&one).set(integer(figures.stored));
            self.duration.with_label_values(&one).set(figures.took.as_secs_f64());
        }
        for finding in status.probe.iter().flat_map(|probe| &probe.findings) {
            let labels = [status.name.as_str(), finding.ability.word()];
            self.ability.with_label_values(&labels).set(i64::from(finding.verdict == Verdict::Proved));
        }
        let Some(drill) = &status.drill else { return };
        self.drill.with_label_values(&one).set(drill.time.as_second());
        self.drill_ok.with_label_values(&one).set(i64::from(drill.is_good()));
        if let Some(proved) = drill.proved {
            self.drill_proved.with_label_values(&one).set(proved.as_second());
        }
        let sum = |count: fn(&Tried) -> u64| integer(drill.workspaces.iter().map(count).sum());
        self.drill_files.with_label_values(&one).set(sum(|tried| tried.files));
        self.drill_findings.with_label_values(&one).set(sum(|tried| tried.findings.len() as u64));
    }
}

fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_names_what_it_counts_and_where() {
        let page = Page::default();
        let reading = router::Metrics::default().read();
        page.web(router::Reading { requests: 7, tunnels: 2, ..reading });
        let session = session::Session::new(
            session::Settings {
                mode: nexus_agent::reconcile::Mode::TwoWaySafe,
                strategy: nexus_agent::resolve::Strategy::HostWins,
                limits: nexus_agent::safety::Limits::default(),
            },
            nexus_agent::tree::Tree::default(),
            None,
        );
        let sync = page.sync();
        sync.set("shop", Some(&session.status()));
        sync.set("blog", None);
        let text = String::from_utf8(page.text()).unwrap();
        for line in [
            "# TYPE nexus_router_requests_total counter",
            "nexus_router_requests_total 7",
            "nexus_router_tunnels_open 2",
            "nexus_sync_state{state=\"apart\",workspace=\"shop\"} 1",
            "nexus_sync_state{state=\"equal\",workspace=\"shop\"} 0",
            "nexus_sync_state{state=\"apart\",workspace=\"blog\"} 0",
            "nexus_sync_files{side=\"host\",workspace=\"shop\"} 0",
            "nexus_sync_conflicts{workspace=\"shop\"} 0",
        ] {
            assert!(text.lines().any(|there| there == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("nexus_sync_files{side=\"host\",workspace=\"blog\"}"), "{text}");
        assert!(!text.contains("nexus_sync_latency_seconds{"), "none was measured yet\n{text}");
    }
}
