//! `scripts/bench NAME`: measures, prints a table, writes `target/bench/NAME.json`.
//!
//! Everything is measured on the release binaries in the folder that `NEXUS_TEST_BINARIES` names. Machines differ and
//! are shared: what a row is held against is measured in the same run wherever that is possible.

#![expect(clippy::unwrap_used, reason = "a bench that cannot go on says so by stopping")]
#![expect(clippy::print_stdout, reason = "the table is its output")]

mod backup;
#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../it/appliance/harness.rs"]
mod harness;
mod process;
mod sync;
mod table;
mod up;

use std::time::Duration;

use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

/// Nothing here may take longer in all.
const LIMIT: Duration = Duration::from_secs(15 * 60);
/// These may, where every contender needs its longest.
const LIMIT_LONG: Duration = Duration::from_secs(30 * 60);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // Cargo adds words of its own.
    let name = words.iter().find(|word| !word.starts_with('-'));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (name, rows, notes) = match name.map(String::as_str) {
        Some("up") => ("up", runtime.block_on(bounded(LIMIT, up::run())), vec![]),
        Some("sync") => {
            let quick = words.iter().any(|word| word == "--quick");
            let mut extent = if quick { sync::Extent::QUICK } else { sync::Extent::FULL };
            if let Some(files) = words.iter().find_map(|word| word.strip_prefix("--files=")) {
                extent.sizes = files.split(',').map(|number| number.parse().unwrap()).collect();
            }
            let (rows, notes) =
                runtime.block_on(bounded(LIMIT_LONG, sync::run(&extent, &contenders(&words))));
            ("sync", rows, notes)
        }
        Some("backup") => {
            let quick = words.iter().any(|word| word == "--quick");
            let extent = if quick { backup::Extent::QUICK } else { backup::Extent::FULL };
            let (rows, notes) = runtime.block_on(bounded(LIMIT_LONG, backup::run(&extent)));
            ("backup", rows, notes)
        }
        other => panic!("no bench is called {other:?}: there are `up`, `sync` and `backup`"),
    };
    table::show(name, &rows, &notes);
    assert!(rows.iter().all(|row| row.holds), "a target does not hold");
}

/// Those that `--only=NAME,NAME` names, otherwise all.
fn contenders(words: &[String]) -> Vec<sync::Name> {
    let Some(only) = words.iter().find_map(|word| word.strip_prefix("--only=")) else {
        return sync::Name::ALL.into();
    };
    let wanted: Vec<_> =
        only.split(',').map(|word| sync::Name::ALL.into_iter().find(|name| name.as_str() == word)).collect();
    let known = sync::Name::ALL.map(sync::Name::as_str).join(", ");
    wanted
        .into_iter()
        .map(|name| name.unwrap_or_else(|| panic!("`{only}` names one that is not there: {known}")))
        .collect()
}

/// Ends in time, and when told to: what was made is removed either way, because dropping the work removes it.
async fn bounded<T>(limit: Duration, work: impl Future<Output = T>) -> T {
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt()).unwrap(), signal(SignalKind::terminate()).unwrap());
    tokio::select! {
        done = work => done,
        () = tokio::time::sleep(limit) => panic!("it took longer than {limit:?}"),
        _ = interrupt.recv() => panic!("told to end"),
        _ = terminate.recv() => panic!("told to end"),
    }
}
