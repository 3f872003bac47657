//! The form of items on the wire and in the journal: one flat sequence, a directory before what it holds.
//!
//! Flat, so that reading it needs no stack of ours, however deep a hostile peer nests. Stamps are left out, digests of
//! directories are made again from what was read. Nothing is reserved on the word of a length.

use std::fmt;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de::Error as _;
use serde::de::SeqAccess;
use serde::de::Visitor;
use serde::ser::SerializeSeq as _;

use crate::entry::Digest;
use crate::entry::Target;
use crate::path::PATH_MAX;
use crate::path::RelPath;
use crate::path::check_name;
use crate::tree::change::Change;
use crate::tree::item::DEPTH_MAX;
use crate::tree::item::Directory;
use crate::tree::item::File;
use crate::tree::item::Item;
use crate::tree::item::Keep;
use crate::tree::item::PROBLEM_MAX;
use crate::tree::item::told;
use crate::tree::name::Name;

/// The most items one message may bring.
pub const ENTRIES_MAX: usize = 4_000_000;

/// One item under its name; the first of a sequence has none.
#[derive(Serialize, Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    name: Bytes<'a>,
    #[serde(borrow)]
    what: What<'a>,
}

/// Raise the version of the protocol when this changes.
#[derive(Serialize, Deserialize)]
enum What<'a> {
    /// So many of the entries that follow are its children, each with its own.
    Directory {
        children: u32,
    },
    File {
        size: u64,
        executable: bool,
        digest: Digest,
        modified: i64,
    },
    Symlink(#[serde(borrow)] Bytes<'a>),
    Untracked(Keep),
    Problematic(&'a str),
}

struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Bytes<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&[u8]>::deserialize(deserializer).map(Self)
    }
}

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(usize::try_from(self.count()).ok())?;
        let mut open: Vec<(&[u8], &Self)> = vec![(b"", self)];
        while let Some((name, item)) = open.pop() {
            sequence.serialize_element(&Entry { name: Bytes(name), what: What::of(item) })?;
            if let Self::Directory(directory) = item {
                open.extend(directory.iter().rev().map(|(name, child)| (&**name, child)));
            }
        }
        sequence.end()
    }
}

impl<'a> What<'a> {
    fn of(item: &'a Item) -> Self {
        match item {
            Item::Directory(directory) => {
                Self::Directory { children: u32::try_from(directory.len()).unwrap_or(u32::MAX) }
            }
            Item::File(File { size, executable, digest, modified, .. }) => {
                Self::File { size: *size, executable: *executable, digest: *digest, modified: *modified }
            }
            Item::Symlink(target) => Self::Symlink(Bytes(target.as_bytes())),
            Item::Untracked(keep) => Self::Untracked(*keep),
            Item::Problematic(problem) => Self::Problematic(told(problem)),
        }
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Reader { most: ENTRIES_MAX })
    }
}

/// Reads one item and at most so many in all.
pub(super) struct Reader {
    pub(super) most: usize,
}

impl<'de> Visitor<'de> for Reader {
    type Value = Item;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an item and everything below it")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Item, A::Error> {
        let mut unfinished = Unfinished::default();
        for _ in 0..self.most {
            let entry: Entry<'de> =
                sequence.next_element()?.ok_or_else(|| A::Error::custom("a directory is cut short"))?;
            if let Some(item) = unfinished.take(&entry).map_err(A::Error::custom)? {
                let more = sequence.next_element::<Entry<'de>>()?.is_some();
                return if more {
                    Err(A::Error::custom("something follows the last item"))
                } else {
                    Ok(item)
                };
            }
        }
        Err(A::Error::custom("too many items"))
    }
}

/// The directories whose children are still being read, outermost first.
#[derive(Default)]
struct Unfinished {
    open: Vec<Open>,
    /// The bytes of the path of the innermost, with a slash behind each name.
    length: usize,
}

struct Open {
    name: Name,
    missing: u32,
    children: Vec<(Name, Item)>,
}

impl Unfinished {
    /// Takes the next entry; gives the whole item when that was the last of it.
    fn take(&mut self, entry: &Entry<'_>) -> Result<Option<Item>, &'static str> {
        let name = entry.name.0;
        match self.open.last_mut() {
            None if !name.is_empty() => return Err("the first item has a name"),
            None => {}
            Some(parent) => {
                check_name(name).map_err(|_| "a name is none")?;
                if parent.children.last().is_some_and(|(before, _)| **before >= *name) {
                    return Err("names are not in order, or twice");
                }
                if self.length + name.len() > PATH_MAX {
                    return Err("a path is too long");
                }
                parent.missing -= 1;
            }
        }
        if matches!(entry.what, What::Directory { .. }) && self.open.len() >= DEPTH_MAX {
            return Err("directories are nested too deep");
        }
        match entry.what.item()? {
            Made::Whole(item) => Ok(self.put(Name::from(name), item)),
            Made::Holding(0) => Ok(self.put(Name::from(name), Item::Directory(Directory::empty()))),
            Made::Holding(missing) => {
                self.length += if self.open.is_empty() { 0 } else { name.len() + 1 };
                self.open.push(Open { name: Name::from(name), missing, children: Vec::new() });
                Ok(None)
            }
        }
    }

    /// Puts an item into the innermost directory, and that into its own when it is complete by that.
    fn put(&mut self, mut name: Name, mut item: Item) -> Option<Item> {
        while let Some(mut parent) = self.open.pop() {
            parent.children.push((name, item));
            if parent.missing > 0 {
                self.open.push(parent);
                return None;
            }
            self.length -= if self.open.is_empty() { 0 } else { parent.name.len() + 1 };
            name = parent.name;
            item = Item::Directory(Directory::from_children(parent.children));
        }
        Some(item)
    }
}

enum Made {
    Whole(Item),
    Holding(u32),
}

impl What<'_> {
    fn item(&self) -> Result<Made, &'static str> {
        Ok(Made::Whole(match *self {
            Self::Directory { children } => return Ok(Made::Holding(children)),
            Self::File { size, executable, digest, modified } => {
                Item::File(File { modified, ..File::new(size, executable, digest) })
            }
            Self::Symlink(Bytes(target)) => Item::Symlink(Target::raw(target).ok_or("a link has no target")?),
            Self::Untracked(keep) => Item::Untracked(keep),
            Self::Problematic(problem) if problem.len() > PROBLEM_MAX => return Err("a problem is too long"),
            Self::Problematic(problem) => Item::Problematic(problem.into()),
        }))
    }
}

impl<'de> Deserialize<'de> for Change {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Read {
            path: Option<RelPath>,
            item: Option<Item>,
        }
        let Read { path, item } = Read::deserialize(deserializer)?;
        let change = Self { path, item };
        if change.fits() { Ok(change) } else { Err(D::Error::custom("paths are too deep or too long")) }
    }
}
