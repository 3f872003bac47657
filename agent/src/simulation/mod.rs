//! The whole engine on two simulated disks: people edit on both sides between any two calls, events are lost, disks
//! fill up, connections break, processes and machines stop. Deterministic: a seed that fails, fails again.

mod mutant;
mod oracle;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use rustix::io::Errno;

use crate::disk::Disk as _;
use crate::disk::Identity;
use crate::disk::Slot;
use crate::disk::sim::Fate;
use crate::disk::sim::Random;
use crate::disk::sim::SimDisk;
use crate::disk::sim::SimMedium;
use crate::disk::sim::Volume;
use crate::entry::Digest;
use crate::journal::Bond;
use crate::journal::Journal;
use crate::journal::Root;
use crate::look;
use crate::look::Dirty;
use crate::look::Look;
use crate::message::FromSide;
use crate::message::Part;
use crate::message::ToSide;
use crate::reconcile::Mode;
use crate::reconcile::Side;
use crate::replica::Replica;
use crate::resolve::Strategy;
use crate::rules;
use crate::rules::Rules;
use crate::safety::Limits;
use crate::sample::nightly_or;
use crate::session::Effect;
use crate::session::Progress;
use crate::session::Session;
use crate::session::Settings;
use crate::versions;
use crate::versions::Versions;
use mutant::MUTANTS;
use mutant::Mutant;
use oracle::Oracle;
use oracle::everything;

/// Nothing is held.
const LIMITS: Limits = Limits { deletions: u64::MAX, half_of: u64::MAX, conflicts: usize::MAX, samples: 0 };

/// A side's machine.
struct Machine {
    disk: SimDisk,
    replica: Option<Replica<SimDisk, SimMedium>>,
    inbox: VecDeque<ToSide>,
    outbox: VecDeque<FromSide>,
}

impl Machine {
    fn open(&mut self, side: Side) {
        let limits = versions::Limits { age: Duration::from_secs(1 << 30), bytes: u64::MAX };
        let Ok(versions) = Versions::open(&self.disk, self.disk.medium(0), side, limits) else { return };
        let rules = Rules::new(rules::Settings::default()).unwrap();
        self.replica =
            Some(Replica::new(self.disk.clone(), Look::new(look::Settings::default(), rules), versions));
    }

    fn forget(&mut self) {
        self.replica = None;
        self.inbox.clear();
        self.outbox.clear();
    }
}

/// What may go wrong, each about once in so many steps or calls; 0 for never.
#[derive(Debug, Clone, Copy)]
struct Weather {
    /// Edits between two calls of ours.
    edits: usize,
    /// Calls that fail.
    failures: usize,
    /// Events that are lost.
    lost_events: usize,
    full_disk: usize,
    disconnect: usize,
    /// A process ends.
    kill: usize,
    /// A machine stops, and what was not synced may be gone.
    crash: usize,
}

struct World {
    mutant: Option<Mutant>,
    random: Random,
    weather: Weather,
    now: Duration,
    machines: [Machine; 2],
    session: Option<Session>,
    journal: Option<Journal<SimMedium>>,
    mode: Mode,
    /// Whether the session was told of its own side, and of the other.
    hosted: bool,
    connected: bool,
    oracle: Arc<Mutex<Oracle>>,
    flushed: BTreeSet<u64>,
    /// Everything said so far, when somebody asks for it.
    said: Option<blake3::Hasher>,
    /// How contents were brought, and how often.
    ways: BTreeMap<&'static str, u64>,
    /// The contents that were begun before a connection broke.
    begun: BTreeSet<Digest>,
}

impl World {
    fn new(seed: u64, mode: Mode, weather: Weather) -> Self {
        let machine = |number| {
            let disk = SimDisk::new(seed.wrapping_mul(2) + number);
            Machine { disk, replica: None, inbox: VecDeque::new(), outbox: VecDeque::new() }
        };
        let mut world = Self {
            mutant: None,
            random: Random::new(seed),
            weather,
            now: Duration::ZERO,
            machines: [machine(0), machine(1)],
            session: None,
            journal: None,
            mode,
            hosted: false,
            connected: false,
            oracle: Arc::default(),
            flushed: BTreeSet::new(),
            said: None,
            ways: BTreeMap::new(),
            begun: BTreeSet::new(),
        };
        for side in Side::BOTH {
            world.hook(side);
        }
        world
    }

