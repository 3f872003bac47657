//! The connection to one agent: `exec` of its endpoint, hellos, and two loops that carry frames.

use std::time::Duration;

use bytes::Bytes;
use bytes::BytesMut;
use nexus_agent::inquiry::Answer;
use nexus_agent::message::FromSide;
use nexus_agent::report::Report;
use nexus_agent::wire;
use nexus_agent::wire::Frame;
use nexus_agent::wire::FrameReader;
use nexus_agent::wire::Hello;
use nexus_agent::wire::ToNode;
use nexus_agent::wire::WireError;
use tokio::io::AsyncWriteExt as _;
use tokio::io::ReadHalf;
use tokio::io::WriteHalf;
use tokio::sync::mpsc;

use super::bounds::in_sentences;
use super::bounds::sentence;
use crate::engine;
use crate::engine::Engine;
use crate::engine::Exec;
use crate::engine::Pipe;

/// What is run in the container.
const ENDPOINT: [&str; 2] = ["/nexus/nexus-agent", "endpoint"];
/// How long the agent may say nothing. It has a heartbeat of a second.
const SILENCE: Duration = Duration::from_secs(5);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The endpoint could not be run.
    #[error("the agent in `{container}` cannot be reached")]
    Engine {
        /// The container.
        container: String,
        /// What the engine says.
        #[source]
        source: engine::Error,
    },
    /// The conversation went wrong.
    #[error("the conversation with the agent in `{container}` ended")]
    Wire {
        /// The container.
        container: String,
        /// How.
        #[source]
        source: WireError,
    },
    /// Nothing was heard for too long.
    #[error("the agent in `{container}` has not answered for {}s", SILENCE.as_secs())]
    Silent {
        /// The container.
        container: String,
    },
}

/// What the agent says, but for its reports.
#[derive(Debug)]
pub(super) enum Heard {
    /// What the container's side says to the session.
    Side(FromSide),
    /// The container's side cannot be kept, and why.
    Unkept(String),
    /// How well the container's copy is watched: what a person should know.
    Watched(Option<String>),
    /// What a person wanted to know.
    Answer(u64, Answer),
}

/// An open connection, after the hellos.
pub(super) struct Link {
    pub(super) reader: Reader,
    pub(super) writer: Writer,
}

/// Its receiving half.
pub(super) struct Reader {
    container: String,
    frames: FrameReader<ReadHalf<Box<dyn Pipe>>>,
}

/// Its sending half.
pub(super) struct Writer {
    container: String,
    stream: WriteHalf<Box<dyn Pipe>>,
}

/// Connects to the agent of a container.
pub(super) async fn connect(engine: &dyn Engine, container: &str) -> Result<Link, LinkError> {
    let exec = Exec { argv: ENDPOINT.map(str::to_owned).into(), stdin: true, ..Exec::default() };
    let pipe = engine
        .pipe(container, &exec)
        .await
        .map_err(|source| LinkError::Engine { container: container.to_owned(), source })?;
    let (reader, stream) = tokio::io::split(pipe);
    let mut writer = Writer { container: container.to_owned(), stream };
    let mut reader = Reader { container: container.to_owned(), frames: FrameReader::new(reader) };
    let hellos = async {
        let mut hello = BytesMut::new();
        wire::put_hello(&mut hello, &Hello::ours());
        writer.send(&hello).await?;
        reader.frames.hello().await.map_err(|source| reader.broken(source))
    };
    match tokio::time::timeout(SILENCE, hellos).await {
        Ok(greeted) => greeted.map(drop)?,
        Err(_) => return Err(LinkError::Silent { container: container.to_owned() }),
    }
    Ok(Link { reader, writer })
}

impl Reader {
    /// Reads until the connection ends: reports go to `report`, what is about files to `heard`.
    pub(super) async fn run(mut self, report: impl Fn(Report), heard: mpsc::Sender<Heard>) -> LinkError {
        let mut begun = 0;
        loop {
            let next = tokio::time::timeout(SILENCE, self.frames.next::<ToNode>()).await;
            // On a slow line one message takes long: who is in the middle of it is not silent.
            let before = std::mem::replace(&mut begun, self.frames.begun());
            let message = match next {
                Err(_) if begun > before => continue,
                Ok(Ok(Frame::Message(message))) => message,
                Ok(Ok(Frame::Hello(_))) => {
                    return self.broken(WireError::OutOfTurn { what: "what only the node says" });
                }
                Ok(Err(error)) => return self.broken(error),
                Err(_) => return LinkError::Silent { container: self.container },
            };
            let said = match message {
                ToNode::Report(said) => {
                    report(said.bounded());
                    continue;
                }
                ToNode::Heartbeat => continue,
                ToNode::Side(said) => Heard::Side(in_sentences(said)),
                ToNode::Unkept { reason } => Heard::Unkept(sentence(&reason)),
                ToNode::Watched { warning } => Heard::Watched(warning.as_deref().map(sentence)),
                ToNode::Answer { number, answer } => Heard::Answer(number, answer),
            };
            if heard.send(said).await.is_err() {
                return self.broken(WireError::Closed);
            }
        }
    }

    fn broken(&self, source: WireError) -> LinkError {
        LinkError::Wire { container: self.container.clone(), source }
    }
}

impl Writer {
    /// Sends what comes until the connection ends or nobody sends any more.
    pub(super) async fn run(mut self, mut outgoing: mpsc::Receiver<Bytes>) -> LinkError {
        while let Some(bytes) = outgoing.recv().await {
            let bytes = gather(bytes, &mut outgoing);
            if let Err(error) = self.send(&bytes).await {
                return error;
            }
        }
        LinkError::Wire { container: self.container, source: WireError::Closed }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        let sent = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        sent.await.map_err(|source| LinkError::Wire {
            container: self.container.clone(),
            source: WireError::Io(source),
        })
    }
}

/// What there is to be sent by now, as far as it is written at once: each message by itself would wake everybody on its
/// way.
fn gather(first: Bytes, outgoing: &mut mpsc::Receiver<Bytes>) -> Bytes {
    let Ok(second) = outgoing.try_recv() else { return first };
    let mut gathered = BytesMut::with_capacity(wire::BUFFER);
    gathered.extend_from_slice(&first);
    gathered.extend_from_slice(&second);
    while gathered.len() < wire::BUFFER
        && let Ok(next) = outgoing.try_recv()
    {
        gathered.extend_from_slice(&next);
    }
    gathered.freeze()
}
