//! When a plan must not be carried out, or not without a yes.
//!
//! A *halt* says that a whole folder seems to have gone: nobody deletes that by syncing, so everything stops until a
//! person decides. A *hold* says that a plan would delete much, or that much is in conflict at once: it waits for a yes to
//! exactly what it lists, and the rest goes on.
//!
//! The order: [`standing`] before an ancestor is believed; [`halt`] on what the planner says; [`storms`] before a
//! [strategy](crate::resolve) decides conflicts; [`holds`] on the plan that comes of it, with the [`Ebb`] of each side.

mod ebb;

use std::collections::HashMap;
use std::sync::Arc;

use crate::disk::Identity;
use crate::entry::Digest;
use crate::path::RelPath;
use crate::reconcile::Conflict;
use crate::reconcile::Plan;
use crate::reconcile::Side;
use crate::reconcile::Transition;
use crate::tree::Directory;
use crate::tree::Item;
use crate::tree::Tree;
use crate::tree::below_path;

pub use ebb::Ebb;
pub use ebb::WINDOW;

/// Why everything stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// The plan would remove the root of one side.
    #[error("the whole folder would be removed from the {from}")]
    RootDeletion {
        /// Where.
        from: Side,
    },
    /// A side that had several children has none.
    #[error("the {on} lost everything in its folder")]
    RootEmptied {
        /// Where.
        on: Side,
    },
    /// The plan would make the root of one side something of another kind.
    #[error("the root of the {on} would become something of another kind")]
    RootTypeChange {
        /// Where.
        on: Side,
    },
    /// The host's folder is not the one the session was made with: another volume, or made anew.
    #[error("the folder on the host is not the one that was synchronised before")]
    RootReplaced,
}

impl Halt {
    /// Its name in tables and events.
    pub fn name(self) -> &'static str {
        match self {
            Self::RootDeletion { .. } => "root-deletion",
            Self::RootEmptied { .. } => "root-emptied",
            Self::RootTypeChange { .. } => "root-type-change",
            Self::RootReplaced => "root-replaced",
        }
    }
}

/// Whether a plan for these trees must not be carried out at all.
pub fn halt(ancestor: &Tree, alpha: &Tree, beta: &Tree, plan: &Plan) -> Option<Halt> {
    let children = |tree: &Tree| tree.root().and_then(Item::as_directory).map(Directory::len);
    if let (Some(2..), Some(alphas), Some(betas)) = (children(ancestor), children(alpha), children(beta))
        && (alphas == 0) != (betas == 0)
    {
        return Some(Halt::RootEmptied { on: if alphas == 0 { Side::Alpha } else { Side::Beta } });
    }
    [Side::Alpha, Side::Beta].into_iter().find_map(|side| {
        let root = plan.on(side).iter().find(|transition| transition.path.is_none())?;
        match (&root.old, &root.new) {
            (Some(_), None) => Some(Halt::RootDeletion { from: side }),
            (Some(old), Some(new)) if std::mem::discriminant(old) != std::mem::discriminant(new) => {
                Some(Halt::RootTypeChange { on: side })
            }
            _ => None,
        }
    })
}

/// What two roots say about an ancestor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Both are the folders it speaks of.
    Trusted,
    /// The container's copy is another: the ancestor is dropped, so that nothing counts as deleted.
    Dropped,
    /// The host's folder is another: the ancestor is dropped, and a person decides.
    Halted(Halt),
}

/// Compares the identities an ancestor is bound to with those that were found, host first.
pub fn standing(bound: &[Identity; 2], found: &[Identity; 2]) -> Standing {
    match (found[0].is(&bound[0]), found[1].is(&bound[1])) {
        (true, true) => Standing::Trusted,
        (true, false) => Standing::Dropped,
        (false, _) => Standing::Halted(Halt::RootReplaced),
    }
}

/// What is too much to go without a yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// So many files may go from one side at once, or within [`WINDOW`].
    pub deletions: u64,
    /// Of so many files on a side, and more, at most half may go at once, or within [`WINDOW`].
    pub half_of: u64,
    /// So many conflicts in one subtree are told one by one.
    pub conflicts: usize,
    /// So many paths are shown of what is held.
    pub samples: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { deletions: 1_000, half_of: 10, conflicts: 20, samples: 20 }
    }
}

