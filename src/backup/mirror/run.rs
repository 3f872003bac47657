//! A run of the mirror form: observe (a walk, the last manifest, in doubt the objects), plan, apply.
//!
//! Objects first, then the manifest. A run that was cut short leaves objects that no manifest names; the next one knows
//! by the marker in the node's home, looks at what is there, and goes on with it. What is about to be overwritten or
//! removed is copied under this run's moment first, so no run destroys what an older manifest names.

use std::collections::HashMap;
use std::collections::HashSet;
use std::io;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream;
use jiff::Timestamp;
use nexus_agent::path::RelPath;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::manifest;
use super::manifest::Entry;
use super::manifest::Kind;
use super::manifest::Stored;
use super::manifest::Writer;
use super::manifest::Wrong;
use super::name::Names;
use super::name::Stamp;
use super::plan;
use super::plan::Found;
use super::plan::FoundKind;
use super::plan::Step;
use super::plan::Steps;
use super::plan::Survey;
use crate::backup::digest::Listing;
use crate::backup::objects;
use crate::backup::objects::Listed;
use crate::backup::objects::Objects;
use crate::backup::reading;
use crate::backup::snapshot::Saved;
use crate::backup::trouble::Cause;
use crate::backup::trouble::Trouble;
use crate::backup::walk;
use crate::backup::walk::Selection;
use crate::backup::walk::Shared;
use crate::backup::walk::Walk;
use crate::base::files;

/// So many files are on their way at once: more does not make a server on two cores faster.
const PARALLEL: usize = 32;
/// So many steps are planned ahead; a step is a few hundred bytes.
const AHEAD: usize = 256;
/// So many KiB of files are held at once.
const HELD: u32 = 64 << 10;
/// Bytes of a piece of a large file.
const PIECE: u64 = 8 << 20;
/// Servers take 10,000 pieces; a file may grow meanwhile.
const PIECES_MAX: u64 = 9000;
/// So many objects are copied at once.
const COPIES: usize = 16;

/// The mirror of one workspace at one destination. Cheap to clone.
#[derive(Clone)]
pub struct Mirror {
    /// All objects of the destination.
    pub objects: Objects,
    /// Where this workspace's are.
    pub names: Names,
    /// The async runtime.
    pub runtime: Handle,
    /// Ends whatever is being done.
    pub stop: CancellationToken,
}

/// What a run is to save.
#[derive(Clone)]
pub struct Order {
    /// The workspace's id.
    pub workspace: String,
    /// Its folder.
    pub path: PathBuf,
    /// What of it is taken.
    pub selection: Selection,
    /// Where what is found is reported.
    pub report: Shared,
    /// Where bytes read are counted.
    pub read: Arc<AtomicU64>,
    /// When the run began.
    pub now: Timestamp,
    /// The file that says whether the last run came to its end.
    pub marker: PathBuf,
    /// Whether a person said yes to a mass of losses.
    pub accept: bool,
}

/// Why a workspace was not saved.
#[derive(Debug, thiserror::Error)]
pub enum NotSaved {
    /// Its folder cannot be walked through.
    #[error(transparent)]
    Folder(#[from] walk::Error),
    /// It is empty and was not.
    #[error("the folder is empty and was not before; is its disk mounted?")]
    Empty,
    /// Too much of it is gone.
    #[error(
        "{gone} of {files} files are gone since the last run; if that is right, run `nexus backup run FOLDER --accept-deletions`"
    )]
    Held {
        /// Files that are gone.
        gone: u64,
        /// Files there were.
        files: u64,
    },
    /// The destination.
    #[error(transparent)]
    Trouble(#[from] Trouble),
}

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Done {
    /// The snapshot that was taken, or the one that nothing has changed since.
    pub saved: Saved,
    /// The fingerprint of what was found, if it proves anything.
    pub digest: Option<String>,
    /// The moments of all runs there is a manifest of now, the oldest first.
    pub stamps: Vec<Stamp>,
}

/// What lies at the destination before a run.
struct Before {
    stamps: Vec<Stamp>,
    manifest: Option<Bytes>,
    /// What objects there are, by the last part of their keys, where that is not known otherwise.
    there: Option<Arc<HashMap<String, Listed>>>,
}

