//! Batches on a simulated disk: what they do, and that they lose nothing.

mod crash;
mod plain;
mod race;
mod real;

use std::collections::BTreeMap;
use std::io::Write as _;

use super::*;
use crate::content;
use crate::disk::Facts;
use crate::disk::Kind;
use crate::disk::sim::Seen;
use crate::disk::sim::SimDisk;
use crate::disk::sim::SimMedium;
use crate::disk::sim::Volume;
use crate::entry::Target;
use crate::reconcile::Side;
use crate::tree;
use crate::tree::Directory;
use crate::tree::File;
use crate::tree::Keep;
use crate::tree::Stamp;
use crate::versions::Limits;
use crate::versions::Version;

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

fn digest(content: &[u8]) -> Digest {
    blake3::hash(content).into()
}

fn file(content: &str) -> Item {
    let (size, digest) = (content.len() as u64, digest(content.as_bytes()));
    Item::File(File::new(size, false, digest))
}

fn link(target: &str) -> Item {
    Item::Symlink(Target::portable(&path("x/x/x/x"), target.as_bytes()).unwrap())
}

fn directory<'a>(children: impl IntoIterator<Item = (&'a str, Item)>) -> Item {
    let named = children.into_iter().map(|(name, child)| (name.as_bytes().into(), child));
    Item::Directory(Directory::from_children(named.collect()))
}

/// What stands in a folder, as a scan would say; `untracked` names what is not carried.
fn scan<D: Disk>(disk: &D, untracked: &dyn Fn(&RelPath) -> Option<Keep>) -> Tree {
    fn item<D: Disk>(
        disk: &D,
        at: &RelPath,
        facts: &Facts,
        untracked: &dyn Fn(&RelPath) -> Option<Keep>,
    ) -> Item {
        if let Some(keep) = untracked(at) {
            return Item::Untracked(keep);
        }
        match facts.kind {
            Kind::Directory => Item::Directory(children(disk, Some(at), untracked)),
            Kind::File => {
                let (digest, facts) = content::read(disk, at.into(), &mut io::sink()).unwrap();
                let sure = facts.modified < disk.now() && facts.changed < disk.now();
                let stamp = if sure { facts.stamp() } else { Stamp::UNKNOWN };
                Item::File(File {
                    modified: facts.modified,
                    stamp,
                    ..File::new(facts.size, facts.executable(), digest)
                })
            }
            Kind::Symlink => {
                let target = disk.read_link(at.into()).unwrap();
                Target::portable(at, &target).map_or(Item::Untracked(Keep::Protected), Item::Symlink)
            }
            _ => Item::Untracked(Keep::Protected),
        }
    }
    fn children<D: Disk>(
        disk: &D,
        at: Option<&RelPath>,
        untracked: &dyn Fn(&RelPath) -> Option<Keep>,
    ) -> Directory {
        let listing = disk.list(at.into()).unwrap();
        let child = |(name, facts): (tree::Name, io::Result<Facts>)| {
            let below = RelPath::child(at, &name).unwrap();
            (name, item(disk, &below, &facts.unwrap(), untracked))
        };
        Directory::from_children(listing.into_iter().map(child).collect())
    }
    Tree::with_root(Some(Item::Directory(children(disk, None, untracked))))
}

/// Packages are disposable, `.env` is not to be touched.
fn untracked(path: &RelPath) -> Option<Keep> {
    match path.name() {
        b"node_modules" => Some(Keep::Disposable),
        b".env" => Some(Keep::Protected),
        _ => None,
    }
}

/// A simulated folder, its store, and what the last scan said.
struct World {
    disk: SimDisk,
    versions: Versions<SimMedium>,
    local: Tree,
}

impl World {
    fn new(seed: u64, prepare: impl FnOnce(&mut Volume)) -> Self {
        let disk = SimDisk::new(seed);
        disk.user(|volume| {
            prepare(volume);
            volume.sync();
            volume.advance(1_000_000_000);
        });
        Self::open(disk)
    }

    fn open(disk: SimDisk) -> Self {
        let versions = open(&disk);
        let local = scan(&disk, &untracked);
        Self { disk, versions, local }
    }

    /// The same, to be changed by itself.
    fn copy(&self) -> Self {
        let disk = self.disk.copy();
        Self { versions: open(&disk), disk, local: self.local.clone() }
    }

    fn stage(&self, contents: &[&str]) {
        for (number, content) in contents.iter().enumerate() {
            stage(&self.disk, 1_000 + number as u64, content.as_bytes());
        }
    }

