//! What has to be done before the program can start, and whether it was done already.
//!
//! Dependencies are installed again only when something they depend on is another: the install line, the manifests as
//! the *node* sent them (an installer may rewrite its own lockfile), the runtime, or the folder itself. The same for a
//! build and the whole source.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;

use super::Options;
use super::environment::Environment;
use super::process;
use crate::files::Root;
use crate::path::RelPath;
use crate::received::Received;

/// The programs whose versions decide whether what was installed still fits.
const RUNTIMES: [&str; 8] = ["node", "bun", "python3", "python", "ruby", "php", "go", "java"];
/// Programs that install into a Python environment.
const PYTHON: [&str; 8] = ["pip", "pip3", "python", "python3", "uv", "poetry", "pipenv", "pdm"];
/// Those of them that a plain Python image lacks and `pip` brings.
const PYTHON_TOOLS: [&str; 4] = ["uv", "poetry", "pipenv", "pdm"];

/// A note on the state volume, and in memory where that cannot be written.
#[derive(Debug)]
pub struct Memo {
    file: PathBuf,
    value: Option<String>,
}

impl Memo {
    /// The note called `name` in `state`.
    pub fn open(state: &Path, name: &str) -> Self {
        let file = state.join(name);
        let value = std::fs::read_to_string(&file).ok();
        Self { file, value }
    }

    /// Whether it says this.
    pub fn says(&self, value: &str) -> bool {
        self.value.as_deref() == Some(value)
    }

    /// Makes it say this.
    pub fn write(&mut self, value: &str) {
        drop(std::fs::write(&self.file, value));
        self.value = Some(value.to_owned());
    }

    /// Makes it say nothing.
    pub fn clear(&mut self) {
        drop(std::fs::remove_file(&self.file));
        self.value = None;
    }
}

/// What an installation depends on, as one word.
pub fn install_digest(options: &Options, received: &Received, search: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut add = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    add(options.install.as_deref().unwrap_or_default().as_bytes());
    add(runtime(search).as_bytes());
    // A folder made anew has nothing installed in it.
    let folder = Root::open(&options.folder).and_then(|root| root.identity());
    add(format!("{:?}", folder.ok()).as_bytes());
    for input in &options.install_inputs {
        add(input.as_bytes());
        add(&input_content(options, received, input));
    }
    hasher.finalize().to_hex().to_string()
}

/// A manifest as the node sent it; where nothing was ever sent, as it is on the disk.
fn input_content(options: &Options, received: &Received, input: &str) -> Vec<u8> {
    if !options.await_sync {
        return std::fs::read(options.root.join(input)).unwrap_or_default();
    }
    let path = manifest(options, input);
    format!("{:?}", path.and_then(|path| received.manifest(&path))).into_bytes()
}

/// The manifests an installation depends on, as paths of the folder.
pub fn manifests(options: &Options) -> Vec<RelPath> {
    options.install_inputs.iter().filter_map(|input| manifest(options, input)).collect()
}

fn manifest(options: &Options, input: &str) -> Option<RelPath> {
    let below = options.root.strip_prefix(&options.folder).unwrap_or(Path::new(""));
    RelPath::parse(below.join(input).as_os_str().as_encoded_bytes()).ok()
}

/// What a build depends on, as one word.
pub fn build_digest(options: &Options, received: &Received, installed: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(options.build.as_deref().unwrap_or_default().as_bytes());
    hasher.update(installed.as_bytes());
    hasher.update(&received.source().0);
    hasher.finalize().to_hex().to_string()
}

/// Tells one runtime from another without running it: where it really is, how large and how old.
fn runtime(search: &str) -> String {
    let mut identity = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    for name in RUNTIMES {
        let found = process::find(name, search, Path::new("/")).and_then(|path| path.canonicalize().ok());
        // What is found inside of our own volumes is what was installed, not what it was installed with.
        let Some(path) = found.filter(|path| !path.starts_with("/nexus-state")) else { continue };
        let Ok(metadata) = path.metadata() else { continue };
        identity.push_str(&format!("{} {} {}\n", path.display(), metadata.len(), metadata.mtime()));
    }
    identity
}

/// Whether the install line is Python's.
pub fn is_python(install: Option<&str>) -> bool {
    first_word(install).is_some_and(|word| PYTHON.contains(&word))
}

/// The commands that make the environment and bring the tool the line names; empty when everything is there.
pub fn python_steps(install: Option<&str>, state: &Path, search: &str) -> Vec<Vec<String>> {
    let venv = state.join("venv");
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let mut steps = Vec::new();
    if !venv.join("bin/python").exists() {
        steps.push(words(&["python3", "-m", "venv", "--clear", &venv.to_string_lossy()]));
    }
    let tool = first_word(install).filter(|word| PYTHON_TOOLS.contains(word));
    if let Some(tool) = tool
        && process::find(tool, search, Path::new("/")).is_none()
    {
        steps.push(words(&["pip", "install", "--quiet", tool]));
    }
    steps
}

/// The command that makes `pnpm` and `yarn` available where Node brings them along without showing them.
pub fn corepack_step(lines: &[Option<&str>], state: &Path, search: &str) -> Option<Vec<String>> {
    let present = |name| process::find(name, search, Path::new("/")).is_some();
    let wanted = lines
        .iter()
        .filter_map(|line| first_word(*line))
        .any(|word| ["pnpm", "yarn"].contains(&word) && !present(word));
    let bin = state.join("bin");
    (wanted && present("corepack")).then(|| {
        drop(std::fs::create_dir_all(&bin));
        ["corepack", "enable", "--install-directory", &bin.to_string_lossy()].map(str::to_owned).into()
    })
}

