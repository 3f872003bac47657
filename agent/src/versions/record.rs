//! What the version store's log holds.
//!
//! The variants' order is part of the format: new ones go to the end. An older reader leaves out what it cannot read, and
//! then finds the files of such versions as recovered ones.

use serde::Deserialize;
use serde::Serialize;

use crate::disk::Slot;
use crate::entry::Digest;
use crate::path::RelPath;
use crate::reconcile::Side;
use crate::versions::Cause;
use crate::versions::Version;
use crate::versions::What;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Record {
    /// A version is announced, or known better than before.
    Kept {
        id: u64,
        batch: u64,
        container: bool,
        path: Option<RelPath>,
        what: WhatRecord,
        modified: i64,
        cause: CauseRecord,
        /// The slot of incoming content it changes places with.
        exchanged: Option<Digest>,
    },
    /// A version is there no more, or never was.
    Gone { id: u64 },
    /// Content that nobody wants.
    Disposed { id: u64 },
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum WhatRecord {
    File { size: u64, executable: bool, digest: Digest },
    Symlink { target: Vec<u8> },
    Directory,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum CauseRecord {
    Overwritten,
    Deleted,
    LostConflict,
    Moved(RelPath),
    Undone,
    Recovered,
}

impl Record {
    pub(super) fn kept(version: &Version, slot: Slot) -> Self {
        let what = match &version.what {
            What::File { size, executable, digest } => {
                WhatRecord::File { size: *size, executable: *executable, digest: *digest }
            }
            What::Symlink { target } => WhatRecord::Symlink { target: target.to_vec() },
            What::Directory => WhatRecord::Directory,
        };
        let cause = match &version.cause {
            Cause::Overwritten => CauseRecord::Overwritten,
            Cause::Deleted => CauseRecord::Deleted,
            Cause::LostConflict => CauseRecord::LostConflict,
            Cause::Moved(to) => CauseRecord::Moved(to.clone()),
            Cause::Undone => CauseRecord::Undone,
            Cause::Recovered => CauseRecord::Recovered,
        };
        Self::Kept {
            id: version.id,
            batch: version.batch,
            container: version.side == Side::Beta,
            path: version.path.clone(),
            what,
            modified: version.modified,
            cause,
            exchanged: if let Slot::Whole(digest) = slot { Some(digest) } else { None },
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("a record has a form")
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}

impl WhatRecord {
    pub(super) fn read(self) -> What {
        match self {
            Self::File { size, executable, digest } => What::File { size, executable, digest },
            Self::Symlink { target } => What::Symlink { target: target.into() },
            Self::Directory => What::Directory,
        }
    }
}

impl CauseRecord {
    pub(super) fn read(self) -> Cause {
        match self {
            Self::Overwritten => Cause::Overwritten,
            Self::Deleted => Cause::Deleted,
            Self::LostConflict => Cause::LostConflict,
            Self::Moved(to) => Cause::Moved(to),
            Self::Undone => Cause::Undone,
            Self::Recovered => Cause::Recovered,
        }
    }
}
