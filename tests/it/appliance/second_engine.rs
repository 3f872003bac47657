//! An engine of the test's own, to be killed: the machine's is never touched.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use tempfile::TempDir;

use super::harness::docker_at;

/// What it runs workspaces on.
const IMAGE: &str = concat!("nexus/runtime-static:", env!("CARGO_PKG_VERSION"));

/// The engine that `scripts/engine` sets up is beside the system.
const PATH: &str = "/opt/docker-engine/usr/sbin:/opt/docker-engine/usr/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A second `dockerd` with a network of its own, a data root of its own and a socket of its own.
pub struct SecondEngine {
    directory: TempDir,
    child: Option<Child>,
}

impl SecondEngine {
    /// Starts one that has the image for static sites.
    pub fn start() -> Self {
        // Short: a socket's path may be 107 bytes long.
        let directory = tempfile::Builder::new().prefix("nexus-engine-").tempdir().unwrap();
        let mut engine = Self { directory, child: None };
        engine.spawn();
        let image = engine.directory.path().join("image.tar");
        let image = image.to_str().unwrap();
        docker_at(None, &["save", "--output", image, IMAGE]);
        let loaded = docker_at(Some(&engine.address()), &["load", "--input", image]);
        assert!(loaded.contains(IMAGE), "{loaded}\n{}", engine.log());
        engine
    }

    pub fn address(&self) -> String {
        format!("unix://{}", self.place("sock").display())
    }

    fn place(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.place("log")).unwrap_or_default()
    }

    /// Starts the engine and waits until it answers.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let log = fs::File::options().create(true).append(true).open(self.place("log")).unwrap();
        // A killed engine leaves its pid there, and another process may have that number by now.
        fs::remove_file(self.place("pid")).ok();
        // In a network of its own, so that its bridges and rules meet nobody's; its mounts go with it, too.
        let mut command = Command::new("unshare");
        command
            .env("PATH", PATH)
            .args(["--net", "--mount", "dockerd", "--host", &self.address(), "--bip", "172.31.250.1/24"])
            .args(["--data-root", self.place("data").to_str().unwrap()])
            .args(["--exec-root", self.place("exec").to_str().unwrap()])
            .args(["--pidfile", self.place("pid").to_str().unwrap()])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0);
        self.child = Some(command.spawn().unwrap());
        let until = Instant::now() + Duration::from_secs(30);
        let address = self.address();
        while docker_at(Some(&address), &["version", "--format", "{{.Server.Version}}"]).trim().is_empty() {
            assert!(Instant::now() < until, "the second engine never answered:\n{}", self.log());
            pause();
        }
    }

    /// Ends the engine as a power cut would; what it started (containerd, containers) goes with its group.
    pub fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let group = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
        child.wait().unwrap();
    }
}

impl SecondEngine {
    /// Brings the engine, which must not run, to where it is when it is killed between making a volume's directory and
    /// noting whose it is.
    pub fn begin_volume(&self, volume: &str) {
        assert!(self.child.is_none(), "it would not look");
        fs::create_dir_all(self.place("data/volumes").join(volume).join("_data")).unwrap();
    }

    /// Brings the engine, which must not run, to where it is when it is killed between starting a container and noting
    /// that it runs.
    pub fn forget(&self, container: &str) {
        assert!(self.child.is_none(), "it would write its own version over ours");
        let note = self.place("data/containers").join(container).join("config.v2.json");
        let mut noted: serde_json::Value = serde_json::from_slice(&fs::read(&note).unwrap()).unwrap();
        let state = &mut noted["State"];
        assert_eq!((&state["Running"], state["Pid"].is_u64()), (&true.into(), true), "{state}");
        state["Running"] = false.into();
        state["Pid"] = 0.into();
        fs::write(&note, noted.to_string()).unwrap();
    }
}

impl Drop for SecondEngine {
    /// Ends it in order, so that its containers end with it.
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until && matches!(child.try_wait(), Ok(None)) {
            pause();
        }
        child.kill().and_then(|()| child.wait()).ok();
    }
}

#[expect(clippy::disallowed_methods, reason = "it stands between two looks, each wait has a deadline")]
fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}
