//! What the simulation promises beyond what every disk does.

use std::io::Read as _;
use std::io::Write as _;

use super::*;

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

#[test]
fn the_same_seed_loses_the_same_in_a_crash() {
    let run = |seed| {
        let disk = SimDisk::new(seed);
        disk.user(|volume| {
            volume.make_directory("d").unwrap();
            volume.write("d/old", b"old").unwrap();
            volume.sync();
            for number in 0..20 {
                volume.save(&format!("d/{number}"), b"unordered").unwrap();
            }
            volume.write("d/old", b"new").unwrap();
        });
        disk.restart();
        disk.user(|volume| volume.see_all())
    };
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let seen = run(seed);
        assert_eq!(seen, run(seed));
        assert!(seen.contains_key("d/old"), "what was synced stays");
        outcomes.insert(seen);
    }
    assert!(outcomes.len() > 50, "{}", outcomes.len());
}

#[test]
fn a_crash_keeps_each_move_whole_and_what_it_rests_on() {
    for seed in 0..300 {
        let disk = SimDisk::new(seed);
        disk.user(|volume| {
            volume.make_directory("a").unwrap();
            volume.write("a/x", b"x").unwrap();
            volume.sync();
            volume.make_directory("b").unwrap();
            volume.rename("a/x", "b/x").unwrap();
            volume.remove("a").unwrap();
        });
        disk.restart();
        let seen = disk.user(|volume| volume.see_all());
        let copies = ["a/x", "b/x"].iter().filter(|path| seen.contains_key(**path)).count();
        assert_eq!(copies, 1, "seed {seed}: {seen:?}");
    }
}

#[test]
fn ordered_content_is_never_torn_and_other_content_may_be() {
    let torn = |order: bool| {
        (0..100).any(|seed| {
            let disk = SimDisk::new(seed);
            let mut writer = disk.stage(1).unwrap();
            writer.write_all(b"content").unwrap();
            let slot = Slot::Taken(1);
            if order {
                disk.finish(writer, slot).unwrap();
            } else {
                disk.shift(Slot::Part(1), slot).unwrap();
            }
            disk.place(slot, &path("f")).unwrap();
            disk.restart();
            let seen = disk.user(|volume| volume.see("f"));
            seen.is_some_and(|seen| seen != Seen::File(b"content".to_vec(), false))
        })
    };
    assert!(!torn(true));
    assert!(torn(false));
}

#[test]
fn a_hook_edits_fails_and_crashes() {
    let disk = SimDisk::new(0);
    disk.set_hook(|volume, call| match call.number {
        0 => {
            volume.write("f", b"edit").unwrap();
            Fate::Go
        }
        1 => Fate::Fail(Errno::ACCESS),
        _ => Fate::Crash,
    });
    let f = path("f");
    assert!(disk.stat(At::Path(&f)).unwrap().is_some());
    assert_eq!(disk.stat(At::Path(&f)).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    for _ in 0..2 {
        assert!(Crashed::is(&disk.stat(At::Path(&f)).unwrap_err()));
    }
    disk.clear_hook();
    disk.revive();
    assert!(disk.stat(At::Path(&f)).unwrap().is_some());
    assert_eq!(disk.user(Volume::take_changed), [None].into());
}

#[test]
fn numbers_of_removed_files_are_given_again_and_a_descriptor_outlives_its_name() {
    let disk = SimDisk::new(0);
    disk.user(|volume| {
        volume.write("a", b"a").unwrap();
        volume.write("b", b"b").unwrap();
    });
    let number = |name: &str| disk.stat(At::Path(&path(name))).unwrap().unwrap().inode;
    let (a, b) = (number("a"), number("b"));
    let (mut reader, _) = disk.open(At::Path(&path("b"))).unwrap();
    disk.user(|volume| {
        volume.remove("a").unwrap();
        volume.remove("b").unwrap();
        volume.sync();
        volume.write("c", b"c").unwrap();
        volume.write("d", b"d").unwrap();
    });
    assert_eq!(number("c"), a);
    assert_ne!(number("d"), b);
    let mut content = Vec::new();
    reader.read_to_end(&mut content).unwrap();
    assert_eq!(content, b"b");
}

#[test]
fn a_full_disk_says_so() {
    let disk = SimDisk::new(0);
    disk.user(|volume| volume.limit(Some(10)));
    let mut writer = disk.stage(1).unwrap();
    writer.write_all(b"12345678").unwrap();
    assert_eq!(disk.free().unwrap(), 2);
    assert_eq!(writer.write_all(b"9ab").unwrap_err().kind(), io::ErrorKind::StorageFull);
    disk.discard(Slot::Part(1)).unwrap();
    assert_eq!(disk.free().unwrap(), 10);
}
