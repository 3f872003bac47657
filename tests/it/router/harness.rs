//! A router, upstreams and a raw client for tests.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nexus::router::{Limits, Metrics, Settings, Site, Table, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Long enough for a busy machine, short enough to fail a hanging test.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A router on a port of its own. Dropping it ends it.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    pub(crate) table: watch::Sender<Arc<Table>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) token: CancellationToken,
    tasks: JoinSet<()>,
}

impl Front {
    pub(crate) async fn start(sites: Vec<Site>) -> Self {
        Self::with_limits(sites, Limits::default()).await
    }

    pub(crate) async fn with_limits(sites: Vec<Site>, limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (table, receiver) = watch::channel(Arc::new(compile(sites)));
        let (metrics, token) = (Arc::new(Metrics::default()), CancellationToken::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, receiver, limits, Arc::clone(&metrics), token.clone()));
        Self { address, table, metrics, token, tasks }
    }

    /// Waits until the router has ended by itself.
    pub(crate) async fn ended(&mut self) {
        timeout(DEADLINE, self.tasks.join_next()).await.expect("the router ends in time");
    }

    /// One request over a connection of its own.
    pub(crate) async fn ask(&self, raw: &str) -> Reply {
        ask(self.address, raw).await
    }

    /// `GET path` with more header lines, each ended by CRLF.
    pub(crate) async fn get(&self, path: &str, more: &str) -> Reply {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n")).await
    }
}

pub(crate) fn compile(sites: Vec<Site>) -> Table {
    Table::compile(sites, Settings { base_hosts: vec!["nexus.lan".to_owned()], ..Settings::default() })
}

/// An answer as it came over the wire.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    /// What followed the head, not decoded.
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let mut lines = head.split("\r\n");
        let status =
            lines.next().unwrap().split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let header = |line: &str| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        Self { status, headers: lines.map(header).collect(), body: body.to_owned() }
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }
}

/// Sends bytes and reads until the other side closes. No answer at all is status 0.
pub(crate) async fn ask(address: SocketAddr, raw: &str) -> Reply {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(raw.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is an end too.
    let _end = timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("the connection ends in time");
    Reply::parse(&String::from_utf8_lossy(&answer))
}

/// Reads from a stream until what was read ends with `end`.
pub(crate) async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    let reading = async {
        while !read.ends_with(end.as_bytes()) {
            let Ok(byte) = stream.read_u8().await else { break };
            read.push(byte);
        }
    };
    timeout(DEADLINE, reading).await.unwrap_or_else(|_| panic!("waited for {end:?}"));
    String::from_utf8_lossy(&read).into_owned()
}

/// Something that listens, and ends when dropped.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Upstream {
    /// An application made of axum routes.
    pub(crate) async fn serving(app: axum::Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, _tasks: tasks }
    }

    /// Something that is handed each raw connection.
    pub(crate) async fn raw<F, S>(mut serve: F) -> Self
    where
        F: FnMut(TcpStream) -> S + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream));
            }
        });
        Self { address, _tasks: tasks }
    }

    /// Answers every request with its own head and body as text.
    pub(crate) async fn echo() -> Self {
        Self::serving(axum::Router::new().fallback(echo)).await
    }

    /// Answers each connection's first request with these bytes and closes.
    pub(crate) async fn saying(answer: &'static str) -> Self {
        Self::raw(move |mut stream| async move {
            read_until(&mut stream, "\r\n\r\n").await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await
    }

    pub(crate) fn site(&self, name: &str) -> Site {
        Site::ready(name, self.address)
    }
}

async fn echo(request: axum::extract::Request) -> String {
    let (parts, body) = request.into_parts();
    let mut text = format!("{} {}\n", parts.method, parts.uri);
    for (name, value) in &parts.headers {
        text.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
    }
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    text + "\n" + &String::from_utf8_lossy(&body)
}

/// The request an echo received: its first line and its headers.
pub(crate) fn echoed(reply: &Reply) -> (String, HashMap<String, String>) {
    assert_eq!(reply.status, 200, "{reply:?}");
    let mut lines = reply.body.lines().skip_while(|line| !line.contains(" /"));
    let first = lines.next().unwrap().to_owned();
    let headers = lines.take_while(|line| !line.is_empty()).filter_map(|line| line.split_once(": "));
    (first, headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}
