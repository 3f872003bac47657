//! Backups: how they are, one now, what there is, bringing it back, proving it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use crate::api::Api;
use crate::api::input::Input;
use crate::api::input::Params;
use crate::api::problem::Problem;
use crate::api::show_backup;
use crate::api::wire;
use crate::api::wire::backup as wire_backup;
use crate::backup;
use crate::backup::control;
use crate::backup::inspect::Change;
use crate::backup::rebuild::Fate;
use crate::backup::recover;
use crate::backup::repository;
use crate::backup::restore::Kind;
use crate::backup::restore::Wanted;
use crate::backup::walk::Named;
use crate::base::sealed::Sealed;

/// How each destination is.
#[utoipa::path(get, path = "/api/v1/backup", tag = "backup", responses(
    (status = 200, body = wire_backup::BackupStatus), (status = "4XX", body = wire::Failure)))]
pub async fn status(State(api): State<Api>) -> Json<wire_backup::BackupStatus> {
    let statuses = api.backups().statuses();
    let destinations = statuses.borrow().iter().map(show_backup::destination).collect();
    Json(wire_backup::BackupStatus { destinations })
}

/// Backs up now and says what became of it, or with `dry_run` what would be taken.
#[utoipa::path(post, path = "/api/v1/backup/runs", tag = "backup", request_body = wire_backup::RunBackup, responses(
    (status = 200, body = wire_backup::BackupRuns), (status = "4XX", body = wire::Failure)))]
pub async fn run(
    State(api): State<Api>,
    Input(request): Input<wire_backup::RunBackup>,
) -> Result<Json<wire_backup::BackupRuns>, Problem> {
    let runs = if request.dry_run {
        let outcomes = api.backups().plan(request.workspace.as_deref()).await?;
        let run = control::Run { destination: String::new(), outcomes, failure: None, forgotten: 0 };
        vec![run]
    } else {
        let (destination, workspace) = (request.destination.as_deref(), request.workspace.as_deref());
        api.backups().run_as(destination, workspace, request.accept_deletions).await?
    };
    Ok(Json(wire_backup::BackupRuns { dry_run: request.dry_run, runs: runs.iter().map(shown_run).collect() }))
}

/// The snapshots there are.
#[utoipa::path(get, path = "/api/v1/backup/snapshots", tag = "backup", params(wire_backup::SnapshotsOf), responses(
    (status = 200, body = wire_backup::SnapshotList), (status = "4XX", body = wire::Failure)))]
pub async fn snapshots(
    State(api): State<Api>,
    Params(of): Params<wire_backup::SnapshotsOf>,
) -> Result<Json<wire_backup::SnapshotList>, Problem> {
    let names = of.destination.clone().map_or_else(|| api.backups().destinations(), |name| vec![name]);
    let mut list = wire_backup::SnapshotList { snapshots: Vec::new(), problems: Vec::new() };
    for name in names {
        match api.backups().snapshots(&name).await {
            Ok(found) => {
                let wanted = |one: &&repository::Snapshot| {
                    of.workspace.as_ref().is_none_or(|only| *only == one.folder)
                };
                list.snapshots.extend(found.iter().filter(wanted).map(|one| snapshot(&name, one)));
            }
            // One destination that does not answer hides no other.
            Err(backup::Error::Trouble(trouble)) if of.destination.is_none() => {
                list.problems.push(show_backup::problem(&trouble))
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Json(list))
}

/// Brings a workspace's folder back, or says what that would do.
#[utoipa::path(post, path = "/api/v1/backup/restores", tag = "backup", request_body = wire_backup::RestoreBackup, responses(
    (status = 200, body = wire_backup::Restored), (status = "4XX", body = wire::Failure)))]
