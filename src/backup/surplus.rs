//! What a folder holds that a snapshot does not: a restore that makes them equal sets it aside.
//!
//! Only what a backup would take counts. What the rules leave out is in no snapshot, and that it is in none says nothing.
//! The same goes for what could not be looked at.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;

use nexus_agent::path::RelPath;

use super::restore;
use super::restore::Wanted;
use super::walk;
use super::walk::Selection;
use super::walk::Shared;
use super::walk::Walk;

/// What something is, without what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A directory.
    Directory,
    /// A file.
    File,
    /// A symbolic link.
    Link,
}

impl Shape {
    /// Of a thing of a snapshot; none for what is never restored.
    pub fn of(wanted: &Wanted) -> Option<Self> {
        match wanted.kind {
            restore::Kind::Directory => Some(Self::Directory),
            restore::Kind::File { .. } => Some(Self::File),
            restore::Kind::Link(_) => Some(Self::Link),
            restore::Kind::Other(_) => None,
        }
    }
}

/// What a backup would take of a folder now.
///
/// # Errors
/// When it cannot be walked through.
pub fn found(folder: &Path, selection: &Selection) -> Result<Vec<(RelPath, Shape)>, walk::Error> {
    let mut found = Vec::new();
    let walk = Walk::new(folder, selection, Shared::default())?;
    walk.for_each(|entry| {
        let shape = match entry.kind {
            walk::Kind::Directory => Shape::Directory,
            walk::Kind::File => Shape::File,
            walk::Kind::Link(_) => Shape::Link,
        };
        found.extend(entry.path.map(|path| (path, shape)));
    });
    Ok(found)
}

/// Those of a folder's things that a snapshot does not hold, or as something else; what is in a directory before it.
pub fn surplus(mut found: Vec<(RelPath, Shape)>, wanted: &HashMap<OsString, Shape>) -> Vec<(RelPath, Shape)> {
    found.retain(|(path, shape)| wanted.get(path.as_path().as_os_str()) != Some(shape));
    found.sort_by(|one, other| other.0.as_bytes().cmp(one.0.as_bytes()));
    found
}

/// Whether a path is one of these or below one; all are when there are none.
pub fn is_below(path: &[u8], chosen: &[String]) -> bool {
    let one = |chosen: &String| {
        let chosen = chosen.trim_matches('/').as_bytes();
        path.strip_prefix(chosen).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    };
    chosen.is_empty() || chosen.iter().any(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_more_goes_and_what_is_in_a_directory_goes_first() {
        let path = |text: &str| RelPath::parse(text.as_bytes()).unwrap();
        let found = [
            ("same", Shape::File),
            ("more", Shape::Directory),
            ("more/a", Shape::File),
            ("more.txt", Shape::File),
            ("other", Shape::Link),
        ];
        let wanted = [("same", Shape::File), ("other", Shape::File), ("new", Shape::File)];
        let wanted = wanted.into_iter().map(|(path, shape)| (path.into(), shape)).collect();
        let found = found.into_iter().map(|(text, shape)| (path(text), shape)).collect();
        let left: Vec<_> = surplus(found, &wanted).into_iter().map(|(path, _)| path.to_string()).collect();
        assert_eq!(left, ["other", "more/a", "more.txt", "more"]);
    }

    #[test]
    fn some_paths_are_those_and_what_is_below() {
        let chosen = ["src/".to_owned(), "a".to_owned()];
        for (path, expected) in
            [("src", true), ("src/x/y", true), ("srcs", false), ("a", true), ("b/a", false)]
        {
            assert_eq!(is_below(path.as_bytes(), &chosen), expected, "{path}");
        }
        assert!(is_below(b"anything", &[]));
    }
}
