//! Reads files that may change meanwhile.
//!
//! A file is looked at before and after it is read. Small files are read whole, again if they changed meanwhile, so that
//! what is stored is one state of the file; a large file that changed while it was read is stored as it was read, and
//! named in the report.

use std::fs::File;
use std::io;
use std::io::Cursor;
use std::io::Read;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use super::walk;
use super::walk::Shared;

/// Files up to this size are read whole before anything of them is stored.
pub const WHOLE: u64 = 4 << 20;
/// So often a file that keeps changing is read again.
const TRIES: usize = 3;

/// What tells one state of a file from another.
type State = (u64, i64, i64, i64, i64);

fn state(file: &File) -> io::Result<State> {
    let meta = file.metadata()?;
    Ok((meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()))
}

/// Reads a file; bytes read are added to `read`, and the file to `report` when it keeps changing.
///
/// # Errors
/// When it cannot be read.
pub fn open(
    file: File,
    shown: &str,
    report: &Shared,
    read: &Arc<AtomicU64>,
) -> io::Result<Box<dyn Read + Send>> {
    let before = state(&file)?;
    if before.0 <= WHOLE {
        return Ok(Box::new(Cursor::new(whole(&file, before, shown, report, read)?)));
    }
    let (report, read) = (Arc::clone(report), Arc::clone(read));
    Ok(Box::new(Watched { file, before, shown: shown.to_owned(), report, read }))
}

fn whole(
    file: &File,
    mut before: State,
    shown: &str,
    report: &Shared,
    read: &AtomicU64,
) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(before.0).unwrap_or(0));
    for attempt in 1..=TRIES {
        bytes.clear();
        io::Seek::rewind(&mut &*file)?;
        file.take(WHOLE * 2).read_to_end(&mut bytes)?;
        let after = state(file)?;
        if after == before {
            break;
        }
        before = after;
        if attempt == TRIES {
            walk::lock(report).changed.add(shown, "it kept changing while it was read");
        }
    }
    read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    Ok(bytes)
}

/// A large file that is looked at again when it has been read.
struct Watched {
    file: File,
    before: State,
    shown: String,
    report: Shared,
    read: Arc<AtomicU64>,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer).inspect_err(|error| {
            walk::lock(&self.report).unreadable.add(&self.shown, error.to_string());
        })?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        if read == 0 && !buffer.is_empty() && state(&self.file).ok() != Some(self.before) {
            walk::lock(&self.report).changed.add(&self.shown, "it changed while it was read");
        }
        Ok(read)
    }
}
