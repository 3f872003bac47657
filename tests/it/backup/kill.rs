//! Backups and restores that are killed at any moment: what is listed is whole, what is restored is whole or not there,
//! and the next one works.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use nexus::backup::destination::Destination;
use nexus::backup::recover::Mode;
use nexus::backup::recover::Request;
use tempfile::TempDir;

use super::harness::Node;
use super::harness::PATIENCE;
use super::harness::bucket;
use super::harness::picture;
use super::mirror::mirror;
use super::server::Server;
use crate::chance::Chance;
use crate::nightly::nightly_or;

/// What the other process is to do: what, where the node is, where the server is.
const ORDER: &str = "NEXUS_TEST_BACKUP";

/// How often something is killed.
fn kills() -> usize {
    nightly_or(100, 20)
}

fn node(root: &Path, endpoint: &str) -> Node {
    node_of(bucket("s3", endpoint), root)
}

fn node_of(destination: Destination, root: &Path) -> Node {
    let node = Node::at(root, vec![destination], PATIENCE, BTreeMap::new());
    node.workspace("shop");
    node
}

fn back(merge: bool) -> Request {
    let mode = if merge { Mode::Merge } else { Mode::New };
    Request { folder: "shop".to_owned(), to: Some("back".to_owned()), mode, ..Request::default() }
}

/// The process that is killed: this test, told by its environment what to do. Without that it does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn in_another_process() {
    let Ok(order) = std::env::var(ORDER) else { return };
    let mut words = order.split('\n');
    let (what, root, endpoint) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
    let root = Path::new(root);
    if what == "mirror" {
        return drop(node_of(mirror(endpoint), root).run().await);
    }
    let node = node(root, endpoint);
    match what {
        "run" => drop(node.run().await),
        "restore" => drop(node.restore(back(false)).await),
        "merge" => drop(node.restore(back(true)).await),
        other => panic!("nobody does `{other}`"),
    }
}

