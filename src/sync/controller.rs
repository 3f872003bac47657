//! One session of the node: the link to an agent, and the driver that keeps the two sides equal.
//!
//! Tasks: [`spawn`] starts one per session. It connects (again within a second), and runs the [driver](super::driver) on
//! a thread of its own, because that waits for disks. It publishes [`Status`] on a `watch`; a [`Handle`] carries what
//! people want.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use nexus_agent::entry::Digest;
use nexus_agent::inquiry::Answer;
use nexus_agent::inquiry::Question;
use nexus_agent::path::RelPath;
use nexus_agent::reconcile::Side;
use nexus_agent::resolve::Choice;
use nexus_agent::safety::Halt;
use nexus_agent::session;
use tokio::runtime;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

use super::driver::Driver;
use super::driver::Ended;
use super::driver::Event;
use super::driver::Inbox;
use super::link;
use super::link::Heard;
use super::link::Link;
use super::link::LinkError;
use super::settings::Settings;
use super::status;
use super::status::Status;
use crate::base::fault;
use crate::base::tasks::TaskGroup;
use crate::engine::Engine;

/// The pauses between attempts to connect.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(900);
/// A connection that lasted so long was a good one: after it the pauses begin anew. One that greets well and ends at
/// once is not.
const STEADY: Duration = Duration::from_secs(5);
/// How soon a session that had to be given up is begun again: at first, and at most.
const AGAIN_MIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(30);
/// What the agent said and is not heard yet: enough that reading and deciding overlap.
const EVENTS: usize = 64;
/// What is on its way to the agent. The session itself bounds it: four portions of a thousand files read and stored,
/// twice, and eight megabytes of content.
const FRAMES: usize = 16 * 1024;
/// Wishes of people that wait: more are told that the session is busy.
const WISHES: usize = 16;

/// What to keep equal with what.
#[derive(Debug, Clone)]
pub struct SessionSpec {
    /// For people, in logs: the workspace's name.
    pub name: String,
    /// The container whose agent has the other side.
    pub container: String,
    /// The folder on this node's disk.
    pub root: PathBuf,
    /// Where content is brought before it is in place, if that is on the folder's own mount: ours alone.
    pub staging: PathBuf,
    /// Where the session remembers what it has to: ours alone.
    pub state: PathBuf,
    /// How it goes by.
    pub settings: Settings,
}

/// What a person wants of a session.
#[derive(Debug)]
pub(super) enum Wish {
    Flush(oneshot::Sender<()>),
    Pause(bool, oneshot::Sender<()>),
    Approve(Digest, oneshot::Sender<bool>),
    Accept(Halt, oneshot::Sender<bool>),
    Choose(Option<RelPath>, Digest, Choice, oneshot::Sender<Result<(), String>>),
    Settle(Option<RelPath>, Digest, (Vec<u8>, bool), oneshot::Sender<Result<(), String>>),
    Preview(Box<Settings>, oneshot::Sender<Result<session::Preview, String>>),
    Base(Digest, oneshot::Sender<Option<Vec<u8>>>),
    Ask(Side, Question, oneshot::Sender<Answer>),
    Trace(RelPath, oneshot::Sender<Traced>),
}

/// What a session says of a path.
#[derive(Debug)]
pub struct Traced {
    /// What it says.
    pub trace: session::Trace,
    /// How late it was then, on the clock the trace goes by.
    pub now: session::Instant,
}

/// Holds a session; it ends when this is dropped.
#[derive(Debug)]
pub struct Handle {
    /// What is known about it.
    pub status: watch::Receiver<Status>,
    /// Speaks to it.
    pub wishes: Wishes,
    _guard: DropGuard,
}

/// Speaks to a session. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Wishes(mpsc::Sender<Wish>);

/// Why a session does not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Too much was asked already.
    #[error("the session has too much to do")]
    Busy,
    /// It has ended, or what it was asked went with a connection.
    #[error("the session has ended")]
    Ended,
    /// It makes no sense now.
    #[error("{0}")]
    Refused(String),
}

impl fault::Explain for SessionError {
    fn kind(&self) -> fault::Kind {
        match self {
            Self::Busy => fault::Kind::Busy,
            Self::Ended => fault::Kind::Unavailable,
            Self::Refused(_) => fault::Kind::Conflict,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Busy | Self::Ended => Some("try again in a moment".to_owned()),
            Self::Refused(_) => None,
        }
    }
}

