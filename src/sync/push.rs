//! Sends what differs: looks at the folder, compares, reads files and makes frames of them. Blocking; one call per push.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use std::io::Read as _;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use bytes::BytesMut;
use nexus_agent::diff;
use nexus_agent::diff::Held;
use nexus_agent::diff::Step;
use nexus_agent::entry::Digest;
use nexus_agent::entry::Entry;
use nexus_agent::files;
use nexus_agent::files::Identity;
use nexus_agent::files::Root;
use nexus_agent::ignore::Ignore;
use nexus_agent::path::RelPath;
use nexus_agent::scan;
use nexus_agent::scan::Scan;
use nexus_agent::scan::ScanError;
use nexus_agent::scan::Stamp;
use nexus_agent::wire;
use nexus_agent::wire::ToAgent;
use tokio::sync::mpsc;

use super::watch::Look;
use crate::base::clock;

/// A file written this shortly before it was read may be written again within the same tick of the file system's clock.
const RACY: Duration = Duration::from_millis(20);
/// Frames are gathered up to this size.
const GATHER: usize = 64 * 1024;
/// How often the progress of a long push is told.
const TELL: Duration = Duration::from_millis(100);

/// What one session knows of its folder.
pub(super) struct Folder {
    path: PathBuf,
    /// The directory that was there first.
    first: Option<Identity>,
    ignore: Ignore,
    limit: usize,
    /// What the container holds from it.
    pub(super) held: BTreeMap<RelPath, Held>,
    /// What is not carried, and why.
    pub(super) skipped: BTreeMap<RelPath, String>,
}

/// Why nothing is sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Halt {
    #[error("the folder is gone; nothing is removed from the container")]
    Gone,
    #[error("another folder stands in its place; restart the workspace to take it")]
    Replaced,
    #[error(
        "the folder is suddenly empty; nothing is removed from the container until there is something in it"
    )]
    Emptied,
    #[error("{0}")]
    Unreadable(String),
    #[error(
        "the folder holds more than {0} files; name what the program does not need, such as `exclude: [data]`, in .nexus/config.yaml"
    )]
    Many(usize),
    /// The connection is gone, and with it the reason to go on.
    #[error("the connection was lost")]
    Closed,
}

/// What a push has done.
#[derive(Debug, Default)]
pub(super) struct Pushed {
    /// How many steps were sent.
    pub(super) steps: usize,
    /// Where to look again shortly: files that changed while they were read.
    pub(super) again: BTreeSet<Option<RelPath>>,
    /// The same for files that were written just before they were read.
    pub(super) racy: BTreeSet<Option<RelPath>>,
}

/// How far a push is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) total: usize,
    pub(super) left: usize,
    pub(super) bytes_total: u64,
    pub(super) bytes: u64,
}

impl Folder {
    pub(super) fn new(path: &Path, excludes: &[String], limit: usize) -> Self {
        Self {
            path: path.to_owned(),
            first: None,
            ignore: Ignore::new(excludes),
            limit,
            held: BTreeMap::new(),
            skipped: BTreeMap::new(),
        }
    }

    /// Takes what the agent says it holds; what was known about it before stays known where it is the same.
    pub(super) fn hold(&mut self, tree: Vec<(RelPath, Entry)>) {
        let mut before = std::mem::take(&mut self.held);
        for (path, entry) in tree {
            let stamp = before.remove(&path).filter(|held| held.entry == entry).and_then(|held| held.stamp);
            self.held.insert(path, Held { entry, stamp });
        }
    }

    /// The directories that are carried, the root among them.
    pub(super) fn directories(&self) -> BTreeSet<Option<RelPath>> {
        let below = self.held.iter().filter(|(_, held)| held.entry == Entry::Directory);
        below.map(|(path, _)| Some(path.clone())).chain([None]).collect()
    }

    /// Looks, compares and sends.
    pub(super) fn push(
        &mut self,
        look: Look,
        frames: &mpsc::Sender<Bytes>,
        tell: &dyn Fn(Progress),
    ) -> Result<Pushed, Halt> {
        let root = self.open()?;
        let scan = self.look(&root, look)?;
        if self.is_emptied(&scan) {
            return Err(Halt::Emptied);
        }
        let steps = diff::plan(&self.held, &scan);
        self.note(&scan);
        let mut push = Push::new(self, &root, frames, tell, &steps);
        for step in &steps {
            push.step(step)?;
        }
        push.send()?;
        Ok(Pushed { steps: steps.len(), again: push.again, racy: push.racy })
    }

