//! The command line: a client of the API over the local socket; only `serve`, `config` and `detect` run in-process.

use std::process::ExitCode;

use clap::Parser;

/// Drop a project folder, get a running stack, a URL, live sync and a backup.
#[derive(Debug, Parser)]
#[command(name = "nexus", version, arg_required_else_help = true)]
struct Arguments {}

/// Runs the command line and returns the process's exit code.
pub fn main() -> ExitCode {
    Arguments::parse();
    ExitCode::SUCCESS
}
