//! A fingerprint of what a walk through a folder finds: equal fingerprints, nothing to back up. Pure.
//!
//! It covers everything the kernel says about each entry that a change of it cannot leave alone: path, kind, size,
//! permissions, owner, times and inode. No content is read.
//!
//! Invariant: a fingerprint is given only where it proves something. The kernel's times come in ticks, and in whole
//! seconds and more on some disks: what was changed within the last moments before the walk may change once more without
//! looking otherwise. A folder with such an entry has no fingerprint, and is backed up as if it had changed.

use jiff::SignedDuration;
use jiff::Timestamp;

use super::walk::Entry;
use super::walk::Kind;

/// Entries younger than this when the walk began may change again unseen. FAT counts in two seconds.
pub const YOUNG: SignedDuration = SignedDuration::from_secs(2);

/// A fingerprint that grows with each entry.
#[derive(Debug, Clone)]
pub struct Listing {
    hasher: blake3::Hasher,
    /// Entries changed at or after this second are young.
    limit: i64,
    young: bool,
}

impl Listing {
    /// For a walk that begins now.
    pub fn new(now: Timestamp) -> Self {
        let limit = now.as_second().saturating_sub(YOUNG.as_secs());
        Self { hasher: blake3::Hasher::new(), limit, young: false }
    }

    /// The next entry of the walk.
    pub fn add(&mut self, entry: &Entry) {
        let stat = &entry.stat;
        let (kind, target) = match &entry.kind {
            Kind::Directory => (0_u8, &[][..]),
            Kind::File => (1, &[][..]),
            Kind::Link(target) => (2, target.as_encoded_bytes()),
        };
        let path = entry.path.as_ref().map_or(&[][..], |path| path.as_bytes());
        self.young |= stat.st_ctime >= self.limit;
        let mut part = |bytes: &[u8]| {
            // With its length, so that no two lists of parts read the same.
            self.hasher.update(&(bytes.len() as u64).to_le_bytes());
            self.hasher.update(bytes);
        };
        part(path);
        part(target);
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
        part(&numbers);
    }

    /// The fingerprint of all entries; none when it would prove nothing.
    pub fn finish(&self) -> Option<String> {
        (!self.young).then(|| self.hasher.finalize().to_hex().to_string())
    }
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
        let walk = Walk::new(folder, &Selection::default(), Shared::default()).unwrap();
        walk.for_each(|entry| listing.add(&entry));
        listing.finish()
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
}
