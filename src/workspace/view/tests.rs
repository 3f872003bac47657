//! Laws of the view: one fact changed at a time.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use super::*;
use crate::model::project::FolderIdentity;
use crate::model::workspace::Name;
use crate::store::workspace::Record;
use crate::workspace::prepare::Trouble;
use crate::workspace::worker::Input;

/// A workspace whose stack has one container with the agent; each test changes one fact.
struct World {
    input: Input,
    looked: Looked,
    containers: Vec<Container>,
    sync: Option<sync::Status>,
    probed: Option<SocketAddr>,
    trouble: Option<Trouble>,
    remade: Option<Timestamp>,
    doing: Option<&'static str>,
    now: Timestamp,
}

const SECOND: i64 = 1_000;

impl World {
    fn new() -> Self {
        let now = Timestamp::from_millisecond(1_000 * SECOND).unwrap();
        let record = Record::new("shop", FolderIdentity { device: 1, inode: 1 }, now);
        let network = compose::network_name(&record.id);
        let container = Container {
            id: "c1".to_owned(),
            name: "nexus-shop-app-1".to_owned(),
            image: "node:22-slim".to_owned(),
            state: ContainerState::Running,
            exit_code: None,
            restarts: 0,
            oom_killed: false,
            labels: [("com.docker.compose.service".to_owned(), "app".to_owned())].into(),
            addresses: [(network, "10.213.0.2".parse().unwrap())].into(),
            exposed: vec![],
            started_at_ms: Some(now.as_millisecond()),
            health: None,
        };
        let plan = compose::Plan {
            project: "p".to_owned(),
            file: String::new(),
            digest: "d".to_owned(),
            image: String::new(),
            volumes: vec![],
            services: vec!["app".to_owned()],
            web: vec![compose::Candidate { service: "app".to_owned(), ports: vec![3000] }],
            agent: true,
            unsynced: None,
            paths: vec![],
            notices: vec![],
        };
        Self {
            input: Input {
                called: Called::AsFolder(Name::parse("shop").unwrap()),
                record,
                folder: Folder::Settled,
                path: PathBuf::from("/projects/shop"),
                revision: 1,
                engine_session: 1,
                hints: 0,
            },
            looked: Looked { plan: Some(Arc::new(plan)), ..Looked::default() },
            containers: vec![container],
            sync: Some(sync::Status::default()),
            probed: None,
            trouble: None,
            remade: None,
            doing: None,
            now,
        }
    }

    fn reporting(mut self, report: sync::Report) -> Self {
        self.sync = Some(sync::Status { link: sync::Link::Up, report, ..sync::Status::default() });
        self
    }

    fn view(&self) -> View {
        render(&self.facts())
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            input: &self.input,
            looked: Some(&self.looked),
            containers: &self.containers,
            sync: self.sync.clone(),
            probed: self.probed,
            doing: self.doing,
            trouble: self.trouble.as_ref(),
            remade: self.remade,
            now: self.now,
        }
    }
}

fn ready() -> sync::Report {
    sync::Report { phase: sync::Phase::Ready, port: Some(4321), ..sync::Report::default() }
}

fn trouble(message: &str) -> Option<Trouble> {
    Some(Trouble { message: message.to_owned(), hint: Some("do this".to_owned()) })
}

#[test]
fn what_the_agent_reports_is_what_is_shown() {
    let view = World::new().reporting(ready()).view();
    assert_eq!((view.state, view.phase), (State::Running, Phase::Ready));
    assert_eq!(
        view.upstream,
        Some("10.213.0.2:4321".parse().unwrap()),
        "the port is the one really listened on"
    );
    for (phase, state) in [
        (sync::Phase::Syncing, State::Pending),
        (sync::Phase::Installing, State::Pending),
        (sync::Phase::Finished, State::Running),
        (sync::Phase::Failed, State::Error),
    ] {
        let report = sync::Report { phase, lines: vec!["last line".to_owned()], ..sync::Report::default() };
        let view = World::new().reporting(report).view();
        assert_eq!(view.state, state, "{phase:?}");
        assert_eq!(view.log_tail, ["last line"]);
    }
}

