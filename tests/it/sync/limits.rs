//! What the kernel does not give: events it has lost (SY-13), watches it has no more of (SY-14), descriptors it refuses
//! and directories it lets nobody into (SY-10). Both ends are processes of their own, with limits of their own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Pid;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::Signal;
use tempfile::TempDir;

use super::near::Near;
use super::near::picture;
use super::process::Agent;
use super::process::Host;
use super::process::With;
use crate::agent::Bench;
use crate::agent::DEBIAN;
use crate::nightly::nightly_or;

/// The words that run what follows them with a limit that the kernel keeps for each user namespace by itself.
fn limited(limit: &str) -> Vec<String> {
    let script = format!("echo {limit} && exec \"$0\" \"$@\"");
    ["unshare", "--user", "--map-root-user", "sh", "-c", &script].map(str::to_owned).into()
}

/// Whether this machine lets us have a user namespace; hardened ones do not.
fn has_namespaces() -> bool {
    let tried = Command::new("unshare").args(["--user", "--map-root-user", "true"]).status();
    tried.is_ok_and(|done| done.success())
}

fn home() -> TempDir {
    let home = TempDir::new().unwrap();
    fs::create_dir(home.path().join("src")).unwrap();
    home
}

/// Waits until both are equal, and says how long that took.
async fn equal(one: &Path, two: &Path, within: Duration, what: &str) -> Duration {
    let started = Instant::now();
    loop {
        // Seldom: to look at all of it costs as much as what is tested.
        tokio::time::sleep(Duration::from_millis(500)).await;
        if names(one) == names(two) && picture(one) == picture(two) {
            return started.elapsed();
        }
        assert!(started.elapsed() < within, "{what}: not equal after {:?}", started.elapsed());
    }
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(at) = open.pop() {
        let Ok(listing) = fs::read_dir(&at) else { continue };
        for entry in listing.map_while(Result::ok) {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
            }
            found.push(entry.path().strip_prefix(folder).unwrap().to_owned());
        }
    }
    found.retain(|path| !path.starts_with(".nexus-stage"));
    found.sort();
    found
}

/// The time on a processor that a process has used, all its threads together.
fn busy(pid: Pid) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // A hundred in a second, on every machine there is.
    Duration::from_millis(ticks * 10)
}

/// More happens than the kernel keeps while nobody reads: what was lost is found by looking, on either side.
#[tokio::test(flavor = "multi_thread")]
async fn sy13_lost_events_are_made_up_for() {
    let home = home();
    let agent = Agent::start("sy13");
    let src = home.path().join("src");
    fs::write(src.join("first"), "first").unwrap();
    let mut host = Host::start(&[], home.path(), &With::Socket(agent.socket.clone()));
    host.flush(Duration::from_secs(20)).await;
    // Three events each, and the kernel keeps 16,384.
    let many = nightly_or(50_000, 8_000);
    for round in 0..nightly_or(20, 1) {
        for (pid, folder) in [(host.pid(), src.clone()), (agent.pid(), agent.at(""))] {
            rustix::process::kill_process(pid, Signal::STOP).unwrap();
            let made = Instant::now();
            let top = folder.join(format!("{round} {}", pid.as_raw_nonzero()));
            fs::create_dir(&top).unwrap();
            for number in 0..many {
                let path = folder.join(format!("{}", number % 997));
                fs::write(path, format!("{round} {number}")).unwrap();
            }
            fs::remove_file(folder.join(format!("{}", round * 7 % 997))).unwrap();
            println!("{many} changes made in {:?} while nobody looked", made.elapsed());
            rustix::process::kill_process(pid, Signal::CONT).unwrap();
            let took = equal(&src, &agent.at(""), Duration::from_secs(60), "after lost events").await;
            println!("equal after {took:?}");
        }
    }
}

/// With a hundred watches for a thousand directories the rest is looked at, which is said, seen soon and costs little; and
/// so is everything when there can be no watches at all.
#[tokio::test(flavor = "multi_thread")]
async fn sy14_without_enough_watches_changes_are_seen_and_it_is_said() {
    if !has_namespaces() {
        println!(
            "this machine lets nobody have a user namespace, so no limit can be set for one process alone"
        );
        return;
    }
    let directories = nightly_or(10_000, 1_000);
    for (limit, said) in [
        ("100 > /proc/sys/user/max_inotify_watches", "fs.inotify.max_user_watches"),
        ("0 > /proc/sys/user/max_inotify_instances", "fs.inotify.max_user_instances"),
    ] {
        let home = home();
        let agent = Agent::start(&format!("sy14-{}", said.len()));
        let src = home.path().join("src");
        for number in 0..directories {
            let directory = src.join(format!("{}/{number}", number % 100));
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("file"), "x").unwrap();
        }
        let before = limited(limit);
        let before: Vec<_> = before.iter().map(String::as_str).collect();
        let mut host = Host::start(&before, home.path(), &With::Socket(agent.socket.clone()));
        host.flush(Duration::from_secs(60)).await;
        let warning = host.until(said, Duration::from_secs(5)).await;
        println!("{warning}");
        for number in [0, directories / 2, directories - 1] {
            let name = format!("{}/{number}/file", number % 100);
            fs::write(src.join(&name), format!("changed {number}")).unwrap();
            let started = Instant::now();
            while fs::read_to_string(agent.at(&name)).unwrap() != format!("changed {number}") {
                assert!(started.elapsed() < Duration::from_secs(60), "{name} is never seen");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            println!("{said}: seen after {:?}", started.elapsed());
        }
        // Looking takes no more than a fifth of a processor, whatever there is to look at.
        let lasting = Duration::from_secs(nightly_or(20, 5));
        let (used, since) = (busy(host.pid()), Instant::now());
        tokio::time::sleep(lasting).await;
        let share = (busy(host.pid()) - used).as_secs_f64() / since.elapsed().as_secs_f64();
        println!("{said}: {:.1} % of a processor", share * 100.0);
        assert!(share < 0.2, "{share}");
    }
}

