//! Snapshots that somebody else has written: whatever their paths say, nothing outside the folder is touched, nothing in it is
//! more than a file, a directory or a link, and what is good comes back. Both forms are told the same.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::symlink;

use aes256ctr_poly1305aes::Aes256CtrPoly1305Aes;
use aes256ctr_poly1305aes::Key;
use aes256ctr_poly1305aes::Nonce;
use aes256ctr_poly1305aes::aead::Aead as _;
use nexus_agent::path::RelPath;
use serde_json::Value;
use serde_json::json;
use sha2::Digest as _;
use sha2::Sha256;

use super::*;
use crate::backup::mirror::name::Names;
use crate::backup::mirror::name::Stamp;
use crate::backup::repository::Keys;

/// What hostile files hold.
const EVIL: &str = "evil";
/// What the good file of each snapshot holds.
const GOOD: &str = "good";
const WHEN: &str = "2024-01-15T10:30:00Z";

/// One thing of a hostile snapshot.
#[derive(Clone)]
struct Thing {
    path: String,
    kind: &'static str,
    target: String,
    mode: u32,
    size: u64,
    /// How often its content is repeated.
    times: usize,
}

/// As long as a blob usually is at most.
const BLOCK: usize = 8 << 20;

fn file(path: impl Into<String>) -> Thing {
    let size = EVIL.len() as u64;
    Thing { path: path.into(), kind: "file", target: String::new(), mode: 0o644, size, times: 1 }
}

fn directory(path: &str) -> Thing {
    Thing { kind: "directory", mode: 0o755, size: 0, ..file(path) }
}

fn link(path: &str, target: &str) -> Thing {
    Thing { kind: "link", target: target.to_owned(), size: 0, ..file(path) }
}

fn content(thing: &Thing) -> &'static str {
    if thing.path == "good" && thing.kind == "file" { GOOD } else { EVIL }
}

/// What each snapshot says besides its good file, and whether all of that is refused.
fn cases(outside: &str) -> Vec<(Vec<Thing>, bool)> {
    let refused = |path: &str| (vec![file(path)], true);
    let mut all: Vec<(Vec<Thing>, bool)> = [
        // Out of the folder, and what is no path.
        "../x",
        "../../x",
        "a/../../x",
        "a/b/../../../x",
        "..",
        ".",
        "",
        "a/..",
        "./a",
        "a/./b",
        "a//b",
        "a/",
        "a/b/",
        "/",
        "//",
        "/x",
        "//x",
        "/etc/nexus-hostile",
        "../projects/x",
        "x/../../outside/passwd",
        ".../../../x",
        "a\0b",
        "\0",
        "a/\0",
        "../\0x",
        // Through a link that somebody has planted in the folder.
        "planted/new",
        "planted/passwd",
        "planted/sub/new",
        "planted/../x",
    ]
    .map(refused)
    .into();
    all.push((vec![file(format!("{outside}/passwd"))], true));
    all.push((vec![file(format!("{outside}/new"))], true));
    all.push((vec![directory("../made")], true));
    all.push((vec![directory(&format!("{outside}/made"))], true));
    all.push((vec![link("../link", "passwd")], true));
    all.push((vec![link(&format!("{outside}/link"), "passwd")], true));
    // Through a link that the snapshot itself brings.
    let through =
        |target: &str, below: &str| (vec![link("way", target), file(format!("way/{below}"))], false);
    all.extend([
        through(outside, "passwd"),
        through(outside, "new"),
        through(outside, "sub/new"),
        through("../outside", "passwd"),
        through("..", "x"),
        through("/", "nexus-hostile"),
        through("/proc/self/cwd", "nexus-hostile"),
        through("/dev/fd", "1"),
        through(".", "x"),
        through("way", "x"),
    ]);
    all.push((vec![link("one", "two"), link("two", outside), file("one/new")], false));
    all.push((vec![directory("way"), link("way", outside), file("way/passwd")], false));
    all.push((vec![link("good", &format!("{outside}/passwd"))], false));
    all.push((vec![link("way", &format!("{outside}/passwd")), file("way")], false));
    // A second name of something outside, and what is no file at all.
    let of =
        |kind, path: &str| (vec![Thing { kind, target: format!("{outside}/passwd"), ..file(path) }], false);
    all.extend([of("hardlink", "hard"), of("chardev", "null"), of("dev", "disk"), of("fifo", "pipe")]);
    all.push(of("socket", "socket"));
    // Rights of another.
    let with = |mode| (vec![Thing { mode, ..file("rights") }], false);
    all.extend([with(0o4755), with(0o2755), with(0o6777), with(u32::MAX)]);
    // More than it is, or than there is room for.
    let long = |size| (vec![Thing { size, ..file("long") }], false);
    all.extend([long(0), long(1 << 20), long(1 << 40), long(u64::MAX)]);
    // Names that are too long, or nested too deep.
    let name = |length: usize| "n".repeat(length);
    all.push((vec![file(name(256))], false));
    all.push((vec![file(name(5000))], false));
    all.push((vec![file(vec![name(200); 40].join("/"))], false));
    all.push((vec![file(vec!["d"; 400].join("/"))], false));
    // Names that are one to somebody: case, composed letters, the end, our own, another system's.
    all.push((vec![file("README"), file("readme"), file("Readme"), directory("ReadMe")], false));
    all.push((vec![file("caf\u{e9}"), file("cafe\u{301}")], false));
    all.push((vec![file("x"), file("x "), file("x."), file("x\u{202e}txt.exe")], false));
    all.push((vec![file(".nexus-restore-aaaaaaaaaa"), file("CON"), file("a:b"), file("a\\..\\b")], false));
    all.push((vec![file("twice"), file("twice"), directory("twice")], false));
    all.push((vec![file("-rf"), file("\n"), file("\u{1b}[2J"), file("$(touch x)")], false));
    all
}

