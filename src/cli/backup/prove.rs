//! `nexus backup probe` and `drill`: what a destination really does, and whether what is there comes back.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::WORK_TIME;
use super::bytes;
use super::short;
use crate::api::wire::backup as wire_backup;
use crate::base::fault::Kind;
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

/// Prove that backups come back: restore a sample to a scratch place, compare it and remove it
///
/// What comes back has to be what the snapshot's own digests say, and what the folder holds where that has not changed
/// since. `backup.drill` says when this happens by itself.
#[derive(Debug, Args)]
pub struct DrillArguments {
    /// Only this workspace
    workspace: Option<String>,
    /// Only from this destination
    #[arg(long)]
    destination: Option<String>,
}

/// What restore drills came to.
#[derive(Serialize)]
struct Drills {
    drills: Vec<wire_backup::DestinationDrill>,
}

/// What was found out about destinations.
#[derive(Serialize)]
struct Probes {
    probes: Vec<wire_backup::DestinationProbe>,
}

pub(super) async fn probe(context: &mut Context, arguments: ProbeArguments) -> Result<ExitCode, Failure> {
    let names = one_or_all(context, arguments.destination).await?;
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

pub(super) async fn drill(context: &mut Context, arguments: DrillArguments) -> Result<ExitCode, Failure> {
    let mut drills: Vec<wire_backup::DestinationDrill> = Vec::new();
    for destination in one_or_all(context, arguments.destination).await? {
        let request = wire_backup::DrillDestination { destination, workspace: arguments.workspace.clone() };
        drills.push(context.client.call("POST", "/api/v1/backup/drills", Some(&request), WORK_TIME).await?);
    }
    let proved = drills.iter().all(|drill| drill.proved);
    if context.screen.json {
        context.screen.value(&Drills { drills })?;
    } else {
        for drill in &drills {
            print_drill(context, drill)?;
        }
    }
    if proved {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::new(Kind::Conflict, "it is not proved that everything comes back")
        .hint("`nexus backup verify DESTINATION --read-data` names all that is damaged; back up to another destination now"))
}

fn print_drill(context: &Context, drill: &wire_backup::DestinationDrill) -> Result<(), Failure> {
    let at = &drill.destination;
    if let Some(failure) = &drill.failure {
        context.screen.say(&format!("{at}: {failure}"));
    }
    for one in &drill.workspaces {
        context.screen.line(&format!(
            "{at}: `{}`: {} files, {} came back from snapshot {}, {} of them compared with the folder",
            one.workspace,
            one.files,
            bytes(one.bytes),
            short(&one.snapshot),
            one.compared
        ))?;
        for finding in &one.findings {
            context.screen.line(&format!("  {finding}"))?;
        }
    }
    if drill.workspaces.is_empty() && drill.failure.is_none() {
        context.screen.say(&format!("{at}: there is no snapshot of any workspace"));
    }
    Ok(())
}

async fn one_or_all(context: &mut Context, given: Option<String>) -> Result<Vec<String>, Failure> {
    if let Some(name) = given {
        return Ok(vec![name]);
    }
    let status: wire_backup::BackupStatus = context.client.get("/api/v1/backup").await?;
    Ok(status.destinations.into_iter().map(|one| one.name).collect())
}

/// Says when it was proved last that what is at a destination comes back.
pub(super) fn say_what_is_proved(context: &Context, destination: &wire_backup::Destination) {
    let Some(drill) = &destination.drill else { return };
    let name = &destination.name;
    if !drill.proved {
        let findings = drill.workspaces.iter().flat_map(|one| &one.findings);
        let said = drill.failure.iter().chain(findings).next().map_or("", String::as_str);
        context
            .screen
            .say(&format!("the restore drill of `{name}` at {} did not succeed: {said}", drill.time));
    }
    if let Some(proved) = &drill.last_proved {
        context.screen.say(&format!("`{name}` was last proved to come back at {proved}"));
    }
}

/// Says which promises fall away at a destination, as far as it was asked.
pub(super) fn say_what_is_lost(context: &Context, destination: &wire_backup::Destination) {
    let findings = destination.probe.iter().flat_map(|probe| &probe.findings);
    for finding in findings.filter(|finding| finding.verdict == "absent") {
        let lost = finding.lost.as_deref().unwrap_or_default();
        context.screen.say(&format!("`{}` has no {}: {lost}", destination.name, finding.ability));
    }
}
