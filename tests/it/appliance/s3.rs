//! `compose/s3.yaml` and `scripts/s3`: an S3 server beside the appliance. Its image comes from a registry, which is not
//! everywhere; what it is told and what the node is told is seen here, and the node is run with that at another server.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;

use super::harness::TestNode;
use super::harness::free_port;
use crate::backup::server::Server;

const KEY: &str = "GK0123456789abcdef01234567";
const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What Compose makes of both files.
fn config(variables: &[(&str, &str)]) -> Output {
    Command::new("docker")
        .args([
            "compose",
            "--file",
            "compose/core.yaml",
            "--file",
            "compose/s3.yaml",
            "config",
            "--format",
            "json",
        ])
        .current_dir(root())
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/nonexistent")
        .env("NEXUS_VERSION", "0.0.0")
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_backs_up_to_the_bucket_and_with_the_key_that_the_server_makes() {
    let port = free_port().to_string();
    let variables = [
        ("NEXUS_S3_ACCESS_KEY", KEY),
        ("NEXUS_S3_SECRET_KEY", SECRET),
        ("NEXUS_S3_RPC_SECRET", SECRET),
        ("NEXUS_S3_PORT", &port),
    ];
    let output = config(&variables);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let config: Value = serde_json::from_slice(&output.stdout).unwrap();
    let (node, s3) = (&config["services"]["node"], &config["services"]["s3"]);
    let image = s3["image"].as_str().unwrap();
    let (name, tag) = image.split_once(':').unwrap();
    assert!(name == "dxflrs/garage" && tag.starts_with('v'), "a pinned release: {image}");
    let published = &s3["ports"][0];
    assert_eq!(
        (&published["host_ip"], &published["published"]),
        (&"127.0.0.1".into(), &port.as_str().into())
    );
    assert_eq!(s3["cap_drop"][0], "ALL");
    let told = |name: &str| node["environment"][name].as_str().unwrap().to_owned();
    let made = |name: &str| s3["environment"][name].as_str().unwrap().to_owned();
    assert!(told("NEXUS_BACKUP_DESTINATIONS").contains(&format!("s3://{}'", made("GARAGE_DEFAULT_BUCKET"))));

    // Another server with what Garage makes by itself, and a node with what it is told.
    let key = (made("GARAGE_DEFAULT_ACCESS_KEY"), made("GARAGE_DEFAULT_SECRET_KEY"));
    let _server = Server::start_as(&key.0, &key.1, &made("GARAGE_DEFAULT_BUCKET"), port.parse().unwrap());
    let mut there = TestNode::prepare();
    for name in
        ["NEXUS_BACKUP_DESTINATIONS", "NEXUS_BACKUP_S3_ACCESS_KEY_ID", "NEXUS_BACKUP_S3_SECRET_ACCESS_KEY"]
    {
        there.set(name, &told(name));
    }
    there.set("NEXUS_BACKUP_SCHEDULE", "never");
    there.write("shop/index.html", "<h1>shop</h1>");
    there.spawn();
    there.wait_until_up().await;
    there.wait_for_workspace("shop", "known", super::harness::SOON, |_| true).await;
    let (code, out, talk) = there.cli(&["backup", "run", "--json"]);
    assert_eq!(code, 0, "{out}{talk}");
    let runs: Value = serde_json::from_str(&out).unwrap();
    let names: Vec<_> = runs["runs"].as_array().unwrap().iter().map(|run| &run["destination"]).collect();
    assert_eq!(names, ["local", "s3"], "{runs}");
    let (code, out, talk) = there.cli(&["backup", "verify", "s3", "--read-data"]);
    assert_eq!(code, 0, "{out}{talk}");
}

#[test]
fn without_keys_nothing_starts_and_the_script_that_makes_them_is_named() {
    let output = config(&[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("scripts/s3 makes it"), "{said}");
}

/// A copy of what the script works with, and a `docker` that only notes what it is asked.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        for folder in ["scripts", "compose", "bin"] {
            fs::create_dir(directory.path().join(folder)).unwrap();
        }
        for file in ["scripts/s3", "scripts/lib.sh", ".env"] {
            fs::copy(root().join(file), directory.path().join(file)).unwrap();
        }
        let docker = directory.path().join("bin/docker");
        fs::write(&docker, "#!/bin/sh\necho \"$COMPOSE_FILE $*\" >>\"$0.log\"\n").unwrap();
        fs::set_permissions(docker, fs::Permissions::from_mode(0o755)).unwrap();
        Self { directory }
    }

    fn run(&self) {
        let path =
            format!("{}/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", self.directory.path().display());
        let output = Command::new(self.directory.path().join("scripts/s3"))
            .env_clear()
            .env("PATH", path)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.directory.path().join(path)).unwrap()
    }
}

#[test]
fn keys_are_made_once_and_for_their_owner_alone() {
    let place = Place::new();
    place.run();
    let first = place.read("compose/.env");
    let value = |name: &str| {
        let line = first.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap().to_owned()
    };
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let key = value("NEXUS_S3_ACCESS_KEY");
    assert!(key.len() == 26 && key.starts_with("GK") && is_hex(&key[2..]), "{key}");
    let secrets = ["NEXUS_S3_SECRET_KEY", "NEXUS_S3_RPC_SECRET"].map(value);
    assert!(secrets.iter().all(|secret| secret.len() == 64 && is_hex(secret)), "{secrets:?}");
    assert_ne!(secrets[0], secrets[1]);
    let mode = fs::metadata(place.directory.path().join("compose/.env")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    place.run();
    assert_eq!(place.read("compose/.env"), first);
    let log = place.read("bin/docker.log");
    let ups: Vec<_> = log.lines().filter(|line| line.contains("compose up")).collect();
    assert_eq!(ups.len(), 2, "{log}");
    assert!(ups.iter().all(|line| line.starts_with("compose/core.yaml:compose/s3.yaml ")), "{log}");
    assert!(!log.contains(&secrets[0]), "no secret in any argument");
}
