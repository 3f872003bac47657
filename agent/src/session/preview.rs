//! What a plan would do, in numbers: to be shown before settings are changed.

use crate::reconcile::Conflict;
use crate::reconcile::Transition;
use crate::safety::Halt;
use crate::safety::Hold;
use crate::tree::Item;
use crate::tree::paired;

/// What would be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// To each side, host first.
    pub sides: [Counts; 2],
    /// What neither side would be given without a decision.
    pub conflicts: Vec<Conflict>,
    /// What would wait for a yes; it is not in the counts.
    pub holds: Vec<Hold>,
    /// Why everything would stop: then nothing of the rest is done.
    pub halt: Option<Halt>,
}

/// Of the files, links and directories of one side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// So many would be made.
    pub created: u64,
    /// So many would get other content, or another mode.
    pub changed: u64,
    /// So many would be deleted; what they held becomes a version.
    pub deleted: u64,
}

impl Counts {
    pub(super) fn of(transitions: &[Transition]) -> Self {
        let mut counts = Self::default();
        transitions
            .iter()
            .for_each(|transition| counts.add(transition.old.as_ref(), transition.new.as_ref()));
        counts
    }

    /// Looks only into directories that differ.
    fn add(&mut self, old: Option<&Item>, new: Option<&Item>) {
        let carried = |item: &Item| item.is_carried();
        match (old.filter(|old| carried(old)), new.filter(|new| carried(new))) {
            (Some(Item::Directory(old)), Some(Item::Directory(new))) => {
                for (_, old, new) in paired(old, new) {
                    self.add(old, new);
                }
            }
            (Some(old), Some(new)) if old == new => {}
            (Some(Item::Directory(_)), Some(_)) | (Some(_), Some(Item::Directory(_))) => {
                self.add(old, None);
                self.add(None, new);
            }
            (Some(_), Some(_)) => self.changed += 1,
            (None, Some(new)) => self.created += entries(new),
            (Some(old), None) => self.deleted += entries(old),
            (None, None) => {}
        }
    }
}

fn entries(item: &Item) -> u64 {
    item.walk(None).filter(|(_, item)| item.is_carried()).count() as u64
}
