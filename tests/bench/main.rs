//! `scripts/bench NAME`: measures, prints a table, writes `target/bench/NAME.json`.
//!
//! Everything is measured on the release binaries in the folder that `NEXUS_TEST_BINARIES` names. Machines differ and
//! are shared: what a row is held against is measured in the same run wherever that is possible.

#![expect(clippy::unwrap_used, reason = "a bench that cannot go on says so by stopping")]
#![expect(clippy::print_stdout, reason = "the table is its output")]

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../it/appliance/harness.rs"]
mod harness;
mod table;
mod up;

use std::time::Duration;

use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

/// Nothing here may take longer in all.
const LIMIT: Duration = Duration::from_secs(15 * 60);

fn main() {
    // Cargo adds words of its own.
    let name = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rows = match name.as_deref() {
        Some("up") => runtime.block_on(bounded(up::run())),
        other => panic!("no bench is called {other:?}: there is `up`"),
    };
    table::show("up", &rows);
    assert!(rows.iter().all(|row| row.holds), "a target does not hold");
}

/// Ends in time, and when told to: what was made is removed either way, because dropping the work removes it.
async fn bounded<T>(work: impl Future<Output = T>) -> T {
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt()).unwrap(), signal(SignalKind::terminate()).unwrap());
    tokio::select! {
        done = work => done,
        () = tokio::time::sleep(LIMIT) => panic!("it took longer than {LIMIT:?}"),
        _ = interrupt.recv() => panic!("told to end"),
        _ = terminate.recv() => panic!("told to end"),
    }
}
