//! The ways in which editors and tools save (SY-15): each is seen, conflicts with nothing and keeps the file's mode.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use super::faults::Agent;
use super::near::Near;
use super::near::picture;
use super::nightly_or;
use crate::agent::Bench;
use crate::agent::NODE;

/// Saves a file as some program does.
type Save = fn(&Path, &str);

fn write_through(path: &Path, text: &str) {
    fs::File::options().write(true).truncate(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

fn beside(path: &Path, suffix: &str) -> std::path::PathBuf {
    path.with_file_name(format!("{}{suffix}", path.file_name().unwrap().to_str().unwrap()))
}

/// Writes a new file with the old one's mode.
fn write_like(path: &Path, model: &Path, text: &str) {
    let mode = fs::metadata(model).unwrap().permissions();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, mode).unwrap();
}

const SAVES: [(&str, Save); 7] = [
    ("in place", write_through),
    ("vim, backupcopy=no", |path, text| {
        let backup = beside(path, "~");
        fs::rename(path, &backup).unwrap();
        write_like(path, &backup, text);
        fs::remove_file(backup).unwrap();
    }),
    ("vim, backupcopy=yes", |path, text| {
        let backup = beside(path, "~");
        fs::copy(path, &backup).unwrap();
        write_through(path, text);
        fs::remove_file(backup).unwrap();
    }),
    ("JetBrains safe write", |path, text| {
        let (new, old) = (beside(path, "___jb_tmp___"), beside(path, "___jb_old___"));
        write_like(&new, path, text);
        fs::rename(path, &old).unwrap();
        fs::rename(new, path).unwrap();
        fs::remove_file(old).unwrap();
    }),
    ("emacs", |path, text| {
        let backup = beside(path, "~");
        fs::rename(path, &backup).unwrap();
        write_like(path, &backup, text);
    }),
    ("rename over", |path, text| {
        let new = beside(path, ".tmp");
        write_like(&new, path, text);
        fs::rename(new, path).unwrap();
    }),
    ("sed -i", |path, text| {
        let done = Command::new("sed").arg("-i").arg(format!("1c{text}")).arg(path).status().unwrap();
        assert!(done.success());
    }),
];

#[tokio::test]
async fn every_way_of_saving_is_seen_from_either_side() {
    let agent = Agent::new("sy15");
    let mut near = Near::new(agent.program()).await;
    near.write("script.sh", b"first\n");
    fs::set_permissions(near.at("script.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    near.connect();
    near.flush().await;
    let mut slowest = Duration::ZERO;
    for (name, save) in SAVES {
        for round in 0..nightly_or(100, 4) {
            let sides = [near.at("script.sh"), agent.at("script.sh")];
            let (from, to) = (&sides[round % 2], &sides[1 - round % 2]);
            let text = format!("{name} {round}\n");
            save(from, text.trim_end());
            let started = Instant::now();
            while fs::read_to_string(to).is_ok_and(|seen| seen.trim_end() != text.trim_end()) {
                assert!(started.elapsed() < Duration::from_secs(10), "{name} {round} was never seen");
                tokio::task::yield_now().await;
            }
            slowest = slowest.max(started.elapsed());
            near.flush().await;
            assert_eq!(fs::metadata(to).unwrap().permissions().mode() & 0o111, 0o111, "{name} {round}");
            let status = near.until("no conflict", |_| true).await;
            assert_eq!(status.session.unwrap().conflicts, [], "{name} {round}");
        }
    }
    println!("the slowest save was seen after {slowest:?}");
    assert_eq!(picture(&near.at("")), picture(&agent.at("")));
}

#[tokio::test]
async fn a_checkout_back_and_forth_is_followed() {
    let git = |folder: &Path, words: &[&str]| {
        let done = Command::new("git").arg("-C").arg(folder).args(words).output().unwrap();
        assert!(done.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    let agent = Agent::new("checkout");
    let mut near = Near::new(agent.program()).await;
    let many = nightly_or(10_000, 200);
    let folder = near.at("");
    let commit = |tag: &str| {
        (0..many).for_each(|number| {
            near.write(&format!("d{}/{number}", number % 20), format!("{tag} {number}").as_bytes())
        });
        git(&folder, &["add", "--all"]);
        git(&folder, &["-c", "user.name=x", "-c", "user.email=x@x", "commit", "--quiet", "--message", tag]);
        git(&folder, &["branch", tag]);
    };
    git(&folder, &["init", "--quiet"]);
    commit("one");
    commit("two");
    near.connect();
    near.flush().await;
    for round in 0..nightly_or(20, 3) {
        let tag = ["one", "two"][round % 2];
        git(&folder, &["checkout", "--quiet", tag]);
        let started = Instant::now();
        near.flush().await;
        println!("checkout of {many} files: {:?}", started.elapsed());
        let text = fs::read_to_string(agent.at("d7/7")).unwrap();
        assert_eq!(text, format!("{tag} 7"));
        for directory in 0..20 {
            let name = format!("d{directory}");
            assert_eq!(picture(&near.at(&name)), picture(&agent.at(&name)), "{tag}");
        }
    }
    assert!(!agent.at(".git").exists());
}

#[tokio::test]
async fn an_installation_in_the_container_brings_back_its_lockfile_alone() {
    let there = Command::new("docker").args(["image", "inspect", NODE]).output().unwrap();
    if !there.status.success() {
        return;
    }
    let mut bench = Bench::new().await;
    bench.write("package.json", r#"{"name":"app","version":"1.0.0","dependencies":{"own":"file:./own"}}"#);
    bench.write("own/package.json", r#"{"name":"own","version":"1.0.0"}"#);
    bench.start(NODE, &[], &["/nexus/nexus-agent", "static", "."]);
    bench.ready().await;
    bench.inside(&[
        "sh",
        "-c",
        "cd /workspace && npm install --offline --no-audit --no-fund --cache /tmp/npm",
    ]);
    bench.flush().await;
    let at = |name: &str| bench.folder.path().join("src").join(name);
    assert!(fs::read_to_string(at("package-lock.json")).unwrap().contains("\"own\""));
    assert!(!at("node_modules").exists());
    let status = bench.handle.as_ref().unwrap().status.borrow().clone();
    assert_eq!(status.session.unwrap().conflicts, []);
}
