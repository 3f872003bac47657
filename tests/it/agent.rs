//! The agent in containers of the real engine: what it installs, starts, reports and carries.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;
use std::time::Instant;

use nexus::base::ids::NodeId;
use nexus::base::tasks::TaskGroup;
use nexus::engine::ContainerState;
use nexus::engine::Engine;
use nexus::engine::Labels;
use nexus::engine::docker;
use nexus::engine::docker::Docker;
use nexus::engine::label;
use nexus::sync;
use nexus::sync::Agent;
use nexus::sync::Ended;
use nexus::sync::Link;
use nexus::sync::Phase;
use nexus::sync::Status;
use nexus_agent::inquiry::Answer;
use nexus_agent::inquiry::Question;
use nexus_agent::inquiry::Which;
use nexus_agent::path::RelPath;
use nexus_agent::reconcile::Side;
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio_util::sync::CancellationToken;

pub(crate) const DEBIAN: &str = "debian:trixie-slim";
pub(crate) const NODE: &str = "nexus/runtime-node:0.1.0";

/// The static agent's binary, built once.
pub(crate) fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let given = std::env::var_os("NEXUS_AGENT").map(PathBuf::from);
        given.unwrap_or_else(|| {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/agent");
            let built = Command::new(script).output().unwrap();
            assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
            String::from_utf8(built.stdout).unwrap().trim().into()
        })
    })
}

/// The same, as the node brings it into containers.
fn agent() -> &'static Agent {
    static AGENT: OnceLock<Agent> = OnceLock::new();
    AGENT.get_or_init(|| Agent::load(binary()).unwrap())
}

/// One folder, one container, and the session between them. Takes everything away when dropped.
pub(crate) struct Bench {
    engine: Arc<dyn Engine>,
    pub(crate) folder: TempDir,
    node: String,
    tasks: TaskGroup,
    pub(crate) handle: Option<sync::Handle>,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let engine = Docker::new(&docker::Settings {
            socket: "unix:///var/run/docker.sock".to_owned(),
            compose_home: folder.path().join(".compose"),
            call_timeout: docker::Settings::CALL_TIMEOUT,
        });
        let bench = Self {
            engine: Arc::new(engine),
            folder,
            node: NodeId::random().to_string(),
            tasks: TaskGroup::new("test", &CancellationToken::new()),
            handle: None,
        };
        agent().install(&*bench.engine, &Labels::new()).await.unwrap();
        let labels = bench.labels();
        agent().source_volume(&*bench.engine, &bench.name("sync"), &labels).await.unwrap();
        agent().state_volume(&*bench.engine, &bench.name("state"), &labels).await.unwrap();
        bench
    }

    pub(crate) fn name(&self, what: &str) -> String {
        format!("nexus-agent-test-{}-{what}", self.node)
    }

    fn labels(&self) -> Labels {
        BTreeMap::from([(label::NODE.to_owned(), self.node.clone())])
    }

    pub(crate) fn label(&self) -> String {
        format!("{}={}", label::NODE, self.node)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join("src").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Starts a container as generated stacks do, and a session to it.
    pub(crate) fn start(&mut self, image: &str, flags: &[&str], start: &[&str]) {
        self.run(image, flags, start);
        self.connect();
    }

    pub(crate) fn run(&self, image: &str, flags: &[&str], start: &[&str]) {
        let label = self.label();
        let mounts = [
            format!("{}:/nexus:ro", agent().volume()),
            format!("{}:/workspace", self.name("sync")),
            format!("{}:/nexus-state", self.name("state")),
        ];
        let name = self.name("app");
        let mut words = vec!["run", "--detach", "--name", &name, "--label", &label, "--user", "1000:1000"];
        words.extend(["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--memory", "256m"]);
        words.extend(["--security-opt", "no-new-privileges", "--entrypoint", "/nexus/nexus-agent"]);
        mounts.iter().for_each(|mount| words.extend(["--volume", mount]));
        words.extend([image, "init", "--await-sync"]);
        words.extend(flags);
        words.push("--");
        words.extend(start);
        docker(&words);
    }

    pub(crate) fn connect(&mut self) {
        let spec = sync::SessionSpec {
            name: "test".to_owned(),
            container: self.name("app"),
            root: self.folder.path().join("src"),
            staging: self.folder.path().join("stage"),
            state: self.folder.path().join("state"),
            settings: sync::Settings::default(),
        };
        self.handle = Some(sync::spawn(spec, Arc::clone(&self.engine), &mut self.tasks));
    }

    /// Waits until the status is as wished.
    pub(crate) async fn until(&mut self, what: &str, wish: impl Fn(&Status) -> bool) -> Status {
        let name = self.name("app");
        let status = &mut self.handle.as_mut().unwrap().status;
        let seen = tokio::time::timeout(Duration::from_secs(30), status.wait_for(wish)).await;
        if let Ok(seen) = seen {
            return seen.unwrap().clone();
        }
        drop(seen);
        panic!("{what} did not come: {:#?}\n{}", status.borrow().clone(), log(&name));
    }

    pub(crate) async fn flush(&self) {
        let flush = self.handle.as_ref().unwrap().wishes.flush();
        tokio::time::timeout(Duration::from_secs(30), flush).await.unwrap().unwrap();
    }

    pub(crate) async fn ready(&mut self) -> Status {
        self.until("ready", |status| status.report.phase == Phase::Ready && status.report.port.is_some())
            .await
    }

    pub(crate) fn inside(&self, words: &[&str]) -> String {
        let name = self.name("app");
        docker(&[&["exec", &name], words].concat())
    }

    async fn get(&self, port: u16, path: &str) -> String {
        let container = self.engine.container(&self.name("app")).await.unwrap();
        let address: IpAddr = *container.addresses.values().next().unwrap();
        let mut stream = tokio::net::TcpStream::connect((address, port)).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let quietly = |words: &[&str]| drop(Command::new("docker").args(words).output());
        quietly(&["rm", "--force", "--volumes", &self.name("app")]);
        quietly(&["volume", "rm", "--force", &self.name("sync"), &self.name("state")]);
    }
}

