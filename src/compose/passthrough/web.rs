//! Which service answers the web.
//!
//! A ranking, not a verdict: the caller probes the candidates in this order and keeps the first that answers.

use crate::compose::plan::Candidate;
use crate::model::datastore::is_datastore;

use super::ports::Ports;

/// The label by which a compose file says it: `nexus.web: "true"`, or the port.
pub(super) const LABEL: &str = "nexus.web";

/// Ports on the host that are meant for browsers, the likeliest first.
const BROWSER: [u16; 6] = [80, 443, 3000, 8080, 8000, 5173];

/// Names people give to what answers the web.
const NAMES: [&str; 6] = ["web", "app", "frontend", "proxy", "nginx", "gateway"];

/// What is known about a service.
#[derive(Debug, Clone, Default)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) image: Option<String>,
    pub(super) built: bool,
    pub(super) label: Option<String>,
    pub(super) ports: Ports,
    /// Ports of the Dockerfile.
    pub(super) declared: Vec<u16>,
}

impl Service {
    fn datastore(&self) -> bool {
        !self.built && self.image.as_deref().is_some_and(is_datastore)
    }

    /// Whether it can answer the web at all: it is no datastore, and it is built or says a port.
    fn capable(&self) -> bool {
        let says = self.built || !self.ports.published.is_empty() || !self.ports.exposed.is_empty();
        self.label.is_some() || (says && !self.datastore())
    }

    /// How likely it is, smaller first.
    fn rank(&self) -> (u8, usize) {
        let browser = |port: &u16| BROWSER.iter().position(|known| known == port);
        let published = self.ports.published.iter().flat_map(|port| [port.host, Some(port.target)]).flatten();
        let best = published.filter_map(|port| browser(&port)).min();
        let named = NAMES.iter().position(|name| *name == self.name);
        match (&self.label, best, named) {
            (Some(_), _, _) => (0, 0),
            (_, Some(place), _) => (1, place),
            (_, _, Some(place)) => (2, place),
            _ if !self.ports.published.is_empty() => (3, 0),
            _ if !self.declared.is_empty() || !self.ports.exposed.is_empty() => (4, 0),
            _ => (5, 0),
        }
    }

    /// Its ports to try: published ones, then exposed ones; 80 first, then the usual ones, then the smallest from 1024 on.
    fn candidates(&self) -> Vec<u16> {
        let stated = self.label.as_deref().and_then(|label| label.parse().ok());
        let order = |port: &u16| {
            (*port != 80, *port < 1024, BROWSER.iter().position(|known| known == port).unwrap_or(99), *port)
        };
        let mut published: Vec<u16> = self.ports.published.iter().map(|port| port.target).collect();
        let mut exposed = [self.ports.exposed.clone(), self.declared.clone()].concat();
        published.sort_by_key(order);
        exposed.sort_by_key(order);
        let mut ports: Vec<u16> = Vec::new();
        for port in stated.into_iter().chain(published).chain(exposed) {
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
        ports
    }
}

/// The candidates, the likeliest first. `service` and `port` are the user's choice.
pub(super) fn rank(services: &[Service], service: Option<&str>, port: Option<u16>) -> Vec<Candidate> {
    let chosen = |candidate: &&Service| match service {
        Some(name) => candidate.name == name,
        None => candidate.capable(),
    };
    let mut ranked: Vec<&Service> = services.iter().filter(chosen).collect();
    let lacks = |candidate: &Service| port.is_some_and(|port| !candidate.candidates().contains(&port));
    // Stable: the file's own order decides between equals.
    ranked.sort_by_key(|candidate| (lacks(candidate), candidate.rank()));
    let mut candidates: Vec<Candidate> = ranked
        .iter()
        .map(|candidate| Candidate { service: candidate.name.clone(), ports: candidate.candidates() })
        .collect();
    if let (Some(port), Some(first)) = (port, candidates.first_mut()) {
        first.ports = vec![port];
    }
    candidates
}

#[cfg(test)]
mod tests {
    use crate::compose::passthrough::ports::Published;

    use super::*;

    fn service(name: &str, image: &str, published: &[(u16, u16)], exposed: &[u16]) -> Service {
        let published =
            published.iter().map(|(host, target)| Published { target: *target, host: Some(*host) }).collect();
        Service {
            name: name.to_owned(),
            image: Some(image.to_owned()).filter(|image| !image.is_empty()),
            built: image.is_empty(),
            ports: Ports { published, exposed: exposed.to_vec() },
            ..Service::default()
        }
    }

    fn order(services: &[Service]) -> Vec<String> {
        let shown = |candidate: Candidate| format!("{}{:?}", candidate.service, candidate.ports);
        rank(services, None, None).into_iter().map(shown).collect()
    }

    #[test]
    fn the_likeliest_comes_first() {
        let db = service("db", "postgres:16", &[(5432, 5432)], &[]);
        let api = service("api", "", &[(8000, 8000)], &[]);
        let proxy = service("edge", "nginx", &[(80, 80), (443, 443)], &[]);
        let web = service("web", "", &[], &[]);
        let tool = service("adminer", "adminer", &[(9999, 8080)], &[]);
        let quiet = service("worker", "busybox", &[], &[]);
        let all = [quiet, db.clone(), web.clone(), api.clone(), tool, proxy];
        assert_eq!(order(&all), ["edge[80, 443]", "adminer[8080]", "api[8000]", "web[]"]);
        assert_eq!(order(std::slice::from_ref(&db)), [""; 0]);
        let labelled = Service { label: Some("5000".to_owned()), ..service("odd", "redis", &[], &[7]) };
        assert_eq!(order(&[api.clone(), labelled]), ["odd[5000, 7]", "api[8000]"]);
        assert_eq!(order(&[service("x", "", &[], &[9000, 22, 3000, 80])]), ["x[80, 3000, 9000, 22]"]);
        assert_eq!(
            rank(&[db, web], Some("db"), Some(1)),
            [Candidate { service: "db".to_owned(), ports: vec![1] }]
        );
    }
}
