//! Two real folders, two keepers and a session between them, all in this process.

use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::mpsc;

use tempfile::TempDir;

use super::*;
use crate::inquiry::Which;
use crate::message::Part;
use crate::reconcile::Mode;
use crate::resolve::Strategy;
use crate::session;
use crate::session::Effect;
use crate::session::Session;
use crate::tree::Tree;

const DEADLINE: Duration = Duration::from_secs(20);

fn settings() -> Settings {
    Settings {
        rules: rules::Settings::default(),
        look: look::Settings::default(),
        watch: watch::Settings::default(),
        versions: versions::Limits::default(),
    }
}

/// A pair of folders that are kept equal.
struct Pair {
    folders: [TempDir; 2],
    states: [TempDir; 2],
    keepers: [Keeper; 2],
    session: Session,
    news: mpsc::Receiver<()>,
    epoch: Instant,
    flushed: Vec<u64>,
    /// The bytes of content that went from one side to the other, and those that did not have to.
    crossed: u64,
    spared: u64,
    /// Once so many bytes went over, the connection breaks.
    breaks_at: Option<u64>,
}

impl Pair {
    fn new() -> Self {
        let (sender, news) = mpsc::channel();
        let folders = [0, 1].map(|_| tempfile::tempdir().unwrap());
        let states = [0, 1].map(|_| tempfile::tempdir().unwrap());
        let keepers = Side::BOTH.map(|side| {
            let places = Places {
                side,
                root: folders[side as usize].path().to_owned(),
                staging: StageAt::Inside,
                state: states[side as usize].path().to_owned(),
            };
            let sender = sender.clone();
            Keeper::open(places, &settings(), move || {
                let _ = sender.send(());
            })
            .unwrap()
        });
        let limits = crate::safety::Limits::default();
        let settings = session::Settings { mode: Mode::TwoWaySafe, strategy: Strategy::HostWins, limits };
        let session = Session::new(settings, Tree::default(), None);
        let epoch = Instant::now();
        let mut pair = Self {
            folders,
            states,
            keepers,
            session,
            news,
            epoch,
            flushed: Vec::new(),
            crossed: 0,
            spared: 0,
            breaks_at: None,
        };
        for side in Side::BOTH {
            let effects = pair.session.connected(side);
            pair.perform(effects);
        }
        pair
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        let mut effects = VecDeque::from(effects);
        loop {
            match effects.pop_front() {
                Some(Effect::Say(side, message)) => {
                    if let ToSide::Store { part, .. } = &message {
                        let crossed = match part {
                            Part::Sent(bytes) | Part::Differing { delta: bytes, .. } => bytes.len() as u64,
                            Part::Same { .. } => 0,
                        };
                        self.crossed += crossed;
                        self.spared += part.size() - crossed;
                    }
                    self.keepers[side as usize].hear([message]).unwrap();
                    if self.breaks_at.take_if(|at| *at <= self.crossed).is_some() {
                        self.keepers[Side::Beta as usize].detach();
                        self.session.lost(Side::Beta);
                        effects.retain(|effect| !matches!(effect, Effect::Say(Side::Beta, _)));
                        effects.extend(self.session.connected(Side::Beta));
                    }
                }
                Some(Effect::Flushed(token)) => self.flushed.push(token),
                Some(Effect::Record(_) | Effect::Begin(_) | Effect::Known(_) | Effect::Settled) => {}
                None => return,
            }
            for side in Side::BOTH {
                for said in self.keepers[side as usize].take() {
                    effects.extend(self.session.hear(side, said, self.epoch.elapsed()).unwrap());
                }
            }
        }
    }

    /// Goes on until `wish` holds.
    fn until(&mut self, what: &str, wish: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        while !wish(self) {
            assert!(started.elapsed() < DEADLINE, "{what} never came: {}", self.session.explain());
            let _ = self.news.recv_timeout(Duration::from_millis(20));
            let mut effects = self.session.tick(self.epoch.elapsed());
            for side in Side::BOTH {
                for said in self.keepers[side as usize].take() {
                    effects.extend(self.session.hear(side, said, self.epoch.elapsed()).unwrap());
                }
            }
            self.perform(effects);
        }
    }

