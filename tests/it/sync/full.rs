//! Disks that take no more: the container's (SY-11), and the one where the node remembers (SY-12). What was there stays
//! whole, what is wrong is said, and all is carried once it can be.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use nexus::sync::Status;
use tempfile::TempDir;

use super::near::picture;
use super::process::Agent;
use super::process::Host;
use super::process::With;
use super::races::contents;
use super::races::inside;
use crate::agent::Bench;
use crate::agent::DEBIAN;
use crate::agent::docker;
use crate::nightly::nightly_or;

const SITE: [&str; 3] = ["/nexus/nexus-agent", "static", "."];

/// As somebody who may do anything in the container, which its own programs may not.
fn as_root(bench: &Bench, script: &str) {
    docker(&["exec", "--privileged", "--user", "0", &bench.name("app"), "sh", "-c", script]);
}

/// A container whose copy is on a volume with these mount options.
async fn on_tmpfs(options: &str) -> Bench {
    let bench = Bench::new().await;
    let (volume, label) = (bench.name("sync"), bench.label());
    docker(&["volume", "rm", &volume]);
    let options = format!("o={options},uid=1000,gid=1000");
    let small = ["--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", &options];
    docker(&[&["volume", "create", "--label", &label][..], &small, &[&volume]].concat());
    bench
}

async fn begun(mut bench: Bench) -> Bench {
    bench.write("d/old", "old");
    bench.start(DEBIAN, &[], &SITE);
    bench.ready().await;
    bench.flush().await;
    bench
}

/// Breaks the container's disk, edits on the host, and mends it again: so many times.
async fn survives(mut bench: Bench, hurt: impl Fn(&Bench), mend: impl Fn(&Bench), why: &str) {
    for round in 0..nightly_or(20, 2) {
        hurt(&bench);
        let edited = Instant::now();
        bench.write("d/old", &format!("edited {round} ").repeat(20_000));
        bench.write(&format!("d/new{round}"), &format!("new {round} ").repeat(20_000));
        let refused = |status: &Status| {
            let at = |path: &str| status.skipped.iter().any(|one| one.path == path && one.why.contains(why));
            at("d/old") && at(&format!("d/new{round}"))
        };
        bench.until("that it is refused", refused).await;
        assert!(edited.elapsed() < Duration::from_secs(5), "{why}: {:?}", edited.elapsed());
        let before =
            if round == 0 { "old".to_owned() } else { format!("edited {} ", round - 1).repeat(20_000) };
        assert_eq!(bench.inside(&["cat", "/workspace/d/old"]), before, "{why}: what was there is whole");
        let names = bench.inside(&["ls", "-A", "/workspace/d"]);
        let expected: Vec<_> =
            (0..round).map(|round| format!("new{round}")).chain(["old".to_owned()]).collect();
        let mut names: Vec<_> = names.lines().collect();
        names.sort_unstable();
        assert_eq!(names, expected, "{why}: nothing is there in part");
        mend(&bench);
        let mended = Instant::now();
        bench.until("that it is carried", |status| status.skipped.is_empty() && status.synced).await;
        bench.flush().await;
        assert!(mended.elapsed() < Duration::from_secs(30), "{why}: {:?}", mended.elapsed());
        let held = |held: BTreeMap<PathBuf, Vec<u8>>| -> Vec<_> {
            held.into_iter().filter(|(path, _)| path.starts_with("d")).collect()
        };
        assert!(held(inside(&bench)) == held(contents(&bench.folder.path().join("src"))));
    }
}

#[tokio::test]
async fn sy11_a_disk_without_room() {
    let bench = begun(on_tmpfs("size=8m").await).await;
    // What is not carried takes the room: otherwise it would be carried to the host.
    let fill =
        "mkdir -p /workspace/node_modules; dd if=/dev/zero of=/workspace/node_modules/filler bs=4k || true";
    let clear = "rm /workspace/node_modules/filler";
    survives(bench, |bench| as_root(bench, fill), |bench| as_root(bench, clear), "the disk is full").await;
}

#[tokio::test]
async fn sy11_a_disk_without_inodes() {
    let bench = begun(on_tmpfs("size=64m,nr_inodes=300").await).await;
    let fill = "mkdir -p /workspace/node_modules; cd /workspace/node_modules; \
                perl -e 'my $n = 0; while (open(F, q(>), $n)) { $n++ }'";
    let clear = "rm -r /workspace/node_modules";
    survives(bench, |bench| as_root(bench, fill), |bench| as_root(bench, clear), "the disk is full").await;
}

#[tokio::test]
async fn sy11_a_disk_that_may_only_be_read() {
    let bench = begun(on_tmpfs("size=64m").await).await;
    // From outside: nobody in the container may mount anything, root included.
    let remount = |bench: &Bench, how: &str| {
        let pid = docker(&["inspect", "--format", "{{.State.Pid}}", &bench.name("app")]);
        let label = bench.label();
        let helper = ["run", "--rm", "--label", &label, "--privileged", "--pid", "host", DEBIAN];
        let how = format!("remount,bind,{how}");
        let mount = ["nsenter", "--target", pid.trim(), "--mount", "mount", "-o", &how, "/workspace"];
        docker(&[&helper[..], &mount].concat());
    };
    survives(
        bench,
        |bench| remount(bench, "ro"),
        |bench| remount(bench, "rw"),
        "the file system is read-only",
    )
    .await;
}

