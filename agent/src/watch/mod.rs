//! Notices where a folder changes.
//!
//! One inotify watch per carried directory, set before the directory is listed, so that what is not carried costs
//! nothing and nothing falls between. Events are hints: they say where to look. Where the kernel has no more watches to
//! give, those directories are looked at regularly instead, and the status says so; where events were lost, or the file
//! system does not tell of all that happens, everything is.
//!
//! Task: a thread of its own reads the kernel's queue, so that it does not run over while somebody is busy. The rest is
//! called by whoever looks: [`Watch::wait`], then [`Look::dirty`](crate::look::Look::dirty) with the watch as its
//! [`Sentry`], and so on.

mod batch;
mod kernel;
mod pens;
mod system;

use std::collections::BTreeSet;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use rustix::event::EventfdFlags;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::fs::inotify;
use rustix::io::Errno;
use serde::Deserialize;
use serde::Serialize;

use crate::look::Dirty;
use crate::look::Part;
use crate::look::Pen;
use crate::look::Sentry;
use crate::path::RelPath;

use batch::Batch;
use kernel::Kernel;
use kernel::Watched;
use pens::Pens;

pub use system::FileSystem;

/// How often everything is looked at where events can be trusted: for what nobody has thought of.
const VERIFY: Duration = Duration::from_secs(600);
/// And where they cannot.
const VERIFY_UNTRUSTED: Duration = Duration::from_secs(2);
/// Looking regularly takes no more than one part in so many of the time.
const SHARE: u32 = 6;
/// Room for about two thousand events.
const BUFFER: usize = 64 * 1024;

/// Whether and how changes are noticed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// By events, and by looking where there are none.
    #[default]
    Auto,
    /// By looking alone.
    ForcePoll,
    /// Not at all: only when somebody asks.
    NoWatch,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Auto, Self::ForcePoll, Self::NoWatch];

    /// Its name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::ForcePoll => "force-poll",
            Self::NoWatch => "no-watch",
        }
    }
}

/// How a folder is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Whether and how.
    pub mode: Mode,
    /// How often what cannot be watched is looked at, if that takes little time.
    pub interval: Duration,
    /// Whether every look is a full one.
    pub full: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { mode: Mode::Auto, interval: Duration::from_millis(500), full: false }
    }
}

/// How well a folder is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// How many directories the kernel watches.
    pub watched: usize,
    /// How many are looked at instead, because it cannot.
    pub polled: usize,
    /// How often the kernel has lost events.
    pub overflows: u64,
    /// What the folder lies on.
    pub system: FileSystem,
    /// What a person should know, and what to do about it.
    pub warning: Option<String>,
}

/// A folder that is watched.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    /// Written to, to end the thread.
    end: Arc<OwnedFd>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    epoch: Instant,
}

#[derive(Debug)]
struct State {
    settings: Settings,
    system: FileSystem,
    /// `None` when there are no events at all.
    kernel: Option<Kernel>,
    /// Why not, when there should be.
    failure: Option<String>,
    batch: Batch,
    pens: Pens,
    /// The directories without a watch.
    polled: BTreeSet<Option<RelPath>>,
    /// When those, or everything, is looked at next.
    poll: Option<Duration>,
    verify: Option<Duration>,
    /// When a regular look was handed out: until the next call it was being made.
    looking: Option<Duration>,
    overflows: u64,
    /// Whoever waits is to stop waiting.
    called: bool,
}

