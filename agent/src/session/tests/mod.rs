//! A session between two sides that are only trees: quick, and without anything a disk adds.

mod ebb;
mod fake;
mod leftovers;
mod offer;
mod preview;
mod steady;

use std::collections::BTreeSet;

use fake::Fake;
use fake::contents;

use super::decide::overlaps;
use super::*;
use crate::disk::sim::Random;
use crate::message::CHUNK;
use crate::tree::Directory;
use crate::tree::File;
use crate::tree::Item;
use crate::tree::Keep;
use crate::tree::diff;

/// Nothing is held.
const LIMITS: Limits = Limits { deletions: u64::MAX, half_of: u64::MAX, conflicts: usize::MAX, samples: 0 };

struct World {
    random: Random,
    now: Instant,
    session: Session,
    sides: [Fake; 2],
    connected: bool,
    recorded: Tree,
    flushed: BTreeSet<u64>,
    written: u64,
    /// Contents a person has written, and those a person has overwritten or deleted.
    alive: BTreeSet<Digest>,
    given_up: BTreeSet<Digest>,
}

impl World {
    fn new(seed: u64, mode: Mode) -> Self {
        let session = Session::new(
            Settings { mode, strategy: Strategy::Manual, limits: LIMITS },
            Tree::default(),
            None,
        );
        let mut world = Self {
            random: Random::new(seed),
            now: Instant::ZERO,
            session,
            sides: [Fake::new(1), Fake::new(2)],
            connected: true,
            recorded: Tree::default(),
            flushed: BTreeSet::new(),
            written: 0,
            alive: BTreeSet::new(),
            given_up: BTreeSet::new(),
        };
        for side in Side::BOTH {
            let effects = world.session.connected(side);
            world.take(effects);
        }
        world
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Say(side, message) => self.sides[side as usize].inbox.push_back(message),
                Effect::Record(changes) => self.recorded.apply(&changes).unwrap(),
                Effect::Begin(_) => self.recorded = Tree::default(),
                Effect::Flushed(token) => assert!(self.flushed.insert(token)),
                Effect::Known(_) | Effect::Settled => {}
            }
        }
    }

    fn deliver(&mut self, side: Side) {
        if let Some(message) = self.sides[side as usize].outbox.pop_front() {
            let effects = self.session.hear(side, message, self.now).unwrap();
            self.take(effects);
        }
    }

    fn tick(&mut self, by: u64) {
        self.now += Duration::from_millis(by);
        let effects = self.session.tick(self.now);
        self.take(effects);
    }

    fn path(&mut self) -> RelPath {
        let mut path: Option<RelPath> = None;
        for _ in 0..=self.random.below(2) {
            let name = [b'a' + u8::try_from(self.random.below(4)).unwrap()];
            path = Some(RelPath::child(path.as_ref(), &name).unwrap());
        }
        path.unwrap()
    }

    fn edit(&mut self) {
        let side = self.random.below(2);
        let path = self.path();
        let item = match self.random.below(10) {
            0..=5 => {
                self.written += 1;
                let size = [1, 10, CHUNK + 1, 5 * CHUNK][self.random.below(4)];
                let digest = Digest::from(blake3::hash(&self.written.to_le_bytes()));
                Some(Item::File(File::new(size, false, digest)))
            }
            6 => Some(Item::Directory(Directory::empty())),
            7 => {
                // Moves something that is there.
                let from = self.path();
                let item = self.sides[side].tree.get(Some(&from)).cloned();
                if item.is_none() || overlaps(Some(&from), Some(&path)) {
                    return;
                }
                let before = self.sides[side].tree.clone();
                self.sides[side].set(&from, None);
                if self.sides[side]
                    .tree
                    .clone()
                    .apply(&[Change { path: Some(path.clone()), item: item.clone() }])
                    .is_err()
                {
                    self.sides[side].tree = before;
                    return;
                }
                item
            }
            _ => None,
        };
        let fake = &mut self.sides[side];
        let before: Vec<_> = fake.tree.get(Some(&path)).into_iter().flat_map(contents).collect();
        let mut edited = fake.tree.clone();
        if edited.apply(&[Change { path: Some(path), item: item.clone() }]).is_ok() {
            fake.tree = edited;
            self.given_up.extend(before);
            self.alive.extend(item.iter().flat_map(contents));
        }
    }

    fn disconnect(&mut self) {
        let beta = &mut self.sides[1];
        beta.inbox.clear();
        beta.outbox.clear();
        beta.attached = false;
        self.connected = false;
        self.session.lost(Side::Beta);
    }

    fn connect(&mut self) {
        self.connected = true;
        let effects = self.session.connected(Side::Beta);
        self.take(effects);
    }

    fn step(&mut self) {
        let side = self.random.below(2);
        match self.random.below(100) {
            0..=9 => self.edit(),
            10..=49 if side == 0 || self.connected => self.sides[side].step(),
            50..=84 if side == 0 || self.connected => self.deliver(Side::BOTH[side]),
            85..=92 if side == 0 || self.connected => self.sides[side].report(),
            93..=97 => self.tick(20),
            98 if self.connected => self.disconnect(),
            99 if !self.connected => self.connect(),
            _ => {}
        }
    }

    /// Lets everything come to rest, and says after how many rounds it had.
    fn settle(&mut self) {
        if !self.connected {
            self.connect();
        }
        let token = self.written + 1_000_000;
        let effects = self.session.flush(token, self.now);
        self.take(effects);
        for _ in 0..20_000 {
            if self.flushed.contains(&token) {
                return;
            }
            for side in Side::BOTH {
                self.sides[side as usize].report();
                self.sides[side as usize].step();
                self.deliver(side);
            }
            self.tick(5);
            // A person who always says yes.
            if let Some(halt) = self.session.halt() {
                self.session.accept(halt);
            }
        }
        panic!("never came to rest: {:#?}", self.session);
    }

    fn check(&self, conflicts: bool) {
        let [alpha, beta] = &self.sides;
        if !conflicts {
            assert_eq!(self.session.conflicts, [], "nothing to disagree about");
            assert_eq!(diff(&alpha.tree, &beta.tree), [], "the sides are equal");
            assert_eq!(self.session.ancestor, alpha.tree, "and that is what is remembered");
        }
        let held: BTreeSet<_> = self
            .sides
            .iter()
            .flat_map(|side| side.tree.root().into_iter().flat_map(contents).chain(side.kept.iter().copied()))
            .collect();
        for content in self.alive.difference(&self.given_up) {
            assert!(held.contains(content), "{content} was lost");
        }
    }
}

