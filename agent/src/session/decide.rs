//! What is to happen next: a plan, less what waits, is held, was put off or is under way.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Event;
use super::Instant;
use super::Session;
use super::Settings;
use super::Sight;
use super::preview::Counts;
use super::preview::Named;
use super::preview::Preview;
use super::preview::ruled;
use super::queue::Queue;
use crate::path::RelPath;
use crate::reconcile::Conflict;
use crate::reconcile::Plan;
use crate::reconcile::Side;
use crate::reconcile::reconcile;
use crate::resolve::choose;
use crate::resolve::resolve;
use crate::rules::Rules;
use crate::safety;
use crate::safety::Cause;
use crate::safety::Halt;
use crate::safety::Hold;
use crate::tree::Directory;
use crate::tree::Item;
use crate::tree::Name;
use crate::tree::Tree;

/// Fewer deletions than this go at once; more wait until nothing has changed for a while, or for so long.
const FEW: u64 = 50;
const REST: Duration = Duration::from_millis(200);
const REST_MAX: Duration = Duration::from_secs(3);
/// While this many changes wait, a new plan is made no more often than every [`REPLAN`].
const BACKLOG: u64 = 2_000;
const REPLAN: Duration = Duration::from_millis(250);

impl Session {
    pub(super) fn plan(&mut self, now: Instant) {
        let backlog: u64 = self.replicas.iter().map(|replica| replica.queue.waiting().0).sum();
        if !self.stale || backlog > BACKLOG && now < self.planned + REPLAN {
            return;
        }
        // Half of a branch is of no use to anybody: all that git changes goes at once.
        if self.replicas.iter().any(|replica| replica.burst.is_some_and(|until| now < until)) {
            return;
        }
        self.stale = false;
        self.planned = now;
        let Some(plan) = self.decide(now) else {
            for replica in &mut self.replicas {
                replica.queue = Queue::default();
            }
            return;
        };
        for change in &plan.ancestor {
            let event = Event::Agreed { on: Sight::of(change.item.as_ref()) };
            self.memory.note(now, change.path.clone(), event);
        }
        self.agree(plan.ancestor).expect("a plan fits the trees it was made of");
        let underway: BTreeSet<_> = self
            .batches
            .values()
            .flat_map(|batch| &batch.transitions)
            .map(|transition| transition.path.clone())
            .collect();
        let mut wanted = BTreeSet::new();
        for (side, transitions) in [(Side::Alpha, plan.alpha), (Side::Beta, plan.beta)] {
            let mut free = Vec::new();
            for transition in transitions {
                let path = transition.path.as_ref();
                if touches(&underway, path) {
                    continue;
                }
                let mut wait = false;
                for (deferred, until) in
                    self.deferred.iter_mut().filter(|(deferred, _)| overlaps(deferred.as_ref(), path))
                {
                    wanted.insert(deferred.clone());
                    wait |= until.until > now;
                }
                if !wait {
                    free.push(transition);
                }
            }
            self.replica_mut(side).queue = Queue::new(free);
        }
        // Under way, it is settled or put off again by its outcome; no longer planned, it is forgotten.
        self.deferred.retain(|path, _| wanted.contains(path) || touches(&underway, path.as_ref()));
    }

    /// What is to happen, as far as nothing stops it and nobody has to be asked.
    pub(super) fn decide(&mut self, now: Instant) -> Option<Plan> {
        if self.halt == Some(Halt::RootReplaced) {
            return None;
        }
        for side in Side::BOTH {
            let files = self.replica(side).tree.root().map_or(0, Item::files);
            let deletion =
                |hold: &Hold| matches!(hold.cause, Cause::MassDeletion { from, .. } if from == side);
            let waits = self.holds.iter().any(deletion);
            self.ebbs[side as usize].saw(files, now, waits);
        }
        let Weighed { mut plan, chosen, halt, holds, deletions } =
            self.weigh(&self.settings, self.replicas.each_ref().map(|replica| &replica.tree));
        self.halt = halt;
        if self.halt.is_some() {
            return None;
        }
        for (ebb, planned) in self.ebbs.iter_mut().zip(&deletions) {
            ebb.forget_all_but(&planned.iter().collect());
        }
        // Somebody may still be deleting: all of it counts, and not the part that was seen first.
        let unrest = now < self.told + REST && now < *self.deleting.get_or_insert(now) + REST_MAX;
        let unasked = Side::BOTH.map(|side| safety::unasked(&plan, side, &self.ebbs[side as usize]));
        let many = unasked.map(|unasked| unasked.len() as u64 > FEW);
        if many.contains(&true) && unrest {
            for side in Side::BOTH.into_iter().filter(|side| many[*side as usize]) {
                safety::set_aside(&mut plan, side, &self.ebbs[side as usize]);
            }
            self.stale = true;
        } else {
            self.deleting = None;
        }
        self.choices.retain(|path, _| chosen.paths.contains(path));
        self.withdraw();
        chosen.put_into(&mut plan);
        self.holds = holds;
        let known: BTreeSet<_> = self.conflicts.iter().map(|conflict| conflict.path.clone()).collect();
        for conflict in plan.conflicts.iter().filter(|conflict| !known.contains(&conflict.path)) {
            self.memory.note(now, conflict.path.clone(), Event::Conflict);
        }
        self.conflicts.clone_from(&plan.conflicts);
        Some(plan)
    }

    /// What would be done on each side under other settings, with what is known now. Nothing changes by it.
    pub fn preview(&self, settings: &Settings) -> Preview {
        self.forecast(settings, self.replicas.each_ref().map(|replica| &replica.tree))
    }

