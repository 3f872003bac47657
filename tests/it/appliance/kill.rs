//! Nothing is lost, doubled or left behind when the node or the engine is killed at any moment.

use std::collections::BTreeMap;
use std::time::Duration;
use std::time::Instant;

use nexus::engine::Engine as _;
use nexus::engine::Labels;
use nexus::engine::docker;
use nexus::engine::docker::Docker;

use super::harness::LATER;
use super::harness::TestNode;
use super::harness::docker_at;
use super::second_engine::SecondEngine;
use crate::chance::Chance;

/// How often the node is killed.
const KILLS: usize = 20;

fn drop_project(node: &TestNode, number: usize) -> String {
    let name = format!("folder-{number}");
    if number.is_multiple_of(2) {
        node.write(&format!("{name}/index.html"), &format!("page {number}"));
    } else {
        node.write(
            &format!("{name}/server.js"),
            &format!(
                "require('http').createServer((q, s) => s.end('page {number}')).listen(process.env.PORT)"
            ),
        );
        node.write(
            &format!("{name}/package.json"),
            &format!(r#"{{"name": "{name}", "scripts": {{"start": "node server.js"}}}}"#),
        );
    }
    name
}

#[tokio::test]
async fn a_node_killed_twenty_times_brings_everything_up_once() {
    let mut chance = Chance::new();
    let mut node = TestNode::prepare();
    node.spawn();
    let mut names = Vec::new();
    for kill in 0..KILLS {
        // A folder every third kill, so that folders are dropped into all stages of the others' coming up.
        if kill % 3 == 0 && names.len() < 5 {
            names.push(drop_project(&node, names.len()));
        }
        tokio::time::sleep(Duration::from_millis(chance.between(50, 700))).await;
        node.kill();
        node.spawn();
    }
    for (number, name) in names.iter().enumerate() {
        node.wait_for_page(&format!("/{name}/"), 200, &format!("page {number}"), LATER).await;
    }
    assert_audit(&node, None).await;
}

#[tokio::test]
async fn what_a_killed_node_was_filling_a_volume_with_is_swept() {
    let mut node = TestNode::start().await;
    node.kill();
    let label = node.label().expect("the node has a name");
    let image = concat!("nexus/runtime-static:", env!("CARGO_PKG_VERSION"));
    let left = docker_at(None, &["create", "--label", &label, "--label", "nexus.role=seed", image, "/never"]);
    assert!(!left.trim().is_empty(), "a container is left over");
    node.spawn();
    let until = Instant::now() + LATER;
    let filter = format!("label={label}");
    let seeds = ["ps", "--all", "--quiet", "--filter", &filter, "--filter", "label=nexus.role=seed"];
    while !docker_at(None, &seeds).trim().is_empty() {
        assert!(Instant::now() < until, "it is still there\n{}", node.log_tail());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn an_engine_killed_while_it_creates_containers_converges() {
    let mut engine = SecondEngine::start();
    let mut chance = Chance::new();
    let mut node = TestNode::prepare();
    node.set_engine(&engine.address());
    node.spawn();
    for number in [0, 2, 4] {
        drop_project(&node, number);
        // From the look at the folder to the start of its container.
        tokio::time::sleep(Duration::from_millis(chance.between(400, 1_200))).await;
        engine.kill();
        engine.spawn();
    }
    for number in [0, 2, 4] {
        node.wait_for_workspace(&format!("folder-{number}"), "running", LATER, |workspace| {
            workspace["workspace"]["state"] == "running"
        })
        .await;
    }
    assert_audit(&node, Some(&engine.address())).await;
    // Before its engine.
    drop(node);
}

/// What makes the test above fail one time in five, on purpose: an engine that does not know what runs restarts it for
/// ever, and what ran goes on beside it on the same volumes.
#[tokio::test]
async fn a_container_its_engine_has_forgotten_ends_and_comes_back_for_good() {
    let mut engine = SecondEngine::start();
    let address = engine.address();
    let mut node = TestNode::prepare();
    node.set_engine(&address);
    node.spawn();
    let name = drop_project(&node, 0);
    let is_running = |workspace: &serde_json::Value| workspace["workspace"]["state"] == "running";
    node.wait_for_workspace(&name, "running", LATER, is_running).await;
    let filter = format!("label=nexus.name={name}");
    let find = || {
        let found = docker_at(Some(&address), &["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter]);
        found.trim().to_owned()
    };
    let first = find();
    assert_eq!(inits_of(&first), 1);
    engine.kill();
    engine.forget(&first);
    engine.spawn();
    // Longer than the engine's wrong news takes to arrive.
    let until = Instant::now() + LATER;
    let format = "{{.State.Status}} {{.State.StartedAt}} {{.RestartCount}}";
    loop {
        // On a busy machine it is made anew before it has come back by itself.
        let state = docker_at(Some(&address), &["inspect", "--format", format, &find()]);
        let mut words = state.split_whitespace();
        let running = words.next() == Some("running");
        let started: Option<jiff::Timestamp> = words.next().and_then(|time| time.parse().ok());
        let age = started.map(|started| nexus::base::clock::now().duration_since(started));
        if running && age.is_some_and(|age| age.as_secs() >= 5) {
            break;
        }
        assert!(Instant::now() < until, "it never came right: {state}\n{}", node.log_tail());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    node.wait_for_workspace(&name, "running", LATER, is_running).await;
    let last = find();
    assert_eq!(inits_of(&last), 1, "another one goes on beside it");
    assert!(first == last || inits_of(&first) == 0, "the one that was forgotten goes on beside it");
    assert_audit(&node, Some(&address)).await;
    // Before its engine.
    drop(node);
}

#[tokio::test]
async fn a_volume_its_engine_had_just_begun_carries_our_label() {
    let mut engine = SecondEngine::start();
    let volume = "nexus-test-begun";
    engine.kill();
    engine.begin_volume(volume);
    engine.spawn();
    let home = tempfile::tempdir().unwrap();
    let docker = Docker::new(&docker::Settings {
        socket: engine.address(),
        compose_home: home.path().to_owned(),
        call_timeout: docker::Settings::CALL_TIMEOUT,
    });
    let labels = Labels::from([("nexus.node".to_owned(), "test".to_owned())]);
    assert!(docker.volumes(&labels).await.unwrap().is_empty());
    assert!(docker.volumes(&Labels::new()).await.unwrap().iter().any(|found| found.name == volume));
    docker.ensure_volume(volume, &labels).await.unwrap();
    assert_eq!(docker.volumes(&labels).await.unwrap()[0].name, volume);
}

/// How many processes of this machine were started by the engine for the container: its first ones, by their parent,
/// which names it on its command line.
fn inits_of(container: &str) -> usize {
    let pids = || {
        let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
    };
    let is_shim = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0);
        words.next().is_some_and(|program| program.ends_with(b"containerd-shim-runc-v2"))
            && words.any(|word| word == container.as_bytes())
    };
    let shims: Vec<u32> = pids().filter(is_shim).collect();
    let parent = |pid: u32| -> Option<u32> {
        // The engine's other children in there are programs it was asked to run, and the health check.
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        if line.split(|byte| *byte == 0).nth(1) != Some(b"init") {
            return None;
        }
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // After the name, which may hold anything, come the state and the parent.
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    pids().filter_map(parent).filter(|parent| shims.contains(parent)).count()
}

/// Waits until what the engine holds for the node is exactly one container, one network and two volumes per
/// workspace, and whatever the agent lives on.
async fn assert_audit(node: &TestNode, engine: Option<&str>) {
    // With the sample, unless a folder was there first.
    let workspaces = std::fs::read_dir(node.projects()).unwrap().count();
    let label = node.label().expect("the node has a name");
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let found = audit(engine, &label);
        let wrong = faults(&found, workspaces);
        if wrong.is_empty() {
            return;
        }
        assert!(Instant::now() < until, "{wrong:?}\n{found:#?}\nlog:\n{}", node.log_tail());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What there is, as `kind -> workspace role name` lines.
fn audit(engine: Option<&str>, label: &str) -> BTreeMap<&'static str, Vec<String>> {
    let filter = format!("label={label}");
    let columns = |name: &str| {
        format!("{{{{.Label \"nexus.workspace\"}}}} {{{{.Label \"nexus.role\"}}}} {{{{.{name}}}}}")
    };
    let list = |arguments: &[&str], name: &str| {
        let format = columns(name);
        let all = [arguments, &["--filter", &filter, "--format", &format]].concat();
        docker_at(engine, &all).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    BTreeMap::from([
        ("container", list(&["ps", "--all"], "Names")),
        ("network", list(&["network", "ls"], "Name")),
        ("volume", list(&["volume", "ls"], "Name")),
    ])
}

fn faults(found: &BTreeMap<&'static str, Vec<String>>, workspaces: usize) -> Vec<String> {
    let mut wrong = Vec::new();
    for (kind, wanted) in [("container", 1), ("network", 1), ("volume", 2)] {
        let mut per: BTreeMap<&str, usize> = BTreeMap::new();
        for line in &found[kind] {
            let workspace = line.split(' ').next().unwrap_or_default();
            let agent = kind == "volume" && line.contains(" nexus-agent-");
            if workspace.is_empty() && !agent {
                wrong.push(format!("{kind} of no workspace: {line}"));
            } else if !workspace.is_empty() {
                *per.entry(workspace).or_default() += 1;
            }
        }
        if per.len() != workspaces {
            wrong.push(format!("{kind}s of {} workspaces, not {workspaces}", per.len()));
        }
        wrong.extend(
            per.iter()
                .filter(|(_, count)| **count != wanted)
                .map(|(workspace, count)| format!("{workspace} has {count} {kind}s, not {wanted}")),
        );
    }
    wrong
}

#[test]
fn the_audit_sees_what_is_left_over() {
    let line = |kind: &str| format!("w1 app {kind}");
    let mut found = BTreeMap::from([
        ("container", vec![line("c")]),
        ("network", vec![line("n")]),
        ("volume", vec![line("a"), line("b"), " agent nexus-agent-1".to_owned()]),
    ]);
    assert_eq!(faults(&found, 1), Vec::<String>::new());
    found.get_mut("container").unwrap().push(" seed nexus-sync-1-seed".to_owned());
    found.get_mut("network").unwrap().push(line("n2"));
    assert_eq!(faults(&found, 1).len(), 2);
}
