//! Looks at a simulated disk: errors, one tick's edits, and a user who never rests.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use proptest::prelude::*;
use rustix::io::Errno;

use super::*;
use crate::disk::sim::Call;
use crate::disk::sim::Fate;
use crate::disk::sim::Random;
use crate::disk::sim::Seen as There;
use crate::disk::sim::SimDisk;
use crate::disk::sim::Volume;
use crate::rules;

struct Scene {
    disk: SimDisk,
    look: Look,
}

impl Scene {
    fn new(seed: u64) -> Self {
        Self { disk: SimDisk::new(seed), look: fresh() }
    }

    fn with(paths: &[&str]) -> Self {
        let mut scene = Self::new(1);
        scene.user(|volume| paths.iter().for_each(|path| write(volume, path, path.as_bytes())));
        scene.settle(Dirty::All);
        scene
    }

    fn user<T>(&self, act: impl FnOnce(&mut Volume) -> T) -> T {
        self.disk.user(act)
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.user(|volume| volume.now()).unsigned_abs())
    }

    fn see(&mut self, dirty: Dirty) -> Seen {
        let now = self.now();
        self.look.dirty(&self.disk, &mut (), dirty, now).unwrap()
    }

    /// Looks until nothing is left to look at again, and says how long that took.
    fn settle(&mut self, dirty: Dirty) -> Duration {
        let began = self.now();
        let mut again = self.see(dirty).again;
        while let Some(due) = again {
            let wait = i64::try_from(due.saturating_sub(self.now()).as_nanos()).unwrap();
            self.user(|volume| volume.advance(wait + 4_000_000));
            again = self.see(Dirty::nowhere()).again;
            assert!(self.now() - began < Duration::from_secs(600), "it never comes to rest");
        }
        self.now() - began
    }

    /// What a fresh look shows.
    fn fresh_tree(&self) -> Tree {
        let mut other = Self { disk: self.disk.clone(), look: fresh() };
        other.settle(Dirty::All);
        other.look.tree
    }

    fn fail(&self, errno: Errno, which: impl Fn(&Call) -> bool + Send + 'static) {
        self.disk.set_hook(move |_, call| if which(call) { Fate::Fail(errno) } else { Fate::Go });
    }

    fn item(&self, path: &str) -> Option<&Item> {
        self.look.tree.get(Some(&self::path(path)))
    }
}