    /// The same, where other rules say what is carried.
    pub fn preview_under(&self, settings: &Settings, rules: &Rules) -> Preview {
        let (mut stops, mut begins) = (BTreeSet::new(), BTreeSet::new());
        let trees =
            self.replicas.each_ref().map(|replica| ruled(&replica.tree, rules, &mut stops, &mut begins));
        let samples = settings.limits.samples;
        let (stops, begins) = (Named::of(&stops, samples), Named::of(&begins, samples));
        Preview { stops, begins, ..self.forecast(settings, trees.each_ref()) }
    }

    fn forecast(&self, settings: &Settings, trees: [&Tree; 2]) -> Preview {
        let Weighed { mut plan, chosen, halt, holds, .. } = self.weigh(settings, trees);
        chosen.put_into(&mut plan);
        let sides = Side::BOTH.map(|side| Counts::of(plan.on(side)));
        let (stops, begins) = Default::default();
        Preview { sides, conflicts: plan.conflicts, holds, halt, stops, begins }
    }

    /// What follows from what is known. What waits for a yes is not in the plan any more, nor is what a person chose.
    fn weigh(&self, settings: &Settings, [alpha, beta]: [&Tree; 2]) -> Weighed {
        let Settings { mode, strategy, limits } = *settings;
        // Rules reach the two sides at different moments: what either leaves alone is left alone on both.
        let (alpha, beta) = (&veiled(alpha, beta), &veiled(beta, alpha));
        let mut plan = reconcile(&self.ancestor, alpha, beta, mode);
        let halt =
            safety::halt(&self.ancestor, alpha, beta, &plan).filter(|halt| self.accepted != Some(*halt));
        let mut holds = safety::storms(&plan.conflicts, &limits);
        holds.retain(|hold| !self.approved.contains(&hold.key));
        let paths = self
            .choices
            .iter()
            .filter(|(path, chosen)| {
                let mut seen = chosen.seen.iter();
                seen.any(|seen| choose(&mut plan, mode, path.as_ref(), *seen, &chosen.choice).is_ok())
            })
            .map(|(path, _)| path.clone())
            .collect();
        // A person has said yes to what they chose.
        let chosen = Settled::out_of(&mut plan, paths);
        let modified = |side, conflict: &Conflict| self.modified(side, conflict);
        resolve(&mut plan, mode, strategy, &modified, &holds);
        let ebbs = self.ebbs.each_ref();
        let deletions = Side::BOTH.map(|side| safety::deletions(plan.on(side)));
        holds.extend(safety::holds(alpha, beta, &plan, &limits, ebbs));
        holds.iter().for_each(|hold| hold.set_aside(&mut plan, ebbs));
        Weighed { plan, chosen, halt, holds, deletions }
    }
}

/// A plan, and what was set aside of it.
struct Weighed {
    plan: Plan,
    chosen: Settled,
    halt: Option<Halt>,
    holds: Vec<Hold>,
    /// The files that would go from each side, held or not.
    deletions: [Vec<RelPath>; 2],
}

/// What a person chose, which no limit holds back.
struct Settled {
    paths: BTreeSet<Option<RelPath>>,
    plan: Plan,
}

impl Settled {
    fn out_of(plan: &mut Plan, paths: BTreeSet<Option<RelPath>>) -> Self {
        let mut own = Plan::default();
        for side in Side::BOTH {
            *own.on_mut(side) =
                plan.on_mut(side).extract_if(.., |transition| paths.contains(&transition.path)).collect();
        }
        Self { paths, plan: own }
    }

    fn put_into(self, plan: &mut Plan) {
        for (side, mut own) in [(Side::Alpha, self.plan.alpha), (Side::Beta, self.plan.beta)] {
            let all = plan.on_mut(side);
            all.append(&mut own);
            all.sort_by(|one, two| one.path.cmp(&two.path));
        }
    }
}

/// Whether one is the other or lies below it.
pub(super) fn overlaps(one: Option<&RelPath>, other: Option<&RelPath>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.is_within(other) || other.is_within(one),
        _ => true,
    }
}

/// Whether a path overlaps any of `paths`.
pub(super) fn touches(paths: &BTreeSet<Option<RelPath>>, path: Option<&RelPath>) -> bool {
    let Some(path) = path else { return !paths.is_empty() };
    let below = paths.range(Some(path.clone())..).next();
    if below.is_some_and(|below| overlaps(below.as_ref(), Some(path))) {
        return true;
    }
    let mut at = path.parent();
    loop {
        if paths.contains(&at) {
            return true;
        }
        let Some(parent) = at else { return false };
        at = parent.parent();
    }
}

/// A tree in which nothing is carried that `other` does not track.
fn veiled(tree: &Tree, other: &Tree) -> Tree {
    let root = tree.root().map(|item| veil(item, other.root()).unwrap_or_else(|| item.clone()));
    Tree::with_root(root)
}

/// What takes the place of an item; `None` when it stays as it is.
fn veil(item: &Item, other: Option<&Item>) -> Option<Item> {
    match (item, other) {
        (Item::Directory(one), Some(Item::Directory(two))) if !one.carries_same(two) => {
            let veiled = one.iter().map(|(name, child)| veil(child, two.get(name)));
            let veiled: Vec<_> = veiled.collect();
            veiled.iter().any(Option::is_some).then(|| {
                let child = |((name, child), veiled): (&(Name, Item), Option<Item>)| {
                    (name.clone(), veiled.unwrap_or_else(|| child.clone()))
                };
                Item::Directory(Directory::from_children(one.iter().zip(veiled).map(child).collect()))
            })
        }
        (item, Some(Item::Untracked(keep))) if item.is_carried() => Some(Item::Untracked(*keep)),
        _ => None,
    }
}
