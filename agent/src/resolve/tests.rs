//! Who wins, and who may not.

use proptest::prelude::any;
use proptest::prelude::prop_assert;
use proptest::prelude::prop_assert_eq;
use proptest::prelude::proptest;

use super::*;
use crate::reconcile::reconcile;
use crate::reconcile::tests::Scene;
use crate::reconcile::tests::conflict_paths;
use crate::reconcile::tests::scenes;
use crate::sample::cases;
use crate::sample::change;
use crate::sample::directory;
use crate::sample::executable;
use crate::sample::file;
use crate::sample::path;
use crate::sample::tree;
use crate::tree::Change;
use crate::tree::Keep;

const NEVER: Modified<'_> = &|_, _| None;

fn planned(scene: &Scene, mode: Mode, strategy: Strategy, modified: Modified<'_>) -> Plan {
    let mut plan = scene.plan(&reconcile, mode);
    resolve(&mut plan, mode, strategy, modified, &[]);
    plan
}

fn merged() -> File {
    let Item::File(file) = file("merged") else { unreachable!() };
    file
}

/// Both edited `a`, the host `b` alone, and the container's `d` became something ignored that the host edited.
fn meeting() -> Scene {
    let ancestor = [("a", file("0")), ("b", file("0")), ("d", file("0"))];
    let alpha = [("a", file("1")), ("b", file("1")), ("d", file("1"))];
    let beta = [("a", file("2")), ("b", file("0")), ("d", Item::Untracked(Keep::Protected))];
    let [ancestor, alpha, beta] = [ancestor, alpha, beta].map(|children| tree(directory(children)));
    Scene { ancestor, alpha, beta }
}

#[test]
fn the_strategy_says_who_wins_and_blockers_stay_conflicts() {
    let scene = meeting();
    let a = path("a");
    let stands = |strategy, modified: Modified<'_>| {
        let plan = planned(&scene, Mode::TwoWaySafe, strategy, modified);
        let after = scene.after(&plan).unwrap();
        assert!(conflict_paths(&plan).contains(&Some(path("d"))));
        [after.alpha, after.beta].map(|tree| tree.get(Some(&a)).cloned())
    };
    let (one, two) = (Some(file("1")), Some(file("2")));
    let newer =
        |side: Side, by: i128| move |asked: Side, _: &Conflict| Some(if asked == side { by } else { 5 });
    assert_eq!(stands(Strategy::HostWins, NEVER), [one.clone(), one.clone()]);
    assert_eq!(stands(Strategy::ContainerWins, NEVER), [two.clone(), two.clone()]);
    assert_eq!(stands(Strategy::Manual, NEVER), [one.clone(), two.clone()]);
    assert_eq!(stands(Strategy::NewerWins, &newer(Side::Beta, 6)), [two.clone(), two]);
    assert_eq!(stands(Strategy::NewerWins, &newer(Side::Alpha, 6)), [one.clone(), one.clone()]);
    assert_eq!(stands(Strategy::NewerWins, &newer(Side::Beta, 5)), [one.clone(), one.clone()], "a tie");
    let half = |side: Side, _: &Conflict| (side == Side::Beta).then_some(9);
    assert_eq!(stands(Strategy::NewerWins, &half), [one.clone(), one], "an unknown time");
}

#[test]
fn names_are_those_of_the_settings() {
    for strategy in Strategy::ALL {
        assert_eq!(strategy.name().parse(), Ok(strategy));
    }
    let error = "theirs".parse::<Strategy>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "`theirs` is no conflict strategy: there are `host-wins`, `container-wins`, `newer-wins` and `manual`"
    );
    assert!("two-way".parse::<Mode>().is_err());
}

#[test]
fn one_way_the_host_is_never_written() {
    let scene = meeting();
    for strategy in Strategy::ALL {
        let late = |side: Side, _: &Conflict| Some(i128::from(side == Side::Beta));
        for mode in [Mode::OneWaySafe, Mode::OneWayReplica] {
            assert!(planned(&scene, mode, strategy, &late).alpha.is_empty());
        }
    }
    let mut plan = scene.plan(&reconcile, Mode::OneWaySafe);
    let seen = token(&plan.conflicts[0]);
    for choice in [Choice::Container, Choice::Merged(merged())] {
        let refused = choose(&mut plan, Mode::OneWaySafe, Some(&path("a")), seen, &choice);
        assert_eq!(refused, Err(Refusal::OneWay { mode: Mode::OneWaySafe, side: Side::Alpha }));
    }
    assert!(planned(&scene, Mode::OneWaySafe, Strategy::HostWins, NEVER).conflicts.len() == 1);
}