/// A look at the folder that changes nothing.
#[derive(Default)]
struct Looked {
    survey: Survey,
    /// Objects that belong to no file any more, in whatever way they came to be there.
    orphans: Vec<String>,
    damaged: bool,
    digest: Option<String>,
}

/// What became of a step.
#[derive(Default)]
struct Did {
    /// What the manifest is to say.
    entry: Option<Entry>,
    /// Whether it says something else than the last one.
    news: bool,
    /// Bytes that were uploaded.
    uploaded: Option<u64>,
    /// Whether there was something at this path before.
    was_there: bool,
    /// The last part of the key of an object that is to go.
    gone: Option<String>,
}

impl Mirror {
    /// The moments of all runs that there is a manifest of, the oldest first.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn stamps(&self) -> Result<Vec<Stamp>, Trouble> {
        let listed = self.objects.list(&self.names.manifests()).await?;
        let mut stamps: Vec<_> = listed.iter().filter_map(|one| Names::parse_stamp(&one.key)).collect();
        stamps.sort_unstable();
        Ok(stamps)
    }

    /// Saves a folder, or finds that nothing has changed.
    ///
    /// # Errors
    /// When there is no new snapshot; what is listed is whole then as before.
    pub async fn save(&self, order: &Order) -> Result<Done, NotSaved> {
        let mut before = self.before(order).await?;
        let mut looked = Looked::default();
        if before.manifest.is_some() || before.there.as_ref().is_some_and(|there| !there.is_empty()) {
            looked = look(order, &before).await?;
        }
        if looked.damaged {
            tracing::warn!("a manifest is damaged; what is at the destination is looked at instead");
            before.manifest = None;
            before.there = Some(self.there().await?);
            looked = look(order, &before).await?;
        }
        let Looked { survey, mut orphans, digest, .. } = looked;
        let last = before.stamps.last().copied();
        if let (Some(last), Some(_), None) = (last, &before.manifest, &before.there)
            && survey.is_nothing()
        {
            return Ok(Done { saved: self.nothing(last), digest, stamps: before.stamps });
        }
        if survey.gone > 0 && survey.gone == survey.files && is_empty(order) {
            return Err(NotSaved::Empty);
        }
        if survey.is_held() && !order.accept {
            return Err(NotSaved::Held { gone: survey.gone, files: survey.files });
        }
        mark(order, None)?;
        let stamp = Stamp::next(order.now, last);
        orphans.extend(survey.in_the_way.iter().map(Names::part));
        let retire = async |part: String| self.retire(stamp, &part).await;
        let mut retired = std::pin::pin!(stream::iter(orphans.clone()).map(retire).buffer_unordered(COPIES));
        while let Some(done) = retired.next().await {
            done?;
        }
        self.remove(&orphans).await?;
        let done = self.apply(order, before, stamp, survey.files).await?;
        mark(order, done.stamps.last().copied())?;
        Ok(done)
    }

    fn nothing(&self, last: Stamp) -> Saved {
        Saved { snapshot: None, since: Some(self.names.id(last)), new: 0, changed: 0, stored: 0 }
    }

    async fn before(&self, order: &Order) -> Result<Before, Trouble> {
        let stamps = self.stamps().await?;
        let last = stamps.last().copied();
        let mut before = Before { stamps, manifest: None, there: None };
        if let Some(last) = last {
            let bytes = self.objects.get(&self.names.manifest(last)).await?;
            match manifest::Reader::open(bytes.clone()) {
                Ok(_) => before.manifest = Some(bytes),
                Err(wrong @ Wrong::Version(_)) => {
                    let doing = format!("read the manifests of `{}`", self.names.folder());
                    return Err(Trouble::new(Cause::Foreign, doing, wrong.to_string()));
                }
                Err(wrong) => tracing::warn!(error = %wrong, "a manifest cannot be read"),
            }
        }
        let marked = std::fs::read_to_string(&order.marker).ok();
        let ended = marked.is_some() && marked == last.map(|last| last.to_string());
        if before.manifest.is_none() || !ended {
            before.there = Some(self.there().await?);
        }
        Ok(before)
    }

    async fn there(&self) -> Result<Arc<HashMap<String, Listed>>, Trouble> {
        let listed = self.objects.list(&self.names.files()).await?;
        Ok(Arc::new(listed.into_iter().map(|one| (one.key.clone(), one)).collect()))
    }

    /// Copies an object under the moment of this run, if there is one.
    async fn retire(&self, stamp: Stamp, part: &str) -> Result<(), Trouble> {
        self.objects.copy(&self.names.file(part), &self.names.replaced(stamp, part)).await.map(drop)
    }

    async fn remove(&self, parts: &[String]) -> Result<(), Trouble> {
        if parts.is_empty() {
            return Ok(());
        }
        let keys: Vec<String> = parts.iter().map(|part| self.names.file(part)).collect();
        self.objects.delete_all(&keys).await
    }

    /// Does what is to be done, and writes the manifest when all of it is done.
    async fn apply(&self, order: &Order, before: Before, stamp: Stamp, files: u64) -> Result<Done, NotSaved> {
        let walk = Walk::new(&order.path, &order.selection, Arc::clone(&order.report))?;
        let root = walk.root();
        let listing = Arc::new(Mutex::new(Listing::new(order.now)));
        let (sender, receiver) = mpsc::channel(AHEAD);
        let planner = {
            let (packed, listing) = (before.manifest.clone(), Arc::clone(&listing));
            let damaged = Arc::new(AtomicBool::new(false));
            tokio::task::spawn_blocking(move || {
                for step in steps(walk, packed, listing, damaged) {
                    if sender.blocking_send(step).is_err() {
                        return;
                    }
                }
            })
        };
        let each = Each {
            mirror: self.clone(),
            order: order.clone(),
            root: Arc::clone(&root),
            stamp,
            there: before.there.clone(),
            room: Arc::new(Semaphore::new(HELD as usize)),
        };
        let steps = stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|step| (step, receiver))
        });
        let done = steps.map(|step| {
            let each = each.clone();
            AbortOnDropHandle::new(self.runtime.spawn(async move { each.step(step).await }))
        });
        let mut done = std::pin::pin!(done.buffered(PARALLEL));
        let mut manifest = Writer::default();
        let mut saved = Saved { snapshot: None, since: None, new: 0, changed: 0, stored: 0 };
        let (mut gone, mut news) = (Vec::new(), before.manifest.is_none());
        while let Some(did) = done.next().await {
            let did = did.map_err(|_| Trouble::new(Cause::Stopped, "go on", ""))??;
            if let Some(entry) = &did.entry {
                manifest.add(entry);
            }
            news |= did.news;
            gone.extend(did.gone);
            if plan::is_held(gone.len() as u64, files) && !order.accept {
                return Err(NotSaved::Held { gone: gone.len() as u64, files });
            }
            if let Some(bytes) = did.uploaded {
                saved.stored += bytes;
                *if did.was_there { &mut saved.changed } else { &mut saved.new } += 1;
            }
        }
        planner.await.map_err(|_| Trouble::new(Cause::Stopped, "go on", ""))?;
        self.remove(&gone).await?;
        let digest = listing.lock().unwrap_or_else(PoisonError::into_inner).finish().digest;
        let mut stamps = before.stamps;
        if let (false, Some(last)) = (news, stamps.last()) {
            let saved = Saved { since: Some(self.names.id(*last)), ..saved };
            return Ok(Done { saved, digest, stamps });
        }
        let folder = rustix::fs::fstat(&*root).map_err(|error| {
            Trouble::new(Cause::Other, format!("look at {}", order.path.display()), error.to_string())
        })?;
        let modified = time(folder.st_mtime, folder.st_mtime_nsec);
        let whole = manifest.finish(&order.workspace, order.now, folder.st_mode, modified);
        self.objects.put_proved(&self.names.manifest(stamp), whole).await?;
        stamps.push(stamp);
        Ok(Done { saved: Saved { snapshot: Some(self.names.id(stamp)), ..saved }, digest, stamps })
    }
}

