//! What holds for every plan, whatever the trees.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::Planner;
use super::Scene;
use super::carried;
use super::conflict_paths;
use super::scenes;
use crate::path::RelPath;
use crate::reconcile::Mode;
use crate::reconcile::Plan;
use crate::reconcile::Side;
use crate::reconcile::Transition;
use crate::reconcile::decide;
use crate::reconcile::reconcile;
use crate::sample::big;
use crate::sample::cases;
use crate::sample::change;
use crate::sample::file;
use crate::tree::Change;
use crate::tree::Directory;
use crate::tree::Item;
use crate::tree::Keep;
use crate::tree::Tree;

type Outcome = Result<(), TestCaseError>;

/// What stands at each path, without what is below.
type Flat = BTreeMap<Option<RelPath>, Item>;

fn flat(tree: &Tree) -> Flat {
    let shallow = |item: &Item| match item {
        Item::Directory(_) => Item::Directory(Directory::empty()),
        other => other.clone(),
    };
    tree.root()
        .into_iter()
        .flat_map(|root| root.walk(None))
        .map(|(path, item)| (path, shallow(item)))
        .collect()
}

fn within(path: Option<&RelPath>, other: Option<&RelPath>) -> bool {
    match (path, other) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(path), Some(other)) => path.is_within(other),
    }
}

fn is_version(item: &Item) -> bool {
    matches!(item, Item::File(_) | Item::Symlink(_))
}

/// All laws about one plan.
pub(super) fn check(scene: &Scene, mode: Mode, planner: Planner<'_>) -> Outcome {
    let plan = scene.plan(planner, mode);
    writes_are_disjoint(&plan)?;
    let after = applied(scene, &plan)?;
    truth(scene, &plan)?;
    once_is_enough(&after, mode, planner, &plan)?;
    converges(scene, &after, mode, &plan)?;
    nothing_is_lost(scene, &after, mode, &plan)?;
    blockers_stay(scene, &after)?;
    unknown_is_not_absent(scene, &after, &plan)?;
    prop_assert!(mode.writes(Side::Alpha) || plan.alpha.is_empty(), "one way: the host is never written");
    the_ancestor_is_true(scene, &after, mode, &plan)?;
    conflicts_are_frozen(scene, &after, &plan)?;
    conflicts_have_a_cause(mode, &plan)?;
    a_lost_ancestor_deletes_nothing(scene, mode, planner)?;
    if mode == Mode::TwoWaySafe {
        sides_are_alike(scene, planner, &plan)?;
    }
    one_child_at_a_time(scene, &after, mode, planner, &plan)
}

fn applied(scene: &Scene, plan: &Plan) -> Result<Scene, TestCaseError> {
    scene.after(plan).map_err(|error| TestCaseError::fail(format!("the plan cannot be applied: {error}")))
}

/// No path is written twice, and nothing is written at, above or below a conflict.
fn writes_are_disjoint(plan: &Plan) -> Outcome {
    let writes = plan.alpha.iter().chain(&plan.beta).map(|transition| &transition.path);
    let roots: Vec<_> = writes.chain(plan.conflicts.iter().map(|conflict| &conflict.path)).collect();
    for (index, one) in roots.iter().enumerate() {
        for other in &roots[index + 1..] {
            prop_assert!(
                !within(one.as_ref(), other.as_ref()) && !within(other.as_ref(), one.as_ref()),
                "{one:?} and {other:?} overlap"
            );
        }
    }
    Ok(())
}

/// A transition says what is really there, changes it, and brings only what is carried.
fn truth(scene: &Scene, plan: &Plan) -> Outcome {
    for (tree, list) in [(&scene.alpha, &plan.alpha), (&scene.beta, &plan.beta)] {
        for Transition { path, old, new } in list {
            prop_assert_eq!(tree.get(path.as_ref()), old.as_ref());
            prop_assert!(new != old);
            let brought = new.iter().flat_map(|item| item.walk(None));
            prop_assert!(brought.map(|(_, item)| item).all(Item::is_carried));
        }
    }
    Ok(())
}

