//! Whole runs at destinations that are folders: what is saved, what is passed over, and what that rests on.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::control::Outcome;
use super::destination::Description;
use super::objects::Patience;
use super::walk::Selection;
use super::*;
use crate::base::home::Home;
use crate::store::Store;

/// How long anything may take before a test says it hangs.
const DEADLINE: Duration = Duration::from_secs(30);

/// A node's backups: one workspace, `shop`, and one destination, `there`.
struct Bench {
    directory: TempDir,
    backups: Backups,
    _workspaces: watch::Sender<Vec<Workspace>>,
}

fn bench(form: &str) -> Bench {
    let directory = TempDir::new().unwrap();
    let home = Home::new(directory.path().join("home"));
    let words = [("url", "there"), ("form", form)].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let description = Description {
        name: "there",
        words: &words.into(),
        home: directory.path(),
        schedule: "never",
        zone: "UTC",
        keep: "last=3",
        credentials: None,
    };
    let settings = Settings {
        directory: directory.path().to_owned(),
        destinations: vec![description.read().unwrap()],
        selection: Selection::default(),
        patience: Patience::default(),
        passwords: Default::default(),
    };
    let path = directory.path().join("shop");
    std::fs::create_dir_all(path.join("src")).unwrap();
    std::fs::write(path.join("src/a.js"), "console.log(1)\n".repeat(100)).unwrap();
    std::fs::write(path.join("README"), "read me").unwrap();
    let workspace = Workspace { id: "ws1".to_owned(), folder: "shop".to_owned(), path };
    let (workspaces, known) = watch::channel(vec![workspace]);
    std::fs::create_dir_all(home.root()).unwrap();
    let store = Store::open(&home.database()).unwrap();
    let backups = Backups::new(settings, "node1".to_owned(), home, store, known, CancellationToken::new());
    Bench { directory, backups, _workspaces: workspaces }
}

impl Bench {
    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn run(&self) -> Outcome {
        let mut runs = self.backups.run(None, None).await.unwrap();
        assert_eq!(runs[0].failure, None, "{runs:?}");
        runs.remove(0).outcomes.remove(0)
    }

    /// Runs until the folder is old enough for its fingerprint to prove anything; the snapshot that is known then.
    async fn settle(&self) -> String {
        let began = Instant::now();
        let file = self.at("home/backup/known/there/ws1.json");
        while !file.exists() {
            assert!(began.elapsed() < DEADLINE, "nothing is ever known");
            self.run().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let known: known::Known = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        known.snapshot
    }
}

fn remove(path: &Path) {
    std::fs::remove_file(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_has_changed_the_repository_is_not_opened() {
    let bench = bench("incremental");
    let first = bench.settle().await;
    // Without its keys and its description no repository opens.
    remove(&bench.at("there/config"));
    remove(&bench.at("home/backup/keys/there.json"));
    let again = bench.run().await;
    let saved = again.saved.unwrap();
    assert_eq!((saved.snapshot, saved.since.as_ref()), (None, Some(&first)));
    assert_eq!((again.report.files, again.report.directories), (2, 1), "the folder was looked at");
    let status = bench.backups.statuses().borrow()[0].clone();
    assert!(status.past.succeeded.is_some() && status.past.succeeded == status.past.begun);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_and_a_lost_snapshot_are_noticed() {
    let bench = bench("incremental");
    let first = bench.settle().await;
    // Of the same length: only what the kernel says of it is other.
    std::fs::write(bench.at("shop/README"), "me read").unwrap();
    let changed = bench.run().await.saved.unwrap();
    assert_eq!((changed.changed, changed.since), (1, None));
    assert_ne!(changed.snapshot, Some(first));
    let second = bench.settle().await;
    assert_eq!(changed.snapshot.as_ref(), Some(&second));
    remove(&bench.at("there/snapshots").join(&second));
    let anew = bench.run().await.saved.unwrap();
    assert!(anew.snapshot.is_some_and(|id| id != second), "what is gone is taken anew");
}
