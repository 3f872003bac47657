//! What stands at a path, with everything below it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;

use crate::entry::Digest;
use crate::entry::Target;
use crate::path::PATH_MAX;
use crate::path::RelPath;
use crate::path::check_name;
use crate::tree::name::Name;

/// How many directories may stand inside one another. What is deeper cannot be carried, so that a walk has a bottom.
pub const DEPTH_MAX: usize = 256;

/// How much of the text of a problem is told to the other side.
pub(super) const PROBLEM_MAX: usize = 1_024;

/// What stands at a path. Two items are equal when their content is, whatever their stamps and times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A directory and all it holds.
    Directory(Directory),
    /// A regular file.
    File(File),
    /// A symbolic link.
    Symlink(Target),
    /// Something that is there and not carried: ignored, or of a kind that cannot be.
    Untracked(Keep),
    /// Something that is there and cannot be read or carried now, and why. Unknown is not absent.
    Problematic(Arc<str>),
}

/// What becomes of content that is not carried when its directory has to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keep {
    /// It keeps its directory.
    Protected,
    /// It goes with its directory.
    Disposable,
}

/// A regular file.
#[derive(Debug, Clone)]
pub struct File {
    /// Its length in bytes.
    pub size: u64,
    /// Whether anybody may execute it; the only part of the mode that travels.
    pub executable: bool,
    /// Its content.
    pub digest: Digest,
    /// When that was written, by the clock of the machine it was found on, in nanoseconds since 1970; 0 when that is not
    /// known. No part of the content.
    pub modified: i64,
    /// What the local kernel said when it was read; no part of the content.
    pub stamp: Stamp,
}

impl File {
    /// A file that nobody looked at here, written nobody knows when.
    pub fn new(size: u64, executable: bool, digest: Digest) -> Self {
        Self { size, executable, digest, modified: 0, stamp: Stamp::UNKNOWN }
    }
}

impl PartialEq for File {
    fn eq(&self, other: &Self) -> bool {
        (self.size, self.executable, self.digest) == (other.size, other.executable, other.digest)
    }
}

impl Eq for File {}

/// A hash of what the kernel said of a file (size, times, inode, mode) when its content was read. It means something
/// only on the machine that took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp(pub u64);

impl Stamp {
    /// Of a file that nobody looked at here.
    pub const UNKNOWN: Self = Self(0);
}

impl Item {
    /// The directory it is, if it is one.
    pub fn as_directory(&self) -> Option<&Directory> {
        match self {
            Self::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    /// Whether it is of a kind that is carried: a directory, a file or a link.
    pub fn is_carried(&self) -> bool {
        matches!(self, Self::Directory(_) | Self::File(_) | Self::Symlink(_))
    }

    /// Itself and everything below it.
    pub fn count(&self) -> u64 {
        1 + self.as_directory().map_or(0, Directory::count)
    }

    /// The files and links in it.
    pub fn files(&self) -> u64 {
        match self {
            Self::Directory(directory) => directory.0.files,
            Self::File(_) | Self::Symlink(_) => 1,
            Self::Untracked(_) | Self::Problematic(_) => 0,
        }
    }

    /// The bytes of content in its files.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Directory(directory) => directory.0.bytes,
            Self::File(file) => file.size,
            Self::Symlink(_) | Self::Untracked(_) | Self::Problematic(_) => 0,
        }
    }

    /// What of it is carried; `None` when nothing is. The same value when all of it is.
    pub fn carried(&self) -> Option<Self> {
        match self {
            Self::Directory(directory) => Some(Self::Directory(directory.carried())),
            Self::File(_) | Self::Symlink(_) => Some(self.clone()),
            Self::Untracked(_) | Self::Problematic(_) => None,
        }
    }