impl Wishes {
    /// Waits until both sides have looked at everything and are equal. Put a deadline around it.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub async fn flush(&self) -> Result<(), SessionError> {
        self.wish(Wish::Flush).await
    }

    /// Stops making changes, or goes on.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub async fn pause(&self, paused: bool) -> Result<(), SessionError> {
        self.wish(|done| Wish::Pause(paused, done)).await
    }

    /// Says yes to what is held under this key. Says whether there is such a thing.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub async fn approve(&self, key: Digest) -> Result<bool, SessionError> {
        self.wish(|done| Wish::Approve(key, done)).await
    }

    /// Says yes to going on although everything has stopped. Says whether it had.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub async fn accept(&self, halt: Halt) -> Result<bool, SessionError> {
        self.wish(|done| Wish::Accept(halt, done)).await
    }

    /// Settles a conflict as a person chose who was shown what `seen` stands for.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub async fn choose(
        &self,
        path: Option<RelPath>,
        seen: Digest,
        choice: Choice,
    ) -> Result<(), SessionError> {
        self.wish(|done| Wish::Choose(path, seen, choice, done)).await?.map_err(SessionError::Refused)
    }

    /// Settles a conflict with a version of its own, executable or not, as a person chose who was shown what `seen` stands
    /// for. Both sides' versions are kept.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub async fn settle(
        &self,
        path: Option<RelPath>,
        seen: Digest,
        version: (Vec<u8>, bool),
    ) -> Result<(), SessionError> {
        self.wish(|done| Wish::Settle(path, seen, version, done)).await?.map_err(SessionError::Refused)
    }

    /// What other settings would do, with what is known now: nothing changes by it.
    ///
    /// # Errors
    /// See [`SessionError`]; also when a rule makes no sense.
    pub async fn preview(&self, settings: Settings) -> Result<session::Preview, SessionError> {
        let settings = Box::new(settings);
        self.wish(|answer| Wish::Preview(settings, answer)).await?.map_err(SessionError::Refused)
    }

    /// What both sides last agreed on, of a content that is kept for that: short texts are.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub async fn base(&self, digest: Digest) -> Result<Option<Vec<u8>>, SessionError> {
        self.wish(|answer| Wish::Base(digest, answer)).await
    }

    /// Asks one of the sides. Put a deadline around it.
    ///
    /// # Errors
    /// See [`SessionError`]; also when the side is not there.
    pub async fn ask(&self, side: Side, question: Question) -> Result<Answer, SessionError> {
        self.wish(|answer| Wish::Ask(side, question, answer)).await
    }

    /// What the session has decided about a path, and how it stands.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub async fn trace(&self, path: RelPath) -> Result<Traced, SessionError> {
        self.wish(|answer| Wish::Trace(path, answer)).await
    }

    /// Whether the session has not ended for good.
    pub fn are_heard(&self) -> bool {
        !self.0.is_closed()
    }

    async fn wish<T>(&self, wish: impl FnOnce(oneshot::Sender<T>) -> Wish) -> Result<T, SessionError> {
        let (done, answer) = oneshot::channel();
        self.0.try_send(wish(done)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SessionError::Busy,
            mpsc::error::TrySendError::Closed(_) => SessionError::Ended,
        })?;
        answer.await.map_err(|_| SessionError::Ended)
    }
}

/// Starts a session.
pub fn spawn(spec: SessionSpec, engine: Arc<dyn Engine>, tasks: &mut TaskGroup) -> Handle {
    let (status, receiver) = watch::channel(Status::default());
    let (wishes, wished) = mpsc::channel(WISHES);
    let token = tasks.token().child_token();
    let guard = token.clone().drop_guard();
    let name = format!("sync {}", spec.name);
    let session = Session { spec: Arc::new(spec), engine, status: Arc::new(status), token };
    tasks.spawn(name, session.run(wished));
    Handle { status: receiver, wishes: Wishes(wishes), _guard: guard }
}

struct Session {
    spec: Arc<SessionSpec>,
    engine: Arc<dyn Engine>,
    status: Arc<watch::Sender<Status>>,
    token: CancellationToken,
}