    /// Between any two calls: an edit, or a failure.
    fn hook(&mut self, side: Side) {
        let oracle = Arc::clone(&self.oracle);
        let weather = self.weather;
        let mut random = Random::new(self.random.number());
        self.machines[side as usize].disk.set_hook(move |volume, call| {
            let mut oracle = oracle.lock().unwrap();
            if weather.edits > 0 && random.below(weather.edits) == 0 {
                oracle.edit(&mut random, volume);
            }
            if weather.failures > 0 && random.below(weather.failures) == 0 {
                return Fate::Fail([Errno::IO, Errno::ACCESS, Errno::NOSPC, Errno::MFILE][random.below(4)]);
            }
            if call.name == "sync" {
                oracle.synced(side, volume);
            }
            Fate::Go
        });
    }

    fn chance(&mut self, one_in: usize) -> bool {
        one_in > 0 && self.random.below(one_in) == 0
    }

    fn machine(&mut self, side: Side) -> &mut Machine {
        &mut self.machines[side as usize]
    }

    /// Whatever is not running is started, as a supervisor would.
    fn start(&mut self) {
        for side in Side::BOTH {
            if self.machine(side).replica.is_none() {
                self.machine(side).open(side);
            }
        }
        if self.session.is_none() {
            let medium = self.machine(Side::Alpha).disk.medium(1);
            let Ok((journal, _)) = Journal::open(medium) else { return };
            let bound = journal.bond().map(|bond| [identity(bond.alpha), identity(bond.beta)]);
            self.session = Some(Session::new(
                Settings { mode: self.mode, strategy: Strategy::Manual, limits: LIMITS },
                journal.tree().clone(),
                bound,
            ));
            self.journal = Some(journal);
            self.hosted = false;
        }
        if !self.hosted && self.machine(Side::Alpha).replica.is_some() {
            self.hosted = true;
            self.tell(|session, _| session.connected(Side::Alpha));
        }
        let ready = self.machines.iter().all(|machine| machine.replica.is_some());
        if !self.connected && ready && self.session.is_some() {
            self.connected = true;
            self.tell(|session, _| session.connected(Side::Beta));
        }
    }

    fn tell(&mut self, act: impl FnOnce(&mut Session, Duration) -> Vec<Effect>) {
        let Some(session) = &mut self.session else { return };
        let effects = act(session, self.now);
        for effect in effects {
            if let Effect::Say(_, message) = &effect {
                self.hash(message);
                self.note_way(message);
            }
            match effect {
                Effect::Say(Side::Beta, _) if !self.connected => {}
                Effect::Say(side, message) => self.machine(side).inbox.push_back(message),
                Effect::Begin([alpha, beta]) => {
                    let bond = Bond { alpha: root(alpha), beta: root(beta), rules: Digest([0; 32]) };
                    if self.journal.as_mut().is_some_and(|journal| journal.bind(bond).is_err()) {
                        self.stop_host();
                        return;
                    }
                }
                Effect::Record(changes) => {
                    self.oracle.lock().unwrap().recorded(&changes);
                    let Some(journal) = &mut self.journal else { continue };
                    if journal.record(changes).is_err() || journal.commit().is_err() {
                        // As the product does: a journal that cannot be written ends the session.
                        self.stop_host();
                        return;
                    }
                }
                Effect::Flushed(token) => drop(self.flushed.insert(token)),
                Effect::Settled => {}
            }
        }
    }

    fn note_way(&mut self, message: &ToSide) {
        let ToSide::Store { digest, offset, part, .. } = message else { return };
        let way = match part {
            Part::Sent(_) => "sent",
            Part::Differing { .. } => "differing",
            Part::Same { .. } => "same",
        };
        *self.ways.entry(way).or_insert(0) += 1;
        if self.begun.remove(digest) && *offset > 0 {
            *self.ways.entry("continued").or_insert(0) += 1;
        }
    }

