//! Gives back what a mirror holds: which snapshots there are, what each holds, and the content of files.
//!
//! A version of a file lies with the first run after its snapshot that replaced it, else among the files. The hash of
//! the manifest decides whether that is so: where it is not, wherever else a version of the file lies is tried too, so a
//! run that was cut short costs no snapshot anything.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::Seek as _;
use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::TryStreamExt as _;
use futures::stream;
use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use tokio_util::task::AbortOnDropHandle;

use super::manifest;
use super::manifest::Entry;
use super::manifest::HEAD;
use super::manifest::Kind;
use super::manifest::Stored;
use super::manifest::Wrong;
use super::name;
use super::name::Names;
use super::name::Stamp;
use super::run::Mirror;
use crate::backup::objects::Objects;
use crate::backup::restore;
use crate::backup::restore::Wanted;
use crate::backup::snapshot;
use crate::backup::snapshot::Read;
use crate::backup::snapshot::Snapshot;
use crate::backup::trouble::Cause;
use crate::backup::trouble::Trouble;

/// So many beginnings of manifests are read at once.
const HEADS: usize = 16;
/// So many files are fetched before their turn: most of the time of a small one is waiting for the server to begin.
const AHEAD: usize = 128;
/// And so many bytes of them.
const AHEAD_BYTES: u64 = 32 << 20;
/// Larger files are read piece by piece when their turn comes.
const WHOLE: u64 = 4 << 20;
/// Such a piece.
const PIECE: u64 = 8 << 20;

/// All snapshots of folders at a destination, of all nodes, the oldest first. Manifests that cannot be read are passed over
/// with a warning: they hide no other.
///
/// # Errors
/// When they cannot be listed or reached.
pub async fn snapshots(objects: &Objects) -> Result<Vec<Snapshot>, Trouble> {
    all(objects, |names| !names.is_state()).await
}

/// All snapshots of nodes' own state, the oldest first; as [`snapshots`].
///
/// # Errors
/// When they cannot be listed or reached.
pub async fn states(objects: &Objects) -> Result<Vec<Snapshot>, Trouble> {
    all(objects, Names::is_state).await
}

async fn all(objects: &Objects, wanted: impl Fn(&Names) -> bool) -> Result<Vec<Snapshot>, Trouble> {
    let listed = objects.list(name::MANIFESTS).await?;
    let found = listed.iter().filter_map(|one| Names::parse_manifest(&one.key));
    let found: Vec<_> = found.filter(|(names, _)| wanted(names)).collect();
    let read = |(names, stamp): (Names, Stamp)| async move {
        let key = names.manifest(stamp);
        let beginning = objects.get_beginning(&key, HEAD).await?;
        let head = match manifest::Reader::open(beginning) {
            Ok(reader) => reader.head().clone(),
            Err(wrong) => {
                tracing::warn!(manifest = key, error = %wrong, "a manifest cannot be read");
                return Ok(None);
            }
        };
        Ok(Some(Snapshot {
            id: names.id(stamp),
            time: head.time,
            host: names.node(),
            folder: names.folder(),
            path: names.folder(),
            workspace: Some(head.workspace),
            files: head.files,
            bytes: head.bytes,
        }))
    };
    let mut all: Vec<Snapshot> = stream::iter(found)
        .map(read)
        .buffered(HEADS)
        .try_filter_map(async |one| Ok(one))
        .try_collect()
        .await?;
    all.sort_by(|one, other| (one.time, &one.id).cmp(&(other.time, &other.id)));
    Ok(all)
}

/// Where the replaced versions of files lie: by the last part of their keys, the runs that replaced them, the oldest
/// first.
pub type Replaced = HashMap<String, Vec<Stamp>>;

impl Mirror {
    /// Which versions were replaced when.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn replaced(&self) -> Result<Replaced, Trouble> {
        let mut replaced = Replaced::new();
        for one in self.objects.list(&self.names.all_replaced()).await? {
            if let Some((stamp, part)) = Names::parse_replaced(&one.key) {
                replaced.entry(part.to_owned()).or_default().push(stamp);
            }
        }
        replaced.values_mut().for_each(|stamps| stamps.sort_unstable());
        Ok(replaced)
    }
}

/// The keys a version may lie at, the likeliest first. `at` is the run whose manifest names it.
pub fn candidates(names: &Names, replaced: &Replaced, part: &str, at: Stamp) -> Vec<String> {
    let stamps = replaced.get(part).map_or(&[][..], Vec::as_slice);
    let later = stamps.partition_point(|stamp| *stamp <= at);
    let mut keys: Vec<_> = stamps[later..].iter().map(|stamp| names.replaced(*stamp, part)).collect();
    keys.push(names.file(part));
    keys
}

/// Reads snapshots of one workspace.
#[derive(Clone)]
pub struct Reader {
    mirror: Mirror,
    stamps: Arc<Vec<Stamp>>,
    replaced: Arc<OnceCell<Replaced>>,
}

