//! Carries a request to an upstream and its answer back, over connections that are used again.
//!
//! Bodies stream in both directions and are never held: backpressure is the sockets' own. A request is sent again only
//! when it provably never reached the upstream, or when it is idempotent, has no body, and a connection that had been
//! idle broke before the first byte of an answer.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Empty};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::base::tasks::TaskGroup;

/// An idle connection is not used again after this: shorter than the 5 s after which Node closes it from its side.
const IDLE: Duration = Duration::from_secs(4);
/// Idle connections kept per upstream; more than a browser opens, little enough for any program's backlog.
const IDLE_PER_UPSTREAM: usize = 64;

/// What an upstream receives as a body.
pub(crate) type Outgoing = Either<Upload, Empty<Bytes>>;

/// Why an upstream gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// Nothing listens there.
    #[error("cannot connect to `{address}`")]
    Connect { address: SocketAddr, source: io::Error },
    /// No answer to the attempt to connect.
    #[error("`{address}` did not accept a connection within {} s", .waited.as_secs())]
    ConnectTimeout { address: SocketAddr, waited: Duration },
    /// Connected, and then nothing.
    #[error("`{address}` did not answer within {} s", .waited.as_secs())]
    Silent { address: SocketAddr, waited: Duration },
    /// The connection ended, or what came was no HTTP.
    #[error("the connection to `{address}` broke before an answer")]
    Broken { address: SocketAddr, source: hyper::Error },
}

/// Connections to all upstreams.
pub(crate) struct Pool {
    idle: Mutex<HashMap<SocketAddr, Vec<Idle>>>,
    /// One task per connection, which moves its bytes.
    drivers: Mutex<TaskGroup>,
    token: CancellationToken,
    connect_limit: Duration,
    silence_limit: Duration,
}

struct Idle {
    sender: SendRequest<Outgoing>,
    since: Instant,
}

/// A connection in use. It goes back to the pool when its answer has been read to the end; dropped earlier, it closes.
pub(crate) struct Lease {
    pool: Arc<Pool>,
    address: SocketAddr,
    sender: SendRequest<Outgoing>,
}

impl Lease {
    fn give_back(self) {
        let mut idle = self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let shelf = idle.entry(self.address).or_default();
        if shelf.len() < IDLE_PER_UPSTREAM {
            shelf.push(Idle { sender: self.sender, since: Instant::now() });
        }
    }
}

impl Pool {
    pub(crate) fn new(
        token: &CancellationToken,
        connect_limit: Duration,
        silence_limit: Duration,
    ) -> Arc<Self> {
        let drivers = TaskGroup::new("router upstreams", token);
        let token = drivers.token();
        Arc::new(Self {
            idle: Mutex::default(),
            drivers: Mutex::new(drivers),
            token,
            connect_limit,
            silence_limit,
        })
    }

    /// Sends a request and waits for the head of the answer.
    pub(crate) async fn send(
        self: &Arc<Self>,
        address: SocketAddr,
        mut request: Request<Outgoing>,
    ) -> Result<(Response<Incoming>, Lease), SendError> {
        let progress = match request.body() {
            Either::Left(upload) => Some(Arc::clone(&upload.progress)),
            Either::Right(_) => None,
        };
        if let Some(mut sender) = self.take(address) {
            let again = replayable(&request).then(|| copy(&request));
            match self.send_over(&mut sender, address, request, progress.as_deref()).await {
                Ok(response) => return Ok((response, Lease { pool: Arc::clone(self), address, sender })),
                Err(Attempt::Unsent(unsent)) => request = *unsent,
                Err(Attempt::Failed(error)) => match again {
                    Some(again) if closed_before_answer(&error) => request = again,
                    _ => return Err(error),
                },
            }
        }
        let mut sender = self.open(address).await?;
        match self.send_over(&mut sender, address, request, progress.as_deref()).await {
            Ok(response) => Ok((response, Lease { pool: Arc::clone(self), address, sender })),
            Err(Attempt::Failed(error)) => Err(error),
            Err(Attempt::Unsent(_)) => {
                let source = io::Error::from(io::ErrorKind::ConnectionReset);
                Err(SendError::Connect { address, source })
            }
        }
    }

