//! Looks at a real folder; what cannot be had there (errors, clocks, crashes) is in `faults`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::thread;

use rustix::fs::FileType;
use rustix::fs::Mode;

use super::*;
use crate::disk::Folder;
use crate::disk::StageAt;
use crate::rules;
use crate::tree::Keep;

/// A folder with a look at it.
struct Scene {
    base: tempfile::TempDir,
    disk: Folder,
    look: Look,
    clock: std::time::Instant,
}

impl Scene {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir(base.path().join("root")).unwrap();
        let staging = StageAt::Beside(base.path().join("staging"));
        let disk = Folder::open(&base.path().join("root"), staging, &base.path().join("kept")).unwrap();
        let look = Look::new(settings, Rules::new(rules::Settings::default()).unwrap());
        Self { base, disk, look, clock: std::time::Instant::now() }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.base.path().join("root").join(path)
    }

    fn write(&self, path: &str, content: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), content).unwrap();
    }

    fn full(&mut self) -> Seen {
        self.look.full(&self.disk, &mut (), self.clock.elapsed()).unwrap()
    }

    fn dirty(&mut self, dirty: Dirty) -> Seen {
        self.look.dirty(&self.disk, &mut (), dirty, self.clock.elapsed()).unwrap()
    }

    /// Looks until there is nothing left to look at again; what all of it has shown.
    fn settle(&mut self, mut dirty: Dirty) -> Vec<String> {
        let before = self.look.tree.clone();
        while let Some(again) = self.dirty(std::mem::take(&mut dirty)).again {
            thread::park_timeout(again.saturating_sub(self.clock.elapsed()));
        }
        said(&diff(&before, &self.look.tree))
    }

    fn item(&self, path: &str) -> Option<&Item> {
        self.look.tree.get(Some(&self::path(path)))
    }
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

fn names(directory: &str, names: &[&str]) -> Dirty {
    let mut dirty = Dirty::nowhere();
    for name in names {
        dirty.name((!directory.is_empty()).then(|| path(directory)), name.as_bytes().into());
    }
    dirty
}

fn part(directory: &str, part: Part) -> Dirty {
    let mut dirty = Dirty::nowhere();
    dirty.add((!directory.is_empty()).then(|| path(directory)), part);
    dirty
}

/// Changes in short.
fn said(changes: &[Change]) -> Vec<String> {
    let say = |change: &Change| {
        let path = change.path.as_ref().map_or(".".to_owned(), ToString::to_string);
        match &change.item {
            None => format!("-{path}"),
            Some(Item::Directory(directory)) => format!("+{path}/ {}", directory.count()),
            Some(Item::File(file)) => {
                format!("+{path} {}{}", file.size, if file.executable { "x" } else { "" })
            }
            Some(Item::Symlink(target)) => {
                format!("+{path} -> {}", String::from_utf8_lossy(target.as_bytes()))
            }
            Some(Item::Untracked(keep)) => format!("~{path} {keep:?}"),
            Some(Item::Problematic(why)) => format!("!{path} {why}"),
        }
    };
    changes.iter().map(say).collect()
}

fn make_pipe(path: &Path) {
    rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}

#[test]
fn a_first_look_shows_everything_and_the_next_one_reads_nothing() {
    let mut scene = Scene::new();
    scene.write("src/a.js", "a");
    scene.write("run", "#!");
    fs::set_permissions(scene.at("run"), fs::Permissions::from_mode(0o700)).unwrap();
    symlink("src/a.js", scene.at("link")).unwrap();
    scene.settle(Dirty::All);
    assert_eq!(said(&diff(&Tree::default(), scene.look.tree())), ["+./ 4"]);
    let shown: Vec<_> = scene
        .look
        .tree
        .root()
        .unwrap()
        .walk(None)
        .map(|(path, item)| said(&[Change { path, item: Some(item.clone()) }]).remove(0))
        .collect();
    assert_eq!(shown, ["+./ 4", "+link -> src/a.js", "+run 2x", "+src/ 1", "+src/a.js 1"]);
    assert_eq!(scene.full(), Seen::default());
}

