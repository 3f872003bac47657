//! The only door to a file system that is synchronised.
//!
//! A [`Disk`] is one side's folder with two rooms of our own beside it: the *staging area*, where content waits before
//! it is in place and where displaced content arrives, and the *kept* files of the version store. Nothing but an empty
//! directory can be removed from the tree: what leaves it is moved to a [`Slot`], whole, in one step. So no caller can
//! lose what somebody wrote a moment ago: at worst it has to put it back.
//!
//! Every method is one step as far as other processes see. Paths are followed by nobody: see [`crate::files`].

mod facts;
mod mark;
mod order;
mod pending;
mod real;
mod rename;
mod room;
#[cfg(any(test, feature = "sim"))]
pub mod sim;

use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::Write;

use serde::Deserialize;
use serde::Serialize;

use crate::entry::Digest;
use crate::path::RelPath;
use crate::tree::Name;

pub use facts::Facts;
pub use facts::Kind;
pub use facts::Owner;
pub use mark::remember;
pub use mark::remembered;
pub use real::Folder;
pub use real::Reading;
pub use real::Writing;
pub use room::StageAt;

/// A directory's names, each with what is known of it; what went away while it was read is left out.
pub type Listing = Vec<(Name, io::Result<Facts>)>;

/// The permission bits of what is staged, which are those of most files in the end. Nobody else looks into the room.
pub const STAGED_MODE: u32 = 0o644;

/// A place in the rooms beside the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// Being written: worthless after a crash.
    Part(u64),
    /// Content that is whole, by its digest; after an exchange, what it was exchanged for.
    Whole(Digest),
    /// Taken out of the tree.
    Taken(u64),
    /// A file of the version store.
    Kept(u64),
}

/// Something on a disk.
#[derive(Debug, Clone, Copy)]
pub enum At<'a> {
    /// The folder itself.
    Root,
    /// Below it.
    Path(&'a RelPath),
    /// Beside the tree.
    Slot(Slot),
}

/// Which folder this is. Another one that later stands at the same path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The device its file system is on.
    pub device: u64,
    /// Its inode number.
    pub inode: u64,
    /// Birth in nanoseconds; 0 where the file system does not know it.
    pub born: i128,
    /// What was [claimed](Disk::claim) for it: goes with the folder when it goes, whatever becomes of its inode number.
    pub nonce: Nonce,
}

/// A number given to a folder once. Zeros: none was, or the file system holds none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Nonce(pub [u8; 16]);

impl Nonce {
    /// One that no other folder has.
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
        Self(bytes)
    }

    /// Whether there is none.
    pub fn is_absent(self) -> bool {
        self == Self::default()
    }
}

impl Identity {
    /// Whether this is the folder that was known as `earlier`. One without a nonce then may have been given one since;
    /// one that had a nonce has it still.
    pub fn is(&self, earlier: &Self) -> bool {
        let nonce = if earlier.nonce.is_absent() { Nonce::default() } else { self.nonce };
        *earlier == Self { nonce, ..*self }
    }
}

/// A file that is open for reading.
pub trait Content: Read + Seek {
    /// What is known of it now; asked before and after reading, it tells whether it was written meanwhile.
    ///
    /// # Errors
    /// As the kernel says.
    fn facts(&self) -> io::Result<Facts>;
}

/// One side's folder, its staging area and its kept files.
///
/// # Errors
/// All methods: as the kernel says, with its error number. A path through a file or a link is an absent path.
#[expect(clippy::missing_errors_doc, reason = "said once, for all")]
pub trait Disk {
    /// An open file.
    type Reader: Content;
    /// A file that is being written in the staging area; dropped unfinished it leaves a [`Slot::Part`].
    type Writer: Write;

    /// Which folder this is.
    fn identity(&self) -> io::Result<Identity>;

    /// Gives the folder a nonce, where it has none and its file system holds such things: nothing anybody sees in it.
    fn mark(&self, nonce: Nonce) -> io::Result<()>;

    /// Which folder this is, with `nonce` from now on if it had none.
    fn claim(&self, nonce: Nonce) -> io::Result<Identity> {
        let found = self.identity()?;
        if !found.nonce.is_absent() || self.mark(nonce).is_err() {
            return Ok(found);
        }
        self.identity()
    }

    /// The time a write would get at this moment, in nanoseconds: the file system's coarse clock. A file whose times are
    /// not older than this can change again without its times telling.
    fn now(&self) -> i64;

    /// The bytes that can still be written.
    fn free(&self) -> io::Result<u64>;