#[test]
fn whatever_happens_the_sides_come_to_rest_and_nothing_is_lost() {
    for seed in 0..400 {
        for mode in [Mode::TwoWaySafe, Mode::TwoWayResolved] {
            let mut world = World::new(seed, mode);
            for _ in 0..600 {
                world.step();
            }
            world.settle();
            world.check(mode != Mode::TwoWayResolved);
        }
    }
}

#[test]
fn a_flush_is_not_answered_while_everything_is_halted() {
    let mut world = World::new(1, Mode::TwoWaySafe);
    for name in ["a", "b"] {
        let path = RelPath::parse(name.as_bytes()).unwrap();
        world.sides[0].set(&path, Some(Item::Directory(Directory::empty())));
    }
    world.settle();
    world.sides[1].tree = Tree::with_root(Some(Item::Directory(Directory::empty())));
    let effects = world.session.flush(7, world.now);
    world.take(effects);
    for _ in 0..100 {
        for side in Side::BOTH {
            world.sides[side as usize].step();
            world.deliver(side);
        }
        world.tick(20);
    }
    let halt = world.session.halt().expect("a side was emptied");
    assert!(!world.flushed.contains(&7));
    assert!(world.session.accept(halt));
    for _ in 0..100 {
        world.tick(20);
        for side in Side::BOTH {
            world.sides[side as usize].step();
            world.deliver(side);
        }
    }
    assert!(world.flushed.contains(&7));
}

