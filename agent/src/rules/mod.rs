//! Which names of a folder are not carried, and which of those go with the directory they are in.
//!
//! The rules of one session stand in four ranks, the first that says anything counts, as in git: what the session
//! excludes; the `.gitignore` files, the nearest first; `.git/info/exclude`; the defaults. A line that starts with `!`
//! carries again, unless a directory above is not carried: nobody looks into that. Unlike git, nobody asks whether a
//! file was committed all the same.
//!
//! What is not carried stays on both sides whatever else happens: it is [`Keep::Protected`] and keeps its directory
//! from being removed, but for what tools make again by themselves, which is [`Keep::Disposable`] and goes with it.

mod pattern;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use ignore::gitignore::Gitignore;
use ignore::gitignore::GitignoreBuilder;
use serde::Deserialize;
use serde::Serialize;

use crate::entry::Digest;
use crate::path::RelPath;
use crate::tree::Keep;

/// Not carried unless the project says otherwise.
pub const DEFAULTS: [&str; 9] =
    ["node_modules/", ".git", "build/", "dist/", "*.log", ".DS_Store", ".nexus/", "__pycache__/", "*.pyc"];

/// What tools make again by themselves, so that nobody misses it.
pub const DISPOSABLE: [&str; 3] = ["__pycache__/", "*.pyc", ".DS_Store"];

/// The file every Python environment holds; a directory with it is not carried.
pub const ENVIRONMENT: &[u8] = b"pyvenv.cfg";

/// The file whose lines are rules for the directory it is in.
pub const GITIGNORE: &[u8] = b".gitignore";

/// Longer rule files are not read: no person has written them.
pub const RULES_SIZE_MAX: usize = 1 << 20;

/// What a session is told about its rules. Every list holds gitignore lines, seen from the root of the folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Not carried unless any other rule says otherwise.
    pub defaults: Vec<String>,
    /// What this session excludes, or with `!` carries, whatever any other rule says.
    pub excludes: Vec<String>,
    /// Which of what is not carried goes with its directory.
    pub disposable: Vec<String>,
    /// Whether `.gitignore` and `.git/info/exclude` count.
    pub gitignore: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let lines = |lines: &[&str]| lines.iter().map(ToString::to_string).collect();
        Self {
            defaults: lines(&DEFAULTS),
            excludes: Vec::new(),
            disposable: lines(&DISPOSABLE),
            gitignore: true,
        }
    }
}

impl Settings {
    /// Carries the directory at `path` and all in it, whatever else is said of it: the build output a project is
    /// served from is no rubbish.
    #[must_use]
    pub fn carrying(mut self, path: &RelPath) -> Self {
        let mut line = String::from("!");
        for component in path.components() {
            line.push('/');
            for character in String::from_utf8_lossy(component).chars() {
                match character {
                    char::REPLACEMENT_CHARACTER => line.push('?'),
                    '*' | '?' | '[' | '\\' | ' ' => line.extend(['\\', character]),
                    other => line.push(other),
                }
            }
            self.excludes.push(line.clone());
        }
        self.excludes.push(format!("{line}/**"));
        self
    }
}

/// A rule that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` excludes nothing: {reason}")]
pub struct PatternError {
    /// The rule as it was given.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

/// What to do with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is carried.
    Carry,
    /// It stays where it is.
    Leave(Keep),
}

/// Which rule says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Where the rule stands: a file, `the excludes of the session` or `the defaults`.
    pub source: String,
    /// The rule.
    pub pattern: String,
}

/// The rules of one session on one side.
#[derive(Debug, Clone)]
pub struct Rules {
    settings: Arc<Settings>,
    excludes: Lines,
    defaults: Lines,
    disposable: Lines,
    info: Lines,
    /// By the directory they count in; `None` is the root.
    nested: BTreeMap<Option<RelPath>, Lines>,
}

