//! Why a node cannot start.

use std::path::PathBuf;

use crate::api;
use crate::base::door::BindError;
use crate::base::fault;
use crate::store;

/// Why the node cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A directory cannot be made or read.
    #[error("cannot use {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another node runs with this home.
    #[error("another node already runs with the home {}", home.display())]
    Locked {
        /// The home.
        home: PathBuf,
    },
    /// A port cannot be had.
    #[error(transparent)]
    Door(#[from] BindError),
    /// The state cannot be opened.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// `network.range` is none.
    #[error("`network.range` is not a range of IPv4 addresses: `{text}`")]
    Range {
        /// As given.
        text: String,
    },
    /// Destinations of backups are described wrongly.
    #[error("the backups cannot be set up: {}", problems.join("; "))]
    Backup {
        /// All that is wrong.
        problems: Vec<String>,
    },
    /// The one-time claim cannot be made.
    #[error(transparent)]
    Claim(#[from] api::auth::Error),
}

impl fault::Explain for Error {
    fn kind(&self) -> fault::Kind {
        match self {
            Self::Directory { .. } => fault::Kind::Unavailable,
            Self::Locked { .. } => fault::Kind::Conflict,
            Self::Door(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Claim(error) => error.kind(),
            Self::Range { .. } | Self::Backup { .. } => fault::Kind::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Directory { path, .. } => {
                Some(format!("make {} a directory this user can write", path.display()))
            }
            Self::Locked { .. } => {
                Some("stop the other node, or give this one a home of its own: NEXUS_HOME".to_owned())
            }
            Self::Door(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Claim(error) => error.hint(),
            Self::Backup { .. } => {
                Some("correct `backup` in the settings: see config/defaults.yaml".to_owned())
            }
            Self::Range { .. } => Some("write it like `10.213.0.0/16`".to_owned()),
        }
    }
}
