//! Sync: how it is, a flush, a pause, conflicts, versions, an undo, and why a path is where it is.

use axum::Json;
use axum::extract::State;
use globset::Glob;
use nexus_agent::inquiry::Which;
use nexus_agent::path::RelPath;
use nexus_agent::reconcile::Mode;
use nexus_agent::reconcile::Side;
use nexus_agent::resolve::Strategy;
use nexus_agent::session::Dispute;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::api::Api;
use crate::api::input::Input;
use crate::api::input::Key;
use crate::api::input::Params;
use crate::api::problem::Problem;
use crate::api::show_sync;
use crate::api::wire::Failure;
use crate::api::wire::sync as wire;
use crate::config::nearest;
use crate::workspace::settle::Settlement;
use crate::workspace::sync::Change;

/// How the sync of a workspace is.
#[utoipa::path(get, path = "/api/v1/workspaces/{id}/sync", tag = "sync", params(("id" = String, Path, description = "Id or name")), responses(
    (status = 200, body = wire::SyncStatus), (status = "4XX", body = Failure)))]
pub async fn status(State(api): State<Api>, Key(key): Key) -> Result<Json<wire::SyncStatus>, Problem> {
    let (view, session) = api.workspaces().session(&key)?;
    let status = session.status.borrow();
    Ok(Json(show_sync::status(&view.name, &session.settings, &status)))
}

/// Waits until both sides have looked at everything and are equal.
#[utoipa::path(post, path = "/api/v1/workspaces/{id}/sync", tag = "sync", params(("id" = String, Path, description = "Id or name")), responses(
    (status = 200, body = wire::SyncStatus), (status = "4XX", body = Failure)))]
pub async fn flush(State(api): State<Api>, Key(key): Key) -> Result<Json<wire::SyncStatus>, Problem> {
    let view = api.workspaces().flush(&key).await?;
    status(State(api), Key(view.id.to_string())).await
}

/// Stops making changes.
#[utoipa::path(post, path = "/api/v1/workspaces/{id}/sync/pause", tag = "sync", params(("id" = String, Path, description = "Id or name")), responses(
    (status = 200, body = wire::SyncStatus), (status = "4XX", body = Failure)))]
pub async fn pause(State(api): State<Api>, Key(key): Key) -> Result<Json<wire::SyncStatus>, Problem> {
    let view = api.workspaces().pause_sync(&key, true).await?;
    status(State(api), Key(view.id.to_string())).await
}

/// Goes on; with `accept_deletions` also with what is halted or held.
#[utoipa::path(post, path = "/api/v1/workspaces/{id}/sync/resume", tag = "sync", params(("id" = String, Path, description = "Id or name")), request_body = wire::ResumeSync, responses(
    (status = 200, body = wire::SyncStatus), (status = "4XX", body = Failure)))]
pub async fn resume(
    State(api): State<Api>,
    Key(key): Key,
    Input(request): Input<wire::ResumeSync>,
) -> Result<Json<wire::SyncStatus>, Problem> {
    let view = api.workspaces().pause_sync(&key, false).await?;
    if request.accept_deletions {
        api.workspaces().accept_sync(view.id.as_str()).await?;
    }
    status(State(api), Key(view.id.to_string())).await
}

/// Which conflicts, and how much of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Conflicting {
    /// Only this path.
    path: Option<String>,
    /// With the difference between the two texts: needs `path`.
    #[serde(default)]
    diff: bool,
}

/// The conflicts that wait for a person.
#[utoipa::path(get, path = "/api/v1/workspaces/{id}/sync/conflicts", tag = "sync", params(("id" = String, Path, description = "Id or name"), Conflicting), responses(
    (status = 200, body = wire::SyncConflicts), (status = "4XX", body = Failure)))]
