//! The command line as a person and a script meet it: the real binary against a node of this process.

use std::path::Path;
use std::process::Output;
use std::process::Stdio;
use std::sync::Arc;

use clap::CommandFactory as _;
use serde_json::Value;
use tokio::process::Command;

use nexus::engine;
use nexus::engine::memory::Fault;
use nexus::engine::memory::Memory;
use nexus::engine::memory::Program;
use nexus::engine::memory::When;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;

use crate::api::harness::DEADLINE;
use crate::api::harness::TestApi;

async fn nexus(home: &Path, arguments: &[&str]) -> Output {
    let command = Command::new(env!("CARGO_BIN_EXE_nexus"))
        .args(arguments)
        .env_clear()
        .env("NEXUS_HOME", home)
        .env("NEXUS_ENGINE_SOCKET", "unix:///nonexistent/engine.sock")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    tokio::time::timeout(DEADLINE, command).await.expect("an end in time").unwrap()
}

impl TestApi {
    pub async fn nexus(&self, arguments: &[&str]) -> Output {
        nexus(self.socket.parent().unwrap(), arguments).await
    }

    pub async fn json(&self, arguments: &[&str]) -> Value {
        let output = self.nexus(&[&["--json"], arguments].concat()).await;
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }
}

pub fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn talk(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn the_help_is_the_golden_one() {
    fn walk(command: &mut clap::Command, path: &str, text: &mut String) {
        *text += &format!("== {path}\n{}\n", command.render_help());
        let names: Vec<String> =
            command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
        for name in names.iter().filter(|name| *name != "help") {
            walk(command.find_subcommand_mut(name).unwrap(), &format!("{path} {name}"), text);
        }
    }
    let mut now = String::new();
    let mut command = nexus::cli::Arguments::command().term_width(100);
    command.build();
    walk(&mut command, "nexus", &mut now);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/help.txt");
    if std::env::vars().any(|(name, _)| name == "NEXUS_BLESS") {
        std::fs::write(&path, &now).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == now, "the help changed: look at the difference after NEXUS_BLESS=1");
}

#[tokio::test]
async fn the_node_and_its_workspaces_are_shown() {
    let node = TestApi::start().await;
    let status = node.nexus(&["status"]).await;
    assert!(status.status.success() && out(&status).contains("engine      does not answer"), "{status:?}");
    assert!(out(&status).contains("problem: no container engine answered"), "{status:?}");
    assert_eq!(node.json(&["status"]).await["engine"]["reachable"], false);
    for list in [&["list"][..], &["ws", "list"], &["workspace", "list"]] {
        assert_eq!(node.json(list).await["workspaces"], Value::Array(vec![]));
    }
    let list = node.nexus(&["list"]).await;
    assert!(
        out(&list).starts_with("NAME  STATE") && talk(&list).starts_with("no workspaces yet"),
        "{list:?}"
    );
    node.close().await;
}

#[tokio::test]
async fn failures_name_the_cause_the_next_step_and_a_code() {
    let node = TestApi::start().await;
    let check = |output: Output, code: i32, text: &str| {
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert_eq!(talk(&output), text);
        assert!(output.stdout.is_empty(), "{output:?}");
    };
    check(
        node.nexus(&["workspace", "show", "a\x1b[2J/..%"]).await,
        3,
        "error: no workspace is called `a\\u{1b}[2J/..%`\nhint: see `nexus workspace list`\n",
    );
    check(
        node.nexus(&["workspace", "create", "My Shop"]).await,
        2,
        "error: the name `My Shop` is not a workspace name: `M` is not one of a-z, 0-9 and -\nhint: call it `my-shop`\n",
    );
    check(
        node.nexus(&["token", "create", "x", "--scope", "root"]).await,
        2,
        "error: `root` is not a scope: it is read, write or admin\n",
    );
    check(
        node.nexus(&["workspace", "run", "nobody", "--", "true"]).await,
        125,
        "error: no workspace is called `nobody`\nhint: see `nexus workspace list`\n",
    );
    let output = nexus(Path::new("/nonexistent"), &["status"]).await;
    assert_eq!(output.status.code(), Some(7));
    assert!(talk(&output).starts_with("error: no node answers at /nonexistent/nexus.sock"), "{output:?}");
    assert!(talk(&output).contains("\nhint: start it"), "{output:?}");
    node.close().await;
}

#[tokio::test]
async fn a_folder_is_made_once() {
    let node = TestApi::start().await;
    let made = node.nexus(&["workspace", "create", "shop", "--template", "hello"]).await;
    assert_eq!(talk(&made), "made the folder `shop`; it will answer at /shop/\n");
    assert!(node.directory.join("shop/index.html").is_file());
    assert_eq!(node.nexus(&["workspace", "create", "shop"]).await.status.code(), Some(4));
    node.close().await;
}

#[tokio::test]
async fn the_claim_link_is_printed_until_it_is_used() {
    let node = TestApi::start().await;
    let first = out(&node.nexus(&["claim"]).await);
    assert!(first.starts_with(&format!("http://{}/claim/", node.address)), "{first}");
    assert_eq!(out(&node.nexus(&["claim"]).await), first);
    let path = first.trim().split_once(&node.address.to_string()).unwrap().1.to_owned();
    assert_eq!(node.send("POST", &path, None, None).await.status, 200);
    let none = node.nexus(&["claim"]).await;
    assert_eq!(none.status.code(), Some(4), "{none:?}");
    let second = out(&node.nexus(&["claim", "--new"]).await);
    assert!(second.contains("/claim/") && second != first);
    node.close().await;
}

#[tokio::test]
async fn tokens_come_and_go() {
    let node = TestApi::start().await;
    let made = node.nexus(&["token", "create", "ci", "--scope", "write", "--days", "30"]).await;
    let secret = out(&made).trim().to_owned();
    assert!(secret.starts_with("nxs_") && !talk(&made).contains(&secret), "{made:?}");
    assert_eq!(node.send("GET", "/api/v1/status", Some(&secret), None).await.status, 200);
    let list = node.nexus(&["token", "list"]).await;
    assert!(out(&list).contains("ci") && !out(&list).contains(&secret), "{list:?}");
    let id = node.json(&["token", "list"]).await["tokens"][0]["id"].as_str().unwrap().to_owned();
    assert!(node.nexus(&["token", "revoke", &id]).await.status.success());
    assert_eq!(node.nexus(&["token", "revoke", &id]).await.status.code(), Some(3));
    assert_eq!(node.send("GET", "/api/v1/status", Some(&secret), None).await.status, 401);
    node.close().await;
}

#[tokio::test]
async fn a_reader_that_has_gone_is_no_failure() {
    let node = TestApi::start().await;
    let home = node.socket.parent().unwrap();
    for arguments in [&["completions", "bash"][..], &["list"], &["--json", "status"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = Command::new(env!("CARGO_BIN_EXE_nexus"))
            .args(arguments)
            .env_clear()
            .env("NEXUS_HOME", home)
            .stdout(Stdio::from(writer))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = tokio::time::timeout(DEADLINE, child.wait_with_output()).await.unwrap().unwrap();
        assert!(output.status.success() && !talk(&output).contains("error"), "{arguments:?} {output:?}");
    }
    node.close().await;
}

#[tokio::test]
async fn a_folder_can_be_looked_at_without_a_node() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), "<h1>x</h1>").unwrap();
    let path = folder.path().to_str().unwrap();
    let output = nexus(Path::new("/nonexistent"), &["detect", path, "--json"]).await;
    let detection: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(detection["kind"], "static");
    let missing = nexus(Path::new("/nonexistent"), &["detect", "/nonexistent/x"]).await;
    assert!(!missing.status.success() && talk(&missing).starts_with("error: "), "{missing:?}");
}

