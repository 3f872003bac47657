//! A node of its own for one test: own home, own watched directory, own ports, own label on everything it makes.

use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_body_util::Empty;
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use nexus::store::Store;
use tempfile::TempDir;

/// How long anything may take that needs neither an install nor a build.
pub const SOON: Duration = Duration::from_secs(30);
/// How long an install or a build may take.
pub const LATER: Duration = Duration::from_secs(300);

/// A file system in memory, for as long as it is held.
struct Small(PathBuf);

impl Drop for Small {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(&self.0).status().ok();
    }
}

pub struct TestNode {
    /// Unmounted before the directory around them is removed.
    disks: Vec<Small>,
    directory: TempDir,
    pub child: Option<Child>,
    engine: Option<String>,
    pub web: u16,
    pub control: u16,
    settings: Vec<(String, String)>,
    /// Programs the node is started by, such as one that takes capabilities away.
    wrapper: Vec<String>,
    client: Client<HttpConnector, Empty<Bytes>>,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub location: Option<String>,
    pub body: String,
}

impl TestNode {
    /// Starts a node and waits until it answers.
    pub async fn start() -> Self {
        let mut node = Self::prepare();
        node.spawn();
        node.wait_until_up().await;
        node
    }

    /// A node that has not been started.
    pub fn prepare() -> Self {
        let directory = tempfile::Builder::new().prefix("nexus-test-").tempdir().unwrap();
        fs::create_dir(directory.path().join("projects")).unwrap();
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self {
            disks: vec![],
            directory,
            child: None,
            engine: None,
            web: free_port(),
            control: free_port(),
            settings: vec![],
            wrapper: vec![],
            client,
        }
    }

    /// Sets a variable of the node's environment, before it is started.
    pub fn set(&mut self, variable: &str, value: &str) {
        self.settings.push((variable.to_owned(), value.to_owned()));
    }