impl Rules {
    /// The rules before any file was read.
    ///
    /// # Errors
    /// The first of the settings' lines that can never match.
    pub fn new(settings: Settings) -> Result<Self, PatternError> {
        Ok(Self {
            excludes: Lines::strict(&settings.excludes)?,
            defaults: Lines::strict(&settings.defaults)?,
            disposable: Lines::strict(&settings.disposable)?,
            info: Lines::default(),
            nested: BTreeMap::new(),
            settings: Arc::new(settings),
        })
    }

    /// Other settings, with what was read from files so far.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn under(&self, settings: Settings) -> Result<Self, PatternError> {
        Ok(Self { info: self.info.clone(), nested: self.nested.clone(), ..Self::new(settings)? })
    }

    /// What they were made from.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes the text of the `.gitignore` in a directory, `None` when there is none. Lines that mean nothing are passed
    /// over, as git does. Returns whether anything below the directory may now be judged otherwise.
    pub fn set_gitignore(&mut self, directory: Option<&RelPath>, text: Option<&[u8]>) -> bool {
        let lines = text.filter(|_| self.settings.gitignore).map(Lines::lenient).unwrap_or_default();
        let key = directory.cloned();
        if self.nested.get(&key).map_or(Digest::from(blake3::hash(b"")), Lines::digest) == lines.digest() {
            return false;
        }
        if lines.is_empty() {
            drop(self.nested.remove(&key))
        } else {
            drop(self.nested.insert(key, lines))
        }
        true
    }

    /// Forgets the `.gitignore` files in `directory` and below it: it is gone.
    pub fn forget(&mut self, directory: &RelPath) {
        let from = (Bound::Included(Some(directory.clone())), Bound::Unbounded);
        let below = self.nested.range(from).map(|(key, _)| key.clone());
        let below: Vec<_> =
            below.take_while(|key| key.as_ref().is_some_and(|key| key.is_within(directory))).collect();
        for key in below {
            self.nested.remove(&key);
        }
    }

    /// Takes the text of `.git/info/exclude`; like [`set_gitignore`](Self::set_gitignore), for the whole folder.
    pub fn set_info(&mut self, text: Option<&[u8]>) -> bool {
        let lines = text.filter(|_| self.settings.gitignore).map(Lines::lenient).unwrap_or_default();
        let changed = lines.digest() != self.info.digest();
        self.info = lines;
        changed
    }

    /// Judges a path in a carried directory.
    pub fn judge(&self, path: &RelPath, is_directory: bool) -> Verdict {
        match self.decide(path, is_directory) {
            Some((_, decision)) if decision.ignores => Verdict::Leave(self.keep(path, is_directory)),
            _ => Verdict::Carry,
        }
    }

    /// Whether what is not carried at `path` goes with its directory.
    pub fn keep(&self, path: &RelPath, is_directory: bool) -> Keep {
        match self.disposable.decide(path.as_bytes(), is_directory) {
            Some(decision) if decision.ignores => Keep::Disposable,
            _ => Keep::Protected,
        }
    }

    /// Which rule decides about a path in a carried directory; `None` when no rule does, so that it is carried.
    pub fn reason(&self, path: &RelPath, is_directory: bool) -> Option<Reason> {
        let (source, decision) = self.decide(path, is_directory)?;
        let source = match source {
            Source::Excludes => "the excludes of the session".to_owned(),
            Source::Nested(None) => ".gitignore".to_owned(),
            Source::Nested(Some(directory)) => format!("{directory}/.gitignore"),
            Source::Info => ".git/info/exclude".to_owned(),
            Source::Defaults => "the defaults".to_owned(),
        };
        Some(Reason { source, pattern: decision.line.to_owned() })
    }

    fn decide(&self, path: &RelPath, is_directory: bool) -> Option<(Source, Decision<'_>)> {
        let whole = path.as_bytes();
        let from = |source| move |decision| (source, decision);
        self.excludes
            .decide(whole, is_directory)
            .map(from(Source::Excludes))
            .or_else(|| self.decide_nested(path, is_directory))
            .or_else(|| self.info.decide(whole, is_directory).map(from(Source::Info)))
            .or_else(|| self.defaults.decide(whole, is_directory).map(from(Source::Defaults)))
    }

    fn decide_nested(&self, path: &RelPath, is_directory: bool) -> Option<(Source, Decision<'_>)> {
        if self.nested.is_empty() {
            return None;
        }
        let mut directory = path.parent();
        loop {
            if let Some(lines) = self.nested.get(&directory) {
                let skip = directory.as_ref().map_or(0, |directory| directory.as_bytes().len() + 1);
                if let Some(decision) = lines.decide(&path.as_bytes()[skip..], is_directory) {
                    return Some((Source::Nested(directory), decision));
                }
            }
            directory = directory?.parent();
        }
    }

    /// Two sides with the same fingerprint judge every path alike.
    pub fn fingerprint(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        let mut add = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        for lines in [&self.excludes, &self.defaults, &self.disposable, &self.info] {
            add(&lines.digest().0);
        }
        for (directory, lines) in &self.nested {
            add(directory.as_ref().map_or(&[][..], RelPath::as_bytes));
            add(&lines.digest().0);
        }
        hasher.finalize().into()
    }
}

