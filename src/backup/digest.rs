//! Fingerprints of what a walk through a folder finds: equal fingerprints, nothing to back up. Pure.
//!
//! They cover everything the kernel says about each entry that a change of it cannot leave alone: path, kind, size,
//! permissions, owner, times and inode. No content is read. There is one of the folder, and one of each directory in it
//! with all below: where a folder has changed, those say where it has not.
//!
//! Invariant: a fingerprint is given only where it proves something. The kernel's times come in ticks, and in whole
//! seconds and more on some disks: what was changed within the last moments before the walk may change once more without
//! looking otherwise. What holds such an entry has no fingerprint, and is backed up as if it had changed.

use jiff::SignedDuration;
use jiff::Timestamp;

use super::walk::Entry;
use super::walk::Kind;

/// Entries younger than this when the walk began may change again unseen. FAT counts in two seconds.
pub const YOUNG: SignedDuration = SignedDuration::from_secs(2);

/// The fingerprint of a directory: enough of it that no two are alike by chance.
pub type Print = [u8; 16];

/// What a walk found, as far as that proves anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The fingerprint of the folder.
    pub digest: Option<String>,
    /// The fingerprints of its directories.
    pub directories: Vec<Print>,
}

/// Fingerprints that grow with each entry.
#[derive(Debug)]
pub struct Listing {
    /// Entries changed at or after this second are young.
    limit: i64,
    /// What has no end yet: what the folder stands in, the folder, and the directories down to the last entry.
    open: Vec<Open>,
    /// Directories whose last entry has come, in that order: each after all below it.
    closed: Vec<Option<Print>>,
}

#[derive(Debug)]
struct Open {
    path: Vec<u8>,
    hasher: blake3::Hasher,
    young: bool,
}

impl Listing {
    /// For a walk that begins now.
    pub fn new(now: Timestamp) -> Self {
        let limit = now.as_second().saturating_sub(YOUNG.as_secs());
        let outside = Open { path: Vec::new(), hasher: blake3::Hasher::new(), young: false };
        Self { limit, open: vec![outside], closed: Vec::new() }
    }

    /// The next entry of the walk.
    pub fn add(&mut self, entry: &Entry) {
        let path = entry.path.as_ref().map_or(&[][..], |path| path.as_bytes());
        let parent = path.iter().rposition(|byte| *byte == b'/').map_or(&[][..], |slash| &path[..slash]);
        // The folder itself is the first entry.
        while entry.path.is_some()
            && self.open.len() > 2
            && self.open.last().is_some_and(|open| open.path != parent)
        {
            self.close();
        }
        let young = entry.stat.st_ctime >= self.limit;
        let Some(open) = self.open.last_mut() else { return };
        open.young |= young;
        describe(&mut open.hasher, path, entry);
        if entry.kind == Kind::Directory {
            let mut hasher = blake3::Hasher::new();
            // What the directory is itself belongs to its own fingerprint too.
            describe(&mut hasher, path, entry);
            self.open.push(Open { path: path.to_vec(), hasher, young });
        }
    }

    /// A directory has no more entries.
    fn close(&mut self) {
        let (Some(done), Some(above)) = (self.open.pop(), self.open.last_mut()) else { return };
        let digest = done.hasher.finalize();
        part(&mut above.hasher, digest.as_bytes());
        above.young |= done.young;
        let print = digest.as_bytes().first_chunk().copied();
        self.closed.push(print.filter(|_| !done.young));
    }

    /// The directories whose last entry has come, each after all below it; none where it would prove nothing.
    pub fn closed(&self) -> &[Option<Print>] {
        &self.closed
    }

    /// Says that the walk has ended.
    pub fn finish(&mut self) -> Seen {
        while self.open.len() > 1 {
            self.close();
        }
        let outside = self.open.last().filter(|outside| !outside.young);
        let digest = outside.map(|outside| outside.hasher.finalize().to_hex().to_string());
        Seen { digest, directories: self.closed.iter().flatten().copied().collect() }
    }
}

/// Everything about an entry.
fn describe(hasher: &mut blake3::Hasher, path: &[u8], entry: &Entry) {
    let stat = &entry.stat;
    let (kind, target) = match &entry.kind {
        Kind::Directory => (0_u8, &[][..]),
        Kind::File => (1, &[][..]),
        Kind::Link(target) => (2, target.as_encoded_bytes()),
    };
    part(hasher, path);
    part(hasher, target);
    let size = if kind == 1 { stat.st_size } else { 0 };
    let mut numbers = [0_u8; 65];
    let words = [
        u64::from_ne_bytes(size.to_ne_bytes()),
        u64::from(stat.st_mode),
        u64::from(stat.st_uid) << 32 | u64::from(stat.st_gid),
        stat.st_mtime.cast_unsigned(),
        u64::from_ne_bytes(stat.st_mtime_nsec.to_ne_bytes()),
        stat.st_ctime.cast_unsigned(),
        u64::from_ne_bytes(stat.st_ctime_nsec.to_ne_bytes()),
        stat.st_ino,
    ];
    for (place, word) in numbers.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    numbers[64] = kind;
    part(hasher, &numbers);
}