    /// Whether `other` is the same as far as both are carried.
    pub fn carries_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Directory(one), Self::Directory(two)) => one.carries_same(two),
            _ => self == other && self.is_carried(),
        }
    }

    /// A digest of what of it is carried: equal exactly when two items carry the same.
    pub fn digest(&self) -> Digest {
        let mut description = Vec::new();
        self.describe_carried(&mut description);
        blake3::hash(&description).into()
    }

    /// Itself at `path` and everything below it, a directory before what it holds, names in order.
    pub fn walk(&self, path: Option<RelPath>) -> Walk<'_> {
        Walk { open: vec![(path, self)] }
    }

    /// Appends what distinguishes it from every other item.
    pub(super) fn describe(&self, into: &mut Vec<u8>) {
        match self {
            Self::Directory(directory) => {
                into.push(b'd');
                into.extend_from_slice(&directory.0.digest.0);
            }
            Self::File(file) => {
                into.push(if file.executable { b'x' } else { b'f' });
                into.extend_from_slice(&file.size.to_le_bytes());
                into.extend_from_slice(&file.digest.0);
            }
            Self::Symlink(target) => text(into, b'l', target.as_bytes()),
            Self::Untracked(Keep::Protected) => into.push(b'p'),
            Self::Untracked(Keep::Disposable) => into.push(b'o'),
            Self::Problematic(problem) => text(into, b'!', told(problem).as_bytes()),
        }
    }

    /// The same, of what is carried.
    fn describe_carried(&self, into: &mut Vec<u8>) {
        match self {
            Self::Directory(directory) => {
                into.push(b'd');
                into.extend_from_slice(&directory.0.carried.0);
            }
            _ => self.describe(into),
        }
    }

    /// How many directories stand inside one another in it.
    pub(super) fn height(&self) -> usize {
        self.as_directory().map_or(0, |directory| 1 + directory.0.height)
    }

    /// The length of the longest path below it.
    pub(super) fn longest(&self) -> usize {
        self.as_directory().map_or(0, |directory| directory.0.longest)
    }
}

fn text(into: &mut Vec<u8>, tag: u8, text: &[u8]) {
    into.push(tag);
    into.extend_from_slice(&(text.len() as u64).to_le_bytes());
    into.extend_from_slice(text);
}

/// What the other side is told of a problem.
pub(super) fn told(problem: &str) -> &str {
    &problem[..problem.floor_char_boundary(PROBLEM_MAX)]
}

/// A directory: its children sorted by name, and what is known of everything below. A copy shares all of it.
#[derive(Clone)]
pub struct Directory(Arc<Node>);

struct Node {
    children: Box<[(Name, Item)]>,
    digest: Digest,
    /// The digest of what is carried; the same as `digest` when everything is.
    carried: Digest,
    count: u64,
    files: u64,
    bytes: u64,
    height: usize,
    longest: usize,
    holds: Holds,
}

/// What a directory holds, at any depth, that is not carried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Holds {
    protected: bool,
    disposable: bool,
    problems: bool,
}

impl Directory {
    /// A directory with nothing in it.
    pub fn empty() -> Self {
        Self::from_children(Vec::new())
    }

    /// Takes children in any order; of two with one name the later stands. Names are those of a listing, or checked. A
    /// child too deep or with too long a path below it to be carried becomes a problem.
    pub fn from_children(mut children: Vec<(Name, Item)>) -> Self {
        debug_assert!(children.iter().all(|(name, _)| check_name(name).is_ok()), "a name nobody can have");
        if !children.is_sorted_by(|(one, _), (two, _)| one < two) {
            children = children.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect();
        }
        for (name, child) in &mut children {
            if child.height() >= DEPTH_MAX {
                *child = Item::Problematic("directories are nested too deep below it".into());
            } else if reach(name, child) > PATH_MAX {
                *child = Item::Problematic("a path below it is too long".into());
            }
        }
        Self(Arc::new(Node::of(children.into())))
    }

    /// What stands under a name.
    pub fn get(&self, name: &[u8]) -> Option<&Item> {
        let children = &self.0.children;
        children.binary_search_by(|(other, _)| (**other).cmp(name)).ok().map(|index| &children[index].1)
    }

    /// Its children, names in order.
    pub fn iter(&self) -> std::slice::Iter<'_, (Name, Item)> {
        self.0.children.iter()
    }

    /// How many children it has.
    pub fn len(&self) -> usize {
        self.0.children.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.children.is_empty()
    }

    /// How many items are in it, at any depth.
    pub fn count(&self) -> u64 {
        self.0.count
    }

    /// A digest of everything in it: equal exactly when the content is.
    pub fn digest(&self) -> Digest {
        self.0.digest
    }

    /// The same directory with one child put, replaced or taken out.
    #[must_use]
    pub fn with(&self, name: Name, item: Option<Item>) -> Self {
        let mut children = self.0.children.to_vec();
        match (children.binary_search_by(|(other, _)| other.cmp(&name)), item) {
            (Ok(index), Some(item)) => children[index].1 = item,
            (Ok(index), None) => drop(children.remove(index)),
            (Err(index), Some(item)) => children.insert(index, (name, item)),
            (Err(_), None) => return self.clone(),
        }
        Self::from_children(children)
    }

    /// Whether the two are one and the same in memory.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether `other` is the same as far as both are carried.
    pub fn carries_same(&self, other: &Self) -> bool {
        self.is_same(other) || self.0.carried == other.0.carried
    }

    /// Whether something protected is in it, at any depth.
    pub fn holds_protected(&self) -> bool {
        self.0.holds.protected
    }

    /// Whether something that cannot be read or carried now is in it, at any depth.
    pub fn holds_problems(&self) -> bool {
        self.0.holds.problems
    }

    /// What of it is carried; the same value when all of it is.
    #[must_use]
    pub fn carried(&self) -> Self {
        if self.0.holds == Holds::default() {
            return self.clone();
        }
        let carried = |(name, item): &(Name, Item)| Some((name.clone(), item.carried()?));
        Self::from_children(self.iter().filter_map(carried).collect())
    }
}

