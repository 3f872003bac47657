//! Each judgement, and a whole examination of a machine that lacks everything.

use std::io;

use super::engine::judge_images;
use super::engine::judge_nodes;
use super::host::judge_inotify;
use super::host::judge_port;
use super::host::judge_space;
use super::*;
use crate::engine::memory;

#[test]
fn judgements() {
    const MIB: u64 = 1024 * 1024;
    let check = |check: Check, outcome: Outcome| {
        assert_eq!(check.outcome, outcome, "{check:?}");
        assert_eq!(check.why.is_some() && check.next.is_some(), outcome > Outcome::Skipped, "{check:?}");
    };
    check(judge_space(5000 * MIB, 1 << 20, 1 << 21), Outcome::Ok);
    check(judge_space(5000 * MIB, 0, 0), Outcome::Ok);
    check(judge_space(5000 * MIB, 10, 1 << 21), Outcome::Warning);
    check(judge_space(1000 * MIB, 1 << 20, 1 << 21), Outcome::Warning);
    check(judge_space(100 * MIB, 1 << 20, 1 << 21), Outcome::Failed);
    check(judge_inotify(524_288, 128), Outcome::Ok);
    check(judge_inotify(8192, 128), Outcome::Warning);
    check(judge_images(&[], false, "/x"), Outcome::Ok);
    check(judge_images(&["go"], true, "/x"), Outcome::Warning);
    check(judge_images(&["go"], false, "/x"), Outcome::Failed);
    check(judge_nodes(&["a"], Some("a")), Outcome::Ok);
    check(judge_nodes(&["a", "b"], Some("a")), Outcome::Warning);
    check(judge_nodes(&["b"], None), Outcome::Ok);
    let address = "127.0.0.1:80".parse().unwrap();
    check(judge_port("port 80", "web", address, Ok(())), Outcome::Ok);
    check(judge_port("port 80", "web", address, Err(io::ErrorKind::AddrInUse.into())), Outcome::Warning);
    check(
        judge_port("port 80", "web", address, Err(io::ErrorKind::PermissionDenied.into())),
        Outcome::Failed,
    );
}

fn subject(home: &std::path::Path) -> Subject {
    Subject {
        engine: Arc::new(memory::Memory::new(&[])),
        home: Home::new(home),
        directory: home.join("workspaces"),
        listeners: vec![],
        agent: home.join("nexus-agent"),
        images: home.join("images"),
        node: None,
        serving: false,
    }
}

fn outcome(checks: &[Check], name: &str) -> Outcome {
    checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("{name}: {checks:?}")).outcome
}

#[tokio::test]
async fn a_machine_with_everything_missing_is_told_everything_at_once() {
    let missing = tempfile::tempdir().unwrap().path().join("gone");
    let mut subject = subject(&missing);
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    subject.listeners = vec![("web".to_owned(), taken.local_addr().unwrap())];
    let checks = examine(&subject).await;
    for name in ["home", "directory", "agent", "images"] {
        assert_eq!(outcome(&checks, name), Outcome::Failed, "{name}");
    }
    let port = format!("port {}", taken.local_addr().unwrap().port());
    assert_eq!(outcome(&checks, &port), Outcome::Warning);
}

#[tokio::test]
async fn a_well_machine_is_well() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("workspaces")).unwrap();
    std::fs::write(home.path().join("nexus-agent"), "").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(home.path().join("nexus-agent"), mode).unwrap();
    let checks = examine(&subject(home.path())).await;
    for name in ["engine", "home", "directory", "agent", "other nodes"] {
        assert_eq!(outcome(&checks, name), Outcome::Ok, "{name}: {checks:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_hangs_or_is_gone_does_not_hide_the_rest() {
    let home = tempfile::tempdir().unwrap();
    let engine = Arc::new(memory::Memory::new(&[]));
    let mut subject = subject(home.path());
    subject.engine = engine.clone();
    engine.fault(memory::When::Nth(1), memory::Fault::Hang);
    assert_eq!(outcome(&examine(&subject).await, "engine"), Outcome::Failed);
    engine.leave();
    let checks = examine(&subject).await;
    assert_eq!(outcome(&checks, "engine"), Outcome::Failed);
    assert_eq!(outcome(&checks, "images"), Outcome::Skipped);
    assert_eq!(outcome(&checks, "home"), Outcome::Ok);
}
