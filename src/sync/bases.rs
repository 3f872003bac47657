//! What both sides last agreed on, text by text: without it two edits of one text cannot be put together.
//!
//! Once both sides have edited a file, what it held before is on neither. So the driver keeps the short texts of the
//! ancestor beside the journal, when nothing else happens, a few at a time. Only ever a help: what is missing cannot be
//! merged, and everything that is read here is held against the digest it is asked for by.

use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use nexus_agent::entry::Digest;
use nexus_agent::path::RelPath;
use nexus_agent::tree::Item;
use nexus_agent::tree::Tree;
use nexus_agent::tree::diff;

use super::merge;

/// More that are new at once are no edits but a first sync, or a switch of branches: of a large tree only those are kept
/// that somebody edits.
const EDITS_MAX: usize = 2_000;
/// So many texts are kept at most, and so many bytes of them.
const TEXTS_MAX: usize = 20_000;
const BYTES_MAX: u64 = 64 << 20;
/// So many are taken at a time, with a pause in between, once nothing has happened for a while.
const PORTION: usize = 20;
const PAUSE: Duration = Duration::from_millis(50);
const REST: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Debug)]
pub(super) struct Bases {
    folder: PathBuf,
    /// The ancestor as far as it was followed.
    followed: Tree,
    due: VecDeque<(RelPath, Digest)>,
    held: BTreeSet<Digest>,
    bytes: u64,
    /// When to go on.
    next: Instant,
}

impl Bases {
    /// Those that were kept before, as far as the ancestor still holds them.
    pub(super) fn open(folder: PathBuf, ancestor: &Tree) -> Self {
        let mut bases = Self {
            folder,
            followed: Tree::default(),
            due: VecDeque::new(),
            held: BTreeSet::new(),
            bytes: 0,
            next: Instant::now() + REST,
        };
        bases.follow(ancestor);
        let texts = ancestor.root().into_iter().flat_map(|root| texts(root, None));
        let wanted: BTreeSet<Digest> = texts.map(|(_, digest, _)| digest).collect();
        for entry in std::fs::read_dir(&bases.folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let digest = name.to_str().and_then(|name| blake3::Hash::from_hex(name).ok()).map(Digest::from);
            match (digest.filter(|digest| wanted.contains(digest)), entry.metadata()) {
                (Some(digest), Ok(facts)) => {
                    bases.bytes += facts.len();
                    bases.held.insert(digest);
                }
                _ => drop(std::fs::remove_file(entry.path())),
            }
        }
        let Self { due, held, .. } = &mut bases;
        due.retain(|(_, digest)| !held.contains(digest));
        bases
    }

    /// Something happens: not now.
    pub(super) fn disturb(&mut self) {
        self.next = Instant::now() + REST;
    }

    /// When there is something to do, if there is.
    pub(super) fn due(&self, ancestor: &Tree) -> Option<Instant> {
        (!self.due.is_empty() || self.followed.digest() != ancestor.digest()).then_some(self.next)
    }

    /// Keeps a few more; `read` says what stands at a path.
    pub(super) fn go_on(&mut self, ancestor: &Tree, read: impl Fn(RelPath) -> Option<Vec<u8>>) {
        self.next = Instant::now() + PAUSE;
        self.follow(ancestor);
        for _ in 0..PORTION {
            let Some((path, digest)) = self.due.pop_front() else { return };
            if self.held.len() >= TEXTS_MAX || self.bytes >= BYTES_MAX {
                return self.due.clear();
            }
            let Some(content) = read(path).filter(|content| is(content, digest)) else { continue };
            if merge::text(&content).is_some() && self.keep(digest, &content).is_ok() {
                self.bytes += content.len() as u64;
                self.held.insert(digest);
            }
        }
    }

    /// One that is kept.
    pub(super) fn get(&self, digest: Digest) -> Option<Vec<u8>> {
        let content = std::fs::read(self.folder.join(digest.to_string())).ok()?;
        is(&content, digest).then_some(content)
    }

    fn follow(&mut self, ancestor: &Tree) {
        let mut edits = Vec::new();
        for change in diff(&self.followed, ancestor) {
            let before = self.followed.get(change.path.as_ref()).cloned();
            for (_, digest, size) in before.iter().flat_map(|item| texts(item, change.path.clone())) {
                if self.held.remove(&digest) {
                    self.bytes = self.bytes.saturating_sub(size);
                    drop(std::fs::remove_file(self.folder.join(digest.to_string())));
                }
            }
            let after = change.item.iter().flat_map(|item| texts(item, change.path.clone()));
            let room = (EDITS_MAX + 1).saturating_sub(edits.len());
            edits.extend(after.map(|(path, digest, _)| (path, digest)).take(room));
        }
        if edits.len() <= EDITS_MAX {
            self.due.extend(edits);
        }
        self.followed = ancestor.clone();
        let Self { due, held, .. } = self;
        due.retain(|(path, digest)| {
            let stands = matches!(ancestor.get(Some(path)), Some(Item::File(file)) if file.digest == *digest);
            stands && !held.contains(digest)
        });
    }

