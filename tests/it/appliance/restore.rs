//! `scripts/restore`: a person who has a bucket, its password and a container engine has the workspaces back.

use std::path::Path;
use std::process::Command;
use std::process::Output;

use tempfile::TempDir;

use super::harness::program;
use crate::backup::harness::Node;
use crate::backup::harness::bucket;
use crate::backup::harness::picture;
use crate::backup::server::BUCKET;
use crate::backup::server::KEY;
use crate::backup::server::SECRET;
use crate::backup::server::Server;

/// Runs it as somebody who has these variables and no others. Secrets travel in no argument.
fn restore(variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/restore");
    Command::new(script)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root")
        .envs(variables.iter().copied())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A bucket that a node has backed up to, and what it held then.
struct Lost {
    server: Server,
    password: String,
    pictures: [(&'static str, Vec<String>); 2],
    first: String,
}

async fn lost() -> Lost {
    let server = Server::start();
    let node = Node::new(vec![bucket("s3", &server.endpoint())]);
    let shop = node.recorded("shop").await;
    node.recorded("my blog").await;
    node.run().await;
    let first = node.snapshots("s3").await.iter().map(|one| one.time).max().unwrap().to_string();
    std::fs::write(shop.join("src/a.js"), "changed").unwrap();
    node.run().await;
    let pictures = ["shop", "my blog"].map(|name| (name, picture(&node.folder(name))));
    let password = node.backups.recovery("s3").await.unwrap().reveal().clone();
    Lost { server, password, pictures, first }
}

impl Lost {
    fn restore(&self, by: (&str, &str), arguments: &[&str]) -> Output {
        let variables = [
            by,
            ("AWS_ACCESS_KEY_ID", KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
            ("NEXUS_RECOVERY_PASSWORD", &self.password),
        ];
        let endpoint = self.server.endpoint();
        let place = format!("s3://{BUCKET}/s3");
        restore(&variables, &[&["--endpoint", endpoint.as_str(), place.as_str()][..], arguments].concat())
    }

    /// Everything, a list, one of them as it was, and what is in the way.
    fn comes_back(&self, by: (&str, &str)) {
        let list = self.restore(by, &["--list"]);
        assert!(list.status.success() && said(&list).contains("my blog"), "{}", said(&list));
        let directory = TempDir::new().unwrap();
        let to = directory.path().join("a new folder");
        let all = self.restore(by, &[to.to_str().unwrap()]);
        assert!(all.status.success(), "{}", said(&all));
        for (name, expected) in &self.pictures {
            assert_eq!(picture(&to.join(name)), *expected, "{name}");
        }
        let mut names: Vec<_> =
            std::fs::read_dir(&to).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["my blog", "shop"], "and nothing else");
        let then = directory.path().join("then");
        let at = format!("--at={}", self.first);
        let (flag, time) = at.split_once('=').unwrap();
        let one = self.restore(by, &[flag, time, then.to_str().unwrap(), "shop"]);
        assert!(one.status.success(), "{}", said(&one));
        assert_eq!(std::fs::read_dir(&then).unwrap().count(), 1);
        assert!(std::fs::read_to_string(then.join("shop/src/a.js")).unwrap().starts_with("console.log"));
        // What is there is left alone.
        std::fs::write(to.join("shop/src/a.js"), "a later edit").unwrap();
        let again = self.restore(by, &[to.to_str().unwrap(), "shop"]);
        assert!(!again.status.success() && said(&again).contains("holds something"), "{}", said(&again));
        assert_eq!(std::fs::read_to_string(to.join("shop/src/a.js")).unwrap(), "a later edit");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_and_a_binary_are_enough() {
    let lost = lost().await;
    lost.comes_back(("NEXUS_BINARY", program().to_str().unwrap()));
}

/// An image of the node as it is now, for as long as it is held.
struct Image(&'static str);

impl Image {
    fn build() -> Self {
        let context = TempDir::new().unwrap();
        std::fs::copy(program(), context.path().join("nexus")).unwrap();
        let file = "FROM debian:trixie-slim\nCOPY nexus /usr/bin/nexus\n\
                    ENV NEXUS_HOME=/var/lib/nexus NEXUS_WORKSPACES_DIR=/workspaces\n\
                    VOLUME /var/lib/nexus\nENTRYPOINT [\"nexus\"]\n";
        std::fs::write(context.path().join("Dockerfile"), file).unwrap();
        let name = "nexus-test-restore:now";
        let built = Command::new("docker")
            .args(["build", "--quiet", "--tag", name])
            .arg(context.path())
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", said(&built));
        Self(name)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        Command::new("docker").args(["image", "rm", "--force", self.0]).output().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_and_a_container_engine_are_enough() {
    let lost = lost().await;
    let image = Image::build();
    lost.comes_back(("NEXUS_IMAGE", image.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_or_wrong_is_said() {
    let lost = lost().await;
    let binary = program();
    let by = ("NEXUS_BINARY", binary.to_str().unwrap());
    let directory = TempDir::new().unwrap();
    let to = directory.path().join("new");
    let to = to.to_str().unwrap();
    let nothing = restore(&[by], &["s3://backups/s3", to]);
    assert!(
        !nothing.status.success() && said(&nothing).contains("AWS_ACCESS_KEY_ID is not set"),
        "{nothing:?}"
    );
    let nowhere = restore(&[by], &[]);
    assert!(!nowhere.status.success() && said(&nowhere).contains("scripts/restore [OPTION]"), "{nowhere:?}");
    let inject = lost.restore(by, &["--region", "x', endpoint: 'http://evil", to]);
    assert!(!inject.status.success() && said(&inject).contains("no place has"), "{inject:?}");
    let wrong = Lost { password: "wrong".to_owned(), ..lost };
    let wrong = wrong.restore(by, &[to]);
    assert!(!wrong.status.success() && said(&wrong).contains("does not open it"), "{}", said(&wrong));
    assert_eq!(std::fs::read_dir(to).unwrap().count(), 0);
}