/// After a plan there is nothing more to do, and the same conflicts are left.
fn once_is_enough(after: &Scene, mode: Mode, planner: Planner<'_>, first: &Plan) -> Outcome {
    let second = after.plan(planner, mode);
    prop_assert!(second.is_quiet(), "a second plan wants more: {second:#?}");
    prop_assert_eq!(conflict_paths(&second), conflict_paths(first));
    let settled = carried(&after.ancestor);
    let quiet = planner(&settled, &settled, &settled, mode);
    prop_assert!(
        quiet.is_quiet() && quiet.conflicts.is_empty(),
        "three equal trees want something: {quiet:#?}"
    );
    Ok(())
}

fn has_problems(tree: &Tree) -> bool {
    flat(tree).values().any(|item| matches!(item, Item::Problematic(_)))
}

/// Where nothing is in the way both sides end up the same.
fn converges(scene: &Scene, after: &Scene, mode: Mode, plan: &Plan) -> Outcome {
    if !plan.conflicts.is_empty() || has_problems(&scene.alpha) || has_problems(&scene.beta) {
        return Ok(());
    }
    if mode == Mode::OneWaySafe {
        let beta = flat(&carried(&after.beta));
        for (path, item) in flat(&carried(&after.alpha)) {
            prop_assert_eq!(beta.get(&path), Some(&item), "the container lacks {:?}", path);
        }
        return Ok(());
    }
    prop_assert_eq!(carried(&after.alpha), carried(&after.beta));
    prop_assert_eq!(carried(&after.alpha), after.ancestor.clone());
    Ok(())
}

/// Every version that is new on a side is still on one of them, or, where the mode lets one win, was displaced as a
/// whole and said so.
fn nothing_is_lost(scene: &Scene, after: &Scene, mode: Mode, plan: &Plan) -> Outcome {
    let known = flat(&scene.ancestor);
    let (alpha, beta) = (flat(&after.alpha), flat(&after.beta));
    let safe = matches!(mode, Mode::TwoWaySafe | Mode::OneWaySafe);
    for (tree, list) in [(&scene.alpha, &plan.alpha), (&scene.beta, &plan.beta)] {
        for (path, item) in flat(tree).into_iter().filter(|(_, item)| is_version(item)) {
            let is_new = known.get(&path) != Some(&item);
            let somewhere = alpha.get(&path) == Some(&item) || beta.get(&path) == Some(&item);
            let displaced = list.iter().any(|transition| within(path.as_ref(), transition.path.as_ref()));
            prop_assert!(somewhere || displaced, "{path:?} vanished without a word");
            prop_assert!(!safe || !is_new || somewhere, "a new version of {path:?} is lost");
        }
    }
    Ok(())
}

/// What is not carried is neither changed nor removed; the disposable goes only with its directory.
fn blockers_stay(scene: &Scene, after: &Scene) -> Outcome {
    for (before, after) in [(&scene.alpha, &after.alpha), (&scene.beta, &after.beta)] {
        let after = flat(after);
        for (path, item) in flat(before).into_iter().filter(|(_, item)| !item.is_carried()) {
            let parent = path.as_ref().and_then(RelPath::parent);
            let parent_stays = path.is_none() || matches!(after.get(&parent), Some(Item::Directory(_)));
            let may_go = item == Item::Untracked(Keep::Disposable) && !parent_stays;
            prop_assert!(may_go || after.get(&path) == Some(&item), "{path:?} was touched");
        }
    }
    Ok(())
}

