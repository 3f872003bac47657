//! The container engine: the only room that speaks to it. Vendor types stay inside.
//!
//! [`Engine`] is implemented by `docker` (the real one, over its socket, with the Compose CLI for stacks) and by
//! `memory` (for fault injection in tests). Everything the node makes carries [`label::NODE`]; nothing without it is
//! ever stopped or deleted.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;

use crate::base::fault;

pub mod compose;
pub mod docker;
pub mod memory;
pub mod mounts;

/// The labels on everything we make.
pub mod label {
    /// Which node made it: a [`crate::base::ids::NodeId`].
    pub const NODE: &str = "nexus.node";
    /// Which workspace it belongs to: a [`crate::base::ids::WorkspaceId`].
    pub const WORKSPACE: &str = "nexus.workspace";
    /// The workspace's name when it was made; for people only.
    pub const NAME: &str = "nexus.name";
    /// What it is for: `app` (carries the agent), `service`, `agent`, `sync`, `state`, or [`SEED`].
    pub const ROLE: &str = "nexus.role";
    /// The role of a container that only gives a volume its first content: never started, gone at once. One that is
    /// still there was left by a node that was killed.
    pub const SEED: &str = "seed";
    /// Digest of the stack file it was made from.
    pub const STACK: &str = "nexus.stack";
}

/// A label with its value, to select by.
pub type Labels = BTreeMap<String, String>;

/// What the engine says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Engine version: `26.1.5`.
    pub version: String,
    /// API version in use: `1.45`.
    pub api_version: String,
    /// Compose version, when the plugin was found.
    pub compose_version: Option<String>,
    /// Bytes free where the engine keeps its data, when that can be known.
    pub root: PathBuf,
}

/// A container's state, as the engine reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerState {
    /// Made, never started.
    Created,
    /// Runs.
    Running,
    /// Frozen.
    Paused,
    /// The engine is restarting it.
    Restarting,
    /// Ended.
    Exited,
    /// Being removed, or dead.
    Dead,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Full id.
    pub id: String,
    /// Name without the leading slash.
    pub name: String,
    /// Image as named at creation.
    pub image: String,
    /// State.
    pub state: ContainerState,
    /// Exit code, once it has ended; of its last run while the engine restarts it.
    pub exit_code: Option<i64>,
    /// How often the engine has started it again by itself since somebody started it; in a list, of one that runs, 0.
    pub restarts: u32,
    /// Whether the kernel killed something in it for memory; known once it has ended.
    pub oom_killed: bool,
    /// Labels.
    pub labels: Labels,
    /// Addresses by network name.
    pub addresses: BTreeMap<String, IpAddr>,
    /// TCP ports the image or stack declares.
    pub exposed: Vec<u16>,
    /// Unix time in milliseconds of its last start; for one that runs only [`Engine::container`] knows it.
    pub started_at_ms: Option<i64>,
    /// Health: `starting`, `healthy`, `unhealthy`, where a check is defined.
    pub health: Option<String>,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Subnets in CIDR form.
    pub subnets: Vec<String>,
    /// Labels.
    pub labels: Labels,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: Labels,
}

/// A stack to bring up with Compose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// Compose project name.
    pub project: String,
    /// The stack file on this node's disk.
    pub file: PathBuf,
    /// Directory relative build contexts are resolved against.
    pub directory: PathBuf,
}

/// An image to build with BuildKit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// What the image is called when done: `nexus/runtime-node:0.1.0`.
    pub image: String,
    /// Directory the Dockerfile copies from, on this node's disk.
    pub context: PathBuf,
    /// The Dockerfile, relative to `context`.
    pub dockerfile: PathBuf,
    /// The stage to build; the last one when `None`.
    pub target: Option<String>,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Labels on the image.
    pub labels: Labels,
    /// Certificates of a private authority; steps find it as the secret `ca_bundle`, never in the image.
    pub ca_bundle: Option<PathBuf>,
}

/// One line of progress from a long call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// What is going on, for people.
    pub message: String,
}

/// Where progress goes. A full channel drops lines: progress is a hint, never a result.
pub type ProgressSink = tokio::sync::mpsc::Sender<Progress>;

/// What to run inside a container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exec {
    /// Program and arguments; never a shell line.
    pub argv: Vec<String>,
    /// Environment added to the container's.
    pub env: Vec<(String, String)>,
    /// Working directory; the container's own when `None`.
    pub directory: Option<String>,
    /// User; the container's own when `None`.
    pub user: Option<String>,
    /// Whether standard input is connected.
    pub stdin: bool,
}

/// Output of a container or of a program in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Out(Bytes),
    /// Standard error.
    Err(Bytes),
}

/// A program running inside a container.
pub struct ExecSession {
    /// Its standard input; `None` unless asked for.
    pub stdin: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    /// What it prints; ends when it has ended.
    pub output: BoxStream<'static, Result<Output, Error>>,
    /// Asks for its exit code with [`Engine::exec_exit`].
    pub id: String,
}

