//! What a session and its two sides say to each other. Plain values: the same for the side that is in this process
//! and for the one behind a wire.
//!
//! A session asks and a side answers, except for [`FromSide::Changes`] and [`FromSide::Unavailable`], which a side
//! says by itself. Each direction keeps its order.

use serde::Deserialize;
use serde::Serialize;

use crate::delta::Base;
use crate::delta::Span;
use crate::delta::outline::Chain;
use crate::disk::Identity;
use crate::entry::Digest;
use crate::path::RelPath;
use crate::tree::Change;
use crate::tree::Item;

/// How much content one message carries, in bytes: one part of an outline.
pub const CHUNK: u64 = crate::delta::PART;

/// How many parts one message outlines at most.
pub const OUTLINED: usize = 4096;

/// How much one message tells of changes, in bytes and about.
pub const PAGE: usize = 256 * 1024;

/// What a session asks of a side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToSide {
    /// Say who you are and what you hold. `have` is the digest of the tree the session has of this side; what differs
    /// from it is enough where the side still knows that tree.
    Attach {
        /// See above.
        have: Digest,
    },
    /// Look at everything, say what is new, then [`FromSide::Looked`].
    Look {
        /// Comes back in the answer.
        token: u64,
    },
    /// What is in each part of a file: [`FromSide::Outlined`] or [`FromSide::Gone`] follows.
    Outline {
        /// Where it stands.
        path: RelPath,
        /// What it must hold.
        digest: Digest,
        /// From which part.
        from: u64,
    },
    /// What helps to find a stretch of a file again in another one: [`FromSide::Signed`] or [`FromSide::Gone`] follows.
    Sign {
        /// The file.
        base: Base,
        /// Which stretch.
        span: Span,
    },
    /// A part of a file's content: [`FromSide::Content`] or [`FromSide::Gone`] follows.
    Read {
        /// Where it stands.
        path: RelPath,
        /// What it must hold.
        digest: Digest,
        /// From which byte.
        offset: u64,
        /// The signature of a stretch in which most of it may be; empty where nothing is known.
        #[serde(with = "bytes")]
        like: Vec<u8>,
    },
    /// Keep a part of a content until it is applied or dropped: [`FromSide::Stored`] follows.
    Store {
        /// Of which content.
        digest: Digest,
        /// From which byte; 0 begins anew.
        offset: u64,
        /// The part.
        part: Part,
        /// Whether this is its end: the digest is verified then.
        last: bool,
    },
    /// Forget a content that was stored in part or as a whole.
    Drop {
        /// Which.
        digest: Digest,
    },
    /// Make these changes; the contents they need are stored. [`FromSide::Applied`] follows.
    Apply {
        /// Comes back in the answer, and is the batch of the versions kept.
        batch: u64,
        /// What to change, parents before what they hold.
        orders: Vec<Order>,
    },
    /// Make everything done so far, by whomever, last through a power cut: [`FromSide::Synced`] follows.
    Sync {
        /// Comes back in the answer.
        token: u64,
    },
}

/// A part of a content, for who is to keep it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Part {
    /// As it is.
    Sent(#[serde(with = "bytes")] Vec<u8>),
    /// As what is different in it.
    Differing {
        /// From what.
        base: Base,
        /// From which stretch of it.
        span: Span,
        /// See [`patch`](crate::delta::rsync::patch).
        #[serde(with = "bytes")]
        delta: Vec<u8>,
        /// How long the part is.
        size: u64,
    },
    /// As a stretch of what is there.
    Same {
        /// Of what.
        base: Base,
        /// Which.
        span: Span,
    },
}

/// A part of a content, from who has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Piece {
    /// As it is.
    Whole(#[serde(with = "bytes")] Vec<u8>),
    /// As what is different from the stretch whose signature came with the question.
    Delta(#[serde(with = "bytes")] Vec<u8>),
}

/// One change that is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// Where; `None` is the root itself.
    pub path: Option<RelPath>,
    /// The digest of what must stand there now; `None` when nothing may. With anything else there, nothing is done.
    pub expected: Option<Digest>,
    /// What shall stand there.
    pub new: Option<Item>,
}

