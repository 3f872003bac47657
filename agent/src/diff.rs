//! What has to be sent so that the container's copy becomes what the folder is. Pure.
//!
//! Laws: applying the plan to what is held gives what was found (outside of what a scan keeps), nothing that a scan
//! keeps or did not list is removed, and a second plan is empty.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::entry::Digest;
use crate::entry::Entry;
use crate::entry::Target;
use crate::path::RelPath;
use crate::scan::Found;
use crate::scan::Scan;
use crate::scan::Stamp;

/// What the container holds at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// What it is.
    pub entry: Entry,
    /// The stamp of the folder's file when it was read; `None` when this process has not read it.
    pub stamp: Option<Stamp>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Remove what is held.
    Remove(RelPath),
    /// Make a directory.
    Directory(RelPath),
    /// Make a link.
    Symlink(RelPath, Target),
    /// Send a file.
    Send(RelPath, Stamp),
    /// Read a file, and send it if its content or its executable bit is not this.
    Verify(RelPath, Stamp, Digest, bool),
}

/// The steps in an order that works: removals from the leaves up, then everything else from the root down.
pub fn plan(held: &BTreeMap<RelPath, Held>, scan: &Scan) -> Vec<Step> {
    let removed = removals(held, scan);
    let mut steps: Vec<Step> = removed.iter().rev().cloned().map(Step::Remove).collect();
    for (path, found) in &scan.entries {
        let before = held.get(path).filter(|_| !removed.contains(path));
        steps.extend(step(path, found, before));
    }
    steps
}

fn step(path: &RelPath, found: &Found, before: Option<&Held>) -> Option<Step> {
    let before_entry = before.map(|held| &held.entry);
    match (found, before_entry) {
        (Found::Directory, Some(Entry::Directory)) => None,
        (Found::Directory, _) => Some(Step::Directory(path.clone())),
        (Found::Symlink(new), Some(Entry::Symlink { target })) if new == target => None,
        (Found::Symlink(target), _) => Some(Step::Symlink(path.clone(), target.clone())),
        (Found::File(stamp), Some(Entry::File { size, executable, digest })) => {
            if before.and_then(|held| held.stamp) == Some(*stamp) {
                None
            } else if *size == stamp.size() {
                Some(Step::Verify(path.clone(), *stamp, *digest, *executable))
            } else {
                Some(Step::Send(path.clone(), *stamp))
            }
        }
        (Found::File(stamp), _) => Some(Step::Send(path.clone(), *stamp)),
    }
}

/// What is held and, as far as the scan can tell, no longer there or there as another kind.
fn removals(held: &BTreeMap<RelPath, Held>, scan: &Scan) -> BTreeSet<RelPath> {
    let mut removed = BTreeSet::new();
    let mut judge = |path: &RelPath, held: &Held| {
        let parent = path.parent();
        let gone = if parent.as_ref().is_some_and(|parent| removed.contains(parent)) {
            true
        } else if scan.listed.contains(&parent) {
            scan.entries.get(path).is_none_or(|found| !replaces(found, &held.entry)) && !scan.keeps(path)
        } else {
            false
        };
        if gone {
            removed.insert(path.clone());
        }
    };
    for scope in scopes(&scan.listed) {
        match scope {
            None => held.iter().for_each(|(path, held)| judge(path, held)),
            Some(scope) => held
                .range(scope.clone()..)
                .take_while(|(path, _)| path.is_within(scope))
                .for_each(|(path, held)| judge(path, held)),
        }
    }
    removed
}

/// The listed directories that are in no other listed one.
fn scopes(listed: &BTreeSet<Option<RelPath>>) -> Vec<Option<&RelPath>> {
    let mut scopes: Vec<Option<&RelPath>> = Vec::new();
    for directory in listed {
        let Some(directory) = directory else { return vec![None] };
        if !scopes.last().is_some_and(|last| last.is_some_and(|last| directory.is_within(last))) {
            scopes.push(Some(directory));
        }
    }
    scopes
}