impl Limits {
    /// Every deletion needs a yes: for the first plan after an ancestor was dropped.
    #[must_use]
    pub fn strict(self) -> Self {
        Self { deletions: 0, ..self }
    }
}

/// What waits for a yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Stands for exactly this: a yes is a yes to the key, and to nothing that came since.
    pub key: Digest,
    /// What it is.
    pub cause: Cause,
    /// All of the paths, in order.
    pub paths: Arc<[RelPath]>,
    /// Some of the paths.
    pub samples: Vec<RelPath>,
}

/// Why something is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// Many files would be deleted.
    MassDeletion {
        /// From where.
        from: Side,
        /// How many.
        files: u64,
        /// How many went just before, too few at a time to be held.
        before: u64,
        /// Of how many.
        of: u64,
    },
    /// Many conflicts in one subtree.
    ConflictStorm {
        /// Where; `None` is the root.
        path: Option<RelPath>,
        /// How many.
        conflicts: usize,
    },
}

/// What of a plan has to wait for a yes: files that would go from one side, beyond the limits, by themselves or together
/// with those that went lately. A file whose content the same plan puts elsewhere on that side is moved, not deleted.
pub fn holds(alpha: &Tree, beta: &Tree, plan: &Plan, limits: &Limits, ebbs: [&Ebb; 2]) -> Vec<Hold> {
    let sides = [(Side::Alpha, alpha), (Side::Beta, beta)];
    let hold = |((side, tree), ebb): ((Side, &Tree), &Ebb)| {
        let there = tree.root().map_or(0, Item::files);
        let gone = unasked(plan, side, ebb);
        let files = gone.len() as u64;
        let flow = ebb.flow(there, files);
        let much = |files: u64, of: u64| files > limits.deletions || of >= limits.half_of && files > of / 2;
        let (before, of) = if flow.before > 0 && much(files + flow.before, flow.of) {
            (flow.before, flow.of)
        } else if much(files, there) {
            (0, there)
        } else {
            return None;
        };
        (files > 0).then(|| Hold {
            key: key(&format!("deletions {side}"), gone.iter()),
            cause: Cause::MassDeletion { from: side, files, before, of },
            samples: spread(gone.iter(), gone.len(), limits.samples),
            paths: gone.into(),
        })
    };
    sides.into_iter().zip(ebbs).filter_map(hold).collect()
}

/// The files that a plan would remove from a side, and that nobody has said yes to.
pub fn unasked(plan: &Plan, side: Side, ebb: &Ebb) -> Vec<RelPath> {
    let mut gone = deletions(plan.on(side));
    gone.retain(|path| !ebb.allows(path));
    gone
}

/// Takes everything out of a plan that removes a file from a side, unless somebody has said yes to it. The ancestor
/// still knows it, so the next plan will have it again.
pub fn set_aside(plan: &mut Plan, side: Side, ebb: &Ebb) {
    let may_go = |path: &Option<RelPath>| path.as_ref().is_some_and(|path| ebb.allows(path));
    plan.on_mut(side).retain(|transition| removed(transition).all(|(path, _)| may_go(&path)));
}

impl Hold {
    /// Takes what waits out of a plan. Conflicts write nothing, and stay.
    pub fn set_aside(&self, plan: &mut Plan, ebbs: [&Ebb; 2]) {
        if let Cause::MassDeletion { from, .. } = self.cause {
            set_aside(plan, from, ebbs[from as usize]);
        }
    }

    /// Whether no strategy may decide a conflict before the yes.
    pub(crate) fn keeps(&self, conflict: &Conflict) -> bool {
        match &self.cause {
            Cause::ConflictStorm { path: Some(path), .. } => {
                conflict.path.as_ref().is_some_and(|other| other.is_within(path))
            }
            Cause::ConflictStorm { path: None, .. } => true,
            Cause::MassDeletion { .. } => false,
        }
    }
}

