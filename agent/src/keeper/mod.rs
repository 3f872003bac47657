//! Keeps one side of a session at work: a [`Replica`] on a real folder, and the threads that serve it. The same on the
//! host and in a container.
//!
//! Tasks, all threads: the watch's own reads the kernel's events; `look` waits for them and looks; `sync` asks the
//! disk to make things last, which takes long and holds nobody up. Whoever keeps the keeper [hears](Keeper::hear) for it
//! and [takes](Keeper::take) what it says, which is in order because all of it is said under one lock; taking waits for
//! nothing, however long the disk takes. It calls `news` whenever there is something to take.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use serde::Deserialize;
use serde::Serialize;

use crate::disk::Disk as _;
use crate::disk::Folder;
use crate::disk::Identity;
use crate::disk::Nonce;
use crate::disk::StageAt;
use crate::inquiry::Answer;
use crate::inquiry::Question;
use crate::log::Paper;
use crate::look;
use crate::look::Look;
use crate::memory;
use crate::message::FromSide;
use crate::message::ToSide;
use crate::reconcile::Side;
use crate::replica::Nonsense;
use crate::replica::Replica;
use crate::rules;
use crate::rules::PatternError;
use crate::rules::Rules;
use crate::stamps;
use crate::tree::Change;
use crate::tree::Item;
use crate::versions;
use crate::versions::Versions;
use crate::watch;
use crate::watch::FileSystem;
use crate::watch::Watch;

/// With this much said and not taken, nothing is looked at and nothing heard: in bytes, about. Twice what a session has
/// on its way at most.
const UNTAKEN_MAX: usize = 16 << 20;
/// How long nothing may happen before there is time for housekeeping.
const IDLE: Duration = Duration::from_secs(30);
/// How long nothing may happen before what files held is saved, if that is new of more than one in so many. It costs as
/// much as all of the tree: never while somebody works, and never for a few files, which are soon read again.
const REST: Duration = Duration::from_secs(2);
const SAVED_PART: u64 = 20;
/// How often versions that are too old are let go.
const PRUNE: Duration = Duration::from_secs(3600);

/// How a side is kept. Says a session, also over the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// What is not carried.
    pub rules: rules::Settings,
    /// How it is looked at. The slack is the side's own to know.
    pub look: look::Settings,
    /// How it is watched.
    pub watch: watch::Settings,
    /// How much is kept of what is displaced.
    pub versions: versions::Limits,
}

/// Where a side's things are.
#[derive(Debug, Clone)]
pub struct Places {
    /// Which side it is.
    pub side: Side,
    /// The folder.
    pub root: PathBuf,
    /// Where content is brought before it is in place.
    pub staging: StageAt,
    /// What it remembers: versions and stamps. Made when it is not there.
    pub state: PathBuf,
}

