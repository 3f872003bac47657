//! `nexus doctor`: looks at what the node needs and says what is wrong, why it matters and what to do.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::Context;
use super::failure::Failure;
use crate::api::show;
use crate::api::wire;
use crate::base::fault::Kind;
use crate::config;
use crate::engine::docker;
use crate::node;
use crate::ops::doctor;

/// Each check has a time-out of its own; together they may take this long.
const REPORT_TIME: Duration = Duration::from_secs(90);

/// Check what the node needs: engine, images, disk, limits, ports
#[derive(Debug, Args)]
pub struct DoctorArguments {
    /// Check from here, without asking the node
    #[arg(long)]
    offline: bool,
}

/// Exits with 0 when nothing failed, 1 otherwise. A node that does not answer is a finding, not a failure to look.
pub async fn run(context: &mut Context, arguments: &DoctorArguments) -> Result<ExitCode, Failure> {
    let mut checks = Vec::new();
    if !arguments.offline {
        match context.client.call("GET", "/api/v1/doctor", None::<&()>, REPORT_TIME).await {
            Ok(wire::DoctorReport { checks }) => return print(context, checks),
            Err(failure) if failure.kind() == Some(Kind::Unavailable) => checks.push(absent(&failure)),
            Err(failure) => return Err(failure),
        }
    }
    checks.extend(doctor::examine(&subject(context)?).await.iter().map(show::check));
    print(context, checks)
}

fn absent(failure: &Failure) -> wire::Check {
    wire::Check {
        name: "node".to_owned(),
        result: doctor::Outcome::Failed.as_str().to_owned(),
        found: failure.message().to_owned(),
        why: Some("nothing is watched, synced or routed while it is away".to_owned()),
        next: Some("start it: `nexus serve`, `./scripts/up` or `docker compose up -d`".to_owned()),
    }
}

fn print(context: &Context, checks: Vec<wire::Check>) -> Result<ExitCode, Failure> {
    let failed = checks.iter().any(|check| check.result == doctor::Outcome::Failed.as_str());
    if context.screen.json {
        context.screen.value(&wire::DoctorReport { checks })?;
    } else {
        for check in &checks {
            context.screen.line(&format!("{:<8} {:<12} {}", check.result, check.name, check.found))?;
            for (word, text) in [("why", &check.why), ("next", &check.next)] {
                if let Some(text) = text {
                    context.screen.line(&format!("{:<21} {word}: {text}", ""))?;
                }
            }
        }
    }
    Ok(if failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// What the node would use, from the same settings.
fn subject(context: &Context) -> Result<doctor::Subject, Failure> {
    let (_, settings) = config::load(&context.environment).map_err(|invalid| Failure::of(&invalid))?;
    let (agent, images) = (node::agent_path(&settings), node::images_path(&settings));
    Ok(doctor::Subject {
        engine: Arc::new(docker::Docker::new(&docker::Settings {
            socket: settings.engine_socket,
            compose_home: context.home.root().join("compose"),
            call_timeout: settings.engine_timeout,
        })),
        home: context.home.clone(),
        directory: settings.workspaces_dir,
        listeners: vec![
            ("web".to_owned(), settings.web_listen),
            ("control".to_owned(), settings.control_listen),
        ],
        agent,
        images,
        node: None,
        serving: false,
    })
}