    fn hash(&mut self, message: &impl serde::Serialize) {
        if let Some(said) = &mut self.said {
            said.update(&postcard::to_allocvec(&(self.now, message)).unwrap());
        }
    }

    fn deliver(&mut self, side: Side) {
        let overtakes = self.mutant == Some(Mutant::Overtakes);
        let outbox = &mut self.machine(side).outbox;
        let Some(message) = (if overtakes { outbox.pop_back() } else { outbox.pop_front() }) else { return };
        if self.session.is_none() {
            return;
        }
        self.hash(&message);
        if let FromSide::Attached { begun, .. } = &message {
            self.begun = begun.iter().map(|(digest, _)| *digest).collect();
        }
        let message = match self.mutant {
            Some(mutant) => mutant.said(message),
            None => Some(message),
        };
        let Some(message) = message else { return };
        let mut nonsense = None;
        self.tell(|session, now| {
            session.hear(side, message, now).unwrap_or_else(|error| {
                nonsense = Some(error);
                Vec::new()
            })
        });
        assert!(nonsense.is_none(), "an honest side was called a liar: {nonsense:?}");
    }

    fn work(&mut self, side: Side) {
        let (now, mutant) = (self.now, self.mutant);
        let machine = self.machine(side);
        let Some(message) = machine.inbox.pop_front() else { return };
        let mut said = Vec::new();
        if let Some(replica) = &mut machine.replica {
            let message = match mutant {
                Some(mutant) => mutant.asked(message),
                None => Ok(message),
            };
            match message {
                Ok(message) => {
                    replica.hear(message, &mut (), now, &mut said).expect("an honest session makes sense");
                }
                Err(answer) => said.push(answer),
            }
        }
        machine.outbox.extend(said);
        if mutant == Some(Mutant::KeepsNothing) {
            let slots = machine.disk.slots().unwrap_or_default();
            slots
                .into_iter()
                .filter(|slot| matches!(slot, Slot::Kept(_)))
                .for_each(|slot| drop(machine.disk.dispose(slot)));
        }
    }

    fn look(&mut self, side: Side) {
        let now = self.now;
        let (lost, everything) = (self.chance(self.weather.lost_events), self.random.below(40) == 0);
        let machine = self.machine(side);
        let mut dirty = Dirty::nowhere();
        for directory in machine.disk.user(Volume::take_changed) {
            dirty.add(directory, look::Part::Listing);
        }
        if lost {
            dirty = Dirty::nowhere();
        }
        if everything {
            dirty = Dirty::All;
        }
        let mut said = Vec::new();
        if let Some(replica) = &mut machine.replica {
            replica.look(dirty, &mut (), now, &mut said);
        }
        machine.outbox.extend(said);
    }

    fn disconnect(&mut self) {
        self.connected = false;
        if let Some(session) = &mut self.session
            && self.mutant != Some(Mutant::OverlooksTheBreak)
        {
            session.lost(Side::Beta);
        }
        let beta = self.machine(Side::Beta);
        beta.inbox.clear();
        beta.outbox.clear();
        if let Some(replica) = &mut beta.replica {
            replica.detach();
        }
    }

    fn stop_host(&mut self) {
        self.disconnect();
        self.session = None;
        self.journal = None;
        self.machine(Side::Alpha).forget();
    }

    fn stop(&mut self, side: Side, crash: bool) {
        match side {
            Side::Alpha => self.stop_host(),
            Side::Beta => {
                self.disconnect();
                self.machine(Side::Beta).forget();
            }
        }
        let disk = self.machine(side).disk.clone();
        if crash {
            let other = self.machine(side.other()).disk.user(|volume| everything(volume));
            let before = disk.user(|volume| everything(volume));
            disk.restart();
            let oracle = Arc::clone(&self.oracle);
            disk.user(|volume| oracle.lock().unwrap().crashed(side, before, volume, &other));
        } else {
            disk.revive();
        }
    }

