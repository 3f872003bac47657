//! Restores a sample of a snapshot to a scratch place, the way any restore does, and compares what came.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use jiff::Timestamp;
use nexus_agent::path::RelPath;

use super::sample::Sample;
use super::sample::Tried;
use crate::backup::hands::Bad;
use crate::backup::opened::Content;
use crate::backup::opened::Reader;
use crate::backup::restore;
use crate::backup::restore::Action;
use crate::backup::restore::Kind;
use crate::backup::restore::Target;
use crate::backup::restore::Wanted;
use crate::backup::snapshot::Reader as _;
use crate::backup::snapshot::Snapshot;
use crate::backup::trouble::Cause;
use crate::backup::trouble::Trouble;

/// So many findings are listed.
const LISTED: usize = 50;
/// What is left free where it is restored to.
const FREE: u64 = 64 << 20;
/// Files are compared in such pieces.
const PIECE: usize = 256 << 10;

/// Restores a sample of a snapshot into an empty directory and says what came. `source` is the folder it is of, if that
/// is here.
///
/// # Errors
/// When that could not be done: what is damaged is no failure of the drill but what it is for.
pub fn restore(
    reader: &Reader,
    snapshot: &Snapshot,
    scratch: &Path,
    source: Option<&Path>,
) -> Result<Tried, Trouble> {
    let mut tried =
        Tried { folder: snapshot.folder.clone(), snapshot: snapshot.id.clone(), ..Tried::default() };
    let mut sample = Sample::default();
    let mut unlisted = Vec::new();
    let listed = reader.entries(snapshot, &|_| false, &mut |entry| match entry {
        Ok((wanted, content)) => {
            if let Kind::File { size } = wanted.kind {
                sample.offer(size, (wanted, content), getrandom::u64().unwrap_or(0));
            }
        }
        Err(trouble) => unlisted.push(trouble),
    });
    unlisted.extend(listed.err());
    for trouble in unlisted {
        blame(&mut tried, "a part of the snapshot", trouble)?;
    }
    let mut target = Target::open(scratch, scratch.join("aside")).map_err(|error| local(scratch, &error))?;
    let chosen = sample.chosen();
    let needed: u64 = chosen.iter().map(|(wanted, _)| size(wanted)).sum();
    if let Some(free) = target.space().filter(|free| *free < needed.saturating_add(FREE)) {
        let detail = format!("the sample needs {needed} bytes, and {free} are free");
        return Err(Trouble::new(Cause::Full, format!("restore to {}", scratch.display()), detail));
    }
    for (wanted, content) in chosen {
        let shown = format!("`{}`", wanted.path.to_string_lossy());
        match bring(reader, &mut target, scratch, &wanted, content) {
            Ok((path, true)) => {
                tried.files += 1;
                tried.bytes += size(&wanted);
                match source.map(|source| {
                    compare(&scratch.join(path.as_path()), &source.join(path.as_path()), &wanted)
                }) {
                    Some(Some(true)) => tried.compared += 1,
                    Some(Some(false)) => {
                        find(
                            &mut tried,
                            format!("{shown} is not what the folder holds, which has not changed since"),
                        );
                    }
                    Some(None) | None => {}
                }
            }
            Ok((_, false)) => {
                find(&mut tried, format!("{shown} came back as something else than was backed up"))
            }
            Err(trouble) => blame(&mut tried, &shown, trouble)?,
        }
    }
    Ok(tried)
}

fn find(tried: &mut Tried, finding: String) {
    if tried.findings.len() < LISTED {
        tried.findings.push(finding);
    }
}

/// What is damaged or missing there is a finding; everything else says that this was no drill.
fn blame(tried: &mut Tried, what: &str, trouble: Trouble) -> Result<(), Trouble> {
    match trouble.cause {
        Cause::Damaged | Cause::Missing | Cause::Other => {
            find(tried, format!("{what} does not come back: {trouble}"));
            Ok(())
        }
        _ => Err(trouble),
    }
}

