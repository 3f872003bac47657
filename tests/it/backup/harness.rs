//! A node's backups without the node: a watched directory with folders, destinations, and what is in a folder.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use nexus::backup;
use nexus::backup::Backups;
use nexus::backup::Workspace;
use nexus::backup::control::Run;
use nexus::backup::destination::Credentials;
use nexus::backup::destination::Description;
use nexus::backup::destination::Destination;
use nexus::backup::objects::Patience;
use nexus::backup::recover::Request;
use nexus::backup::recover::Restored;
use nexus::backup::repository::Snapshot;
use nexus::backup::schedule::Schedule;
use nexus::base::clock;
use nexus::base::home::Home;
use nexus::base::sealed::Sealed;
use nexus::model::project::FolderIdentity;
use nexus::store::Store;
use nexus::store::workspace::Record;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

use super::server::BUCKET;
use super::server::KEY;
use super::server::SECRET;

/// As a test can wait: what stalls is given up soon.
pub const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(2),
    request: Duration::from_secs(2),
    retries: Duration::from_secs(2),
};

/// The backups of one node, in this process.
pub struct Node {
    root: PathBuf,
    _temp: Option<TempDir>,
    pub backups: Backups,
    store: Store,
    sources: watch::Sender<Vec<Workspace>>,
    /// Whatever still works ends with the node.
    _closing: DropGuard,
}

impl Node {
    pub fn new(destinations: Vec<Destination>) -> Self {
        Self::with(destinations, PATIENCE, BTreeMap::new())
    }

    /// A node that knows nothing but the recovery passwords of its destinations.
    pub fn with(
        destinations: Vec<Destination>,
        patience: Patience,
        passwords: BTreeMap<String, Sealed<String>>,
    ) -> Self {
        let temp = TempDir::new().unwrap();
        let node = Self::at(temp.path(), destinations, patience, passwords);
        Self { _temp: Some(temp), ..node }
    }

    /// A node whose home and folders are there already, or are made.
    pub fn at(
        root: &Path,
        destinations: Vec<Destination>,
        patience: Patience,
        passwords: BTreeMap<String, Sealed<String>>,
    ) -> Self {
        let directory = root.join("projects");
        std::fs::create_dir_all(&directory).unwrap();
        let settings = backup::Settings {
            directory,
            destinations,
            selection: backup::walk::Selection::default(),
            quiet: None,
            drill: Schedule::Never,
            patience,
            passwords,
        };
        let (sources, known) = watch::channel(Vec::new());
        let closing = CancellationToken::new();
        let home = Home::new(root.join("home"));
        std::fs::create_dir_all(home.root()).unwrap();
        let store = Store::open(&home.database()).unwrap();
        let backups = Backups::new(settings, "node1".to_owned(), home, store.clone(), known, closing.clone());
        Self { root: root.to_owned(), _temp: None, backups, store, sources, _closing: closing.drop_guard() }
    }

    /// A folder of the watched directory.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.root.join("projects").join(name)
    }

    /// Makes a folder with everything that is hard to bring back, and a workspace of it.
    pub fn project(&self, name: &str) -> PathBuf {
        hard(&self.folder(name));
        self.workspace(name)
    }

    /// The same, and the node remembers the workspace, so that a backup of its state does.
    pub async fn recorded(&self, name: &str) -> PathBuf {
        hard(&self.folder(name));
        let record = Record::new(name, FolderIdentity { device: 1, inode: 1 }, clock::now());
        self.store.save_workspace(&record).await.unwrap();
        self.workspace_of(name, record.id.to_string())
    }

    /// Makes a workspace of a folder that is there.
    pub fn workspace(&self, name: &str) -> PathBuf {
        self.workspace_of(name, format!("id-{name}"))
    }

    fn workspace_of(&self, name: &str, id: String) -> PathBuf {
        let folder = self.folder(name);
        self.sources.send_modify(|all| {
            all.push(Workspace { id, folder: name.to_owned(), path: folder.clone() });
        });
        folder
    }

    /// Backs everything up; each destination has to succeed.
    pub async fn run(&self) -> Vec<Run> {
        let runs = self.backups.run(None, None).await.unwrap();
        for run in &runs {
            assert_eq!(run.failure, None, "{}", run.destination);
            assert!(run.outcomes.iter().all(|outcome| outcome.failure.is_none()), "{run:?}");
        }
        runs
    }

    pub async fn snapshots(&self, destination: &str) -> Vec<Snapshot> {
        self.backups.snapshots(destination).await.unwrap()
    }

    /// Restores, and nothing of it may fail.
    pub async fn restore(&self, request: Request) -> Restored {
        let done = self.backups.restore(request).await.unwrap();
        assert_eq!(done.failed.listed, []);
        done
    }

    /// Restores one snapshot under a new name, looks at what came, and removes it again.
    pub async fn picture_of(&self, destination: &str, snapshot: &Snapshot) -> Vec<String> {
        let name = format!("look-{}", snapshot.id);
        self.restore(Request {
            destination: Some(destination.to_owned()),
            folder: snapshot.folder.clone(),
            snapshot: Some(snapshot.id.clone()),
            to: Some(name.clone()),
            ..Request::default()
        })
        .await;
        let found = picture(&self.folder(&name));
        std::fs::remove_dir_all(self.folder(&name)).unwrap();
        found
    }

    /// Nothing that is stored may be damaged or missing.
    pub async fn verify(&self, destination: &str) {
        assert_eq!(self.backups.verify(destination, true).await.unwrap(), Vec::<String>::new());
    }
}