    fn flush(&mut self) {
        let token = self.flushed.len() as u64 + 1000;
        let effects = self.session.flush(token, self.epoch.elapsed());
        self.perform(effects);
        self.until("a flush", |pair| pair.flushed.contains(&token));
    }

    fn path(&self, side: Side, name: &str) -> PathBuf {
        self.folders[side as usize].path().join(name)
    }

    fn write(&self, side: Side, name: &str, text: &str) {
        let path = self.path(side, name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, side: Side, name: &str) -> Option<String> {
        fs::read_to_string(self.path(side, name)).ok()
    }
}

#[test]
fn edits_go_both_ways_without_being_asked_for() {
    let mut pair = Pair::new();
    for (from, name) in [(Side::Alpha, "src/from-host"), (Side::Beta, "deep/er/from-container")] {
        pair.write(from, name, "one");
        pair.until("an edit", |pair| pair.read(from.other(), name).as_deref() == Some("one"));
        pair.write(from, name, "two");
        pair.until("another edit", |pair| pair.read(from.other(), name).as_deref() == Some("two"));
        fs::set_permissions(pair.path(from, name), fs::Permissions::from_mode(0o755)).unwrap();
        let mode = |pair: &Pair| fs::metadata(pair.path(from.other(), name)).unwrap().permissions().mode();
        pair.until("a mode", |pair| mode(pair) & 0o111 == 0o111);
        fs::remove_file(pair.path(from, name)).unwrap();
        pair.until("a removal", |pair| pair.read(from.other(), name).is_none());
    }
}

/// Bytes that resemble nothing.
fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

/// Puts a file there in one step, as editors do.
fn save(pair: &Pair, side: Side, name: &str, content: &[u8]) {
    let aside = pair.states[side as usize].path().join("aside");
    fs::write(&aside, content).unwrap();
    fs::rename(&aside, pair.path(side, name)).unwrap();
}

#[test]
fn of_a_changed_file_only_what_is_different_goes_to_the_other_side() {
    let mut pair = Pair::new();
    let original = noise(6_000_000);
    save(&pair, Side::Alpha, "big", &original);
    pair.flush();
    assert_eq!((pair.crossed, pair.spared), (6_000_000, 0));
    let changed = |change: fn(&mut Vec<u8>)| {
        let mut content = original.clone();
        change(&mut content);
        content
    };
    // What may cross for each: a block or two of the changed part, or the block before and behind every part's edge.
    for (what, most, content) in [
        ("one byte", 6_000, changed(|content| content[1_111_111] ^= 1)),
        ("the end", 6_000, changed(|content| content.extend(b"appended"))),
        (
            "a little in the middle",
            400_000,
            changed(|content| drop(content.splice(9_999..9_999, *b"inserted"))),
        ),
        ("much at the beginning", 1_200_000, changed(|content| drop(content.drain(..777_777)))),
        (
            "three places",
            18_000,
            changed(|content| {
                for at in [5, 3_000_000, 5_999_999] {
                    content[at] ^= 1;
                }
            }),
        ),
    ] {
        for from in Side::BOTH {
            save(&pair, from, "big", &original);
            pair.flush();
            (pair.crossed, pair.spared) = (0, 0);
            save(&pair, from, "big", &content);
            pair.flush();
            assert!(fs::read(pair.path(from.other(), "big")).unwrap() == content, "{what}");
            eprintln!("{what}: {} bytes went over", pair.crossed);
            assert!(pair.crossed > 0 && pair.crossed < most, "{what}: {} bytes", pair.crossed);
        }
    }
}

#[test]
fn what_is_there_under_another_name_does_not_come_again() {
    let mut pair = Pair::new();
    let content = noise(10_000_000);
    // A folder that is emptied all at once would stop everything.
    pair.write(Side::Alpha, "stays", "here");
    for (number, from) in Side::BOTH.into_iter().enumerate() {
        let name = |what: &str| format!("{what}-{number}");
        let there = |pair: &Pair, name: &str| fs::read(pair.path(from.other(), name)).unwrap() == content;
        if number == 0 {
            save(&pair, from, &name("big"), &content);
            pair.flush();
        } else {
            fs::rename(pair.path(from, "again-0"), pair.path(from, &name("big"))).unwrap();
            pair.flush();
        }
        pair.crossed = 0;
        fs::create_dir(pair.path(from, &name("sub"))).unwrap();
        let moved = format!("{}/moved", name("sub"));
        fs::rename(pair.path(from, &name("big")), pair.path(from, &moved)).unwrap();
        pair.flush();
        assert!(there(&pair, &moved) && pair.read(from.other(), &name("big")).is_none());
        fs::copy(pair.path(from, &moved), pair.path(from, &name("copy"))).unwrap();
        pair.flush();
        assert!(there(&pair, &name("copy")));
        // The leaving and the coming, one after the other: it is in the version store meanwhile.
        fs::remove_file(pair.path(from, &name("copy"))).unwrap();
        fs::remove_dir_all(pair.path(from, &name("sub"))).unwrap();
        pair.flush();
        assert!(!pair.path(from.other(), &moved).exists());
        save(&pair, from, &name("again"), &content);
        pair.flush();
        assert!(there(&pair, &name("again")));
        assert_eq!(pair.crossed, 0, "{from}");
    }
}

#[test]
fn a_transfer_that_was_broken_off_goes_on_where_it_was() {
    for from in Side::BOTH {
        let mut pair = Pair::new();
        let content = noise(20_000_000);
        pair.breaks_at = Some(10_000_000);
        save(&pair, from, "big", &content);
        pair.flush();
        assert_eq!(pair.breaks_at, None);
        assert!(fs::read(pair.path(from.other(), "big")).unwrap() == content);
        // What was on its way when it broke goes over again.
        assert!(pair.crossed < 21_000_000, "{from}: {} bytes", pair.crossed);
    }
}

#[test]
fn a_file_that_has_nothing_of_the_old_one_is_brought_whole() {
    let mut pair = Pair::new();
    save(&pair, Side::Alpha, "big", &noise(5_000_000));
    pair.flush();
    pair.crossed = 0;
    let mut other = noise(5_000_000);
    other.iter_mut().for_each(|byte| *byte ^= 0x55);
    save(&pair, Side::Alpha, "big", &other);
    pair.flush();
    assert_eq!((pair.crossed, pair.spared), (5_000_000, 0));
    assert!(fs::read(pair.path(Side::Beta, "big")).unwrap() == other);
}

#[test]
fn what_sync_displaced_is_listed_and_comes_back_on_both_sides() {
    let mut pair = Pair::new();
    pair.write(Side::Alpha, "notes.txt", "first");
    pair.flush();
    // In one step: a file that is written in place is empty for a moment, and that may be a version too.
    let aside = pair.states[0].path().join("aside");
    fs::write(&aside, "second").unwrap();
    fs::rename(&aside, pair.path(Side::Alpha, "notes.txt")).unwrap();
    pair.flush();
    let path = crate::sample::path("notes.txt");
    let beta = Side::Beta as usize;
    let Answer::Versions(kept) = pair.keepers[beta].answer(Question::Versions { path: Some(path.clone()) })
    else {
        panic!("no versions");
    };
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].cause.as_str(), kept[0].size, kept[0].side), ("overwritten", 5, Side::Beta));
    let content = Question::Content { path: path.clone(), version: Some(kept[0].id) };
    let Answer::Content { bytes, .. } = pair.keepers[beta].answer(content) else { panic!("no content") };
    assert_eq!(bytes, b"first");

    let which = Which::Batch(kept[0].batch);
    let ask = |dry_run| Question::Undo { which: which.clone(), batch: 77, dry_run };
    let planned = Answer::Undone { paths: vec![path], failed: vec![] };
    assert_eq!(pair.keepers[beta].answer(ask(true)), planned);
    assert_eq!(pair.read(Side::Beta, "notes.txt").as_deref(), Some("second"));
    assert_eq!(pair.keepers[beta].answer(ask(false)), planned);
    pair.until("the old text", |pair| pair.read(Side::Alpha, "notes.txt").as_deref() == Some("first"));
}

