//! What the router knows: the sites, and which of them answers a request.
//!
//! A table is compiled once and never changed; a new one replaces it whole. Looking a site up is one hash, whatever the
//! number of sites. The router has never heard of a workspace: whoever publishes the table turns its nouns into sites.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::host::Hosts;

/// Sites that answer `/` and every path that belongs to nobody, best first.
const HOMES: [&str; 2] = ["www", "home"];

/// What is the same for all sites.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Names this node is reached under; `<site>.<base host>` is then an origin of its own. Empty: any name will do for
    /// path prefixes. `localhost`, addresses and `<address>.sslip.io` (or nip.io) always work.
    pub base_hosts: Vec<String>,
    /// Where `/monitor` leads: the port of the control plane on the same host.
    pub control_port: u16,
    /// The watched directory as the user knows it; the empty index page says to drop a folder there.
    pub drop_into: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { base_hosts: Vec::new(), control_port: 7070, drop_into: "/workspaces".to_owned() }
    }
}

/// One entry of the table: what is shown of it, how it is doing, and where requests for it go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Its path segment and host label: already known to be 1-63 of `a-z 0-9 -`.
    pub name: String,
    /// A title for people; empty takes the name.
    pub title: String,
    /// One or two sentences; may be empty.
    pub description: String,
    /// A picture of it.
    pub icon: Option<Arc<Icon>>,
    /// One word for what it is: `node`, `static`; may be empty.
    pub kind: String,
    /// How it is doing.
    pub state: SiteState,
    /// Where requests go while it is [`SiteState::Ready`]. `None`: it runs and listens nowhere.
    pub upstream: Option<SocketAddr>,
    /// Which `Host` the site is told.
    pub host_sent: HostSent,
    /// Short remarks shown on the index page: `pinned to node 18, runs on 22`.
    pub notices: Vec<String>,
}

impl Site {
    /// A site that is ready at `upstream`, without any decoration.
    pub fn ready(name: &str, upstream: SocketAddr) -> Self {
        Self {
            name: name.to_owned(),
            title: String::new(),
            description: String::new(),
            icon: None,
            kind: String::new(),
            state: SiteState::Ready,
            upstream: Some(upstream),
            host_sent: HostSent::AsAsked,
            notices: Vec::new(),
        }
    }

    /// The title, or the name where there is none.
    pub fn title(&self) -> &str {
        if self.title.is_empty() { &self.name } else { &self.title }
    }
}

/// A folder that cannot be a site, because its name is none: the index page says why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unnamed {
    /// The folder.
    pub folder: String,
    /// What is wrong.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

/// A picture, as read from the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Icon {
    /// `image/png`, `image/svg+xml`, ...
    pub mime: String,
    /// The file's content.
    pub bytes: bytes::Bytes,
}

/// Which `Host` header a site receives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HostSent {
    /// The one the client asked for: right for everything that builds URLs or compares `Origin` with it.
    #[default]
    AsAsked,
    /// `localhost:<port>`, with `Origin` and `Referer` mapped to match: for development servers that refuse unknown
    /// hosts (Vite, webpack, Angular).
    Local,
}

/// How a site is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SiteState {
    /// Requests go to its upstream.
    Ready,
    /// On its way up.
    Starting {
        /// One word: `installing`.
        phase: String,
        /// One sentence.
        message: String,
        /// The last lines of output, oldest first.
        log_tail: Vec<String>,
    },
    /// A program that did its work and ended with code 0.
    Finished {
        /// The last lines of output, oldest first.
        output: Vec<String>,
    },
    /// Could not be brought up.
    Failed {
        /// What is wrong.
        message: String,
        /// What to do next.
        hint: Option<String>,
        /// The last lines of output, oldest first.
        log_tail: Vec<String>,
    },
    /// Exists, and was told not to run.
    Stopped,
    /// Its folder is gone; its data is kept.
    Missing,
}

