//! Backups of workspaces' sources: what is taken, where it goes, how it comes back.
//!
//! Pure: `destination`, `schedule`, `retention`, `trouble`. What touches a destination: `objects`.

pub mod destination;
pub mod objects;
pub mod retention;
pub mod schedule;
pub mod trouble;
pub mod walk;