    fn step(&mut self) {
        self.start();
        let side = Side::BOTH[self.random.below(2)];
        let weather = self.weather;
        if self.chance(weather.disconnect) {
            self.disconnect();
        } else if self.chance(weather.kill) {
            self.stop(side, false);
        } else if self.chance(weather.crash) {
            self.stop(side, true);
        } else if self.chance(weather.full_disk) {
            let room = self.random.below(3) > 0;
            self.machine(side).disk.user(|volume| volume.limit((!room).then_some(100)));
        }
        if self.chance(300) {
            let mode = [Mode::TwoWaySafe, Mode::TwoWayResolved][self.random.below(2)];
            self.configure(mode);
        }
        match self.random.below(20) {
            0 => {
                let oracle = Arc::clone(&self.oracle);
                let mut random = Random::new(self.random.number());
                self.machine(side).disk.user(|volume| oracle.lock().unwrap().edit(&mut random, volume));
            }
            1..=8 => self.work(side),
            9..=15 => self.deliver(side),
            16 | 17 => self.look(side),
            _ => self.pass(20),
        }
    }

    /// A person changes their mind.
    fn configure(&mut self, mode: Mode) {
        self.tell(|session, now| {
            let settings = Settings { mode, ..session.settings() };
            let before = session.status();
            drop(session.preview(&settings));
            assert_eq!(session.status(), before, "a preview changes nothing");
            session.configure(settings, now)
        });
    }

    fn pass(&mut self, milliseconds: u64) {
        self.now += Duration::from_millis(milliseconds);
        for side in Side::BOTH {
            self.machine(side)
                .disk
                .user(|volume| volume.advance(i64::try_from(milliseconds).unwrap() * 1_000_000));
        }
        self.tell(Session::tick);
        let Some(session) = &mut self.session else { return };
        let status = session.status();
        for Progress { done, total } in status.sides.iter().map(|side| side.progress) {
            assert!(done.entries <= total.entries && done.bytes <= total.bytes, "{done:?} of {total:?}");
        }
        // A person who always says yes.
        if let Some(halt) = status.halt {
            session.accept(halt);
        }
    }

    /// The weather clears: everything has to come to rest.
    fn settle(&mut self) {
        let weather = std::mem::replace(&mut self.weather, Weather::CALM);
        for side in Side::BOTH {
            self.hook(side);
            self.machine(side).disk.user(|volume| volume.limit(None));
        }
        self.start();
        self.configure(self.mode);
        let token = u64::MAX;
        self.tell(|session, now| session.flush(token, now));
        for _ in 0..10_000 {
            self.start();
            for side in Side::BOTH {
                self.look(side);
                self.work(side);
                self.deliver(side);
                self.deliver(side);
            }
            self.pass(20);
            let quiet = |machine: &Machine| machine.inbox.is_empty() && machine.outbox.is_empty();
            if self.flushed.contains(&token) && self.machines.iter().all(quiet) {
                self.weather = weather;
                return;
            }
        }
        panic!("never came to rest: {}", self.session.as_ref().map(Session::explain).unwrap_or_default());
    }

    fn check(&mut self) {
        let [alpha, beta] = [0, 1].map(|index| self.machines[index].disk.user(|volume| volume.see_all()));
        if self.mode == Mode::TwoWayResolved {
            assert!(alpha == beta, "the sides differ: {:?} and {:?}", alpha.keys(), beta.keys());
        }
        for machine in self.machines.iter().filter(|_| self.weather.failures == 0) {
            let incoming = |slot: &Slot| matches!(slot, Slot::Part(_) | Slot::Whole(_));
            let left: Vec<_> = machine.disk.slots().unwrap().into_iter().filter(incoming).collect();
            assert!(left.is_empty(), "left behind where content comes in: {left:?}");
        }
        let mut held = BTreeSet::new();
        for machine in &self.machines {
            held.extend(machine.disk.user(|volume| everything(volume)));
        }
        let oracle = self.oracle.lock().unwrap();
        for content in &oracle.written {
            let excused = oracle.given_up.contains(content) || oracle.perished.contains(content);
            assert!(
                excused || held.contains(content),
                "`{}` was lost",
                String::from_utf8_lossy(&content[..8])
            );
        }
    }
}

