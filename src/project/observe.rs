//! Reads a project folder into a [`Listing`], and nothing outside of it.
//!
//! Every name is looked at through the descriptor of its directory. Links are resolved by the kernel beneath the
//! project's root (`openat2` with `RESOLVE_BENEATH`), so one that leaves the tree or loops is an entry and is never
//! followed; linked directories are not entered. Only regular files are opened, never pipes, sockets or devices.
//! Everything is bounded: depth, entries, names per directory, bytes per file, bytes in all. What a bound leaves out
//! is said in the listing. The walk goes level by level, so a bound costs the deepest files first.

use std::collections::VecDeque;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::AtFlags;
use rustix::fs::Dir;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::ResolveFlags;
use rustix::io::Errno;

use crate::base::fault::Explain;
use crate::base::fault::Kind;
use crate::project::listing::Content;
use crate::project::listing::EntryKind;
use crate::project::listing::Listing;
use crate::project::listing::decode;

/// How much of a folder is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Directories deeper than this are not entered.
    pub depth_max: usize,
    /// Entries kept in all.
    pub entries_max: usize,
    /// Entries kept of one directory; manifests are kept beyond it.
    pub directory_entries_max: usize,
    /// Names looked at in all before giving up.
    pub names_max: usize,
    /// Bytes read of one file; a larger file is not read at all.
    pub file_bytes_max: u64,
    /// Bytes read in all.
    pub total_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth_max: 6,
            entries_max: 20_000,
            directory_entries_max: 2_000,
            names_max: 2_000_000,
            file_bytes_max: 256 << 10,
            total_bytes_max: 8 << 20,
        }
    }
}

/// Why a folder could not be read at all.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// There is nothing at the path, or it is not a directory.
    #[error("`{}` is not a folder", path.display())]
    NotAFolder {
        /// The path.
        path: PathBuf,
    },
    /// The directory is there and cannot be opened or listed.
    #[error("cannot read the folder `{}`", path.display())]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Explain for ObserveError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotAFolder { .. } => Kind::Invalid,
            Self::Unreadable { .. } => Kind::Denied,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotAFolder { path } => Some(format!("check the path `{}`", path.display())),
            Self::Unreadable { path, .. } => {
                Some(format!("give the node read access: chmod -R u+rX '{}'", path.display()))
            }
        }
    }
}

/// Directories whose contents never decide what a project is.
const SKIPPED: [&str; 36] = [
    "node_modules",
    "bower_components",
    "jspm_packages",
    ".git",
    ".hg",
    ".svn",
    ".venv",
    "venv",
    "virtualenv",
    "__pycache__",
    "__pypackages__",
    "site-packages",
    ".tox",
    ".nox",
    ".eggs",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".next",
    ".nuxt",
    ".output",
    ".svelte-kit",
    ".astro",
    ".angular",
    ".turbo",
    ".nx",
    ".parcel-cache",
    ".cache",
    ".yarn",
    ".pnpm-store",
    ".bundle",
    ".gradle",
    ".idea",
    ".vscode",
    ".terraform",
    "target",
];

/// Manifests and settings, read before any source file and kept however full a directory is.
const MANIFESTS: [&str; 63] = [
    ".babelrc",
    ".bowerrc",
    ".env",
    ".env.example",
    ".gitignore",
    ".node-version",
    ".nvmrc",
    ".php-version",
    ".python-version",
    ".ruby-version",
    ".tool-versions",
    ".yarnrc.yml",
    "Cargo.toml",
    "Containerfile",
    "Dockerfile",
    "Gemfile",
    "Gemfile.lock",
    "Pipfile",
    "Pipfile.lock",
    "Procfile",
    "Rakefile",
    "Staticfile",
    "Staticfile.auth",
    "angular.json",
    "artisan",
    "bun.lock",
    "bun.lockb",
    "bunfig.toml",
    "compose.yaml",
    "compose.yml",
    "composer.json",
    "composer.lock",
    "config.ru",
    "deno.json",
    "docker-compose.yaml",
    "docker-compose.yml",
    "environment.yml",
    "go.mod",
    "go.sum",
    "go.work",
    "index.html",
    "index.php",
    "lerna.json",
    "manage.py",
    "manifest.json",
    "manifest.webmanifest",
    "nx.json",
    "package-lock.json",
    "package.json",
    "package.json5",
    "package.yaml",
    "pdm.lock",
    "pnpm-lock.yaml",
    "pnpm-workspace.yaml",
    "poetry.lock",
    "project.toml",
    "pyproject.toml",
    "requirements.txt",
    "runtime.txt",
    "setup.py",
    "turbo.json",
    "uv.lock",
    "yarn.lock",
];

