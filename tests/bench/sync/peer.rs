//! The two ends of those measured beside us: a container with a volume, and a program on the host.

use std::fs::File;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Pid;
use rustix::process::Signal;
use tokio::net::TcpStream;

use super::super::harness::SOON;
use super::super::harness::docker;
use super::super::process::family;

/// Where a peer's container has its copy.
pub const DATA: &str = "/data";

/// A container with a volume at [`DATA`] and the host's programs, so that both ends are of the same version.
pub struct Container {
    name: String,
}

impl Container {
    pub fn start(kind: &str, options: &[&str], command: &[&str]) -> Self {
        let container = Self::prepare(kind);
        container.run(options, command);
        container
    }

    /// Makes the volume alone.
    pub fn prepare(kind: &str) -> Self {
        let name = format!("nexus-bench-{kind}-{}", std::process::id());
        assert!(!docker(&["volume", "create", &name]).is_empty(), "the volume of {kind} is made");
        Self { name }
    }

    pub fn run(&self, options: &[&str], command: &[&str]) {
        let volume = format!("{}:{DATA}", self.name);
        let run = ["run", "--detach", "--name", &self.name, "--volume", &volume, "--volume", "/usr:/usr:ro"];
        let words = [&run, options, &["debian:trixie-slim"], command].concat();
        assert!(!docker(&words).is_empty(), "the container {} starts", self.name);
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The volume, where the engine keeps it.
    pub fn copy(&self) -> PathBuf {
        volume_path(&self.name)
    }

    pub fn address(&self) -> IpAddr {
        let template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let address = docker(&["inspect", "--format", template, &self.name]);
        address.trim().parse().expect("the container has an address")
    }

    /// Waits until its server takes connections.
    pub async fn wait_for(&self, port: u16) -> SocketAddr {
        let address = SocketAddr::new(self.address(), port);
        let began = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            let log = || docker(&["logs", &self.name]);
            assert!(began.elapsed() < SOON, "{} never answered: {}", self.name, log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        address
    }

    pub fn processes(&self) -> Vec<u32> {
        processes_of(&self.name)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        docker(&["rm", "--force", &self.name]);
        docker(&["volume", "rm", &self.name]);
    }
}

/// Where the engine keeps a volume.
pub fn volume_path(name: &str) -> PathBuf {
    let root = docker(&["info", "--format", "{{.DockerRootDir}}"]);
    Path::new(root.trim()).join("volumes").join(name).join("_data")
}

/// The processes in a container, by the host's numbers.
pub fn processes_of(container: &str) -> Vec<u32> {
    let listed = docker(&["top", container, "-eo", "pid"]);
    listed.lines().filter_map(|line| line.trim().parse().ok()).collect()
}

/// A program on the host with an environment of its own.
pub struct Program {
    child: Child,
    pub began: Instant,
}

impl Program {
    /// `home` is where it may keep things and where its log goes.
    pub fn start(words: &[&str], home: &Path, environment: &[(&str, &str)]) -> Self {
        let log = File::create(home.join("log")).unwrap();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).current_dir(home).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", home);
        command.envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let began = Instant::now();
        let child = command.process_group(0).spawn().unwrap_or_else(|error| panic!("{}: {error}", words[0]));
        Self { child, began }
    }

    pub fn processes(&self) -> Vec<u32> {
        family(self.child.id())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        for pid in self.processes() {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                // Its own children and their children, as they are now: one that has just ended is no failure.
                rustix::process::kill_process(pid, Signal::KILL).ok();
            }
        }
        self.child.wait().ok();
    }
}