#[test]
fn the_reason_why_a_path_is_not_carried_is_told() {
    let mut pair = Pair::new();
    pair.write(Side::Alpha, "node_modules/left/index.js", "x");
    pair.write(Side::Alpha, ".gitignore", "*.secret\n");
    pair.write(Side::Alpha, "a.secret", "x");
    pair.flush();
    let why = |name: &str| match pair.keepers[0].answer(Question::Why { path: crate::sample::path(name) }) {
        Answer::Standing { what, reason, .. } => (what, reason.unwrap_or_default()),
        other => panic!("{other:?}"),
    };
    let (ignored, file) = ("ignored".to_owned(), "file".to_owned());
    let modules = "node_modules is not carried: `node_modules/` in the defaults".to_owned();
    assert_eq!(why("node_modules/left/index.js"), (ignored.clone(), modules));
    assert_eq!(why("a.secret"), (ignored, "a.secret is not carried: `*.secret` in .gitignore".to_owned()));
    assert_eq!(why(".gitignore"), (file, String::new()));
    assert_eq!(why("b/c").0, "absent");
}

#[test]
fn a_keeper_knows_when_another_folder_stands_in_its_place() {
    let pair = Pair::new();
    assert!(pair.keepers[0].is_in_place());
    let root = pair.folders[0].path();
    fs::rename(root, root.with_extension("away")).unwrap();
    assert!(!pair.keepers[0].is_in_place());
    fs::create_dir(root).unwrap();
    assert!(!pair.keepers[0].is_in_place());
    fs::remove_dir(root).unwrap();
    fs::rename(root.with_extension("away"), root).unwrap();
    assert!(pair.keepers[0].is_in_place());
}