#[test]
fn a_look_at_some_names_costs_only_those() {
    let mut scene = Scene::new();
    for number in 0..50 {
        scene.write(&format!("d/{number}"), "x");
    }
    scene.settle(Dirty::All);
    scene.write("d/7", "changed");
    scene.write("d/8", "changed too, not told");
    scene.write("d/new/deep/er", "x");
    fs::remove_file(scene.at("d/9")).unwrap();
    let told = names("d", &["7", "9", "new", "never was"]);
    assert_eq!(scene.settle(told), ["+d/7 7", "-d/9", "+d/new/ 2"]);
    assert_eq!(scene.settle(part("d", Part::Listing)), ["+d/8 21"]);
}

#[test]
fn what_is_below_an_unknown_directory_is_found_from_above() {
    let mut scene = Scene::new();
    scene.write("a", "x");
    scene.settle(Dirty::All);
    scene.write("b/c/d", "x");
    assert_eq!(scene.settle(names("b/c", &["d"])), ["+b/ 2"]);
    fs::remove_dir_all(scene.at("b")).unwrap();
    scene.write("b", "a file now");
    assert_eq!(scene.settle(part("b/c", Part::Below)), ["+b 10"]);
}

/// Knows of one pen, on every file.
struct Told(Pen);

impl Sentry for Told {
    fn enter(&mut self, _: Option<&RelPath>) {}
    fn leave(&mut self, _: &RelPath) {}
    fn pen(&mut self, _: &RelPath) -> Pen {
        self.0
    }
}

#[test]
fn a_file_is_left_alone_while_it_is_written_and_read_once_more_when_it_was_closed() {
    let mut scene = Scene::new();
    scene.write("a", "x");
    scene.settle(Dirty::All);
    let see = |scene: &mut Scene, pen: Pen| {
        let now = scene.clock.elapsed();
        let seen = scene.look.dirty(&scene.disk, &mut Told(pen), names("", &["a"]), now).unwrap();
        (said(&seen.changes), seen.read, seen.again.map(|again| again - now))
    };
    assert_eq!(see(&mut scene, Pen::None), (vec![], 0, None), "its times are as they were");
    let (changes, read, _) = see(&mut scene, Pen::Lifted);
    assert_eq!((changes, read), (vec![], 1), "and yet something may be written in it, through memory");
    scene.settle(Dirty::nowhere());
    scene.write("a", "half of");
    let left = Duration::from_secs(3);
    assert_eq!(see(&mut scene, Pen::Down(left)), (vec![], 0, Some(left)));
    assert_eq!(see(&mut scene, Pen::None).0, ["+a 7"], "it was waited for long enough");
}

#[test]
fn a_moved_directory_is_not_read_again() {
    let mut scene = Scene::new();
    for number in 0..30 {
        scene.write(&format!("old/deep/{number}"), "x");
    }
    scene.settle(Dirty::All);
    fs::rename(scene.at("old"), scene.at("new")).unwrap();
    let seen = scene.dirty(names("", &["old", "new"]));
    assert_eq!((said(&seen.changes), seen.read), (vec!["+new/ 31".to_owned(), "-old".to_owned()], 0));
    fs::rename(scene.at("new"), scene.at("newer")).unwrap();
    assert_eq!(scene.full().read, 0);
}

#[test]
fn directories_that_changed_places_are_other_directories() {
    let mut scene = Scene::new();
    scene.write("a/one/x", "1");
    scene.write("b/two/x", "2");
    scene.settle(Dirty::All);
    for (from, to) in [("a", "t"), ("b", "a"), ("t", "b")] {
        fs::rename(scene.at(from), scene.at(to)).unwrap();
    }
    assert_eq!(scene.settle(part("", Part::Listing)), ["-a/one", "+a/two/ 1", "+b/one/ 1", "-b/two"]);
}

#[test]
fn same_size_and_time_restored_is_found_all_the_same() {
    let mut scene = Scene::new();
    scene.write("a", "one");
    scene.settle(Dirty::All);
    let modified = fs::metadata(scene.at("a")).unwrap().modified().unwrap();
    scene.write("a", "two");
    fs::File::options().write(true).open(scene.at("a")).unwrap().set_modified(modified).unwrap();
    assert_eq!(scene.settle(Dirty::All), ["+a 3"]);
}

#[test]
fn a_thousand_edits_within_ticks_are_all_found_in_the_end() {
    let mut scene = Scene::new();
    for round in 0..1000 {
        scene.write("a", &format!("{round:04}"));
        scene.dirty(names("", &["a"]));
    }
    scene.settle(names("", &["a"]));
    let Some(Item::File(file)) = scene.item("a") else { panic!("no file") };
    assert_eq!(file.digest, blake3::hash(b"0999").into());
    assert_ne!(file.stamp, Stamp::UNKNOWN);
}

