//! The init's end of the wire: takes changes from the node, tells it how the program is doing.
//!
//! Publishes [`Progress`] on a `watch`: the supervisor reads from it when a first sync is complete and when files have
//! changed. Reads the [`Report`] from another and sends it on.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::accept::accept;
use crate::entry::Entry;
use crate::path::RelPath;
use crate::report::Phase;
use crate::report::Report;
use crate::stage::Copy;
use crate::stage::Incoming;
use crate::wire;
use crate::wire::Frame;
use crate::wire::FrameReader;
use crate::wire::Hello;
use crate::wire::ToAgent;
use crate::wire::ToNode;
use crate::wire::WireError;

/// One node, its successor after a restart, `health`, and some to spare.
const CONNECTIONS: usize = 8;
/// While a phase lasts its lines are sent no more often than this.
const CHATTER: Duration = Duration::from_millis(100);
/// Replies on their way: pages and failures. The writer drains them while the reader waits, so any number will do.
const REPLIES: usize = 64;

/// How far the copy of the folder is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Whether a node is connected.
    pub connected: bool,
    /// Whether a first sync ever completed.
    pub complete: bool,
    /// Raised by every batch that changed something.
    pub changes: u64,
}

/// What all connections share.
#[derive(Debug)]
pub struct Control {
    copy: Mutex<Copy>,
    report: watch::Receiver<Report>,
    progress: watch::Sender<Progress>,
}

impl Control {
    /// Serves `copy` and tells what `report` says.
    pub fn new(copy: Copy, report: watch::Receiver<Report>) -> Self {
        let progress = Progress { complete: copy.ledger().is_complete(), ..Progress::default() };
        Self { copy: Mutex::new(copy), report, progress: watch::Sender::new(progress) }
    }

    /// How far the copy is.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// The copy itself; never held across an await.
    pub fn copy(&self) -> MutexGuard<'_, Copy> {
        self.copy.lock().unwrap_or_else(PoisonError::into_inner)
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
        async move { converse(stream, &control).await }
    })
    .await;
}

/// One conversation, from hello to the end of the stream.
async fn converse(stream: UnixStream, control: &Control) {
    let (reader, writer) = stream.into_split();
    let (replies, outgoing) = mpsc::channel(REPLIES);
    let mut conversation = Conversation { control, replies, incoming: None };
    let ended = tokio::select! {
        ended = conversation.read(FrameReader::new(reader)) => ended,
        ended = write(writer, outgoing, control.report.clone()) => ended,
    };
    conversation.end();
    if let Err(error) = ended
        && !matches!(error, WireError::Closed | WireError::Io(_))
    {
        super::init::say(&format!("the node was disconnected: {error}"));
    }
}

struct Conversation<'a> {
    control: &'a Control,
    replies: mpsc::Sender<ToNode>,
    incoming: Option<Incoming>,
}