impl Watch {
    /// Begins to watch the folder at `root`. Nothing is watched in it until a look [enters](Sentry::enter) it, so the
    /// first look has to be a full one.
    ///
    /// # Errors
    /// As the kernel says of the folder itself; that it cannot be watched is no error but in the status.
    pub fn open(root: &Path, settings: Settings) -> io::Result<Self> {
        let system = FileSystem::of(root)?;
        let (kernel, failure) = match settings.mode {
            Mode::Auto => match Kernel::open(root) {
                Ok(kernel) => (Some(kernel), None),
                Err(error) => (None, Some(error.to_string())),
            },
            Mode::ForcePoll | Mode::NoWatch => (None, None),
        };
        let queue = kernel.as_ref().map(Kernel::queue);
        let state = State::new(settings, system, kernel, failure);
        let shared = Shared { state: Mutex::new(state), changed: Condvar::new(), epoch: Instant::now() };
        let (shared, end) = (Arc::new(shared), Arc::new(rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?));
        let reader = match queue {
            Some(queue) => {
                let (shared, end) = (Arc::clone(&shared), Arc::clone(&end));
                let thread = std::thread::Builder::new().name("watch".to_owned());
                Some(thread.spawn(move || shared.read(&queue, &end))?)
            }
            None => None,
        };
        Ok(Self { shared, end, reader })
    }

