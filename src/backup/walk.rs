//! Goes through a workspace's folder and says what of it is backed up, one entry at a time.
//!
//! What is left out is decided by the same rules as in sync (gitignore, the defaults), with two differences: `.nexus`
//! is taken, without keys and plain secrets; and `.git` on request. Only files, directories and links are taken; what
//! else there is (sockets, pipes, devices) is named in the report, and so is what cannot be read.
//!
//! Entries come in the order of their names, a directory directly before what it holds. Memory grows with the largest
//! directory and the depth, not with the tree. No link is ever followed, also when one appears while we look.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use nexus_agent::path::RelPath;
use nexus_agent::rules;
use nexus_agent::rules::Rules;
use nexus_agent::rules::Verdict;
use rustix::fs::AtFlags;
use rustix::fs::Dir;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::ResolveFlags;
use rustix::fs::Stat;

/// Left out unless a project's own rules say otherwise.
const DEFAULTS: [&str; 8] =
    ["node_modules/", "build/", "dist/", "*.log", ".DS_Store", "__pycache__/", "*.pyc", ".venv/"];

/// Left out whatever a project says: whoever can read a backup must not find keys in it.
const SECRETS: [&str; 6] = [
    "/.nexus/**/*.key",
    "/.nexus/**/*.pem",
    "/.nexus/**/id_*",
    "/.nexus/**/secrets*",
    "/.nexus/**/.env*",
    "/.nexus/**/*.token",
];

/// Larger files are named in the report: they are rarely source.
const LARGE: u64 = 100 << 20;
/// More paths than this are not kept apart when they cannot be looked at.
const UNSEEN_MAX: usize = 100_000;
/// How many entries of a kind a report lists; all are counted.
pub const LISTED: usize = 50;

/// What is taken and what is not, besides what a project says itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Whether `.git` is taken.
    pub git: bool,
    /// More rules, in the words of gitignore.
    pub exclude: Vec<String>,
    /// Whether what is left out is measured too, which costs a look at all of it.
    pub measure: bool,
}

/// One thing that is backed up.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Where it is; `None` is the folder itself.
    pub path: Option<RelPath>,
    /// What it is.
    pub kind: Kind,
    /// What the kernel says of it.
    pub stat: Stat,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file.
    File,
    /// A symbolic link and what it says.
    Link(OsString),
}

/// Some paths and why, and how many there are in all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// The first of them, with a word on each.
    pub listed: Vec<(String, String)>,
    /// All of them.
    pub total: u64,
}

impl Named {
    /// Adds one.
    pub fn add(&mut self, path: &str, why: impl Into<String>) {
        self.total += 1;
        if self.listed.len() < LISTED {
            self.listed.push((path.to_owned(), why.into()));
        }
    }
}

/// What was found in a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Files taken.
    pub files: u64,
    /// Directories taken, without the folder itself.
    pub directories: u64,
    /// Links taken.
    pub links: u64,
    /// Bytes of the files taken.
    pub bytes: u64,
    /// Entries that the rules leave out; a directory is one, unless it was measured.
    pub left_out: u64,
    /// Their bytes; only what was measured.
    pub left_out_bytes: u64,
    /// What the rules leave out most, by rule.
    pub rules: BTreeMap<String, u64>,
    /// What is neither file, directory nor link.
    pub odd: Named,
    /// What could not be read; it is not in the backup.
    pub unreadable: Named,
    /// What was changed while it was read.
    pub changed: Named,
    /// Large files, which are taken.
    pub large: Named,
}

/// A report that grows while others look.
pub type Shared = Arc<Mutex<Report>>;

