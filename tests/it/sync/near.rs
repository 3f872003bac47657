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
        let file = home.path().join("compose.yaml");
        fs::write(&file, "services:\n  app: { image: x, container_name: app }\n").unwrap();
        let engine = Arc::new(Memory::new(&["x"]));
        let stack = Stack { project: "near".to_owned(), file, directory: home.path().to_owned() };
        engine.up(&stack, tokio::sync::mpsc::channel(8).0).await.unwrap();
        engine.program(ENDPOINT, agent);
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

    /// A place in the host's folder.
    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.home.path().join("src").join(name)
    }

    pub(super) fn write(&self, name: &str, content: &[u8]) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
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

/// Everything below a directory: kind, mode and content, or a link's target.
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
    seen
}