impl SiteState {
    /// The word used in JSON and on the screen.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Starting { .. } => "starting",
            Self::Finished { .. } => "finished",
            Self::Failed { .. } => "failed",
            Self::Stopped => "stopped",
            Self::Missing => "missing",
        }
    }
}

/// All sites, ready to be asked.
#[derive(Debug)]
pub struct Table {
    settings: Settings,
    hosts: Hosts,
    sites: Vec<Arc<Site>>,
    by_name: HashMap<String, usize>,
    home: Option<usize>,
    unnamed: Vec<Unnamed>,
}

impl Table {
    /// Compiles a table. Of two sites with one name the first stays; the index page lists them by title.
    pub fn compile(mut sites: Vec<Site>, settings: Settings) -> Self {
        sites.sort_by(|a, b| {
            a.title().to_lowercase().cmp(&b.title().to_lowercase()).then_with(|| a.name.cmp(&b.name))
        });
        let mut by_name = HashMap::with_capacity(sites.len());
        for (index, site) in sites.iter().enumerate() {
            by_name.entry(site.name.clone()).or_insert(index);
        }
        let home = HOMES.iter().find_map(|name| by_name.get(*name).copied());
        let hosts = Hosts::compile(&settings.base_hosts);
        Self {
            settings,
            hosts,
            sites: sites.into_iter().map(Arc::new).collect(),
            by_name,
            home,
            unnamed: vec![],
        }
    }

    /// The same table, which also knows the folders that cannot be sites.
    pub fn with_unnamed(self, unnamed: Vec<Unnamed>) -> Self {
        Self { unnamed, ..self }
    }

    /// The folders that cannot be sites.
    pub fn unnamed(&self) -> &[Unnamed] {
        &self.unnamed
    }

    /// The site of this very name.
    pub fn site(&self, name: &str) -> Option<&Arc<Site>> {
        self.by_name.get(name).map(|index| &self.sites[*index])
    }

    /// The site that answers what belongs to nobody.
    pub fn home(&self) -> Option<&Arc<Site>> {
        self.home.map(|index| &self.sites[index])
    }

    /// Every site, by title.
    pub fn sites(&self) -> &[Arc<Site>] {
        &self.sites
    }

    /// What is the same for all sites.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How to read host names.
    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// Up to five names close to `name`, closest first.
    pub fn near(&self, name: &str) -> Vec<&str> {
        let name = name.to_lowercase();
        let mut near: Vec<(usize, &str)> = self
            .sites
            .iter()
            .map(|site| (distance(&name, &site.name), site.name.as_str()))
            .filter(|(distance, site)| {
                *distance <= 1 + name.len() / 3 || (name.len() > 2 && site.contains(&name))
            })
            .collect();
        near.sort_unstable();
        near.truncate(5);
        near.into_iter().map(|(_, name)| name).collect()
    }
}

/// How many single-byte edits lead from one name to the other. Names are short; anything long is far from all of them.
fn distance(a: &str, b: &str) -> usize {
    if a.len() > 80 {
        return a.len();
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(names: &[&str]) -> Table {
        let upstream = ([127, 0, 0, 1], 1).into();
        Table::compile(names.iter().map(|name| Site::ready(name, upstream)).collect(), Settings::default())
    }

    #[test]
    fn near_names_are_typing_errors_and_parts() {
        let table = table(&["static-site", "blog", "shop", "shop-admin"]);
        assert_eq!(table.near("sttic-site"), ["static-site"]);
        assert_eq!(table.near("Blog"), ["blog"]);
        assert_eq!(table.near("shop"), ["shop", "shop-admin"]);
        assert!(table.near("zzzzzz").is_empty());
        assert!(table.near(&"x".repeat(10_000)).is_empty());
    }

    #[test]
    fn www_is_home_before_home() {
        assert_eq!(table(&["home", "www"]).home().unwrap().name, "www");
        assert_eq!(table(&["home", "a"]).home().unwrap().name, "home");
        assert!(table(&["a"]).home().is_none());
    }
}
