//! What every engine must do, asked of the one in memory and of the real one.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use nexus::base::ids::NodeId;
use nexus::engine::Container;
use nexus::engine::ContainerState;
use nexus::engine::Engine;
use nexus::engine::Error;
use nexus::engine::Exec;
use nexus::engine::Labels;
use nexus::engine::Logs;
use nexus::engine::Output;
use nexus::engine::ProgressSink;
use nexus::engine::Stack;
use nexus::engine::docker;
use nexus::engine::docker::Docker;
use nexus::engine::label;
use nexus::engine::memory::Memory;
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;

use super::fake::Answer;
use super::fake::Fake;
use super::fake::version;

const IMAGE: &str = "debian:trixie-slim";

/// One engine with a name space of its own in it.
struct Case {
    engine: Box<dyn Engine>,
    directory: TempDir,
    node: String,
    /// Stands between us and the real engine.
    _relay: Option<Fake>,
}

impl Case {
    fn real() -> Self {
        let directory = TempDir::new().unwrap();
        let engine = Docker::new(&docker::Settings {
            socket: "unix:///var/run/docker.sock".to_owned(),
            compose_home: directory.path().join("compose"),
            call_timeout: docker::Settings::CALL_TIMEOUT,
        });
        Self { engine: Box::new(engine), directory, node: NodeId::random().to_string(), _relay: None }
    }

    /// The real engine, as one that knows no newer API than that of Debian 12.
    fn older() -> Self {
        let relay = Fake::new(|asked| match asked {
            "GET /version" => Answer::Says(200, version("1.12", "1.41")),
            _ => Answer::Relays,
        });
        let engine = relay.patient_engine(docker::Settings::CALL_TIMEOUT);
        Self { engine: Box::new(engine), _relay: Some(relay), ..Self::real() }
    }

    fn memory() -> Self {
        let engine = Memory::new(&[IMAGE]);
        let line = |text: &'static str| Bytes::from_static(text.as_bytes());
        engine.behave(vec![Output::Out(line("hello\n")), Output::Err(line("oops\n"))], 3);
        Self {
            engine: Box::new(engine),
            directory: TempDir::new().unwrap(),
            node: NodeId::random().to_string(),
            _relay: None,
        }
    }

    fn name(&self, what: &str) -> String {
        format!("nexus-test-{}-{what}", self.node)
    }

    fn labels(&self) -> Labels {
        BTreeMap::from([(label::NODE.to_owned(), self.node.clone())])
    }

    /// A stack of one service that prints, waits, and ends with 3 when told to stop.
    fn stack(&self) -> Stack {
        let file = self.directory.path().join("compose.yaml");
        std::fs::write(&file, self.text()).unwrap();
        Stack { project: self.name("stack"), file, directory: self.directory.path().to_owned() }
    }

    fn text(&self) -> String {
        let script = "trap 'exit 3' TERM; echo hello; echo oops >&2; sleep 1000 & wait";
        let (network, volume, node) = (self.name("net"), self.name("vol"), &self.node);
        format!(
            "services:\n  app:\n    image: {IMAGE}\n    command: [sh, -c, {script:?}]\n    expose: ['8080']\n    labels: {{ nexus.node: {node}, nexus.role: app }}\n    volumes: ['data:/data']\nnetworks:\n  default: {{ name: {network}, labels: {{ nexus.node: {node} }} }}\nvolumes:\n  data: {{ name: {volume}, labels: {{ nexus.node: {node} }} }}\n"
        )
    }

