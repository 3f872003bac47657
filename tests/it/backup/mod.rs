//! Backups: through the command line, and at real servers with everything that goes wrong at those.

mod bucket;
mod command;
mod faults;
mod harness;
mod kill;
mod proxy;
mod server;
mod together;