#[test]
fn a_workspace_that_answers_keeps_answering_while_the_node_knows_no_better() {
    let mut world = World::new().reporting(ready());
    world.trouble = trouble("no container engine answered");
    assert_eq!(world.view().state, State::Running);
    assert_eq!(world.view().message.as_deref(), Some("no container engine answered"));
    world.trouble = None;
    world.input.folder = Folder::Unknown { why: "input/output error".to_owned() };
    assert!(world.view().upstream.is_some());
    world.looked.trouble = trouble("package.json is no JSON");
    world.input.folder = Folder::Settled;
    let view = world.view();
    assert_eq!((view.state, view.upstream.is_some()), (State::Running, true));
    assert_eq!(view.message.as_deref(), Some("its last working version runs: package.json is no JSON"));
}

#[test]
fn a_project_that_cannot_run_says_why_and_what_to_do() {
    let mut world = World::new();
    world.containers.clear();
    world.sync = None;
    world.looked = Looked { trouble: trouble("the folder is empty"), ..Looked::default() };
    let view = world.view();
    assert_eq!(view.state, State::Error);
    assert_eq!(
        (view.message.as_deref(), view.hint.as_deref()),
        (Some("the folder is empty"), Some("do this"))
    );
}

#[test]
fn a_stack_without_an_agent_says_how_edits_get_to_it() {
    let mut world = World::new();
    world.sync = None;
    assert_eq!((world.view().sync.link.as_str(), world.view().sync.off), ("off", None));
    let plan = world.looked.plan.take().unwrap();
    let unsynced = Some("`web` has the project at `/app`".to_owned());
    let own = compose::Plan { agent: false, unsynced: unsynced.clone(), ..compose::Plan::clone(&plan) };
    world.looked.plan = Some(Arc::new(own));
    assert_eq!((world.view().sync.link.as_str(), world.view().sync.off), ("off", unsynced));
}

#[test]
fn a_folder_that_never_settles_is_named_with_what_changes() {
    let mut world = World::new();
    world.containers.clear();
    world.looked = Looked::default();
    let since = Timestamp::from_millisecond(world.now.as_millisecond() - 12 * SECOND).unwrap();
    world.input.folder = Folder::Settling { since, changing: Some("log.txt".to_owned()) };
    let view = world.view();
    assert_eq!(view.state, State::Pending);
    assert_eq!(
        view.message.as_deref(),
        Some("the folder has been changing for 12 s: `log.txt` changed last")
    );
    assert!(view.hint.unwrap().contains("nexus workspace start shop"));
}

#[test]
fn time_alone_is_waited_for_where_it_changes_what_is_said() {
    let seconds = |world: &World| speaks_in(&world.facts()).map(|time| time.as_secs());
    let mut world = World::new().reporting(ready());
    assert_eq!(seconds(&world), None);
    let starting = sync::Report { phase: sync::Phase::Starting, ..sync::Report::default() };
    world = world.reporting(starting);
    let passes = |world: &mut World, seconds: i64| {
        world.now = Timestamp::from_millisecond(world.now.as_millisecond() + seconds * SECOND).unwrap();
    };
    let left = seconds(&world).unwrap();
    passes(&mut world, 5);
    assert_eq!(seconds(&world), Some(left - 5));
    passes(&mut world, 30);
    assert_eq!(seconds(&world), None, "it has been said");
    world.containers.clear();
    world.looked = Looked::default();
    world.input.folder = Folder::Settling { since: world.now, changing: None };
    assert_eq!(seconds(&world), Some(10));
    passes(&mut world, 10);
    assert_eq!(seconds(&world), None);
    assert!(world.view().message.unwrap().contains("changing for 10 s"));
}

#[test]
fn a_folder_that_cannot_be_carried_is_an_error_with_its_way_out() {
    let syncing = sync::Report { phase: sync::Phase::Syncing, ..sync::Report::default() };
    let mut world = World::new().reporting(syncing);
    let why = "the folder holds more than 9 files; name what the program does not need";
    world.sync.as_mut().unwrap().halted = Some(why.to_owned());
    let view = world.view();
    assert_eq!((view.state, view.phase), (State::Error, Phase::Syncing));
    assert_eq!(view.message.as_deref(), Some("the folder holds more than 9 files"));
    assert_eq!(view.hint.as_deref(), Some("name what the program does not need"));
    let mut world = World::new().reporting(ready());
    world.sync.as_mut().unwrap().halted = Some(why.to_owned());
    assert_eq!(world.view().state, State::Running, "what runs goes on");
}

