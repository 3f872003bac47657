//! The wire between the node and an agent: what is said, and how it is framed.
//!
//! A frame is `u32 length | u32 checksum | u8 kind | body` (little endian; length and checksum are of kind and body;
//! the checksum is the start of their BLAKE3). Kind 0 is a hello, whose form never changes; kind 1 a message. Each end sends its hello first and reads the other's before anything else; where
//! the protocols differ the session ends with a text that names both. So a new field or message is a new protocol
//! number, and an old agent is never misread: the node installs the agent of its own version beside it.
//!
//! Both ends treat the other as hostile: frames are bounded before they are read, paths cannot leave their root by
//! their type, and whatever does not decode ends the session.

use std::io;

use bytes::Buf as _;
use bytes::BufMut as _;
use bytes::Bytes;
use bytes::BytesMut;
use serde::Deserialize;
use serde::Serialize;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;

use crate::inquiry::Answer;
use crate::inquiry::Question;
use crate::keeper;
use crate::message::FromSide;
use crate::message::ToSide;
use crate::report::Report;

/// The protocol of this build. Raised by every change to what follows.
pub const PROTOCOL: u16 = 5;
/// The largest frame either end takes.
pub const FRAME_MAX: usize = 16 << 20;
/// How much is gathered before it is written to a stream.
pub const BUFFER: usize = 256 * 1024;

const MAGIC: &[u8; 4] = b"NXAG";
const HEADER: usize = 9;

/// What the node says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToAgent {
    /// Keep the container's side like this. Before anything else about files; may be said again.
    Keep(Box<keeper::Settings>),
    /// What the session asks of the container's side.
    Side(ToSide),
    /// All that could be brought to the container is there.
    Settled,
    /// What a person wants to know or have done: [`ToNode::Answer`] follows.
    Ask {
        /// Comes back in the answer.
        number: u64,
        /// What.
        question: Question,
    },
}

/// What the agent says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToNode {
    /// How the program is doing; sent at once and whenever it changes.
    Report(Box<Report>),
    /// Still here: said every [`HEARTBEAT`](crate::serve::HEARTBEAT), whatever else goes on.
    Heartbeat,
    /// The container's side cannot be kept: one sentence for people. The connection ends.
    Unkept {
        /// Why.
        reason: String,
    },
    /// What the container's side says to the session.
    Side(FromSide),
    /// How well the container's copy is watched; sent when it changes.
    Watched {
        /// What a person should know, and what to do about it.
        warning: Option<String>,
    },
    /// The answer to [`ToAgent::Ask`].
    Answer {
        /// The question's.
        number: u64,
        /// What there is to say.
        answer: Answer,
    },
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame<M> {
    /// Who speaks.
    Hello(Hello),
    /// A message.
    Message(M),
}

/// The first thing either end says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The protocol it speaks.
    pub protocol: u16,
    /// Its software version, for people.
    pub version: String,
}

impl Hello {
    /// The hello of this build.
    pub fn ours() -> Self {
        Self { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").to_owned() }
    }

    /// Whether the peer who said this can be talked to.
    ///
    /// # Errors
    /// [`WireError::Protocol`] names both protocols.
    pub fn check(&self) -> Result<(), WireError> {
        if self.protocol == PROTOCOL {
            return Ok(());
        }
        Err(WireError::Protocol { theirs: self.protocol, ours: PROTOCOL, version: self.version.clone() })
    }
}

/// Why a session cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The stream ended between two frames.
    #[error("the other end closed the connection")]
    Closed,
    /// The stream broke.
    #[error("the connection broke")]
    Io(#[source] io::Error),
    /// What came is no frame of ours; often the engine's own error text.
    #[error("the other end does not speak this protocol: `{text}`")]
    Foreign {
        /// The first bytes, as far as they are printable.
        text: String,
    },
    /// A frame claims to be larger than allowed.
    #[error("a frame of {length} bytes is larger than allowed")]
    Large {
        /// The length claimed.
        length: u32,
    },
    /// The bytes changed on their way.
    #[error("a frame arrived damaged")]
    Damaged,
    /// The bytes are no message, or hold a path that leaves its root.
    #[error("a message does not decode")]
    Undecodable(#[source] postcard::Error),
    /// A message at a time it makes no sense.
    #[error("the other end said {what} out of turn")]
    OutOfTurn {
        /// What it said.
        what: &'static str,
    },
    /// The other end is of another version.
    #[error("the other end (version {version}) speaks protocol {theirs}, this one needs {ours}")]
    Protocol {
        /// Its protocol.
        theirs: u16,
        /// Our protocol.
        ours: u16,
        /// Its software version.
        version: String,
    },
}

/// Appends one message as a frame.
pub fn put_message<M: Serialize>(buffer: &mut BytesMut, message: &M) {
    let body = postcard::to_allocvec(message).expect("every message has a wire form");
    put(buffer, 1, &body);
}

/// Appends a hello.
pub fn put_hello(buffer: &mut BytesMut, hello: &Hello) {
    let body = [&MAGIC[..], &hello.protocol.to_le_bytes(), hello.version.as_bytes()].concat();
    put(buffer, 0, &body);
}

fn put(buffer: &mut BytesMut, kind: u8, body: &[u8]) {
    let length = u32::try_from(body.len() + 1).expect("a frame is bounded");
    buffer.reserve(HEADER + body.len());
    buffer.put_u32_le(length);
    buffer.put_u32_le(checksum(kind, body));
    buffer.put_u8(kind);
    buffer.put_slice(body);
}

fn checksum(kind: u8, body: &[u8]) -> u32 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[kind]);
    hasher.update(body);
    let hash = hasher.finalize();
    u32::from_le_bytes(hash.as_bytes()[..4].try_into().expect("a hash has 32 bytes"))
}