    async fn up(&self) -> Container {
        self.engine.up(&self.stack(), deaf()).await.unwrap();
        let mut found = self.engine.containers(&self.labels()).await.unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    /// The container once it is listed in this state: the engine's list may be some milliseconds behind.
    async fn listed(&self, state: ContainerState) -> Container {
        in_time("the state", async {
            loop {
                let listed = self.engine.containers(&self.labels()).await.unwrap().remove(0);
                if listed.state == state {
                    break listed;
                }
            }
        })
        .await
    }

    async fn down(&self) {
        self.engine.down(&self.name("stack"), true).await.unwrap();
        assert_eq!(self.engine.containers(&self.labels()).await.unwrap(), []);
        assert_eq!(self.engine.networks(&self.labels()).await.unwrap(), []);
        assert_eq!(self.engine.volumes(&self.labels()).await.unwrap(), []);
    }
}

fn deaf() -> ProgressSink {
    tokio::sync::mpsc::channel(1).0
}

fn program(argv: &[&str]) -> Exec {
    Exec { argv: argv.iter().map(|&word| word.to_owned()).collect(), ..Exec::default() }
}

async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(done) = tokio::time::timeout(Duration::from_secs(60), future).await else {
        panic!("{what} did not happen in time");
    };
    done
}

/// All that a program prints, and its exit code.
async fn run(case: &Case, container: &str, exec: &Exec) -> (String, String, i64) {
    let session = case.engine.exec(container, exec).await.unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    let mut output = session.output;
    while let Some(item) = in_time("output", output.next()).await {
        match item.unwrap() {
            Output::Out(bytes) => out.push_str(std::str::from_utf8(&bytes).unwrap()),
            Output::Err(bytes) => err.push_str(std::str::from_utf8(&bytes).unwrap()),
        }
    }
    let code = in_time("an exit code", async {
        loop {
            if let Some(code) = case.engine.exec_exit(&session.id).await.unwrap() {
                break code;
            }
        }
    });
    (out, err, code.await)
}

async fn stacks_come_up_once_and_go_down_whole(case: Case) {
    let about = case.engine.about().await.unwrap();
    assert!(!about.version.is_empty() && about.compose_version.is_some(), "{about:?}");

    let first = case.up().await;
    assert_eq!(first.state, ContainerState::Running);
    assert_eq!(first.image, IMAGE);
    assert_eq!(first.exposed, [8080]);
    assert_eq!(first.labels[label::ROLE], "app");
    assert!(first.addresses.contains_key(&case.name("net")), "{:?}", first.addresses);
    let closer = case.engine.container(&first.name).await.unwrap();
    assert_eq!((&closer.id, closer.state, &closer.addresses), (&first.id, first.state, &first.addresses));
    assert_eq!((closer.exit_code, closer.exposed.as_slice()), (None, [8080].as_slice()));
    assert!(closer.started_at_ms.is_some());

    let networks = case.engine.networks(&case.labels()).await.unwrap();
    assert_eq!(networks[0].name, case.name("net"));
    assert_eq!(networks[0].subnets.len(), 1);
    assert!(case.engine.networks(&Labels::new()).await.unwrap().len() >= networks.len());
    assert_eq!(case.engine.volumes(&case.labels()).await.unwrap()[0].name, case.name("vol"));
    assert_eq!(case.engine.mounts(&first.id).await.unwrap()[0].target, Path::new("/data"));

    assert_eq!(case.up().await.id, first.id, "a stack that is up is left alone");
    case.engine.down(&case.name("stack"), false).await.unwrap();
    assert_eq!(case.engine.containers(&case.labels()).await.unwrap(), []);
    assert_eq!(case.engine.volumes(&case.labels()).await.unwrap().len(), 1, "volumes stay unless told");
    case.up().await;
    case.down().await;
    case.down().await;
}

async fn one_container_is_made_anew_and_keeps_its_volumes(case: Case) {
    let first = case.up().await;
    let before = case.engine.mounts(&first.id).await.unwrap();
    case.engine.remake(&case.stack(), "app", deaf()).await.unwrap();
    let second = case.listed(ContainerState::Running).await;
    assert!(second.id != first.id, "the same container as before");
    // Compose adds a label of its own that names the one before.
    assert!(first.labels.iter().all(|(key, value)| second.labels.get(key) == Some(value)));
    assert_eq!(second.name, first.name);
    let absent = case.engine.container(&first.id).await.unwrap_err();
    assert!(matches!(absent, Error::NotFound { .. }), "{absent}");
    assert_eq!(case.engine.mounts(&second.id).await.unwrap(), before);
    assert_eq!(case.up().await.id, second.id, "the stack is up with it");
    let unknown = case.engine.remake(&case.stack(), "nobody", deaf()).await.unwrap_err();
    assert!(matches!(&unknown, Error::Compose { message } if message.contains("nobody")), "{unknown}");
    case.down().await;
}

