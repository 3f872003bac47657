//! On a real disk: a full one, and one where somebody plays with links.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use super::*;
use crate::disk::Folder;
use crate::disk::StageAt;
use crate::log::Paper;

struct Place {
    folder: Folder,
    versions: Versions<Paper>,
}

fn place(root: &Path, state: &Path) -> Place {
    let folder = Folder::open(root, StageAt::Inside, &state.join("kept")).unwrap();
    let paper = Paper::open(&state.join("versions.log")).unwrap();
    let versions = Versions::open(&folder, paper, Side::Beta, Limits::default()).unwrap();
    Place { folder, versions }
}

impl Place {
    fn apply(&mut self, local: &Tree, transitions: &[Transition]) -> Vec<Outcome> {
        let lost = BTreeSet::new();
        apply(
            &self.folder,
            &mut self.versions,
            local,
            &Batch { id: 1, transitions, lost: &lost, raw_links: false },
            &mut BTreeMap::new(),
        )
    }
}

#[test]
fn a_batch_is_made_true_on_a_real_disk() {
    let base = tempfile::tempdir().unwrap();
    let (root, state) = (base.path().join("root"), base.path().join("state"));
    std::fs::create_dir_all(root.join("d/sub")).unwrap();
    std::fs::create_dir(&state).unwrap();
    for (at, content) in [("edit", "one"), ("d/sub/x", "x"), ("from", "moved")] {
        std::fs::write(root.join(at), content).unwrap();
    }
    let mut place = place(&root, &state);
    let local = scan(&place.folder, &untracked);
    let old = |at: &str| local.get(Some(&path(at))).cloned();
    let transitions: Vec<_> = [
        ("edit", Some(file("two"))),
        ("d", None),
        ("from", None),
        ("new", Some(directory([("to", file("moved")), ("l", link("../edit"))]))),
    ]
    .into_iter()
    .map(|(at, new)| Transition { path: Some(path(at)), old: old(at), new })
    .collect();
    stage(&place.folder, 1, b"two");
    assert_eq!(problems(&place.apply(&local, &transitions)), [""; 0]);
    place.folder.sync().unwrap();
    place.versions.sync().unwrap();
    assert_eq!(std::fs::read(root.join("edit")).unwrap(), b"two");
    assert_eq!(std::fs::read(root.join("new/to")).unwrap(), b"moved");
    assert_eq!(std::fs::read(root.join("new/l")).unwrap(), b"two");
    assert!(!root.join("d").exists() && !root.join("from").exists());
    let paths: Vec<_> = place.versions.all().filter_map(|version| version.path.clone()).collect();
    assert_eq!(paths, [path("d/sub/x"), path("from"), path("edit")]);
    let id = place.versions.undo_path(&path("edit"))[0];
    restore(&place.folder, &mut place.versions, id, 2).unwrap();
    assert_eq!(std::fs::read(root.join("edit")).unwrap(), b"one");
    drop(place);
    assert!(!root.join(".nexus-stage").exists());
}

/// A small file system of its own; nothing where the test may not mount.
struct Small(tempfile::TempDir);

impl Small {
    fn mount() -> Option<Self> {
        let place = tempfile::tempdir().unwrap();
        let done = std::process::Command::new("/bin/mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(place.path())
            .output();
        done.is_ok_and(|done| done.status.success()).then_some(Self(place))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let done = std::process::Command::new("/bin/umount").arg(self.0.path()).status();
        assert!(done.is_ok_and(|done| done.success()));
    }
}

#[test]
fn a_full_disk_keeps_what_was_there_and_goes_on_when_there_is_room() {
    // The simulated disk is filled elsewhere.
    let Some(small) = Small::mount() else { return };
    let state = tempfile::tempdir().unwrap();
    let root = small.0.path().join("root");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("old"), "old").unwrap();
    std::fs::write(small.0.path().join("ballast"), vec![1; 700 << 10]).unwrap();
    let mut place = place(&root, state.path());
    let local = scan(&place.folder, &untracked);
    let big = "b".repeat(500 << 10);
    let write = |place: &Place| {
        let mut writer = place.folder.stage(1).unwrap();
        writer
            .write_all(big.as_bytes())
            .and_then(|()| place.folder.finish(writer, Slot::Whole(digest(big.as_bytes()))))
    };
    assert_eq!(Problem::from(write(&place).unwrap_err()), Problem::Full);
    clear_staging(&place.folder, &place.versions, |_| false).unwrap();
    let old = local.get(Some(&path("old"))).cloned();
    let transitions = [Transition { path: Some(path("old")), old, new: Some(file(&big)) }];
    assert_eq!(problems(&place.apply(&local, &transitions)), ["Some(`old`): its content has not arrived"]);
    assert_eq!(std::fs::read(root.join("old")).unwrap(), b"old");

