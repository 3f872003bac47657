//! Folders that cannot be read and disks that are full: said, nothing is lost, and all goes on once that is mended.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::chown;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use super::harness::SOON;
use super::harness::TestNode;

/// With a scan every 30 s what gives no hint is seen.
const SCAN: Duration = Duration::from_secs(60);

#[tokio::test]
async fn an_unreadable_folder_is_named_and_taken_once_it_can_be_read() {
    let mut node = TestNode::prepare();
    node.respect_permissions();
    node.write("sealed/index.html", "sealed text");
    node.write("half/index.html", "half text");
    node.write("half/private/secret.html", "private text");
    node.write("open/index.html", "open text");
    let projects = node.projects();
    let seal = |path: &str, mode: u32| {
        let path = projects.join(path);
        chown(&path, Some(4711), Some(4711)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    seal("sealed", 0o700);
    seal("half/private", 0o700);
    node.spawn();
    node.wait_for_page("/open/", 200, "open text", SOON).await;

    let refused = |value: &serde_json::Value| value["workspace"]["state"] == "error";
    let seen = node.wait_for_workspace("sealed", "that it cannot be read", SOON, refused).await;
    let message = seen["workspace"]["message"].as_str().unwrap();
    assert!(message.contains("cannot be read") && message.contains("Permission denied"), "{seen}");
    assert!(seen["workspace"]["hint"].as_str().unwrap().contains("let the node's user read it"), "{seen}");
    node.wait_for_page("/sealed/", 502, "cannot be read", SOON).await;

    // Part of a folder: the rest runs, and what is missing is listed.
    node.wait_for_page("/half/", 200, "half text", SOON).await;
    let listed =
        |value: &serde_json::Value| value["workspace"]["sync"]["skipped"].to_string().contains("private");
    let seen = node.wait_for_workspace("half", "what is not carried", SOON, listed).await;
    assert!(seen["workspace"]["sync"]["skipped"].to_string().contains("ermission denied"), "{seen}");

    seal("sealed", 0o755);
    seal("half/private", 0o755);
    node.wait_for_page("/sealed/", 200, "sealed text", SCAN).await;
    node.wait_for_page("/half/private/secret.html", 200, "private text", SCAN).await;
}

/// Leaves no room where `directory` is, and returns what takes it.
fn fill(directory: &Path) -> PathBuf {
    let filler = directory.join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    for block in [64 << 10, 4096, 1] {
        while std::io::Write::write_all(&mut file, &vec![0; block]).is_ok() {}
    }
    filler
}

#[tokio::test]
async fn a_full_home_is_said_and_what_came_meanwhile_runs_when_there_is_room() {
    let mut node = TestNode::prepare();
    node.mount_small(node.home(), "16m");
    node.spawn();
    node.wait_until_up().await;
    node.write("before/index.html", "before text");
    node.wait_for_page("/before/", 200, "before text", SOON).await;

    let filler = fill(&node.home());
    node.write("late/index.html", "late text");
    let until = Instant::now() + SOON;
    loop {
        let (code, status, _) = node.cli(&["status"]);
        if code == 0 && status.contains("problem: 0 MiB") && status.contains("hint: free some") {
            break;
        }
        assert!(Instant::now() < until, "a full disk is never said: {status}\n{}", node.log_tail());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    node.wait_for_page("/before/", 200, "before text", SOON).await;
    assert!(node.projects().join("late/index.html").exists());

    fs::remove_file(filler).unwrap();
    node.wait_for_page("/late/", 200, "late text", SCAN).await;
    node.wait_for_page("/before/", 200, "before text", SOON).await;
    // It outlives the node, too.
    node.kill();
    node.spawn();
    node.wait_for_page("/late/", 200, "late text", SCAN).await;
}

#[tokio::test]
async fn a_full_watched_directory_stops_nobody() {
    let mut node = TestNode::prepare();
    node.mount_small(node.projects(), "2m");
    node.spawn();
    node.write("full/index.html", "full text");
    let filler = fill(&node.projects());
    node.wait_for_page("/full/", 200, "full text", SOON).await;
    // A copy that was cut off for lack of room is a folder like any other; the rest comes and is taken.
    fs::create_dir_all(node.projects().join("full/more")).ok();
    fs::remove_file(filler).unwrap();
    node.write("full/more/index.html", "more text");
    node.wait_for_page("/full/more/", 200, "more text", SCAN).await;
}
