//! The rules a look finds on its way: they are content too, and count as soon as they are seen.

use std::io;
use std::io::Read as _;

use crate::disk::At;
use crate::disk::Disk;
use crate::disk::Kind;
use crate::disk::Listing;
use crate::look::Sentry;
use crate::look::scan::Scan;
use crate::path::RelPath;
use crate::rules::ENVIRONMENT;
use crate::rules::GITIGNORE;
use crate::rules::RULES_SIZE_MAX;

/// Where git keeps rules that are not committed, from the root.
const GIT: &[u8] = b".git";
const INFO: &[u8] = b".git/info";
const EXCLUDE: &[u8] = b".git/info/exclude";

impl<D: Disk, S: Sentry> Scan<'_, D, S> {
    /// Reads the rules in a directory that was listed; says whether they have changed.
    pub(super) fn read_rules(&mut self, directory: Option<&RelPath>, listing: &Listing) -> bool {
        let here = listing.iter().any(|(name, _)| **name == *GITIGNORE);
        let text = match RelPath::child(directory, GITIGNORE) {
            Ok(path) if here => match self.read_text(&path) {
                Ok(text) => text,
                // The rules stay as they were: what they are about is unknown, not absent.
                Err(_) => return false,
            },
            _ => None,
        };
        self.look.rules.set_gitignore(directory, text.as_deref())
    }

    /// Reads git's own rules; says whether they have changed. Git's bursts are watched along the way.
    pub(super) fn read_info(&mut self) -> bool {
        let [git, info, exclude] =
            [GIT, INFO, EXCLUDE].map(|path| RelPath::parse(path).expect("these are paths inside a folder"));
        for directory in [&git, &info] {
            if matches!(self.disk.stat(At::Path(directory)), Ok(Some(facts)) if facts.kind == Kind::Directory)
            {
                self.sentry.enter(Some(directory));
            }
        }
        match self.read_text(&exclude) {
            Ok(text) => self.look.rules.set_info(text.as_deref()),
            Err(_) => false,
        }
    }

    /// The text of a file of rules; `None` when there is none, or nothing that could be one.
    fn read_text(&self, path: &RelPath) -> io::Result<Option<Vec<u8>>> {
        match self.disk.stat(At::Path(path))? {
            Some(facts) if facts.kind == Kind::File && facts.size <= RULES_SIZE_MAX as u64 => {}
            _ => return Ok(None),
        }
        let mut text = Vec::new();
        self.disk.open(At::Path(path))?.0.take(RULES_SIZE_MAX as u64).read_to_end(&mut text)?;
        Ok(Some(text))
    }

    /// Whether the listing is that of a Python environment nobody wants carried.
    pub(super) fn is_environment(&self, path: Option<&RelPath>, listing: &Listing) -> bool {
        listing.iter().any(|(name, _)| **name == *ENVIRONMENT)
            && path.is_some_and(|path| self.look.rules.reason(path, true).is_none())
    }
}
