//! What is found in a folder, as rustic wants to read it.
//!
//! A file is opened when its turn comes. What has gone or cannot be read is named in the report.

use std::io;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;

use jiff::Timestamp;
use nexus_agent::path::RelPath;
use rustic_core::ErrorKind;
use rustic_core::ReadSource;
use rustic_core::ReadSourceEntry;
use rustic_core::ReadSourceOpen;
use rustic_core::RusticError;
use rustic_core::RusticResult;
use rustic_core::TreeId;
use rustic_core::repofile::Metadata;
use rustic_core::repofile::Node;
use rustic_core::repofile::NodeType;

use crate::backup::digest::Listing;
use crate::backup::reading;
use crate::backup::walk;
use crate::backup::walk::Entry;
use crate::backup::walk::Kind;
use crate::backup::walk::Shared;
use crate::backup::walk::Walk;

/// What a snapshot is taken of.
pub enum Found {
    /// Whatever the walk finds; it is added to the listing.
    Walk(Box<Walk>, Arc<Mutex<Listing>>),
    /// What was found before. A directory with a tree is that tree, whatever lies in it.
    Kept(std::vec::IntoIter<(Entry, Option<TreeId>)>),
}

impl Iterator for Found {
    type Item = (Entry, Option<TreeId>);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Walk(walk, listing) => {
                let entry = walk.next()?;
                listing.lock().unwrap_or_else(PoisonError::into_inner).add(&entry);
                Some((entry, None))
            }
            Self::Kept(entries) => entries.next(),
        }
    }
}

/// A folder as a source of a snapshot.
pub struct Source {
    /// Handed out once: there is one look at the folder per snapshot.
    found: Mutex<Option<Found>>,
    root: Arc<OwnedFd>,
    /// What the paths in the snapshot begin with.
    prefix: PathBuf,
    report: Shared,
    read: Arc<AtomicU64>,
}

impl Source {
    /// What is found in the folder `root`, below `prefix`; bytes read are added to `read`.
    pub fn new(
        found: Found,
        root: Arc<OwnedFd>,
        prefix: &Path,
        report: Shared,
        read: Arc<AtomicU64>,
    ) -> Self {
        Self { found: Mutex::new(Some(found)), root, prefix: prefix.to_owned(), report, read }
    }
}

/// The entries of a source.
pub struct Entries {
    found: Option<Found>,
    root: Arc<OwnedFd>,
    prefix: PathBuf,
    report: Shared,
    read: Arc<AtomicU64>,
}

impl ReadSource for Source {
    type Open = Opener;
    type Iter = Entries;

    fn size(&self) -> RusticResult<Option<u64>> {
        Ok(None)
    }

    fn entries(&self) -> Entries {
        Entries {
            found: self.found.lock().unwrap_or_else(PoisonError::into_inner).take(),
            root: Arc::clone(&self.root),
            prefix: self.prefix.clone(),
            report: Arc::clone(&self.report),
            read: Arc::clone(&self.read),
        }
    }
}

impl Iterator for Entries {
    type Item = RusticResult<ReadSourceEntry<Opener>>;

    fn next(&mut self) -> Option<Self::Item> {
        let (entry, tree) = self.found.as_mut()?.next()?;
        let mut path = match &entry.path {
            Some(relative) => self.prefix.join(relative.as_path()),
            None => self.prefix.clone(),
        };
        let mut node = node(&entry, &path);
        if tree.is_some() {
            node.subtree = tree;
            // rustic goes into a directory where it is given its own path. Where it is given the one of the directory above,
            // as of everything else, it takes the node for what it is.
            path.pop();
        }
        let open = (entry.kind == Kind::File).then(|| Opener {
            root: Arc::clone(&self.root),
            path: entry.path,
            report: Arc::clone(&self.report),
            read: Arc::clone(&self.read),
        });
        Some(Ok(ReadSourceEntry { path, node, open }))
    }
}

fn node(entry: &Entry, path: &Path) -> Node {
    let stat = &entry.stat;
    let time = |seconds: i64, nanoseconds: i64| {
        Timestamp::new(seconds, i32::try_from(nanoseconds).unwrap_or(0)).ok()
    };
    let kind = match &entry.kind {
        Kind::Directory => NodeType::Dir,
        Kind::File => NodeType::File,
        Kind::Link(target) => NodeType::from_link(Path::new(target)),
    };
    let meta = Metadata {
        mode: Some(stat.st_mode),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec.cast_signed()),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec.cast_signed()),
        uid: Some(stat.st_uid),
        gid: Some(stat.st_gid),
        inode: stat.st_ino,
        size: if entry.kind == Kind::File { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 },
        links: if entry.kind == Kind::Directory { 0 } else { stat.st_nlink },
        ..Metadata::default()
    };
    Node::new_node(path.file_name().unwrap_or_default(), kind, meta)
}

/// Opens a file when its turn comes.
pub struct Opener {
    root: Arc<OwnedFd>,
    path: Option<RelPath>,
    report: Shared,
    read: Arc<AtomicU64>,
}

impl ReadSourceOpen for Opener {
    type Reader = Box<dyn Read + Send>;

    fn open(self) -> RusticResult<Self::Reader> {
        let shown = self.path.as_ref().map(ToString::to_string).unwrap_or_default();
        let opened = self.path.as_ref().map_or_else(
            || Err(io::Error::from(io::ErrorKind::NotFound)),
            |path| {
                let file = walk::open(&self.root, path)?;
                reading::open(file, &shown, &self.report, &self.read)
            },
        );
        opened.map_err(|error| {
            walk::lock(&self.report).unreadable.add(&shown, error.to_string());
            RusticError::new(ErrorKind::InputOutput, error.to_string())
        })
    }
}