impl Weather {
    const CALM: Self =
        Self { edits: 0, failures: 0, lost_events: 0, full_disk: 0, disconnect: 0, kill: 0, crash: 0 };
    /// Nothing fails but the power.
    const DARK: Self = Self { lost_events: 5, disconnect: 150, kill: 300, crash: 200, ..Self::CALM };
    const STORM: Self = Self {
        edits: 80,
        failures: 100,
        lost_events: 5,
        full_disk: 150,
        disconnect: 150,
        kill: 300,
        crash: 300,
    };
}

fn root(identity: Identity) -> Root {
    Root { device: identity.device, inode: identity.inode, born: identity.born, nonce: [0; 16] }
}

fn identity(root: Root) -> Identity {
    Identity { device: root.device, inode: root.inode, born: root.born }
}

/// A digest of everything that is said in a history.
fn replay(seed: u64, mode: Mode, weather: Weather) -> blake3::Hash {
    let mut world = World::new(seed, mode, weather);
    world.said = Some(blake3::Hasher::new());
    (0..1_500).for_each(|_| world.step());
    world.settle();
    world.check();
    world.said.unwrap().finalize()
}

#[test]
fn a_seed_tells_the_same_history_again() {
    let mut histories = BTreeSet::new();
    for seed in 0..10 {
        let first = replay(seed, Mode::TwoWaySafe, Weather::STORM);
        assert_eq!(replay(seed, Mode::TwoWaySafe, Weather::STORM), first, "seed {seed}");
        histories.insert(*first.as_bytes());
    }
    assert_eq!(histories.len(), 10, "each seed tells another");
}

fn run(seed: u64, mode: Mode, weather: Weather, steps: usize) {
    run_as(None, seed, mode, weather, steps);
}

fn run_as(mutant: Option<Mutant>, seed: u64, mode: Mode, weather: Weather, steps: usize) {
    eprintln!("seed {seed}, {}", mode.name());
    let mut world = World::new(seed, mode, weather);
    world.mutant = mutant;
    for _ in 0..steps {
        world.step();
    }
    world.settle();
    world.check();
}

/// 500 histories of each kind and mode; in the nightly run 20,000. A seed that fails is run again by itself with
/// `NEXUS_SIMULATION_SEED`.
#[expect(clippy::disallowed_methods, reason = "how thorough a test is comes from outside")]
fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    match number("NEXUS_SIMULATION_SEED") {
        Some(first) => first..first + number("NEXUS_SIMULATION_COUNT").unwrap_or(1),
        None => 0..nightly_or(20_000, 500),
    }
}

#[test]
fn on_a_calm_day() {
    for seed in seeds() {
        run(seed, Mode::TwoWayResolved, Weather::CALM, 1_500);
        run(seed, Mode::TwoWaySafe, Weather::CALM, 1_500);
    }
}

#[test]
fn while_everybody_edits() {
    for seed in seeds() {
        let weather = Weather { edits: 60, lost_events: 5, ..Weather::CALM };
        run(seed, Mode::TwoWayResolved, weather, 1_500);
        run(seed, Mode::TwoWaySafe, weather, 1_500);
    }
}

#[test]
fn while_machines_stop() {
    for seed in seeds() {
        run(seed, Mode::TwoWayResolved, Weather::DARK, 1_500);
        run(seed, Mode::TwoWaySafe, Weather::DARK, 1_500);
    }
}

/// SY-05: machines that stop with whatever had not reached the disk, again and again, while people work. Nothing is
/// remembered that would not last (the oracle asks at each record), and no machine takes the other's files with it: what
/// a crash took from one side only comes back from the other.
#[test]
fn sy05_power_cuts_take_nothing_that_had_lasted() {
    let weather = Weather { crash: 60, lost_events: 5, ..Weather::CALM };
    for seed in 0..nightly_or(2_000, 60) {
        run(seed, Mode::TwoWaySafe, weather, 1_500);
        run(seed, Mode::TwoWayResolved, weather, 1_500);
    }
}

