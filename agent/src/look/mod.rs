//! Looks at a folder: from a [`Disk`] to a [`Tree`], and from what changed on the disk to what changed in the tree.
//!
//! A file is read only when its stamp is not the one it was read with. A look at some directories costs what they hold,
//! not what the folder holds. *Unknown is not absent*: what cannot be read is [`Item::Problematic`] and stays so until
//! it can; nothing leaves the tree but what a whole listing, or the kernel's own word, shows to be gone.
//!
//! Nothing is taken from a file while it is being written; until it has come to rest the tree keeps what it had. That is
//! when whoever wrote it has closed it, as far as the [`Sentry`] knows of them, and when its times say so where it does not.

mod dirty;
mod pace;
mod read;
mod ruled;
mod scan;

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::delta::outline::Chain;
use crate::disk::At;
use crate::disk::Disk;
use crate::disk::Kind;
use crate::entry::Digest;
use crate::path::RelPath;
use crate::rules::Rules;
use crate::tree::Change;
use crate::tree::Item;
use crate::tree::Stamp;
use crate::tree::Tree;
use crate::tree::TreeError;
use crate::tree::diff;

pub use dirty::Dirty;
pub use dirty::Part;

use pace::Pace;
use scan::Scan;

/// What becomes of symbolic links.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Symlinks {
    /// Those that stay inside the folder are carried; others are a problem.
    #[default]
    Portable,
    /// None is carried.
    Ignore,
    /// All are carried as they are.
    PosixRaw,
}

impl Symlinks {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::Portable, Self::Ignore, Self::PosixRaw];

    /// Its name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Ignore => "ignore",
            Self::PosixRaw => "posix-raw",
        }
    }
}

/// How a folder is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// What becomes of symbolic links.
    pub symlinks: Symlinks,
    /// With more in it than this the folder is not looked at.
    pub entries_max: u64,
    /// Longer files are a problem, known before a byte of them is moved.
    pub file_size_max: u64,
    /// How far the file system's clock may be behind this machine's: nothing where both are the same.
    pub slack: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            symlinks: Symlinks::default(),
            entries_max: 50_000,
            file_size_max: 10 << 30,
            slack: Duration::ZERO,
        }
    }
}

/// Told which directories are looked at, so that they are watched from before until they are gone.
pub trait Sentry {
    /// A directory is about to be listed: what changes from here on has to be noticed. `None` is the root.
    fn enter(&mut self, directory: Option<&RelPath>);

    /// A directory, with all below it, is gone or carried no more.
    fn leave(&mut self, directory: &RelPath);

    /// What is known of whoever writes a file, since this was last asked.
    fn pen(&mut self, path: &RelPath) -> Pen;
}

/// Whoever has a file open and writes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pen {
    /// Nobody is known to, or has been at it for too long to be waited for.
    #[default]
    None,
    /// It is in the middle of something: the file is to be left alone for so long, if it does not end before.
    Down(Duration),
    /// It has just ended. What is written through memory leaves the times as they are, so they alone say nothing.
    Lifted,
}

/// Watches nothing.
impl Sentry for () {
    fn enter(&mut self, _: Option<&RelPath>) {}
    fn leave(&mut self, _: &RelPath) {}
    fn pen(&mut self, _: &RelPath) -> Pen {
        Pen::None
    }
}

/// The same sentry for whoever asks for what is there now, finished or not.
#[derive(Debug)]
pub struct Impatient<'a, S>(pub &'a mut S);

impl<S: Sentry> Sentry for Impatient<'_, S> {
    fn enter(&mut self, directory: Option<&RelPath>) {
        self.0.enter(directory);
    }

    fn leave(&mut self, directory: &RelPath) {
        self.0.leave(directory);
    }

    fn pen(&mut self, path: &RelPath) -> Pen {
        match self.0.pen(path) {
            Pen::Down(_) => Pen::None,
            other => other,
        }
    }
}

/// Why a folder cannot be looked at. The tree is as it was.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// It is gone, or no directory any more.
    #[error("the folder is gone")]
    Gone,
    /// Its own listing cannot be read.
    #[error("the folder cannot be read")]
    Unreadable(#[source] io::Error),
    /// There is more in it than allowed.
    #[error("the folder holds more than {limit} files")]
    Many {
        /// The limit.
        limit: u64,
    },
}

/// What a look has shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// What differs from the look before.
    pub changes: Vec<Change>,
    /// When to look again, on the caller's clock: [`Look::dirty`] at nowhere looks at what is due.
    pub again: Option<Duration>,
    /// How many files were read.
    pub read: usize,
}

