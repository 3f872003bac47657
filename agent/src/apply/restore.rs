//! Bringing a version back: a new edit, as if a person had made it.

use std::io;

use crate::content;
use crate::disk::At;
use crate::disk::Disk;
use crate::disk::Kind;
use crate::disk::Slot;
use crate::entry::Digest;
use crate::log::Medium;
use crate::path::RelPath;
use crate::versions;
use crate::versions::Announcement;
use crate::versions::Cause;
use crate::versions::Versions;
use crate::versions::What;

/// Why a version cannot be brought back.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is no such version, or no longer.
    #[error("there is no version {id:016x}")]
    Unknown {
        /// Its number.
        id: u64,
    },
    /// Only its content survived a crash.
    #[error("it is not known where version {id:016x} stood")]
    Nameless {
        /// Its number.
        id: u64,
    },
    /// Something is in its place that is not given up for it.
    #[error("{path:?} is {what}")]
    InTheWay {
        /// Where.
        path: RelPath,
        /// What it is.
        what: &'static str,
    },
    /// The path is written faster than it can be replaced.
    #[error("{path:?} changes all the time")]
    Busy {
        /// Where.
        path: RelPath,
    },
    /// As the kernel says.
    #[error("{path:?} cannot be written")]
    Disk {
        /// Where.
        path: RelPath,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// How often a race for the path is run.
const TURNS: usize = 4;

/// Puts a version back where it stood, and returns where that is. What stands there now becomes a version of `batch`;
/// the version itself stays in the store. Directories it stood in are made.
///
/// # Errors
/// See [`RestoreError`]; what stood there still does.
pub fn restore<D: Disk, M: Medium>(
    disk: &D,
    versions: &mut Versions<M>,
    id: u64,
    batch: u64,
) -> Result<RelPath, RestoreError> {
    let version = versions.get(id).ok_or(RestoreError::Unknown { id })?;
    let path = version.path.clone().ok_or(RestoreError::Nameless { id })?;
    let disk_error = |source| RestoreError::Disk { path: path.clone(), source };
    let (slot, mode) = bring(disk, versions, id).map_err(disk_error)?.ok_or(RestoreError::Unknown { id })?;
    let restored = make_parents(disk, &path).and_then(|()| {
        (0..TURNS).find_map(|_| put(disk, versions, slot, mode, &path, batch).transpose()).transpose()
    });
    // Not used up when it failed.
    if !matches!(restored, Ok(Some(()))) && !versions.claims(slot) {
        disk.discard(slot).map_err(disk_error)?;
    }
    match restored {
        Ok(Some(())) => Ok(path),
        Ok(None) => Err(RestoreError::Busy { path }),
        Err(error) => Err(error.at(&path)),
    }
}

/// Why one attempt did not succeed.
enum Obstacle {
    InTheWay(&'static str),
    Disk(io::Error),
}

impl From<io::Error> for Obstacle {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

impl Obstacle {
    fn at(self, path: &RelPath) -> RestoreError {
        let path = path.clone();
        match self {
            Self::InTheWay(what) => RestoreError::InTheWay { path, what },
            Self::Disk(source) => RestoreError::Disk { path, source },
        }
    }
}

/// Stages a copy of a version's content, wherever that is.
fn bring<M: Medium>(
    disk: &impl Disk,
    versions: &mut Versions<M>,
    id: u64,
) -> io::Result<Option<(Slot, u32)>> {
    let digest = versions.get(id).and_then(|version| version.what.digest());
    // Under the name of this content may be what it was exchanged for.
    if let Some(digest) = digest {
        versions.put_away(disk, Slot::Whole(digest))?;
    }
    if let Some(slot) = versions.place(id) {
        return stage(disk, slot.into(), None);
    }
    for at in versions.whereabouts(id) {
        if let Ok(Some(staged)) = stage(disk, at, digest) {
            return Ok(Some(staged));
        }
    }
    Ok(None)
}

/// Stages a copy of what stands there, if it has the content expected.
fn stage(disk: &impl Disk, from: At<'_>, expected: Option<Digest>) -> io::Result<Option<(Slot, u32)>> {
    let Some(facts) = disk.stat(from)? else { return Ok(None) };
    let Some(digest) = content::digest(disk, from, &facts)? else { return Ok(None) };
    if expected.is_some_and(|expected| expected != digest) {
        return Ok(None);
    }
    let slot = Slot::Whole(digest);
    if disk.stat(slot.into())?.is_none() {
        if facts.kind == Kind::Symlink {
            disk.stage_link(slot, &disk.read_link(from)?)?;
        } else if !content::copy(disk, from, digest, facts.inode)? {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
    }
    Ok(Some((slot, if facts.executable() { 0o755 } else { 0o644 })))
}

fn make_parents(disk: &impl Disk, path: &RelPath) -> Result<(), Obstacle> {
    let Some(parent) = path.parent() else { return Ok(()) };
    match disk.stat((&parent).into())? {
        Some(facts) if facts.kind == Kind::Directory => Ok(()),
        Some(_) => Err(Obstacle::InTheWay("below something that is no directory")),
        None => {
            make_parents(disk, &parent)?;
            let above = parent.parent();
            let owner = disk.stat(above.as_ref().into())?.ok_or_else(gone)?.owner;
            match disk.make_directory(&parent, 0o755, owner) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                done => Ok(done?),
            }
        }
    }
}

/// One attempt; `None` when somebody was faster.
fn put<D: Disk, M: Medium>(
    disk: &D,
    versions: &mut Versions<M>,
    slot: Slot,
    mode: u32,
    path: &RelPath,
    batch: u64,
) -> Result<Option<()>, Obstacle> {
    let parent = path.parent();
    let Some(there) = disk.stat(path.into())? else {
        let owner = disk.stat(parent.as_ref().into())?.ok_or_else(gone)?.owner;
        disk.dress(slot, mode, owner)?;
        return match disk.place(slot, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            done => Ok(done.map(|_| Some(()))?),
        };
    };
    match there.kind {
        Kind::File | Kind::Symlink => {}
        Kind::Directory => return Err(Obstacle::InTheWay("a directory now")),
        Kind::Pipe | Kind::Socket | Kind::Device => return Err(Obstacle::InTheWay("not a file now")),
    }
    let what = versions::describe(disk, path.into(), &there)?;
    disk.dress(slot, mode, there.owner)?;
    let cause = Cause::Undone;
    let announcement = Announcement {
        batch,
        path,
        what: what.clone(),
        modified: there.modified,
        cause: cause.clone(),
        slot: Some(slot),
    };
    let id = versions.announce(disk.now(), announcement)?;
    if let Err(error) = disk.exchange(slot, path) {
        versions.forget(id)?;
        return if error.kind() == io::ErrorKind::NotFound { Ok(None) } else { Err(error.into()) };
    }
    keep(disk, versions, id, slot, &what)?;
    Ok(Some(()))
}

/// Whatever was displaced is kept, as what it is.
fn keep<D: Disk, M: Medium>(
    disk: &D,
    versions: &mut Versions<M>,
    id: u64,
    slot: Slot,
    announced: &What,
) -> io::Result<()> {
    if let Some(facts) = disk.stat(slot.into())? {
        let what = versions::describe(disk, slot.into(), &facts)?;
        if what != *announced {
            versions.amend(id, what, facts.modified, Cause::Undone)?;
        }
    }
    versions.keep(disk, id, slot)
}

fn gone() -> io::Error {
    io::ErrorKind::NotFound.into()
}