pub async fn conflicts(
    State(api): State<Api>,
    Key(key): Key,
    Params(wanted): Params<Conflicting>,
) -> Result<Json<wire::SyncConflicts>, Problem> {
    let (view, session) = api.workspaces().session(&key)?;
    let path = wanted.path.as_deref().map(relative).transpose()?;
    if wanted.diff && path.is_none() {
        return Err(Problem::invalid("a difference is shown of one path".to_owned()).hint("name the `path`"));
    }
    let disputes: Vec<Dispute> = {
        let status = session.status.borrow();
        status.session.iter().flat_map(|session| session.conflicts.clone()).collect()
    };
    let mut conflicts = Vec::new();
    for dispute in disputes.iter().filter(|dispute| path.is_none() || dispute.conflict.path == path) {
        let mut shown = show_sync::conflict(dispute);
        if let (true, Some(path)) = (wanted.diff, &path) {
            let side = |side| api.workspaces().content(view.id.as_str(), side, path.clone());
            let (host, container) = (side(Side::Alpha).await?, side(Side::Beta).await?);
            shown.diff = host.zip(container).and_then(|(host, container)| show_sync::diff(&host, &container));
        }
        conflicts.push(shown);
    }
    Ok(Json(wire::SyncConflicts { conflicts }))
}

/// Settles conflicts: for one side, with both edits of a text put together, or with a text of one's own. What is
/// displaced is kept as a version. With `dry_run` it is only said what would become of them.
#[utoipa::path(post, path = "/api/v1/workspaces/{id}/sync/resolve", tag = "sync", params(("id" = String, Path, description = "Id or name")), request_body = wire::ResolveSync, responses(
    (status = 200, body = wire::ResolvedSync), (status = "4XX", body = Failure)))]
pub async fn resolve(
    State(api): State<Api>,
    Key(key): Key,
    Input(request): Input<wire::ResolveSync>,
) -> Result<Json<wire::ResolvedSync>, Problem> {
    let settlement = settlement(&request)?;
    let pattern = match &request.path {
        Some(path) => {
            let glob = Glob::new(path).map_err(|error| Problem::invalid(error.to_string()))?;
            Some((path.clone(), glob.compile_matcher()))
        }
        None => None,
    };
    let wanted = |dispute: &Dispute| {
        let path = dispute.conflict.path.as_ref().map(RelPath::to_string).unwrap_or_default();
        let fits = pattern.as_ref().is_none_or(|(exact, glob)| *exact == path || glob.is_match(&path));
        fits && request.key.as_ref().is_none_or(|key| *key == dispute.key.to_string())
    };
    let settled = api.workspaces().settle(&key, wanted, &settlement, request.dry_run).await?;
    Ok(Json(show_sync::settled(settled)))
}

fn settlement(request: &wire::ResolveSync) -> Result<Settlement, Problem> {
    match (request.keep.as_str(), &request.text) {
        ("host", None) => Ok(Settlement::Keep(Side::Alpha)),
        ("container", None) => Ok(Settlement::Keep(Side::Beta)),
        ("merged", None) => Ok(Settlement::Merged),
        ("text", Some(text)) => Ok(Settlement::Given(text.clone().into_bytes())),
        ("text", None) => Err(Problem::invalid("no text is given".to_owned()).hint("give it as `text`")),
        ("host" | "container" | "merged", Some(_)) => {
            Err(Problem::invalid("a text is given and not wanted".to_owned())
                .hint("`keep` is `text` when the `text` given shall stay"))
        }
        (other, _) => Err(Problem::invalid(format!("`{other}` is nothing that can stay"))
            .hint("`keep` is `host`, `container`, `merged` or `text`")),
    }
}

/// What other settings would do: which files would begin or stop to travel, what would change on each side, which
/// conflicts would be settled. Nothing changes by it; settings are stated in the project's `.nexus/config.yaml`, which
/// counts as soon as it is saved.
#[utoipa::path(post, path = "/api/v1/workspaces/{id}/sync/preview", tag = "sync", params(("id" = String, Path, description = "Id or name")), request_body = wire::PreviewSync, responses(
    (status = 200, body = wire::SyncPreview), (status = "4XX", body = Failure)))]
pub async fn preview(
    State(api): State<Api>,
    Key(key): Key,
    Input(request): Input<wire::PreviewSync>,
) -> Result<Json<wire::SyncPreview>, Problem> {
    let change = Change {
        mode: request.mode.as_deref().map(|mode| word("mode", mode, &Mode::ALL, Mode::name)).transpose()?,
        strategy: request
            .strategy
            .as_deref()
            .map(|strategy| word("strategy", strategy, &Strategy::ALL, Strategy::name))
            .transpose()?,
        excludes: request.excludes,
    };
    let (settings, preview, conflicts) = api.workspaces().preview_sync(&key, change).await?;
    Ok(Json(show_sync::preview(&settings, &preview, conflicts)))
}

