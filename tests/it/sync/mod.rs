//! The sync engine against what the world does to it: hostile agents, bad connections, crashes, editors.
//!
//! `near` has the agent in this process, behind an engine in memory whose connections can be made to fail; what needs a
//! container has one of the real engine, and what has to be stopped or limited by the kernel is a process of its own.

mod editors;
mod faults;
mod full;
mod hostile;
mod kills;
mod limits;
mod near;
mod process;
mod races;
mod rows;
mod writers;

/// How often something is tried: in the nightly run as the reliability matrix says, otherwise a few times.
fn nightly_or<T>(nightly: T, else_: T) -> T {
    if std::env::var_os("NEXUS_NIGHTLY").is_some_and(|value| value == "1") { nightly } else { else_ }
}
