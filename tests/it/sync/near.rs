//! A session whose container is in this process: the engine in memory, and for an agent whatever a test wants.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nexus::base::tasks::TaskGroup;
use nexus::engine::Engine as _;
use nexus::engine::Stack;
use nexus::engine::memory::Memory;
use nexus::engine::memory::Program;
use nexus::sync;
use nexus::sync::Status;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// What the node runs in a container to reach the agent.
const ENDPOINT: &str = "/nexus/nexus-agent";

/// One folder, one agent, and the session between them.
pub(super) struct Near {
    pub(super) home: TempDir,
    pub(super) settings: sync::Settings,
    engine: Arc<Memory>,
    tasks: TaskGroup,
    handle: Option<sync::Handle>,
}

impl Near {
    /// Nothing is connected yet.
    pub(super) async fn new(agent: Program) -> Self {
        let home = TempDir::new().unwrap();
        fs::create_dir(home.path().join("src")).unwrap();
        let engine = engine_with(home.path(), agent).await;
        let tasks = TaskGroup::new("test", &CancellationToken::new());
        Self { home, settings: sync::Settings::default(), engine, tasks, handle: None }
    }

    pub(super) fn connect(&mut self) {
        let home = self.home.path();
        let spec = sync::SessionSpec {
            name: "near".to_owned(),
            container: "app".to_owned(),
            root: home.join("src"),
            staging: home.join("stage"),
            state: home.join("state"),
            settings: self.settings.clone(),
        };
        self.handle = Some(sync::spawn(spec, Arc::clone(&self.engine) as _, &mut self.tasks));
    }

    /// Ends the session for good, and waits until it has.
    pub(super) async fn end(&mut self) {
        let Some(handle) = self.handle.take() else { return };
        let mut status = handle.status.clone();
        drop(handle);
        let ended = async { while status.changed().await.is_ok() {} };
        tokio::time::timeout(Duration::from_secs(20), ended).await.expect("the session ends");
    }

    /// As after a restart of the node.
    pub(super) async fn reconnect(&mut self) {
        self.end().await;
        self.connect();
    }

    pub(super) fn wishes(&self) -> sync::Wishes {
        self.handle.as_ref().unwrap().wishes.clone()
    }

    /// Waits until both sides have looked and are equal.
    pub(super) async fn flush(&self) {
        let flush = self.wishes();
        let flushed = tokio::time::timeout(Duration::from_secs(30), flush.flush()).await;
        let status = || self.handle.as_ref().unwrap().status.borrow().clone();
        flushed.unwrap_or_else(|_| panic!("not equal: {:#?}", status())).unwrap();
    }

    /// Says yes to all that is held until both sides are equal.
    pub(super) async fn settle(&mut self) {
        let (wishes, flushing) = (self.wishes(), self.wishes());
        let flush = tokio::spawn(async move { flushing.flush().await });
        while !flush.is_finished() {
            let held =
                |status: &Status| status.session.as_ref().is_some_and(|session| !session.holds.is_empty());
            let status = &mut self.handle.as_mut().unwrap().status;
            let seen = tokio::time::timeout(Duration::from_millis(500), status.wait_for(held)).await;
            let Ok(Ok(seen)) = seen else { continue };
            let keys: Vec<_> =
                seen.session.iter().flat_map(|session| &session.holds).map(|hold| hold.key).collect();
            drop(seen);
            for key in keys {
                wishes.approve(key).await.unwrap();
            }
        }
        flush.await.unwrap().unwrap();
        self.flush().await;
    }

    /// A place in the host's folder.
    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.home.path().join("src").join(name)
    }

    pub(super) fn write(&self, name: &str, content: &[u8]) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// What is known at the moment.
    pub(super) fn status(&self) -> Status {
        self.handle.as_ref().unwrap().status.borrow().clone()
    }

    /// Waits until the status is as wished.
    pub(super) async fn until(&mut self, what: &str, wish: impl Fn(&Status) -> bool) -> Status {
        let status = &mut self.handle.as_mut().unwrap().status;
        let seen = tokio::time::timeout(Duration::from_secs(20), status.wait_for(wish)).await;
        if let Ok(seen) = seen {
            return seen.unwrap().clone();
        }
        drop(seen);
        panic!("{what} did not come: {:#?}", status.borrow().clone());
    }
}

/// An engine in memory with a container `app` whose agent is this.
pub(super) async fn engine_with(home: &Path, agent: Program) -> Arc<Memory> {
    let file = home.join("compose.yaml");
    fs::write(&file, "services:\n  app: { image: x, container_name: app }\n").unwrap();
    let engine = Arc::new(Memory::new(&["x"]));
    let stack = Stack { project: "near".to_owned(), file, directory: home.to_owned() };
    engine.up(&stack, tokio::sync::mpsc::channel(8).0).await.unwrap();
    engine.program(ENDPOINT, agent);
    engine
}

/// Everything below a directory: kind, mode and content, or a link's target. The agent's own directory is left out
/// where nothing is in it.
pub(super) fn picture(directory: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut seen = BTreeMap::new();
    let mut open = vec![directory.to_owned()];
    while let Some(at) = open.pop() {
        let facts = fs::symlink_metadata(&at).unwrap();
        let content = if facts.is_dir() {
            open.extend(fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        } else if facts.is_symlink() {
            fs::read_link(&at).unwrap().into_os_string().into_encoded_bytes()
        } else if facts.is_file() {
            fs::read(&at).unwrap()
        } else {
            Vec::new()
        };
        seen.insert(at.strip_prefix(directory).unwrap().to_owned(), (facts.mode(), content));
    }
    let staging = Path::new(".nexus-stage");
    if !seen.keys().any(|path| path != staging && path.starts_with(staging)) {
        seen.remove(staging);
    }
    seen
}
