//! Content before name: what makes a rename safe against a crash.
//!
//! Measured on ext4: `fdatasync` of a small file takes 2 to 8 ms, because it commits the journal; writing the pages out
//! and waiting for them takes about 0.4 ms. The journals of ext4 (`data=ordered`, its default) and XFS commit later
//! than the pages they speak of and flush the device's cache before they do, so that pages written before the rename
//! are there whenever the rename is. Elsewhere nothing is assumed.
//!
//! Writing out begins when a file is whole and is waited for when it is placed: of many files all but the first few are
//! there by then.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// How content is brought to the disk before a rename.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Pages written and waited for; the journal does the rest.
    Pages,
    /// `fdatasync`.
    Whole,
    /// Nothing survives a crash there anyway.
    Nothing,
}

impl Order {
    /// What the file system with this magic number needs.
    pub(super) fn of(kind: u64) -> Self {
        match kind {
            // ext4 (and ext3, which is driven by it), XFS.
            0xef53 | 0x5846_5342 => Self::Pages,
            // tmpfs, ramfs.
            0x0102_1994 | 0x8584_58f6 => Self::Nothing,
            _ => Self::Whole,
        }
    }

    /// Begins to bring to the disk what was written so far of a file that is not whole.
    pub(super) fn ahead(self, file: &File) -> io::Result<()> {
        match self {
            Self::Pages => write_pages(file, libc::SYNC_FILE_RANGE_WRITE),
            Self::Whole | Self::Nothing => Ok(()),
        }
    }

    /// Begins to bring content to the disk; says whether it has to be waited for before the rename.
    pub(super) fn begin(self, file: &File) -> io::Result<bool> {
        match self {
            Self::Nothing => Ok(false),
            Self::Whole => file.sync_data().map(|()| false),
            Self::Pages => write_pages(file, libc::SYNC_FILE_RANGE_WRITE).map(|()| true),
        }
    }
}

/// Returns when the content that was begun with is on the disk.
pub(super) fn wait(file: &File) -> io::Result<()> {
    let how =
        libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    write_pages(file, how)
}

#[expect(unsafe_code, reason = "no crate in use wraps this call")]
fn write_pages(file: &File, how: libc::c_uint) -> io::Result<()> {
    // SAFETY: the call takes no pointers, and the descriptor is open for as long as `file` is borrowed.
    match unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, how) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