#[test]
fn in_a_storm() {
    for seed in seeds() {
        run(seed, Mode::TwoWayResolved, Weather::STORM, 1_500);
        run(seed, Mode::TwoWaySafe, Weather::STORM, 1_500);
    }
}

/// A few histories in which people write long files and change a little of them. Says how contents were brought.
fn run_large(mutant: Option<Mutant>) -> BTreeMap<&'static str, u64> {
    let seeds = seeds();
    let few = seeds.start..seeds.start + (seeds.end - seeds.start).div_ceil(25);
    let mut ways = BTreeMap::new();
    for seed in few {
        for mode in [Mode::TwoWayResolved, Mode::TwoWaySafe] {
            eprintln!("seed {seed}, {}", mode.name());
            let mut world = World::new(seed, mode, Weather::STORM);
            world.mutant = mutant;
            world.oracle.lock().unwrap().large = true;
            (0..1_500).for_each(|_| world.step());
            world.settle();
            world.check();
            for (way, count) in world.ways {
                *ways.entry(way).or_insert(0) += count;
            }
        }
    }
    eprintln!("{ways:?}");
    ways
}

#[test]
fn in_a_storm_of_large_files() {
    let ways = run_large(None);
    for way in ["sent", "differing", "same", "continued"] {
        assert!(ways.contains_key(way), "nothing was {way}: {ways:?}");
    }
}

#[test]
fn lies_about_the_parts_of_files_cost_nothing_but_time() {
    run_large(Some(Mutant::LiesAboutParts));
}

#[test]
fn what_git_changes_at_once_is_carried_at_once() {
    let mut world = World::new(1, Mode::TwoWaySafe, Weather::CALM);
    world.settle();
    let write = |world: &mut World, path: &str| {
        world.machine(Side::Alpha).disk.user(|volume| volume.write(path, b"new").unwrap());
    };
    let arrived = |world: &mut World, path: &str, rounds: usize| {
        for _ in 0..rounds {
            for side in Side::BOTH {
                world.look(side);
                world.work(side);
                world.deliver(side);
            }
            world.pass(20);
        }
        world.machine(Side::Beta).disk.user(|volume| volume.see(path)).is_some()
    };
    world.machine(Side::Alpha).disk.user(|volume| volume.make_directory(".git").unwrap());
    write(&mut world, ".git/index.lock");
    write(&mut world, "a");
    assert!(!arrived(&mut world, "a", 50), "not while git is at it");
    write(&mut world, "b");
    world.machine(Side::Alpha).disk.user(|volume| volume.remove(".git/index.lock").unwrap());
    assert!(arrived(&mut world, "a", 50) && arrived(&mut world, "b", 0), "but then, all of it");
    write(&mut world, ".git/index.lock");
    write(&mut world, "c");
    assert!(!arrived(&mut world, "c", 200));
    assert!(arrived(&mut world, "c", 100), "a lock that was left behind holds nothing up for ever");
}

/// The seed, mode and weather of the first history that notices.
fn caught(mutant: Mutant) -> Option<(u64, Mode, Weather)> {
    let kinds = [Mode::TwoWayResolved, Mode::TwoWaySafe]
        .into_iter()
        .flat_map(|mode| [Weather::DARK, Weather::STORM].map(|weather| (mode, weather)));
    let mut histories =
        (0..40).flat_map(|seed| kinds.clone().map(move |(mode, weather)| (seed, mode, weather)));
    histories.find(|&(seed, mode, weather)| {
        std::panic::catch_unwind(|| run_as(Some(mutant), seed, mode, weather, 1_500)).is_err()
    })
}

#[test]
fn each_mutant_is_caught() {
    for mutant in MUTANTS {
        let by = caught(mutant);
        eprintln!("{mutant:?} is caught by {by:?}");
        assert!(by.is_some(), "{mutant:?} goes unnoticed");
    }
}