fn start(what: &str, root: &Path, endpoint: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "backup::kill::in_another_process"])
        .env(ORDER, format!("{what}\n{}\n{endpoint}", root.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Lets it do something to its end and says how long that took.
async fn whole(what: &str, root: &Path, endpoint: &str) -> Duration {
    let begun = Instant::now();
    let (mut child, what) = (start(what, root, endpoint), what.to_owned());
    let ended = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    assert!(ended.success(), "{what}");
    begun.elapsed()
}

/// Kills it at a random moment of the time it takes.
async fn killed(what: &str, root: &Path, endpoint: &str, takes: Duration, chance: &mut Chance) {
    let mut child = start(what, root, endpoint);
    let after = chance.between(0, u64::try_from(takes.as_millis()).unwrap().max(1));
    tokio::time::sleep(Duration::from_millis(after)).await;
    // SIGKILL to a process this test started; waiting reaps it.
    child.kill().and_then(|()| child.wait()).unwrap();
}

/// A folder of many small files and some larger ones, in another state each time.
fn write_state(folder: &Path, number: usize, chance: &mut Chance) {
    for directory in 0..8 {
        let directory = folder.join(format!("d{directory}"));
        std::fs::create_dir_all(&directory).unwrap();
        for file in 0..16 {
            let path = directory.join(format!("f{file}"));
            if number == 0 || file == number % 16 {
                std::fs::write(path, format!("{number} {file}\n").repeat(40)).unwrap();
            }
        }
    }
    let random: Vec<u8> = (0..100_000).flat_map(|_| chance.between(0, u64::MAX).to_le_bytes()).collect();
    std::fs::write(folder.join("large"), random).unwrap();
}

/// Kills runs at any moment while the folder changes between them; what the rules drop is forgotten at their ends. Each
/// snapshot that is listed has to be the folder as it was, all the time, and the last one in the end.
async fn kill_runs(what: &str, here: &Node, root: &Path, endpoint: &str) {
    let mut chance = Chance::new();
    let folder = here.folder("shop");
    write_state(&folder, 0, &mut chance);
    let mut pictures = vec![picture(&folder)];
    let mut seen = Vec::new();
    // The first ones hit the making of the repository; how long one takes is known later.
    let mut takes = Duration::from_millis(800);
    for number in 1..=kills() {
        killed(what, root, endpoint, takes, &mut chance).await;
        for snapshot in here.snapshots("s3").await {
            if !seen.contains(&snapshot.id) {
                assert!(
                    pictures.contains(&here.picture_of("s3", &snapshot).await),
                    "kill {number}: {snapshot:?}"
                );
                seen.push(snapshot.id);
            }
        }
        if number % 5 == 0 {
            takes = whole(what, root, endpoint).await;
            here.verify("s3").await;
        }
        write_state(&folder, number, &mut chance);
        pictures.push(picture(&folder));
    }
    whole(what, root, endpoint).await;
    here.verify("s3").await;
    let all = here.snapshots("s3").await;
    assert!(!all.is_empty());
    for snapshot in &all {
        assert!(pictures.contains(&here.picture_of("s3", snapshot).await), "{snapshot:?}");
    }
    assert_eq!(&here.picture_of("s3", all.last().unwrap()).await, pictures.last().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_killed_at_any_moment_lists_nothing_that_is_not_whole() {
    let (server, directory) = (Server::start(), TempDir::new().unwrap());
    let endpoint = server.endpoint();
    let here = node(directory.path(), &endpoint);
    kill_runs("run", &here, directory.path(), &endpoint).await;
    // Also for somebody who has the password alone: no half-made repository is in the way.
    let password = here.backups.recovery("s3").await.unwrap();
    let other = Node::with(vec![bucket("s3", &endpoint)], PATIENCE, [("s3".to_owned(), password)].into());
    assert_eq!(other.snapshots("s3").await, here.snapshots("s3").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_killed_at_any_moment_lists_nothing_that_is_not_whole() {
    let (server, directory) = (Server::start(), TempDir::new().unwrap());
    let endpoint = server.endpoint();
    let here = node_of(mirror(&endpoint), directory.path());
    kill_runs("mirror", &here, directory.path(), &endpoint).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_killed_at_any_moment_leaves_all_or_nothing_and_goes_on_where_it_was() {
    let (server, directory, mut chance) = (Server::start(), TempDir::new().unwrap(), Chance::new());
    let endpoint = server.endpoint();
    let root = directory.path();
    let here = node(root, &endpoint);
    write_state(&here.folder("shop"), 0, &mut chance);
    here.run().await;
    let expected = picture(&here.folder("shop"));
    let to = here.folder("back");
    let takes = whole("restore", root, &endpoint).await;
    for number in 0..kills() {
        if to.exists() {
            assert_eq!(picture(&to), expected, "kill {number}");
            std::fs::remove_dir_all(&to).unwrap();
        }
        killed("restore", root, &endpoint, takes, &mut chance).await;
    }
    if !to.exists() {
        here.restore(back(false)).await;
    }
    assert_eq!(picture(&to), expected);
    let left: Vec<_> =
        std::fs::read_dir(to.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "nothing half done is left: {left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_into_a_folder_killed_at_any_moment_leaves_each_file_as_it_was_or_as_it_shall_be() {
    let (server, directory, mut chance) = (Server::start(), TempDir::new().unwrap(), Chance::new());
    let endpoint = server.endpoint();
    let root = directory.path();
    let here = node(root, &endpoint);
    let contents = |folder: &Path| {
        let lines = picture(folder).into_iter().filter(|line| !line.contains(" 40"));
        lines.map(|line| (line.split(' ').next().unwrap().to_owned(), line)).collect::<BTreeMap<_, _>>()
    };
    write_state(&here.folder("shop"), 0, &mut chance);
    here.run().await;
    let new = contents(&here.folder("shop"));
    let to = here.folder("back");
    here.restore(back(false)).await;
    let takes = whole("merge", root, &endpoint).await;
    for number in 1..=kills() {
        write_state(&to, number, &mut chance);
        let old = contents(&to);
        killed("merge", root, &endpoint, takes, &mut chance).await;
        for (path, line) in contents(&to) {
            let half = path.contains(".nexus-restore-");
            assert!(half || line == old[&path] || line == new[&path], "kill {number}: {line}");
        }
    }
    here.restore(back(true)).await;
    assert_eq!(contents(&to), new, "and nothing half written is left");
}
