//! Reads one file so that what is taken from it was really in it, at one moment.
//!
//! Facts before and after reading tell whether somebody wrote meanwhile, with two gaps: writes within one tick of the
//! file system's clock look alike, and a long write sets the times when it begins and goes on for a while. So a file
//! that was touched just now is not believed at once: a short one is read twice, a long one later, and either way
//! without a stamp, so that the next look reads it again. A long one is in doubt for some time after that: what is then
//! said of it is not answered by its stamp.

use std::io;
use std::io::Read as _;

use crate::delta::outline::Chain;
use crate::delta::outline::Outliner;
use crate::disk::At;
use crate::disk::Content as _;
use crate::disk::Disk;
use crate::disk::Facts;
use crate::entry::Digest;
use crate::path::RelPath;
use crate::tree::File;
use crate::tree::Stamp;

/// A file no longer than this is read twice rather than later.
const SHORT: u64 = 256 * 1024;
const CHUNK: usize = 64 * 1024;
/// Two writes no further apart than this may have the same time.
const TICK: i64 = 4_000_000;
/// A write takes no longer than a nanosecond per byte, unless the disk keeps it waiting, and then it is in doubt.
const WRITE_MAX: i64 = 200_000_000;
/// A write takes no longer than this.
const DOUBT: i64 = 10_000_000_000;

/// What came of it.
#[derive(Debug)]
pub(super) enum Outcome {
    /// This is in it.
    Taken {
        /// Without a stamp it has to be looked at again.
        file: File,
        /// What is in its parts.
        outline: Vec<Chain>,
        /// Whether it may still be being written, all its times notwithstanding.
        doubtful: bool,
    },
    /// Somebody wrote it meanwhile.
    Torn(Facts),
    /// It is long, and was written this very moment.
    Racy,
}

/// Reads a file. `slack`: how far its clock may be behind ours, in nanoseconds.
///
/// # Errors
/// As the kernel says.
pub(super) fn read<D: Disk>(disk: &D, path: &RelPath, slack: i64) -> io::Result<Outcome> {
    let (first, facts) = disk.open(At::Path(path))?;
    // Asked after the facts and before the first byte: whatever is written from here on is no older than this.
    let now = disk.now();
    let slack = slack + TICK + i64::try_from(facts.size).unwrap_or(WRITE_MAX).min(WRITE_MAX);
    let racy = is_recent(&facts, now, slack);
    if racy && facts.size > SHORT {
        return Ok(Outcome::Racy);
    }
    let Some((digest, outline)) = hash::<D>(first, &facts)? else { return Ok(Outcome::Torn(facts)) };
    if racy {
        let (second, again) = disk.open(At::Path(path))?;
        if again.stamp() != facts.stamp()
            || hash::<D>(second, &facts)?.is_none_or(|(other, _)| other != digest)
        {
            return Ok(Outcome::Torn(facts));
        }
    }
    let stamp = if racy { Stamp::UNKNOWN } else { facts.stamp() };
    let file = File { modified: facts.modified, stamp, ..File::new(facts.size, facts.executable(), digest) };
    Ok(Outcome::Taken { file, outline, doubtful: facts.size > SHORT && is_recent(&facts, now, DOUBT) })
}

/// Whether it was touched no longer ago than this. A time far ahead is that of a clock that was set back: nothing gets
/// it a second time.
fn is_recent(facts: &Facts, now: i64, slack: i64) -> bool {
    const AHEAD: i64 = 10_000_000_000;
    let age = now.saturating_sub(facts.changed);
    age <= slack && age >= -AHEAD
}

/// The digest of all of it, and what is in its parts; `None` when it is not the same at the end as at the beginning.
fn hash<D: Disk>(mut reader: D::Reader, facts: &Facts) -> io::Result<Option<(Digest, Vec<Chain>)>> {
    let mut hasher = Outliner::default();
    let mut buffer = vec![0; usize::try_from(facts.size + 1).unwrap_or(CHUNK).min(CHUNK)];
    let mut length = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                length += count as u64;
                if length > facts.size {
                    return Ok(None);
                }
                hasher.update(&buffer[..count]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let same = length == facts.size && reader.facts()?.stamp() == facts.stamp();
    Ok(same.then(|| hasher.finish()))
}