#[test]
fn what_is_no_file_is_listed_and_never_opened() {
    let mut scene = Scene::new();
    make_pipe(&scene.at("pipe"));
    let _socket = std::os::unix::net::UnixListener::bind(scene.at("socket")).unwrap();
    symlink("/etc/passwd", scene.at("outside")).unwrap();
    symlink("nowhere", scene.at("dangling")).unwrap();
    symlink("loop", scene.at("loop")).unwrap();
    symlink("..", scene.at("up")).unwrap();
    scene.settle(Dirty::All);
    let expect = |path: &str, why: &str| {
        assert_eq!(scene.item(path), Some(&Item::Problematic(why.into())), "{path}");
    };
    expect("pipe", "it is a pipe");
    expect("socket", "it is a socket");
    expect("outside", "it is a link that leads out of the folder");
    expect("up", "it is a link that leads out of the folder");
    assert!(
        matches!(scene.item("dangling"), Some(Item::Symlink(_)))
            && matches!(scene.item("loop"), Some(Item::Symlink(_)))
    );
}

#[test]
fn links_follow_their_policy() {
    for (symlinks, expected) in [(Symlinks::Ignore, "~l Protected"), (Symlinks::PosixRaw, "+l -> /etc")] {
        let mut scene = Scene::with(Settings { symlinks, ..Settings::default() });
        scene.write("a", "");
        scene.settle(Dirty::All);
        symlink("/etc", scene.at("l")).unwrap();
        assert_eq!(scene.settle(names("", &["l"])), [expected]);
    }
}

#[test]
fn names_are_bytes() {
    use std::os::unix::ffi::OsStrExt as _;
    let mut scene = Scene::new();
    let hostile: [&[u8]; 5] = [b"\xff\xfe", b"a\nb", b"\x1b[31m", b"-rf", b"$(x)`y`\\"];
    for name in hostile {
        fs::write(scene.at("").join(std::ffi::OsStr::from_bytes(name)), "x").unwrap();
    }
    scene.settle(Dirty::All);
    for name in hostile {
        assert!(matches!(scene.look.tree.get(Some(&RelPath::parse(name).unwrap())), Some(Item::File(_))));
    }
}

#[test]
fn ignored_things_are_one_item_each_and_rules_are_content() {
    let mut scene = Scene::new();
    scene.write("web/node_modules/x/y", "");
    scene.write("web/out/a", "");
    scene.write("web/env/pyvenv.cfg", "");
    scene.write("web/env/lib/x", "");
    scene.write("web/__pycache__/x.pyc", "");
    scene.settle(Dirty::All);
    assert_eq!(scene.item("web/node_modules"), Some(&Item::Untracked(Keep::Protected)));
    assert_eq!(scene.item("web/env"), Some(&Item::Untracked(Keep::Protected)));
    assert_eq!(scene.item("web/__pycache__"), Some(&Item::Untracked(Keep::Disposable)));

    scene.write("web/.gitignore", "out\n!node_modules\n");
    let shown = scene.settle(names("web", &[".gitignore"]));
    assert_eq!(shown, ["+web/.gitignore 18", "+web/node_modules/ 2", "~web/out Protected"]);
    fs::remove_file(scene.at("web/.gitignore")).unwrap();
    let shown = scene.settle(part("web", Part::Listing));
    assert_eq!(shown, ["-web/.gitignore", "~web/node_modules Protected", "+web/out/ 1"]);

    scene.write("web/out/pyvenv.cfg", "");
    assert_eq!(scene.settle(names("web/out", &["pyvenv.cfg"])), ["~web/out Protected"]);
    fs::remove_file(scene.at("web/out/pyvenv.cfg")).unwrap();
    assert_eq!(scene.settle(names("web", &["out"])), ["+web/out/ 1"]);

    scene.write(".git/info/exclude", "*.secret\n");
    scene.write("a.secret", "x");
    assert_eq!(scene.settle(names(".git/info", &["exclude"])), ["~.git Protected", "~a.secret Protected"]);
    // The rules of a directory go with it.
    scene.write("gone/.gitignore", "x\n");
    let before = scene.look.rules().fingerprint();
    scene.settle(Dirty::All);
    assert_ne!(scene.look.rules().fingerprint(), before);
    fs::remove_dir_all(scene.at("gone")).unwrap();
    scene.settle(names("", &["gone"]));
    assert_eq!(scene.look.rules().fingerprint(), before);
}

