//! A real browser on the web port: the first thing a user sees, and applications that know nothing of prefixes.

mod driver;

use std::sync::Arc;

use axum::extract::ws::WebSocketUpgrade;
use axum::response::Html;
use axum::routing::{any, get};
use nexus::router::{Icon, Site, SiteState};

use crate::router::harness::{Front, Upstream, compile};
use driver::Browser;

/// A workspace the index is expected to show.
pub(crate) struct Expected<'a> {
    pub(crate) name: &'a str,
    pub(crate) title: &'a str,
    /// A text of its own page.
    pub(crate) text: &'a str,
}

/// The index at `base` (no slash at its end) lists the workspaces with their icons; a click opens each. A picture is kept.
pub(crate) async fn index_lists_and_opens(base: &str, expected: &[Expected<'_>], picture: &str) {
    let browser = Browser::start(1280, 860).await;
    browser.open(&format!("{base}/_nexus/")).await;
    for workspace in expected {
        let tile = format!("document.querySelector('a.tile[href=\"/{}/\"]')", workspace.name);
        browser.wait_for(&format!("{tile}?.innerText.includes('{}')", workspace.title)).await;
        browser.wait_for(&format!("{tile}.querySelector('img.icon')?.naturalWidth > 0")).await;
    }
    assert_eq!(browser.complaints().await, [""; 0], "the index loads without complaint");
    browser.keep_picture(&format!("{picture}.png")).await;
    browser.prefer("dark").await;
    browser.keep_picture(&format!("{picture}-dark.png")).await;
    for workspace in expected {
        browser.open(&format!("{base}/_nexus/")).await;
        browser.click(&format!("a.tile[href='/{}/']", workspace.name)).await;
        browser.wait_for(&format!("document.body.innerText.includes('{}')", workspace.text)).await;
    }
}

fn icon(colour: &str, shape: &str) -> Option<Arc<Icon>> {
    let drawn = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 48 48"><rect width="48" height="48" rx="12" fill="{colour}"/><path d="{shape}" fill="none" stroke="white" stroke-width="3.5" stroke-linecap="round" stroke-linejoin="round"/></svg>"#
    );
    Some(Arc::new(Icon { mime: "image/svg+xml".to_owned(), bytes: drawn.into() }))
}

fn decorated(site: Site, title: &str, kind: &str, description: &str, icon: Option<Arc<Icon>>) -> Site {
    Site { title: title.to_owned(), kind: kind.to_owned(), description: description.to_owned(), icon, ..site }
}

