//! Ours: a node whose watched directory holds the tree, and the container it makes of it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use async_trait::async_trait;

use super::super::harness::LATER;
use super::super::harness::SOON;
use super::super::harness::TestNode;
use super::super::harness::docker;
use super::contender::Contender;
use super::contender::Ends;
use super::contender::Way;
use super::peer::processes_of;
use super::peer::volume_path;

pub const NOTE: &str = "a whole node with this one workspace; the initial sync counts from the start of the \
     container, the memory is all of the node's process and all of the container's";
const FOLDER: &str = "bench";

pub struct Node {
    node: TestNode,
    volume: String,
}

impl Node {
    pub fn new() -> Self {
        Self { node: TestNode::prepare(), volume: String::new() }
    }

    fn container(&self) -> Option<String> {
        let filter = format!("volume={}", self.volume);
        let running = docker(&["ps", "--quiet", "--filter", &filter]);
        running.lines().next().map(str::to_owned)
    }
}

#[async_trait(?Send)]
impl Contender for Node {
    async fn start(&mut self, tree: PathBuf) -> Ends {
        // Before the first start: a node that finds nothing puts its sample there.
        let host = self.node.projects().join(FOLDER);
        fs::rename(tree, &host).unwrap();
        fs::write(host.join("index.html"), "text").unwrap();
        // Where nothing but our file server runs, nothing makes edits that are to come back.
        fs::create_dir(host.join(".nexus")).unwrap();
        fs::write(host.join(".nexus/config.yaml"), "mode: dev\n").unwrap();
        // As it runs on a machine of its owner's.
        self.node.set("NEXUS_LOG", "info");
        self.node.spawn();
        self.node.wait_until_up().await;
        let known = self.node.wait_for_workspace(FOLDER, "known", SOON, |_| true).await;
        self.volume =
            format!("nexus-sync-{}", known["workspace"]["id"].as_str().expect("a workspace has an id"));
        Ends { host, copy: volume_path(&self.volume) }
    }

    async fn began(&self) -> Instant {
        let asked = Instant::now();
        let container = loop {
            match self.container() {
                Some(container) => break container,
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
            assert!(asked.elapsed() < LATER, "no container came up; log:\n{}", self.node.log_tail());
        };
        let started = docker(&["inspect", "--format", "{{.State.StartedAt}}", &container]);
        let started: jiff::Timestamp = started.trim().parse().expect("the engine says when it started");
        let ago = Duration::try_from(nexus::base::clock::now().duration_since(started));
        Instant::now() - ago.expect("it started before now")
    }

    /// The first backup of the folder, which is not taken while much is carried.
    async fn rest(&self) {
        let asked = Instant::now();
        loop {
            let (_, printed, _) = self.node.cli(&["backup", "status", "--json"]);
            let status: serde_json::Value = serde_json::from_str(&printed).unwrap_or_default();
            let destination = &status["destinations"][0];
            if destination["last_success"].is_string() && destination["running"].is_null() {
                return;
            }
            assert!(asked.elapsed() < LATER, "no first backup; log:\n{}", self.node.log_tail());
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    fn ways(&self) -> &[Way] {
        &[Way::Out, Way::In]
    }

    fn processes(&self) -> Vec<u32> {
        let node = self.node.child.iter().map(std::process::Child::id);
        node.chain(self.container().iter().flat_map(|container| processes_of(container))).collect()
    }
}
