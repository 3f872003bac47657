//! What arrives is whole or absent, and what is not the node's is left alone.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::symlink;

use super::*;

struct Bench {
    folder: tempfile::TempDir,
    state: tempfile::TempDir,
    copy: Copy,
}

impl Bench {
    fn new() -> Self {
        let (folder, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let copy = Copy::open(folder.path(), state.path()).unwrap();
        Self { folder, state, copy }
    }

    fn again(&mut self) {
        self.copy = Copy::open(self.folder.path(), self.state.path()).unwrap();
    }

    fn put(&mut self, name: &str, content: &str) -> Result<(), String> {
        let mut incoming = self.copy.begin(path(name));
        incoming.write(content.as_bytes());
        let digest = blake3::hash(content.as_bytes()).into();
        self.copy.commit(incoming, content.len() as u64, false, digest).map_err(|(_, message)| message)
    }

    fn apply(&mut self, message: ToAgent) -> Result<(), String> {
        self.copy.apply(message).unwrap().map_err(|(_, message)| message)
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

#[test]
fn files_directories_and_links_arrive_and_go() {
    let mut bench = Bench::new();
    bench.apply(ToAgent::Directory { path: path("src") }).unwrap();
    bench.put("src/app.js", "one").unwrap();
    bench.put("src/app.js", "two").unwrap();
    bench.apply(ToAgent::Executable { path: path("src/app.js"), executable: true }).unwrap();
    let target = Target::portable(&path("link"), b"src/app.js").unwrap();
    bench.apply(ToAgent::Symlink { path: path("link"), target }).unwrap();
    assert!(bench.copy.finish());
    assert!(!bench.copy.finish(), "nothing has changed since");
    assert_eq!(fs::read_to_string(bench.at("link")).unwrap(), "two");
    assert_eq!(fs::metadata(bench.at("src/app.js")).unwrap().permissions().mode() & 0o777, 0o755);
    assert!(!bench.at(".nexus-stage").exists());

    bench.again();
    assert!(bench.copy.ledger().is_complete());
    for name in ["link", "src/app.js", "src"] {
        bench.apply(ToAgent::Remove { path: path(name) }).unwrap();
    }
    assert_eq!(fs::read_dir(bench.folder.path()).unwrap().count(), 0);
}

#[test]
fn what_the_container_made_is_never_removed() {
    let mut bench = Bench::new();
    bench.apply(ToAgent::Directory { path: path("app") }).unwrap();
    bench.put("app/index.js", "x").unwrap();
    fs::create_dir_all(bench.at("app/node_modules/dep")).unwrap();
    fs::write(bench.at("own.txt"), "mine").unwrap();
    for name in ["own.txt", "app/node_modules/dep", "app/node_modules", "app/index.js", "app"] {
        bench.apply(ToAgent::Remove { path: path(name) }).unwrap();
    }
    assert!(bench.at("own.txt").exists());
    assert!(bench.at("app/node_modules/dep").exists());
    assert!(!bench.at("app/index.js").exists());
    // A file of ours that the container replaced by a directory is its own from then on.
    bench.put("data", "x").unwrap();
    fs::remove_file(bench.at("data")).unwrap();
    fs::create_dir(bench.at("data")).unwrap();
    bench.apply(ToAgent::Remove { path: path("data") }).unwrap();
    assert!(bench.at("data").is_dir());
}

#[test]
fn a_file_that_does_not_arrive_whole_leaves_the_old_one() {
    let mut bench = Bench::new();
    bench.put("a", "old").unwrap();
    let mut incoming = bench.copy.begin(path("a"));
    incoming.write(b"ne");
    let (_, message) = bench.copy.commit(incoming, 3, false, blake3::hash(b"new").into()).unwrap_err();
    assert_eq!(message, "its content did not arrive whole");
    let mut incoming = bench.copy.begin(path("a"));
    incoming.write(b"new");
    bench.copy.abort(incoming);
    assert_eq!(fs::read_to_string(bench.at("a")).unwrap(), "old");
    bench.copy.finish();
    assert_eq!(fs::read_dir(bench.folder.path()).unwrap().count(), 1);
}

#[test]
fn what_stands_in_the_way_is_named_and_left() {
    let mut bench = Bench::new();
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(bench.at("own")).unwrap();
    fs::write(bench.at("own/x"), "x").unwrap();
    symlink(outside.path(), bench.at("way")).unwrap();
    assert_eq!(bench.put("own", "f").unwrap_err(), "a directory of the container's own stands there");
    assert_eq!(bench.put("way/f", "f").unwrap_err(), "something of the container's own stands in its way");
    let error = bench.apply(ToAgent::Directory { path: path("way") }).unwrap_err();
    assert_eq!(error, "a file of the container's own stands there");
    assert_eq!(bench.put(".nexus-stage/1", "f").unwrap_err(), "the agent keeps that name for itself");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    assert!(bench.at("own/x").exists());
}

#[test]
fn a_lost_file_is_no_longer_claimed_after_a_restart() {
    let mut bench = Bench::new();
    bench.put("a", "aa").unwrap();
    bench.put("b", "bb").unwrap();
    bench.copy.finish();
    fs::remove_file(bench.at("a")).unwrap();
    fs::write(bench.at("b"), "").unwrap();
    bench.again();
    assert!(bench.copy.ledger().entries().is_empty(), "one is gone, one was truncated");
}
