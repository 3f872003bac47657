//! What a workspace looks like from outside: the view that the API, the command line and the home page show.

use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;

use crate::base::ids::WorkspaceId;
use crate::model::project::Detection;
use crate::model::project::Identity;
use crate::model::workspace::Name;
use crate::model::workspace::Phase;
use crate::model::workspace::State;

/// An image file of a project, small enough to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Icon {
    /// Media type: `image/svg+xml`.
    pub mime: &'static str,
    /// The file's bytes; 64 KiB at most.
    pub bytes: Vec<u8>,
}

/// One container of a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The service's name in the stack file.
    pub name: String,
    /// The container's name.
    pub container: String,
    /// The image it runs.
    pub image: String,
    /// What the engine says: `running`, `exited (1)`, ...
    pub state: String,
}

/// How far the source has got into the container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sync {
    /// `connecting`, `up`, `lost`, `halted`, `off`.
    pub link: String,
    /// Files in the folder that belong in the container.
    pub files_total: u64,
    /// Of these, how many are there.
    pub files_synced: u64,
    /// Entries that cannot be carried over, and why.
    pub skipped: Vec<(String, String)>,
    /// What is wrong, if anything.
    pub error: Option<String>,
    /// How an edit gets to its containers where no session carries it.
    pub off: Option<String>,
}

/// A workspace as its owner sees it, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Id for life.
    pub id: WorkspaceId,
    /// Its name; the folder's name as it is when that cannot be a workspace's name.
    pub name: String,
    /// Where it answers: `/<route>/`. `None` when its folder's name cannot be routed; `message` says why.
    pub route: Option<Name>,
    /// The folder's name in the watched directory.
    pub folder: String,
    /// Whether the folder is there now.
    pub folder_present: bool,
    /// State.
    pub state: State,
    /// What is going on.
    pub phase: Phase,
    /// What is wrong or what it waits for: one sentence.
    pub message: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// What its owner should know although it runs.
    pub notices: Vec<String>,
    /// What it is.
    pub detection: Option<Arc<Detection>>,
    /// How it shows itself.
    pub identity: Identity,
    /// Its icon's bytes.
    pub icon: Option<Arc<Icon>>,
    /// The last lines its program, installation or build printed.
    pub log_tail: Vec<String>,
    /// Its containers.
    pub services: Vec<Service>,
    /// Where requests for it go.
    pub upstream: Option<SocketAddr>,
    /// Sync.
    pub sync: Sync,
    /// How often its program was restarted after a crash.
    pub restarts: u32,
    /// When it was first seen.
    pub created_at: Timestamp,
    /// When this view last changed.
    pub updated_at: Timestamp,
}

impl View {
    /// Whether waiting longer changes nothing: it answers, has ended, or needs its owner.
    pub fn at_rest(&self) -> bool {
        match self.state {
            State::Running => matches!(self.phase, Phase::Ready | Phase::Finished),
            State::Stopped | State::Paused | State::Error | State::Destroyed => true,
            State::Pending | State::Destroying => false,
        }
    }
}
