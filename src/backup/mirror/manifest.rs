//! What a folder held at a run, as it lies at the destination: lines of JSON, packed with zstd. Pure.
//!
//! The first line says whose folder it was and how much follows; it is a frame of its own, so that a list of snapshots
//! reads the beginning of each manifest alone. Then one line for each thing, in the order of their paths, a directory
//! directly before what it holds. `zstdcat` shows it all.
//!
//! A manifest is other people's words, like all that comes from a destination: it is read line by line, so that its size
//! costs time and no memory, and every path is taken apart before it is used. What cannot be used is said and passed
//! over; the rest counts.
//!
//! Readers skip fields that they do not know. A version that an old reader must not touch has another number.

use std::ffi::OsString;
use std::io;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::ffi::OsStringExt as _;

use bytes::Buf as _;
use bytes::Bytes;
use jiff::Timestamp;
use nexus_agent::path::RelPath;
use serde::Deserialize;
use serde::Serialize;

use super::name;
use super::name::Stamp;

/// The version that is written, and the only one that is read.
const VERSION: u32 = 1;
/// The first line is within so many bytes of the beginning.
pub const HEAD: u64 = 4096;
/// Longest line: a path and what a link says, each byte of it written as three.
const LINE_MAX: u64 = 64 << 10;
/// More lines than this are no folder.
const LINES_MAX: u64 = 100_000_000;
/// Packing: fast, and a window that every reader takes.
const LEVEL: i32 = 3;
/// Readers take no larger window, whatever a manifest asks for: 8 MiB.
const WINDOW_LOG: u32 = 23;

/// Whose folder a manifest is of, and how much it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// When the run began.
    pub time: Timestamp,
    /// The workspace's id.
    pub workspace: String,
    /// Permissions of the folder itself.
    pub mode: u32,
    /// When it was last changed.
    pub modified: Option<Timestamp>,
    /// Files.
    pub files: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// All things, files and others.
    pub entries: u64,
}

/// One thing of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub path: RelPath,
    /// What it is.
    pub kind: Kind,
    /// Permissions.
    pub mode: u32,
    /// When it was last changed; absent where the kernel said what is no time.
    pub modified: Option<Timestamp>,
}

/// What a thing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file.
    File(Stored),
    /// A symbolic link and what it says.
    Link(OsString),
}

/// A file as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its size.
    pub size: u64,
    /// The hash of its content.
    pub hash: blake3::Hash,
    /// The run that uploaded it.
    pub since: Stamp,
    /// When the kernel last changed anything about it: no program can set that time.
    pub changed: Option<Timestamp>,
    /// Its inode.
    pub inode: u64,
}