    /// Waits until there is somewhere to look; nowhere when there is not within `timeout`, or after a
    /// [`call`](Self::call).
    pub fn wait(&self, timeout: Duration) -> Dirty {
        let deadline = self.shared.now() + timeout;
        let mut state = self.shared.state();
        state.looked(self.shared.now());
        loop {
            let now = self.shared.now();
            let dirty = state.take(now);
            if !dirty.is_nowhere() || now >= deadline || std::mem::take(&mut state.called) {
                return dirty;
            }
            let until = state.next().map_or(deadline, |next| next.min(deadline));
            let wait = until.saturating_sub(now);
            let woken = self.shared.changed.wait_timeout(state, wait);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Adds somewhere to look, and wakes whoever waits.
    pub fn poke(&self, dirty: Dirty) {
        self.shared.state().batch.ready(dirty);
        self.shared.changed.notify_all();
    }

    /// Ends the waiting under way, or else the next.
    pub fn call(&self) {
        self.shared.state().called = true;
        self.shared.changed.notify_all();
    }

    /// How well the folder is watched.
    pub fn status(&self) -> Status {
        self.shared.state().status()
    }

    /// As on a machine with no more watches than this.
    #[cfg(test)]
    fn limit(&self, watches: usize) {
        self.shared.state().kernel.as_mut().unwrap().limit = watches;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = rustix::io::write(&*self.end, &1_u64.to_ne_bytes());
        if let Some(reader) = self.reader.take() {
            drop(reader.join());
        }
    }
}

impl Sentry for &Watch {
    fn enter(&mut self, directory: Option<&RelPath>) {
        self.shared.state().enter(directory);
    }

    fn leave(&mut self, directory: &RelPath) {
        self.shared.state().leave(directory);
    }

    fn pen(&mut self, path: &RelPath) -> Pen {
        let now = self.shared.now();
        self.shared.state().pens.of(path, now)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// Reads events until told to end.
    fn read(&self, queue: &OwnedFd, end: &OwnedFd) {
        let mut buffer = vec![MaybeUninit::uninit(); BUFFER];
        loop {
            let mut ready = [PollFd::new(queue, PollFlags::IN), PollFd::new(end, PollFlags::IN)];
            match rustix::event::poll(&mut ready, None) {
                Ok(_) if !ready[1].revents().is_empty() => return,
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(_) => return self.blind(),
            }
            let mut reader = inotify::Reader::new(queue, &mut buffer);
            // One buffer at a time, so that whoever waits is not kept from the lock.
            loop {
                match reader.next() {
                    Ok(event) => self.state().note(&event, self.now()),
                    Err(Errno::AGAIN | Errno::INTR) => break,
                    Err(_) => return self.blind(),
                }
                if reader.is_buffer_empty() {
                    break;
                }
            }
            self.changed.notify_all();
        }
    }

    /// There will be no more events: from now on everything is looked at regularly.
    fn blind(&self) {
        let mut state = self.state();
        state.kernel = None;
        state.pens.forget();
        state.failure = Some("the kernel's events cannot be read".to_owned());
        state.schedule(self.now());
        drop(state);
        self.changed.notify_all();
    }
}

impl State {
    fn new(settings: Settings, system: FileSystem, kernel: Option<Kernel>, failure: Option<String>) -> Self {
        let mut state = Self {
            settings,
            system,
            kernel,
            failure,
            batch: Batch::default(),
            pens: Pens::default(),
            polled: BTreeSet::new(),
            poll: None,
            verify: None,
            looking: None,
            overflows: 0,
            called: false,
        };
        state.schedule(Duration::ZERO);
        state
    }

    fn note(&mut self, event: &inotify::Event<'_>, now: Duration) {
        if let Some(kernel) = &mut self.kernel {
            self.overflows += u64::from(kernel.note(event, &mut self.batch, &mut self.pens, now));
        }
    }

    fn enter(&mut self, directory: Option<&RelPath>) {
        let Some(kernel) = &mut self.kernel else { return };
        match kernel.watch(directory) {
            Watched::Full => drop(self.polled.insert(directory.cloned())),
            Watched::Yes | Watched::Nothing => drop(self.polled.remove(&directory.cloned())),
        }
    }

    fn leave(&mut self, directory: &RelPath) {
        if let Some(kernel) = &mut self.kernel {
            kernel.leave(directory);
        }
        self.pens.leave(directory);
        self.polled.retain(|path| !path.as_ref().is_some_and(|path| path.is_within(directory)));
    }

    /// Nobody is looking any more: the next regular look is as far off as the last one was long, several times.
    fn looked(&mut self, now: Duration) {
        let Some(began) = self.looking.take() else { return };
        let pause = now.saturating_sub(began) * (SHARE - 1);
        self.schedule(now);
        for at in [&mut self.poll, &mut self.verify].into_iter().flatten() {
            *at = (*at).max(now + pause);
        }
    }

    fn schedule(&mut self, now: Duration) {
        let verify = if self.system.tells { VERIFY } else { VERIFY_UNTRUSTED };
        (self.poll, self.verify) = match self.settings.mode {
            Mode::NoWatch => (None, None),
            Mode::Auto if self.kernel.is_some() => (Some(now + self.settings.interval), Some(now + verify)),
            Mode::Auto | Mode::ForcePoll => (None, Some(now + self.settings.interval)),
        };
    }

    /// When there may be something to look at.
    fn next(&self) -> Option<Duration> {
        let poll = self.poll.filter(|_| !self.polled.is_empty());
        [self.batch.due(), poll, self.verify].into_iter().flatten().min()
    }

    fn take(&mut self, now: Duration) -> Dirty {
        if self.verify.is_some_and(|verify| verify <= now) {
            self.batch.everything();
            self.looking = Some(now);
        } else if !self.polled.is_empty() && self.poll.is_some_and(|poll| poll <= now) {
            self.poll_directories();
            self.looking = Some(now);
        }
        let dirty = self.batch.take(now);
        if self.settings.full && !dirty.is_nowhere() { Dirty::All } else { dirty }
    }

    /// Looks at the directories without a watch; and asks whether they can have one by now.
    fn poll_directories(&mut self) {
        let mut full = false;
        for directory in std::mem::take(&mut self.polled) {
            self.batch.part(directory.clone(), Part::Listing);
            let watched = match &mut self.kernel {
                Some(kernel) if !full => kernel.watch(directory.as_ref()),
                _ => Watched::Full,
            };
            full |= watched == Watched::Full;
            if watched == Watched::Full {
                self.polled.insert(directory);
            }
        }
    }

    fn status(&self) -> Status {
        let watched = self.kernel.as_ref().map_or(0, Kernel::len);
        Status {
            watched,
            polled: self.polled.len(),
            overflows: self.overflows,
            system: self.system,
            warning: self.warning(watched),
        }
    }

    fn warning(&self, watched: usize) -> Option<String> {
        if let Some(failure) = &self.failure {
            return Some(format!(
                "no directory can be watched ({failure}), so all are looked at every now and then instead; raise the sysctl `fs.inotify.max_user_instances`"
            ));
        }
        (!self.polled.is_empty()).then(|| {
            format!(
                "{} of {} directories cannot be watched and are looked at every now and then instead; raise the sysctl `fs.inotify.max_user_watches`",
                self.polled.len(),
                self.polled.len() + watched,
            )
        })
    }
}

#[cfg(test)]
mod tests;
