//! The routes: each with its access, the handlers in one file per noun.

pub mod backup;
pub mod claim;
pub mod events;
pub mod logs;
pub mod metrics;
pub mod node;
pub mod run;
pub mod sync;
pub mod tokens;
pub mod workspaces;

use axum::Router;

use super::Api;
use super::auth::Scope;
use super::door::Access;
use super::door::Doors;
use super::door::Route;
use super::openapi;
use super::page;

/// Everything that answers on the control port and the local socket.
pub fn router(api: &Api) -> (Vec<Route>, Router) {
    let open = Access::Open;
    let read = Access::Token(Scope::Read);
    let write = Access::Token(Scope::Write);
    let admin = Access::Token(Scope::Admin);
    Doors::new(api.clone())
        .add(open, "GET", "/", page::welcome)
        .add(open, "GET", "/style.css", page::style)
        .add(open, "GET", "/health", node::health)
        .add(open, "GET", "/claim/{code}", page::claim)
        .add(open, "POST", "/claim/{code}", page::claimed)
        .add(open, "GET", "/api/v1/openapi.json", openapi::document)
        .add(read, "GET", "/metrics", metrics::read)
        .add(read, "GET", "/api/v1/status", node::status)
        .add(read, "GET", "/api/v1/doctor", node::doctor)
        .add(read, "GET", "/api/v1/events", events::follow)
        .add(read, "GET", "/api/v1/ws", events::connect)
        .add(read, "GET", "/api/v1/workspaces", workspaces::list)
        .add(write, "POST", "/api/v1/workspaces", workspaces::create)
        .add(read, "GET", "/api/v1/workspaces/{id}", workspaces::show)
        .add(write, "DELETE", "/api/v1/workspaces/{id}", workspaces::remove)
        .add(read, "GET", "/api/v1/workspaces/{id}/status", workspaces::status)
        .add(read, "GET", "/api/v1/workspaces/{id}/detect", workspaces::detect)
        // A stack file holds the environment, and with it secrets: not for mere onlookers.
        .add(write, "GET", "/api/v1/workspaces/{id}/compose", workspaces::compose)
        .add(read, "GET", "/api/v1/workspaces/{id}/logs", logs::read)
        .add(write, "POST", "/api/v1/workspaces/{id}/start", workspaces::start)
        .add(write, "POST", "/api/v1/workspaces/{id}/stop", workspaces::stop)
        .add(write, "POST", "/api/v1/workspaces/{id}/restart", workspaces::restart)
        .add(write, "POST", "/api/v1/workspaces/{id}/run", run::run)
        .add(read, "GET", "/api/v1/workspaces/{id}/sync", sync::status)
        .add(write, "POST", "/api/v1/workspaces/{id}/sync", sync::flush)
        .add(write, "POST", "/api/v1/workspaces/{id}/sync/pause", sync::pause)
        .add(write, "POST", "/api/v1/workspaces/{id}/sync/resume", sync::resume)
        // With what files hold, and so not for mere onlookers.
        .add(write, "GET", "/api/v1/workspaces/{id}/sync/conflicts", sync::conflicts)
        .add(write, "POST", "/api/v1/workspaces/{id}/sync/resolve", sync::resolve)
        .add(read, "POST", "/api/v1/workspaces/{id}/sync/preview", sync::preview)
        .add(read, "GET", "/api/v1/workspaces/{id}/sync/versions", sync::versions)
        .add(write, "POST", "/api/v1/workspaces/{id}/sync/undo", sync::undo)
        .add(read, "GET", "/api/v1/workspaces/{id}/sync/trace", sync::trace)
        .add(read, "GET", "/api/v1/backup", backup::status)
        .add(write, "POST", "/api/v1/backup/runs", backup::run)
        .add(read, "GET", "/api/v1/backup/snapshots", backup::snapshots)
        .add(write, "POST", "/api/v1/backup/restores", backup::restore)
        .add(read, "GET", "/api/v1/backup/contents", backup::contents)
        .add(read, "GET", "/api/v1/backup/differences", backup::difference)
        .add(admin, "POST", "/api/v1/backup/forgets", backup::forget)
        .add(admin, "POST", "/api/v1/backup/unlocks", backup::unlock)
        .add(admin, "POST", "/api/v1/backup/adoptions", backup::adopt)
        .add(admin, "POST", "/api/v1/backup/repairs", backup::repair)
        .add(admin, "POST", "/api/v1/backup/rebuilds", backup::rebuild)
        .add(write, "POST", "/api/v1/backup/verifications", backup::verify)
        .add(write, "POST", "/api/v1/backup/probes", backup::probe)
        .add(write, "POST", "/api/v1/backup/drills", backup::drill)
        .add(admin, "GET", "/api/v1/backup/recovery", backup::recovery)
        .add(admin, "GET", "/api/v1/tokens", tokens::list)
        .add(admin, "POST", "/api/v1/tokens", tokens::create)
        .add(admin, "DELETE", "/api/v1/tokens/{id}", tokens::revoke)
        .add(Access::Local, "GET", "/api/v1/claim", claim::show)
        .add(Access::Local, "POST", "/api/v1/claim", claim::renew)
        // The short forms of the first design.
        .add(read, "GET", "/workspaces", workspaces::list)
        .add(write, "POST", "/workspaces", workspaces::create)
        .add(read, "GET", "/workspaces/{id}/status", workspaces::status)
        .add(write, "POST", "/workspaces/{id}/run", run::run)
        .add(write, "POST", "/workspaces/{id}/sync", sync::flush)
        .finish()
}