#[test]
fn a_program_that_never_listens_is_told_how() {
    let starting = sync::Report { phase: sync::Phase::Starting, ..sync::Report::default() };
    let mut world = World::new().reporting(starting);
    assert_eq!(world.view().message.as_deref(), Some("waiting for it to listen"));
    world.now = Timestamp::from_millisecond(world.now.as_millisecond() + 40 * SECOND).unwrap();
    let view = world.view();
    assert_eq!(view.message.as_deref(), Some("it has run for 40 s and listens on no port"));
    assert!(view.hint.unwrap().contains("PORT"));
}

#[test]
fn an_agent_that_does_not_answer_is_said() {
    let mut world = World::new();
    let link = sync::Link::Lost { reason: "no such file".to_owned() };
    world.sync = Some(sync::Status { link, ..sync::Status::default() });
    assert_eq!(
        world.view().message.as_deref(),
        Some("the agent in its container does not answer: no such file")
    );
}

#[test]
fn a_folder_that_is_gone_stops_and_keeps_its_data() {
    let mut world = World::new();
    world.containers[0].state = ContainerState::Exited;
    world.input.folder = Folder::Missing;
    let view = world.view();
    assert_eq!((view.state, view.folder_present), (State::Stopped, false));
    assert!(view.message.unwrap().contains("its data is kept"));
}

#[test]
fn a_container_without_an_agent_is_judged_by_its_port_and_its_end() {
    let mut world = World::new();
    world.sync = None;
    let mut plan = compose::Plan::clone(world.looked.plan.as_ref().unwrap());
    plan.agent = false;
    world.looked.plan = Some(Arc::new(plan));
    assert_eq!(world.view().state, State::Pending);
    world.probed = Some("10.213.0.2:80".parse().unwrap());
    assert_eq!(world.view().state, State::Running);
    world.probed = None;
    world.containers[0].state = ContainerState::Exited;
    world.containers[0].exit_code = Some(0);
    assert_eq!(world.view().phase, Phase::Finished);
    world.containers[0].exit_code = Some(137);
    world.containers[0].oom_killed = true;
    let view = world.view();
    assert_eq!(view.state, State::Error);
    assert!(view.message.unwrap().contains("memory"));
}

#[test]
fn a_container_that_the_engine_restarts_is_told_from_one_that_starts() {
    let mut world = World::new();
    world.containers[0].state = ContainerState::Restarting;
    world.containers[0].exit_code = Some(137);
    world.containers[0].restarts = 11;
    let view = world.view();
    assert_eq!((view.state, view.phase), (State::Pending, Phase::Starting), "it will be made anew");
    assert_eq!(
        view.message.as_deref(),
        Some("its container ended with code 137; the engine has restarted it 11 times")
    );
    assert_eq!(view.notices, Vec::<String>::new());
    world.remade = Some(world.now);
    assert!(world.view().notices[0].starts_with("its container was made anew at 1970-01-01T00:16:40Z"));

    world.sync = None;
    let mut plan = compose::Plan::clone(world.looked.plan.as_ref().unwrap());
    plan.agent = false;
    world.looked.plan = Some(Arc::new(plan));
    let view = world.view();
    assert_eq!((view.state, view.phase), (State::Error, Phase::Failed), "nobody will mend it but its owner");
    assert!(view.hint.unwrap().contains("nexus workspace logs shop"));
    world.containers[0].restarts = 1;
    let view = world.view();
    assert_eq!(view.state, State::Pending, "it may wait for its database");
    assert!(view.message.unwrap().ends_with("has restarted it once"));
}

#[test]
fn a_name_that_cannot_be_routed_is_an_error_of_its_own() {
    let mut world = World::new();
    world.containers.clear();
    world.input.called = Called::Not {
        message: "the name `api` is reserved".to_owned(),
        hint: "rename the folder".to_owned(),
    };
    let view = world.view();
    assert_eq!((view.state, view.route, view.name.as_str()), (State::Error, None, "shop"));
}
