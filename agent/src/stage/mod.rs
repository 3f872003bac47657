//! Receives changes and puts them in place, each in one step.
//!
//! A file is written beside the tree (in [`STAGING`], same file system) and renamed once all of it has come and its
//! digest is right, so nobody ever sees half a file. Only what the [`Ledger`] says came from the node is ever removed;
//! a directory goes only when nothing else is in it.

use std::fs::File;
use std::io;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::Path;

use rustix::fs::FileType;
use rustix::fs::Stat;
use rustix::io::Errno;

use crate::entry::Digest;
use crate::entry::Entry;
use crate::entry::Target;
use crate::files;
use crate::files::Root;
use crate::ledger::Ledger;
use crate::path::RelPath;
use crate::wire::ToAgent;
use crate::wire::WireError;

/// Where files are written before they are in place; never synchronised, removed after each batch.
pub const STAGING: &[u8] = b".nexus-stage";

/// The container's copy of the folder.
#[derive(Debug)]
pub struct Copy {
    root: Root,
    ledger: Ledger,
    serial: u64,
    staged: bool,
    changed: bool,
}

/// A file that is being received.
#[derive(Debug)]
pub struct Incoming {
    path: RelPath,
    size: u64,
    hasher: blake3::Hasher,
    /// Where it is written, or why it cannot be.
    file: Result<(RelPath, File), String>,
}

impl Copy {
    /// Opens the folder at `root`, with its ledger in `state`; without a place for the ledger it is kept in memory.
    ///
    /// # Errors
    /// When the folder itself cannot be opened.
    pub fn open(root: &Path, state: &Path) -> io::Result<Self> {
        let root = Root::open(root)?;
        let identity = root.identity()?;
        let confirm = |path: &RelPath, entry: &Entry| matches!(root.stat(path), Ok(Some(stat)) if confirms(&stat, entry));
        let ledger =
            Ledger::open(&state.join("ledger"), identity, confirm).unwrap_or_else(|_| Ledger::in_memory());
        let mut copy = Self { root, ledger, serial: 0, staged: true, changed: false };
        copy.clear_staging();
        Ok(copy)
    }

    /// What came from the node and is still there.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Ends a batch; says whether anything changed since the last.
    pub fn finish(&mut self) -> bool {
        self.clear_staging();
        self.ledger.complete();
        self.ledger.flush();
        std::mem::take(&mut self.changed)
    }

    /// Writes down what has arrived so far.
    pub fn flush(&mut self) {
        self.ledger.flush();
    }

    /// Begins to receive a file.
    pub fn begin(&mut self, path: RelPath) -> Incoming {
        let file = self.stage_name(&path).and_then(|name| {
            self.root.create_file(&name).map(|file| (name, file)).map_err(|error| reason(&error))
        });
        Incoming { path, size: 0, hasher: blake3::Hasher::new(), file }
    }

    /// Puts a received file in its place.
    ///
    /// # Errors
    /// One sentence for people; nothing has changed then.
    pub fn commit(
        &mut self,
        incoming: Incoming,
        size: u64,
        executable: bool,
        digest: Digest,
    ) -> Result<(), (RelPath, String)> {
        let Incoming { path, size: received, hasher, file } = incoming;
        let placed = file.and_then(|(name, file)| {
            let whole = received == size && Digest::from(hasher.finalize()) == digest;
            let placed = if whole {
                self.place(&name, &file, &path, executable)
            } else {
                Err("its content did not arrive whole".to_owned())
            };
            if placed.is_err() {
                drop(self.root.remove_file(&name));
            }
            placed
        });
        match placed {
            Ok(()) => {
                self.note(path, Entry::File { size, executable, digest });
                Ok(())
            }
            Err(message) => Err((path, message)),
        }
    }

    /// Forgets a file that was being received.
    pub fn abort(&mut self, incoming: Incoming) {
        if let Ok((name, _)) = incoming.file {
            drop(self.root.remove_file(&name));
        }
    }

    /// Makes one change that is no file's content.
    ///
    /// # Errors
    /// The outer one ends the session (a message that does not belong here), the inner one is about this path alone.
    pub fn apply(&mut self, message: ToAgent) -> Result<Result<(), (RelPath, String)>, WireError> {
        let (path, done) = match message {
            ToAgent::Directory { path } => {
                let done = self.directory(&path);
                (path, done)
            }
            ToAgent::Executable { path, executable } => {
                let done = self.executable(&path, executable);
                (path, done)
            }
            ToAgent::Symlink { path, target } => {
                let done = self.link(&path, target);
                (path, done)
            }
            ToAgent::Remove { path } => {
                let done = self.remove(&path);
                (path, done)
            }
            _ => return Err(WireError::OutOfTurn { what: "what is no change" }),
        };
        Ok(done.map_err(|message| (path, message)))
    }