/// Looks at the folder and changes nothing.
async fn look(order: &Order, before: &Before) -> Result<Looked, NotSaved> {
    let (order, packed) = (order.clone(), before.manifest.clone());
    let keys = before.there.as_ref().map(|there| there.keys().cloned().collect());
    let look = move || -> Result<Looked, walk::Error> {
        let mut orphans: HashSet<String> = keys.unwrap_or_default();
        let damaged = Arc::new(AtomicBool::new(false));
        let listing = Arc::new(Mutex::new(Listing::new(order.now)));
        let report = Shared::default();
        let walk = Walk::new(&order.path, &order.selection, Arc::clone(&report))?;
        let mut survey = Survey::default();
        for step in steps(walk, packed, Arc::clone(&listing), Arc::clone(&damaged)) {
            survey.add(&step);
            let path = match &step {
                Step::Read { found, .. } => Some(&found.path),
                // What is gone goes with the rest of it.
                Step::Name { entry, .. } | Step::Gone(entry) => {
                    matches!(entry.kind, Kind::File(_)).then_some(&entry.path)
                }
            };
            if let (Some(path), false) = (path, orphans.is_empty()) {
                orphans.remove(&Names::part(path));
            }
        }
        if survey.is_nothing() {
            // Else the run reports what it finds itself.
            *walk::lock(&order.report) = walk::lock(&report).clone();
        }
        let digest = listing.lock().unwrap_or_else(PoisonError::into_inner).finish().digest;
        let damaged = damaged.load(Ordering::Relaxed);
        Ok(Looked { survey, orphans: orphans.into_iter().collect(), damaged, digest })
    };
    let looked = tokio::task::spawn_blocking(look).await;
    Ok(looked.map_err(|_| Trouble::new(Cause::Stopped, "go on", ""))??)
}

