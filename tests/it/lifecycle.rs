//! The life of workspaces on an engine that fails on command: whatever goes wrong and whenever the node dies, what is
//! wanted comes to be, once.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use nexus::base::home::Home;
use nexus::base::ids::NodeId;
use nexus::base::tasks::TaskGroup;
use nexus::compose::Subnet;
use nexus::engine::Container;
use nexus::engine::ContainerState;
use nexus::engine::Engine as _;
use nexus::engine::Labels;
use nexus::engine::memory::Fault;
use nexus::engine::memory::Memory;
use nexus::engine::memory::When;
use nexus::model::project::Limits;
use nexus::model::workspace::State;
use nexus::store::Store;
use nexus::workspace;
use nexus::workspace::Context;
use nexus::workspace::Settings;
use nexus::workspace::View;
use nexus::workspace::Workspaces;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(20);

/// A node's workspace room over an engine in memory, with a real store and real folders.
struct World {
    directory: TempDir,
    engine: Arc<Memory>,
    node: NodeId,
    running: Option<(TaskGroup, Workspaces)>,
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["projects", "home"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        fs::write(directory.path().join("agent"), "#!").unwrap();
        let own = format!("nexus/runtime-static:{}", env!("CARGO_PKG_VERSION"));
        let engine = Arc::new(Memory::new(&[&own, "nexus/agent:test"]));
        let store = Store::open(&directory.path().join("home/nexus.db")).unwrap();
        let node = store.node_id().await.unwrap();
        Self { directory, engine, node, running: None }
    }

    fn start(&mut self) {
        let home = Home::new(self.directory.path().join("home"));
        let store = Store::open(&home.database()).unwrap();
        let engine: Arc<dyn nexus::engine::Engine> = Arc::clone(&self.engine) as _;
        let settings = Settings {
            directory: self.projects(),
            settle: Duration::from_millis(40),
            rescan: Duration::from_secs(1),
            sync: nexus::sync::Settings::default(),
            limits: Limits::default(),
            ca_bundle: None,
            build_ca_bundle: None,
            mapping: nexus::engine::mounts::Mapping::Same,
            // For measurements (RFC 2544): no network of this machine is in it, whatever else runs here.
            network_range: Subnet::parse("198.18.0.0/16").unwrap(),
            registry: false,
            images: self.directory.path().join("images"),
            agent: self.directory.path().join("agent"),
        };
        let workspaces = Workspaces::new(store.clone(), Arc::clone(&engine), home.clone(), self.projects());
        let context = Arc::new(Context::new(self.node.clone(), settings, store, engine, home));
        let mut tasks = TaskGroup::new("test", &CancellationToken::new());
        tasks.spawn("workspaces", workspace::run(context, workspaces.clone(), tasks.token()));
        self.running = Some((tasks, workspaces));
    }

    /// The node is gone at whatever point it was, as after SIGKILL: nothing is closed, nothing is told.
    fn die(&mut self) {
        self.running = None;
    }

    fn workspaces(&self) -> &Workspaces {
        &self.running.as_ref().expect("the node runs").1
    }

    fn projects(&self) -> PathBuf {
        self.directory.path().join("projects")
    }

    fn drop_folder(&self, name: &str) {
        fs::create_dir(self.projects().join(name)).unwrap();
        fs::write(self.projects().join(name).join("index.html"), name).unwrap();
    }

    async fn containers(&self) -> Vec<Container> {
        let label = Labels::from([("nexus.node".to_owned(), self.node.to_string())]);
        self.engine.containers(&label).await.unwrap_or_default()
    }