/// Why a side cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder is not there, or no directory.
    #[error("the folder cannot be opened")]
    Folder(#[source] io::Error),
    /// What it remembers cannot be read.
    #[error("what was kept of `{}` cannot be opened", path.display())]
    State {
        /// Where it is.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A rule makes no sense.
    #[error(transparent)]
    Rules(#[from] PatternError),
}

/// See the module.
#[derive(Debug)]
pub struct Keeper {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    places: Places,
    identity: Identity,
    state: Mutex<State>,
    /// What is to be taken. Locked for a moment only, while the state is locked or by itself.
    said: Mutex<Said>,
    /// Something was taken.
    taken: Condvar,
    /// Something is to be made to last, or all is to end.
    owed: Condvar,
    watch: Watch,
    epoch: Instant,
    news: Box<dyn Fn() + Send + Sync>,
    ended: AtomicBool,
}

#[derive(Default)]
struct Said {
    messages: Vec<FromSide>,
    /// What they take, in bytes.
    weight: usize,
}

struct State {
    replica: Replica<Folder, Paper>,
    /// What is to be made to last.
    syncs: Vec<u64>,
    /// What was said to be new since the stamps were saved.
    unsaved: u64,
    /// The same since memory was given back.
    unreturned: u64,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("places", &self.places).finish_non_exhaustive()
    }
}

impl Keeper {
    /// Begins to keep a side. It says nothing before it is attached. `news` is called from several threads and must not
    /// wait for anything.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(
        places: Places,
        settings: &Settings,
        news: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, OpenError> {
        let state_error = |source| OpenError::State { path: places.root.clone(), source };
        let kept = places.state.join("kept");
        std::fs::create_dir_all(&kept).map_err(state_error)?;
        let folder = || Folder::open(&places.root, places.staging.clone(), &kept);
        let disk = folder().map_err(OpenError::Folder)?;
        let identity = disk.claim(Nonce::random()).map_err(OpenError::Folder)?;
        let slack = FileSystem::of(&places.root).map_err(OpenError::Folder)?.slack();
        let rules = Rules::new(settings.rules.clone())?;
        let mut look = Look::new(look::Settings { slack, ..settings.look.clone() }, rules);
        look.recall(stamps::load(&places.state.join("stamps"), identity));
        let log = Paper::open(&places.state.join("versions")).map_err(state_error)?;
        let versions = Versions::open(&disk, log, places.side, settings.versions).map_err(state_error)?;
        let watch = Watch::open(&places.root, settings.watch).map_err(OpenError::Folder)?;
        let state = State {
            replica: Replica::new(disk, look, versions),
            syncs: Vec::new(),
            unsaved: 0,
            unreturned: 0,
        };
        // Another handle on the same folder: while it waits for the disk it holds nothing.
        let lasting = folder().map_err(OpenError::Folder)?;
        let shared = Arc::new(Shared {
            places,
            identity,
            state: Mutex::new(state),
            said: Mutex::default(),
            taken: Condvar::new(),
            owed: Condvar::new(),
            watch,
            epoch: Instant::now(),
            news: Box::new(news),
            ended: AtomicBool::new(false),
        });
        let mut keeper = Self { shared: Arc::clone(&shared), threads: Vec::new() };
        let looker = Arc::clone(&shared);
        keeper.start("look", move || looker.look()).map_err(OpenError::Folder)?;
        keeper.start("sync", move || shared.sync(&lasting)).map_err(OpenError::Folder)?;
        Ok(keeper)
    }

    fn start(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.push(std::thread::Builder::new().name(name.to_owned()).spawn(run)?);
        Ok(())
    }

    /// Does what it is asked, in order; the answers are there to be [taken](Self::take) once all of it is done.
    ///
    /// # Errors
    /// When something makes no sense: the connection is to be ended.
    pub fn hear(&self, messages: impl IntoIterator<Item = ToSide>) -> Result<(), Nonsense> {
        let shared = &*self.shared;
        let now = shared.epoch.elapsed();
        shared.work(|state, said| {
            for message in messages {
                if let ToSide::Sync { token } = message {
                    state.syncs.push(token);
                    shared.owed.notify_all();
                } else {
                    state.replica.hear(message, &mut &shared.watch, now, said)?;
                }
            }
            Ok(())
        })
    }

    /// Answers a person.
    pub fn answer(&self, question: Question) -> Answer {
        let shared = &*self.shared;
        let now = shared.epoch.elapsed();
        shared.work(|state, said| state.replica.answer(question, &mut &shared.watch, now, said))
    }

    /// What was said since this was last asked, in order.
    pub fn take(&self) -> Vec<FromSide> {
        let said = std::mem::take(&mut *self.shared.said());
        self.shared.taken.notify_all();
        said.messages
    }

    /// Waits until enough was taken that more may be said.
    pub fn wait_for_room(&self) {
        self.shared.wait_for_room();
    }

    /// As long as this is held the side is at something that takes long.
    #[cfg(test)]
    pub(crate) fn busy(&self) -> impl Sized + '_ {
        self.shared.state()
    }

    /// The session is gone: nothing is said until another is attached.
    pub fn detach(&self) {
        let mut state = self.shared.state();
        state.replica.detach();
        *self.shared.said() = Said::default();
        drop(state);
        self.shared.taken.notify_all();
    }

    /// What is not carried, the rules in the folder's own files included.
    pub fn rules(&self) -> Rules {
        self.shared.state().replica.known().rules().clone()
    }

    /// How well the folder is watched.
    pub fn watched(&self) -> watch::Status {
        self.shared.watch.status()
    }

    /// Whether the folder it keeps is the one that stands at its path now.
    pub fn is_in_place(&self) -> bool {
        let there = Folder::open(&self.shared.places.root, StageAt::Inside, Path::new("/"))
            .and_then(|folder| folder.identity());
        there.is_ok_and(|there| there == self.shared.identity)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // Whoever was about to wait is waiting by now, and woken.
        drop(self.shared.state());
        drop(self.shared.said());
        self.shared.watch.call();
        self.shared.taken.notify_all();
        self.shared.owed.notify_all();
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
        self.shared.save();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    fn wait_for_room(&self) {
        let mut said = self.said();
        while said.weight > UNTAKEN_MAX && !self.has_ended() {
            said = self.taken.wait(said).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Does something that may make the side speak, and tells whoever listens.
    fn work<T>(&self, act: impl FnOnce(&mut State, &mut Vec<FromSide>) -> T) -> T {
        let mut state = self.state();
        let again = state.replica.again();
        let mut new = Vec::new();
        let done = act(&mut state, &mut new);
        let entries: u64 = new.iter().map(entries).sum();
        state.unsaved += entries;
        state.unreturned += entries;
        let (spoke, other) = (!new.is_empty(), state.replica.again() != again);
        if spoke {
            let mut said = self.said();
            said.weight += new.iter().map(weight).sum::<usize>();
            said.messages.append(&mut new);
        }
        drop(state);
        if other {
            self.watch.call();
        }
        if spoke {
            (self.news)();
        }
        done
    }

    /// Looks wherever something has changed, until the end.
    fn look(&self) {
        let mut pruned: Option<Instant> = None;
        let mut active = self.epoch.elapsed();
        loop {
            let state = self.state();
            let (again, save) = (state.replica.again(), state.is_worth_saving());
            drop(state);
            let now = self.epoch.elapsed();
            let idle = if save { REST } else { IDLE };
            let dirty = self.watch.wait(again.map_or(idle, |again| again.saturating_sub(now)));
            self.wait_for_room();
            if self.has_ended() {
                return;
            }
            let now = self.epoch.elapsed();
            if !dirty.is_nowhere() || again.is_some_and(|again| again <= now) {
                self.work(|state, said| state.replica.look(dirty, &mut &self.watch, now, said));
                active = self.epoch.elapsed();
            } else if again.is_none() && now.saturating_sub(active) >= idle {
                if save {
                    self.save();
                }
                if std::mem::take(&mut self.state().unreturned) > 0 {
                    memory::give_back();
                }
                active = now;
                if pruned.is_none_or(|at| at.elapsed() > PRUNE) {
                    // Tried again in an hour.
                    drop(self.state().replica.prune());
                    pruned = Some(Instant::now());
                }
            }
        }
    }

    /// Makes things last, until the end.
    fn sync(&self, disk: &Folder) {
        let mut state = self.state();
        loop {
            if self.has_ended() {
                return;
            }
            let syncs = std::mem::take(&mut state.syncs);
            if syncs.is_empty() {
                state = self.owed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            drop(state);
            let failed = disk.sync().err().map(|error| error.kind());
            memory::give_back_after(&mut self.state().unreturned);
            self.work(|state, said| {
                for token in syncs {
                    let done = failed.map_or(Ok(()), |kind| Err(io::Error::from(kind)));
                    state.replica.synced(token, done, said);
                }
            });
            state = self.state();
        }
    }

    /// Saves what files held, if anything was said since.
    fn save(&self) {
        let mut state = self.state();
        if std::mem::take(&mut state.unsaved) == 0 {
            return;
        }
        let look: Vec<_> = state.replica.known().stamps().collect();
        drop(state);
        // Without it files are read once more.
        drop(stamps::save(&self.places.state.join("stamps"), self.identity, look));
    }
}

impl State {
    fn is_worth_saving(&self) -> bool {
        self.unsaved > 0 && self.unsaved * SAVED_PART >= self.replica.tree().count()
    }
}

/// How many entries are said to be new.
fn entries(said: &FromSide) -> u64 {
    let count = |item: Option<&Item>| item.map_or(1, Item::count);
    match said {
        FromSide::Changes { changes, .. } => changes.iter().map(|change| count(change.item.as_ref())).sum(),
        FromSide::Applied { outcomes, .. } => {
            outcomes.iter().map(|outcome| count(outcome.now.as_ref())).sum()
        }
        _ => 0,
    }
}

/// About how many bytes of memory what is said takes, beyond itself.
fn weight(said: &FromSide) -> usize {
    match said {
        FromSide::Content { piece, .. } => piece.weight(),
        FromSide::Outlined { parts, .. } => 32 * parts.len(),
        FromSide::Signed { signature, .. } => signature.len(),
        FromSide::Changes { changes, .. } => changes.iter().map(Change::weight).sum(),
        _ => 64,
    }
}

#[cfg(test)]
mod tests;
