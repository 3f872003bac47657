//! Where to look: what events, or anybody else, say has changed.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::path::RelPath;
use crate::tree::Name;

/// So many names of one directory are kept apart; with more, all of it is listed.
const NAMES_MAX: usize = 64;
/// So many directories are kept apart; with more, everything is looked at.
const DIRECTORIES_MAX: usize = 20_000;

/// How much of one directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// These names.
    Names(BTreeSet<Name>),
    /// Its listing, and whatever is new in it wholly.
    Listing,
    /// Everything below it.
    Below,
}

/// Where to look. A hint: to look at more is never wrong, and a full look finds what was never hinted at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dirty {
    /// Everywhere.
    All,
    /// At these directories; `None` is the root.
    Parts(BTreeMap<Option<RelPath>, Part>),
}

impl Default for Dirty {
    fn default() -> Self {
        Self::Parts(BTreeMap::new())
    }
}

impl Dirty {
    /// Nowhere.
    pub fn nowhere() -> Self {
        Self::default()
    }

    /// Whether it is nowhere.
    pub fn is_nowhere(&self) -> bool {
        matches!(self, Self::Parts(parts) if parts.is_empty())
    }

    /// One path.
    pub fn path(&mut self, path: &RelPath) {
        self.name(path.parent(), Name::from(path.name()));
    }

    /// One name of a directory.
    pub fn name(&mut self, directory: Option<RelPath>, name: Name) {
        self.add(directory, Part::Names([name].into()));
    }

    /// A part of a directory, besides what is dirty already.
    pub fn add(&mut self, directory: Option<RelPath>, part: Part) {
        let Self::Parts(parts) = self else { return };
        match parts.get_mut(&directory) {
            Some(there) => there.add(part),
            None => drop(parts.insert(directory, part)),
        }
        if parts.len() > DIRECTORIES_MAX {
            *self = Self::All;
        }
    }

    /// Wherever `other` is, too.
    pub fn merge(&mut self, other: Self) {
        match other {
            Self::All => *self = Self::All,
            Self::Parts(parts) => parts.into_iter().for_each(|(directory, part)| self.add(directory, part)),
        }
    }

    /// Whether a look at it shows what stands directly in `directory`, in part at least.
    pub fn touches(&self, directory: Option<&RelPath>) -> bool {
        match self {
            Self::All => true,
            Self::Parts(parts) => parts.contains_key(&directory.cloned()),
        }
    }
}

impl Part {
    fn add(&mut self, other: Self) {
        match (&mut *self, other) {
            (Self::Below, _) => {}
            (_, Self::Below) => *self = Self::Below,
            (Self::Listing, _) => {}
            (_, Self::Listing) => *self = Self::Listing,
            (Self::Names(names), Self::Names(others)) => {
                names.extend(others.iter().cloned());
                if names.len() > NAMES_MAX {
                    *self = Self::Listing;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wider_part_stands_and_many_small_ones_become_one() {
        let a = Some(RelPath::parse(b"a").unwrap());
        let mut dirty = Dirty::nowhere();
        assert!(dirty.is_nowhere());
        for number in 0..=NAMES_MAX {
            dirty.name(a.clone(), number.to_string().as_bytes().into());
        }
        assert_eq!(dirty, Dirty::Parts([(a.clone(), Part::Listing)].into()));
        dirty.add(a.clone(), Part::Below);
        dirty.name(a.clone(), b"x"[..].into());
        assert_eq!(dirty, Dirty::Parts([(a.clone(), Part::Below)].into()));
        assert!(dirty.touches(a.as_ref()) && !dirty.touches(None));
        for number in 0..DIRECTORIES_MAX {
            dirty.add(Some(RelPath::parse(number.to_string().as_bytes()).unwrap()), Part::Listing);
        }
        assert_eq!(dirty, Dirty::All);
    }
}