/// The report, whatever became of others who held it.
pub fn lock(report: &Shared) -> MutexGuard<'_, Report> {
    report.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a folder cannot be backed up at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be opened.
    #[error("cannot open the folder `{path}`")]
    Folder {
        /// The folder.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A rule means nothing.
    #[error("a rule of what is left out cannot be used")]
    Rule(#[source] rules::PatternError),
}

/// What could not be looked at, in full: a report lists the first of it alone.
#[derive(Debug, Clone, Default)]
pub struct Unseen(Arc<Mutex<Blind>>);

#[derive(Debug, Default)]
struct Blind {
    all: bool,
    paths: BTreeSet<RelPath>,
}

impl Unseen {
    /// Adds a path, or with none the folder itself.
    fn add(&self, path: Option<&RelPath>) {
        let mut blind = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match path {
            Some(path) if blind.paths.len() < UNSEEN_MAX => drop(blind.paths.insert(path.clone())),
            // So many that nothing is known any more.
            _ => blind.all = true,
        }
    }

    /// Whether nothing is known about a path: it, or a directory it is in, could not be looked at. What a walk has come
    /// past is known to it.
    pub fn covers(&self, path: &RelPath) -> bool {
        let blind = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut above = Some(path.clone());
        while let Some(path) = above {
            if blind.all || blind.paths.contains(&path) {
                return true;
            }
            above = path.parent();
        }
        false
    }
}

/// Goes through a folder.
pub struct Walk {
    root: Arc<OwnedFd>,
    rules: Rules,
    measure: bool,
    report: Shared,
    unseen: Unseen,
    started: bool,
    /// What is left to look at, the next last.
    pending: Vec<(RelPath, Stat)>,
}

impl Walk {
    /// Opens a folder; what is found is added to `report`.
    ///
    /// # Errors
    /// When it cannot be opened, or a rule means nothing.
    pub fn new(root: &Path, selection: &Selection, report: Shared) -> Result<Self, Error> {
        let failed = |source: io::Error| Error::Folder { path: root.display().to_string(), source };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(root, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
        let rules = Rules::new(settings(selection)).map_err(Error::Rule)?;
        Ok(Self {
            root: Arc::new(fd),
            rules,
            measure: selection.measure,
            report,
            unseen: Unseen::default(),
            started: false,
            pending: Vec::new(),
        })
    }

    /// The folder, for opening what is in it.
    pub fn root(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.root)
    }

    /// What could not be looked at so far; it grows with the walk.
    pub fn unseen(&self) -> Unseen {
        self.unseen.clone()
    }

    /// Names in the report what could not be looked at, and remembers it.
    fn miss(&self, path: Option<&RelPath>, why: &io::Error) {
        let shown = path.map_or_else(|| ".".to_owned(), ToString::to_string);
        lock(&self.report).unreadable.add(&shown, why.to_string());
        self.unseen.add(path);
    }

    /// Looks into a directory and remembers what is taken of it.
    fn enter(&mut self, directory: Option<&RelPath>) {
        let (fd, mut names) = match self.names(directory) {
            Ok(found) => found,
            Err(error) => return self.miss(directory, &error),
        };
        if names.iter().any(|name| name == rules::GITIGNORE) {
            let text = read_rules(&fd, rules::GITIGNORE);
            self.rules.set_gitignore(directory, text.as_deref());
        }
        if directory.is_none() {
            let text = read_rules(&fd, b".git/info/exclude");
            self.rules.set_info(text.as_deref());
        }
        // The last is looked at first.
        names.sort_unstable_by(|one, other| other.cmp(one));
        for name in names {
            self.meet(directory, &fd, &name);
        }
    }

    fn names(&self, directory: Option<&RelPath>) -> io::Result<(OwnedFd, Vec<Vec<u8>>)> {
        let path = directory.map_or(Path::new("."), RelPath::as_path);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat2(&*self.root, path, flags, Mode::empty(), beneath())?;
        let mut names = Vec::new();
        for entry in Dir::read_from(fd.as_fd())? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        Ok((fd, names))
    }

    fn meet(&mut self, directory: Option<&RelPath>, fd: &OwnedFd, name: &[u8]) {
        let path = match RelPath::child(directory, name) {
            Ok(path) => path,
            Err(error) => {
                let shown = String::from_utf8_lossy(name);
                return lock(&self.report).unreadable.add(&shown, error.to_string());
            }
        };
        let stat = match rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Gone between being listed and being looked at: it is absent now.
            Err(rustix::io::Errno::NOENT) => return,
            Err(error) => return self.miss(Some(&path), &error.into()),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if self.rules.judge(&path, kind == FileType::Directory) != Verdict::Carry {
            return self.leave(&path, &stat);
        }
        match kind {
            FileType::Directory | FileType::RegularFile | FileType::Symlink => {
                self.pending.push((path, stat))
            }
            other => lock(&self.report).odd.add(&path.to_string(), odd(other)),
        }
    }

    fn leave(&self, path: &RelPath, stat: &Stat) {
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let (entries, bytes) =
            if is_directory && self.measure { measure(&self.root, path) } else { (1, size(stat)) };
        let rule = self.rules.reason(path, is_directory).map_or_else(String::new, |reason| reason.pattern);
        let mut report = lock(&self.report);
        report.left_out += entries;
        report.left_out_bytes += bytes;
        *report.rules.entry(rule).or_default() += bytes;
    }

    /// Whether a directory is a Python environment: tools make it again.
    fn is_environment(&self, directory: &RelPath) -> bool {
        directory.join(rules::ENVIRONMENT).is_ok_and(|marker| {
            let path = marker.as_path();
            rustix::fs::openat2(&*self.root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), beneath())
                .is_ok()
        })
    }

    fn take(&mut self, path: RelPath, stat: Stat) -> Option<Entry> {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                if self.is_environment(&path) {
                    self.leave(&path, &stat);
                    return None;
                }
                lock(&self.report).directories += 1;
                self.enter(Some(&path));
                Kind::Directory
            }
            FileType::RegularFile => {
                let mut report = lock(&self.report);
                report.files += 1;
                report.bytes += size(&stat);
                if size(&stat) >= LARGE {
                    report.large.add(&path.to_string(), size(&stat).to_string());
                }
                Kind::File
            }
            _ => match self.link(&path) {
                Ok(target) => {
                    lock(&self.report).links += 1;
                    Kind::Link(target)
                }
                Err(error) => {
                    self.miss(Some(&path), &error);
                    return None;
                }
            },
        };
        Some(Entry { path: Some(path), kind, stat })
    }

    fn link(&self, path: &RelPath) -> io::Result<OsString> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // The link itself is opened, but none on the way to it.
        let parent = path.parent();
        let parent = parent.as_ref().map_or(Path::new("."), RelPath::as_path);
        let directory =
            rustix::fs::openat2(&*self.root, parent, flags | OFlags::DIRECTORY, Mode::empty(), beneath())?;
        let target = rustix::fs::readlinkat(&directory, path.name(), Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()))
    }
}

