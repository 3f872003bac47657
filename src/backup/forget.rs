//! Which snapshots of a repository the rules no longer keep, and whose they are to forget. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::control::Workspace;
use super::destination::Destination;
use super::retention;
use super::retention::Verdict;
use super::snapshot::Snapshot;

/// Snapshots of this node that the rules no longer keep: those it took, and those another one took of a workspace that is
/// ours now. All others are theirs.
pub fn dropped(
    destination: &Destination,
    snapshots: &[Snapshot],
    states: &[Snapshot],
    known: &[Workspace],
    host: &str,
    now: Timestamp,
) -> Vec<String> {
    let mut groups: BTreeMap<&str, Vec<retention::Snapshot>> = BTreeMap::new();
    let inherited = |id: &String| known.iter().any(|workspace| workspace.id == *id);
    let ours = snapshots
        .iter()
        .filter(|one| one.workspace.as_ref().is_some_and(|id| one.host == host || inherited(id)));
    for one in ours.chain(states.iter().filter(|one| one.host == host)) {
        let snapshot = retention::Snapshot { id: one.id.clone(), time: one.time };
        groups.entry(&one.path).or_default().push(snapshot);
    }
    let drop = |group: Vec<retention::Snapshot>| {
        let verdicts = retention::judge(&destination.keep, &group, &TimeZone::UTC, now);
        let pairs = group.into_iter().zip(verdicts);
        pairs.filter(|(_, verdict)| *verdict == Verdict::Drop).map(|(one, _)| one.id).collect::<Vec<_>>()
    };
    groups.into_values().flat_map(drop).collect()
}
