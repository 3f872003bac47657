//! The node itself: whether it answers, how it is.

use axum::Json;
use axum::extract::State;

use crate::api::Api;
use crate::api::show;
use crate::api::wire;
use crate::base::clock;
use crate::engine;
use crate::model::workspace::State as WorkspaceState;
use crate::ops::doctor;
use crate::workspace::Views;

/// Whether the node answers. Asks nobody else, so that an engine in trouble does not make the node look dead.
#[utoipa::path(get, path = "/health", tag = "node", responses((status = 200, body = wire::Health)))]
pub async fn health() -> Json<wire::Health> {
    Json(wire::Health { status: "ok".to_owned() })
}

/// How the node is.
#[utoipa::path(get, path = "/api/v1/status", tag = "node", responses(
    (status = 200, body = wire::NodeStatus), (status = "4XX", body = wire::Failure)))]
pub async fn status(State(api): State<Api>) -> Json<wire::NodeStatus> {
    let facts = api.facts();
    let look = facts.vitals.now().await;
    let problem = |check: doctor::Check| wire::Trouble { message: check.found, hint: check.next };
    Json(wire::NodeStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node: facts.id.to_string(),
        started_at: facts.started_at.to_string(),
        uptime_s: facts.started_at.duration_until(clock::now()).as_secs().try_into().unwrap_or(0),
        directory: facts.directory.display().to_string(),
        listeners: facts
            .listeners
            .iter()
            .map(|(name, url)| wire::Listener { name: name.clone(), url: url.clone() })
            .collect(),
        engine: look.engine.map_or_else(unknown, known),
        workspaces: count(&api.workspaces().views().borrow()),
        problems: look.failed.into_iter().map(problem).collect(),
    })
}

/// Looks at what the node needs; takes seconds when something hangs.
#[utoipa::path(get, path = "/api/v1/doctor", tag = "node", responses(
    (status = 200, body = wire::DoctorReport), (status = "4XX", body = wire::Failure)))]
pub async fn doctor(State(api): State<Api>) -> Json<wire::DoctorReport> {
    let checks = doctor::examine(api.doctor()).await;
    Json(wire::DoctorReport { checks: checks.iter().map(show::check).collect() })
}

fn known(about: engine::About) -> wire::EngineStatus {
    wire::EngineStatus {
        reachable: true,
        version: Some(about.version),
        api_version: Some(about.api_version),
        compose_version: about.compose_version,
    }
}

fn unknown() -> wire::EngineStatus {
    wire::EngineStatus { reachable: false, version: None, api_version: None, compose_version: None }
}

fn count(views: &Views) -> wire::Counts {
    let mut counts = wire::Counts { total: views.len(), ..Default::default() };
    for view in views.iter() {
        match view.state {
            WorkspaceState::Running => counts.running += 1,
            WorkspaceState::Pending => counts.pending += 1,
            WorkspaceState::Error => counts.error += 1,
            WorkspaceState::Stopped | WorkspaceState::Paused => counts.stopped += 1,
            WorkspaceState::Destroying | WorkspaceState::Destroyed => {}
        }
    }
    counts
}
