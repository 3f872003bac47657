//! How backups are, as the control port says it.

use std::time::Duration;

use super::wire::backup as wire_backup;
use crate::backup::drill::sample::Drill;
use crate::backup::drill::sample::Tried;
use crate::backup::probe::finding::Finding;
use crate::backup::probe::finding::Probe;
use crate::backup::probe::finding::Verdict;
use crate::backup::progress::Restoring;
use crate::backup::status::Running;
use crate::backup::status::Status;
use crate::backup::trouble::Trouble;
use crate::base::clock;
use crate::base::fault::Explain as _;

/// How a destination is.
pub fn destination(status: &Status) -> wire_backup::Destination {
    let running = |running: &Running| wire_backup::BackupProgress {
        since: running.since.to_string(),
        workspaces_done: running.workspaces.0,
        workspaces_total: running.workspaces.1,
        bytes: running.bytes,
    };
    wire_backup::Destination {
        name: status.name.clone(),
        place: status.place.clone(),
        form: status.form.to_string(),
        last_run: status.past.begun.map(|time| time.to_string()),
        last_success: status.past.succeeded.map(|time| time.to_string()),
        next_run: status.next.map(|time| time.to_string()),
        failures: status.past.failures,
        alert: status.alert,
        problem: status.failure.as_ref().map(problem),
        last: status.figures.map(|figures| wire_backup::BackupFigures {
            files: figures.files,
            bytes: figures.bytes,
            stored_bytes: figures.stored,
            took_ms: milliseconds(figures.took),
        }),
        errors: status.errors,
        running: status.running.as_ref().map(running),
        drill: status.drill.as_ref().map(|found| drill(&status.name, found)),
        next_drill: status.next_drill.map(|time| time.to_string()),
        probe: status.probe.as_ref().map(|found| probe(&status.name, found)),
    }
}

/// What is wrong at a destination.
pub fn problem(trouble: &Trouble) -> wire_backup::BackupProblem {
    wire_backup::BackupProblem {
        cause: trouble.cause.word().to_owned(),
        message: trouble.to_string(),
        hint: trouble.hint(),
    }
}

/// What was found out about a destination.
pub fn probe(destination: &str, probe: &Probe) -> wire_backup::DestinationProbe {
    let finding = |finding: &Finding| wire_backup::ProbeFinding {
        ability: finding.ability.word().to_owned(),
        verdict: finding.verdict.word().to_owned(),
        detail: Some(finding.detail.clone()).filter(|detail| !detail.is_empty()),
        lost: (finding.verdict != Verdict::Proved).then(|| finding.ability.lost().to_owned()),
    };
    wire_backup::DestinationProbe {
        destination: destination.to_owned(),
        time: probe.time.to_string(),
        findings: probe.findings.iter().map(finding).collect(),
    }
}

/// What a restore drill came to.
pub fn drill(destination: &str, drill: &Drill) -> wire_backup::DestinationDrill {
    let tried = |tried: &Tried| wire_backup::DrilledWorkspace {
        workspace: tried.folder.clone(),
        snapshot: tried.snapshot.clone(),
        files: tried.files,
        bytes: tried.bytes,
        compared: tried.compared,
        findings: tried.findings.clone(),
    };
    wire_backup::DestinationDrill {
        destination: destination.to_owned(),
        time: drill.time.to_string(),
        proved: drill.is_good(),
        last_proved: drill.proved.map(|time| time.to_string()),
        workspaces: drill.workspaces.iter().map(tried).collect(),
        failure: drill.failure.clone(),
    }
}

/// How far a restore is.
pub fn restoring(one: &Restoring, over: bool) -> wire_backup::RestoreProgress {
    wire_backup::RestoreProgress {
        number: one.number,
        destination: one.destination.clone(),
        workspace: one.folder.clone(),
        snapshot: one.snapshot.clone(),
        since: one.since.to_string(),
        files: one.files.0,
        files_total: one.files.1,
        bytes: one.bytes.0,
        bytes_total: one.bytes.1,
        left_ms: one.left(clock::now()).filter(|_| !over).map(milliseconds),
        over,
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
