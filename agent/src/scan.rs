//! Looks at a folder: what is there, what is not carried, and what could not be read.
//!
//! Content is not read; a [`Stamp`] tells whether a file may have changed since it was. Unknown is not absent: what
//! could not be read is in [`Scan::kept`], and nothing below it may be taken for removed.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;

use rustix::fs::AtFlags;
use rustix::fs::FileType;
use rustix::fs::Stat;

use crate::entry::Target;
use crate::files;
use crate::files::Root;
use crate::ignore::ENVIRONMENT;
use crate::ignore::Ignore;
use crate::ignore::Verdict;
use crate::path::RelPath;

/// Deeper directories are not entered.
const DEPTH_MAX: usize = 200;

/// Changes whenever a file's content does, as far as the kernel tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub(crate) size: u64,
    pub(crate) modified: (i64, u64),
    pub(crate) changed: (i64, u64),
    pub(crate) inode: u64,
    pub(crate) executable: bool,
}

impl Stamp {
    /// The stamp of a file that was looked at.
    pub fn of(stat: &Stat) -> Self {
        // The kernel's own types differ between architectures.
        let nanoseconds = |value: i64| u64::try_from(value).unwrap_or_default();
        Self {
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            modified: (stat.st_mtime, nanoseconds(stat.st_mtime_nsec as i64)),
            changed: (stat.st_ctime, nanoseconds(stat.st_ctime_nsec as i64)),
            inode: stat.st_ino,
            executable: stat.st_mode & 0o111 != 0,
        }
    }

    /// The length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether anybody may execute it.
    pub fn executable(&self) -> bool {
        self.executable
    }
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A directory.
    Directory,
    /// A regular file.
    File(Stamp),
    /// A symbolic link that stays inside.
    Symlink(Target),
}

/// What one look at a folder, or at some of its directories, has shown.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// What is there and is carried.
    pub entries: BTreeMap<RelPath, Found>,
    /// The directories whose listing is in `entries`; `None` is the root.
    pub listed: BTreeSet<Option<RelPath>>,
    /// Paths about which nothing may be concluded: ignored, unreadable, or of a kind that is not carried.
    pub kept: BTreeSet<RelPath>,
    /// Those of them a person should hear about, and why.
    pub skipped: Vec<(RelPath, String)>,
}

/// Why a folder cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// Its own listing cannot be read.
    #[error("the folder cannot be read")]
    Root(#[source] io::Error),
    /// More entries than allowed.
    #[error("the folder holds more than {limit} files")]
    Many {
        /// The limit.
        limit: usize,
    },
}

/// Looks at all of a folder.
///
/// # Errors
/// See [`ScanError`]; anything wrong below the root is part of the answer instead.
pub fn scan(root: &Root, ignore: &Ignore, limit: usize) -> Result<Scan, ScanError> {
    let mut scan = Scan::default();
    descend(root, ignore, limit, vec![None], &mut scan, |_| true)?;
    Ok(scan)
}

/// Looks at some directories, and at all of whatever directory in them `is_known` does not know.
///
/// # Errors
/// See [`ScanError`].
pub fn rescan(
    root: &Root,
    ignore: &Ignore,
    limit: usize,
    directories: BTreeSet<Option<RelPath>>,
    is_known: impl Fn(&RelPath) -> bool,
) -> Result<Scan, ScanError> {
    let mut scan = Scan::default();
    descend(root, ignore, limit, directories.into_iter().collect(), &mut scan, |path| !is_known(path))?;
    Ok(scan)
}

fn descend(
    root: &Root,
    ignore: &Ignore,
    limit: usize,
    mut pending: Vec<Option<RelPath>>,
    scan: &mut Scan,
    enter: impl Fn(&RelPath) -> bool,
) -> Result<(), ScanError> {
    while let Some(directory) = pending.pop() {
        match look(root, ignore, directory.as_ref(), scan) {
            Ok(found) => {
                pending.extend(found.into_iter().filter(|path| enter(path)).map(Some));
                scan.listed.insert(directory);
            }
            Err(error) => match directory {
                None => return Err(ScanError::Root(error)),
                // It was there a moment ago: its parent's listing will tell.
                Some(path) if files::is_absent(&error) => drop(scan.entries.remove(&path)),
                Some(path) => scan.keep(path, format!("it cannot be read: {error}")),
            },
        }
        if scan.entries.len() > limit {
            return Err(ScanError::Many { limit });
        }
    }
    Ok(())
}