/// What a run has to do, from a walk and a manifest.
fn steps(
    walk: Walk,
    packed: Option<Bytes>,
    listing: Arc<Mutex<Listing>>,
    damaged: Arc<AtomicBool>,
) -> impl Iterator<Item = Step> {
    let reader = packed.and_then(|packed| manifest::Reader::open(packed).ok());
    let written = reader.as_ref().map_or(Timestamp::MIN, |reader| reader.head().time);
    let before = reader.into_iter().flatten().filter_map(move |entry| {
        damaged.fetch_or(entry.is_err(), Ordering::Relaxed);
        entry.ok()
    });
    let unseen = walk.unseen();
    let found = walk.filter_map(move |entry| {
        listing.lock().unwrap_or_else(PoisonError::into_inner).add(&entry);
        found(entry)
    });
    Steps::new(found, before, move |path: &RelPath| unseen.covers(path), written)
}

/// A thing of a walk; the folder itself is none.
fn found(entry: walk::Entry) -> Option<Found> {
    let stat = &entry.stat;
    let kind = match entry.kind {
        walk::Kind::Directory => FoundKind::Directory,
        walk::Kind::Link(target) => FoundKind::Link(target),
        walk::Kind::File => FoundKind::File {
            size: u64::try_from(stat.st_size).unwrap_or(0),
            changed: time(stat.st_ctime, stat.st_ctime_nsec),
            inode: stat.st_ino,
        },
    };
    let modified = time(stat.st_mtime, stat.st_mtime_nsec);
    Some(Found { path: entry.path?, kind, mode: stat.st_mode, modified })
}

fn time(seconds: i64, nanoseconds: u64) -> Option<Timestamp> {
    Timestamp::new(seconds, i32::try_from(nanoseconds).unwrap_or(0)).ok()
}

fn is_empty(order: &Order) -> bool {
    std::fs::read_dir(&order.path).is_ok_and(|mut entries| entries.next().is_none())
}

/// Keeps whether the last run came to its end, and which that was.
fn mark(order: &Order, stamp: Option<Stamp>) -> Result<(), Trouble> {
    let text = stamp.map(|stamp| stamp.to_string()).unwrap_or_default();
    let directory = order.marker.parent().map_or(Ok(()), std::fs::create_dir_all);
    directory.and_then(|()| files::replace(&order.marker, text.as_bytes())).map_err(|error| {
        Trouble::new(Cause::Other, format!("remember a run in {}", order.marker.display()), error.to_string())
    })
}

