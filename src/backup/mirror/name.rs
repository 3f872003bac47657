//! How paths become keys of objects and back, and where which object lies. Pure.
//!
//! A key is the path, so that any S3 client shows the tree as it is. What keys cannot hold is written `%XX`: bytes that
//! are no UTF-8, control characters, `%` itself, and `#`, which folders as destinations keep for themselves. There is one
//! way to write a path and no other: what does not come out the same when it is written again is refused.
//!
//! ```text
//! files/NODE/FOLDER/PATH               the folder as it was at the last run
//! replaced/NODE/FOLDER/STAMP/PATH      what the run of that moment replaced or removed
//! manifests/NODE/FOLDER/STAMP.jsonl.zst  what the folder held then; written last
//! ```

use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use nexus_agent::path::PathError;
use nexus_agent::path::RelPath;

/// Longest name in a key: folders take 255 bytes and want a few for themselves.
const NAME_MAX: usize = 230;
/// Longest path in a key: S3 takes 1024 bytes with everything in front of it.
const KEY_MAX: usize = 700;
/// Where files lie whose path is longer than a key can be: under the hash of it.
const LONG: &str = "~long";
/// The folder of a node's own state: no workspace's begins with a dot.
const STATE: &str = ".nexus";
/// What every manifest's key ends with.
const SUFFIX: &str = ".jsonl.zst";
/// How a moment is written: in the order of time.
const FORMAT: &str = "%Y%m%dT%H%M%S";

/// The moment of a run, in whole milliseconds: it names its manifest and what it replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(Timestamp);

impl Stamp {
    /// The stamp of a run that begins now: later than the last one, whatever the clock says.
    pub fn next(now: Timestamp, last: Option<Self>) -> Self {
        let milliseconds =
            now.as_millisecond().max(last.map_or(i64::MIN, |last| last.0.as_millisecond() + 1));
        Self(Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::MAX))
    }

    /// Reads what [`fmt::Display`] writes, and nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let (seconds, rest) = text.split_once('.')?;
        let milliseconds: i64 = rest.strip_suffix('Z')?.parse().ok()?;
        let civil = DateTime::strptime(FORMAT, seconds).ok()?;
        let time = civil.to_zoned(TimeZone::UTC).ok()?.timestamp();
        let stamp = Self(Timestamp::from_millisecond(time.as_millisecond().checked_add(milliseconds)?).ok()?);
        (stamp.to_string() == text).then_some(stamp)
    }

    /// The moment.
    pub fn time(self) -> Timestamp {
        self.0
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0.as_millisecond().rem_euclid(1000);
        write!(f, "{}.{milliseconds:03}Z", self.0.strftime(FORMAT))
    }
}

/// Writes bytes as text that can be part of a key.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_ascii_control() || matches!(character, '%' | '#') {
                text.push_str(&format!("%{:02X}", u32::from(character)));
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// Reads what [`encode`] wrote; none for what it never writes.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'%' {
            let (digits, after) = tail.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
        }
    }
    (encode(&bytes) == text).then_some(bytes)
}

/// Why a text of a manifest is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not written as we write paths.
    #[error("it is not written as a path is")]
    Written,
    /// It is no path inside a folder.
    #[error(transparent)]
    Path(#[from] PathError),
}

/// Reads a path of a manifest.
///
/// # Errors
/// When it is none inside a folder.
pub fn parse_path(text: &str) -> Result<RelPath, Refused> {
    Ok(RelPath::parse(&decode(text).ok_or(Refused::Written)?)?)
}

/// Where the objects of one workspace of one node lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    node: String,
    folder: String,
}

impl Names {
    /// Of this node and folder.
    pub fn new(node: &str, folder: &str) -> Self {
        Self { node: encode(node.as_bytes()), folder: encode(folder.as_bytes()) }
    }

    /// Of this node's own state.
    pub fn of_state(node: &str) -> Self {
        Self::new(node, STATE)
    }

    /// Whether a node's own state lies there, and no workspace.
    pub fn is_state(&self) -> bool {
        self.folder == STATE
    }

    /// The last part of the key of a file's content.
    pub fn part(path: &RelPath) -> String {
        let text = encode(path.as_bytes());
        let fits = text.len() <= KEY_MAX && text.split('/').all(|name| name.len() <= NAME_MAX);
        if fits && !text.starts_with(LONG) {
            return text;
        }
        format!("{LONG}/{}", blake3::hash(path.as_bytes()).to_hex())
    }

    /// What the keys of the files begin with.
    pub fn files(&self) -> String {
        format!("files/{}/{}", self.node, self.folder)
    }

    /// The object of a file as it was at the last run.
    pub fn file(&self, part: &str) -> String {
        format!("{}/{part}", self.files())
    }

    /// What the keys of all that was replaced begin with.
    pub fn all_replaced(&self) -> String {
        format!("replaced/{}/{}", self.node, self.folder)
    }

    /// The object of a file that the run of this moment replaced or removed.
    pub fn replaced(&self, by: Stamp, part: &str) -> String {
        format!("{}/{by}/{part}", self.all_replaced())
    }

