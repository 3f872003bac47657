//! Backups through the command line: one now, the list, what a person lost comes back, and nothing is overwritten unasked.

use std::path::Path;

use nexus::backup::Workspace;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::api::harness::DEADLINE;
use crate::api::harness::TestApi;
use crate::api::harness::request;
use crate::cli::out;
use crate::cli::talk;

/// A node with one workspace.
async fn node() -> TestApi {
    let node = TestApi::start().await;
    let folder = node.directory.join("shop");
    std::fs::create_dir_all(folder.join("src")).unwrap();
    std::fs::create_dir_all(folder.join("node_modules")).unwrap();
    std::fs::write(folder.join("src/app.js"), "one").unwrap();
    std::fs::write(folder.join("README.md"), "about").unwrap();
    std::fs::write(folder.join("node_modules/big.js"), "x".repeat(100_000)).unwrap();
    node.sources.send_replace(vec![workspace(&folder)]);
    node
}

fn workspace(path: &Path) -> Workspace {
    Workspace { id: "0123456789".to_owned(), folder: "shop".to_owned(), path: path.to_owned() }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_lost_comes_back() {
    let node = node().await;
    let folder = node.directory.join("shop");
    let plan = node.json(&["backup", "run", "--dry-run"]).await;
    let shop = &plan["runs"][0]["workspaces"][0];
    assert_eq!((&shop["files"], &shop["left_out_bytes"]), (&2.into(), &100_000.into()), "{plan}");
    assert_eq!(node.json(&["backup", "list"]).await["snapshots"], serde_json::json!([]));
    let first = node.json(&["backup", "run"]).await;
    assert!(first["runs"][0]["workspaces"][0]["snapshot"].is_string(), "{first}");
    let again = node.json(&["backup", "run", "shop"]).await;
    assert!(again["runs"][0]["workspaces"][0]["snapshot"].is_null(), "nothing has changed: {again}");
    std::fs::write(folder.join("src/app.js"), "two, longer").unwrap();
    node.json(&["backup", "run"]).await;
    let list = node.json(&["backup", "list"]).await;
    let snapshots = list["snapshots"].as_array().unwrap();
    assert_eq!(snapshots.len(), 2, "{list}");

    // The whole folder is lost.
    std::fs::remove_dir_all(&folder).unwrap();
    let plan = node.nexus(&["backup", "restore", "shop", "--dry-run"]).await;
    assert!(plan.status.success() && out(&plan).contains("3 things would be added"), "{plan:?}");
    assert!(!folder.exists(), "a plan changes nothing");
    let refused = node.nexus(&["backup", "restore", "shop"]).await;
    assert!(!refused.status.success() && talk(&refused).contains("needs a yes"), "{refused:?}");
    let done = node.nexus(&["backup", "restore", "shop", "--yes"]).await;
    assert!(done.status.success(), "{done:?}");
    assert_eq!(read(&folder.join("src/app.js")), "two, longer");
    assert!(!folder.join("node_modules").exists());

    // Into a folder that is there: only when asked, and what is replaced is kept.
    std::fs::write(folder.join("src/app.js"), "a later edit").unwrap();
    std::fs::write(folder.join("src/new.js"), "mine").unwrap();
    let refused = node.nexus(&["backup", "restore", "shop", "--yes"]).await;
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    assert!(talk(&refused).contains("--mode merge"), "{refused:?}");
    let oldest = snapshots[0]["id"].as_str().unwrap();
    let merged = node
        .json(&["backup", "restore", "shop", "src", "--snapshot", oldest, "--mode", "merge", "--yes"])
        .await;
    assert_eq!((&merged["replaced"], &merged["failed_total"]), (&1.into(), &0.into()), "{merged}");
    assert_eq!(
        (read(&folder.join("src/app.js")), read(&folder.join("src/new.js"))),
        ("one".into(), "mine".into())
    );
    let aside = Path::new(merged["kept_aside"].as_str().unwrap());
    assert_eq!(read(&aside.join("src/app.js")), "a later edit");

    // As it was at a moment, beside it.
    let time = snapshots[0]["time"].as_str().unwrap();
    let there = ["backup", "restore", "shop", "--point-in-time", time, "--to", "shop-then", "--yes"];
    node.json(&there).await;
    assert_eq!(read(&node.directory.join("shop-then/src/app.js")), "one");
    let early = node.nexus(&["backup", "restore", "shop", "--point-in-time", "2001-01-01 00:00:00"]).await;
    assert_eq!(early.status.code(), Some(3), "{early:?}");

    let probed = node.json(&["backup", "probe"]).await;
    let findings = probed["probes"][0]["findings"].as_array().unwrap();
    assert!(findings.len() == 5 && findings.iter().all(|one| one["verdict"] == "proved"), "{probed}");
    let drilled = node.json(&["backup", "drill"]).await;
    let drill = &drilled["drills"][0];
    assert_eq!((&drill["proved"], &drill["workspaces"][0]["files"]), (&true.into(), &2.into()), "{drilled}");
    let status = node.nexus(&["backup", "status"]).await;
    assert!(talk(&status).contains("`local` was last proved to come back at"), "{status:?}");
    let metrics = node.send_local("GET", "/metrics", None).await.body;
    for line in [
        "nexus_backup_drill_success{destination=\"local\"} 1",
        "nexus_backup_drill_files{destination=\"local\"} 2",
        "nexus_backup_files{destination=\"local\"} 2",
        "nexus_backup_errors_total{destination=\"local\"} 0",
        "nexus_backup_ability{ability=\"create_once\",destination=\"local\"} 1",
    ] {
        assert!(metrics.lines().any(|there| there == line), "{line}: {metrics}");
    }
    let verified = node.json(&["backup", "verify", "local", "--read-data"]).await;
    assert_eq!(verified["whole"], true);
    let recovery = node.json(&["backup", "recovery", "local"]).await;
    assert_eq!(recovery["password"].as_str().map(str::len), Some(8 * 5 + 7));
    let status = node.json(&["backup", "status"]).await;
    assert!(status["destinations"][0]["last_success"].is_string(), "{status}");
    node.close().await;
}

/// Reads a stream of events until one of this name has this in it.
async fn hear(stream: &mut TcpStream, heard: &mut String, event: &str, text: &str) {
    let reading = async {
        loop {
            let mut events =
                heard.split("event: ").filter(|one| one.ends_with("\n\n") || one.contains("\n\n"));
            if events.any(|one| one.starts_with(event) && one.contains(text)) {
                return;
            }
            let mut piece = [0; 4096];
            let length = stream.read(&mut piece).await.unwrap();
            assert!(length > 0, "the stream ended: {heard}");
            heard.push_str(&String::from_utf8_lossy(&piece[..length]));
        }
    };
    let heard_in_time = tokio::time::timeout(DEADLINE, reading).await.is_ok();
    assert!(heard_in_time, "{event} with {text} never came: {heard}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_follows_the_events_sees_a_run_and_a_restore_to_their_ends() {
    let node = node().await;
    let token = node.token("read").await;
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    let head = format!("Host: {}\r\nAuthorization: Bearer {token}\r\n", node.address);
    let ask = request("GET", "/api/v1/events", &head, None);
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut heard = String::new();
    hear(&mut stream, &mut heard, "backup", "\"last_success\":null").await;
    node.json(&["backup", "run"]).await;
    hear(&mut stream, &mut heard, "backup", "\"workspaces_total\":1").await;
    hear(&mut stream, &mut heard, "backup", "\"last\":{\"files\":2").await;
    node.json(&["backup", "restore", "shop", "--to", "again", "--yes"]).await;
    hear(&mut stream, &mut heard, "restore", "\"over\":true").await;
    hear(&mut stream, &mut heard, "restore", "\"files_total\":2").await;
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_folder_that_was_not_empty_is_no_backup() {
    let node = node().await;
    node.json(&["backup", "run"]).await;
    std::fs::remove_dir_all(node.directory.join("shop")).unwrap();
    std::fs::create_dir(node.directory.join("shop")).unwrap();
    let run = node.nexus(&["backup", "run"]).await;
    assert!(!run.status.success() && out(&run).contains("is its disk mounted?"), "{run:?}");
    assert_eq!(node.json(&["backup", "list"]).await["snapshots"].as_array().map(Vec::len), Some(1));
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_leads_out_of_the_watched_directory() {
    let node = node().await;
    node.json(&["backup", "run"]).await;
    for bad in ["../out", "/tmp/out", ".hidden", "a/b", ""] {
        let to = node.nexus(&["backup", "restore", "shop", "--to", bad, "--yes"]).await;
        assert_eq!(to.status.code(), Some(2), "{bad}: {to:?}");
    }
    node.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_looked_into_compared_and_forgotten() {
    let node = node().await;
    node.json(&["backup", "run"]).await;
    std::fs::write(node.directory.join("shop/src/app.js"), "two, longer").unwrap();
    std::fs::write(node.directory.join("shop/src/new.js"), "new").unwrap();
    std::fs::remove_file(node.directory.join("shop/README.md")).unwrap();
    node.json(&["backup", "run"]).await;
    let list = node.json(&["backup", "list"]).await;
    let id = |index: usize| list["snapshots"][index]["id"].as_str().unwrap().to_owned();
    let (first, second) = (id(0), id(1));

    let shown = node.json(&["backup", "show", &first[..8]]).await;
    let paths = |value: &serde_json::Value, list: &str| {
        let all = value[list].as_array().unwrap().iter();
        all.map(|one| one["path"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(paths(&shown, "things"), ["README.md", "src", "src/app.js"], "{shown}");
    let part = node.json(&["backup", "show", &second, "src"]).await;
    assert_eq!(paths(&part, "things"), ["src", "src/app.js", "src/new.js"], "{part}");
    let nothing = node.nexus(&["backup", "show", &second, "nowhere"]).await;
    assert!(nothing.status.code() == Some(3) && talk(&nothing).contains("holds no `nowhere`"), "{nothing:?}");

    let differ = node.nexus(&["backup", "diff", &first, &second]).await;
    let lines = ["removed  README.md", "changed  src/app.js", "added    src/new.js"];
    assert_eq!(out(&differ).lines().collect::<Vec<_>>(), lines, "{differ:?}");
    assert_eq!(node.json(&["backup", "diff", &first, &first]).await["total"], 0);

    let unknown = node.nexus(&["backup", "forget", "ffff", "--yes"]).await;
    assert_eq!(unknown.status.code(), Some(3), "{unknown:?}");
    let plan = node.json(&["backup", "forget", &first[..8], "--dry-run"]).await;
    assert_eq!(plan["snapshots"][0]["id"], first.as_str());
    let refused = node.nexus(&["backup", "forget", &first[..8]]).await;
    assert!(!refused.status.success() && talk(&refused).contains("needs a yes"), "{refused:?}");
    assert_eq!(node.json(&["backup", "list"]).await["snapshots"].as_array().map(Vec::len), Some(2));
    node.json(&["backup", "forget", &first[..8], "--yes"]).await;
    let left = node.json(&["backup", "list"]).await;
    assert_eq!(left["snapshots"][0]["id"], second.as_str(), "{left}");
    assert_eq!(left["snapshots"].as_array().map(Vec::len), Some(1));

    // A password is kept only when it opens what is there.
    let adopt =
        |password: &str| serde_json::json!({ "destination": "local", "password": password }).to_string();
    let wrong = node.send_local("POST", "/api/v1/backup/adoptions", Some(&adopt("wrong"))).await;
    assert!(wrong.status == 403 && wrong.body.contains("does not open it"), "{wrong:?}");
    let right = node.json(&["backup", "recovery", "local"]).await["password"].as_str().unwrap().to_owned();
    let taken = node.send_local("POST", "/api/v1/backup/adoptions", Some(&adopt(&right))).await;
    assert_eq!(taken.status, 204, "{taken:?}");

    // Without its index nothing comes back; from the packs it is made again.
    let index = node.directory.parent().unwrap().join("backups/index");
    for entry in std::fs::read_dir(&index).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    assert!(!node.nexus(&["backup", "verify", "local"]).await.status.success());
    assert_eq!(node.json(&["backup", "repair", "local"]).await["whole"], true);
    assert!(node.nexus(&["backup", "verify", "local", "--read-data"]).await.status.success());

    let none = node.nexus(&["backup", "unlock", "local"]).await;
    assert!(none.status.success() && talk(&none).contains("no lock is left over"), "{none:?}");
    node.close().await;
}
