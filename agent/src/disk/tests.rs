//! What every disk promises, asked of each kind.

use std::io::Read as _;
use std::io::Write as _;

use super::*;

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

const ME: Owner = Owner { user: 0, group: 0 };
const A: Slot = Slot::Whole(Digest([1; 32]));
const B: Slot = Slot::Taken(7);

struct Real {
    base: tempfile::TempDir,
    disk: Folder,
}

fn real(staging: bool) -> Real {
    let base = tempfile::tempdir().unwrap();
    let at = |name: &str| base.path().join(name);
    std::fs::create_dir(at("root")).unwrap();
    let staging = if staging { StageAt::Beside(at("stage")) } else { StageAt::Inside };
    let disk = Folder::open(&at("root"), staging, &at("kept")).unwrap();
    Real { base, disk }
}

fn stage(disk: &impl Disk, content: &[u8], slot: Slot) -> Facts {
    let mut writer = disk.stage(1).unwrap();
    writer.write_all(content).unwrap();
    disk.finish(writer, slot).unwrap()
}

fn read(disk: &impl Disk, at: At<'_>) -> Vec<u8> {
    let mut content = Vec::new();
    disk.open(at).unwrap().0.read_to_end(&mut content).unwrap();
    content
}

fn names(disk: &impl Disk, at: At<'_>) -> Vec<String> {
    let mut names: Vec<_> =
        disk.list(at).unwrap().iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect();
    names.sort();
    names
}

fn kind<T>(result: io::Result<T>) -> Option<io::ErrorKind> {
    result.err().map(|error| error.kind())
}

/// Content goes through the staging area into the tree, and out again, and is never over something.
fn moves(disk: &impl Disk) {
    let file = path("d/file");
    disk.make_directory(&path("d"), 0o755, ME).unwrap();
    let facts = stage(disk, b"one", A);
    assert_eq!((facts.kind, facts.size, facts.links), (Kind::File, 3, 1));
    assert_eq!(disk.slots().unwrap(), [A]);
    disk.dress(A, 0o750, ME).unwrap();
    disk.place(A, &file).unwrap();
    let placed = disk.stat(At::Path(&file)).unwrap().unwrap();
    assert!(placed.unwritten_since(&facts) && placed.executable() && placed.mode == 0o750);

    stage(disk, b"two", A);
    assert_eq!(kind(disk.place(A, &file)), Some(io::ErrorKind::AlreadyExists));
    disk.exchange(A, &file).unwrap();
    assert_eq!(read(disk, At::Path(&file)), b"two");
    assert_eq!(read(disk, At::Slot(A)), b"one");
    assert!(disk.stat(At::Slot(A)).unwrap().unwrap().unwritten_since(&facts));

    assert_eq!(kind(disk.take(&file, A)), Some(io::ErrorKind::AlreadyExists));
    disk.take(&file, B).unwrap();
    assert_eq!(disk.stat(At::Path(&file)).unwrap(), None);
    assert_eq!(kind(disk.exchange(A, &file)), Some(io::ErrorKind::NotFound));
    disk.shift(B, Slot::Part(9)).unwrap();
    disk.archive(Slot::Part(9), 3).unwrap();
    disk.shift(Slot::Kept(3), B).unwrap();
    disk.shift(B, Slot::Kept(3)).unwrap();
    assert_eq!(disk.slots().unwrap(), [A, Slot::Kept(3)]);
    assert_eq!(read(disk, At::Slot(Slot::Kept(3))), b"two");
    disk.discard(A).unwrap();
    disk.discard(A).unwrap();
    disk.sync().unwrap();
}

/// A file may change places with a directory, and a link with either.
fn kinds(disk: &impl Disk) {
    let at = path("x");
    disk.make_directory(&at, 0o755, ME).unwrap();
    stage(disk, b"file", A);
    disk.exchange(A, &at).unwrap();
    assert_eq!(read(disk, At::Path(&at)), b"file");
    assert_eq!(disk.stat(At::Slot(A)).unwrap().unwrap().kind, Kind::Directory);
    assert!(disk.discard(A).is_err());
    disk.dispose(A).unwrap();

    disk.stage_link(A, b"../y").unwrap();
    disk.dress(A, 0o777, ME).unwrap();
    disk.exchange(A, &at).unwrap();
    assert_eq!(disk.read_link(At::Path(&at)).unwrap(), b"../y");
    assert_eq!(kind(disk.open(At::Path(&at))), Some(io::ErrorKind::InvalidInput));
    disk.discard(A).unwrap();

    disk.take(&at, B).unwrap();
    assert_eq!(disk.read_link(At::Slot(B)).unwrap(), b"../y");
    disk.archive(B, 4).unwrap();
    assert_eq!(disk.read_link(At::Slot(Slot::Kept(4))).unwrap(), b"../y");
    disk.discard(Slot::Kept(4)).unwrap();
    disk.make_directory(&at, 0o755, ME).unwrap();

    stage(disk, b"file", A);
    disk.place(A, &path("x/below")).unwrap();
    assert_eq!(kind(disk.remove_directory(&at)), Some(io::ErrorKind::DirectoryNotEmpty));
    disk.rename(&path("x/below"), &path("y")).unwrap();
    disk.make_directory(&path("z"), 0o755, ME).unwrap();
    assert_eq!(kind(disk.rename(&path("y"), &path("z"))), Some(io::ErrorKind::AlreadyExists));
    disk.remove_directory(&at).unwrap();
    disk.rename(&path("y"), &path("z/y")).unwrap();
    disk.take(&path("z"), B).unwrap();
    disk.dispose(B).unwrap();
    disk.dispose(B).unwrap();
    assert!(names(disk, At::Root).is_empty());
    assert!(disk.slots().unwrap().is_empty());
}