/// What is known of one folder.
#[derive(Debug)]
pub struct Look {
    settings: Settings,
    rules: Rules,
    tree: Tree,
    pace: Pace,
    /// What files held before the tree was known, by their stamps.
    known: HashMap<Stamp, Digest>,
    /// The inode of each directory, by a hash of its path: another one is another directory.
    inodes: HashMap<u64, u64>,
    /// What is in the parts of the long files that were read, until somebody takes it.
    outlines: Vec<(Digest, Vec<Chain>)>,
    /// The last look failed: what it was to show is still to be found.
    stale: bool,
}

impl Look {
    /// Nothing was seen yet.
    pub fn new(settings: Settings, rules: Rules) -> Self {
        Self {
            settings,
            rules,
            tree: Tree::default(),
            pace: Pace::default(),
            known: HashMap::new(),
            inodes: HashMap::new(),
            outlines: Vec::new(),
            stale: false,
        }
    }

    /// The folder as it was last seen, with stamps.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// What becomes of symbolic links.
    pub fn symlinks(&self) -> Symlinks {
        self.settings.symlinks
    }

    /// The rules with the files they were read from.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Other rules; the next look has to be a full one, and shows the effect.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// What files held when they were last looked at, to be given to [`recall`](Self::recall) another time, so that
    /// nothing is read twice. Good only on this machine, for this folder.
    pub fn stamps(&self) -> impl Iterator<Item = (Stamp, Digest)> {
        let files = self.tree.root().into_iter().flat_map(|root| root.walk(None));
        files.filter_map(|(_, item)| match item {
            Item::File(file) if file.stamp != Stamp::UNKNOWN => Some((file.stamp, file.digest)),
            _ => None,
        })
    }

    /// Takes the [`stamps`](Self::stamps) of an earlier time, for the first full look.
    pub fn recall(&mut self, stamps: impl IntoIterator<Item = (Stamp, Digest)>) {
        self.known.extend(stamps);
    }

    /// What is in the parts of the long files that were read since this was last asked.
    pub(crate) fn take_outlines(&mut self) -> Vec<(Digest, Vec<Chain>)> {
        std::mem::take(&mut self.outlines)
    }

    /// Takes what we put on the disk ourselves, with the stamps it got, so that the next look finds nothing new.
    ///
    /// # Errors
    /// When it does not fit what was seen; then nothing changed, and a look will tell.
    pub fn adopt(&mut self, changes: &[Change]) -> Result<(), TreeError> {
        self.tree.apply(changes)
    }

    /// Looks at everything. `now` is any clock that only goes forward.
    ///
    /// # Errors
    /// See [`LookError`]; whatever is wrong below the root is in the tree instead.
    pub fn full<D: Disk>(
        &mut self,
        disk: &D,
        sentry: &mut impl Sentry,
        now: Duration,
    ) -> Result<Seen, LookError> {
        let before = self.tree.clone();
        drop(self.pace.due(now));
        let seen = self.scan(disk, sentry, now, |scan| scan.everything());
        self.known = HashMap::new();
        self.stale = seen.is_err();
        let read = seen?;
        Ok(Seen { changes: diff(&before, &self.tree), again: self.pace.next(), read })
    }

    /// Looks at what is dirty, and at what is due.
    ///
    /// # Errors
    /// See [`LookError`].
    pub fn dirty<D: Disk>(
        &mut self,
        disk: &D,
        sentry: &mut impl Sentry,
        mut dirty: Dirty,
        now: Duration,
    ) -> Result<Seen, LookError> {
        if self.stale || self.tree.root().is_none() {
            dirty = Dirty::All;
        }
        for path in self.pace.due(now) {
            dirty.path(&path);
        }
        let Dirty::Parts(parts) = dirty else { return self.full(disk, sentry, now) };
        let before = self.tree.clone();
        let read = match self.scan(disk, sentry, now, |scan| scan.parts(parts)) {
            Ok(read) => read,
            Err(error) => {
                // Half of it may have been seen already: the next look tells.
                (self.tree, self.stale) = (before, true);
                return Err(error);
            }
        };
        Ok(Seen { changes: diff(&before, &self.tree), again: self.pace.next(), read })
    }

    fn scan<'a, D: Disk, S: Sentry>(
        &'a mut self,
        disk: &'a D,
        sentry: &'a mut S,
        now: Duration,
        run: impl FnOnce(&mut Scan<'a, D, S>) -> Result<(), LookError>,
    ) -> Result<usize, LookError> {
        let root = disk.stat(At::Root).map_err(LookError::Unreadable)?.ok_or(LookError::Gone)?;
        // A directory that was removed while we hold it open has no name any more.
        if root.kind != Kind::Directory || root.links == 0 {
            return Err(LookError::Gone);
        }
        let mut scan = Scan::new(self, disk, sentry, root.device, now);
        run(&mut scan)?;
        Ok(scan.read)
    }
}

#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;
