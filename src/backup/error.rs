//! Why something asked of backups was not done.

use std::path::PathBuf;

use super::trouble::Trouble;
use crate::base::fault;
use crate::base::fault::Explain;
use crate::store;

/// Why something asked of backups was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No destination has this name.
    #[error("there is no destination `{name}`")]
    NoDestination {
        /// As asked.
        name: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// No workspace has this folder.
    #[error("there is no workspace `{folder}`")]
    NoWorkspace {
        /// As asked.
        folder: String,
    },
    /// No snapshot fits.
    #[error("there is no snapshot of `{folder}` that fits at `{destination}`")]
    NoSnapshot {
        /// The workspace's folder.
        folder: String,
        /// Where.
        destination: String,
    },
    /// An id that means no snapshot, or several.
    #[error("`{id}` means {found} snapshots at `{destination}`")]
    Id {
        /// As asked.
        id: String,
        /// Where.
        destination: String,
        /// How many.
        found: usize,
    },
    /// A snapshot does not hold a path.
    #[error("the snapshot {id} holds no `{path}`")]
    NoPath {
        /// As asked.
        path: String,
        /// The snapshot.
        id: String,
    },
    /// No destination holds the state of a node.
    #[error("there is no node's state at `{}`", destinations.join("`, `"))]
    NoState {
        /// Those that were looked at.
        destinations: Vec<String>,
    },
    /// A node's state.
    #[error("the node's state cannot be read or written")]
    Store(#[source] store::Error),
    /// Something that repositories alone have was asked of a mirror.
    #[error("`{destination}` is a mirror: plain files, with no password, locks or index")]
    Mirror {
        /// The destination.
        destination: String,
    },
    /// The newest snapshot of a mirror is the files that any client shows.
    #[error("the snapshot {id} is the newest of `{folder}` in a mirror, which is the files themselves")]
    Newest {
        /// The snapshot.
        id: String,
        /// The workspace's folder.
        folder: String,
    },
    /// A time that is none.
    #[error("`{text}` is no point in time")]
    Time {
        /// As asked.
        text: String,
    },
    /// A folder name that cannot be used.
    #[error("`{name}` is no name for a folder of a workspace")]
    Name {
        /// As asked.
        name: String,
    },
    /// The folder is there and holds something.
    #[error("the folder `{name}` is there and holds something")]
    NotEmpty {
        /// Its name.
        name: String,
    },
    /// Not enough space.
    #[error("the snapshot needs {needed} bytes, and {free} are free")]
    Space {
        /// What it needs.
        needed: u64,
        /// What there is.
        free: u64,
    },
    /// The folder cannot be used.
    #[error("cannot use the folder {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The destination.
    #[error(transparent)]
    Trouble(#[from] Trouble),
    /// The node closes.
    #[error("the node is closing")]
    Closing,
}

impl Explain for Error {
    fn kind(&self) -> fault::Kind {
        match self {
            Self::NoDestination { .. }
            | Self::NoWorkspace { .. }
            | Self::NoSnapshot { .. }
            | Self::NoState { .. }
            | Self::NoPath { .. }
            | Self::Id { found: 0, .. } => fault::Kind::NotFound,
            Self::Id { .. } => fault::Kind::Invalid,
            Self::Store(error) => error.kind(),
            Self::Time { .. } | Self::Name { .. } => fault::Kind::Invalid,
            Self::NotEmpty { .. } | Self::Mirror { .. } | Self::Newest { .. } => fault::Kind::Conflict,
            Self::Space { .. } | Self::Folder { .. } | Self::Closing => fault::Kind::Unavailable,
            Self::Trouble(trouble) => trouble.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoDestination { known, .. } if known.is_empty() => {
                Some("there are none: set `backup.destinations`".to_owned())
            }
            Self::NoDestination { known, .. } => Some(format!("there is `{}`", known.join("`, `"))),
            Self::NoWorkspace { .. } => Some("see `nexus workspace list`".to_owned()),
            Self::Id { found, .. } if *found > 1 => Some("give more of its id".to_owned()),
            Self::NoSnapshot { .. } | Self::Id { .. } => Some("see `nexus backup list`".to_owned()),
            Self::NoState { .. } => Some(
                "each backup of all workspaces keeps it: see `nexus backup list` for workspaces that can be restored one by one"
                    .to_owned(),
            ),
            Self::Store(error) => error.hint(),
            Self::Mirror { destination } => Some(format!(
                "any S3 client reads it, and so does `rclone`; `nexus backup verify {destination} --read-data` names what is damaged"
            )),
            Self::Newest { .. } => {
                Some("it goes once there is a newer one: see `nexus backup run`".to_owned())
            }
            Self::Time { .. } => {
                Some("write `2024-01-15 10:30:00` (UTC) or `2024-01-15T10:30:00+01:00`".to_owned())
            }
            Self::Name { .. } => Some("use a plain name without `/`, not beginning with a dot".to_owned()),
            Self::NotEmpty { .. } => {
                Some("restore beside it with `--to NAME`, or into it with `--mode merge` or `--mode mirror`".to_owned())
            }
            Self::Space { .. } => Some("make room where the watched directory is".to_owned()),
            Self::NoPath { .. } | Self::Folder { .. } | Self::Closing => None,
            Self::Trouble(trouble) => trouble.hint(),
        }
    }
}
