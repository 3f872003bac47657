//! Speaks to the node over its local socket: one connection per request, JSON both ways.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use hyper::Request;
use hyper::Response;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::AsciiSet;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use crate::api::problem;
use crate::api::wire;
use crate::base::fault::Kind;
use crate::base::tasks::TaskGroup;

/// For a request that is answered at once.
const ANSWER_TIME: Duration = Duration::from_secs(30);

const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// One path segment or query value, whatever is in it.
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// The node behind a socket.
pub struct Client {
    socket: PathBuf,
    connections: TaskGroup,
}

impl Client {
    /// Nothing is opened before the first request.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket, connections: TaskGroup::new("client", &CancellationToken::new()) }
    }

    /// GET with a JSON answer.
    pub async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, Failure> {
        self.call("GET", path, None::<&()>, ANSWER_TIME).await
    }

    /// Any method with a JSON answer.
    pub async fn call<T: DeserializeOwned>(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&impl Serialize>,
        time: Duration,
    ) -> Result<T, Failure> {
        let bytes = self.bytes(method, path, body, time).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Failure::new(Kind::Internal, format!("the node's answer is not what this command knows: {error}"))
                .hint("the node and this command are of different versions: use the node's own")
        })
    }

    /// Any method with an answer of any kind.
    pub async fn bytes(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&impl Serialize>,
        time: Duration,
    ) -> Result<Bytes, Failure> {
        let work = async {
            let response = self.send(method, path, "application/json", body).await?;
            let body = response.into_body().collect().await.map_err(|error| self.lost(&error))?;
            Ok(body.to_bytes())
        };
        tokio::time::timeout(time, work).await.unwrap_or_else(|_elapsed| {
            Err(Failure::new(
                Kind::Unavailable,
                format!("the node did not answer within {}s", time.as_secs()),
            )
            .hint("see the node's log, or `nexus doctor --offline`"))
        })
    }

    /// Any method with an answer that keeps coming.
    pub async fn stream(
        &mut self,
        method: &str,
        path: &str,
        accept: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Incoming, Failure> {
        Ok(self.send(method, path, accept, body).await?.into_body())
    }

    /// A connection that ended in the middle of an answer.
    pub fn lost(&self, error: &hyper::Error) -> Failure {
        Failure::new(Kind::Unavailable, format!("the node went away while it was answering: {error}"))
    }

    async fn send(
        &mut self,
        method: &str,
        path: &str,
        accept: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Response<Incoming>, Failure> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.unreachable(&error))?;
        let (mut sender, connection) = http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(|error| self.lost(&error))?;
        self.connections.spawn("connection", async move {
            // Its end is seen by whoever reads the answer.
            let _ended = connection.await;
        });
        let mut request =
            Request::builder().method(method).uri(path).header("host", "nexus").header("accept", accept);
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let bytes =
            body.map(|body| serde_json::to_vec(body).expect("wire types become JSON")).unwrap_or_default();
        let request = request
            .body(Full::new(Bytes::from(bytes)))
            .map_err(|error| Failure::new(Kind::Invalid, format!("that cannot be asked for: {error}")))?;
        let response = sender.send_request(request).await.map_err(|error| self.lost(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map_err(|error| self.lost(&error))?.to_bytes();
        Err(refused(status, &body))
    }

    fn unreachable(&self, error: &std::io::Error) -> Failure {
        let socket = self.socket.display();
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                Failure::new(Kind::Denied, format!("the node's socket {socket} is not yours to use"))
                    .hint("run the command as the user the node runs as, for instance with sudo")
            }
            _ => Failure::new(Kind::Unavailable, format!("no node answers at {socket}: {error}")).hint(
                "start it, set `NEXUS_HOME` or `--socket` to where it lives, or see `nexus doctor --offline`",
            ),
        }
    }
}

fn refused(status: u16, body: &[u8]) -> Failure {
    let kind = problem::kind_of(status);
    match serde_json::from_slice::<wire::Failure>(body) {
        Ok(failure) => {
            let message = if kind == Kind::Internal {
                format!("{} (request {})", failure.error.message, failure.error.request_id)
            } else {
                failure.error.message
            };
            let known = Failure::new(kind, message);
            match failure.error.hint {
                Some(hint) => known.hint(hint),
                None => known,
            }
        }
        Err(_) => Failure::new(kind, format!("the node answered with status {status}")),
    }
}