/// What reads a file of a snapshot.
pub struct Content {
    part: String,
    at: Stamp,
    stored: Option<Stored>,
    /// Under way already.
    fetched: Option<AbortOnDropHandle<Result<Bytes, Trouble>>>,
}

impl Reader {
    /// Ready to read.
    ///
    /// # Errors
    /// When the manifests cannot be listed.
    pub async fn open(mirror: Mirror) -> Result<Self, Trouble> {
        let stamps = Arc::new(mirror.stamps().await?);
        Ok(Self { mirror, stamps, replaced: Arc::default() })
    }

    fn trouble(&self, cause: Cause, doing: &str, detail: impl Into<String>) -> Trouble {
        Trouble::new(cause, format!("{doing} at {}", self.mirror.objects.shown()), detail)
    }

    fn stopped(&self) -> Result<(), Trouble> {
        if self.mirror.stop.is_cancelled() {
            return Err(self.trouble(Cause::Stopped, "go on", ""));
        }
        Ok(())
    }

    async fn index(&self) -> Result<&Replaced, Trouble> {
        self.replaced.get_or_try_init(|| self.mirror.replaced()).await
    }

    /// The keys to try: those that cost nothing to know first.
    async fn keys(&self, part: &str, at: Stamp, first: bool) -> Result<Vec<String>, Trouble> {
        if first && self.stamps.last() == Some(&at) {
            return Ok(vec![self.mirror.names.file(part)]);
        }
        Ok(candidates(&self.mirror.names, self.index().await?, part, at))
    }

    /// A file's content, proved by its hash.
    async fn fetch(&self, part: &str, stored: &Stored, at: Stamp) -> Result<Bytes, Trouble> {
        if stored.size == 0 {
            return self.prove(part, stored, Bytes::new());
        }
        let mut failure = None;
        for first in [true, false] {
            for key in self.keys(part, at, first).await? {
                self.stopped()?;
                // One byte more than there should be shows what is too long, and no more than that is read.
                let got = self.mirror.objects.get_beginning(&key, stored.size.saturating_add(1)).await;
                match got.and_then(|bytes| self.prove(part, stored, bytes)) {
                    Ok(bytes) => return Ok(bytes),
                    Err(trouble) => failure = Some(worst(failure, trouble)),
                }
            }
        }
        Err(failure.unwrap_or_else(|| self.trouble(Cause::Missing, &format!("find `{part}`"), "")))
    }

    fn prove(&self, part: &str, stored: &Stored, bytes: Bytes) -> Result<Bytes, Trouble> {
        if bytes.len() as u64 == stored.size && blake3::hash(&bytes) == stored.hash {
            return Ok(bytes);
        }
        Err(self.trouble(
            Cause::Damaged,
            &format!("trust `{part}`"),
            "its hash is not the one that was written",
        ))
    }

    /// Writes a large file's content piece by piece, from each place it may lie at until one proves right.
    fn pour(&self, part: &str, stored: &Stored, at: Stamp, to: &mut File) -> Result<(), Trouble> {
        let runtime = &self.mirror.runtime;
        let mut failure = None;
        for first in [true, false] {
            for key in runtime.block_on(self.keys(part, at, first))? {
                match self.pour_from(&key, part, stored, to) {
                    Ok(()) => return Ok(()),
                    Err(trouble) if matches!(trouble.cause, Cause::Missing | Cause::Damaged) => {
                        failure = Some(worst(failure, trouble));
                        to.set_len(0).and_then(|()| to.rewind()).map_err(|error| written(&error))?;
                    }
                    Err(trouble) => return Err(trouble),
                }
            }
        }
        Err(failure.unwrap_or_else(|| self.trouble(Cause::Missing, &format!("find `{part}`"), "")))
    }

    fn pour_from(&self, key: &str, part: &str, stored: &Stored, to: &mut File) -> Result<(), Trouble> {
        let (runtime, objects) = (&self.mirror.runtime, &self.mirror.objects);
        let wrong = |detail: &str| self.trouble(Cause::Damaged, &format!("trust `{part}`"), detail);
        match runtime.block_on(objects.size(key))? {
            Some(size) if size == stored.size => {}
            Some(_) => return Err(wrong("its size is not the one that was written")),
            None => return Err(self.trouble(Cause::Missing, &format!("find `{part}`"), "")),
        }
        let mut hasher = blake3::Hasher::new();
        let mut offset = 0;
        while offset < stored.size {
            self.stopped()?;
            let length = PIECE.min(stored.size - offset);
            let piece = runtime.block_on(objects.get_range(key, offset, length))?;
            hasher.update(&piece);
            to.write_all(&piece).map_err(|error| written(&error))?;
            offset += length;
        }
        if hasher.finalize() == stored.hash {
            return Ok(());
        }
        Err(wrong("its hash is not the one that was written"))
    }

