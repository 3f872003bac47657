//! The full circle: a node is lost with everything on it, and another one on an empty home has its workspaces again from a
//! bucket.

use std::collections::BTreeMap;

use serde_json::Value;

use super::harness::LATER;
use super::harness::SOON;
use super::harness::TestNode;
use crate::backup::harness::picture;
use crate::backup::server::BUCKET;
use crate::backup::server::KEY;
use crate::backup::server::SECRET;
use crate::backup::server::Server;

/// What is dropped, and what its page says.
const PAGES: [(&str, &str); 5] = [
    ("static-plain", "a plain page"),
    ("node-plain", "plain node at /"),
    ("python-stdlib", "hello from the standard library"),
    ("procfile", "hello from the procfile"),
    ("loopback", "heard on loopback"),
];
/// What its owner has stopped.
const STOPPED: &str = "fixed-port";

fn node(server: &Server) -> TestNode {
    let mut node = TestNode::prepare();
    let endpoint = server.endpoint();
    let place = format!("{{ s3: {{ url: s3://{BUCKET}/home, endpoint: '{endpoint}', schedule: never }} }}");
    node.set("NEXUS_BACKUP_DESTINATIONS", &place);
    node.set("NEXUS_BACKUP_S3_ACCESS_KEY_ID", KEY);
    node.set("NEXUS_BACKUP_S3_SECRET_ACCESS_KEY", SECRET);
    node
}

fn json(node: &TestNode, arguments: &[&str]) -> Value {
    let (code, out, talk) = node.cli(&[arguments, &["--json"]].concat());
    assert_eq!(code, 0, "{arguments:?}: {out}{talk}\n{}", node.log_tail());
    serde_json::from_str(&out).unwrap()
}

/// The id of each workspace, by its name.
fn ids(node: &TestNode) -> BTreeMap<String, String> {
    let list = json(node, &["workspace", "list"]);
    let all = list["workspaces"].as_array().unwrap();
    let text = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
    all.iter().map(|one| (text(one, "name"), text(one, "id"))).collect()
}

fn all_folders() -> impl Iterator<Item = &'static str> {
    PAGES.iter().map(|(name, _)| *name).chain([STOPPED])
}

/// The files of each folder as they are.
fn files(node: &TestNode) -> BTreeMap<String, Vec<String>> {
    // Programs may put something beside them, which changes the times of directories.
    let files = |name: &str| {
        let lines = picture(&node.projects().join(name)).into_iter();
        lines.filter(|line| line.contains(" 100")).collect()
    };
    all_folders().map(|name| (name.to_owned(), files(name))).collect()
}

async fn is_stopped(node: &TestNode) {
    node.wait_for_workspace(STOPPED, "stopped", LATER, |one| one["workspace"]["state"] == "stopped").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_node_comes_back_from_a_bucket_on_an_empty_home() {
    let server = Server::start();
    let mut lost = node(&server);
    lost.spawn();
    lost.wait_until_up().await;
    all_folders().for_each(|name| lost.drop_fixture(name, name));
    for (name, text) in PAGES {
        lost.wait_for_page(&format!("/{name}/"), 200, text, LATER).await;
    }
    assert_eq!(lost.cli(&["workspace", "stop", STOPPED]).0, 0);
    is_stopped(&lost).await;
    let run = json(&lost, &["backup", "run"]);
    assert!(run["runs"][0]["problem"].is_null(), "{run}");
    let password = json(&lost, &["backup", "recovery", "s3"])["password"].as_str().unwrap().to_owned();
    let (before, names) = (files(&lost), ids(&lost));
    // Its home, its folders, its containers and their volumes.
    drop(lost);

    let mut new = node(&server);
    new.set("NEXUS_BACKUP_S3_PASSWORD", &password);
    new.spawn();
    new.wait_until_up().await;
    let plan = json(&new, &["backup", "rebuild", "--dry-run"]);
    assert_eq!(plan["workspaces"].as_array().unwrap().len(), 7, "with the sample: {plan}");
    let (code, _, talk) = new.cli(&["backup", "rebuild"]);
    assert!(code != 0 && talk.contains("needs a yes"), "{code}: {talk}");
    assert!(!new.projects().join(STOPPED).exists(), "a plan changes nothing");
    let done = json(&new, &["backup", "rebuild", "--yes"]);
    for workspace in done["workspaces"].as_array().unwrap() {
        let expected = if workspace["workspace"] == "hello" { "there" } else { "back" };
        assert_eq!(workspace["fate"], expected, "{done}");
    }
    assert_eq!(files(&new), before);
    for (name, text) in PAGES {
        new.wait_for_page(&format!("/{name}/"), 200, text, LATER).await;
    }
    is_stopped(&new).await;
    let now = ids(&new);
    for name in all_folders() {
        assert_eq!(now[name], names[name], "{name} is the workspace it was");
    }
    // It goes on where the lost one was, and a second time there is nothing to do.
    let run = json(&new, &["backup", "run"]);
    assert!(run["runs"][0]["problem"].is_null(), "{run}");
    let again = json(&new, &["backup", "rebuild", "--yes"]);
    assert!(again["workspaces"].as_array().unwrap().iter().all(|one| one["fate"] == "there"), "{again}");
    new.wait_for_page("/static-plain/", 200, "a plain page", SOON).await;
}