    /// Waits until exactly one container per name runs and nothing else is there.
    async fn wait_for_running(&self, names: &[&str]) {
        let wanted: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let deadline = Instant::now() + SOON;
        loop {
            let containers = self.containers().await;
            let running: Vec<&Container> =
                containers.iter().filter(|container| container.state == ContainerState::Running).collect();
            let ids: BTreeSet<String> = running
                .iter()
                .filter_map(|container| container.labels.get("nexus.workspace").cloned())
                .collect();
            let found: BTreeSet<String> = self
                .workspaces()
                .views()
                .borrow()
                .iter()
                .filter(|view| ids.contains(view.id.as_str()))
                .map(|view| view.name.clone())
                .collect();
            if found == wanted && containers.len() == wanted.len() {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "wanted {wanted:?}, found {found:?} in {containers:#?}; {:#?}",
                self.workspaces().views().borrow()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn wait_for_view(&self, name: &str, what: &str, check: impl Fn(&View) -> bool) -> View {
        let mut views = self.workspaces().views();
        let seen = tokio::time::timeout(
            SOON,
            views.wait_for(|views| views.iter().any(|view| view.name == name && check(view))),
        )
        .await;
        let views = seen.unwrap_or_else(|_| {
            panic!("never saw {name}: {what}; last {:#?}", self.workspaces().views().borrow())
        });
        View::clone(views.unwrap().iter().find(|view| view.name == name).unwrap())
    }
}

#[tokio::test]
async fn a_dropped_folder_runs_and_a_restarted_node_changes_nothing() {
    let mut world = World::new().await;
    world.start();
    world.drop_folder("a");
    world.wait_for_running(&["a"]).await;
    let before = world.containers().await;
    world.die();
    world.start();
    world.wait_for_view("a", "an observed workspace", |view| !view.services.is_empty()).await;
    world.drop_folder("b");
    world.wait_for_running(&["a", "b"]).await;
    let after = world.containers().await;
    assert!(after.contains(&before[0]), "{before:#?} was replaced: {after:#?}");
}

#[tokio::test]
async fn folders_are_followed_when_renamed_removed_and_put_back() {
    let mut world = World::new().await;
    world.start();
    world.drop_folder("a");
    world.wait_for_running(&["a"]).await;
    let id = world.workspaces().find("a").unwrap().id.clone();
    fs::rename(world.projects().join("a"), world.projects().join("b")).unwrap();
    world.wait_for_running(&["b"]).await;
    assert_eq!(world.workspaces().find("b").unwrap().id, id);
    let elsewhere = world.directory.path().join("elsewhere");
    fs::rename(world.projects().join("b"), &elsewhere).unwrap();
    let gone = world.wait_for_view("b", "stopped", |view| view.state == State::Stopped).await;
    assert!(!gone.folder_present);
    assert_eq!(world.containers().await.len(), 1, "stopped, not removed");
    fs::rename(&elsewhere, world.projects().join("b")).unwrap();
    world.wait_for_running(&["b"]).await;
    assert_eq!(world.workspaces().find("b").unwrap().id, id);
}

#[tokio::test]
async fn removal_takes_the_stack_down_and_keeps_folder_and_volumes_until_purged() {
    let mut world = World::new().await;
    world.start();
    for name in ["kept", "purged"] {
        world.drop_folder(name);
    }
    world.wait_for_running(&["kept", "purged"]).await;
    let volumes = |id: String| Labels::from([("nexus.workspace".to_owned(), id)]);
    let kept = volumes(world.workspaces().find("kept").unwrap().id.to_string());
    let purged = volumes(world.workspaces().find("purged").unwrap().id.to_string());
    world.workspaces().remove("kept", false).await.unwrap();
    world.workspaces().remove("purged", true).await.unwrap();
    world.wait_for_running(&[]).await;
    let deadline = Instant::now() + SOON;
    let trash = world.projects().join(".nexus-trash");
    while fs::read_dir(&trash).map_or(0, Iterator::count) < 2 {
        assert!(Instant::now() < deadline, "the folders never reached the trash");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(fs::read_dir(world.projects()).unwrap().count(), 1, "only the trash is left");
    assert!(!world.engine.volumes(&kept).await.unwrap().is_empty());
    while !world.engine.volumes(&purged).await.unwrap().is_empty() {
        assert!(Instant::now() < deadline, "the volumes were never purged");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn stopping_starting_and_restarting_are_wishes_that_come_true() {
    let mut world = World::new().await;
    world.start();
    world.drop_folder("a");
    world.wait_for_running(&["a"]).await;
    let started = world.containers().await[0].started_at_ms;
    world.workspaces().restart("a").await.unwrap();
    let deadline = Instant::now() + SOON;
    while world.containers().await[0].started_at_ms == started {
        assert!(Instant::now() < deadline, "never restarted");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.workspaces().stop("a").await.unwrap();
    world.wait_for_view("a", "stopped", |view| view.state == State::Stopped).await;
    world.workspaces().start("a").await.unwrap();
    world.wait_for_running(&["a"]).await;
}

#[tokio::test]
async fn an_engine_that_went_away_and_came_back_runs_what_it_ran() {
    let mut world = World::new().await;
    world.start();
    world.drop_folder("a");
    world.wait_for_running(&["a"]).await;
    world.engine.leave();
    world
        .wait_for_view("a", "a sentence about the engine", |view| {
            view.message.as_deref().is_some_and(|message| message.contains("engine"))
        })
        .await;
    world.engine.come_back();
    world.wait_for_running(&["a"]).await;
}

#[tokio::test]
async fn a_container_the_engine_has_lost_track_of_is_made_anew() {
    let mut world = World::new().await;
    world.start();
    for name in ["a", "b"] {
        world.drop_folder(name);
    }
    world.wait_for_running(&["a", "b"]).await;
    let volumes = world.engine.volumes(&Labels::new()).await.unwrap();
    let before = world.containers().await;
    world.engine.doom(&before[0].id);
    world.wait_for_running(&["a", "b"]).await;
    let after = world.containers().await;
    assert!(!after.iter().any(|container| container.id == before[0].id), "{after:#?}");
    assert!(after.contains(&before[1]), "the other was touched: {after:#?}");
    assert_eq!(world.engine.volumes(&Labels::new()).await.unwrap(), volumes);
    let name = before[0].labels["nexus.name"].clone();
    let told = |view: &View| view.notices.iter().any(|notice| notice.contains("made anew"));
    world.wait_for_view(&name, "what was done to it", told).await;

    // Were it made anew each time, it would never be left in peace.
    let again = after.iter().find(|container| container.labels["nexus.name"] == name).unwrap();
    world.engine.doom(&again.id);
    let said = |view: &View| view.message.as_deref().is_some_and(|it| it.contains("has restarted it"));
    world.wait_for_view(&name, "what the engine does to it", said).await;
    assert!(world.containers().await.iter().any(|container| container.id == again.id));
    assert_eq!(world.engine.calls().iter().filter(|call| call.starts_with("remake")).count(), 1);
}

#[tokio::test]
async fn addresses_that_somebody_hidden_has_are_left_to_them() {
    let mut world = World::new().await;
    for hidden in ["198.18.0.0/26", "198.18.0.64/26"] {
        world.engine.hide(hidden);
    }
    world.start();
    world.drop_folder("a");
    world.wait_for_running(&["a"]).await;
    let label = Labels::from([("nexus.node".to_owned(), world.node.to_string())]);
    let networks = world.engine.networks(&label).await.unwrap();
    assert_eq!(networks[0].subnets, ["198.18.0.128/26"]);
}

/// However making it anew is cut short, it comes to be.
#[tokio::test]
async fn a_container_is_made_anew_whatever_goes_wrong_meanwhile() {
    for fault in [Fault::Lose, Fault::Half] {
        let mut world = World::new().await;
        world.start();
        world.drop_folder("a");
        world.wait_for_running(&["a"]).await;
        world.engine.fault(When::Next("remake"), fault);
        world.engine.doom(&world.containers().await[0].id);
        world.wait_for_running(&["a"]).await;
    }
}

/// Every call of the way up fails once in every way; what is there at the end is the same.
#[tokio::test]
async fn whichever_call_fails_the_next_attempt_completes_it() {
    for fault in [Fault::Drop, Fault::Lose, Fault::Half, Fault::Refuse("no".to_owned())] {
        for nth in 1..=14 {
            let mut world = World::new().await;
            world.engine.fault(When::Nth(nth), fault.clone());
            world.start();
            world.drop_folder("a");
            world.wait_for_running(&["a"]).await;
        }
    }
}

/// The node dies at twenty moments while five folders are on their way up.
#[tokio::test]
async fn killed_at_any_moment_the_next_node_completes_what_was_begun() {
    let names = ["a", "b", "c", "d", "e"];
    for moment in 0..20_u64 {
        let mut world = World::new().await;
        world.start();
        for name in names {
            world.drop_folder(name);
        }
        tokio::time::sleep(Duration::from_millis(moment * 12)).await;
        world.die();
        world.start();
        world.wait_for_running(&names).await;
        let label = Labels::from([("nexus.node".to_owned(), world.node.to_string())]);
        let networks = world.engine.networks(&label).await.unwrap();
        assert_eq!(networks.len(), names.len(), "one network each: {networks:#?}");
    }
}
