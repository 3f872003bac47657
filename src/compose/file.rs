//! The compose file we write for a detected project: one service, one network, volumes that outlive it.
//!
//! A typed model of exactly what our stacks contain. What is the same for every stack (hardening, log caps, restart) is
//! not a field but written by [`File::tree`], so that no caller can forget it.

use std::collections::BTreeMap;

use crate::engine::Labels;

use super::node::Node;
use super::subnet::Subnet;

/// A stack of one service.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct File {
    /// The Compose project.
    pub(super) project: String,
    /// The service's name.
    pub(super) service: String,
    /// The service.
    pub(super) body: Service,
    /// The network.
    pub(super) network: Network,
    /// Volumes, all made and labelled by the caller.
    pub(super) volumes: Vec<String>,
}

/// The stack's own network.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Network {
    pub(super) name: String,
    pub(super) subnet: Subnet,
    pub(super) labels: Labels,
}

/// Where the service's image comes from.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Source {
    /// An image by name.
    Image(String),
    /// The project's own Dockerfile, both paths as this node sees them.
    Build { context: String, dockerfile: String, labels: Labels },
}

/// Where a mount's content comes from.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Origin {
    /// A named volume.
    Volume(String),
    /// A path on the engine's host, which must exist.
    Host(String),
}

/// A mount.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mount {
    pub(super) origin: Origin,
    pub(super) target: String,
    pub(super) read_only: bool,
}

/// Which capabilities the service gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drop {
    /// All of them: images of which we know that they need none.
    All,
    /// Those that only attack others; a user's image may need to `chown` and to change user.
    Dangerous,
}

/// Capabilities of the engine's default set that Podman does not grant either and that reach beyond a program's own files:
/// the audit log, device nodes, forged packets (ARP and DNS spoofing of neighbours).
pub(super) const DANGEROUS: [&str; 3] = ["AUDIT_WRITE", "MKNOD", "NET_RAW"];

/// A check that the service is well.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Check {
    pub(super) argv: Vec<String>,
    /// Whether the engine knows `start_interval` (API 1.44).
    pub(super) quick_start: bool,
}

/// What a container may use, resolved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Quota {
    pub(super) cpus: f64,
    pub(super) memory_bytes: u64,
    pub(super) pids: u32,
}

/// The one service of a generated stack.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Service {
    pub(super) source: Source,
    pub(super) entrypoint: Vec<String>,
    pub(super) user: Option<String>,
    pub(super) read_only: bool,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) mounts: Vec<Mount>,
    pub(super) drop: Drop,
    pub(super) quota: Quota,
    pub(super) check: Option<Check>,
    pub(super) labels: Labels,
}

impl File {
    /// The file as a tree, in a stable order.
    pub(super) fn tree(&self) -> Node {
        let volume =
            |name: &String| (name.clone(), map([("external", true.into()), ("name", name.clone().into())]));
        let mut tree = vec![
            entry("name", self.project.clone()),
            entry("services", map([(self.service.as_str(), self.body.tree())])),
            entry("networks", map([("default", self.network.tree())])),
        ];
        if !self.volumes.is_empty() {
            tree.push(entry("volumes", Node::Map(self.volumes.iter().map(volume).collect())));
        }
        Node::Map(tree)
    }
}

impl Network {
    /// The network as Compose declares it.
    pub(super) fn tree(&self) -> Node {
        let pool = map([("subnet", self.subnet.to_string().into())]);
        map([
            ("name", self.name.clone().into()),
            ("driver", "bridge".into()),
            ("ipam", map([("config", Node::List(vec![pool]))])),
            ("labels", texts(&self.labels)),
        ])
    }
}