/// Does single steps. Cheap to clone.
#[derive(Clone)]
struct Each {
    mirror: Mirror,
    order: Order,
    root: Arc<OwnedFd>,
    stamp: Stamp,
    there: Option<Arc<HashMap<String, Listed>>>,
    /// KiB of files that may be held.
    room: Arc<Semaphore>,
}

/// A file that was read.
enum Content {
    /// Small: all of it.
    Whole(Bytes),
    /// Large: it has to be read again to be uploaded.
    Large(u64),
}

impl Each {
    async fn step(&self, step: Step) -> Result<Did, Trouble> {
        if self.mirror.stop.is_cancelled() {
            return Err(Trouble::new(Cause::Stopped, "go on", ""));
        }
        match step {
            Step::Gone(entry) if matches!(entry.kind, Kind::File(_)) => {
                let part = Names::part(&entry.path);
                self.mirror.retire(self.stamp, &part).await?;
                Ok(Did { news: true, gone: Some(part), ..Did::default() })
            }
            Step::Gone(_) => Ok(Did { news: true, ..Did::default() }),
            Step::Read { found, before } => self.file(found, before).await,
            Step::Name { entry, other } => match &entry.kind {
                // What is there is not known: the file is held against it as if it had changed.
                Kind::File(stored) if self.there.is_some() => {
                    let kind =
                        FoundKind::File { size: stored.size, changed: stored.changed, inode: stored.inode };
                    let Entry { path, mode, modified, .. } = entry.clone();
                    let did = self.file(Found { path, kind, mode, modified }, Some(entry)).await?;
                    Ok(Did { news: did.news || other, ..did })
                }
                _ => Ok(Did { entry: Some(entry), news: other, ..Did::default() }),
            },
        }
    }

    async fn file(&self, found: Found, before: Option<Entry>) -> Result<Did, Trouble> {
        let FoundKind::File { size, changed, inode } = found.kind else { return Ok(Did::default()) };
        let permits = u32::try_from(size.min(reading::WHOLE) / 1024).unwrap_or(HELD) + 1;
        let _room = self.room.acquire_many(permits).await.map_err(|_| stopped())?;
        let stored = before.as_ref().and_then(|entry| match &entry.kind {
            Kind::File(stored) => Some(stored.clone()),
            _ => None,
        });
        let part = Names::part(&found.path);
        let listed = self.there.as_ref().map(|there| there.get(&part));
        // A large file that nothing is known of is read once, while it is uploaded.
        let skip = size > reading::WHOLE && stored.is_none();
        let read = if skip { Some((Content::Large(size), None)) } else { self.read(&found.path).await };
        // What is stored of it is better than nothing.
        let Some((content, hash)) = read else { return Ok(Did { entry: before, ..Did::default() }) };
        let proved = |hash: &blake3::Hash| match (listed, &content) {
            // What is there is what the last manifest says.
            (None, _) => stored.as_ref().is_some_and(|stored| stored.hash == *hash),
            (Some(Some(listed)), Content::Whole(bytes)) => {
                listed.size == bytes.len() as u64
                    && listed.md5.as_ref().is_some_and(|md5| *md5 == objects::md5_hex(bytes))
            }
            (Some(_), _) => false,
        };
        let is_there = hash.as_ref().is_some_and(proved);
        let overwrites = if let Some(listed) = listed { listed.is_some() } else { stored.is_some() };
        let (size, hash, uploaded) = match (hash, content) {
            (Some(hash), content) if is_there => (content.size(), hash, None),
            (hash, content) => {
                if overwrites {
                    self.mirror.retire(self.stamp, &part).await?;
                }
                let key = self.mirror.names.file(&part);
                match self.upload(&key, &found.path, content, hash).await? {
                    Some((size, hash)) => (size, hash, Some(size)),
                    None => return Ok(Did { entry: before, ..Did::default() }),
                }
            }
        };
        // The run that uploaded what is there; one that was cut short did it for this one.
        let since = stored.as_ref().filter(|old| old.hash == hash && uploaded.is_none()).map(|old| old.since);
        let since = since.unwrap_or(self.stamp);
        let was_there = stored.is_some();
        let kind = Kind::File(Stored { size, hash, since, changed, inode });
        let entry = Entry { path: found.path, kind, mode: found.mode, modified: found.modified };
        let news = before.is_none_or(|before| is_news(&before, &entry));
        Ok(Did { entry: Some(entry), news, uploaded, was_there, gone: None })
    }