/// Where a side cannot be read nothing happens on the other, and the ancestor stays as it was. Only a directory as a
/// whole may go past a problem in it, and only away from it.
fn unknown_is_not_absent(scene: &Scene, after: &Scene, plan: &Plan) -> Outcome {
    let sides = [(&scene.alpha, &plan.alpha, &plan.beta), (&scene.beta, &plan.beta, &plan.alpha)];
    for (tree, here, there) in sides {
        for (path, _) in flat(tree).into_iter().filter(|(_, item)| matches!(item, Item::Problematic(_))) {
            let passed =
                there.iter().any(|write| write.path != path && within(path.as_ref(), write.path.as_ref()));
            prop_assert!(
                !here.iter().any(|write| within(path.as_ref(), write.path.as_ref())),
                "{path:?} would be overwritten"
            );
            prop_assert!(
                !there.iter().any(|write| within(write.path.as_ref(), path.as_ref())),
                "{path:?} counts as absent"
            );
            let path = path.as_ref();
            prop_assert!(
                passed || scene.ancestor.get(path) == after.ancestor.get(path),
                "{path:?} was forgotten"
            );
        }
    }
    Ok(())
}

/// The ancestor says what both sides have, no less and no more.
fn the_ancestor_is_true(scene: &Scene, after: &Scene, mode: Mode, plan: &Plan) -> Outcome {
    let problems = [&scene.alpha, &scene.beta].map(flat);
    let mut frozen = conflict_paths(plan);
    frozen.extend(
        problems
            .iter()
            .flatten()
            .filter(|(_, item)| matches!(item, Item::Problematic(_)))
            .map(|(path, _)| path.clone()),
    );
    let open = |path: &Option<RelPath>| !frozen.iter().any(|frozen| within(path.as_ref(), frozen.as_ref()));
    let (ancestor, alpha, beta) = (flat(&after.ancestor), flat(&after.alpha), flat(&after.beta));
    for (path, item) in &ancestor {
        prop_assert!(item.is_carried());
        if open(path) {
            prop_assert_eq!(alpha.get(path), Some(item), "the ancestor claims {:?} of the host", path);
            prop_assert_eq!(beta.get(path), Some(item), "the ancestor claims {:?} of the container", path);
        }
    }
    for (path, item) in alpha.iter().filter(|(path, item)| item.is_carried() && open(path)) {
        let both = beta.get(path) == Some(item);
        prop_assert!(
            !both || ancestor.get(path) == Some(item),
            "{path:?} agrees and the ancestor does not know"
        );
        prop_assert!(both || mode != Mode::TwoWaySafe, "{path:?} was left behind");
    }
    Ok(())
}

/// Nothing changes at or below a conflict, in any of the three.
fn conflicts_are_frozen(scene: &Scene, after: &Scene, plan: &Plan) -> Outcome {
    for conflict in &plan.conflicts {
        let path = conflict.path.as_ref();
        let trees =
            [(&scene.alpha, &after.alpha), (&scene.beta, &after.beta), (&scene.ancestor, &after.ancestor)];
        for (before, after) in trees {
            prop_assert_eq!(before.get(path), after.get(path), "a conflict at {:?} was touched", path);
        }
        prop_assert_eq!(conflict.alpha.as_ref(), scene.alpha.get(path));
        prop_assert_eq!(conflict.beta.as_ref(), scene.beta.get(path));
        prop_assert_eq!(conflict.ancestor.as_ref(), scene.ancestor.get(path));
        let directories =
            [&conflict.alpha, &conflict.beta].map(|item| matches!(item, Some(Item::Directory(_))));
        prop_assert!(
            directories != [true, true] && conflict.alpha != conflict.beta,
            "a conflict above its cause"
        );
    }
    Ok(())
}

