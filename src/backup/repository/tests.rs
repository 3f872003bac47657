//! Snapshots come back byte for byte, also through restic itself; damage and foreign locks are said.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::process::Command;

use aes256ctr_poly1305aes::Nonce;
use aes256ctr_poly1305aes::aead::Aead as _;
use tempfile::TempDir;

use super::*;
use crate::backup::destination::Place;
use crate::backup::digest::Seen;
use crate::backup::known::Known;
use crate::backup::look::Look;
use crate::backup::objects::Patience;
use crate::backup::restore;
use crate::backup::restore::Action;
use crate::backup::restore::Target;
use crate::backup::snapshot::Reader as _;
use crate::backup::tests::counted::Counted;
use crate::backup::tests::picture;
use crate::backup::walk;
use crate::backup::walk::Report;
use crate::backup::walk::Selection;
use crate::backup::walk::Shared;
use crate::backup::walk::Walk;

struct Bench {
    directory: TempDir,
    access: Access,
}

fn bench() -> Bench {
    let directory = TempDir::new().unwrap();
    let place = Place::Folder(directory.path().join("repository"));
    let access = Access {
        objects: Objects::open(&place, &Patience::default()).unwrap(),
        keys: directory.path().join("keys/x.json"),
        cache: directory.path().join("cache"),
        runtime: Handle::current(),
        stop: CancellationToken::new(),
    };
    let folder = directory.path().join("shop");
    std::fs::create_dir_all(folder.join("src/deep/er")).unwrap();
    std::fs::write(folder.join("src/a.js"), "console.log(1)\n".repeat(1000)).unwrap();
    std::fs::write(folder.join("src/deep/er/empty"), "").unwrap();
    std::fs::write(folder.join("run.sh"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(folder.join("run.sh"), PermissionsExt::from_mode(0o750)).unwrap();
    std::fs::write(folder.join(OsString::from_vec(b"caf\xe9 \"q\" \\ \n".to_vec())), "odd").unwrap();
    symlink("src/a.js", folder.join("link")).unwrap();
    symlink("/nowhere", folder.join("dangling")).unwrap();
    let large: Vec<u8> =
        (0..6_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    std::fs::write(folder.join("large.bin"), large).unwrap();
    std::fs::create_dir(folder.join("node_modules")).unwrap();
    std::fs::write(folder.join("node_modules/x.js"), "x").unwrap();
    Bench { directory, access }
}

impl Bench {
    fn folder(&self) -> PathBuf {
        self.directory.path().join("shop")
    }

    fn save(&self, now: &str) -> Result<(Saved, Report), Trouble> {
        let writer = self.access.open_or_create(None)?.writer()?;
        let report = Shared::default();
        let walk = Walk::new(&self.folder(), &Selection::default(), Arc::clone(&report)).unwrap();
        let subject = Subject::workspace("shop", "ws1", "node1", now.parse().unwrap());
        let (saved, _) = writer.save(&subject, walk, Arc::clone(&report), Arc::default())?;
        let report = walk::lock(&report).clone();
        Ok((saved, report))
    }

    fn restore(&self, snapshot: &Snapshot, to: &Path) -> Vec<Trouble> {
        std::fs::create_dir_all(to).unwrap();
        let reader = self.access.open().unwrap().unwrap().reader().unwrap();
        let target = Target::open(to, to.with_extension("aside")).unwrap();
        let mut bad = Vec::new();
        let mut each = |entry: Result<(restore::Wanted, Content), Trouble>| {
            let (wanted, content) = entry.unwrap();
            let (path, action) = target.look(&wanted).unwrap();
            if action != Action::Leave {
                let write = |file: &mut std::fs::File| reader.content(content, file).map_err(Failed);
                bad.extend(target.put(&path, &wanted, action, write).err().map(|failed| failed.0));
            }
        };
        reader.entries(snapshot, &|_| true, &mut each).unwrap();
        target.close(None).unwrap();
        bad
    }
}

struct Failed(Trouble);

impl From<restore::Error> for Failed {
    fn from(error: restore::Error) -> Self {
        Self(Trouble::new(Cause::Other, "restore", error.to_string()))
    }
}

/// Runs what blocks where it may.
async fn blocking<T: Send + 'static>(work: impl FnOnce(Bench) -> T + Send + 'static) -> T {
    let bench = bench();
    tokio::task::spawn_blocking(move || work(bench)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_comes_back_byte_for_byte() {
    blocking(|bench| {
        let before = picture(&bench.folder());
        let (saved, report) = bench.save("2026-01-01T12:00:00Z").unwrap();
        assert_eq!((report.files, report.links, report.unreadable.total), (5, 2, 0), "{report:?}");
        assert!(saved.new == 7 && saved.stored > 500_000, "{saved:?}");
        std::fs::write(bench.folder().join("src/a.js"), "changed").unwrap();
        let (again, _) = bench.save("2026-01-01T13:00:00Z").unwrap();
        assert_eq!((again.new, again.changed), (0, 1));
        assert!(again.stored < 10_000, "only what changed is stored: {again:?}");
        let (nothing, _) = bench.save("2026-01-01T14:00:00Z").unwrap();
        assert_eq!((nothing.snapshot, nothing.changed, nothing.since), (None, 0, again.snapshot));
        let snapshots = bench.access.open().unwrap().unwrap().snapshots().unwrap();
        assert_eq!(snapshots.len(), 2, "no change is no snapshot");
        assert_eq!(saved.snapshot.as_deref(), Some(snapshots[0].id.as_str()));
        assert_eq!((snapshots[0].folder.as_str(), snapshots[0].workspace.as_deref()), ("shop", Some("ws1")));
        let to = bench.directory.path().join("back");
        assert_eq!(bench.restore(&snapshots[0], &to), []);
        assert_eq!(picture(&to), before);
        assert!(bench.access.open().unwrap().unwrap().check(true).unwrap().is_empty());
        bench.access.open().unwrap().unwrap().forget(&[snapshots[0].id.clone()]).unwrap();
        assert_eq!(bench.access.open().unwrap().unwrap().snapshots().unwrap().len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restic_itself_lists_checks_and_restores_it() {
    blocking(|bench| {
        bench.save("2026-01-01T12:00:00Z").unwrap();
        let password = bench.access.load().unwrap().unwrap().password;
        let back = bench.directory.path().join("restic");
        let run = |arguments: &[&str]| {
            let output = Command::new("restic")
                .args(["--no-cache", "--repo"])
                .arg(bench.directory.path().join("repository"))
                .args(arguments)
                .env_clear()
                .env("PATH", "/usr/bin:/bin")
                .env("RESTIC_PASSWORD", password.reveal())
                .output()
                .expect("restic is installed: scripts/test does it");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        assert!(run(&["snapshots"]).contains("/workspaces/shop"));
        run(&["check", "--read-data"]);
        run(&["restore", "latest", "--target", back.to_str().unwrap()]);
        assert_eq!(picture(&back.join("workspaces/shop")), picture(&bench.folder()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_pack_costs_its_files_and_no_others() {
    blocking(|bench| {
        bench.save("2026-01-01T12:00:00Z").unwrap();
        let data = bench.directory.path().join("repository/data");
        let mut packs: Vec<PathBuf> = std::fs::read_dir(&data)
            .unwrap()
            .flat_map(|entry| std::fs::read_dir(entry.unwrap().path()).unwrap())
            .map(|entry| entry.unwrap().path())
            .collect();
        packs.sort_by_key(|path| std::cmp::Reverse(std::fs::metadata(path).unwrap().len()));
        let mut bytes = std::fs::read(&packs[0]).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&packs[0], bytes).unwrap();
        let snapshot = bench.access.open().unwrap().unwrap().snapshots().unwrap().remove(0);
        let to = bench.directory.path().join("back");
        let bad = bench.restore(&snapshot, &to);
        assert_eq!(bad.iter().map(|trouble| trouble.cause).collect::<Vec<_>>(), [Cause::Damaged], "{bad:?}");
        assert!(to.join("src/a.js").exists() && !to.join("large.bin").exists());
        assert!(!bench.access.open().unwrap().unwrap().check(true).unwrap().is_empty());
    })
    .await;
}

/// Bytes that nothing packs, different for each number.
fn noise(number: u32, length: usize) -> Vec<u8> {
    let mut reader = blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof();
    let mut bytes = vec![0; length];
    reader.fill(&mut bytes);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_together_is_lost_apart() {
    blocking(|bench| {
        let folder = bench.folder();
        std::fs::remove_file(folder.join("large.bin")).unwrap();
        let files: Vec<String> = (0..40).map(|number| format!("f{number:02}")).collect();
        for (number, file) in files.iter().enumerate() {
            std::fs::write(folder.join(file), noise(number as u32, 20_000)).unwrap();
        }
        bench.save("2026-01-01T12:00:00Z").unwrap();
        let pack = stored(&bench, "data").remove(0);
        // It lies in a pack of its own.
        std::fs::write(folder.join("later"), noise(99, 20_000)).unwrap();
        bench.save("2026-01-01T13:00:00Z").unwrap();
        let snapshot = bench.access.open().unwrap().unwrap().snapshots().unwrap().remove(1);
        let whole = std::fs::read(&pack).unwrap();
        let half = whole.len() / 2;
        let mut flipped = whole.clone();
        flipped[half] ^= 1;
        let lost = |pack_is: Option<&[u8]>, to: &str| {
            match pack_is {
                Some(bytes) => std::fs::write(&pack, bytes).unwrap(),
                None => std::fs::remove_file(&pack).unwrap(),
            }
            let to = bench.directory.path().join(to);
            let bad = bench.restore(&snapshot, &to);
            assert_eq!(std::fs::read(to.join("later")).unwrap(), noise(99, 20_000), "{bad:?}");
            assert!(to.join("src/deep/er/empty").exists() && to.join("link").is_symlink());
            let there: Vec<_> = files.iter().filter(|file| to.join(file).exists()).collect();
            for file in &there {
                assert_eq!(std::fs::read(to.join(file)).unwrap(), std::fs::read(folder.join(file)).unwrap());
            }
            let left = std::fs::read_dir(&to).unwrap().count();
            assert!(left <= std::fs::read_dir(&folder).unwrap().count(), "nothing half written is left");
            (files.len() - there.len(), bad)
        };
        let (files_lost, bad) = lost(Some(&flipped), "flipped");
        assert_eq!((files_lost, bad.len(), bad[0].cause), (1, 1, Cause::Damaged), "{bad:?}");
        let (files_lost, bad) = lost(Some(&whole[..half]), "cut");
        assert!((15..=25).contains(&files_lost) && bad.len() >= files_lost, "{files_lost} {bad:?}");
        let (files_lost, bad) = lost(None, "gone");
        assert_eq!(files_lost, files.len(), "{bad:?}");
        assert!(bad.iter().all(|trouble| trouble.cause == Cause::Missing), "{bad:?}");
        assert_eq!(lost(Some(&whole), "whole"), (0, vec![]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_files_cost_few_requests() {
    blocking(|mut bench| {
        std::fs::remove_file(bench.folder().join("large.bin")).unwrap();
        for number in 0..300 {
            std::fs::write(bench.folder().join(format!("f{number}")), noise(number, 3_000)).unwrap();
        }
        bench.save("2026-01-01T12:00:00Z").unwrap();
        let snapshot = bench.access.open().unwrap().unwrap().snapshots().unwrap().remove(0);
        let counted = Counted::default();
        bench.access.objects = bench.access.objects.through(|store| counted.over(store));
        assert_eq!(bench.restore(&snapshot, &bench.directory.path().join("back")), []);
        assert_eq!(picture(&bench.directory.path().join("back")), picture(&bench.folder()));
        assert!(counted.requests() <= 10, "{}", counted.requests());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_made_elsewhere_opens_with_its_password_alone() {
    blocking(|mut bench| {
        bench.save("2026-01-01T12:00:00Z").unwrap();
        let password = bench.access.load().unwrap().unwrap().password;
        bench.access.keys = bench.directory.path().join("other/x.json");
        assert_eq!(bench.access.open().err().unwrap().cause, Cause::WrongKey);
        assert_eq!(bench.access.adopt(Sealed::new("wrong".to_owned())).err().unwrap().cause, Cause::WrongKey);
        assert!(bench.access.load().unwrap().is_none(), "a wrong password is not kept");
        assert_eq!(bench.access.adopt(password).unwrap().snapshots().unwrap().len(), 1);
        assert!(bench.access.open().unwrap().is_some());
    })
    .await;
}

/// The files of a kind, the largest first.
fn stored(bench: &Bench, kind: &str) -> Vec<PathBuf> {
    fn walk(path: &Path, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, into) } else { into.push(path) }
        }
    }
    let mut all = Vec::new();
    walk(&bench.directory.path().join("repository").join(kind), &mut all);
    all.sort_by_key(|path| std::cmp::Reverse(std::fs::metadata(path).unwrap().len()));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_damaged_or_lost_is_made_again_from_the_packs() {
    blocking(|bench| {
        bench.save("2026-01-01T12:00:00Z").unwrap();
        let before = picture(&bench.folder());
        let open = || bench.access.open().unwrap().unwrap();
        for number in 0..2 {
            for path in stored(&bench, "index") {
                let mut bytes = std::fs::read(&path).unwrap();
                if number == 0 {
                    bytes[20] ^= 1;
                    std::fs::write(&path, bytes).unwrap();
                } else {
                    std::fs::remove_file(&path).unwrap();
                }
            }
            std::fs::remove_dir_all(bench.directory.path().join("cache")).ok();
            assert!(open().reader().is_err() || !open().check(false).is_ok_and(|found| found.is_empty()));
            open().repair_index().unwrap();
            assert_eq!(open().check(true).unwrap(), Vec::<String>::new());
            let to = bench.directory.path().join(format!("back-{number}"));
            assert_eq!(bench.restore(&open().snapshots().unwrap()[0], &to), []);
            assert_eq!(picture(&to), before);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_of_a_newer_version_is_left_alone() {
    blocking(|bench| {
        let master = bench.access.open_or_create(None).unwrap().master();
        let path = bench.directory.path().join("repository/config");
        let bytes = std::fs::read(&path).unwrap();
        let cipher = lock::cipher(&master).unwrap();
        let (nonce, sealed) = bytes.split_at(16);
        let text = cipher.decrypt(Nonce::from_slice(nonce), sealed).unwrap();
        let text = String::from_utf8(text).unwrap().replace("\"version\":2", "\"version\":3");
        let sealed = cipher.encrypt(Nonce::from_slice(nonce), text.as_bytes()).unwrap();
        std::fs::write(&path, [nonce, &sealed].concat()).unwrap();
        let refused = bench.access.open().err().unwrap();
        assert_eq!(refused.cause, Cause::Foreign);
        assert!(refused.detail.contains("version `3` not supported"), "{refused}");
        assert_eq!(bench.save("2026-01-01T12:00:00Z").unwrap_err().cause, Cause::Foreign);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_was_half_made_is_made_anew() {
    blocking(|mut bench| {
        bench.access.open_or_create(None).unwrap();
        // As somebody leaves it who is stopped between the two.
        std::fs::remove_file(bench.directory.path().join("repository/config")).unwrap();
        bench.save("2026-01-01T12:00:00Z").unwrap();
        let password = bench.access.load().unwrap().unwrap().password;
        let keys = std::fs::read_dir(bench.directory.path().join("repository/keys")).unwrap().count();
        assert_eq!(keys, 1, "one that opens nothing is in the way of the one that does");
        bench.access.keys = bench.directory.path().join("other/x.json");
        assert_eq!(bench.access.adopt(password).unwrap().snapshots().unwrap().len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_stopped_lists_nothing() {
    blocking(|bench| {
        bench.save("2026-01-01T12:00:00Z").unwrap();
        std::fs::write(bench.folder().join("src/new"), "n").unwrap();
        let access = Access { stop: CancellationToken::new(), ..bench.access.clone() };
        let writer = access.open().unwrap().unwrap().writer().unwrap();
        let walk = Walk::new(&bench.folder(), &Selection::default(), Shared::default()).unwrap();
        access.stop.cancel();
        let subject = Subject::workspace("shop", "ws1", "node1", "2026-01-01T13:00:00Z".parse().unwrap());
        let stopped = writer.save(&subject, walk, Shared::default(), Arc::default()).unwrap_err();
        assert_eq!(stopped.cause, Cause::Stopped);
        assert_eq!(bench.access.open().unwrap().unwrap().snapshots().unwrap().len(), 1);
    })
    .await;
}

/// A look that finds everything old enough to prove something.
fn look(bench: &Bench, known: &Seen) -> Look {
    let later = clock::now().checked_add(jiff::SignedDuration::from_secs(60)).unwrap();
    let known = known.directories.iter().copied().collect();
    Look::take(&bench.folder(), &Selection::default(), &known, later).unwrap()
}

/// Saves all of the folder and says what is known then.
fn save_all(bench: &Bench, now: &str) -> Known {
    let seen = look(bench, &Seen::default()).seen;
    let writer = bench.access.open_or_create(None).unwrap().writer().unwrap();
    let report = Shared::default();
    let walk = Walk::new(&bench.folder(), &Selection::default(), Arc::clone(&report)).unwrap();
    let subject = Subject::workspace("shop", "ws1", "node1", now.parse().unwrap());
    let (saved, _) = writer.save(&subject, walk, report, Arc::default()).unwrap();
    known(&saved, seen, &writer)
}

fn known(saved: &Saved, seen: Seen, writer: &Writer) -> Known {
    let snapshot = saved.id().unwrap().to_owned();
    let Seen { digest, directories } = seen;
    let (folder, object) = ("shop".to_owned(), Access::key(&snapshot));
    Known { folder, digest, snapshot, object, directories, index: writer.index() }
}

/// Saves what has changed since; none when that is not to be gone on from.
fn save_since(bench: &Bench, since: &Known, now: &str) -> Option<(Saved, Known)> {
    let directories = since.directories.clone();
    let look = look(bench, &Seen { digest: None, directories });
    let writer = bench.access.open().unwrap().unwrap().writer().unwrap();
    let subject = Subject::workspace("shop", "ws1", "node1", now.parse().unwrap());
    let (saved, seen) = writer.save_since(&subject, look, since, Arc::default()).unwrap()?;
    let known = known(&saved, seen, &writer);
    Some((saved, known))
}

/// One change of a folder, any of many.
fn edit(folder: &Path, draw: &mut impl FnMut(usize) -> usize) {
    let directory = folder.join(format!("d{}/e{}", draw(5), draw(3)));
    let (file, other) = (directory.join(format!("f{}", draw(4))), directory.join("other"));
    match draw(7) {
        0 => drop(std::fs::remove_file(&file)),
        1 => drop(std::fs::remove_dir_all(&directory)),
        2 => drop(std::fs::rename(&directory, folder.join(format!("d{}/moved{}", draw(5), draw(100))))),
        3 => drop(std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o700 + draw(8) as u32))),
        4 => drop(symlink("nowhere", &other)),
        5 => std::fs::create_dir_all(directory.join(format!("empty{}", draw(3)))).unwrap(),
        _ => {
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(&file, noise(draw(1 << 20) as u32, draw(3000))).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_saved_since_another_snapshot_is_what_all_of_it_would_be() {
    blocking(|bench| {
        let mut seed =
            blake3::Hasher::new().update(&clock::now().as_nanosecond().to_le_bytes()).finalize_xof();
        let mut draw = move |below: usize| {
            let mut bytes = [0; 8];
            seed.fill(&mut bytes);
            (u64::from_le_bytes(bytes) % below as u64) as usize
        };
        for number in 0..5 * 3 * 4 {
            let directory = bench.folder().join(format!("d{}/e{}", number % 5, number / 5 % 3));
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join(format!("f{}", number / 15)), noise(number, 1000)).unwrap();
        }
        let mut since = save_all(&bench, "2026-01-01T12:00:00Z");
        for round in 1..=20 {
            for _ in 0..=draw(4) {
                edit(&bench.folder(), &mut draw);
            }
            let report = walk::lock(&look(&bench, &Seen::default()).report).clone();
            let (saved, known) =
                save_since(&bench, &since, &format!("2026-01-02T12:{round:02}:00Z")).unwrap();
            let (all, _) = bench.save(&format!("2026-01-03T12:{round:02}:00Z")).unwrap();
            let id = saved.id().unwrap();
            assert_eq!((all.snapshot, all.since.as_deref()), (None, Some(id)), "round {round}");
            let snapshots = bench.access.open().unwrap().unwrap().snapshots().unwrap();
            let newest = snapshots.iter().find(|one| one.id == id).unwrap();
            assert_eq!(
                (newest.files, newest.bytes),
                (report.files + report.links, report.bytes),
                "round {round}"
            );
            assert!(saved.new + saved.changed <= 30, "only what may have changed is gone through: {saved:?}");
            since = known;
        }
        assert_eq!(bench.access.open().unwrap().unwrap().check(true).unwrap(), Vec::<String>::new());
        let to = bench.directory.path().join("back");
        let newest = bench.access.open().unwrap().unwrap().snapshots().unwrap().pop().unwrap();
        assert_eq!(bench.restore(&newest, &to), []);
        assert_eq!(picture(&to), picture(&bench.folder()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_gone_on_from_that_may_miss_something() {
    blocking(|bench| {
        let since = save_all(&bench, "2026-01-01T12:00:00Z");
        let gone = Known { snapshot: "0".repeat(64), ..since.clone() };
        assert!(save_since(&bench, &gone, "2026-01-01T13:00:00Z").is_none(), "the snapshot is not there");
        let unknown = Known { index: Default::default(), ..since.clone() };
        assert!(save_since(&bench, &unknown, "2026-01-01T13:00:00Z").is_none(), "nothing was remembered");
        // As after a disk that lost something, and a repair.
        std::fs::remove_file(&stored(&bench, "data")[0]).unwrap();
        let open = || bench.access.open().unwrap().unwrap();
        open().repair_index().unwrap();
        assert_ne!(open().check(true).unwrap(), Vec::<String>::new());
        assert!(
            save_since(&bench, &since, "2026-01-01T13:00:00Z").is_none(),
            "a pack was taken out of the index"
        );
        // Everything is read again, and what was lost is stored again.
        let since = save_all(&bench, "2026-01-01T14:00:00Z");
        std::fs::write(bench.folder().join("run.sh"), "again").unwrap();
        let (saved, _) = save_since(&bench, &since, "2026-01-01T15:00:00Z").unwrap();
        assert_eq!((saved.new, saved.changed), (0, 1));
        assert_eq!(open().check(true).unwrap(), Vec::<String>::new());
    })
    .await;
}