#[tokio::test]
async fn the_doctor_is_asked_and_looks_for_itself_when_nobody_answers() {
    let node = TestApi::start().await;
    let report = node.nexus(&["doctor"]).await;
    assert_eq!(report.status.code(), Some(1), "{report:?}");
    let text = out(&report);
    assert!(text.contains("failed   engine") && text.contains("next: start the engine"), "{text}");
    assert!(text.contains("ok       home") && text.contains("skipped  images"), "{text}");
    node.close().await;
    let offline = nexus(Path::new("/nonexistent"), &["doctor", "--offline", "--json"]).await;
    let checks: Value = serde_json::from_slice(&offline.stdout).unwrap();
    let home = checks["checks"].as_array().unwrap().iter().find(|check| check["name"] == "home").unwrap();
    assert_eq!((home["result"].as_str(), offline.status.code()), (Some("failed"), Some(1)));
}

#[tokio::test]
async fn settings_are_shown_with_their_origin_and_mistakes_with_their_place() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("config.yaml"), "log:\n  level: debug\n").unwrap();
    let get = nexus(home.path(), &["config", "get", "log.level", "--origin"]).await;
    assert_eq!(out(&get), format!("debug\n{}/config.yaml:2:3\n", home.path().display()), "{get:?}");
    let show = nexus(home.path(), &["config", "show", "--json"]).await;
    let settings: Value = serde_json::from_slice(&show.stdout).unwrap();
    let web = settings["settings"].as_array().unwrap().iter().find(|one| one["key"] == "web.hosts").unwrap();
    assert_eq!((&web["value"], &web["origin"]), (&serde_json::json!([]), &serde_json::json!("default")));
    let none = nexus(home.path(), &["config", "get", "log.levle"]).await;
    assert_eq!(none.status.code(), Some(3));
    assert_eq!(talk(&none), "error: there is no setting `log.levle`\nhint: did you mean `log.level`?\n");
    std::fs::write(home.path().join("config.yaml"), "log:\n  levle: debug\n").unwrap();
    let wrong = nexus(home.path(), &["config", "show"]).await;
    assert_eq!(wrong.status.code(), Some(2));
    assert!(talk(&wrong).contains("config.yaml:2:"), "{wrong:?}");
    let client = nexus(home.path(), &["status"]).await;
    assert_eq!(client.status.code(), Some(7), "a client needs no settings: {client:?}");
}

