//! `nexus status`: how the node is.

use std::process::ExitCode;

use clap::Args;

use super::Context;
use super::failure::Failure;
use crate::api::wire;

/// Show how the node is
#[derive(Debug, Args)]
pub struct StatusArguments {}

/// Exits with 0 whatever the state of workspaces; a node that does not answer is a failure.
pub async fn run(context: &mut Context, _arguments: &StatusArguments) -> Result<ExitCode, Failure> {
    let status: wire::NodeStatus = context.client.get("/api/v1/status").await?;
    let screen = &context.screen;
    if screen.json {
        screen.value(&status)?;
        return Ok(ExitCode::SUCCESS);
    }
    let engine = match (&status.engine.version, &status.engine.compose_version) {
        (Some(version), Some(compose)) => format!("{version}, compose {compose}"),
        (Some(version), None) => format!("{version}, compose is missing"),
        (None, _) => "does not answer".to_owned(),
    };
    let counts = &status.workspaces;
    let workspaces = format!(
        "{} ({} running, {} coming up, {} stopped, {} failed)",
        counts.total, counts.running, counts.pending, counts.stopped, counts.error
    );
    screen.facts(&[
        ("version", Some(status.version)),
        ("node", Some(status.node)),
        ("uptime", Some(duration(status.uptime_s))),
        ("engine", Some(engine)),
        ("directory", Some(status.directory)),
        ("workspaces", Some(workspaces)),
    ])?;
    for listener in &status.listeners {
        screen.line(&format!("{:<10}  {}", listener.name, listener.url))?;
    }
    for problem in &status.problems {
        screen.line(&format!("problem: {}", problem.message))?;
        if let Some(hint) = &problem.hint {
            screen.line(&format!("  hint: {hint}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}
