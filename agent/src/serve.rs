//! The init's end of the wire: the container's side of the session, and how the program is doing.
//!
//! Tasks: one conversation per connection reads and writes; the last that [keeps](ToAgent::Keep) the side has it alone,
//! the one before is ended. What it asks is done on a thread of its own, because disks are slow. Publishes [`Progress`]
//! on a `watch`: the supervisor reads from it when a first sync is complete and when files have changed. Reads the
//! [`Report`] from another and sends it on.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use rustix::time::ClockId;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::sync::OwnedMutexGuard;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::accept::accept;
use crate::disk::StageAt;
use crate::keeper;
use crate::keeper::Keeper;
use crate::keeper::Places;
use crate::message::FromSide;
use crate::message::ToSide;
use crate::received::Received;
use crate::reconcile::Side;
use crate::report::Phase;
use crate::report::Report;
use crate::wire;
use crate::wire::Frame;
use crate::wire::FrameReader;
use crate::wire::Hello;
use crate::wire::ToAgent;
use crate::wire::ToNode;
use crate::wire::WireError;

/// One node, its successor after a restart, `health`, and some to spare.
const CONNECTIONS: usize = 8;
/// How often the node hears that we are still here.
pub const HEARTBEAT: Duration = Duration::from_secs(1);
/// While a phase lasts its lines are sent no more often than this.
const CHATTER: Duration = Duration::from_millis(100);
/// Replies on their way. The writer drains them while the reader waits, so any number will do.
const REPLIES: usize = 64;
/// What was heard and not done yet: enough that reading and doing overlap.
const WORK: usize = 64;
/// So much of it is done before any of it is answered: each answer by itself would wake everybody on its way.
const AT_ONCE: usize = 16;

/// How far the copy of the folder is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Whether a node is connected.
    pub connected: bool,
    /// Whether a first sync ever completed.
    pub complete: bool,
    /// Raised whenever changes of the host are all in place.
    pub changes: u64,
}

/// What all connections share.
#[derive(Debug)]
pub struct Control {
    folder: PathBuf,
    state: PathBuf,
    received: Mutex<Received>,
    /// Something was received since `changes` was last raised.
    changed: AtomicBool,
    keeper: Mutex<Option<(keeper::Settings, Arc<Keeper>)>>,
    news: Arc<Notify>,
    /// Raised by each conversation that wants the side; the one before sees it and ends.
    wanted: watch::Sender<u64>,
    /// Held by the conversation that has the side.
    seat: Arc<tokio::sync::Mutex<()>>,
    report: watch::Receiver<Report>,
    progress: watch::Sender<Progress>,
}

impl Control {
    /// Keeps the copy at `folder`, remembering in `state`, and tells what `report` says.
    pub fn new(folder: PathBuf, state: PathBuf, received: Received, report: watch::Receiver<Report>) -> Self {
        let progress = Progress { complete: received.is_complete(), ..Progress::default() };
        Self {
            folder,
            state,
            received: Mutex::new(received),
            changed: AtomicBool::new(false),
            keeper: Mutex::default(),
            news: Arc::default(),
            wanted: watch::Sender::new(0),
            seat: Arc::default(),
            report,
            progress: watch::Sender::new(progress),
        }
    }

