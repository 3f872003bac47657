//! One session: keeps a container's copy of a folder the same as the folder.
//!
//! Task: [`spawn`] starts one per session. It connects (again within a second), asks what the agent holds, and then
//! sends what differs: at once when an event hints at a change, and every [`VERIFY`] wherever events do not reach.
//! It publishes [`Status`] on a `watch`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use bytes::BytesMut;
use nexus_agent::path::RelPath;
use nexus_agent::wire;
use nexus_agent::wire::ToAgent;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::DropGuard;

use super::link;
use super::link::Heard;
use super::link::Link;
use super::link::LinkError;
use super::push::Folder;
use super::push::Halt;
use super::push::Progress;
use super::push::Pushed;
use super::status;
use super::status::Skipped;
use super::status::Status;
use super::watch::Look;
use super::watch::Watch;
use crate::base::fault;
use crate::base::tasks::TaskGroup;
use crate::engine::Engine;

/// Entries a folder may have, unless told otherwise.
pub const LIMIT: usize = 300_000;
/// How often everything is looked at although no event has hinted at a change.
const VERIFY: Duration = Duration::from_secs(30);
/// The same where there are no events.
const VERIFY_BLIND: Duration = Duration::from_secs(3);
/// A full look may take this part of the time.
const VERIFY_SHARE: u32 = 50;
/// How soon a file that was being written is looked at again.
const AGAIN: Duration = Duration::from_millis(50);
/// How soon what the container refused is tried again.
const REFUSED: Duration = Duration::from_secs(5);
/// How soon a halted session looks again.
const HALTED: Duration = Duration::from_secs(1);
/// A look that ends in a halt may take this part of the time.
const HALTED_SHARE: u32 = 10;
/// The pauses between attempts to connect.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(900);
/// Buffers on their way to the agent: enough that reading and sending overlap, few enough to cost nothing.
const FRAMES: usize = 4;
/// What was heard and not yet acted upon: the reader waits when it is full.
const HEARD: usize = 64;
/// Callers that wait for a flush: more than that are told that the session is busy.
const FLUSHES: usize = 16;

/// What to carry where.
#[derive(Debug, Clone)]
pub struct SessionSpec {
    /// For people, in logs: the workspace's name.
    pub name: String,
    /// The container whose agent receives.
    pub container: String,
    /// The folder on this node's disk.
    pub root: PathBuf,
    /// Names and paths that are not carried, besides those that never are.
    pub excludes: Vec<String>,
    /// Entries the folder may have.
    pub limit: usize,
}

/// Holds a session; it ends when this is dropped.
#[derive(Debug)]
pub struct Handle {
    /// What is known about it.
    pub status: watch::Receiver<Status>,
    flushes: mpsc::Sender<oneshot::Sender<()>>,
    _guard: DropGuard,
}

/// Why a flush did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum FlushError {
    /// Too many wait already.
    #[error("too many callers wait for this session")]
    Busy,
    /// The session has ended.
    #[error("the session has ended")]
    Ended,
}

impl fault::Explain for FlushError {
    fn kind(&self) -> fault::Kind {
        match self {
            Self::Busy => fault::Kind::Busy,
            Self::Ended => fault::Kind::NotFound,
        }
    }
}

impl Handle {
    /// Waits until everything the folder holds now has arrived in the container. Put a deadline around it.
    ///
    /// # Errors
    /// See [`FlushError`].
    pub async fn flush(&self) -> Result<(), FlushError> {
        let (done, wait) = oneshot::channel();
        self.flushes.try_send(done).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => FlushError::Busy,
            mpsc::error::TrySendError::Closed(_) => FlushError::Ended,
        })?;
        wait.await.map_err(|_| FlushError::Ended)
    }
}

/// Starts a session.
pub fn spawn(spec: SessionSpec, engine: Arc<dyn Engine>, tasks: &mut TaskGroup) -> Handle {
    let (status, receiver) = watch::channel(Status::default());
    let (flushes, requests) = mpsc::channel(FLUSHES);
    let token = tasks.token().child_token();
    let guard = token.clone().drop_guard();
    let name = format!("sync {}", spec.name);
    let session = Session::new(spec, engine, status, requests);
    tasks.spawn(name, async move {
        tokio::select! {
            () = token.cancelled() => {}
            never = session.run() => match never {},
        }
    });
    Handle { status: receiver, flushes, _guard: guard }
}

struct Session {
    spec: SessionSpec,
    engine: Arc<dyn Engine>,
    status: Arc<watch::Sender<Status>>,
    requests: mpsc::Receiver<oneshot::Sender<()>>,
    folder: Arc<Mutex<Folder>>,
    watch: Watch,
    generation: u64,
    /// What the container refused, and why.
    refused: BTreeMap<RelPath, String>,
    /// Who waits for a flush.
    waiting: Vec<oneshot::Sender<()>>,
}