/// Looks at one directory and returns the directories in it.
fn look(
    root: &Root,
    ignore: &Ignore,
    directory: Option<&RelPath>,
    scan: &mut Scan,
) -> io::Result<Vec<RelPath>> {
    let handle = root.open_directory(directory)?;
    let mut directories = Vec::new();
    for name in files::list(handle.try_clone()?)? {
        let Ok(path) = RelPath::child(directory, &name) else { continue };
        let verdict = ignore.judge(&path);
        if verdict == Verdict::Skip || verdict == Verdict::SkipEnvironment && is_environment(root, &path) {
            scan.kept.insert(path);
            continue;
        }
        match rustix::fs::statat(&handle, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                if let Some(directory) = note(root, path, &stat, scan) {
                    directories.push(directory);
                }
            }
            Err(rustix::io::Errno::NOENT) => {}
            Err(error) => scan.keep(path, format!("it cannot be read: {}", io::Error::from(error))),
        }
    }
    Ok(directories)
}

/// Notes one thing; returns its path when it is a directory to enter.
fn note(root: &Root, path: RelPath, stat: &Stat, scan: &mut Scan) -> Option<RelPath> {
    let found = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory if path.components().count() > DEPTH_MAX => {
            scan.keep(path, format!("it is more than {DEPTH_MAX} directories deep"));
            return None;
        }
        FileType::Directory => Found::Directory,
        FileType::RegularFile => Found::File(Stamp::of(stat)),
        FileType::Symlink => match root.read_link(&path) {
            Ok(target) => match Target::portable(&path, &target) {
                Some(target) => Found::Symlink(target),
                None => {
                    scan.keep(path, "it is a link that leads out of the folder".to_owned());
                    return None;
                }
            },
            Err(error) => {
                scan.keep(path, format!("it cannot be read: {error}"));
                return None;
            }
        },
        other => {
            scan.keep(path, format!("it is {}", name_of(other)));
            return None;
        }
    };
    let enter = (found == Found::Directory).then(|| path.clone());
    scan.entries.insert(path, found);
    enter
}

impl Scan {
    fn keep(&mut self, path: RelPath, why: String) {
        // A directory that could not be listed still is one.
        self.kept.insert(path.clone());
        self.skipped.push((path, why));
    }

    /// Whether nothing may be concluded about `path`.
    pub fn keeps(&self, path: &RelPath) -> bool {
        let mut at = Some(path.clone());
        while let Some(path) = at {
            if self.kept.contains(&path) {
                return true;
            }
            at = path.parent();
        }
        false
    }
}

fn is_environment(root: &Root, path: &RelPath) -> bool {
    path.join(ENVIRONMENT).is_ok_and(|file| matches!(root.stat(&file), Ok(Some(_))))
}

fn name_of(kind: FileType) -> &'static str {
    match kind {
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "of an unknown kind",
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use rustix::fs::Mode;

    use super::*;

    fn names(scan: &Scan) -> Vec<String> {
        scan.entries.keys().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_carried_and_what_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for directory in ["src", "node_modules/x", ".git", "venv", "env"] {
            fs::create_dir_all(at(directory)).unwrap();
        }
        for file in ["index.html", "src/a.js", "venv/pyvenv.cfg", "env/settings"] {
            fs::write(at(file), "x").unwrap();
        }
        symlink("index.html", at("inside")).unwrap();
        symlink("/etc/passwd", at("outside")).unwrap();
        symlink("loop", at("loop")).unwrap();
        symlink("..", at("src/up")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();

        let scan = scan(&Root::open(folder.path()).unwrap(), &Ignore::default(), 100).unwrap();
        assert_eq!(
            names(&scan),
            ["env", "env/settings", "index.html", "inside", "loop", "src", "src/a.js", "src/up"]
        );
        let mut skipped: Vec<_> = scan.skipped.iter().map(|(path, why)| format!("{path}: {why}")).collect();
        skipped.sort();
        assert_eq!(
            skipped,
            [
                "outside: it is a link that leads out of the folder",
                "pipe: it is a pipe",
                "socket: it is a socket",
            ]
        );
        let inside = RelPath::parse(b"node_modules/x/y").unwrap();
        assert!(scan.keeps(&inside), "what is ignored may not be taken for removed");
    }

    #[test]
    fn some_directories_are_looked_at_alone_and_new_ones_wholly() {
        let folder = tempfile::tempdir().unwrap();
        for directory in ["a/old/deep", "a/new/deep", "b"] {
            fs::create_dir_all(folder.path().join(directory)).unwrap();
        }
        let root = Root::open(folder.path()).unwrap();
        let a = RelPath::parse(b"a").unwrap();
        let known = |path: &RelPath| path.as_bytes() == b"a/old";
        let scan = rescan(&root, &Ignore::default(), 100, [Some(a)].into(), known).unwrap();
        assert_eq!(names(&scan), ["a/new", "a/new/deep", "a/old"]);
    }

    #[test]
    fn too_many_files_are_an_error_and_not_a_part() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..20 {
            fs::write(folder.path().join(number.to_string()), "").unwrap();
        }
        let root = Root::open(folder.path()).unwrap();
        assert!(matches!(scan(&root, &Ignore::default(), 19), Err(ScanError::Many { limit: 19 })));
        assert!(scan(&root, &Ignore::default(), 20).is_ok());
    }
}
