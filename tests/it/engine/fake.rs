//! A small server on a unix socket that answers as it is told, well or badly.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use nexus::base::tasks::TaskGroup;
use nexus::engine::docker;
use nexus::engine::docker::Docker;
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

/// Long enough for a busy machine, short enough for a test.
const TIMEOUT: Duration = Duration::from_millis(700);

/// What is sent back on one request.
pub enum Answer {
    /// A status and a body.
    Says(u16, String),
    /// These bytes, then the end.
    Raw(&'static [u8]),
    /// What the real engine says.
    Relays,
    /// These bytes, then silence.
    Stalls(&'static [u8]),
    /// A head, and spaces without end.
    Floods,
}

/// Answers by method and path: `GET /version`.
pub type Script = Arc<dyn Fn(&str) -> Answer + Send + Sync>;

/// A running fake.
pub struct Fake {
    directory: TempDir,
    asked: Arc<Mutex<Vec<String>>>,
    tasks: Option<TaskGroup>,
}

impl Fake {
    /// A directory for a socket, and nobody at it yet.
    pub fn absent() -> Self {
        Self { directory: TempDir::new().unwrap(), asked: Arc::default(), tasks: None }
    }

    /// A fake that follows a script.
    pub fn new(script: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        let mut fake = Self::absent();
        fake.begin(script);
        fake
    }

    /// A fake that speaks this range of API versions, and says 200 and this body to all else.
    pub fn speaking(min: &str, max: &str, body: &'static str) -> Self {
        let version = version(min, max);
        Self::new(move |asked| match asked {
            "GET /version" => Answer::Says(200, version.clone()),
            _ => Answer::Says(200, body.to_owned()),
        })
    }

    pub fn begin(&mut self, script: impl Fn(&str) -> Answer + Send + Sync + 'static) {
        let listener = UnixListener::bind(self.path()).unwrap();
        let (script, asked): (Script, _) = (Arc::new(script), Arc::clone(&self.asked));
        let mut tasks = TaskGroup::new("fake", &CancellationToken::new());
        tasks.spawn("accept", async move {
            let mut connections = TaskGroup::new("fake", &CancellationToken::new());
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn("answer", answer(stream, Arc::clone(&script), Arc::clone(&asked)));
            }
        });
        self.tasks = Some(tasks);
    }

    /// Goes away, connections and all.
    pub fn end(&mut self) {
        self.tasks = None;
        std::fs::remove_file(self.path()).unwrap();
    }

    /// A client of this fake.
    pub fn engine(&self) -> Docker {
        self.patient_engine(TIMEOUT)
    }

    /// A client of this fake that waits longer.
    pub fn patient_engine(&self, call_timeout: Duration) -> Docker {
        Docker::new(&docker::Settings {
            socket: format!("unix://{}", self.path().display()),
            compose_home: self.directory.path().join("compose"),
            call_timeout,
        })
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("engine.sock")
    }
}

/// The body of an answer to `/version`.
pub fn version(min: &str, max: &str) -> String {
    format!(r#"{{"Version":"1.2.3","ApiVersion":"{max}","MinAPIVersion":"{min}"}}"#)
}

async fn answer(mut stream: UnixStream, script: Script, asked: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let line = String::from_utf8_lossy(&head);
    let mut words = line.split([' ', '?']);
    let request = format!("{} {}", words.next().unwrap(), words.next().unwrap());
    asked.lock().unwrap().push(request.clone());
    // The client may have given up by now: that is its right.
    match script(&request) {
        Answer::Says(status, body) => {
            let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await.ok();
        }
        Answer::Raw(bytes) => stream.write_all(bytes).await.unwrap_or_default(),
        Answer::Relays => {
            let mut engine = UnixStream::connect("/var/run/docker.sock").await.unwrap();
            engine.write_all(&head).await.unwrap();
            tokio::io::copy_bidirectional(&mut stream, &mut engine).await.ok();
        }
        Answer::Stalls(bytes) => {
            stream.write_all(bytes).await.ok();
            std::future::pending().await
        }
        Answer::Floods => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n").await.ok();
            while stream.write_all(&[b' '; 1 << 16]).await.is_ok() {}
        }
    }
}
