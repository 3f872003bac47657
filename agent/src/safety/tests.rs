//! What stops a plan, and what holds it.

use proptest::prelude::prop_assert;
use proptest::prelude::prop_assert_eq;
use proptest::prelude::proptest;

use super::*;
use crate::disk::Nonce;
use crate::reconcile::Mode;
use crate::reconcile::reconcile;
use crate::reconcile::tests::Scene;
use crate::reconcile::tests::scenes;
use crate::resolve::Strategy;
use crate::resolve::resolve;
use crate::sample::big;
use crate::sample::cases;
use crate::sample::change;
use crate::sample::directory;
use crate::sample::file;
use crate::sample::name;
use crate::sample::path;
use crate::sample::tree;

const LIMITS: Limits = Limits { deletions: 1_000, half_of: 10, conflicts: 3, samples: 20 };

/// A folder `d` of so many files, and one file beside it.
fn files(names: std::ops::Range<usize>, tag: &str) -> Tree {
    let children = names.map(|index| (name(&format!("f{index:05}")), file(&format!("{tag}{index}"))));
    let folder = Item::Directory(Directory::from_children(children.collect()));
    tree(directory([("d", folder), ("k", file("kept"))]))
}

fn scene(ancestor: &Tree, alpha: &Tree, beta: &Tree) -> Scene {
    Scene { ancestor: ancestor.clone(), alpha: alpha.clone(), beta: beta.clone() }
}

fn held(scene: &Scene, mode: Mode) -> Vec<Hold> {
    let ebb = Ebb::default();
    holds(&scene.alpha, &scene.beta, &scene.plan(&reconcile, mode), &LIMITS, [&ebb, &ebb])
}

#[test]
fn more_than_half_is_held_and_the_rest_goes_on() {
    let before = files(0..19, "");
    for (left, is_held) in [(10, false), (9, false), (8, true), (1, true)] {
        let mut after = files(0..left, "");
        after.apply(&[change("k", Some(file("edited")))]).unwrap();
        for (alpha, beta, from) in [(&after, &before, Side::Beta), (&before, &after, Side::Alpha)] {
            let scene = scene(&before, alpha, beta);
            let holds = held(&scene, Mode::TwoWaySafe);
            assert_eq!(holds.len(), usize::from(is_held), "{left} of 20 are left");
            let Some(hold) = holds.first() else { continue };
            let files = 19 - left as u64;
            assert_eq!(hold.cause, Cause::MassDeletion { from, files, before: 0, of: 20 });
            assert_eq!(hold.samples.len() as u64, files);
            let mut plan = scene.plan(&reconcile, Mode::TwoWaySafe);
            hold.set_aside(&mut plan, [&Ebb::default(), &Ebb::default()]);
            let rest: Vec<_> = plan.on(from).iter().map(|transition| transition.path.clone()).collect();
            assert_eq!(rest, [Some(path("k"))]);
        }
    }
}

#[test]
fn of_few_files_half_may_go() {
    let (before, after) = (files(0..8, ""), files(0..1, ""));
    assert!(held(&scene(&before, &after, &before), Mode::TwoWaySafe).is_empty());
    let plan = scene(&before, &after, &before).plan(&reconcile, Mode::TwoWaySafe);
    let ebb = Ebb::default();
    let strict = holds(&after, &before, &plan, &LIMITS.strict(), [&ebb, &ebb]);
    assert_eq!(strict.len(), 1, "after an ancestor was dropped every deletion is held");
}

#[test]
fn more_than_a_thousand_are_held_however_many_there_are() {
    let before = files(0..5_000, "");
    let (thousand, more) = (files(1_000..5_000, ""), files(1_001..5_000, ""));
    assert!(held(&scene(&before, &thousand, &before), Mode::TwoWaySafe).is_empty());
    let holds = held(&scene(&before, &more, &before), Mode::OneWaySafe);
    assert_eq!(holds[0].cause, Cause::MassDeletion { from: Side::Beta, files: 1_001, before: 0, of: 5_001 });
    assert_eq!(holds[0].samples.len(), 20);
    assert_eq!(holds[0].samples[1], path("d/f00051"), "samples are from all over");
}

#[test]
fn a_yes_is_to_what_was_shown() {
    let before = files(0..40, "");
    let key = |left: std::ops::Range<usize>| {
        held(&scene(&before, &files(left, ""), &before), Mode::TwoWaySafe)[0].key
    };
    assert_eq!(key(0..9), key(0..9));
    assert_ne!(key(0..9), key(0..8));
    assert_ne!(key(0..9), key(31..40));
}

