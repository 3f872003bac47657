//! Drives Chromium through chromedriver: the few commands of WebDriver (W3C) that the tests need.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// How long a page may take to become what is expected of it.
const DEADLINE: Duration = Duration::from_secs(30);

/// A browser with a profile of its own. Dropping it ends the driver and the browser.
pub(crate) struct Browser {
    client: Client<HttpConnector, Full<Bytes>>,
    driver: Child,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts one with a window of this size.
    pub(crate) async fn start(width: u32, height: u32) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut driver = Command::new("chromedriver")
            .args(["--port=0", "--allowed-ips=127.0.0.1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // A group of its own: the browser ends with its driver, however the test ends.
            .process_group(0)
            .spawn()
            .expect("chromedriver starts; scripts/browser installs it");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = timeout(DEADLINE, async {
            loop {
                let line = lines.next_line().await.unwrap().expect("chromedriver says its port");
                if let Some((_, port)) = line.split_once("successfully on port ") {
                    return port.trim_end_matches('.').parse::<u16>().unwrap();
                }
            }
        });
        let port = port.await.expect("chromedriver starts in time");
        let client = Client::builder(TokioExecutor::new()).build_http();
        let session = format!("http://127.0.0.1:{port}/session");
        let mut browser = Self { client, driver, session, _profile: profile };
        let opened =
            browser.command(Method::POST, "", capabilities(browser._profile.path(), width, height)).await;
        browser.session = format!("{}/{}", browser.session, opened["sessionId"].as_str().unwrap());
        browser
    }

    /// One command; its result's value.
    async fn command(&self, method: Method, path: &str, body: Value) -> Value {
        let body = if method == Method::POST { body.to_string() } else { String::new() };
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.session))
            .header("content-type", "application/json")
            .body(Full::from(body))
            .unwrap();
        let answer =
            timeout(DEADLINE * 2, self.client.request(request)).await.expect("the driver answers").unwrap();
        let status = answer.status();
        let mut value: Value =
            serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
        assert!(status.is_success(), "{path}: {value}");
        value["value"].take()
    }

    /// Opens an address and waits until it is loaded.
    pub(crate) async fn open(&self, url: &str) {
        self.command(Method::POST, "/url", json!({ "url": url })).await;
    }

    /// Runs a function body in the page.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.command(Method::POST, "/execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// Waits until an expression is true in the page.
    pub(crate) async fn wait_for(&self, expression: &str) {
        let (script, deadline) = (format!("return Boolean({expression})"), Instant::now() + DEADLINE);
        while self.run(&script).await != json!(true) {
            if Instant::now() > deadline {
                let page = self.run("return location.href + '\\n' + document.body.innerText").await;
                panic!("waited in vain for `{expression}` in {page}");
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Clicks on what a selector finds, like a person: it must be visible and in reach.
    pub(crate) async fn click(&self, selector: &str) {
        let wanted = json!({ "using": "css selector", "value": selector });
        let found = self.command(Method::POST, "/element", wanted).await;
        let id = found.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned();
        self.command(Method::POST, &format!("/element/{id}/click"), json!({})).await;
    }

    /// Shows pages as to somebody who prefers this colour scheme.
    pub(crate) async fn prefer(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        let command = json!({ "cmd": "Emulation.setEmulatedMedia", "params": { "features": features } });
        self.command(Method::POST, "/goog/cdp/execute", command).await;
    }

    /// Keeps a picture of the window as an artefact of the build.
    pub(crate) async fn keep_picture(&self, name: &str) {
        let picture = self.command(Method::GET, "/screenshot", Value::Null).await;
        let bytes = base64::engine::general_purpose::STANDARD.decode(picture.as_str().unwrap()).unwrap();
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/artefacts");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(name), bytes).unwrap();
    }

    /// What the console holds since it was last asked: failed loads, refused scripts, errors.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let log = self.command(Method::POST, "/se/log", json!({ "type": "browser" })).await;
        log.as_array().unwrap().iter().map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(group) = self.driver.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()))
        {
            // Gone already is as good.
            let _gone = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

fn capabilities(profile: &Path, width: u32, height: u32) -> Value {
    let arguments = json!([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-proxy-server",
        "--hide-scrollbars",
        format!("--window-size={width},{height}"),
        format!("--user-data-dir={}", profile.display()),
    ]);
    json!({ "capabilities": { "alwaysMatch": {
        "browserName": "chrome",
        "goog:chromeOptions": { "args": arguments },
        "goog:loggingPrefs": { "browser": "ALL" },
    } } })
}
