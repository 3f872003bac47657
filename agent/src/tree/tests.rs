//! Laws of trees.

use proptest::prelude::*;
use serde::Deserializer as _;
use serde::Serialize;

use super::*;
use crate::entry::Digest;
use crate::path::PATH_MAX;
use crate::path::RelPath;
use crate::sample::Blockers;
use crate::sample::big;
use crate::sample::cases;
use crate::sample::change;
use crate::sample::directory;
use crate::sample::edited;
use crate::sample::edits;
use crate::sample::file;
use crate::sample::name;
use crate::sample::names;
use crate::sample::path;
use crate::sample::tree;
use crate::sample::trees;

fn flat(tree: &Tree) -> Vec<(Option<RelPath>, String)> {
    let tell = |item: &Item| match item {
        Item::Directory(_) => "directory".to_owned(),
        Item::File(file) => format!("{} {} {}", file.size, file.executable, file.digest),
        other => format!("{other:?}"),
    };
    tree.root().into_iter().flat_map(|root| root.walk(None)).map(|(path, item)| (path, tell(item))).collect()
}

/// Applied for real, one after the other: the slow way.
fn one_by_one(tree: &Tree, changes: &[Change]) -> Result<Tree, TreeError> {
    fn put(item: Option<&Item>, names: &[&[u8]], change: &Change) -> Result<Option<Item>, TreeError> {
        let [first, rest @ ..] = names else { return Ok(change.item.clone()) };
        let Some(Item::Directory(directory)) = item else {
            return Err(TreeError::NoDirectory { path: change.path.clone().unwrap() });
        };
        let child = put(directory.get(first), rest, change)?;
        Ok(Some(Item::Directory(directory.with(Name::from(*first), child))))
    }
    changes.iter().try_fold(tree.clone(), |tree, change| {
        let names: Vec<_> = change.path.iter().flat_map(RelPath::components).collect();
        Ok(Tree::with_root(put(tree.root(), &names, change)?))
    })
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_difference_applied_gives_the_other(from in trees(Blockers::Some), by in edits(Blockers::Some)) {
        let to = edited(&from, &by);
        let changes = diff(&from, &to);
        prop_assert!(changes.is_sorted_by(|one, two| one.path < two.path), "parents come first, none comes twice");
        let mut made = from.clone();
        made.apply(&changes).unwrap();
        prop_assert_eq!(flat(&made), flat(&to));
        prop_assert_eq!(made.digest(), to.digest());
        for left_out in 0..changes.len() {
            let mut fewer = changes.clone();
            fewer.remove(left_out);
            let mut made = from.clone();
            prop_assert!(made.apply(&fewer).is_err() || made != to, "a change that was not needed");
        }
    }

    #[test]
    fn digests_are_equal_exactly_when_the_content_is(one in trees(Blockers::Some), by in edits(Blockers::Some)) {
        let two = edited(&one, &by);
        prop_assert_eq!(one.digest() == two.digest(), flat(&one) == flat(&two));
        prop_assert_eq!(one == two, flat(&one) == flat(&two));
        let count = flat(&two).len() as u64;
        prop_assert_eq!(two.count(), count);
    }

    #[test]
    fn a_batch_is_as_one_after_the_other(
        from in trees(Blockers::None),
        wild in prop::collection::vec((prop::collection::vec(names(), 0..4), prop::option::of(crate::sample::items(Blockers::None))), 0..6),
    ) {
        let changes: Vec<_> = wild.into_iter().map(|(names, item)| {
            let path = names.iter().fold(None, |parent: Option<RelPath>, name| RelPath::child(parent.as_ref(), name).ok());
            Change { path, item }
        }).collect();
        // A batch may succeed where a step failed on what a later one replaces anyway.
        if let Ok(expected) = one_by_one(&from, &changes) {
            let mut made = from.clone();
            made.apply(&changes).unwrap();
            prop_assert_eq!(flat(&made), flat(&expected));
        }
    }

    #[test]
    fn what_is_carried_is_told_by_a_digest(one in trees(Blockers::Some), by in edits(Blockers::Some)) {
        let two = edited(&one, &by);
        if let (Some(one), Some(two)) = (one.root(), two.root()) {
            prop_assert_eq!(one.carries_same(two), one.is_carried() && one.carried() == two.carried());
            let carried = one.carried();
            prop_assert!(carried.iter().flat_map(|item| item.walk(None)).all(|(_, item)| item.is_carried()));
            prop_assert_eq!(carried.map_or(0, |item| item.files()), one.files());
        }
    }

    #[test]
    fn the_wire_form_brings_it_all(tree in trees(Blockers::Some), by in edits(Blockers::Some)) {
        for change in diff(&tree, &edited(&tree, &by)) {
            let bytes = postcard::to_allocvec(&change).unwrap();
            let read: Change = postcard::from_bytes(&bytes).unwrap();
            prop_assert_eq!(read, change);
        }
    }

    #[test]
    fn parts_make_the_whole(tree in trees(Blockers::Some), most in 100_usize..600) {
        let change = change("", tree.root().cloned());
        let bytes = postcard::to_allocvec(&change).unwrap().len();
        prop_assert!(bytes <= change.weight(), "{} > {}", bytes, change.weight());
        let parts = change.parts(most);
        for part in &parts {
            let single = part.item.as_ref().is_none_or(|item| item.count() == 1);
            prop_assert!(part.weight() <= most || single, "{} of {most}", part.weight());
        }
        let mut made = Tree::default();
        made.apply(&parts).unwrap();
        prop_assert_eq!(made, tree);
    }

    #[test]
    fn shared_memory_is_the_same_tree(one in trees(Blockers::Some), by in edits(Blockers::Some)) {
        let mut two = edited(&one, &by);
        let before = flat(&two);
        two.share(&one);
        prop_assert_eq!(flat(&two), before);
    }

    #[test]
    fn damaged_bytes_never_make_a_tree_that_breaks_the_rules(
        tree in trees(Blockers::Some),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = postcard::to_allocvec(&change("", tree.root().cloned())).unwrap();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(Change { item: Some(item), .. }) = postcard::from_bytes(&bytes) {
            for (_, item) in item.walk(None) {
                if let Item::Directory(directory) = item {
                    prop_assert!(directory.iter().is_sorted_by(|one, two| one.0 < two.0));
                }
            }
            let again: Item = postcard::from_bytes(&postcard::to_allocvec(&item).unwrap()).unwrap();
            prop_assert_eq!(again, item);
        }
    }
}