pub async fn restore(
    State(api): State<Api>,
    Input(request): Input<wire_backup::RestoreBackup>,
) -> Result<Json<wire_backup::Restored>, Problem> {
    let at = request.point_in_time.as_deref().map(recover::parse_time).transpose()?;
    let dry_run = request.dry_run;
    let done = api.backups().restore(recover::Request {
        destination: request.destination,
        folder: request.workspace,
        snapshot: request.snapshot,
        at,
        to: request.to,
        mode: match request.mode {
            None => recover::Mode::New,
            Some(wire_backup::RestoreMode::Merge) => recover::Mode::Merge,
            Some(wire_backup::RestoreMode::Mirror) => recover::Mode::Mirror,
        },
        paths: request.paths,
        dry_run,
    });
    let done = done.await?;
    let mut failed = Vec::new();
    note(&mut failed, "failed", &done.failed);
    Ok(Json(wire_backup::Restored {
        dry_run,
        snapshot: snapshot(&done.destination, &done.snapshot),
        to: done.to.display().to_string(),
        added: done.added,
        replaced: done.replaced,
        unchanged: done.left,
        bytes: done.bytes,
        removed_total: done.removed.total,
        removed: done.removed.listed.into_iter().map(|(path, _)| path).collect(),
        failed_total: done.failed.total,
        failed,
        kept_aside: done.aside.map(|path| path.display().to_string()),
    }))
}

/// What a snapshot holds.
#[utoipa::path(get, path = "/api/v1/backup/contents", tag = "backup", params(wire_backup::ContentsOf), responses(
    (status = 200, body = wire_backup::SnapshotContents), (status = "4XX", body = wire::Failure)))]
pub async fn contents(
    State(api): State<Api>,
    Params(of): Params<wire_backup::ContentsOf>,
) -> Result<Json<wire_backup::SnapshotContents>, Problem> {
    let found = api.backups().contents(&of.destination, &of.snapshot, of.path.as_deref()).await?;
    Ok(Json(wire_backup::SnapshotContents {
        snapshot: snapshot(&of.destination, &found.snapshot),
        things: found.listed.iter().map(thing).collect(),
        total: found.total,
    }))
}

fn thing(wanted: &Wanted) -> wire_backup::SnapshotThing {
    let (kind, size, target) = match &wanted.kind {
        Kind::Directory => ("directory", 0, None),
        Kind::File { size } => ("file", *size, None),
        Kind::Link(target) => ("link", 0, Some(target.to_string_lossy().into_owned())),
        Kind::Other(kind) => (kind.as_str(), 0, None),
    };
    wire_backup::SnapshotThing {
        path: wanted.path.to_string_lossy().into_owned(),
        kind: kind.to_owned(),
        size,
        mode: wanted.mode.map(|mode| format!("{:o}", mode & 0o7777)),
        modified: wanted.modified.map(|time| time.to_string()),
        target,
    }
}

/// What two snapshots hold differently.
#[utoipa::path(get, path = "/api/v1/backup/differences", tag = "backup", params(wire_backup::DifferenceOf), responses(
    (status = 200, body = wire_backup::SnapshotDifference), (status = "4XX", body = wire::Failure)))]
pub async fn difference(
    State(api): State<Api>,
    Params(of): Params<wire_backup::DifferenceOf>,
) -> Result<Json<wire_backup::SnapshotDifference>, Problem> {
    let found = api.backups().difference(&of.destination, &of.from, &of.to).await?;
    let change = |(path, change): &(std::ffi::OsString, Change)| wire_backup::SnapshotChange {
        path: path.to_string_lossy().into_owned(),
        change: match change {
            Change::Added => "added",
            Change::Removed => "removed",
            Change::Changed => "changed",
        }
        .to_owned(),
    };
    Ok(Json(wire_backup::SnapshotDifference {
        from: snapshot(&of.destination, &found.from),
        to: snapshot(&of.destination, &found.to),
        changes: found.listed.iter().map(change).collect(),
        total: found.total,
    }))
}

/// Takes snapshots out of the list, or says which those would be.
#[utoipa::path(post, path = "/api/v1/backup/forgets", tag = "backup", request_body = wire_backup::ForgetSnapshots, responses(
    (status = 200, body = wire_backup::ForgottenSnapshots), (status = "4XX", body = wire::Failure)))]
pub async fn forget(
    State(api): State<Api>,
    Input(request): Input<wire_backup::ForgetSnapshots>,
) -> Result<Json<wire_backup::ForgottenSnapshots>, Problem> {
    let gone = api.backups().forget(&request.destination, &request.snapshots, request.dry_run).await?;
    let snapshots = gone.iter().map(|one| snapshot(&request.destination, one)).collect();
    Ok(Json(wire_backup::ForgottenSnapshots { dry_run: request.dry_run, snapshots }))
}