impl Iterator for Walk {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        if !self.started {
            self.started = true;
            self.enter(None);
            let stat = rustix::fs::fstat(&*self.root).ok()?;
            return Some(Entry { path: None, kind: Kind::Directory, stat });
        }
        loop {
            let (path, stat) = self.pending.pop()?;
            if let Some(entry) = self.take(path, stat) {
                return Some(entry);
            }
        }
    }
}

/// Opens a file of the folder; never a link, never beyond it, and never waiting for a pipe.
///
/// # Errors
/// When it is not there as a regular file any more.
pub fn open(root: &OwnedFd, path: &RelPath) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat2(root, path.as_path(), flags, Mode::empty(), beneath())?);
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file any more"))
}

fn beneath() -> ResolveFlags {
    ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS
}

fn settings(selection: &Selection) -> rules::Settings {
    let own = |lines: &[&str]| lines.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut excludes = selection.exclude.clone();
    // `.git` is no matter of a `.gitignore`, so it stands above those.
    excludes.push(if selection.git { "!.git" } else { ".git" }.to_owned());
    // The last line that matches counts: nobody's rule brings a key back.
    excludes.extend(own(&SECRETS));
    rules::Settings { defaults: own(&DEFAULTS), excludes, ..rules::Settings::default() }
}

fn read_rules(directory: &OwnedFd, name: &[u8]) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::openat2(directory, name, flags, Mode::empty(), beneath()).ok()?;
    let file = File::from(fd);
    let mut text = Vec::new();
    let is_file = file.metadata().ok()?.is_file();
    let max = rules::RULES_SIZE_MAX as u64;
    file.take(max + 1).read_to_end(&mut text).ok().filter(|read| is_file && *read as u64 <= max)?;
    Some(text)
}

/// Entries and bytes of a directory that is left out, itself counted.
fn measure(root: &OwnedFd, directory: &RelPath) -> (u64, u64) {
    let (mut entries, mut bytes) = (1, 0);
    let mut pending = vec![directory.clone()];
    while let Some(path) = pending.pop() {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(fd) = rustix::fs::openat2(root, path.as_path(), flags, Mode::empty(), beneath()) else {
            continue;
        };
        let Ok(listing) = Dir::read_from(fd.as_fd()) else { continue };
        for entry in listing.flatten() {
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let Ok(stat) = rustix::fs::statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            entries += 1;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => pending.extend(path.join(name).ok()),
                FileType::RegularFile => bytes += size(&stat),
                _ => {}
            }
        }
    }
    (entries, bytes)
}

/// The bytes of a file; nothing else has any.
pub fn size(stat: &Stat) -> u64 {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => u64::try_from(stat.st_size).unwrap_or(0),
        _ => 0,
    }
}

