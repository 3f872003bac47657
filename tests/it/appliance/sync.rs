//! Files kept equal, as a person sees it: `nexus sync ...` on a node with a real engine.

use std::fs;
use std::time::Duration;
use std::time::Instant;

use futures::StreamExt as _;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use super::harness::LATER;
use super::harness::SOON;
use super::harness::TestNode;

/// A workspace whose program only shows that it is there.
async fn running() -> TestNode {
    let node = TestNode::start().await;
    node.drop_fixture("node-plain", "plain");
    node.wait_for_page("/plain/", 200, "plain node", LATER).await;
    node
}

fn json(node: &TestNode, words: &[&str]) -> Value {
    json_of(node, &[&["sync"], words].concat())
}

fn json_of(node: &TestNode, words: &[&str]) -> Value {
    let (code, out, talk) = node.cli(&[&["--json"], words].concat());
    assert_eq!(code, 0, "{words:?}: {out}{talk}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{words:?}: {error}: {out}"))
}

fn inside(node: &TestNode, script: &str) -> String {
    let (code, out, talk) = node.cli(&["workspace", "run", "plain", "--", "sh", "-c", script]);
    assert_eq!(code, 0, "{script}: {out}{talk}");
    out
}

#[tokio::test]
async fn edits_are_seen_versions_listed_and_brought_back() {
    let node = running().await;
    node.write("plain/notes.txt", "from the host");
    json(&node, &["flush", "plain"]);
    assert_eq!(inside(&node, "cat notes.txt"), "from the host");
    inside(&node, "printf 'from the container' > .n && mv .n notes.txt");
    let status = json(&node, &["flush", "plain"]);
    assert_eq!(status["state"], "equal");
    assert_eq!(status["mode"], "two-way-safe");
    let notes = node.projects().join("plain/notes.txt");
    assert_eq!(fs::read_to_string(&notes).unwrap(), "from the container");

    let versions = json(&node, &["versions", "plain", "notes.txt"]);
    let kept = versions["versions"].as_array().unwrap();
    assert_eq!(kept.len(), 1, "{versions}");
    assert_eq!((&kept[0]["side"], &kept[0]["cause"]), (&"host".into(), &"overwritten".into()));
    let plan = json(&node, &["undo", "plain", "notes.txt", "--dry-run"]);
    assert_eq!(plan["restored"][0]["path"], "notes.txt");
    assert_eq!(fs::read_to_string(&notes).unwrap(), "from the container");
    let (code, _, talk) = node.cli(&["sync", "undo", "plain", "notes.txt"]);
    assert!(code != 0 && talk.contains("--yes"), "{talk}");
    json(&node, &["undo", "plain", "notes.txt", "--yes"]);
    json(&node, &["flush", "plain"]);
    assert_eq!(fs::read_to_string(&notes).unwrap(), "from the host");
    assert_eq!(inside(&node, "cat notes.txt"), "from the host");
    let (code, _, talk) = node.cli(&["sync", "undo", "plain", "never-was.txt", "--yes"]);
    assert!(code == 3 && talk.contains("nothing to bring back"), "{talk}");
}

#[tokio::test]
async fn a_path_tells_why_it_is_not_there() {
    let node = running().await;
    node.write("plain/.gitignore", "secret/\n");
    node.write("plain/secret/key", "x");
    node.write("plain/node_modules/left/index.js", "x");
    json(&node, &["flush", "plain"]);
    let because = |path: &str| json(&node, &["trace", "plain", path])["because"].to_string();
    assert!(because("secret/key").contains("`secret/` in .gitignore"), "{}", because("secret/key"));
    assert!(because("node_modules/left/index.js").contains("in the defaults"));
    assert!(because("server.js").contains("on the container: file"), "{}", because("server.js"));
    node.write("plain/late.txt", "late");
    json(&node, &["flush", "plain"]);
    let trace = json(&node, &["trace", "plain", "late.txt"]);
    assert_eq!(trace["because"][0], "both sides have the same");
    let decided: Vec<_> =
        trace["decided"].as_array().unwrap().iter().map(|one| one["what"].to_string()).collect();
    let wanted =
        ["the host has a file of 4 bytes", "the container is to have a file", "the container now has a file"];
    let mut rest = decided.iter();
    assert!(wanted.iter().all(|wanted| rest.any(|what| what.contains(wanted))), "{decided:#?}");
    let (code, _, talk) = node.cli(&["sync", "trace", "plain", "../etc/passwd"]);
    assert!(code == 2 && talk.contains("no path in the folder"), "{talk}");
}

