//! What the machine has to say: disk, directories, limits, ports.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::Check;
use super::Subject;

const MIB: u64 = 1024 * 1024;
/// Below the first the node warns, below the second things break.
const FREE_WARNING: u64 = 2048 * MIB;
const FREE_FAILED: u64 = 200 * MIB;
const INODES_WARNING: u64 = 50_000;
/// A project of ten thousand directories needs as many watches.
const WATCHES: u64 = 65_536;
const INSTANCES: u64 = 128;

pub(super) async fn home(subject: &Subject) -> Vec<Check> {
    let root = subject.home.root().to_owned();
    let mut checks = blocking("home", move || {
        let tried = tempfile::Builder::new().prefix(".doctor").tempfile_in(&root);
        if let Err(error) = tried {
            return vec![Check::failed(
                "home",
                format!("{} cannot be written: {error}", root.display()),
                "the node keeps its state, tokens and stacks there",
                "make the directory and give it to the node's user, or set `NEXUS_HOME`",
            )];
        }
        vec![Check::ok("home", format!("{} can be written", root.display()))]
    })
    .await;
    checks.extend(space(subject).await);
    checks
}

pub(super) async fn space(subject: &Subject) -> Vec<Check> {
    let root = subject.home.root().to_owned();
    blocking("space", move || {
        vec![match rustix::fs::statvfs(&root) {
            Ok(stat) => judge_space(stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_favail, stat.f_files),
            Err(error) => Check::skipped("space", format!("cannot be asked: {error}")),
        }]
    })
    .await
}

pub(super) fn judge_space(free: u64, inodes_free: u64, inodes: u64) -> Check {
    let next = "free some: unused images are often the largest (`docker system df`)";
    let found = format!("{} MiB and {inodes_free} inodes free where the home is", free / MIB);
    if free < FREE_FAILED {
        return Check::failed("space", found, "state cannot be kept and stacks cannot be written", next);
    }
    // Some file systems have no fixed number of inodes and say 0.
    if free < FREE_WARNING || (inodes > 0 && inodes_free < INODES_WARNING) {
        return Check::warning(
            "space",
            found,
            "images, dependencies and copies of projects will fill it",
            next,
        );
    }
    Check::ok("space", found)
}

pub(super) async fn directory(subject: &Subject) -> Vec<Check> {
    let path = subject.directory.clone();
    blocking("directory", move || {
        match std::fs::read_dir(&path).and_then(|mut entries| entries.next().transpose()) {
            Ok(_) => vec![Check::ok("directory", format!("{} can be read", path.display()))],
            Err(error) => vec![Check::failed(
                "directory",
                format!("{} cannot be read: {error}", path.display()),
                "projects are put there",
                "make the directory, or set `NEXUS_WORKSPACES_DIR`",
            )],
        }
    })
    .await
}

pub(super) async fn agent(subject: &Subject) -> Vec<Check> {
    let path = subject.agent.clone();
    blocking("agent", move || {
        let runnable = std::fs::metadata(&path)
            .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0);
        if runnable {
            return vec![Check::ok("agent", format!("{} is there", path.display()))];
        }
        vec![Check::failed(
            "agent",
            format!("{} is missing or cannot be run", path.display()),
            "it is put into every container: without it nothing starts",
            "put `nexus-agent` beside `nexus`, or set `NEXUS_AGENT`",
        )]
    })
    .await
}

pub(super) async fn inotify() -> Vec<Check> {
    blocking("inotify", || {
        let limit = |name: &str| {
            let text = std::fs::read_to_string(Path::new("/proc/sys/fs/inotify").join(name)).ok()?;
            text.trim().parse().ok()
        };
        match (limit("max_user_watches"), limit("max_user_instances")) {
            (Some(watches), Some(instances)) => vec![judge_inotify(watches, instances)],
            _ => vec![Check::skipped("inotify", "its limits cannot be read")],
        }
    })
    .await
}

pub(super) fn judge_inotify(watches: u64, instances: u64) -> Check {
    let found = format!("{watches} watches, {instances} instances per user");
    if watches >= WATCHES && instances >= INSTANCES {
        return Check::ok("inotify", found);
    }
    Check::warning(
        "inotify",
        found,
        "edits in large projects are then seen by the scan every 30 s, not at once",
        format!(
            "raise them: `sysctl fs.inotify.max_user_watches={} fs.inotify.max_user_instances=512`",
            8 * WATCHES
        ),
    )
}

pub(super) async fn ports(subject: &Subject) -> Vec<Check> {
    let mut checks = Vec::new();
    for (door, address) in &subject.listeners {
        let name = format!("port {}", address.port());
        if subject.serving {
            checks.push(Check::ok(&name, format!("the {door} port is this node's")));
            continue;
        }
        let bound = tokio::net::TcpListener::bind(address).await.map(drop);
        checks.push(judge_port(&name, door, *address, bound));
    }
    checks
}

pub(super) fn judge_port(name: &str, door: &str, address: SocketAddr, bound: io::Result<()>) -> Check {
    let setting = format!("NEXUS_{}_LISTEN", door.to_uppercase());
    match bound {
        Ok(()) => Check::ok(name, format!("{address} is free for the {door} port")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Check::warning(
            name,
            format!("something listens on {address} already"),
            "fine when it is the node itself; another program there keeps the node from starting",
            format!("see who it is with `ss -ltnp sport = :{}`, or set `{setting}`", address.port()),
        ),
        Err(error) => Check::failed(
            name,
            format!("{address} cannot be listened on: {error}"),
            "the node needs it to be reached",
            format!("run as a user who may, or set `{setting}`"),
        ),
    }
}

async fn blocking(name: &str, look: impl FnOnce() -> Vec<Check> + Send + 'static) -> Vec<Check> {
    tokio::task::spawn_blocking(look)
        .await
        .unwrap_or_else(|_| vec![Check::skipped(name, "the node is closing")])
}