/// How a node writes a snapshot into a destination.
trait Forge {
    /// Writes one; returns its id.
    fn write(&self, number: usize, things: &[Thing]) -> String;
}

struct OfMirror {
    root: PathBuf,
}

impl Forge for OfMirror {
    fn write(&self, number: usize, things: &[Thing]) -> String {
        let names = Names::new("node1", "shop");
        let at: jiff::Timestamp = WHEN.parse().unwrap();
        let stamp = Stamp::next(at + Duration::from_secs(number as u64), None);
        let mut lines = vec![json!({ "version": 1, "time": WHEN, "workspace": ID, "mode": 0o755,
            "files": 1, "bytes": 4, "entries": things.len() })];
        for thing in things {
            lines.push(
                json!({ "path": thing.path, "kind": thing.kind, "mode": thing.mode, "size": thing.size,
                "blake3": blake3::hash(content(thing).as_bytes()).to_hex().to_string(), "since": stamp.to_string(),
                "modified": WHEN, "target": thing.target }),
            );
        }
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let (first, rest) = text.split_once('\n').unwrap();
        let packed =
            [format!("{first}\n"), rest.to_owned()].map(|part| zstd::encode_all(part.as_bytes(), 3).unwrap());
        let write = |key: &str, bytes: &[u8]| {
            let path = self.root.join(key);
            // Two of them may be in each other's way, as no run of ours would leave them.
            std::fs::create_dir_all(path.parent().unwrap()).and_then(|()| std::fs::write(path, bytes)).ok();
        };
        std::fs::remove_dir_all(self.root.join(names.files())).ok();
        for thing in things.iter().filter(|one| one.kind == "file") {
            if let Ok(path) = RelPath::parse(thing.path.as_bytes()) {
                write(&names.file(&Names::part(&path)), content(thing).as_bytes());
            }
        }
        write(&names.manifest(stamp), &packed.concat());
        names.id(stamp)
    }
}

struct OfRepository {
    root: PathBuf,
    cipher: Aes256CtrPoly1305Aes,
    /// What its snapshots say they hold.
    says: Option<u64>,
}

/// What a pack is put together from.
#[derive(Default)]
struct Pack {
    bytes: Vec<u8>,
    blobs: Vec<(u8, String, usize, usize)>,
}

