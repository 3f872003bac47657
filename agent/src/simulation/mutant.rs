//! Broken engines, made by what their messages say.

use crate::delta::outline::Chain;
use crate::message::FromSide;
use crate::message::Order;
use crate::message::Outcome;
use crate::message::Piece;
use crate::message::ToSide;
use crate::tree::Change;
use crate::tree::Directory;
use crate::tree::Item;

/// What can be wrong with an engine, to see whether a history notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mutant {
    /// A side says that all lasts, and nothing does.
    SyncsNothing,
    /// What is gone from under a read is waited for.
    WaitsForTheGone,
    /// A broken connection is taken for a whole one.
    OverlooksTheBreak,
    /// A folder that cannot be looked at counts as an empty one.
    UnavailableIsEmpty,
    /// A change is not heard.
    MissesChanges,
    /// An order that was refused counts as carried out.
    BelievesInSuccess,
    /// A flush does not look.
    LooksNowhere,
    /// What is displaced is removed.
    KeepsNothing,
    /// Messages overtake each other.
    Overtakes,
    /// A folder is known by its inode alone.
    ForgetsTheNonce,
    /// The end of each content is cut off.
    CutsContents,
    /// What is said of the parts of a file is made up: nothing is believed that matters, so nothing comes of it.
    LiesAboutParts,
}

pub(super) const MUTANTS: [Mutant; 11] = [
    Mutant::SyncsNothing,
    Mutant::WaitsForTheGone,
    Mutant::OverlooksTheBreak,
    Mutant::UnavailableIsEmpty,
    Mutant::MissesChanges,
    Mutant::BelievesInSuccess,
    Mutant::LooksNowhere,
    Mutant::KeepsNothing,
    Mutant::Overtakes,
    Mutant::CutsContents,
    Mutant::ForgetsTheNonce,
];

impl Mutant {
    /// What a side makes of a message; nothing when it answers without doing anything.
    pub(super) fn asked(self, message: ToSide) -> Result<ToSide, FromSide> {
        match (self, message) {
            (Self::BelievesInSuccess, ToSide::Apply { batch, orders }) => {
                let done = |order: Order| Outcome { path: order.path, now: order.new, problem: None };
                Err(FromSide::Applied { batch, outcomes: orders.into_iter().map(done).collect() })
            }
            (Self::SyncsNothing, ToSide::Sync { token }) => Err(FromSide::Synced { token }),
            (Self::LooksNowhere, ToSide::Look { token }) => Err(FromSide::Looked { token }),
            (_, message) => Ok(message),
        }
    }

    /// What a session hears.
    pub(super) fn said(self, message: FromSide) -> Option<FromSide> {
        match (self, message) {
            (Self::WaitsForTheGone, FromSide::Gone { .. }) => None,
            (Self::MissesChanges, FromSide::Changes { .. }) => {
                Some(FromSide::Changes { changes: Vec::new(), more: false })
            }
            (Self::CutsContents, FromSide::Content { digest, offset, piece: Piece::Whole(mut bytes) }) => {
                bytes.pop();
                bytes.insert(0, 0);
                Some(FromSide::Content { digest, offset, piece: Piece::Whole(bytes) })
            }
            (Self::LiesAboutParts, FromSide::Outlined { digest, from, parts }) => {
                let parts = parts.iter().map(|_| Chain([0; 32])).collect();
                Some(FromSide::Outlined { digest, from, parts })
            }
            (Self::LiesAboutParts, FromSide::Content { digest, offset, piece: Piece::Delta(mut delta) }) => {
                delta.iter_mut().skip(5).for_each(|byte| *byte ^= 1);
                Some(FromSide::Content { digest, offset, piece: Piece::Delta(delta) })
            }
            (Self::UnavailableIsEmpty, FromSide::Unavailable { .. }) => {
                let empty = Some(Item::Directory(Directory::empty()));
                Some(FromSide::Changes { changes: vec![Change { path: None, item: empty }], more: false })
            }
            (_, message) => Some(message),
        }
    }
}