    std::fs::remove_file(small.0.path().join("ballast")).unwrap();
    write(&place).unwrap();
    assert_eq!(problems(&place.apply(&local, &transitions)), [""; 0]);
    assert_eq!(std::fs::read(root.join("old")).unwrap(), big.as_bytes());
    // The kept files are on another mount.
    place.versions.settle(&place.folder).unwrap();
    assert_eq!(std::fs::read_dir(state.path().join("kept")).unwrap().count(), 1);
    assert!(place.folder.slots().unwrap().iter().all(|slot| matches!(slot, Slot::Kept(_))));
}

#[test]
fn a_directory_that_turns_into_a_link_leads_nowhere() {
    let base = tempfile::tempdir().unwrap();
    let (root, state, outside) =
        (base.path().join("root"), base.path().join("state"), base.path().join("outside"));
    for directory in [&root, &state, &outside] {
        std::fs::create_dir(directory).unwrap();
    }
    std::fs::create_dir(root.join("way")).unwrap();
    for name in ["edit", "gone", "run"] {
        std::fs::write(outside.join(name), "canary").unwrap();
        std::fs::write(root.join("way").join(name), "canary").unwrap();
    }
    let look = || {
        let mut facts: Vec<_> = std::fs::read_dir(&outside)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let data = entry.metadata().unwrap();
                (
                    entry.file_name(),
                    data.permissions(),
                    data.modified().unwrap(),
                    std::fs::read(entry.path()).unwrap(),
                )
            })
            .collect();
        facts.sort_by(|one, other| one.0.cmp(&other.0));
        facts
    };
    let before = look();
    let mut place = place(&root, &state);
    let stop = AtomicBool::new(false);
    let applied = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                std::fs::rename(root.join("way"), root.join("aside")).ok();
                symlink(&outside, root.join("way")).ok();
                std::fs::remove_file(root.join("way")).ok();
                std::fs::rename(root.join("aside"), root.join("way")).ok();
            }
        });
        let mut applied = 0;
        for round in 0..400_u32 {
            let (one, two) = (format!("{round}"), format!("{round} too"));
            let now = |at: &str| scan_file(&place.folder, &path(at));
            let (edit, gone, run) = (now("way/edit"), now("way/gone"), now("way/run"));
            let run_after = run.clone().map(|item| match item {
                Item::File(file) => Item::File(File { executable: !file.executable, ..file }),
                other => other,
            });
            let gone_after = if gone.is_none() { Some(file(&two)) } else { None };
            let transitions: Vec<_> = [
                ("way/edit", edit, Some(file(&one))),
                ("way/gone", gone, gone_after),
                ("way/run", run, run_after),
                (&format!("way/new{round}"), None, Some(directory([]))),
            ]
            .into_iter()
            .map(|(at, old, new)| Transition { path: Some(path(at)), old, new })
            .collect();
            let way = transitions[..3].iter().filter_map(|transition| {
                let at = transition.path.as_ref()?;
                Some((at.name().into(), transition.old.clone()?))
            });
            let way = Item::Directory(Directory::from_children(way.collect()));
            let local = Tree::with_root(Some(directory([("way", way)])));
            stage(&place.folder, u64::from(round), one.as_bytes());
            stage(&place.folder, u64::from(round), two.as_bytes());
            let outcomes = place.apply(&local, &transitions);
            applied += outcomes.iter().filter(|outcome| outcome.problems.is_empty()).count();
        }
        stop.store(true, Ordering::Relaxed);
        applied
    });
    assert_eq!(look(), before);
    assert!(applied > 20, "{applied}");
}

fn scan_file(disk: &Folder, at: &RelPath) -> Option<Item> {
    let facts = disk.stat(at.into()).ok()??;
    let (digest, _) = content::read(disk, at.into(), &mut io::sink()).ok()?;
    Some(Item::File(File::new(facts.size, facts.executable(), digest)))
}