/// Why a manifest, or a line of it, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Wrong {
    /// It was written by a newer node.
    #[error("it has version {0}, and this node knows version {VERSION}")]
    Version(u32),
    /// It is none.
    #[error("it is no manifest")]
    Form(#[source] serde_json::Error),
    /// It cannot be unpacked.
    #[error("it is damaged")]
    Damaged(#[source] io::Error),
    /// It ends before its end.
    #[error("it names {expected} things and ends after {found}")]
    Short {
        /// As its first line says.
        expected: u64,
        /// As there are.
        found: u64,
    },
    /// It does not end.
    #[error("a line of it, or all of it, is longer than any folder's")]
    Long,
    /// A line means nothing.
    #[error("line {line} cannot be used: {reason}")]
    Line {
        /// Which.
        line: u64,
        /// Why.
        reason: String,
    },
}

impl Wrong {
    /// Whether what follows may still be used.
    pub fn is_of_one_line(&self) -> bool {
        matches!(self, Self::Line { .. })
    }
}

#[derive(Serialize, Deserialize)]
struct FirstLine {
    version: u32,
    time: Timestamp,
    workspace: String,
    mode: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    modified: Option<Timestamp>,
    files: u64,
    bytes: u64,
    entries: u64,
}

#[derive(Serialize, Deserialize)]
struct Line {
    path: String,
    kind: String,
    mode: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    modified: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blake3: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    changed: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    inode: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

impl From<&Entry> for Line {
    fn from(entry: &Entry) -> Self {
        let mut line = Self {
            path: name::encode(entry.path.as_bytes()),
            kind: String::new(),
            mode: entry.mode,
            modified: entry.modified,
            size: None,
            blake3: None,
            since: None,
            changed: None,
            inode: None,
            target: None,
        };
        match &entry.kind {
            Kind::Directory => line.kind.push_str("directory"),
            Kind::Link(target) => {
                line.kind.push_str("link");
                line.target = Some(name::encode(target.as_bytes()));
            }
            Kind::File(stored) => {
                line.kind.push_str("file");
                line.size = Some(stored.size);
                line.blake3 = Some(stored.hash.to_hex().to_string());
                line.since = Some(stored.since.to_string());
                line.changed = stored.changed;
                line.inode = Some(stored.inode);
            }
        }
        line
    }
}

fn read_line(line: Line) -> Result<Entry, String> {
    let shown = || crate::base::printable::line(&line.path).to_string();
    let path = name::parse_path(&line.path).map_err(|refused| format!("`{}`: {refused}", shown()))?;
    let missing = |what: &str| format!("`{}` has no {what}", shown());
    let kind = match line.kind.as_str() {
        "directory" => Kind::Directory,
        "link" => {
            let target = line.target.as_deref().and_then(name::decode);
            let target = target.filter(|target| !target.is_empty() && !target.contains(&0));
            Kind::Link(OsString::from_vec(target.ok_or_else(|| missing("target"))?))
        }
        "file" => {
            let hash = line.blake3.as_deref().and_then(|hash| blake3::Hash::from_hex(hash).ok());
            let since = line.since.as_deref().and_then(Stamp::parse);
            Kind::File(Stored {
                size: line.size.ok_or_else(|| missing("size"))?,
                hash: hash.ok_or_else(|| missing("hash"))?,
                since: since.ok_or_else(|| missing("run that uploaded it"))?,
                changed: line.changed,
                inode: line.inode.unwrap_or(0),
            })
        }
        _ => return Err(format!("`{}` is of no kind this node knows", shown())),
    };
    Ok(Entry { path, kind, mode: line.mode, modified: line.modified })
}

/// Writes a manifest.
pub struct Writer {
    packed: zstd::stream::write::Encoder<'static, Vec<u8>>,
    files: u64,
    bytes: u64,
    entries: u64,
}

impl Default for Writer {
    fn default() -> Self {
        Self { packed: encoder(), files: 0, bytes: 0, entries: 0 }
    }
}

impl Writer {
    /// Adds a thing; its path comes after all paths so far.
    pub fn add(&mut self, entry: &Entry) {
        self.entries += 1;
        if let Kind::File(stored) = &entry.kind {
            self.files += 1;
            self.bytes += stored.size;
        }
        let mut text = serde_json::to_vec(&Line::from(entry)).expect("texts and numbers become JSON");
        text.push(b'\n');
        self.packed.write_all(&text).expect("memory takes everything");
    }

    /// The whole manifest.
    pub fn finish(self, workspace: &str, time: Timestamp, mode: u32, modified: Option<Timestamp>) -> Bytes {
        let Self { packed, files, bytes, entries } = self;
        let (version, workspace) = (VERSION, workspace.to_owned());
        let first = FirstLine { version, time, workspace, mode, modified, files, bytes, entries };
        let mut text = serde_json::to_vec(&first).expect("texts and numbers become JSON");
        text.push(b'\n');
        let mut head = encoder();
        head.write_all(&text).expect("memory takes everything");
        let mut whole = head.finish().expect("memory takes everything");
        whole.append(&mut packed.finish().expect("memory takes everything"));
        Bytes::from(whole)
    }
}

fn encoder() -> zstd::stream::write::Encoder<'static, Vec<u8>> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), LEVEL).expect("the level exists");
    encoder.include_checksum(true).expect("frames may have a checksum");
    encoder
}

type Unpacked = BufReader<zstd::stream::read::Decoder<'static, BufReader<bytes::buf::Reader<Bytes>>>>;

/// Reads a manifest, thing by thing.
pub struct Reader {
    head: Head,
    text: Unpacked,
    line: Vec<u8>,
    read: u64,
    last: Option<RelPath>,
    ended: bool,
}

impl Reader {
    /// Reads its first line.
    ///
    /// # Errors
    /// When it is no manifest that this node knows.
    pub fn open(packed: Bytes) -> Result<Self, Wrong> {
        let mut decoder = zstd::stream::read::Decoder::new(packed.reader()).map_err(Wrong::Damaged)?;
        decoder.window_log_max(WINDOW_LOG).map_err(Wrong::Damaged)?;
        let mut text = BufReader::new(decoder);
        let mut line = Vec::new();
        next_line(&mut text, &mut line)?;
        let first: FirstLine = match serde_json::from_slice(&line) {
            Ok(first) => first,
            Err(error) => return Err(other_version(&line).map_or(Wrong::Form(error), Wrong::Version)),
        };
        if first.version != VERSION {
            return Err(Wrong::Version(first.version));
        }
        let FirstLine { time, workspace, mode, modified, files, bytes, entries, .. } = first;
        let head = Head { time, workspace, mode, modified, files, bytes, entries };
        Ok(Self { head, text, line, read: 0, last: None, ended: false })
    }

    /// What its first line says.
    pub fn head(&self) -> &Head {
        &self.head
    }

    fn entry(&mut self) -> Result<Option<Entry>, Wrong> {
        let wrong = |line: u64, reason: String| Wrong::Line { line: line + 1, reason };
        if !next_line(&mut self.text, &mut self.line)? {
            let (expected, found) = (self.head.entries, self.read);
            return if expected == found { Ok(None) } else { Err(Wrong::Short { expected, found }) };
        }
        self.read += 1;
        if self.read > LINES_MAX {
            return Err(Wrong::Long);
        }
        let line: Line =
            serde_json::from_slice(&self.line).map_err(|error| wrong(self.read, error.to_string()))?;
        let entry = read_line(line).map_err(|reason| wrong(self.read, reason))?;
        if self.last.as_ref().is_some_and(|last| *last >= entry.path) {
            return Err(wrong(self.read, format!("`{}` comes too late, or twice", entry.path)));
        }
        self.last = Some(entry.path.clone());
        Ok(Some(entry))
    }
}

impl Iterator for Reader {
    type Item = Result<Entry, Wrong>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.entry().transpose();
        self.ended = match &next {
            None => true,
            Some(Err(wrong)) => !wrong.is_of_one_line(),
            Some(Ok(_)) => false,
        };
        next
    }
}

