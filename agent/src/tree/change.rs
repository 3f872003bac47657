//! The whole folder, and what changes it.

use std::cmp::Ordering;

use crate::entry::Digest;
use crate::path::PATH_MAX;
use crate::path::RelPath;
use crate::tree::item::DEPTH_MAX;
use crate::tree::item::Directory;
use crate::tree::item::Item;
use crate::tree::item::below_path;
use crate::tree::item::told;
use crate::tree::name::Name;

/// A folder: its root, or nothing at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    root: Option<Item>,
}

/// One difference: what stands at a path from now on, whole.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    /// Where; `None` is the root.
    pub path: Option<RelPath>,
    /// What; `None` is nothing.
    pub item: Option<Item>,
}

/// Why changes do not fit a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// The change is inside something that holds nothing.
    #[error("{path:?} is below something that is no directory")]
    NoDirectory {
        /// Where the change was to be.
        path: RelPath,
    },
    /// The result would be deeper, or have longer paths, than a tree may.
    #[error("a change would make paths that are too deep or too long")]
    TooDeep {
        /// Where the change was to be.
        path: Option<RelPath>,
    },
}

impl Tree {
    /// What stands at a path; `None` asks for the root.
    pub fn get(&self, path: Option<&RelPath>) -> Option<&Item> {
        let root = self.root.as_ref()?;
        let Some(path) = path else { return Some(root) };
        path.components().try_fold(root, |item, name| item.as_directory()?.get(name))
    }

    /// The root.
    pub fn root(&self) -> Option<&Item> {
        self.root.as_ref()
    }

    /// A tree with that root.
    pub fn with_root(root: Option<Item>) -> Self {
        Self { root }
    }

    /// A digest of all of it: equal exactly when the content is.
    pub fn digest(&self) -> Digest {
        let mut bytes = Vec::new();
        if let Some(root) = &self.root {
            root.describe(&mut bytes);
        }
        blake3::hash(&bytes).into()
    }

    /// How many items it has, the root among them.
    pub fn count(&self) -> u64 {
        self.root.as_ref().map_or(0, Item::count)
    }

    /// Takes over the memory of `other` wherever both have the same, stamps included: two trees that were made apart
    /// then cost little more than one.
    pub fn share(&mut self, other: &Self) {
        self.root = self.root.take().map(|root| shared(root, other.root()));
    }

    /// Applies changes as if one after the other; a directory above several of them is made once. What no change
    /// touches is shared with the tree as it was.
    ///
    /// # Errors
    /// When a change lies below something that is no directory, or makes paths that cannot be said. Then nothing
    /// changed.
    pub fn apply(&mut self, changes: &[Change]) -> Result<(), TreeError> {
        if let Some(change) = changes.iter().find(|change| !change.fits()) {
            return Err(TreeError::TooDeep { path: change.path.clone() });
        }
        let mut steps: Vec<_> = changes.iter().enumerate().map(Step::of).collect();
        steps.sort_by(|one, two| one.names.cmp(&two.names).then(one.turn.cmp(&two.turn)));
        self.root = changed(self.root.as_ref(), &steps.iter().collect::<Vec<_>>(), 0)?;
        Ok(())
    }
}

impl Change {
    /// Whether every path it makes can be said.
    pub(super) fn fits(&self) -> bool {
        let (depth, length) =
            self.path.as_ref().map_or((0, 0), |path| (path.components().count(), path.as_bytes().len() + 1));
        let (height, longest) = self.item.as_ref().map_or((0, 0), |item| (item.height(), item.longest()));
        depth + height <= DEPTH_MAX && (longest == 0 || length + longest <= PATH_MAX)
    }
}

impl Change {
    /// The bytes it takes on the wire, at most.
    pub fn weight(&self) -> usize {
        self.path.as_ref().map_or(0, |path| path.as_bytes().len()) + self.item.as_ref().map_or(0, weight) + 8
    }

    /// The same in parts of at most so many bytes each, to be applied in this order: first directories with some of what
    /// they hold, then the rest. A single item may weigh more.
    pub fn parts(self, most: usize) -> Vec<Self> {
        let mut parts = Vec::new();
        part(self, most, &mut parts);
        parts
    }
}

fn part(change: Change, most: usize, parts: &mut Vec<Change>) {
    let weight = change.weight();
    let Some(Item::Directory(directory)) = &change.item else { return parts.push(change) };
    if weight <= most {
        return parts.push(change);
    }
    let own = Change { path: change.path.clone(), item: None }.weight() + ENTRY;
    let mut left = most.saturating_sub(own);
    let mut first = Vec::new();
    let mut rest = Vec::new();
    for (name, item) in directory {
        let weight = name.len() + self::weight(item);
        if weight <= left {
            left -= weight;
            first.push((name.clone(), item.clone()));
        } else {
            let path = Some(below_path(change.path.as_ref(), name));
            rest.push(Change { path, item: Some(item.clone()) });
        }
    }
    let item = Some(Item::Directory(Directory::from_children(first)));
    parts.push(Change { path: change.path, item });
    rest.into_iter().for_each(|change| part(change, most, parts));
}