#[test]
fn rules_that_reach_one_side_first_delete_nothing() {
    let mut world = World::new(1, Mode::TwoWaySafe);
    let path = RelPath::parse(b"a/b").unwrap();
    let file = File::new(1, false, blake3::hash(b"1").into());
    world.sides[0].set(&path.parent().unwrap(), Some(Item::Directory(Directory::empty())));
    world.sides[0].set(&path, Some(Item::File(file.clone())));
    world.settle();
    world.sides[0].set(&path, Some(Item::Untracked(Keep::Protected)));
    world.written = 1;
    world.settle();
    assert_eq!(world.sides[1].tree.get(Some(&path)), Some(&Item::File(file)), "it stays where it is");
    assert_eq!(world.session.ancestor.get(Some(&path)), None, "and is nobody's any more");
}

/// A session with one side's file on its way to the other, after so many steps of everybody.
fn underway(size: u64, steps: usize) -> World {
    let mut world = World::new(1, Mode::TwoWaySafe);
    world.settle();
    let file = File::new(size, false, blake3::hash(b"1").into());
    world.sides[0].set(&RelPath::parse(b"a").unwrap(), Some(Item::File(file)));
    world.sides[0].report();
    for _ in 0..steps {
        world.now += Duration::from_millis(1);
        for side in Side::BOTH {
            world.sides[side as usize].step();
            world.deliver(side);
        }
    }
    world
}

#[test]
fn a_small_file_overtakes_a_large_one() {
    let mut world = underway(400 * CHUNK, 20);
    let small = File::new(5, false, blake3::hash(b"2").into());
    let path = RelPath::parse(b"b").unwrap();
    world.sides[0].set(&path, Some(Item::File(small)));
    world.sides[0].report();
    let mut steps = 0;
    while world.sides[1].tree.get(Some(&path)).is_none() {
        steps += 1;
        world.tick(1);
        for side in Side::BOTH {
            world.sides[side as usize].step();
            world.deliver(side);
        }
        assert!(steps < 100, "it waits for the large one");
    }
    let Progress { done, total } = world.session.status().side(Side::Beta).progress;
    assert!(done.bytes < total.bytes / 4, "{done:?} of {total:?}");
    world.settle();
    world.check(true);
}

#[test]
fn a_status_tells_how_far_it_is() {
    let size = 10 * CHUNK;
    let before = World::new(1, Mode::TwoWaySafe).session.status();
    assert_eq!(before.state(), State::Apart);
    assert_eq!(before.side(Side::Beta).presence, Presence::Detached);
    let status = underway(size, 6).session.status();
    assert_eq!(status.state(), State::Working);
    let Progress { done, total } = status.side(Side::Beta).progress;
    assert_eq!(total, Amount { entries: 1, bytes: size });
    assert!(done.entries == 0 && (1..size).contains(&done.bytes), "{done:?}");
    assert_eq!(status.side(Side::Alpha).progress, Progress::default());
    let status = underway(size, 60).session.status();
    assert_eq!(status.state(), State::Equal);
    assert_eq!(status.side(Side::Beta).progress, Progress::default());
    assert_eq!((status.side(Side::Beta).files, status.agreed), (1, Amount { entries: 2, bytes: size }));
    let latency = status.latency.expect("a change has arrived");
    assert!((Duration::from_millis(10)..Duration::from_millis(60)).contains(&latency), "{latency:?}");
}