/// The number the next descriptor of a process will have.
fn lowest_free(pid: Pid) -> u64 {
    let open = |number: &u64| Path::new(&format!("/proc/{}/fd/{number}", pid.as_raw_nonzero())).is_symlink();
    (0..).find(|number| !open(number)).unwrap()
}

/// No descriptors in the middle of a look, on the agent's side: nothing counts as gone, and all is well soon after.
#[tokio::test]
async fn sy10_a_side_without_descriptors_deletes_nothing() {
    let agent = Agent::start("sy10");
    let mut near = Near::new(agent.program()).await;
    for number in 0..40 {
        near.write(&format!("{number}/deep/file"), format!("{number}").as_bytes());
    }
    near.connect();
    near.flush().await;
    let all = rustix::process::getrlimit(Resource::Nofile);
    for round in 0..nightly_or(30, 3) {
        // From none to three at a time: a descriptor has the lowest number that is free, and it is the number that counts.
        let few = Rlimit { current: Some(lowest_free(agent.pid()) + round % 4), maximum: all.maximum };
        rustix::process::prlimit(Some(agent.pid()), Resource::Nofile, few).unwrap();
        let before = picture(&near.at(""));
        fs::write(agent.at(&format!("{}/deep/file", round % 40)), format!("inside {round}")).unwrap();
        fs::create_dir_all(agent.at(&format!("new {round}/deep"))).unwrap();
        fs::write(agent.at(&format!("new {round}/deep/file")), "new").unwrap();
        near.write(&format!("host {round}"), b"new");
        // Everything is looked at, as far as that goes.
        let wishes = near.wishes();
        drop(tokio::time::timeout(Duration::from_millis(1_500), wishes.flush()).await);
        let after = picture(&near.at(""));
        assert!(before.keys().all(|path| after.contains_key(path)), "{round}: something was deleted");
        rustix::process::prlimit(Some(agent.pid()), Resource::Nofile, all).unwrap();
        let fixed = Instant::now();
        near.flush().await;
        assert!(fixed.elapsed() < Duration::from_secs(30), "{round}: {:?}", fixed.elapsed());
        assert_eq!(picture(&near.at("")), picture(&agent.at("")), "{round}");
    }
}

/// A directory in the container that not even its owner may read: it is said, the rest goes on, nothing is deleted, and it
/// is as before once it can be read again.
#[tokio::test]
async fn sy10_a_directory_that_cannot_be_read_is_said_and_deletes_nothing() {
    let mut bench = Bench::new().await;
    for name in ["closed/file", "closed/deep/file", "open/file"] {
        bench.write(name, name);
    }
    bench.start(DEBIAN, &[], &["/nexus/nexus-agent", "static", "."]);
    bench.ready().await;
    bench.flush().await;
    let at = |bench: &Bench, name: &str| bench.folder.path().join("src").join(name);
    for round in 0..nightly_or(30, 2) {
        bench.inside(&["chmod", "000", "/workspace/closed"]);
        let write = "echo $1 > /workspace/open/inside$1";
        bench.inside(&["sh", "-c", write, "sh", &round.to_string()]);
        bench.write(&format!("open/host{round}"), "new");
        let listed = |status: &nexus::sync::Status| {
            status.skipped.iter().any(|one| one.path == "closed" && one.why.contains("cannot be read"))
        };
        bench.until("that it cannot be read", listed).await;
        let started = Instant::now();
        while !at(&bench, &format!("open/inside{round}")).exists() {
            assert!(started.elapsed() < Duration::from_secs(10), "the rest does not go on");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(bench.inside(&["cat", &format!("/workspace/open/host{round}")]), "new");
        assert!(at(&bench, "closed/file").exists() && at(&bench, "closed/deep/file").exists());
        bench.inside(&["chmod", "755", "/workspace/closed"]);
        let fixed = Instant::now();
        bench.until("that it can", |status| status.skipped.is_empty()).await;
        assert!(fixed.elapsed() < Duration::from_secs(30), "{:?}", fixed.elapsed());
        bench.flush().await;
        assert_eq!(bench.inside(&["cat", "/workspace/closed/deep/file"]), "closed/deep/file");
        let mode = fs::metadata(at(&bench, "closed")).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o755);
    }
}