impl Conversation<'_> {
    async fn read(
        &mut self,
        mut frames: FrameReader<impl tokio::io::AsyncRead + Unpin>,
    ) -> Result<(), WireError> {
        frames.hello().await?;
        loop {
            match frames.next::<ToAgent>().await? {
                Frame::Hello(_) => return Err(WireError::OutOfTurn { what: "hello twice" }),
                Frame::Raw(bytes) => match &mut self.incoming {
                    Some(incoming) => incoming.write(&bytes),
                    None => return Err(WireError::OutOfTurn { what: "content of no file" }),
                },
                Frame::Message(message) => self.take(message).await?,
            }
        }
    }

    async fn take(&mut self, message: ToAgent) -> Result<(), WireError> {
        if self.incoming.is_some()
            && !matches!(message, ToAgent::Commit { .. } | ToAgent::Abort | ToAgent::Heartbeat)
        {
            return Err(WireError::OutOfTurn { what: "something else inside of a file" });
        }
        let reply = match message {
            ToAgent::Heartbeat => Some(ToNode::Heartbeat),
            ToAgent::Tree => {
                self.control
                    .progress
                    .send_if_modified(|progress| !std::mem::replace(&mut progress.connected, true));
                return self.tree().await;
            }
            ToAgent::Begin { path } => {
                self.incoming = Some(self.control.copy().begin(path));
                None
            }
            ToAgent::Commit { size, executable, digest } => {
                let incoming = self.taken("the end of no file")?;
                failed(self.control.copy().commit(incoming, size, executable, digest))
            }
            ToAgent::Abort => {
                let incoming = self.taken("the end of no file")?;
                self.control.copy().abort(incoming);
                None
            }
            ToAgent::Done { generation } => {
                self.done();
                Some(ToNode::Synced { generation })
            }
            change => failed(self.control.copy().apply(change)?),
        };
        if let Some(reply) = reply {
            self.reply(reply).await?;
        }
        Ok(())
    }

    fn taken(&mut self, what: &'static str) -> Result<Incoming, WireError> {
        self.incoming.take().ok_or(WireError::OutOfTurn { what })
    }

    fn done(&self) {
        let changed = self.control.copy().finish();
        self.control.progress.send_if_modified(|progress| {
            let first = !std::mem::replace(&mut progress.complete, true);
            progress.changes += u64::from(changed);
            first || changed
        });
    }

    /// A page at a time, so that neither end holds all of it as messages.
    async fn tree(&self) -> Result<(), WireError> {
        let mut last: Option<RelPath> = None;
        loop {
            let entries = self.page(last.as_ref());
            let Some((path, _)) = entries.last() else { break };
            last = Some(path.clone());
            self.reply(ToNode::Page { entries }).await?;
        }
        self.reply(ToNode::TreeEnd).await
    }

    fn page(&self, after: Option<&RelPath>) -> Vec<(RelPath, Entry)> {
        use std::ops::Bound;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let copy = self.control.copy();
        let mut room = wire::FRAME_MAX / 2;
        let mut entries = Vec::new();
        for (path, entry) in copy.ledger().entries().range::<RelPath, _>((from, Bound::Unbounded)) {
            let link = if let Entry::Symlink { target } = entry { target.as_bytes().len() } else { 0 };
            let size = path.as_bytes().len() + link + 64;
            if entries.len() == wire::PAGE || size > room {
                break;
            }
            room -= size;
            entries.push((path.clone(), entry.clone()));
        }
        entries
    }

    async fn reply(&self, reply: ToNode) -> Result<(), WireError> {
        self.replies.send(reply).await.map_err(|_| WireError::Closed)
    }

    fn end(&mut self) {
        let mut copy = self.control.copy();
        if let Some(incoming) = self.incoming.take() {
            copy.abort(incoming);
        }
        // What has arrived is remembered even when the batch was cut short.
        copy.flush();
    }
}

fn failed(done: Result<(), (RelPath, String)>) -> Option<ToNode> {
    done.err().map(|(path, message)| ToNode::Failed { path, message })
}

/// Sends the hello, the report at once and whenever it changes, and the replies.
async fn write(
    mut stream: impl AsyncWrite + Unpin,
    mut replies: mpsc::Receiver<ToNode>,
    mut report: watch::Receiver<Report>,
) -> Result<(), WireError> {
    let mut buffer = BytesMut::new();
    wire::put_hello(&mut buffer, &Hello::ours());
    let mut phase = put_report(&mut buffer, &mut report);
    let mut next_report = Instant::now() + CHATTER;
    loop {
        stream.write_all(&buffer).await.map_err(WireError::Io)?;
        stream.flush().await.map_err(WireError::Io)?;
        buffer.clear();
        // All three are cancel-safe: a channel's receive, a watch's change, a sleep.
        tokio::select! {
            reply = replies.recv() => {
                let Some(reply) = reply else { return Ok(()) };
                wire::put_message(&mut buffer, &reply);
                while buffer.len() < wire::CHUNK && let Ok(reply) = replies.try_recv() {
                    wire::put_message(&mut buffer, &reply);
                }
            }
            due = due(&mut report, phase, next_report) => {
                due?;
                phase = put_report(&mut buffer, &mut report);
                next_report = Instant::now() + CHATTER;
            }
        }
    }
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