    /// A manifest, thing by thing.
    fn manifest(&self, at: Stamp) -> Result<manifest::Reader, Trouble> {
        let bytes = self.mirror.runtime.block_on(self.mirror.objects.get(&self.mirror.names.manifest(at)))?;
        manifest::Reader::open(bytes).map_err(|wrong| self.unusable(at, &wrong))
    }

    fn unusable(&self, at: Stamp, wrong: &Wrong) -> Trouble {
        let cause = if matches!(wrong, Wrong::Version(_)) { Cause::Foreign } else { Cause::Damaged };
        self.trouble(cause, &format!("read the manifest of {at}"), wrong.to_string())
    }

    fn ahead(&self, entry: Entry, at: Stamp, likely: &dyn Fn(&Wanted) -> bool) -> (u64, Wanted, Content) {
        let wanted = wanted(&entry);
        let (part, stored) = match entry.kind {
            Kind::File(stored) => (Names::part(&entry.path), Some(stored)),
            _ => (String::new(), None),
        };
        let mut content = Content { part, at, stored, fetched: None };
        let size = content.stored.as_ref().map_or(0, |stored| stored.size);
        if content.stored.is_none() || size > WHOLE || !likely(&wanted) {
            return (0, wanted, content);
        }
        content.fetched = content.stored.clone().map(|stored| {
            let (this, part) = (self.clone(), content.part.clone());
            let fetch = async move { this.fetch(&part, &stored, at).await };
            AbortOnDropHandle::new(self.mirror.runtime.spawn(fetch))
        });
        (size, wanted, content)
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
        let at = self.stamps.iter().copied().find(|stamp| self.mirror.names.id(*stamp) == snapshot.id);
        let at = at.ok_or_else(|| self.trouble(Cause::Missing, "find the manifest", snapshot.id.clone()))?;
        let mut manifest = self.manifest(at)?;
        let (mode, modified) = (Some(manifest.head().mode), manifest.head().modified);
        let folder = Wanted { path: OsString::new(), kind: restore::Kind::Directory, mode, modified };
        let mut ahead: VecDeque<(u64, Read<Content>)> = VecDeque::new();
        let mut bytes = 0;
        loop {
            self.stopped()?;
            while ahead.len() < AHEAD && bytes < AHEAD_BYTES {
                let Some(entry) = manifest.next() else { break };
                let (size, next) = match entry {
                    Ok(entry) => {
                        let (size, wanted, content) = self.ahead(entry, at, likely);
                        (size, Ok((wanted, content)))
                    }
                    Err(wrong) => (0, Err(self.unusable(at, &wrong))),
                };
                bytes += size;
                ahead.push_back((size, next));
            }
            let Some((size, next)) = ahead.pop_front() else { return Ok(folder) };
            bytes -= size;
            each(next);
        }
    }

    fn content(&self, content: Content, to: &mut File) -> Result<(), Trouble> {
        let Content { part, at, stored, fetched } = content;
        let Some(stored) = stored else { return Ok(()) };
        if fetched.is_none() && stored.size > WHOLE {
            return self.pour(&part, &stored, at, to);
        }
        let bytes = match fetched {
            Some(fetched) => wait(&self.mirror.runtime, fetched)
                .unwrap_or_else(|| Err(self.trouble(Cause::Stopped, "go on", "")))?,
            None => self.mirror.runtime.block_on(self.fetch(&part, &stored, at))?,
        };
        to.write_all(&bytes).map_err(|error| written(&error))
    }

    fn length(&self, content: &Content) -> u64 {
        // No more than this is ever taken.
        content.stored.as_ref().map_or(0, |stored| stored.size)
    }

    fn fingerprint(content: &Content) -> [u8; 32] {
        content.stored.as_ref().map_or([0; 32], |stored| *stored.hash.as_bytes())
    }
}

fn wait<T>(runtime: &Handle, handle: AbortOnDropHandle<T>) -> Option<T> {
    runtime.block_on(handle).ok()
}

fn written(error: &std::io::Error) -> Trouble {
    Trouble::new(restore::cause_of(error), "write", error.to_string())
}

/// The failure that says more: that one place does not have it is no news where another has it damaged.
fn worst(one: Option<Trouble>, other: Trouble) -> Trouble {
    match one {
        Some(one) if one.cause != Cause::Missing => one,
        _ => other,
    }
}

fn wanted(entry: &Entry) -> Wanted {
    let kind = match &entry.kind {
        Kind::Directory => restore::Kind::Directory,
        Kind::File(stored) => restore::Kind::File { size: stored.size },
        Kind::Link(target) => restore::Kind::Link(target.clone()),
    };
    let path = entry.path.as_path().as_os_str().to_owned();
    restore::Wanted { path, kind, mode: Some(entry.mode), modified: entry.modified }
}
