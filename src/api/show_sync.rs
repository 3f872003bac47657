//! Sync as it crosses the control port: inner types in, wire types out. Pure.

use jiff::Timestamp;
use nexus_agent::inquiry::Answer;
use nexus_agent::inquiry::Kept;
use nexus_agent::path::RelPath;
use nexus_agent::reconcile::Side;
use nexus_agent::safety::Cause;
use nexus_agent::safety::Hold;
use nexus_agent::safety::WINDOW;
use nexus_agent::session::Dispute;
use nexus_agent::session::Named;
use nexus_agent::session::Presence;
use nexus_agent::session::Preview;
use nexus_agent::session::SideStatus;
use nexus_agent::tree::Item;

use super::wire::sync as wire;
use crate::sync;
use crate::workspace::settle::Settled;
use crate::workspace::sync::Trace;
use crate::workspace::sync::Undone;

/// A session.
pub fn status(workspace: &str, settings: &sync::Settings, status: &sync::Status) -> wire::SyncStatus {
    let session = status.session.as_ref();
    let name = match (&status.link, session) {
        (_, None) => "connecting",
        (_, Some(session)) => session.state().name(),
    };
    wire::SyncStatus {
        workspace: workspace.to_owned(),
        state: name.to_owned(),
        mode: settings.mode.name().to_owned(),
        strategy: settings.strategy.name().to_owned(),
        sides: session.iter().flat_map(|status| Side::BOTH.map(|on| side(on, status.side(on)))).collect(),
        agreed_entries: session.map_or(0, |session| session.agreed.entries),
        conflicts: session.map_or(0, |session| session.conflicts.len() as u64),
        halt: status.halted.clone(),
        holds: session.iter().flat_map(|session| session.holds.iter().map(hold)).collect(),
        retries: session.map_or_else(Vec::new, |session| {
            let retries = session.deferred.iter();
            retries.map(|(path, deferred)| retry(path.as_ref(), &deferred.reason)).collect()
        }),
        latency_us: session
            .and_then(|session| session.latency)
            .map(|latency| u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)),
        warnings: status.warnings.clone(),
        error: status.error.clone(),
    }
}

fn side(side: Side, status: &SideStatus) -> wire::SyncSide {
    let (presence, reason) = match &status.presence {
        Presence::Detached => ("detached", None),
        Presence::Attaching => ("attaching", None),
        Presence::Attached => ("attached", None),
        Presence::Unavailable { reason } => ("unavailable", Some(reason.clone())),
    };
    wire::SyncSide {
        side: side.to_string(),
        presence: presence.to_owned(),
        reason,
        files: status.files,
        bytes: status.holds.bytes,
        done_entries: status.progress.done.entries,
        total_entries: status.progress.total.entries,
        done_bytes: status.progress.done.bytes,
        total_bytes: status.progress.total.bytes,
        problems: status.problems.iter().map(|(path, reason)| retry(path.as_ref(), reason)).collect(),
    }
}

fn retry(path: Option<&RelPath>, reason: &str) -> wire::SyncRetry {
    wire::SyncRetry { path: text(path), reason: reason.to_owned() }
}

fn text(path: Option<&RelPath>) -> String {
    path.map(RelPath::to_string).unwrap_or_default()
}

fn hold(hold: &Hold) -> wire::SyncHold {
    let message = match &hold.cause {
        Cause::MassDeletion { from, files, before: 0, of } => {
            format!("{files} of {of} files would go from the {from}")
        }
        Cause::MassDeletion { from, files, before, of } => format!(
            "{files} of {of} files would go from the {from}, after {before} that went in the last {} minutes",
            WINDOW.as_secs() / 60
        ),
        Cause::ConflictStorm { path: None, conflicts } => format!("{conflicts} conflicts at once"),
        Cause::ConflictStorm { path: Some(path), conflicts } => {
            format!("{conflicts} conflicts at once in {path}")
        }
    };
    let samples = hold.samples.iter().map(RelPath::to_string).collect();
    wire::SyncHold { key: hold.key.to_string(), message, samples }
}

/// A conflict, without a diff.
pub fn conflict(dispute: &Dispute) -> wire::SyncConflict {
    let conflict = &dispute.conflict;
    wire::SyncConflict {
        path: text(conflict.path.as_ref()),
        key: dispute.key.to_string(),
        ancestor: version(conflict.ancestor.as_ref()),
        host: version(conflict.alpha.as_ref()),
        container: version(conflict.beta.as_ref()),
        diff: None,
    }
}

fn version(item: Option<&Item>) -> wire::SyncVersion {
    let (what, file) = match item {
        None => ("absent", None),
        Some(Item::File(file)) => ("file", Some(file)),
        Some(Item::Directory(_)) => ("directory", None),
        Some(Item::Symlink(_)) => ("link", None),
        Some(Item::Untracked(_)) => ("ignored", None),
        Some(Item::Problematic(_)) => ("problem", None),
    };
    wire::SyncVersion {
        what: what.to_owned(),
        size: file.map(|file| file.size),
        digest: file.map(|file| file.digest.to_string()),
    }
}

