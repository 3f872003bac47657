//! A mirror at a real S3 server: every moment comes back through us, and the last one through rclone alone.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Command;

use nexus::backup::destination::Destination;
use nexus::backup::mirror::name::encode;
use nexus::backup::recover::Request;

use super::harness::Node;
use super::harness::destination;
use super::harness::picture;
use super::server::BUCKET;
use super::server::KEY;
use super::server::SECRET;
use super::server::Server;

/// A bucket at a server in the mirror form.
pub fn mirror(endpoint: &str) -> Destination {
    let url = format!("s3://{BUCKET}/mirror");
    destination("s3", &[("url", &url), ("endpoint", endpoint), ("form", "mirror")])
}

/// Copies what rclone finds at a place of a server.
pub fn rclone(endpoint: &str, region: &str, from: &str, to: &Path) {
    let output = Command::new("rclone")
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("AWS_ACCESS_KEY_ID", KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .args(["--config", "/dev/null", "--s3-provider", "Other", "--s3-env-auth", "--s3-no-check-bucket"])
        .args(["--s3-region", region, "--s3-list-version", "2", "--s3-endpoint", endpoint])
        .args(["copy", &format!(":s3:{from}")])
        .arg(to)
        .output()
        .expect("rclone is installed: scripts/backup-peers does it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A copy of a mirror holds the files of a folder, byte for byte, and nothing besides.
pub fn assert_copied(copied: &Path, folder: &Path) {
    let files = contents(folder);
    for (key, content) in &files {
        let there = std::fs::read(copied.join(key)).unwrap_or_else(|error| panic!("{key}: {error}"));
        assert!(there == *content, "{key} is not what was there");
    }
    assert_eq!(contents(copied).len(), files.len(), "and nothing besides");
}

/// The paths of all files, as keys are written, with what they hold.
fn contents(root: &Path) -> Vec<(String, Vec<u8>)> {
    fn look(path: &Path, root: &Path, into: &mut Vec<(String, Vec<u8>)>) {
        for entry in std::fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            let meta = std::fs::symlink_metadata(&path).unwrap();
            if meta.is_dir() && !path.ends_with("node_modules") {
                look(&path, root, into);
            } else if meta.is_file() {
                let key = encode(path.strip_prefix(root).unwrap().as_os_str().as_bytes());
                into.push((key, std::fs::read(&path).unwrap()));
            }
        }
    }
    let mut into = Vec::new();
    look(root, root, &mut into);
    into
}

#[tokio::test(flavor = "multi_thread")]
async fn every_moment_comes_back_and_rclone_copies_the_last_one_byte_for_byte() {
    let server = Server::start();
    let node = Node::new(vec![mirror(&server.endpoint())]);
    let shop = node.project("shop");
    node.run().await;
    let first = picture(&shop);
    std::fs::write(shop.join("src/a.js"), "changed").unwrap();
    std::fs::remove_file(shop.join("private")).unwrap();
    std::fs::write(shop.join("later"), "later").unwrap();
    node.run().await;
    let second = picture(&shop);
    let snapshots = node.snapshots("s3").await;
    assert_eq!(snapshots.len(), 2);
    assert_eq!(node.picture_of("s3", &snapshots[0]).await, first);
    assert_eq!(node.picture_of("s3", &snapshots[1]).await, second);
    node.verify("s3").await;

    let copy = node.folder(".copy");
    // All of it: a folder in a bucket would be asked for as an object first, which this server answers with 500.
    rclone(&server.endpoint(), "us-east-1", BUCKET, &copy);
    assert_copied(&copy.join("mirror/files/node1/shop"), &shop);

    // A machine that knows where it is and nothing else.
    let other = Node::new(vec![mirror(&server.endpoint())]);
    let request = Request { folder: "shop".to_owned(), ..Request::default() };
    other.restore(request).await;
    assert_eq!(picture(&other.folder("shop")), second);
}
