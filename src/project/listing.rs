//! What was seen in a project folder: names, types, sizes, and the text of the files that decide.
//!
//! A listing is a value: detection works on it and on nothing else. What could not be read is in it as unreadable,
//! never left out, so that "is not there" always means that it is not there (or that the listing says it was cut).

use std::collections::BTreeMap;

/// What a name in a folder is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file, or a link to one inside the project.
    File,
    /// A directory whose entries are in the listing.
    Directory,
    /// A directory that was not entered: dependencies, caches, version control, or too deep.
    Skipped,
    /// A link that leaves the project, dangles or loops; never followed. Holds which of these.
    Link(String),
    /// A socket, pipe or device; never opened.
    Special,
    /// Could not be looked at, and why.
    Unreadable(String),
}

/// One name below the project's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: EntryKind,
    /// Bytes, for files.
    pub size: u64,
}

/// What was read of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Its text, decoded to UTF-8, without a byte-order mark.
    Text(String),
    /// Not text.
    Binary,
    /// Larger than what is read of one file.
    TooLarge,
    /// Not read, because enough was read already.
    NotRead,
    /// Could not be read, and why.
    Unreadable(String),
}

/// What was seen in a project folder. Paths are relative, separated by `/`, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    entries: BTreeMap<String, Entry>,
    contents: BTreeMap<String, Content>,
    cut: Option<String>,
}

impl Listing {
    /// Adds an entry. Parents are the caller's business.
    pub fn insert(&mut self, path: impl Into<String>, kind: EntryKind, size: u64) {
        self.entries.insert(path.into(), Entry { kind, size });
    }

    /// Records what was read of a file.
    pub fn set_content(&mut self, path: impl Into<String>, content: Content) {
        self.contents.insert(path.into(), content);
    }

    /// Says that the listing is not complete, and why.
    pub fn set_cut(&mut self, reason: impl Into<String>) {
        self.cut.get_or_insert(reason.into());
    }

    /// Why the listing is not complete; `None` when it is.
    pub fn cut(&self) -> Option<&str> {
        self.cut.as_deref()
    }

    /// A listing of text files with their parent directories, for tests and examples.
    pub fn of_files<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut listing = Self::default();
        for (path, text) in files {
            for (at, _) in path.match_indices('/') {
                listing.insert(&path[..at], EntryKind::Directory, 0);
            }
            listing.insert(path, EntryKind::File, text.len() as u64);
            listing.set_content(path, decode(text.as_bytes()));
        }
        listing
    }

    /// The entry at a path.
    pub fn entry(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// Every entry, sorted by path.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the folder is empty.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Every entry below a directory (`""` is the project itself), with its path relative to that directory.
    pub fn below<'a>(&'a self, directory: &str) -> impl Iterator<Item = (&'a str, &'a Entry)> + use<'a> {
        let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        let from = prefix.clone();
        self.entries
            .range(from..)
            .map_while(move |(path, entry)| path.strip_prefix(prefix.as_str()).map(|rest| (rest, entry)))
    }

    /// What was read of a file; `None` when nothing was tried.
    pub fn content(&self, path: &str) -> Option<&Content> {
        self.contents.get(path)
    }

    /// The text of a file, when it was read and is text.
    pub fn text(&self, path: &str) -> Option<&str> {
        match self.contents.get(path) {
            Some(Content::Text(text)) => Some(text),
            _ => None,
        }
    }
}

/// Decodes a file: UTF-8, or UTF-16 told by its byte-order mark or its zero bytes. Bytes that are no text are binary.
pub fn decode(bytes: &[u8]) -> Content {
    match bytes {
        [0xff, 0xfe, rest @ ..] => return wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => return wide(rest, u16::from_be_bytes),
        _ => {}
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match bytes {
        [first, 0, third, 0, ..] if *first != 0 && *third != 0 => wide(bytes, u16::from_le_bytes),
        [0, second, 0, fourth, ..] if *second != 0 && *fourth != 0 => wide(bytes, u16::from_be_bytes),
        _ if bytes.contains(&0) => Content::Binary,
        _ => Content::Text(String::from_utf8_lossy(bytes).into_owned()),
    }
}

fn wide(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Content {
    let units: Vec<u16> = bytes.as_chunks::<2>().0.iter().map(|pair| unit(*pair)).collect();
    if units.contains(&0) { Content::Binary } else { Content::Text(String::from_utf16_lossy(&units)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_decoded_whatever_wrote_it() {
        let text = |bytes: &[u8]| match decode(bytes) {
            Content::Text(text) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(text(b"flask"), "flask");
        assert_eq!(text(b"\xef\xbb\xbfflask"), "flask");
        assert_eq!(text(b"\xff\xfef\0l\0"), "fl");
        assert_eq!(text(b"\xfe\xff\0f\0l"), "fl");
        assert_eq!(text(b"f\0l\0"), "fl");
        assert_eq!(text(b"caf\xe9"), "caf\u{fffd}");
        assert_eq!(decode(b"\x7fELF\0\0\0"), Content::Binary);
        assert_eq!(text(b""), "");
    }

    #[test]
    fn below_sees_one_directory_only() {
        let listing = Listing::of_files([("a/x", "1"), ("a-b", "2"), ("ab/x", "3"), ("b", "4")]);
        let names: Vec<&str> = listing.below("a").map(|(path, _)| path).collect();
        assert_eq!(names, ["x"]);
        assert_eq!(listing.below("").count(), 6);
    }
}