/// One of a few, by its name.
fn word<T: Copy>(what: &str, text: &str, all: &[T], name: impl Fn(T) -> &'static str) -> Result<T, Problem> {
    all.iter().copied().find(|one| name(*one) == text).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|one| name(*one)).collect();
        let hint = nearest(text, names.iter().copied()).map_or_else(
            || format!("it is one of {}", names.join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        Problem::invalid(format!("there is no {what} `{text}`")).hint(hint)
    })
}

/// Of what.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Of {
    /// A path in the folder.
    path: Option<String>,
}

/// Versions kept of what sync has overwritten or removed, on both sides.
#[utoipa::path(get, path = "/api/v1/workspaces/{id}/sync/versions", tag = "sync", params(("id" = String, Path, description = "Id or name"), Of), responses(
    (status = 200, body = wire::SyncVersions), (status = "4XX", body = Failure)))]
pub async fn versions(
    State(api): State<Api>,
    Key(key): Key,
    Params(of): Params<Of>,
) -> Result<Json<wire::SyncVersions>, Problem> {
    let path = of.path.as_deref().map(relative).transpose()?;
    let versions = api.workspaces().versions(&key, path).await?;
    Ok(Json(wire::SyncVersions { versions: versions.iter().map(show_sync::kept).collect() }))
}

/// Brings back what sync has displaced. What stands there now becomes a version itself.
#[utoipa::path(post, path = "/api/v1/workspaces/{id}/sync/undo", tag = "sync", params(("id" = String, Path, description = "Id or name")), request_body = wire::UndoSync, responses(
    (status = 200, body = wire::UndoneSync), (status = "4XX", body = Failure)))]
pub async fn undo(
    State(api): State<Api>,
    Key(key): Key,
    Input(request): Input<wire::UndoSync>,
) -> Result<Json<wire::UndoneSync>, Problem> {
    let which = match (&request.path, request.batch, &request.version) {
        (Some(path), None, None) => Which::Path(relative(path)?),
        (None, Some(batch), None) => Which::Batch(batch),
        (None, None, Some(version)) => {
            let id = u64::from_str_radix(version, 16);
            Which::Version(id.map_err(|_| Problem::invalid(format!("`{version}` is no version's number")))?)
        }
        _ => {
            return Err(Problem::invalid("say what to bring back".to_owned())
                .hint("give one of `path`, `batch` and `version`"));
        }
    };
    let side = request.side.as_deref().map(side).transpose()?;
    let undone = api.workspaces().undo(&key, which, side, request.dry_run).await?;
    Ok(Json(show_sync::undone(undone)))
}

/// Why a path is where it is, or is not.
#[utoipa::path(get, path = "/api/v1/workspaces/{id}/sync/trace", tag = "sync", params(("id" = String, Path, description = "Id or name"), Of), responses(
    (status = 200, body = wire::SyncTrace), (status = "4XX", body = Failure)))]
pub async fn trace(
    State(api): State<Api>,
    Key(key): Key,
    Params(of): Params<Of>,
) -> Result<Json<wire::SyncTrace>, Problem> {
    let path = of
        .path
        .as_deref()
        .ok_or_else(|| Problem::invalid("which path?".to_owned()).hint("name the `path` in the folder"))?;
    let path = relative(path)?;
    let trace = api.workspaces().trace(&key, path.clone()).await?;
    Ok(Json(show_sync::trace(&path, &trace)))
}

fn relative(path: &str) -> Result<RelPath, Problem> {
    let trimmed = path.trim_start_matches("./").trim_end_matches('/');
    RelPath::parse(trimmed.as_bytes()).map_err(|_| {
        Problem::invalid(format!("`{path}` is no path in the folder"))
            .hint("write it relative to the folder, without `..`")
    })
}

fn side(name: &str) -> Result<Side, Problem> {
    match name {
        "host" => Ok(Side::Alpha),
        "container" => Ok(Side::Beta),
        other => {
            Err(Problem::invalid(format!("there is no side `{other}`")).hint("it is `host` or `container`"))
        }
    }
}
