//! From a folder dropped to its URL answering, and what the node itself costs.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::harness::LATER;
use super::harness::SOON;
use super::harness::TestNode;
use super::harness::agent;
use super::harness::docker;
use super::harness::remove_labelled;
use super::process::megabytes;
use super::process::processor_percent;
use super::table::Row;

/// Each time is the median of so many.
const ROUNDS: usize = 10;
const IDLE: Duration = Duration::from_secs(60);
const VERSION: &str = env!("CARGO_PKG_VERSION");
const SERVER: &str = "require('http').createServer((q, s) => s.end('text')).listen(process.env.PORT || 3000)";
const EXPRESS: &str =
    "require('express')().get('/', (q, s) => s.send('text')).listen(process.env.PORT || 3000)";

type Files = Vec<(&'static str, String)>;

pub async fn run() -> Vec<Row> {
    let mut node = TestNode::prepare();
    // As it runs on a machine of its owner's.
    node.set("NEXUS_LOG", "info");
    node.spawn();
    node.wait_until_up().await;
    // The sample's coming up is not measured: it brings the agent onto the engine.
    node.wait_for_page("/hello/", 200, "", SOON).await;
    let floor = Floor::new();
    let mut rows = Vec::new();

    let page: Files = vec![("index.html", "text".to_owned())];
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        ours.push(drop_and_wait(&node, &format!("static-{round}"), &page).await);
        theirs.push(floor.up("static", &page, &["/nexus/nexus-agent", "static", "."], 8080).await);
        progress("static", &ours, &theirs);
    }
    let row = Row::new("static", "static folder dropped to first 200", median(ours), "s", 1.5);
    rows.push(row.against("compose up of the same server", median(theirs)));

    let plain: Files = vec![
        ("package.json", r#"{"name": "plain", "scripts": {"start": "node server.js"}}"#.to_owned()),
        ("server.js", SERVER.to_owned()),
    ];
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        ours.push(drop_and_wait(&node, &format!("node-{round}"), &plain).await);
        theirs.push(floor.up("node", &plain, &["node", "server.js"], 3000).await);
        progress("node", &ours, &theirs);
    }
    let row = Row::new("node", "node folder without dependencies to first 200", median(ours), "s", 3.0);
    rows.push(row.against("compose up of the same server", median(theirs)));

    rows.extend(cost(&node).await);
    rows.push(express(&node).await);
    rows.extend(sizes());
    rows
}

/// With 20 workspaces and the sample up.
async fn cost(node: &TestNode) -> Vec<Row> {
    let pid = node.child.as_ref().unwrap().id();
    eprintln!("idle for {IDLE:?}");
    let share = processor_percent(&[pid], IDLE).await;
    let resident = megabytes(pid, "status", "VmRSS:").expect("the node runs");
    let proportional = megabytes(pid, "smaps_rollup", "Pss:").expect("the node runs");
    vec![
        Row::new("rss", "node process with 20 workspaces, VmRSS", resident, "MB", 40.0),
        Row::new("pss", "the same, proportional set size", proportional, "MB", 40.0),
        Row::new("idle", "node process with 20 workspaces, idle for 60 s", share, "%", 1.0),
    ]
}

async fn express(node: &TestNode) -> Row {
    let manifest = r#"{"name": "web", "private": true, "scripts": {"start": "node server.js"}, "dependencies": {"express": "4.21.2"}}"#;
    let alone = Alone::start();
    let lock = alone.lock(manifest);
    let files: Files = vec![
        ("package.json", manifest.to_owned()),
        ("package-lock.json", lock),
        ("server.js", EXPRESS.to_owned()),
    ];
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        theirs.push(alone.install(round, &files));
        ours.push(drop_and_wait(node, &format!("express-{round}"), &files).await);
        progress("express", &ours, &theirs);
    }
    let theirs = median(theirs);
    let target = theirs + 2.0;
    Row::new("express", "node folder with express to first 200", median(ours), "s", target)
        .against("npm ci alone, target is 2 s more", theirs)
}

fn sizes() -> Vec<Row> {
    let megabytes = |bytes: u64| bytes as f64 / 1_000_000.0;
    let size = |image: &str| -> Option<u64> {
        docker(&["image", "inspect", "--format", "{{.Size}}", image]).trim().parse().ok()
    };
    let bytes = fs::metadata(agent()).unwrap().len();
    let mut rows = vec![Row::new("agent", "agent binary", megabytes(bytes), "MB", 6.0)];
    #[expect(clippy::disallowed_methods, reason = "a bench's main is not ours")]
    let image =
        std::env::var("NEXUS_BENCH_IMAGE").expect("scripts/bench builds the node's image and names it");
    let (image, base) = (size(&image).unwrap(), size("debian:trixie-slim").unwrap());
    let row = Row::new("image", "node image above its base", megabytes(image - base), "MB", 120.0);
    rows.push(row.against("the base image", megabytes(base)));
    rows
}

