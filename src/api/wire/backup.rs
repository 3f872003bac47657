//! What crosses the control port about backups. The rules of `wire` hold.

use serde::Deserialize;
use serde::Serialize;
use utoipa::IntoParams;
use utoipa::ToSchema;

/// How backups are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupStatus {
    /// Where they go.
    pub destinations: Vec<Destination>,
}

/// How a destination is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Destination {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub place: String,
    /// `incremental` or `mirror`.
    pub form: String,
    /// RFC 3339; when the last run began.
    pub last_run: Option<String>,
    /// RFC 3339; when the last run that saved everything began.
    pub last_success: Option<String>,
    /// RFC 3339; absent when nothing runs by itself.
    pub next_run: Option<String>,
    /// Runs that failed since the last success.
    pub failures: u32,
    /// Whether so many runs were missed that someone should look.
    pub alert: bool,
    /// What the last run failed with.
    pub problem: Option<BackupProblem>,
    /// What the last run of all workspaces took.
    #[serde(default)]
    pub last: Option<BackupFigures>,
    /// Runs that failed since the node started.
    #[serde(default)]
    pub errors: u64,
    /// What is going on there now.
    pub running: Option<BackupProgress>,
    /// What was found out about the place; absent until it was asked.
    #[serde(default)]
    pub probe: Option<DestinationProbe>,
    /// What the last restore drill came to.
    #[serde(default)]
    pub drill: Option<DestinationDrill>,
    /// RFC 3339; when the next restore drill is due; absent when there is none by itself.
    #[serde(default)]
    pub next_drill: Option<String>,
}

/// Asks for a restore drill: a sample is restored to a scratch place, compared and removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrillDestination {
    /// From which destination.
    pub destination: String,
    /// Of which workspace, by its folder's name; of each when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
}

/// What a restore drill came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DestinationDrill {
    /// The destination.
    pub destination: String,
    /// RFC 3339; when it was begun.
    pub time: String,
    /// Whether it came to its end and everything came back.
    pub proved: bool,
    /// RFC 3339; when a drill of all workspaces proved that last.
    pub last_proved: Option<String>,
    /// Each workspace that was tried.
    pub workspaces: Vec<DrilledWorkspace>,
    /// Why it could not be done.
    pub failure: Option<String>,
}

/// What came back of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrilledWorkspace {
    /// Its folder's name.
    pub workspace: String,
    /// The snapshot.
    pub snapshot: String,
    /// Files that were restored.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many of them were compared with the folder, where they had not changed since.
    pub compared: u64,
    /// What did not come back as it should.
    pub findings: Vec<String>,
}

/// Asks what a destination really does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeDestination {
    /// Which.
    pub destination: String,
}

/// What was found out about a destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DestinationProbe {
    /// The destination.
    pub destination: String,
    /// RFC 3339; when it was asked.
    pub time: String,
    /// About each ability that means something there.
    pub findings: Vec<ProbeFinding>,
}

/// What was found out about one ability of a destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProbeFinding {
    /// `write`, `read`, `list`, `delete`, `create_once`, `versions`, `checksums`, `tags`, `clock`, `object_lock`.
    pub ability: String,
    /// `proved`, `absent`, or `unknown`; what is not proved is not used.
    pub verdict: String,
    /// How that is known.
    pub detail: Option<String>,
    /// Which promise falls away with it.
    pub lost: Option<String>,
}

/// What a run took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupFigures {
    /// Files that are backed up by it, new or not.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that were stored for it, compressed.
    pub stored_bytes: u64,
    /// How long it took.
    pub took_ms: u64,
}

/// How far a restore is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RestoreProgress {
    /// Which of those of this node.
    pub number: u64,
    /// From where.
    pub destination: String,
    /// The workspace, by its folder's name.
    pub workspace: String,
    /// The snapshot.
    pub snapshot: String,
    /// RFC 3339.
    pub since: String,
    /// Files that were brought so far.
    pub files: u64,
    /// All of the snapshot.
    pub files_total: u64,
    /// Bytes that were brought so far.
    pub bytes: u64,
    /// All of the snapshot.
    pub bytes_total: u64,
    /// How long the rest takes at the pace so far.
    pub left_ms: Option<u64>,
    /// Whether it is over.
    pub over: bool,
}

/// What is wrong at a destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupProblem {
    /// For programs: `unreachable`, `denied`, `clock`, `full`, ...
    pub cause: String,
    /// For people.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupProgress {
    /// RFC 3339.
    pub since: String,
    /// Workspaces that are done.
    pub workspaces_done: usize,
    /// All of them.
    pub workspaces_total: usize,
    /// Bytes read so far.
    pub bytes: u64,
}