#[test]
fn what_moves_is_not_deleted() {
    let before = files(0..2_000, "");
    let mut after = before.clone();
    let folder = before.get(Some(&path("d"))).cloned();
    after.apply(&[change("d", None), change("moved", folder)]).unwrap();
    assert!(held(&scene(&before, &after, &before), Mode::TwoWaySafe).is_empty());
    let (mut same, one) = (before.clone(), file("same"));
    let same_files: Vec<_> = (0..30).map(|index| (name(&format!("s{index}")), one.clone())).collect();
    same.apply(&[change("d", Some(Item::Directory(Directory::from_children(same_files))))]).unwrap();
    let mut after = same.clone();
    after.apply(&[change("d", None), change("one", Some(one))]).unwrap();
    let holds = held(&scene(&same, &after, &same), Mode::TwoWaySafe);
    assert_eq!(
        holds[0].cause,
        Cause::MassDeletion { from: Side::Beta, files: 29, before: 0, of: 31 },
        "one copy stays"
    );
}

#[test]
fn an_edit_or_a_folder_that_became_a_file_counts_for_what_it_takes() {
    let before = files(0..20, "");
    let edited = files(0..20, "edited");
    assert!(held(&scene(&before, &edited, &before), Mode::TwoWaySafe).is_empty());
    let mut flat = before.clone();
    flat.apply(&[change("d", Some(file("flat")))]).unwrap();
    assert_eq!(held(&scene(&before, &flat, &before), Mode::TwoWaySafe).len(), 1);
}

#[test]
fn an_emptied_root_halts_though_something_ignored_is_no_emptiness() {
    let before = files(0..2, "");
    let empty = tree(directory([]));
    let ignored = tree(directory([("x", Item::Untracked(crate::tree::Keep::Protected))]));
    let halted = |alpha: &Tree, beta: &Tree| halt(&before, alpha, beta, &Plan::default());
    assert_eq!(halted(&empty, &before), Some(Halt::RootEmptied { on: Side::Alpha }));
    assert_eq!(halted(&before, &empty), Some(Halt::RootEmptied { on: Side::Beta }));
    assert_eq!(halted(&empty, &empty), None);
    assert_eq!(halted(&ignored, &before), None);
    let gone = scene(&before, &Tree::default(), &before);
    let plan = gone.plan(&reconcile, Mode::TwoWaySafe);
    let halt = halt(&gone.ancestor, &gone.alpha, &gone.beta, &plan).unwrap();
    assert_eq!(halt.to_string(), "the whole folder would be removed from the container");
}

#[test]
fn another_folder_drops_the_ancestor_and_another_host_folder_halts() {
    let folder = |inode, nonce| Identity { device: 1, inode, born: 0, nonce: Nonce([nonce; 16]) };
    let (host, container) = (folder(1, 1), folder(2, 2));
    assert_eq!(standing(&[host, container], &[host, container]), Standing::Trusted);
    for other in [folder(3, 2), folder(2, 3), folder(2, 0), Identity { device: 9, ..container }] {
        assert_eq!(standing(&[host, container], &[host, other]), Standing::Dropped);
    }
    // A copy has the nonce and not the inode; one made anew may have the inode and not the nonce.
    for other in [folder(3, 1), folder(1, 3), folder(1, 0), Identity { born: 9, ..host }] {
        for container in [container, folder(3, 3)] {
            let halted = standing(&[host, folder(2, 2)], &[other, container]);
            assert_eq!(halted, Standing::Halted(Halt::RootReplaced));
        }
    }
    // Where there was no nonce before, one says nothing yet.
    assert_eq!(standing(&[folder(1, 0), container], &[host, container]), Standing::Trusted);
}

/// Both edited every file of `d`, and a few of `e`.
fn storm() -> Scene {
    let make = |tag: &str| {
        let mut tree = files(0..50, tag);
        let few = directory([("1", file(tag)), ("2", file(tag))]);
        tree.apply(&[change("e", Some(directory([("deep", few)])))]).unwrap();
        tree
    };
    Scene { ancestor: make("0"), alpha: make("1"), beta: make("2") }
}