    fn directory(&mut self, path: &RelPath) -> Result<(), String> {
        refuse_staging(path)?;
        match self.root.make_directory(path) {
            Ok(()) => self.note(path.clone(), Entry::Directory),
            // Not ours, and so never removed by us.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let stat = self.root.stat(path).map_err(|error| reason(&error))?;
                if !stat.is_some_and(|stat| kind(&stat) == FileType::Directory) {
                    return Err("a file of the container's own stands there".to_owned());
                }
            }
            Err(error) => return Err(reason(&error)),
        }
        Ok(())
    }

    fn executable(&mut self, path: &RelPath, executable: bool) -> Result<(), String> {
        let Some(&Entry::File { size, digest, .. }) = self.ledger.entries().get(path) else {
            return Err("it did not come from the folder".to_owned());
        };
        self.root.set_executable(path, executable).map_err(|error| reason(&error))?;
        self.note(path.clone(), Entry::File { size, executable, digest });
        Ok(())
    }

    fn link(&mut self, path: &RelPath, target: Target) -> Result<(), String> {
        if !target.fits(path) {
            return Err("the link leads out of the folder".to_owned());
        }
        let name = self.stage_name(path)?;
        self.root.make_link(&name, target.as_bytes()).map_err(|error| reason(&error))?;
        if let Err(error) = self.root.rename(&name, path) {
            drop(self.root.remove_file(&name));
            return Err(reason(&error));
        }
        self.note(path.clone(), Entry::Symlink { target });
        Ok(())
    }

    fn remove(&mut self, path: &RelPath) -> Result<(), String> {
        let Some(entry) = self.ledger.entries().get(path) else { return Ok(()) };
        let removed = match (entry, self.root.stat(path)) {
            (_, Err(error)) => Err(error),
            (_, Ok(None)) => Ok(()),
            (Entry::Directory, Ok(Some(stat))) if kind(&stat) == FileType::Directory => {
                match self.root.remove_directory(path) {
                    // Something of the container's own is in it: it stays, and is no longer ours.
                    Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
                    other => other,
                }
            }
            (entry, Ok(Some(stat))) if same_kind(&stat, entry) => self.root.remove_file(path),
            // The container put something else there: not ours any more.
            (_, Ok(Some(_))) => Ok(()),
        };
        removed.map_err(|error| reason(&error))?;
        self.ledger.remove(path);
        self.changed = true;
        Ok(())
    }

    fn place(&self, name: &RelPath, file: &File, path: &RelPath, executable: bool) -> Result<(), String> {
        rustix::fs::fchmod(file.as_fd(), files::mode(executable)).map_err(|error| reason(&error.into()))?;
        self.root.rename(name, path).map_err(|error| reason(&error))
    }

    fn note(&mut self, path: RelPath, entry: Entry) {
        self.changed = true;
        self.ledger.put(path, entry);
    }

    /// A fresh name to write `path` under.
    fn stage_name(&mut self, path: &RelPath) -> Result<RelPath, String> {
        refuse_staging(path)?;
        let staging = RelPath::parse(STAGING).expect("a plain name");
        if !self.staged {
            match self.root.make_directory(&staging) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(reason(&error)),
                _ => self.staged = true,
            }
        }
        self.serial += 1;
        Ok(staging.join(self.serial.to_string().as_bytes()).expect("a number is a name"))
    }

    /// Removes the staging directory with whatever an interrupted session left in it.
    fn clear_staging(&mut self) {
        if !std::mem::take(&mut self.staged) {
            return;
        }
        let staging = RelPath::parse(STAGING).expect("a plain name");
        for name in self.root.list(Some(&staging)).unwrap_or_default() {
            if let Ok(path) = staging.join(&name) {
                drop(self.root.remove_file(&path));
            }
        }
        drop(self.root.remove_directory(&staging));
    }
}

impl Incoming {
    /// Takes a part of the content.
    pub fn write(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        self.hasher.update(bytes);
        let failed = match &mut self.file {
            Ok((_, file)) => file.write_all(bytes).err(),
            Err(_) => None,
        };
        // The staged part itself goes with the batch.
        if let Some(error) = failed {
            self.file = Err(reason(&error));
        }
    }
}

fn refuse_staging(path: &RelPath) -> Result<(), String> {
    if path.components().next() == Some(STAGING) {
        return Err("the agent keeps that name for itself".to_owned());
    }
    Ok(())
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn same_kind(stat: &Stat, entry: &Entry) -> bool {
    match entry {
        Entry::Directory => kind(stat) == FileType::Directory,
        Entry::File { .. } => kind(stat) == FileType::RegularFile,
        Entry::Symlink { .. } => kind(stat) == FileType::Symlink,
    }
}

/// Whether what stands there can still be what the ledger says.
fn confirms(stat: &Stat, entry: &Entry) -> bool {
    same_kind(stat, entry)
        && match entry {
            Entry::File { size, .. } => u64::try_from(stat.st_size) == Ok(*size),
            Entry::Directory | Entry::Symlink { .. } => true,
        }
}

fn reason(error: &io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOSPC | Errno::DQUOT) => "the disk is full".to_owned(),
        Some(Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST) => {
            "a directory of the container's own stands there".to_owned()
        }
        Some(Errno::NOTDIR | Errno::LOOP) => "something of the container's own stands in its way".to_owned(),
        Some(Errno::ACCESS | Errno::PERM) => "the container's user may not write there".to_owned(),
        Some(Errno::ROFS) => "the file system is read-only".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
