//! The same at Garage, the server that `compose/s3.yaml` brings up, with the configuration it brings it up with.
//!
//! It takes long to compile, so `scripts/backup-peers` installs it for the nightly run alone. Where it is installed these
//! tests are run; in the nightly run it has to be.

use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use nexus::backup::destination::Destination;
use nexus::backup::probe::finding::Ability;
use nexus::backup::probe::finding::Verdict;
use nexus::backup::recover::Request;
use tempfile::TempDir;

use super::harness::Node;
use super::harness::PATIENCE;
use super::harness::destination;
use super::harness::picture;
use super::mirror;
use super::server::BUCKET;
use super::server::KEY;
use super::server::Restic;
use super::server::SECRET;
use crate::appliance::harness::free_port;
use crate::nightly::is_nightly;

/// How long it may take to lay itself out and to make its key and its bucket.
const START: Duration = Duration::from_secs(60);
/// What it takes requests for.
const REGION: &str = "garage";

/// Garage with one empty bucket. It ends with the test.
struct Garage {
    child: Child,
    port: u16,
    _directory: TempDir,
}

/// Where it is; nothing where it is not installed and need not be.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path).map(|folder| folder.join("garage")).find(|file| file.is_file());
    assert!(
        found.is_some() || !is_nightly(),
        "garage is missing: NEXUS_NIGHTLY=1 scripts/backup-peers installs it"
    );
    if found.is_none() {
        eprintln!("SKIPPED: no garage on PATH; NEXUS_NIGHTLY=1 scripts/backup-peers installs it");
    }
    found
}

