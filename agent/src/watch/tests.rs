//! The watch on a real folder, together with the look it serves.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::disk::Folder;
use crate::disk::StageAt;
use crate::look;
use crate::look::Look;
use crate::rules;
use crate::rules::Rules;
use crate::tree::Item;
use crate::tree::Tree;

const LONG: Duration = Duration::from_secs(10);

/// A folder that is watched and looked at.
struct Scene {
    base: tempfile::TempDir,
    disk: Folder,
    look: Look,
    watch: Watch,
    clock: Instant,
}

impl Scene {
    fn new(settings: Settings, prepare: impl FnOnce(&Path)) -> Self {
        Self::limited(settings, usize::MAX, prepare)
    }

    fn limited(settings: Settings, limit: usize, prepare: impl FnOnce(&Path)) -> Self {
        let base = tempfile::tempdir().unwrap();
        let root = base.path().join("root");
        fs::create_dir(&root).unwrap();
        prepare(&root);
        let staging = StageAt::Beside(base.path().join("staging"));
        let disk = Folder::open(&root, staging, &base.path().join("kept")).unwrap();
        let watch = Watch::open(&root, settings).unwrap();
        if limit < usize::MAX {
            watch.limit(limit);
        }
        let mut scene = Self { base, disk, look: fresh(), watch, clock: Instant::now() };
        scene.see(Dirty::All);
        scene
    }

    fn at(&self, path: &str) -> PathBuf {
        self.base.path().join("root").join(path)
    }

    fn see(&mut self, dirty: Dirty) -> look::Seen {
        self.look.dirty(&self.disk, &mut &self.watch, dirty, self.clock.elapsed()).unwrap()
    }

    /// Looks wherever the watch says until the tree is what a fresh look shows.
    fn follow(&mut self) {
        let deadline = Instant::now() + LONG;
        while *self.look.tree() != self.fresh_tree() {
            assert!(Instant::now() < deadline, "{:?} is not {:?}", self.look.tree(), self.fresh_tree());
            let dirty = self.watch.wait(Duration::from_millis(20));
            self.see(dirty);
        }
    }

    fn fresh_tree(&self) -> Tree {
        let mut look = fresh();
        let mut again = look.full(&self.disk, &mut (), Duration::ZERO).unwrap().again;
        while let Some(due) = again {
            again = look.dirty(&self.disk, &mut (), Dirty::nowhere(), due).unwrap().again;
        }
        look.tree().clone()
    }
}

