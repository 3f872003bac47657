//! `nexus backup probe`: what a destination really does.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::WORK_TIME;
use crate::api::wire::backup as wire_backup;
use crate::cli::Context;
use crate::cli::failure::Failure;

/// Find out what a destination really does, and which promises fall away there
///
/// Small objects are written below `.nexus-probe/`, read, listed and removed. What is not proved is not used. Each
/// destination is asked when it is new and once a week; `nexus backup status` says what was found.
#[derive(Debug, Args)]
pub struct ProbeArguments {
    /// Only this destination
    destination: Option<String>,
}

/// What was found out about destinations.
#[derive(Serialize)]
struct Probes {
    probes: Vec<wire_backup::DestinationProbe>,
}

pub(super) async fn probe(context: &mut Context, arguments: ProbeArguments) -> Result<ExitCode, Failure> {
    let names = match arguments.destination {
        Some(name) => vec![name],
        None => {
            let status: wire_backup::BackupStatus = context.client.get("/api/v1/backup").await?;
            status.destinations.into_iter().map(|one| one.name).collect()
        }
    };
    let mut probes: Vec<wire_backup::DestinationProbe> = Vec::new();
    for destination in names {
        let request = wire_backup::ProbeDestination { destination };
        probes.push(context.client.call("POST", "/api/v1/backup/probes", Some(&request), WORK_TIME).await?);
    }
    if context.screen.json {
        context.screen.value(&Probes { probes })?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = Vec::new();
    for probe in &probes {
        rows.extend(probe.findings.iter().map(|finding| {
            let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            vec![
                probe.destination.clone(),
                finding.ability.clone(),
                finding.verdict.clone(),
                or(&finding.detail),
                or(&finding.lost),
            ]
        }));
    }
    context.screen.table(&["DESTINATION", "ABILITY", "VERDICT", "SEEN", "WHAT FALLS AWAY"], &rows)?;
    Ok(ExitCode::SUCCESS)
}

/// Says which promises fall away at a destination, as far as it was asked.
pub(super) fn say_what_is_lost(context: &Context, destination: &wire_backup::Destination) {
    let findings = destination.probe.iter().flat_map(|probe| &probe.findings);
    for finding in findings.filter(|finding| finding.verdict == "absent") {
        let lost = finding.lost.as_deref().unwrap_or_default();
        context.screen.say(&format!("`{}` has no {}: {lost}", destination.name, finding.ability));
    }
}
