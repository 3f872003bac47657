//! Which names of a folder are not carried: what tools make again by themselves, and what is the node's own.

use crate::path::RelPath;
use crate::stage::STAGING;

/// Never carried, wherever they stand. Build output is not among them: of some projects it is all there is.
const NAMES: [&[u8]; 6] = [b"node_modules", b".git", b"__pycache__", b".DS_Store", b".nexus", STAGING];

/// Not carried when they are Python environments, that is, hold [`ENVIRONMENT`].
const ENVIRONMENTS: [&[u8]; 3] = [b".venv", b"venv", b"env"];

/// The file every Python environment holds.
pub const ENVIRONMENT: &[u8] = b"pyvenv.cfg";

/// What to do with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is carried.
    Carry,
    /// It is not carried.
    Skip,
    /// It is not carried if it is a directory that holds [`ENVIRONMENT`].
    SkipEnvironment,
}

/// The rules of one session.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    names: Vec<Vec<u8>>,
    paths: Vec<RelPath>,
}

impl Ignore {
    /// The defaults and `excludes`: a name excludes every file and directory of that name, a path with a slash that
    /// path. What is no path inside a folder excludes nothing.
    pub fn new(excludes: &[String]) -> Self {
        let mut ignore = Self::default();
        for exclude in excludes {
            let exclude = exclude.as_bytes();
            let trimmed = exclude.strip_suffix(b"/").unwrap_or(exclude);
            let anchored = trimmed.strip_prefix(b"/").unwrap_or(trimmed);
            if trimmed.contains(&b'/') {
                ignore.paths.extend(RelPath::parse(anchored));
            } else {
                ignore.names.push(trimmed.to_vec());
            }
        }
        ignore
    }

    /// Judges one path; whatever is below a skipped one is never asked about.
    pub fn judge(&self, path: &RelPath) -> Verdict {
        let name = path.name();
        if NAMES.contains(&name) || self.names.iter().any(|other| other == name) || self.paths.contains(path)
        {
            Verdict::Skip
        } else if ENVIRONMENTS.contains(&name) {
            Verdict::SkipEnvironment
        } else {
            Verdict::Carry
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_count_anywhere_and_paths_where_they_are() {
        let ignore =
            Ignore::new(&["tmp".to_owned(), "a/cache/".to_owned(), "/top".to_owned(), "../x".to_owned()]);
        let judge = |text: &str| ignore.judge(&RelPath::parse(text.as_bytes()).unwrap());
        for skipped in ["node_modules", "web/node_modules", ".git", "b/tmp", "a/cache", "top"] {
            assert_eq!(judge(skipped), Verdict::Skip, "{skipped}");
        }
        for carried in ["dist", "build", ".env", "cache", "b/cache", ".gitignore", "b/top"] {
            assert_eq!(judge(carried), Verdict::Carry, "{carried}");
        }
        assert_eq!(judge("venv"), Verdict::SkipEnvironment);
    }
}