/// The two ends of an open connection, as the session uses them.
struct Open {
    frames: mpsc::Sender<Bytes>,
    heard: mpsc::Receiver<Heard>,
}

impl Session {
    fn new(
        spec: SessionSpec,
        engine: Arc<dyn Engine>,
        status: watch::Sender<Status>,
        requests: mpsc::Receiver<oneshot::Sender<()>>,
    ) -> Self {
        let folder = Folder::new(&spec.root, &spec.excludes, spec.limit);
        let watch = Watch::new(&spec.root);
        Self {
            spec,
            engine,
            status: Arc::new(status),
            requests,
            folder: Arc::new(Mutex::new(folder)),
            watch,
            generation: 0,
            refused: BTreeMap::new(),
            waiting: Vec::new(),
        }
    }

    async fn run(mut self) -> Infallible {
        let mut pause = PAUSE_MIN;
        loop {
            match link::connect(&*self.engine, &self.spec.container).await {
                Ok(link) => {
                    pause = PAUSE_MIN;
                    let error = self.connected(link).await;
                    self.lost(&error);
                }
                Err(error) => self.lost(&error),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn lost(&self, error: &LinkError) {
        let reason = fault::chain(error).to_string();
        tracing::debug!(workspace = self.spec.name, error = reason, "no link to the agent");
        self.status.send_if_modified(|status| {
            let link = status::Link::Lost { reason };
            let other = status.link != link;
            status.link = link;
            other
        });
    }

    async fn connected(&mut self, link: Link) -> LinkError {
        let (frames, outgoing) = mpsc::channel(FRAMES);
        let (said, heard) = mpsc::channel(HEARD);
        let status = Arc::clone(&self.status);
        let report = move |report| status.send_modify(|status| status.report = report);
        self.status.send_modify(|status| status.link = status::Link::Up);
        // Each ends only with the connection; the session itself never does.
        tokio::select! {
            error = link.reader.run(report, said) => error,
            error = link.writer.run(outgoing) => error,
            never = self.drive(Open { frames, heard }) => match never {},
        }
    }

    /// Makes the container's copy what the folder is, and keeps it so.
    async fn drive(&mut self, mut open: Open) -> Infallible {
        self.ask(&mut open).await;
        let mut look = Look::All;
        let mut first = true;
        let mut verify = Instant::now() + VERIFY;
        loop {
            // Whoever asks from here on is answered by the next round.
            while let Ok(request) = self.requests.try_recv() {
                self.waiting.push(request);
            }
            look.add(self.watch.take());
            let was_all = look == Look::All;
            let started = Instant::now();
            self.refused.retain(|path, _| !look.covers(path));
            let pushed = self.push(std::mem::replace(&mut look, Look::nowhere()), &mut open).await;
            let next = match pushed {
                Ok(pushed) => {
                    if first || pushed.steps > 0 {
                        self.complete(&mut open).await;
                        first = false;
                    }
                    if pushed.again.is_empty() {
                        for request in self.waiting.drain(..) {
                            let _ = request.send(());
                        }
                    }
                    self.settle(pushed)
                }
                Err(halt) => {
                    self.halted(&halt);
                    // A folder of a million files is not counted anew each second.
                    Some((HALTED.max(started.elapsed() * HALTED_SHARE), Look::All))
                }
            };
            if was_all {
                let pause = if self.watch.works() { VERIFY } else { VERIFY_BLIND };
                verify = Instant::now() + pause.max(started.elapsed() * VERIFY_SHARE);
            }
            look.add(self.wait(next, verify).await);
        }
    }

    /// Waits for a reason to look, and says where.
    async fn wait(&mut self, next: Option<(Duration, Look)>, verify: Instant) -> Look {
        let (pause, again) = match next {
            Some((pause, again)) => (Some(pause), again),
            None => (None, Look::nowhere()),
        };
        let pause = async {
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        // All are cancel-safe: the watch keeps what it noticed, a channel what it holds.
        tokio::select! {
            () = self.watch.changed() => again,
            () = pause => again,
            () = tokio::time::sleep_until(verify) => Look::All,
            Some(request) = self.requests.recv() => {
                self.waiting.push(request);
                Look::All
            }
        }
    }

    /// Asks what the agent holds.
    async fn ask(&self, open: &mut Open) {
        say(&open.frames, &ToAgent::Tree).await;
        let mut tree = Vec::new();
        loop {
            match open.heard.recv().await {
                Some(Heard::Page(entries)) if tree.len() <= self.spec.limit => tree.extend(entries),
                Some(Heard::TreeEnd) => break,
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
        // An old push may still be reading: it notices soon that nobody listens, but not on this thread's time.
        let folder = Arc::clone(&self.folder);
        let hold = move || folder.lock().unwrap_or_else(PoisonError::into_inner).hold(tree);
        drop(tokio::task::spawn_blocking(hold).await);
    }

    async fn push(&mut self, look: Look, open: &mut Open) -> Result<Pushed, Halt> {
        if look.is_nowhere() {
            return Ok(Pushed::default());
        }
        let (folder, frames) = (Arc::clone(&self.folder), open.frames.clone());
        let status = Arc::clone(&self.status);
        let mut work = tokio::task::spawn_blocking(move || {
            let tell = |progress| tell(&status, progress);
            folder.lock().unwrap_or_else(PoisonError::into_inner).push(look, &frames, &tell)
        });
        // What is refused is heard while there is still more to say: neither end may wait for the other.
        loop {
            tokio::select! {
                done = &mut work => return done.unwrap_or_else(|error| Err(Halt::Unreadable(error.to_string()))),
                Some(heard) = open.heard.recv() => self.hear(heard),
            }
        }
    }

    fn hear(&mut self, heard: Heard) {
        if let Heard::Failed(path, why) = heard {
            self.refused.insert(path, why);
        }
    }

    /// Ends a batch and waits until it is in place.
    async fn complete(&mut self, open: &mut Open) {
        self.generation += 1;
        say(&open.frames, &ToAgent::Done { generation: self.generation }).await;
        loop {
            match open.heard.recv().await {
                Some(Heard::Synced(generation)) if generation == self.generation => break,
                Some(heard) => self.hear(heard),
                None => std::future::pending().await,
            }
        }
        // It is sent again with the next look.
        let refused: Vec<_> = self.refused.keys().cloned().collect();
        let mut folder = self.folder();
        refused.iter().for_each(|path| drop(folder.held.remove(path)));
        drop(folder);
        self.status.send_if_modified(|status| !std::mem::replace(&mut status.synced, true));
    }

    /// Publishes what a successful push has shown, and says when to look again.
    fn settle(&mut self, pushed: Pushed) -> Option<(Duration, Look)> {
        let directories = self.folder().directories();
        let mut again = pushed.again;
        again.extend(pushed.racy);
        let new = self.watch.follow(directories);
        let wait = if new.is_empty() { AGAIN } else { Duration::ZERO };
        again.extend(new);
        self.publish();
        if !again.is_empty() {
            return Some((wait, Look::Directories(again)));
        }
        let refused = self.refused.keys().map(RelPath::parent).collect();
        (!self.refused.is_empty()).then_some((REFUSED, Look::Directories(refused)))
    }

    fn publish(&self) {
        let folder = self.folder();
        let skipped_total = folder.skipped.len() + self.refused.len();
        let skipped: Vec<Skipped> = self
            .refused
            .iter()
            .chain(&folder.skipped)
            .take(status::SKIPPED_LISTED)
            .map(|(path, why)| Skipped { path: path.to_string(), why: why.clone() })
            .collect();
        let synced = folder.held.len() as u64;
        drop(folder);
        let total = synced + self.refused.len() as u64;
        self.status.send_if_modified(|status| {
            let before = status.clone();
            status.files_total = total;
            status.files_synced = synced;
            status.bytes_synced = status.bytes_total;
            status.skipped = skipped;
            status.skipped_total = skipped_total as u64;
            status.halted = None;
            status.error = None;
            *status != before
        });
    }

    fn halted(&self, halt: &Halt) {
        let reason = halt.to_string();
        self.status.send_if_modified(|status| {
            let other = status.halted.as_deref() != Some(&reason);
            if other {
                tracing::warn!(workspace = self.spec.name, error = reason, "sync is halted");
                status.halted = Some(reason);
            }
            other
        });
    }

    fn folder(&self) -> MutexGuard<'_, Folder> {
        self.folder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn say(frames: &mpsc::Sender<Bytes>, message: &ToAgent) {
    let mut buffer = BytesMut::new();
    wire::put_message(&mut buffer, message);
    // A closed channel means that the connection has ended, and with it the caller.
    drop(frames.send(buffer.freeze()).await);
}

fn tell(status: &watch::Sender<Status>, progress: Progress) {
    status.send_modify(|status| {
        status.files_total = progress.total as u64;
        status.files_synced = (progress.total - progress.left) as u64;
        status.bytes_total = progress.bytes_total;
        status.bytes_synced = progress.bytes;
    });
}
