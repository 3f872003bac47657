//! The sync engine against what the world does to it: hostile agents, bad connections, crashes, editors.
//!
//! `near` has the agent in this process, behind an engine in memory whose connections can be made to fail; what needs a
//! container has one of the real engine.

mod editors;
mod faults;
mod hostile;
mod near;
mod races;
mod rows;

/// How often something is tried: in the nightly run as the reliability matrix says, otherwise a few times.
fn nightly_or<T>(nightly: T, else_: T) -> T {
    if std::env::var_os("NEXUS_NIGHTLY").is_some_and(|value| value == "1") { nightly } else { else_ }
}