impl Session {
    /// Until its token is cancelled.
    async fn run(self, mut wishes: mpsc::Receiver<Wish>) {
        let mut again = AGAIN_MIN;
        while !self.token.is_cancelled() {
            let (events, heard) = mpsc::channel(EVENTS);
            let inbox = Inbox { events: heard, wishes, token: self.token.clone() };
            let (spec, status) = (Arc::clone(&self.spec), Arc::clone(&self.status));
            let runtime = runtime::Handle::current();
            let begun = Instant::now();
            let mut driver = tokio::task::spawn_blocking(move || {
                guarded(inbox, |inbox| match Driver::open(spec, status, inbox) {
                    Ok(driver) => driver.run(&runtime),
                    Err(error) => Ended::Failed(error),
                })
            });
            let done = tokio::select! {
                done = &mut driver => done,
                () = self.link(events) => driver.await,
            };
            let (inbox, ended) = done.expect("the driver's panics are caught, and nobody aborts it");
            wishes = inbox.wishes;
            let error = match ended {
                Ended::Cancelled => return,
                Ended::Failed(error) => error,
            };
            if begun.elapsed() > AGAIN_MAX {
                again = AGAIN_MIN;
            }
            tracing::warn!(workspace = self.spec.name, error, "a session is begun again");
            self.status.send_modify(|status| {
                status.error = Some(format!("{error}; sync is begun again in {}s", again.as_secs()));
            });
            tokio::select! {
                () = tokio::time::sleep(again) => {}
                () = self.token.cancelled() => {}
            }
            again = (again * 2).min(AGAIN_MAX);
        }
    }

    /// Connects, again and again, for as long as somebody listens.
    async fn link(&self, events: mpsc::Sender<Event>) {
        let mut pause = PAUSE_MIN;
        loop {
            let connected = tokio::select! {
                connected = link::connect(&*self.engine, &self.spec.container) => connected,
                () = self.token.cancelled() => return,
            };
            let error = match connected {
                Ok(link) => {
                    let since = Instant::now();
                    let error = self.converse(link, &events).await;
                    if since.elapsed() >= STEADY {
                        pause = PAUSE_MIN;
                    }
                    error
                }
                Err(error) => Some(error),
            };
            // The driver has ended, or everything has.
            let Some(error) = error else { return };
            self.lost(&error);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.token.cancelled() => return,
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Carries messages until the connection ends; `None` when nobody listens any more.
    async fn converse(&self, link: Link, events: &mpsc::Sender<Event>) -> Option<LinkError> {
        let (frames, outgoing) = mpsc::channel::<Bytes>(FRAMES);
        let (said, mut heard) = mpsc::channel(EVENTS);
        let status = Arc::clone(&self.status);
        let report = move |report| status.send_modify(|status| status.report = report);
        self.status.send_modify(|status| status.link = status::Link::Up);
        events.send(Event::Up(frames)).await.ok()?;
        let pass = async {
            while let Some(heard) = heard.recv().await {
                if let Heard::Unkept(reason) = &heard {
                    self.status.send_modify(|status| status.error = Some(reason.clone()));
                }
                if events.send(Event::Heard(heard)).await.is_err() {
                    return;
                }
            }
        };
        // Each ends only with the connection, or with the driver.
        let error = tokio::select! {
            error = link.reader.run(report, said) => Some(error),
            error = link.writer.run(outgoing) => Some(error),
            () = pass => None,
            () = self.token.cancelled() => None,
        };
        events.send(Event::Down).await.ok()?;
        error
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
}

/// Drives, and survives a mistake of ours: who waits for answers is not left behind, and the session is begun again from
/// what is on the disk, as after a crash.
fn guarded(mut inbox: Inbox, drive: impl FnOnce(&mut Inbox) -> Ended) -> (Inbox, Ended) {
    let ended = catch_unwind(AssertUnwindSafe(|| drive(&mut inbox)))
        .unwrap_or_else(|panic| Ended::Failed(format!("a mistake in sync itself: {}", said(&*panic))));
    (inbox, ended)
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it says nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_a_driver_and_not_its_session() {
        let (_events, heard) = mpsc::channel(1);
        let (wishes, wished) = mpsc::channel(1);
        let inbox = Inbox { events: heard, wishes: wished, token: CancellationToken::new() };
        let (inbox, ended) = guarded(inbox, |_| panic!("nothing {}", "fits"));
        let Ended::Failed(error) = ended else { panic!("it went on") };
        assert_eq!(error, "a mistake in sync itself: nothing fits");
        // Whoever wants something is heard by the next one.
        let (done, _answer) = oneshot::channel();
        wishes.try_send(Wish::Pause(true, done)).unwrap();
        let (mut inbox, _) = guarded(inbox, |_| Ended::Cancelled);
        assert!(matches!(inbox.wishes.try_recv(), Ok(Wish::Pause(true, _))));
    }
}