/// Files and links that transitions take away and put nowhere else, in the order of their paths.
pub(crate) fn deletions(transitions: &[Transition]) -> Vec<RelPath> {
    let mut moved: HashMap<(Digest, bool), u64> = HashMap::new();
    let gone: Vec<_> = transitions.iter().flat_map(removed).collect();
    if gone.is_empty() {
        return Vec::new();
    }
    for transition in transitions {
        for (_, item) in transition.new.iter().flat_map(|item| item.walk(transition.path.clone())) {
            if let Some(content) = content(item) {
                *moved.entry(content).or_default() += 1;
            }
        }
    }
    let deleted = gone.into_iter().filter(|(_, item)| {
        let copies = content(item).and_then(|content| moved.get_mut(&content));
        copies.is_none_or(|copies| {
            let is_gone = *copies == 0;
            *copies = copies.saturating_sub(1);
            is_gone
        })
    });
    deleted.filter_map(|(path, _)| path).collect()
}

fn content(item: &Item) -> Option<(Digest, bool)> {
    match item {
        Item::File(file) => Some((file.digest, file.executable)),
        _ => None,
    }
}

/// The files and links in what a transition replaces that no file or link replaces.
fn removed(transition: &Transition) -> impl Iterator<Item = (Option<RelPath>, &Item)> {
    let is_file = |item: &Item| matches!(item, Item::File(_) | Item::Symlink(_));
    let kept = transition.new.as_ref().is_some_and(is_file) && transition.old.as_ref().is_some_and(is_file);
    let old = transition.old.iter().filter(move |_| !kept);
    old.flat_map(|item| item.walk(transition.path.clone())).filter(move |(_, item)| is_file(item))
}

fn key<'a>(what: &str, paths: impl Iterator<Item = &'a RelPath>) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(what.as_bytes());
    for path in paths {
        hasher.update(&[0]).update(path.as_bytes());
    }
    hasher.finalize().into()
}

/// Some of many, from all over.
fn spread<'a>(paths: impl Iterator<Item = &'a RelPath>, many: usize, samples: usize) -> Vec<RelPath> {
    let step = many.div_ceil(samples.max(1)).max(1);
    paths.step_by(step).take(samples).cloned().collect()
}

/// One thing to tell about conflicts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble<'a> {
    /// A conflict by itself.
    One(&'a Conflict),
    /// So many in one subtree that they are one matter, held for a yes.
    Storm {
        /// Where; `None` is the root.
        path: Option<RelPath>,
        /// All of them.
        conflicts: &'a [Conflict],
    },
}

/// Tells conflicts in few items: where a subtree has more than the limit, it is one. They come in the order of a plan.
pub fn troubles<'a>(conflicts: &'a [Conflict], limits: &Limits) -> Vec<Trouble<'a>> {
    fold(None, conflicts, 0, limits.conflicts)
}

/// The conflicts that are too many in one place for a strategy to decide without a yes.
pub fn storms(conflicts: &[Conflict], limits: &Limits) -> Vec<Hold> {
    let storm = |trouble| match trouble {
        Trouble::Storm { path, conflicts } => {
            let paths = || conflicts.iter().filter_map(|conflict| conflict.path.as_ref());
            Some(Hold {
                key: key("conflicts", paths()),
                cause: Cause::ConflictStorm { path, conflicts: conflicts.len() },
                paths: paths().cloned().collect(),
                samples: spread(paths(), conflicts.len(), limits.samples),
            })
        }
        Trouble::One(_) => None,
    };
    troubles(conflicts, limits).into_iter().filter_map(storm).collect()
}

fn fold(path: Option<RelPath>, conflicts: &[Conflict], depth: usize, most: usize) -> Vec<Trouble<'_>> {
    if conflicts.len() <= most {
        return conflicts.iter().map(Trouble::One).collect();
    }
    let name = |conflict: &Conflict| {
        conflict.path.as_ref().and_then(|path| path.components().nth(depth)).map(<[u8]>::to_vec)
    };
    let mut items = Vec::new();
    for group in conflicts.chunk_by(|one, two| name(one) == name(two)) {
        match name(&group[0]) {
            Some(name) if group.len() > 1 => {
                items.extend(fold(Some(below_path(path.as_ref(), &name)), group, depth + 1, most));
            }
            _ => items.extend(group.iter().map(Trouble::One)),
        }
    }
    if items.len() > most { vec![Trouble::Storm { path, conflicts }] } else { items }
}

#[cfg(test)]
mod tests;