fn odd(kind: FileType) -> &'static str {
    match kind {
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "of an unknown kind",
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    fn tree(files: &[(&str, &str)]) -> TempDir {
        let directory = TempDir::new().unwrap();
        for (path, text) in files {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        directory
    }

    fn walk(root: &Path, selection: &Selection) -> (Vec<String>, Report) {
        let report = Shared::default();
        let entries = Walk::new(root, selection, Arc::clone(&report)).unwrap();
        let paths = entries.map(|entry| entry.path.map_or_else(|| ".".to_owned(), |path| path.to_string()));
        let paths = paths.collect();
        let report = lock(&report).clone();
        (paths, report)
    }

    #[test]
    fn source_is_taken_and_what_tools_make_is_not() {
        let folder = tree(&[
            ("src/a.js", "a"),
            ("src/ignored.txt", "i"),
            ("src/.gitignore", "ignored.txt\n"),
            ("keep.log", "k"),
            ("other.log", "o"),
            (".gitignore", "!keep.log\n"),
            ("node_modules/x/index.js", "0123456789"),
            (".git/HEAD", "ref"),
            ("env/pyvenv.cfg", "home"),
            ("env/lib.py", "p"),
        ]);
        let (paths, report) = walk(folder.path(), &Selection { measure: true, ..Selection::default() });
        assert_eq!(paths, [".", ".gitignore", "keep.log", "src", "src/.gitignore", "src/a.js"]);
        assert_eq!((report.files, report.directories), (4, 1));
        assert!(report.left_out_bytes > 10 + 3 + 1, "{report:?}");
        assert_eq!(report.rules.get("node_modules/"), Some(&10), "{:?}", report.rules);
        let (paths, _) = walk(folder.path(), &Selection { git: true, ..Selection::default() });
        assert!(paths.contains(&".git/HEAD".to_owned()), "{paths:?}");
    }

    #[test]
    fn the_settings_of_a_project_go_along_and_its_keys_do_not() {
        let folder = tree(&[
            (".nexus/config.yaml", "start: x"),
            (".nexus/deploy/id_ed25519", "key"),
            (".nexus/tls/server.pem", "key"),
            (".nexus/secrets.yaml", "key"),
            (".gitignore", "!.nexus/secrets.yaml\n"),
        ]);
        let brought_back = Selection { exclude: vec!["!*.pem".to_owned()], ..Selection::default() };
        let (paths, _) = walk(folder.path(), &brought_back);
        let files: Vec<_> =
            paths.iter().filter(|path| path.starts_with(".nexus/") && path.contains('.')).collect();
        assert!(paths.contains(&".nexus/config.yaml".to_owned()));
        assert!(
            !files
                .iter()
                .any(|path| path.contains("id_") || path.ends_with("pem") || path.contains("secrets")),
            "{files:?}"
        );
    }

    #[test]
    fn odd_things_are_named_and_links_never_followed() {
        let folder = tree(&[("a/file", "x"), ("b", "y")]);
        let outside = tree(&[("secret", "s")]);
        symlink(outside.path(), folder.path().join("a/out")).unwrap();
        symlink("../b", folder.path().join("a/in")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("talk")).unwrap();
        let (paths, report) = walk(folder.path(), &Selection::default());
        assert_eq!(paths, [".", "a", "a/file", "a/in", "a/out", "b"]);
        assert_eq!((report.links, report.odd.total), (2, 1));
        assert_eq!(report.odd.listed, [("talk".to_owned(), "a socket".to_owned())]);
        let root = Walk::new(folder.path(), &Selection::default(), Shared::default()).unwrap().root();
        let path = |text: &str| RelPath::parse(text.as_bytes()).unwrap();
        assert!(open(&root, &path("a/file")).is_ok());
        for bad in ["a/out/secret", "a/in", "a", "talk"] {
            assert!(open(&root, &path(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_that_are_no_text_are_taken_in_order() {
        let folder = tree(&[("b/x", "1"), ("b.txt", "2"), ("a b\n\"c\\", "3")]);
        let odd = OsString::from_vec(b"caf\xe9".to_vec());
        std::fs::write(folder.path().join(&odd), "4").unwrap();
        let report = Shared::default();
        let entries: Vec<_> = Walk::new(folder.path(), &Selection::default(), report).unwrap().collect();
        let names: Vec<_> = entries
            .iter()
            .flat_map(|entry| entry.path.as_ref().map(|path| path.as_bytes().to_vec()))
            .collect();
        let expect: Vec<&[u8]> = vec![b"a b\n\"c\\", b"b", b"b/x", b"b.txt", b"caf\xe9"];
        assert_eq!(names, expect);
    }

    #[test]
    fn a_folder_that_is_not_there_is_no_empty_one() {
        let gone = Walk::new(Path::new("/nowhere/at/all"), &Selection::default(), Shared::default());
        assert!(matches!(gone.err(), Some(Error::Folder { .. })));
        let bad = Selection { exclude: vec!["/".to_owned()], ..Selection::default() };
        assert!(matches!(Walk::new(Path::new("/tmp"), &bad, Shared::default()).err(), Some(Error::Rule(_))));
    }
}
