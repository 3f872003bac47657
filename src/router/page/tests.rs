//! Tests of the node's own answers.

use std::sync::Arc;

use futures::FutureExt as _;
use http_body_util::BodyExt as _;

use super::super::table::{Icon, Settings, Site, SiteState, Table, Unnamed};
use super::*;

fn site(name: &str, state: SiteState) -> Site {
    Site { state, ..Site::ready(name, ([127, 0, 0, 1], 1).into()) }
}

fn text(response: Response<Full<Bytes>>) -> String {
    let body = response.into_body().collect().now_or_never().unwrap().unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

fn failed() -> Site {
    let state = SiteState::Failed {
        message: "`npm ci` failed with code 1".to_owned(),
        hint: Some("run `npm install` & commit <package-lock.json>".to_owned()),
        log_tail: vec!["\u{1b}[31mnpm error\u{1b}[0m <script>alert(1)</script>".to_owned()],
    };
    site("shop", state)
}

#[test]
fn a_failure_is_the_same_for_people_and_programs() {
    let (site, table) = (failed(), Table::compile(Vec::new(), Settings::default()));
    let problem = Problem::of_state(&site, &table);
    let json: serde_json::Value = serde_json::from_str(&text(problem.render(false))).unwrap();
    assert_eq!(json["error"]["code"], "failed");
    assert_eq!(json["error"]["message"], "`npm ci` failed with code 1");
    assert_eq!(json["error"]["log"][0], "npm error <script>alert(1)</script>");
    let page = text(problem.render(true));
    assert!(page.contains("npm error &lt;script&gt;alert(1)&lt;/script&gt;"), "{page}");
    assert!(page.contains("<code>npm install</code> &amp; commit &lt;package-lock.json&gt;."), "{page}");
    assert!(!page.contains("<script>alert"), "{page}");
}

#[test]
fn states_have_their_status() {
    let table = Table::compile(Vec::new(), Settings::default());
    let starting =
        SiteState::Starting { phase: "installing".into(), message: "npm ci".into(), log_tail: vec![] };
    for (state, status, code) in [
        (starting, 503, "starting"),
        (SiteState::Stopped, 503, "stopped"),
        (SiteState::Missing, 404, "missing"),
        (SiteState::Ready, 503, "not_listening"),
    ] {
        let site = Site { upstream: None, ..site("shop", state) };
        let response = Problem::of_state(&site, &table).render(false);
        assert_eq!(response.status(), status, "{code}");
        assert_eq!(response.headers().contains_key(header::RETRY_AFTER), code == "starting");
        assert!(text(response).contains(code));
    }
    let finished = site("job", SiteState::Finished { output: vec!["42".to_owned()] });
    let response = Problem::of_state(&finished, &table).render(false);
    assert_eq!(response.status(), 200);
    assert_eq!(
        text(response),
        r#"{"workspace":"job","state":"finished","message":"the program did its work and ended with code 0","output":["42"]}"#
    );
}

#[test]
fn an_unknown_name_lists_its_neighbours() {
    let table = Table::compile(vec![site("static-site", SiteState::Stopped)], Settings::default());
    let page = text(Problem::unknown(&table, "sttic-site", "localhost:80").render(true));
    assert!(page.contains(r#"<a href="/static-site/">"#), "{page}");
    let page = text(Problem::unknown(&table, "sttic-site", "sttic-site.localhost:80").render(true));
    assert!(page.contains(r#"<a href="//localhost:80/static-site/">"#), "{page}");
    let page = text(Problem::unknown(&table, "<x>", "localhost").render(true));
    assert!(page.contains("&lt;x&gt;") && !page.contains("<x>"), "{page}");
}

#[test]
fn the_index_shows_every_site_and_escapes_what_they_say() {
    let mut shop = site("shop", SiteState::Ready);
    shop.title = "Shop <b>".to_owned();
    shop.description = "Buys \"and\" sells".to_owned();
    shop.icon = Some(Arc::new(Icon { mime: "image/png".to_owned(), bytes: Bytes::from_static(b"x") }));
    let table = Table::compile(vec![failed(), shop, site("\u{e9}", SiteState::Missing)], Settings::default());
    let none = HeaderMap::new();
    let page = text(index(&table, &none));
    for part in [
        "Shop &lt;b&gt;",
        "Buys &quot;and&quot; sells",
        r#"src="/_nexus/icon/shop""#,
        "<code>npm ci</code> failed with code 1.",
        "folder gone",
        ">\u{c9}</span>",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&text(own(&table, "/index.json", true, &none))).unwrap();
    assert_eq!(json["workspaces"].as_array().unwrap().len(), 3);
    assert_eq!(json["workspaces"][0]["url"], "/shop/");

    let tag = index(&table, &none).headers()[header::ETAG].clone();
    let known = HeaderMap::from_iter([(header::IF_NONE_MATCH, tag)]);
    assert_eq!(index(&table, &known).status(), 304);
}

#[test]
fn an_empty_index_says_where_to_drop_a_folder() {
    let settings = Settings { drop_into: "/srv/work & play".to_owned(), ..Settings::default() };
    let page = text(index(&Table::compile(Vec::new(), settings), &HeaderMap::new()));
    assert!(page.contains("/srv/work &amp; play"), "{page}");
}

#[test]
fn icons_are_locked_up() {
    let mut evil = site("evil", SiteState::Ready);
    evil.icon = Some(Arc::new(Icon { mime: "text/html".to_owned(), bytes: Bytes::from_static(b"<script>") }));
    let table = Table::compile(vec![evil], Settings::default());
    let response = own(&table, "/icon/evil", true, &HeaderMap::new());
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/octet-stream");
    assert!(response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().contains("sandbox"));
    for (path, status) in
        [("/icon/none", 404), ("/nope", 404), ("/health", 200), ("/status/evil", 200), ("/nexus.css", 200)]
    {
        assert_eq!(own(&table, path, true, &HeaderMap::new()).status(), status, "{path}");
    }
    assert_eq!(own(&table, "/health", false, &HeaderMap::new()).status(), 405);
}

#[test]
fn a_folder_without_an_address_is_shown_with_its_reason() {
    let unnamed = vec![Unnamed {
        folder: "My <App>".to_owned(),
        message: "the folders `My <App>` and `my-app` would both be `/my-app/`".to_owned(),
        hint: Some("rename one of the two".to_owned()),
    }];
    let table = Table::compile(Vec::new(), Settings::default()).with_unnamed(unnamed);
    let page = text(index(&table, &HeaderMap::new()));
    assert!(page.contains("My &lt;App&gt;") && page.contains("Rename one of the two."), "{page}");
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static(JSON));
    assert!(text(index(&table, &headers)).contains(r#""unnamed":[{"folder":"My <App>""#));
    let asked = text(Problem::unknown(&table, "My%20%3CApp%3E", "localhost").render(false));
    assert!(asked.contains("unnamed_folder") && asked.contains("rename one of the two"), "{asked}");
}