/// Adds bytes with their length, so that no two lists of parts read the same.
fn part(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;
    use crate::backup::walk::Selection;
    use crate::backup::walk::Shared;
    use crate::backup::walk::Walk;
    use crate::base::clock;

    fn listing(folder: &Path, seconds_later: i64) -> Option<String> {
        let now = clock::now().checked_add(SignedDuration::from_secs(seconds_later)).unwrap();
        let mut listing = Listing::new(now);
        entries(folder).iter().for_each(|entry| listing.add(entry));
        listing.finish().digest
    }

    #[test]
    fn every_change_is_another_fingerprint() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("a"), "one").unwrap();
        std::fs::create_dir(at("d")).unwrap();
        let mut seen = vec![listing(directory.path(), 60).unwrap()];
        assert_eq!(listing(directory.path(), 60).as_ref(), seen.last(), "nothing has changed");
        let time = std::fs::metadata(at("a")).unwrap().modified().unwrap();
        let steps: [(&str, &dyn Fn()); 7] = [
            ("content of the same length, and the old time put back", &|| {
                std::fs::write(at("a"), "two").unwrap();
                std::fs::File::options().write(true).open(at("a")).unwrap().set_modified(time).unwrap();
            }),
            ("permissions", &|| std::fs::set_permissions(at("a"), PermissionsExt::from_mode(0o600)).unwrap()),
            ("another name", &|| std::fs::rename(at("a"), at("b")).unwrap()),
            ("an empty file", &|| std::fs::write(at("d/empty"), "").unwrap()),
            ("an empty directory", &|| std::fs::create_dir(at("d/e")).unwrap()),
            ("a link", &|| std::os::unix::fs::symlink("x", at("l")).unwrap()),
            ("a rule", &|| std::fs::write(at(".gitignore"), "d/\n").unwrap()),
        ];
        for (what, step) in steps {
            step();
            let now = listing(directory.path(), 60).unwrap();
            assert!(!seen.contains(&now), "{what}");
            seen.push(now);
        }
        std::fs::create_dir(at("d/unseen")).unwrap();
        assert_eq!(listing(directory.path(), 60).as_ref(), seen.last(), "what is left out does not count");
    }

    #[test]
    fn what_is_young_proves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("a"), "one").unwrap();
        assert_eq!(listing(directory.path(), 0), None);
        assert_eq!(listing(directory.path(), -60), None, "nor what is of the future");
        assert!(listing(directory.path(), 4).is_some());
    }

    fn entries(folder: &Path) -> Vec<Entry> {
        Walk::new(folder, &Selection::default(), Shared::default()).unwrap().collect()
    }

    /// The fingerprints of directories, each after all below it; `touched` was written to a moment ago.
    fn prints(folder: &Path, touched: &str) -> Vec<Option<Print>> {
        let now = clock::now().checked_add(SignedDuration::from_secs(60)).unwrap();
        let mut listing = Listing::new(now);
        for mut entry in entries(folder) {
            if entry.path.as_ref().is_some_and(|path| path.as_bytes() == touched.as_bytes()) {
                entry.stat.st_ctime = now.as_second();
            }
            listing.add(&entry);
        }
        listing.finish();
        listing.closed().to_vec()
    }

    /// What it is called, what it does, and the directories that are other ones then.
    type Change<'a> = (&'a str, &'a dyn Fn(), &'a [&'a str]);

    #[test]
    fn each_directory_has_a_fingerprint_of_itself_and_all_below() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for name in ["a", "b/c"] {
            std::fs::create_dir_all(at(name)).unwrap();
            std::fs::write(at(name).join("x"), "one").unwrap();
        }
        std::fs::write(at("b/y"), "one").unwrap();
        let names = ["a", "b/c", "b", "."];
        let mut before = prints(directory.path(), "");
        assert_eq!(prints(directory.path(), ""), before);
        let steps: [Change<'_>; 5] = [
            ("a file", &|| std::fs::write(at("b/c/x"), "two").unwrap(), &["b/c", "b", "."]),
            ("a file above", &|| std::fs::write(at("b/y"), "two").unwrap(), &["b", "."]),
            (
                "permissions",
                &|| std::fs::set_permissions(at("a"), PermissionsExt::from_mode(0o700)).unwrap(),
                &["a", "."],
            ),
            ("a file at the top", &|| std::fs::write(at("z"), "").unwrap(), &["."]),
            ("a file that has gone", &|| std::fs::remove_file(at("a/x")).unwrap(), &["a", "."]),
        ];
        for (what, step, expected) in steps {
            step();
            let now = prints(directory.path(), "");
            let changed: Vec<_> = (0..4).filter(|at| now[*at] != before[*at]).map(|at| names[at]).collect();
            assert_eq!(changed, expected, "{what}");
            before = now;
        }
        let proved = |touched: &str| {
            let prints = prints(directory.path(), touched);
            (0..4).filter(|at| prints[*at].is_some()).map(|at| names[at]).collect::<Vec<_>>()
        };
        assert_eq!(proved("b/c/x"), ["a"]);
        assert_eq!(proved("b/y"), ["a", "b/c"]);
        assert_eq!(proved("b"), ["a", "b/c"]);
    }
}
