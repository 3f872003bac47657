//! What is mirrored comes back, from every moment, also after a run that ended anywhere; and nothing a destination says
//! leads out of the folder.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::name::Names;
use super::name::Stamp;
use super::read;
use super::run::Done;
use super::run::Mirror;
use super::run::NotSaved;
use super::run::Order;
use crate::backup::destination::Place;
use crate::backup::objects::Objects;
use crate::backup::objects::Patience;
use crate::backup::restore;
use crate::backup::restore::Action;
use crate::backup::restore::Target;
use crate::backup::restore::Wanted;
use crate::backup::snapshot::Reader as _;
use crate::backup::snapshot::Snapshot;
use crate::backup::tests::counted::Counted;
use crate::backup::tests::picture;
use crate::backup::trouble::Cause;
use crate::backup::trouble::Trouble;
use crate::backup::walk::Selection;
use crate::backup::walk::Shared;

struct Bench {
    directory: TempDir,
    objects: Objects,
    counted: Counted,
    mirror: Mirror,
    hour: std::cell::Cell<i64>,
}

/// Over objects in memory that are counted and can be told to fail.
fn bench() -> Bench {
    let counted = Counted::default();
    over(Objects::memory().through(|store| counted.over(store)), counted)
}

fn over(objects: Objects, counted: Counted) -> Bench {
    let directory = TempDir::new().unwrap();
    let mirror = Mirror {
        objects: objects.clone(),
        names: Names::new("node1", "shop"),
        runtime: Handle::current(),
        stop: CancellationToken::new(),
    };
    std::fs::create_dir(directory.path().join("shop")).unwrap();
    Bench { directory, objects, counted, mirror, hour: std::cell::Cell::new(0) }
}

impl Bench {
    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join("shop").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::create_dir_all(self.at(name).parent().unwrap()).unwrap();
        std::fs::write(self.at(name), text).unwrap();
    }

    fn fill(&self, files: usize) {
        (0..files).for_each(|number| self.write(&format!("src/{number:03}.js"), &format!("file {number}")));
    }

    fn order(&self, accept: bool) -> Order {
        // Each run an hour later than the one before, and all of them later than any file here was written.
        self.hour.set(self.hour.get() + 1);
        let now: Timestamp = "2100-01-01T00:00:00Z".parse().unwrap();
        Order {
            workspace: "ws1".to_owned(),
            path: self.at(""),
            selection: Selection::default(),
            report: Shared::default(),
            read: Arc::default(),
            now: now + jiff::SignedDuration::from_hours(self.hour.get()),
            marker: self.directory.path().join("marker"),
            accept,
        }
    }

    async fn save(&self) -> Result<Done, NotSaved> {
        self.mirror.save(&self.order(false)).await
    }

    /// Saves and counts the requests of it.
    async fn cost(&self) -> (Done, usize) {
        let before = self.counted.requests();
        let done = self.save().await.unwrap();
        (done, self.counted.requests() - before)
    }

    async fn snapshots(&self) -> Vec<Snapshot> {
        read::snapshots(&self.objects).await.unwrap()
    }

    /// What a snapshot brings back, and what of it fails.
    async fn restore(&self, snapshot: &Snapshot) -> (TempDir, Vec<String>) {
        let reader = read::Reader::open(self.mirror.clone()).await.unwrap();
        let snapshot = snapshot.clone();
        tokio::task::spawn_blocking(move || restore(&reader, &snapshot)).await.unwrap()
    }

    async fn assert_comes_back(&self, snapshot: &Snapshot, expect: &[String]) {
        let (to, bad) = self.restore(snapshot).await;
        assert_eq!(bad, [""; 0], "{snapshot:?}");
        assert_eq!(picture(&to.path().join("root")), expect, "{snapshot:?}");
    }

    async fn keys(&self, prefix: &str) -> Vec<String> {
        let mut keys: Vec<_> =
            self.objects.list(prefix).await.unwrap().into_iter().map(|one| one.key).collect();
        keys.sort();
        keys
    }
}

