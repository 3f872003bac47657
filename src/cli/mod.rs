//! The command line: a client of the API over the local socket; only `serve`, `config` and `detect` run in-process.

mod detect;

use std::process::ExitCode;

use clap::Parser;
use clap::Subcommand;

pub use detect::DetectArguments;

/// Drop a project folder, get a running stack, a URL, live sync and a backup.
#[derive(Debug, Parser)]
#[command(name = "nexus", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Detect(DetectArguments),
}

/// Runs the command line and returns the process's exit code.
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Detect(arguments) => detect::run(&arguments),
    }
}