    fn transitions(
        &self,
        changes: impl IntoIterator<Item = (&'static str, Option<Item>)>,
    ) -> Vec<Transition> {
        changes
            .into_iter()
            .map(|(at, new)| {
                let at = path(at);
                let old = self.local.get(Some(&at)).and_then(Item::carried);
                Transition { path: Some(at), old, new }
            })
            .collect()
    }

    fn apply_by(&mut self, rules: Rules, transitions: &[Transition]) -> Vec<Outcome> {
        let lost = BTreeSet::new();
        let batch = Batch { id: 7, transitions, lost: &lost, raw_links: false };
        apply_by(rules, &self.disk, &mut self.versions, &self.local, &batch, &mut BTreeMap::new())
    }

    fn apply(&mut self, transitions: &[Transition]) -> Vec<Outcome> {
        self.apply_by(Rules::ALL, transitions)
    }

    fn see(&self, path: &str) -> Option<Seen> {
        self.disk.user(|volume| volume.see(path))
    }

    /// The content of every version, with what is said of it.
    fn kept(&self) -> Vec<(Version, Seen)> {
        kept(&self.disk, &self.versions)
    }
}

fn open(disk: &SimDisk) -> Versions<SimMedium> {
    Versions::open(disk, disk.medium(0), Side::Alpha, Limits::default()).unwrap()
}

fn stage(disk: &impl Disk, part: u64, content: &[u8]) {
    let slot = Slot::Whole(digest(content));
    if disk.stat(slot.into()).unwrap().is_none() {
        write(disk, part, slot, content);
    }
}

fn write(disk: &impl Disk, part: u64, slot: Slot, content: &[u8]) -> Facts {
    let mut writer = disk.stage(part).unwrap();
    writer.write_all(content).unwrap();
    disk.finish(writer, slot).unwrap()
}

fn kept(disk: &SimDisk, versions: &Versions<SimMedium>) -> Vec<(Version, Seen)> {
    disk.clear_hook();
    let content = |version: &Version| {
        let at = At::Slot(versions.place(version.id)?);
        let facts = disk.stat(at).unwrap()?;
        let seen = match facts.kind {
            Kind::File => {
                let mut content = Vec::new();
                let (_, facts) = content::read(disk, at, &mut content).unwrap();
                Seen::File(content, facts.executable())
            }
            Kind::Symlink => Seen::Symlink(disk.read_link(at).unwrap()),
            _ => Seen::Directory,
        };
        Some((version.clone(), seen))
    };
    versions.all().filter_map(content).collect()
}

fn text(content: &str) -> Option<Seen> {
    Some(Seen::File(content.as_bytes().to_vec(), false))
}

fn problems(outcomes: &[Outcome]) -> Vec<String> {
    let all = outcomes.iter().flat_map(|outcome| &outcome.problems);
    all.map(|failure| format!("{:?}: {}", failure.path, failure.problem)).collect()
}

/// A batch with a bit of everything, as (before, after); after a full apply the folder is as `after` says.
mod mixed {
    use super::*;

    /// Content that arrives.
    pub(super) const INCOMING: [&str; 6] = ["edit two", "fresh", "inner", "was a tree", "deep", "twin"];

    pub(super) fn prepare(volume: &mut Volume) {
        for directory in ["d", "t", "p", "p/node_modules", "to"] {
            volume.make_directory(directory).unwrap();
        }
        for (at, content) in [
            ("edit", "edit one"),
            ("gone", "gone"),
            ("d/a", "da"),
            ("d/b", "db"),
            ("from", "moved"),
            ("kind", "was a file"),
            ("t/x", "tx"),
            ("run", "run"),
            ("turns", "turns into a link"),
            ("p/x", "px"),
            ("p/node_modules/m", "package"),
            ("same", "untouched"),
        ] {
            volume.write(at, content.as_bytes()).unwrap();
        }
        volume.link("link", b"edit").unwrap();
    }

    pub(super) fn changes() -> Vec<(&'static str, Option<Item>)> {
        let Item::File(run) = file("run") else { unreachable!() };
        vec![
            ("edit", Some(file("edit two"))),
            ("gone", None),
            ("d", None),
            ("from", None),
            ("to/moved", Some(file("moved"))),
            ("kind", Some(directory([("inner", file("inner"))]))),
            ("t", Some(file("was a tree"))),
            ("run", Some(Item::File(File { executable: true, ..run }))),
            ("turns", Some(link("edit"))),
            ("link", Some(link("same"))),
            ("p", None),
            ("fresh", Some(file("fresh"))),
            ("new", Some(directory([("deep", directory([("er", file("deep"))])), ("l", link("../same"))]))),
            ("twin", Some(directory([("a", file("twin")), ("b", file("twin"))]))),
        ]
    }

    /// What each path may show while and after it is applied.
    pub(super) fn views() -> BTreeMap<&'static str, Vec<Option<Seen>>> {
        let (directory, link) =
            (Some(Seen::Directory), |target: &str| Some(Seen::Symlink(target.as_bytes().to_vec())));
        BTreeMap::from([
            ("edit", vec![text("edit one"), text("edit two")]),
            ("gone", vec![text("gone"), None]),
            ("d", vec![directory.clone(), None]),
            ("d/a", vec![text("da"), None]),
            ("d/b", vec![text("db"), None]),
            ("from", vec![text("moved"), None]),
            ("to", vec![directory.clone()]),
            ("to/moved", vec![None, text("moved")]),
            ("kind", vec![text("was a file"), None, directory.clone()]),
            ("kind/inner", vec![None, text("inner")]),
            ("t", vec![directory.clone(), None, text("was a tree")]),
            ("t/x", vec![text("tx"), None]),
            ("run", vec![text("run"), Some(Seen::File(b"run".to_vec(), true))]),
            ("turns", vec![text("turns into a link"), link("edit")]),
            ("link", vec![link("edit"), link("same")]),
            ("p", vec![directory.clone(), None]),
            ("p/x", vec![text("px"), None]),
            ("p/node_modules", vec![directory.clone(), None]),
            ("p/node_modules/m", vec![text("package"), None]),
            ("same", vec![text("untouched")]),
            ("fresh", vec![None, text("fresh")]),
            ("new", vec![None, directory.clone()]),
            ("new/deep", vec![None, directory.clone()]),
            ("new/deep/er", vec![None, text("deep")]),
            ("new/l", vec![None, link("../same")]),
            ("twin", vec![None, directory]),
            ("twin/a", vec![None, text("twin")]),
            ("twin/b", vec![None, text("twin")]),
        ])
    }

    /// The content that is displaced, and must not be lost.
    pub(super) const PRECIOUS: [&str; 9] =
        ["edit one", "gone", "da", "db", "moved", "was a file", "tx", "turns into a link", "px"];

    pub(super) fn world(seed: u64) -> (World, Vec<Transition>) {
        let world = World::new(seed, prepare);
        world.stage(&INCOMING);
        let transitions = world.transitions(changes());
        (world, transitions)
    }
}
