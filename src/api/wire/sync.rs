//! What crosses the control port about sync.

use serde::Deserialize;
use serde::Serialize;
use utoipa::ToSchema;

/// A workspace's sync session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SyncStatus {
    /// The workspace's name.
    pub workspace: String,
    /// `connecting`, `paused`, `halted`, `apart`, `working`, `retrying`, `waiting` (for a person) or `equal`.
    pub state: String,
    /// Which side's changes go where: `two-way-safe`, ...
    pub mode: String,
    /// Who wins where both have changed: `host-wins`, ...
    pub strategy: String,
    /// Host first.
    pub sides: Vec<SyncSide>,
    /// Entries both sides have agreed on.
    pub agreed_entries: u64,
    /// Conflicts that wait for a person.
    pub conflicts: u64,
    /// Why everything has stopped, and what to do.
    pub halt: Option<String>,
    /// What waits for a yes.
    pub holds: Vec<SyncHold>,
    /// What failed and is tried again.
    pub retries: Vec<SyncRetry>,
    /// How long the last change took until it stood on the other side, in microseconds.
    pub latency_us: Option<u64>,
    /// What a person should know of how changes are noticed.
    pub warnings: Vec<String>,
    /// The last thing that went wrong with the session itself.
    pub error: Option<String>,
}

/// One side of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SyncSide {
    /// `host` or `container`.
    pub side: String,
    /// `detached`, `attaching`, `attached` or `unavailable`.
    pub presence: String,
    /// Why it is unavailable.
    pub reason: Option<String>,
    /// Files and links it holds.
    pub files: u64,
    /// Bytes it holds.
    pub bytes: u64,
    /// Entries brought to it, of those that are on their way.
    pub done_entries: u64,
    /// Entries on their way to it, done ones included.
    pub total_entries: u64,
    /// Bytes brought to it.
    pub done_bytes: u64,
    /// Bytes on their way to it, done ones included.
    pub total_bytes: u64,
    /// What cannot be read or carried there.
    pub problems: Vec<SyncRetry>,
}

/// Part of a plan that waits for a yes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SyncHold {
    /// Says yes to exactly this.
    pub key: String,
    /// What it is: one sentence.
    pub message: String,
    /// Some of the paths.
    pub samples: Vec<String>,
}

/// A path and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SyncRetry {
    /// The path.
    pub path: String,
    /// One sentence.
    pub reason: String,
}

/// All conflicts of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SyncConflicts {
    /// In the order of their paths.
    pub conflicts: Vec<SyncConflict>,
}

/// A path where both sides have changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SyncConflict {
    /// The path; empty for the folder itself.
    pub path: String,
    /// Stands for the conflict as it is now; given with a choice.
    pub key: String,
    /// What both last agreed on.
    pub ancestor: SyncVersion,
    /// What the host has.
    pub host: SyncVersion,
    /// What the container has.
    pub container: SyncVersion,
    /// From the host's text to the container's; only when asked for and both are text.
    pub diff: Option<String>,
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SyncVersion {
    /// `absent`, `file`, `directory`, `link`, `ignored` or `problem`.
    pub what: String,
    /// A file's length in bytes.
    pub size: Option<u64>,
    /// A file's content, as BLAKE3 in hexadecimal.
    pub digest: Option<String>,
}

/// Settles conflicts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResolveSync {
    /// A path, or a pattern with `*` and `**` for many; all conflicts without one.
    #[serde(default)]
    pub path: Option<String>,
    /// What stays: the version of the `host` or of the `container`, both edits of a text `merged` where they do not clash, or
    /// the `text` given.
    pub keep: String,
    /// What stays, when `keep` is `text`; of one conflict only.
    #[serde(default)]
    pub text: Option<String>,
    /// The conflict's key as it was shown; a conflict that has changed since is then not settled.
    #[serde(default)]
    pub key: Option<String>,
    /// Say what would become of them, and settle nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// What was settled, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResolvedSync {
    /// The paths settled.
    pub resolved: Vec<String>,
    /// With `dry_run`, the texts that both edits would make together.
    pub merged: Vec<SyncText>,
    /// Those that could not be, and why.
    pub refused: Vec<SyncRetry>,
}

