//! What a batch does when nobody interferes.

use super::*;
use crate::disk::sim::Fate;
use crate::versions;
use crate::versions::Cause;

#[test]
fn a_batch_is_made_true_and_what_it_displaced_is_kept() {
    for apart in [false, true] {
        let (mut world, transitions) = mixed::world(1);
        if apart {
            world.disk.keep_apart();
        }
        let outcomes = world.apply(&transitions);
        assert_eq!(problems(&outcomes), [""; 0]);
        for (at, views) in mixed::views() {
            assert_eq!(world.see(at), *views.last().unwrap(), "{at}");
        }
        world.versions.settle(&world.disk).unwrap();
        let kept = world.kept();
        for content in mixed::PRECIOUS.into_iter().filter(|content| *content != "moved") {
            let seen = text(content).unwrap();
            assert!(kept.iter().any(|(_, kept)| *kept == seen), "{content}");
        }
        let link = kept.iter().find(|(version, _)| version.path == Some(path("link"))).unwrap();
        assert_eq!(link.1, Seen::Symlink(b"edit".to_vec()));
        for (version, _) in &kept {
            assert_eq!(world.versions.describe(&world.disk, version.id).unwrap().unwrap(), version.what);
            assert_eq!((version.batch, version.side), (7, Side::Alpha));
        }
        assert!(world.disk.slots().unwrap().iter().all(|slot| matches!(slot, Slot::Kept(_))));

        // What it says is what a scan says, stamps included where it gives them.
        let mut said = world.local.clone();
        let changes: Vec<_> = outcomes
            .iter()
            .map(|outcome| tree::Change { path: outcome.path.clone(), item: outcome.now.clone() })
            .collect();
        said.apply(&changes).unwrap();
        world.disk.user(|volume| volume.advance(1_000_000_000));
        assert_eq!(said, scan(&world.disk, &untracked));

        // And it is still there after a restart.
        world.disk.sync().unwrap();
        world.versions.sync().unwrap();
        world.disk.restart();
        let again = kept_after_restart(&world);
        assert_eq!(again, kept);
    }
}

fn kept_after_restart(world: &World) -> Vec<(Version, Seen)> {
    kept(&world.disk, &open(&world.disk))
}

#[test]
fn a_stamp_is_given_only_when_a_later_write_would_show() {
    let mut world = World::new(1, |volume| volume.write("f", b"one").unwrap());
    let sure = |outcomes: &[Outcome]| {
        let Some(Item::File(file)) = &outcomes[0].now else { panic!("{outcomes:?}") };
        file.stamp != Stamp::UNKNOWN
    };
    world.stage(&["two"]);
    let transitions = world.transitions([("f", Some(file("two")))]);
    assert!(!sure(&world.apply(&transitions)), "written a moment ago");

    world.local = scan(&world.disk, &untracked);
    world.stage(&["six"]);
    world.disk.user(|volume| volume.advance(1_000_000_000));
    let transitions = world.transitions([("f", Some(file("six")))]);
    let outcomes = world.apply(&transitions);
    assert!(sure(&outcomes));
    let facts = world.disk.stat((&path("f")).into()).unwrap().unwrap();
    let Some(Item::File(file)) = &outcomes[0].now else { unreachable!() };
    assert_eq!(file.stamp, facts.stamp());
}

#[test]
fn the_mode_stays_but_for_who_may_execute() {
    let mut world = World::new(1, |volume| {
        volume.write("f", b"one").unwrap();
        volume.set_executable("f", true).unwrap();
    });
    world.stage(&["two"]);
    let transitions = world.transitions([("f", Some(file("two")))]);
    world.apply(&transitions);
    assert_eq!(world.see("f"), text("two"));
    assert!(matches!(&world.kept()[0].1, Seen::File(content, true) if content == b"one"));
}

