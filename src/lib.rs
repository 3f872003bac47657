//! Nexus: drop a project folder, get a running stack, a URL, live sync and a backup.
//!
//! The rooms, lowest floor first; a room imports only from floors below it. The plan of the house is
//! `docs/architecture.md`; `tests/it/tidy.rs` holds the table.

pub mod base;

pub mod config;
pub mod model;
pub mod telemetry;

pub mod engine;

pub mod store;
pub mod sync;

pub mod backup;
pub mod project;
pub mod router;

pub mod workspace;

pub mod compose;

pub mod ops;

pub mod api;

pub mod node;

pub mod cli;