pub(crate) fn docker(words: &[&str]) -> String {
    let done = Command::new("docker").args(words).output().unwrap();
    assert!(done.status.success(), "docker {words:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

fn log(container: &str) -> String {
    let done = Command::new("docker").args(["logs", container]).output().unwrap();
    String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr)
}

/// A server of a few lines: answers every request with what is in `text.txt`, on an address given by name.
fn server(address: &str) -> String {
    format!(
        "use IO::Socket::INET; $| = 1; $SIG{{TERM}} = sub {{ print qq(bye\\n); exit 7 }};\n\
         $s = IO::Socket::INET->new(Listen => 5, LocalAddr => '{address}', LocalPort => $ENV{{PORT}}, ReuseAddr => 1) or die;\n\
         open F, 'text.txt'; $t = <F>; print qq(up\\n);\n\
         while ($c = $s->accept) {{ print $c qq(HTTP/1.0 200 OK\\r\\n\\r\\n$t); close $c }}\n"
    )
}

#[tokio::test]
async fn a_site_is_served_from_an_empty_image_and_follows_its_folder() {
    let mut bench = Bench::new().await;
    bench.write("index.html", "hello");
    bench.write("css/site.css", "a {}");
    bench.write("node_modules/x/index.js", "x");
    let image = agent().image();
    bench.run(&image, &[], &["/nexus/nexus-agent", "static", "."]);
    let connected = Instant::now();
    bench.connect();
    let status = bench.ready().await;
    println!("connect, first sync, ready and report: {:?}", connected.elapsed());
    let port = status.report.port.unwrap();
    assert_eq!(port, 8080);
    assert!(status.synced);
    assert!(bench.get(port, "/").await.ends_with("hello"));
    assert!(bench.get(port, "/css/site.css").await.ends_with("a {}"));
    assert!(bench.get(port, "/node_modules/x/index.js").await.contains("404"));

    // An edit, a new directory, a rename and a removal.
    bench.write("index.html", "HELLO");
    bench.write("new/deep/page.html", "page");
    bench.flush().await;
    assert!(bench.get(port, "/").await.ends_with("HELLO"));
    assert!(bench.get(port, "/new/deep/page.html").await.ends_with("page"));
    let base = bench.folder.path().join("src");
    let at = |name: &str| base.join(name);
    fs::rename(at("new"), at("moved")).unwrap();
    fs::remove_file(at("css/site.css")).unwrap();
    bench.flush().await;
    assert!(bench.get(port, "/moved/deep/page.html").await.ends_with("page"));
    assert!(bench.get(port, "/new/deep/page.html").await.contains("404"));
    assert!(bench.get(port, "/css/site.css").await.contains("404"));

    // Events alone, without anybody asking, and soon.
    bench.write("event.html", "one");
    let started = Instant::now();
    while !bench.get(port, "/event.html").await.ends_with("one") {
        assert!(started.elapsed() < Duration::from_secs(10), "the edit never came");
    }
    println!("an edit was visible after {:?}", started.elapsed());

    // The folder vanishes: nothing does inside.
    fs::rename(at(""), bench.folder.path().join("elsewhere")).unwrap();
    let status = bench.until("a halt", |status| status.halted.is_some()).await;
    assert_eq!(status.halted.as_deref(), Some("the folder is gone; nothing is removed"));
    fs::create_dir(at("")).unwrap();
    let replaced = "the folder on the host is not the one that was synchronised before; nothing is removed";
    bench.until("a halt", |status| status.halted.as_deref() == Some(replaced)).await;
    assert!(bench.get(port, "/").await.ends_with("HELLO"));
    fs::remove_dir(bench.folder.path().join("src")).unwrap();
    fs::rename(bench.folder.path().join("elsewhere"), bench.folder.path().join("src")).unwrap();
    bench.until("going on", |status| status.halted.is_none()).await;
}

#[tokio::test]
async fn what_only_listens_inside_is_forwarded_and_said() {
    let mut bench = Bench::new().await;
    bench.write("text.txt", "inside");
    bench.write("server.pl", &server("127.0.0.1"));
    bench.start(DEBIAN, &["--restart-on-change"], &["perl server.pl"]);
    let status = bench.ready().await;
    assert_eq!(status.report.port, Some(3000));
    assert!(status.report.listeners.iter().all(|listener| listener.loopback), "{:?}", status.report);
    assert!(status.report.notes[0].contains("listens on 127.0.0.1 only"), "{:?}", status.report.notes);
    assert!(bench.get(3000, "/").await.ends_with("inside"));
    assert_eq!(bench.inside(&["/nexus/nexus-agent", "health"]), "");

    // Started again for a change, with the forwarding in place again.
    bench.write("text.txt", "again");
    bench.until("the end of the old one", |status| status.report.port.is_none()).await;
    bench.ready().await;
    assert!(bench.get(3000, "/").await.ends_with("again"));

    // The engine's stop reaches the program, and its exit code comes out.
    docker(&["stop", &bench.name("app")]);
    let container = bench.engine.container(&bench.name("app")).await.unwrap();
    assert_eq!(container.exit_code, Some(7), "{}", log(&bench.name("app")));
    assert!(log(&bench.name("app")).contains("bye"));
    bench.until("a lost link", |status| matches!(status.link, Link::Lost { .. })).await;

    // After the container's restart only what has changed is sent, and everything comes back by itself.
    docker(&["start", &bench.name("app")]);
    bench.until("a link", |status| status.link == Link::Up).await;
    bench.ready().await;
    assert!(bench.get(3000, "/").await.ends_with("again"));
}

#[tokio::test]
async fn dependencies_are_installed_only_when_their_inputs_change() {
    let mut bench = Bench::new().await;
    bench.write("deps.txt", "one");
    bench.write(
        "install.sh",
        "echo installing $(cat deps.txt); mkdir -p node_modules; echo x >> node_modules/count",
    );
    bench.write("main.pl", "$| = 1; print qq(run\\n); sleep 1000");
    let flags = [
        "--install",
        "sh install.sh",
        "--install-input",
        "deps.txt",
        "--serves",
        "process",
        "--restart-on-change",
    ];
    bench.start(DEBIAN, &flags, &["perl main.pl"]);
    let running = |status: &Status| status.report.phase == Phase::Ready;
    bench.until("running", running).await;
    let count = |bench: &Bench| bench.inside(&["cat", "/workspace/node_modules/count"]).lines().count();
    assert_eq!(count(&bench), 1);

    bench.write("main.pl", "$| = 1; print qq(second\\n); sleep 1000");
    bench.flush().await;
    let started = Instant::now();
    while !log(&bench.name("app")).contains("second") {
        bench.flush().await;
        assert!(started.elapsed() < Duration::from_secs(10), "{}", log(&bench.name("app")));
    }
    bench.until("running", running).await;
    assert_eq!(count(&bench), 1, "source is no dependency");

    docker(&["restart", "--time", "1", &bench.name("app")]);
    bench.until("a lost link", |status| status.link != Link::Up).await;
    bench.until("running", |status| running(status) && status.link == Link::Up).await;
    assert_eq!(count(&bench), 1, "nor is a restart a reason");

    bench.write("deps.txt", "three");
    bench.flush().await;
    let started = Instant::now();
    while count(&bench) != 2 {
        assert!(started.elapsed() < Duration::from_secs(20), "{}", log(&bench.name("app")));
        bench.flush().await;
    }
    assert!(log(&bench.name("app")).contains("installing three"));
}

#[tokio::test]
async fn ends_are_told_apart() {
    let mut bench = Bench::new().await;
    bench.write("job.sh", "echo done; exit 0");
    bench.start(DEBIAN, &["--serves", "process", "--restart-on-change"], &["sh job.sh"]);
    let status = bench.until("the end", |status| status.report.phase == Phase::Finished).await;
    assert_eq!(status.report.restarts, 0, "a program that has finished is not started again");

    bench.write("job.sh", "echo broken >&2; exit 3");
    let status = bench.until("a failure", |status| status.report.phase == Phase::Failed).await;
    let failure = status.report.failure.unwrap();
    assert_eq!(failure.ended, Some(Ended::Code(3)));
    assert_eq!(failure.message, "`sh job.sh` ended with code 3");
    assert!(failure.retry_ms.is_some());
    assert!(status.report.lines.iter().any(|line| line == "broken"), "{:?}", status.report.lines);
    bench.until("another try", |status| status.report.restarts >= 2).await;

    // Orphans are reaped: none of these stays behind as a zombie.
    bench.write("job.sh", "for i in 1 2 3; do (sleep 0.05 & ); done; sleep 1000");
    let started = Instant::now();
    loop {
        bench.flush().await;
        let states = bench.inside(&["sh", "-c", "cat /proc/[0-9]*/status 2>/dev/null; true"]);
        let orphans = states.lines().filter(|line| *line == "Name:\tsleep").count();
        if orphans == 1 && !states.contains("zombie") {
            break;
        }
        let status = bench.handle.as_ref().unwrap().status.borrow().clone();
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "{status:#?}\n{}\n{states}",
            log(&bench.name("app"))
        );
    }

    bench.write("job.sh", "perl -e '$x = q(x) x 4e8; sleep 1000'");
    let oom = |status: &Status| {
        status.report.failure.as_ref().is_some_and(|failure| failure.ended == Some(Ended::OutOfMemory))
    };
    bench.until("a kill for memory", oom).await;

    bench.write("job.sh", "sleep 1000");
    bench
        .until("running", |status| status.report.phase == Phase::Ready && status.report.failure.is_none())
        .await;
}

