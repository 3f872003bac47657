//! What a plan would do, in numbers: to be shown before settings are changed.

use std::collections::BTreeSet;

use crate::path::RelPath;
use crate::reconcile::Conflict;
use crate::reconcile::Transition;
use crate::rules::Rules;
use crate::rules::Verdict;
use crate::safety::Halt;
use crate::safety::Hold;
use crate::tree::Directory;
use crate::tree::Item;
use crate::tree::Tree;
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
    /// What would not be carried any more, and stay where it is on both sides.
    pub stops: Named,
    /// What would be carried from now on, as far as it is known: what is left out is not looked into.
    pub begins: Named,
}

/// How many, and some of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// So many: of files and links, or of things that are left out.
    pub count: u64,
    /// The first of their paths.
    pub samples: Vec<RelPath>,
}

/// A tree as it would be seen under other rules. What those leave out is put down in `stops`, what they no longer leave
/// out in `begins`; of that nobody knows what it holds, so it stays as it is.
pub(super) fn ruled(
    tree: &Tree,
    rules: &Rules,
    stops: &mut BTreeSet<RelPath>,
    begins: &mut BTreeSet<RelPath>,
) -> Tree {
    let root = tree.root().map(|root| match root {
        Item::Directory(root) => Item::Directory(within(None, root, rules, stops, begins)),
        other => other.clone(),
    });
    Tree::with_root(root)
}

fn within(
    at: Option<&RelPath>,
    directory: &Directory,
    rules: &Rules,
    stops: &mut BTreeSet<RelPath>,
    begins: &mut BTreeSet<RelPath>,
) -> Directory {
    let mut changed = false;
    let mut children = Vec::new();
    for (name, item) in directory.iter() {
        let Ok(path) = RelPath::child(at, name) else { continue };
        let verdict = rules.judge(&path, matches!(item, Item::Directory(_)));
        let new = match (verdict, item) {
            (_, Item::Untracked(_)) => {
                // What it is, is not known.
                if verdict == Verdict::Carry && rules.judge(&path, true) == Verdict::Carry {
                    begins.insert(path);
                }
                None
            }
            (Verdict::Leave(keep), item) => {
                let files = item
                    .walk(Some(path))
                    .filter(|(_, item)| matches!(item, Item::File(_) | Item::Symlink(_)));
                stops.extend(files.filter_map(|(path, _)| path));
                Some(Item::Untracked(keep))
            }
            (Verdict::Carry, Item::Directory(inner)) => {
                let ruled = within(Some(&path), inner, rules, stops, begins);
                (!ruled.is_same(inner)).then_some(Item::Directory(ruled))
            }
            (Verdict::Carry, _) => None,
        };
        changed |= new.is_some();
        children.push((name.clone(), new.unwrap_or_else(|| item.clone())));
    }
    if changed { Directory::from_children(children) } else { directory.clone() }
}

impl Named {
    pub(super) fn of(paths: &BTreeSet<RelPath>, samples: usize) -> Self {
        Self { count: paths.len() as u64, samples: paths.iter().take(samples).cloned().collect() }
    }
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
