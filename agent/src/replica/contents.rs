//! The contents of one side: those that are read for the other side, and those that come in.
//!
//! Nothing here is trusted: whoever asks is held to the bounds of what anybody asks for, and what comes in counts only
//! with the digest it came under.

use std::collections::BTreeMap;
use std::io;
use std::io::Seek as _;
use std::io::SeekFrom;

use super::Nonsense;
use crate::apply;
use crate::apply::Fresh;
use crate::delta;
use crate::delta::Base;
use crate::delta::Span;
use crate::delta::outline;
use crate::delta::outline::Chain;
use crate::delta::outline::Outliner;
use crate::delta::outline::Outlines;
use crate::delta::rsync;
use crate::disk;
use crate::disk::At;
use crate::disk::Disk;
use crate::disk::Facts;
use crate::disk::Slot;
use crate::entry::Digest;
use crate::log::Medium;
use crate::message::CHUNK;
use crate::message::FromSide;
use crate::message::OUTLINED;
use crate::message::Part;
use crate::message::Piece;
use crate::message::Problem;
use crate::path::RelPath;
use crate::tree::Item;
use crate::tree::Tree;
use crate::versions::Versions;

/// Contents that may come in at the same time; one more ends the session.
const INCOMING: usize = 64;
/// So many bytes are read at a time for an outline that is not known: an edit elsewhere does not wait for more.
const OUTLINE_AT_ONCE: u64 = 8 * 1024 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Contents<R, W> {
    incoming: BTreeMap<Digest, Incoming<W>>,
    /// What has come in one piece.
    pub(super) fresh: BTreeMap<Digest, Fresh>,
    /// What is read for the other side.
    reading: Option<Reading<R>>,
    /// What something that comes in resembles.
    base: Option<Reading<R>>,
    /// What is gone through for its outline, as far as it is known.
    outlining: Option<(Reading<R>, Vec<Chain>)>,
    outlines: Outlines,
    part: u64,
}

/// What there is on this side.
pub(super) struct Here<'a, D, M> {
    pub(super) disk: &'a D,
    pub(super) tree: &'a Tree,
    pub(super) versions: &'a Versions<M>,
}

/// A content that is coming in.
#[derive(Debug)]
struct Incoming<W> {
    part: u64,
    writer: W,
    hasher: Outliner,
    length: u64,
    /// Of a connection before this one, and not continued yet.
    kept: bool,
}

/// A file that is being read in parts.
#[derive(Debug)]
struct Reading<R> {
    digest: Digest,
    reader: R,
    facts: Facts,
    offset: u64,
}

impl<R, W> Default for Contents<R, W> {
    fn default() -> Self {
        Self {
            incoming: BTreeMap::new(),
            fresh: BTreeMap::new(),
            reading: None,
            base: None,
            outlining: None,
            outlines: Outlines::default(),
            // Lower ones are those of whoever applies.
            part: 1 << 32,
        }
    }
}

impl<R: disk::Content, W: io::Write> Contents<R, W> {
    /// Remembers what files were found to hold.
    pub(super) fn outlined(&mut self, outlines: Vec<(Digest, Vec<Chain>)>) {
        for (digest, parts) in outlines {
            self.outlines.put(digest, parts);
        }
    }

    /// A number no part has.
    fn free_part(&mut self) -> u64 {
        self.part += 1;
        self.part
    }

    /// The connection is gone. What has come in is kept, if there is enough of it to go on from.
    pub(super) fn detach(&mut self, disk: &impl Disk<Reader = R, Writer = W>) {
        (self.reading, self.base, self.outlining) = (None, None, None);
        let short: Vec<_> = self
            .incoming
            .iter()
            .filter(|(_, incoming)| incoming.length < CHUNK)
            .map(|(digest, _)| *digest)
            .collect();
        short.iter().for_each(|digest| self.forget(disk, digest));
        self.incoming.values_mut().for_each(|incoming| incoming.kept = true);
    }

    /// What has come in, up to which byte.
    pub(super) fn begun(&self) -> Vec<(Digest, u64)> {
        self.incoming.iter().map(|(digest, incoming)| (*digest, incoming.length)).collect()
    }

    /// Gives up what is coming in; where it cannot be removed now it goes when the side is opened the next time.
    pub(super) fn forget(&mut self, disk: &impl Disk<Reader = R, Writer = W>, digest: &Digest) {
        self.base = None;
        if let Some(incoming) = self.incoming.remove(digest) {
            drop(incoming.writer);
            drop(disk.discard(Slot::Part(incoming.part)));
        }
        if let Some(Fresh { part, .. }) = self.fresh.remove(digest) {
            drop(disk.discard(Slot::Part(part)));
        }
    }