/// There is a conflict only where both made something new, or something that must stay is in the way.
fn conflicts_have_a_cause(mode: Mode, plan: &Plan) -> Outcome {
    for conflict in &plan.conflicts {
        let mut known = Flat::new();
        known.extend(conflict.ancestor.iter().flat_map(|item| flat(&Tree::with_root(Some(item.clone())))));
        let new = |item: &Option<Item>| {
            let all = flat(&carried(&Tree::with_root(item.clone())));
            all.iter().any(|(path, item)| known.get(path) != Some(item))
        };
        let edited = match mode {
            Mode::TwoWaySafe => new(&conflict.alpha) && new(&conflict.beta),
            Mode::OneWaySafe => new(&conflict.beta),
            Mode::TwoWayResolved | Mode::OneWayReplica => false,
        };
        let in_the_way = [&conflict.alpha, &conflict.beta].into_iter().any(|item| {
            flat(&Tree::with_root(item.clone())).into_iter().any(|(path, item)| match item {
                Item::Untracked(Keep::Disposable) => path.is_none(),
                other => !other.is_carried(),
            })
        });
        prop_assert!(edited || in_the_way, "a conflict for nothing: {conflict:#?}");
    }
    Ok(())
}

/// Without an ancestor nobody knows that something was deleted. A replica deletes by its own right.
fn a_lost_ancestor_deletes_nothing(scene: &Scene, mode: Mode, planner: Planner<'_>) -> Outcome {
    if mode == Mode::OneWayReplica {
        return Ok(());
    }
    let scene = Scene { ancestor: Tree::default(), ..scene.clone() };
    let plan = scene.plan(planner, mode);
    for transition in plan.alpha.iter().chain(&plan.beta) {
        prop_assert!(transition.new.is_some(), "{:?} is deleted", transition.path);
    }
    Ok(())
}

/// Seen from the other side the plan is the same.
fn sides_are_alike(scene: &Scene, planner: Planner<'_>, plan: &Plan) -> Outcome {
    let mirror = planner(&scene.ancestor, &scene.beta, &scene.alpha, Mode::TwoWaySafe);
    prop_assert_eq!(&mirror.alpha, &plan.beta);
    prop_assert_eq!(&mirror.beta, &plan.alpha);
    prop_assert_eq!(&mirror.ancestor, &plan.ancestor);
    prop_assert_eq!(conflict_paths(&mirror), conflict_paths(plan));
    Ok(())
}

