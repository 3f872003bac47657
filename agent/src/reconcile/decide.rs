//! The rules: what happens at one path, from the top down.

use crate::path::RelPath;
use crate::reconcile::plan::Conflict;
use crate::reconcile::plan::Mode;
use crate::reconcile::plan::Plan;
use crate::reconcile::plan::Side;
use crate::reconcile::plan::Transition;
use crate::tree::Change;
use crate::tree::Directory;
use crate::tree::Item;
use crate::tree::Name;
use crate::tree::Tree;
use crate::tree::below_path;

/// Compares three trees and says what has to happen. Looks only into directories in which they differ.
pub fn reconcile(ancestor: &Tree, alpha: &Tree, beta: &Tree, mode: Mode) -> Plan {
    let mut planner = Planner { mode, plan: Plan::default(), visited: 0 };
    planner.visit(None, Three { ancestor: ancestor.root(), alpha: alpha.root(), beta: beta.root() });
    planner.plan
}

pub(super) struct Planner {
    pub(super) mode: Mode,
    pub(super) plan: Plan,
    /// How many triples of items were looked at: what a plan costs.
    pub(super) visited: usize,
}

/// What stands at one path in the three trees.
#[derive(Clone, Copy)]
pub(super) struct Three<'a> {
    pub(super) ancestor: Option<&'a Item>,
    pub(super) alpha: Option<&'a Item>,
    pub(super) beta: Option<&'a Item>,
}

enum Decision {
    Write(Side),
    Forget,
    Conflict,
}

impl Planner {
    pub(super) fn visit(&mut self, path: Option<RelPath>, three: Three<'_>) {
        self.visited += 1;
        let unknown = |item| matches!(item, Some(&Item::Problematic(_)));
        if unknown(three.alpha) || unknown(three.beta) {
            return;
        }
        match (carried(three.alpha), carried(three.beta)) {
            (None, None) => self.learn(path, three.ancestor, None),
            (Some(Item::Directory(alpha)), Some(Item::Directory(beta))) => {
                self.enter(path, three.ancestor, alpha, beta);
            }
            (Some(alpha), Some(beta)) if alpha == beta => self.learn(path, three.ancestor, Some(alpha)),
            _ => self.differ(path, three),
        }
    }

    /// Both sides agree on what stands here and below.
    fn learn(&mut self, path: Option<RelPath>, ancestor: Option<&Item>, item: Option<&Item>) {
        if !same(ancestor, item) {
            self.plan.ancestor.push(Change { path, item: item.and_then(Item::carried) });
        }
    }

    /// Both sides have a directory here.
    fn enter(&mut self, path: Option<RelPath>, ancestor: Option<&Item>, alpha: &Directory, beta: &Directory) {
        let known = ancestor.and_then(Item::as_directory);
        let agree = alpha.carries_same(beta);
        if agree && known.is_some_and(|known| known.carries_same(alpha)) {
            return;
        }
        let nothing = Directory::empty();
        let ancestor = known.unwrap_or_else(|| {
            let item = if agree { alpha.carried() } else { nothing.clone() };
            self.plan.ancestor.push(Change { path: path.clone(), item: Some(Item::Directory(item)) });
            if agree { alpha } else { &nothing }
        });
        for (name, three) in children([ancestor, alpha, beta]) {
            if !(same(three.alpha, three.beta) && same(three.ancestor, three.alpha)) {
                self.visit(Some(below_path(path.as_ref(), name)), three);
            }
        }
    }

    /// The sides differ here, and not only below: the whole subtree goes one way.
    fn differ(&mut self, path: Option<RelPath>, three: Three<'_>) {
        match self.decide(three) {
            Decision::Write(side) => self.write(path, three, side),
            Decision::Forget => self.learn(path, three.ancestor, None),
            Decision::Conflict => self.conflict(path, three),
        }
    }

