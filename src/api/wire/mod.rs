//! What crosses the control port, as its own types: a change here is a change of the API.
//!
//! Inner types are converted by hand in `show`. New fields are added, never renamed; an old reader skips what it does
//! not know. Requests refuse unknown fields, so that a typo is said and not ignored.

pub mod backup;
pub mod sync;

use serde::Deserialize;
use serde::Serialize;
use utoipa::ToSchema;

/// A workspace: one folder and the stack that runs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Workspace {
    /// Id for life.
    pub id: String,
    /// Its name, which is its folder's name.
    pub name: String,
    /// Title for people, from its manifest.
    pub title: Option<String>,
    /// One or two sentences, from its manifest.
    pub description: Option<String>,
    /// Path on the web port where it answers; absent when its folder's name cannot be routed.
    pub path: Option<String>,
    /// Folder in the watched directory.
    pub folder: String,
    /// Whether the folder is there now.
    pub folder_present: bool,
    /// `pending`, `stopped`, `running`, `paused`, `error`, `destroying`, `destroyed`.
    pub state: String,
    /// `waiting`, `creating`, `syncing`, `installing`, `building`, `starting`, `ready`, `finished`, `failed`.
    pub phase: String,
    /// Whether waiting longer changes nothing.
    pub at_rest: bool,
    /// What is wrong or what it waits for.
    pub message: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// What its owner should know although it runs.
    pub notices: Vec<String>,
    /// What it was detected to be: `node`, `python`, ...
    pub kind: Option<String>,
    /// Its framework, where one was recognised.
    pub framework: Option<String>,
    /// Its containers.
    pub services: Vec<Service>,
    /// How far its source has got into the container.
    pub sync: Sync,
    /// The last lines its program, installation or build printed.
    pub log_tail: Vec<String>,
    /// How often its program was restarted after a crash.
    pub restarts: u32,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
}

/// All workspaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkspaceList {
    /// Ordered by name.
    pub workspaces: Vec<Workspace>,
}

/// A workspace's containers and sync: the short answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkspaceStatus {
    /// Id for life.
    pub id: String,
    /// Its name.
    pub name: String,
    /// See `Workspace`.
    pub state: String,
    /// See `Workspace`.
    pub phase: String,
    /// What is wrong or what it waits for.
    pub message: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// Its containers.
    pub services: Vec<Service>,
    /// How far its source has got into the container.
    pub sync: Sync,
    /// How often its program was restarted after a crash.
    pub restarts: u32,
}

/// One container of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Service {
    /// Its name in the stack file.
    pub name: String,
    /// The container's name.
    pub container: String,
    /// Its image.
    pub image: String,
    /// What the engine says.
    pub state: String,
}

/// How far the source has got into the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sync {
    /// `connecting`, `up`, `lost`, `halted`, `off`.
    pub link: String,
    /// Files in the folder that belong in the container.
    pub files_total: u64,
    /// Of these, how many are there.
    pub files_synced: u64,
    /// Entries that cannot be carried over.
    pub skipped: Vec<Skipped>,
    /// What is wrong, if anything.
    pub error: Option<String>,
    /// How an edit gets to its containers where no session carries it.
    #[serde(default)]
    pub off: Option<String>,
}

/// An entry of the folder that cannot be carried over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Skipped {
    /// Path in the folder.
    pub path: String,
    /// Why.
    pub why: String,
}

/// What a project is and how it is installed, built and started, with the facts behind each choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Detection {
    /// `node`, `python`, `php`, `go`, `ruby`, `static`, `dockerfile`, `compose`, `unknown`.
    pub kind: String,
    /// Framework.
    pub framework: Option<String>,
    /// Package manager.
    pub package_manager: Option<String>,
    /// Installs dependencies.
    pub install: Option<String>,
    /// Builds.
    pub build: Option<String>,
    /// Starts.
    pub start: Option<String>,
    /// The port it is likely to listen on when `PORT` is not honoured.
    pub port_hint: Option<u16>,
    /// Where commands run.
    pub root: String,
    /// `http` or `process`.
    pub serves: String,
    /// Facts behind the choices.
    pub because: Vec<Reason>,
    /// What else it could be.
    pub alternatives: Vec<Alternative>,
    /// What is wrong with it.
    pub problems: Vec<DetectionProblem>,
}

/// A fact behind a choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reason {
    /// File the fact was read from.
    pub file: String,
    /// The fact, and what follows.
    pub fact: String,
}

/// Another way a project could be run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Alternative {
    /// Its kind.
    pub kind: String,
    /// Where it would run.
    pub root: String,
    /// How it would start.
    pub start: Option<String>,
    /// Why it was not chosen, or how to choose it.
    pub note: String,
}

/// Something wrong with a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DetectionProblem {
    /// The file.
    pub file: String,
    /// 1-based.
    pub line: Option<usize>,
    /// 1-based.
    pub column: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// Whether it cannot run until that is mended.
    pub fatal: bool,
}

/// Asks for a new folder in the watched directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateWorkspace {
    /// Its name: 1 to 63 of `a-z 0-9 -`.
    pub name: String,
    /// What to put into it: `empty` (the default) or `hello`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
}