fn fresh() -> Look {
    Look::new(Settings::default(), Rules::new(rules::Settings::default()).unwrap())
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

fn write(volume: &mut Volume, path: &str, content: &[u8]) {
    let above: Vec<_> = path.match_indices('/').map(|(at, _)| &path[..at]).collect();
    above.into_iter().for_each(|directory| drop(volume.make_directory(directory)));
    drop(volume.write(path, content));
}

/// What a watcher would say.
fn events(volume: &mut Volume) -> Dirty {
    let mut dirty = Dirty::nowhere();
    for directory in volume.take_changed() {
        dirty.add(directory, Part::Listing);
    }
    dirty
}

fn is_problem(item: Option<&Item>) -> bool {
    matches!(item, Some(Item::Problematic(_)))
}

#[test]
fn what_cannot_be_read_is_never_absent_and_comes_back_by_itself() {
    for errno in [Errno::ACCESS, Errno::IO, Errno::MFILE] {
        for name in ["list", "open", "read", "stat", "read_link"] {
            for full in [true, false] {
                let mut scene = Scene::with(&["d/a", "d/deep/b", "e/c"]);
                scene.user(|volume| volume.link("d/link", b"a")).unwrap();
                scene.settle(Dirty::All);
                let before = scene.look.tree.clone();
                scene.fail(errno, move |call| {
                    call.name == name
                        && call.path.as_ref().is_some_and(|path| path.is_within(&self::path("d")))
                });
                scene.user(|volume| {
                    write(volume, "d/a", b"changed");
                    write(volume, "d/deep/b", b"changed");
                    write(volume, "e/c", b"changed");
                });
                let dirty = if full { Dirty::All } else { scene.user(events) };
                let seen = scene.see(dirty);
                let case = format!("{errno:?} of {name}, full: {full}: {seen:?}");
                assert!(seen.changes.iter().all(|change| change.item.is_some()), "{case}");
                assert_ne!(scene.item("e/c"), before.get(Some(&path("e/c"))), "the rest goes on: {case}");
                assert!(
                    seen.again.is_some_and(|again| again <= scene.now() + Duration::from_secs(30)),
                    "{case}"
                );
                scene.disk.clear_hook();
                let took = scene.settle(Dirty::nowhere());
                assert!(took <= Duration::from_secs(30), "{took:?}, {case}");
                assert_eq!(scene.look.tree, scene.fresh_tree(), "{case}");
            }
        }
    }
}

#[test]
fn the_root_that_cannot_be_read_is_an_error_and_nothing_else() {
    let mut scene = Scene::with(&["a", "b/c"]);
    let before = scene.look.tree.clone();
    scene.fail(Errno::IO, |call| call.name == "list" && call.path.is_none());
    let now = scene.now();
    let error = scene.look.full(&scene.disk, &mut (), now).unwrap_err();
    assert!(matches!(error, LookError::Unreadable(_)));
    assert_eq!(scene.look.tree, before);
}

#[test]
fn a_directory_that_is_unreadable_is_one_problem_until_it_is_readable() {
    let mut scene = Scene::with(&["d/a", "d/b"]);
    scene.fail(Errno::ACCESS, |call| call.name == "list" && call.path == Some(path("d")));
    let seen = scene.see(Dirty::All);
    assert_eq!(seen.changes.len(), 1);
    assert!(is_problem(scene.item("d")));
    scene.disk.clear_hook();
    scene.settle(Dirty::nowhere());
    assert!(!is_problem(scene.item("d")) && scene.item("d/a").is_some());
}

/// The same size within one tick, with a look after each.
#[test]
fn edits_within_one_tick_are_found_without_any_event() {
    let mut scene = Scene::with(&["a"]);
    for round in 0..200_u32 {
        let tick = |volume: &mut Volume| {
            let now = volume.now();
            while volume.now() == now {
                volume.advance(10_000);
            }
        };
        scene.user(tick);
        scene.user(|volume| volume.write("a", &round.to_le_bytes())).unwrap();
        scene.see(Dirty::All);
        scene.user(|volume| volume.write("a", &(round + 1000).to_le_bytes())).unwrap();
        // Nobody says anything: what was read in this tick is read again all the same.
        scene.settle(Dirty::nowhere());
        let Some(Item::File(file)) = scene.item("a") else { panic!("no file") };
        assert_eq!(file.digest, blake3::hash(&(round + 1000).to_le_bytes()).into(), "round {round}");
    }
}

/// Chunks are read one by one, and between any two of them somebody may write all of the file.
#[test]
fn a_mix_of_two_versions_is_never_taken() {
    for seed in 0..60 {
        for length in [100_000_usize, 400_000] {
            let mut scene = Scene::new(seed);
            let content = move |version: u64| version.to_le_bytes().repeat(length / 8);
            scene.user(|volume| volume.write("a", &content(0))).unwrap();
            let (mut random, mut version) = (Random::new(seed), 0);
            scene.disk.set_hook(move |volume, call| {
                if call.name == "read" && version < 12 && random.below(3) == 0 {
                    version += 1;
                    drop(volume.write("a", &content(version)));
                }
                Fate::Go
            });
            let possible: BTreeSet<_> =
                (0..=12).map(|version| blake3::hash(&content(version)).to_hex()).collect();
            let mut again = Some(Duration::ZERO);
            while again.is_some() {
                again = scene.see(Dirty::All).again;
                if let Some(Item::File(file)) = scene.item("a") {
                    assert!(possible.contains(&blake3::Hash::from(file.digest.0).to_hex()), "seed {seed}");
                }
                scene.user(|volume| volume.advance(4_000_000));
            }
            scene.disk.clear_hook();
            assert_eq!(scene.look.tree, scene.fresh_tree(), "seed {seed}");
        }
    }
}

/// A user's edits, from a seed.
fn edit(volume: &mut Volume, random: &mut Random) {
    let place = |random: &mut Random| {
        let depth = 1 + random.below(3);
        let names: Vec<_> = (0..depth)
            .map(|_| ["a", "b", "c", "node_modules"][random.below(4).min(random.below(4))])
            .collect();
        names.join("/")
    };
    let (one, two) = (place(random), place(random));
    match random.below(12) {
        0..=3 => write(volume, &one, &random.number().to_le_bytes()[..1 + random.below(2)]),
        4 => drop(volume.save(&one, b"saved")),
        5 => drop(volume.remove(&one)),
        6 | 7 => drop(volume.rename(&one, &two)),
        8 => drop(volume.make_directory(&one)),
        9 => drop(volume.link(&one, b"a")),
        10 => drop(volume.set_executable(&one, random.below(2) == 0)),
        _ => write(volume, &format!("{one}/.gitignore"), b"b\n"),
    }
    volume.advance(random.number() as i64 & 0x7f_ffff);
}

/// What a tree says of each path, as far as it says that something is there.
fn paths(tree: &Tree) -> BTreeMap<String, Item> {
    let walk = tree.root().into_iter().flat_map(|root| root.walk(None));
    walk.filter_map(|(path, item)| Some((path?.to_string(), item.clone()))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// P12: whatever is told, twice or late, looks in parts show what one whole look shows; and what was never told, the
    /// next whole look does.
    #[test]
    fn looks_in_parts_show_what_one_look_shows(seed: u64, steps in 1..60_usize, drops: bool) {
        let (mut random, mut scene) = (Random::new(seed), Scene::new(seed));
        scene.settle(Dirty::All);
        let mut late = Dirty::nowhere();
        for _ in 0..steps {
            let edits = random.below(4);
            scene.user(|volume| (0..edits).for_each(|_| edit(volume, &mut random)));
            let mut told = scene.user(events);
            match random.below(8) {
                0 => told = Dirty::All,
                1 if drops => told = Dirty::nowhere(),
                2 => late.merge(std::mem::take(&mut told)),
                3 => told.merge(std::mem::take(&mut late)),
                4 => drop(scene.see(told.clone())),
                _ => {}
            }
            scene.see(told);
        }
        late.merge(if drops { Dirty::All } else { scene.user(events) });
        scene.settle(late);
        prop_assert_eq!(&scene.look.tree, &scene.fresh_tree());
    }

    /// With calls that fail at random, nothing that is there is ever said to be gone.
    #[test]
    fn no_error_makes_anything_absent(seed: u64, steps in 1..40_usize) {
        let (mut random, mut scene) = (Random::new(seed), Scene::new(seed));
        scene.settle(Dirty::All);
        let mut faults = Random::new(seed ^ 1);
        scene.disk.set_hook(move |_, call| match faults.below(12) {
            0 if call.path.is_some() => Fate::Fail([Errno::ACCESS, Errno::IO, Errno::MFILE][faults.below(3)]),
            _ => Fate::Go,
        });
        for _ in 0..steps {
            scene.user(|volume| (0..3).for_each(|_| edit(volume, &mut random)));
            let told = if random.below(4) == 0 { Dirty::All } else { scene.user(events) };
            let before = paths(&scene.look.tree);
            scene.see(told);
            let after = paths(&scene.look.tree);
            let hidden = |path: &str| {
                let above = path.match_indices('/').map(|(at, _)| &path[..at]);
                above.into_iter().any(|above| !matches!(after.get(above), Some(Item::Directory(_))) && after.contains_key(above))
            };
            for (path, item) in before.iter().filter(|(path, _)| !after.contains_key(*path)) {
                let there = scene.user(|volume| volume.see(path));
                prop_assert!(
                    there.is_none() || hidden(path),
                    "{path} was {item:?}, is {there:?}, and is said to be gone"
                );
            }
        }
        scene.disk.clear_hook();
        scene.settle(Dirty::All);
        prop_assert_eq!(&scene.look.tree, &scene.fresh_tree());
        let there = scene.user(|volume| volume.see_all());
        for (path, item) in paths(&scene.look.tree) {
            if let (Item::File(file), Some(There::File(content, executable))) = (&item, there.get(&path)) {
                prop_assert_eq!((file.digest, file.executable), (blake3::hash(content).into(), *executable));
            } else {
                prop_assert!(there.contains_key(&path), "{} is not there", path);
            }
        }
    }
}