    fn open(&mut self) -> Result<Root, Halt> {
        let root = Root::open(&self.path).map_err(|error| {
            if files::is_absent(&error) {
                Halt::Gone
            } else {
                Halt::Unreadable(format!("the folder cannot be opened: {error}"))
            }
        })?;
        let identity = root
            .identity()
            .map_err(|error| Halt::Unreadable(format!("the folder cannot be read: {error}")))?;
        if *self.first.get_or_insert(identity) == identity { Ok(root) } else { Err(Halt::Replaced) }
    }

    fn look(&self, root: &Root, look: Look) -> Result<Scan, Halt> {
        let scan = match look {
            Look::All => scan::scan(root, &self.ignore, self.limit),
            Look::Directories(directories) => {
                let known =
                    |path: &RelPath| self.held.get(path).is_some_and(|held| held.entry == Entry::Directory);
                scan::rescan(root, &self.ignore, self.limit, directories, known)
            }
        };
        scan.map_err(|error| match error {
            ScanError::Root(error) => Halt::Unreadable(format!("the folder cannot be read: {error}")),
            ScanError::Many { limit } => Halt::Many(limit),
        })
    }

    fn is_emptied(&self, scan: &Scan) -> bool {
        let top = |path: &RelPath| path.parent().is_none();
        scan.listed.contains(&None) && !scan.entries.keys().any(top) && self.held.keys().any(top)
    }

    /// Remembers what is not carried, as far as this look tells.
    fn note(&mut self, scan: &Scan) {
        self.skipped.retain(|path, _| !scan.listed.contains(&path.parent()));
        self.skipped.extend(scan.skipped.iter().cloned());
    }
}

/// One push under way.
struct Push<'a> {
    held: &'a mut BTreeMap<RelPath, Held>,
    skipped: &'a mut BTreeMap<RelPath, String>,
    root: &'a Root,
    frames: &'a mpsc::Sender<Bytes>,
    tell: &'a dyn Fn(Progress),
    told: Instant,
    progress: Progress,
    buffer: BytesMut,
    chunk: Vec<u8>,
    again: BTreeSet<Option<RelPath>>,
    racy: BTreeSet<Option<RelPath>>,
}

