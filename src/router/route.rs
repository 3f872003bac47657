//! Decides what happens with one request: a pure function of its head and the table.
//!
//! In order: our own paths (`/_nexus/`, `/monitor`), a site by host name, a site by first segment, the site whose page
//! asked (unmodified applications link to `/style.css`), the home site, a page of ours.

use std::sync::Arc;

use super::canonical::Canonical;
use super::host::Meaning;
use super::table::{Site, Table};

/// Paths below it are the node's own, under every host name.
pub(crate) const OWN: &str = "_nexus";

/// What the decision rests on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    /// `host:port` as the client asked for it.
    pub(crate) authority: &'a str,
    pub(crate) path: &'a Canonical<'a>,
    pub(crate) query: Option<&'a str>,
    /// GET or HEAD.
    pub(crate) safe: bool,
    /// The handshake of a WebSocket: it cannot be redirected and names no referring page.
    pub(crate) websocket: bool,
    pub(crate) referer: Option<&'a str>,
    /// The site whose page this browser opened last.
    pub(crate) last: Option<&'a str>,
}

/// Where a site is mounted, which decides what is rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mount {
    /// Under `/<name>`: the prefix is cut off on the way in and put back on the way out.
    Prefix,
    /// At the root of an origin: nothing is rewritten.
    Root,
}

/// What happens with a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    /// It belongs to this site, which is to see this path.
    Site { site: &'a Arc<Site>, mount: Mount, path: &'a str },
    /// Elsewhere on this origin, by a path-only `Location`.
    Redirect { status: u16, location: String },
    /// The control plane, on another port of this host.
    Control { location: String },
    /// One of our own files; the path behind `/_nexus`.
    Own(&'a str),
    /// The page that lists the sites.
    Index,
    /// There is no such site.
    Unknown { name: String },
    /// The host name is not ours.
    Stranger,
}

/// Decides.
pub(crate) fn decide<'a>(table: &'a Table, ask: &Ask<'a>) -> Route<'a> {
    let meaning = table.hosts().read(host(ask.authority));
    if ask.path.segment() == OWN && meaning != Meaning::Stranger {
        return Route::Own(ask.path.rest());
    }
    match meaning {
        Meaning::Stranger => Route::Stranger,
        Meaning::Site(name) => match table.site(&name) {
            Some(site) => Route::Site { site, mount: Mount::Root, path: ask.path.as_str() },
            None => Route::Unknown { name },
        },
        Meaning::Node => by_path(table, ask),
    }
}

fn by_path<'a>(table: &'a Table, ask: &Ask<'a>) -> Route<'a> {
    let segment = ask.path.segment();
    if segment == "monitor" {
        let location = format!("http://{}:{}/", host(ask.authority), table.settings().control_port);
        return Route::Control { location };
    }
    if let Some(site) = table.site(segment) {
        return match ask.path.rest() {
            "" if ask.safe && !ask.websocket => redirect(308, &site.name, "/", ask.query),
            "" => Route::Site { site, mount: Mount::Prefix, path: "/" },
            rest => Route::Site { site, mount: Mount::Prefix, path: rest },
        };
    }
    if let Some(site) = asking_site(table, ask) {
        if ask.websocket {
            return Route::Site { site, mount: Mount::Prefix, path: ask.path.as_str() };
        }
        return redirect(307, &site.name, ask.path.as_str(), ask.query);
    }
    match table.home() {
        Some(site) => Route::Site { site, mount: Mount::Root, path: ask.path.as_str() },
        None if segment.is_empty() => Route::Index,
        None => Route::Unknown { name: segment.to_owned() },
    }
}

/// The site whose page made this request: by `Referer` when it is of this very origin, for WebSockets by our cookie.
fn asking_site<'a>(table: &'a Table, ask: &Ask<'a>) -> Option<&'a Arc<Site>> {
    if ask.websocket {
        return table.site(ask.last?);
    }
    let rest = ask.referer?.strip_prefix("http://").or_else(|| ask.referer?.strip_prefix("https://"))?;
    let slash = rest.find('/')?;
    let (authority, path) = rest.split_at(slash);
    if !authority.eq_ignore_ascii_case(ask.authority) {
        return None;
    }
    let path = path.split(['?', '#']).next().unwrap_or_default();
    table.site(Canonical::parse(path).ok()?.segment())
}

/// A path-only redirect: it cannot lead to another host, because a name is a plain label and a canonical path never
/// starts with two slashes.
fn redirect<'a>(status: u16, name: &str, path: &str, query: Option<&str>) -> Route<'a> {
    let location = match query {
        Some(query) => format!("/{name}{path}?{query}"),
        None => format!("/{name}{path}"),
    };
    Route::Redirect { status, location }
}