async fn page(text: &'static str) -> Upstream {
    Upstream::serving(
        axum::Router::new().route("/", get(move || async move { Html(format!("<h1>{text}</h1>")) })),
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_index_lists_workspaces_with_icons_and_a_click_opens_one() {
    let pages =
        [page("Hello from the sample").await, page("Every recipe").await, page("Open invoices").await];
    let starting = SiteState::Starting {
        phase: "installing".to_owned(),
        message: "installing dependencies with `npm ci`".to_owned(),
        log_tail: vec!["npm warn deprecated inflight@1.0.6".to_owned(), "added 57 packages in 2s".to_owned()],
    };
    let failed = SiteState::Failed {
        message: "the program ended with code 1".to_owned(),
        hint: Some("set `DATABASE_URL` in .env, then save the file".to_owned()),
        log_tail: vec!["Error: DATABASE_URL is not set".to_owned(), "    at connect (db.js:7:11)".to_owned()],
    };
    let nowhere = |name: &str, state: SiteState| Site { state, upstream: None, ..pages[0].site(name) };
    let finished = SiteState::Finished { output: vec!["processed 1204 rows".to_owned()] };
    let mut photos = decorated(nowhere("photos", failed), "Photos", "python", "", None);
    photos.notices = vec!["3.9 was asked for, runs on 3.13".to_owned()];
    let front = Front::start(vec![
        decorated(
            pages[0].site("hello"),
            "Hello",
            "static",
            "The sample workspace. Change its files and watch.",
            icon("#2563eb", "M15 14v20M33 14v20M15 24h18"),
        ),
        decorated(
            pages[1].site("recipes"),
            "Family recipes",
            "node",
            "What we cook, with photos, portions and a shopping list.",
            icon("#d97706", "M14 22h20l-2 12H16zM18 22c0-8 12-8 12 0"),
        ),
        decorated(
            pages[2].site("invoices"),
            "Invoices",
            "php",
            "Outgoing invoices and reminders.",
            icon("#059669", "M16 12h16v24l-4-3-4 3-4-3-4 3zM21 20h6M21 26h6"),
        ),
        decorated(
            nowhere("weather", starting),
            "Weather station",
            "node",
            "Readings from the garden, every minute.",
            None,
        ),
        photos,
        decorated(
            nowhere("import", finished),
            "Nightly import",
            "python",
            "Reads the bank's export into the ledger.",
            None,
        ),
        decorated(nowhere("wiki", SiteState::Stopped), "Wiki", "dockerfile", "", None),
    ])
    .await;
    let base = format!("http://{}", front.address);
    let expected = [
        Expected { name: "hello", title: "Hello", text: "Hello from the sample" },
        Expected { name: "recipes", title: "Family recipes", text: "Every recipe" },
        Expected { name: "invoices", title: "Invoices", text: "Open invoices" },
    ];
    index_lists_and_opens(&base, &expected, "index").await;

    let browser = Browser::start(1000, 760).await;
    for (path, name) in [("weather/", "starting.png"), ("photos/", "failed.png"), ("wether/", "unknown.png")]
    {
        browser.open(&format!("{base}/{path}")).await;
        browser.keep_picture(name).await;
    }
    front.table.send_replace(Arc::new(compile(Vec::new())));
    browser.open(&base).await;
    browser.keep_picture("empty.png").await;
    // A page that is open sees what is dropped now.
    front.table.send_replace(Arc::new(compile(vec![pages[0].site("dropped")])));
    browser.wait_for("document.querySelector('a.tile[href=\"/dropped/\"]')").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_that_knows_nothing_of_prefixes_works() {
    const PAGE: &str = r#"<!doctype html><link rel="stylesheet" href="/css/style.css"><script src="/app.js" type="module"></script>
        <a id="next" href="/next">next</a><p id="fetched"></p><p id="socket"></p>"#;
    const SCRIPT: &str = r#"
        fetch("/api/word").then((answer) => answer.text()).then((text) => { document.getElementById("fetched").textContent = text; });
        const socket = new WebSocket(`ws://${location.host}/live`);
        socket.onmessage = (event) => { document.getElementById("socket").textContent = event.data; };"#;
    async fn live(upgrade: WebSocketUpgrade) -> axum::response::Response {
        upgrade.on_upgrade(|mut socket| async move {
            socket.send("live words".into()).await.unwrap();
            while let Some(Ok(_)) = socket.recv().await {}
        })
    }
    let app = axum::Router::new()
        .route("/", get(|| async { Html(PAGE) }))
        .route("/css/style.css", get(|| async { ([("content-type", "text/css")], "@import 'more.css';") }))
        .route(
            "/css/more.css",
            get(|| async { ([("content-type", "text/css")], "body { color: rgb(1, 2, 3); }") }),
        )
        .route("/app.js", get(|| async { ([("content-type", "text/javascript")], SCRIPT) }))
        .route("/api/word", get(|| async { "fetched words" }))
        .route("/next", get(|| async { Html("<p>the next page") }))
        .route("/live", any(live));
    let (upstream, other) = (Upstream::serving(app).await, page("another").await);
    let front = Front::start(vec![upstream.site("app"), other.site("other")]).await;
    let browser = Browser::start(1000, 760).await;
    browser.open(&format!("http://{}/app/", front.address)).await;
    browser.wait_for("document.getElementById('fetched')?.textContent === 'fetched words'").await;
    browser.wait_for("document.getElementById('socket').textContent === 'live words'").await;
    browser.wait_for("getComputedStyle(document.body).color === 'rgb(1, 2, 3)'").await;
    browser.click("#next").await;
    browser.wait_for("document.body.innerText.includes('the next page')").await;
    assert_eq!(browser.run("return location.pathname").await, "/app/next");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_waits_becomes_the_workspace() {
    let upstream = page("ready at last").await;
    let starting = |phase: &str, line: &str| {
        let state = SiteState::Starting {
            phase: phase.to_owned(),
            message: "one moment".to_owned(),
            log_tail: vec![line.to_owned()],
        };
        Arc::new(compile(vec![Site { state, upstream: None, ..upstream.site("app") }]))
    };
    let front = Front::start(Vec::new()).await;
    front.table.send_replace(starting("syncing", "12 files"));
    let browser = Browser::start(1000, 760).await;
    browser.open(&format!("http://{}/app/deep?q=1", front.address)).await;
    browser.wait_for("document.querySelector('[aria-current=step]')?.textContent === 'syncing'").await;
    front.table.send_replace(starting("installing", "added 57 packages"));
    browser.wait_for("document.querySelector('[aria-current=step]').textContent === 'installing'").await;
    browser.wait_for("document.getElementById('log').textContent.includes('added 57 packages')").await;
    let catch_all = Upstream::echo().await;
    front.table.send_replace(Arc::new(compile(vec![catch_all.site("app")])));
    browser.wait_for("document.body.innerText.includes('GET /deep?q=1')").await;
}