/// A node whose one workspace `shop` has a running container, in which `tool` is a program.
async fn shop(prints: &[u8]) -> (Arc<Memory>, TestApi) {
    let own = format!("nexus/runtime-static:{}", env!("CARGO_PKG_VERSION"));
    let engine = Arc::new(Memory::new(&[&own, "nexus/agent:test"]));
    engine.behave(vec![engine::Output::Out(bytes::Bytes::copy_from_slice(prints))], 0);
    let agent: Program = Arc::new(|_, exec, mut io| {
        let [_, run, _, words @ ..] = &exec.argv[..] else { return Box::pin(async { 127 }) };
        let text = format!("{words:?} {:?} \x1b[1m", exec.env);
        let waits = words.first().is_some_and(|word| word == "wait");
        if run != "run" {
            return Box::pin(async { 127 });
        }
        Box::pin(async move {
            io.write_all(text.as_bytes()).await.unwrap();
            // As the agent: it ends when nobody holds its standard input open any more.
            let held = if waits { io.read(&mut [0]).await.unwrap() } else { 0 };
            7 + held as i64
        })
    });
    engine.program("/nexus/nexus-agent", agent);
    let node = TestApi::live(engine.clone()).await;
    assert!(node.nexus(&["ws", "create", "shop", "--template", "hello"]).await.status.success());
    let mut views = node.api.workspaces().views();
    let running =
        views.wait_for(|views| views.iter().any(|view| view.services.iter().any(|s| s.state == "running")));
    tokio::time::timeout(DEADLINE, running).await.expect("a running container").unwrap();
    (engine, node)
}

