//! `nexus serve`: the node itself, in the foreground.

use std::process::ExitCode;

use clap::Args;

use super::Context;
use super::failure::Failure;
use crate::base::fault::Kind;

/// Run the node
#[derive(Debug, Args)]
pub struct ServeArguments {}

/// Runs until the first signal, then drains.
pub async fn run(context: &Context, _arguments: &ServeArguments) -> Result<ExitCode, Failure> {
    Err(Failure::new(Kind::Internal, format!("no node can run at {}", context.home.root().display())))
}
