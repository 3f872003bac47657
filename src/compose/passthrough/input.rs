//! What the adaptation of a compose file depends on.

use crate::base::ids::NodeId;
use crate::base::ids::WorkspaceId;
use crate::compose::labels::Owner;
use crate::compose::labels::labels;
use crate::compose::subnet::Subnet;
use crate::engine::Labels;
use crate::model::project::Limits;
use crate::model::project::Overrides;
use crate::model::workspace::Name;

use super::paths::View;

/// What is at a path of the project, links followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Nothing.
    Absent,
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A link on the way leads out of the project.
    Outside,
    /// It cannot be known: why not. Never taken for absent.
    Unreadable(String),
}

/// The text of a file of the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Text {
    /// There is no such file.
    Absent,
    /// Its text.
    Present(String),
    /// It cannot be read as text: why not (a link out of the project, not UTF-8, too large, no permission).
    Unreadable(String),
}

/// The project's files as they were observed; paths are relative to the project, without `.` and `..`.
///
/// The same answers give the same plan. An implementation opens nothing outside of the project and reads at most a
/// mebibyte.
pub trait Files {
    /// What is at `path`.
    fn entry(&self, path: &str) -> Entry;
    /// The text at `path`.
    fn text(&self, path: &str) -> Text;
}

/// Everything the stack of a project with its own compose file depends on.
#[derive(Clone)]
pub struct PassInput<'a> {
    /// This node.
    pub node: NodeId,
    /// The workspace.
    pub workspace: WorkspaceId,
    /// Its name.
    pub name: Name,
    /// The compose file, relative to the project, where detection found it; `None` looks for the usual names.
    pub file: Option<String>,
    /// What the user says in `.nexus/config.yaml`: `env` fills in variables, `allow` permits, `service` and `port`
    /// choose who answers the web, `limits` hold for each service.
    pub overrides: Overrides,
    /// The project's files.
    pub files: &'a dyn Files,
    /// The project folder as this node sees it, absolute.
    pub folder: String,
    /// How this node's paths relate to those of the engine's host.
    pub view: View,
    /// Addresses for the stack's networks, from [`crate::compose::choose_subnet`].
    pub subnet: Subnet,
    /// What a service may use unless the file or the user says otherwise.
    pub defaults: Limits,
    /// Whether the engine knows `start_interval` in health checks (API 1.44 or newer).
    pub start_interval: bool,
}

impl PassInput<'_> {
    /// Whose labels are written; without the name where a renaming must change nothing.
    pub(super) fn owner(&self, named: bool) -> Owner<'_> {
        Owner { node: &self.node, workspace: &self.workspace, name: named.then_some(&self.name) }
    }

    /// The labels of a volume that holds the user's data.
    pub(super) fn volume_labels(&self) -> Labels {
        labels(self.owner(true), "data")
    }
}
