//! Trees for tests: small ones written by hand, and random ones that resemble one another.
//!
//! Random trees that are drawn apart never meet at a path. So one is drawn, and the others are made from it by edits.

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::Config;

use crate::entry::Target;
use crate::path::RelPath;
use crate::tree::Change;
use crate::tree::Directory;
use crate::tree::File;
use crate::tree::Item;
use crate::tree::Keep;
use crate::tree::Name;
use crate::tree::Tree;

/// How often a law is tried: 2,000 times, in the nightly run 100,000 times.
pub(crate) fn cases() -> Config {
    Config::with_cases(nightly_or(100_000, 2_000))
}

/// How thorough a test is.
#[expect(clippy::disallowed_methods, reason = "how thorough a test is comes from outside")]
pub(crate) fn nightly_or<T>(nightly: T, else_: T) -> T {
    if std::env::var_os("NEXUS_NIGHTLY").is_some_and(|value| value == "1") { nightly } else { else_ }
}

pub(crate) fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

pub(crate) fn name(text: &str) -> Name {
    Name::from(text.as_bytes())
}

/// A file; the tag stands for its content.
pub(crate) fn file(tag: &str) -> Item {
    let digest = blake3::hash(tag.as_bytes()).into();
    Item::File(File::new(tag.len() as u64, false, digest))
}

pub(crate) fn executable(tag: &str) -> Item {
    match file(tag) {
        Item::File(file) => Item::File(File { executable: true, ..file }),
        other => other,
    }
}

pub(crate) fn link(target: &str) -> Item {
    Item::Symlink(Target::raw(target.as_bytes()).unwrap())
}

pub(crate) fn directory<const N: usize>(children: [(&str, Item); N]) -> Item {
    let children = children.map(|(text, item)| (name(text), item)).into();
    Item::Directory(Directory::from_children(children))
}

pub(crate) fn tree(root: Item) -> Tree {
    Tree::with_root(Some(root))
}

pub(crate) fn change(at: &str, item: Option<Item>) -> Change {
    let path = (!at.is_empty()).then(|| path(at));
    Change { path, item }
}

/// `files` files, ten to a directory, ten directories to a directory and so on.
pub(crate) fn big(files: usize) -> Tree {
    fn level(width: usize, from: usize, to: usize) -> Item {
        if to - from == 1 {
            return file(&format!("content {from}"));
        }
        let step = (to - from).div_ceil(width);
        let children = (from..to).step_by(step).map(|start| {
            (name(&format!("n{}", (start - from) / step)), level(width, start, to.min(start + step)))
        });
        Item::Directory(Directory::from_children(children.collect()))
    }
    tree(level(10, 0, files))
}

/// The form of trees in the tables: `null`, `file` with `exec`, `symlink`, `dir`, `untracked`, `problematic`, and
/// `disposable` for content that goes with its directory.
pub(crate) fn parse(value: &serde_json::Value) -> Option<Item> {
    let map = value.as_object()?;
    let (kind, value) = map.iter().find(|(key, _)| *key != "exec").expect("a tree has a kind");
    let text = || value.as_str().expect("a text");
    Some(match kind.as_str() {
        "file" if map.get("exec").is_some_and(|exec| exec == true) => executable(text()),
        "file" => file(text()),
        "symlink" => link(text()),
        "untracked" => Item::Untracked(Keep::Protected),
        "disposable" => Item::Untracked(Keep::Disposable),
        "problematic" => Item::Problematic(text().into()),
        "dir" => {
            let children = value.as_object().expect("children").iter();
            let children = children.map(|(key, value)| (name(key), parse(value).expect("a child is there")));
            Item::Directory(Directory::from_children(children.collect()))
        }
        other => panic!("no tree has a `{other}`"),
    })
}

/// One thing somebody does to a tree. An index chooses among what is there.
#[derive(Debug, Clone)]
pub(crate) enum Edit {
    Put(Index, Name, Item),
    Replace(Index, Item),
    Flip(Index),
    Delete(Index),
    Rename(Index, Index, Name),
}

/// What a random tree may hold besides files, links and directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blockers {
    None,
    Some,
}

