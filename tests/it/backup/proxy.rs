//! Stands between a client and the S3 server, and answers in its place what servers answer on bad days.
//!
//! It passes on what no fault is for. One thing it mends: the server takes an empty `delimiter` for one that is in every key,
//! S3 takes it for none. restic sends one with each list, so those are signed anew without it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use http_body_util::StreamBody;
use http_body_util::combinators::BoxBody;
use hyper::Method;
use hyper::Request;
use hyper::Response;
use hyper::Uri;
use hyper::body::Frame;
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use jiff::SignedDuration;
use jiff::fmt::rfc2822::DateTimePrinter;
use nexus::base::clock;
use object_store::aws::AwsAuthorizer;
use object_store::aws::AwsCredential;
use object_store::client::HttpRequestBody;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::server::KEY;
use super::server::SECRET;
use super::server::Server;

/// What happens instead of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This status and this code, and nothing reaches the server.
    Answer(u16, &'static str),
    /// The connection ends before anything reaches the server.
    Reset,
    /// The connection ends in the middle of the answer.
    HalfAnswer,
    /// No answer at all.
    Stall,
    /// The server stores half of what was sent, and says yes.
    HalfStored,
    /// The server stores nothing, and says yes.
    NotStored,
    /// The answer says that it is so many seconds later.
    OtherClock(i64),
}

/// Which requests it happens to.
#[derive(Debug, Clone, Copy, Default)]
pub enum Which {
    /// All.
    #[default]
    All,
    /// Those that write something whose key has this in it.
    Writing(&'static str),
    /// Lists.
    Lists,
    /// Those that remove something.
    Removing,
    /// One in so many.
    OneIn(usize),
}

/// Ends with the test.
pub struct Proxy {
    address: SocketAddr,
    way: Arc<Way>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// A proxy in front of the server.
    pub async fn before(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let way = Arc::new(Way {
            port: server.port(),
            objects: server.objects(),
            client: Client::builder(TokioExecutor::new()).build_http(),
            faults: Mutex::default(),
            requests: AtomicUsize::new(0),
            met: AtomicUsize::new(0),
        });
        let serving = Arc::clone(&way);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let way = Arc::clone(&serving);
                tokio::spawn(async move {
                    let answer = service_fn(move |request| Arc::clone(&way).answer(request));
                    // A connection that ends early is what it is for.
                    let _ended = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), answer)
                        .await;
                });
            }
        });
        Self { address, way, accepting }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on these happen, in turn, to such requests; none makes it a good server again.
    pub fn set(&self, faults: &[Fault], which: Which) {
        *self.way.faults.lock().unwrap() = (faults.to_vec(), which);
        self.way.met.store(0, Ordering::Relaxed);
    }

    /// How many requests met a fault since it was set.
    pub fn met(&self) -> usize {
        self.way.met.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The way to the server.
struct Way {
    port: u16,
    /// Where the server keeps its objects.
    objects: PathBuf,
    client: Client<HttpConnector, Full<Bytes>>,
    faults: Mutex<(Vec<Fault>, Which)>,
    requests: AtomicUsize,
    met: AtomicUsize,
}

type Body = BoxBody<Bytes, std::io::Error>;
type Answer = Result<Response<Body>, std::io::Error>;

impl Way {
    fn answer(self: Arc<Self>, request: Request<Incoming>) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
            match self.fault(&parts) {
                None => self.pass_on(&parts, body).await,
                Some(Fault::Answer(status, code)) => Ok(refusal(&parts, status, code)),
                Some(Fault::Reset) => Err(unwell()),
                Some(Fault::HalfAnswer) => half(&parts, self.pass_on(&parts, body).await?).await,
                Some(Fault::Stall) => std::future::pending().await,
                Some(Fault::NotStored) => {
                    Ok(Response::builder().header("etag", "\"yes\"").body(full(Bytes::new())).unwrap())
                }
                Some(Fault::OtherClock(seconds)) => {
                    let mut answer = self.pass_on(&parts, body).await?;
                    let later = clock::now() + SignedDuration::from_secs(seconds);
                    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&later).unwrap();
                    answer.headers_mut().insert("date", date.parse().unwrap());
                    Ok(answer)
                }
                Some(Fault::HalfStored) => {
                    let answer = self.pass_on(&parts, body).await?;
                    self.halve(&parts);
                    Ok(answer)
                }
            }
        })
    }

    fn fault(&self, parts: &Parts) -> Option<Fault> {
        let request = self.requests.fetch_add(1, Ordering::Relaxed);
        let (faults, which) = &*self.faults.lock().unwrap();
        let meets = match which {
            Which::All => true,
            Which::Writing(part) => parts.method == Method::PUT && parts.uri.path().contains(part),
            Which::Removing => {
                let many =
                    parts.uri.query().is_some_and(|query| query.split('&').any(|part| part == "delete"));
                parts.method == Method::DELETE || many
            }
            Which::Lists => parts.uri.query().is_some_and(|query| query.contains("list-type")),
            Which::OneIn(many) => request.is_multiple_of(*many),
        };
        if !meets || faults.is_empty() {
            return None;
        }
        let met = self.met.fetch_add(1, Ordering::Relaxed);
        Some(faults[met % faults.len()])
    }

    /// Takes half of what was just stored away from it.
    fn halve(&self, parts: &Parts) {
        let key = parts.uri.path().trim_start_matches('/').split_once('/').map_or("", |(_, key)| key);
        let file = std::fs::File::options().write(true).open(self.objects.join(key)).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    }

    async fn pass_on(&self, parts: &Parts, body: Bytes) -> Answer {
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let uri = |path: &str| format!("http://127.0.0.1:{}{path}", self.port).parse::<Uri>().unwrap();
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = parts.method.clone();
        *request.headers_mut() = parts.headers.clone();
        request.headers_mut().remove("expect");
        let (place, query) = path.split_once('?').unwrap_or((path, ""));
        if query.split('&').any(|part| part == "delimiter=") {
            let rest: Vec<&str> = query.split('&').filter(|part| *part != "delimiter=").collect();
            *request.uri_mut() = uri(&format!("{place}?{}", rest.join("&")));
            *request.headers_mut() = signed(request.uri());
        } else {
            *request.uri_mut() = uri(path);
        }
        let answer = self.client.request(request).await.map_err(std::io::Error::other)?;
        Ok(answer.map(|body| body.map_err(std::io::Error::other).boxed()))
    }
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