/// A folder that was made; it becomes a workspace once it has settled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedWorkspace {
    /// Its name.
    pub name: String,
    /// Path on the web port where it will answer.
    pub path: String,
}

/// A program to run in a workspace's container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    /// Program and arguments; never a shell line.
    pub argv: Vec<String>,
    /// Which service; the one that answers the web when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// How long to wait, 600 000 when absent, 3 600 000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Added environment.
    #[serde(default)]
    pub env: std::collections::BTreeMap<String, String>,
    /// Working directory in the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
}

/// How a program went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunResult {
    /// Absent when it did not end in time.
    pub exit_code: Option<i64>,
    /// The first MiB; bytes that are no UTF-8 are replaced.
    pub stdout: String,
    /// The first MiB; bytes that are no UTF-8 are replaced.
    pub stderr: String,
    /// Whether some of either was left out.
    pub truncated: bool,
    /// Whether the time ran out.
    pub timed_out: bool,
    /// Whether it was ended then, with what it had started. Else it may still run: in a container of a project's own
    /// image nobody is there to end it.
    #[serde(default)]
    pub killed: bool,
}

/// One line of a program's run as it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunPiece {
    /// Standard output; bytes that are no UTF-8 are replaced.
    Stdout(String),
    /// Standard error; bytes that are no UTF-8 are replaced.
    Stderr(String),
    /// The last line: how it ended.
    Ended(RunEnded),
    /// The last line: why its output cannot be read any further.
    Failed(String),
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunEnded {
    /// Absent when it did not end in time.
    pub exit_code: Option<i64>,
    /// Whether the time ran out.
    pub timed_out: bool,
    /// Whether it was ended then, with what it had started. Else it may still run.
    pub killed: bool,
}

/// What removing a workspace does, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Removal {
    /// Id of the workspace.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether nothing was done yet.
    pub dry_run: bool,
    /// What goes, and where to.
    pub removes: Vec<String>,
    /// What stays.
    pub keeps: Vec<String>,
}

/// How the node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeStatus {
    /// Version of nexus.
    pub version: String,
    /// The node's id.
    pub node: String,
    /// RFC 3339.
    pub started_at: String,
    /// Seconds since then.
    pub uptime_s: u64,
    /// The watched directory.
    pub directory: String,
    /// Where it listens.
    pub listeners: Vec<Listener>,
    /// The container engine.
    pub engine: EngineStatus,
    /// How many workspaces there are.
    pub workspaces: Counts,
    /// What is wrong with the node itself.
    pub problems: Vec<Trouble>,
}

/// A door of the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Listener {
    /// `web`, `control`.
    pub name: String,
    /// Where it answers: `http://0.0.0.0:7070`.
    pub url: String,
}

/// The container engine, as it answers now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EngineStatus {
    /// Whether it answers.
    pub reachable: bool,
    /// Its version.
    pub version: Option<String>,
    /// API version in use.
    pub api_version: Option<String>,
    /// Compose version, when the plugin was found.
    pub compose_version: Option<String>,
}

/// Workspaces by state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counts {
    /// All of them.
    pub total: usize,
    /// Running.
    pub running: usize,
    /// Coming up.
    pub pending: usize,
    /// Stopped or paused.
    pub stopped: usize,
    /// Failed.
    pub error: usize,
}

/// Something wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Trouble {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// Findings about the node's surroundings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DoctorReport {
    /// One per thing looked at.
    pub checks: Vec<Check>,
}

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// What was looked at: `engine`, `home`, ...
    pub name: String,
    /// `ok`, `warning`, `failed`, `skipped`.
    pub result: String,
    /// What was found.
    pub found: String,
    /// Why it matters, when it is not ok.
    pub why: Option<String>,
    /// What to do, when it is not ok.
    pub next: Option<String>,
}

/// An access token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Its public half.
    pub id: String,
    /// What its owner calls it.
    pub label: String,
    /// `read`, `write`, `admin`.
    pub scope: String,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339; absent when it works until revoked.
    pub expires_at: Option<String>,
    /// RFC 3339, to the minute; absent when never used.
    pub last_used_at: Option<String>,
}

/// All tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenList {
    /// Oldest first.
    pub tokens: Vec<Token>,
}

/// Asks for a new token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// What to call it: 1 to 64 characters.
    pub label: String,
    /// `read`, `write` or `admin`.
    pub scope: String,
    /// Days until it stops working; works until revoked when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
}

/// A new token: the only time its secret is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    /// The secret, for the header `Authorization: Bearer ...`.
    pub secret: String,
    /// The rest.
    pub token: Token,
}

/// The one-time claim that gives the first token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Claim {
    /// Whether it has been used.
    pub claimed: bool,
    /// The link, while it has not.
    pub url: Option<String>,
}

/// Something that changed; sent as the data of a server-sent event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Gone {
    /// Id of the workspace that is there no longer.
    pub id: String,
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// The line, without its end; bytes that are no UTF-8 are replaced.
    pub line: String,
}

/// Whether the node answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Always `ok`.
    pub status: String,
}

/// Every failure looks like this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// The failure.
    pub error: FailureBody,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FailureBody {
    /// For programs: `WORKSPACE_NOT_FOUND`, `BACKEND_UNAVAILABLE`, ...
    pub code: String,
    /// For people.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// Also in the node's log.
    pub request_id: String,
}