    fn keep(&self, digest: Digest, content: &[u8]) -> io::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        std::fs::write(self.folder.join(digest.to_string()), content)
    }
}

fn is(content: &[u8], digest: Digest) -> bool {
    Digest::from(blake3::hash(content)) == digest
}

/// The files of an item that may be texts.
fn texts(item: &Item, path: Option<RelPath>) -> impl Iterator<Item = (RelPath, Digest, u64)> {
    item.walk(path).filter_map(|(path, item)| match (path, item) {
        (Some(path), Item::File(file)) if (1..=merge::TEXT_MAX).contains(&file.size) => {
            Some((path, file.digest, file.size))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use nexus_agent::tree::Change;
    use nexus_agent::tree::Directory;
    use nexus_agent::tree::File;

    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).unwrap()
    }

    fn digest(content: &str) -> Digest {
        blake3::hash(content.as_bytes()).into()
    }

    fn tree(files: &BTreeMap<&str, &str>) -> Tree {
        let mut tree = Tree::with_root(Some(Item::Directory(Directory::empty())));
        let change = |(name, content): (&&str, &&str)| Change {
            path: Some(path(name)),
            item: Some(Item::File(File::new(content.len() as u64, false, digest(content)))),
        };
        tree.apply(&files.iter().map(change).collect::<Vec<_>>()).unwrap();
        tree
    }

    fn follow(bases: &mut Bases, files: &BTreeMap<&str, &str>) {
        let ancestor = tree(files);
        while bases.due(&ancestor).is_some() {
            bases.go_on(&ancestor, |path| files.get(&*path.to_string()).map(|text| text.as_bytes().to_vec()));
        }
    }

    #[test]
    fn short_texts_of_the_ancestor_are_kept_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("bases");
        let long = "x".repeat(usize::try_from(merge::TEXT_MAX).unwrap() + 1);
        let mut files = BTreeMap::from([("a", "one"), ("b", "two"), ("c", "\0"), ("d", &long), ("e", "")]);
        let mut bases = Bases::open(folder.clone(), &Tree::default());
        follow(&mut bases, &files);
        let kept = |bases: &Bases, content: &str| bases.get(digest(content)).is_some();
        assert!(kept(&bases, "one") && kept(&bases, "two"));
        assert!(!kept(&bases, "\0") && !kept(&bases, &long));
        files.insert("a", "three");
        files.remove("b");
        follow(&mut bases, &files);
        assert!(kept(&bases, "three") && !kept(&bases, "one") && !kept(&bases, "two"));
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        assert_eq!(bases.bytes, 5);

        // What was damaged is none, and what is not of the ancestor goes with the next start.
        std::fs::write(folder.join(digest("three").to_string()), "thr").unwrap();
        assert_eq!(bases.get(digest("three")), None);
        std::fs::write(folder.join(digest("other").to_string()), "other").unwrap();
        let bases = Bases::open(folder.clone(), &tree(&files));
        assert!(!kept(&bases, "other"));
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn of_a_mass_of_texts_only_those_are_kept_that_are_edited() {
        let home = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..=EDITS_MAX).map(|number| number.to_string()).collect();
        let mut files: BTreeMap<&str, &str> = names.iter().map(|name| (&**name, &**name)).collect();
        let mut bases = Bases::open(home.path().join("bases"), &Tree::default());
        follow(&mut bases, &files);
        assert_eq!(bases.held.len(), 0);
        files.insert("7", "edited");
        follow(&mut bases, &files);
        assert_eq!((bases.held.len(), bases.get(digest("edited")).is_some()), (1, true));
        let again = Bases::open(home.path().join("bases"), &tree(&files));
        assert!(again.held.contains(&digest("edited")));
    }

    #[test]
    fn what_stands_there_by_now_is_not_taken_for_what_was_agreed_on() {
        let home = tempfile::tempdir().unwrap();
        let mut bases = Bases::open(home.path().join("bases"), &Tree::default());
        let ancestor = tree(&BTreeMap::from([("a", "one")]));
        bases.go_on(&ancestor, |_| Some(b"edited".to_vec()));
        assert_eq!(bases.due(&ancestor), None);
        assert_eq!((bases.get(digest("one")), bases.held.len()), (None, 0));
    }
}