/// Looking tells what is there, and what is not there is no error.
fn looks(disk: &impl Disk) {
    stage(disk, b"file", A);
    disk.place(A, &path("f")).unwrap();
    for absent in ["a", "a/b", "f/b"] {
        assert_eq!(disk.stat(At::Path(&path(absent))).unwrap(), None, "{absent}");
    }
    assert!(disk.list(At::Path(&path("f"))).is_err());
    let facts = disk.stat(At::Path(&path("f"))).unwrap().unwrap();
    assert!(disk.set_mode(&path("f"), facts.inode, 0o700).unwrap());
    assert!(!disk.set_mode(&path("f"), facts.inode + 1, 0o600).unwrap());
    let listing = disk.list(At::Root).unwrap();
    let listed = listing[0].1.as_ref().unwrap();
    assert!(listed.unwritten_since(&facts) && listed.mode == 0o700 && listed.changed >= facts.changed);
    let root = disk.stat(At::Root).unwrap().unwrap();
    assert_eq!((root.kind, root.device), (Kind::Directory, facts.device));
    assert_eq!(disk.identity().unwrap().inode, root.inode);
    assert!(facts.modified <= disk.now() + 1_000_000_000);
    let (reader, opened) = disk.open(At::Path(&path("f"))).unwrap();
    assert_eq!(reader.facts().unwrap(), opened);
}

/// A folder is claimed once, and only the one that was claimed is known again.
fn claims(disk: &impl Disk) {
    let nonce = |number| Nonce([number; 16]);
    let unmarked = disk.identity().unwrap();
    assert!(unmarked.nonce.is_absent());
    let claimed = disk.claim(nonce(1)).unwrap();
    assert_eq!(claimed, Identity { nonce: nonce(1), ..unmarked });
    assert!(claimed.is(&unmarked) && claimed.is(&claimed) && !unmarked.is(&claimed));
    disk.mark(nonce(2)).unwrap();
    assert_eq!(disk.claim(nonce(2)).unwrap(), claimed, "whoever comes later changes nothing");
    assert_eq!(disk.identity().unwrap(), claimed);
    assert!(names(disk, At::Root).is_empty() && disk.slots().unwrap().is_empty(), "nothing is seen of it");
}

/// Whether extended attributes are held where tests have their files.
fn holds_marks(at: &std::path::Path) -> bool {
    rustix::fs::setxattr(at, "user.nexus.test", b"", rustix::fs::XattrFlags::empty()).is_ok()
}

#[test]
fn a_folder_is_known_by_its_mark_and_a_copy_is_another() {
    claims(&sim::SimDisk::new(4));
    let Real { base, disk } = real(true);
    if !holds_marks(base.path()) {
        assert_eq!(disk.claim(Nonce([1; 16])).unwrap(), disk.identity().unwrap());
        return;
    }
    claims(&disk);
    let claimed = disk.identity().unwrap();
    let at = |name: &str| base.path().join(name);
    let open = |name: &str| Folder::open(&at(name), StageAt::Beside(at("stage")), &at("kept")).unwrap();
    let copied = std::process::Command::new("cp").arg("-a").args([at("root"), at("copy")]).status();
    assert!(copied.unwrap().success());
    let copy = open("copy").claim(Nonce([3; 16])).unwrap();
    assert!(
        copy.nonce == claimed.nonce && !copy.is(&claimed),
        "a copy brings the mark, and is another folder"
    );
    std::fs::rename(at("root"), at("moved")).unwrap();
    assert_eq!(open("moved").claim(Nonce([3; 16])).unwrap(), claimed, "wherever it goes it is the same");
    // As one made again that has got the inode number of the one before.
    rustix::fs::removexattr(at("moved"), "user.nexus.root").unwrap();
    let again = disk.claim(Nonce([4; 16])).unwrap();
    assert!(again.inode == claimed.inode && !again.is(&claimed));
    // What cannot be one of ours is never one that we know.
    rustix::fs::setxattr(at("moved"), "user.nexus.root", b"x", rustix::fs::XattrFlags::REPLACE).unwrap();
    assert!(!disk.identity().unwrap().is(&claimed));
}

