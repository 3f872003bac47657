//! The trees that are carried: a repository with two branches, checked out anew for everybody.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::LazyLock;

use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

const FILES_A_DIRECTORY: usize = 25;
const DIRECTORIES_A_PART: usize = 20;
/// The other branch has another version of each file whose number this divides.
const OTHER: usize = 10;

/// Where a file stands in the tree.
pub fn path(index: usize) -> String {
    let group = index / FILES_A_DIRECTORY;
    let (part, group) = (group / DIRECTORIES_A_PART, group % DIRECTORIES_A_PART);
    format!("part-{part:03}/group-{group:02}/file-{index:06}.txt")
}

/// Words, about as compressible as source.
static WORDS: LazyLock<String> = LazyLock::new(|| {
    let mut next = numbers(0);
    let mut text = String::new();
    while text.len() < 1 << 20 {
        let words = ["let ", "return ", "value", "(", ") ", ";\n", "name_", "+ ", "index ", "// "];
        match next(12) {
            10 => write!(text, "{:x} ", next(1 << 31)).unwrap(),
            11 => text.push_str("    "),
            word => text.push_str(words[word]),
        }
    }
    text
});

/// A linear congruential generator: the same tree in every run.
fn numbers(seed: usize) -> impl FnMut(usize) -> usize {
    let mut state = seed as u64 ^ 0x9e37_79b9_7f4a_7c15;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    }
}

/// What it holds: between 200 and 4,100 bytes of words, and a note.
pub fn content(index: usize, note: &str) -> Vec<u8> {
    let mut next = numbers(index);
    let length = 200 + next(3_900);
    let from = next(WORDS.len() - length);
    format!("file {index} {note}\n{}\n{note}\n", &WORDS[from..from + length]).into_bytes()
}

/// The two branches of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Branch {
    /// Checked out first.
    Main,
    Other,
}

impl Branch {
    fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Other => "other",
        }
    }

    fn note(self) -> &'static str {
        match self {
            Self::Main => "",
            Self::Other => "of the other branch",
        }
    }
}

/// The files that a switch to a branch changes, and what that has there.
pub fn switched(files: usize, to: Branch) -> impl Iterator<Item = (String, Vec<u8>)> {
    (0..files).step_by(OTHER).map(move |index| (path(index), content(index, to.note())))
}

/// The files of the branch that is checked out first.
pub fn all(files: usize) -> impl Iterator<Item = (String, Vec<u8>)> {
    (0..files).map(|index| (path(index), content(index, Branch::Main.note())))
}

/// The n-th file to edit; none of them is changed by the other branch, and each way has its own.
pub fn edited(files: usize, edits: usize, n: usize, shift: usize) -> usize {
    let stride = (files / edits / (2 * OTHER)).max(1) * 2 * OTHER;
    (n * stride + OTHER / 2 + shift * OTHER) % files
}

/// A repository that trees of one size come from.
pub struct Template {
    directory: TempDir,
    pub files: usize,
}

impl Template {
    pub async fn make(files: usize) -> Self {
        let directory = tempfile::Builder::new().prefix("nexus-bench-").tempdir().unwrap();
        let template = Self { directory, files };
        let repository = template.directory.path().join("repository");
        git(&["init", "--quiet", "--bare", repository.to_str().unwrap()], None).await;
        let mut history = Vec::new();
        for (branch, from) in [(Branch::Main, None), (Branch::Other, Some(Branch::Main))] {
            let name = branch.name();
            write!(history, "commit refs/heads/{name}\ncommitter bench <bench@localhost> 0 +0000\n").unwrap();
            history.extend_from_slice(b"data 0\n");
            let files: Box<dyn Iterator<Item = (String, Vec<u8>)>> = match from {
                None => Box::new(all(files)),
                Some(from) => {
                    writeln!(history, "from refs/heads/{}", from.name()).unwrap();
                    Box::new(switched(files, branch))
                }
            };
            for (path, content) in files {
                write!(history, "M 100644 inline {path}\ndata {}\n", content.len()).unwrap();
                history.extend_from_slice(&content);
                history.push(b'\n');
            }
        }
        let import = ["-C", repository.to_str().unwrap(), "-c", "core.compression=0", "fast-import"];
        git(&[&import[..], &["--quiet", "--depth=0"]].concat(), Some(&history)).await;
        template
    }

    /// A working tree of the first branch, beside which there is room of its own.
    pub async fn check_out(&self) -> Tree {
        let directory = tempfile::Builder::new().prefix("nexus-bench-").tempdir().unwrap();
        let tree = directory.path().join("tree");
        let from = self.directory.path().join("repository");
        let clone = ["clone", "--quiet", "--shared", "--branch", "main"];
        git(&[&clone[..], &[from.to_str().unwrap(), tree.to_str().unwrap()]].concat(), None).await;
        // What is still to be written to the disk is not the first contender's to wait for.
        rustix::fs::syncfs(std::fs::File::open(&tree).unwrap()).unwrap();
        Tree { path: tree, directory }
    }
}

pub struct Tree {
    pub path: PathBuf,
    directory: TempDir,
}

impl Tree {
    /// A place on the same file system that is not part of it.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// Checks out a branch.
pub async fn switch(tree: &Path, to: Branch) {
    git(&["-C", tree.to_str().unwrap(), "checkout", "--quiet", to.name()], None).await;
}

async fn git(words: &[&str], input: Option<&[u8]>) {
    let mut command = Command::new("git");
    command.args(words).env_clear().env("PATH", "/usr/bin:/bin").env("GIT_CONFIG_NOSYSTEM", "1");
    command.stdin(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("git is there");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(input.unwrap_or_default()).await.unwrap();
    drop(stdin);
    assert!(child.wait().await.unwrap().success(), "git {words:?}");
}