/// What other settings would do.
pub fn preview(settings: &sync::Settings, preview: &Preview, conflicts_now: usize) -> wire::SyncPreview {
    let named = |named: &Named| wire::SyncNamed {
        count: named.count,
        samples: named.samples.iter().map(RelPath::to_string).collect(),
    };
    let side = |side: Side| {
        let counts = preview.sides[side as usize];
        let (created, changed, deleted) = (counts.created, counts.changed, counts.deleted);
        wire::SyncChanges { side: side.to_string(), created, changed, deleted }
    };
    wire::SyncPreview {
        mode: settings.mode.name().to_owned(),
        strategy: settings.strategy.name().to_owned(),
        stops: named(&preview.stops),
        begins: named(&preview.begins),
        sides: Side::BOTH.map(side).into(),
        conflicts_now: conflicts_now as u64,
        conflicts: preview.conflicts.len() as u64,
        holds: preview.holds.iter().map(hold).collect(),
        halt: preview.halt.map(|halt| halt.to_string()),
    }
}

/// What was settled, or would be.
pub fn settled(settled: Settled) -> wire::ResolvedSync {
    let refused = settled.refused.into_iter().map(|(path, reason)| wire::SyncRetry { path, reason });
    let mut shown =
        wire::ResolvedSync { resolved: Vec::new(), merged: Vec::new(), refused: refused.collect() };
    for (path, text) in settled.resolved {
        shown.resolved.push(path.clone());
        shown.merged.extend(text.map(|text| wire::SyncText { path, text }));
    }
    shown
}

/// From one text to the other; `None` when either is no text.
pub fn diff(host: &[u8], container: &[u8]) -> Option<String> {
    let (host, container) = (std::str::from_utf8(host).ok()?, std::str::from_utf8(container).ok()?);
    let diff = similar::TextDiff::from_lines(host, container);
    Some(diff.unified_diff().header("host", "container").to_string())
}

/// A version that is kept.
pub fn kept(kept: &Kept) -> wire::SyncKept {
    wire::SyncKept {
        id: format!("{:016x}", kept.id),
        batch: kept.batch,
        side: kept.side.to_string(),
        path: kept.path.as_ref().map(RelPath::to_string),
        what: kept.what.clone(),
        size: kept.size,
        digest: kept.digest.map(|digest| digest.to_string()),
        modified_at: time(i128::from(kept.modified)),
        kept_at: time(i128::from(kept.id)),
        cause: kept.cause.clone(),
    }
}

/// RFC 3339; a time nobody can have meant is the epoch.
fn time(nanoseconds: i128) -> String {
    Timestamp::from_nanosecond(nanoseconds).unwrap_or_default().to_string()
}

/// What an undo did.
pub fn undone(undone: Undone) -> wire::UndoneSync {
    let restored = undone.restored.into_iter();
    let failed = undone.failed.into_iter();
    wire::UndoneSync {
        restored: restored
            .map(|(side, path)| wire::SyncRetry { path: path.to_string(), reason: side.to_string() })
            .collect(),
        failed: failed
            .map(|(side, path, why)| wire::SyncRetry { path, reason: format!("{side}: {why}") })
            .collect(),
    }
}

/// Why a path is where it is, or is not.
pub fn trace(path: &RelPath, trace: &Trace) -> wire::SyncTrace {
    let mut because = match &trace.session {
        Ok(session) => vec![session.verdict.to_string()],
        Err(reason) => vec![reason.clone()],
    };
    let mut sides = Side::BOTH.into_iter().zip(&trace.sides).map(|(side, answer)| match answer {
        Ok(Answer::Standing { what, reason, digest }) => {
            let why = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            because.push(format!("on the {side}: {what}{why}"));
            wire::SyncVersion {
                what: what.clone(),
                size: None,
                digest: digest.map(|digest| digest.to_string()),
            }
        }
        Ok(_) => wire::SyncVersion { what: "unknown".to_owned(), size: None, digest: None },
        Err(reason) => {
            because.push(reason.clone());
            wire::SyncVersion { what: "unknown".to_owned(), size: None, digest: None }
        }
    });
    let unknown = || wire::SyncVersion { what: "unknown".to_owned(), size: None, digest: None };
    let (host, container) = (sides.next().unwrap_or_else(unknown), sides.next().unwrap_or_else(unknown));
    drop(sides);
    for kept in trace.versions.iter().rev().take(20) {
        let at = kept.path.as_ref().filter(|at| *at != path).map(|at| format!("{at} ")).unwrap_or_default();
        because.push(format!(
            "{}: {at}{} on the {} (version {:016x}, batch {})",
            time(i128::from(kept.id)),
            kept.cause,
            kept.side,
            kept.id,
            kept.batch
        ));
    }
    let records = trace.session.iter().flat_map(|session| &session.records);
    let decided = records.map(|record| wire::SyncDecision {
        at: trace.epoch.saturating_add(record.at).unwrap_or(trace.epoch).to_string(),
        path: text(record.path.as_ref()),
        what: record.event.to_string(),
    });
    wire::SyncTrace { path: path.to_string(), because, host, container, decided: decided.collect() }
}
