//! The `nexus` binary: the node and its command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    // The one place that reads the environment. What is not text is nobody's setting.
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    nexus::cli::main(std::env::vars_os().filter_map(text).collect())
}