#[test]
fn only_what_is_named_is_removed() {
    let mut world = World::new(1, |volume| {
        for directory in ["d", "d/sub", "d/node_modules"] {
            volume.make_directory(directory).unwrap();
        }
        for at in ["d/a", "d/.env", "d/sub/b", "d/node_modules/x"] {
            volume.write(at, at.as_bytes()).unwrap();
        }
    });
    let transitions = world.transitions([("d", None)]);
    let outcomes = world.apply(&transitions);
    assert_eq!(problems(&outcomes), ["Some(`d`): the directory holds something that is not synchronised"]);
    assert_eq!(outcomes[0].now, Some(directory([])));
    let seen: Vec<_> = world.disk.user(|volume| volume.see_all().into_keys().collect());
    assert_eq!(seen, ["d", "d/.env", "d/node_modules", "d/node_modules/x"]);

    // Once it is gone, the disposable goes along.
    world.disk.user(|volume| volume.remove("d/.env").unwrap());
    world.local = scan(&world.disk, &untracked);
    let transitions = world.transitions([("d", None)]);
    assert_eq!(problems(&world.apply(&transitions)), [""; 0]);
    assert_eq!(world.see("d"), None);
    world.versions.settle(&world.disk).unwrap();
    assert_eq!(world.kept().len(), 2);
}

#[test]
fn a_name_that_appeared_keeps_its_directory() {
    let mut world = World::new(1, |volume| {
        volume.make_directory("d").unwrap();
        volume.make_directory("d/node_modules").unwrap();
        volume.write("d/a", b"a").unwrap();
    });
    world.disk.user(|volume| volume.write("d/new", b"new").unwrap());
    let transitions = world.transitions([("d", None)]);
    let outcomes = world.apply(&transitions);
    assert_eq!(problems(&outcomes).len(), 1);
    assert_eq!((world.see("d/new"), world.see("d/node_modules")), (text("new"), Some(Seen::Directory)));
}

#[test]
fn a_rename_reads_nothing() {
    let mut world = World::new(1, |volume| volume.write("from", b"content").unwrap());
    let transitions = world.transitions([("from", None), ("to", Some(file("content")))]);
    world.disk.set_hook(|_, call| {
        assert!(!["read", "stage", "write"].contains(&call.name), "{call:?}");
        Fate::Go
    });
    assert_eq!(problems(&world.apply(&transitions)), [""; 0]);
    assert_eq!((world.see("from"), world.see("to")), (None, text("content")));
    world.disk.clear_hook();
    let version = world.versions.all().next().unwrap().clone();
    assert_eq!(version.cause, Cause::Moved(path("to")));

    // It can be undone: the content is where it went, or, when that was replaced, in the store.
    restore(&world.disk, &mut world.versions, version.id, 8).unwrap();
    assert_eq!(world.see("from"), text("content"));
    world.disk.user(|volume| volume.write("to", b"other").unwrap());
    world.disk.user(|volume| volume.remove("from").unwrap());
    assert!(restore(&world.disk, &mut world.versions, version.id, 8).is_err());
    assert_eq!(world.see("from"), None);
}

#[test]
fn content_that_came_at_once_goes_from_its_part_to_its_place() {
    let mut world = World::new(1, |volume| volume.write("old", b"before").unwrap());
    let changes = [
        ("old", Some(file("replaced"))),
        ("new", Some(file("new"))),
        ("twin", Some(file("new"))),
        ("empty", Some(file(""))),
        ("other", Some(file("unknown"))),
    ];
    let transitions = world.transitions(changes);
    let mut fresh = BTreeMap::new();
    for (part, content) in [(1 << 32, "new"), (2 << 32, "replaced"), (3 << 32, "for a later batch")] {
        let facts = write(&world.disk, part, Slot::Part(part), content.as_bytes());
        fresh.insert(digest(content.as_bytes()), Fresh { part, facts });
    }
    let (lost, later) = (BTreeSet::new(), digest(b"for a later batch"));
    let batch = Batch { id: 7, transitions: &transitions, lost: &lost, raw_links: false };
    let outcomes = apply(&world.disk, &mut world.versions, &world.local, &batch, &mut fresh);
    assert_eq!(problems(&outcomes), ["Some(`other`): its content has not arrived"]);
    let seen = ["old", "new", "twin", "empty"].map(|at| world.see(at));
    assert_eq!(seen, [text("replaced"), text("new"), text("new"), text("")]);
    assert_eq!(fresh.into_keys().collect::<Vec<_>>(), [later]);
    world.versions.settle(&world.disk).unwrap();
    let slots = world.disk.slots().unwrap();
    assert!(matches!(slots[..], [Slot::Part(part), Slot::Kept(_)] if part == 3 << 32), "{slots:?}");
}

