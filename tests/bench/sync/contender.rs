//! What is measured side by side: anything that keeps a folder of the host and a folder of a container equal.

use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use async_trait::async_trait;

use super::lsyncd::Lsyncd;
use super::node::Node;
use super::pipe::Pipe;
use super::syncthing::Syncthing;
use super::unison::Unison;

/// Which side is edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// The host: what is edited there has to appear in the container.
    Out,
    /// The container: the other way round.
    In,
}

/// The same folder twice, as the host's root reaches both.
#[derive(Debug, Clone)]
pub struct Ends {
    pub host: PathBuf,
    /// The container's copy: its volume, where the engine keeps it.
    pub copy: PathBuf,
}

/// One contender with one folder. Dropped, it takes away all it made but the folder.
#[async_trait(?Send)]
pub trait Contender {
    /// Begins with a folder that is full on the host and empty in the container; the folder may be moved. Whatever
    /// does not belong to carrying files is over when this returns.
    async fn start(&mut self, tree: PathBuf) -> Ends;

    /// When carrying began.
    async fn began(&self) -> Instant;

    /// Carries these paths, or everything if there are none, for a contender that notices nothing by itself.
    async fn carry(&self, _way: Way, _paths: &[String]) {}

    /// Returns once it has done what it does a single time after a first sync.
    async fn rest(&self) {}

    /// What it can carry.
    fn ways(&self) -> &[Way];

    /// How often it looks for edits; they are made at all times of that.
    fn rhythm(&self) -> Duration {
        Duration::from_millis(20)
    }

    /// The processes of both ends, none if it does not stay.
    fn processes(&self) -> Vec<u32>;
}

/// Who takes part, in the table's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    Nexus,
    Tar,
    Lsyncd,
    Unison,
    Syncthing,
}

impl Name {
    pub const ALL: [Self; 5] = [Self::Nexus, Self::Tar, Self::Lsyncd, Self::Unison, Self::Syncthing];
    /// Those that stay and notice edits, as ours does.
    pub const PEERS: [Self; 3] = [Self::Lsyncd, Self::Unison, Self::Syncthing];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nexus => "nexus",
            Self::Tar => "tar",
            Self::Lsyncd => "lsyncd",
            Self::Unison => "unison",
            Self::Syncthing => "syncthing",
        }
    }

    pub fn contender(self) -> Box<dyn Contender> {
        match self {
            Self::Nexus => Box::new(Node::new()),
            Self::Tar => Box::new(Pipe::new()),
            Self::Lsyncd => Box::new(Lsyncd::new()),
            Self::Unison => Box::new(Unison::new()),
            Self::Syncthing => Box::new(Syncthing::new()),
        }
    }

    /// How it is set up, for whoever reads the table.
    pub fn note(self) -> String {
        match self {
            Self::Nexus => super::node::NOTE.to_owned(),
            Self::Tar => super::pipe::NOTE.to_owned(),
            Self::Lsyncd => super::lsyncd::NOTE.to_owned(),
            Self::Unison => super::unison::note(),
            Self::Syncthing => super::syncthing::NOTE.to_owned(),
        }
    }
}