/// One of files and one of trees: no pack holds both.
type Packs = [Pack; 2];

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl OfRepository {
    fn seal(&self, text: &[u8]) -> Vec<u8> {
        let mut nonce = Nonce::default();
        getrandom::fill(&mut nonce).unwrap();
        [nonce.as_slice(), &self.cipher.encrypt(&nonce, text).unwrap()].concat()
    }

    fn store(&self, folder: &str, bytes: &[u8]) -> String {
        let id = digest(bytes);
        let path =
            if folder == "data" { format!("data/{}/{id}", &id[..2]) } else { format!("{folder}/{id}") };
        let path = self.root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        id
    }

    fn blob(&self, packs: &mut Packs, kind: u8, text: &[u8]) -> String {
        let (id, sealed, pack) = (digest(text), self.seal(text), &mut packs[usize::from(kind)]);
        if !pack.blobs.iter().any(|one| one.1 == id) {
            pack.blobs.push((kind, id.clone(), pack.bytes.len(), sealed.len()));
            pack.bytes.extend(sealed);
        }
        id
    }

    /// Stores a pack; returns what the index says of it.
    fn pack(&self, mut pack: Pack) -> Value {
        let mut header = Vec::new();
        for (kind, id, _, length) in &pack.blobs {
            header.push(*kind);
            header.extend(u32::try_from(*length).unwrap().to_le_bytes());
            header.extend((0..32).map(|at| u8::from_str_radix(&id[2 * at..2 * at + 2], 16).unwrap()));
        }
        let header = self.seal(&header);
        pack.bytes.extend(&header);
        pack.bytes.extend(u32::try_from(header.len()).unwrap().to_le_bytes());
        let kind = |kind: u8| if kind == 0 { "data" } else { "tree" };
        let blob = |(one, id, offset, length): &(u8, String, usize, usize)| json!({ "id": id, "type": kind(*one), "offset": offset, "length": length });
        let blobs: Vec<Value> = pack.blobs.iter().map(blob).collect();
        json!({ "id": self.store("data", &pack.bytes), "blobs": blobs })
    }

    /// A tree of what lies below `above`. A path that is none is the name of one node.
    fn tree(&self, packs: &mut Packs, things: &[Thing]) -> String {
        let mut nodes: Vec<Value> = Vec::new();
        let mut below: Vec<(String, Vec<Thing>)> = Vec::new();
        for thing in things {
            let parts = thing.path.split('/').all(|part| !matches!(part, "" | "." | ".."));
            match thing.path.split_once('/') {
                Some((name, rest)) if parts => {
                    let inner = Thing { path: rest.to_owned(), ..thing.clone() };
                    match below.iter_mut().find(|(other, _)| other == name) {
                        Some((_, all)) => all.push(inner),
                        None => below.push((name.to_owned(), vec![inner])),
                    }
                }
                _ => nodes.push(self.node(packs, thing)),
            }
        }
        for (name, inner) in below {
            let subtree = self.tree(packs, &inner);
            nodes.push(json!({ "name": name, "type": "dir", "mode": 0o755, "subtree": subtree }));
        }
        self.blob(packs, 1, format!("{}\n", json!({ "nodes": nodes })).as_bytes())
    }

    fn node(&self, packs: &mut Packs, thing: &Thing) -> Value {
        let name = thing.path.replace('\\', "\\\\").replace('"', "\\\"");
        match thing.kind {
            "directory" => {
                let empty = self.blob(packs, 1, b"{\"nodes\":[]}\n");
                json!({ "name": name, "type": "dir", "mode": thing.mode, "subtree": empty })
            }
            "swapped" => {
                // Sealed as it should be, and called by another's name.
                let pack = &mut packs[0];
                let (id, sealed) = (digest(b"another"), self.seal(content(thing).as_bytes()));
                pack.blobs.push((0, id.clone(), pack.bytes.len(), sealed.len()));
                pack.bytes.extend(sealed);
                json!({ "name": name, "type": "file", "mode": thing.mode, "size": thing.size, "content": [id] })
            }
            "lost" => {
                json!({ "name": name, "type": "dir", "mode": thing.mode, "subtree": digest(b"nowhere") })
            }
            "link" => json!({ "name": name, "type": "symlink", "mode": 0o777, "linktarget": thing.target }),
            kind => {
                let block = "x".repeat(BLOCK);
                let text = if kind == "bomb" { &block } else { content(thing) };
                let id = self.blob(packs, 0, text.as_bytes());
                let kind = if kind == "bomb" { "file" } else { kind };
                let kind = if kind == "hardlink" { "file" } else { kind };
                json!({ "name": name, "type": kind, "mode": thing.mode, "mtime": WHEN, "size": thing.size,
                    "inode": 7, "links": 2, "device": 3, "content": vec![id; thing.times] })
            }
        }
    }
}

