//! The API's description, made from the handlers. `tests/fixtures/openapi.json` is its golden copy.

use axum::Json;
use utoipa::Modify;
use utoipa::OpenApi;
use utoipa::openapi::security::Http;
use utoipa::openapi::security::HttpAuthScheme;
use utoipa::openapi::security::SecurityScheme;

use super::rest;

/// The whole description.
#[derive(OpenApi)]
#[openapi(
    info(title = "Nexus", description = "Workspaces of one node. Bearer tokens; failures are `Failure`.", version = "1", license(name = "Apache-2.0", identifier = "Apache-2.0")),
    security(("token" = [])),
    modifiers(&Bearer),
    paths(
        rest::node::health,
        rest::node::status,
        rest::node::doctor,
        rest::events::follow,
        rest::events::connect,
        rest::metrics::read,
        rest::workspaces::list,
        rest::workspaces::create,
        rest::workspaces::show,
        rest::workspaces::remove,
        rest::workspaces::status,
        rest::workspaces::detect,
        rest::workspaces::compose,
        rest::logs::read,
        rest::workspaces::start,
        rest::workspaces::stop,
        rest::workspaces::restart,
        rest::run::run,
        rest::sync::status,
        rest::sync::flush,
        rest::sync::pause,
        rest::sync::resume,
        rest::sync::conflicts,
        rest::sync::resolve,
        rest::sync::preview,
        rest::sync::versions,
        rest::sync::undo,
        rest::sync::trace,
        rest::backup::status,
        rest::backup::run,
        rest::backup::snapshots,
        rest::backup::restore,
        rest::backup::contents,
        rest::backup::difference,
        rest::backup::forget,
        rest::backup::unlock,
        rest::backup::adopt,
        rest::backup::repair,
        rest::backup::rebuild,
        rest::backup::verify,
        rest::backup::probe,
        rest::backup::drill,
        rest::backup::recovery,
        rest::tokens::list,
        rest::tokens::create,
        rest::tokens::revoke,
        rest::claim::show,
        rest::claim::renew,
    )
)]
pub struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

/// `GET /api/v1/openapi.json`
pub async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(Document::openapi())
}
