//! The stack's networks: which are joined, whose they are, and which of our addresses each gets.

use std::collections::BTreeSet;

use crate::compose::file::Network;
use crate::compose::file::map;
use crate::compose::file::texts;
use crate::compose::labels::labels;
use crate::compose::node::Node;
use crate::compose::plan::network_name;
use crate::compose::subnet::Subnet;

use super::input::PassInput;
use super::policy;
use super::scope::Scope;
use super::shape;

/// A network of the stack.
pub(super) struct Declared {
    pub(super) key: String,
    subnet: Option<Subnet>,
    internal: bool,
    /// Permitted as it stands.
    raw: Option<Node>,
}

/// The networks a service joins.
pub(super) fn attach(scope: &mut Scope<'_>, path: &str, service: &Node) -> (Vec<String>, Option<Node>) {
    let shared = service
        .get("network_mode")
        .and_then(Node::text)
        .is_some_and(|mode| mode != "bridge" && mode != "default");
    if shared {
        return (Vec::new(), None);
    }
    let Some(networks) = service.get("networks").filter(|networks| !networks.entries().is_empty()) else {
        return (vec!["default".to_owned()], None);
    };
    let mut attachments = Vec::new();
    for (name, options) in networks.entries() {
        let place = format!("{path}.networks.{name}");
        let mut kept = Vec::new();
        for (key, value) in options.entries() {
            match key.as_str() {
                "aliases" | "priority" | "mac_address" | "gw_priority" => {
                    kept.push((key.clone(), value.clone()))
                }
                "ipv4_address" | "ipv6_address" | "link_local_ips" => {
                    scope.notice(format!(
                        "`{place}.{key}` is left out: addresses are the node's; use the service's name"
                    ));
                }
                key if key.starts_with("x-") => {}
                key => {
                    scope.forbid(
                        &format!("{place}.{key}"),
                        "the key is not known to this node",
                        "leave it out",
                    );
                }
            }
        }
        attachments.push((name.clone(), if kept.is_empty() { Node::Null } else { Node::Map(kept) }));
    }
    (attachments.iter().map(|(name, _)| name.clone()).collect(), Some(Node::Map(attachments)))
}

/// Judges the networks and divides our addresses among them. `joined` has the networks of each service.
pub(super) fn judge(scope: &mut Scope<'_>, project: &Node, joined: &[&[String]]) -> Vec<Declared> {
    let declared = project.get("networks").map_or(&[][..], Node::entries);
    let used: BTreeSet<&str> = joined.iter().copied().flatten().map(String::as_str).collect();
    let mut out = Vec::new();
    for name in &used {
        let options = declared.iter().find(|(known, _)| known == name).map(|(_, options)| options);
        if options.is_none() && *name != "default" {
            let hint = format!("write `networks: {{{name}: }}` at the top level");
            scope.wrong(&format!("networks.{name}"), "the network is not declared", hint);
        }
        out.push(network(scope, name, options.unwrap_or(&Node::Null)));
    }
    for (name, options) in declared.iter().filter(|(name, _)| !used.contains(name.as_str())) {
        // Judged all the same: what is refused is refused whether or not anybody uses it.
        network(scope, name, options);
    }
    let ours = out.iter().filter(|network| network.raw.is_none()).count();
    let busiest =
        out.iter().map(|network| joined.iter().filter(|names| names.contains(&network.key)).count()).max();
    let shares = scope.input.subnet.split(ours, busiest.unwrap_or(0) + 3);
    if shares.is_empty() && ours > 0 {
        scope.notice(
            "the stack has many networks: their addresses come from the engine's own pools".to_owned(),
        );
    }
    let mut shares = shares.into_iter();
    out.iter_mut().filter(|network| network.raw.is_none()).for_each(|network| network.subnet = shares.next());
    out
}

fn network(scope: &mut Scope<'_>, name: &str, options: &Node) -> Declared {
    let key = format!("networks.{name}");
    let mut raw = false;
    let mut internal = false;
    for (option, value) in options.entries() {
        let place = format!("{key}.{option}");
        let blank = matches!(value, Node::Null | Node::Bool(false))
            || matches!(value, Node::Map(entries) if entries.is_empty());
        match option.as_str() {
            "driver" if value.text().is_none_or(|driver| driver == "bridge" || driver == "default") => {}
            "driver" => raw |= scope.refuse(&place, &place, "another driver reaches the host's own network"),
            "internal" => internal = value.is_true(),
            "name" => scope
                .notice(format!("`{place}` is left out: names are the node's, so that no two stacks clash")),
            "ipam" if !blank => scope.notice(format!("`{place}` is left out: addresses are the node's")),
            "enable_ipv6" if !blank => {
                scope.notice(format!("`{place}` is left out: stacks have IPv4 addresses"))
            }
            "external" if !blank => {
                raw |= scope.refuse(&place, &place, "the network belongs to somebody else")
            }
            "driver_opts" if !blank => {
                raw |= scope.refuse(&place, &place, "driver options reach the host's network settings")
            }
            "labels" => {
                if let Some(labels) = shape::pairs(value) {
                    policy::labels(scope, &place, &labels);
                }
            }
            "attachable" | "enable_ipv4" | "ipam" | "enable_ipv6" | "external" | "driver_opts" => {}
            option if option.starts_with("x-") => {}
            _ => scope.forbid(&place, "the key is not known to this node", "leave it out"),
        }
    }
    Declared { key: name.to_owned(), subnet: None, internal, raw: raw.then(|| options.clone()) }
}

/// The network as it is written.
pub(super) fn render(input: &PassInput<'_>, network: &Declared, stamp: Option<&str>) -> Node {
    let labels = labels(input.owner(stamp.is_some()), "network");
    if let Some(raw) = &network.raw {
        let mut raw = raw.clone();
        if raw.get("external").is_none() {
            raw.set("labels", texts(&labels));
        }
        return raw;
    }
    let name = match network.key.as_str() {
        "default" => network_name(&input.workspace),
        key => format!("{}-{key}", network_name(&input.workspace)),
    };
    let mut tree = match network.subnet {
        Some(subnet) => Network { name, subnet, labels }.tree(),
        None => map([("name", name.into()), ("driver", "bridge".into()), ("labels", texts(&labels))]),
    };
    if network.internal {
        tree.set("internal", true.into());
    }
    tree
}