fn fresh() -> Look {
    Look::new(look::Settings::default(), Rules::new(rules::Settings::default()).unwrap())
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

fn auto() -> Settings {
    Settings::default()
}

#[test]
fn a_save_is_said_at_once_by_name_and_reading_is_no_news() {
    let mut scene = Scene::new(auto(), |root| fs::create_dir(root.join("src")).unwrap());
    scene.follow();
    while !scene.watch.wait(Duration::from_millis(30)).is_nowhere() {}
    fs::write(scene.at("src/a"), "x").unwrap();
    let before = Instant::now();
    let dirty = scene.watch.wait(LONG);
    let mut expected = Dirty::nowhere();
    expected.path(&path("src/a"));
    assert_eq!(dirty, expected);
    assert!(before.elapsed() < Duration::from_millis(500));
    fs::read(scene.at("src/a")).unwrap();
    assert!(scene.watch.wait(Duration::from_millis(50)).is_nowhere());
    scene.watch.poke(expected.clone());
    assert_eq!(scene.watch.wait(LONG), expected);
}

#[test]
fn directories_that_come_go_and_move_stay_watched() {
    let mut scene = Scene::new(auto(), |root| fs::create_dir_all(root.join("a/b/c")).unwrap());
    fs::write(scene.at("a/b/c/1"), "1").unwrap();
    scene.follow();
    // Moved within, with something inside changed before anybody could look.
    fs::rename(scene.at("a"), scene.at("z")).unwrap();
    fs::write(scene.at("z/b/c/1"), "2").unwrap();
    scene.follow();
    fs::write(scene.at("z/b/c/1"), "3").unwrap();
    scene.follow();
    // Moved in from outside, moved out, and another under the same name.
    fs::create_dir_all(scene.base.path().join("outside/deep")).unwrap();
    fs::rename(scene.base.path().join("outside"), scene.at("in")).unwrap();
    scene.follow();
    fs::write(scene.at("in/deep/x"), "x").unwrap();
    scene.follow();
    fs::rename(scene.at("in"), scene.base.path().join("out")).unwrap();
    fs::create_dir_all(scene.at("in/deep")).unwrap();
    scene.follow();
    fs::write(scene.at("in/deep/y"), "y").unwrap();
    scene.follow();
    fs::rename(scene.at("in"), scene.at("tmp")).unwrap();
    fs::rename(scene.at("z"), scene.at("in")).unwrap();
    fs::rename(scene.at("tmp"), scene.at("z")).unwrap();
    scene.follow();
    fs::write(scene.at("in/b/c/swapped"), "").unwrap();
    fs::write(scene.at("z/deep/swapped"), "").unwrap();
    scene.follow();
    assert_eq!(scene.watch.status().watched, 6, "the root, in, in/b, in/b/c, z and z/deep");
}

#[test]
fn what_is_not_carried_costs_no_watch_but_git_is_heard() {
    let mut scene = Scene::new(auto(), |root| {
        for directory in ["src", "node_modules/x/y", ".git/info", ".git/objects/00", "venv/lib"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::write(root.join("venv/pyvenv.cfg"), "").unwrap();
    });
    scene.follow();
    assert_eq!(scene.watch.status().watched, 4, "the root, src, .git and .git/info");
    fs::write(scene.at(".git/index.lock"), "").unwrap();
    let deadline = Instant::now() + LONG;
    while !scene.watch.wait(Duration::from_millis(50)).touches(Some(&path(".git"))) {
        assert!(Instant::now() < deadline);
    }
    fs::write(scene.at("src/x.tmp"), "").unwrap();
    scene.follow();
    fs::write(scene.at(".git/info/exclude"), "*.tmp\n").unwrap();
    scene.follow();
    assert!(matches!(scene.look.tree().get(Some(&path("src/x.tmp"))), Some(Item::Untracked(_))));
}

#[test]
fn without_enough_watches_the_rest_is_looked_at_and_said() {
    let settings = Settings { interval: Duration::from_millis(20), ..auto() };
    let mut scene = Scene::limited(settings, 10, |root| {
        for number in 0..30 {
            fs::create_dir_all(root.join(format!("{number:02}/below"))).unwrap();
        }
    });
    let status = scene.watch.status();
    assert_eq!((status.watched, status.polled), (10, 51));
    assert_eq!(
        status.warning.unwrap(),
        "51 of 61 directories cannot be watched and are looked at every now and then instead; raise the sysctl `fs.inotify.max_user_watches`"
    );
    for change in ["00/below/x", "29/below/x", "29/below/new/deep/x"] {
        fs::create_dir_all(scene.at(change).parent().unwrap()).unwrap();
        fs::write(scene.at(change), change).unwrap();
        scene.follow();
    }
    fs::remove_dir_all(scene.at("29")).unwrap();
    scene.follow();
    // As soon as there is room it is used.
    scene.watch.limit(usize::MAX);
    let deadline = Instant::now() + LONG;
    while scene.watch.status().warning.is_some() {
        let dirty = scene.watch.wait(Duration::from_millis(50));
        scene.see(dirty);
        assert!(Instant::now() < deadline);
    }
}

#[test]
fn polling_finds_what_nobody_tells_and_no_watch_waits_to_be_asked() {
    let interval = Duration::from_millis(20);
    let mut scene = Scene::new(Settings { mode: Mode::ForcePoll, interval, full: false }, |_| {});
    fs::create_dir_all(scene.at("a/b")).unwrap();
    fs::write(scene.at("a/b/c"), "x").unwrap();
    scene.follow();
    let status = scene.watch.status();
    assert_eq!((status.watched, status.warning), (0, None));
    let silent = Scene::new(Settings { mode: Mode::NoWatch, interval, full: false }, |_| {});
    fs::write(silent.at("a"), "x").unwrap();
    assert!(silent.watch.wait(Duration::from_millis(100)).is_nowhere());
}

#[test]
fn a_full_scan_mode_looks_everywhere() {
    let scene = Scene::new(Settings { full: true, ..auto() }, |_| {});
    fs::write(scene.at("a"), "x").unwrap();
    assert_eq!(scene.watch.wait(LONG), Dirty::All);
}

#[test]
fn regular_looks_take_a_small_part_of_the_time() {
    let interval = Duration::from_millis(1);
    let scene = Scene::new(Settings { mode: Mode::ForcePoll, interval, full: false }, |_| {});
    assert_eq!(scene.watch.wait(LONG), Dirty::All);
    // As if the look took this long.
    std::thread::park_timeout(Duration::from_millis(60));
    let before = Instant::now();
    assert_eq!(scene.watch.wait(LONG), Dirty::All);
    assert!(before.elapsed() >= Duration::from_millis(60) * (SHARE - 1), "{:?}", before.elapsed());
}

#[test]
fn lost_events_lead_to_a_look_at_everything() {
    let mut scene = Scene::new(auto(), |root| {
        fs::create_dir(root.join("d")).unwrap();
        fs::write(root.join("d/0"), "").unwrap();
        fs::write(root.join("d/1"), "").unwrap();
    });
    scene.follow();
    // While somebody holds the lock nobody reads the queue, and it runs over.
    let limit: usize =
        fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    {
        let _busy = scene.watch.shared.state();
        // One event each; two names, so that none is like the one before. The reader may hold a buffer full of them.
        for round in 0..limit + 5_000 {
            let mode = fs::Permissions::from_mode(0o600);
            fs::set_permissions(scene.at(if round % 2 == 0 { "d/0" } else { "d/1" }), mode).unwrap();
        }
        fs::create_dir(scene.at("late")).unwrap();
        fs::write(scene.at("late/file"), "x").unwrap();
    }
    scene.follow();
    assert!(scene.watch.status().overflows > 0);
    fs::write(scene.at("late/file"), "watched too").unwrap();
    scene.follow();
}

#[test]
fn the_root_that_goes_is_noticed() {
    let mut scene = Scene::new(auto(), |root| fs::write(root.join("a"), "x").unwrap());
    scene.follow();
    while !scene.watch.wait(Duration::from_millis(30)).is_nowhere() {}
    fs::rename(scene.at(""), scene.base.path().join("elsewhere")).unwrap();
    assert_eq!(scene.watch.wait(LONG), Dirty::All);
}

/// Edits a folder as people and tools do.
#[derive(Debug, Clone)]
enum Edit {
    Write(String, u8),
    Append(String),
    Replace(String, u8),
    MakeDirectory(String),
    Remove(String),
    Rename(String, String),
    Link(String),
    Ignore(String, bool),
    Look,
}

fn place() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4).prop_map(|names| names.join("/"))
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        4 => (place(), any::<u8>()).prop_map(|(path, byte)| Edit::Write(path, byte)),
        1 => place().prop_map(Edit::Append),
        2 => (place(), any::<u8>()).prop_map(|(path, byte)| Edit::Replace(path, byte)),
        2 => place().prop_map(Edit::MakeDirectory),
        2 => place().prop_map(Edit::Remove),
        4 => (place(), place()).prop_map(|(from, to)| Edit::Rename(from, to)),
        1 => place().prop_map(Edit::Link),
        1 => (place(), any::<bool>()).prop_map(|(path, there)| Edit::Ignore(path, there)),
        6 => Just(Edit::Look),
    ]
}

