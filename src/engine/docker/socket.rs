//! The way to the engine's socket: connecting, agreeing on an API version, time-outs, and a limit on answers.
//!
//! A connection is made per request, so an engine that was restarted is found again without ceremony. The API version
//! is agreed on once and forgotten when the engine stops answering: it may come back as another version.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bollard::BollardRequest;
use bollard::ClientVersion;
use bytes::Bytes;
use futures::Stream;
use http_body_util::BodyExt as _;
use http_body_util::Either;
use http_body_util::Full;
use http_body_util::StreamBody;
use hyper::Method;
use hyper::Request;
use hyper::Response;
use hyper::StatusCode;
use hyper::Uri;
use hyper::body::Frame;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::Connected;
use hyper_util::client::legacy::connect::Connection;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::net::UnixStream;

use super::failure;
use super::version;
use crate::engine::Error;

/// Every call that is not known to take long.
pub const CALL: Duration = Duration::from_secs(10);
/// The first call to an engine that was not there before: it only says its version.
const HELLO: Duration = Duration::from_secs(5);
/// No answer that is a document is longer: 200 containers make 0.5 MB.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Streams that never end on their own; their frames and lines are limited where they are read.
const STREAMS: [&str; 4] = ["/events", "/logs", "/start", "/images/create"];

/// The body type of the vendor's requests.
type Body =
    Either<Full<Bytes>, StreamBody<Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, std::io::Error>> + Send>>>>;

/// An engine we agreed on an API version with.
pub struct Peer {
    /// The vendor's client, set to that version.
    pub api: bollard::Docker,
    /// The engine's own version: `26.1.5`.
    pub version: String,
    /// The API version in use: `1.45`.
    pub api_version: String,
}

/// The engine's socket.
pub struct Socket {
    address: String,
    call: Duration,
    transport: Transport,
    peer: ArcSwapOption<Peer>,
}

impl Socket {
    /// A socket at `address` (`unix:///var/run/docker.sock` or a bare path). Nothing is opened yet.
    pub fn new(address: &str, call: Duration) -> Self {
        let path = PathBuf::from(address.strip_prefix("unix://").unwrap_or(address));
        let transport = Transport::new(&path);
        Self { address: format!("unix://{}", path.display()), call, transport, peer: ArcSwapOption::empty() }
    }

    /// The address as `DOCKER_HOST` takes it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The time-out of an ordinary call.
    pub fn call_timeout(&self) -> Duration {
        self.call
    }

    /// The engine and the API version to speak, agreed on first if need be.
    pub async fn peer(&self) -> Result<Arc<Peer>, Error> {
        if let Some(peer) = self.peer.load_full() {
            return Ok(peer);
        }
        let limit = HELLO.min(self.call);
        let peer = match tokio::time::timeout(limit, self.agree()).await {
            Ok(peer) => Arc::new(peer?),
            Err(late) => return Err(failure::unreachable(&self.address, limit, late)),
        };
        self.peer.store(Some(Arc::clone(&peer)));
        Ok(peer)
    }

    /// Finds out within seconds whether the engine answers at all.
    pub async fn hello(&self) -> Result<(), Error> {
        let limit = HELLO.min(self.call);
        self.call_within(limit, failure::Subject::ENGINE, |api| async move { api.ping().await }).await?;
        Ok(())
    }

    async fn agree(&self) -> Result<Peer, Error> {
        let response = self.transport.send(request(Method::GET, "/version".to_owned(), None)).await;
        let response = response.map_err(|error| self.translate(failure::Subject::ENGINE, error))?;
        let response = self.accept(failure::Subject::ENGINE, response).await?;
        let body = response.into_body().collect().await.map_err(failure::garbled)?.to_bytes();
        let about: bollard::models::SystemVersion =
            serde_json::from_slice(&body).map_err(failure::garbled)?;
        let theirs_max = about.api_version.unwrap_or_default();
        let theirs_min = about.min_api_version.unwrap_or_default();
        let (major, minor) = version::agree(&theirs_min, &theirs_max)?;
        let client_version =
            ClientVersion { major_version: usize::from(major), minor_version: usize::from(minor) };
        let transport = self.transport.clone();
        // The vendor's own time-out covers the answer's head only; ours in `call` covers all of it.
        let api = bollard::Docker::connect_with_custom_transport(
            move |request: BollardRequest| transport.request(versioned(request, major, minor)),
            Some("http://engine"),
            24 * 60 * 60,
            &client_version,
        )
        .map_err(|error| self.translate(failure::Subject::ENGINE, error))?;
        let version = about.version.unwrap_or_default();
        Ok(Peer { api, version, api_version: format!("{major}.{minor}") })
    }

