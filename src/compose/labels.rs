//! The labels on everything a stack makes.

use crate::base::ids::NodeId;
use crate::base::ids::WorkspaceId;
use crate::engine::Labels;
use crate::engine::label;
use crate::model::workspace::Name;

/// Whose stack it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner<'a> {
    /// The node.
    pub(super) node: &'a NodeId,
    /// The workspace.
    pub(super) workspace: &'a WorkspaceId,
    /// The workspace's name, for people. Left out while the digest is computed, so that renaming restarts nothing.
    pub(super) name: Option<&'a Name>,
}

/// The labels of an object that outlives every version of the stack: volumes, networks.
pub(super) fn labels(owner: Owner<'_>, role: &str) -> Labels {
    let mut labels = Labels::new();
    labels.insert(label::NODE.to_owned(), owner.node.to_string());
    labels.insert(label::WORKSPACE.to_owned(), owner.workspace.to_string());
    labels.insert(label::ROLE.to_owned(), role.to_owned());
    if let Some(name) = owner.name {
        labels.insert(label::NAME.to_owned(), name.to_string());
    }
    labels
}

/// The labels of a container: also the digest of the stack it was made from, once that is known.
pub(super) fn stamped(owner: Owner<'_>, role: &str, digest: Option<&str>) -> Labels {
    let mut labels = labels(owner, role);
    if let Some(digest) = digest {
        labels.insert(label::STACK.to_owned(), digest.to_owned());
    }
    labels
}
