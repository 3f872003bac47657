//! A workspace's source as it was at a moment, whatever the form it is kept in.

use std::fs::File;

use jiff::Timestamp;

use super::restore::Wanted;
use super::trouble::Trouble;

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its id.
    pub id: String,
    /// When it was taken.
    pub time: Timestamp,
    /// The node that took it.
    pub host: String,
    /// The workspace's folder name then; of a snapshot that another program took, the name of what it took.
    pub folder: String,
    /// Where in the snapshot the folder lies.
    pub path: String,
    /// The workspace's id, when a node of ours took it.
    pub workspace: Option<String>,
    /// Files in it.
    pub files: u64,
    /// Bytes in its files.
    pub bytes: u64,
}

/// What a run added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The snapshot; none when nothing has changed since the one before.
    pub snapshot: Option<String>,
    /// That one before, when nothing has changed since.
    pub since: Option<String>,
    /// Files that are new.
    pub new: u64,
    /// Files that changed.
    pub changed: u64,
    /// Bytes that were stored for it, compressed.
    pub stored: u64,
}

impl Saved {
    /// The snapshot that holds the folder as it was found: a new one, or the one before.
    pub fn id(&self) -> Option<&str> {
        self.snapshot.as_deref().or(self.since.as_deref())
    }

    /// Nothing, because nothing has changed since this snapshot.
    pub fn nothing_since(snapshot: String) -> Self {
        Self { snapshot: None, since: Some(snapshot), new: 0, changed: 0, stored: 0 }
    }
}

/// One thing of a snapshot: what it says of itself, and what reads it.
pub type Read<C> = Result<(Wanted, C), Trouble>;

/// Gives back what snapshots of one form hold. Everything blocks: callers are on threads that may, on several at once.
pub trait Reader: Sync {
    /// What reads the content of one file.
    type Content: Send;

    /// What a snapshot holds, in the order of its paths: what each says of itself, and what reads it. Those that are
    /// `likely` to be read may be fetched before their turn. Returns what the folder itself is.
    ///
    /// # Errors
    /// When the snapshot cannot be opened at all; `each` is told what cannot be listed.
    fn entries(
        &self,
        snapshot: &Snapshot,
        likely: &dyn Fn(&Wanted) -> bool,
        each: &mut dyn FnMut(Read<Self::Content>),
    ) -> Result<Wanted, Trouble>;

    /// Writes the content of a file, from the beginning of `to` on.
    ///
    /// # Errors
    /// When it cannot be read whole, or `to` does not take it.
    fn content(&self, content: Self::Content, to: &mut File) -> Result<(), Trouble>;

    /// How many bytes of content there are, whatever the snapshot says of the file.
    fn length(&self, content: &Self::Content) -> u64;

    /// Equal for equal contents at one destination, and short.
    fn fingerprint(content: &Self::Content) -> [u8; 32];
}
