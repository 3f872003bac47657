//! One look: the walk through the directories that are looked at.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::hash::DefaultHasher;
use std::hash::Hash as _;
use std::hash::Hasher as _;
use std::io;
use std::time::Duration;

use crate::disk::At;
use crate::disk::Disk;
use crate::disk::Facts;
use crate::disk::Kind;
use crate::disk::Listing;
use crate::entry::Target;
use crate::files::is_absent;
use crate::look::Look;
use crate::look::LookError;
use crate::look::Part;
use crate::look::Pen;
use crate::look::Sentry;
use crate::look::Symlinks;
use crate::look::pace::TICK;
use crate::look::read;
use crate::look::read::Outcome;
use crate::path::RelPath;
use crate::rules::ENVIRONMENT;
use crate::rules::GITIGNORE;
use crate::rules::Verdict;
use crate::tree::Change;
use crate::tree::DEPTH_MAX;
use crate::tree::Directory;
use crate::tree::File;
use crate::tree::Item;
use crate::tree::Keep;
use crate::tree::Name;
use crate::tree::Stamp;
use crate::tree::Tree;

/// Where git is, from the root.
const GIT: &[u8] = b".git";

pub(super) struct Scan<'a, D, S> {
    pub(super) look: &'a mut Look,
    pub(super) disk: &'a D,
    pub(super) sentry: &'a mut S,
    /// The root's device; another one is a mount.
    device: u64,
    now: Duration,
    /// How many entries may still be found.
    room: u64,
    /// How many files were read.
    pub(super) read: usize,
    /// What the tree knew is known by stamp too: for whatever was moved.
    recollected: bool,
    /// What was found and is not in the tree yet. Whatever stands above it is then made anew once, and not for each.
    found: Vec<Change>,
    /// A directory came or went among it: whoever looks further has to see that.
    reshaped: bool,
}

/// Either there is too much, or all went well: what goes wrong with one thing is an item.
type Result<T> = std::result::Result<T, LookError>;

impl<'a, D: Disk, S: Sentry> Scan<'a, D, S> {
    pub(super) fn new(
        look: &'a mut Look,
        disk: &'a D,
        sentry: &'a mut S,
        device: u64,
        now: Duration,
    ) -> Self {
        let room = look.settings.entries_max;
        let (found, reshaped) = (Vec::new(), false);
        Self { look, disk, sentry, device, now, room, read: 0, recollected: true, found, reshaped }
    }

    /// Looks at all of the folder.
    pub(super) fn everything(&mut self) -> Result<()> {
        self.put();
        (self.room, self.recollected) = (self.look.settings.entries_max, false);
        self.look.inodes.clear();
        self.read_info();
        self.sentry.enter(None);
        let listing = self.disk.list(At::Root).map_err(root_error)?;
        let old = self.look.tree.root().cloned();
        let root = self.listed(None, listing, old.as_ref().and_then(Item::as_directory))?;
        self.look.tree = Tree::with_root(Some(root));
        Ok(())
    }

    /// Looks at some directories, and at everything if it turns out that the rules for everything have changed.
    pub(super) fn parts(&mut self, parts: BTreeMap<Option<RelPath>, Part>) -> Result<()> {
        let in_git = |path: &RelPath| path.components().next() == Some(GIT);
        if parts.keys().flatten().any(in_git) && self.read_info() {
            return self.everything();
        }
        self.room = self.look.settings.entries_max.saturating_sub(self.count());
        self.harvest(&parts);
        for (directory, part) in parts {
            self.part(directory, part)?;
        }
        self.put();
        self.look.known.clear();
        let limit = self.look.settings.entries_max;
        if self.count() > limit { Err(LookError::Many { limit }) } else { Ok(()) }
    }

    /// How much is in the folder.
    fn count(&self) -> u64 {
        self.look.tree.count().saturating_sub(1)
    }

