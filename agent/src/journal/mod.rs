//! What a session remembers across restarts: the ancestor, and between which two folders it holds.
//!
//! A log that begins with a snapshot; each [`commit`](Journal::commit) adds one record, and when those are more than the
//! snapshot, a new log takes the place of the old in one step. What a crash tears is the last record, and it is cut off.
//! Whatever cannot be read otherwise (damage, another version) is dropped whole: without an ancestor nothing can look
//! deleted, so the worst that follows is a question too many.

#[cfg(test)]
mod memory;

use std::io;
use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;

use crate::disk::Identity;
use crate::disk::Nonce;
use crate::entry::Digest;
use crate::log::Found;
use crate::log::Log;
use crate::log::Medium;
use crate::tree::Change;
use crate::tree::Item;
use crate::tree::Tree;
use crate::tree::TreeError;

#[cfg(test)]
pub use memory::Memory;

/// Raise this whenever [`Record`], or the form of an [`Item`], changes: an old reader drops what a new one wrote, and
/// the other way round.
const VERSION: u32 = 1;

/// As many bytes of changes are kept without asking whether a snapshot would be shorter.
const SLACK: u64 = 1 << 20;

/// Which folder it was on one side. On any difference the ancestor is not about what stands there now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// The device its file system is on.
    pub device: u64,
    /// Its inode number.
    pub inode: u64,
    /// Birth in nanoseconds; 0 where the file system does not know it.
    pub born: i128,
    /// What was written into it to know it again; zeros where nothing was.
    pub nonce: [u8; 16],
}

impl From<Identity> for Root {
    fn from(Identity { device, inode, born, nonce }: Identity) -> Self {
        Self { device, inode, born, nonce: nonce.0 }
    }
}

impl From<Root> for Identity {
    fn from(Root { device, inode, born, nonce }: Root) -> Self {
        Self { device, inode, born, nonce: Nonce(nonce) }
    }
}

/// What the ancestor is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bond {
    /// The host's folder.
    pub alpha: Root,
    /// The container's.
    pub beta: Root,
    /// [`Rules::fingerprint`](crate::rules::Rules::fingerprint) of the rules under which it was made.
    pub rules: Digest,
}

/// What a journal was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// There was none.
    Fresh,
    /// All that was committed is there.
    Whole,
    /// It could not be used and is dropped; the reason is for a person.
    Dropped(Arc<str>),
}

/// One record of the log: what one commit brought. The first says in which version the rest is written.
#[derive(Serialize, Deserialize)]
enum Record {
    Snapshot {
        version: u32,
        generation: u64,
        bond: Bond,
        root: Option<Item>,
    },
    Commit {
        bond: Option<Bond>,
        changes: Vec<Change>,
    },
    /// An older reader of this version takes it for damage.
    Marks([[u8; 16]; 2]),
}

/// The ancestor of a session, kept in a log.
#[derive(Debug)]
pub struct Journal<M> {
    log: Log<M>,
    generation: u64,
    bond: Option<Bond>,
    marks: Option<[Nonce; 2]>,
    tree: Tree,
    /// What was recorded since the last commit.
    pending: Vec<Change>,
    rebound: bool,
    remarked: bool,
    /// The length of the snapshot in the log.
    snapshot: u64,
    /// Nobody knows what the log holds: it has to be written anew.
    spoiled: bool,
}

impl<M: Medium> Journal<M> {
    /// Reads what is there. What cannot be used stays until [`bind`](Self::bind).
    ///
    /// # Errors
    /// Only when the medium itself cannot be read: then nothing is known, and nothing is dropped.
    pub fn open(medium: M) -> io::Result<(Self, Opened)> {
        let (log, found) = Log::open(medium)?;
        let mut journal = Self {
            log,
            generation: 0,
            bond: None,
            marks: None,
            tree: Tree::default(),
            pending: Vec::new(),
            rebound: false,
            remarked: false,
            snapshot: 0,
            spoiled: true,
        };
        if found.records.is_empty() && found.damaged == 0 {
            return Ok((journal, Opened::Fresh));
        }
        let opened = match journal.restore(&found) {
            Ok(()) => Opened::Whole,
            Err(why) => {
                (journal.tree, journal.bond, journal.spoiled) = (Tree::default(), None, true);
                journal.marks = None;
                Opened::Dropped(why.into())
            }
        };
        Ok((journal, opened))
    }