/// What happens to a child does not depend on its siblings.
fn one_child_at_a_time(
    scene: &Scene,
    after: &Scene,
    mode: Mode,
    planner: Planner<'_>,
    plan: &Plan,
) -> Outcome {
    let (Some(Item::Directory(alpha)), Some(Item::Directory(beta))) = (scene.alpha.root(), scene.beta.root())
    else {
        return Ok(());
    };
    for (name, _) in alpha.iter().chain(beta) {
        let path = RelPath::parse(name).unwrap();
        let alone = |tree: &Tree| {
            let root = tree.root().map(|root| match root {
                Item::Directory(directory) => {
                    Item::Directory(Directory::empty().with(name.clone(), directory.get(name).cloned()))
                }
                other => other.clone(),
            });
            Tree::with_root(root)
        };
        let small =
            Scene { ancestor: alone(&scene.ancestor), alpha: alone(&scene.alpha), beta: alone(&scene.beta) };
        let small_plan = small.plan(planner, mode);
        let small_after = applied(&small, &small_plan)?;
        prop_assert_eq!(small_after.alpha.get(Some(&path)), after.alpha.get(Some(&path)));
        prop_assert_eq!(small_after.beta.get(Some(&path)), after.beta.get(Some(&path)));
        prop_assert_eq!(small_after.ancestor.get(Some(&path)), after.ancestor.get(Some(&path)));
        let here = conflict_paths(plan).into_iter().filter(|conflict| within(conflict.as_ref(), Some(&path)));
        prop_assert_eq!(conflict_paths(&small_plan), here.collect::<Vec<_>>());
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn plans_keep_the_laws(scene in scenes()) {
        for mode in Mode::ALL {
            check(&scene, mode, &reconcile)?;
        }
    }

    /// Newly ignored: both copies stay and the ancestor forgets. No longer ignored: what is equal is taken over.
    #[test]
    fn a_change_of_what_is_ignored_deletes_nothing(scene in scenes(), which in any::<prop::sample::Index>()) {
        let Some(root) = scene.alpha.root() else { return Ok(()) };
        let all: Vec<_> = root.walk(None).filter_map(|(path, _)| path).collect();
        if all.is_empty() {
            return Ok(());
        }
        let path = which.get(&all);
        let ignored = |tree: &Tree| {
            let mut tree = tree.clone();
            if tree.get(Some(path)).is_some() {
                let change = Change { path: Some(path.clone()), item: Some(Item::Untracked(Keep::Protected)) };
                tree.apply(&[change]).unwrap();
            }
            tree
        };
        let ignoring = Scene { alpha: ignored(&scene.alpha), beta: ignored(&scene.beta), ..scene.clone() };
        for mode in Mode::ALL {
            let plan = ignoring.plan(&reconcile, mode);
            let after = applied(&ignoring, &plan)?;
            for (before, after) in [(&ignoring.alpha, &after.alpha), (&ignoring.beta, &after.beta)] {
                let untracked = Some(&Item::Untracked(Keep::Protected));
                prop_assert!(before.get(Some(path)) != untracked || after.get(Some(path)) == untracked);
            }
            let settled = conflict_paths(&plan).is_empty() && !has_problems(&ignoring.alpha) && !has_problems(&ignoring.beta);
            prop_assert!(!settled || after.ancestor.get(Some(path)).is_none());
            let again = Scene { ancestor: after.ancestor, alpha: scene.alpha.clone(), beta: scene.alpha.clone() };
            let plan = again.plan(&reconcile, mode);
            prop_assert!(plan.alpha.is_empty() && plan.beta.is_empty() && plan.conflicts.is_empty());
        }
    }
}

#[test]
fn a_plan_costs_what_changed() {
    let agreed = big(100_000);
    let mut edited = agreed.clone();
    let root = agreed.root().unwrap();
    let (path, _) = root.walk(None).filter(|(_, item)| item.files() == 1).nth(54_321).unwrap();
    let depth = path.as_ref().unwrap().components().count();
    edited.apply(&[Change { path: path.clone(), item: Some(file("edited")) }]).unwrap();
    for (alpha, beta) in [(&edited, &agreed), (&agreed, &edited), (&edited, &edited)] {
        let mut planner = decide::Planner { mode: Mode::TwoWaySafe, plan: Plan::default(), visited: 0 };
        let three = decide::Three { ancestor: agreed.root(), alpha: alpha.root(), beta: beta.root() };
        planner.visit(None, three);
        let Plan { ancestor, alpha, beta, conflicts } = planner.plan;
        assert_eq!(ancestor.len() + alpha.len() + beta.len(), 1);
        assert!(conflicts.is_empty());
        assert_eq!(planner.visited, depth + 1, "one look at each level");
    }
    let mut planner = decide::Planner { mode: Mode::TwoWaySafe, plan: Plan::default(), visited: 0 };
    planner.visit(None, decide::Three { ancestor: Some(root), alpha: Some(root), beta: Some(root) });
    assert_eq!(planner.visited, 1);
}

#[test]
fn what_is_not_carried_costs_nothing_where_all_agree() {
    let agreed = big(1_000);
    let mut alpha = agreed.clone();
    let untracked = |text: &str| change(text, Some(Item::Untracked(Keep::Protected)));
    alpha.apply(&["cache", "n1/cache", "n1/n1/cache", "n2/cache"].map(untracked)).unwrap();
    let mut planner = decide::Planner { mode: Mode::TwoWaySafe, plan: Plan::default(), visited: 0 };
    planner.visit(None, decide::Three { ancestor: agreed.root(), alpha: alpha.root(), beta: agreed.root() });
    assert_eq!(planner.visited, 1);
    assert!(planner.plan.is_quiet());
}