#[test]
fn a_status_names_what_waits_for_a_person() {
    let mut world = World::new(1, Mode::TwoWaySafe);
    world.settle();
    let path = RelPath::parse(b"a").unwrap();
    for (side, text) in [(0, b"1"), (1, b"2")] {
        let file = File::new(1, false, blake3::hash(text).into());
        world.sides[side].set(&path, Some(Item::File(file)));
    }
    let odd = RelPath::parse(b"b").unwrap();
    world.sides[1].set(&odd, Some(Item::Problematic("it is a pipe".into())));
    world.written = 1;
    world.settle();
    let status = world.session.status();
    assert_eq!(status.state(), State::Waiting);
    let [dispute] = &status.conflicts[..] else { panic!("one conflict: {:?}", status.conflicts) };
    assert_eq!(dispute.conflict.path.as_ref(), Some(&path));
    assert_eq!(status.side(Side::Beta).problems, [(Some(odd), "it is a pipe".into())]);
    world.session.choose(Some(path), dispute.key, Choice::Host).unwrap();
    world.written = 2;
    world.settle();
    assert_eq!(world.session.status().conflicts, []);
    assert_eq!(world.sides[0].tree.get(None).map(Item::files), Some(1));
}

fn small(text: &[u8]) -> Option<Item> {
    let digest = blake3::hash(text).into();
    Some(Item::File(File::new(text.len() as u64, false, digest)))
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

#[test]
fn a_preview_counts_what_other_settings_would_do() {
    let mut world = World::new(1, Mode::TwoWaySafe);
    world.sides[0].set(&path("gone"), small(b"1"));
    world.sides[0].set(&path("both"), small(b"1"));
    world.settle();
    world.sides[0].set(&path("both"), small(b"2"));
    world.sides[1].set(&path("both"), small(b"3"));
    world.sides[1].set(&path("new"), Some(Item::Directory(Directory::empty())));
    world.sides[1].set(&path("new/file"), small(b"4"));
    world.sides[1].set(&path("gone"), None);
    world.session.pause(true);
    for _ in 0..10 {
        for side in Side::BOTH {
            world.sides[side as usize].report();
            world.deliver(side);
        }
    }
    let settings = world.session.settings();
    let before = world.session.status();
    let two_way = world.session.preview(&settings);
    assert_eq!(two_way.sides, [Counts { created: 2, changed: 0, deleted: 1 }, Counts::default()]);
    assert_eq!(two_way.conflicts.len(), 1);
    let replica = world.session.preview(&Settings { mode: Mode::OneWayReplica, ..settings });
    assert_eq!(replica.sides, [Counts::default(), Counts { created: 1, changed: 1, deleted: 2 }]);
    assert_eq!(replica.conflicts, []);
    let limits = Limits { deletions: 0, ..LIMITS };
    let held = world.session.preview(&Settings { limits, ..settings });
    assert_eq!(held.sides[0].deleted, 0);
    assert_eq!(held.holds.len(), 1);
    assert_eq!(world.session.status(), before, "nothing has changed by that");
}

#[test]
fn other_settings_hold_for_what_is_not_handed_over_yet() {
    let mut world = World::new(1, Mode::TwoWaySafe);
    world.settle();
    world.sides[1].set(&path("large"), small(&vec![7; usize::try_from(3 * CHUNK).unwrap()]));
    world.sides[1].report();
    for _ in 0..4 {
        for side in Side::BOTH {
            world.deliver(side);
            world.sides[side as usize].step();
        }
    }
    assert_eq!(world.session.status().state(), State::Working, "it is on its way to the host");
    let settings = Settings { mode: Mode::OneWaySafe, ..world.session.settings() };
    let effects = world.session.configure(settings, world.now);
    assert!(
        effects.iter().any(|effect| matches!(effect, Effect::Say(Side::Alpha, ToSide::Drop { .. }))),
        "what has come of it is given up: {effects:?}"
    );
    world.take(effects);
    world.written = 1;
    world.settle();
    assert_eq!(world.sides[0].tree.count(), 1, "the host is not written any more");
    assert_eq!(world.sides[1].tree.count(), 2);
}

#[test]
fn a_strategy_may_not_delete_much_without_a_yes() {
    let mut world = World::new(1, Mode::TwoWaySafe);
    let limits = Limits { deletions: 2, half_of: u64::MAX, conflicts: usize::MAX, samples: 1 };
    let settings = Settings { strategy: Strategy::HostWins, limits, ..world.session.settings() };
    world.session.configure(settings, world.now);
    world.sides[0].set(&path("a"), Some(Item::Directory(Directory::empty())));
    world.sides[0].set(&path("b"), small(b"b"));
    world.settle();
    world.sides[0].set(&path("a"), small(b"the host made a file of it"));
    for name in ["a/1", "a/2", "a/3"] {
        world.sides[1].set(&path(name), small(name.as_bytes()));
    }
    world.written = 1;
    world.settle();
    let status = world.session.status();
    assert_eq!(world.sides[1].tree.count(), 6, "nothing is deleted: {:?}", world.sides[1].tree);
    let [hold] = &status.holds[..] else { panic!("one hold: {:?}", status.holds) };
    assert!(world.session.approve(hold.key));
    world.written = 2;
    world.settle();
    assert_eq!(world.sides[1].tree, world.sides[0].tree);
}

#[test]
fn the_newer_version_wins_whatever_the_clocks_say() {
    const HOUR: i64 = 3_600_000_000_000;
    let at = 1_000 * HOUR;
    // How far the container's clock is ahead, and when each version was written by its own clock.
    for (ahead, host, container, winner) in [
        (0, at, at + 1, Side::Beta),
        (0, at + 1, at, Side::Alpha),
        (0, at, at, Side::Alpha),
        (0, 0, at, Side::Alpha),
        (0, at, 0, Side::Alpha),
        (24 * HOUR, at, at + 1, Side::Alpha),
        (24 * HOUR, at, at + 24 * HOUR + 1, Side::Beta),
        (-24 * HOUR, at, at - 24 * HOUR + 1, Side::Beta),
        (-90_000 * HOUR, at, at - 90_000 * HOUR - 1, Side::Alpha),
        (HOUR / 3_600, at, at + 1, Side::Beta),
    ] {
        let mut world = World::new(1, Mode::TwoWaySafe);
        let settings = Settings { strategy: Strategy::NewerWins, ..world.session.settings() };
        world.session.configure(settings, world.now);
        world.sides[0].clock = at;
        world.sides[1].clock = at + ahead;
        for (side, text, modified) in [(0, b"1", host), (1, b"2", container)] {
            let file = File { modified, ..File::new(1, false, blake3::hash(text).into()) };
            world.sides[side].set(&path("a"), Some(Item::File(file)));
        }
        world.settle();
        let expected = small(if winner == Side::Alpha { b"1" } else { b"2" });
        for side in &world.sides {
            assert_eq!(side.tree.get(Some(&path("a"))), expected.as_ref(), "{ahead} {host} {container}");
        }
    }
}

fn events(world: &World, at: &str) -> Vec<String> {
    let trace = world.session.trace(Some(&path(at)));
    let own = trace.records.iter().filter(|record| record.path == Some(path(at)));
    own.map(|record| record.event.to_string()).collect()
}

#[test]
fn a_trace_says_why_a_path_is_as_it_is() {
    let mut world = World::new(1, Mode::TwoWaySafe);
    world.settle();
    let nowhere = world.session.trace(Some(&path("a")));
    assert_eq!((nowhere.verdict, nowhere.host), (Verdict::Nowhere, Sight::Nothing));
    world.sides[0].set(&path("a"), small(b"1"));
    world.written = 1;
    world.settle();
    let one = "a file of 1 bytes (d63bd9a8)";
    assert_eq!(
        events(&world, "a"),
        [
            format!("the host has {one}"),
            format!("the container is to have {one}: only the other side changed it"),
            format!("the container now has {one}"),
        ]
    );
    assert_eq!(world.session.trace(Some(&path("a"))).verdict, Verdict::Equal);
    world.sides[0].set(&path("a"), small(b"2"));
    world.sides[1].set(&path("a"), None);
    world.written = 2;
    world.settle();
    let last = events(&world, "a").into_iter().rev().nth(1);
    assert!(last.is_some_and(|last| last.ends_with("an edit beats a deletion")));
    world.sides[0].set(&path("a"), small(b"3"));
    world.sides[1].set(&path("a"), small(b"4"));
    world.sides[1].set(&path("skipped"), Some(Item::Untracked(Keep::Protected)));
    world.written = 3;
    world.settle();
    assert!(matches!(world.session.trace(Some(&path("a"))).verdict, Verdict::Conflict { .. }));
    assert!(events(&world, "a").contains(&"a conflict: both sides changed it".to_owned()));
    let below = world.session.trace(Some(&path("skipped/below"))).verdict;
    assert_eq!(below, Verdict::Ignored { on: Side::Beta, at: Some(path("skipped")) });
    assert_eq!(below.to_string(), "the container ignores `skipped`");
}

#[test]
fn a_busy_path_does_not_crowd_out_the_others() {
    let mut memory = Memory::default();
    let note = |memory: &mut Memory, at: &str| memory.note(Duration::ZERO, Some(path(at)), Event::Conflict);
    note(&mut memory, "quiet");
    (0..100_000).for_each(|_| note(&mut memory, "log"));
    assert_eq!(memory.about(Some(&path("quiet"))).len(), 1);
    assert_eq!(memory.about(Some(&path("log"))).len(), 16);
    (0..10_000).for_each(|number| note(&mut memory, &format!("n{number}")));
    assert_eq!(memory.about(Some(&path("quiet"))), []);
    assert_eq!((memory.records.len(), memory.of.len()), (4_096, 4_096));
}

/// A world in which both sides have the same three files, and one of the folders is then replaced by an empty one.
fn replaced(side: Side) -> World {
    let mut world = World::new(1, Mode::TwoWaySafe);
    for name in ["a", "b", "c"] {
        world.sides[0].set(&path(name), small(name.as_bytes()));
    }
    world.settle();
    assert_eq!(world.sides[1].tree.count(), 4);
    world.session.lost(side);
    world.sides[side as usize] = Fake::new(9);
    let effects = world.session.connected(side);
    world.take(effects);
    for _ in 0..200 {
        world.tick(20);
        for side in Side::BOTH {
            world.sides[side as usize].step();
            world.deliver(side);
        }
    }
    world
}

#[test]
fn a_host_folder_that_was_replaced_stops_everything_and_deletes_nothing() {
    let mut world = replaced(Side::Alpha);
    assert_eq!(world.session.halt(), Some(Halt::RootReplaced));
    assert_eq!((world.sides[0].tree.count(), world.sides[1].tree.count()), (1, 4), "nothing was done");
    assert!(world.session.accept(Halt::RootReplaced));
    world.written = 1;
    world.settle();
    assert_eq!((world.sides[0].tree.count(), world.sides[1].tree.count()), (4, 4), "and nothing is lost");
}

#[test]
fn a_container_folder_that_was_replaced_is_filled_again() {
    let world = replaced(Side::Beta);
    assert_eq!(world.session.halt(), None);
    assert_eq!((world.sides[0].tree.count(), world.sides[1].tree.count()), (4, 4));
}

#[test]
fn what_a_side_says_it_has_and_nobody_sent_is_not_remembered() {
    let mut world = World::new(1, Mode::TwoWaySafe);
    world.settle();
    // While something is under way, so that nothing is cleared for having come to rest.
    world.sides[0].set(&path("large"), Some(Item::File(File::new(1 << 30, false, Digest([1; 32])))));
    world.sides[0].report();
    while !world.sides[0].outbox.is_empty() {
        world.deliver(Side::Alpha);
    }
    for number in 0..1_000_u64 {
        let digest = blake3::hash(&number.to_le_bytes()).into();
        let said = FromSide::Stored { digest, bytes: 0, whole: true, problem: None };
        let effects = world.session.hear(Side::Beta, said, world.now).unwrap();
        world.take(effects);
    }
    assert!(!world.session.batches.is_empty());
    assert_eq!(world.session.replica(Side::Beta).stored.len(), 0);
}
