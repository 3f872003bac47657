//! The engine's framing of a program's two outputs on one stream: 8 bytes (kind, 3 zero, length), then the bytes.
//!
//! A frame is handed on as it arrives: no length a peer states is ever reserved.

use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::Bytes;
use bytes::BytesMut;
use tokio::io::AsyncBufRead;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio_util::codec::Decoder;

use crate::engine::Output;

const HEADER: usize = 8;

/// Which output a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Channel {
    Out,
    Err,
}

/// Reads a header: the channel and how many bytes follow.
fn header(bytes: [u8; HEADER]) -> io::Result<(Channel, usize)> {
    let channel = match bytes[..4] {
        [0 | 1, 0, 0, 0] => Channel::Out,
        [2, 0, 0, 0] => Channel::Err,
        _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "not a frame of program output")),
    };
    let length = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    Ok((channel, usize::try_from(length).unwrap_or(usize::MAX)))
}

/// Takes a stream apart into what was printed where. A container with a terminal has no frames: all is output.
#[derive(Debug)]
pub struct Frames {
    raw: bool,
    open: Option<(Channel, usize)>,
}

impl Frames {
    /// For a stream that is framed, or is not (`raw`).
    pub fn new(raw: bool) -> Self {
        Self { raw, open: None }
    }
}

impl Decoder for Frames {
    type Item = Output;
    type Error = io::Error;

    fn decode(&mut self, bytes: &mut BytesMut) -> io::Result<Option<Output>> {
        if self.raw {
            return Ok((!bytes.is_empty()).then(|| Output::Out(bytes.split().freeze())));
        }
        loop {
            match self.open {
                Some((channel, left)) if left > 0 => {
                    let take = left.min(bytes.len());
                    if take == 0 {
                        return Ok(None);
                    }
                    self.open = Some((channel, left - take));
                    return Ok(Some(output(channel, bytes.split_to(take).freeze())));
                }
                _ => {
                    let Some(head) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
                    self.open = Some(header(*head)?);
                    bytes::Buf::advance(bytes, HEADER);
                }
            }
        }
    }

    fn decode_eof(&mut self, bytes: &mut BytesMut) -> io::Result<Option<Output>> {
        // What is left when the engine goes away mid-frame is half a header: of no use to anybody.
        let item = self.decode(bytes)?;
        if item.is_none() {
            bytes.clear();
        }
        Ok(item)
    }
}

fn output(channel: Channel, bytes: Bytes) -> Output {
    match channel {
        Channel::Out => Output::Out(bytes),
        Channel::Err => Output::Err(bytes),
    }
}

/// A framed stream as a plain one: reading gives the output, errors printed are logged at debug, writing is input.
#[derive(Debug)]
pub struct Joined<S> {
    stream: S,
    head: [u8; HEADER],
    filled: usize,
    open: Option<(Channel, usize)>,
}

impl<S> Joined<S> {
    /// Wraps the raw stream.
    pub fn new(stream: S) -> Self {
        Self { stream, head: [0; HEADER], filled: 0, open: None }
    }
}

impl<S: AsyncBufRead + Unpin> Joined<S> {
    /// Reads up to the next header's end; `false` at the end of the stream.
    fn poll_header(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.filled < HEADER {
            let available = ready!(Pin::new(&mut self.stream).poll_fill_buf(context))?;
            if available.is_empty() {
                return Poll::Ready(Ok(false));
            }
            let take = available.len().min(HEADER - self.filled);
            self.head[self.filled..self.filled + take].copy_from_slice(&available[..take]);
            self.filled += take;
            Pin::new(&mut self.stream).consume(take);
        }
        self.filled = 0;
        self.open = Some(header(self.head)?);
        Poll::Ready(Ok(true))
    }
}

impl<S: AsyncBufRead + Unpin> AsyncRead for Joined<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            match this.open {
                Some((Channel::Out, left)) if left > 0 => {
                    // Straight into the caller's memory, but never past the frame. Initialised before it is read
                    // into: doing so afterwards would wipe what was read.
                    let room = left.min(buffer.remaining());
                    let mut frame = ReadBuf::new(buffer.initialize_unfilled_to(room));
                    ready!(Pin::new(&mut this.stream).poll_read(context, &mut frame))?;
                    let read = frame.filled().len();
                    buffer.advance(read);
                    this.open = Some((Channel::Out, left - read));
                    return Poll::Ready(Ok(()));
                }
                Some((Channel::Err, left)) if left > 0 => {
                    let available = ready!(Pin::new(&mut this.stream).poll_fill_buf(context))?;
                    if available.is_empty() {
                        return Poll::Ready(Ok(()));
                    }
                    let take = available.len().min(left);
                    tracing::debug!(text = %String::from_utf8_lossy(&available[..take]), "a program piped to us complains");
                    Pin::new(&mut this.stream).consume(take);
                    this.open = Some((Channel::Err, left - take));
                }
                _ => {
                    if !ready!(this.poll_header(context))? {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Joined<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::io::BufReader;

    use super::*;

    const STREAM: &[u8] =
        b"\x01\0\0\0\0\0\0\x03one\x02\0\0\0\0\0\0\x04oops\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\x03two\x02\0\0";

    #[tokio::test]
    async fn output_reaches_memory_that_was_never_written() {
        let framed = &b"\x01\0\0\0\0\0\0\x05hello\x02\0\0\0\0\0\0\x01x"[..];
        let mut joined = Joined::new(BufReader::new(framed));
        let mut buffer = BytesMut::with_capacity(64);
        while joined.read_buf(&mut buffer).await.unwrap() > 0 {}
        assert_eq!(&buffer[..], b"hello");
    }

    #[test]
    fn frames_come_apart_wherever_the_stream_is_cut() {
        for size in 1..STREAM.len() {
            let (mut frames, mut bytes) = (Frames::new(false), BytesMut::new());
            let (mut out, mut err) = (Vec::new(), Vec::new());
            for chunk in STREAM.chunks(size) {
                bytes.extend_from_slice(chunk);
                while let Some(item) = frames.decode(&mut bytes).unwrap() {
                    match item {
                        Output::Out(bytes) => out.extend_from_slice(&bytes),
                        Output::Err(bytes) => err.extend_from_slice(&bytes),
                    }
                }
            }
            assert_eq!((out.as_slice(), err.as_slice()), (&b"onetwo"[..], &b"oops"[..]), "cut at {size}");
            assert!(frames.decode_eof(&mut bytes).unwrap().is_none() && bytes.is_empty());
        }
        let mut wrong = BytesMut::from(&b"\x07\0\0\0\0\0\0\x01x"[..]);
        assert!(Frames::new(false).decode(&mut wrong).is_err());
    }

    #[tokio::test]
    async fn a_joined_stream_holds_the_output_alone() {
        for capacity in [1, 3, 8, 100] {
            let mut text = Vec::new();
            let mut joined = Joined::new(BufReader::with_capacity(capacity, STREAM));
            joined.read_to_end(&mut text).await.unwrap();
            assert_eq!(text, b"onetwo", "{capacity}");
        }
        let wrong = &b"OCI runtime exec failed"[..];
        assert!(Joined::new(BufReader::new(wrong)).read_to_end(&mut Vec::new()).await.is_err());
    }
}
