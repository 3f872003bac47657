//! Reads a host name: is it this node, a site's own origin, or somebody else?
//!
//! One rule for every table size and every spelling: lower case, without port and trailing dot.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Domains that resolve any `<address>.<domain>` to that address.
const WILDCARD_DNS: [&str; 2] = [".sslip.io", ".nip.io"];

/// What a host name means here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// The node itself: sites are path prefixes.
    Node,
    /// The origin of the site with this name, which may not exist.
    Site(String),
    /// A name this node does not answer to.
    Stranger,
}

/// The names this node is known under.
#[derive(Debug)]
pub struct Hosts {
    /// Normalised; sorted longest first, so that the most specific base wins.
    bases: Vec<String>,
}

impl Hosts {
    /// Takes base hosts as a person writes them.
    pub fn compile(base_hosts: &[String]) -> Self {
        let mut bases: Vec<String> =
            base_hosts.iter().map(|host| normal(host)).filter(|host| !host.is_empty()).collect();
        bases.sort_by_key(|base| std::cmp::Reverse(base.len()));
        bases.dedup();
        Self { bases }
    }

    /// What the host part of an authority (no port) means. `host` is as the client sent it.
    pub fn read(&self, host: &str) -> Meaning {
        let host = normal(host);
        if host == "localhost" || address(&host).is_some() {
            return Meaning::Node;
        }
        if let Some(site) = host.strip_suffix(".localhost") {
            return label(site);
        }
        for base in &self.bases {
            if let Some(rest) = host.strip_suffix(base.as_str()) {
                if rest.is_empty() {
                    return Meaning::Node;
                }
                if let Some(site) = rest.strip_suffix('.') {
                    return label(site);
                }
            }
        }
        for suffix in WILDCARD_DNS {
            if let Some(rest) = host.strip_suffix(suffix) {
                return wildcard(rest);
            }
        }
        if self.bases.is_empty() || is_of_this_network(&host) { Meaning::Node } else { Meaning::Stranger }
    }
}

/// Names the public DNS cannot hold, so that no page of a stranger can be made to resolve to this node by them.
fn is_of_this_network(host: &str) -> bool {
    let name = host.strip_suffix(".local").unwrap_or(host);
    !name.is_empty() && !name.contains('.')
}

/// Lower case, no trailing dot, no brackets.
fn normal(host: &str) -> String {
    let host = host.strip_suffix('.').unwrap_or(host);
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.to_ascii_lowercase()
}

fn address(host: &str) -> Option<IpAddr> {
    host.parse().ok()
}

/// One label names a site; more of them name nothing of ours.
fn label(site: &str) -> Meaning {
    if site.is_empty() || site.contains('.') { Meaning::Stranger } else { Meaning::Site(site.to_owned()) }
}

/// `192.168.1.5`, `192-168-1-5`, `fd00--1`, each alone or with a site's label before it.
fn wildcard(rest: &str) -> Meaning {
    let labels = rest.split('.').count();
    let (site, address) = match labels {
        4 | 1 => (None, rest),
        5 | 2 => match rest.split_once('.') {
            Some((site, address)) => (Some(site), address),
            None => return Meaning::Stranger,
        },
        _ => return Meaning::Stranger,
    };
    let known = address.parse::<Ipv4Addr>().is_ok()
        || address.replace('-', ".").parse::<Ipv4Addr>().is_ok()
        || address.replace('-', ":").parse::<Ipv6Addr>().is_ok();
    match (known, site) {
        (false, _) => Meaning::Stranger,
        (true, None) => Meaning::Node,
        (true, Some(site)) => label(site),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bases: &[&str], host: &str) -> Meaning {
        Hosts::compile(&bases.iter().map(|base| (*base).to_owned()).collect::<Vec<_>>()).read(host)
    }

    #[test]
    fn the_corpus_of_hosts() {
        let site = |name: &str| Meaning::Site(name.to_owned());
        let bases = ["nexus.lan", "Home.Example.", "deep.nexus.lan"];
        for (host, meaning) in [
            ("localhost", Meaning::Node),
            ("LOCALHOST", Meaning::Node),
            ("localhost.", Meaning::Node),
            ("127.0.0.1", Meaning::Node),
            ("192.168.1.5", Meaning::Node),
            ("[::1]", Meaning::Node),
            ("[fe80::1]", Meaning::Node),
            ("app.localhost", site("app")),
            ("APP.LocalHost", site("app")),
            ("app.localhost.", site("app")),
            ("a.b.localhost", Meaning::Stranger),
            (".localhost", Meaning::Stranger),
            ("homeserver", Meaning::Node),
            ("homeserver.local", Meaning::Node),
            ("a.homeserver.local", Meaning::Stranger),
            ("", Meaning::Stranger),
            (".", Meaning::Stranger),
            ("nexus.lan", Meaning::Node),
            ("NEXUS.lan.", Meaning::Node),
            ("app.nexus.lan", site("app")),
            ("deep.nexus.lan", Meaning::Node),
            ("app.deep.nexus.lan", site("app")),
            ("home.example", Meaning::Node),
            ("x.home.example", site("x")),
            ("xnexus.lan", Meaning::Stranger),
            ("evil.example", Meaning::Stranger),
            ("192.168.1.5.sslip.io", Meaning::Node),
            ("app.192.168.1.5.sslip.io", site("app")),
            ("app.192-168-1-5.nip.io", site("app")),
            ("192-168-1-5.nip.io", Meaning::Node),
            ("app.fd00--1.sslip.io", site("app")),
            ("a.b.192.168.1.5.sslip.io", Meaning::Stranger),
            ("app.evil.sslip.io", Meaning::Stranger),
            ("sslip.io", Meaning::Stranger),
        ] {
            assert_eq!(read(&bases, host), meaning, "{host}");
        }
    }

    #[test]
    fn without_base_hosts_any_other_name_is_the_node() {
        assert_eq!(read(&[], "homeserver"), Meaning::Node);
        assert_eq!(read(&[], "box.example.org"), Meaning::Node);
        assert_eq!(read(&[], "app.localhost"), Meaning::Site("app".to_owned()));
    }
}