/// Standard input and output of a program inside a container as one byte stream; its standard error is dropped.
pub trait Pipe: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Pipe for T {}

/// Which log lines to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logs {
    /// The last lines only.
    pub tail: Option<u32>,
    /// Keep going as lines come.
    pub follow: bool,
    /// Whether each line starts with its RFC 3339 time.
    pub timestamps: bool,
}

/// Something happened to an object of ours: a hint to look sooner, never a fact to act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `container`, `network`, `volume`.
    pub object: String,
    /// `start`, `die`, `oom`, ...
    pub action: String,
    /// Labels of the object.
    pub labels: Labels,
}

/// A mount of one container, seen from the engine's host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Path on the engine's host.
    pub source: PathBuf,
    /// Path inside the container.
    pub target: PathBuf,
}

/// Why a call to the engine failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing answers at the socket, or not in time.
    #[error("no container engine answered at {socket} within {seconds}s")]
    Unreachable {
        /// The socket's address.
        socket: String,
        /// The time-out.
        seconds: u64,
        /// What went wrong.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The newest API it offers is older than what we can speak.
    #[error("the engine speaks API {theirs} at most, this node needs {ours} or newer")]
    TooOld {
        /// What it offers.
        theirs: String,
        /// What we need.
        ours: String,
    },
    /// The oldest API it offers is newer than what we can speak.
    #[error("the engine speaks API {theirs} at least, this node knows {ours} at most")]
    TooNew {
        /// What it offers.
        theirs: String,
        /// What we know.
        ours: String,
    },
    /// Something answers, but not as an engine does.
    #[error("the engine's answer cannot be read: {message}")]
    Garbled {
        /// What is wrong with it.
        message: String,
    },
    /// There is no such object.
    #[error("no such {object}: `{name}`")]
    NotFound {
        /// `container`, `image`, `volume`, `network`.
        object: &'static str,
        /// The name asked for.
        name: String,
    },
    /// The name or address is taken.
    #[error("{message}")]
    Conflict {
        /// The engine's words.
        message: String,
    },
    /// A network's addresses are another one's, which need not be in the list of networks: an engine that was killed
    /// while it made one keeps its addresses for ever and never shows it.
    #[error("{message}")]
    Overlap {
        /// The engine's words.
        message: String,
    },
    /// An image cannot be had.
    #[error("the image `{image}` cannot be pulled: {message}")]
    Pull {
        /// The image.
        image: String,
        /// The engine's words.
        message: String,
    },
    /// Compose refused or failed.
    #[error("{message}")]
    Compose {
        /// The last lines it printed.
        message: String,
    },
    /// There is no Compose to bring stacks up with.
    #[error("Docker Compose 2 was not found: {message}")]
    NoCompose {
        /// Where was looked, or what was found instead.
        message: String,
    },
    /// The disk is full.
    #[error("the engine's disk is full: {message}")]
    DiskFull {
        /// The engine's words.
        message: String,
    },
    /// Anything else the engine said.
    #[error("the engine refused: {message}")]
    Refused {
        /// The engine's words.
        message: String,
    },
}

impl fault::Explain for Error {
    fn kind(&self) -> fault::Kind {
        match self {
            Self::Unreachable { .. }
            | Self::TooOld { .. }
            | Self::TooNew { .. }
            | Self::Garbled { .. }
            | Self::Pull { .. }
            | Self::DiskFull { .. } => fault::Kind::Unavailable,
            Self::NotFound { .. } => fault::Kind::NotFound,
            Self::Conflict { .. } | Self::Overlap { .. } => fault::Kind::Conflict,
            Self::Compose { .. } => fault::Kind::Invalid,
            Self::NoCompose { .. } => fault::Kind::Unavailable,
            Self::Refused { .. } => fault::Kind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { source: Some(source), .. } if denied(source.as_ref()) => {
                Some("let this user use the socket: add it to the socket's group, or run as root".to_owned())
            }
            Self::Unreachable { .. } => {
                Some("start the engine, or set `engine.socket` to where it listens".to_owned())
            }
            Self::TooOld { .. } => Some("update the container engine".to_owned()),
            Self::TooNew { .. } => Some("update this node".to_owned()),
            Self::Garbled { .. } => Some("check that `engine.socket` names a container engine".to_owned()),
            Self::Pull { .. } => Some("check the image's name and that a registry can be reached".to_owned()),
            Self::NoCompose { .. } => Some("install the Compose plugin of Docker".to_owned()),
            Self::DiskFull { .. } => {
                Some("free space on the engine's disk, then start the workspace again".to_owned())
            }
            Self::NotFound { .. }
            | Self::Conflict { .. }
            | Self::Overlap { .. }
            | Self::Compose { .. }
            | Self::Refused { .. } => None,
        }
    }
}