#[test]
fn a_change_shares_whatever_it_does_not_touch() {
    let before = big(10_000);
    let mut after = before.clone();
    let at = before.root().unwrap().walk(None).filter(|(_, item)| item.files() == 1).nth(4_321).unwrap().0;
    after.apply(&[Change { path: at.clone(), item: Some(file("other")) }]).unwrap();
    let (mut shared, mut made) = (0, 0);
    for (path, item) in after.root().unwrap().walk(None) {
        if let (Item::Directory(new), Some(Item::Directory(old))) = (item, before.get(path.as_ref())) {
            let above = path.as_ref().is_none_or(|path| at.as_ref().unwrap().is_within(path));
            assert_eq!(new.is_same(old), !above, "{path:?}");
            if above { made += 1 } else { shared += 1 }
        }
    }
    assert_eq!(made, 4, "the directories above the change");
    assert!(shared > 1_000);
    let mut comparison = change::Comparison::default();
    comparison.compare(None, before.root(), after.root());
    assert_eq!(comparison.changes.len(), 1);
    assert_eq!(comparison.visited, 5, "one look a level");
}

#[test]
fn trees_made_apart_can_share() {
    let (one, mut two) = (big(1_000), big(1_000));
    two.apply(&[change("n1/n1/n1", Some(file("other")))]).unwrap();
    two.share(&one);
    let own = |(path, item): (Option<RelPath>, &Item)| match (item, one.get(path.as_ref())) {
        (Item::Directory(ours), Some(Item::Directory(theirs))) => !ours.is_same(theirs),
        _ => false,
    };
    let own = two.root().unwrap().walk(None).filter(|(path, item)| own((path.clone(), *item))).count();
    assert_eq!(own, 3, "only the directories above the difference are its own");
}

