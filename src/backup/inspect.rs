//! Looking into snapshots: what one holds, and what two hold differently.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

use super::control::Backups;
use super::control::blocking;
use super::discard::meant;
use super::error::Error;
use super::opened::Content;
use super::opened::Reader;
use super::restore::Kind;
use super::restore::Wanted;
use super::snapshot::Reader as _;
use super::snapshot::Snapshot;
use super::trouble::Trouble;

/// More things than this are counted and not listed.
pub const LISTED: usize = 10_000;

/// What a snapshot holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// The first of its things.
    pub listed: Vec<Wanted>,
    /// All of them.
    pub total: u64,
}

/// What became of a path between two snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The later one has it.
    Added,
    /// The earlier one has it.
    Removed,
    /// Both have it, with another content, kind or permissions.
    Changed,
}

/// What two snapshots hold differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The earlier one.
    pub from: Snapshot,
    /// The later one.
    pub to: Snapshot,
    /// The first paths.
    pub listed: Vec<(OsString, Change)>,
    /// All of them.
    pub total: u64,
}

/// What a thing is, as far as two are compared by it: when a file was written does not make it another one.
#[derive(PartialEq, Eq)]
struct Nature {
    kind: Kind,
    mode: Option<u32>,
    content: [u8; 32],
}

impl Backups {
    /// What a snapshot holds, at a path and directly below it when there is one.
    ///
    /// # Errors
    /// When the id means none or several, or it cannot be read whole.
    pub async fn contents(&self, destination: &str, id: &str, path: Option<&str>) -> Result<Contents, Error> {
        let (all, opened) = self.listed(destination).await?;
        let snapshot = meant(&all, id, destination)?.clone();
        let path = path.map(|path| path.trim_matches('/').to_owned()).filter(|path| !path.is_empty());
        let (asked, wanted) = (snapshot.clone(), path.clone());
        let read = move || {
            let (mut listed, mut total) = (Vec::new(), 0);
            each(&opened.reader()?, &asked, &mut |thing, _| {
                if wanted.as_ref().is_none_or(|path| is_in(path.as_bytes(), thing.path.as_bytes())) {
                    total += 1;
                    if listed.len() < LISTED {
                        listed.push(thing);
                    }
                }
            })?;
            Ok((listed, total))
        };
        let (listed, total) = blocking(read).await?;
        match path {
            Some(path) if total == 0 => Err(Error::NoPath { path, id: snapshot.id }),
            _ => Ok(Contents { snapshot, listed, total }),
        }
    }

    /// What two snapshots hold differently.
    ///
    /// # Errors
    /// When an id means none or several, or one cannot be read whole.
    pub async fn difference(&self, destination: &str, from: &str, to: &str) -> Result<Difference, Error> {
        let (all, opened) = self.listed(destination).await?;
        let one = |id| meant(&all, id, destination).cloned();
        let (from, to) = (one(from)?, one(to)?);
        let (earlier, later) = (from.clone(), to.clone());
        let read = move || {
            let reader = opened.reader()?;
            Ok(compare(&natures(&reader, &earlier)?, &natures(&reader, &later)?))
        };
        let mut listed = blocking(read).await?;
        let total = listed.len() as u64;
        listed.truncate(LISTED);
        Ok(Difference { from, to, listed, total })
    }
}

/// Whether something is at a path or directly below it.
fn is_in(path: &[u8], thing: &[u8]) -> bool {
    match thing.strip_prefix(path) {
        Some([]) => true,
        Some([b'/', rest @ ..]) => !rest.contains(&b'/'),
        _ => false,
    }
}

fn each(reader: &Reader, snapshot: &Snapshot, take: &mut dyn FnMut(Wanted, Content)) -> Result<(), Trouble> {
    let mut first = None;
    reader.entries(snapshot, &|_| false, &mut |entry| match entry {
        Ok((wanted, content)) => take(wanted, content),
        Err(trouble) => first = first.take().or(Some(trouble)),
    })?;
    first.map_or(Ok(()), Err)
}

fn natures(reader: &Reader, snapshot: &Snapshot) -> Result<BTreeMap<OsString, Nature>, Trouble> {
    let mut all = BTreeMap::new();
    each(reader, snapshot, &mut |thing, content| {
        let nature = Nature { kind: thing.kind, mode: thing.mode, content: Reader::fingerprint(&content) };
        all.insert(thing.path, nature);
    })?;
    Ok(all)
}

fn compare(
    earlier: &BTreeMap<OsString, Nature>,
    later: &BTreeMap<OsString, Nature>,
) -> Vec<(OsString, Change)> {
    let gone = earlier.keys().filter(|path| !later.contains_key(*path));
    let mut all: Vec<_> = gone.map(|path| (path.clone(), Change::Removed)).collect();
    for (path, nature) in later {
        match earlier.get(path) {
            None => all.push((path.clone(), Change::Added)),
            Some(before) if before != nature => all.push((path.clone(), Change::Changed)),
            Some(_) => {}
        }
    }
    all.sort_by(|one, other| one.0.cmp(&other.0));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_holds_what_is_directly_below_it() {
        for (thing, expected) in [
            ("src", true),
            ("src/a", true),
            ("src/a/b", false),
            ("srcs", false),
            ("sr", false),
            ("a/src", false),
        ] {
            assert_eq!(is_in(b"src", thing.as_bytes()), expected, "{thing}");
        }
    }

    #[test]
    fn two_snapshots_differ_by_what_things_are() {
        let nature = |size, mode, content| Nature {
            kind: Kind::File { size },
            mode: Some(mode),
            content: [content; 32],
        };
        let earlier = BTreeMap::from([
            ("same".into(), nature(1, 0o644, 1)),
            ("gone".into(), nature(1, 0o644, 1)),
            ("content".into(), nature(1, 0o644, 1)),
            ("mode".into(), nature(1, 0o644, 1)),
        ]);
        let later = BTreeMap::from([
            ("same".into(), nature(1, 0o644, 1)),
            ("content".into(), nature(1, 0o644, 2)),
            ("mode".into(), nature(1, 0o755, 1)),
            ("new".into(), nature(1, 0o644, 1)),
        ]);
        let expected: [(OsString, Change); 4] = [
            ("content".into(), Change::Changed),
            ("gone".into(), Change::Removed),
            ("mode".into(), Change::Changed),
            ("new".into(), Change::Added),
        ];
        assert_eq!(compare(&earlier, &later), expected);
    }
}