impl Forge for OfRepository {
    fn write(&self, number: usize, things: &[Thing]) -> String {
        let mut packs = Packs::default();
        let folder = self.tree(&mut packs, things);
        let nodes = json!([{ "name": "shop", "type": "dir", "mode": 0o755, "subtree": folder }]);
        let above = self.blob(&mut packs, 1, format!("{}\n", json!({ "nodes": nodes })).as_bytes());
        let nodes = json!([{ "name": "workspaces", "type": "dir", "mode": 0o755, "subtree": above }]);
        let root = self.blob(&mut packs, 1, format!("{}\n", json!({ "nodes": nodes })).as_bytes());
        let index = json!({ "packs": packs.map(|pack| self.pack(pack)) });
        self.store("index", &self.seal(index.to_string().as_bytes()));
        let time = format!("2024-01-15T10:{:02}:{:02}Z", number / 60, number % 60);
        let mut snapshot = json!({ "time": time, "tree": root, "paths": ["/workspaces/shop"], "hostname": "node1",
            "username": "", "tags": [format!("nexus-workspace-{ID}")] });
        if let Some(bytes) = self.says {
            snapshot["summary"] = json!({ "total_files_processed": 1, "total_bytes_processed": bytes });
        }
        self.store("snapshots", &self.seal(snapshot.to_string().as_bytes()))
    }
}

/// Looks for what must never be in a folder that was restored; returns how many hostile files are in it.
fn ordinary(folder: &Path) -> usize {
    let mut evil = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let meta = std::fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            evil += ordinary(&path);
            continue;
        }
        assert!(meta.is_file() || meta.is_symlink(), "{} is neither", path.display());
        assert_eq!(meta.nlink(), 1, "{} has another name", path.display());
        assert_eq!(meta.mode() & 0o6000 & !(u32::from(meta.is_symlink()) * 0o7777), 0, "{}", path.display());
        let content = std::fs::read(&path).unwrap_or_default();
        assert!(
            meta.is_symlink() || [EVIL, GOOD, ""].map(str::as_bytes).contains(&&*content),
            "{}",
            path.display()
        );
        evil += usize::from(!meta.is_symlink() && content == EVIL.as_bytes());
    }
    evil
}

fn repository(bench: &Bench) -> OfRepository {
    let keys = Keys::load(&bench.at("home/backup/keys/there.json")).unwrap().unwrap();
    let master = keys.master.unwrap();
    let key = [&*master.reveal().encrypt, &master.reveal().mac.k, &master.reveal().mac.r].concat();
    let cipher = Aes256CtrPoly1305Aes::new(Key::from_slice(&key));
    OfRepository { root: bench.at("there"), cipher, says: None }
}