/// Other settings, as far as they are others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewSync {
    /// `two-way-safe`, `two-way-resolved`, `one-way-safe` or `one-way-replica`.
    #[serde(default)]
    pub mode: Option<String>,
    /// `host-wins`, `container-wins`, `newer-wins` or `manual`.
    #[serde(default)]
    pub strategy: Option<String>,
    /// What is not carried besides, as gitignore lines; with `!` what is carried again.
    #[serde(default)]
    pub excludes: Vec<String>,
}

/// What other settings would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SyncPreview {
    /// The direction then.
    pub mode: String,
    /// Who would win a conflict.
    pub strategy: String,
    /// Files that would not travel any more. They stay where they are, on both sides.
    pub stops: SyncNamed,
    /// What would begin to travel; a directory is not looked into before.
    pub begins: SyncNamed,
    /// What would change, host first.
    pub sides: Vec<SyncChanges>,
    /// Conflicts there are now.
    pub conflicts_now: u64,
    /// Conflicts there would be.
    pub conflicts: u64,
    /// What would wait for a yes; it is not in what would change.
    pub holds: Vec<SyncHold>,
    /// Why everything would stop.
    pub halt: Option<String>,
}

/// How many, and some of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SyncNamed {
    /// So many.
    pub count: u64,
    /// Some of the paths.
    pub samples: Vec<String>,
}

/// What would change on a side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SyncChanges {
    /// `host` or `container`.
    pub side: String,
    /// Files, links and directories that would be made.
    pub created: u64,
    /// Those that would get other content, or another mode.
    pub changed: u64,
    /// Those that would be removed, and kept as versions.
    pub deleted: u64,
}

/// A text at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SyncText {
    /// The path.
    pub path: String,
    /// The text.
    pub text: String,
}

/// Goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeSync {
    /// Says yes to what is halted or held, as it is now.
    #[serde(default)]
    pub accept_deletions: bool,
}

/// Versions kept of what sync has overwritten or removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SyncVersions {
    /// The oldest first.
    pub versions: Vec<SyncKept>,
}

/// A version that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SyncKept {
    /// Its number, in hexadecimal.
    pub id: String,
    /// The batch that displaced it.
    pub batch: u64,
    /// The side it stood on: `host` or `container`.
    pub side: String,
    /// The path; absent when only its content survived a crash.
    pub path: Option<String>,
    /// `file`, `link` or `directory`.
    pub what: String,
    /// A file's length in bytes.
    pub size: u64,
    /// A file's content, as BLAKE3 in hexadecimal.
    pub digest: Option<String>,
    /// When its content was last written, RFC 3339.
    pub modified_at: String,
    /// When it was kept, RFC 3339.
    pub kept_at: String,
    /// Why it was displaced.
    pub cause: String,
}

/// Brings back what sync has displaced: one of path, batch and version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UndoSync {
    /// What the last batch displaced at a path or below it.
    #[serde(default)]
    pub path: Option<String>,
    /// All that a batch displaced.
    #[serde(default)]
    pub batch: Option<u64>,
    /// One version by its number.
    #[serde(default)]
    pub version: Option<String>,
    /// On which side: `host` or `container`; without it, wherever there is something to bring back.
    #[serde(default)]
    pub side: Option<String>,
    /// Say what would be brought back, and do nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// What was brought back, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UndoneSync {
    /// The paths, with the side they came back on.
    pub restored: Vec<SyncRetry>,
    /// Those that could not be, and why.
    pub failed: Vec<SyncRetry>,
}

/// One decision about a path, or what led to one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SyncDecision {
    /// When, RFC 3339.
    pub at: String,
    /// About which path; empty for the folder itself.
    pub path: String,
    /// One sentence.
    pub what: String,
}

/// Why a path is where it is, or is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SyncTrace {
    /// The path.
    pub path: String,
    /// One sentence each, the most important first.
    pub because: Vec<String>,
    /// What stands there on the host.
    pub host: SyncVersion,
    /// What stands there in the container.
    pub container: SyncVersion,
    /// What was decided about it, about what it is in and about what is below it, as far back as it is remembered: the
    /// oldest first.
    pub decided: Vec<SyncDecision>,
}