#[test]
fn two_files_that_change_places_need_both_contents() {
    let mut world = World::new(1, |volume| {
        volume.write("a", b"one").unwrap();
        volume.write("b", b"two").unwrap();
        volume.write("c", b"three").unwrap();
    });
    let changes =
        [("a", Some(file("two"))), ("b", Some(file("one"))), ("c", None), ("d", Some(file("three")))];
    let transitions = world.transitions(changes);
    world.stage(&["one", "two"]);
    assert_eq!(problems(&world.apply(&transitions)), [""; 0]);
    assert_eq!([world.see("a"), world.see("b"), world.see("d")], [text("two"), text("one"), text("three")]);
}

#[test]
fn a_full_disk_stops_the_batch_and_nothing_is_lost() {
    let mut world = World::new(1, |volume| {
        volume.write("a", b"12345678").unwrap();
        volume.limit(Some(25));
    });
    world.stage(&["much content"]);
    let content = Some(file("much content"));
    let changes = [("a", None), ("b", content.clone()), ("b2", content), ("c", Some(directory([])))];
    let transitions = world.transitions(changes);
    let outcomes = world.apply(&transitions);
    assert_eq!(problems(&outcomes), ["Some(`b2`): the disk is full", "Some(`c`): the disk is full"]);
    assert_eq!((world.see("b2"), world.see("c")), (None, None));
    assert!(world.disk.slots().unwrap().iter().all(|slot| matches!(slot, Slot::Kept(_))), "no part is left");

    // With room, the rest follows.
    world.disk.user(|volume| volume.limit(None));
    world.local = scan(&world.disk, &untracked);
    world.stage(&["much content"]);
    let transitions = world.transitions([("b2", Some(file("much content"))), ("c", Some(directory([])))]);
    assert_eq!(problems(&world.apply(&transitions)), [""; 0]);
    assert_eq!(world.see("b2"), text("much content"));
}

#[test]
fn what_the_system_refuses_is_reported_with_its_path_and_changes_nothing() {
    let calls = |world: &World| world.disk.calls();
    let count = {
        let (mut world, transitions) = mixed::world(1);
        let before = calls(&world);
        world.apply(&transitions);
        calls(&world) - before
    };
    for errno in [Errno::ACCESS, Errno::IO, Errno::NOSPC] {
        for failing in 0..count {
            let (mut world, transitions) = mixed::world(1);
            let first = calls(&world);
            world.disk.set_hook(
                move |_, call| {
                    if call.number == first + failing { Fate::Fail(errno) } else { Fate::Go }
                },
            );
            let outcomes = world.apply(&transitions);
            world.disk.clear_hook();
            let context = format!("{errno:?} at call {failing}: {:?}", problems(&outcomes));
            world.disk.sync().unwrap();
            let world = World::open(world.disk);
            race::nothing_is_lost(&world, &[]).unwrap_or_else(|lost| panic!("{lost}; {context}"));
            for (at, views) in mixed::views() {
                assert!(views.contains(&world.see(at)), "{at}: {:?}; {context}", world.see(at));
            }
        }
    }
}

