//! `scripts/up` as a newcomer runs it: from a fresh copy of the sources to URLs that answer, and a second time to no
//! change at all.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;

use super::harness::docker;
use super::harness::free_port;
use super::harness::remove_labelled;
use crate::browser::Expected;
use crate::browser::index_lists_and_opens;

const PROJECT: &str = "nexus-test-up";

/// A copy of the sources with an appliance of its own. It is always at the same place, so that what was compiled from
/// it once is not compiled again.
struct Appliance {
    directory: PathBuf,
    web: u16,
    control: u16,
}

impl Appliance {
    fn new() -> Self {
        let appliance = Self {
            directory: Path::new(env!("CARGO_TARGET_TMPDIR")).join("up"),
            web: free_port(),
            control: free_port(),
        };
        copy_sources(&appliance.sources());
        appliance
    }

    fn sources(&self) -> PathBuf {
        self.directory.join("sources")
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        // What the test runner tells its tests is not for the cargo that the script runs.
        for (name, _) in
            std::env::vars().filter(|(name, _)| name.starts_with("CARGO_") && name != "CARGO_HOME")
        {
            command.env_remove(name);
        }
        command.current_dir(self.sources()).envs([
            ("COMPOSE_PROJECT_NAME", PROJECT.to_owned()),
            ("NEXUS_HOME_VOLUME", format!("{PROJECT}-home")),
            ("NEXUS_WORKSPACES", self.directory.join("workspaces").display().to_string()),
            ("NEXUS_WEB_LISTEN", format!("127.0.0.1:{}", self.web)),
            ("NEXUS_CONTROL_LISTEN", format!("127.0.0.1:{}", self.control)),
            // What is compiled already is not compiled again.
            ("CARGO_TARGET_DIR", concat!(env!("CARGO_MANIFEST_DIR"), "/target").to_owned()),
        ]);
        command
    }

    fn up(&self) -> String {
        let output = self.command(self.sources().join("scripts/up")).output().unwrap();
        text(&output)
    }

    fn node(&self) -> String {
        docker(&[
            "ps",
            "--quiet",
            "--no-trunc",
            "--filter",
            &format!("label=com.docker.compose.project={PROJECT}"),
        ])
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        let status = self
            .command("docker")
            .args(["compose", "exec", "-T", "node", "nexus", "status", "--json"])
            .output();
        let status =
            status.ok().and_then(|output| serde_json::from_slice::<serde_json::Value>(&output.stdout).ok());
        // Whoever takes the node down first leaves nobody who would start its workspaces again.
        drop(self.command("docker").args(["compose", "down", "--volumes", "--timeout", "20"]).output());
        drop(fs::remove_dir_all(self.directory.join("workspaces")));
        if let Some(id) = status.as_ref().and_then(|status| status["node"].as_str()) {
            remove_labelled(&format!("nexus.node={id}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_command_brings_it_up_and_the_same_again_changes_nothing() {
    let appliance = Appliance::new();
    let printed = appliance.up();
    for line in ["web:", "a sample:", "control:", "/claim/"] {
        assert!(printed.contains(line), "`{line}` is not in:\n{printed}");
    }
    let hello = format!("http://127.0.0.1:{}/hello/", appliance.web);
    assert!(fetch(&["--fail", &hello]).contains("Hello"), "what is printed answers");

    let base = format!("http://127.0.0.1:{}", appliance.web);
    let sample = Expected { name: "hello", title: "Hello from Nexus", text: "Hello from Nexus" };
    index_lists_and_opens(&base, &[sample], "appliance").await;

    let node = appliance.node();
    let again = appliance.up();
    assert!(again.contains("web:"), "{again}");
    assert_eq!(appliance.node(), node, "the node is the very same container");

    let link = printed.split_whitespace().find(|word| word.contains("/claim/")).unwrap();
    let page = fetch(&["--fail", "--request", "POST", link]);
    let token: String = page
        .split("nxs_")
        .nth(1)
        .map(|rest| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect())
        .unwrap_or_else(|| panic!("no token on the page: {page}"));
    let list = format!("http://127.0.0.1:{}/api/v1/workspaces", appliance.control);
    let authorization = format!("authorization: Bearer nxs_{token}");
    assert!(fetch(&["--fail", "--header", &authorization, &list]).contains("\"hello\""));
    assert_eq!(fetch(&["--output", "/dev/null", "--write-out", "%{http_code}", &list]), "401");
    assert!(!fetch(&["--request", "POST", link]).contains("nxs_"), "the link works once");
}

fn fetch(arguments: &[&str]) -> String {
    let output =
        Command::new("curl").args(["--silent", "--max-time", "10"]).args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn text(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// What git has or would have: no build output, no settings of this machine. A file that is there already is left
/// alone, and what is there besides goes.
fn copy_sources(to: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let files: BTreeSet<PathBuf> =
        listed.split('\0').map(PathBuf::from).filter(|file| root.join(file).is_file()).collect();
    prune(to, to, &files);
    for file in files {
        let (from, target) = (root.join(&file), to.join(&file));
        if fs::read(&target).ok() != fs::read(&from).ok() {
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::copy(from, target).unwrap();
        }
    }
}

fn prune(root: &Path, directory: &Path, keep: &BTreeSet<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            // What the images were built from is no source, and costs a build when it goes.
            if path != root.join("target") {
                prune(root, &path, keep);
            }
        } else if !keep.contains(path.strip_prefix(root).unwrap()) {
            fs::remove_file(path).unwrap();
        }
    }
}