/// Restores into `root` of a new directory, beside which nothing may change.
fn restore(reader: &read::Reader, snapshot: &Snapshot) -> (TempDir, Vec<String>) {
    let directory = TempDir::new().unwrap();
    let root = directory.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let target = Target::open(&root, directory.path().join("aside")).unwrap();
    let mut bad = Vec::new();
    let mut each = |entry: Result<(Wanted, read::Content), Trouble>| {
        let (wanted, content) = match entry {
            Ok(entry) => entry,
            Err(trouble) => return bad.push(trouble.to_string()),
        };
        let done = target.look(&wanted).map_err(|error| error.to_string()).and_then(|(path, action)| {
            let write = |file: &mut File| {
                reader.content(content, file).map_err(|trouble| Failed(trouble.to_string()))
            };
            match action {
                Action::Add | Action::Replace => {
                    target.put(&path, &wanted, action, write).map_err(|failed| failed.0)
                }
                Action::InTheWay => Err("something is in the way".to_owned()),
                _ => Ok(()),
            }
        });
        bad.extend(done.err().map(|error| format!("{}: {error}", wanted.path.display())));
    };
    let folder =
        reader.entries(snapshot, &|_| true, &mut each).map_err(|trouble| bad.push(trouble.to_string()));
    target.close(folder.ok().as_ref()).unwrap();
    (directory, bad)
}

struct Failed(String);