    /// What stands there itself, no link followed; `None` when nothing does.
    fn stat(&self, at: At<'_>) -> io::Result<Option<Facts>>;

    /// What a directory holds, the staging area left out. Whole or an error.
    fn list(&self, directory: At<'_>) -> io::Result<Listing>;

    /// What a symbolic link says.
    fn read_link(&self, at: At<'_>) -> io::Result<Vec<u8>>;

    /// Opens a regular file, with what is known of the very file opened. Nothing else is ever opened (`InvalidInput`).
    fn open(&self, at: At<'_>) -> io::Result<(Self::Reader, Facts)>;

    /// What is in the staging area and among the kept files; foreign names are not reported.
    fn slots(&self) -> io::Result<Vec<Slot>>;

    /// Begins to write the file [`Slot::Part`] `part`, which must not be there, with the mode [`STAGED_MODE`].
    fn stage(&self, part: u64) -> io::Result<Self::Writer>;

    /// Ends writing: the file is now at `slot`, which must be free or the part it was written to. Its content reaches
    /// the disk no later than any later rename of it into the tree, so a crash leaves a path with its old or its new
    /// content, never with half of it.
    fn finish(&self, writer: Self::Writer, slot: Slot) -> io::Result<Facts>;

    /// Makes a symbolic link at `slot`, which must be free.
    fn stage_link(&self, slot: Slot, target: &[u8]) -> io::Result<()>;

    /// Gives what is staged its permission bits (a link has none) and, as far as permitted, its owner.
    fn dress(&self, slot: Slot, mode: u32, owner: Owner) -> io::Result<()>;

    /// Moves from one slot to another, which must be free. `CrossesDevices` when kept files are on another mount.
    fn shift(&self, from: Slot, to: Slot) -> io::Result<()>;

    /// Moves a file or link to the kept files across mounts: the copy survives a crash before the original goes.
    fn archive(&self, from: Slot, kept: u64) -> io::Result<()>;

    /// Removes a file or link that is ours. Absent is success.
    fn discard(&self, slot: Slot) -> io::Result<()>;

    /// Removes what is in a slot, a directory with all below it; no link is followed. Absent is success.
    fn dispose(&self, slot: Slot) -> io::Result<()>;

    /// Moves what is staged into the tree, never over something (`AlreadyExists`). Says what stands there then; `None`
    /// when it is gone again, or cannot be looked at.
    fn place(&self, slot: Slot, path: &RelPath) -> io::Result<Option<Facts>>;

    /// Lets the staged and what stands at `path` change places in one step; both must exist.
    fn exchange(&self, slot: Slot, path: &RelPath) -> io::Result<()>;

    /// Moves whatever stands at `path` out of the tree, to a free slot.
    fn take(&self, path: &RelPath, slot: Slot) -> io::Result<()>;

    /// Moves within the tree, never over something (`AlreadyExists`).
    fn rename(&self, from: &RelPath, to: &RelPath) -> io::Result<()>;

    /// Makes a directory where nothing is.
    fn make_directory(&self, path: &RelPath, mode: u32, owner: Owner) -> io::Result<()>;

    /// Removes a directory that is empty (`DirectoryNotEmpty`).
    fn remove_directory(&self, path: &RelPath) -> io::Result<()>;

    /// Sets the permission bits of the regular file at `path` if it still is the one with this inode; says whether.
    fn set_mode(&self, path: &RelPath, inode: u64, mode: u32) -> io::Result<bool>;

    /// Returns when everything done so far survives a crash. One call for a whole batch: it is dear.
    fn sync(&self) -> io::Result<()>;
}

impl<'a> From<&'a RelPath> for At<'a> {
    fn from(path: &'a RelPath) -> Self {
        Self::Path(path)
    }
}

impl<'a> From<Option<&'a RelPath>> for At<'a> {
    fn from(path: Option<&'a RelPath>) -> Self {
        path.map_or(Self::Root, Self::Path)
    }
}

impl From<Slot> for At<'_> {
    fn from(slot: Slot) -> Self {
        Self::Slot(slot)
    }
}

impl Slot {
    /// Its name in its room.
    fn name(self) -> String {
        match self {
            Self::Part(number) => format!("part-{number:016x}"),
            Self::Whole(digest) => format!("whole-{digest}"),
            Self::Taken(number) => format!("taken-{number:016x}"),
            Self::Kept(number) => format!("{number:016x}"),
        }
    }

    /// The slot a name in the staging area stands for.
    pub(crate) fn staged(name: &[u8]) -> Option<Self> {
        let (kind, rest) = std::str::from_utf8(name).ok()?.split_once('-')?;
        match kind {
            "part" => number(rest).map(Self::Part),
            "taken" => number(rest).map(Self::Taken),
            "whole" => digest(rest).map(Self::Whole),
            _ => None,
        }
    }

    /// The slot a name among the kept files stands for.
    fn kept(name: &[u8]) -> Option<Self> {
        number(std::str::from_utf8(name).ok()?).map(Self::Kept)
    }
}

fn number(text: &str) -> Option<u64> {
    (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

fn digest(text: &str) -> Option<Digest> {
    blake3::Hash::from_hex(text).ok().map(Digest::from)
}

#[cfg(test)]
mod tests;