    /// Remembers what files held in directories that are gone: if they were only moved, nothing in them was touched.
    fn harvest(&mut self, parts: &BTreeMap<Option<RelPath>, Part>) {
        for (directory, part) in parts {
            let (Part::Names(names), Some(Item::Directory(held))) =
                (part, self.look.tree.get(directory.as_ref()))
            else {
                continue;
            };
            for (name, item) in names.iter().filter_map(|name| Some((name, held.get(name)?))) {
                let Ok(path) = RelPath::child(directory.as_ref(), name) else { continue };
                if item.as_directory().is_none() || !matches!(self.disk.stat(At::Path(&path)), Ok(None)) {
                    continue;
                }
                let files = item.walk(None).filter_map(|(_, item)| match item {
                    Item::File(file) => Some((file.stamp, file.digest)),
                    _ => None,
                });
                self.look.known.extend(files.filter(|(stamp, _)| *stamp != Stamp::UNKNOWN));
            }
        }
    }

    /// Looks at one directory, or at what stands in its place.
    fn part(&mut self, directory: Option<RelPath>, part: Part) -> Result<()> {
        match self.look.tree.get(directory.as_ref()) {
            Some(Item::Directory(_)) => {}
            // What is ignored may change as it likes.
            Some(Item::Untracked(_)) if !matches!(part, Part::Below) => return Ok(()),
            _ => {
                // It was not there, or no directory: then it is what its own directory has to tell.
                self.put();
                return match directory {
                    Some(path) => self.part(path.parent(), Part::Names([Name::from(path.name())].into())),
                    None => self.everything(),
                };
            }
        }
        let path = directory.as_ref();
        let decides = |name: &[u8]| name == GITIGNORE || name == ENVIRONMENT && path.is_some();
        match part {
            Part::Names(names) if !names.iter().any(|name| decides(name)) => self.names(path, &names),
            Part::Names(_) | Part::Listing => self.listing(directory),
            Part::Below => self.below(directory),
        }
    }

    /// Looks at some names of a directory.
    fn names(&mut self, directory: Option<&RelPath>, names: &BTreeSet<Name>) -> Result<()> {
        if let Some(path) = directory.filter(|path| !self.is_directory(path)) {
            return self.replaced(path);
        }
        for name in names {
            let Ok(path) = RelPath::child(directory, name) else { return self.below(directory.cloned()) };
            let old = self.look.tree.get(Some(&path)).cloned();
            let new = match self.disk.stat(At::Path(&path)) {
                Ok(Some(facts)) if self.is_known(&path, &facts, old.as_ref()) => continue,
                Ok(Some(facts)) => self.item(&path, &facts, old.as_ref())?,
                Ok(None) => {
                    self.look.pace.settle(&path);
                    None
                }
                Err(error) => self.trouble(&path, &error),
            };
            self.found(path, old.as_ref(), new);
        }
        self.put_directories();
        Ok(())
    }

    /// Whether it is a directory that was known and still may be: then only a look at itself tells more.
    fn is_known(&self, path: &RelPath, facts: &Facts, old: Option<&Item>) -> bool {
        matches!(old, Some(Item::Directory(_)))
            && facts.kind == Kind::Directory
            && facts.device == self.device
            && self.look.inodes.get(&key(path)) == Some(&facts.inode)
            && self.look.rules.judge(path, true) == Verdict::Carry
    }

    /// Looks at what a directory holds; at what is below it only where that is new.
    fn listing(&mut self, directory: Option<RelPath>) -> Result<()> {
        let path = directory.as_ref();
        let Some(Item::Directory(held)) = self.look.tree.get(path).cloned() else { return Ok(()) };
        self.sentry.enter(path);
        let listing = match self.disk.list(path.into()) {
            Ok(listing) => listing,
            Err(error) => return self.unlisted(directory, error),
        };
        if self.read_rules(path, &listing) || self.is_environment(path, &listing) {
            return self.below(directory);
        }
        let there: BTreeSet<_> = listing.iter().map(|(name, _)| name.clone()).collect();
        let gone = held.iter().map(|(name, _)| name).filter(|name| !there.contains(*name));
        for name in gone {
            let Ok(path) = RelPath::child(path, name) else { continue };
            self.look.pace.settle(&path);
            self.found(path, held.get(name), None);
        }
        for (name, facts) in listing {
            let Ok(path) = RelPath::child(path, &name) else { return self.below(directory) };
            let old = held.get(&name);
            if facts.as_ref().is_ok_and(|facts| self.is_known(&path, facts, old)) {
                continue;
            }
            let new = self.child(&path, facts, old)?;
            self.found(path, old, new);
        }
        self.put_directories();
        Ok(())
    }

