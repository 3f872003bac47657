//! Backups: through the command line, and at real servers with everything that goes wrong at those.

mod bucket;
mod command;
mod drill;
mod faults;
mod garage;
pub mod harness;
mod kill;
mod large;
mod mirror;
mod probe;
mod proxy;
mod refused;
pub mod server;
mod together;