#[test]
fn a_keeper_that_comes_back_reads_nothing_again() {
    let mut pair = Pair::new();
    for number in 0..50 {
        pair.write(Side::Alpha, &format!("file-{number}"), "content");
    }
    // Their times are too young to tell whether they are written again: only a look after that knows.
    pair.until("rest", |pair| pair.read(Side::Beta, "file-49").is_some());
    pair.until("a settled look", |pair| {
        let state = pair.keepers[0].shared.state();
        state.replica.again().is_none() && state.replica.known().stamps().count() == 50
    });
    let Pair { folders, states, keepers, .. } = pair;
    drop(keepers);
    let places = Places {
        side: Side::Alpha,
        root: folders[0].path().to_owned(),
        staging: StageAt::Inside,
        state: states[0].path().to_owned(),
    };
    let keeper = Keeper::open(places, &settings(), || {}).unwrap();
    let read = keeper.shared.work(|state, _| state.replica.look_and_count());
    assert_eq!(read, 0);
}

#[test]
fn what_files_held_is_not_written_down_while_somebody_works() {
    let mut pair = Pair::new();
    for round in 0..20 {
        let content = format!("round {round}");
        pair.write(Side::Alpha, "edited", &content);
        pair.until("an edit", |pair| pair.read(Side::Beta, "edited").as_deref() == Some(&*content));
        pair.until("a settled look", |pair| pair.keepers[0].shared.state().replica.again().is_none());
    }
    let written = pair.states.each_ref().map(|state| state.path().join("stamps").exists());
    assert_eq!(written, [false, false], "it costs as much as the whole tree");
}

#[test]
fn a_folder_is_marked_once_and_another_mark_is_another_folder() {
    let (folder, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let open = || {
        let root = folder.path().to_owned();
        let state = state.path().to_owned();
        let places = Places { side: Side::Alpha, root, staging: StageAt::Inside, state };
        Keeper::open(places, &settings(), || {}).unwrap()
    };
    let (first, second) = (open(), open());
    assert_eq!(first.shared.identity, second.shared.identity);
    assert!(first.is_in_place() && second.is_in_place());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is seen of it");
    if first.shared.identity.nonce.is_absent() {
        return;
    }
    let look = || {
        first.shared.work(|state, _| {
            let mut said = Vec::new();
            state.replica.look(crate::look::Dirty::All, &mut (), Duration::ZERO, &mut said);
            said
        })
    };
    assert_eq!(look(), [], "nobody is attached");
    // As if it had been removed and made again, with the inode number it had.
    rustix::fs::setxattr(folder.path(), "user.nexus.root", &[7; 16], rustix::fs::XattrFlags::REPLACE)
        .unwrap();
    assert!(!first.is_in_place());
    let said = look();
    assert!(matches!(&said[..], [FromSide::Unavailable { .. }]), "{said:?}");
}