impl<'a> Push<'a> {
    fn new(
        folder: &'a mut Folder,
        root: &'a Root,
        frames: &'a mpsc::Sender<Bytes>,
        tell: &'a dyn Fn(Progress),
        steps: &[Step],
    ) -> Self {
        let size = |step: &Step| match step {
            Step::Send(_, stamp) | Step::Verify(_, stamp, ..) => stamp.size(),
            Step::Remove(_) | Step::Directory(_) | Step::Symlink(..) => 0,
        };
        let sizes = steps.iter().map(size);
        let largest = usize::try_from(sizes.clone().max().unwrap_or_default()).unwrap_or(usize::MAX);
        let progress = Progress {
            total: folder.held.len().max(steps.len()),
            left: steps.len(),
            bytes_total: sizes.sum(),
            bytes: 0,
        };
        Self {
            held: &mut folder.held,
            skipped: &mut folder.skipped,
            root,
            frames,
            tell,
            told: Instant::now(),
            progress,
            buffer: BytesMut::new(),
            chunk: vec![0; largest.saturating_add(1).min(wire::CHUNK)],
            again: BTreeSet::new(),
            racy: BTreeSet::new(),
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), Halt> {
        if self.frames.is_closed() {
            return Err(Halt::Closed);
        }
        match step {
            Step::Remove(path) => {
                self.held.remove(path);
                self.say(&ToAgent::Remove { path: path.clone() });
            }
            Step::Directory(path) => {
                self.hold(path, Entry::Directory, None);
                self.say(&ToAgent::Directory { path: path.clone() });
            }
            Step::Symlink(path, target) => {
                self.hold(path, Entry::Symlink { target: target.clone() }, None);
                self.say(&ToAgent::Symlink { path: path.clone(), target: target.clone() });
            }
            Step::Send(path, _) => self.file(path, None)?,
            Step::Verify(path, _, digest, executable) => self.file(path, Some((*digest, *executable)))?,
        }
        self.progress.left -= 1;
        if self.buffer.len() >= GATHER {
            self.send()?;
        }
        if self.told.elapsed() >= TELL {
            self.told = Instant::now();
            (self.tell)(self.progress);
        }
        Ok(())
    }

    /// Sends a file, or finds that the container holds it already.
    fn file(&mut self, path: &RelPath, held: Option<(Digest, bool)>) -> Result<(), Halt> {
        let read = |this: &mut Self, send: bool| match this.read(path, send) {
            Ok(read) => read.map(Some),
            Err(error) if files::is_absent(&error) => {
                this.again.insert(path.parent());
                Ok(None)
            }
            Err(error) => {
                // What the container holds of it stays: unreadable is not absent.
                this.skipped.insert(path.clone(), format!("it cannot be read: {error}"));
                Ok(None)
            }
        };
        if let Some((digest, executable)) = held {
            match read(self, false)? {
                Some(Some(content)) if content.digest == digest => {
                    let now = content.stamp.executable();
                    if now != executable {
                        self.say(&ToAgent::Executable { path: path.clone(), executable: now });
                    }
                    self.keep(path, &content);
                    return Ok(());
                }
                Some(_) => {}
                None => return Ok(()),
            }
        }
        if let Some(Some(content)) = read(self, true)? {
            self.keep(path, &content);
        }
        Ok(())
    }

    fn keep(&mut self, path: &RelPath, content: &Content) {
        let entry = Entry::File {
            size: content.stamp.size(),
            executable: content.stamp.executable(),
            digest: content.digest,
        };
        if content.racy {
            self.racy.insert(path.parent());
        }
        self.hold(path, entry, (!content.racy).then_some(content.stamp));
    }

    /// Reads a file once, and sends it as it goes. The inner `None`: it changed meanwhile.
    fn read(&mut self, path: &RelPath, send: bool) -> io::Result<Result<Option<Content>, Halt>> {
        let mut file = self.root.open_file(path)?;
        let before = Stamp::of(&rustix::fs::fstat(&file)?);
        if send {
            self.say(&ToAgent::Begin { path: path.clone() });
        }
        let mut hasher = blake3::Hasher::new();
        let mut size = 0;
        loop {
            let count = match file.read(&mut self.chunk) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    if send {
                        self.say(&ToAgent::Abort);
                    }
                    return Err(error);
                }
            };
            hasher.update(&self.chunk[..count]);
            size += count as u64;
            if send {
                wire::put_raw(&mut self.buffer, &self.chunk[..count]);
                self.progress.bytes += count as u64;
                if self.buffer.len() >= GATHER
                    && let Err(halt) = self.send()
                {
                    return Ok(Err(halt));
                }
            }
            // It grows as it is read: that is not a state worth having.
            if size > before.size() {
                break;
            }
        }
        let stat = rustix::fs::fstat(&file)?;
        if Stamp::of(&stat) != before || size != before.size() {
            if send {
                self.say(&ToAgent::Abort);
            }
            self.again.insert(path.parent());
            return Ok(Ok(None));
        }
        let digest = Digest::from(hasher.finalize());
        if send {
            self.say(&ToAgent::Commit { size, executable: before.executable(), digest });
        }
        let changed_ms =
            stat.st_ctime.saturating_mul(1_000).saturating_add(stat.st_ctime_nsec as i64 / 1_000_000);
        let age = clock::now().as_millisecond().saturating_sub(changed_ms);
        let racy = u64::try_from(age).is_ok_and(|age| Duration::from_millis(age) < RACY);
        Ok(Ok(Some(Content { stamp: before, digest, racy })))
    }

    fn hold(&mut self, path: &RelPath, entry: Entry, stamp: Option<Stamp>) {
        self.held.insert(path.clone(), Held { entry, stamp });
    }

    fn say(&mut self, message: &ToAgent) {
        wire::put_message(&mut self.buffer, message);
    }

    fn send(&mut self) -> Result<(), Halt> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let frames = self.buffer.split().freeze();
        self.frames.blocking_send(frames).map_err(|_| Halt::Closed)
    }
}

/// What was read.
struct Content {
    stamp: Stamp,
    digest: Digest,
    racy: bool,
}
