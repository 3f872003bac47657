//! What the agent's init says about the program it runs. A whole report each time, never a difference: a reader who
//! missed some knows as much as one who saw them all.

use std::net::IpAddr;

use serde::Deserialize;
use serde::Serialize;

/// How many of the last lines a report carries.
pub const LINES: usize = 50;
/// The longest line a report carries, in bytes; the rest of a longer one is cut.
pub const LINE_BYTES: usize = 1_000;

/// What the init is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Phase {
    /// Waits for the node to connect.
    #[default]
    Waiting,
    /// Receives the first sync.
    Syncing,
    /// Installs dependencies.
    Installing,
    /// Builds.
    Building,
    /// The program runs and does not listen yet.
    Starting,
    /// The program listens (or runs, where no port is expected).
    Ready,
    /// The program ended with code 0.
    Finished,
    /// A step failed; [`Report::failure`] says which and how.
    Failed,
}

/// A step that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Installing dependencies.
    Install,
    /// Building.
    Build,
    /// Running the program.
    Start,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// The kernel killed it, or one of its children, because the memory limit was reached.
    OutOfMemory,
}

/// A step that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Which step.
    pub step: Step,
    /// The command as it was given.
    pub command: String,
    /// How the program ended; `None` when it could not be started at all.
    pub ended: Option<Ended>,
    /// One sentence: lower case, no full stop.
    pub message: String,
    /// What to do about it, where that is known.
    pub hint: Option<String>,
    /// When it is tried again, in milliseconds from the report; `None`: when a file changes.
    pub retry_ms: Option<u64>,
}

/// A TCP port the program listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Listener {
    /// The port.
    pub port: u16,
    /// The address it is bound to inside the container.
    pub address: IpAddr,
    /// Whether only the container itself reaches it; then the agent forwards the port from the container's address.
    pub loopback: bool,
}

/// Everything the init knows about its program.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// What is going on.
    pub phase: Phase,
    /// The command under way or last run, for people.
    pub command: Option<String>,
    /// Why [`Phase::Failed`]; also kept while a crashed program is being started again.
    pub failure: Option<Failure>,
    /// The port to dial on the container's address.
    pub port: Option<u16>,
    /// Everything it listens on.
    pub listeners: Vec<Listener>,
    /// How often the program was started again after it had failed.
    pub restarts: u32,
    /// The last lines of the step under way, or of the one that failed.
    pub lines: Vec<String>,
    /// Something a person should know although nothing failed: lower case, no full stop.
    pub notes: Vec<String>,
}

impl Report {
    /// Cuts what a hostile or careless peer made too long.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.lines.truncate(LINES);
        self.listeners.truncate(64);
        self.notes.truncate(16);
        for line in self.lines.iter_mut().chain(&mut self.notes) {
            cut(line);
        }
        self
    }
}

/// Shortens a line to [`LINE_BYTES`], at a character's end.
pub fn cut(line: &mut String) {
    if line.len() > LINE_BYTES {
        let end = (0..=LINE_BYTES).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
        line.truncate(end);
    }
}