async fn nothing_outside_is_touched(form: &str) {
    let bench = bench(form);
    bench.run().await;
    let forge: Box<dyn Forge> = if form == "mirror" {
        Box::new(OfMirror { root: bench.at("there") })
    } else {
        Box::new(repository(&bench))
    };
    let outside = bench.at("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("passwd"), "root").unwrap();
    let cases = cases(outside.to_str().unwrap());
    assert!(cases.len() >= 60, "{}", cases.len());
    let beside = || {
        let names =
            std::fs::read_dir(bench.directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.filter(|name| name != "back" && name != "planted-back").collect();
        names.sort();
        (names, picture(&outside), picture(&bench.at("shop")))
    };
    let before = beside();
    for (number, (things, all_refused)) in cases.iter().enumerate() {
        let said: Vec<_> = things.iter().map(|one| (&one.path, one.kind, &one.target)).collect();
        let mut all = vec![Thing { size: GOOD.len() as u64, ..file("good") }];
        all.extend(things.iter().cloned());
        all.sort_by(|one, other| one.path.cmp(&other.path));
        let id = forge.write(number, &all);
        std::fs::create_dir(bench.at("planted-back")).unwrap();
        symlink(&outside, bench.at("planted-back/planted")).unwrap();
        for (to, merge) in [("back", false), ("planted-back", true)] {
            let mode = if merge { recover::Mode::Merge } else { recover::Mode::New };
            let done = bench.backups.restore(request(&id, to, mode)).await;
            assert_eq!(beside(), before, "{said:?} {done:?}");
            assert!(!Path::new("/etc/nexus-hostile").exists() && !Path::new("/nexus-hostile").exists());
            let done = match done {
                Ok(done) => done,
                Err(Error::Space { .. }) if things.iter().any(|one| one.size > 1 << 30) => {
                    std::fs::remove_dir_all(bench.at(to)).ok();
                    continue;
                }
                Err(error) => panic!("{said:?}: {error}"),
            };
            let evil = ordinary(&bench.at(to));
            let planted = things.iter().any(|one| one.path.starts_with("planted"));
            if *all_refused && (merge || !planted) {
                assert!(done.failed.total > 0, "{said:?} {done:?}");
                assert_eq!(evil, 0, "{said:?} {done:?}");
            }
            if !things.iter().any(|one| one.path == "good") {
                let good = std::fs::read_to_string(bench.at(to).join("good"));
                assert_eq!(good.ok().as_deref(), Some(GOOD), "{said:?} {done:?}");
            }
            std::fs::remove_dir_all(bench.at(to)).unwrap();
        }
    }
}

fn request(snapshot: &str, to: &str, mode: recover::Mode) -> recover::Request {
    let (folder, snapshot, to) = ("shop".to_owned(), Some(snapshot.to_owned()), Some(to.to_owned()));
    recover::Request { folder, snapshot, to, mode, ..recover::Request::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_repository_touches_nothing_outside_the_folder() {
    nothing_outside_is_touched("incremental").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_mirror_touches_nothing_outside_the_folder() {
    nothing_outside_is_touched("mirror").await;
}

/// An index that leads astray gives no file the content of another.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_called_by_the_name_of_another_is_not_restored() {
    let bench = bench("incremental");
    bench.run().await;
    let swapped = Thing { kind: "swapped", ..file("swapped") };
    let id = repository(&bench).write(1, &[file("good"), swapped]);
    let done = bench.backups.restore(request(&id, "back", recover::Mode::New)).await.unwrap();
    assert_eq!((done.failed.total, done.failed.listed[0].0.as_str()), (1, "swapped"), "{done:?}");
    assert!(bench.at("back/good").exists() && !bench.at("back/swapped").exists());
}

/// A directory whose list is lost costs what is in it, and nothing beside it.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_a_lost_directory_is_restored_where_it_was() {
    let bench = bench("incremental");
    bench.run().await;
    let lost = Thing { kind: "lost", ..directory("damaged") };
    let after = [file("good"), file("next/inner"), file("next/deep/er")];
    let id = repository(&bench).write(1, &[&[lost], &after[..]].concat());
    let done = bench.backups.restore(request(&id, "back", recover::Mode::New)).await.unwrap();
    assert_eq!(done.failed.total, 1, "{done:?}");
    assert_eq!(std::fs::read_dir(bench.at("back/damaged")).unwrap().count(), 0);
    for one in after {
        assert!(bench.at("back").join(&one.path).is_file(), "{} {done:?}", one.path);
    }
}

/// One blob is stored once and may be named as often as one likes.
#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_is_repeated_without_end_does_not_fill_the_disk() {
    let bench = bench("incremental");
    bench.run().await;
    let free = || {
        let stat = rustix::fs::statvfs(bench.directory.path()).unwrap();
        stat.f_bavail * stat.f_frsize
    };
    let times = usize::try_from(free()).unwrap() / BLOCK + 2;
    let honest = (times * BLOCK) as u64;
    // The file lies, the snapshot lies and the file does not, both do, nobody does.
    let lies = [(None, 4, true), (Some(8), honest, true), (Some(8), 4, true), (None, honest, false)];
    for (number, (says, size, begins)) in lies.into_iter().enumerate() {
        let bomb = Thing { kind: "bomb", times, size, ..file("bomb") };
        let things = [bomb, Thing { size: GOOD.len() as u64, ..file("good") }];
        let id = OfRepository { says, ..repository(&bench) }.write(number, &things);
        let done = bench.backups.restore(request(&id, "back", recover::Mode::New)).await;
        if !begins {
            assert!(matches!(done, Err(Error::Space { needed, .. }) if needed >= honest), "{done:?}");
            assert!(!bench.at("back").exists());
            continue;
        }
        let done = done.unwrap();
        let (path, why) = &done.failed.listed[0];
        assert_eq!((path.as_str(), done.failed.total), ("bomb", 1), "{done:?}");
        let begin = format!("it holds {honest} bytes where the snapshot says {size}, and there is room for ");
        assert!(why.starts_with(&begin), "{why}");
        assert_eq!(std::fs::read_to_string(bench.at("back/good")).unwrap(), GOOD);
        assert!(!bench.at("back/bomb").exists());
        std::fs::remove_dir_all(bench.at("back")).unwrap();
    }
}
