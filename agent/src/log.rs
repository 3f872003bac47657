//! A file that only grows, of records that are whole or not there.
//!
//! Each record is `length u32 | checksum u32 | body`, little endian; the checksum is the front of the body's BLAKE3
//! digest. A crash can cut the last records off or leave half of one: opening cuts the file back to its last whole
//! record. Anything else is damage, and said, because what follows from it is the reader's to decide.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read as _;
use std::io::Seek as _;
use std::io::SeekFrom;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;

/// No record is longer; a length above it is damage.
pub const RECORD_MAX: usize = 256 << 20;

const HEAD: usize = 8;

/// What a log is written on.
pub trait Medium {
    /// All of it.
    ///
    /// # Errors
    /// As the kernel says.
    fn read(&mut self) -> io::Result<Vec<u8>>;

    /// Adds at the end. A failure may leave a part of it.
    ///
    /// # Errors
    /// As the kernel says.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Cuts it to a length.
    ///
    /// # Errors
    /// As the kernel says.
    fn truncate(&mut self, length: u64) -> io::Result<()>;

    /// Puts other content in its place: durable, and after a crash all of the one or all of the other.
    ///
    /// # Errors
    /// As the kernel says.
    fn replace(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Returns when what was written survives a crash.
    ///
    /// # Errors
    /// As the kernel says.
    fn sync(&mut self) -> io::Result<()>;
}

/// An open log.
#[derive(Debug)]
pub struct Log<M> {
    medium: M,
    length: u64,
    /// Whether a failed write may have left something behind the last whole record.
    ragged: bool,
}

/// What was found when a log was opened.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The bodies of all whole records, oldest first.
    pub records: Vec<Vec<u8>>,
    /// Bytes cut off the end: what a crash leaves.
    pub torn: u64,
    /// Records with a wrong checksum *before* a whole one: no crash leaves those. They are left out of `records`.
    pub damaged: usize,
}

impl<M: Medium> Log<M> {
    /// Opens a log and cuts a torn tail off.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn open(mut medium: M) -> io::Result<(Self, Found)> {
        let bytes = medium.read()?;
        let (found, length) = parse(&bytes);
        if found.torn > 0 {
            medium.truncate(length)?;
        }
        Ok((Self { medium, length, ragged: false }, found))
    }

    /// Adds a record. After a failure the log is as before.
    ///
    /// # Errors
    /// As the kernel says, and `InvalidInput` for a record that is empty or too long.
    pub fn append(&mut self, body: &[u8]) -> io::Result<()> {
        let record = frame(body)?;
        if self.ragged {
            self.medium.truncate(self.length)?;
            self.ragged = false;
        }
        if let Err(error) = self.medium.append(&record) {
            self.ragged = self.medium.truncate(self.length).is_err();
            return Err(error);
        }
        self.length += record.len() as u64;
        Ok(())
    }

    /// Puts other records in place of all there are.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn replace<'a>(&mut self, bodies: impl IntoIterator<Item = &'a [u8]>) -> io::Result<()> {
        let mut bytes = Vec::new();
        for body in bodies {
            bytes.extend(frame(body)?);
        }
        self.medium.replace(&bytes)?;
        (self.length, self.ragged) = (bytes.len() as u64, false);
        Ok(())
    }

    /// Returns when every record survives a crash.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn sync(&mut self) -> io::Result<()> {
        self.medium.sync()
    }

    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }
}