#[test]
fn a_real_folder_keeps_the_promises() {
    for beside in [true, false] {
        moves(&real(beside).disk);
        kinds(&real(beside).disk);
        looks(&real(beside).disk);
    }
}

#[test]
fn a_simulated_folder_keeps_the_promises() {
    moves(&sim::SimDisk::new(1));
    kinds(&sim::SimDisk::new(2));
    looks(&sim::SimDisk::new(3));
}

#[test]
fn a_file_system_without_exchange_keeps_them_too() {
    let folder = real(true);
    folder.disk.forget_exchange();
    moves(&folder.disk);
    let folder = real(true);
    folder.disk.forget_exchange();
    kinds(&folder.disk);
}

#[test]
fn a_staging_area_inside_is_unseen_and_goes_with_its_session() {
    let Real { base, disk } = real(false);
    stage(&disk, b"x", A);
    let root = base.path().join("root");
    assert!(root.join(".nexus-stage").exists());
    assert!(names(&disk, At::Root).is_empty());
    let inside = RelPath::parse(&[b".nexus-stage/".as_slice(), A.name().as_bytes()].concat()).unwrap();
    assert_eq!(disk.stat(At::Path(&inside)).unwrap(), None);
    assert_eq!(kind(disk.take(&inside, B)), Some(io::ErrorKind::NotFound));

    // Whoever removes it meanwhile does no harm.
    std::fs::remove_dir_all(root.join(".nexus-stage")).unwrap();
    stage(&disk, b"x", A);
    disk.discard(A).unwrap();
    drop(disk);
    assert!(!root.join(".nexus-stage").exists());
}

#[test]
fn what_is_no_file_is_never_opened() {
    use rustix::fs::FileType;
    use rustix::fs::Mode;
    let Real { base, disk } = real(true);
    let at = |name: &str| base.path().join("root").join(name);
    let mode = Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), FileType::Fifo, mode, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    let zero = rustix::fs::makedev(1, 5);
    // Only root may make devices.
    let device =
        rustix::fs::mknodat(rustix::fs::CWD, at("device"), FileType::CharacterDevice, mode, zero).is_ok();
    for (name, expected) in [("pipe", Kind::Pipe), ("socket", Kind::Socket), ("device", Kind::Device)] {
        if name == "device" && !device {
            continue;
        }
        let at = path(name);
        assert_eq!(disk.stat(At::Path(&at)).unwrap().unwrap().kind, expected);
        assert_eq!(kind(disk.open(At::Path(&at))), Some(io::ErrorKind::InvalidInput));
        assert!(disk.set_mode(&at, 1, 0o777).is_err());
    }
}

#[test]
fn slots_are_told_from_foreign_names() {
    for slot in [Slot::Part(1), Slot::Taken(u64::MAX), Slot::Whole(Digest([0xab; 32]))] {
        assert_eq!(Slot::staged(slot.name().as_bytes()), Some(slot));
    }
    assert_eq!(Slot::kept(Slot::Kept(9).name().as_bytes()), Some(Slot::Kept(9)));
    for foreign in ["part-1", "notes", "part-", "whole-zz", "taken-00000000000000zz", "\u{e9}-0"] {
        assert_eq!(Slot::staged(foreign.as_bytes()), None, "{foreign}");
    }
}

#[test]
fn an_error_of_the_disk_is_told_of_the_content_it_is_about() {
    let Real { base, disk } = real(true);
    let slot = |number: u16| Slot::Whole(blake3::hash(&number.to_le_bytes()).into());
    // A pipe can no more be written out than a disk that is broken.
    let (_reader, pipe) = std::io::pipe().unwrap();
    stage(&disk, b"bad", slot(0));
    disk.send_off(slot(0), std::fs::File::from(std::os::fd::OwnedFd::from(pipe)));
    // More than may be on their way at once.
    for number in 1..1_100 {
        stage(&disk, b"good", slot(number));
        let written = std::fs::File::open(base.path().join("stage").join(slot(number).name())).unwrap();
        disk.send_off(slot(number), written);
    }
    for number in 1..1_100 {
        disk.place(slot(number), &path(&number.to_string())).unwrap();
    }
    disk.place(slot(0), &path("0")).unwrap_err();
    assert_eq!(disk.stat(At::Path(&path("0"))).unwrap(), None);
    // Moved to another slot it is still the same.
    let (_reader, pipe) = std::io::pipe().unwrap();
    stage(&disk, b"bad", slot(2_000));
    disk.send_off(slot(2_000), std::fs::File::from(std::os::fd::OwnedFd::from(pipe)));
    disk.shift(slot(2_000), slot(2_001)).unwrap();
    disk.place(slot(2_001), &path("moved")).unwrap_err();
    // Brought once more it is another content.
    disk.discard(slot(0)).unwrap();
    stage(&disk, b"good", slot(0));
    disk.place(slot(0), &path("0")).unwrap();
}
