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
            let all = sync::Name::ALL.map(|name| (name.as_str(), name));
            let contenders = only(&words, &all).unwrap_or_else(|| sync::Name::ALL.into());
            let (rows, notes) = runtime.block_on(bounded(LIMIT_LONG, sync::run(&extent, &contenders)));
            ("sync", rows, notes)
        }
        Some("backup") => {
            let quick = words.iter().any(|word| word == "--quick");
            let mut extent = if quick { backup::Extent::quick() } else { backup::Extent::full() };
            let steps = backup::Step::ALL.map(|step| (step.as_str(), step));
            if let Some(only) = only(&words, &steps) {
                extent.steps = only;
            }
            let (rows, notes) = runtime.block_on(bounded(LIMIT_LONG, backup::run(&extent)));
            ("backup", rows, notes)
        }
        other => panic!("no bench is called {other:?}: there are `up`, `sync` and `backup`"),
    };
    table::show(name, &rows, &notes);
    assert!(rows.iter().all(|row| row.holds), "a target does not hold");
}

/// Those that `--only=NAME,NAME` names, if it is there.
fn only<T: Copy>(words: &[String], all: &[(&str, T)]) -> Option<Vec<T>> {
    let only = words.iter().find_map(|word| word.strip_prefix("--only="))?;
    let find = |word: &str| all.iter().find(|(name, _)| *name == word).map(|(_, one)| *one);
    let names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
    let wanted = only.split(',').map(|word| {
        find(word).unwrap_or_else(|| panic!("`{word}` is not there: there are {}", names.join(", ")))
    });
    Some(wanted.collect())
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