    /// Looks at a directory and everything below it.
    fn below(&mut self, directory: Option<RelPath>) -> Result<()> {
        match directory {
            None => self.everything(),
            Some(path) if self.is_directory(&path) => self.anew(path),
            Some(path) => self.replaced(&path),
        }
    }

    /// Looks at whatever stands at a path, and everything below it.
    fn anew(&mut self, path: RelPath) -> Result<()> {
        self.put();
        let old = self.look.tree.get(Some(&path)).cloned();
        self.room = self.room.saturating_add(old.as_ref().map_or(0, Item::count));
        let new = self.stands(&path, old.as_ref())?;
        self.found(path, old.as_ref(), new);
        self.put();
        Ok(())
    }

    /// What stands at a path; `None` only if the kernel says that nothing does.
    fn stands(&mut self, path: &RelPath, old: Option<&Item>) -> Result<Option<Item>> {
        match self.disk.stat(At::Path(path)) {
            Ok(Some(facts)) => self.item(path, &facts, old),
            Ok(None) => {
                self.look.pace.settle(path);
                Ok(None)
            }
            Err(error) => Ok(self.trouble(path, &error)),
        }
    }

    /// A directory that was there could not be listed.
    fn unlisted(&mut self, directory: Option<RelPath>, error: io::Error) -> Result<()> {
        match directory {
            None => Err(root_error(error)),
            Some(path) if is_absent(&error) => self.replaced(&path),
            Some(path) => {
                self.put();
                let old = self.look.tree.get(Some(&path)).cloned();
                let new = self.trouble(&path, &error);
                self.found(path, old.as_ref(), new);
                self.put();
                Ok(())
            }
        }
    }

    /// What was a directory is none any more, or a directory above it: looks at the topmost in its own directory.
    fn replaced(&mut self, path: &RelPath) -> Result<()> {
        let mut path = path.clone();
        while let Some(parent) = path.parent().filter(|parent| !self.is_directory(parent)) {
            path = parent;
        }
        self.anew(path)
    }

    /// Whether a directory stands there; when nobody can tell, what is in it will.
    fn is_directory(&self, path: &RelPath) -> bool {
        match self.disk.stat(At::Path(path)) {
            Ok(facts) => facts.is_some_and(|facts| facts.kind == Kind::Directory),
            Err(_) => true,
        }
    }

    /// What stands at a path now, for the tree.
    fn found(&mut self, path: RelPath, old: Option<&Item>, new: Option<Item>) {
        self.compare(&path, old, new.as_ref());
        if is_same(old, new.as_ref()) {
            return;
        }
        self.reshaped |= is_directory(old) || is_directory(new.as_ref());
        self.found.push(Change { path: Some(path), item: new });
    }

    /// Puts what was found into the tree if a directory is among it.
    fn put_directories(&mut self) {
        if self.reshaped {
            self.put();
        }
    }

    /// Puts what was found into the tree: all of it is at or below a directory that is in there.
    fn put(&mut self) {
        self.reshaped = false;
        let found = std::mem::take(&mut self.found);
        if !found.is_empty() {
            self.look.tree.apply(&found).expect("only what is in a directory of the tree is looked at");
        }
    }

    /// Lets go of what is no carried directory any more.
    fn compare(&mut self, path: &RelPath, old: Option<&Item>, new: Option<&Item>) {
        if is_directory(old) && !is_directory(new) {
            self.sentry.leave(path);
            self.look.rules.forget(path);
            self.look.inodes.remove(&key(path));
        }
    }

    /// What a directory is, everything below it included.
    fn directory(&mut self, path: &RelPath, old: Option<&Directory>) -> Result<Option<Item>> {
        if path.components().count() >= DEPTH_MAX {
            return Ok(problem("directories are nested too deep here"));
        }
        self.sentry.enter(Some(path));
        match self.disk.list(At::Path(path)) {
            Ok(listing) => self.listed(Some(path), listing, old).map(Some),
            Err(error) => self.unlisted_item(path, &error, old.cloned().map(Item::Directory).as_ref()),
        }
    }