/// Whether what was found takes the place of what is held in one step, without a removal first.
fn replaces(found: &Found, held: &Entry) -> bool {
    match held {
        Entry::Directory => *found == Found::Directory,
        Entry::File { .. } | Entry::Symlink { .. } => *found != Found::Directory,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).unwrap()
    }

    /// A folder of up to three levels; a leaf is a file (its content a number) or a link.
    #[derive(Debug, Clone)]
    enum Node {
        File(u8),
        Link(u8),
        Directory(BTreeMap<String, Self>),
    }

    fn node() -> impl Strategy<Value = Node> {
        let leaf = prop_oneof![(0_u8..3).prop_map(Node::File), (0_u8..2).prop_map(Node::Link)];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop::collection::btree_map("[abc]", inner, 0..3).prop_map(Node::Directory)
        })
    }

    fn folder() -> impl Strategy<Value = BTreeMap<String, Node>> {
        prop::collection::btree_map("[abc]", node(), 0..4)
    }

    fn digest(content: u8) -> Digest {
        blake3::hash(&[content]).into()
    }

    /// Equal sizes on purpose: content must not be told from them.
    fn stamp(content: u8) -> Stamp {
        Stamp { size: 1, modified: (i64::from(content), 0), changed: (0, 0), inode: 1, executable: false }
    }

    fn flatten(folder: &BTreeMap<String, Node>, parent: Option<&RelPath>, scan: &mut Scan) {
        scan.listed.insert(parent.cloned());
        for (name, node) in folder {
            let path = RelPath::child(parent, name.as_bytes()).unwrap();
            let found = match node {
                Node::File(content) => Found::File(stamp(*content)),
                Node::Link(to) => Found::Symlink(Target::portable(&path, &[b'x', *to + b'0']).unwrap()),
                Node::Directory(_) => Found::Directory,
            };
            scan.entries.insert(path.clone(), found);
            if let Node::Directory(below) = node {
                flatten(below, Some(&path), scan);
            }
        }
    }

    fn scan_of(folder: &BTreeMap<String, Node>) -> Scan {
        let mut scan = Scan::default();
        flatten(folder, None, &mut scan);
        scan
    }

    fn content_of(found: &Found) -> u8 {
        let Found::File(given) = found else { unreachable!("asked of files only") };
        (0..3).find(|content| stamp(*content) == *given).unwrap()
    }

    /// Applies a plan the way an honest container does, and panics where it would refuse.
    fn apply(held: &mut BTreeMap<RelPath, Held>, steps: &[Step], scan: &Scan) {
        for step in steps {
            match step {
                Step::Remove(path) => {
                    let below = held.keys().filter(|other| other.is_within(path)).count();
                    assert_eq!(below, 1, "{path} is removed before what it holds");
                    held.remove(path);
                }
                Step::Directory(path) => put(held, path, Entry::Directory, None),
                Step::Symlink(path, target) => {
                    put(held, path, Entry::Symlink { target: target.clone() }, None)
                }
                Step::Send(path, stamp) | Step::Verify(path, stamp, ..) => {
                    let digest = digest(content_of(&scan.entries[path]));
                    put(held, path, Entry::File { size: 1, executable: false, digest }, Some(*stamp));
                }
            }
        }
    }

    fn put(held: &mut BTreeMap<RelPath, Held>, path: &RelPath, entry: Entry, stamp: Option<Stamp>) {
        if let Some(parent) = path.parent() {
            assert_eq!(held[&parent].entry, Entry::Directory, "{path} has a directory to stand in");
        }
        if let Some(before) = held.get(path) {
            let directory = |entry: &Entry| *entry == Entry::Directory;
            assert_eq!(directory(&before.entry), directory(&entry), "{path} is removed first");
        }
        held.insert(path.clone(), Held { entry, stamp });
    }

    fn held_of(scan: &Scan) -> BTreeMap<RelPath, Held> {
        let mut held = BTreeMap::new();
        apply(&mut held, &plan(&BTreeMap::new(), scan), scan);
        held
    }

    proptest! {
        #[test]
        fn a_plan_leads_to_what_was_found_and_then_there_is_nothing_to_do(before in folder(), after in folder()) {
            let after = scan_of(&after);
            let mut held = held_of(&scan_of(&before));
            let steps = plan(&held, &after);
            apply(&mut held, &steps, &after);
            prop_assert_eq!(&held, &held_of(&after));
            prop_assert_eq!(plan(&held, &after), vec![]);
        }

        #[test]
        fn nothing_unlisted_and_nothing_kept_is_removed(before in folder(), after in folder(), seed in any::<u64>()) {
            let mut held = held_of(&scan_of(&before));
            let mut after = scan_of(&after);
            // Some directories could not be listed, some paths are unreadable.
            let mut bits = seed;
            let mut coin = || { bits = bits.rotate_left(1); bits & 1 == 1 };
            after.listed.retain(|_| coin());
            for path in held.keys() {
                if coin() {
                    after.kept.insert(path.clone());
                    after.entries.retain(|other, _| !other.is_within(path));
                }
            }
            let removed: Vec<_> = plan(&held, &after).into_iter().filter_map(|step| match step {
                Step::Remove(path) => Some(path),
                _ => None,
            }).collect();
            for path in &removed {
                held.remove(path);
            }
            for path in removed {
                // The topmost removed directory on the way was listed as missing by its parent.
                let mut top = path.clone();
                while let Some(parent) = top.parent() {
                    if held.contains_key(&parent) { break }
                    top = parent;
                }
                prop_assert!(after.listed.contains(&top.parent()), "{top} was not listed");
                prop_assert!(!after.kept.contains(&top), "{top} is kept");
            }
        }
    }

    #[test]
    fn a_touched_file_is_read_and_a_changed_length_is_sent() {
        let entry = Entry::File { size: 1, executable: false, digest: digest(0) };
        let held = BTreeMap::from([(path("a"), Held { entry, stamp: None })]);
        let mut scan = Scan::default();
        scan.listed.insert(None);
        scan.entries.insert(path("a"), Found::File(stamp(0)));
        assert_eq!(plan(&held, &scan), [Step::Verify(path("a"), stamp(0), digest(0), false)]);
        let longer = Stamp { size: 2, ..stamp(0) };
        scan.entries.insert(path("a"), Found::File(longer));
        assert_eq!(plan(&held, &scan), [Step::Send(path("a"), longer)]);
    }
}