    /// Puts one of its directories on a disk of this size (`16m`), before it is started.
    pub fn mount_small(&mut self, path: PathBuf, size: &str) {
        fs::create_dir_all(&path).unwrap();
        let options = format!("size={size}");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&path).status();
        assert!(mount.unwrap().success(), "a tmpfs is mounted");
        self.disks.push(Small(path));
    }

    /// Starts it as somebody to whom permissions of files mean something, although the test is root.
    pub fn respect_permissions(&mut self) {
        let wrapper = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"];
        self.wrapper = wrapper.map(str::to_owned).into();
    }

    /// Gives it an engine of its own instead of the machine's.
    pub fn set_engine(&mut self, address: &str) {
        self.engine = Some(address.to_owned());
        self.set("NEXUS_ENGINE_SOCKET", address);
    }

    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "the node runs already");
        let log = fs::File::options().create(true).append(true).open(self.log_path()).unwrap();
        let child = self
            .command("serve")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("the nexus binary starts");
        self.child = Some(child);
    }

    /// The nexus binary with this node's environment and nothing else.
    pub fn command(&self, command: &str) -> Command {
        let program = program().into_os_string();
        let mut words = self.wrapper.iter().map(OsString::from).chain([program, command.into()]);
        let mut nexus = Command::new(words.next().expect("there is a program"));
        nexus.args(words).env_clear().envs([
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
            ("NEXUS_HOME", self.home().display().to_string()),
            ("NEXUS_WORKSPACES_DIR", self.projects().display().to_string()),
            ("NEXUS_WEB_LISTEN", format!("127.0.0.1:{}", self.web)),
            ("NEXUS_CONTROL_LISTEN", format!("127.0.0.1:{}", self.control)),
            ("NEXUS_AGENT", agent().display().to_string()),
            ("NEXUS_IMAGES", format!("{}/images", env!("CARGO_MANIFEST_DIR"))),
            ("NEXUS_CA_BUNDLE", "/etc/ssl/certs/ca-certificates.crt".to_owned()),
            ("NEXUS_LOG", "info,nexus=debug".to_owned()),
            // As the image of the node has it.
            ("MALLOC_ARENA_MAX", "2".to_owned()),
        ]);
        nexus.envs(self.settings.iter().cloned());
        nexus
    }

    /// Runs the command line against this node and returns what it printed, whatever its exit code.
    pub fn cli(&self, arguments: &[&str]) -> (i32, String, String) {
        let (first, rest) = arguments.split_first().expect("a command");
        let output = self.command(first).args(rest).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    }

    /// Ends the node as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // SIGKILL to a process this test started; waiting reaps it.
            child.kill().and_then(|()| child.wait()).ok();
        }
    }

    pub fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    pub fn projects(&self) -> PathBuf {
        self.directory.path().join("projects")
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("node.log")
    }

    /// Copies a fixture into the watched directory, as a person drops a folder.
    pub fn drop_fixture(&self, fixture: &str, name: &str) {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/projects").join(fixture);
        copy(&from, &self.projects().join(name));
    }

    /// Writes one file of a project, making its folders.
    pub fn write(&self, path: &str, content: &str) {
        let path = self.projects().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub async fn get(&self, path: &str) -> Option<Answer> {
        self.get_as(path, &format!("localhost:{}", self.web)).await
    }

    /// Asks the web port with a `Host` header of its own.
    pub async fn get_as(&self, path: &str, host: &str) -> Option<Answer> {
        let request = Request::get(format!("http://127.0.0.1:{}{path}", self.web))
            .header("host", host)
            .header("accept", "text/html")
            .body(Empty::new())
            .unwrap();
        let answer =
            tokio::time::timeout(Duration::from_secs(10), self.client.request(request)).await.ok()?.ok()?;
        let status = answer.status().as_u16();
        let location = answer.headers().get("location").map(|value| value.to_str().unwrap().to_owned());
        let body = answer.into_body().collect().await.ok()?.to_bytes();
        Some(Answer { status, location, body: String::from_utf8_lossy(&body).into_owned() })
    }

    /// Waits until a page answers with this status and this text.
    pub async fn wait_for_page(&self, path: &str, status: u16, text: &str, deadline: Duration) -> Answer {
        let until = Instant::now() + deadline;
        let mut last = None;
        loop {
            if let Some(answer) = self.get(path).await {
                if answer.status == status && answer.body.contains(text) {
                    return answer;
                }
                last = Some(answer);
            }
            assert!(
                Instant::now() < until,
                "{path} never answered {status} with `{text}`; last: {last:?}\n{}\nlog:\n{}",
                self.cli(&["workspace", "list"]).1,
                self.log_tail()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a workspace's JSON satisfies the check.
    pub async fn wait_for_workspace(
        &self,
        name: &str,
        what: &str,
        deadline: Duration,
        check: impl Fn(&serde_json::Value) -> bool,
    ) -> serde_json::Value {
        let until = Instant::now() + deadline;
        let mut last = String::new();
        loop {
            let (code, out, error) = self.cli(&["workspace", "show", name, "--json"]);
            if code == 0
                && let Ok(value) = serde_json::from_str(&out)
                && check(&value)
            {
                return value;
            }
            if code == 0 || last.is_empty() {
                last = format!("{out}{error}");
            }
            assert!(
                Instant::now() < until,
                "{name} was never seen: {what}; last: {last}\nlog:\n{}",
                self.log_tail()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub async fn wait_until_up(&self) {
        let until = Instant::now() + SOON;
        while self.get("/").await.is_none() {
            assert!(Instant::now() < until, "the node never answered; log:\n{}", self.log_tail());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.log_path()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// `label=value` on everything this node made.
    pub fn label(&self) -> Option<String> {
        let database = self.home().join("nexus.db");
        if !database.exists() {
            return None;
        }
        // On a thread of its own: tests call this from within a runtime.
        let read = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().ok()?;
            runtime.block_on(async { Store::open(&database).ok()?.node_id().await.ok() })
        };
        let id = std::thread::spawn(read).join().ok().flatten();
        id.map(|id| format!("nexus.node={id}"))
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        self.kill();
        if let Some(label) = self.label() {
            remove_labelled_at(self.engine.as_deref(), &label);
        }
    }
}

/// Removes containers, networks and volumes that carry `label=value`.
pub fn remove_labelled(label: &str) {
    remove_labelled_at(None, label);
}

/// The same on another engine than the machine's.
pub fn remove_labelled_at(engine: Option<&str>, label: &str) {
    for (list, remove) in [
        (&["ps", "--all"][..], &["rm", "--force", "--volumes"][..]),
        (&["network", "ls"], &["network", "rm"]),
        (&["volume", "ls"], &["volume", "rm", "--force"]),
    ] {
        let found = docker_at(engine, &[list, &["--quiet", "--filter", &format!("label={label}")]].concat());
        let found: Vec<&str> = found.split_whitespace().collect();
        if !found.is_empty() {
            docker_at(engine, &[remove, &found].concat());
        }
    }
}

/// Runs the docker command line and returns what it printed.
pub fn docker(arguments: &[&str]) -> String {
    docker_at(None, arguments)
}

/// The same on another engine than the machine's.
pub fn docker_at(engine: Option<&str>, arguments: &[&str]) -> String {
    let host = engine.map(|engine| ["--host", engine]);
    let arguments = host.as_slice().as_flattened().iter().chain(arguments);
    let output = Command::new("docker").args(arguments).output().expect("the docker command is there");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A folder of binaries to try instead of those built for the tests.
#[expect(clippy::disallowed_methods, reason = "a test's main is not ours")]
fn built(name: &str) -> Option<PathBuf> {
    std::env::var_os("NEXUS_TEST_BINARIES").map(|folder| Path::new(&folder).join(name))
}

/// The node's binary.
pub fn program() -> PathBuf {
    built("nexus").unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_nexus")))
}

/// The agent binary, built once for all tests.
pub fn agent() -> PathBuf {
    if let Some(agent) = built("nexus-agent") {
        return agent;
    }
    static AGENT: OnceLock<PathBuf> = OnceLock::new();
    AGENT
        .get_or_init(|| {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/agent");
            let output = Command::new(script).output().expect("scripts/agent runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
        })
        .clone()
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display())) {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