/// The length of the longest path of a child and what is below it.
fn reach(name: &Name, child: &Item) -> usize {
    name.len() + if child.longest() == 0 { 0 } else { 1 + child.longest() }
}

impl Node {
    fn of(children: Box<[(Name, Item)]>) -> Self {
        let mut holds = Holds::default();
        let (mut count, mut files, mut bytes, mut height, mut longest) = (0, 0, 0_u64, 0, 0);
        let mut whole = Vec::with_capacity(children.len() * 64);
        for (name, child) in &children {
            holds.note(child);
            count += child.count();
            files += child.files();
            // Lengths are a peer's word: together they may be more than there are numbers.
            bytes = bytes.saturating_add(child.bytes());
            height = height.max(child.height());
            longest = longest.max(reach(name, child));
            text(&mut whole, b'/', name);
            child.describe(&mut whole);
        }
        let digest = Digest::from(blake3::hash(&whole));
        let carried = if holds == Holds::default() { digest } else { carried_digest(&children, whole) };
        Self { children, digest, carried, count, files, bytes, height, longest, holds }
    }
}

fn carried_digest(children: &[(Name, Item)], mut scratch: Vec<u8>) -> Digest {
    scratch.clear();
    for (name, child) in children.iter().filter(|(_, child)| child.is_carried()) {
        text(&mut scratch, b'/', name);
        child.describe_carried(&mut scratch);
    }
    blake3::hash(&scratch).into()
}

impl Holds {
    fn note(&mut self, child: &Item) {
        match child {
            Item::Directory(directory) => {
                self.protected |= directory.0.holds.protected;
                self.disposable |= directory.0.holds.disposable;
                self.problems |= directory.0.holds.problems;
            }
            Item::Untracked(Keep::Protected) => self.protected = true,
            Item::Untracked(Keep::Disposable) => self.disposable = true,
            Item::Problematic(_) => self.problems = true,
            Item::File(_) | Item::Symlink(_) => {}
        }
    }
}

impl PartialEq for Directory {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || self.0.digest == other.0.digest
    }
}

impl Eq for Directory {}

impl<'a> IntoIterator for &'a Directory {
    type Item = &'a (Name, Item);
    type IntoIter = std::slice::Iter<'a, (Name, Item)>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let children = self.iter().map(|(name, item)| (String::from_utf8_lossy(name), item));
        f.debug_map().entries(children).finish()
    }
}

/// An item and everything below it, each with its path.
#[derive(Debug)]
pub struct Walk<'a> {
    open: Vec<(Option<RelPath>, &'a Item)>,
}

impl<'a> Iterator for Walk<'a> {
    type Item = (Option<RelPath>, &'a Item);

    fn next(&mut self) -> Option<Self::Item> {
        let (path, item) = self.open.pop()?;
        if let Item::Directory(directory) = item {
            let below = directory.iter().rev();
            self.open.extend(below.map(|(name, child)| (Some(below_path(path.as_ref(), name)), child)));
        }
        Some((path, item))
    }
}

/// What cannot be read or carried below an item, with its path and why: the first `most` of it. Enters only directories
/// that hold such.
pub fn problems(item: Option<&Item>, most: usize) -> Vec<(Option<RelPath>, Arc<str>)> {
    let mut found = Vec::new();
    let mut open: Vec<(Option<RelPath>, &Item)> = item.into_iter().map(|item| (None, item)).collect();
    while found.len() < most
        && let Some((path, item)) = open.pop()
    {
        match item {
            Item::Problematic(problem) => found.push((path, Arc::clone(problem))),
            Item::Directory(directory) if directory.holds_problems() => {
                let below = directory.iter().rev();
                open.extend(below.map(|(name, child)| (Some(below_path(path.as_ref(), name)), child)));
            }
            _ => {}
        }
    }
    found
}

/// The path of a child.
pub(crate) fn below_path(parent: Option<&RelPath>, name: &[u8]) -> RelPath {
    RelPath::child(parent, name).expect("a tree holds only paths that can be said")
}