enum Source {
    Excludes,
    Nested(Option<RelPath>),
    Info,
    Defaults,
}

struct Decision<'a> {
    ignores: bool,
    line: &'a str,
}

/// The lines of one place.
#[derive(Debug, Clone)]
struct Lines {
    matcher: Option<Arc<Gitignore>>,
    digest: Digest,
}

impl Default for Lines {
    fn default() -> Self {
        Self { matcher: None, digest: blake3::hash(b"").into() }
    }
}

impl Lines {
    fn strict(lines: &[String]) -> Result<Self, PatternError> {
        let mut builder = GitignoreBuilder::new("");
        for line in lines {
            add(&mut builder, line.as_bytes())
                .map_err(|reason| PatternError { pattern: line.clone(), reason })?;
        }
        let digest = blake3::hash(lines.join("\n").as_bytes());
        Self::build(&builder, digest.into())
            .map_err(|reason| PatternError { pattern: lines.join(" "), reason })
    }

    fn lenient(text: &[u8]) -> Self {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let mut builder = GitignoreBuilder::new("");
        for line in text.split(|byte| *byte == b'\n') {
            // A line that can never match changes nothing.
            drop(add(&mut builder, line));
        }
        Self::build(&builder, blake3::hash(text).into()).unwrap_or_default()
    }

    fn build(builder: &GitignoreBuilder, digest: Digest) -> Result<Self, String> {
        let matcher = builder.build().map_err(|error| error.to_string())?;
        let matcher = (!matcher.is_empty()).then(|| Arc::new(matcher));
        Ok(Self { digest: if matcher.is_some() { digest } else { Self::default().digest }, matcher })
    }

    fn is_empty(&self) -> bool {
        self.matcher.is_none()
    }

    fn digest(&self) -> Digest {
        self.digest
    }

    fn decide(&self, path: &[u8], is_directory: bool) -> Option<Decision<'_>> {
        let path = Path::new(OsStr::from_bytes(path));
        let matched = self.matcher.as_ref()?.matched(path, is_directory);
        let written = matched.inner()?.from().and_then(Path::to_str).unwrap_or_default();
        Some(Decision { ignores: matched.is_ignore(), line: written })
    }
}

fn add(builder: &mut GitignoreBuilder, line: &[u8]) -> Result<(), String> {
    let Some(glob) = pattern::translate(line)? else { return Ok(()) };
    // Where the matcher would keep the name of the file it keeps the line as it was written.
    let written = String::from_utf8_lossy(line).trim_end().to_owned();
    builder.add_line(Some(written.into()), &glob).map_err(|error| error.to_string())?;
    Ok(())
}

#[cfg(test)]
mod tests;
