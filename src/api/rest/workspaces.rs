//! Workspaces: see, create, start, stop, restart, remove, run a program inside.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::api::Api;
use crate::api::input::Input;
use crate::api::input::Key;
use crate::api::input::Params;
use crate::api::problem::Problem;
use crate::api::show;
use crate::api::wire;

/// What the template `hello` puts into a new folder.
const HELLO: &[u8] = include_bytes!("hello.html");

/// All workspaces.
#[utoipa::path(get, path = "/api/v1/workspaces", tag = "workspaces", responses(
    (status = 200, body = wire::WorkspaceList), (status = "4XX", body = wire::Failure)))]
pub async fn list(State(api): State<Api>) -> Json<wire::WorkspaceList> {
    let views = api.workspaces().views();
    let workspaces = views.borrow().iter().map(|view| show::workspace(view)).collect();
    Json(wire::WorkspaceList { workspaces })
}

/// One workspace.
#[utoipa::path(get, path = "/api/v1/workspaces/{id}", tag = "workspaces", params(("id" = String, Path, description = "Id or name")), responses(
    (status = 200, body = wire::Workspace), (status = "4XX", body = wire::Failure)))]
pub async fn show(State(api): State<Api>, Key(key): Key) -> Result<Json<wire::Workspace>, Problem> {
    Ok(Json(show::workspace(&*api.workspaces().find(&key)?)))
}

/// A workspace's containers and sync.
#[utoipa::path(get, path = "/api/v1/workspaces/{id}/status", tag = "workspaces", params(("id" = String, Path, description = "Id or name")), responses(
    (status = 200, body = wire::WorkspaceStatus), (status = "4XX", body = wire::Failure)))]
pub async fn status(State(api): State<Api>, Key(key): Key) -> Result<Json<wire::WorkspaceStatus>, Problem> {
    Ok(Json(show::status(&*api.workspaces().find(&key)?)))
}

/// What a workspace was detected to be, and why.
#[utoipa::path(get, path = "/api/v1/workspaces/{id}/detect", tag = "workspaces", params(("id" = String, Path, description = "Id or name")), responses(
    (status = 200, body = wire::Detection), (status = "4XX", body = wire::Failure)))]
pub async fn detect(State(api): State<Api>, Key(key): Key) -> Result<Json<wire::Detection>, Problem> {
    let view = api.workspaces().find(&key)?;
    let detection = view.detection.as_ref().ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "NOT_DETECTED",
            format!("`{}` has not been looked at yet", view.name),
        )
        .hint("its folder has to settle first; try again in a moment")
    })?;
    Ok(Json(show::detection(detection)))
}

/// The stack file a workspace runs from.
#[utoipa::path(get, path = "/api/v1/workspaces/{id}/compose", tag = "workspaces", params(("id" = String, Path, description = "Id or name")), responses(
    (status = 200, body = String, content_type = "application/yaml"), (status = "4XX", body = wire::Failure)))]
pub async fn compose(State(api): State<Api>, Key(key): Key) -> Result<impl IntoResponse, Problem> {
    Ok(([(header::CONTENT_TYPE, "application/yaml")], api.workspaces().stack_file(&key).await?))
}

/// Makes a new folder in the watched directory; it becomes a workspace once it has settled.
#[utoipa::path(post, path = "/api/v1/workspaces", tag = "workspaces", request_body = wire::CreateWorkspace, responses(
    (status = 201, body = wire::CreatedWorkspace), (status = "4XX", body = wire::Failure)))]
pub async fn create(
    State(api): State<Api>,
    Input(request): Input<wire::CreateWorkspace>,
) -> Result<(StatusCode, Json<wire::CreatedWorkspace>), Problem> {
    let files = match request.template.as_deref() {
        None | Some("empty") => vec![],
        Some("hello") => vec![("index.html".to_owned(), HELLO.to_vec())],
        Some(other) => {
            return Err(
                Problem::invalid(format!("there is no template `{other}`")).hint("it is `empty` or `hello`")
            );
        }
    };
    let name = api.workspaces().create(&request.name, files).await?;
    Ok((
        StatusCode::CREATED,
        Json(wire::CreatedWorkspace { path: format!("/{name}/"), name: name.to_string() }),
    ))
}

/// Wants a workspace to run.
#[utoipa::path(post, path = "/api/v1/workspaces/{id}/start", tag = "workspaces", params(("id" = String, Path, description = "Id or name")), responses(
    (status = 202, body = wire::Workspace), (status = "4XX", body = wire::Failure)))]
pub async fn start(
    State(api): State<Api>,
    Key(key): Key,
) -> Result<(StatusCode, Json<wire::Workspace>), Problem> {
    Ok((StatusCode::ACCEPTED, Json(show::workspace(&*api.workspaces().start(&key).await?))))
}

/// Wants a workspace to exist and not run.
#[utoipa::path(post, path = "/api/v1/workspaces/{id}/stop", tag = "workspaces", params(("id" = String, Path, description = "Id or name")), responses(
    (status = 202, body = wire::Workspace), (status = "4XX", body = wire::Failure)))]
pub async fn stop(
    State(api): State<Api>,
    Key(key): Key,
) -> Result<(StatusCode, Json<wire::Workspace>), Problem> {
    Ok((StatusCode::ACCEPTED, Json(show::workspace(&*api.workspaces().stop(&key).await?))))
}

/// Wants a workspace's containers restarted once.
#[utoipa::path(post, path = "/api/v1/workspaces/{id}/restart", tag = "workspaces", params(("id" = String, Path, description = "Id or name")), responses(
    (status = 202, body = wire::Workspace), (status = "4XX", body = wire::Failure)))]
pub async fn restart(
    State(api): State<Api>,
    Key(key): Key,
) -> Result<(StatusCode, Json<wire::Workspace>), Problem> {
    Ok((StatusCode::ACCEPTED, Json(show::workspace(&*api.workspaces().restart(&key).await?))))
}

/// How to remove.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Removing {
    /// Remove the volumes too (dependencies, the container's copy).
    #[serde(default)]
    purge: bool,
    /// Say what would go, and do nothing.
    #[serde(default)]
    dry_run: bool,
}

/// Takes a workspace down and moves its folder to the trash.
#[utoipa::path(delete, path = "/api/v1/workspaces/{id}", tag = "workspaces", params(("id" = String, Path, description = "Id or name"), Removing), responses(
    (status = 200, description = "The plan of a dry run", body = wire::Removal), (status = 202, body = wire::Removal), (status = "4XX", body = wire::Failure)))]
pub async fn remove(
    State(api): State<Api>,
    Key(key): Key,
    Params(removing): Params<Removing>,
) -> Result<(StatusCode, Json<wire::Removal>), Problem> {
    let Removing { purge, dry_run } = removing;
    let view = api.workspaces().find(&key)?;
    let removal = show::removal(&view, purge, dry_run);
    if dry_run {
        return Ok((StatusCode::OK, Json(removal)));
    }
    // By id: a folder renamed in between must not redirect the removal.
    api.workspaces().remove(view.id.as_str(), purge).await?;
    Ok((StatusCode::ACCEPTED, Json(removal)))
}
