//! What can stand at a path: a directory, a file or a symbolic link. Nothing else is carried.

use std::fmt;

use serde::Deserialize;
use serde::Serialize;

use crate::path::RelPath;

/// The BLAKE3 digest of a file's content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl From<blake3::Hash> for Digest {
    fn from(hash: blake3::Hash) -> Self {
        Self(hash.into())
    }
}

/// The longest target a link can have.
const TARGET_MAX: usize = 4_000;

/// What a symbolic link says. A portable one is relative and does not lead out of the folder from where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target(Box<[u8]>);

impl Target {
    /// Takes the target of a link at `link`; `None` when it is absolute or leads out of the folder.
    pub fn portable(link: &RelPath, target: &[u8]) -> Option<Self> {
        if target.starts_with(b"/") {
            return None;
        }
        let mut depth = link.components().count() - 1;
        for component in target.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => depth = depth.checked_sub(1)?,
                _ => depth += 1,
            }
        }
        Self::raw(target)
    }

    /// Takes a target as it is, wherever it leads; `None` when no link can say it.
    pub fn raw(target: &[u8]) -> Option<Self> {
        let sayable = !target.is_empty() && !target.contains(&0) && target.len() <= TARGET_MAX;
        sayable.then(|| Self(target.into()))
    }

    /// Whether it is portable at `link`. Asked again by whoever received it.
    pub fn fits(&self, link: &RelPath) -> bool {
        Self::portable(link, &self.0).is_some()
    }

    /// The bytes of the link.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_portable_while_it_stays_inside() {
        let link = RelPath::parse(b"a/b/link").unwrap();
        for good in ["x", "../x", "../../x", "./x", "../../a/../x"] {
            assert!(Target::portable(&link, good.as_bytes()).is_some(), "{good}");
        }
        for bad in ["", "/etc/passwd", "../../../x", "../../../a/b", "x/../../../../y", "a\0b"] {
            assert!(Target::portable(&link, bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
