//! A second planner, written the slow way: flat maps of paths, no digests, no sharing. And what it would do with one rule
//! wrong, to see whether the table and the laws notice.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use proptest::test_runner::Config;
use proptest::test_runner::RngAlgorithm;
use proptest::test_runner::TestRng;
use proptest::test_runner::TestRunner;

use super::Scene;
use super::laws;
use super::scenes;
use super::table;
use crate::path::RelPath;
use crate::reconcile::Conflict;
use crate::reconcile::Mode;
use crate::reconcile::Plan;
use crate::reconcile::Transition;
use crate::reconcile::reconcile;
use crate::sample::file;
use crate::sample::name;
use crate::tree::Change;
use crate::tree::Directory;
use crate::tree::Item;
use crate::tree::Keep;
use crate::tree::Name;
use crate::tree::Tree;

/// What can be wrong with a planner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    ProblemIsAbsent,
    DeletionBeatsEdit,
    AncestorLearnsNothing,
    AncestorForgetsNothing,
    ConflictIsWritten,
    ConflictForgetsAncestor,
    BlockersAreOverwritten,
    DisposableBlocks,
    OneWayGoesBoth,
    OneWayKeepsNothing,
    ReplicaKeepsExtras,
    LesserRemovalWins,
    OnlyTheEditIsRestored,
    ExecutableIsIgnored,
    ConflictStopsAll,
    UntrackedTravels,
}

const FLAWS: [Flaw; 16] = [
    Flaw::ProblemIsAbsent,
    Flaw::DeletionBeatsEdit,
    Flaw::AncestorLearnsNothing,
    Flaw::AncestorForgetsNothing,
    Flaw::ConflictIsWritten,
    Flaw::ConflictForgetsAncestor,
    Flaw::BlockersAreOverwritten,
    Flaw::DisposableBlocks,
    Flaw::OneWayGoesBoth,
    Flaw::OneWayKeepsNothing,
    Flaw::ReplicaKeepsExtras,
    Flaw::LesserRemovalWins,
    Flaw::OnlyTheEditIsRestored,
    Flaw::ExecutableIsIgnored,
    Flaw::ConflictStopsAll,
    Flaw::UntrackedTravels,
];

type Names = Vec<Vec<u8>>;

/// Each path with what stands there; directories are empty here.
type Flat = BTreeMap<Names, Item>;

fn flat(tree: &Tree) -> Flat {
    let shallow = |item: &Item| match item {
        Item::Directory(_) => Item::Directory(Directory::empty()),
        other => other.clone(),
    };
    let names = |path: Option<RelPath>| -> Names {
        path.iter().flat_map(RelPath::components).map(<[u8]>::to_vec).collect()
    };
    tree.root()
        .into_iter()
        .flat_map(|root| root.walk(None))
        .map(|(path, item)| (names(path), shallow(item)))
        .collect()
}

fn is_directory(item: Option<&Item>) -> bool {
    matches!(item, Some(Item::Directory(_)))
}

struct Oracle {
    mode: Mode,
    flaw: Flaw,
    ancestor: Flat,
    alpha: Flat,
    beta: Flat,
    plan: Plan,
}

fn oracle(flaw: Flaw) -> impl Fn(&Tree, &Tree, &Tree, Mode) -> Plan {
    move |ancestor, alpha, beta, mode| {
        let (ancestor, alpha, beta) = (flat(ancestor), flat(alpha), flat(beta));
        let mut oracle = Oracle { mode, flaw, ancestor, alpha, beta, plan: Plan::default() };
        oracle.visit(&Vec::new());
        oracle.plan
    }
}

impl Oracle {
    fn visit(&mut self, at: &Names) {
        if self.flaw == Flaw::ConflictStopsAll && !self.plan.conflicts.is_empty() {
            return;
        }
        let problem = |map: &Flat| matches!(map.get(at), Some(Item::Problematic(_)));
        if self.flaw != Flaw::ProblemIsAbsent && (problem(&self.alpha) || problem(&self.beta)) {
            return;
        }
        let (alpha, beta) = (self.carried(&self.alpha, at), self.carried(&self.beta, at));
        let known = self.ancestor.get(at).cloned();
        match (alpha, beta) {
            (None, None) => {
                if known.is_some() && self.flaw != Flaw::AncestorForgetsNothing {
                    self.plan.ancestor.push(Change { path: path(at), item: None });
                }
            }
            (Some(one), Some(two)) if self.equal(&one, &two) => {
                if !known.is_some_and(|known| self.equal(&known, &one))
                    && self.flaw != Flaw::AncestorLearnsNothing
                {
                    self.plan.ancestor.push(Change { path: path(at), item: Some(one.clone()) });
                    self.ancestor.retain(|other, _| !other.starts_with(at));
                }
                for name in self.children(at) {
                    let mut below = at.clone();
                    below.push(name);
                    self.visit(&below);
                }
            }
            _ => self.differ(at),
        }
    }