/// Endings of the files whose text can decide.
const READ_ENDINGS: [&str; 24] = [
    ".cfg",
    ".cjs",
    ".cts",
    ".go",
    ".html",
    ".ini",
    ".js",
    ".json",
    ".jsx",
    ".md",
    ".mjs",
    ".mts",
    ".php",
    ".py",
    ".rb",
    ".ru",
    ".sh",
    ".toml",
    ".ts",
    ".tsx",
    ".txt",
    ".webmanifest",
    ".yaml",
    ".yml",
];

/// Lockfiles matter by their presence: their text is large and decides nothing.
const UNREAD: [&str; 11] = [
    "npm-shrinkwrap.json",
    "pnpm-lock.yaml",
    "yarn.lock",
    "bun.lock",
    "bun.lockb",
    "uv.lock",
    "poetry.lock",
    "pdm.lock",
    "composer.lock",
    "Pipfile.lock",
    "go.sum",
];

/// What is read of a package-lock.json.
const LOCK_BYTES: u64 = 64 << 10;

/// Reads a folder beneath its root. The error is about the folder itself; whatever is wrong further down is in the
/// listing.
pub fn observe(root: &Path, limits: Limits) -> Result<Listing, ObserveError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let unreadable = |errno: Errno| ObserveError::Unreadable { path: root.to_owned(), source: errno.into() };
    let fd = rustix::fs::open(root, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP => ObserveError::NotAFolder { path: root.to_owned() },
        errno => unreadable(errno),
    })?;
    let mut walk = Walk {
        root: fd,
        limits,
        names_left: limits.names_max,
        listing: Listing::default(),
        readable: Vec::new(),
    };
    walk.levels().map_err(unreadable)?;
    walk.read_files();
    Ok(walk.listing)
}

struct Walk {
    root: OwnedFd,
    limits: Limits,
    names_left: usize,
    listing: Listing,
    /// Files worth reading, with their sizes.
    readable: Vec<(String, u64)>,
}

struct Name {
    name: String,
    raw: CString,
}

impl Walk {
    /// Breadth first: what is near the root is seen whatever lies deeper. Fails only on the root itself.
    fn levels(&mut self) -> Result<(), Errno> {
        let mut queue = VecDeque::from([(String::new(), 0)]);
        while let Some((directory, depth)) = queue.pop_front() {
            if depth > self.limits.depth_max {
                self.skip(&directory);
                self.listing.set_cut(format!("folders deeper than {} are not read", self.limits.depth_max));
                continue;
            }
            match self.names(&directory).and_then(|names| self.enter(&directory, names)) {
                Ok(children) => queue.extend(children.into_iter().map(|child| (child, depth + 1))),
                Err(errno) if directory.is_empty() => return Err(errno),
                Err(errno) => self.listing.insert(directory, EntryKind::Unreadable(reason(errno)), 0),
            }
        }
        Ok(())
    }

    fn skip(&mut self, directory: &str) {
        self.listing.insert(directory, EntryKind::Skipped, 0);
    }

