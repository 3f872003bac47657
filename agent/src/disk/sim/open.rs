//! Files of a simulated disk that are open.

use std::io;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;

use rustix::io::Errno;

use crate::disk::At;
use crate::disk::Content;
use crate::disk::Facts;
use crate::disk::Slot;
use crate::disk::sim::SimDisk;
use crate::disk::sim::volume::Body;
use crate::path::RelPath;

/// An open file.
pub struct SimReading {
    disk: SimDisk,
    key: u64,
    at: u64,
    path: Option<RelPath>,
}

/// A file that is being written in the staging area.
pub struct SimWriting {
    disk: SimDisk,
    pub(super) key: u64,
    pub(super) part: Slot,
}

impl SimReading {
    pub(super) fn new(disk: SimDisk, key: u64, at: At<'_>) -> Self {
        let path = if let At::Path(path) = at { Some(path.clone()) } else { None };
        Self { disk, key, at: 0, path }
    }
}

impl SimWriting {
    pub(super) fn new(disk: SimDisk, key: u64, part: Slot) -> Self {
        Self { disk, key, part }
    }
}

impl Content for SimReading {
    fn facts(&self) -> io::Result<Facts> {
        let shared = self.disk.call("facts", self.path.as_ref().map(At::Path))?;
        Ok(shared.volume.facts(self.key))
    }
}

impl Read for SimReading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let shared = self.disk.call("read", self.path.as_ref().map(At::Path))?;
        let Some(Body::File { now, .. }) = shared.volume.inodes.get(&self.key).map(|inode| &inode.body)
        else {
            return Err(Errno::BADF.into());
        };
        let rest = usize::try_from(self.at).ok().and_then(|at| now.get(at..)).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.at += length as u64;
        Ok(length)
    }
}

impl Seek for SimReading {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let length = self.disk.lock().volume.facts(self.key).size;
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => length.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

impl Drop for SimReading {
    fn drop(&mut self) {
        if let Some(inode) = self.disk.lock().volume.inodes.get_mut(&self.key) {
            inode.opens = inode.opens.saturating_sub(1);
        }
    }
}

impl Write for SimWriting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut shared = self.disk.call("write", Some(self.part.into()))?;
        let mut content = match shared.volume.inodes.get(&self.key).map(|inode| &inode.body) {
            Some(Body::File { now, .. }) => now.to_vec(),
            _ => return Err(Errno::BADF.into()),
        };
        content.extend(bytes);
        shared.volume.fill(self.key, content)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
