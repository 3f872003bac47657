//! Gives back what a snapshot holds.
//!
//! Things come in the order of the tree, some hundred at a time: while those are handed out, the blobs of the next are on
//! their way already. A large file is read when its turn comes, a piece ahead. So memory has a bound whatever the
//! snapshot holds: two handfuls here, two pieces for each who writes, and what whoever asks keeps of the things it got.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;

use rustic_core::DataId;
use rustic_core::IndexedFullStatus;
use rustic_core::TreeId;
use rustic_core::repofile::Node;
use rustic_core::repofile::NodeType;

use super::Repository;
use super::blobs::Blob;
use super::blobs::Blobs;
use super::blobs::Entry;
use super::ranges::Place;
use crate::backup::restore;
use crate::backup::restore::Wanted;
use crate::backup::snapshot;
use crate::backup::snapshot::Read;
use crate::backup::snapshot::Snapshot;
use crate::backup::trouble::Cause;
use crate::backup::trouble::Trouble;

/// So many things are a handful.
const HANDFUL: usize = 1024;
/// And so many bytes of blobs.
const HANDFUL_BYTES: u64 = 8 << 20;
/// Files that are stored in more bytes are read piece by piece when their turn comes.
const WHOLE: u64 = 4 << 20;
/// Such a piece.
const PIECE: u64 = 4 << 20;

/// A repository that is ready to give content back.
pub struct Reader {
    pub(super) repository: Repository<IndexedFullStatus>,
    blobs: Blobs,
}

/// What reads a file of a snapshot.
pub struct Content {
    /// Its blobs, one after the other.
    pub(super) ids: Vec<DataId>,
    /// Under way already: all of it.
    ahead: Option<Vec<Blob>>,
}

/// The things of a snapshot, one after the other.
struct Things<'a> {
    reader: &'a Reader,
    /// Directories that are gone through, each with what is left of it.
    open: Vec<(PathBuf, std::vec::IntoIter<Node>)>,
    /// Said before the next thing.
    failure: Option<Trouble>,
}

impl Iterator for Things<'_> {
    type Item = Result<(Wanted, Node), Trouble>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(trouble) = self.failure.take() {
            return Some(Err(trouble));
        }
        loop {
            let (directory, nodes) = self.open.last_mut()?;
            let Some(node) = nodes.next() else {
                self.open.pop();
                continue;
            };
            let path = directory.join(node.name());
            let wanted = wanted(&path, &node);
            match node.subtree.map(|id| self.reader.tree(id)) {
                Some(Ok(nodes)) => self.open.push((path, nodes.into_iter())),
                Some(Err(trouble)) => self.failure = Some(trouble),
                None => {}
            }
            return Some(Ok((wanted, node)));
        }
    }
}

impl Reader {
    /// Reads what this repository's index knows of; its blobs are opened by `blobs`.
    pub(super) fn new(repository: Repository<IndexedFullStatus>, blobs: Blobs) -> Self {
        Self { repository, blobs }
    }

    fn tree(&self, id: TreeId) -> Result<Vec<Node>, Trouble> {
        let tree = self.repository.inner.get_tree(&id);
        Ok(tree.map_err(|error| self.repository.trouble("list a snapshot of", &error))?.nodes)
    }

    /// Where a blob lies.
    fn entry(&self, id: DataId) -> Result<Entry, Trouble> {
        let found = self.repository.inner.get_index_entry(&id).map_err(|_| {
            let doing = format!("find the blob {} at {}", id.to_hex().as_str(), self.repository.shown);
            Trouble::new(Cause::Missing, doing, "the index does not know it")
        })?;
        let (pack, location) = (*found.pack, found.location);
        let place = Place { pack, offset: location.offset, length: location.length };
        Ok(Entry { id: *id, place, unpacked: location.uncompressed_length })
    }

    /// The next things, with the blobs of those that are likely to be read on their way.
    fn handful(&self, things: &mut Things<'_>, likely: &dyn Fn(&Wanted) -> bool) -> VecDeque<Read<Content>> {
        let mut handful = VecDeque::new();
        let (mut entries, mut counts, mut bytes) = (Vec::new(), VecDeque::new(), 0);
        while handful.len() < HANDFUL && bytes < HANDFUL_BYTES {
            let Some(thing) = things.next() else { break };
            let ahead = thing.as_ref().ok().and_then(|(wanted, node)| self.ahead(wanted, node, likely));
            counts.push_back(ahead.as_ref().map(Vec::len));
            bytes += ahead.iter().flatten().map(|entry| u64::from(entry.place.length)).sum::<u64>();
            entries.extend(ahead.into_iter().flatten());
            handful.push_back(thing.map(|(wanted, node)| {
                (wanted, Content { ids: node.content.unwrap_or_default(), ahead: None })
            }));
        }
        let mut blobs = self.blobs.fetch(&entries).into_iter();
        for (thing, count) in handful.iter_mut().zip(counts) {
            if let (Ok((_, content)), Some(count)) = (thing, count) {
                content.ahead = Some(blobs.by_ref().take(count).collect());
            }
        }
        handful
    }