impl Service {
    fn tree(&self) -> Node {
        let mut tree = Vec::new();
        match &self.source {
            Source::Image(image) => tree.push(entry("image", image.clone())),
            Source::Build { context, dockerfile, labels } => tree.push(entry(
                "build",
                map([
                    ("context", context.clone().into()),
                    ("dockerfile", dockerfile.clone().into()),
                    ("labels", texts(labels)),
                ]),
            )),
        }
        if !self.entrypoint.is_empty() {
            tree.push(entry("entrypoint", self.entrypoint.clone()));
        }
        if let Some(user) = &self.user {
            tree.push(entry("user", user.clone()));
        }
        if !self.environment.is_empty() {
            tree.push(entry("environment", texts(&self.environment)));
        }
        if !self.mounts.is_empty() {
            tree.push(entry("volumes", Node::List(self.mounts.iter().map(Mount::tree).collect())));
        }
        tree.extend(confinement(self.drop));
        if self.read_only {
            tree.push(entry("read_only", true));
        }
        if self.drop == Drop::All {
            // `exec`, which the engine leaves out: package managers build and run native modules there.
            tree.push(entry("tmpfs", vec!["/tmp:exec,mode=1777".to_owned()]));
        }
        tree.extend(self.quota.tree());
        // The agent is PID 1 and reaps; an image of the user's own has no init of ours.
        tree.push(entry("init", self.entrypoint.is_empty()));
        tree.push(entry("restart", "unless-stopped"));
        tree.push(entry("stop_grace_period", "10s"));
        if let Some(check) = &self.check {
            tree.push(entry("healthcheck", check.tree()));
        }
        tree.push(entry("logging", log_caps()));
        tree.push(entry("labels", texts(&self.labels)));
        Node::Map(tree)
    }
}

impl Mount {
    /// The mount in Compose's long form; a host path that is not there is an error, never an empty directory.
    pub(super) fn tree(&self) -> Node {
        let mut tree = match &self.origin {
            Origin::Volume(name) => vec![entry("type", "volume"), entry("source", name.clone())],
            Origin::Host(path) => vec![entry("type", "bind"), entry("source", path.clone())],
        };
        tree.push(entry("target", self.target.clone()));
        if self.read_only {
            tree.push(entry("read_only", true));
        }
        if matches!(self.origin, Origin::Host(_)) {
            tree.push(entry("bind", map([("create_host_path", false.into())])));
        }
        Node::Map(tree)
    }
}

impl Quota {
    /// The quota as service keys. Swap is not added on top of memory.
    pub(super) fn tree(&self) -> Vec<(String, Node)> {
        vec![
            entry("cpus", Node::Float(self.cpus)),
            entry("mem_limit", self.memory_bytes),
            entry("memswap_limit", self.memory_bytes),
            entry("pids_limit", u64::from(self.pids)),
        ]
    }
}

impl Check {
    fn tree(&self) -> Node {
        let mut test = vec!["CMD".to_owned()];
        test.extend(self.argv.iter().cloned());
        // Each check is an exec in the engine. Nobody waits for it (the node hears from the agent): once a minute.
        let mut tree = vec![
            entry("test", test),
            entry("interval", "60s"),
            entry("timeout", "5s"),
            entry("retries", Node::Int(3)),
            entry("start_period", "300s"),
        ];
        if self.quick_start {
            tree.push(entry("start_interval", "5s"));
        }
        Node::Map(tree)
    }
}

/// What every service of every stack gives up, ours and the user's.
pub(super) fn confinement(drop: Drop) -> Vec<(String, Node)> {
    let dropped = match drop {
        Drop::All => vec!["ALL"],
        Drop::Dangerous => DANGEROUS.to_vec(),
    };
    vec![entry("cap_drop", dropped), entry("security_opt", vec!["no-new-privileges:true"])]
}

/// Logs kept per container: 3 files of 10 MB.
pub(super) fn log_caps() -> Node {
    map([
        ("driver", "json-file".into()),
        ("options", map([("max-size", "10m".into()), ("max-file", "3".into())])),
    ])
}

/// One entry of a map.
pub(super) fn entry(key: &str, value: impl Into<Node>) -> (String, Node) {
    (key.to_owned(), value.into())
}

/// A map in the order given.
pub(super) fn map<const N: usize>(entries: [(&str, Node); N]) -> Node {
    Node::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// A map of texts.
pub(super) fn texts(entries: &BTreeMap<String, String>) -> Node {
    Node::Map(entries.iter().map(|(key, value)| entry(key, value.clone())).collect())
}
