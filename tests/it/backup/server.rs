//! A real S3 server on loopback for one test, and restic as people have it.

use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use tempfile::TempDir;

use crate::appliance::harness::free_port;

/// How long a server may take to answer.
const START: Duration = Duration::from_secs(20);
/// The oldest restic that counts as the newer one.
const NEWER: (u32, u32) = (0, 18);

/// Of the form Garage wants: GK and 24 digits.
pub const KEY: &str = "GK0123456789abcdef01234567";
/// And 64 digits.
pub const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// The bucket every server has.
pub const BUCKET: &str = "backups";

/// An S3 server with one empty bucket. It ends with the test.
pub struct Server {
    child: Child,
    port: u16,
    directory: TempDir,
}

impl Server {
    pub fn start() -> Self {
        Self::start_as(KEY, SECRET, BUCKET, free_port())
    }

    pub fn start_as(key: &str, secret: &str, bucket: &str, port: u16) -> Self {
        let directory = TempDir::new().unwrap();
        std::fs::create_dir(directory.path().join(bucket)).unwrap();
        let child = Command::new("s3s-fs")
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .args(["--access-key", key, "--secret-key", secret])
            .arg(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("s3s-fs is installed: scripts/backup-peers does it");
        let server = Self { child, port, directory };
        let until = Instant::now() + START;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "the S3 server never answered");
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Where the server keeps the objects of its bucket.
    pub fn objects(&self) -> PathBuf {
        self.directory.path().join(BUCKET)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGKILL to a process this test started; waiting reaps it.
        self.child.kill().and_then(|()| self.child.wait()).ok();
    }
}

/// One restic, on a repository.
pub struct Restic {
    program: PathBuf,
    repository: String,
    password: String,
    region: &'static str,
}

impl Restic {
    /// The system's own, and a newer one where that is old.
    pub fn all(repository: &str, password: &str) -> Vec<Self> {
        let with = |program: &Path| Self {
            program: program.to_owned(),
            repository: repository.to_owned(),
            password: password.to_owned(),
            region: "us-east-1",
        };
        let newer = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/restic");
        let all: Vec<Self> =
            [Path::new("restic"), &newer].into_iter().map(with).filter(Self::is_there).collect();
        let newest = all.iter().map(Self::version).max();
        assert!(newest >= Some(NEWER), "restic {NEWER:?} is missing: scripts/backup-peers fetches it");
        all
    }

    /// The same at a server of this region.
    pub fn of_region(self, region: &'static str) -> Self {
        Self { region, ..self }
    }

    fn is_there(&self) -> bool {
        Command::new(&self.program).arg("version").output().is_ok()
    }

    fn version(&self) -> (u32, u32) {
        let output = Command::new(&self.program).arg("version").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let mut numbers =
            text.split_whitespace().nth(1).unwrap().split('.').map(|part| part.parse().unwrap());
        (numbers.next().unwrap(), numbers.next().unwrap())
    }

    /// Runs it and returns what it printed; it has to succeed.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs it and returns what it complained of; it must not succeed.
    pub fn refused(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn output(&self, arguments: &[&str]) -> std::process::Output {
        Command::new(&self.program)
            .args(["--no-cache", "--repo", &self.repository])
            .args(["--option", &format!("s3.region={}", self.region)])
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("RESTIC_PASSWORD", &self.password)
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .output()
            .expect("restic is installed: scripts/backup-peers does it")
    }
}