#[test]
fn too_much_is_said_before_anything_is_moved() {
    let mut scene = Scene::with(Settings { entries_max: 10, file_size_max: 100, ..Settings::default() });
    scene.write("long", &"x".repeat(101));
    scene.settle(Dirty::All);
    assert_eq!(scene.item("long"), Some(&Item::Problematic("it is longer than 100 bytes".into())));
    let before = scene.look.tree.clone();
    for number in 0..10 {
        scene.write(&format!("d/{number}"), "");
    }
    let now = scene.clock.elapsed();
    let error = scene.look.dirty(&scene.disk, &mut (), names("", &["d"]), now).unwrap_err();
    assert!(matches!(error, LookError::Many { limit: 10 }));
    assert_eq!(scene.look.tree, before);
    fs::remove_file(scene.at("d/1")).unwrap();
    fs::remove_file(scene.at("d/2")).unwrap();
    assert_eq!(scene.settle(Dirty::nowhere()), ["+d/ 8"], "what a failed look was to show is not forgotten");
}

#[test]
fn a_folder_that_is_gone_is_no_empty_folder() {
    let mut scene = Scene::new();
    scene.write("a", "x");
    scene.settle(Dirty::All);
    fs::remove_dir_all(scene.at("")).unwrap();
    for dirty in [Dirty::All, names("", &["a"]), part("", Part::Listing)] {
        let now = scene.clock.elapsed();
        let error = scene.look.dirty(&scene.disk, &mut (), dirty, now).unwrap_err();
        assert!(matches!(error, LookError::Gone), "{error:?}");
    }
    assert!(scene.item("a").is_some());
}

#[test]
fn what_was_known_before_a_restart_is_not_read_again() {
    let mut scene = Scene::new();
    for number in 0..20 {
        scene.write(&format!("d/{number}"), "x");
    }
    scene.settle(Dirty::All);
    let stamps: Vec<_> = scene.look.stamps().collect();
    let tree = scene.look.tree.clone();
    scene.look = Look::new(Settings::default(), Rules::new(rules::Settings::default()).unwrap());
    scene.look.recall(stamps);
    let seen = scene.full();
    assert_eq!((seen.read, scene.look.tree()), (0, &tree));
}

/// As after a long write that began before the file was read and ended after: its times are those of the beginning.
#[test]
fn a_long_file_read_while_it_was_written_is_read_again_when_the_write_ends() {
    let mut scene = Scene::new();
    scene.write("short", "x");
    scene.write("long", &"x".repeat(400_000));
    scene.settle(Dirty::All);
    assert_eq!(scene.dirty(names("", &["short", "long"])).read, 1, "the long one alone is in doubt");
    scene.look.pace = Pace::default();
    assert_eq!(scene.dirty(names("", &["short", "long"])).read, 0);
}

#[test]
fn a_file_that_is_written_all_the_time_is_never_taken_torn() {
    // Each generation holds its own number over and over: a mix of two shows.
    const LENGTH: usize = 300_000;
    let mut scene = Scene::new();
    let place = scene.at("generations");
    let stop = std::sync::atomic::AtomicBool::new(false);
    let content = |generation: u32| generation.to_le_bytes().repeat(LENGTH / 4);
    let possible: Vec<Digest> =
        (0..2000).map(|generation| blake3::hash(&content(generation)).into()).collect();
    fs::write(&place, content(0)).unwrap();
    thread::scope(|threads| {
        threads.spawn(|| {
            use std::os::unix::fs::FileExt as _;
            let file = fs::File::options().write(true).open(&place).unwrap();
            for generation in 1..2000 {
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
                file.write_all_at(&content(generation), 0).unwrap();
                thread::park_timeout(Duration::from_millis(u64::from(generation % 7)));
            }
        });
        let deadline = std::time::Instant::now() + Duration::from_secs(2);
        while std::time::Instant::now() < deadline {
            // The pace is another test's matter.
            scene.look.pace = Pace::default();
            scene.dirty(names("", &["generations"]));
            if let Some(Item::File(file)) = scene.item("generations") {
                assert!(possible.contains(&file.digest), "a mix was taken");
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    scene.settle(names("", &["generations"]));
    let last = Digest::from(blake3::hash(&fs::read(&place).unwrap()));
    assert!(matches!(scene.item("generations"), Some(Item::File(file)) if file.digest == last));
}