impl From<restore::Error> for Failed {
    fn from(error: restore::Error) -> Self {
        Self(error.to_string())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_comes_back_as_it_was() {
    let directory = TempDir::new().unwrap();
    let place = Place::Folder(directory.path().join("there"));
    let plain = Objects::open_plain(&place, &Patience::default()).unwrap();
    for bench in [bench(), over(plain, Counted::default())] {
        bench.write("src/a.js", &"console.log(1)\n".repeat(1000));
        bench.write("src/deep/er/empty", "");
        bench.write("run.sh", "#!/bin/sh\n");
        bench.write("100% #1 \u{e9}/issue#12", "odd");
        bench.write("large.bin", &"0123456789abcdef".repeat(1_200_000));
        bench.write("node_modules/x.js", "left out");
        bench.write(&format!("{0}/{0}/{0}/{0}/{1}", "d".repeat(240), "x".repeat(255)), "long");
        std::fs::write(bench.at("").join(OsString::from_vec(b"caf\xe9 \"q\" \\ \n".to_vec())), "bytes")
            .unwrap();
        std::fs::set_permissions(bench.at("run.sh"), PermissionsExt::from_mode(0o750)).unwrap();
        std::fs::create_dir(bench.at("nothing")).unwrap();
        std::fs::set_permissions(bench.at("nothing"), PermissionsExt::from_mode(0o700)).unwrap();
        symlink("src/a.js", bench.at("link")).unwrap();
        symlink(OsString::from_vec(b"/no/caf\xe9%".to_vec()), bench.at("dangling")).unwrap();
        let before = picture(&bench.at(""));
        let saved = bench.save().await.unwrap().saved;
        assert_eq!((saved.new, saved.changed), (7, 0));
        assert_eq!(
            bench.objects.get("files/node1/shop/run.sh").await.unwrap(),
            "#!/bin/sh\n",
            "plain objects"
        );
        let snapshots = bench.snapshots().await;
        assert_eq!(snapshots.len(), 1);
        assert_eq!(Some(&snapshots[0].id), saved.snapshot.as_ref());
        assert_eq!((snapshots[0].host.as_str(), snapshots[0].folder.as_str()), ("node1", "shop"));
        assert_eq!((snapshots[0].files, snapshots[0].workspace.as_deref()), (7, Some("ws1")));
        bench.assert_comes_back(&snapshots[0], &before).await;
        assert_eq!(bench.mirror.check(true).await.unwrap(), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_moment_comes_back_and_each_run_costs_what_it_should() {
    let bench = bench();
    bench.fill(100);
    let mut pictures = vec![picture(&bench.at(""))];
    let (first, cost) = bench.cost().await;
    assert_eq!(first.saved.new, 100);
    assert!(cost <= 105, "{cost} requests for 100 files");
    let (nothing, cost) = bench.cost().await;
    assert_eq!((nothing.saved.snapshot, nothing.saved.since), (None, first.saved.snapshot));
    assert!(cost <= 3, "{cost} requests for nothing");
    let steps: [&dyn Fn(); 5] = [
        &|| {
            (0..10)
                .for_each(|number| bench.write(&format!("src/{number:03}.js"), &format!("changed {number}")))
        },
        &|| std::fs::remove_file(bench.at("src/000.js")).unwrap(),
        // A directory where a file was, and a file where a directory was.
        &|| {
            bench.write("src/000.js/inside", "i");
            bench.write("lib/x", "x");
        },
        &|| {
            std::fs::remove_dir_all(bench.at("src/000.js")).unwrap();
            std::fs::remove_dir_all(bench.at("lib")).unwrap();
            bench.write("src/000.js", "file 0");
            bench.write("lib", "a file");
        },
        &|| std::fs::set_permissions(bench.at("src/050.js"), PermissionsExt::from_mode(0o755)).unwrap(),
    ];
    for step in steps {
        step();
        pictures.push(picture(&bench.at("")));
        let (done, cost) = bench.cost().await;
        assert!(done.saved.snapshot.is_some());
        assert!(cost <= 10 * 3 + 4, "{cost}");
    }
    let snapshots = bench.snapshots().await;
    assert_eq!(snapshots.len(), pictures.len());
    for (snapshot, expect) in snapshots.iter().zip(&pictures) {
        bench.assert_comes_back(snapshot, expect).await;
    }
    assert_eq!(bench.mirror.check(true).await.unwrap(), [""; 0]);
    // The files as they are now are what any client sees.
    assert_eq!(bench.objects.get("files/node1/shop/lib").await.unwrap(), "a file");
    assert_eq!(bench.keys("files/node1/shop").await.len(), 101);
    // Three runs are dropped: what they alone needed goes, and all others come back.
    let stamps = bench.mirror.stamps().await.unwrap();
    let before = bench.keys("replaced").await.len();
    assert_eq!(bench.mirror.forget(&[stamps[0], stamps[2], stamps[3]]).await.unwrap(), 3);
    assert!(bench.keys("replaced").await.len() < before);
    let left = bench.snapshots().await;
    assert_eq!(left, [snapshots[1].clone(), snapshots[4].clone(), snapshots[5].clone()]);
    for (snapshot, expect) in left.iter().zip([&pictures[1], &pictures[4], &pictures[5]]) {
        bench.assert_comes_back(snapshot, expect).await;
    }
    let newest = *stamps.last().unwrap();
    bench.mirror.forget(&stamps).await.unwrap();
    assert_eq!(bench.mirror.stamps().await.unwrap(), [newest], "the newest is never forgotten");
    assert_eq!(bench.keys("replaced").await, [""; 0]);
    bench.assert_comes_back(&snapshots[5], &pictures[5]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_ends_anywhere_costs_no_snapshot_and_the_next_one_goes_on() {
    for ending in 0.. {
        let bench = bench();
        bench.fill(6);
        bench.write("gone", "g");
        bench.write("turn/inside", "t");
        let mut pictures = vec![picture(&bench.at(""))];
        bench.save().await.unwrap();
        bench.write("src/001.js", "changed");
        bench.write("new", "n");
        std::fs::remove_file(bench.at("gone")).unwrap();
        std::fs::remove_dir_all(bench.at("turn")).unwrap();
        bench.write("turn", "a file");
        bench.counted.fail_after(ending);
        let cut = bench.save().await;
        let ended = bench.counted.has_failed();
        bench.counted.fail_never();
        assert_eq!(cut.is_err(), ended, "{ending}: {cut:?}");
        let listed = bench.snapshots().await;
        if !ended {
            assert!(ending > 10, "a run of so few requests");
            return;
        }
        for (snapshot, expect) in listed.iter().zip(&pictures) {
            bench.assert_comes_back(snapshot, expect).await;
        }
        // In between things have changed once more, also what the run had written already.
        bench.write("src/001.js", "changed again");
        std::fs::remove_file(bench.at("new")).unwrap();
        bench.write("other", "o");
        bench.save().await.unwrap();
        pictures.truncate(listed.len());
        let snapshots = bench.snapshots().await;
        // The manifest itself may have been written by the run that was cut short.
        bench.assert_comes_back(snapshots.last().unwrap(), &picture(&bench.at(""))).await;
        for (snapshot, expect) in snapshots.iter().zip(&pictures) {
            bench.assert_comes_back(snapshot, expect).await;
        }
        assert_eq!(bench.mirror.check(true).await.unwrap(), [""; 0], "{ending}");
        let files = [
            "other",
            "src/000.js",
            "src/001.js",
            "src/002.js",
            "src/003.js",
            "src/004.js",
            "src/005.js",
            "turn",
        ];
        assert_eq!(bench.keys("files/node1/shop").await, files, "{ending}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_run_that_was_cut_short_does_not_begin_anew() {
    let bench = bench();
    bench.fill(50);
    bench.counted.fail_after(40);
    bench.save().await.unwrap_err();
    bench.counted.fail_never();
    let there = bench.keys("files/node1/shop").await.len();
    assert!(there > 5, "{there}");
    let done = bench.save().await.unwrap();
    assert_eq!(done.saved.new as usize, 50 - there);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mass_of_losses_is_held_until_a_person_says_yes() {
    let bench = bench();
    bench.fill(60);
    bench.save().await.unwrap();
    (0..40).for_each(|number| std::fs::remove_file(bench.at(&format!("src/{number:03}.js"))).unwrap());
    let held = bench.save().await.unwrap_err();
    assert!(matches!(held, NotSaved::Held { gone: 40, files: 60 }), "{held}");
    assert_eq!(bench.keys("files/node1/shop").await.len(), 60, "nothing was touched");
    bench.mirror.save(&bench.order(true)).await.unwrap();
    assert_eq!(bench.keys("files/node1/shop").await.len(), 20);
    assert_eq!(bench.keys("replaced").await.len(), 40, "and nothing is lost");
    std::fs::remove_dir_all(bench.at("src")).unwrap();
    assert!(matches!(bench.save().await.unwrap_err(), NotSaved::Empty));
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_costs_its_files_and_no_others() {
    let bench = bench();
    bench.fill(5);
    bench.save().await.unwrap();
    bench.write("src/000.js", "changed");
    bench.save().await.unwrap();
    let [old, new] = &bench.snapshots().await[..] else { panic!("two") };
    bench.objects.put("files/node1/shop/src/001.js", vec![Bytes::from_static(b"FILE 1")]).await.unwrap();
    bench.objects.put("files/node1/shop/src/002.js", vec![Bytes::from_static(b"short")]).await.unwrap();
    bench.objects.delete("files/node1/shop/src/003.js").await.unwrap();
    let replaced = bench.keys("replaced").await;
    bench.objects.delete(&format!("replaced/{}", replaced[0])).await.unwrap();
    let (to, bad) = bench.restore(new).await;
    assert_eq!(bad.len(), 3, "{bad:?}");
    assert_eq!(std::fs::read_to_string(to.path().join("root/src/004.js")).unwrap(), "file 4");
    assert!(!to.path().join("root/src/001.js").exists(), "what is damaged is not restored");
    assert_eq!(bench.restore(old).await.1.len(), 4);
    let sizes = bench.mirror.check(false).await.unwrap();
    assert_eq!(sizes.len(), 3, "{sizes:?}");
    let all = bench.mirror.check(true).await.unwrap();
    assert_eq!(all.len(), 4, "{all:?}");
    assert!(all.iter().any(|one| one.contains("`src/001.js`") && one.contains("content")), "{all:?}");
    // A manifest that is damaged hides no other, and the next run goes on without it.
    let stamps = bench.mirror.stamps().await.unwrap();
    bench.objects.put(&bench.mirror.names.manifest(stamps[1]), vec![Bytes::from_static(b"?")]).await.unwrap();
    assert_eq!(bench.snapshots().await, std::slice::from_ref(old));
    bench.save().await.unwrap();
    let newest = bench.snapshots().await.pop().unwrap();
    bench.assert_comes_back(&newest, &picture(&bench.at(""))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_version_is_left_alone() {
    let bench = bench();
    bench.fill(1);
    let stamp = Stamp::parse("20260115T103000.007Z").unwrap();
    let newer = zstd::encode_all("{\"version\":2,\"other\":true}\n".as_bytes(), 1).unwrap();
    bench.objects.put(&bench.mirror.names.manifest(stamp), vec![newer.into()]).await.unwrap();
    let refused = bench.save().await.unwrap_err();
    assert!(matches!(&refused, NotSaved::Trouble(trouble) if trouble.cause == Cause::Foreign), "{refused}");
    assert_eq!(bench.keys("files").await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_never_meet() {
    let bench = bench();
    bench.fill(3);
    bench.save().await.unwrap();
    let other = Mirror { names: Names::new("node2", "shop"), ..bench.mirror.clone() };
    let order = Order { marker: bench.directory.path().join("other"), ..bench.order(false) };
    assert_eq!(other.save(&order).await.unwrap().saved.new, 3);
    assert_eq!(bench.snapshots().await.len(), 2);
    assert_eq!(bench.save().await.unwrap().saved.snapshot, None);
}

/// Lines that no manifest of ours has. Each stands between a good file and another one.
fn hostile() -> Vec<Vec<String>> {
    let hash = blake3::hash(b"evil").to_hex().to_string();
    let file = |path: &str| {
        serde_json::json!({
            "path": path, "kind": "file", "mode": 0o104_777, "size": 4, "blake3": hash,
            "since": "20260115T103000.007Z", "inode": 1,
        })
        .to_string()
    };
    let link = |path: &str, target: &str| {
        serde_json::json!({ "path": path, "kind": "link", "mode": 0o777, "target": target }).to_string()
    };
    let directory =
        |path: &str| serde_json::json!({ "path": path, "kind": "directory", "mode": 0o777 }).to_string();
    let paths = [
        "",
        ".",
        "..",
        "/",
        "//",
        "../evil",
        "../../evil",
        "m/../../evil",
        "m/..",
        "/evil",
        "/etc/evil",
        "//evil",
        "./m",
        "m/.",
        "m/./n",
        "m//n",
        "m/",
        "m/../n",
        "...//..",
        "%2e%2e/evil",
        "%2E%2E/evil",
        "%2E%2E%2Fevil",
        "m%2F..%2F..%2Fevil",
        "%2Fevil",
        "m%00",
        "m%00/../evil",
        "\u{0}m",
        "m\u{0}n",
        "%",
        "%zz",
        "%4",
        "m%e9",
        "m#n",
        "m\nn",
        "m\\..\\..\\evil/..",
        "..\u{2f}evil",
        "\u{2e}\u{2e}/evil",
        "~/../../evil",
        "m/../../../../../../../../../../tmp/evil",
        "a",
    ];
    let mut cases: Vec<Vec<String>> = paths.iter().map(|path| vec![file(path)]).collect();
    cases.push(vec![file(&"m".repeat(300))]);
    cases.push(vec![file(&vec!["mm"; 1500].join("/"))]);
    cases.extend([
        vec![link("m", "../outside"), file("m/evil")],
        vec![link("m", "../outside"), directory("m/d")],
        vec![link("m", "../outside"), link("m/l", "x")],
        vec![link("m", "../outside/file"), file("m")],
        vec![link("m", "/"), file("m/tmp/evil")],
        vec![link("m", "."), file("m/../evil")],
        vec![link("m", ".."), file("m/evil")],
        vec![link("m", "n"), link("n", "../outside"), file("n/evil")],
        vec![directory("m"), link("m/up", "../.."), file("m/up/evil")],
        vec![directory("m"), link("m", "../outside"), file("m/evil")],
        vec![file("m"), file("m/evil")],
        vec![file("m"), file("m")],
        vec![link("m", "\u{0}x")],
        vec![link("m", "")],
        vec![file("n"), file("m")],
        vec![file("m").replace("\"file\"", "\"hardlink\"")],
        vec![file("m").replace("\"file\"", "\"device\"")],
        vec![file("m").replace(":4,", ":-4,")],
        vec![file("m").replace(":4,", ":99999999999999999999,")],
        vec![file("m").replace(":4,", ":5000000000000000000,")],
        vec![file("m").replace(&hash, "..")],
        vec![file("m").replace("20260115T103000.007Z", "../../../evil")],
        vec![format!("{}{}", file("m"), file("n"))],
        vec!["[]".to_owned()],
        vec!["\"m\"".to_owned()],
        vec!["x".repeat(100_000)],
    ]);
    cases
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_a_manifest_says_leads_out_of_the_folder() {
    let cases = hostile();
    assert!(cases.len() >= 60, "{}", cases.len());
    for lines in cases {
        let bench = bench();
        bench.fill(1);
        let stamp = bench.save().await.unwrap().stamps[0];
        let key = bench.mirror.names.manifest(stamp);
        let text = zstd::decode_all(&*bench.objects.get(&key).await.unwrap()).unwrap();
        let text = String::from_utf8(text).unwrap();
        let [first, src, good] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
        // Evil content lies at every key that a manifest may lead to.
        for part in ["m", "n", "evil", "m/evil", "a"] {
            bench
                .objects
                .put(&bench.mirror.names.file(part), vec![Bytes::from_static(b"evil")])
                .await
                .unwrap();
        }
        let first = first.replace("\"entries\":2", &format!("\"entries\":{}", 2 + lines.len()));
        let text = format!("{first}\n{src}\n{good}\n{}\n", lines.join("\n"));
        bench.objects.put(&key, vec![zstd::encode_all(text.as_bytes(), 1).unwrap().into()]).await.unwrap();
        let snapshot = bench.snapshots().await.remove(0);
        let reader = read::Reader::open(bench.mirror.clone()).await.unwrap();
        let (to, bad) = tokio::task::spawn_blocking(move || restore(&reader, &snapshot)).await.unwrap();
        assert!(!bad.is_empty(), "passed for good: {lines:?}");
        let mut beside: Vec<_> =
            std::fs::read_dir(to.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        beside.sort();
        assert_eq!(beside, ["root"], "{lines:?}");
        assert_eq!(std::fs::read(to.path().join("root/src/000.js")).unwrap(), b"file 0", "{lines:?}");
        for evil in ["/evil", "/tmp/evil", "/etc/evil"] {
            assert!(!Path::new(evil).exists(), "{lines:?}");
        }
        assert!(!bench.mirror.check(true).await.unwrap().is_empty(), "{lines:?}");
    }
}