/// The next line without its end; false when there is none.
fn next_line(text: &mut Unpacked, line: &mut Vec<u8>) -> Result<bool, Wrong> {
    line.clear();
    text.take(LINE_MAX).read_until(b'\n', line).map_err(Wrong::Damaged)?;
    match line.pop() {
        None => Ok(false),
        Some(b'\n') => Ok(true),
        Some(_) if line.len() as u64 + 1 == LINE_MAX => Err(Wrong::Long),
        // The end is in the middle of a line.
        Some(_) => Err(Wrong::Damaged(io::ErrorKind::UnexpectedEof.into())),
    }
}

/// The version of a first line that reads otherwise.
fn other_version(line: &[u8]) -> Option<u32> {
    let value: serde_json::Value = serde_json::from_slice(line).ok()?;
    u32::try_from(value.get("version")?.as_u64()?).ok().filter(|version| *version != VERSION)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, size: u64) -> Entry {
        let stored = Stored {
            size,
            hash: blake3::hash(path.as_bytes()),
            since: Stamp::parse("20260115T103000.007Z").unwrap(),
            changed: "2026-01-15T10:00:00.123456789Z".parse().ok(),
            inode: 7,
        };
        let path = RelPath::parse(path.as_bytes()).unwrap();
        Entry { path, kind: Kind::File(stored), mode: 0o100_644, modified: Timestamp::from_second(1).ok() }
    }

    fn sample() -> Vec<Entry> {
        let link = Kind::Link(OsString::from_vec(b"../caf\xe9".to_vec()));
        let of = |path: &[u8], kind: Kind| {
            let path = RelPath::parse(path).unwrap();
            Entry { path, kind, mode: 0o40_755, modified: None }
        };
        vec![of(b"a", Kind::Directory), file("a/b", 3), file("a.txt", 4), of(b"caf\xe9", link)]
    }

    fn packed(entries: &[Entry]) -> Bytes {
        let mut writer = Writer::default();
        entries.iter().for_each(|entry| writer.add(entry));
        writer.finish("ws1", Timestamp::UNIX_EPOCH, 0o755, None)
    }

    fn lines(text: &str) -> Vec<Result<Entry, Wrong>> {
        let first = r#"{"version":1,"time":"2026-01-15T10:30:00Z","workspace":"w","mode":493,"files":0,"bytes":0,"entries":"#;
        let count = text.lines().count();
        let packed = zstd::encode_all(format!("{first}{count}}}\n{text}").as_bytes(), 1).unwrap();
        Reader::open(packed.into()).unwrap().collect()
    }

    #[test]
    fn what_is_written_comes_back_and_the_head_is_read_alone() {
        let whole = packed(&sample());
        let reader = Reader::open(whole.clone()).unwrap();
        let head = Head {
            time: Timestamp::UNIX_EPOCH,
            workspace: "ws1".into(),
            mode: 0o755,
            modified: None,
            files: 2,
            bytes: 7,
            entries: 4,
        };
        assert_eq!(reader.head(), &head);
        assert_eq!(reader.collect::<Result<Vec<_>, _>>().unwrap(), sample());
        let many: Vec<_> = (0..5000).map(|number| file(&format!("{number:05}"), 1)).collect();
        let whole = packed(&many);
        assert!(whole.len() > 100_000 && whole.len() < 500_000, "{}", whole.len());
        assert_eq!(Reader::open(whole.slice(..HEAD as usize)).unwrap().head().entries, 5000);
    }

    #[test]
    fn half_a_manifest_is_said_to_be_half() {
        let many: Vec<_> = (0..5000).map(|number| file(&format!("{number:05}"), 1)).collect();
        let whole = packed(&many);
        let cut: Vec<_> = Reader::open(whole.slice(..whole.len() / 2)).unwrap().collect();
        assert!(cut.len() > 1000, "what is there is used");
        assert!(matches!(cut.last(), Some(Err(Wrong::Damaged(_)))), "{:?}", cut.last());
        let mut flipped = whole.to_vec();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 4;
        assert!(Reader::open(flipped.into()).unwrap().any(|entry| entry.is_err()));
        let first = Reader::open(packed(&[])).unwrap();
        assert_eq!(first.count(), 0);
    }

    #[test]
    fn other_versions_are_refused_and_new_fields_passed_over() {
        let open = |text: &str| Reader::open(zstd::encode_all(text.as_bytes(), 1).unwrap().into());
        assert!(matches!(open("{\"version\":2,\"all\":\"new\"}\n").err(), Some(Wrong::Version(2))));
        assert!(matches!(open("hello\n").err(), Some(Wrong::Form(_))));
        assert!(matches!(open("").err(), Some(Wrong::Form(_))));
        assert!(Reader::open(Bytes::from_static(b"no zstd at all")).is_err());
        let new = lines("{\"path\":\"a\",\"kind\":\"directory\",\"mode\":1,\"colour\":\"red\"}\n");
        assert!(new[0].is_ok(), "{new:?}");
    }

    #[test]
    fn a_line_that_cannot_be_used_costs_itself_alone() {
        let good = serde_json::to_string(&Line::from(&file("z", 1))).unwrap();
        let directory = r#"{"path":"m","kind":"directory","mode":493}"#;
        for bad in [
            "",
            "{",
            "null",
            r#"{"path":"m"}"#,
            r#"{"path":"m","kind":"device","mode":1}"#,
            r#"{"path":"m","kind":"file","mode":1}"#,
            r#"{"path":"m","kind":"file","mode":1,"size":1,"blake3":"00","since":"20260115T103000.007Z"}"#,
            r#"{"path":"m","kind":"file","mode":-1,"size":1}"#,
            r#"{"path":"m","kind":"link","mode":1}"#,
            r#"{"path":"m","kind":"link","mode":1,"target":""}"#,
            r#"{"path":"m","kind":"link","mode":1,"target":"a%00"}"#,
            r#"{"path":"m","kind":"directory","mode":1,"modified":"yesterday"}"#,
            directory,
            r#"{"path":"l","kind":"directory","mode":1}"#,
        ] {
            let read = lines(&format!("{directory}\n{bad}\n{good}\n"));
            assert!(read[0].is_ok() && read[2].is_ok(), "{bad}: {read:?}");
            assert!(matches!(&read[1], Err(Wrong::Line { line: 3, .. })), "{bad}: {:?}", read[1]);
        }
    }

    #[test]
    fn a_bomb_costs_no_memory() {
        let bomb = zstd::encode_all(io::repeat(b'x').take(1 << 28), 1).unwrap();
        let head = packed(&[]);
        let first = zstd::encode_all(zstd::decode_all(&*head).unwrap().as_slice(), 1).unwrap();
        let read: Vec<_> = Reader::open([first, bomb].concat().into()).unwrap().collect();
        assert!(matches!(read.as_slice(), [Err(Wrong::Long)]), "{read:?}");
    }
}
