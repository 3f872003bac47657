//! The journal against crashes, full disks and damage.

use std::cell::Cell;

use proptest::prelude::*;

use super::*;
use crate::log::Paper;
use crate::path::RelPath;
use crate::tree::File;
use crate::tree::Keep;

fn bond(nonce: u8) -> Bond {
    let root = |inode| Root { device: 1, inode, born: -5, nonce: [nonce; 16] };
    Bond { alpha: root(2), beta: root(3), rules: blake3::hash(b"rules").into() }
}

fn file(text: &str) -> Item {
    let digest = blake3::hash(text.as_bytes()).into();
    Item::File(File::new(text.len() as u64, false, digest))
}

fn change(path: &str, item: Option<Item>) -> Change {
    let path = (!path.is_empty()).then(|| RelPath::parse(path.as_bytes()).unwrap());
    Change { path, item }
}

fn folder() -> Change {
    change("", Some(Item::Directory(crate::tree::Directory::empty())))
}

#[test]
fn what_was_committed_is_there_again() {
    let folder_path = tempfile::tempdir().unwrap();
    let store = || Paper::open(&folder_path.path().join("ancestor")).unwrap();
    let (mut journal, opened) = Journal::open(store()).unwrap();
    assert_eq!((opened, journal.bond()), (Opened::Fresh, None));
    journal.bind(bond(1)).unwrap();
    journal
        .record(vec![
            folder(),
            change("a", Some(file("x"))),
            change("k", Some(Item::Untracked(Keep::Protected))),
        ])
        .unwrap();
    journal.commit().unwrap();
    journal.record(vec![change("b", Some(file("never committed")))]).unwrap();

    let (mut again, opened) = Journal::open(store()).unwrap();
    assert_eq!(opened, Opened::Whole);
    assert_eq!((again.bond(), again.generation(), again.tree().count()), (Some(&bond(1)), 1, 3));
    again.rebind(bond(2));
    again.record(vec![change("a", None)]).unwrap();
    again.commit().unwrap();
    let (mut third, _) = Journal::open(store()).unwrap();
    assert_eq!((third.bond(), third.tree().count()), (Some(&bond(2)), 2));
    third.bind(bond(3)).unwrap();
    let (fourth, _) = Journal::open(store()).unwrap();
    assert_eq!((fourth.bond(), fourth.generation(), fourth.tree().count()), (Some(&bond(3)), 2, 0));
}

#[test]
fn one_that_was_put_back_is_known_by_the_marks_it_does_not_have() {
    let mark = |number: u8| Nonce([number; 16]);
    let store = Memory::new();
    let (mut journal, _) = Journal::open(store.clone()).unwrap();
    journal.bind(bond(1)).unwrap();
    assert!(journal.is_of_now(None) && journal.is_of_now(Some(mark(9))), "it was never marked");
    let mut found = None;
    let mut past = Vec::new();
    for number in 1..50 {
        journal
            .record(vec![folder(), change(&format!("{number}"), Some(file(&"x".repeat(50_000))))])
            .unwrap();
        journal.mark(mark(number), found);
        journal.commit().unwrap();
        // A crash before the folder was marked, and one after.
        for carried in [found, Some(mark(number))] {
            let (again, opened) = Journal::open(store.clone()).unwrap();
            assert_eq!((opened, again.is_of_now(carried)), (Opened::Whole, true), "{number}");
        }
        found = Some(mark(number));
        let copy = Memory::new();
        store.edit(|bytes| copy.edit(|copied| copied.clone_from(bytes)));
        past.push(copy);
    }
    for old in &past[..48] {
        assert!(!Journal::open(old.clone()).unwrap().0.is_of_now(found));
    }
    // Written anew as one snapshot it has them still, and begun anew it has none.
    let (mut journal, _) = Journal::open(store.clone()).unwrap();
    journal.spoiled = true;
    journal.commit().unwrap();
    let (mut journal, _) = Journal::open(store).unwrap();
    assert!(journal.is_of_now(found) && !journal.is_of_now(Some(mark(9))));
    journal.bind(bond(2)).unwrap();
    assert!(journal.is_of_now(Some(mark(9))));
}