    /// Makes a call about `subject` within the ordinary time-out.
    pub async fn call<T, F, R>(&self, subject: failure::Subject<'_>, call: F) -> Result<T, Error>
    where
        F: FnOnce(bollard::Docker) -> R,
        R: Future<Output = Result<T, bollard::errors::Error>>,
    {
        self.call_within(self.call, subject, call).await
    }

    /// Makes a call about `subject` that may take up to `limit`.
    pub async fn call_within<T, F, R>(
        &self,
        limit: Duration,
        subject: failure::Subject<'_>,
        call: F,
    ) -> Result<T, Error>
    where
        F: FnOnce(bollard::Docker) -> R,
        R: Future<Output = Result<T, bollard::errors::Error>>,
    {
        subject.check()?;
        let peer = self.peer().await?;
        match tokio::time::timeout(limit, call(peer.api.clone())).await {
            Ok(answer) => answer.map_err(|error| self.translate(subject, error)),
            Err(late) => Err(self.lost(failure::unreachable(&self.address, limit, late))),
        }
    }

    /// Opens a stream: sends a request and returns once the answer's head is there. `path` begins after the version.
    pub async fn open(
        &self,
        subject: failure::Subject<'_>,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<Response<Incoming>, Error> {
        subject.check()?;
        let peer = self.peer().await?;
        let request = request(method, format!("/v{}{path}", peer.api_version), body);
        let answered = tokio::time::timeout(self.call, async {
            let response = self.transport.send(request).await;
            let response = response.map_err(|error| self.translate(subject, error))?;
            self.accept(subject, response).await
        });
        match answered.await {
            Ok(response) => response,
            Err(late) => Err(self.lost(failure::unreachable(&self.address, self.call, late))),
        }
    }

    /// Turns an answer that is a refusal into its error.
    async fn accept(
        &self,
        subject: failure::Subject<'_>,
        response: Response<Incoming>,
    ) -> Result<Response<Incoming>, Error> {
        let status = response.status();
        if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        let body = response.into_body().collect().await.map_err(failure::garbled)?.to_bytes();
        Err(failure::refusal(subject, status.as_u16(), &failure::message(&body)))
    }

    fn translate(&self, subject: failure::Subject<'_>, error: bollard::errors::Error) -> Error {
        self.lost(failure::translate(&self.address, self.call, subject, error))
    }

    /// Forgets the agreed version when the engine is gone or has changed.
    fn lost(&self, error: Error) -> Error {
        let changed = match &error {
            Error::Unreachable { .. } => true,
            Error::Refused { message } => message.contains("client version"),
            _ => false,
        };
        if changed {
            self.peer.store(None);
        }
        error
    }
}

/// The vendor's client leaves the version out of its addresses, and the engine would answer in its newest.
fn versioned(mut request: BollardRequest, major: u16, minor: u16) -> BollardRequest {
    let path = request.uri().path_and_query().map_or("/", hyper::http::uri::PathAndQuery::as_str);
    if let Ok(uri) = format!("http://engine/v{major}.{minor}{path}").parse() {
        *request.uri_mut() = uri;
    }
    request
}

fn request(method: Method, path: String, body: Option<String>) -> BollardRequest {
    let upgrade = path.starts_with("/v") && path.ends_with("/start");
    let mut builder = Request::builder().method(method).uri(format!("http://engine{path}"));
    if body.is_some() {
        builder = builder.header("content-type", "application/json");
    }
    if upgrade {
        builder = builder.header("connection", "Upgrade").header("upgrade", "tcp");
    }
    builder
        .body(Either::Left(Full::new(Bytes::from(body.unwrap_or_default()))))
        .expect("names are checked and queries encoded, so the address is one")
}

/// Sends requests, each over a connection of its own.
#[derive(Clone)]
struct Transport {
    documents: Client<Connector, Body>,
    streams: Client<Connector, Body>,
}

impl Transport {
    fn new(path: &Path) -> Self {
        let client = |limit| {
            Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(0)
                .build(Connector { path: path.into(), limit })
        };
        Self { documents: client(ANSWER_BYTES_MAX), streams: client(usize::MAX) }
    }

    fn request(
        &self,
        request: BollardRequest,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Incoming>, bollard::errors::Error>> + Send>> {
        let transport = self.clone();
        Box::pin(async move { transport.send(request).await })
    }

    async fn send(&self, request: BollardRequest) -> Result<Response<Incoming>, bollard::errors::Error> {
        let endless = STREAMS.iter().any(|stream| request.uri().path().ends_with(stream));
        let client = if endless { &self.streams } else { &self.documents };
        Ok(client.request(request).await?)
    }
}

#[derive(Clone)]
struct Connector {
    path: Arc<Path>,
    limit: usize,
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Bounded>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { path, limit } = self.clone();
        Box::pin(async move {
            let stream = UnixStream::connect(&path).await?;
            Ok(TokioIo::new(Bounded { stream, left: limit }))
        })
    }
}

/// A connection that fails once more than its share has been read from it.
struct Bounded {
    stream: UnixStream,
    left: usize,
}

/// The engine sent more than any answer should be.
#[derive(Debug)]
pub struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the answer is longer than {} MiB", ANSWER_BYTES_MAX >> 20)
    }
}

impl std::error::Error for TooLong {}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let read = buffer.filled().len() - before;
        match self.left.checked_sub(read) {
            Some(left) => self.left = if self.left == usize::MAX { usize::MAX } else { left },
            None => return Poll::Ready(Err(std::io::Error::other(TooLong))),
        }
        polled
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Connection for Bounded {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
