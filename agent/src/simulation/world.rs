//! A host, a container and the session between them, with everything that can go wrong.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use rustix::io::Errno;

use super::mutant::Mutant;
use super::oracle::Oracle;
use super::oracle::everything;
use crate::disk::Disk as _;
use crate::disk::Identity;
use crate::disk::Nonce;
use crate::disk::Slot;
use crate::disk::sim::Fate;
use crate::disk::sim::Random;
use crate::disk::sim::SimDisk;
use crate::disk::sim::SimMedium;
use crate::disk::sim::Volume;
use crate::entry::Digest;
use crate::journal::Bond;
use crate::journal::Journal;
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
use crate::safety::Halt;
use crate::safety::Limits;
use crate::session::Effect;
use crate::session::Progress;
use crate::session::Session;
use crate::session::Settings;
use crate::versions;
use crate::versions::Versions;

/// Nothing is held.
const LIMITS: Limits = Limits { deletions: u64::MAX, half_of: u64::MAX, conflicts: usize::MAX, samples: 0 };

/// A side's machine.
pub(super) struct Machine {
    pub(super) disk: SimDisk,
    replica: Option<Replica<SimDisk, SimMedium>>,
    inbox: VecDeque<ToSide>,
    outbox: VecDeque<FromSide>,
    /// How often it was started.
    starts: u64,
}

impl Machine {
    fn open(&mut self, side: Side) {
        self.starts += 1;
        let mut nonce = Nonce([1; 16]);
        nonce.0[..8].copy_from_slice(&self.starts.to_le_bytes());
        if self.disk.claim(nonce).is_err() {
            return;
        }
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
pub(super) struct Weather {
    /// Edits between two calls of ours.
    pub(super) edits: usize,
    /// Calls that fail.
    pub(super) failures: usize,
    /// Events that are lost.
    pub(super) lost_events: usize,
    pub(super) full_disk: usize,
    pub(super) disconnect: usize,
    /// A process ends.
    pub(super) kill: usize,
    /// A machine stops, and what was not synced may be gone.
    pub(super) crash: usize,
}

pub(super) struct World {
    pub(super) mutant: Option<Mutant>,
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
    pub(super) oracle: Arc<Mutex<Oracle>>,
    flushed: BTreeSet<u64>,
    /// Everything said so far, when somebody asks for it.
    pub(super) said: Option<blake3::Hasher>,
    /// How contents were brought, and how often.
    pub(super) ways: BTreeMap<&'static str, u64>,
    /// The contents that were begun before a connection broke.
    begun: BTreeSet<Digest>,
    /// Whether there is a person, who always says yes.
    attended: bool,
}

impl World {
    pub(super) fn new(seed: u64, mode: Mode, weather: Weather) -> Self {
        let machine = |number| {
            let disk = SimDisk::new(seed.wrapping_mul(2) + number);
            Machine { disk, replica: None, inbox: VecDeque::new(), outbox: VecDeque::new(), starts: 0 }
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
            attended: true,
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

    pub(super) fn machine(&mut self, side: Side) -> &mut Machine {
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
            let bound =
                journal.bond().map(|bond| [bond.alpha, bond.beta].map(|root| self.known(root.into())));
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
                Effect::Begin(roots) => {
                    let bond = bond(roots);
                    if self.journal.as_mut().is_some_and(|journal| journal.bind(bond).is_err()) {
                        self.stop_host();
                        return;
                    }
                }
                Effect::Known(roots) => {
                    let Some(journal) = &mut self.journal else { continue };
                    journal.rebind(bond(roots));
                    if journal.commit().is_err() {
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

    /// What is remembered of a folder.
    fn known(&self, identity: Identity) -> Identity {
        let forgets = self.mutant == Some(Mutant::ForgetsTheNonce);
        Identity { nonce: if forgets { Nonce::default() } else { identity.nonce }, ..identity }
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

    pub(super) fn deliver(&mut self, side: Side) {
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
        let message = match message {
            FromSide::Attached { identity, anew, stored, begun, clock } => {
                FromSide::Attached { identity: self.known(identity), anew, stored, begun, clock }
            }
            other => other,
        };
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

    pub(super) fn work(&mut self, side: Side) {
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

    pub(super) fn look(&mut self, side: Side) {
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

    pub(super) fn step(&mut self) {
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

    pub(super) fn pass(&mut self, milliseconds: u64) {
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
        if let Some(halt) = status.halt.filter(|_| self.attended) {
            session.accept(halt);
        }
    }

    /// The weather clears: everything has to come to rest.
    pub(super) fn settle(&mut self) {
        let weather = std::mem::replace(&mut self.weather, Weather::CALM);
        for side in Side::BOTH {
            self.hook(side);
            self.machine(side).disk.user(|volume| volume.limit(None));
        }
        self.start();
        self.configure(self.mode);
        let token = u64::MAX;
        self.flushed.remove(&token);
        self.tell(|session, now| session.flush(token, now));
        for _ in 0..10_000 {
            self.rounds(1);
            let quiet = |machine: &Machine| machine.inbox.is_empty() && machine.outbox.is_empty();
            if self.flushed.contains(&token) && self.machines.iter().all(quiet) {
                self.weather = weather;
                return;
            }
        }
        panic!("never came to rest: {}", self.session.as_ref().map(Session::explain).unwrap_or_default());
    }

    /// A few rounds of everything.
    fn rounds(&mut self, count: usize) {
        for _ in 0..count {
            self.start();
            for side in Side::BOTH {
                self.look(side);
                self.work(side);
                self.deliver(side);
                self.deliver(side);
            }
            self.pass(20);
        }
    }

    /// The host's folder is removed and made again while nobody looks, with another file in it and the same inode: all
    /// that was in it seems deleted, and nothing may come of that.
    pub(super) fn make_again(&mut self) {
        // Once without failures, so that the folder was marked.
        self.stop_host();
        self.settle();
        self.stop_host();
        self.attended = false;
        self.machine(Side::Alpha).disk.user(|volume| {
            volume.make_again();
            volume.write("new", b"new").unwrap();
        });
        let before = self.machine(Side::Beta).disk.user(|volume| volume.see_all());
        self.rounds(100);
        let halt = self.session.as_ref().and_then(Session::halt);
        let after = self.machine(Side::Beta).disk.user(|volume| volume.see_all());
        assert_eq!((halt, &after), (Some(Halt::RootReplaced), &before), "a folder was taken for another");
        self.attended = true;
        self.settle();
        let alpha = self.machine(Side::Alpha).disk.user(|volume| volume.see_all());
        assert!(before.iter().all(|(path, seen)| alpha.get(path) == Some(seen)), "it is not filled again");
    }

    pub(super) fn check(&mut self) {
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

fn bond([alpha, beta]: [Identity; 2]) -> Bond {
    Bond { alpha: alpha.into(), beta: beta.into(), rules: Digest([0; 32]) }
}

impl Weather {
    pub(super) const CALM: Self =
        Self { edits: 0, failures: 0, lost_events: 0, full_disk: 0, disconnect: 0, kill: 0, crash: 0 };
    /// Nothing fails but the power.
    pub(super) const DARK: Self =
        Self { lost_events: 5, disconnect: 150, kill: 300, crash: 200, ..Self::CALM };
    pub(super) const STORM: Self = Self {
        edits: 80,
        failures: 100,
        lost_events: 5,
        full_disk: 150,
        disconnect: 150,
        kill: 300,
        crash: 300,
    };
}
