//! What the node put into the container's copy: the only things it may ever remove there.
//!
//! Kept on the state volume as an append-only journal that ends, at worst, in a torn record (ignored when read). It is
//! bound to the identity of the folder it speaks of: for another folder (a volume made anew) it says nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::entry::Entry;
use crate::files::Identity;
use crate::path::RelPath;

/// Everything in a folder, a directory before what it holds.
type Tree = BTreeMap<RelPath, Entry>;

/// Raised when the record's form changes; a journal of another version is as good as none.
const VERSION: u8 = 1;

#[derive(Debug, Serialize, Deserialize)]
enum Record {
    Root { version: u8, inode: u64, born: i128 },
    Put(RelPath, Entry),
    Removed(RelPath),
    Complete,
}

/// The entries that came from the node.
#[derive(Debug)]
pub struct Ledger {
    entries: Tree,
    complete: bool,
    journal: Option<Journal>,
}

#[derive(Debug)]
struct Journal {
    path: PathBuf,
    file: File,
    pending: Vec<u8>,
}

impl Ledger {
    /// A ledger that is kept nowhere.
    pub fn in_memory() -> Self {
        Self { entries: Tree::new(), complete: false, journal: None }
    }

    /// Opens the journal at `path` for the folder `identity`, and keeps only the entries that `still_there` confirms.
    ///
    /// # Errors
    /// When the journal cannot be written; a journal that cannot be read is an empty one.
    pub fn open(
        path: &Path,
        identity: Identity,
        still_there: impl Fn(&RelPath, &Entry) -> bool,
    ) -> io::Result<Self> {
        let (mut entries, complete) = load(path, identity);
        entries.retain(|path, entry| still_there(path, entry));
        let mut content = Vec::new();
        append(&mut content, &Record::Root { version: VERSION, inode: identity.inode, born: identity.born });
        for (path, entry) in &entries {
            append(&mut content, &Record::Put(path.clone(), entry.clone()));
        }
        if complete {
            append(&mut content, &Record::Complete);
        }
        let fresh = path.with_extension("new");
        std::fs::write(&fresh, &content)?;
        std::fs::rename(&fresh, path)?;
        let file = OpenOptions::new().append(true).open(path)?;
        let journal = Journal { path: path.to_owned(), file, pending: Vec::new() };
        Ok(Self { entries, complete, journal: Some(journal) })
    }

    /// Everything in it.
    pub fn entries(&self) -> &Tree {
        &self.entries
    }

    /// Whether a first sync ever completed in this folder.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Notes what was put at a path.
    pub fn put(&mut self, path: RelPath, entry: Entry) {
        self.note(&Record::Put(path.clone(), entry.clone()));
        self.entries.insert(path, entry);
    }

    /// Notes that a path no longer holds anything of the node's.
    pub fn remove(&mut self, path: &RelPath) {
        if self.entries.remove(path).is_some() {
            self.note(&Record::Removed(path.clone()));
        }
    }

    /// Notes that everything the node has is here.
    pub fn complete(&mut self) {
        if !self.complete {
            self.complete = true;
            self.note(&Record::Complete);
        }
    }

    /// Writes what was noted. A journal that fails is given up: the next start then asks the node for everything.
    pub fn flush(&mut self) {
        let Some(journal) = &mut self.journal else { return };
        let written = journal.file.write_all(&journal.pending);
        journal.pending.clear();
        if written.is_err() {
            drop(std::fs::remove_file(&journal.path));
            self.journal = None;
        }
    }

    /// A digest of everything in it.
    pub fn fingerprint(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        for entry in &self.entries {
            let bytes = postcard::to_allocvec(&entry).expect("an entry has a wire form");
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(&bytes);
        }
        hasher.finalize()
    }

    fn note(&mut self, record: &Record) {
        let Some(journal) = &mut self.journal else { return };
        append(&mut journal.pending, record);
        if journal.pending.len() > 64 * 1024 {
            self.flush();
        }
    }
}

fn append(buffer: &mut Vec<u8>, record: &Record) {
    let body = postcard::to_allocvec(record).expect("a record has a disk form");
    buffer.extend_from_slice(&u32::try_from(body.len()).expect("a record is small").to_le_bytes());
    buffer.extend_from_slice(&blake3::hash(&body).as_bytes()[..4]);
    buffer.extend_from_slice(&body);
}

fn load(path: &Path, identity: Identity) -> (Tree, bool) {
    let content = std::fs::read(path).unwrap_or_default();
    let mut records = Records(&content);
    let ours = Record::Root { version: VERSION, inode: identity.inode, born: identity.born };
    let (mut entries, mut complete) = (Tree::new(), false);
    if records.next().is_none_or(|first| format!("{first:?}") != format!("{ours:?}")) {
        return (entries, complete);
    }
    for record in records {
        match record {
            Record::Put(path, entry) => drop(entries.insert(path, entry)),
            Record::Removed(path) => drop(entries.remove(&path)),
            Record::Complete => complete = true,
            Record::Root { .. } => {}
        }
    }
    (entries, complete)
}

/// Records up to the first that is torn or damaged.
struct Records<'a>(&'a [u8]);

impl Iterator for Records<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let (checksum, rest) = rest.split_first_chunk::<4>()?;
        let (body, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        self.0 = rest;
        if blake3::hash(body).as_bytes()[..4] != checksum[..] {
            self.0 = &[];
            return None;
        }
        postcard::from_bytes(body).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: Identity = Identity { inode: 7, born: 1 };

    fn filled(path: &Path) {
        let mut ledger = Ledger::open(path, HOME, |_, _| true).unwrap();
        for name in ["a", "b", "c"] {
            ledger.put(RelPath::parse(name.as_bytes()).unwrap(), Entry::Directory);
        }
        ledger.remove(&RelPath::parse(b"b").unwrap());
        ledger.complete();
        ledger.flush();
    }

    fn names(ledger: &Ledger) -> Vec<String> {
        ledger.entries().keys().map(ToString::to_string).collect()
    }

    #[test]
    fn it_remembers_and_a_torn_end_costs_only_itself() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("ledger");
        filled(&path);
        let ledger = Ledger::open(&path, HOME, |_, _| true).unwrap();
        assert_eq!(names(&ledger), ["a", "c"]);
        assert!(ledger.is_complete());
        drop(ledger);
        // A record that was being written when the power went.
        let mut content = std::fs::read(&path).unwrap();
        content.extend_from_slice(&[9, 0, 0, 0, 1, 2]);
        std::fs::write(&path, content).unwrap();
        let ledger = Ledger::open(&path, HOME, |path, _| path.name() != b"a").unwrap();
        assert_eq!(names(&ledger), ["c"], "what is no longer there is forgotten");
    }

    #[test]
    fn of_another_folder_it_says_nothing() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("ledger");
        filled(&path);
        let ledger = Ledger::open(&path, Identity { inode: 7, born: 2 }, |_, _| true).unwrap();
        assert!(names(&ledger).is_empty());
        assert!(!ledger.is_complete());
    }
}