#[test]
fn a_wide_folder_comes_in_parts() {
    let children = (0..20_000).map(|index| (name(&format!("file number {index}")), file("1")));
    let wide = Item::Directory(Directory::from_children(children.collect()));
    let whole = change("d", Some(wide.clone()));
    let mut made = tree(directory([]));
    let parts = whole.parts(256 * 1024);
    assert!(parts.iter().all(|part| postcard::to_allocvec(part).unwrap().len() <= 256 * 1024));
    made.apply(&parts).unwrap();
    assert_eq!(made.get(Some(&path("d"))), Some(&wide));
}

#[test]
fn a_replaced_subtree_is_one_change() {
    let from = tree(directory([("a", file("1")), ("b", file("1")), ("c", file("1"))]));
    let new = directory([("x", directory([("y", file("2"))]))]);
    let to = tree(directory([("a", new.clone()), ("c", file("1")), ("d", new.clone())]));
    let changes = diff(&from, &to);
    assert_eq!(changes, [change("a", Some(new.clone())), change("b", None), change("d", Some(new))]);
}

#[test]
fn stamps_are_no_content() {
    let Item::File(one) = file("1") else { unreachable!() };
    let other = Item::File(File { stamp: Stamp(7), ..one });
    assert_eq!(other, file("1"));
    let (one, two) = (tree(directory([("a", file("1"))])), tree(directory([("a", other)])));
    assert_eq!(one.digest(), two.digest());
    assert!(diff(&one, &two).is_empty());
}

#[test]
fn the_time_of_a_file_travels_and_is_no_content() {
    let Item::File(one) = file("1") else { unreachable!() };
    let item = Item::File(File { modified: -7, ..one });
    let bytes = postcard::to_allocvec(&item).unwrap();
    let Item::File(read) = postcard::from_bytes::<Item>(&bytes).unwrap() else { unreachable!() };
    assert_eq!(read.modified, -7);
    assert_eq!((file("1").digest(), file("1")), (item.digest(), item));
}

#[test]
fn changes_that_fit_nowhere_change_nothing() {
    let before = tree(directory([("a", file("1"))]));
    let mut after = before.clone();
    let changes = [change("b", Some(file("1"))), change("a/b", Some(file("1")))];
    assert_eq!(after.apply(&changes), Err(TreeError::NoDirectory { path: path("a/b") }));
    assert_eq!(after, before);
    let deep = |height: usize| (0..height).fold(file("1"), |item, _| directory([("d", item)]));
    after.apply(&[change("deep", Some(deep(DEPTH_MAX - 1)))]).unwrap();
    assert!(!after.root().unwrap().as_directory().unwrap().holds_problems());
    let error = after.apply(&[change("deep", Some(deep(DEPTH_MAX)))]).unwrap_err();
    assert_eq!(error.to_string(), "a change would make paths that are too deep or too long");
}

#[test]
fn what_a_scan_finds_too_deep_is_a_problem() {
    let deep = (0..DEPTH_MAX + 10).fold(file("1"), |item, _| directory([("d", item)]));
    let root = tree(deep);
    assert!(root.root().unwrap().as_directory().unwrap().holds_problems());
    let long = "n".repeat(255);
    let long = (0..14).fold(file("1"), |item, _| directory([(&long, item)]));
    assert!(long.as_directory().unwrap().holds_problems());
    for (path, _) in long.walk(None) {
        assert!(path.is_none_or(|path| path.as_bytes().len() <= PATH_MAX));
    }
}