/// Whether an error or one of its causes is that we may not.
fn denied(error: &(dyn std::error::Error + 'static)) -> bool {
    let is = |error: &std::io::Error| error.kind() == std::io::ErrorKind::PermissionDenied;
    error.downcast_ref().is_some_and(is) || error.source().is_some_and(denied)
}

/// A file of a volume that must be whole before the volume is used.
#[derive(Debug, Clone)]
pub struct Whole {
    /// Where it is where the volume is mounted, absolute.
    pub path: String,
    /// What it must hold.
    pub content: Bytes,
    /// A tar archive of `/` with the file in it, to mend it from.
    pub archive: Bytes,
}

/// A container engine. Every call has a time-out of its own and answers or fails within it.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Who answers; also the check that one does.
    async fn about(&self) -> Result<About, Error>;
    /// All containers with these labels, whatever their state.
    async fn containers(&self, labels: &Labels) -> Result<Vec<Container>, Error>;
    /// One container by name or id.
    async fn container(&self, name: &str) -> Result<Container, Error>;
    /// All networks with these labels; all there are when `labels` is empty.
    async fn networks(&self, labels: &Labels) -> Result<Vec<Network>, Error>;
    /// All volumes with these labels.
    async fn volumes(&self, labels: &Labels) -> Result<Vec<Volume>, Error>;
    /// Where paths inside the container `name` come from on the engine's host.
    async fn mounts(&self, name: &str) -> Result<Vec<Mount>, Error>;

    /// Checks a stack file with Compose without starting anything; returns the effective file.
    async fn check(&self, stack: &Stack) -> Result<String, Error>;
    /// Brings a stack to what its file says: creates, replaces and starts what differs.
    async fn up(&self, stack: &Stack, progress: ProgressSink) -> Result<(), Error>;
    /// Makes the container of one service anew from the same file, whatever state it is in, and starts it. Volumes
    /// stay, those without a name, too; other services are not touched.
    async fn remake(&self, stack: &Stack, service: &str, progress: ProgressSink) -> Result<(), Error>;
    /// Stops and removes the containers and networks of a stack; volumes stay unless `volumes`.
    async fn down(&self, project: &str, volumes: bool) -> Result<(), Error>;

    /// Starts a container.
    async fn start(&self, container: &str) -> Result<(), Error>;
    /// Stops a container: its stop signal, then after `grace_seconds` the end. [`Engine::containers`] may still show
    /// it running for some milliseconds.
    async fn stop(&self, container: &str, grace_seconds: u32) -> Result<(), Error>;
    /// Freezes a container.
    async fn pause(&self, container: &str) -> Result<(), Error>;
    /// Lets a frozen container go on.
    async fn unpause(&self, container: &str) -> Result<(), Error>;
    /// Removes a container, running or not. Absent is success.
    async fn remove_container(&self, container: &str) -> Result<(), Error>;
    /// Removes a network. Absent is success.
    async fn remove_network(&self, network: &str) -> Result<(), Error>;
    /// Removes a volume. Absent is success.
    async fn remove_volume(&self, volume: &str) -> Result<(), Error>;
    /// Creates a volume unless it is there.
    async fn ensure_volume(&self, volume: &str, labels: &Labels) -> Result<(), Error>;
    /// Creates the volume `volume` if it is absent and gives it the content and ownership that `directory` has in
    /// `image` (the engine does so for an empty volume when a container is created; none is started). An engine that is
    /// killed while it copies leaves a file cut off and never looks at it again: `whole` is a file that must not be.
    async fn seed_volume(
        &self,
        volume: &str,
        labels: &Labels,
        image: &str,
        directory: &str,
        whole: Option<Whole>,
    ) -> Result<(), Error>;

    /// Whether the image is there, and its id.
    async fn image(&self, image: &str) -> Result<Option<String>, Error>;
    /// Makes an image called `image` from the tar `archive` of its root file system, without a command; one of that
    /// name is replaced. Only ever called with archives the node wrote itself.
    async fn import_image(&self, image: &str, archive: Bytes) -> Result<(), Error>;
    /// Removes an image that nothing uses. Absent is success.
    async fn remove_image(&self, image: &str) -> Result<(), Error>;
    /// Pulls an image.
    async fn pull(&self, image: &str, progress: ProgressSink) -> Result<(), Error>;

    /// Builds an image from a Dockerfile of ours; what is built already is not built again.
    async fn build(&self, build: &Build, progress: ProgressSink) -> Result<(), Error>;

    /// Runs a program in a running container.
    async fn exec(&self, container: &str, exec: &Exec) -> Result<ExecSession, Error>;
    /// The exit code of a program whose output has ended; `None` while it runs.
    async fn exec_exit(&self, id: &str) -> Result<Option<i64>, Error>;
    /// Runs a program in a running container and joins its standard input and output into one stream.
    async fn pipe(&self, container: &str, exec: &Exec) -> Result<Box<dyn Pipe>, Error>;
    /// Reads a container's log.
    async fn logs(
        &self,
        container: &str,
        logs: &Logs,
    ) -> Result<BoxStream<'static, Result<Output, Error>>, Error>;
    /// Events of objects with these labels, from now on. Ends when the engine goes away.
    async fn events(&self, labels: &Labels) -> Result<BoxStream<'static, Result<Event, Error>>, Error>;
}
