//! What the kernel says about something on a disk.

use rustix::fs::FileType;
use rustix::fs::Stat;

use crate::tree::Stamp;

/// What stands at a path. Directories, files and links are carried; the rest is never opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Pipe,
    /// A socket.
    Socket,
    /// A character or block device, or something newer than this program.
    Device,
}

/// Whose something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub user: u32,
    /// The group.
    pub group: u32,
}

/// What is known of something without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// What it is.
    pub kind: Kind,
    /// Its length in bytes; a link's is its target's.
    pub size: u64,
    /// When its content was last written, in nanoseconds since 1970.
    pub modified: i64,
    /// When it was last touched in any way, its place included. Nobody can set this.
    pub changed: i64,
    /// Its inode number.
    pub inode: u64,
    /// The device it is on; another one than the root's is a mount.
    pub device: u64,
    /// How many names it has.
    pub links: u64,
    /// Permission bits.
    pub mode: u32,
    /// Whose it is.
    pub owner: Owner,
}

impl Facts {
    /// What the kernel's record says.
    pub fn of(stat: &Stat) -> Self {
        let time = |seconds, rest| signed(seconds).saturating_mul(1_000_000_000).saturating_add(rest);
        Self {
            kind: Kind::of(FileType::from_raw_mode(stat.st_mode)),
            size: unsigned(stat.st_size),
            modified: time(stat.st_mtime, signed(stat.st_mtime_nsec)),
            changed: time(stat.st_ctime, signed(stat.st_ctime_nsec)),
            inode: unsigned(stat.st_ino),
            device: unsigned(stat.st_dev),
            links: unsigned(stat.st_nlink),
            mode: stat.st_mode & 0o7777,
            owner: Owner { user: stat.st_uid, group: stat.st_gid },
        }
    }

    /// Whether anybody may execute it: the only part of the mode that travels.
    pub fn executable(&self) -> bool {
        self.mode & 0o111 != 0
    }

    /// A hash of all that changes when the content does. Worth something only when `modified` and `changed` were older
    /// than [`Disk::now`](crate::disk::Disk::now) when these facts were learnt; else [`Stamp::UNKNOWN`] is to be used.
    pub fn stamp(&self) -> Stamp {
        let mut bytes = [0; 40];
        let words = [
            self.size,
            self.modified as u64,
            self.changed as u64,
            self.inode,
            u64::from(self.mode & 0o111 != 0),
        ];
        for (into, word) in bytes.chunks_exact_mut(8).zip(words) {
            into.copy_from_slice(&word.to_le_bytes());
        }
        let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(&bytes).as_bytes();
        // 0 is taken.
        Stamp(u64::from_le_bytes([a, b, c, d, e, f, g, h]).max(1))
    }

    /// Whether it is the same thing with the same content, as far as this can tell. Unlike a stamp it does not look at
    /// `changed`, which a rename sets too.
    pub fn unwritten_since(&self, earlier: &Self) -> bool {
        (self.kind, self.inode, self.device) == (earlier.kind, earlier.inode, earlier.device)
            && (self.kind == Kind::Directory
                || (self.size, self.modified) == (earlier.size, earlier.modified))
    }
}

impl Kind {
    fn of(kind: FileType) -> Self {
        match kind {
            FileType::Directory => Self::Directory,
            FileType::RegularFile => Self::File,
            FileType::Symlink => Self::Symlink,
            FileType::Fifo => Self::Pipe,
            FileType::Socket => Self::Socket,
            _ => Self::Device,
        }
    }
}

// The kernel's own types differ between architectures.

fn unsigned(value: impl TryInto<u64>) -> u64 {
    value.try_into().unwrap_or_default()
}

fn signed(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or_default()
}
