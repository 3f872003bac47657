//! Whole runs at destinations that are folders: what is saved, what is passed over, and what that rests on.

pub(super) mod counted;
mod hostile;

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::control::Outcome;
use super::destination::Bucket;
use super::destination::Credentials;
use super::destination::Description;
use super::destination::Destination;
use super::destination::Place;
use super::inspect::Change;
use super::objects::Patience;
use super::rebuild::Fate;
use super::restore::Wanted;
use super::schedule::Schedule;
use super::walk::Selection;
use super::*;
use crate::base::clock;
use crate::base::home::Home;
use crate::base::ids::WorkspaceId;
use crate::base::sealed::Sealed;
use crate::base::tasks::TaskGroup;
use crate::model::project::FolderIdentity;
use crate::store::Store;
use crate::store::workspace::Desired;
use crate::store::workspace::Record;

/// Everything about a tree that has to come back, but for what is left out.
pub(super) fn picture(root: &Path) -> Vec<String> {
    fn look(path: &Path, root: &Path, into: &mut Vec<String>) {
        let mut names: Vec<_> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        for path in names.into_iter().filter(|path| !path.ends_with("node_modules")) {
            let meta = std::fs::symlink_metadata(&path).unwrap();
            let content = match (meta.is_symlink(), meta.is_file()) {
                (true, _) => format!("-> {:?}", std::fs::read_link(&path).unwrap()),
                (_, true) => blake3::hash(&std::fs::read(&path).unwrap()).to_string(),
                _ => String::new(),
            };
            let time = (meta.mtime(), meta.mtime_nsec());
            into.push(format!("{:?} {:o} {time:?} {content}", path.strip_prefix(root).unwrap(), meta.mode()));
            if meta.is_dir() {
                look(&path, root, into);
            }
        }
    }
    let mut into = Vec::new();
    look(root, root, &mut into);
    into
}

/// The id of the workspace.
const ID: &str = "aaaaaaaaaa";
/// How long anything may take before a test says it hangs.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// A node's backups: one workspace, `shop`, and one destination, `there`.
pub(super) struct Bench {
    pub(super) directory: TempDir,
    pub(super) backups: Backups,
    pub(super) workspaces: watch::Sender<Vec<Workspace>>,
}

pub(super) fn bench(form: &str) -> Bench {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("shop");
    std::fs::create_dir_all(path.join("src")).unwrap();
    std::fs::write(path.join("src/a.js"), "console.log(1)\n".repeat(100)).unwrap();
    std::fs::write(path.join("README"), "read me").unwrap();
    let workspace = Workspace { id: ID.to_owned(), folder: "shop".to_owned(), path };
    let (workspaces, known) = watch::channel(vec![workspace]);
    let backups = node(&directory, "node1", "home", form, known);
    Bench { directory, backups, workspaces }
}

/// A node in this directory, with a home of its own.
pub(super) fn node(
    directory: &TempDir,
    name: &str,
    home: &str,
    form: &str,
    known: watch::Receiver<Vec<Workspace>>,
) -> Backups {
    node_by(directory, name, home, form, known, "never")
}

fn node_by(
    directory: &TempDir,
    name: &str,
    home: &str,
    form: &str,
    known: watch::Receiver<Vec<Workspace>>,
    schedule: &str,
) -> Backups {
    let home = Home::new(directory.path().join(home));
    let words = [("url", "there"), ("form", form)].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let description = Description {
        name: "there",
        words: &words.into(),
        home: directory.path(),
        schedule,
        zone: "UTC",
        keep: "last=3",
        credentials: None,
    };
    let settings = Settings {
        directory: directory.path().to_owned(),
        destinations: vec![description.read().unwrap()],
        selection: Selection::default(),
        quiet: Some(Duration::from_millis(50)),
        drill: Schedule::parse("0 4 * * 0", "UTC").unwrap(),
        patience: Patience::default(),
        passwords: Default::default(),
    };
    std::fs::create_dir_all(home.root()).unwrap();
    let store = Store::open(&home.database()).unwrap();
    Backups::new(settings, name.to_owned(), home, store, known, CancellationToken::new())
}

