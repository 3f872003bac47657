//! An API in this process on a port and a socket of its own, and a client that sends exactly what it is told.

use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nexus::api;
use nexus::api::Api;
use nexus::api::door::Route;
use nexus::backup;
use nexus::backup::Backups;
use nexus::base::clock;
use nexus::base::home::Home;
use nexus::base::ids::NodeId;
use nexus::base::tasks::TaskGroup;
use nexus::compose::Subnet;
use nexus::engine::Engine;
use nexus::engine::docker;
use nexus::engine::memory::Memory;
use nexus::model::project::Limits;
use nexus::ops::doctor;
use nexus::ops::vitals;
use nexus::store::Store;
use nexus::workspace;
use nexus::workspace::Workspaces;
use tempfile::TempDir;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

/// How long anything may take before a test says it hangs.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub struct TestApi {
    pub api: Api,
    pub routes: Vec<Route>,
    pub address: SocketAddr,
    pub socket: PathBuf,
    pub directory: PathBuf,
    /// What backups take for the workspaces there are.
    pub sources: tokio::sync::watch::Sender<Vec<backup::Workspace>>,
    closing: CancellationToken,
    tasks: TaskGroup,
    _temp: TempDir,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

impl TestApi {
    pub async fn start() -> Self {
        Self::with(api::Settings::default()).await
    }

    /// Nothing answers where the engine should be.
    pub async fn with(settings: api::Settings) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let engine = docker::Docker::new(&docker::Settings {
            socket: format!("unix://{}", temp.path().join("no-engine.sock").display()),
            compose_home: temp.path().join("compose"),
            call_timeout: Duration::from_secs(2),
        });
        Self::on(temp, Arc::new(engine), settings, false).await
    }

    /// Workspaces live, on an engine in memory.
    pub async fn live(engine: Arc<Memory>) -> Self {
        Self::on(tempfile::tempdir().unwrap(), engine, api::Settings::default(), true).await
    }

    async fn on(temp: TempDir, engine: Arc<dyn Engine>, mut settings: api::Settings, live: bool) -> Self {
        let home = Home::new(temp.path().join("home"));
        let directory = temp.path().join("workspaces");
        std::fs::create_dir_all(home.root()).unwrap();
        std::fs::create_dir_all(&directory).unwrap();
        let store = Store::open(&home.database()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        settings.control_url = format!("http://{address}");
        let closing = CancellationToken::new();
        let id = NodeId::random();
        let doctor = doctor::Subject {
            engine: engine.clone(),
            home: home.clone(),
            directory: directory.clone(),
            listeners: vec![("control".to_owned(), address)],
            agent: home.root().join("nexus-agent"),
            images: directory.clone(),
            node: Some(id.clone()),
            serving: true,
        };
        let (vitals, looking) = vitals::prepare(doctor.clone());
        let facts = api::Facts {
            id,
            started_at: clock::now(),
            directory: directory.clone(),
            listeners: vec![("control".to_owned(), settings.control_url.clone())],
            vitals,
            closing: closing.clone(),
        };
        let workspaces = Workspaces::new(store.clone(), engine.clone(), home.clone(), directory.clone());
        let (facts_id, store_again) = (facts.id.clone(), store.clone());
        let (sources, known) = tokio::sync::watch::channel(Vec::new());
        let backups = backups(temp.path(), &directory, &home, &store, known, &closing);
        let parts = api::Parts {
            workspaces,
            backups,
            web: Arc::default(),
            engine,
            store,
            home: home.clone(),
            settings,
            facts,
            doctor,
        };
        let api = Api::new(parts);
        api.tokens().ensure_claim().await.unwrap();
        let mut tasks = TaskGroup::new("test", &closing);
        tasks.spawn("vitals", looking.run(tasks.token()));
        if live {
            std::fs::write(temp.path().join("agent"), "#!").unwrap();
            let settings = workspace_settings(temp.path());
            let (workspaces, engine) = (api.workspaces().clone(), Arc::clone(api.engine()));
            let context = workspace::Context::new(facts_id, settings, store_again, engine, home.clone());
            tasks.spawn("workspaces", workspace::run(Arc::new(context), workspaces, tasks.token()));
        }
        let (routes, router) = api::rest::router(&api);
        let local = api::listen::bind_local(&home.socket()).unwrap();
        tasks.spawn("control", api::listen::serve_control(listener, router.clone(), tasks.token()));
        tasks.spawn("local", api::listen::serve_local(local, router, tasks.token()));
        Self { api, routes, address, socket: home.socket(), directory, sources, closing, tasks, _temp: temp }
    }

    pub async fn close(self) {
        self.closing.cancel();
        self.tasks.close(DEADLINE).await;
    }

    pub async fn token(&self, scope: &str) -> String {
        self.api.tokens().create("test", scope, None).await.unwrap().0.reveal().to_owned()
    }

    /// A plain request over the network, as a program sends it.
    pub async fn send(&self, method: &str, path: &str, token: Option<&str>, body: Option<&str>) -> Answer {
        let mut headers = format!("Host: {}\r\n", self.address);
        if let Some(token) = token {
            headers += &format!("Authorization: Bearer {token}\r\n");
        }
        self.raw(&request(method, path, &headers, body)).await
    }

    /// The same over the local socket.
    pub async fn send_local(&self, method: &str, path: &str, body: Option<&str>) -> Answer {
        let stream = UnixStream::connect(&self.socket).await.unwrap();
        exchange(stream, request(method, path, "Host: nexus\r\n", body).as_bytes()).await
    }

    /// Sends bytes and reads until the other side closes.
    pub async fn raw(&self, request: &str) -> Answer {
        exchange(TcpStream::connect(self.address).await.unwrap(), request.as_bytes()).await
    }
}

