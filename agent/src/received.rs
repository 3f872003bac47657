//! What a container has received from the host, as far as the program in it depends on it: whether a first sync is
//! complete, what the manifests held as the *host* sent them (an installer may rewrite its own lockfile), and a number
//! for the whole source that is another after every change the host made.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::entry::Digest;
use crate::message::Outcome;
use crate::path::RelPath;
use crate::tree::Item;

/// Raise this whenever [`Written`] changes: another version counts as nothing received.
const VERSION: u32 = 1;

/// See the module. Kept in a file beside the copy; where that cannot be written, in memory.
#[derive(Debug)]
pub struct Received {
    file: PathBuf,
    inputs: Vec<RelPath>,
    written: Written,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Written {
    version: u32,
    complete: bool,
    source: Digest,
    manifests: BTreeMap<RelPath, Option<Digest>>,
}

impl Received {
    /// What was received before, as kept in `state`. `inputs` are the manifests.
    pub fn open(state: &Path, inputs: Vec<RelPath>) -> Self {
        let file = state.join("received");
        let written = fs::read(&file)
            .ok()
            .and_then(|bytes| postcard::from_bytes::<Written>(&bytes).ok())
            .filter(|written| written.version == VERSION);
        let written = written.unwrap_or(Written {
            version: VERSION,
            complete: false,
            source: Digest([0; 32]),
            manifests: BTreeMap::new(),
        });
        Self { file, inputs, written }
    }

    /// Whether a first sync ever was complete.
    pub fn is_complete(&self) -> bool {
        self.written.complete
    }

    /// Stands for all the host has sent.
    pub fn source(&self) -> Digest {
        self.written.source
    }

    /// A manifest as the host sent it last; `None` when it never sent it, or removed it.
    pub fn manifest(&self, path: &RelPath) -> Option<Digest> {
        self.written.manifests.get(path).copied().flatten()
    }

    /// A first sync is complete.
    pub fn complete(&mut self) {
        if !std::mem::replace(&mut self.written.complete, true) {
            self.write();
        }
    }

    /// Takes what became of changes that came from the host. Says whether anything is different.
    pub fn note(&mut self, outcomes: &[Outcome]) -> bool {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.written.source.0);
        let mut changed = false;
        for outcome in outcomes.iter().filter(|outcome| outcome.problem.is_none()) {
            changed = true;
            hasher.update(outcome.path.as_ref().map_or(&b"/"[..], RelPath::as_bytes));
            hasher.update(&outcome.now.as_ref().map_or([0; 32], |now| now.digest().0));
            for input in &self.inputs {
                if let Some(now) = at(outcome, input) {
                    self.written.manifests.insert(input.clone(), now);
                }
            }
        }
        if changed {
            self.written.source = hasher.finalize().into();
            self.write();
        }
        changed
    }

    fn write(&self) {
        let bytes = postcard::to_allocvec(&self.written).expect("it has a form on the disk");
        let aside = self.file.with_extension("new");
        // Forgotten, it only means that something is installed or built once more.
        drop(fs::write(&aside, bytes).and_then(|()| fs::rename(&aside, &self.file)));
    }
}

/// What an outcome says of a path: nothing, or the file that stands there now.
fn at(outcome: &Outcome, path: &RelPath) -> Option<Option<Digest>> {
    let mut item = outcome.now.as_ref();
    let skip = match &outcome.path {
        Some(root) if path.is_within(root) => root.components().count(),
        Some(_) => return None,
        None => 0,
    };
    for name in path.components().skip(skip) {
        item = item.and_then(Item::as_directory).and_then(|directory| directory.get(name));
    }
    Some(item.and_then(|item| if let Item::File(file) = item { Some(file.digest) } else { None }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Problem;
    use crate::sample::file;
    use crate::tree::Directory;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).unwrap()
    }

    fn outcome(path_: &str, now: Option<Item>) -> Outcome {
        Outcome { path: Some(path(path_)), now, problem: None }
    }

    #[test]
    fn manifests_are_found_in_whatever_brought_them_and_survive_a_restart() {
        let state = tempfile::tempdir().unwrap();
        let open = || Received::open(state.path(), vec![path("web/package.json"), path("go.mod")]);
        let mut received = open();
        assert!(!received.is_complete());
        let manifest = file("one");
        let web = Directory::from_children(vec![(b"package.json"[..].into(), manifest.clone())]);
        assert!(received.note(&[outcome("web", Some(Item::Directory(web)))]));
        assert_eq!(received.manifest(&path("web/package.json")), digest(&manifest));
        assert_eq!(received.manifest(&path("go.mod")), None);
        received.complete();
        let first = received.source();
        // An edit elsewhere is another source and the same manifest.
        assert!(received.note(&[outcome("a.txt", Some(file("two")))]));
        assert_ne!(received.source(), first);
        let again = open();
        assert!(again.is_complete());
        assert_eq!(again.source(), received.source());
        assert_eq!(again.manifest(&path("web/package.json")), digest(&manifest));
    }

    #[test]
    fn what_failed_changes_nothing_and_what_went_is_gone() {
        let state = tempfile::tempdir().unwrap();
        let mut received = Received::open(state.path(), vec![path("a")]);
        received.note(&[outcome("a", Some(file("one")))]);
        let before = received.source();
        let problem = Some(Problem::Full);
        assert!(!received.note(&[Outcome { path: Some(path("a")), now: None, problem }]));
        assert_eq!(received.source(), before);
        assert!(received.note(&[outcome("a", None)]));
        assert_eq!(received.manifest(&path("a")), None);
    }

    fn digest(item: &Item) -> Option<Digest> {
        if let Item::File(file) = item { Some(file.digest) } else { None }
    }
}
