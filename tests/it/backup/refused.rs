//! Places that do not let us, from the first moment on, and no room for what comes back: said at once, and nothing is
//! half done.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use nexus::backup::Error;
use nexus::backup::destination::Destination;
use nexus::backup::recover::Mode;
use nexus::backup::recover::Request;
use nexus::backup::trouble::Cause;
use nexus::base::fault::Explain as _;
use tempfile::TempDir;

use super::harness::Node;
use super::harness::PATIENCE;
use super::harness::bucket;
use super::harness::destination;
use super::harness::picture;
use super::proxy::Fault;
use super::proxy::Proxy;
use super::proxy::Which;
use super::server::BUCKET;
use super::server::Server;

fn place(form: &str, endpoint: &str) -> Destination {
    let url = format!("s3://{BUCKET}/here");
    destination("s3", &[("url", &url), ("endpoint", endpoint), ("form", form)])
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_takes_or_lists_nothing_from_the_start_says_so_and_stays_as_it_was() {
    for form in ["incremental", "mirror"] {
        for which in [Which::Writing(""), Which::Lists] {
            let server = Server::start();
            let proxy = Proxy::before(&server).await;
            let node = Node::new(vec![place(form, &proxy.endpoint())]);
            let shop = node.project("shop");
            proxy.set(&[Fault::Answer(403, "AccessDenied")], which);
            let failure = node.backups.run(None, None).await.unwrap().remove(0).failure.unwrap();
            assert_eq!(failure.cause, Cause::Denied, "{form} {which:?}: {failure}");
            assert!(failure.hint().unwrap().contains("list, read and write"), "{failure}");
            assert_eq!(files(&server.objects()), Vec::<PathBuf>::new(), "{form} {which:?}");
            let status = node.backups.statuses().borrow()[0].clone();
            assert_eq!((status.past.succeeded, status.errors), (None, 1));
            // With the right to it is as if nothing had been.
            proxy.set(&[], Which::All);
            node.run().await;
            let newest = node.snapshots("s3").await.pop().unwrap();
            assert_eq!(node.picture_of("s3", &newest).await, picture(&shop));
        }
    }
}

/// A small file system in memory, for as long as it is held.
struct Small(PathBuf);

impl Small {
    fn mount(path: PathBuf, size: &str) -> Self {
        std::fs::create_dir_all(&path).unwrap();
        let options = format!("size={size}");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&path).status();
        assert!(mount.unwrap().success(), "a tmpfs is mounted");
        Self(path)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(&self.0).status().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_before_anything_is_written() {
    let server = Server::start();
    let node = Node::new(vec![bucket("s3", &server.endpoint())]);
    node.project("shop");
    node.run().await;
    let password = node.backups.recovery("s3").await.unwrap();
    let root = TempDir::new().unwrap();
    // The folder has 6 MB.
    let small = Small::mount(root.path().join("projects"), "4m");
    let passwords = [("s3".to_owned(), password)].into();
    let other = Node::at(root.path(), vec![bucket("s3", &server.endpoint())], PATIENCE, passwords);
    let whole = Request { folder: "shop".to_owned(), ..Request::default() };
    let there = other.folder("there");
    std::fs::create_dir(&there).unwrap();
    std::fs::write(there.join("private"), "of today").unwrap();
    let into = Request { to: Some("there".to_owned()), mode: Mode::Merge, ..whole.clone() };
    for request in [whole, into] {
        let refused = other.backups.restore(request).await.unwrap_err();
        assert!(matches!(refused, Error::Space { needed: 6_000_000.., .. }), "{refused:?}");
        assert!(refused.hint().unwrap().contains("make room"));
    }
    assert_eq!(files(&small.0), [there.join("private")], "nothing was written");
    assert_eq!(std::fs::read_to_string(there.join("private")).unwrap(), "of today");
    assert!(!other.folder("shop").exists());
    // What is small enough comes back all the same.
    let part = Request {
        folder: "shop".to_owned(),
        to: Some("there".to_owned()),
        mode: Mode::Merge,
        paths: vec!["src".to_owned()],
        ..Request::default()
    };
    other.restore(part).await;
    assert!(there.join("src/a.js").exists());
}