async fn containers_are_stopped_started_frozen(case: Case) {
    let made = case.up().await;
    case.engine.pause(&made.id).await.unwrap();
    assert_eq!(case.engine.container(&made.id).await.unwrap().state, ContainerState::Paused);
    case.engine.unpause(&made.id).await.unwrap();

    case.engine.stop(&made.id, 10).await.unwrap();
    let listed = case.listed(ContainerState::Exited).await;
    assert_eq!((listed.exit_code, listed.oom_killed), (Some(3), false));
    case.engine.stop(&made.id, 10).await.unwrap();
    assert!(matches!(case.engine.exec(&made.id, &program(&["true"])).await, Err(Error::Conflict { .. })));

    case.engine.start(&made.id).await.unwrap();
    case.engine.start(&made.id).await.unwrap();
    let listed = case.listed(ContainerState::Running).await;
    assert_eq!(listed.exit_code, None);
    assert!(!listed.addresses.is_empty());
    case.engine.remove_container(&made.id).await.unwrap();
    case.down().await;
}

async fn programs_run_inside(case: Case) {
    let made = case.up().await;
    assert_eq!(run(&case, &made.id, &program(&["echo", "a", "b"])).await, ("a b\n".into(), "".into(), 0));
    assert_eq!(run(&case, &made.id, &program(&["false"])).await.2, 1);

    let mut pipe = case.engine.pipe(&made.id, &program(&["cat"])).await.unwrap();
    let sent: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let (mut read, mut write) = tokio::io::split(&mut pipe);
    let mut received = vec![0; sent.len()];
    in_time("a round trip", async {
        let (written, read) = tokio::join!(write.write_all(&sent), read.read_exact(&mut received));
        written.unwrap();
        read.unwrap();
    })
    .await;
    assert!(received == sent, "the bytes come back as they went");
    pipe.shutdown().await.unwrap();
    let mut rest = Vec::new();
    in_time("the end", pipe.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
    case.down().await;
}

async fn logs_and_events_tell_what_happens(case: Case) {
    let mut events = case.engine.events(&case.labels()).await.unwrap();
    let made = case.up().await;
    in_time("a start event", async {
        loop {
            let event = events.next().await.expect("the engine stays").unwrap();
            if (event.object.as_str(), event.action.as_str()) == ("container", "start") {
                assert_eq!(event.labels[label::ROLE], "app");
                break;
            }
        }
    })
    .await;

    let follow = Logs { tail: None, follow: true, timestamps: false };
    let mut logs = case.engine.logs(&made.id, &follow).await.unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while out != b"hello\n" || err != b"oops\n" {
        match in_time("a log line", logs.next()).await.expect("both lines come").unwrap() {
            Output::Out(bytes) => out.extend_from_slice(&bytes),
            Output::Err(bytes) => err.extend_from_slice(&bytes),
        }
    }
    case.engine.stop(&made.id, 10).await.unwrap();
    assert!(in_time("the end of the log", logs.next()).await.is_none());
    case.down().await;
}

async fn what_is_absent_is_said_or_is_success(case: Case) {
    let (name, engine) = (case.name("nobody"), &case.engine);
    let absent = |error: &Error| matches!(error, Error::NotFound { name: said, .. } if *said == name);
    assert!(absent(&engine.container(&name).await.unwrap_err()));
    assert!(absent(&engine.mounts(&name).await.unwrap_err()));
    assert!(absent(&engine.start(&name).await.unwrap_err()));
    assert!(absent(&engine.stop(&name, 1).await.unwrap_err()));
    assert!(absent(&engine.exec(&name, &program(&["true"])).await.err().unwrap()));
    assert!(absent(&engine.pipe(&name, &program(&["true"])).await.err().unwrap()));
    let logs = Logs { tail: Some(1), follow: false, timestamps: false };
    assert!(absent(&engine.logs(&name, &logs).await.err().unwrap()));
    engine.remove_container(&name).await.unwrap();
    engine.remove_network(&name).await.unwrap();
    engine.remove_volume(&name).await.unwrap();
    assert_eq!(engine.image(&name).await.unwrap(), None);
    assert!(engine.image(IMAGE).await.unwrap().is_some());
    let hostile = engine.container("../images/json").await.unwrap_err();
    assert!(matches!(hostile, Error::NotFound { .. }), "{hostile}");
}

async fn volumes_are_made_once_and_seeded_from_images(case: Case) {
    let (volume, labels) = (case.name("seed"), case.labels());
    case.engine.ensure_volume(&volume, &labels).await.unwrap();
    case.engine.ensure_volume(&volume, &labels).await.unwrap();
    case.engine.seed_volume(&volume, &labels, IMAGE, "/etc", None).await.unwrap();
    case.engine.seed_volume(&volume, &labels, IMAGE, "/etc", None).await.unwrap();
    assert_eq!(case.engine.volumes(&labels).await.unwrap().len(), 1);
    assert_eq!(case.engine.containers(&labels).await.unwrap(), [], "what seeds is gone again");
    let missing =
        case.engine.seed_volume(&volume, &labels, "nexus/nowhere:1", "/etc", None).await.unwrap_err();
    assert!(matches!(&missing, Error::NotFound { object: "image", .. }), "{missing}");
    case.engine.remove_volume(&volume).await.unwrap();
    assert_eq!(case.engine.volumes(&labels).await.unwrap(), []);
}

async fn an_archive_becomes_an_image(case: Case) {
    let image = format!("{}:1", case.name("image"));
    // An empty archive: two blocks of zeros.
    let archive = Bytes::from_static(&[0; 1024]);
    case.engine.import_image(&image, archive.clone()).await.unwrap();
    let first = case.engine.image(&image).await.unwrap();
    assert!(first.is_some());
    case.engine.import_image(&image, archive).await.unwrap();
    assert!(case.engine.image(&image).await.unwrap().is_some());
    case.engine.remove_image(&image).await.unwrap();
    case.engine.remove_image(&image).await.unwrap();
    assert_eq!(case.engine.image(&image).await.unwrap(), None);
}

async fn stacks_are_checked_before_anything_starts(case: Case) {
    let stack = case.stack();
    assert!(case.engine.check(&stack).await.unwrap().contains(IMAGE));
    std::fs::write(&stack.file, "services:\n  app:\n    imag: x\n").unwrap();
    let wrong = case.engine.check(&stack).await.unwrap_err();
    assert!(matches!(&wrong, Error::Compose { message } if message.contains("app")), "{wrong}");
    assert_eq!(case.engine.containers(&case.labels()).await.unwrap(), []);
}

macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod real {
            $(#[tokio::test] async fn $name() { super::$name(super::Case::real()).await; })*
        }
        mod real_api_1_41 {
            $(#[tokio::test] async fn $name() { super::$name(super::Case::older()).await; })*
        }
        mod memory {
            $(#[tokio::test] async fn $name() { super::$name(super::Case::memory()).await; })*
        }
    };
}

contract!(
    stacks_come_up_once_and_go_down_whole,
    one_container_is_made_anew_and_keeps_its_volumes,
    containers_are_stopped_started_frozen,
    programs_run_inside,
    logs_and_events_tell_what_happens,
    what_is_absent_is_said_or_is_success,
    volumes_are_made_once_and_seeded_from_images,
    an_archive_becomes_an_image,
    stacks_are_checked_before_anything_starts,
);