    fn equal(&self, one: &Item, two: &Item) -> bool {
        match (one, two) {
            (Item::File(one), Item::File(two)) if self.flaw == Flaw::ExecutableIsIgnored => {
                one.digest == two.digest
            }
            _ => one == two,
        }
    }

    fn carried(&self, map: &Flat, at: &Names) -> Option<Item> {
        let travels = |item: &&Item| match item {
            Item::Untracked(_) => self.flaw == Flaw::UntrackedTravels,
            Item::Problematic(_) => false,
            _ => true,
        };
        map.get(at).filter(travels).cloned()
    }

    fn children(&self, at: &Names) -> BTreeSet<Vec<u8>> {
        let maps = [&self.ancestor, &self.alpha, &self.beta];
        let all = maps.into_iter().flat_map(|map| map.keys());
        all.filter(|path| path.len() == at.len() + 1 && path.starts_with(at))
            .map(|path| path[at.len()].clone())
            .collect()
    }

    /// What is carried at and below a path.
    fn below(&self, map: &Flat, at: &Names) -> Flat {
        let here = map.keys().filter(|path| path.starts_with(at));
        here.filter_map(|path| Some((path.clone(), self.carried(map, path)?))).collect()
    }

    fn differ(&mut self, at: &Names) {
        let ancestor = self.below(&self.ancestor, at);
        let (alpha, beta) = (self.below(&self.alpha, at), self.below(&self.beta, at));
        let new = |side: &Flat| side.iter().any(|(path, item)| ancestor.get(path) != Some(item));
        let (alpha_new, beta_new) = (new(&alpha), new(&beta));
        let safe = self.mode == Mode::TwoWaySafe && self.flaw != Flaw::ConflictIsWritten;
        match self.mode {
            Mode::OneWayReplica if self.flaw == Flaw::ReplicaKeepsExtras && beta_new && alpha.is_empty() => {}
            Mode::OneWayReplica => self.write(at, false),
            Mode::OneWaySafe if self.flaw == Flaw::OneWayGoesBoth && alpha == ancestor => {
                self.write(at, true)
            }
            Mode::OneWaySafe if self.flaw == Flaw::OneWayKeepsNothing || !beta_new => self.write(at, false),
            Mode::OneWaySafe => {
                let both = is_directory(self.ancestor.get(at)) && is_directory(self.beta.get(at));
                if !alpha.is_empty() || both {
                    self.conflict(at);
                } else if !ancestor.is_empty() {
                    self.plan.ancestor.push(Change { path: path(at), item: None });
                }
            }
            _ if beta == ancestor => self.write(at, false),
            _ if alpha == ancestor => self.write(at, true),
            _ if !alpha_new && !beta_new => {
                let alpha_is_fuller = alpha.len() < beta.len();
                self.write(at, alpha_is_fuller == (self.flaw == Flaw::LesserRemovalWins));
            }
            _ if alpha_new && beta_new && safe => self.conflict(at),
            _ if alpha_new && beta_new => self.write(at, false),
            _ => self.write(at, alpha_new == (self.flaw == Flaw::DeletionBeatsEdit)),
        }
    }

    fn write(&mut self, at: &Names, to_alpha: bool) {
        let (from, to) = if to_alpha { (&self.beta, &self.alpha) } else { (&self.alpha, &self.beta) };
        let blocks = |(path, item): (&Names, &Item)| match item {
            Item::Untracked(Keep::Disposable) => path == at || self.flaw == Flaw::DisposableBlocks,
            Item::Untracked(Keep::Protected) | Item::Problematic(_) => true,
            _ => false,
        };
        let mut here = to.iter().filter(|(path, _)| path.starts_with(at));
        if self.flaw != Flaw::BlockersAreOverwritten && here.any(blocks) {
            return self.conflict(at);
        }
        let whole: Flat = to.iter().map(|(path, item)| (path.clone(), item.clone())).collect();
        let mut from = self.below(from, at);
        if self.flaw == Flaw::OnlyTheEditIsRestored && !to.contains_key(at) {
            let ancestor = &self.ancestor;
            from.retain(|path, item| is_directory(Some(item)) || ancestor.get(path) != Some(item));
        }
        let transition = Transition { path: path(at), old: build(&whole, at), new: build(&from, at) };
        let list = if to_alpha { &mut self.plan.alpha } else { &mut self.plan.beta };
        list.push(transition);
    }

    fn conflict(&mut self, at: &Names) {
        if self.flaw == Flaw::ConflictForgetsAncestor && self.ancestor.contains_key(at) {
            self.plan.ancestor.push(Change { path: path(at), item: None });
        }
        self.plan.conflicts.push(Conflict {
            path: path(at),
            ancestor: build(&self.ancestor, at),
            alpha: build(&self.alpha, at),
            beta: build(&self.beta, at),
        });
    }
}

fn path(at: &Names) -> Option<RelPath> {
    at.iter().fold(None, |parent, name| Some(RelPath::child(parent.as_ref(), name).unwrap()))
}