/// Asks for a backup now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunBackup {
    /// To which destination; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// Of which workspace, by its folder's name; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// Whether only to say what would be taken and what is left out.
    #[serde(default)]
    pub dry_run: bool,
    /// A person's yes to a mirror in which most files are gone.
    #[serde(default)]
    pub accept_deletions: bool,
}

/// What became of a backup, or would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupRuns {
    /// Whether nothing was written.
    pub dry_run: bool,
    /// At each destination; one without a name for a dry run.
    pub runs: Vec<BackupRun>,
}

/// What became of a backup at one destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupRun {
    /// The destination; empty for a dry run.
    pub destination: String,
    /// Each workspace.
    pub workspaces: Vec<BackedUp>,
    /// Why it ended early.
    pub problem: Option<BackupProblem>,
    /// Snapshots forgotten by the rules of what to keep.
    pub forgotten: usize,
}

/// What became of one workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackedUp {
    /// Its folder's name.
    pub workspace: String,
    /// The new snapshot; absent when nothing changed, or nothing was saved.
    pub snapshot: Option<String>,
    /// The snapshot that nothing has changed since.
    #[serde(default)]
    pub unchanged_since: Option<String>,
    /// Why it was not saved.
    pub failure: Option<String>,
    /// Files taken.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that are new or changed.
    pub changed_files: u64,
    /// Bytes that were stored for it, compressed.
    pub stored_bytes: u64,
    /// Entries left out by rules.
    pub left_out: u64,
    /// Their bytes, as far as they were measured.
    pub left_out_bytes: u64,
    /// What its owner should know: unreadable, changed while read, odd or large files.
    pub notes: Vec<BackupNote>,
}

/// Something about a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupNote {
    /// `unreadable`, `changed`, `odd`, `large`.
    pub kind: String,
    /// The file.
    pub path: String,
    /// More about it.
    pub text: String,
}

/// Which snapshots to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SnapshotsOf {
    /// At which destination; all when absent.
    #[serde(default)]
    pub destination: Option<String>,
    /// Of which workspace, by its folder's name; all when absent.
    #[serde(default)]
    pub workspace: Option<String>,
}

/// Snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotList {
    /// The oldest first, by destination.
    pub snapshots: Vec<Snapshot>,
    /// Destinations that could not be asked.
    pub problems: Vec<BackupProblem>,
}

/// A snapshot of one workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Snapshot {
    /// Its id.
    pub id: String,
    /// Where it is.
    pub destination: String,
    /// RFC 3339.
    pub time: String,
    /// The workspace's folder.
    pub workspace: String,
    /// The node that took it.
    pub node: String,
    /// Files in it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What becomes of a folder that is there. What is replaced or removed is kept aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RestoreMode {
    /// Adds and updates, removes nothing.
    Merge,
    /// Makes it equal: what the snapshot does not hold goes, but for what no backup takes.
    Mirror,
}

/// Asks for a workspace back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreBackup {
    /// The workspace, by its folder's name.
    pub workspace: String,
    /// From where; the first destination that has it when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// The beginning of a snapshot's id; the newest that fits when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// As it was then: `2024-01-15 10:30:00` (UTC) or RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point_in_time: Option<String>,
    /// Under another folder name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// What to do with a folder that is there and holds something; refused when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<RestoreMode>,
    /// Only these paths.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Whether only to say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Which snapshot to look into.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ContentsOf {
    /// At which destination.
    pub destination: String,
    /// The snapshot's id, or its beginning.
    pub snapshot: String,
    /// Only this path and what is directly below it.
    #[serde(default)]
    pub path: Option<String>,
}

/// What a snapshot holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotContents {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// The first 10,000 of its things.
    pub things: Vec<SnapshotThing>,
    /// All of them.
    pub total: u64,
}

/// One thing in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotThing {
    /// Its path below the folder.
    pub path: String,
    /// `file`, `directory`, `link`, or what is never restored.
    pub kind: String,
    /// Bytes of a file.
    pub size: u64,
    /// Permissions, in octal.
    pub mode: Option<String>,
    /// RFC 3339; when it was last changed.
    pub modified: Option<String>,
    /// What a link says.
    pub target: Option<String>,
}

/// Which snapshots to compare.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DifferenceOf {
    /// At which destination.
    pub destination: String,
    /// The earlier one's id, or its beginning.
    pub from: String,
    /// The later one's.
    pub to: String,
}