    fn decide(&self, three: Three<'_>) -> Decision {
        let Three { ancestor, alpha, beta } = three;
        match self.mode {
            Mode::OneWayReplica => Decision::Write(Side::Beta),
            Mode::OneWaySafe if only_removes(ancestor, beta) => Decision::Write(Side::Beta),
            Mode::OneWaySafe => {
                let directory = |item: Option<&Item>| item.and_then(Item::as_directory).is_some();
                let own = carried(alpha).is_none() && !(directory(ancestor) && directory(beta));
                if own { Decision::Forget } else { Decision::Conflict }
            }
            _ if same(ancestor, beta) => Decision::Write(Side::Beta),
            _ if same(ancestor, alpha) => Decision::Write(Side::Alpha),
            Mode::TwoWaySafe | Mode::TwoWayResolved => {
                match (only_removes(ancestor, alpha), only_removes(ancestor, beta)) {
                    // Of two removals that differ at the top, one left nothing: that is the fuller.
                    (true, true) if carried(alpha).is_none() => Decision::Write(Side::Beta),
                    (true, _) => Decision::Write(Side::Alpha),
                    (false, true) => Decision::Write(Side::Beta),
                    (false, false) if self.mode == Mode::TwoWayResolved => Decision::Write(Side::Beta),
                    (false, false) => Decision::Conflict,
                }
            }
        }
    }

    fn write(&mut self, path: Option<RelPath>, three: Three<'_>, side: Side) {
        let (from, to) = match side {
            Side::Alpha => (three.beta, three.alpha),
            Side::Beta => (three.alpha, three.beta),
        };
        if is_blocked(to) {
            return self.conflict(path, three);
        }
        let transition = Transition { path, old: to.cloned(), new: from.and_then(Item::carried) };
        self.plan.on_mut(side).push(transition);
    }

    fn conflict(&mut self, path: Option<RelPath>, three: Three<'_>) {
        self.plan.conflicts.push(Conflict {
            path,
            ancestor: three.ancestor.cloned(),
            alpha: three.alpha.cloned(),
            beta: three.beta.cloned(),
        });
    }
}

/// The children of three directories side by side, names in order.
fn children<'a>(directories: [&'a Directory; 3]) -> impl Iterator<Item = (&'a Name, Three<'a>)> {
    let mut rest = directories.map(|directory| directory.iter().peekable());
    std::iter::from_fn(move || {
        let name = rest.iter_mut().filter_map(|children| children.peek().map(|(name, _)| name)).min()?;
        let [ancestor, alpha, beta] = rest
            .each_mut()
            .map(|children| children.next_if(|(other, _)| other == name).map(|(_, item)| item));
        Some((name, Three { ancestor, alpha, beta }))
    })
}

/// What stands there as far as it is carried.
fn carried(item: Option<&Item>) -> Option<&Item> {
    item.filter(|item| item.is_carried())
}

/// Whether the same is carried in both.
pub(crate) fn same(one: Option<&Item>, two: Option<&Item>) -> bool {
    match (carried(one), carried(two)) {
        (None, None) => true,
        (Some(one), Some(two)) => one.carries_same(two),
        _ => false,
    }
}

/// Whether nothing of what is there now is new since the ancestor.
pub(crate) fn only_removes(ancestor: Option<&Item>, now: Option<&Item>) -> bool {
    match (carried(ancestor), carried(now)) {
        (_, None) => true,
        (Some(Item::Directory(ancestor)), Some(Item::Directory(now))) => {
            ancestor.carries_same(now)
                || now.iter().all(|(name, item)| only_removes(ancestor.get(name), Some(item)))
        }
        (Some(ancestor), Some(now)) => ancestor == now,
        (None, Some(_)) => false,
    }
}

/// Whether something stands there that must be neither overwritten nor removed.
pub(crate) fn is_blocked(item: Option<&Item>) -> bool {
    match item {
        Some(Item::Untracked(_) | Item::Problematic(_)) => true,
        Some(Item::Directory(directory)) => directory.holds_protected() || directory.holds_problems(),
        Some(Item::File(_) | Item::Symlink(_)) | None => false,
    }
}
