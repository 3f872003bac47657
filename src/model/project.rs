//! What a folder is and how it runs: the result of detection, and what the user overrides.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use nexus_agent::look::Symlinks;
use nexus_agent::reconcile::Mode;
use nexus_agent::resolve::Strategy;
use nexus_agent::watch;

/// Which directory a folder name stood for: survives a rename, not a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FolderIdentity {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
}

/// What runs a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Node.js or Bun.
    Node,
    /// Python.
    Python,
    /// PHP.
    Php,
    /// Go.
    Go,
    /// Ruby.
    Ruby,
    /// Files served as they are, possibly after a build.
    Static,
    /// The project's own Dockerfile.
    Dockerfile,
    /// The project's own compose file.
    Compose,
    /// Nothing we know how to run.
    Unknown,
}

impl Kind {
    /// The word used in JSON and on the screen.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Python => "python",
            Self::Php => "php",
            Self::Go => "go",
            Self::Ruby => "ruby",
            Self::Static => "static",
            Self::Dockerfile => "dockerfile",
            Self::Compose => "compose",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether the project answers HTTP or is a program that runs and may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serves {
    /// Answers HTTP on a port.
    Http,
    /// Runs; a port is not expected. Ending with code 0 is *finished*.
    Process,
}

/// A fact behind a choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The file the fact was read from, relative to the project; empty when it is about the listing as a whole.
    pub file: String,
    /// The fact, and what follows from it.
    pub fact: String,
}

/// Another way the project could be run, and how to choose it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alternative {
    /// The kind it would be.
    pub kind: Kind,
    /// The directory it would run from, relative to the project.
    pub root: String,
    /// The start command it would use, as a person would type it.
    pub start: Option<String>,
    /// Why it was not chosen, or what to write to choose it.
    pub note: String,
}

/// A problem found while detecting: the project may still run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, relative to the project.
    pub file: String,
    /// 1-based line, where one is known.
    pub line: Option<usize>,
    /// 1-based column, where one is known.
    pub column: Option<usize>,
    /// What is wrong, lower case, no full stop.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// Whether the project cannot run until it is mended.
    pub fatal: bool,
}

/// The files a static site is served from, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// The directory to serve, relative to the detection's root: `.`, `dist`.
    pub directory: String,
    /// Whether unknown paths answer `index.html` (single-page applications).
    pub fallback: bool,
}

/// The runtime a project asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The version as the project states it: `22`, `>=3.10`, `v18.2.0`.
    pub stated: String,
    /// The tag of the official image that honours it: `22`, `3.12`.
    pub tag: String,
    /// The file it was read from.
    pub file: String,
}

/// What a project is and how it is installed, built and started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detection {
    /// What runs it.
    pub kind: Kind,
    /// `express`, `next`, `django`, ... where one was recognised.
    pub framework: Option<String>,
    /// `npm`, `pnpm`, `yarn`, `bun`, `pip`, `uv`, `poetry`, `pipenv`, `composer`, `go`, `bundler`.
    pub package_manager: Option<String>,
    /// Installs dependencies; a command line as a person would type it.
    pub install: Option<String>,
    /// Builds; a command line as a person would type it.
    pub build: Option<String>,
    /// Starts; a command line as a person would type it. For static sites `serve DIR`.
    pub start: Option<String>,
    /// The port the project is likely to listen on when `PORT` is not honoured.
    pub port_hint: Option<u16>,
    /// Where commands run, relative to the project folder: `.`, `backend`.
    pub root: String,
    /// HTTP or process.
    pub serves: Serves,
    /// Set when the agent serves files itself instead of starting a program.
    pub site: Option<Site>,
    /// The runtime version the project pins.
    pub version: Option<Version>,
    /// Files, relative to `root`, whose change means the dependencies must be installed again.
    pub install_inputs: Vec<String>,
    /// Whether the runtime reloads code by itself, so that an edit needs no restart.
    pub hot_reload: bool,
    /// Whether what starts is a development server: made for whoever typed the command, it refuses hosts it does not know.
    pub development: bool,
    /// The compose file or Dockerfile, relative to the project, for those kinds.
    pub file: Option<String>,
    /// The files and facts behind each choice.
    pub because: Vec<Reason>,
    /// What else it could be.
    pub alternatives: Vec<Alternative>,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
}

impl Detection {
    /// A project of which nothing but its kind is known.
    pub fn of(kind: Kind) -> Self {
        Self {
            kind,
            framework: None,
            package_manager: None,
            install: None,
            build: None,
            start: None,
            port_hint: None,
            root: ".".to_owned(),
            serves: Serves::Http,
            site: None,
            version: None,
            install_inputs: Vec::new(),
            hot_reload: false,
            development: false,
            file: None,
            because: Vec::new(),
            alternatives: Vec::new(),
            problems: Vec::new(),
        }
    }
}

/// How a project shows itself: from its manifests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// A title for people.
    pub title: Option<String>,
    /// One or two sentences.
    pub description: Option<String>,
    /// An image file, relative to the project.
    pub icon: Option<String>,
}

/// What a workspace is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Being worked on: what its container writes into the source comes back.
    Dev,
    /// Being served: edits go to the container alone.
    Serve,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 2] = [Self::Dev, Self::Serve];

    /// The word used in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Serve => "serve",
        }
    }
}

/// What the user states about how a project's folder and its container's copy are kept equal; each value beats the
/// node's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncOverrides {
    /// Whose edits go where.
    pub mode: Option<Mode>,
    /// Which of two edits stands.
    pub strategy: Option<Strategy>,
    /// Gitignore lines, after the node's.
    pub exclude: Vec<String>,
    /// What goes with its directory although it is not carried, as gitignore lines.
    pub disposable: Vec<String>,
    /// How edits are noticed.
    pub watch_mode: Option<watch::Mode>,
    /// How often is looked where there are no events.
    pub watch_interval: Option<Duration>,
    /// Whether every look reads everything.
    pub scan_full: Option<bool>,
    /// Which symbolic links are carried.
    pub symlinks: Option<Symlinks>,
    /// Files and directories the folder may have.
    pub entries_max: Option<u64>,
}

/// What the user states in `.nexus/config.yaml`; each value beats the detected one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// How the project shows itself.
    pub identity: Identity,
    /// Replaces the detected kind.
    pub kind: Option<Kind>,
    /// Replaces the detected root.
    pub root: Option<String>,
    /// Replaces the detected install command.
    pub install: Option<String>,
    /// Replaces the detected build command.
    pub build: Option<String>,
    /// Replaces the detected start command.
    pub start: Option<String>,
    /// The port the program listens on.
    pub port: Option<u16>,
    /// Replaces the image.
    pub image: Option<String>,
    /// The service of a compose file that answers the web.
    pub service: Option<String>,
    /// Extra environment.
    pub env: BTreeMap<String, String>,
    /// Refused features of the user's own compose file that are allowed: `privileged`, `bind:/srv/media`.
    pub allow: Vec<String>,
    /// What the workspace is for.
    pub purpose: Option<Purpose>,
    /// Names and paths that are not carried into the container, as gitignore lines.
    pub exclude: Vec<String>,
    /// How its folder and its container's copy are kept equal.
    pub sync: SyncOverrides,
    /// CPU cores, memory in bytes and process count the project may use; `None` takes the node's default.
    pub limits: Limits,
}

/// What a container may use. `None` takes the default.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Limits {
    /// CPU cores.
    pub cpus: Option<f64>,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u32>,
}

impl Eq for Limits {}