/// Restores one file, and says whether it is what the snapshot's own digests say.
fn bring(
    reader: &Reader,
    target: &mut Target,
    scratch: &Path,
    wanted: &Wanted,
    content: Content,
) -> Result<(RelPath, bool), Trouble> {
    let disk = |error: restore::Error| local(scratch, &error);
    // Whatever its owner has set, it is to be read again here.
    let wanted = Wanted { mode: Some(0o600), ..wanted.clone() };
    let (spot, _) = target.look(&wanted).map_err(disk)?;
    let path = spot.path;
    let mut above = Vec::new();
    let mut next = path.parent();
    while let Some(directory) = next {
        next = directory.parent();
        above.push(directory);
    }
    for directory in above.into_iter().rev() {
        let wanted = Wanted {
            path: directory.as_path().as_os_str().to_owned(),
            kind: Kind::Directory,
            mode: Some(0o700),
            modified: None,
        };
        let (directory, action) = target.look(&wanted).map_err(disk)?;
        if action == Action::Add {
            target.put(&directory, &wanted, action, |_| Ok(())).map_err(disk)?;
        }
    }
    let (spot, action) = target.look(&wanted).map_err(disk)?;
    let digest = Digest::of(&content);
    let write = |file: &mut File| reader.content(content, file).map_err(Bad::There);
    match target.put(&spot, &wanted, action, write) {
        Ok(()) => {}
        Err(Bad::There(trouble)) => return Err(trouble),
        Err(Bad::Disk(error)) => return Err(disk(error)),
    }
    let place = scratch.join(path.as_path());
    let mut file = File::open(&place).map_err(|error| unreadable(&place, &error))?;
    let whole = file.metadata().is_ok_and(|meta| meta.len() == size(&wanted));
    Ok((path, whole && digest.fits(reader, &mut file)?))
}

/// What the snapshot says a content's digest is.
enum Digest {
    /// Of each of its blobs.
    Blobs(Vec<String>),
    /// Of all of it.
    Whole([u8; 32]),
}

impl Digest {
    fn of(content: &Content) -> Self {
        match content {
            Content::Repository(content) => Self::Blobs(content.blobs()),
            Content::Mirror(..) => Self::Whole(Reader::fingerprint(content)),
        }
    }

    fn fits(&self, reader: &Reader, file: &mut File) -> Result<bool, Trouble> {
        match (self, reader) {
            (Self::Blobs(blobs), Reader::Repository(repository)) => repository.holds(blobs, file),
            (Self::Whole(digest), _) => {
                let mut hasher = blake3::Hasher::new();
                hasher.update_reader(file).map_err(|error| unreadable(Path::new("the scratch"), &error))?;
                Ok(hasher.finalize().as_bytes() == digest)
            }
            (Self::Blobs(_), Reader::Mirrors(_)) => {
                unreachable!("a reader is asked for what it has listed itself")
            }
        }
    }
}

/// Whether the folder holds the same; none where it has another state by now, or none that can be read.
fn compare(restored: &Path, source: &Path, wanted: &Wanted) -> Option<bool> {
    unchanged(source, wanted)?;
    let same = equal(restored, source).ok()?;
    // What was written to meanwhile is no witness.
    unchanged(source, wanted)?;
    Some(same)
}

/// Whether a file is as it was when it was backed up, as far as its size and time tell.
fn unchanged(source: &Path, wanted: &Wanted) -> Option<()> {
    use std::os::unix::fs::MetadataExt as _;
    let meta = std::fs::symlink_metadata(source).ok().filter(std::fs::Metadata::is_file)?;
    let modified = Timestamp::new(meta.mtime(), i32::try_from(meta.mtime_nsec()).ok()?).ok();
    (meta.len() == size(wanted) && modified == wanted.modified).then_some(())
}

fn equal(one: &Path, other: &Path) -> std::io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    let (mut left, mut right) = (vec![0; PIECE], vec![0; PIECE]);
    loop {
        let length = one.read(&mut left)?;
        if length == 0 {
            return Ok(other.read(&mut right)? == 0);
        }
        if other.read_exact(&mut right[..length]).is_err() || left[..length] != right[..length] {
            return Ok(false);
        }
    }
}

fn size(wanted: &Wanted) -> u64 {
    match wanted.kind {
        Kind::File { size } => size,
        _ => 0,
    }
}

fn local(scratch: &Path, error: &restore::Error) -> Trouble {
    let cause = match error {
        restore::Error::Path(_) => Cause::Damaged,
        restore::Error::Io { source, .. } => match restore::cause_of(source) {
            // Nothing of the destination's.
            Cause::Other => Cause::Stopped,
            cause => cause,
        },
    };
    Trouble::new(cause, format!("restore to {}", scratch.display()), error.to_string())
}

fn unreadable(path: &Path, error: &std::io::Error) -> Trouble {
    Trouble::new(Cause::Stopped, format!("read {} again", path.display()), error.to_string())
}
