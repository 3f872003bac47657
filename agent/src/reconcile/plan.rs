//! The words of a plan.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Serialize;

use crate::path::RelPath;
use crate::tree::Change;
use crate::tree::Item;

/// Which way edits travel, and what happens to those that meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Both ways; two edits of one thing are a conflict.
    #[default]
    TwoWaySafe,
    /// Both ways; of two edits the host's stands.
    TwoWayResolved,
    /// From the host to the container, whose own content is left alone; an edit there is a conflict.
    OneWaySafe,
    /// From the host to the container, which becomes the same.
    OneWayReplica,
}

/// A mode nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no mode: there are `two-way-safe`, `two-way-resolved`, `one-way-safe` and `one-way-replica`"
)]
pub struct UnknownMode(String);

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 4] =
        [Self::TwoWaySafe, Self::TwoWayResolved, Self::OneWaySafe, Self::OneWayReplica];

    /// Its name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::TwoWaySafe => "two-way-safe",
            Self::TwoWayResolved => "two-way-resolved",
            Self::OneWaySafe => "one-way-safe",
            Self::OneWayReplica => "one-way-replica",
        }
    }

    /// Whether a side is ever written.
    pub fn writes(self, side: Side) -> bool {
        side == Side::Beta || matches!(self, Self::TwoWaySafe | Self::TwoWayResolved)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, UnknownMode> {
        Self::ALL.into_iter().find(|mode| mode.name() == text).ok_or_else(|| UnknownMode(text.to_owned()))
    }
}

/// One of the two folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Side {
    /// The host's folder.
    Alpha,
    /// The container's copy.
    Beta,
}

impl Side {
    /// The two of them.
    pub const BOTH: [Self; 2] = [Self::Alpha, Self::Beta];

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Alpha => Self::Beta,
            Self::Beta => Self::Alpha,
        }
    }
}

/// For people: `host` or `container`.
impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Alpha => "host",
            Self::Beta => "container",
        })
    }
}

/// What is to become of a path on one side, with everything below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// Where; `None` is the root.
    pub path: Option<RelPath>,
    /// What stands there. Of what is not carried it names only the disposable, which goes along.
    pub old: Option<Item>,
    /// What shall stand there; all of it is carried.
    pub new: Option<Item>,
}

impl Transition {
    /// What it makes true.
    pub fn change(&self) -> Change {
        Change { path: self.path.clone(), item: self.new.clone() }
    }
}

/// A path where neither side may be written without somebody's decision: both were edited, or something that is not
/// carried stands in the way. Nothing at or below it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Where; `None` is the root.
    pub path: Option<RelPath>,
    /// What both last agreed on.
    pub ancestor: Option<Item>,
    /// What the host has.
    pub alpha: Option<Item>,
    /// What the container has.
    pub beta: Option<Item>,
}

impl Conflict {
    /// What one side has.
    pub fn on(&self, side: Side) -> Option<&Item> {
        match side {
            Side::Alpha => self.alpha.as_ref(),
            Side::Beta => self.beta.as_ref(),
        }
    }
}

/// What has to happen. Each list is in the order of its paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// What becomes true of the ancestor without anything being written: both sides already agree. What transitions
    /// make true is learnt from their outcomes.
    pub ancestor: Vec<Change>,
    /// What is to be written on the host.
    pub alpha: Vec<Transition>,
    /// What is to be written in the container.
    pub beta: Vec<Transition>,
    /// Where nothing may be written.
    pub conflicts: Vec<Conflict>,
}

impl Plan {
    /// What is to be written on one side.
    pub fn on(&self, side: Side) -> &[Transition] {
        match side {
            Side::Alpha => &self.alpha,
            Side::Beta => &self.beta,
        }
    }

    /// The same, to be changed.
    pub(crate) fn on_mut(&mut self, side: Side) -> &mut Vec<Transition> {
        match side {
            Side::Alpha => &mut self.alpha,
            Side::Beta => &mut self.beta,
        }
    }

    /// Whether nothing is to be written and nothing learnt. There may be conflicts.
    pub fn is_quiet(&self) -> bool {
        self.ancestor.is_empty() && self.alpha.is_empty() && self.beta.is_empty()
    }
}