impl Garage {
    async fn start(program: &Path) -> Self {
        let directory = TempDir::new().unwrap();
        let (port, rpc) = (free_port(), free_port());
        let mut text =
            std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("compose/garage.toml"))
                .unwrap();
        // What is another one on each machine, and nothing else.
        for (there, here) in [
            ("/var/lib/garage", directory.path().to_str().unwrap()),
            ("127.0.0.1:3901", &format!("127.0.0.1:{rpc}")),
            ("0.0.0.0:3900", &format!("127.0.0.1:{port}")),
        ] {
            assert!(text.contains(there), "`{there}` is no longer in compose/garage.toml");
            text = text.replace(there, here);
        }
        let file = directory.path().join("garage.toml");
        std::fs::write(&file, text).unwrap();
        let child = Command::new(program)
            .args(["server", "--single-node", "--default-bucket"])
            .env_clear()
            .env("GARAGE_CONFIG_FILE", file)
            .env("GARAGE_RPC_SECRET", SECRET)
            .env("GARAGE_DEFAULT_ACCESS_KEY", KEY)
            .env("GARAGE_DEFAULT_SECRET_KEY", SECRET)
            .env("GARAGE_DEFAULT_BUCKET", BUCKET)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let garage = Self { child, port, _directory: directory };
        let until = Instant::now() + START;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "garage never answered");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // It answers before its bucket is there.
        let node = Node::new(vec![garage.bucket("first", "incremental")]);
        while let Err(error) = node.backups.probe("first").await {
            assert!(Instant::now() < until, "garage never had its bucket: {error}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        garage
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn bucket(&self, name: &str, form: &str) -> Destination {
        let url = format!("s3://{BUCKET}/{name}");
        let endpoint = self.endpoint();
        destination(name, &[("url", &url), ("endpoint", &endpoint), ("region", REGION), ("form", form)])
    }
}

impl Drop for Garage {
    fn drop(&mut self) {
        // SIGKILL to a process this test started; waiting reaps it.
        self.child.kill().and_then(|()| self.child.wait()).ok();
    }
}

fn ask(destination: &str, to: &str) -> Request {
    Request {
        destination: Some(destination.to_owned()),
        folder: "shop".to_owned(),
        to: Some(to.to_owned()),
        ..Request::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_forms_come_back_whole_in_part_and_as_they_were() {
    let Some(program) = program() else { return };
    let garage = Garage::start(&program).await;
    for form in ["incremental", "mirror"] {
        let node = Node::new(vec![garage.bucket(form, form)]);
        let shop = node.project("shop");
        node.run().await;
        let first = picture(&shop);
        std::fs::write(shop.join("src/a.js"), "changed").unwrap();
        std::fs::remove_file(shop.join("private")).unwrap();
        node.run().await;
        let second = picture(&shop);
        let snapshots = node.snapshots(form).await;
        assert_eq!(snapshots.len(), 2, "{form}");
        let difference = node.backups.difference(form, &snapshots[0].id, &snapshots[1].id).await.unwrap();
        let mut paths: Vec<_> = difference.listed.iter().map(|(path, _)| path.to_str().unwrap()).collect();
        paths.sort_unstable();
        assert_eq!(paths, ["private", "src/a.js"], "{form}");
        node.restore(ask(form, "now")).await;
        assert_eq!(picture(&node.folder("now")), second, "{form}");
        node.restore(Request { at: Some(snapshots[0].time), ..ask(form, "then") }).await;
        assert_eq!(picture(&node.folder("then")), first, "{form}");
        node.restore(Request { paths: vec!["src/deep".to_owned()], ..ask(form, "part") }).await;
        assert!(node.folder("part").join("src/deep/er/empty").exists(), "{form}");
        assert!(!node.folder("part").join("run.sh").exists(), "{form}");
        node.verify(form).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn others_read_both_forms_without_us() {
    let Some(program) = program() else { return };
    let garage = Garage::start(&program).await;
    let node = Node::new(vec![garage.bucket("snapshots", "incremental"), garage.bucket("mirror", "mirror")]);
    let shop = node.project("shop");
    node.run().await;
    std::fs::write(shop.join("later"), "later").unwrap();
    node.run().await;
    let password = node.backups.recovery("snapshots").await.unwrap();
    let repository = format!("s3:{}/{BUCKET}/snapshots", garage.endpoint());
    for (number, restic) in Restic::all(&repository, password.reveal()).into_iter().enumerate() {
        let restic = restic.of_region(REGION);
        assert!(restic.run(&["snapshots"]).contains("/workspaces/shop"));
        restic.run(&["check", "--read-data"]);
        let newest = node.snapshots("snapshots").await.pop().unwrap();
        let to = node.folder(&format!(".restic-{number}"));
        restic.run(&["restore", &newest.id, "--target", to.to_str().unwrap()]);
        assert_eq!(picture(&to.join("workspaces/shop")), picture(&shop));
    }
    let copy = node.folder(".copy");
    mirror::rclone(&garage.endpoint(), REGION, &format!("{BUCKET}/mirror/files/node1/shop"), &copy);
    mirror::assert_copied(&copy, &shop);
    // A machine that knows the password alone.
    let passwords = [("snapshots".to_owned(), password)].into();
    let other = Node::with(vec![garage.bucket("snapshots", "incremental")], PATIENCE, passwords);
    other.restore(Request { to: None, ..ask("snapshots", "") }).await;
    assert_eq!(picture(&other.folder("shop")), picture(&shop));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_says_yes_to_and_does_not_do_is_found_out() {
    let Some(program) = program() else { return };
    let garage = Garage::start(&program).await;
    let node = Node::new(vec![garage.bucket("s3", "incremental")]);
    let probe = node.backups.probe("s3").await.unwrap();
    for ability in
        [Ability::Write, Ability::Read, Ability::List, Ability::Delete, Ability::Clock, Ability::Checksums]
    {
        assert_eq!(probe.verdict(ability), Verdict::Proved, "{ability:?}: {probe:?}");
    }
    // It names a version with each write and has the current one alone, and takes a condition for none.
    for ability in [Ability::Versions, Ability::Create] {
        assert_eq!(probe.verdict(ability), Verdict::Absent, "{ability:?}: {probe:?}");
    }
    assert_eq!(node.backups.statuses().borrow()[0].probe.as_ref(), Some(&probe));
}