#[tokio::test]
async fn an_init_whose_network_is_taken_away_ends_its_program_and_itself() {
    let mut bench = Bench::new().await;
    bench.write("x", "");
    let script = "trap 'echo ended in order; exit 5' TERM; while :; do sleep 0.1; done";
    bench.start(DEBIAN, &[], &["sh", "-c", script]);
    bench.until("the program", |status| status.report.phase == Phase::Starting).await;
    let name = bench.name("app");
    docker(&["network", "disconnect", "bridge", &name]);
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let container = bench.engine.container(&name).await.unwrap();
        if container.state == ContainerState::Exited {
            assert_eq!(container.exit_code, Some(5));
            break;
        }
        assert!(Instant::now() < until, "it goes on: {container:?}\n{}", log(&name));
    }
    let said = log(&name);
    assert!(said.contains("ended in order") && said.contains("taken the network away"), "{said}");
}

#[tokio::test]
async fn a_line_only_a_shell_understands_and_a_missing_program_are_named() {
    for (line, message) in [
        ("sh x | tee y", "the command `sh x | tee y` uses `|`, which only a shell understands"),
        ("nosuchprogram", "there is no program `nosuchprogram` in the container"),
    ] {
        let mut bench = Bench::new().await;
        bench.write("x", "echo x");
        bench.start(DEBIAN, &[], &[line]);
        let status = bench.until("a failure", |status| status.report.phase == Phase::Failed).await;
        assert_eq!(status.report.failure.unwrap().message, message);
    }
}