fn build(map: &Flat, at: &Names) -> Option<Item> {
    let item = map.get(at)?;
    if !is_directory(Some(item)) {
        return Some(item.clone());
    }
    let children = map.keys().filter(|path| path.len() == at.len() + 1 && path.starts_with(at));
    let children = children.map(|path| (Name::from(&*path[at.len()]), build(map, path).unwrap()));
    Some(Item::Directory(Directory::from_children(children.collect())))
}

fn folders(children: &[Option<Item>], names: &[&str]) -> Vec<Item> {
    let mut all = vec![Vec::new()];
    for text in names {
        let with = |list: &Vec<(Name, Item)>| -> Vec<Vec<(Name, Item)>> {
            let put = |child: &Item| [list.clone(), vec![(name(text), child.clone())]].concat();
            children.iter().map(|child| child.as_ref().map_or_else(|| list.clone(), put)).collect()
        };
        all = all.iter().flat_map(with).collect();
    }
    all.into_iter().map(|children| Item::Directory(Directory::from_children(children))).collect()
}

/// Every folder of the leaves: flat with two names (of the `broad` ones, or there would be too many), and one name deep.
fn small(leaves: &[Option<Item>], broad: &[Option<Item>]) -> Vec<Tree> {
    let mut all: Vec<Option<Item>> = leaves.to_vec();
    all.extend(folders(broad, &["a", "b"]).into_iter().map(Some));
    let mut deep = leaves.to_vec();
    for _ in 0..2 {
        let next = folders(&deep, &["a"]).into_iter().map(Some);
        deep = [leaves.to_vec(), next.collect()].concat();
    }
    all.extend(deep);
    let mut seen = BTreeSet::new();
    all.retain(|item| seen.insert(Tree::with_root(item.clone()).digest().0));
    all.into_iter().map(Tree::with_root).collect()
}

fn compare(
    scene: &Scene,
    mode: Mode,
    planner: super::Planner<'_>,
    reference: super::Planner<'_>,
) -> Result<(), String> {
    let (ours, theirs) = (scene.plan(planner, mode), scene.plan(reference, mode));
    let same = ours.alpha == theirs.alpha && ours.beta == theirs.beta && ours.conflicts == theirs.conflicts;
    if same && scene.after(&ours) == scene.after(&theirs) {
        return Ok(());
    }
    Err(format!("{mode} {scene:#?}\nours {ours:#?}\noracle {theirs:#?}"))
}

#[test]
fn over_all_small_trees_it_plans_what_the_oracle_plans() {
    let carried = [None, Some(file("1")), Some(file("2"))];
    let blocked = [
        Some(Item::Untracked(Keep::Protected)),
        Some(Item::Untracked(Keep::Disposable)),
        Some(Item::Problematic("unreadable".into())),
    ];
    let leaves = [&carried[..], &blocked].concat();
    let broad: Vec<_> = leaves.iter().filter(|leaf| **leaf != blocked[1]).cloned().collect();
    let (ancestors, sides) = (small(&carried, &carried), small(&leaves, &broad));
    let reference = oracle(Flaw::None);
    let mut compared = 0;
    for ancestor in &ancestors {
        for alpha in &sides {
            for beta in &sides {
                for mode in Mode::ALL {
                    let scene =
                        Scene { ancestor: ancestor.clone(), alpha: alpha.clone(), beta: beta.clone() };
                    compare(&scene, mode, &reconcile, &reference)
                        .unwrap_or_else(|difference| panic!("{difference}"));
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 80_000, "{compared}");
}

proptest::proptest! {
    #![proptest_config(crate::sample::cases())]

    #[test]
    fn over_random_trees_too(scene in scenes()) {
        for mode in Mode::ALL {
            if let Err(difference) = compare(&scene, mode, &reconcile, &oracle(Flaw::None)) {
                proptest::prop_assert!(false, "{}", difference);
            }
        }
    }
}

/// Rows of the table that come out wrong, and whether a law is broken by random trees.
fn caught(flaw: Flaw, table: &[serde_json::Value]) -> (usize, bool) {
    let planner = oracle(flaw);
    let rows = table.iter().filter(|row| table::judge(row, &planner).is_some()).count();
    let config = Config { failure_persistence: None, max_shrink_iters: 0, ..Config::with_cases(500) };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let held = TestRunner::new_with_rng(config, rng).run(&scenes(), |scene| {
        Mode::ALL.into_iter().try_for_each(|mode| laws::check(&scene, mode, &planner))
    });
    (rows, held.is_err())
}

#[test]
fn the_table_and_the_laws_notice_every_flaw() {
    let table = table::rows();
    assert_eq!(caught(Flaw::None, &table), (0, false), "the oracle itself is right");
    let mut by_laws = 0;
    for flaw in FLAWS {
        let (rows, law) = caught(flaw, &table);
        assert!(rows > 0 || law, "{flaw:?} goes unnoticed");
        println!("{flaw:?}: {rows} rows, {}", if law { "and a law" } else { "no law" });
        by_laws += usize::from(law);
    }
    assert!(by_laws >= 10, "the laws alone notice only {by_laws}");
}