/// Takes the next frame out of `buffer`; `None` until all of it is there.
///
/// # Errors
/// Whatever is wrong with it; the session cannot go on.
pub fn take<M: for<'de> Deserialize<'de>>(buffer: &mut BytesMut) -> Result<Option<Frame<M>>, WireError> {
    if buffer.len() < HEADER {
        return Ok(None);
    }
    let mut header = &buffer[..HEADER];
    let (length, expected, kind) = (header.get_u32_le(), header.get_u32_le(), header.get_u8());
    if length == 0 || length as usize > FRAME_MAX {
        return Err(if kind > 1 { foreign(buffer) } else { WireError::Large { length } });
    }
    let end = HEADER + length as usize - 1;
    if buffer.len() < end {
        return Ok(None);
    }
    let mut frame = buffer.split_to(end);
    frame.advance(HEADER);
    if checksum(kind, &frame) != expected {
        return Err(WireError::Damaged);
    }
    decode(kind, frame.freeze()).map(Some)
}

fn decode<M: for<'de> Deserialize<'de>>(kind: u8, body: Bytes) -> Result<Frame<M>, WireError> {
    match kind {
        0 => hello(&body).map(Frame::Hello),
        1 => match postcard::take_from_bytes(&body) {
            Ok((message, [])) => Ok(Frame::Message(message)),
            Ok(_) => Err(WireError::Undecodable(postcard::Error::DeserializeBadEncoding)),
            Err(error) => Err(WireError::Undecodable(error)),
        },
        _ => Err(foreign(&body)),
    }
}

fn hello(body: &[u8]) -> Result<Hello, WireError> {
    let rest = body.strip_prefix(&MAGIC[..]).ok_or_else(|| foreign(body))?;
    let (protocol, version) = rest.split_first_chunk::<2>().ok_or_else(|| foreign(body))?;
    let version: String =
        String::from_utf8_lossy(version).chars().filter(|c| !c.is_control()).take(40).collect();
    Ok(Hello { protocol: u16::from_le_bytes(*protocol), version })
}

fn foreign(bytes: &[u8]) -> WireError {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]);
    let text: String =
        text.chars().filter(|c| !c.is_control() && *c != char::REPLACEMENT_CHARACTER).collect();
    WireError::Foreign { text: text.trim().to_owned() }
}

/// Reads frames from a stream.
#[derive(Debug)]
pub struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads from `stream`.
    pub fn new(stream: R) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// The next frame. Cancel-safe: what has been read stays in the buffer.
    ///
    /// # Errors
    /// See [`WireError`]; after any, the session is over.
    pub async fn next<M: for<'de> Deserialize<'de>>(&mut self) -> Result<Frame<M>, WireError> {
        loop {
            if let Some(frame) = take(&mut self.buffer)? {
                // A quiet session holds no buffer.
                if self.buffer.is_empty() {
                    self.buffer = BytesMut::new();
                }
                return Ok(frame);
            }
            // Much at a time while much comes; a quiet session holds little.
            self.buffer.reserve(if self.buffer.is_empty() { 16 * 1024 } else { 64 * 1024 });
            let count = self.stream.read_buf(&mut self.buffer).await.map_err(WireError::Io)?;
            if count == 0 && self.buffer.is_empty() {
                return Err(WireError::Closed);
            }
            if count == 0 {
                return Err(foreign(&self.buffer));
            }
        }
    }

    /// How much of the next frame has come so far.
    pub fn begun(&self) -> usize {
        self.buffer.len()
    }

    /// Reads the other end's hello and checks it.
    ///
    /// # Errors
    /// Also when anything but a hello comes first.
    pub async fn hello(&mut self) -> Result<Hello, WireError> {
        match self.next::<()>().await? {
            Frame::Hello(hello) => hello.check().map(|()| hello),
            Frame::Message(()) => Err(WireError::OutOfTurn { what: "a message before its hello" }),
        }
    }
}

#[cfg(test)]
mod tests;