#[tokio::test]
async fn what_cannot_be_carried_is_listed_and_what_cannot_be_read_is_kept() {
    let mut bench = Bench::new().await;
    bench.write("index.html", "x");
    bench.write("own/kept.txt", "x");
    let base = bench.folder.path().join("src");
    let at = |name: &str| base.join(name);
    std::os::unix::fs::symlink("/etc/passwd", at("outside")).unwrap();
    std::os::unix::fs::symlink("index.html", at("inside")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    bench.start(DEBIAN, &[], &["/nexus/nexus-agent", "static", "."]);
    let status = bench.ready().await;
    let skipped: Vec<_> = status.skipped.iter().map(|one| one.path.as_str()).collect();
    assert_eq!(skipped, ["outside", "socket"]);
    assert!(bench.get(8080, "/inside").await.ends_with('x'));

    // What the container made where the host has a file loses, and is kept as a version.
    bench.inside(&["sh", "-c", "echo mine > /workspace/both"]);
    bench.write("both", "the host's");
    bench.flush().await;
    assert_eq!(bench.inside(&["cat", "/workspace/both"]), "the host's");
    assert_eq!(fs::read_to_string(at("both")).unwrap(), "the host's");
}

#[tokio::test]
async fn edits_in_the_container_come_to_the_folder_and_what_they_displace_comes_back() {
    let mut bench = Bench::new().await;
    bench.write("notes.txt", "first");
    bench.start(DEBIAN, &[], &["/nexus/nexus-agent", "static", "."]);
    bench.ready().await;
    bench.inside(&[
        "sh",
        "-c",
        "printf second > /workspace/.n && mv /workspace/.n /workspace/notes.txt; mkdir /workspace/new; printf x > /workspace/new/file",
    ]);
    bench.flush().await;
    let at = |name: &str| bench.folder.path().join("src").join(name);
    assert_eq!(fs::read_to_string(at("notes.txt")).unwrap(), "second");
    assert_eq!(fs::read_to_string(at("new/file")).unwrap(), "x");
    assert!(!at(".nexus-stage").exists(), "nothing of ours is in the folder");

    let wishes = bench.handle.as_ref().unwrap().wishes.clone();
    let path = RelPath::parse(b"notes.txt").unwrap();
    let kept = wishes.ask(Side::Alpha, Question::Versions { path: Some(path.clone()) }).await.unwrap();
    let Answer::Versions(kept) = kept else { panic!("{kept:?}") };
    assert_eq!(kept.iter().map(|kept| kept.size).collect::<Vec<_>>(), [5]);
    let undo = Question::Undo { which: Which::Path(path.clone()), batch: 0, dry_run: false };
    let undone = wishes.ask(Side::Alpha, undo).await.unwrap();
    assert_eq!(undone, Answer::Undone { paths: vec![path], failed: vec![] });
    bench.flush().await;
    assert_eq!(bench.inside(&["cat", "/workspace/notes.txt"]), "first");
}

#[tokio::test]
async fn a_full_volume_is_said_loses_nothing_and_is_filled_when_there_is_room() {
    let mut bench = Bench::new().await;
    // A volume of four mebibytes instead of the engine's whole disk.
    let (volume, label) = (bench.name("sync"), format!("{}={}", label::NODE, bench.node));
    docker(&["volume", "rm", &volume]);
    let small = ["--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=size=4m,uid=1000,gid=1000"];
    docker(&[&["volume", "create", "--label", &label][..], &small, &[&volume]].concat());
    bench.write("index.html", "before");
    bench.start(DEBIAN, &[], &["/nexus/nexus-agent", "static", "."]);
    bench.ready().await;
    bench.inside(&["sh", "-c", "dd if=/dev/zero of=/workspace/filler bs=64k || true"]);

    bench.write("late.txt", &"late ".repeat(100_000));
    bench.write("index.html", &"after ".repeat(10_000));
    let full = |status: &Status| status.skipped.iter().any(|one| one.path == "late.txt");
    let status = bench.until("that the disk is full", full).await;
    let refusal = status.skipped.iter().find(|one| one.path == "late.txt").unwrap();
    assert_eq!(refusal.why, "the disk is full");
    assert!(bench.get(8080, "/").await.ends_with("before"), "what was there is whole");

    bench.inside(&["rm", "/workspace/filler"]);
    bench.until("room", |status| status.skipped.is_empty() && status.synced).await;
    assert!(bench.get(8080, "/late.txt").await.ends_with("late "));
    assert!(bench.get(8080, "/").await.ends_with("after "));
}

#[tokio::test]
async fn a_node_project_installs_and_answers() {
    if Command::new("docker")
        .args(["image", "inspect", NODE])
        .output()
        .is_ok_and(|done| !done.status.success())
    {
        return;
    }
    let mut bench = Bench::new().await;
    bench.write("package.json", r#"{"name":"app","version":"1.0.0","scripts":{"start":"node server.js"}}"#);
    bench.write(
        "package-lock.json",
        r#"{"name":"app","version":"1.0.0","lockfileVersion":3,"packages":{"":{"name":"app","version":"1.0.0"}}}"#,
    );
    bench.write(
        "server.js",
        "require('http').createServer((q, a) => a.end(process.env.NODE_ENV)).listen(process.env.PORT)",
    );
    let flags =
        ["--install", "npm ci", "--install-input", "package.json", "--install-input", "package-lock.json"];
    bench.start(NODE, &flags, &["npm run start"]);
    bench.until("installing", |status| status.report.phase == Phase::Installing).await;
    let status = bench.ready().await;
    assert!(bench.get(status.report.port.unwrap(), "/").await.ends_with("production"));
}
