//! The list of versions: what is kept of it, and for how long.

use std::io::Write as _;

use super::*;
use crate::disk::sim::SimDisk;
use crate::disk::sim::SimMedium;

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

fn open(disk: &SimDisk, limits: Limits) -> Versions<SimMedium> {
    Versions::open(disk, disk.medium(0), Side::Beta, limits).unwrap()
}

/// Makes a file and displaces it.
fn displace(disk: &SimDisk, versions: &mut Versions<SimMedium>, at: &str, content: &str, batch: u64) -> u64 {
    disk.user(|volume| {
        volume.write(at, content.as_bytes()).unwrap();
        volume.advance(1_000_000_000);
    });
    let at = path(at);
    let facts = disk.stat((&at).into()).unwrap().unwrap();
    let what = describe(disk, (&at).into(), &facts).unwrap();
    let modified = facts.modified;
    let announcement = Announcement { batch, path: &at, what, modified, cause: Cause::Deleted, slot: None };
    let id = versions.announce(disk.now(), announcement).unwrap();
    let slot = versions.take(disk, &at, id).unwrap();
    versions.keep(disk, id, slot).unwrap();
    id
}

#[test]
fn versions_are_found_by_path_and_by_batch_and_after_a_restart() {
    let disk = SimDisk::new(0);
    disk.user(|volume| volume.make_directory("d").unwrap());
    let mut versions = open(&disk, Limits::default());
    let ids: Vec<_> = [("a", "1", 1), ("d/b", "2", 1), ("a", "3", 2), ("d/b", "4", 3), ("d/b", "5", 3)]
        .map(|(at, content, batch)| displace(&disk, &mut versions, at, content, batch))
        .into();
    assert!(ids.is_sorted());
    let check = |versions: &Versions<SimMedium>| {
        let all: Vec<_> = versions.all().map(|version| version.id).collect();
        assert_eq!(all, ids);
        assert_eq!(
            versions.of_path(&path("a")).map(|version| version.id).collect::<Vec<_>>(),
            [ids[0], ids[2]]
        );
        assert_eq!(versions.of_path(&path("d")).count(), 3);
        assert_eq!(versions.undo_batch(1), [ids[0], ids[1]]);
        assert_eq!(versions.undo_path(&path("d")), [ids[3]], "what stood there before the batch");
        assert_eq!(versions.bytes(), 5);
        assert!(versions.all().all(|version| version.side == Side::Beta));
    };
    check(&versions);
    check(&open(&disk, Limits::default()));
}

#[test]
fn the_old_and_the_too_many_go_first() {
    let disk = SimDisk::new(0);
    let limits = Limits { age: Duration::from_secs(10), bytes: 10 };
    let mut versions = open(&disk, limits);
    let ids: Vec<_> = (0..4).map(|turn| displace(&disk, &mut versions, "f", "1234", turn)).collect();
    assert_eq!(versions.prune(&disk, disk.now()).unwrap(), 2);
    assert_eq!(versions.all().map(|version| version.id).collect::<Vec<_>>(), ids[2..]);
    assert_eq!(versions.prune(&disk, disk.now() + 9_500_000_000).unwrap(), 1);
    assert_eq!(disk.slots().unwrap(), [Slot::Kept(ids[3])]);
    let again = open(&disk, limits);
    assert_eq!(again.all().map(|version| version.id).collect::<Vec<_>>(), ids[3..]);
}

#[test]
fn a_lost_list_loses_names_and_no_content() {
    let disk = SimDisk::new(0);
    let mut versions = open(&disk, Limits::default());
    let id = displace(&disk, &mut versions, "f", "content", 1);
    let versions = Versions::open(&disk, disk.medium(1), Side::Alpha, Limits::default()).unwrap();
    let version = versions.all().next().unwrap();
    assert_eq!((version.id, &version.path, &version.cause), (id, &None, &Cause::Recovered));
    assert_eq!(version.what.digest(), Some(blake3::hash(b"content").into()));
}

#[test]
fn content_on_its_way_in_stays_and_half_of_it_goes() {
    let disk = SimDisk::new(0);
    let mut writer = disk.stage(1).unwrap();
    writer.write_all(b"whole").unwrap();
    let whole = Slot::Whole(blake3::hash(b"whole").into());
    disk.finish(writer, whole).unwrap();
    disk.stage(2).unwrap().write_all(b"half").unwrap();
    let versions = open(&disk, Limits::default());
    assert_eq!(disk.slots().unwrap(), [whole]);
    assert_eq!(versions.all().count(), 0);
}

#[test]
fn the_log_stays_in_proportion() {
    let disk = SimDisk::new(0);
    let mut versions = open(&disk, Limits { age: Duration::from_secs(1), bytes: 0 });
    for turn in 0..600 {
        displace(&disk, &mut versions, "f", "x", turn);
        versions.prune(&disk, disk.now()).unwrap();
    }
    assert!(versions.records < 1_010, "{}", versions.records);
    assert_eq!(open(&disk, Limits::default()).all().count(), 0);
}
