//! How backups are, as the control port says it.

use super::wire::backup as wire_backup;
use crate::backup::drill::sample::Drill;
use crate::backup::drill::sample::Tried;
use crate::backup::probe::finding::Finding;
use crate::backup::probe::finding::Probe;
use crate::backup::probe::finding::Verdict;
use crate::backup::status::Running;
use crate::backup::status::Status;
use crate::backup::trouble::Trouble;
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