/// What became of one path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Where.
    pub path: Option<RelPath>,
    /// What stands there now, as far as is known.
    pub now: Option<Item>,
    /// What went wrong, there or below.
    pub problem: Option<Problem>,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Problem {
    /// Nothing can be written until there is room.
    #[error("the disk is full")]
    Full,
    /// It may work another time: one sentence for people.
    #[error("{0}")]
    Other(String),
}

/// What a side says to a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FromSide {
    /// The answer to [`ToSide::Attach`]; [`FromSide::Changes`] follow, the last of them marked.
    Attached {
        /// Which directory this is.
        identity: Identity,
        /// Whether the changes that follow are from an absent tree and not from the one the session has.
        anew: bool,
        /// The contents stored and not applied yet.
        stored: Vec<Digest>,
        /// The contents stored up to this byte: they can be continued.
        begun: Vec<(Digest, u64)>,
        /// What its clock says at this moment, in nanoseconds since 1970: the times of its files are by this clock.
        clock: i64,
    },
    /// What is different now.
    Changes {
        /// In an order that can be applied.
        changes: Vec<Change>,
        /// Whether more follow at once.
        more: bool,
    },
    /// The answer to [`ToSide::Look`].
    Looked {
        /// The question's.
        token: u64,
    },
    /// What is in some parts of a file.
    Outlined {
        /// Of which content.
        digest: Digest,
        /// From which part.
        from: u64,
        /// At least one.
        parts: Vec<Chain>,
    },
    /// See [`ToSide::Sign`].
    Signed {
        /// Of which content.
        digest: Digest,
        /// See [`sign`](crate::delta::rsync::sign).
        #[serde(with = "bytes")]
        signature: Vec<u8>,
    },
    /// A part of a content.
    Content {
        /// Of which content.
        digest: Digest,
        /// From which byte.
        offset: u64,
        /// The part.
        piece: Piece,
    },
    /// The content asked for is no longer there.
    Gone {
        /// Which.
        digest: Digest,
    },
    /// A part was stored, or could not be.
    Stored {
        /// Of which content.
        digest: Digest,
        /// How many bytes the part had.
        bytes: u64,
        /// Whether the content is whole and verified.
        whole: bool,
        /// Why it could not be stored: the content is forgotten.
        problem: Option<Problem>,
    },
    /// The answer to [`ToSide::Apply`].
    Applied {
        /// The batch.
        batch: u64,
        /// What became of it, path by path: of an order that changes a directory, the paths below that differ.
        outcomes: Vec<Outcome>,
    },
    /// The answer to [`ToSide::Sync`].
    Synced {
        /// The question's.
        token: u64,
    },
    /// The folder cannot be looked at: gone, another in its place, unreadable.
    Unavailable {
        /// One sentence for people.
        reason: String,
    },
    /// Git is changing many files at once, or no longer is: what is told between the two belongs together.
    Burst {
        /// Whether it is.
        ongoing: bool,
    },
}

impl Part {
    /// How many bytes of content it stands for.
    pub fn size(&self) -> u64 {
        match self {
            Self::Sent(bytes) => bytes.len() as u64,
            Self::Differing { size, .. } => *size,
            Self::Same { span, .. } => span.length,
        }
    }
}

impl Piece {
    /// How many bytes it has on its way.
    pub fn weight(&self) -> usize {
        match self {
            Self::Whole(bytes) | Self::Delta(bytes) => bytes.len(),
        }
    }
}

/// As one run of bytes and not as a sequence of numbers.
mod bytes {
    use serde::Deserialize as _;
    use serde::Deserializer;
    use serde::Serializer;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        <&[u8]>::deserialize(deserializer).map(<[u8]>::to_vec)
    }
}

/// Puts changes into messages of about [`PAGE`] bytes each, to be applied in this order.
pub fn pages(changes: Vec<Change>) -> Vec<Vec<Change>> {
    let mut pages = Vec::new();
    let mut room = 0;
    for change in changes.into_iter().flat_map(|change| change.parts(PAGE)) {
        let weight = change.weight();
        if weight > room {
            pages.push(Vec::new());
            room = PAGE;
        }
        room = room.saturating_sub(weight);
        if let Some(page) = pages.last_mut() {
            page.push(change);
        }
    }
    pages
}