#[test]
fn a_storm_is_one_matter_and_waits() {
    let scene = storm();
    let plan = scene.plan(&reconcile, Mode::TwoWaySafe);
    assert_eq!(plan.conflicts.len(), 52);
    let told = troubles(&plan.conflicts, &LIMITS);
    let paths: Vec<_> = told
        .iter()
        .map(|trouble| match trouble {
            Trouble::One(conflict) => (conflict.path.clone().unwrap().to_string(), 1),
            Trouble::Storm { path, conflicts } => (path.clone().unwrap().to_string(), conflicts.len()),
        })
        .collect();
    assert_eq!(paths, [("d".to_owned(), 50), ("e/deep/1".to_owned(), 1), ("e/deep/2".to_owned(), 1)]);
    let held = storms(&plan.conflicts, &LIMITS);
    assert_eq!(held[0].cause, Cause::ConflictStorm { path: Some(path("d")), conflicts: 50 });
    assert_eq!(held[0].samples.len(), 17);
    let mut resolved = plan.clone();
    resolve(&mut resolved, Mode::TwoWaySafe, Strategy::HostWins, &|_, _| None, &held);
    assert_eq!((resolved.conflicts.len(), resolved.beta.len()), (50, 2), "only what is no storm is decided");
    let mut resolved = plan;
    resolve(&mut resolved, Mode::TwoWaySafe, Strategy::HostWins, &|_, _| None, &[]);
    assert!(resolved.conflicts.is_empty(), "after the yes all are");
}

#[test]
fn a_storm_all_over_is_told_at_the_root() {
    let edited = |tag: &str| {
        let base = big(1_000);
        let files = base.root().unwrap().walk(None).filter(|(_, item)| item.as_directory().is_none());
        let changes: Vec<_> =
            files.map(|(path, _)| crate::tree::Change { path, item: Some(file(tag)) }).collect();
        let mut base = base.clone();
        base.apply(&changes).unwrap();
        base
    };
    let plan = reconcile(&big(1_000), &edited("1"), &edited("2"), Mode::TwoWaySafe);
    let told = troubles(&plan.conflicts, &LIMITS);
    let [Trouble::Storm { path: None, conflicts }] = &told[..] else { panic!("{told:?}") };
    assert_eq!(conflicts.len(), 1_000);
    let limits = Limits { conflicts: 10, ..LIMITS };
    assert_eq!(troubles(&plan.conflicts, &limits).len(), 10, "ten subtrees are as many as may be told apart");
}

proptest! {
    #![proptest_config(cases())]

    /// After an identity changed the ancestor is nothing, and what a plan would still delete is held: nothing goes.
    #[test]
    fn another_folder_loses_no_file(scene in scenes()) {
        let scene = Scene { ancestor: Tree::default(), ..scene };
        for mode in Mode::ALL {
            let mut plan = scene.plan(&reconcile, mode);
            let ebb = Ebb::default();
            for hold in holds(&scene.alpha, &scene.beta, &plan, &Limits::default().strict(), [&ebb, &ebb]) {
                hold.set_aside(&mut plan, [&ebb, &ebb]);
            }
            let after = scene.after(&plan).unwrap();
            for (before, after) in [(&scene.alpha, &after.alpha), (&scene.beta, &after.beta)] {
                for (path, item) in before.root().into_iter().flat_map(|root| root.walk(None)) {
                    let is_file = |item: Option<&Item>| matches!(item, Some(Item::File(_) | Item::Symlink(_)));
                    let stays = !is_file(Some(item)) || is_file(after.get(path.as_ref()));
                    let moved = !stays && plan.on(Side::Beta).iter().any(|write| write.new.as_ref().is_some_and(|new| {
                        new.walk(None).any(|(_, other)| other == item)
                    }));
                    prop_assert!(stays || moved, "{mode}: {path:?} is gone");
                }
            }
        }
    }

    /// Every conflict is told exactly once, in order, and no list is longer than the limit.
    #[test]
    fn every_conflict_is_told_once(scene in scenes(), most in 1_usize..4) {
        let plan = scene.plan(&reconcile, Mode::TwoWaySafe);
        let limits = Limits { conflicts: most, ..LIMITS };
        let told = troubles(&plan.conflicts, &limits);
        prop_assert!(told.len() <= most);
        let all: Vec<Conflict> = told.iter().flat_map(|trouble| match trouble {
            Trouble::One(conflict) => vec![(*conflict).clone()],
            Trouble::Storm { conflicts, .. } => conflicts.to_vec(),
        }).collect();
        prop_assert_eq!(&all, &plan.conflicts);
    }
}
