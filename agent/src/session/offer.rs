//! Contents that neither side has: what a person made of a conflict, until both sides have it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::Session;
use super::arrival::End;
use super::arrival::Question;
use super::arrival::What;
use crate::entry::Digest;
use crate::message::CHUNK;
use crate::message::Piece;
use crate::reconcile::Transition;
use crate::resolve::Choice;
use crate::tree::File;
use crate::tree::Item;

/// So many bytes of contents are offered at a time: they are in memory.
const OFFERED_MAX: usize = 64 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Offers(BTreeMap<Digest, Vec<u8>>);

impl Offers {
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.0.contains_key(digest)
    }

    /// Those that are to be put somewhere.
    pub(super) fn among(&self, transitions: &[Transition]) -> BTreeSet<Digest> {
        let file = |transition: &Transition| match &transition.new {
            Some(Item::File(file)) if self.has(&file.digest) => Some(file.digest),
            _ => None,
        };
        transitions.iter().filter_map(file).collect()
    }

    /// The part a side would be asked for.
    pub(super) fn answer(&self, digest: &Digest, question: &Question) -> Option<(u64, Piece)> {
        let (End::Source, What::Read { offset }) = (question.of, question.what) else { return None };
        let rest = self.0.get(digest)?.get(usize::try_from(offset).ok()?..)?;
        let part = rest.len().min(usize::try_from(CHUNK).unwrap_or(usize::MAX));
        Some((offset, Piece::Whole(rest[..part].to_vec())))
    }
}

impl Session {
    /// Has a content at hand that can be [chosen](Session::choose) as [`Choice::Merged`]; it is let go when nothing needs it.
    /// `None` when too much is at hand already.
    pub fn offer(&mut self, content: Vec<u8>, executable: bool) -> Option<File> {
        let held: usize = self.offers.0.values().map(Vec::len).sum();
        if held + content.len() > OFFERED_MAX {
            return None;
        }
        let digest = Digest::from(blake3::hash(&content));
        let size = content.len() as u64;
        self.offers.0.insert(digest, content);
        Some(File::new(size, executable, digest))
    }

    /// Lets go of what no choice and no batch needs.
    pub(super) fn withdraw(&mut self) {
        let Self { offers, choices, batches, .. } = self;
        let chosen = |digest: &Digest| {
            choices
                .values()
                .any(|chosen| matches!(&chosen.choice, Choice::Merged(file) if file.digest == *digest))
        };
        offers.0.retain(|digest, _| chosen(digest) || batches.values().any(|batch| batch.awaits(digest)));
    }
}
