//! Backups of workspaces' sources: what is taken, where it goes, how it comes back.
//!
//! Task: `follow` starts what is due. Reads: the workspaces there are. Publishes (`publish`): how each destination is, and (`progress`) how far restores are.
//! Pure: `destination`, `schedule`, `retention`, `forget`, `digest`, `trouble`, `status`. What touches the world: `walk` (a
//! folder), `look` (where one is not as it was), `reading` (a file that may change meanwhile), `known` (what was written last), `past` (what
//! happened; both are a `note` each), `job` (a workspace in a run),
//! `objects` (a destination; a bucket through `http`, at a `pace`), `repository` (the incremental form, in restic's format), `mirror`
//! (the other one), `probe` (what a destination really does), `drill` (a
//! sample of it brought back), `opened` (a destination of either), `restore` (a folder again, its files by `hands`), `state` (the node's own), `surplus`
//! (what a folder holds besides), `rebuild` (a lost node's workspaces again), `inspect` (into snapshots), `discard`
//! (snapshots and locks).

pub mod control;
pub mod destination;
pub mod digest;
pub mod discard;
pub mod drill;
pub mod error;
pub mod follow;
pub mod forget;
pub mod hands;
pub mod http;
pub mod inspect;
pub mod job;
pub mod known;
pub mod look;
pub mod mirror;
pub mod note;
pub mod objects;
pub mod opened;
pub mod pace;
pub mod past;
pub mod probe;
pub mod progress;
pub mod publish;
pub mod reading;
pub mod rebuild;
pub mod recover;
pub mod repository;
pub mod restore;
pub mod retention;
pub mod schedule;
pub mod snapshot;
pub mod state;
pub mod status;
pub mod surplus;
pub mod trouble;
pub mod walk;

pub use control::Backups;
pub use control::Settings;
pub use control::Workspace;
pub use error::Error;

#[cfg(test)]
mod tests;