/// A bucket at a server, below a prefix of its own.
pub fn bucket(name: &str, endpoint: &str) -> Destination {
    let url = format!("s3://{BUCKET}/{name}");
    destination(name, &[("url", &url), ("endpoint", endpoint)])
}

pub fn destination(name: &str, words: &[(&str, &str)]) -> Destination {
    let words = words.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let credentials =
        Credentials { id: KEY.to_owned(), secret: Sealed::new(SECRET.to_owned()), session: None };
    let description = Description {
        name,
        words: &words,
        home: Path::new("/nowhere"),
        schedule: "never",
        zone: "UTC",
        keep: "last=3",
        credentials: Some(credentials),
    };
    description.read().unwrap()
}

/// Odd names, modes, times, links, an empty file, a large one, and what is left out.
fn hard(folder: &Path) {
    std::fs::create_dir_all(folder.join("src/deep/er")).unwrap();
    let write = |path: &str, text: &[u8]| std::fs::write(folder.join(path), text).unwrap();
    write("src/a.js", "console.log(1)\n".repeat(1000).as_bytes());
    write("src/deep/er/empty", b"");
    write("run.sh", b"#!/bin/sh\n");
    write("private", b"mine");
    write("-rf *", b"a name that is a flag");
    write("gr\u{fc}n \u{1f333}", b"a name that is no ASCII");
    std::fs::write(folder.join(OsString::from_vec(b"caf\xe9 \"q\" \\ \n".to_vec())), "no text").unwrap();
    let large: Vec<u8> =
        (0..6_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    write("large.bin", &large);
    symlink("src/a.js", folder.join("link")).unwrap();
    symlink("/nowhere", folder.join("dangling")).unwrap();
    symlink("src/deep", folder.join("link-to-a-directory")).unwrap();
    std::fs::create_dir(folder.join("node_modules")).unwrap();
    write("node_modules/x.js", b"x");
    for (path, mode) in [("run.sh", 0o750), ("private", 0o600), ("src/deep", 0o711), ("", 0o750)] {
        std::fs::set_permissions(folder.join(path), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    // Before 1970, and with a nanosecond.
    for (path, seconds, nanoseconds) in
        [("private", -86_400, 0), ("run.sh", 1_000_000_000, 1), ("src", 42, 7)]
    {
        let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(rustix::fs::CWD, folder.join(path), &times, rustix::fs::AtFlags::empty())
            .unwrap();
    }
}

/// Everything about a folder that has to come back, but for what is left out: one line for each thing.
pub fn picture(root: &Path) -> Vec<String> {
    fn look(path: &Path, root: &Path, into: &mut Vec<String>) {
        let meta = std::fs::symlink_metadata(path).unwrap();
        let content = match (meta.is_symlink(), meta.is_file()) {
            (true, _) => format!("-> {:?}", std::fs::read_link(path).unwrap()),
            (_, true) => blake3::hash(&std::fs::read(path).unwrap()).to_string(),
            _ => String::new(),
        };
        let time = (meta.mtime(), meta.mtime_nsec());
        into.push(format!("{:?} {:o} {time:?} {content}", path.strip_prefix(root).unwrap(), meta.mode()));
        if meta.is_dir() {
            let mut inside: Vec<_> =
                std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
            inside.sort();
            inside
                .iter()
                .filter(|path| !path.ends_with("node_modules"))
                .for_each(|path| look(path, root, into));
        }
    }
    let mut into = Vec::new();
    look(root, root, &mut into);
    into
}