/// Takes locks away that nobody holds any more, or says which those would be.
#[utoipa::path(post, path = "/api/v1/backup/unlocks", tag = "backup", request_body = wire_backup::UnlockDestination, responses(
    (status = 200, body = wire_backup::UnlockedDestination), (status = "4XX", body = wire::Failure)))]
pub async fn unlock(
    State(api): State<Api>,
    Input(request): Input<wire_backup::UnlockDestination>,
) -> Result<Json<wire_backup::UnlockedDestination>, Problem> {
    let gone = api.backups().unlock(&request.destination, request.all, request.dry_run).await?;
    let lock = |held: repository::Held| wire_backup::DestinationLock {
        host: held.host,
        since: held.since.map(|time| time.to_string()),
        exclusive: held.exclusive,
    };
    let locks = gone.into_iter().map(lock).collect();
    Ok(Json(wire_backup::UnlockedDestination { dry_run: request.dry_run, locks }))
}

/// Takes the recovery password of a repository that was made elsewhere, and keeps it if it opens that.
#[utoipa::path(post, path = "/api/v1/backup/adoptions", tag = "backup", request_body = wire_backup::AdoptDestination, responses(
    (status = 204), (status = "4XX", body = wire::Failure)))]
pub async fn adopt(
    State(api): State<Api>,
    Input(request): Input<wire_backup::AdoptDestination>,
) -> Result<StatusCode, Problem> {
    api.backups().adopt(&request.destination, Sealed::new(request.password)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes the index of a destination anew, and says what is wrong after it.
#[utoipa::path(post, path = "/api/v1/backup/repairs", tag = "backup", request_body = wire_backup::RepairDestination, responses(
    (status = 200, body = wire_backup::Verified), (status = "4XX", body = wire::Failure)))]
pub async fn repair(
    State(api): State<Api>,
    Input(request): Input<wire_backup::RepairDestination>,
) -> Result<Json<wire_backup::Verified>, Problem> {
    let findings = api.backups().repair(&request.destination).await?;
    Ok(Json(wire_backup::Verified { whole: findings.is_empty(), findings }))
}

/// Brings back every workspace of a lost node, or says what that would be.
#[utoipa::path(post, path = "/api/v1/backup/rebuilds", tag = "backup", request_body = wire_backup::RebuildNode, responses(
    (status = 200, body = wire_backup::Rebuilt), (status = "4XX", body = wire::Failure)))]
pub async fn rebuild(
    State(api): State<Api>,
    Input(request): Input<wire_backup::RebuildNode>,
) -> Result<Json<wire_backup::Rebuilt>, Problem> {
    let done = api.backups().rebuild(request.destination.as_deref(), request.dry_run).await?;
    Ok(Json(wire_backup::Rebuilt {
        dry_run: request.dry_run,
        destination: done.destination,
        node: done.node,
        time: done.time.to_string(),
        workspaces: done.workspaces.into_iter().map(fate).collect(),
        settings: done.settings.map(|path| path.display().to_string()),
    }))
}

fn fate((workspace, fate): (String, Fate)) -> wire_backup::RebuiltWorkspace {
    let (word, snapshot, bytes, text) = match fate {
        Fate::Back { snapshot, bytes } => ("back", Some(snapshot), bytes, None),
        Fate::There => ("there", None, 0, None),
        Fate::NoSnapshot => ("no_snapshot", None, 0, None),
        Fate::Failed(why) => ("failed", None, 0, Some(why)),
    };
    wire_backup::RebuiltWorkspace { workspace, fate: word.to_owned(), snapshot, bytes, failure: text }
}

/// Proves that what is stored is whole.
#[utoipa::path(post, path = "/api/v1/backup/verifications", tag = "backup", request_body = wire_backup::VerifyBackup, responses(
    (status = 200, body = wire_backup::Verified), (status = "4XX", body = wire::Failure)))]
pub async fn verify(
    State(api): State<Api>,
    Input(request): Input<wire_backup::VerifyBackup>,
) -> Result<Json<wire_backup::Verified>, Problem> {
    let findings = api.backups().verify(&request.destination, request.read_data).await?;
    Ok(Json(wire_backup::Verified { whole: findings.is_empty(), findings }))
}