    fn restore(&mut self, found: &Found) -> Result<(), String> {
        if found.damaged > 0 {
            return Err("it is damaged".to_owned());
        }
        let (first, rest) = found.records.split_first().ok_or("it is empty")?;
        // The number of the variant, then the version: these two stay where they are in every version.
        let (_, version): (u32, u32) = postcard::take_from_bytes(first).map_err(unreadable)?.0;
        if version != VERSION {
            return Err(format!("it was written in version {version} of its form, this one is {VERSION}"));
        }
        let Record::Snapshot { generation, bond, root, .. } =
            postcard::from_bytes(first).map_err(unreadable)?
        else {
            return Err("it does not begin with a snapshot".to_owned());
        };
        self.tree = Tree::with_root(root);
        (self.generation, self.bond, self.snapshot) = (generation, Some(bond), first.len() as u64);
        for record in rest {
            match postcard::from_bytes(record).map_err(unreadable)? {
                Record::Commit { bond, changes } => {
                    self.bond = bond.or(self.bond);
                    self.tree.apply(&changes).map_err(|error| error.to_string())?;
                }
                Record::Marks(marks) => self.marks = Some(marks.map(Nonce)),
                Record::Snapshot { .. } => return Err("it begins twice".to_owned()),
            }
        }
        self.spoiled = false;
        Ok(())
    }

    /// What the ancestor is about; `None` when there is none.
    pub fn bond(&self) -> Option<&Bond> {
        self.bond.as_ref()
    }

    /// How many times the ancestor was begun anew.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The ancestor. Without a [`bond`](Self::bond) it is empty.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Takes over the memory of a tree that holds the same.
    pub fn share(&mut self, other: &Tree) {
        self.tree.share(other);
    }

    /// Whether it is not from another time than the folder that was `found` to carry this mark: a journal that was put
    /// back knows nothing of the marks the folder has got since. Where either has none, nobody can tell.
    pub fn is_of_now(&self, found: Option<Nonce>) -> bool {
        self.marks.zip(found).is_none_or(|(marks, found)| marks.contains(&found))
    }

    /// Marks it with `new`, which the folder is to be marked with once this is [committed](Self::commit); until then it
    /// carries `found`.
    pub fn mark(&mut self, new: Nonce, found: Option<Nonce>) {
        self.marks = Some([new, found.unwrap_or(new)]);
        self.remarked = true;
    }

    /// Begins anew, with nothing in the ancestor. On the disk when this returns.
    ///
    /// # Errors
    /// As the kernel says; then all of it is written anew by the next [`commit`](Self::commit).
    pub fn bind(&mut self, bond: Bond) -> io::Result<()> {
        self.generation += 1;
        self.bond = Some(bond);
        self.tree = Tree::default();
        self.marks = None;
        self.rewrite(bond)
    }

    /// Keeps the ancestor under another bond: only for what does not make it untrue, as changed rules.
    pub fn rebind(&mut self, bond: Bond) {
        self.rebound |= self.bond != Some(bond);
        self.bond = Some(bond);
    }

    /// Takes changes into the ancestor. They survive a crash after the next [`commit`](Self::commit).
    ///
    /// # Errors
    /// When they do not fit the ancestor; then nothing changed.
    pub fn record(&mut self, changes: Vec<Change>) -> Result<(), TreeError> {
        debug_assert!(self.bond.is_some(), "changes to nothing");
        self.tree.apply(&changes)?;
        self.pending.extend(changes);
        Ok(())
    }

    /// Returns when everything recorded survives a crash.
    ///
    /// # Errors
    /// As the kernel says. Nothing is forgotten: the next one writes all of it anew.
    pub fn commit(&mut self) -> io::Result<()> {
        let Some(bond) = self.bond else { return Ok(()) };
        if self.spoiled || self.log.length() > 2 * self.snapshot + SLACK {
            return self.rewrite(bond);
        }
        if self.pending.is_empty() && !self.rebound && !self.remarked {
            return Ok(());
        }
        let bond = self.rebound.then_some(bond);
        let record = encode(&Record::Commit { bond, changes: std::mem::take(&mut self.pending) });
        // Until it is known to be on the disk it may be there or not.
        self.spoiled = true;
        if let Some(marks) = self.marks.filter(|_| self.remarked) {
            self.log.append(&marked(marks))?;
        }
        self.log.append(&record)?;
        self.log.sync()?;
        (self.spoiled, self.rebound, self.remarked) = (false, false, false);
        Ok(())
    }

    /// Writes all of it as one snapshot.
    fn rewrite(&mut self, bond: Bond) -> io::Result<()> {
        self.spoiled = true;
        let root = self.tree.root().cloned();
        let snapshot =
            encode(&Record::Snapshot { version: VERSION, generation: self.generation, bond, root });
        let marks = self.marks.map(marked);
        self.log.replace([&*snapshot].into_iter().chain(marks.as_deref()))?;
        self.pending.clear();
        (self.spoiled, self.rebound, self.remarked) = (false, false, false);
        self.snapshot = snapshot.len() as u64;
        Ok(())
    }
}

fn marked(marks: [Nonce; 2]) -> Vec<u8> {
    encode(&Record::Marks(marks.map(|mark| mark.0)))
}

fn encode(record: &Record) -> Vec<u8> {
    postcard::to_allocvec(record).expect("a record has a form on the disk")
}

fn unreadable(error: postcard::Error) -> String {
    format!("it cannot be read: {error}")
}

#[cfg(test)]
mod tests;