    /// How far the copy is.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// What the host has sent; never held across an await.
    pub fn received(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The side, kept as asked: the one that is there when it is kept so already.
    fn keep(&self, settings: keeper::Settings) -> Result<Arc<Keeper>, keeper::OpenError> {
        let mut slot = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((same, keeper)) = &*slot
            && *same == settings
        {
            return Ok(Arc::clone(keeper));
        }
        // Its stamps are saved as it goes, so that nothing is read again.
        *slot = None;
        let places = Places {
            side: Side::Beta,
            root: self.folder.clone(),
            staging: StageAt::Inside,
            state: self.state.join("side"),
        };
        let news = Arc::clone(&self.news);
        let keeper = Arc::new(Keeper::open(places, &settings, move || news.notify_one())?);
        *slot = Some((settings, Arc::clone(&keeper)));
        Ok(keeper)
    }

    /// What the side has said; what came of the host's changes is noted on the way.
    fn take(&self, keeper: &Keeper) -> Vec<FromSide> {
        let said = keeper.take();
        for said in &said {
            if let FromSide::Applied { outcomes, .. } = said
                && self.received().note(outcomes)
            {
                self.changed.store(true, Ordering::Relaxed);
            }
        }
        said
    }

    fn settled(&self) {
        self.received().complete();
        let changed = self.changed.swap(false, Ordering::Relaxed);
        self.progress.send_if_modified(|progress| {
            let first = !std::mem::replace(&mut progress.complete, true);
            progress.changes += u64::from(changed);
            first || changed
        });
    }
}

/// Listens on the control socket.
///
/// # Errors
/// When another init listens there already.
pub fn bind(name: &str) -> io::Result<UnixListener> {
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    let listener = std::os::unix::net::UnixListener::bind_addr(&address)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Converses with whoever connects, until dropped.
pub async fn serve(listener: UnixListener, control: Arc<Control>) {
    accept(listener, CONNECTIONS, move |stream| {
        let control = Arc::clone(&control);
        async move { converse(stream, control).await }
    })
    .await;
}

/// One conversation, from hello to the end of the stream.
async fn converse(stream: UnixStream, control: Arc<Control>) {
    let (reader, writer) = stream.into_split();
    let (replies, outgoing) = mpsc::channel(REPLIES);
    let (kept, side) = watch::channel(None);
    let mut conversation = Conversation { control: Arc::clone(&control), replies, kept, seat: None };
    let ended = tokio::select! {
        ended = conversation.read(FrameReader::new(reader)) => ended,
        ended = write(writer, outgoing, &control, side) => ended,
    };
    if let Some(seat) = conversation.seat.take() {
        seat.leave(&control).await;
    }
    if let Err(error) = ended
        && !matches!(error, WireError::Closed | WireError::Io(_))
    {
        super::init::say(&format!("the node was disconnected: {error}"));
    }
}

/// The side, and the thread that does what is asked of it.
struct Seat {
    keeper: Arc<Keeper>,
    work: mpsc::Sender<ToAgent>,
    /// What was heard and is not done yet need not be.
    left: Arc<AtomicBool>,
    done: JoinHandle<Result<(), WireError>>,
    _only: OwnedMutexGuard<()>,
}

impl Seat {
    fn take(
        control: &Arc<Control>,
        keeper: Arc<Keeper>,
        replies: mpsc::Sender<ToNode>,
        only: OwnedMutexGuard<()>,
    ) -> Self {
        let (work, mut heard) = mpsc::channel(WORK);
        let left = Arc::new(AtomicBool::new(false));
        let (control, side, leaves) = (Arc::clone(control), Arc::clone(&keeper), Arc::clone(&left));
        let done = tokio::task::spawn_blocking(move || {
            while let Some(message) = heard.blocking_recv() {
                if leaves.load(Ordering::Relaxed) {
                    break;
                }
                let mut messages = vec![message];
                while messages.len() < AT_ONCE
                    && let Ok(message) = heard.try_recv()
                {
                    messages.push(message);
                }
                obey(&control, &side, &replies, messages)?;
            }
            Ok(())
        });
        Self { keeper, work, left, done, _only: only }
    }

    async fn leave(self, control: &Control) {
        self.left.store(true, Ordering::Relaxed);
        drop(self.work);
        // Nobody takes any more: what waits for room would wait for ever.
        self.keeper.detach();
        drop(self.done.await);
        drop(control.take(&self.keeper));
        self.keeper.detach();
    }
}

/// Does what was asked, in order.
fn obey(
    control: &Control,
    keeper: &Keeper,
    replies: &mpsc::Sender<ToNode>,
    messages: Vec<ToAgent>,
) -> Result<(), WireError> {
    let mut gathered = Vec::new();
    for message in messages {
        if let ToAgent::Side(message) = message {
            gathered.push(message);
            continue;
        }
        hear(keeper, std::mem::take(&mut gathered))?;
        match message {
            ToAgent::Settled => control.settled(),
            ToAgent::Ask { number, question } => {
                let answer = keeper.answer(question);
                replies.blocking_send(ToNode::Answer { number, answer }).map_err(|_| WireError::Closed)?;
            }
            ToAgent::Side(_) | ToAgent::Keep(_) => {}
        }
    }
    hear(keeper, gathered)
}

fn hear(keeper: &Keeper, messages: Vec<ToSide>) -> Result<(), WireError> {
    keeper.wait_for_room();
    keeper.hear(messages).map_err(|_| WireError::OutOfTurn { what: "something that makes no sense" })
}

struct Conversation {
    control: Arc<Control>,
    replies: mpsc::Sender<ToNode>,
    kept: watch::Sender<Option<Arc<Keeper>>>,
    seat: Option<Seat>,
}

impl Conversation {
    async fn read(&mut self, mut frames: FrameReader<impl AsyncRead + Unpin>) -> Result<(), WireError> {
        frames.hello().await?;
        let mut wanted = self.control.wanted.subscribe();
        loop {
            let superseded = self.seat.is_some() && wanted.has_changed().unwrap_or(true);
            if superseded {
                return Err(WireError::OutOfTurn { what: "nothing more: another node has come" });
            }
            // Both are cancel-safe: a frame stays in its buffer, a change is seen again.
            let frame = tokio::select! {
                frame = frames.next::<ToAgent>() => frame?,
                Ok(()) = wanted.changed(), if self.seat.is_some() => {
                    wanted.mark_changed();
                    continue;
                }
            };
            match frame {
                Frame::Hello(_) => return Err(WireError::OutOfTurn { what: "hello twice" }),
                Frame::Message(ToAgent::Keep(settings)) => {
                    self.keep(*settings).await?;
                    wanted.mark_unchanged();
                }
                Frame::Message(message) => self.pass(message).await?,
            }
        }
    }

    /// Takes the side, from whoever had it.
    async fn keep(&mut self, settings: keeper::Settings) -> Result<(), WireError> {
        if let Some(seat) = self.seat.take() {
            self.kept.send_replace(None);
            seat.leave(&self.control).await;
        }
        self.control.wanted.send_modify(|wanted| *wanted += 1);
        let only = Arc::clone(&self.control.seat).lock_owned().await;
        let control = Arc::clone(&self.control);
        let opened = tokio::task::spawn_blocking(move || control.keep(settings)).await;
        let keeper = match opened.map_err(|error| WireError::Io(io::Error::other(error)))? {
            Ok(keeper) => keeper,
            Err(error) => {
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
                let reason = format!("{error}{}", cause.unwrap_or_default());
                self.reply(ToNode::Unkept { reason }).await?;
                return Ok(());
            }
        };
        self.kept.send_replace(Some(Arc::clone(&keeper)));
        self.seat = Some(Seat::take(&self.control, keeper, self.replies.clone(), only));
        self.control.progress.send_if_modified(|progress| !std::mem::replace(&mut progress.connected, true));
        Ok(())
    }

    /// Hands on what is done by the side's own thread.
    async fn pass(&mut self, message: ToAgent) -> Result<(), WireError> {
        let Some(seat) = &mut self.seat else {
            return Err(WireError::OutOfTurn { what: "something about files before how they are kept" });
        };
        if seat.work.send(message).await.is_ok() {
            return Ok(());
        }
        match (&mut seat.done).await {
            Ok(Err(error)) => Err(error),
            _ => Err(WireError::Closed),
        }
    }

    async fn reply(&self, reply: ToNode) -> Result<(), WireError> {
        self.replies.send(reply).await.map_err(|_| WireError::Closed)
    }
}

/// Sends the hello, the report at once and whenever it changes, the replies, and what the side says once it is kept; and
/// a heartbeat that waits for none of this: what is asked of the side may take a slow disk long.
async fn write(
    mut stream: impl AsyncWrite + Unpin,
    mut replies: mpsc::Receiver<ToNode>,
    control: &Control,
    mut kept: watch::Receiver<Option<Arc<Keeper>>>,
) -> Result<(), WireError> {
    let mut report = control.report.clone();
    let mut buffer = BytesMut::new();
    let mut warning = None;
    wire::put_hello(&mut buffer, &Hello::ours());
    let mut phase = put_report(&mut buffer, &mut report);
    let mut next_report = Instant::now() + CHATTER;
    let mut beat = Instant::now() + until_whole_second();
    loop {
        send(&mut stream, &mut buffer).await?;
        let keeper = kept.borrow_and_update().clone();
        let news = async {
            match &keeper {
                Some(_) => control.news.notified().await,
                None => std::future::pending().await,
            }
        };
        // All are cancel-safe: a channel's receive, a watch's change, a sleep, a notice.
        tokio::select! {
            reply = replies.recv() => {
                let Some(reply) = reply else { return Ok(()) };
                wire::put_message(&mut buffer, &reply);
                while buffer.len() < wire::BUFFER && let Ok(reply) = replies.try_recv() {
                    wire::put_message(&mut buffer, &reply);
                }
            }
            due = due(&mut report, phase, next_report) => {
                due?;
                phase = put_report(&mut buffer, &mut report);
                next_report = Instant::now() + CHATTER;
            }
            changed = kept.changed() => changed.map_err(|_| WireError::Closed)?,
            () = tokio::time::sleep_until(beat) => {
                wire::put_message(&mut buffer, &ToNode::Heartbeat);
                beat = Instant::now() + until_whole_second();
            }
            () = news => {
                let Some(keeper) = &keeper else { continue };
                for said in control.take(keeper) {
                    wire::put_message(&mut buffer, &ToNode::Side(said));
                    if buffer.len() >= wire::BUFFER {
                        send(&mut stream, &mut buffer).await?;
                    }
                }
                let now = keeper.watched().warning;
                if now != warning {
                    wire::put_message(&mut buffer, &ToNode::Watched { warning: now.clone() });
                    warning = now;
                }
            }
        }
    }
}

/// How long it is until the clock next reads a whole number of seconds: the machine is woken once for all containers.
fn until_whole_second() -> Duration {
    let past = rustix::time::clock_gettime(ClockId::Realtime).tv_nsec;
    HEARTBEAT.saturating_sub(Duration::from_nanos(past.unsigned_abs()))
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), buffer: &mut BytesMut) -> Result<(), WireError> {
    stream.write_all(buffer).await.map_err(WireError::Io)?;
    stream.flush().await.map_err(WireError::Io)?;
    buffer.clear();
    // A quiet session holds no buffer.
    if buffer.capacity() > wire::BUFFER {
        *buffer = BytesMut::new();
    }
    Ok(())
}

/// Waits for a report worth sending: at once for another phase, with a pause for more lines of the same.
async fn due(
    report: &mut watch::Receiver<Report>,
    phase: Phase,
    not_before: Instant,
) -> Result<(), WireError> {
    // Asked again after a cancellation, so what was seen stays unseen until it is sent.
    if !report.has_changed().map_err(|_| WireError::Closed)? {
        report.changed().await.map_err(|_| WireError::Closed)?;
        report.mark_changed();
    }
    let other_phase = async {
        if report.wait_for(|report| report.phase != phase).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = tokio::time::sleep_until(not_before) => {}
        () = other_phase => {}
    }
    report.mark_changed();
    Ok(())
}

fn put_report(buffer: &mut BytesMut, report: &mut watch::Receiver<Report>) -> Phase {
    let report = report.borrow_and_update();
    wire::put_message(buffer, &ToNode::Report(Box::new(report.clone())));
    report.phase
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;
    use crate::look;
    use crate::rules;
    use crate::versions;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_side_whose_disk_takes_long_is_not_silent() {
        let (folder, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let received = Received::open(state.path(), Vec::new());
        let (_report, reports) = watch::channel(Report::default());
        let control = Control::new(folder.path().to_owned(), state.path().to_owned(), received, reports);
        let control = Arc::new(control);
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(converse(theirs, Arc::clone(&control)));
        let (reader, mut writer) = ours.into_split();
        let mut frames = FrameReader::new(reader);
        let mut buffer = BytesMut::new();
        wire::put_hello(&mut buffer, &Hello::ours());
        let settings = keeper::Settings {
            rules: rules::Settings::default(),
            look: look::Settings::default(),
            watch: crate::watch::Settings::default(),
            versions: versions::Limits::default(),
        };
        wire::put_message(&mut buffer, &ToAgent::Keep(Box::new(settings)));
        writer.write_all(&buffer).await.unwrap();
        frames.hello().await.unwrap();
        let mut progress = control.progress();
        progress.wait_for(|progress| progress.connected).await.unwrap();
        let keeper = control.keeper.lock().unwrap().as_ref().map(|(_, keeper)| Arc::clone(keeper)).unwrap();

        let busy = keeper.busy();
        // More than is taken before what was asked first is done.
        buffer.clear();
        for token in 0..4 * (WORK + AT_ONCE) as u64 {
            wire::put_message(&mut buffer, &ToAgent::Side(ToSide::Look { token }));
        }
        writer.write_all(&buffer).await.unwrap();
        control.news.notify_one();
        for _ in 0..3 {
            let beat =
                async { while !matches!(frames.next().await, Ok(Frame::Message(ToNode::Heartbeat))) {} };
            tokio::time::timeout(5 * HEARTBEAT, beat).await.expect("the heart beats on");
        }
        drop(busy);
    }
}
