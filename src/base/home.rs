//! Every path the node owns, in one place.

use std::path::{Path, PathBuf};

/// The node's home directory: state, generated stacks, trash. Default `/var/lib/nexus`.
#[derive(Debug, Clone)]
pub struct Home {
    root: PathBuf,
}

impl Home {
    /// A home at `root`. Nothing is created or read.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Held for as long as a node runs: two nodes never share a home.
    pub fn lock(&self) -> PathBuf {
        self.root.join("node.lock")
    }

    /// The database of desired state, tokens and the node's identity.
    pub fn database(&self) -> PathBuf {
        self.root.join("nexus.db")
    }

    /// The node's own settings, which its owner writes.
    pub fn configuration(&self) -> PathBuf {
        self.root.join("config.yaml")
    }

    /// The socket the command line talks to; mode 0600, so that file permission is the authentication.
    pub fn socket(&self) -> PathBuf {
        self.root.join("nexus.sock")
    }

    /// The code of the one-time claim, until it is used; mode 0600.
    pub fn claim(&self) -> PathBuf {
        self.root.join("claim")
    }

    /// What backups keep on this machine: keys, caches, what was backed up when.
    pub fn backup(&self) -> PathBuf {
        self.root.join("backup")
    }

    /// Where the generated stack of one workspace is written.
    pub fn stack(&self, workspace: &super::ids::WorkspaceId) -> PathBuf {
        self.root.join("stacks").join(workspace.as_str())
    }

    /// What the sync session of one workspace remembers: its ancestor, versions, stamps.
    pub fn sync(&self, workspace: &super::ids::WorkspaceId) -> PathBuf {
        self.root.join("sync").join(workspace.as_str())
    }
}
