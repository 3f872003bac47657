//! What one adaptation collects on its way: problems, notices, and what must be ready before the stack comes up.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::base::printable::line;
use crate::compose::problem::Problem;
use crate::engine::Labels;

use super::input::PassInput;
use super::paths::join;
use super::place;

/// Problems that are given a place; each costs reading the files again.
const PLACES: usize = 50;

/// The state of one adaptation.
pub(super) struct Scope<'a> {
    pub(super) input: &'a PassInput<'a>,
    /// The compose file's name, for messages.
    pub(super) file: String,
    /// The directory of the compose file, relative to the project.
    pub(super) base: String,
    /// The project's absolute names: as this node sees it, as the engine's host does.
    pub(super) folders: Vec<String>,
    /// The texts that were read, by file, in the order they are laid over each other.
    pub(super) texts: Vec<(String, String)>,
    pub(super) problems: Vec<Problem>,
    pub(super) notices: Vec<String>,
    /// Paths in the project that Compose or the engine will open.
    pub(super) paths: BTreeSet<String>,
    /// What services see of the project itself.
    pub(super) binds: Vec<Bind>,
    /// Volumes the caller makes, by name.
    pub(super) volumes: BTreeMap<String, Labels>,
}

/// A part of the project that is mounted into a container.
pub(super) struct Bind {
    pub(super) service: String,
    /// Relative to the project; empty for all of it.
    pub(super) inside: String,
    pub(super) target: String,
}

impl<'a> Scope<'a> {
    /// An empty scope.
    pub(super) fn new(input: &'a PassInput<'a>) -> Self {
        let mut folders = vec![join(&input.folder, "")];
        folders.extend(input.view.host(&input.folder));
        Self {
            input,
            file: "compose.yaml".to_owned(),
            base: String::new(),
            folders,
            texts: Vec::new(),
            problems: Vec::new(),
            notices: Vec::new(),
            paths: BTreeSet::new(),
            binds: Vec::new(),
            volumes: BTreeMap::new(),
        }
    }

    /// Refuses what `key` asks for, unless the user allows `entry`. Says whether it stays.
    pub(super) fn refuse(&mut self, key: &str, entry: &str, why: &str) -> bool {
        if self.input.overrides.allow.iter().any(|allowed| covers(allowed, entry)) {
            self.notice(format!("`{key}` is permitted by `allow` in .nexus/config.yaml: {why}"));
            return true;
        }
        self.push(key, format!("refused: {why}"), None, Some(entry.to_owned()));
        false
    }

    /// Refuses what nothing can permit.
    pub(super) fn forbid(&mut self, key: &str, why: &str, hint: &str) {
        self.push(key, format!("refused: {why}"), Some(hint.to_owned()), None);
    }

    /// Notes something that is no policy but cannot work.
    pub(super) fn wrong(&mut self, key: &str, message: impl Into<String>, hint: impl Into<String>) {
        self.push(key, message.into(), Some(hint.into()), None);
    }

    fn push(&mut self, key: &str, message: String, hint: Option<String>, allow: Option<String>) {
        let problem =
            Problem { file: self.file.clone(), place: None, key: key.to_owned(), message, hint, allow };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// The problems, each with the place of its key.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems;
        for problem in problems.iter_mut().take(PLACES) {
            if problem.place.is_some() || problem.key.is_empty() || problem.file.is_empty() {
                continue;
            }
            // What is written in full stands where it was written last; else the first file that comes closest.
            let mut best: Option<(&String, place::Found)> = None;
            for (file, text) in &self.texts {
                let Some(found) = place::find(text, &problem.key) else { continue };
                let full = found.bytes == problem.key.len();
                if best.is_none_or(|(_, before)| full || found.bytes > before.bytes) {
                    best = Some((file, found));
                }
            }
            if let Some((file, found)) = best {
                problem.file.clone_from(file);
                problem.place = Some(found.place);
            }
        }
        problems
    }

    /// Tells the user about a change that stops nothing.
    pub(super) fn notice(&mut self, text: String) {
        let text = line(&text).into_owned();
        if !self.notices.contains(&text) {
            self.notices.push(text);
        }
    }
}

/// Whether the entry `allowed` of the user's list permits `entry`: the same text, or for binds a directory above it.
fn covers(allowed: &str, entry: &str) -> bool {
    let below = |allowed: &str, path: &str| {
        std::path::Path::new(path).starts_with(allowed) && allowed.starts_with('/') && allowed != "/"
    };
    allowed == entry
        || match (allowed.strip_prefix("bind:"), entry.strip_prefix("bind:")) {
            (Some(allowed), Some(path)) => below(allowed, path) && !path.ends_with(".sock"),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowed_directory_permits_what_is_below_it_but_no_socket() {
        assert!(covers("privileged", "privileged"));
        assert!(covers("bind:/srv/media", "bind:/srv/media/films"));
        assert!(covers("bind:/", "bind:/"));
        assert!(covers("bind:/var/run/docker.sock", "bind:/var/run/docker.sock"));
        for (allowed, entry) in [
            ("bind:/srv/media", "bind:/srv/mediation"),
            ("bind:/", "bind:/etc"),
            ("bind:/var/run", "bind:/var/run/docker.sock"),
            ("bind:", "bind:/etc"),
            ("privileged", "cap_add:SYS_ADMIN"),
        ] {
            assert!(!covers(allowed, entry), "{allowed} {entry}");
        }
    }
}
