//! A path inside a synchronised folder, and nothing else.
//!
//! Invariant: a [`RelPath`] cannot leave its root. It is never absolute, has no empty, `.` or `..` component and no NUL
//! byte, so a hostile peer cannot even say such a path. Names are bytes, not text: Linux allows any.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;

/// The longest name the kernel takes.
pub const NAME_MAX: usize = 255;
/// The longest path the kernel takes, with its closing NUL and the root in front of it.
pub const PATH_MAX: usize = 3_500;

/// A path relative to the root of a synchronised folder; ordered by components, so that a directory comes directly
/// before what it holds.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RelPath(Box<[u8]>);

/// Why bytes are not a path inside a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Nothing, or nothing between two slashes.
    #[error("the path has an empty component")]
    Empty,
    /// Starts at the root of the file system.
    #[error("the path is absolute")]
    Absolute,
    /// `.` or `..`.
    #[error("the path has a `.` or `..` component")]
    Dots,
    /// A NUL byte.
    #[error("the path holds a NUL byte")]
    Nul,
    /// Longer than the kernel takes.
    #[error("the path is longer than {PATH_MAX} bytes or one of its names longer than {NAME_MAX}")]
    Long,
}

impl RelPath {
    /// Takes bytes with `/` between components.
    ///
    /// # Errors
    /// Says which rule is broken.
    pub fn parse(bytes: &[u8]) -> Result<Self, PathError> {
        if bytes.first() == Some(&b'/') {
            return Err(PathError::Absolute);
        }
        if bytes.len() > PATH_MAX {
            return Err(PathError::Long);
        }
        for component in bytes.split(|byte| *byte == b'/') {
            check_name(component)?;
        }
        Ok(Self(bytes.into()))
    }

    /// This path with one more component.
    ///
    /// # Errors
    /// Says which rule the name or the whole breaks.
    pub fn join(&self, name: &[u8]) -> Result<Self, PathError> {
        check_name(name)?;
        let joined = [&*self.0, b"/", name].concat();
        if joined.len() > PATH_MAX {
            return Err(PathError::Long);
        }
        Ok(Self(joined.into()))
    }

    /// `name` inside `parent`, or at the top when there is none.
    ///
    /// # Errors
    /// Says which rule is broken.
    pub fn child(parent: Option<&Self>, name: &[u8]) -> Result<Self, PathError> {
        if name.contains(&b'/') {
            return Err(PathError::Empty);
        }
        parent.map_or_else(|| Self::parse(name), |parent| parent.join(name))
    }

    /// The directory it is in; `None` at the top.
    pub fn parent(&self) -> Option<Self> {
        let slash = self.0.iter().rposition(|byte| *byte == b'/')?;
        Some(Self(self.0[..slash].into()))
    }

    /// Its last component.
    pub fn name(&self) -> &[u8] {
        self.0.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }

    /// Its components, outermost first.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/')
    }

    /// Whether it is `other` or lies below it.
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.strip_prefix(&*other.0).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }

    /// The bytes, with `/` between components.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As the standard library's path type.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }
}

/// Whether it can be one component of a path.
pub(crate) fn check_name(name: &[u8]) -> Result<(), PathError> {
    match name {
        b"" => Err(PathError::Empty),
        b"." | b".." => Err(PathError::Dots),
        name if name.len() > NAME_MAX => Err(PathError::Long),
        name if name.contains(&0) => Err(PathError::Nul),
        name if name.contains(&b'/') => Err(PathError::Empty),
        _ => Ok(()),
    }
}

impl Ord for RelPath {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.components().cmp(other.components())
    }
}

impl PartialOrd for RelPath {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// For people: bytes that are not printable text are escaped.
impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if character.is_control() {
                    write!(f, "{}", character.escape_default())?;
                } else {
                    write!(f, "{character}")?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

impl AsRef<Path> for RelPath {
    fn as_ref(&self) -> &Path {
        self.as_path()
    }
}

impl Serialize for RelPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for RelPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = <&[u8]>::deserialize(deserializer)?;
        Self::parse(bytes).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_paths_inside_a_folder_parse() {
        for good in [&b"a"[..], b"a/b", b".env", b"...", b"a b/\xff\xfe", b"-rf"] {
            assert_eq!(RelPath::parse(good).unwrap().as_bytes(), good);
        }
        let bad: [(&[u8], PathError); 10] = [
            (b"", PathError::Empty),
            (b"/etc/passwd", PathError::Absolute),
            (b"..", PathError::Dots),
            (b"a/../../b", PathError::Dots),
            (b"a/./b", PathError::Dots),
            (b"a//b", PathError::Empty),
            (b"a/", PathError::Empty),
            (b"a\0b", PathError::Nul),
            (&[b'x'; 256], PathError::Long),
            (&[b'/'; 4000], PathError::Absolute),
        ];
        for (bytes, error) in bad {
            assert_eq!(RelPath::parse(bytes), Err(error));
        }
    }

    #[test]
    fn a_directory_comes_directly_before_what_it_holds() {
        let mut paths: Vec<_> =
            ["a-b", "a/x", "a", "a.b", "a/x/y"].map(|p| RelPath::parse(p.as_bytes()).unwrap()).into();
        paths.sort();
        let text: Vec<_> = paths.iter().map(ToString::to_string).collect();
        assert_eq!(text, ["a", "a/x", "a/x/y", "a-b", "a.b"]);
    }

    #[test]
    fn names_are_shown_without_control_characters() {
        let path = RelPath::parse(b"a\x1b[31m/\xff\n").unwrap();
        assert_eq!(path.to_string(), r"a\u{1b}[31m/\xff\n");
    }

    proptest! {
        #[test]
        fn whatever_parses_stays_below_its_root(bytes in prop::collection::vec(prop_oneof![Just(b'/'), Just(b'.'), any::<u8>()], 0..40)) {
            if let Ok(path) = RelPath::parse(&bytes) {
                use std::path::Component;
                prop_assert!(path.as_path().components().all(|part| matches!(part, Component::Normal(_))));
                prop_assert!(!bytes.contains(&0));
            }
        }

        #[test]
        fn within_is_by_whole_components(a in "[ab]{1,2}(/[ab]{1,2}){0,2}", b in "[ab]{1,2}(/[ab]{1,2}){0,2}") {
            let (path, other) = (RelPath::parse(a.as_bytes()).unwrap(), RelPath::parse(b.as_bytes()).unwrap());
            let oracle = path.as_path().starts_with(other.as_path());
            prop_assert_eq!(path.is_within(&other), oracle);
        }
    }
}