/// One destination: a folder beside the home.
fn backups(
    root: &Path,
    directory: &Path,
    home: &Home,
    store: &Store,
    known: tokio::sync::watch::Receiver<Vec<backup::Workspace>>,
    closing: &CancellationToken,
) -> Backups {
    let words = [("url".to_owned(), root.join("backups").display().to_string())].into();
    let description = backup::destination::Description {
        name: "local",
        words: &words,
        home: home.root(),
        schedule: "never",
        zone: "UTC",
        keep: "last=3",
        credentials: None,
    };
    let settings = backup::Settings {
        directory: directory.to_owned(),
        destinations: vec![description.read().unwrap()],
        selection: backup::walk::Selection::default(),
        quiet: None,
        drill: backup::schedule::Schedule::Never,
        patience: backup::objects::Patience::default(),
        passwords: std::collections::BTreeMap::new(),
    };
    Backups::new(settings, "node".to_owned(), home.clone(), store.clone(), known, closing.clone())
}

fn workspace_settings(root: &Path) -> workspace::Settings {
    workspace::Settings {
        directory: root.join("workspaces"),
        settle: Duration::from_millis(40),
        rescan: Duration::from_secs(1),
        sync: nexus::sync::Settings::default(),
        limits: Limits::default(),
        ca_bundle: None,
        build_ca_bundle: None,
        mapping: nexus::engine::mounts::Mapping::Same,
        network_range: Subnet::parse("10.213.0.0/16").unwrap(),
        registry: false,
        images: root.join("images"),
        agent: root.join("agent"),
    }
}

pub fn request(method: &str, path: &str, headers: &str, body: Option<&str>) -> String {
    let body_headers = body.map_or(String::new(), |body| {
        let kind = if headers.to_ascii_lowercase().contains("content-type") {
            ""
        } else {
            "Content-Type: application/json\r\n"
        };
        format!("{kind}Content-Length: {}\r\n", body.len())
    });
    format!(
        "{method} {path} HTTP/1.1\r\nConnection: close\r\n{headers}{body_headers}\r\n{}",
        body.unwrap_or("")
    )
}

pub async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> Answer {
    let work = async {
        // The other side may answer and close before it has read everything: that is what is looked at then.
        let _sent = stream.write_all(request).await;
        let mut bytes = Vec::new();
        let _read = stream.read_to_end(&mut bytes).await;
        String::from_utf8_lossy(&bytes).into_owned()
    };
    parse(&tokio::time::timeout(DEADLINE, work).await.expect("an answer in time"))
}

fn parse(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunk(body) } else { body.to_owned() };
    Answer { status, head: head.to_owned(), body }
}

fn unchunk(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap_or(0);
        if size == 0 || after.len() < size {
            break;
        }
        body.push_str(&after[..size]);
        rest = after[size..].trim_start_matches("\r\n");
    }
    body
}
