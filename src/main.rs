//! The `nexus` binary: the node and its command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    nexus::cli::main()
}