/// As S3 says no. To the question for an object's size there is no body, as everywhere.
fn refusal(parts: &Parts, status: u16, code: &str) -> Response<Body> {
    let times = if code == "RequestTimeTooSkewed" {
        "<RequestTime>20260101T120000Z</RequestTime><ServerTime>2026-01-01T12:20:00Z</ServerTime>"
    } else {
        ""
    };
    let text = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>The test says so.</Message>{times}</Error>"
    );
    let body = if parts.method == Method::HEAD { Bytes::new() } else { Bytes::from(text) };
    Response::builder().status(status).header("content-type", "application/xml").body(full(body)).unwrap()
}

fn unwell() -> std::io::Error {
    std::io::Error::other("as the test wants it")
}

/// The first half of a body, then the end of the connection; where nobody waits for a body, the end alone.
async fn half(asked: &Parts, answer: Response<Body>) -> Answer {
    if asked.method != Method::GET {
        return Err(unwell());
    }
    let (mut parts, body) = answer.into_parts();
    let bytes = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let first = bytes.slice(..bytes.len() / 2);
    // Promised is one byte more than ever comes.
    parts.headers.insert("content-length", (bytes.len() + 1).into());
    parts.headers.remove("transfer-encoding");
    let pieces = [Ok(Frame::data(first)), Err(unwell())];
    Ok(Response::from_parts(parts, StreamBody::new(futures::stream::iter(pieces)).boxed()))
}

/// The headers of a request for this.
fn signed(uri: &Uri) -> hyper::HeaderMap {
    let credential = AwsCredential { key_id: KEY.to_owned(), secret_key: SECRET.to_owned(), token: None };
    let mut request = Request::new(HttpRequestBody::empty());
    *request.uri_mut() = uri.clone();
    AwsAuthorizer::new(&credential, "s3", "us-east-1").try_authorize(&mut request, None).unwrap();
    request.headers().clone()
}