    /// A part of a file, if the file still is what it was when it was looked at.
    pub(super) fn read(
        &mut self,
        here: &Here<'_, impl Disk<Reader = R, Writer = W>, impl Medium>,
        path: &RelPath,
        (digest, offset): (Digest, u64),
        like: &[u8],
    ) -> Option<FromSide> {
        let fitting =
            self.reading.take().filter(|reading| reading.digest == digest && reading.offset == offset);
        let mut reading = match fitting {
            Some(reading) => reading,
            None => here.open(path, digest, offset)?,
        };
        let left = reading.facts.size.checked_sub(offset)?;
        let bytes = reading.take(left.min(CHUNK))?;
        if reading.offset < reading.facts.size {
            self.reading = Some(reading);
        }
        // A signature that is none is of no use, and no harm.
        let delta = if like.is_empty() { None } else { rsync::diff(like, &bytes).ok().flatten() };
        let piece = delta.map_or_else(|| Piece::Whole(bytes), Piece::Delta);
        Some(FromSide::Content { digest, offset, piece })
    }

    /// What is in the parts of a file from `from` on.
    pub(super) fn outline(
        &mut self,
        here: &Here<'_, impl Disk<Reader = R, Writer = W>, impl Medium>,
        path: &RelPath,
        (digest, from): (Digest, u64),
    ) -> Option<FromSide> {
        let first = usize::try_from(from).ok()?;
        let page = |parts: &[Chain]| {
            let parts: Vec<_> = parts.get(first..)?.iter().take(OUTLINED).copied().collect();
            (!parts.is_empty()).then_some(FromSide::Outlined { digest, from, parts })
        };
        if let Some(parts) = self.outlines.get(&digest) {
            return page(&parts);
        }
        let fitting = self.outlining.take().filter(|(reading, _)| reading.digest == digest);
        let (mut reading, mut parts) = match fitting {
            Some(fitting) if fitting.1.len() == first => fitting,
            // Begun in the middle it would be another's: whoever asked starts over.
            _ if from > 0 => return None,
            _ => (here.open(path, digest, 0)?, Vec::new()),
        };
        let until = reading.offset.saturating_add(OUTLINE_AT_ONCE).min(reading.facts.size);
        while reading.offset < until {
            let number = parts.len() as u64;
            let bytes = reading.take(delta::PART.min(reading.facts.size - reading.offset))?;
            parts.push(outline::part(number, &bytes));
        }
        let told = page(&parts);
        if reading.offset < reading.facts.size {
            self.outlining = Some((reading, parts));
        } else if parts.len() > 1 && outline::root(&parts) == digest {
            self.outlines.put(digest, parts);
        } else {
            return None;
        }
        told
    }

    /// What helps to find a stretch of a file again.
    pub(super) fn sign(
        &mut self,
        here: &Here<'_, impl Disk<Reader = R, Writer = W>, impl Medium>,
        base: &Base,
        span: Span,
    ) -> Option<FromSide> {
        let old = self.stretch(here, base, span).ok()?;
        Some(FromSide::Signed { digest: base.digest, signature: rsync::sign(&old) })
    }

    /// A stretch of a file that stands here.
    fn stretch(
        &mut self,
        here: &Here<'_, impl Disk<Reader = R, Writer = W>, impl Medium>,
        base: &Base,
        span: Span,
    ) -> io::Result<Vec<u8>> {
        let length = span.bytes().ok_or(io::ErrorKind::InvalidInput)?;
        let known = self.base.take().filter(|known| known.digest == base.digest);
        let known = known
            .or_else(|| here.open(&base.path, base.digest, 0))
            .or_else(|| here.open_version(base.digest));
        let mut reading = known.ok_or(io::ErrorKind::NotFound)?;
        let mut bytes = vec![0; length];
        if reading.offset != span.from {
            reading.reader.seek(SeekFrom::Start(span.from))?;
        }
        reading.reader.read_exact(&mut bytes)?;
        reading.offset = span.from + span.length;
        self.base = Some(reading);
        Ok(bytes)
    }

    /// Takes a part of a content that comes in.
    ///
    /// # Errors
    /// When no honest session would bring it.
    pub(super) fn store(
        &mut self,
        here: &Here<'_, impl Disk<Reader = R, Writer = W>, impl Medium>,
        (digest, offset): (Digest, u64),
        part: Part,
        last: bool,
    ) -> Result<FromSide, Nonsense> {
        let size = part.size();
        if size > delta::SPAN_MAX {
            return Err(Nonsense);
        }
        if offset == 0 {
            self.forget(here.disk, &digest);
        }
        let stored = match part {
            Part::Sent(bytes) if offset == 0 && last => self.write_whole(here.disk, digest, &bytes),
            part => {
                if offset == 0 {
                    self.make_room(here.disk)?;
                }
                self.write(here, (digest, offset), part, last)
            }
        };
        let problem = stored.err().map(|error| {
            self.forget(here.disk, &digest);
            Problem::from(&apply::Problem::from(error))
        });
        Ok(FromSide::Stored { digest, bytes: size, whole: last && problem.is_none(), problem })
    }

