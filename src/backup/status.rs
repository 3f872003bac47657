//! How a destination is. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::destination::Form;
use super::drill::sample::Drill;
use super::probe::finding::Probe;
use super::schedule::Past;
use super::trouble::Trouble;

/// How a destination is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub place: String,
    /// Its form.
    pub form: Form,
    /// What happened so far.
    pub past: Past,
    /// What the last run failed with.
    pub failure: Option<Trouble>,
    /// When the next run is due; none when it is not by itself.
    pub next: Option<Timestamp>,
    /// Whether its owner should know: runs were missed, or what is there does not come back.
    pub alert: bool,
    /// What the last run of everything took.
    pub figures: Option<Figures>,
    /// How many runs have failed since the node started.
    pub errors: u64,
    /// What is being backed up there now.
    pub running: Option<Running>,
    /// What was found out about the place.
    pub probe: Option<Probe>,
    /// What the last restore drill came to.
    pub drill: Option<Drill>,
    /// When the next one is due; none when it is not by itself.
    pub next_drill: Option<Timestamp>,
}

/// What a run took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Files that are backed up by it, new or not.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that were stored for it, compressed.
    pub stored: u64,
    /// How long it took.
    pub took: Duration,
}

/// A run that is going on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Since when.
    pub since: Timestamp,
    /// Workspaces that are done, and all of them.
    pub workspaces: (usize, usize),
    /// Bytes read from files so far.
    pub bytes: u64,
}