#[tokio::test]
async fn sy11_a_directory_that_may_not_change() {
    let bench = begun(Bench::new().await).await;
    // The call that `chattr` makes; the image has perl.
    let flags = |flags: &str| {
        format!(
            "perl -e 'open(D, q(<), q(/workspace/d)); my $f = pack(q(l), {flags}); ioctl(D, 0x40086602, $f) or die $!'"
        )
    };
    let (hurt, mend) = (flags("0x10"), flags("0"));
    survives(bench, |bench| as_root(bench, &hurt), |bench| as_root(bench, &mend), "permission denied").await;
}

/// A host whose state is on a disk of two megabytes of its own.
fn host(home: &Path, agent: &Agent, then: &str) -> Host {
    let state = home.join("state");
    fs::create_dir_all(&state).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=2m tmpfs {state} && {then} && exec \"$0\" \"$@\"",
        state = state.display()
    );
    let before = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", &script];
    Host::start(&before, home, &With::Socket(agent.socket.clone()))
}

fn has_namespaces() -> bool {
    let tried = Command::new("unshare").args(["--user", "--map-root-user", "--mount", "true"]).status();
    tried.is_ok_and(|done| done.success())
}

/// Waits until what both sides agree on is written down, which is half a second after they do.
async fn remembered(memory: &Path) {
    let (started, mut before) = (Instant::now(), 0);
    loop {
        tokio::time::sleep(Duration::from_millis(800)).await;
        let now = fs::metadata(memory).map_or(0, |facts| facts.len());
        if now > 0 && now == before {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "nothing is remembered");
        before = now;
    }
}

/// Where nothing can be remembered nothing is changed: what was agreed on meanwhile would be forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn sy12_a_node_that_cannot_remember_changes_nothing() {
    if !has_namespaces() {
        println!("this machine lets nobody have a namespace, so no disk can be made small");
        return;
    }
    let home = TempDir::new().unwrap();
    let src = home.path().join("src");
    fs::create_dir(&src).unwrap();
    let agent = Agent::start("sy12");
    for number in 0..5 {
        fs::write(src.join(format!("{number}")), format!("{number}")).unwrap();
    }
    let state = home.path().join("state");

    // On a disk that may only be read nothing begins.
    let mut readonly = host(home.path(), &agent, &format!("mount -o remount,ro {}", state.display()));
    readonly.until("cannot", Duration::from_secs(10)).await;
    assert_eq!(picture(&agent.at("")).len(), 1, "nothing is carried");
    readonly.kill();

    let mut host = host(home.path(), &agent, "true");
    host.flush(Duration::from_secs(20)).await;
    let filler =
        PathBuf::from(format!("/proc/{}/root{}/filler", host.pid().as_raw_nonzero(), state.display()));
    for round in 0..nightly_or(20, 2) {
        remembered(&filler.with_file_name("ancestor")).await;
        let mut file = fs::File::create(&filler).unwrap();
        while file.write_all(&[0; 4_096]).is_ok() {}
        while file.write_all(&[0]).is_ok() {}
        drop(file);
        // More than fits behind what the last page holds already.
        for number in 0..300 {
            fs::write(src.join(format!("late {number}")), format!("{round}")).unwrap();
        }
        host.until("No space left", Duration::from_secs(10)).await;
        let (own, copy) = (picture(&src), picture(&agent.at("")));
        fs::write(src.join("later"), format!("later {round}")).unwrap();
        fs::remove_file(src.join("1")).unwrap();
        fs::write(agent.at("2"), format!("inside {round}")).unwrap();
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(3) {
            assert_eq!(picture(&agent.at("")).get(Path::new("1")), copy.get(Path::new("1")), "{round}");
            assert_eq!(
                picture(&agent.at("")).get(Path::new("later")),
                copy.get(Path::new("later")),
                "{round}"
            );
            assert_eq!(picture(&src).get(Path::new("2")), own.get(Path::new("2")), "{round}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        fs::remove_file(&filler).unwrap();
        let mended = Instant::now();
        while picture(&src) != picture(&agent.at("")) || !agent.at("later").exists() {
            assert!(mended.elapsed() < Duration::from_secs(60), "not equal after {:?}", mended.elapsed());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(fs::read_to_string(src.join("2")).unwrap(), format!("inside {round}"));
        // What was removed while nothing could be remembered may have come back, and must not have taken anything along.
        assert!((0..5).filter(|number| *number != 1).all(|number| src.join(format!("{number}")).exists()));
        fs::write(src.join("1"), "1").unwrap();
        host.flush(Duration::from_secs(60)).await;
    }
}
