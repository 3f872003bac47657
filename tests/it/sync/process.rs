//! Both ends as processes of their own, so that the kernel can stop, kill and limit each by itself: the real agent, and
//! the node's side of a session in this very program, started once more.

use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::ChildStdin;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use nexus::base::tasks::TaskGroup;
use nexus::engine::Engine;
use nexus::engine::docker;
use nexus::engine::docker::Docker;
use nexus::engine::memory::Program;
use nexus::sync;
use rustix::process::Pid;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::faults::Plan;
use super::faults::to_socket;
use super::near::engine_with;

/// Says to this program that it is to be a host, and of what: the session's home and the agent, apart by a line's end.
const HOST: &str = "NEXUS_TEST_HOST";
/// What a host says begins with this; everything else is the test runner's.
const SAYS: &str = "HOST ";

/// Which agent a host speaks to.
#[derive(Debug, Clone)]
pub(super) enum With {
    Socket(String),
    Container(String),
}

/// The node's side of a session, in a process of its own. Its home is as that of [`Near`](super::near::Near).
pub(super) struct Host {
    child: Child,
    words: ChildStdin,
    said: mpsc::Receiver<String>,
}

impl Host {
    /// Starts one. `before` are the words of a command that ends by running what follows it.
    pub(super) fn start(before: &[&str], home: &Path, with: &With) -> Self {
        let with = match with {
            With::Socket(name) => format!("socket\n{name}"),
            With::Container(name) => format!("container\n{name}"),
        };
        let own = std::env::current_exe().unwrap();
        let test = ["--exact", "sync::process::the_host_of_another_test", "--nocapture"];
        let mut words = before.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        words.push(own.to_str().unwrap().to_owned());
        words.extend(test.map(str::to_owned));
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .env(HOST, format!("{}\n{with}", home.to_str().unwrap()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (say, said) = mpsc::channel(1_000);
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let Some(line) = line.split_once(SAYS).map(|(_, said)| said.to_owned()) else { continue };
                if say.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        Self { words: child.stdin.take().unwrap(), child, said }
    }

    pub(super) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Ends it as the kernel does, with nothing said or written any more.
    pub(super) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks for something and waits for the answer.
    pub(super) async fn ask(&mut self, word: &str, within: Duration) -> String {
        writeln!(self.words, "{word}").unwrap();
        let answer = tokio::time::timeout(within, self.said.recv()).await;
        answer.unwrap_or_else(|_| panic!("`{word}` is not answered within {within:?}")).unwrap()
    }

    pub(super) async fn flush(&mut self, within: Duration) {
        assert_eq!(self.ask("flush", within).await, "flushed");
    }

    /// Waits until its status says something.
    pub(super) async fn until(&mut self, what: &str, within: Duration) -> String {
        let started = Instant::now();
        loop {
            let status = self.ask("status", within).await;
            if status.contains(what) {
                return status;
            }
            assert!(started.elapsed() < within, "`{what}` did not come: {status}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// No test by itself: it is what [`Host::start`] runs, and has nothing to do when nobody asked for it.
#[tokio::test]
async fn the_host_of_another_test() {
    let Ok(asked) = std::env::var(HOST) else { return };
    let [home, kind, agent] = asked.splitn(3, '\n').collect::<Vec<_>>()[..] else { panic!("{asked}") };
    let home = PathBuf::from(home);
    let (engine, container): (Arc<dyn Engine>, _) = if kind == "container" {
        let settings = docker::Settings {
            socket: "unix:///var/run/docker.sock".to_owned(),
            compose_home: home.join(".compose"),
            call_timeout: docker::Settings::CALL_TIMEOUT,
        };
        (Arc::new(Docker::new(&settings)), agent.to_owned())
    } else {
        (engine_with(&home, to_socket(agent.to_owned(), Plan::default())).await, "app".to_owned())
    };
    let mut tasks = TaskGroup::new("host", &CancellationToken::new());
    let spec = sync::SessionSpec {
        name: "host".to_owned(),
        container,
        root: home.join("src"),
        staging: home.join("stage"),
        state: home.join("state"),
        settings: sync::Settings::default(),
    };
    let handle = sync::spawn(spec, engine, &mut tasks);
    let (word, mut words) = mpsc::channel(10);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if word.blocking_send(line).is_err() {
                return;
            }
        }
    });
    while let Some(word) = words.recv().await {
        let answer = match word.as_str() {
            "flush" => {
                handle.wishes.flush().await.unwrap();
                "flushed".to_owned()
            }
            "status" => {
                let status = handle.status.borrow().clone();
                let told = (&status.link, &status.error, &status.halted, &status.warnings, &status.skipped);
                format!("{told:?}").replace('\n', " ")
            }
            other => panic!("`{other}` is no word for a host"),
        };
        println!("{SAYS}{answer}");
    }
}

/// The real agent's init, in a process of its own and outside of any container.
pub(super) struct Agent {
    pub(super) home: TempDir,
    pub(super) socket: String,
    child: Child,
}

impl Agent {
    pub(super) fn start(name: &str) -> Self {
        let home = TempDir::new().unwrap();
        for directory in ["workspace", "state"] {
            fs::create_dir(home.path().join(directory)).unwrap();
        }
        let socket = format!("nexus-test-{}-{name}", std::process::id());
        let at = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
        let (folder, state) = (at("workspace"), at("state"));
        let words = ["init", "--await-sync", "--serves", "process", "--socket", &socket, "--folder", &folder];
        let more = ["--root", &folder, "--state", &state, "--", "sleep", "100000"];
        let mut command = Command::new(crate::agent::binary());
        let child = command.args(words).args(more).stderr(Stdio::null()).spawn().unwrap();
        Self { home, socket, child }
    }

    pub(super) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.home.path().join("workspace").join(name)
    }

    pub(super) fn program(&self) -> Program {
        to_socket(self.socket.clone(), Plan::default())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