impl Edit {
    pub(crate) fn apply(&self, tree: &mut Tree) {
        let all: Vec<(Option<RelPath>, Item)> =
            tree.root().into_iter().flat_map(|root| root.walk(None)).map(|(p, i)| (p, i.clone())).collect();
        let below: Vec<_> = all.iter().filter(|(path, _)| path.is_some()).collect();
        let directories: Vec<_> = all.iter().filter(|(_, item)| item.as_directory().is_some()).collect();
        let changes = match self {
            Self::Put(at, name, item) if !directories.is_empty() => {
                let path = RelPath::child(at.get(&directories).0.as_ref(), name).unwrap();
                vec![Change { path: Some(path), item: Some(item.clone()) }]
            }
            Self::Replace(at, item) if !below.is_empty() => {
                vec![Change { path: at.get(&below).0.clone(), item: Some(item.clone()) }]
            }
            Self::Flip(at) if !below.is_empty() => match at.get(&below) {
                (path, Item::File(file)) => {
                    let file = File { executable: !file.executable, ..file.clone() };
                    vec![Change { path: path.clone(), item: Some(Item::File(file)) }]
                }
                _ => vec![],
            },
            Self::Delete(at) if !below.is_empty() => {
                vec![Change { path: at.get(&below).0.clone(), item: None }]
            }
            Self::Rename(from, to, name) if !below.is_empty() => {
                let (from, item) = from.get(&below);
                let to = RelPath::child(to.get(&directories).0.as_ref(), name).unwrap();
                if to.is_within(from.as_ref().unwrap()) {
                    return;
                }
                let gone = Change { path: from.clone(), item: None };
                vec![gone, Change { path: Some(to), item: Some(item.clone()) }]
            }
            _ => vec![],
        };
        // A rename over the directory the target was in leaves it nowhere to go; nothing then happens.
        drop(tree.apply(&changes));
    }
}

/// Few names, so that they meet; two of them twins to whoever ignores case, two to whoever composes characters.
pub(crate) fn names() -> impl Strategy<Value = Name> {
    prop::sample::select(vec!["a", "A", "b", "c.log", "\u{e9}", "e\u{301}"]).prop_map(name)
}

fn leaves(blockers: Blockers) -> BoxedStrategy<Item> {
    let files = (prop::sample::select(vec!["1", "2", "3"]), prop::bool::weighted(0.2))
        .prop_map(|(tag, exec)| if exec { executable(tag) } else { file(tag) });
    let links = prop::sample::select(vec!["a", "b"]).prop_map(link);
    let blocker = prop::sample::select(vec![
        Item::Untracked(Keep::Protected),
        Item::Untracked(Keep::Protected),
        Item::Untracked(Keep::Disposable),
        Item::Problematic("unreadable".into()),
    ]);
    let weight = u32::from(blockers == Blockers::Some) * 2;
    prop_oneof![14 => files, 2 => links, 2 => Just(directory([])), weight => blocker].boxed()
}

pub(crate) fn items(blockers: Blockers) -> BoxedStrategy<Item> {
    leaves(blockers)
        .prop_recursive(3, 16, 4, |inner| {
            prop::collection::vec((names(), inner), 0..4)
                .prop_map(|children| Item::Directory(Directory::from_children(children)))
        })
        .boxed()
}

/// A tree whose root is nearly always a directory.
pub(crate) fn trees(blockers: Blockers) -> BoxedStrategy<Tree> {
    let folder = prop::collection::vec((names(), items(blockers)), 0..5)
        .prop_map(|children| tree(Item::Directory(Directory::from_children(children))));
    prop_oneof![24 => folder, 1 => items(blockers).prop_map(tree), 1 => Just(Tree::default())].boxed()
}

pub(crate) fn edits(blockers: Blockers) -> BoxedStrategy<Vec<Edit>> {
    let edit = prop_oneof![
        3 => (any::<Index>(), names(), items(blockers)).prop_map(|(at, name, item)| Edit::Put(at, name, item)),
        3 => (any::<Index>(), leaves(blockers)).prop_map(|(at, item)| Edit::Replace(at, item)),
        1 => (any::<Index>(), items(blockers)).prop_map(|(at, item)| Edit::Replace(at, item)),
        1 => any::<Index>().prop_map(Edit::Flip),
        3 => any::<Index>().prop_map(Edit::Delete),
        2 => (any::<Index>(), any::<Index>(), names()).prop_map(|(from, to, name)| Edit::Rename(from, to, name)),
    ];
    prop::collection::vec(edit, 0..5).boxed()
}

pub(crate) fn edited(tree: &Tree, edits: &[Edit]) -> Tree {
    let mut tree = tree.clone();
    edits.iter().for_each(|edit| edit.apply(&mut tree));
    tree
}