/// What an entry takes on the wire besides its name and its text: lengths, tags, a size and a digest.
const ENTRY: usize = 64;

fn weight(item: &Item) -> usize {
    ENTRY
        + match item {
            Item::Directory(directory) => {
                directory.iter().map(|(name, item)| name.len() + weight(item)).sum()
            }
            Item::Symlink(target) => target.as_bytes().len(),
            Item::Problematic(problem) => told(problem).len(),
            Item::File(_) | Item::Untracked(_) => 0,
        }
}

fn shared(item: Item, other: Option<&Item>) -> Item {
    match (&item, other) {
        (Item::Directory(one), Some(Item::Directory(two))) => {
            if one == two {
                return Item::Directory(two.clone());
            }
            let children = paired(one, two)
                .filter_map(|(name, one, two)| Some((name.clone(), shared(one?.clone(), two))));
            Item::Directory(Directory::from_children(children.collect()))
        }
        _ => item,
    }
}

/// A change with its path taken apart, and its place in the order.
struct Step<'a> {
    names: Vec<&'a [u8]>,
    turn: usize,
    change: &'a Change,
}

impl<'a> Step<'a> {
    fn of((turn, change): (usize, &'a Change)) -> Self {
        let names = change.path.iter().flat_map(RelPath::components).collect();
        Self { names, turn, change }
    }
}

/// What becomes of an item `depth` names down when `steps`, all at or below it and sorted, are applied.
fn changed(item: Option<&Item>, steps: &[&Step<'_>], depth: usize) -> Result<Option<Item>, TreeError> {
    let (here, below) = steps.split_at(steps.partition_point(|step| step.names.len() == depth));
    let Some(replaced) = here.last() else { return changed_below(item, below, depth) };
    // What was changed below before the whole was replaced is gone with it.
    let later: Vec<_> = below.iter().copied().filter(|step| step.turn > replaced.turn).collect();
    changed_below(replaced.change.item.as_ref(), &later, depth)
}

/// The same, when all steps are strictly below. Children and steps are both sorted, and merged.
fn changed_below(item: Option<&Item>, steps: &[&Step<'_>], depth: usize) -> Result<Option<Item>, TreeError> {
    let Some(first) = steps.first() else { return Ok(item.cloned()) };
    let Some(Item::Directory(directory)) = item else {
        let path = first.change.path.clone().expect("what is below something has a path");
        return Err(TreeError::NoDirectory { path });
    };
    let mut children: Vec<(Name, Item)> = Vec::with_capacity(directory.len() + 1);
    let mut old = directory.iter().peekable();
    for group in steps.chunk_by(|one, two| one.names[depth] == two.names[depth]) {
        let name = group[0].names[depth];
        while let Some(child) = old.next_if(|(other, _)| **other < *name) {
            children.push(child.clone());
        }
        let before = old.next_if(|(other, _)| **other == *name);
        if let Some(item) = changed(before.map(|(_, item)| item), group, depth + 1)? {
            children.push((before.map_or_else(|| Name::from(name), |(name, _)| name.clone()), item));
        }
    }
    children.extend(old.cloned());
    Ok(Some(Item::Directory(Directory::from_children(children))))
}

/// The least changes that make `from` into `to`: in the order of their paths, a directory before what it holds, and a
/// subtree that came or was replaced by one change with all of it. Looks only where the digests differ.
pub fn diff(from: &Tree, to: &Tree) -> Vec<Change> {
    let mut comparison = Comparison::default();
    comparison.compare(None, from.root(), to.root());
    comparison.changes
}

#[derive(Default)]
pub(super) struct Comparison {
    pub(super) changes: Vec<Change>,
    /// How many pairs were looked at: what a comparison costs.
    pub(super) visited: usize,
}

impl Comparison {
    pub(super) fn compare(&mut self, path: Option<RelPath>, from: Option<&Item>, to: Option<&Item>) {
        self.visited += 1;
        match (from, to) {
            (Some(Item::Directory(from)), Some(Item::Directory(to))) => {
                if from != to {
                    self.compare_children(path.as_ref(), from, to);
                }
            }
            _ if from == to => {}
            _ => self.changes.push(Change { path, item: to.cloned() }),
        }
    }

    fn compare_children(&mut self, path: Option<&RelPath>, from: &Directory, to: &Directory) {
        for (name, from, to) in paired(from, to) {
            if from != to {
                self.compare(Some(below_path(path, name)), from, to);
            }
        }
    }
}

/// The children of two directories side by side, names in order.
pub(crate) fn paired<'a>(
    one: &'a Directory,
    two: &'a Directory,
) -> impl Iterator<Item = (&'a Name, Option<&'a Item>, Option<&'a Item>)> {
    let (mut ones, mut twos) = (one.iter().peekable(), two.iter().peekable());
    std::iter::from_fn(move || {
        let order = match (ones.peek(), twos.peek()) {
            (Some((one, _)), Some((two, _))) => one.cmp(two),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return None,
        };
        let one = if order.is_le() { ones.next() } else { None };
        let two = if order.is_ge() { twos.next() } else { None };
        let name = &two.or(one)?.0;
        Some((name, one.map(|(_, item)| item), two.map(|(_, item)| item)))
    })
}
