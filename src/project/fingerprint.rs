//! A cheap digest of a folder's tree: equal twice means nobody is writing.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hash as _;
use std::hash::Hasher as _;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

/// Directories whose content never decides anything and may be huge.
const SKIPPED: [&str; 4] = ["node_modules", ".git", ".venv", "__pycache__"];

/// Entries looked at; beyond that a tree is judged by what was seen. Bounds one pass to some tens of milliseconds.
const ENTRIES_MAX: usize = 20_000;

/// What a tree looked like at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    digest: u64,
    /// Entries seen.
    pub entries: usize,
    /// The entry that changed last, relative to the folder.
    pub newest: Option<PathBuf>,
    /// Its change time (ctime), since the epoch.
    pub newest_at: Duration,
}

/// Reads names, sizes and times of the tree beneath `folder`, `depth` levels down; follows no link and opens no file.
///
/// # Errors
/// When the folder itself cannot be read. What cannot be read deeper down is part of the digest as such.
pub fn take(folder: &Path, depth: usize) -> io::Result<Fingerprint> {
    let mut hasher = DefaultHasher::new();
    let mut seen = Fingerprint { digest: 0, entries: 0, newest: None, newest_at: Duration::ZERO };
    let mut pending = vec![(folder.to_owned(), 0_usize)];
    while let Some((directory, level)) = pending.pop() {
        let listing = match std::fs::read_dir(&directory) {
            Ok(listing) => listing,
            Err(error) if level == 0 => return Err(error),
            Err(error) => {
                (directory.as_os_str(), error.raw_os_error()).hash(&mut hasher);
                continue;
            }
        };
        let mut names: Vec<_> = listing.filter_map(Result::ok).take(ENTRIES_MAX).collect();
        names.sort_by_key(std::fs::DirEntry::file_name);
        for entry in names {
            seen.entries += 1;
            if seen.entries > ENTRIES_MAX {
                pending.clear();
                break;
            }
            let Ok(metadata) = entry.metadata() else { continue };
            let name = entry.file_name();
            let changed = Duration::new(
                u64::try_from(metadata.ctime()).unwrap_or(0),
                u32::try_from(metadata.ctime_nsec()).unwrap_or(0),
            );
            (&name, metadata.ino(), metadata.mode(), metadata.size(), changed).hash(&mut hasher);
            if changed > seen.newest_at {
                seen.newest_at = changed;
                seen.newest = entry.path().strip_prefix(folder).ok().map(Path::to_owned);
            }
            if metadata.is_dir() && level + 1 < depth && !SKIPPED.iter().any(|skipped| name == *skipped) {
                pending.push((entry.path(), level + 1));
            }
        }
    }
    seen.digest = hasher.finish();
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_changes_with_the_tree_and_only_with_the_tree() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("src")).unwrap();
        std::fs::write(folder.path().join("src/a"), "1").unwrap();
        let before = take(folder.path(), 8).unwrap();
        assert_eq!(take(folder.path(), 8).unwrap(), before);
        std::fs::write(folder.path().join("src/a"), "12").unwrap();
        let after = take(folder.path(), 8).unwrap();
        assert_ne!(after, before);
        assert_eq!(after.newest.as_deref(), Some(Path::new("src/a")));
        std::os::unix::fs::symlink("..", folder.path().join("loop")).unwrap();
        assert_eq!(take(folder.path(), 8).unwrap().entries, 3, "a link is an entry, not a way");
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_not_an_empty_tree() {
        assert!(take(Path::new("/nonexistent/folder"), 8).is_err());
    }
}
