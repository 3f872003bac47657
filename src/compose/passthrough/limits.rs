//! What a service may use: the user's word for the project, else the file's, else the node's.

use crate::compose::file::Quota;
use crate::compose::file::entry;
use crate::compose::file::map;
use crate::compose::node::Node;
use crate::compose::plan::quota;
use crate::model::project::Limits;

use super::policy;
use super::scope::Scope;

/// Writes the limits into a service's `tree`, and what `deploy` says besides.
pub(super) fn limit(scope: &mut Scope<'_>, path: &str, service: &Node, tree: &mut Vec<(String, Node)>) {
    let deploy = service.get("deploy").cloned().unwrap_or(Node::Map(Vec::new()));
    let deploy = deployment(scope, &format!("{path}.deploy"), &deploy);
    let stated =
        deploy.get("resources").and_then(|resources| resources.get("limits")).cloned().unwrap_or(Node::Null);
    let own = scope.input.overrides.limits;
    let usual: Quota = quota(Limits::default(), scope.input.defaults);
    let take = |tree: &mut Vec<(String, Node)>, key: &str| {
        let at = tree.iter().position(|(name, _)| name == key)?;
        Some(tree.remove(at).1)
    };
    let cpus = take(tree, "cpus").or(stated.get("cpus").cloned());
    let memory = take(tree, "mem_limit").or(stated.get("memory").cloned());
    let pids = take(tree, "pids_limit")
        .or(stated.get("pids").cloned())
        .filter(|pids| !matches!(pids, Node::Int(..=0)));
    let number = |node: Node| node.text().map_or(node, |text| policy::amount(&text));
    tree.push(entry(
        "cpus",
        own.cpus.map(Node::Float).or(cpus.map(number)).unwrap_or(Node::Float(usual.cpus)),
    ));
    let reserved = tree.iter().any(|(key, _)| key == "mem_reservation");
    match own.memory_bytes.map(Node::from).or(memory) {
        Some(memory) => tree.push(entry("mem_limit", memory)),
        // A reservation above the usual limit would be refused by the engine; whoever reserves knows what is needed.
        None if reserved => {
            scope.notice(format!("`{path}` has no memory limit: it states a reservation of its own"))
        }
        None => tree.push(entry("mem_limit", usual.memory_bytes)),
    }
    tree.push(entry(
        "pids_limit",
        own.pids.map(u64::from).map(Node::from).or(pids.map(number)).unwrap_or(u64::from(usual.pids).into()),
    ));
    let reservations = deploy.get("resources").and_then(|resources| resources.get("reservations"));
    if let Some(devices) = reservations.and_then(|reservations| reservations.get("devices")) {
        // Only the user's permission brought them this far.
        let resources = map([("reservations", map([("devices", devices.clone())]))]);
        tree.push(("deploy".to_owned(), map([("resources", resources)])));
    }
    if let Some(replicas) = deploy.get("replicas").and_then(Node::text)
        && !tree.iter().any(|(key, _)| key == "scale")
    {
        tree.push(("scale".to_owned(), policy::amount(&replicas)));
    }
    if let Some(policy) =
        deploy.get("restart_policy").and_then(|policy| policy.get("condition")).and_then(Node::text)
        && !tree.iter().any(|(key, _)| key == "restart")
    {
        let restart = match policy.as_str() {
            "none" => "no",
            "on-failure" => "on-failure",
            _ => "unless-stopped",
        };
        tree.push(entry("restart", restart));
    }
}

/// What `deploy` means on one machine.
fn deployment(scope: &mut Scope<'_>, path: &str, deploy: &Node) -> Node {
    let mut kept = Vec::new();
    for (key, value) in deploy.entries() {
        let place = format!("{path}.{key}");
        match key.as_str() {
            "replicas" | "restart_policy" => kept.push((key.clone(), value.clone())),
            "resources" => {
                for (part, amounts) in value.entries() {
                    for (name, _) in amounts
                        .entries()
                        .iter()
                        .filter(|(name, _)| !["cpus", "memory", "pids"].contains(&name.as_str()))
                    {
                        scope.refuse(
                            &format!("{place}.{part}.{name}"),
                            "devices",
                            "it opens devices of the host",
                        );
                    }
                }
                kept.push((key.clone(), value.clone()));
            }
            "labels" | "mode" | "endpoint_mode" | "placement" | "update_config" | "rollback_config"
            | "job" => {
                scope.notice(format!("`{place}` is left out: it is about several machines"));
            }
            key if key.starts_with("x-") => {}
            _ => scope.forbid(&place, "the key is not known to this node", "leave it out"),
        }
    }
    Node::Map(kept)
}