    /// What was begun before the connection broke, and is not gone on with, makes room for what is.
    fn make_room(&mut self, disk: &impl Disk<Reader = R, Writer = W>) -> Result<(), Nonsense> {
        if self.incoming.len() < INCOMING {
            return Ok(());
        }
        let kept = self.incoming.iter().find(|(_, incoming)| incoming.kept).map(|(digest, _)| *digest);
        self.forget(disk, &kept.ok_or(Nonsense)?);
        Ok(())
    }

    /// Writes a content that came in one piece.
    fn write_whole(
        &mut self,
        disk: &impl Disk<Reader = R, Writer = W>,
        digest: Digest,
        bytes: &[u8],
    ) -> io::Result<()> {
        if Digest::from(blake3::hash(bytes)) != digest {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let part = self.free_part();
        let mut writer = disk.stage(part)?;
        let written = writer.write_all(bytes).and_then(|()| disk.finish(writer, Slot::Part(part)));
        match written {
            Ok(facts) => {
                self.fresh.insert(digest, Fresh { part, facts });
                Ok(())
            }
            Err(error) => {
                drop(disk.discard(Slot::Part(part)));
                Err(error)
            }
        }
    }

    fn write(
        &mut self,
        here: &Here<'_, impl Disk<Reader = R, Writer = W>, impl Medium>,
        (digest, offset): (Digest, u64),
        part: Part,
        last: bool,
    ) -> io::Result<()> {
        if offset == 0 {
            let part = self.free_part();
            let incoming = Incoming {
                part,
                writer: here.disk.stage(part)?,
                hasher: Outliner::default(),
                length: 0,
                kept: false,
            };
            self.incoming.insert(digest, incoming);
        }
        // A part of what was given up: the session hears that it is not there.
        let begun = self.incoming.get(&digest).is_some_and(|incoming| incoming.length == offset);
        if !begun {
            return Err(io::ErrorKind::NotFound.into());
        }
        let bytes = match part {
            Part::Sent(bytes) => bytes,
            Part::Same { base, span } => self.stretch(here, &base, span)?,
            Part::Differing { base, span, delta, size } => {
                let old = self.stretch(here, &base, span)?;
                let size = usize::try_from(size).map_err(io::Error::other)?;
                rsync::patch(&old, &delta, size).map_err(io::Error::other)?
            }
        };
        let incoming = self.incoming.get_mut(&digest).ok_or(io::ErrorKind::NotFound)?;
        incoming.kept = false;
        incoming.hasher.update(&bytes);
        incoming.length += bytes.len() as u64;
        incoming.writer.write_all(&bytes)?;
        if !last {
            return Ok(());
        }
        self.base = None;
        let incoming = self.incoming.remove(&digest).ok_or(io::ErrorKind::NotFound)?;
        let (found, parts) = incoming.hasher.finish();
        let stored = if found == digest {
            self.outlines.put(digest, parts);
            here.disk.finish(incoming.writer, Slot::Whole(digest)).map(drop)
        } else {
            Err(io::Error::from(io::ErrorKind::InvalidData))
        };
        match stored {
            Ok(()) => Ok(()),
            Err(error) => {
                drop(here.disk.discard(Slot::Part(incoming.part)));
                // It was there already, from a batch that could not use it.
                if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) }
            }
        }
    }
}

impl<D: Disk, M: Medium> Here<'_, D, M> {
    /// Opens a file from a byte on, if it is the one that was looked at.
    fn open(&self, path: &RelPath, digest: Digest, offset: u64) -> Option<Reading<D::Reader>> {
        let Some(Item::File(file)) = self.tree.get(Some(path)) else { return None };
        if file.digest != digest {
            return None;
        }
        let (mut reader, facts) = self.disk.open(At::Path(path)).ok()?;
        reader.seek(SeekFrom::Start(offset)).ok()?;
        // Whoever receives it verifies the digest; this only spares them a file that has changed long ago.
        (facts.size == file.size).then_some(Reading { digest, reader, facts, offset })
    }

    /// Opens a content that was displaced.
    fn open_version(&self, digest: Digest) -> Option<Reading<D::Reader>> {
        let kept = self.versions.all().rev().filter(|version| version.what.digest() == Some(digest));
        let slot = kept.filter_map(|version| self.versions.place(version.id)).next()?;
        let (reader, facts) = self.disk.open(At::Slot(slot)).ok()?;
        Some(Reading { digest, reader, facts, offset: 0 })
    }
}

impl<R: disk::Content> Reading<R> {
    /// The next bytes, if the file was not written meanwhile.
    fn take(&mut self, count: u64) -> Option<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(count).ok()?];
        self.reader.read_exact(&mut bytes).ok()?;
        self.offset += count;
        (self.reader.facts().ok()? == self.facts).then_some(bytes)
    }
}