impl Bench {
    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) async fn run(&self) -> Outcome {
        let mut runs = self.backups.run(None, None).await.unwrap();
        assert_eq!(runs[0].failure, None, "{runs:?}");
        runs.remove(0).outcomes.remove(0)
    }

    /// Runs until the folder is old enough for its fingerprint to prove anything; the snapshot that is known then.
    async fn settle(&self) -> String {
        let began = Instant::now();
        let file = self.at("home/backup/known/there").join(format!("{ID}.json"));
        loop {
            let known: Option<known::Known> = note::load(&file);
            if let Some(known) = known.filter(|known| known.digest.is_some()) {
                return known.snapshot;
            }
            assert!(began.elapsed() < DEADLINE, "nothing is ever known");
            self.run().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
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

/// The node believes what it remembers of directories: they are not gone into, which shows where it remembers wrongly.
#[tokio::test(flavor = "multi_thread")]
async fn directories_that_are_as_they_were_are_not_gone_into() {
    let bench = bench("incremental");
    let first = bench.settle().await;
    let old = std::fs::read(bench.at("shop/src/a.js")).unwrap();
    std::fs::write(bench.at("shop/src/a.js"), "changed").unwrap();
    bench.run().await;
    bench.settle().await;
    let file = bench.at("home/backup/known/there").join(format!("{ID}.json"));
    let known: known::Known = note::load(&file).unwrap();
    note::save(&file, &known::Known { snapshot: first, ..known }).unwrap();
    std::fs::write(bench.at("shop/README"), "changed").unwrap();
    let outcome = bench.run().await;
    let saved = outcome.saved.unwrap();
    assert_eq!((saved.new, saved.changed), (0, 1));
    assert_eq!((outcome.report.files, outcome.report.directories), (2, 1), "but it was looked at");
    let request = recover::Request {
        folder: "shop".to_owned(),
        to: Some("back".to_owned()),
        ..recover::Request::default()
    };
    bench.backups.restore(request).await.unwrap();
    assert_eq!(std::fs::read(bench.at("back/README")).unwrap(), b"changed");
    assert!(std::fs::read(bench.at("back/src/a.js")).unwrap() == old);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_is_run_passed_over_restored_and_proved_like_any_other() {
    let bench = bench("mirror");
    let first = bench.settle().await;
    let again = bench.run().await;
    assert_eq!(again.saved.unwrap().since.as_ref(), Some(&first));
    let before = picture(&bench.at("shop"));
    std::fs::write(bench.at("shop/README"), "changed").unwrap();
    let changed = bench.run().await.saved.unwrap();
    assert_eq!((changed.new, changed.changed, changed.since), (0, 1, None));
    let snapshots = bench.backups.snapshots("there").await.unwrap();
    let ids: Vec<_> = snapshots.iter().map(|one| one.id.clone()).collect();
    assert_eq!(ids, [first.clone(), changed.snapshot.unwrap()]);
    let request = |to: &str, snapshot: Option<String>, dry_run: bool| recover::Request {
        folder: "shop".to_owned(),
        to: Some(to.to_owned()),
        snapshot,
        dry_run,
        ..recover::Request::default()
    };
    let plan = bench.backups.restore(request("then", Some(first.clone()), true)).await.unwrap();
    assert_eq!((plan.added, bench.at("then").exists()), (3, false));
    let done = bench.backups.restore(request("then", Some(first), false)).await.unwrap();
    assert_eq!((done.added, done.failed.total), (3, 0));
    assert_eq!(picture(&bench.at("then")), before);
    let some = recover::Request { paths: vec!["README".to_owned()], ..request("now", None, false) };
    assert_eq!(bench.backups.restore(some).await.unwrap().added, 1);
    assert_eq!(std::fs::read_to_string(bench.at("now/README")).unwrap(), "changed");
    assert_eq!(bench.backups.verify("there", true).await.unwrap(), [""; 0]);
    assert!(matches!(bench.backups.recovery("there").await, Err(Error::Mirror { .. })));
    // Over what is there already nothing is fetched, and what is damaged is found.
    remove(&bench.at("there/files/node1/shop/src/a.js"));
    let merge = recover::Request { mode: recover::Mode::Merge, ..request("shop", None, false) };
    let merged = bench.backups.restore(merge).await.unwrap();
    assert_eq!((merged.left, merged.added, merged.failed.total), (3, 0, 0));
    let found = bench.backups.verify("there", false).await.unwrap();
    assert!(found.len() == 1 && found[0].contains("`src/a.js`"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_is_looked_into_compared_and_forgotten_like_any_other() {
    let bench = bench("mirror");
    let backups = &bench.backups;
    let id = |outcome: Outcome| outcome.saved.unwrap().snapshot.unwrap();
    let first = id(bench.run().await);
    std::fs::write(bench.at("shop/README"), "changed").unwrap();
    std::fs::write(bench.at("shop/new"), "").unwrap();
    let second = id(bench.run().await);
    std::fs::remove_file(bench.at("shop/src/a.js")).unwrap();
    let third = id(bench.run().await);

    let paths = |contents: inspect::Contents| {
        let text = |thing: &Wanted| thing.path.to_string_lossy().into_owned();
        contents.listed.iter().map(text).collect::<Vec<_>>()
    };
    let all = backups.contents("there", &first[..8], None).await.unwrap();
    assert_eq!((all.total, paths(all)), (3, vec!["README".to_owned(), "src".into(), "src/a.js".into()]));
    let below = backups.contents("there", &first, Some("/src/")).await.unwrap();
    assert_eq!(paths(below), ["src", "src/a.js"]);
    let missing = backups.contents("there", &third, Some("src/a.js")).await;
    assert!(matches!(missing, Err(Error::NoPath { .. })));
    let differs = backups.difference("there", &first, &third).await.unwrap();
    let expected: [(std::ffi::OsString, Change); 3] = [
        ("README".into(), Change::Changed),
        ("new".into(), Change::Added),
        ("src/a.js".into(), Change::Removed),
    ];
    assert_eq!((differs.listed.as_slice(), differs.total), (expected.as_slice(), 3));

    for alone in [vec![third.clone()], vec![first.clone(), third.clone()]] {
        let refused = backups.forget("there", &alone, true).await;
        assert!(matches!(refused, Err(Error::Newest { ref id, .. }) if *id == third), "{refused:?}");
    }
    let listed = async || {
        let all = backups.snapshots("there").await.unwrap();
        all.into_iter().map(|one| one.id).collect::<Vec<_>>()
    };
    assert_eq!(backups.forget("there", std::slice::from_ref(&first), true).await.unwrap().len(), 1);
    assert_eq!(listed().await, [first.clone(), second.clone(), third.clone()], "it was only asked");
    backups.forget("there", std::slice::from_ref(&first), false).await.unwrap();
    assert_eq!(listed().await, [second.clone(), third]);
    let replaced = |part: &str| {
        let stamps = std::fs::read_dir(bench.at("there/replaced/node1/shop")).unwrap();
        stamps.filter(|stamp| stamp.as_ref().unwrap().path().join(part).exists()).count()
    };
    assert_eq!((replaced("README"), replaced("src/a.js")), (0, 1), "what the second needs is still there");
    assert_eq!(backups.verify("there", true).await.unwrap(), [""; 0]);
    let request = recover::Request {
        folder: "shop".to_owned(),
        to: Some("then".to_owned()),
        snapshot: Some(second),
        ..recover::Request::default()
    };
    assert_eq!(backups.restore(request).await.unwrap().failed.total, 0);
    assert_eq!(std::fs::read_to_string(bench.at("then/src/a.js")).unwrap(), "console.log(1)\n".repeat(100));

    let password = Sealed::new("x".to_owned());
    assert!(matches!(backups.adopt("there", password).await, Err(Error::Mirror { .. })));
    assert!(matches!(backups.repair("there").await, Err(Error::Mirror { .. })));
    assert!(matches!(backups.unlock("there", true, false).await, Err(Error::Mirror { .. })));
}

async fn makes_equal(form: &str) {
    let bench = bench(form);
    let write = |path: &str, text: &str| {
        std::fs::create_dir_all(bench.at(path).parent().unwrap()).unwrap();
        std::fs::write(bench.at(path), text).unwrap();
    };
    write("shop/config", "a file");
    write("shop/data/one", "in a directory");
    bench.run().await;
    let before = picture(&bench.at("shop"));
    std::fs::write(bench.at("shop/README"), "changed").unwrap();
    write("shop/new/deep/a", "new");
    std::os::unix::fs::symlink("README", bench.at("shop/link")).unwrap();
    // What no backup takes is none of its business.
    write("shop/node_modules/x.js", "x");
    write("shop/kept/node_modules/y.js", "y");
    write("shop/kept/z", "z");
    // A directory where a file was, and the other way round.
    remove(&bench.at("shop/config"));
    write("shop/config/x", "x");
    std::fs::remove_dir_all(bench.at("shop/data")).unwrap();
    write("shop/data", "a file now");
    let changed = picture(&bench.at("shop"));
    let request = |dry_run: bool, paths: &[&str]| recover::Request {
        folder: "shop".to_owned(),
        mode: recover::Mode::Mirror,
        paths: paths.iter().map(ToString::to_string).collect(),
        dry_run,
        ..recover::Request::default()
    };
    let names = |named: &walk::Named| {
        let mut names: Vec<_> = named.listed.iter().map(|(path, _)| path.clone()).collect();
        names.sort();
        names
    };
    let all = ["config/x", "data", "kept/z", "link", "new/deep/a"];
    let plan = bench.backups.restore(request(true, &[])).await.unwrap();
    assert_eq!((names(&plan.removed), plan.failed.total), (all.map(str::to_owned).to_vec(), 0), "{plan:?}");
    assert_eq!(picture(&bench.at("shop")), changed, "it was only asked");
    let part = bench.backups.restore(request(false, &["new", "src"])).await.unwrap();
    assert_eq!(names(&part.removed), ["new/deep/a"]);
    assert_eq!(std::fs::read_to_string(part.aside.unwrap().join("new/deep/a")).unwrap(), "new");
    let done = bench.backups.restore(request(false, &[])).await.unwrap();
    assert_eq!(
        (names(&done.removed), done.failed.total),
        (all[..4].iter().map(ToString::to_string).collect(), 0)
    );
    let aside = done.aside.unwrap();
    for (path, text) in [("config/x", "x"), ("data", "a file now"), ("kept/z", "z"), ("README", "changed")] {
        assert_eq!(std::fs::read_to_string(aside.join(path)).unwrap(), text, "{path}");
    }
    assert_eq!(std::fs::read_link(aside.join("link")).unwrap(), Path::new("README"));
    assert!(bench.at("shop/node_modules/x.js").exists());
    assert!(bench.at("shop/kept/node_modules/y.js").exists());
    std::fs::remove_dir_all(bench.at("shop/kept")).unwrap();
    let contents =
        |lines: Vec<String>| lines.into_iter().filter(|line| !line.ends_with(' ')).collect::<Vec<_>>();
    assert_eq!(contents(picture(&bench.at("shop"))), contents(before), "all but the times of directories");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_becomes_equal_to_a_snapshot_and_what_goes_is_kept() {
    makes_equal("incremental").await;
    makes_equal("mirror").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_keeps_what_the_rules_say_and_holds_a_mass_of_losses() {
    let bench = bench("mirror");
    (0..30).for_each(|number| std::fs::write(bench.at(&format!("shop/{number}")), "x").unwrap());
    for version in 0..6 {
        std::fs::write(bench.at("shop/README"), format!("version {version}")).unwrap();
        bench.run().await;
    }
    assert_eq!(bench.backups.snapshots("there").await.unwrap().len(), 3, "last=3");
    let replaced = std::fs::read_dir(bench.at("there/replaced/node1/shop")).unwrap().count();
    assert_eq!(replaced, 2, "and what those three need");
    (0..30).for_each(|number| remove(&bench.at(&format!("shop/{number}"))));
    let runs = bench.backups.run(None, None).await.unwrap();
    let failure = runs[0].outcomes[0].failure.as_deref().unwrap_or_default();
    let hint = "30 of 32 files are gone since the last run; if that is right, run `nexus backup run shop --accept-deletions`";
    assert_eq!(failure, hint);
    let runs = bench.backups.run_as(None, None, true).await.unwrap();
    assert_eq!(runs[0].outcomes[0].failure, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_brings_a_lost_node_back() {
    let bench = bench("mirror");
    let store = &bench.backups.inner().store;
    let record = |id: &str, folder: &str| Record {
        id: WorkspaceId::parse(id).unwrap(),
        desired: Desired::Stop,
        ..Record::new(folder, FolderIdentity { device: 1, inode: 2 }, jiff::Timestamp::UNIX_EPOCH)
    };
    store.save_workspace(&record(ID, "shop")).await.unwrap();
    std::fs::write(bench.at("home/config.yaml"), "backup: { git: true }\n").unwrap();
    let states = || std::fs::read_dir(bench.at("there/manifests/node1/.nexus")).unwrap().count();
    bench.backups.run(None, Some("shop")).await.unwrap();
    assert!(!bench.at("there/manifests/node1/.nexus").exists(), "one workspace is not the node");
    bench.run().await;
    bench.run().await;
    assert_eq!(states(), 1, "a quiet node adds nothing");
    remove(&bench.at("home/backup/known/there/state.json"));
    bench.run().await;
    assert_eq!(states(), 1, "and needs no short cut for that");
    store.save_workspace(&record("bbbbbbbbbb", "../outside")).await.unwrap();
    std::fs::write(bench.at("shop/README"), "changed").unwrap();
    bench.run().await;
    assert_eq!(states(), 2);
    assert_eq!(bench.backups.verify("there", true).await.unwrap(), [""; 0]);
    let snapshots = bench.backups.snapshots("there").await.unwrap();
    assert!(snapshots.iter().all(|one| one.folder == "shop"), "{snapshots:?}");

    let before = picture(&bench.at("shop"));
    std::fs::remove_dir_all(bench.at("shop")).unwrap();
    let (_none, known) = watch::channel(Vec::new());
    let other = node(&bench.directory, "node2", "new-home", "mirror", known);
    let newest = snapshots.last().unwrap();
    let back = Fate::Back { snapshot: newest.id.clone(), bytes: newest.bytes };
    let plan = other.rebuild(None, true).await.unwrap();
    let fate = |rebuilt: &rebuild::Rebuilt, folder: &str| {
        rebuilt.workspaces.iter().find(|(name, _)| name == folder).unwrap().1.clone()
    };
    assert_eq!((fate(&plan, "shop"), bench.at("shop").exists()), (back.clone(), false));
    let done = other.rebuild(None, false).await.unwrap();
    assert_eq!((done.node.as_str(), fate(&done, "shop")), ("node1", back));
    assert!(matches!(fate(&done, "../outside"), Fate::Failed(_)));
    assert_eq!(picture(&bench.at("shop")), before);
    let settings = std::fs::read_to_string(done.settings.unwrap()).unwrap();
    assert_eq!(settings, "backup: { git: true }\n");
    let rows = other.inner().store.workspaces().await.unwrap();
    let rows: Vec<_> = rows.into_iter().map(|row| (row.id, row.folder, row.desired)).collect();
    assert_eq!(rows, [(WorkspaceId::parse(ID).unwrap(), "shop".to_owned(), Desired::Stop)]);
    assert_eq!(fate(&other.rebuild(Some("there"), false).await.unwrap(), "shop"), Fate::There);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_edited_is_backed_up_once_it_has_been_left_alone() {
    let bench = bench("incremental");
    bench.run().await;
    let known = bench.workspaces.subscribe();
    // Its schedule says nothing for months.
    let node = node_by(&bench.directory, "node1", "home", "incremental", known, "0 0 1 1 *");
    let token = CancellationToken::new();
    let ((edits, edited), (_busy, busy)) = (watch::channel(None), watch::channel(false));
    let mut loops = TaskGroup::new("backups", &token);
    loops.spawn("follow", node.clone().follow_schedules(busy, edited, token.clone()));
    std::fs::write(bench.at("shop/README"), "edited").unwrap();
    edits.send_replace(Some(clock::now()));
    let mut statuses = node.statuses();
    let began = statuses.borrow()[0].past.succeeded;
    let saved = statuses.wait_for(|all| all[0].past.succeeded > began && all[0].running.is_none());
    tokio::time::timeout(DEADLINE, saved).await.expect("it is backed up by itself").unwrap();
    token.cancel();
    loops.close(DEADLINE).await;
    assert_eq!(node.snapshots("there").await.unwrap().len(), 2);
}

/// A server that takes connections and never says a word.
fn silent() -> (std::net::TcpListener, Place) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let secret = Sealed::new("secret".to_owned());
    let credentials = Some(Credentials { id: "id".to_owned(), secret, session: None });
    let (name, prefix, region) = ("b".to_owned(), String::new(), "us-east-1".to_owned());
    (listener, Place::Bucket(Bucket { name, prefix, endpoint: Some(endpoint), region, credentials }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_hangs_delays_no_other() {
    let bench = bench("incremental");
    let (_listener, place) = silent();
    let mut settings = bench.backups.inner().settings.clone();
    settings.destinations[0].schedule = Schedule::parse("0 0 1 1 *", "UTC").unwrap();
    let hangs = Destination { name: "hangs".to_owned(), place, ..settings.destinations[0].clone() };
    settings.destinations.insert(0, hangs);
    let home = Home::new(bench.at("other-home"));
    std::fs::create_dir_all(home.root()).unwrap();
    let (store, closing) = (Store::open(&home.database()).unwrap(), CancellationToken::new());
    let known = bench.workspaces.subscribe();
    let node = Backups::new(settings, "node1".to_owned(), home, store, known, closing.clone());
    let ((edits, edited), (_busy, busy)) = (watch::channel(None), watch::channel(false));
    let mut loops = TaskGroup::new("backups", &closing);
    loops.spawn("follow", node.clone().follow_schedules(busy, edited, closing.clone()));
    for number in 0..3 {
        std::fs::write(bench.at("shop/README"), format!("edit {number}")).unwrap();
        edits.send_replace(Some(clock::now()));
        let mut statuses = node.statuses();
        let began = statuses.borrow()[1].past.succeeded;
        let saved = statuses.wait_for(|all| all[1].past.succeeded > began && all[1].running.is_none());
        tokio::time::timeout(DEADLINE, saved).await.expect("it is backed up all the same").unwrap();
        assert!(node.statuses().borrow()[0].running.is_some(), "and the other one still hangs");
    }
    assert_eq!(node.snapshots("there").await.unwrap().len(), 3);
    let began = Instant::now();
    closing.cancel();
    loops.close(DEADLINE).await;
    assert!(began.elapsed() < DEADLINE / 2, "whoever closes the node waits for nobody who hangs");
}