impl Edit {
    /// Makes it, as far as it can be made.
    fn make(&self, root: &Path) {
        let make_parent = |path: &Path| drop(path.parent().map(fs::create_dir_all));
        match self {
            Self::Write(path, byte) => {
                make_parent(&root.join(path));
                drop(fs::write(root.join(path), [*byte]));
            }
            Self::Append(path) => {
                let file = fs::File::options().append(true).open(root.join(path));
                drop(file.map(|mut file| file.write_all(b"more")));
            }
            Self::Replace(path, byte) => {
                drop(fs::write(root.join(".aside"), [*byte]));
                drop(fs::rename(root.join(".aside"), root.join(path)));
            }
            Self::MakeDirectory(path) => drop(fs::create_dir_all(root.join(path))),
            Self::Remove(path) => {
                drop(fs::remove_file(root.join(path)));
                drop(fs::remove_dir_all(root.join(path)));
            }
            Self::Rename(from, to) => drop(fs::rename(root.join(from), root.join(to))),
            Self::Link(path) => drop(std::os::unix::fs::symlink("a", root.join(path))),
            Self::Ignore(path, true) => drop(fs::write(root.join(path).join(".gitignore"), "b\n")),
            Self::Ignore(path, false) => drop(fs::remove_file(root.join(path).join(".gitignore"))),
            Self::Look => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 4, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// P12 on a real folder: what events lead to is what a fresh look shows.
    #[test]
    fn following_events_shows_what_a_fresh_look_shows(edits in prop::collection::vec(edit(), 1..40)) {
        let mut scene = Scene::new(auto(), |_| {});
        for edit in edits {
            match edit {
                Edit::Look => {
                    let dirty = scene.watch.wait(Duration::ZERO);
                    scene.see(dirty);
                }
                edit => edit.make(&scene.at("")),
            }
        }
        scene.follow();
    }
}

/// SY-16: half a file at rest is not taken while its writer has it open; once it is closed all of it is, at once.
#[test]
fn sy16_a_writer_that_pauses_is_waited_for() {
    let mut scene = Scene::new(auto(), |root| fs::write(root.join("old"), "old").unwrap());
    scene.follow();
    let before = scene.look.tree().clone();
    let mut new = fs::File::create(scene.at("new")).unwrap();
    let mut old = fs::File::options().append(true).open(scene.at("old")).unwrap();
    new.write_all(b"half of it").unwrap();
    old.write_all(b" and half of more").unwrap();
    // Longer than any other rest would have to be.
    let paused = Instant::now();
    while paused.elapsed() < Duration::from_millis(1_200) {
        let dirty = scene.watch.wait(Duration::from_millis(20));
        let seen = scene.see(dirty);
        assert!(seen.again.is_some_and(|again| again <= scene.clock.elapsed() + Duration::from_secs(5)));
        assert_eq!(*scene.look.tree(), before, "after {:?}", paused.elapsed());
    }
    // Not even a look at everything takes it, unless somebody asks for what is there now.
    scene.see(Dirty::All);
    assert_eq!(*scene.look.tree(), before);
    let now = scene.clock.elapsed();
    let mut watch = &scene.watch;
    scene.look.full(&scene.disk, &mut look::Impatient(&mut watch), now).unwrap();
    assert_ne!(*scene.look.tree(), before);
    new.write_all(b", and the other half").unwrap();
    drop((new, old));
    let closed = Instant::now();
    scene.follow();
    assert!(closed.elapsed() < Duration::from_secs(2), "{:?}", closed.elapsed());
}