/// The host of an authority, brackets kept: `[::1]` of `[::1]:80`.
pub(crate) fn host(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => &authority[..colon],
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::Settings;
    use super::*;

    fn table(names: &[&str], filler: usize) -> Table {
        let upstream = ([127, 0, 0, 1], 1).into();
        let mut sites: Vec<Site> = names.iter().map(|name| Site::ready(name, upstream)).collect();
        sites.extend((0..filler).map(|number| Site::ready(&format!("filler-{number}"), upstream)));
        let settings = Settings { base_hosts: vec!["nexus.lan".to_owned()], ..Settings::default() };
        Table::compile(sites, settings)
    }

    /// Asks for `authority` + `path?query` at four table sizes and expects one answer: `site mount path` or the variant.
    fn check_with(names: &[&str], url: &str, change: impl Fn(&mut Ask<'static>), expected: &str) {
        let url: &'static str = url.to_owned().leak();
        let (authority, path) = url.split_at(url.find('/').unwrap());
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let path: &'static Canonical<'static> = Box::leak(Box::new(Canonical::parse(path).unwrap()));
        for filler in [0, 98, 100, 4_999] {
            let table = table(names, filler);
            let mut ask =
                Ask { authority, path, query, safe: true, websocket: false, referer: None, last: None };
            change(&mut ask);
            let found = match decide(&table, &ask) {
                Route::Site { site, mount, path } => format!("{} {mount:?} {path}", site.name),
                Route::Redirect { status, location } => format!("{status} {location}"),
                Route::Control { location } => format!("control {location}"),
                Route::Own(path) => format!("own {path}"),
                Route::Index => "index".to_owned(),
                Route::Unknown { name } => format!("unknown {name}"),
                Route::Stranger => "stranger".to_owned(),
            };
            assert_eq!(found, expected, "{url} with {filler} more sites");
        }
    }

    fn check(url: &str, expected: &str) {
        check_with(&["app", "blog"], url, |_| {}, expected);
    }

    #[test]
    fn prefixes_are_whole_segments() {
        check("localhost/app", "308 /app/");
        check("localhost/app?a=1", "308 /app/?a=1");
        check("localhost/app/", "app Prefix /");
        check("localhost/app/x/y", "app Prefix /x/y");
        check("localhost/%61pp/x", "app Prefix /x");
        check("localhost/application", "unknown application");
        check("localhost/application/x", "unknown application");
        check("localhost/App/x", "unknown App");
        check("localhost/app;x/y", "unknown app;x");
        check_with(&["app"], "localhost/app", |ask| ask.safe = false, "app Prefix /");
    }

    #[test]
    fn hosts_are_origins() {
        check("app.localhost/x", "app Root /x");
        check("APP.localhost:8080/x", "app Root /x");
        check("app.nexus.lan./app/x", "app Root /app/x");
        check("app.192.168.1.5.sslip.io:80/", "app Root /");
        check("nope.localhost/app/", "unknown nope");
        check("evil.example/app/", "stranger");
        check("evil.example/_nexus/health", "stranger");
        check("[::1]:80/app/", "app Prefix /");
        check("nexus.lan:80/app/", "app Prefix /");
    }

    #[test]
    fn the_node_answers_its_own_paths() {
        check("localhost/", "index");
        check("localhost/_nexus/health", "own /health");
        check("app.localhost/_nexus/style.css", "own /style.css");
        check("localhost:8080/monitor", "control http://localhost:7070/");
        check("[::1]:8080/monitor/x", "control http://[::1]:7070/");
        check("localhost/favicon.ico", "unknown favicon.ico");
    }

    #[test]
    fn home_answers_what_belongs_to_nobody() {
        for (url, expected) in [
            ("localhost/", "home Root /"),
            ("localhost/about", "home Root /about"),
            ("localhost/app/x", "app Prefix /x"),
            ("localhost/home/x", "home Prefix /x"),
            ("nope.localhost/", "unknown nope"),
        ] {
            check_with(&["app", "home"], url, |_| {}, expected);
        }
    }

    #[test]
    fn root_absolute_links_go_back_to_the_page_that_asked() {
        let from = |referer: &'static str| move |ask: &mut Ask<'static>| ask.referer = Some(referer);
        let names = ["app", "home"];
        check_with(&names, "box:8080/style.css?v=1", from("http://box:8080/app/"), "307 /app/style.css?v=1");
        check_with(&names, "box:8080/a/b.js", from("https://BOX:8080/app/page?x=/blog/"), "307 /app/a/b.js");
        check_with(&["app"], "localhost/", from("http://localhost/app/x"), "307 /app/");
        for stranger in [
            "http://evil.example/app/",
            "http://localhost:1/app/",
            "http://localhost@evil.example/app/",
            "http://localhost",
            "app",
            "http://localhost/nope/",
            "http://localhost/application/",
        ] {
            check_with(&["app"], "localhost/style.css", from(stranger), "unknown style.css");
        }
    }

    #[test]
    fn websockets_go_where_the_browser_was_last() {
        let socket = |last: &'static str| {
            move |ask: &mut Ask<'static>| {
                ask.websocket = true;
                ask.last = Some(last);
            }
        };
        check_with(&["app"], "localhost/socket.io/", socket("app"), "app Prefix /socket.io/");
        check_with(&["app"], "localhost/socket.io/", socket("gone"), "unknown socket.io");
        check_with(&["app"], "localhost/app/ws", socket("gone"), "app Prefix /ws");
        check_with(&["app"], "localhost/app", socket("gone"), "app Prefix /");
        check_with(&["app"], "localhost/style.css", |ask| ask.last = Some("app"), "unknown style.css");
    }
}
