//! Those measured beside us: restic, the system's own and Debian 13's, and rclone, as it comes and tuned.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use super::super::process::megabytes;
use super::server;

/// What a step took.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    pub seconds: f64,
    /// The most memory it had.
    pub megabytes: f64,
}

/// Runs a program to its end.
#[expect(clippy::disallowed_methods, reason = "it is looked at until it ends")]
fn measure(command: &mut Command) -> Cost {
    let began = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let mut most = 0.0_f64;
    let status = loop {
        most = most.max(megabytes(child.id(), "status", "VmHWM:").unwrap_or(0.0));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let seconds = began.elapsed().as_secs_f64();
    assert!(status.success(), "{command:?}: {status}");
    Cost { seconds, megabytes: most }
}

/// The programs there are, the older first.
pub fn restics() -> Vec<PathBuf> {
    let newer = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/restic");
    let all = [PathBuf::from("/usr/bin/restic"), newer];
    all.into_iter().filter(|program| program.exists()).collect()
}

pub struct Restic {
    program: PathBuf,
    home: PathBuf,
    port: u16,
}

impl Restic {
    pub fn new(program: PathBuf, memory: &Path, port: u16) -> Self {
        let home = memory.join(format!("restic-{}", version(&program)));
        Self { program, home, port }
    }

    pub fn version(&self) -> String {
        version(&self.program)
    }

    /// Where its objects lie.
    pub fn bucket(&self) -> String {
        format!("restic-{}", self.version())
    }

    pub fn begin(&self) {
        server::empty(&self.bucket());
        fs::remove_dir_all(&self.home).ok();
    }

    fn command(&self, words: &[&str]) -> Command {
        let repository = format!("s3:http://127.0.0.1:{}/{}/there", self.port, self.bucket());
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("AWS_ACCESS_KEY_ID", server::KEY)
            .env("AWS_SECRET_ACCESS_KEY", server::SECRET)
            .env("RESTIC_PASSWORD", "bench")
            .env("RESTIC_CACHE_DIR", &self.home)
            .args(["--quiet", "--option", "s3.region=us-east-1", "--repo", &repository])
            .args(words);
        command
    }

    /// With making the repository when it is the first run, as ours.
    pub fn back_up(&self, tree: &Path, first: bool) -> Cost {
        let init = first.then(|| measure(&mut self.command(&["init"])));
        let cost = measure(self.command(&["backup"]).arg(tree));
        Cost { seconds: cost.seconds + init.map_or(0.0, |init| init.seconds), ..cost }
    }

    pub fn restore(&self, to: &Path, one: Option<&Path>) -> Cost {
        let mut command = self.command(&["restore", "latest", "--target"]);
        command.arg(to);
        if let Some(one) = one {
            command.arg("--include").arg(one);
        }
        measure(&mut command)
    }
}

fn version(program: &Path) -> String {
    let output = Command::new(program).arg("version").output().unwrap();
    String::from_utf8_lossy(&output.stdout).split_whitespace().nth(1).unwrap().to_owned()
}

pub struct Rclone {
    tuned: bool,
    port: u16,
}

impl Rclone {
    pub fn new(tuned: bool, port: u16) -> Self {
        Self { tuned, port }
    }

    pub fn begin(&self) {
        server::empty(self.bucket());
    }

    fn bucket(&self) -> &'static str {
        if self.tuned { "rclone-tuned" } else { "rclone" }
    }

    /// The whole bucket: whether a folder in one is an object is asked first, and this server answers that with 500.
    fn there(&self) -> String {
        format!(":s3:{}", self.bucket())
    }

    fn command(&self, words: &[&str]) -> Command {
        let endpoint = format!("http://127.0.0.1:{}", self.port);
        let mut command = Command::new("rclone");
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("AWS_ACCESS_KEY_ID", server::KEY)
            .env("AWS_SECRET_ACCESS_KEY", server::SECRET)
            .args(["--config", "/dev/null", "--quiet", "--s3-provider", "Other", "--s3-env-auth"])
            .args(["--s3-endpoint", &endpoint, "--s3-region", "us-east-1", "--s3-no-check-bucket"])
            // The older way to list has no end on this server.
            .args(["--s3-list-version", "2"])
            .args(words);
        if self.tuned {
            command.args(["--transfers", "32", "--checkers", "32", "--update", "--use-server-modtime"]);
        }
        command
    }

    pub fn sync(&self, tree: &Path) -> Cost {
        measure(self.command(&["sync"]).arg(tree).arg(self.there()))
    }
}