fn first_word(line: Option<&str>) -> Option<&str> {
    line?.split_whitespace().find(|word| !word.contains('='))
}

/// Why something failed that looks like this, as far as that can be told from its last lines.
pub fn hint(lines: &[String], environment: &Environment) -> Option<String> {
    let says = |needles: &[&str]| lines.iter().any(|line| needles.iter().any(|needle| line.contains(needle)));
    if says(&[
        "ENOTFOUND",
        "EAI_AGAIN",
        "Temporary failure in name resolution",
        "Could not resolve host",
        "Could not reach host",
        "Could not fetch specs",
        "ECONNREFUSED",
        "ETIMEDOUT",
    ]) || says(&["ENETUNREACH", "Network is unreachable", "no such host", "Name or service not known"])
    {
        return Some("a server it needs cannot be reached from the container: check the network, then change a file or wait for the next try".to_owned());
    }
    if says(&[
        "SELF_SIGNED_CERT",
        "CERTIFICATE_VERIFY_FAILED",
        "unable to get local issuer",
        "certificate signed by unknown authority",
    ]) {
        return Some("set `engine.ca_bundle` to the certificates this network needs".to_owned());
    }
    if says(&["ENOSPC", "No space left on device"]) {
        return Some("free space on the engine's disk".to_owned());
    }
    if says(&["EADDRINUSE", "Address already in use", "address already in use"]) {
        let port = environment.get("PORT").map_or("", String::as_str);
        return Some(format!("start one server only, on the port in `PORT` ({port})"));
    }
    if says(&["can only install packages when your package.json and package-lock.json", "EUSAGE"]) {
        return Some("run `npm install` in the project and keep the new package-lock.json".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Outcome;
    use crate::sample;

    fn options(folder: &Path) -> Options {
        Options {
            folder: folder.to_owned(),
            root: folder.join("web"),
            install: Some("npm ci".to_owned()),
            install_inputs: vec!["package.json".to_owned()],
            await_sync: true,
            ..Options::default()
        }
    }

    fn received(state: &Path, options: &Options) -> Received {
        Received::open(state, manifests(options))
    }

    fn arrives(received: &mut Received, path: &str, content: &str) {
        let path = Some(sample::path(path));
        received.note(&[Outcome { path, now: Some(sample::file(content)), problem: None }]);
    }

    #[test]
    fn dependencies_are_installed_again_only_when_their_inputs_change() {
        let folder = tempfile::tempdir().unwrap();
        let mut options = options(folder.path());
        let mut received = received(folder.path(), &options);
        arrives(&mut received, "web/package.json", "one");
        let first = install_digest(&options, &received, "/bin");
        arrives(&mut received, "web/index.js", "source");
        assert_eq!(install_digest(&options, &received, "/bin"), first, "source is no input");
        arrives(&mut received, "web/package.json", "two");
        let second = install_digest(&options, &received, "/bin");
        assert_ne!(second, first);
        arrives(&mut received, "web/package.json", "one");
        assert_eq!(install_digest(&options, &received, "/bin"), first, "what was installed for it is there");
        options.install = Some("npm install".to_owned());
        assert_ne!(install_digest(&options, &received, "/bin"), first, "the line is one");
    }

    #[test]
    fn a_build_depends_on_all_of_the_source() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(folder.path());
        let mut received = received(folder.path(), &options);
        let first = build_digest(&options, &received, "i");
        arrives(&mut received, "web/index.js", "source");
        assert_ne!(build_digest(&options, &received, "i"), first);
    }

    #[test]
    fn python_lines_are_known_and_missing_tools_brought() {
        assert!(is_python(Some("pip install -r requirements.txt")));
        assert!(is_python(Some("UV_X=1 uv sync")));
        assert!(!is_python(Some("npm ci")) && !is_python(None));
        let state = tempfile::tempdir().unwrap();
        let steps = python_steps(Some("poetry install"), state.path(), "/nowhere");
        assert_eq!((steps.len(), &steps[0][0][..], &steps[1][3][..]), (2, "python3", "poetry"));
        let tool = state.path().join("poetry");
        std::fs::write(&tool, "").unwrap();
        std::fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let steps = python_steps(Some("A=b poetry install"), state.path(), &state.path().to_string_lossy());
        assert_eq!(steps.len(), 1, "what the image has is not brought: {steps:?}");
    }

    #[test]
    fn an_unreachable_registry_is_recognised_by_what_each_tool_says_of_it() {
        for line in [
            "Could not reach host index.rubygems.org. Check your network connection and try",
            "Could not fetch specs from https://rubygems.org/ due to underlying error",
            "npm error code ECONNREFUSED",
            "npm error code ENOTFOUND",
        ] {
            let hint = hint(&[line.to_owned()], &Environment::new());
            assert!(hint.is_some_and(|hint| hint.contains("cannot be reached")), "{line}");
        }
        assert_eq!(hint(&["SyntaxError".to_owned()], &Environment::new()), None);
    }

    #[test]
    fn a_memo_lasts_and_works_without_a_disk() {
        let state = tempfile::tempdir().unwrap();
        let mut memo = Memo::open(state.path(), "installed");
        memo.write("x");
        assert!(Memo::open(state.path(), "installed").says("x"));
        let mut memo = Memo::open(Path::new("/nonexistent"), "installed");
        memo.write("x");
        assert!(memo.says("x"));
    }
}