    /// What cannot be listed: gone only if the kernel says so.
    fn unlisted_item(
        &mut self,
        path: &RelPath,
        error: &io::Error,
        old: Option<&Item>,
    ) -> Result<Option<Item>> {
        if !is_absent(error) {
            return Ok(self.trouble(path, error));
        }
        match self.disk.stat(At::Path(path)) {
            Ok(None) => Ok(None),
            // It came back meanwhile, or something else did.
            Ok(Some(facts)) if facts.kind == Kind::Directory => Ok(self.trouble(path, error)),
            Ok(Some(facts)) => self.item(path, &facts, old),
            Err(error) => Ok(self.trouble(path, &error)),
        }
    }

    /// What a listing makes of a directory.
    fn listed(&mut self, path: Option<&RelPath>, listing: Listing, old: Option<&Directory>) -> Result<Item> {
        self.read_rules(path, &listing);
        if let Some(path) = path.filter(|_| self.is_environment(path, &listing)) {
            self.sentry.leave(path);
            return Ok(Item::Untracked(self.look.rules.keep(path, true)));
        }
        let mut children = Vec::with_capacity(listing.len());
        for (name, facts) in listing {
            let Ok(child) = RelPath::child(path, &name) else {
                return Ok(Item::Problematic("a path in it is too long".into()));
            };
            let before = old.and_then(|old| old.get(&name));
            self.room =
                self.room.checked_sub(1).ok_or(LookError::Many { limit: self.look.settings.entries_max })?;
            let item = self.child(&child, facts, before)?;
            self.compare(&child, before, item.as_ref());
            children.extend(item.map(|item| (name, item)));
        }
        children.sort_unstable_by(|(one, _): &(Name, Item), (two, _)| one.cmp(two));
        let is_here = |name: &Name| children.binary_search_by(|(other, _)| other.cmp(name)).is_ok();
        for (name, item) in old.into_iter().flat_map(Directory::iter).filter(|(name, _)| !is_here(name)) {
            if let Ok(gone) = RelPath::child(path, name) {
                self.look.pace.settle(&gone);
                self.compare(&gone, Some(item), None);
            }
        }
        // What is as it was stays the very same in memory.
        match old.filter(|old| holds_same(old, &children)) {
            Some(old) => Ok(Item::Directory(old.clone())),
            None => Ok(Item::Directory(Directory::from_children(children))),
        }
    }

    fn child(
        &mut self,
        path: &RelPath,
        facts: io::Result<Facts>,
        old: Option<&Item>,
    ) -> Result<Option<Item>> {
        match facts {
            Ok(facts) => self.item(path, &facts, old),
            Err(error) => Ok(self.trouble(path, &error)),
        }
    }

    /// What stands at a path; `None` when it went away just now, or is not to be taken yet.
    fn item(&mut self, path: &RelPath, facts: &Facts, old: Option<&Item>) -> Result<Option<Item>> {
        if let Verdict::Leave(keep) = self.look.rules.judge(path, facts.kind == Kind::Directory) {
            return Ok(Some(Item::Untracked(keep)));
        }
        if facts.device != self.device {
            return Ok(problem("another file system is mounted here"));
        }
        match facts.kind {
            Kind::Directory => {
                self.look.inodes.insert(key(path), facts.inode);
                self.directory(path, old.and_then(Item::as_directory))
            }
            Kind::File => Ok(self.file(path, facts, old)),
            Kind::Symlink => Ok(self.link(path)),
            Kind::Pipe => Ok(problem("it is a pipe")),
            Kind::Socket => Ok(problem("it is a socket")),
            Kind::Device => Ok(problem("it is a device")),
        }
    }

    fn link(&mut self, path: &RelPath) -> Option<Item> {
        if self.look.settings.symlinks == Symlinks::Ignore {
            return Some(Item::Untracked(Keep::Protected));
        }
        let target = match self.disk.read_link(At::Path(path)) {
            Ok(target) => target,
            Err(error) => return self.vanished(path, &error),
        };
        let target = match self.look.settings.symlinks {
            Symlinks::PosixRaw => Target::raw(&target),
            _ => Target::portable(path, &target),
        };
        target.map_or_else(
            || problem("it is a link that leads out of the folder"),
            |target| Some(Item::Symlink(target)),
        )
    }