/// The recovery password of a destination.
#[utoipa::path(get, path = "/api/v1/backup/recovery", tag = "backup", params(wire_backup::RecoveryOf), responses(
    (status = 200, body = wire_backup::Recovery), (status = "4XX", body = wire::Failure)))]
pub async fn recovery(
    State(api): State<Api>,
    Params(of): Params<wire_backup::RecoveryOf>,
) -> Result<Json<wire_backup::Recovery>, Problem> {
    let password = api.backups().recovery(&of.destination).await?;
    let statuses = api.backups().statuses();
    let place = statuses.borrow().iter().find(|one| one.name == of.destination).map(|one| one.place.clone());
    Ok(Json(wire_backup::Recovery {
        destination: of.destination,
        place: place.unwrap_or_default(),
        password: password.reveal().clone(),
    }))
}

/// Finds out what a destination really does.
#[utoipa::path(post, path = "/api/v1/backup/probes", tag = "backup", request_body = wire_backup::ProbeDestination, responses(
    (status = 200, body = wire_backup::DestinationProbe), (status = "4XX", body = wire::Failure)))]
pub async fn probe(
    State(api): State<Api>,
    Input(request): Input<wire_backup::ProbeDestination>,
) -> Result<Json<wire_backup::DestinationProbe>, Problem> {
    let probe = api.backups().probe(&request.destination).await?;
    Ok(Json(show_backup::probe(&request.destination, &probe)))
}

/// Proves by a sample that what is stored comes back.
#[utoipa::path(post, path = "/api/v1/backup/drills", tag = "backup", request_body = wire_backup::DrillDestination, responses(
    (status = 200, body = wire_backup::DestinationDrill), (status = "4XX", body = wire::Failure)))]
pub async fn drill(
    State(api): State<Api>,
    Input(request): Input<wire_backup::DrillDestination>,
) -> Result<Json<wire_backup::DestinationDrill>, Problem> {
    let drill = api.backups().drill(&request.destination, request.workspace.as_deref()).await?;
    Ok(Json(show_backup::drill(&request.destination, &drill)))
}

fn shown_run(run: &control::Run) -> wire_backup::BackupRun {
    wire_backup::BackupRun {
        destination: run.destination.clone(),
        workspaces: run.outcomes.iter().map(backed_up).collect(),
        problem: run.failure.as_ref().map(show_backup::problem),
        forgotten: run.forgotten,
    }
}

fn backed_up(outcome: &control::Outcome) -> wire_backup::BackedUp {
    let report = &outcome.report;
    let mut notes = Vec::new();
    note(&mut notes, "unreadable", &report.unreadable);
    note(&mut notes, "changed", &report.changed);
    note(&mut notes, "odd", &report.odd);
    note(&mut notes, "large", &report.large);
    let saved = outcome.saved.as_ref();
    wire_backup::BackedUp {
        workspace: outcome.folder.clone(),
        snapshot: saved.and_then(|saved| saved.snapshot.clone()),
        unchanged_since: saved.and_then(|saved| saved.since.clone()),
        failure: outcome.failure.clone(),
        files: report.files,
        bytes: report.bytes,
        changed_files: saved.map_or(0, |saved| saved.new + saved.changed),
        stored_bytes: saved.map_or(0, |saved| saved.stored),
        left_out: report.left_out,
        left_out_bytes: report.left_out_bytes,
        notes,
    }
}

fn note(notes: &mut Vec<wire_backup::BackupNote>, kind: &str, named: &Named) {
    notes.extend(named.listed.iter().map(|(path, text)| wire_backup::BackupNote {
        kind: kind.to_owned(),
        path: path.clone(),
        text: text.clone(),
    }));
}

fn snapshot(destination: &str, one: &repository::Snapshot) -> wire_backup::Snapshot {
    wire_backup::Snapshot {
        id: one.id.clone(),
        destination: destination.to_owned(),
        time: one.time.to_string(),
        workspace: one.folder.clone(),
        node: one.host.clone(),
        files: one.files,
        bytes: one.bytes,
    }
}