#[test]
fn a_choice_is_refused_when_what_was_seen_is_no_longer_so() {
    let mut scene = meeting();
    let (a, d) = (path("a"), path("d"));
    let mut plan = scene.plan(&reconcile, Mode::TwoWaySafe);
    let seen = token(&plan.conflicts[0]);
    let blocked = token(&plan.conflicts[1]);
    let before = plan.clone();
    let refused = choose(&mut plan, Mode::TwoWaySafe, Some(&path("b")), seen, &Choice::Host).unwrap_err();
    assert_eq!(refused.to_string(), "there is no conflict at `b`");
    let refused = choose(&mut plan, Mode::TwoWaySafe, Some(&d), blocked, &Choice::Host).unwrap_err();
    assert_eq!(refused.to_string(), "the container has ignored or unreadable content at `d`");
    assert_eq!(plan, before);
    for version in [file("9"), executable("2")] {
        scene.beta.apply(&[change("a", Some(version))]).unwrap();
        let mut plan = scene.plan(&reconcile, Mode::TwoWaySafe);
        let refused = choose(&mut plan, Mode::TwoWaySafe, Some(&a), seen, &Choice::Host).unwrap_err();
        assert_eq!(refused.to_string(), "`a` changed since it was looked at");
    }
}

proptest! {
    #![proptest_config(cases())]

    /// On top of the safe mode the host's victory is what the resolved mode plans by itself.
    #[test]
    fn the_host_wins_as_in_the_resolved_mode(scene in scenes()) {
        let safe = planned(&scene, Mode::TwoWaySafe, Strategy::HostWins, NEVER);
        let resolved = scene.plan(&reconcile, Mode::TwoWayResolved);
        prop_assert_eq!(safe, resolved);
    }

    #[test]
    fn a_strategy_settles_for_good_and_displaces_openly(scene in scenes(), times in any::<[u8; 2]>()) {
        let modified = |side: Side, _: &Conflict| Some(i128::from(times[side as usize]));
        for (mode, strategy) in Mode::ALL.into_iter().flat_map(|mode| Strategy::ALL.map(|by| (mode, by))) {
            let before = scene.plan(&reconcile, mode);
            let plan = planned(&scene, mode, strategy, &modified);
            prop_assert!(mode.writes(Side::Alpha) || plan.alpha.is_empty());
            prop_assert!(strategy != Strategy::Manual && mode != Mode::OneWayReplica || plan == before);
            let after = scene.after(&plan).unwrap();
            for (side, tree) in [(Side::Alpha, &scene.alpha), (Side::Beta, &scene.beta)] {
                prop_assert!(plan.on(side).is_sorted_by(|one, two| one.path < two.path));
                for transition in plan.on(side) {
                    prop_assert_eq!(tree.get(transition.path.as_ref()), transition.old.as_ref());
                    prop_assert!(!is_blocked(transition.old.as_ref()));
                }
            }
            let second = planned(&after, mode, strategy, &modified);
            prop_assert!(second.is_quiet(), "{mode} {strategy}: {second:#?}");
            prop_assert_eq!(conflict_paths(&second), conflict_paths(&plan));
        }
    }

    #[test]
    fn a_choice_ends_a_conflict_in_one_cycle(scene in scenes()) {
        for mode in Mode::ALL {
            let plan = scene.plan(&reconcile, mode);
            for conflict in &plan.conflicts {
                let at = conflict.path.as_ref();
                for choice in [Choice::Host, Choice::Container, Choice::Merged(merged())] {
                    let mut chosen = plan.clone();
                    if choose(&mut chosen, mode, at, token(conflict), &choice).is_err() {
                        prop_assert_eq!(&chosen, &plan);
                        continue;
                    }
                    let after = scene.after(&chosen).unwrap();
                    let again = after.plan(&reconcile, mode);
                    prop_assert!(!conflict_paths(&again).contains(&conflict.path));
                    prop_assert!(again.is_quiet());
                    let [alpha, beta] = [&after.alpha, &after.beta].map(|tree| tree.get(at).and_then(Item::carried));
                    prop_assert_eq!(alpha, beta);
                }
            }
        }
    }

    /// Taking one version away by hand ends it too: then the other one is the only edit.
    #[test]
    fn deleting_one_version_ends_a_conflict(scene in scenes()) {
        let plan = scene.plan(&reconcile, Mode::TwoWaySafe);
        for conflict in plan.conflicts.iter().filter(|conflict| {
            [Side::Alpha, Side::Beta].iter().all(|side| !is_blocked(conflict.on(*side)))
        }) {
            let mut scene = scene.clone();
            scene.alpha.apply(&[Change { path: conflict.path.clone(), item: None }]).unwrap();
            let again = scene.plan(&reconcile, Mode::TwoWaySafe);
            prop_assert!(!conflict_paths(&again).contains(&conflict.path));
            let after = scene.after(&again).unwrap();
            prop_assert_eq!(after.alpha.get(conflict.path.as_ref()).cloned(), conflict.beta.as_ref().and_then(Item::carried));
        }
    }
}