    /// Takes apart what is listed below [`Self::all_replaced`].
    pub fn parse_replaced(below: &str) -> Option<(Stamp, &str)> {
        let (stamp, part) = below.split_once('/')?;
        Some((Stamp::parse(stamp)?, part))
    }

    /// What the keys of the manifests begin with.
    pub fn manifests(&self) -> String {
        format!("{MANIFESTS}/{}/{}", self.node, self.folder)
    }

    /// The manifest of the run of this moment.
    pub fn manifest(&self, stamp: Stamp) -> String {
        format!("{}/{stamp}{SUFFIX}", self.manifests())
    }

    /// The id of that run's snapshot.
    pub fn id(&self, stamp: Stamp) -> String {
        let name = self.manifest(stamp);
        blake3::hash(name.as_bytes()).to_hex().chars().take(ID).collect()
    }

    /// Takes apart what is listed below [`MANIFESTS`]: whose manifest, and of when.
    pub fn parse_manifest(below: &str) -> Option<(Self, Stamp)> {
        let mut parts = below.split('/');
        let (node, folder, file) = (parts.next()?, parts.next()?, parts.next()?);
        let stamp = Stamp::parse(file.strip_suffix(SUFFIX)?)?;
        if parts.next().is_some() || decode(node).is_none() || decode(folder).is_none() {
            return None;
        }
        Some((Self { node: node.to_owned(), folder: folder.to_owned() }, stamp))
    }

    /// Takes apart what is listed below [`Self::manifests`].
    pub fn parse_stamp(below: &str) -> Option<Stamp> {
        Stamp::parse(below.strip_suffix(SUFFIX)?)
    }

    /// The node's name.
    pub fn node(&self) -> String {
        decode(&self.node).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The folder's name.
    pub fn folder(&self) -> String {
        decode(&self.folder).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }
}

/// What the keys of all manifests begin with.
pub const MANIFESTS: &str = "manifests";
/// Length of an id: enough that no two runs of a household share one.
const ID: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_are_paths_as_far_as_keys_can_be() {
        let part = |path: &[u8]| Names::part(&RelPath::parse(path).unwrap());
        assert_eq!(part(b"src/a b+&'\"*?.js"), "src/a b+&'\"*?.js");
        assert_eq!(part("caf\u{e9}/\u{1f600}".as_bytes()), "caf\u{e9}/\u{1f600}");
        assert_eq!(part(b"caf\xe9/100%#1\n"), "caf%E9/100%25%231%0A");
        for long in [[b'x'; 250].to_vec(), ["abcdefg"; 110].join("/").into_bytes(), b"~long/x".to_vec()] {
            let part = part(&long);
            assert!(part.starts_with("~long/") && part.len() == 70, "{part}");
        }
        let names = Names::new("n1", "shop");
        let stamp = Stamp::parse("20260115T103000.007Z").unwrap();
        assert_eq!(names.manifest(stamp), "manifests/n1/shop/20260115T103000.007Z.jsonl.zst");
    }

    #[test]
    fn moments_are_written_in_the_order_of_time() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let first = Stamp::next(at("2026-01-15T10:30:00.0079Z"), None);
        assert_eq!(first.to_string(), "20260115T103000.007Z");
        assert_eq!(Stamp::parse(&first.to_string()), Some(first));
        let second = Stamp::next(at("2020-01-01T00:00:00Z"), Some(first));
        assert_eq!(second.to_string(), "20260115T103000.008Z", "a clock that was set back changes no order");
        assert!(second.to_string() > first.to_string());
        for bad in [
            "",
            "20260115T103000Z",
            "20260115T103000.7Z",
            "20261315T103000.007Z",
            "../x",
            "20260115T103000.-07Z",
        ] {
            assert_eq!(Stamp::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn there_is_one_way_to_write_a_path() {
        for bad in [
            "a%2Fb", "%2e%2e/x", "%2E%2E/x", "%41", "a%zz", "a%4", "a%e9", "a#b", "a\nb", "a%00b", "..",
            "/a", "a//b", "",
        ] {
            assert!(parse_path(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_path_comes_back_and_no_two_share_a_key(
            paths in prop::collection::vec("[a#%~/\\.\u{e9}\n]{1,6}", 1..20),
            raw in prop::collection::vec(1_u8..=255, 1..40),
        ) {
            let mut paths: Vec<Vec<u8>> = paths.into_iter().map(String::into_bytes).collect();
            paths.push(raw);
            paths.push(b"~long".to_vec());
            let mut paths: Vec<_> = paths.iter().filter_map(|path| RelPath::parse(path).ok()).collect();
            paths.sort();
            paths.dedup();
            for path in &paths {
                prop_assert_eq!(&parse_path(&encode(path.as_bytes())).unwrap(), path);
            }
            let mut parts: Vec<_> = paths.iter().map(Names::part).collect();
            parts.sort();
            parts.dedup();
            prop_assert_eq!(parts.len(), paths.len());
        }
    }
}