    /// Reads a file for its hash; none, and a line in the report, when it cannot be read.
    async fn read(&self, path: &RelPath) -> Option<(Content, Option<blake3::Hash>)> {
        let (this, path) = (self.clone(), path.clone());
        let read = move || -> io::Result<_> {
            let mut reader = this.open(&path)?;
            let mut hasher = blake3::Hasher::new();
            let mut bytes = Vec::new();
            reader.by_ref().take(reading::WHOLE * 2).read_to_end(&mut bytes)?;
            hasher.update(&bytes);
            let size = bytes.len() as u64 + io::copy(&mut reader, &mut hasher)?;
            let is_whole = size == bytes.len() as u64;
            let content = if is_whole { Content::Whole(bytes.into()) } else { Content::Large(size) };
            Ok((content, Some(hasher.finalize())))
        };
        tokio::task::spawn_blocking(read).await.ok()?.ok()
    }

    fn open(&self, path: &RelPath) -> io::Result<Box<dyn Read + Send>> {
        let shown = path.to_string();
        let opened = walk::open(&self.root, path)
            .and_then(|file| reading::open(file, &shown, &self.order.report, &self.order.read));
        opened.inspect_err(|error| {
            walk::lock(&self.order.report).unreadable.add(&shown, error.to_string());
        })
    }

    /// Uploads a file; size and hash of what was uploaded, or none when it could not be read.
    async fn upload(
        &self,
        key: &str,
        path: &RelPath,
        content: Content,
        hash: Option<blake3::Hash>,
    ) -> Result<Option<(u64, blake3::Hash)>, Trouble> {
        if let (Content::Whole(bytes), Some(hash)) = (&content, hash) {
            self.mirror.objects.put_tagged(key, bytes.clone()).await?;
            return Ok(Some((bytes.len() as u64, hash)));
        }
        let (this, path) = (self.clone(), path.clone());
        let opened = tokio::task::spawn_blocking(move || this.open(&path)).await;
        let Ok(Ok(mut reader)) = opened else { return Ok(None) };
        let hasher = Arc::new(Mutex::new(blake3::Hasher::new()));
        let (hashed, doing) = (Arc::clone(&hasher), format!("read what goes to `{key}`"));
        let most = PIECE.max(content.size() / PIECES_MAX);
        let next = move || {
            let mut piece = Vec::new();
            let read = reader.by_ref().take(most).read_to_end(&mut piece);
            read.map_err(|error| Trouble::new(Cause::Other, doing.clone(), error.to_string()))?;
            hashed.lock().unwrap_or_else(PoisonError::into_inner).update(&piece);
            Ok(Bytes::from(piece))
        };
        let size = self.mirror.objects.put_pieces(key, next).await?;
        let hash = hasher.lock().unwrap_or_else(PoisonError::into_inner).finalize();
        Ok(Some((size, hash)))
    }
}

impl Content {
    fn size(&self) -> u64 {
        match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Large(size) => *size,
        }
    }
}

/// Whether a manifest with the new entry says something that one with the old does not.
fn is_news(old: &Entry, new: &Entry) -> bool {
    let content = |entry: &Entry| match &entry.kind {
        Kind::File(stored) => Some((stored.size, stored.hash, stored.since)),
        _ => None,
    };
    (old.mode, old.modified, content(old)) != (new.mode, new.modified, content(new))
}

fn stopped() -> Trouble {
    Trouble::new(Cause::Stopped, "go on", "")
}