    /// A connection that is idle now, the one used last first.
    fn take(&self, address: SocketAddr) -> Option<SendRequest<Outgoing>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let shelf = idle.get_mut(&address)?;
        shelf.retain(Idle::is_usable);
        let ready = shelf.iter().rposition(|idle| idle.sender.is_ready())?;
        Some(shelf.remove(ready).sender)
    }

    /// Opens a connection; a good moment to forget those of upstreams that are gone.
    async fn open(&self, address: SocketAddr) -> Result<SendRequest<Outgoing>, SendError> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, shelf| {
            shelf.retain(Idle::is_usable);
            !shelf.is_empty()
        });
        let stream = match timeout(self.connect_limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(source)) => return Err(SendError::Connect { address, source }),
            Err(_) => return Err(SendError::ConnectTimeout { address, waited: self.connect_limit }),
        };
        super::listen::tune(&stream);
        let (sender, connection) = Builder::new()
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|source| SendError::Broken { address, source })?;
        let token = self.token.clone();
        self.drivers.lock().unwrap_or_else(PoisonError::into_inner).spawn(
            "upstream connection",
            async move {
                // Cancel-safe: both arms end the connection. Its error is told to whoever waits for the answer.
                tokio::select! {
                    _ended = connection.with_upgrades() => {}
                    () = token.cancelled() => {}
                }
            },
        );
        Ok(sender)
    }

    /// Sends over one connection. Silence is counted while neither the request's body moves nor an answer comes, so that
    /// an upload may take as long as it takes.
    async fn send_over(
        &self,
        sender: &mut SendRequest<Outgoing>,
        address: SocketAddr,
        request: Request<Outgoing>,
        progress: Option<&AtomicU64>,
    ) -> Result<Response<Incoming>, Attempt> {
        let moved = || progress.map_or(0, |progress| progress.load(Ordering::Relaxed));
        let mut sending = std::pin::pin!(sender.try_send_request(request));
        let mut seen = moved();
        loop {
            match timeout(self.silence_limit, sending.as_mut()).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(mut error)) => {
                    return Err(match error.take_message() {
                        Some(request) => Attempt::Unsent(Box::new(request)),
                        None => Attempt::Failed(SendError::Broken { address, source: error.into_error() }),
                    });
                }
                Err(_) if moved() != seen => seen = moved(),
                Err(_) => {
                    return Err(Attempt::Failed(SendError::Silent { address, waited: self.silence_limit }));
                }
            }
        }
    }
}

impl Idle {
    fn is_usable(&self) -> bool {
        !self.sender.is_closed() && self.since.elapsed() < IDLE
    }
}

enum Attempt {
    /// The request never reached the connection and may be sent over another.
    Unsent(Box<Request<Outgoing>>),
    Failed(SendError),
}

fn replayable(request: &Request<Outgoing>) -> bool {
    let idempotent = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    idempotent && matches!(request.body(), Either::Right(_))
}

fn copy(request: &Request<Outgoing>) -> Request<Outgoing> {
    let mut copy = Request::new(Either::Right(Empty::new()));
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// The connection was closed by an upstream that had grown tired of it, rather than by one that chokes on the request.
fn closed_before_answer(error: &SendError) -> bool {
    let SendError::Broken { source, .. } = error else { return false };
    let reset =
        std::error::Error::source(source).and_then(|source| source.downcast_ref::<io::Error>()).is_some_and(
            |source| matches!(source.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe),
        );
    source.is_incomplete_message() || source.is_canceled() || source.is_closed() || reset
}

// ---- bodies ----

/// A client's body on its way to an upstream; counts its frames, so that a slow upload is not taken for silence.
pub(crate) struct Upload {
    incoming: Incoming,
    progress: Arc<AtomicU64>,
}

/// The body to send for what came in.
pub(crate) fn outgoing(incoming: Incoming) -> Outgoing {
    if incoming.is_end_stream() {
        Either::Right(Empty::new())
    } else {
        Either::Left(Upload { incoming, progress: Arc::default() })
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        self.progress.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// An upstream's body on its way to the client; gives the connection back when it has been read to the end.
pub(crate) struct Download {
    incoming: Incoming,
    lease: Option<Lease>,
}

impl Download {
    pub(crate) fn new(incoming: Incoming, lease: Lease) -> Self {
        let mut download = Self { incoming, lease: Some(lease) };
        download.release_at_end();
        download
    }

    fn release_at_end(&mut self) {
        if self.incoming.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.give_back();
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        match &frame {
            Some(Ok(_)) => self.release_at_end(),
            Some(Err(_)) => self.lease = None,
            None => {
                if let Some(lease) = self.lease.take() {
                    lease.give_back();
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
