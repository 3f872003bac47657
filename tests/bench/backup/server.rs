//! The S3 server everybody writes to, each into a bucket of its own, and one in front of it that counts requests.

use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use super::super::harness::SOON;
use super::super::harness::free_port;

pub const KEY: &str = "bench-key";
pub const SECRET: &str = "bench-secret";

/// Where the server keeps what it stores.
static STORED: OnceLock<PathBuf> = OnceLock::new();

/// It ends with the bench.
pub struct Server {
    child: Child,
    port: u16,
}

impl Server {
    #[expect(clippy::disallowed_methods, reason = "it is asked until it answers")]
    pub fn start(memory: &Path) -> Self {
        let root = memory.join("s3");
        std::fs::create_dir_all(&root).unwrap();
        STORED.set(root.clone()).expect("there is one server");
        let port = free_port();
        let child = Command::new("s3s-fs")
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .args(["--access-key", KEY, "--secret-key", SECRET])
            .arg(&root)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("s3s-fs is installed: scripts/backup-peers does it");
        let until = Instant::now() + SOON;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "the S3 server never answered");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { child, port }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Bytes of the objects in a bucket.
    pub fn stored(&self, bucket: &str) -> u64 {
        let output =
            Command::new("du").args(["--bytes", "--summarize"]).arg(objects(bucket)).output().unwrap();
        String::from_utf8_lossy(&output.stdout).split_whitespace().next().unwrap().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGKILL to a process this bench started; waiting reaps it.
        self.child.kill().and_then(|()| self.child.wait()).ok();
    }
}

fn objects(bucket: &str) -> PathBuf {
    STORED.get().expect("the server was started").join(bucket)
}

/// Makes a bucket that is empty. To list one, this server walks through all of it, page by page: what others have
/// written is not to be in anybody's way.
pub fn empty(bucket: &str) {
    std::fs::remove_dir_all(objects(bucket)).ok();
    std::fs::create_dir(objects(bucket)).unwrap();
}

/// Passes everything on and counts requests by their heads.
pub struct Counter {
    port: u16,
    requests: Arc<AtomicU64>,
}

impl Counter {
    pub fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&requests);
        // Both ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counted = Arc::clone(&counted);
                std::thread::spawn(move || pass(stream, to, &counted));
            }
        });
        Self { port, requests }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }
}

fn pass(mut client: TcpStream, to: u16, requests: &AtomicU64) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", to)) else { return };
    client.set_nodelay(true).and(server.set_nodelay(true)).ok();
    let (mut answers, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    std::thread::spawn(move || std::io::copy(&mut answers, &mut back).ok());
    let (mut head, mut body, mut buffer) = (Vec::new(), 0_usize, [0; 65_536]);
    while let Ok(read @ 1..) = client.read(&mut buffer) {
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            if body > 0 {
                let skip = body.min(rest.len());
                (body, rest) = (body - skip, &rest[skip..]);
                continue;
            }
            head.push(rest[0]);
            rest = &rest[1..];
            if head.ends_with(b"\r\n\r\n") {
                requests.fetch_add(1, Ordering::SeqCst);
                body = length(&head);
                head.clear();
            }
        }
        if server.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
}

fn length(head: &[u8]) -> usize {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let line = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}