#[test]
fn damage_and_foreign_versions_drop_all_of_it_and_the_next_bond_begins_anew() {
    let store = Memory::new();
    let (mut journal, _) = Journal::open(store.clone()).unwrap();
    journal.bind(bond(1)).unwrap();
    journal.record(vec![folder(), change("a", Some(file("x")))]).unwrap();
    journal.commit().unwrap();
    store.edit(|bytes| bytes[40] ^= 1);
    let (mut journal, opened) = Journal::open(store.clone()).unwrap();
    assert_eq!(opened, Opened::Dropped("it is damaged".into()));
    assert_eq!((journal.bond(), journal.tree().count()), (None, 0));
    journal.commit().unwrap();
    journal.bind(bond(2)).unwrap();
    assert_eq!(Journal::open(store.clone()).unwrap().1, Opened::Whole);

    let foreign = postcard::to_allocvec(&(0_u32, 7_u32, "what it may be")).unwrap();
    Log::open(store.clone()).unwrap().0.replace([&*foreign]).unwrap();
    let (journal, opened) = Journal::open(store).unwrap();
    assert_eq!(opened, Opened::Dropped("it was written in version 7 of its form, this one is 1".into()));
    assert_eq!(journal.bond(), None);
}

#[test]
fn a_full_disk_loses_nothing_once_there_is_room() {
    let store = Memory::new();
    let (mut journal, _) = Journal::open(store.clone()).unwrap();
    journal.bind(bond(1)).unwrap();
    journal.record(vec![folder()]).unwrap();
    journal.commit().unwrap();
    store.limit(Some(200));
    journal.record((0..20).map(|n| change(&format!("f{n}"), Some(file("x")))).collect()).unwrap();
    assert!(journal.commit().is_err() && journal.commit().is_err());
    let (meanwhile, _) = Journal::open(store.clone()).unwrap();
    assert_eq!(meanwhile.tree().count(), 1);
    store.limit(None);
    journal.commit().unwrap();
    assert_eq!(Journal::open(store).unwrap().0.tree(), journal.tree());
}

#[test]
fn the_file_does_not_grow_for_ever() {
    let store = Memory::new();
    let (mut journal, _) = Journal::open(store.clone()).unwrap();
    journal.bind(bond(1)).unwrap();
    journal.record(vec![folder()]).unwrap();
    for round in 0..40 {
        let burst = (0..1000).map(|n| change(&format!("f{n}"), Some(file(&format!("{round}"))))).collect();
        journal.record(burst).unwrap();
        journal.commit().unwrap();
        let length = store.clone().read().unwrap().len() as u64;
        assert!(length < SLACK + 300_000, "{length} bytes after {round} rounds");
    }
    assert_eq!(Journal::open(store).unwrap().0.tree(), journal.tree());
}

#[derive(Debug, Clone)]
enum Step {
    Record(u8, Option<u8>),
    Commit,
    CommitFails(usize),
    Crash(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..6_u8, any::<Option<u8>>()).prop_map(|(path, text)| Step::Record(path, text)),
        2 => Just(Step::Commit),
        1 => (0..3_usize).prop_map(Step::CommitFails),
        2 => any::<u64>().prop_map(Step::Crash),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #[test]
    fn a_crash_leaves_a_state_that_was_and_none_older_than_the_last_commit(steps in steps()) {
        let store = Memory::new();
        let (mut journal, _) = Journal::open(store.clone()).unwrap();
        journal.bind(bond(1)).unwrap();
        journal.record(vec![folder()]).unwrap();
        journal.commit().unwrap();
        // What may be found: the last commit that returned, and all that was begun since.
        let mut possible = vec![journal.tree().clone()];
        for step in steps {
            match step {
                Step::Record(path, text) => {
                    let item = text.map(|text| file(&text.to_string()));
                    journal.record(vec![change(&format!("p{path}"), item)]).unwrap();
                }
                Step::Commit => {
                    journal.commit().unwrap();
                    possible = vec![journal.tree().clone()];
                }
                Step::CommitFails(calls) => {
                    store.fail_in(Some(calls));
                    possible.push(journal.tree().clone());
                    if journal.commit().is_ok() {
                        possible = vec![journal.tree().clone()];
                    }
                    store.fail_in(None);
                }
                Step::Crash(seed) => {
                    let random = Cell::new(seed | 1);
                    store.crash(|below| {
                        let next = random.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        random.set(next);
                        usize::try_from(next >> 33).unwrap() % below
                    });
                    let (again, opened) = Journal::open(store.clone()).unwrap();
                    prop_assert_eq!(opened, Opened::Whole);
                    prop_assert!(possible.contains(again.tree()), "{:?} is none of {:?}", again.tree(), possible);
                    journal = again;
                    possible = vec![journal.tree().clone()];
                }
            }
        }
    }
}