#[test]
fn a_version_comes_back_as_an_edit_and_what_stood_there_is_kept() {
    let mut world = World::new(1, |volume| {
        volume.make_directory("d").unwrap();
        volume.write("d/f", b"one").unwrap();
        volume.link("d/l", b"f").unwrap();
    });
    let transitions = world.transitions([("d", None)]);
    world.apply(&transitions);
    let undo = world.versions.undo_path(&path("d"));
    assert_eq!(undo, world.versions.undo_batch(7));
    assert_eq!(undo.len(), 2);
    for id in undo {
        restore(&world.disk, &mut world.versions, id, 8).unwrap();
    }
    assert_eq!(world.see("d/f"), text("one"));
    assert_eq!(world.see("d/l"), Some(Seen::Symlink(b"f".to_vec())));

    let id = world.versions.undo_path(&path("d/f"))[0];
    world.disk.user(|volume| volume.write("d/f", b"two").unwrap());
    restore(&world.disk, &mut world.versions, id, 9).unwrap();
    assert_eq!(world.see("d/f"), text("one"));
    let id = world.versions.undo_batch(9)[0];
    restore(&world.disk, &mut world.versions, id, 10).unwrap();
    assert_eq!(world.see("d/f"), text("two"));

    world.disk.user(|volume| {
        volume.remove("d/f").unwrap();
        volume.make_directory("d/f").unwrap();
    });
    let error = restore(&world.disk, &mut world.versions, id, 11).unwrap_err();
    assert_eq!(error.to_string(), "`d/f` is a directory now");
    assert!(world.disk.slots().unwrap().iter().all(|slot| matches!(slot, Slot::Kept(_))));
}

#[test]
fn what_could_not_be_put_away_is_put_away_before_its_slot_is_used() {
    let mut world = World::new(6, |volume| volume.write("edit", b"one").unwrap());
    world.stage(&["two"]);
    let transitions = world.transitions([("edit", Some(file("two")))]);
    world.disk.set_hook(|_, call| if call.name == "shift" { Fate::Fail(Errno::IO) } else { Fate::Go });
    assert_ne!(problems(&world.apply(&transitions)), [""; 0]);
    world.disk.clear_hook();
    let transitions = world.transitions([("other", Some(file("two")))]);
    assert_eq!(problems(&world.apply(&transitions)), ["Some(`other`): its content has not arrived"]);
    world.stage(&["two"]);
    assert_eq!(problems(&world.apply(&transitions)), [""; 0]);
    assert_eq!((world.see("edit"), world.see("other")), (text("two"), text("two")));
    let kept: Vec<_> = world.kept().into_iter().map(|(version, seen)| (version.path, Some(seen))).collect();
    assert_eq!(kept, [(Some(path("edit")), text("one"))]);
}

#[test]
fn an_undo_does_not_bring_what_only_stands_under_its_name() {
    let mut world = World::new(1, |volume| volume.write("a", b"first").unwrap());
    let transitions = world.transitions([("a", None)]);
    assert_eq!(problems(&world.apply(&transitions)), [""; 0]);
    let id = world.versions.all().next().unwrap().id;
    // An edit of another file that had come as far as the exchange: its old content is where the new one was.
    let slot = Slot::Whole(blake3::hash(b"first").into());
    let mut writer = world.disk.stage(99).unwrap();
    std::io::Write::write_all(&mut writer, b"displaced").unwrap();
    world.disk.finish(writer, slot).unwrap();
    let at = path("b");
    let what = versions::What::File { size: 9, executable: false, digest: blake3::hash(b"displaced").into() };
    let announcement = versions::Announcement {
        batch: 8,
        path: &at,
        what,
        modified: 0,
        cause: Cause::Overwritten,
        slot: Some(slot),
    };
    world.versions.announce(world.disk.now(), announcement).unwrap();
    restore(&world.disk, &mut world.versions, id, 9).unwrap();
    assert_eq!(world.see("a"), text("first"));
    assert!(world.kept().iter().any(|(_, kept)| *kept == text("displaced").unwrap()), "and that is kept");
}