#[tokio::test]
async fn a_program_runs_inside_and_its_code_comes_out() {
    let (_engine, node) = shop(b"").await;
    let run = node.nexus(&["ws", "run", "shop", "--env", "A=b c", "--", "tool", "--flag", "$HOME; x"]).await;
    assert_eq!(run.status.code(), Some(7), "{run:?}");
    assert_eq!(
        out(&run),
        "[\"tool\", \"--flag\", \"$HOME; x\"] [(\"A\", \"b c\")] \x1b[1m",
        "a pipe gets every byte"
    );
    let json: Value = node.json(&["ws", "run", "shop", "--", "tool"]).await;
    assert_eq!((&json["exit_code"], &json["timed_out"]), (&Value::from(7), &Value::from(false)));
    let late = node.nexus(&["ws", "run", "shop", "--timeout", "1", "--", "wait"]).await;
    assert_eq!((late.status.code(), out(&late).as_str()), (Some(124), "[\"wait\"] [] \x1b[1m"), "{late:?}");
    assert!(talk(&late).contains("did not end within 1s and was killed"), "{late:?}");
    let none = node.nexus(&["ws", "run", "shop", "--service", "db", "--", "tool"]).await;
    assert!(none.status.code() == Some(125) && talk(&none).contains("no service `db`"), "{none:?}");
    node.close().await;
}

#[tokio::test]
async fn a_workspace_is_shown_stopped_started_and_removed() {
    let (_engine, node) = shop(b"one\ntwo \x1b[2J\n").await;
    let show = node.nexus(&["ws", "show", "shop"]).await;
    assert!(out(&show).contains("kind") && out(&show).contains("because: "), "{show:?}");
    let compose = node.nexus(&["ws", "show", "shop", "--compose"]).await;
    assert!(out(&compose).contains("cap_drop"), "{compose:?}");
    let logs = node.nexus(&["ws", "logs", "shop", "--tail", "10"]).await;
    assert_eq!(out(&logs), "one\ntwo \x1b[2J\n", "{logs:?}");
    let logs = node.nexus(&["ws", "logs", "shop", "--json"]).await;
    assert_eq!(out(&logs).lines().next(), Some("{\"line\":\"one\"}"), "{logs:?}");

    let stop = node.nexus(&["ws", "stop", "shop", "--wait"]).await;
    assert!(stop.status.success() && talk(&stop).ends_with("`shop` is stopped\n"), "{stop:?}");
    let run = node.nexus(&["ws", "run", "shop", "--", "tool"]).await;
    assert!(run.status.code() == Some(125) && talk(&run).contains("nexus workspace start shop"), "{run:?}");
    assert!(node.nexus(&["ws", "start", "shop"]).await.status.success());

    let plan = node.nexus(&["ws", "remove", "shop", "--dry-run"]).await;
    assert!(
        out(&plan).contains("remove folder shop (to the trash)") && out(&plan).contains("keep volume"),
        "{plan:?}"
    );
    let unasked = node.nexus(&["ws", "remove", "shop"]).await;
    assert_eq!(unasked.status.code(), Some(6), "{unasked:?}");
    assert!(node.directory.join("shop").is_dir());
    let removed = node.nexus(&["ws", "remove", "shop", "--yes", "--wait"]).await;
    assert!(removed.status.success() && !node.directory.join("shop").exists(), "{removed:?}");
    node.close().await;
}

#[tokio::test]
async fn waiting_ends_when_the_workspace_fails() {
    let (engine, node) = shop(b"Error: no such module\n").await;
    engine.fault(When::Every("up"), Fault::Refuse("no space for it".to_owned()));
    let restart = node.nexus(&["ws", "create", "other", "--template", "hello", "--wait"]).await;
    assert!(!restart.status.success(), "{restart:?}");
    assert!(
        talk(&restart).contains("error: `other` failed") && talk(&restart).contains("no space"),
        "{restart:?}"
    );
    node.close().await;
}