fn frame(body: &[u8]) -> io::Result<Vec<u8>> {
    if body.is_empty() || body.len() > RECORD_MAX {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let length = u32::try_from(body.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    Ok([&length.to_le_bytes(), &checksum(body)[..], body].concat())
}

fn checksum(body: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = *blake3::hash(body).as_bytes();
    [a, b, c, d]
}

/// The records, and where the last whole one ends.
fn parse(bytes: &[u8]) -> (Found, u64) {
    let mut found = Found::default();
    let (mut at, mut end, mut suspects) = (0, 0, 0);
    while let Some((whole, body)) = record(&bytes[at..]) {
        at += HEAD + body.len();
        if whole {
            found.records.push(body.to_vec());
            found.damaged += std::mem::take(&mut suspects);
            end = at;
        } else {
            suspects += 1;
        }
    }
    // A length that cannot be hides what follows it.
    found.damaged +=
        usize::from((at + 1..bytes.len()).any(|later| matches!(record(&bytes[later..]), Some((true, _)))));
    found.torn = (bytes.len() - end) as u64;
    (found, end as u64)
}

/// The first record and whether its checksum is right; `None` when its length cannot be.
fn record(bytes: &[u8]) -> Option<(bool, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    if length == 0 || length > RECORD_MAX {
        return None;
    }
    let body = rest.get(..length)?;
    Some((checksum(body) == *sum, body))
}

/// A log's file.
#[derive(Debug)]
pub struct Paper {
    file: File,
    path: PathBuf,
}

impl Paper {
    /// Opens a file, made when it is not there.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        Ok(Self { file, path: path.to_owned() })
    }
}

impl Medium for Paper {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(0))?;
        self.file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        let aside = self.path.with_extension("new");
        let mut file = File::create(&aside)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        std::fs::rename(&aside, &self.path)?;
        if let Some(parent) = self.path.parent() {
            File::open(parent)?.sync_all()?;
        }
        *self = Self::open(&self.path)?;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Default)]
    struct Sheet {
        bytes: Vec<u8>,
        room: Option<usize>,
    }

    impl Medium for &mut Sheet {
        fn read(&mut self) -> io::Result<Vec<u8>> {
            Ok(self.bytes.clone())
        }
        fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
            let fits = self.room.unwrap_or(usize::MAX).min(bytes.len());
            self.bytes.extend(&bytes[..fits]);
            if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }
        fn truncate(&mut self, length: u64) -> io::Result<()> {
            self.bytes.truncate(length as usize);
            Ok(())
        }
        fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.bytes = bytes.to_vec();
            Ok(())
        }
        fn sync(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(bodies: &[Vec<u8>]) -> Sheet {
        let mut sheet = Sheet::default();
        let (mut log, _) = Log::open(&mut sheet).unwrap();
        for body in bodies {
            log.append(body).unwrap();
        }
        sheet
    }

    #[test]
    fn a_file_is_a_medium() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Log::open(Paper::open(&directory.path().join("log")).unwrap()).unwrap();
        let (mut log, found) = open();
        assert_eq!(found, Found::default());
        log.append(b"one").unwrap();
        log.append(b"two").unwrap();
        log.sync().unwrap();
        assert_eq!(open().1.records, [b"one", b"two"]);
        log.replace([b"three".as_slice()]).unwrap();
        log.append(b"four").unwrap();
        assert_eq!(open().1.records, [b"three".to_vec(), b"four".to_vec()]);
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
    }

    #[test]
    fn a_length_that_cannot_be_is_damage_when_a_record_follows() {
        let mut sheet = written(&[b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
        sheet.bytes[HEAD + 3 + 2] = 1;
        let (_, found) = Log::open(&mut sheet).unwrap();
        assert_eq!((found.records, found.damaged), (vec![b"one".to_vec()], 1));
    }

    #[test]
    fn a_write_that_fails_leaves_the_log_as_it_was() {
        let mut sheet = written(&[b"one".to_vec()]);
        sheet.room = Some(5);
        let (mut log, _) = Log::open(&mut sheet).unwrap();
        assert!(log.append(b"two").is_err());
        log.medium.room = None;
        log.append(b"three").unwrap();
        let (_, found) = Log::open(&mut sheet).unwrap();
        assert_eq!((found.records, found.torn), (vec![b"one".to_vec(), b"three".to_vec()], 0));
    }

    proptest! {
        #[test]
        fn a_cut_leaves_the_records_before_it(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..6),
            cut in any::<prop::sample::Index>(),
            zeros in 0..20_usize,
        ) {
            let mut sheet = written(&bodies);
            let keep = cut.index(sheet.bytes.len() + 1);
            sheet.bytes.truncate(keep);
            sheet.bytes.extend(vec![0; zeros]);
            let mut ends = bodies.iter().scan(0, |end, body| { *end += HEAD + body.len(); Some(*end) });
            let whole = ends.by_ref().take_while(|end| *end <= keep).count();
            let (mut log, found) = Log::open(&mut sheet).unwrap();
            prop_assert_eq!(found.damaged, 0);
            prop_assert!(found.records.starts_with(&bodies[..whole]) && found.records.len() <= whole + 1);
            // One more only if the zeros happen to complete it.
            prop_assert!(found.records == bodies[..found.records.len()]);
            let count = found.records.len();
            log.append(b"after").unwrap();
            let (_, found) = Log::open(&mut sheet).unwrap();
            prop_assert_eq!((found.records.len(), found.torn), (count + 1, 0));
        }

        #[test]
        fn a_changed_byte_is_noticed(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 1..6),
            place in any::<prop::sample::Index>(),
            bit in 0..8_u32,
        ) {
            let mut sheet = written(&bodies);
            let place = place.index(sheet.bytes.len());
            sheet.bytes[place] ^= 1 << bit;
            let (_, found) = Log::open(&mut sheet).unwrap();
            prop_assert!(found.damaged > 0 || found.torn > 0);
            prop_assert!(found.records.iter().all(|record| bodies.contains(record)));
        }

        #[test]
        fn anything_can_be_opened(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut sheet = Sheet { bytes, room: None };
            Log::open(&mut sheet).unwrap();
        }
    }
}
