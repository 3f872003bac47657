//! Which file systems tell the truth about what happens on them.

use std::io;
use std::path::Path;
use std::time::Duration;

/// What a folder lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSystem {
    /// Its name, as far as it is known.
    pub name: &'static str,
    /// Whether every change, whoever makes it, is an event here.
    pub tells: bool,
}

impl FileSystem {
    /// That of the folder at `path`.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::by_magic(rustix::fs::statfs(path)?.f_type as u64))
    }

    /// The kernel's numbers are in `linux/magic.h`; ZFS has its own.
    fn by_magic(magic: u64) -> Self {
        // Some architectures give a sign to the number.
        let (name, tells) = match magic & 0xffff_ffff {
            0xef53 => ("ext4", true),
            0x5846_5342 => ("xfs", true),
            0x9123_683e => ("btrfs", true),
            0x2fc1_2fc1 => ("zfs", true),
            0x0102_1994 => ("tmpfs", true),
            0x794c_7630 => ("overlay", true),
            0xf2f5_2010 => ("f2fs", true),
            0xca45_1a4e => ("bcachefs", true),
            // Also virtiofs: what the other machine does there is no event, or half of one.
            0x6573_5546 => ("fuse", false),
            0x0102_1997 => ("9p", false),
            0x6969 => ("nfs", false),
            0xff53_4d42 | 0xfe53_4d42 => ("smb", false),
            0x4d44 => ("fat", false),
            _ => ("an unknown file system", false),
        };
        Self { name, tells }
    }

    /// How far its clock may be behind ours, and how coarse it may be.
    pub fn slack(&self) -> Duration {
        if self.tells { Duration::ZERO } else { Duration::from_secs(2) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_to_tell_is_not_believed() {
        assert!(FileSystem::by_magic(0xef53).tells && FileSystem::by_magic(0x9123_683e).tells);
        assert!(FileSystem::by_magic(0xffff_ffff_9123_683e).tells);
        for silent in [0x6573_5546, 0x0102_1997, 0x6969, 0xff53_4d42, 12345] {
            assert!(!FileSystem::by_magic(silent).tells);
        }
        FileSystem::of(Path::new("/")).unwrap();
    }
}