/// Seconds from the first byte written to the first 200.
async fn drop_and_wait(node: &TestNode, name: &str, files: &Files) -> f64 {
    let began = Instant::now();
    for (file, content) in files {
        node.write(&format!("{name}/{file}"), content);
    }
    let path = format!("/{name}/");
    loop {
        if node.get(&path).await.is_some_and(|answer| answer.status == 200) {
            return began.elapsed().as_secs_f64();
        }
        assert!(began.elapsed() < LATER, "{path} never answered; log:\n{}", node.log_tail());
        // Asking costs the machine something that is then missing elsewhere.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The least that any appliance on this engine has to wait for: Compose alone, with the folder mounted.
struct Floor {
    directory: tempfile::TempDir,
}

impl Floor {
    fn new() -> Self {
        Self { directory: tempfile::Builder::new().prefix("nexus-bench-").tempdir().unwrap() }
    }

    /// The Compose project, this run's own.
    fn project(kind: &str) -> String {
        format!("nexus-bench-{kind}-{}", std::process::id())
    }

    async fn up(&self, kind: &str, files: &Files, command: &[&str], port: u16) -> f64 {
        let directory = self.directory.path().join(kind);
        fs::create_dir_all(&directory).unwrap();
        for (file, content) in files {
            fs::write(directory.join(file), content).unwrap();
        }
        let stack = serde_json::json!({
            "services": { "app": {
                "image": format!("nexus/runtime-{kind}:{VERSION}"),
                "entrypoint": command,
                "working_dir": "/workspace",
                "environment": { "HOST": "0.0.0.0", "PORT": port.to_string() },
                "volumes": [
                    format!("{}:/workspace:ro", directory.display()),
                    format!("{}:/nexus:ro", agent().parent().unwrap().display()),
                ],
                "stop_grace_period": "0s",
            } },
        });
        fs::write(directory.join("compose.yaml"), stack.to_string()).unwrap();
        let project = Self::project(kind);
        let file = directory.join("compose.yaml");
        let compose = |words: &[&str]| {
            let named = ["compose", "--file", file.to_str().unwrap(), "--project-name", &project];
            docker(&[&named, words].concat())
        };
        let began = Instant::now();
        compose(&["up", "--detach"]);
        let template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let address = docker(&["inspect", "--format", template, &format!("{project}-app-1")]);
        let address = SocketAddr::new(address.trim().parse().expect("the container has an address"), port);
        while !answers(address).await {
            assert!(began.elapsed() < SOON, "the floor never answered");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let took = began.elapsed().as_secs_f64();
        compose(&["down", "--timeout", "0"]);
        took
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        // Already gone, unless the bench was cut short.
        for kind in ["static", "node"] {
            let label = format!("com.docker.compose.project={}", Self::project(kind));
            remove_labelled(&label);
        }
    }
}

async fn answers(address: SocketAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer.starts_with("HTTP/1.1 200"))
    };
    ask.await.unwrap_or(false)
}

/// A container of the same runtime image to install in, without anything of ours.
struct Alone {
    name: String,
    directory: tempfile::TempDir,
}

impl Alone {
    fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("nexus-bench-").tempdir().unwrap();
        let name = format!("nexus-bench-alone-{}", std::process::id());
        let bundle = "/etc/ssl/certs/ca-certificates.crt";
        let (mount, trust) = (format!("{bundle}:{bundle}:ro"), format!("NODE_EXTRA_CA_CERTS={bundle}"));
        let image = format!("nexus/runtime-node:{VERSION}");
        let work = format!("{}:/work", directory.path().display());
        let user = format!("{}:{}", rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let mut run = vec!["run", "--detach", "--rm", "--name", &name, "--user", &user];
        if Path::new(bundle).exists() {
            run.extend(["--volume", &mount, "--env", &trust]);
        }
        run.extend(["--volume", &work, "--env", "HOME=/tmp", "--entrypoint", "sleep", &image, "900"]);
        assert!(!docker(&run).is_empty(), "a container to install in starts");
        Self { name, directory }
    }

    fn npm(&self, folder: &str, words: &[&str]) {
        let cache = format!("npm_config_cache=/work/{folder}/.cache");
        let directory = format!("/work/{folder}");
        let exec = ["exec", "--workdir", &directory, "--env", &cache, &self.name, "npm"];
        let output = Command::new("docker").args(exec).args(words).output().unwrap();
        assert!(output.status.success(), "npm {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn place(&self, folder: &str, files: &[(&'static str, String)]) {
        let place = self.directory.path().join(folder);
        fs::create_dir_all(&place).unwrap();
        files.iter().for_each(|(file, content)| fs::write(place.join(file), content).unwrap());
    }

    /// The lockfile of a manifest.
    fn lock(&self, manifest: &str) -> String {
        self.place("lock", &[("package.json", manifest.to_owned())]);
        self.npm("lock", &["install", "--package-lock-only"]);
        fs::read_to_string(self.directory.path().join("lock/package-lock.json")).unwrap()
    }

    /// Seconds of an install that finds nothing ready, as ours does.
    fn install(&self, round: usize, files: &Files) -> f64 {
        let folder = format!("install-{round}");
        self.place(&folder, files);
        let began = Instant::now();
        self.npm(&folder, &["ci"]);
        began.elapsed().as_secs_f64()
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        docker(&["rm", "--force", &self.name]);
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    f64::midpoint(values[middle], values[(values.len() - 1) / 2])
}

fn progress(what: &str, ours: &[f64], theirs: &[f64]) {
    let last = |values: &[f64]| values.last().copied().unwrap_or_default();
    eprintln!("{what} {}/{ROUNDS}: {:.2} s, {:.2} s", ours.len(), last(ours), last(theirs));
}
