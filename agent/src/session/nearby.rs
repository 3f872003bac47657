//! Which contents a side needs are at hand there: in a file that stands elsewhere in its folder, or that was removed from
//! it not long ago and is in its version store. Pure.
//!
//! A copy, or a rename of which one half was seen before the other, brings nothing from the other side.

use std::collections::BTreeMap;
use std::collections::VecDeque;

use super::queue::Replaced;
use super::queue::Wanted;
use crate::delta::Base;
use crate::delta::WHOLE;
use crate::entry::Digest;
use crate::path::RelPath;
use crate::tree::Directory;
use crate::tree::Item;
use crate::tree::Tree;

/// So many removed files are remembered, the newest.
const REMOVED: usize = 1_000;

/// What was removed on one side and is likely to be in its version store.
#[derive(Debug, Default)]
pub(super) struct Removed(VecDeque<Base>);

impl Removed {
    /// Something goes from a path, with all below it.
    pub(super) fn note(&mut self, path: Option<&RelPath>, item: &Item) {
        if item.bytes() <= WHOLE {
            return;
        }
        match (item, path) {
            (Item::File(file), Some(path)) => {
                self.0.push_front(Base { path: path.clone(), digest: file.digest });
                self.0.truncate(REMOVED);
            }
            (Item::Directory(directory), path) => {
                for (name, item) in directory {
                    if let Ok(path) = RelPath::child(path, name) {
                        self.note(Some(&path), item);
                    }
                }
            }
            _ => {}
        }
    }

    fn find(&self, digest: &Digest) -> Option<&Base> {
        self.0.iter().find(|base| base.digest == *digest)
    }
}

/// Says of each content where the side that needs it has it. What is short is brought sooner than it is found.
pub(super) fn find(tree: &Tree, removed: &Removed, wanted: &mut [Wanted]) {
    let mut missing: BTreeMap<Digest, Option<Base>> =
        wanted.iter().filter(|wanted| wanted.size > WHOLE).map(|wanted| (wanted.digest, None)).collect();
    let shortest = wanted.iter().map(|wanted| wanted.size).filter(|size| *size > WHOLE).min();
    if let (Some(shortest), Some(Item::Directory(root))) = (shortest, tree.root()) {
        search(None, root, shortest, &mut missing);
    }
    for wanted in wanted {
        let there = missing.get(&wanted.digest).and_then(Option::as_ref);
        if let Some(base) = there.or_else(|| removed.find(&wanted.digest)) {
            wanted.base = Some(Replaced { base: base.clone(), size: wanted.size });
        }
    }
}

fn search(
    path: Option<&RelPath>,
    directory: &Directory,
    shortest: u64,
    missing: &mut BTreeMap<Digest, Option<Base>>,
) {
    // No file in it is longer than all of it.
    for (name, item) in directory.iter().filter(|(_, item)| item.bytes() >= shortest) {
        match item {
            Item::File(file) => {
                if let Some(found @ None) = missing.get_mut(&file.digest)
                    && let Ok(path) = RelPath::child(path, name)
                {
                    *found = Some(Base { path, digest: file.digest });
                }
            }
            Item::Directory(inner) => {
                if let Ok(path) = RelPath::child(path, name) {
                    search(Some(&path), inner, shortest, missing);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::directory;
    use crate::sample::path;
    use crate::sample::tree;
    use crate::tree::File;

    fn file(tag: &str, size: u64) -> Item {
        Item::File(File::new(size, false, blake3::hash(tag.as_bytes()).into()))
    }

    fn wanted(tag: &str, size: u64) -> Wanted {
        Wanted { path: path("new"), digest: blake3::hash(tag.as_bytes()).into(), size, base: None }
    }

    fn found(wanted: &Wanted) -> Option<String> {
        wanted.base.as_ref().map(|replaced| {
            assert_eq!((replaced.base.digest, replaced.size), (wanted.digest, wanted.size));
            replaced.base.path.to_string()
        })
    }

    #[test]
    fn what_is_in_the_folder_or_was_not_long_ago_is_found() {
        let inner = directory([("big", file("one", 100_000)), ("small", file("two", 10))]);
        let root = tree(directory([("a", inner), ("b", file("three", 90_000))]));
        let mut removed = Removed::default();
        removed.note(Some(&path("gone")), &directory([("x", file("four", 80_000)), ("y", file("five", 3))]));
        let mut all = [
            wanted("one", 100_000),
            wanted("two", 10),
            wanted("three", 90_000),
            wanted("four", 80_000),
            wanted("six", 70_000),
        ];
        find(&root, &removed, &mut all);
        let at = |path: &str| Some(path.to_owned());
        assert_eq!(all.each_ref().map(found), [at("a/big"), None, at("b"), at("gone/x"), None]);
    }

    #[test]
    fn what_was_removed_long_ago_is_forgotten() {
        let mut removed = Removed::default();
        for number in 0..=REMOVED {
            removed.note(Some(&path("f")), &file(&number.to_string(), 100_000));
        }
        assert!(removed.find(&blake3::hash(b"0").into()).is_none());
        assert!(removed.find(&blake3::hash(b"1").into()).is_some());
    }
}
