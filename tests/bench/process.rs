//! What processes cost, from `/proc`.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;
use std::time::Instant;

/// How often it is looked what threads have taken: of one that ends no more than this is missing.
const STEP: Duration = Duration::from_secs(1);

/// Percent of one processor that these processes take together for so long. By the scheduler's own count, in
/// nanoseconds: of what runs for some microseconds at a time, clock ticks would count too much or nothing.
pub async fn processor_percent(processes: &[u32], length: Duration) -> f64 {
    let began = Instant::now();
    let mut before = run_time(processes);
    let mut spent = Duration::ZERO;
    while let Some(left) = length.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) {
        tokio::time::sleep(left.min(STEP)).await;
        let now = run_time(processes);
        let since = |(thread, time): (&u32, &Duration)| {
            time.saturating_sub(before.get(thread).copied().unwrap_or_default())
        };
        spent += now.iter().map(since).sum::<Duration>();
        before = now;
    }
    spent.as_secs_f64() / began.elapsed().as_secs_f64() * 100.0
}

/// How long each of their threads has run.
fn run_time(processes: &[u32]) -> HashMap<u32, Duration> {
    let threads =
        processes.iter().flat_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten());
    let time = |thread: fs::DirEntry| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let nanoseconds = text.split_whitespace().next()?.parse().ok()?;
        Some((thread.file_name().to_str()?.parse().ok()?, Duration::from_nanos(nanoseconds)))
    };
    threads.flatten().filter_map(time).collect()
}

/// A field of `/proc/PID/FILE`, in megabytes; none if the process is gone.
pub fn megabytes(pid: u32, file: &str, field: &str) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
    let line = text.lines().find(|line| line.starts_with(field))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
}

/// A process and everything it started that still runs.
pub fn family(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let below = children.split_whitespace().filter_map(|child| child.parse().ok()).flat_map(family);
    std::iter::once(pid).chain(below).collect()
}