#[derive(Serialize)]
enum What {
    Directory { children: u32 },
    File { size: u64, executable: bool, digest: Digest, modified: i64 },
    Symlink(Vec<u8>),
}

type Entries = Vec<(Vec<u8>, What)>;

fn folder(children: u32) -> What {
    What::Directory { children }
}

fn plain() -> What {
    What::File { size: 1, executable: false, digest: Digest([0; 32]), modified: 0 }
}

#[test]
fn a_hostile_wire_form_is_refused() {
    let entries = |list: Vec<(&[u8], What)>| -> Entries {
        list.into_iter().map(|(name, what)| (name.to_vec(), what)).collect()
    };
    let good = entries(vec![(b"", folder(2)), (b"a", plain()), (b"b", plain())]);
    assert!(postcard::from_bytes::<Item>(&postcard::to_allocvec(&good).unwrap()).is_ok());
    let mut deep: Entries = vec![(vec![], folder(1))];
    deep.extend((0..DEPTH_MAX - 1).map(|_| (b"d".to_vec(), folder(1))));
    deep.push((b"d".to_vec(), folder(0)));
    let mut long: Entries = vec![(vec![], folder(1))];
    long.extend((0..14).map(|_| (vec![b'n'; 255], folder(1))));
    long.push((b"f".to_vec(), plain()));
    let bad: Vec<(&str, Entries)> = vec![
        ("unsorted", entries(vec![(b"", folder(2)), (b"b", plain()), (b"a", plain())])),
        ("twice", entries(vec![(b"", folder(2)), (b"a", plain()), (b"a", plain())])),
        ("no name", entries(vec![(b"", folder(1)), (b"", plain())])),
        ("dots", entries(vec![(b"", folder(1)), (b"..", plain())])),
        ("a slash", entries(vec![(b"", folder(1)), (b"a/b", plain())])),
        ("a NUL", entries(vec![(b"", folder(1)), (b"a\0", plain())])),
        ("a named root", entries(vec![(b"a", plain())])),
        ("too few", entries(vec![(b"", folder(3)), (b"a", plain())])),
        ("too many children", entries(vec![(b"", folder(u32::MAX)), (b"a", plain())])),
        ("something after", entries(vec![(b"", folder(1)), (b"a", plain()), (b"b", plain())])),
        ("nothing", vec![]),
        ("an empty link", entries(vec![(b"", What::Symlink(vec![]))])),
        ("too deep", deep),
        ("too long", long),
    ];
    for (why, entries) in bad {
        let bytes = postcard::to_allocvec(&entries).unwrap();
        assert!(postcard::from_bytes::<Item>(&bytes).is_err(), "{why}");
    }
}

#[test]
fn depth_counts_from_the_root_of_the_folder() {
    let item = (0..200).fold(file("1"), |item, _| directory([("d", item)]));
    let at = path(&["d"; 100].join("/"));
    let bytes = postcard::to_allocvec(&(Some(&at), Some(&item))).unwrap();
    assert!(postcard::from_bytes::<Change>(&bytes).is_err());
}

#[test]
fn more_items_than_are_taken_are_refused() {
    let bytes = postcard::to_allocvec(big(100).root().unwrap()).unwrap();
    let read = |most| {
        postcard::Deserializer::from_bytes(&bytes)
            .deserialize_seq(wire::Reader { most })
            .map(|item| item.count())
    };
    assert_eq!(read(111), Ok(111));
    assert!(read(110).is_err());
}

#[test]
fn a_child_is_put_replaced_and_taken_out() {
    let empty = Directory::empty();
    let one = empty.with(name("a"), Some(file("1")));
    assert_eq!((one.len(), one.count(), one.is_empty()), (1, 1, false));
    assert_eq!(one.with(name("a"), Some(file("2"))).get(b"a"), Some(&file("2")));
    assert_eq!(one.with(name("a"), None), empty);
    assert!(one.with(name("b"), None).is_same(&one));
}