    /// Lists one directory, sorted, bounded; manifests survive the bound.
    fn names(&mut self, directory: &str) -> Result<Vec<Name>, Errno> {
        let fd = self.open(directory, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut kept: Vec<Name> = Vec::new();
        let mut dropped = false;
        for entry in Dir::new(fd)? {
            let raw = entry?.file_name().to_owned();
            let name = String::from_utf8_lossy(raw.as_bytes()).into_owned();
            if name == "." || name == ".." {
                continue;
            }
            let room = kept.len() < self.limits.directory_entries_max;
            if room || MANIFESTS.contains(&name.as_str()) {
                kept.push(Name { name, raw });
            } else {
                dropped = true;
            }
            self.names_left = self.names_left.saturating_sub(1);
            if self.names_left == 0 {
                dropped = true;
                break;
            }
        }
        if dropped {
            let place = if directory.is_empty() { "the folder" } else { directory };
            self.listing.set_cut(format!(
                "{place} holds more than {} names; not all are listed",
                self.limits.directory_entries_max
            ));
        }
        kept.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(kept)
    }

    /// Records one directory's entries and returns the directories to enter.
    fn enter(&mut self, directory: &str, names: Vec<Name>) -> Result<Vec<String>, Errno> {
        if names.iter().any(|name| name.name == "pyvenv.cfg") {
            self.skip(directory);
            return Ok(Vec::new());
        }
        let fd = self.open(directory, OFlags::PATH | OFlags::DIRECTORY)?;
        let mut children = Vec::new();
        for name in names {
            if self.listing.len() >= self.limits.entries_max && !MANIFESTS.contains(&name.name.as_str()) {
                self.listing.set_cut(format!("only {} entries are listed", self.limits.entries_max));
                continue;
            }
            let path = join(directory, &name.name);
            let (kind, size) = self.look(&fd, &name, &path);
            match kind {
                EntryKind::Directory => children.push(path.clone()),
                EntryKind::File if worth_reading(&path) => self.readable.push((path.clone(), size)),
                _ => {}
            }
            self.listing.insert(path, kind, size);
        }
        Ok(children)
    }

    fn look(&self, directory: &OwnedFd, name: &Name, path: &str) -> (EntryKind, u64) {
        if name.raw.as_bytes() != name.name.as_bytes() {
            return (EntryKind::Unreadable("its name is not UTF-8".to_owned()), 0);
        }
        let stat = rustix::fs::statat(directory, name.raw.as_c_str(), AtFlags::SYMLINK_NOFOLLOW);
        let stat = match stat {
            Ok(stat) => stat,
            Err(errno) => return (EntryKind::Unreadable(reason(errno)), 0),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => (EntryKind::File, size_of(&stat)),
            FileType::Directory if SKIPPED.contains(&name.name.as_str()) => (EntryKind::Skipped, 0),
            FileType::Directory => (EntryKind::Directory, 0),
            FileType::Symlink => self.look_through(path),
            _ => (EntryKind::Special, 0),
        }
    }

    /// What a link leads to, if that is inside the project.
    fn look_through(&self, path: &str) -> (EntryKind, u64) {
        let target = self.open(path, OFlags::PATH).and_then(|fd| rustix::fs::fstat(&fd));
        match target {
            Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => (EntryKind::File, size_of(&stat)),
                FileType::Directory => (EntryKind::Link("a link to a folder; not entered".to_owned()), 0),
                _ => (EntryKind::Special, 0),
            },
            Err(Errno::XDEV) => (EntryKind::Link("a link out of the project; not followed".to_owned()), 0),
            Err(Errno::LOOP) => (EntryKind::Link("a link that leads back to itself".to_owned()), 0),
            Err(Errno::NOENT) => (EntryKind::Link("a link to nothing".to_owned()), 0),
            Err(errno) => (EntryKind::Link(format!("a link that cannot be followed: {}", reason(errno))), 0),
        }
    }

    /// Opens a path beneath the root; the kernel refuses one that leaves it, `..` and magic links included.
    fn open(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { "." } else { path };
        let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        // PATH descriptors take none of the reading flags.
        let flags = if flags.contains(OFlags::PATH) {
            flags.difference(OFlags::NONBLOCK | OFlags::NOCTTY)
        } else {
            flags
        };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve)
    }

    /// Reads the files that can decide: manifests first, then what lies nearest to the root.
    fn read_files(&mut self) {
        let mut files = std::mem::take(&mut self.readable);
        files.sort_by_key(|(path, _)| {
            let manifest = MANIFESTS.contains(&name_of(path));
            (path.matches('/').count() / 2, !manifest, path.matches('/').count(), path.clone())
        });
        let mut left = self.limits.total_bytes_max;
        for (path, size) in files {
            let content = if name_of(&path) == "package-lock.json" {
                // Its first lines repeat the manifest it was made from; the rest is long and decides nothing.
                self.read(&path, LOCK_BYTES.min(left))
            } else if size > self.limits.file_bytes_max {
                Content::TooLarge
            } else if size > left {
                Content::NotRead
            } else {
                left -= size;
                self.read(&path, self.limits.file_bytes_max)
            };
            self.listing.set_content(path, content);
        }
    }

    fn read(&self, path: &str, bytes_max: u64) -> Content {
        let bytes = self.open(path, OFlags::RDONLY).map_err(io::Error::from).and_then(|fd| {
            // It may have been swapped since it was listed.
            if !FileType::from_raw_mode(rustix::fs::fstat(fd.as_fd())?.st_mode).is_file() {
                return Err(io::Error::other("not a regular file any more"));
            }
            let mut bytes = Vec::new();
            File::from(fd).take(bytes_max).read_to_end(&mut bytes)?;
            Ok(bytes)
        });
        match bytes {
            Ok(bytes) => decode(&bytes),
            Err(error) => Content::Unreadable(error.to_string()),
        }
    }
}

fn size_of(stat: &rustix::fs::Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

fn reason(errno: Errno) -> String {
    io::Error::from(errno).to_string()
}

fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn worth_reading(path: &str) -> bool {
    let name = name_of(path);
    if UNREAD.contains(&name) || name.ends_with(".min.js") {
        return false;
    }
    MANIFESTS.contains(&name)
        || READ_ENDINGS.iter().any(|ending| name.ends_with(ending))
        || name.starts_with("Dockerfile")
        || name.to_ascii_lowercase().starts_with("readme")
        || path.starts_with("bin/")
}