    /// The blobs of a file that are worth fetching before its turn.
    fn ahead(&self, wanted: &Wanted, node: &Node, likely: &dyn Fn(&Wanted) -> bool) -> Option<Vec<Entry>> {
        let ids = node.content.as_deref().filter(|_| node.is_file() && likely(wanted))?;
        let mut entries = Vec::with_capacity(ids.len().min(16));
        let mut bytes = 0;
        for id in ids {
            // What the index does not know is said when its turn comes.
            let entry = self.entry(*id).ok()?;
            bytes += u64::from(entry.place.length);
            if bytes > WHOLE {
                return None;
            }
            entries.push(entry);
        }
        Some(entries)
    }

    /// Begins to fetch the next piece of a file.
    fn piece(&self, ids: &mut std::slice::Iter<'_, DataId>) -> Result<Vec<Blob>, Trouble> {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while entries.len() < HANDFUL && bytes < PIECE {
            let Some(id) = ids.next() else { break };
            let entry = self.entry(*id)?;
            bytes += u64::from(entry.place.length);
            entries.push(entry);
        }
        Ok(self.blobs.fetch(&entries))
    }

    fn write(&self, blobs: &[Blob], to: &mut File) -> Result<(), Trouble> {
        let written =
            |error: std::io::Error| Trouble::new(restore::cause_of(&error), "write", error.to_string());
        blobs.iter().try_for_each(|blob| self.blobs.open(blob, |text| to.write_all(text).map_err(written)))
    }
}

impl snapshot::Reader for Reader {
    type Content = Content;

    fn entries(
        &self,
        snapshot: &Snapshot,
        likely: &dyn Fn(&Wanted) -> bool,
        each: &mut dyn FnMut(Read<Content>),
    ) -> Result<Wanted, Trouble> {
        let path = format!("{}:{}", snapshot.id, snapshot.path);
        let root = self
            .repository
            .inner
            .node_from_snapshot_path(&path, |_| true)
            .map_err(|error| self.repository.trouble("open a snapshot of", &error))?;
        // The library's own walk gives whatever follows a directory that cannot be read a path inside of that directory.
        let nodes = match root.subtree {
            Some(id) => self.tree(id)?,
            None => vec![root.clone()],
        };
        let mut things =
            Things { reader: self, open: vec![(PathBuf::new(), nodes.into_iter())], failure: None };
        let mut next = self.handful(&mut things, likely);
        while !next.is_empty() {
            let now = std::mem::replace(&mut next, self.handful(&mut things, likely));
            now.into_iter().for_each(&mut *each);
        }
        Ok(wanted(Path::new(""), &root))
    }

    fn content(&self, content: Content, to: &mut File) -> Result<(), Trouble> {
        if let Some(blobs) = content.ahead {
            return self.write(&blobs, to);
        }
        let mut ids = content.ids.iter();
        let mut next = self.piece(&mut ids)?;
        while !next.is_empty() {
            let now = std::mem::replace(&mut next, self.piece(&mut ids)?);
            self.write(&now, to)?;
        }
        Ok(())
    }

    fn length(&self, content: &Content) -> u64 {
        // What the index does not know is not written either.
        let known = content.ids.iter().filter_map(|id| self.entry(*id).ok());
        known.fold(0, |length, entry| length.saturating_add(entry.holds()))
    }

    fn fingerprint(content: &Content) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for id in &content.ids {
            hasher.update(id.to_hex().as_str().as_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

fn wanted(path: &Path, node: &Node) -> Wanted {
    let kind = match &node.node_type {
        NodeType::Dir => restore::Kind::Directory,
        NodeType::File => restore::Kind::File { size: node.meta.size },
        NodeType::Symlink { .. } => restore::Kind::Link(node.node_type.to_link().as_os_str().to_owned()),
        other => restore::Kind::Other(other.to_string()),
    };
    Wanted { path: path.as_os_str().to_owned(), kind, mode: node.meta.mode, modified: node.meta.mtime }
}