    fn file(&mut self, path: &RelPath, facts: &Facts, old: Option<&Item>) -> Option<Item> {
        let limit = self.look.settings.file_size_max;
        if facts.size > limit {
            return problem(&format!("it is longer than {limit} bytes"));
        }
        let stamp = facts.stamp();
        let pen = self.sentry.pen(path);
        if let Some(Item::File(file)) = old
            && file.stamp == stamp
            && pen != Pen::Lifted
            && !self.look.pace.doubts(path, stamp, self.now)
        {
            return old.cloned();
        }
        if old.is_none() && !self.recollected {
            self.recollected = true;
            let stamps: Vec<_> = self.look.stamps().collect();
            self.look.known.extend(stamps);
        }
        if let Some(digest) = self.look.known.get(&stamp) {
            let file = File::new(facts.size, facts.executable(), *digest);
            return Some(Item::File(File { modified: facts.modified, stamp, ..file }));
        }
        if let Pen::Down(left) = pen {
            self.look.pace.later(path, self.now + left);
            return old.cloned();
        }
        if !self.look.pace.allows(path, stamp, self.now) {
            return old.cloned();
        }
        self.read += 1;
        let slack = i64::try_from(self.look.settings.slack.as_nanos()).unwrap_or(i64::MAX);
        match read::read(self.disk, path, slack) {
            Ok(Outcome::Taken { file, outline, doubtful }) => {
                self.look.outlines.extend((!outline.is_empty()).then_some((file.digest, outline)));
                let racy = file.stamp == Stamp::UNKNOWN;
                self.look.pace.read(path, stamp, file.size, false, racy, self.now);
                if doubtful {
                    self.look.pace.doubt(path, stamp, self.now);
                }
                Some(Item::File(file))
            }
            Ok(Outcome::Torn(facts)) => {
                self.look.pace.read(path, facts.stamp(), facts.size, true, true, self.now);
                old.cloned()
            }
            Ok(Outcome::Racy) => {
                self.look.pace.later(path, self.now + TICK);
                old.cloned()
            }
            Err(error) => self.vanished(path, &error),
        }
    }

    /// What was there a moment ago could not be opened.
    fn vanished(&mut self, path: &RelPath, error: &io::Error) -> Option<Item> {
        match self.disk.stat(At::Path(path)) {
            Ok(None) if is_absent(error) => None,
            _ => self.trouble(path, error),
        }
    }

    /// What cannot be looked at is there all the same, and tried again.
    fn trouble(&mut self, path: &RelPath, error: &io::Error) -> Option<Item> {
        self.look.pace.trouble(path, self.now);
        problem(&format!("it cannot be read: {error}"))
    }
}

/// Whether a directory holds exactly these children, stamps included.
fn holds_same(directory: &Directory, children: &[(Name, Item)]) -> bool {
    directory.len() == children.len()
        && directory
            .iter()
            .zip(children)
            .all(|(old, new)| old.0 == new.0 && is_same(Some(&old.1), Some(&new.1)))
}

fn is_directory(item: Option<&Item>) -> bool {
    item.is_some_and(|item| item.as_directory().is_some())
}

/// Whether nothing is to be told, and nothing to be remembered, of what was found.
fn is_same(old: Option<&Item>, new: Option<&Item>) -> bool {
    match (old, new) {
        (Some(Item::Directory(old)), Some(Item::Directory(new))) => old.is_same(new),
        (Some(Item::File(old)), Some(Item::File(new))) => old == new && old.stamp == new.stamp,
        _ => old == new,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "what stands at a path is always optional")]
fn problem(why: &str) -> Option<Item> {
    Some(Item::Problematic(why.into()))
}

/// A path, short. That two share one costs a look too many or a hint too few, and nothing is kept of it for long.
fn key(path: &RelPath) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    hasher.finish()
}

fn root_error(error: io::Error) -> LookError {
    if is_absent(&error) { LookError::Gone } else { LookError::Unreadable(error) }
}
