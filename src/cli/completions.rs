//! `nexus completions`: what a shell needs to complete our commands.

use std::process::ExitCode;

use clap::Args;
use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Arguments;
use super::Context;
use super::failure::Failure;

/// Print completions for a shell
#[derive(Debug, Args)]
pub struct CompletionsArguments {
    /// Which shell
    shell: Shell,
}

/// Prints the script for the shell to read.
pub fn run(context: &mut Context, arguments: &CompletionsArguments) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "nexus", &mut script);
    context.screen.script(&script)?;
    Ok(ExitCode::SUCCESS)
}