#[tokio::test]
async fn a_pause_holds_and_a_resume_carries_on() {
    let node = running().await;
    json(&node, &["pause", "plain"]);
    assert_eq!(json(&node, &["status", "plain"])["state"], "paused");
    node.write("plain/late.txt", "late");
    // It is seen, and not carried.
    let until = Instant::now() + SOON;
    while json(&node, &["status", "plain"])["sides"][0]["files"]
        == json(&node, &["status", "plain"])["sides"][1]["files"]
    {
        assert!(Instant::now() < until, "the new file is never seen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(inside(&node, "ls | grep -c late.txt || true"), "0\n");
    json(&node, &["resume", "plain"]);
    json(&node, &["flush", "plain"]);
    assert_eq!(inside(&node, "cat late.txt"), "late");
}

#[tokio::test]
async fn deleting_much_waits_for_a_yes() {
    let node = running().await;
    for number in 0..40 {
        node.write(&format!("plain/many/{number}.txt"), "x");
    }
    json(&node, &["flush", "plain"]);
    // All at once: of a slow removal the first half may go before the rest is too much.
    let elsewhere = tempfile::tempdir_in(node.projects().parent().unwrap()).unwrap();
    fs::rename(node.projects().join("plain/many"), elsewhere.path().join("many")).unwrap();
    let until = Instant::now() + SOON;
    let status = loop {
        let status = json(&node, &["status", "plain"]);
        if !status["holds"].as_array().unwrap().is_empty() {
            break status;
        }
        assert!(Instant::now() < until, "nothing is held: {status}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let message = status["holds"][0]["message"].as_str().unwrap();
    assert!(message.starts_with("40 of ") && message.ends_with("would go from the container"), "{message}");
    assert_eq!(inside(&node, "ls many | wc -l").trim(), "40");
    json(&node, &["resume", "plain", "--accept-deletions"]);
    json(&node, &["flush", "plain"]);
    assert_eq!(inside(&node, "ls | grep -c many || true"), "0\n");
    // And yet nothing is lost: all of it comes back in one go.
    let undone = json(&node, &["undo", "plain", "many", "--yes"]);
    assert_eq!(undone["restored"].as_array().unwrap().len(), 40, "{undone}");
    json(&node, &["flush", "plain"]);
    assert_eq!(fs::read_dir(node.projects().join("plain/many")).unwrap().count(), 40);
}

/// Waits for something `nexus sync conflicts` lists.
async fn conflict(node: &TestNode) -> Value {
    let until = Instant::now() + SOON;
    loop {
        let found = json(node, &["conflicts", "plain"]);
        if let Some(conflict) = found["conflicts"].as_array().unwrap().first() {
            return conflict.clone();
        }
        assert!(Instant::now() < until, "there is no conflict");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn two_edits_of_one_text_are_put_together() {
    let node = running().await;
    node.write("plain/.nexus/config.yaml", "sync:\n  strategy: manual\n");
    let lines = "one\ntwo\nthree\nfour\nfive\n";
    node.write("plain/notes.txt", lines);
    let until = Instant::now() + SOON;
    while json(&node, &["flush", "plain"])["strategy"] != "manual" {
        assert!(Instant::now() < until, "the settings do not change");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // What both agree on is kept as soon as there is time for it.
    let id = json_of(&node, &["workspace", "show", "plain"])["workspace"]["id"].as_str().unwrap().to_owned();
    let base = node.home().join("sync").join(id).join("bases");
    let kept = |text: &str| base.join(blake3::hash(text.as_bytes()).to_string());
    while !kept(lines).exists() {
        assert!(Instant::now() < until, "{} does not come", kept(lines).display());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let notes = node.projects().join("plain/notes.txt");
    let edit = |host: &str, container: &str| {
        json(&node, &["pause", "plain"]);
        fs::write(&notes, host).unwrap();
        inside(&node, &format!("printf '{}' > notes.txt", container.replace('\n', "\\n")));
        json(&node, &["resume", "plain"]);
    };
    edit("1\ntwo\nthree\nfour\nfive\n", "one\ntwo\nthree\nfour\n5\n");
    assert_eq!(conflict(&node).await["path"], "notes.txt");
    let merged = "1\ntwo\nthree\nfour\n5\n";
    let plan = json(&node, &["resolve", "plain", "*.txt", "--merged", "--dry-run"]);
    assert_eq!((&plan["resolved"][0], &plan["merged"][0]["text"]), (&"notes.txt".into(), &merged.into()));
    assert_eq!(fs::read_to_string(&notes).unwrap(), "1\ntwo\nthree\nfour\nfive\n", "nothing was done");
    json(&node, &["resolve", "plain", "*.txt", "--merged"]);
    json(&node, &["flush", "plain"]);
    assert_eq!(fs::read_to_string(&notes).unwrap(), merged);
    assert_eq!(inside(&node, "cat notes.txt"), merged);
    let versions = json(&node, &["versions", "plain", "notes.txt"]);
    let sides: Vec<_> = versions["versions"].as_array().unwrap().iter().map(|kept| &kept["side"]).collect();
    assert!(sides.contains(&&"host".into()) && sides.contains(&&"container".into()), "{versions}");

    // What clashes is left to a person, who may write it.
    while !kept(merged).exists() {
        assert!(Instant::now() < until, "{} does not come", kept(merged).display());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    edit("1\nzwei\nthree\nfour\n5\n", "1\ndeux\nthree\nfour\n5\n");
    conflict(&node).await;
    let (code, _, talk) = node.cli(&["sync", "resolve", "plain", "notes.txt", "--merged"]);
    assert!(code == 4 && talk.contains("clash in 1 place") && talk.contains("--with FILE"), "{code} {talk}");
    let own = node.home().join("own.txt");
    fs::write(&own, "my own\n").unwrap();
    json(&node, &["resolve", "plain", "notes.txt", "--with", own.to_str().unwrap()]);
    json(&node, &["flush", "plain"]);
    assert_eq!(fs::read_to_string(&notes).unwrap(), "my own\n");
    assert_eq!(inside(&node, "cat notes.txt"), "my own\n");
    let (code, _, talk) = node.cli(&["sync", "resolve", "plain", "notes.txt", "--merged"]);
    assert!(code == 3 && talk.contains("no conflict at"), "{code} {talk}");
}

#[tokio::test]
async fn settings_are_looked_at_before_they_count_and_count_when_they_are_saved() {
    let node = running().await;
    node.write("plain/data/one.bin", "1");
    node.write("plain/data/two.bin", "2");
    node.write("plain/build/out.js", "built");
    json(&node, &["flush", "plain"]);
    // What sync displaced is on its way through the staging area for a moment.
    let files = || inside(&node, "find . -path ./.nexus-stage -prune -o -type f -print | sort");
    let before = files();
    let preview = json(&node, &["preview", "plain", "--exclude", "data/", "--exclude", "!build/"]);
    assert_eq!(
        preview["stops"],
        serde_json::json!({"count": 2, "samples": ["data/one.bin", "data/two.bin"]})
    );
    assert_eq!(preview["begins"], serde_json::json!({"count": 1, "samples": ["build"]}));
    for side in preview["sides"].as_array().unwrap() {
        assert_eq!((&side["created"], &side["changed"], &side["deleted"]), (&0.into(), &0.into(), &0.into()));
    }
    let (code, out, talk) =
        node.cli(&["sync", "preview", "plain", "--mode", "one-way-replica", "--exclude", "data/"]);
    assert!(code == 0 && out.contains("data/one.bin"), "{out}{talk}");
    assert!(talk.contains("sync: {mode: one-way-replica, exclude: ['data/']}"), "{talk}");
    let wrong = [
        (&["--mode", "two-way-save"][..], "did you mean `two-way-safe`?"),
        (&["--strategy", "nobody"][..], "it is one of host-wins"),
        (&["--exclude", "a[b"][..], "`a[b` excludes nothing"),
    ];
    for (words, hint) in wrong {
        let (code, _, talk) = node.cli(&[&["sync", "preview", "plain"][..], words].concat());
        assert!(code != 0 && talk.contains(hint), "{words:?}: {code} {talk}");
    }

    // Saved, it counts: on the live session, in the same container, and nothing is removed.
    let began = || inside(&node, "cut -d ' ' -f 22 /proc/1/stat");
    let container = began();
    node.write("plain/.nexus/config.yaml", "sync:\n  strategy: newer-wins\n  exclude: [data/]\n");
    let until = Instant::now() + SOON;
    while json(&node, &["status", "plain"])["strategy"] != "newer-wins" {
        assert!(Instant::now() < until, "the settings do not change");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    json(&node, &["flush", "plain"]);
    node.write("plain/data/three.bin", "3");
    node.write("plain/carried.txt", "carried");
    json(&node, &["flush", "plain"]);
    assert_eq!(files().replace("./carried.txt\n", ""), before);
    assert_eq!(began(), container, "it is still the same container");
    assert!(node.projects().join("plain/data/one.bin").exists());

    // What makes no sense is refused, and what was so before goes on.
    node.write("plain/.nexus/config.yaml", "sync:\n  strategy: newer-win\n");
    let until = Instant::now() + SOON;
    loop {
        let (_, shown, _) = node.cli(&["workspace", "show", "plain"]);
        if shown.contains("did you mean `newer-wins`?") && shown.contains(".nexus/config.yaml:2") {
            break;
        }
        assert!(Instant::now() < until, "{shown}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_stopped_workspace_says_that_it_has_no_session() {
    let node = running().await;
    let (code, _, talk) = node.cli(&["workspace", "stop", "plain", "--wait"]);
    assert_eq!(code, 0, "{talk}");
    let (code, _, talk) = node.cli(&["sync", "flush", "plain"]);
    assert!(code == 4 && talk.contains("no sync session"), "{code} {talk}");
    // What is edited meanwhile is there when it runs again.
    node.write("plain/meanwhile.txt", "meanwhile");
    let (code, _, talk) = node.cli(&["workspace", "start", "plain", "--wait"]);
    assert_eq!(code, 0, "{talk}");
    assert_eq!(inside(&node, "cat meanwhile.txt"), "meanwhile");
}

#[tokio::test]
async fn a_socket_tells_of_sync_and_a_page_measures_it() {
    let node = running().await;
    let (code, out, talk) = node.cli(&["--json", "token", "create", "watcher", "--scope", "read"]);
    assert_eq!(code, 0, "{out}{talk}");
    let token = serde_json::from_str::<Value>(&out).unwrap()["secret"].as_str().unwrap().to_owned();
    let address = format!("127.0.0.1:{}", node.control);
    let mut request = format!("ws://{address}/api/v1/ws").into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let stream = TcpStream::connect(&address).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    let first = told(&mut socket).await;
    assert_eq!(first["event"], "workspaces");
    // The sample is there too, before or after it.
    let mut named: Vec<_> =
        first["data"]["workspaces"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    named.sort_by_key(|name| name.as_str());
    assert_eq!(named, ["hello", "plain"]);
    let files = |event: &Value| {
        let sides = event["data"]["sides"].as_array().unwrap().iter();
        sides.map(|side| side["files"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let equal = |event: &Value| {
        let data = &event["data"];
        event["event"] == "sync" && data["workspace"] == "plain" && data["state"] == "equal"
    };
    let before = loop {
        let event = told(&mut socket).await;
        if equal(&event) {
            break files(&event);
        }
    };
    node.write("plain/late.txt", "late");
    let wanted: Vec<_> = before.iter().map(|files| files + 1).collect();
    loop {
        let event = told(&mut socket).await;
        if equal(&event) && files(&event) == wanted {
            assert!(event["data"]["latency_us"].as_u64().unwrap() > 0, "{event}");
            break;
        }
    }

    let lines = [
        format!("nexus_sync_files{{side=\"container\",workspace=\"plain\"}} {}", wanted[1]),
        "nexus_sync_state{state=\"equal\",workspace=\"plain\"} 1".to_owned(),
    ];
    let until = Instant::now() + SOON;
    loop {
        let page = page(&address, &token, "/metrics").await;
        if lines.iter().all(|line| page.lines().any(|there| there == line)) {
            return;
        }
        assert!(Instant::now() < until, "{lines:#?} are not in\n{page}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The next event; what only keeps the socket open is passed over.
async fn told(socket: &mut WebSocketStream<TcpStream>) -> Value {
    loop {
        let message = tokio::time::timeout(SOON, socket.next()).await.expect("something is told in time");
        if let Message::Text(text) = message.expect("the socket stays open").unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

async fn page(address: &str, token: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}
