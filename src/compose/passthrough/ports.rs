//! The ports of a service: what it listens on, and what it wanted published.
//!
//! Nothing is published: the router reaches containers by their own address, so two stacks may both want port 80.

use crate::compose::node::Node;

use super::scope::Scope;

/// The most ports one range may name; more is no web service's.
const WIDEST: u16 = 100;

/// A port a service wanted published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Published {
    /// The port inside the container.
    pub(super) target: u16,
    /// The port wanted on the host; `None` for any.
    pub(super) host: Option<u16>,
}

/// What a service says about its ports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ports {
    /// TCP ports it wanted published.
    pub(super) published: Vec<Published>,
    /// TCP ports it exposes to its neighbours.
    pub(super) exposed: Vec<u16>,
}

/// Reads `ports` and `expose`.
pub(super) fn judge(scope: &mut Scope<'_>, name: &str, service: &Node) -> Ports {
    let mut ports = Ports::default();
    for (at, item) in service.get("ports").map_or(&[][..], Node::items).iter().enumerate() {
        let key = format!("services.{name}.ports[{at}]");
        match published(item) {
            Some((found, true)) => {
                for port in &found {
                    notice(scope, name, *port);
                }
                ports.published.extend(found);
            }
            Some((found, false)) => {
                let shown = found.first().map_or(0, |port| port.target);
                scope
                    .notice(format!("`{key}`: UDP port {shown} is not published, the node routes HTTP only"));
            }
            None => {
                scope.wrong(&key, "this is not a port", "write it as `HOST:CONTAINER`, for example `8080:80`")
            }
        }
    }
    for (at, item) in service.get("expose").map_or(&[][..], Node::items).iter().enumerate() {
        match item.text().as_deref().and_then(protocol) {
            Some((range, true)) => ports.exposed.extend(range),
            Some((_, false)) => {}
            None => scope.wrong(
                &format!("services.{name}.expose[{at}]"),
                "this is not a port",
                "write a number from 1 to 65535",
            ),
        }
    }
    ports
}

fn notice(scope: &mut Scope<'_>, name: &str, port: Published) {
    let Published { target, host } = port;
    let host =
        host.map_or_else(|| "a port of the host".to_owned(), |host| format!("port {host} of the host"));
    scope.notice(format!(
        "`{name}`: {host} is not taken; the node's router reaches port {target} of the container"
    ));
}

/// The ports of one item, and whether they are TCP.
fn published(item: &Node) -> Option<(Vec<Published>, bool)> {
    if let Node::Map(_) = item {
        let (targets, _) = protocol(&item.get("target")?.text()?)?;
        let tcp =
            item.get("protocol").and_then(Node::text).is_none_or(|word| word.eq_ignore_ascii_case("tcp"));
        let hosts = item.get("published").and_then(Node::text).unwrap_or_default();
        return Some((pair(&targets, range(&hosts).unwrap_or_default()), tcp));
    }
    let text = item.text()?;
    // `[ADDRESS:][HOST]:CONTAINER[/PROTOCOL]`; the address may be IPv6 in brackets.
    let (front, container) = text.rsplit_once(':').unwrap_or(("", &text));
    let (targets, tcp) = protocol(container)?;
    let host = front.rsplit_once(':').map_or(front, |(_, host)| host);
    let hosts =
        if host.is_empty() || front.ends_with(']') || host.contains('.') { Vec::new() } else { range(host)? };
    Some((pair(&targets, hosts), tcp))
}

fn pair(targets: &[u16], hosts: Vec<u16>) -> Vec<Published> {
    let host = |at: usize| if hosts.len() == targets.len() { hosts.get(at).copied() } else { None };
    targets.iter().enumerate().map(|(at, target)| Published { target: *target, host: host(at) }).collect()
}

fn protocol(text: &str) -> Option<(Vec<u16>, bool)> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let tcp = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => true,
        "udp" | "sctp" => false,
        _ => return None,
    };
    Some((range(ports)?, tcp))
}

fn range(text: &str) -> Option<Vec<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first > 0 && first <= last && last - first < WIDEST).then(|| (first..=last).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_port_is_read() {
        let one = |target, host| Published { target, host };
        let cases = [
            ("80", Some((vec![one(80, None)], true))),
            ("8080:80", Some((vec![one(80, Some(8080))], true))),
            ("127.0.0.1:8080:80", Some((vec![one(80, Some(8080))], true))),
            ("127.0.0.1::80", Some((vec![one(80, None)], true))),
            ("127.0.0.1:80", Some((vec![one(80, None)], true))),
            ("[::1]:8080:80", Some((vec![one(80, Some(8080))], true))),
            ("[::1]:80", Some((vec![one(80, None)], true))),
            ("53:53/udp", Some((vec![one(53, Some(53))], false))),
            ("3000-3001:4000-4001", Some((vec![one(4000, Some(3000)), one(4001, Some(3001))], true))),
            ("8000-9000:80", None),
            ("80/xyz", None),
            ("0", None),
            ("1-65535", None),
            ("http", None),
            ("99999:1", None),
        ];
        for (text, expected) in cases {
            assert_eq!(published(&text.into()), expected, "{text}");
        }
        assert_eq!(published(&Node::Int(80)), Some((vec![one(80, None)], true)));
    }
}