/// What two snapshots hold differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotDifference {
    /// The earlier one.
    pub from: Snapshot,
    /// The later one.
    pub to: Snapshot,
    /// The first 10,000 paths.
    pub changes: Vec<SnapshotChange>,
    /// All of them.
    pub total: u64,
}

/// A path that two snapshots hold differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotChange {
    /// The path below the folder.
    pub path: String,
    /// `added`, `removed` or `changed`.
    pub change: String,
}

/// Asks for snapshots to be taken out of the list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForgetSnapshots {
    /// At which destination.
    pub destination: String,
    /// Their ids, or the beginnings of those.
    pub snapshots: Vec<String>,
    /// Whether only to say which.
    #[serde(default)]
    pub dry_run: bool,
}

/// Snapshots that are not listed any more, or would not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ForgottenSnapshots {
    /// Whether nothing was done.
    pub dry_run: bool,
    /// Which.
    pub snapshots: Vec<Snapshot>,
}

/// Asks for locks to be taken away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UnlockDestination {
    /// At which destination.
    pub destination: String,
    /// Whether also those that somebody may hold.
    #[serde(default)]
    pub all: bool,
    /// Whether only to say which.
    #[serde(default)]
    pub dry_run: bool,
}

/// Locks that are gone, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnlockedDestination {
    /// Whether nothing was done.
    pub dry_run: bool,
    /// Which.
    pub locks: Vec<DestinationLock>,
}

/// A lock at a destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DestinationLock {
    /// Who held it; empty when it cannot be read.
    pub host: String,
    /// RFC 3339; since when, or when it was renewed.
    pub since: Option<String>,
    /// Whether nobody else could work.
    pub exclusive: bool,
}

/// Gives the recovery password of a repository that was made elsewhere.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdoptDestination {
    /// At which destination.
    pub destination: String,
    /// The password.
    pub password: String,
}

/// Asks for all workspaces of a lost node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RebuildNode {
    /// From where; the first destination that holds a node's state when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// Whether only to say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a rebuild did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rebuilt {
    /// Whether nothing was done.
    pub dry_run: bool,
    /// From where.
    pub destination: String,
    /// The node whose workspaces they were.
    pub node: String,
    /// RFC 3339; of when its state is.
    pub time: String,
    /// Each workspace.
    pub workspaces: Vec<RebuiltWorkspace>,
    /// Where that node's own settings are kept, if it had any.
    pub settings: Option<String>,
}

/// What became of a workspace of a lost node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RebuiltWorkspace {
    /// Its folder's name.
    pub workspace: String,
    /// `back`, `there` (something of its name is there and was left alone), `no_snapshot` or `failed`.
    pub fate: String,
    /// From which snapshot.
    pub snapshot: Option<String>,
    /// Bytes of its files.
    pub bytes: u64,
    /// Why it is not back.
    pub failure: Option<String>,
}

/// What a restore did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Restored {
    /// Whether nothing was done.
    pub dry_run: bool,
    /// The snapshot.
    pub snapshot: Snapshot,
    /// The folder.
    pub to: String,
    /// Things that are new there.
    pub added: u64,
    /// Things that are replaced.
    pub replaced: u64,
    /// Things that are the same already.
    pub unchanged: u64,
    /// Bytes of the files written.
    pub bytes: u64,
    /// Files and links that the snapshot does not hold: how many go, or would.
    pub removed_total: u64,
    /// The first of them.
    pub removed: Vec<String>,
    /// Things that could not be restored.
    pub failed_total: u64,
    /// The first of them.
    pub failed: Vec<BackupNote>,
    /// Where what was replaced is kept.
    pub kept_aside: Option<String>,
}

/// Asks for a proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyBackup {
    /// Of which destination.
    pub destination: String,
    /// Whether everything stored is read, and not only looked for.
    #[serde(default)]
    pub read_data: bool,
}

/// Asks for an index to be made anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RepairDestination {
    /// Of which destination.
    pub destination: String,
}

/// What a proof found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Verified {
    /// Whether all is whole.
    pub whole: bool,
    /// What is not.
    pub findings: Vec<String>,
}

/// Of which destination.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RecoveryOf {
    /// Its name.
    pub destination: String,
}

/// What opens a destination's repository without this node.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Recovery {
    /// The destination.
    pub destination: String,
    /// Where it is.
    pub place: String,
    /// The password, for `restic` or for another node.
    pub password: String,
}
