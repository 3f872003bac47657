//! `nexus backup ...`: back up, see, bring back, prove.

mod prove;
mod restore;

use std::io;
use std::io::BufRead as _;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use clap::Subcommand;

use super::Context;
use super::client::segment;
use super::failure::Failure;
use crate::api::wire::backup as wire_backup;
use crate::base::fault::Kind;

pub use prove::DrillArguments;
pub use prove::ProbeArguments;
pub use restore::RebuildArguments;
pub use restore::RestoreArguments;

use prove::drill;
use prove::probe;
use restore::rebuild;
use restore::restore;

/// For a request that is answered at once.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// For one that reads or writes everything there is.
const WORK_TIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Back up workspaces, and bring them back
///
/// There is no `prune`: the release of the library this version is built on can lose data in it. Space is given back
/// by `restic prune` with the password that `nexus backup recovery` shows.
#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    Status(StatusArguments),
    Run(RunArguments),
    List(ListArguments),
    Show(ShowArguments),
    Diff(DiffArguments),
    Restore(RestoreArguments),
    Rebuild(RebuildArguments),
    Verify(VerifyArguments),
    Drill(DrillArguments),
    Probe(ProbeArguments),
    Repair(RepairArguments),
    Forget(ForgetArguments),
    Unlock(UnlockArguments),
    Recovery(RecoveryArguments),
    Adopt(AdoptArguments),
}

/// Show where backups go, when the last one succeeded and when the next is due
#[derive(Debug, Args)]
pub struct StatusArguments {}

/// Back up now
#[derive(Debug, Args)]
pub struct RunArguments {
    /// Only this workspace
    workspace: Option<String>,
    /// Only to this destination
    #[arg(long)]
    destination: Option<String>,
    /// Only say what would be taken and what is left out
    #[arg(long)]
    dry_run: bool,
    /// Go on where most files of a mirror are gone
    #[arg(long)]
    accept_deletions: bool,
}

/// List snapshots
#[derive(Debug, Args)]
pub struct ListArguments {
    /// Only of this workspace
    workspace: Option<String>,
    /// Only at this destination
    #[arg(long)]
    destination: Option<String>,
}

/// Show what a snapshot holds
#[derive(Debug, Args)]
pub struct ShowArguments {
    /// The snapshot: the beginning of its id
    snapshot: String,
    /// Only this path and what is directly below it
    path: Option<String>,
    /// At this destination; may be left out where there is one alone
    #[arg(long)]
    destination: Option<String>,
}

/// Show what two snapshots hold differently
#[derive(Debug, Args)]
pub struct DiffArguments {
    /// The earlier snapshot: the beginning of its id
    from: String,
    /// The later one
    to: String,
    /// At this destination; may be left out where there is one alone
    #[arg(long)]
    destination: Option<String>,
}

/// Take snapshots out of the list; the data of a repository stay until a prune
#[derive(Debug, Args)]
pub struct ForgetArguments {
    /// The snapshots: the beginnings of their ids
    #[arg(required = true)]
    snapshots: Vec<String>,
    /// At this destination; may be left out where there is one alone
    #[arg(long)]
    destination: Option<String>,
    /// Only show which
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Make the index of a destination anew from what is stored there
#[derive(Debug, Args)]
pub struct RepairArguments {
    /// The destination
    destination: String,
}

/// Take locks away that nobody holds any more
#[derive(Debug, Args)]
pub struct UnlockArguments {
    /// The destination
    destination: String,
    /// Also those that somebody may hold: whoever works there then works unprotected
    #[arg(long)]
    all: bool,
    /// Only show which
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Give the recovery password of a repository that another node or restic has made
///
/// The password is read from the standard input.
#[derive(Debug, Args)]
pub struct AdoptArguments {
    /// The destination
    destination: String,
}

/// Prove that what is stored is whole
#[derive(Debug, Args)]
pub struct VerifyArguments {
    /// The destination
    destination: String,
    /// Read everything that is stored, and not only look for it
    #[arg(long)]
    read_data: bool,
}

/// Show the password that opens a destination without this node
#[derive(Debug, Args)]
pub struct RecoveryArguments {
    /// The destination
    destination: String,
}

/// Runs one of them.
pub async fn run(context: &mut Context, command: BackupCommand) -> Result<ExitCode, Failure> {
    match command {
        BackupCommand::Status(_) => status(context).await,
        BackupCommand::Run(arguments) => back_up(context, arguments).await,
        BackupCommand::List(arguments) => list(context, &arguments).await,
        BackupCommand::Show(arguments) => show(context, arguments).await,
        BackupCommand::Diff(arguments) => diff(context, arguments).await,
        BackupCommand::Repair(arguments) => repair(context, arguments).await,
        BackupCommand::Forget(arguments) => forget(context, arguments).await,
        BackupCommand::Unlock(arguments) => unlock(context, arguments).await,
        BackupCommand::Adopt(arguments) => adopt(context, arguments).await,
        BackupCommand::Restore(arguments) => restore(context, arguments).await,
        BackupCommand::Rebuild(arguments) => rebuild(context, arguments).await,
        BackupCommand::Verify(arguments) => verify(context, arguments).await,
        BackupCommand::Drill(arguments) => drill(context, arguments).await,
        BackupCommand::Probe(arguments) => probe(context, arguments).await,
        BackupCommand::Recovery(arguments) => recovery(context, &arguments).await,
    }
}

async fn status(context: &mut Context) -> Result<ExitCode, Failure> {
    let status: wire_backup::BackupStatus = context.client.get("/api/v1/backup").await?;
    if context.screen.json {
        context.screen.value(&status)?;
        return Ok(ExitCode::SUCCESS);
    }
    let or = |time: &Option<String>, none: &str| time.clone().unwrap_or_else(|| none.to_owned());
    let row = |one: &wire_backup::Destination| {
        let state = match (&one.running, &one.problem, one.alert) {
            (Some(running), ..) => {
                format!("running ({} of {})", running.workspaces_done, running.workspaces_total)
            }
            (_, Some(problem), _) => format!("failed: {}", problem.message),
            (.., true) if one.drill.as_ref().is_some_and(|drill| !drill.proved) => {
                "not restorable".to_owned()
            }
            (.., true) => "overdue".to_owned(),
            _ => "ok".to_owned(),
        };
        vec![
            one.name.clone(),
            one.form.clone(),
            one.place.clone(),
            or(&one.last_success, "never"),
            or(&one.next_run, "-"),
            state,
        ]
    };
    let rows: Vec<_> = status.destinations.iter().map(row).collect();
    context.screen.table(&["NAME", "FORM", "PLACE", "LAST SUCCESS", "NEXT", "STATE"], &rows)?;
    for hint in status.destinations.iter().filter_map(|one| one.problem.as_ref()?.hint.as_ref()) {
        context.screen.say(&format!("hint: {hint}"));
    }
    for one in &status.destinations {
        prove::say_what_is_lost(context, one);
        prove::say_what_is_proved(context, one);
    }
    Ok(ExitCode::SUCCESS)
}

async fn back_up(context: &mut Context, arguments: RunArguments) -> Result<ExitCode, Failure> {
    let request = wire_backup::RunBackup {
        destination: arguments.destination,
        workspace: arguments.workspace,
        dry_run: arguments.dry_run,
        accept_deletions: arguments.accept_deletions,
    };
    let done: wire_backup::BackupRuns =
        context.client.call("POST", "/api/v1/backup/runs", Some(&request), WORK_TIME).await?;
    let whole = done.runs.iter().all(|run| {
        run.problem.is_none() && run.workspaces.iter().all(|workspace| workspace.failure.is_none())
    });
    if context.screen.json {
        context.screen.value(&done)?;
    } else {
        for run in &done.runs {
            print_run(context, run, done.dry_run)?;
        }
    }
    if whole {
        return Ok(ExitCode::SUCCESS);
    }
    let hint = done.runs.iter().find_map(|run| run.problem.as_ref()?.hint.clone());
    let failure = Failure::new(Kind::Unavailable, "not everything was backed up");
    Err(match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    })
}

fn print_run(context: &Context, run: &wire_backup::BackupRun, dry_run: bool) -> io::Result<()> {
    let at = if dry_run { String::new() } else { format!("{}: ", run.destination) };
    if let Some(problem) = &run.problem {
        context.screen.say(&format!("{at}{}", problem.message));
    }
    for one in &run.workspaces {
        let taken = format!("{} files, {}", one.files, bytes(one.bytes));
        let out = format!("{} left out", bytes(one.left_out_bytes));
        let line = match (&one.failure, &one.snapshot) {
            (Some(failure), _) => format!("{at}`{}` was not backed up: {failure}", one.workspace),
            _ if dry_run => format!("`{}`: {taken}, {out}", one.workspace),
            (_, Some(id)) => format!(
                "{at}`{}`: {taken}, {} changed, {} stored, snapshot {}",
                one.workspace,
                one.changed_files,
                bytes(one.stored_bytes),
                short(id)
            ),
            (_, None) => {
                let since = one.unchanged_since.as_deref().map(|id| format!(" since snapshot {}", short(id)));
                format!("{at}`{}`: nothing has changed{}", one.workspace, since.unwrap_or_default())
            }
        };
        context.screen.line(&line)?;
        for note in &one.notes {
            context.screen.line(&format!("  {}: {} ({})", note.kind, note.path, note.text))?;
        }
    }
    Ok(())
}

async fn list(context: &mut Context, arguments: &ListArguments) -> Result<ExitCode, Failure> {
    let parts = [("destination", &arguments.destination), ("workspace", &arguments.workspace)];
    let query: Vec<String> = parts
        .iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", segment(value.as_ref()?))))
        .collect();
    let path = format!("/api/v1/backup/snapshots?{}", query.join("&"));
    let list: wire_backup::SnapshotList = context.client.call("GET", &path, None::<&()>, WORK_TIME).await?;
    if context.screen.json {
        context.screen.value(&list)?;
        return Ok(ExitCode::SUCCESS);
    }
    let row = |one: &wire_backup::Snapshot| {
        vec![
            short(&one.id).to_owned(),
            one.time.clone(),
            one.workspace.clone(),
            one.destination.clone(),
            one.files.to_string(),
            bytes(one.bytes),
        ]
    };
    let rows: Vec<_> = list.snapshots.iter().map(row).collect();
    context.screen.table(&["ID", "TIME", "WORKSPACE", "DESTINATION", "FILES", "SIZE"], &rows)?;
    for problem in &list.problems {
        context.screen.say(&problem.message);
    }
    Ok(ExitCode::SUCCESS)
}

/// The destination that is meant: the one given, or the only one there is.
async fn only(context: &mut Context, given: Option<String>) -> Result<String, Failure> {
    if let Some(name) = given {
        return Ok(name);
    }
    let status: wire_backup::BackupStatus = context.client.get("/api/v1/backup").await?;
    let names: Vec<String> = status.destinations.into_iter().map(|one| one.name).collect();
    match names.as_slice() {
        [one] => Ok(one.clone()),
        several => Err(Failure::new(Kind::Invalid, "it is not clear which destination is meant")
            .hint(format!("add `--destination` with one of: {}", several.join(", ")))),
    }
}

async fn show(context: &mut Context, arguments: ShowArguments) -> Result<ExitCode, Failure> {
    let destination = only(context, arguments.destination).await?;
    let mut path = format!(
        "/api/v1/backup/contents?destination={}&snapshot={}",
        segment(&destination),
        segment(&arguments.snapshot)
    );
    if let Some(only) = &arguments.path {
        path.push_str(&format!("&path={}", segment(only)));
    }
    let found: wire_backup::SnapshotContents =
        context.client.call("GET", &path, None::<&()>, WORK_TIME).await?;
    if context.screen.json {
        context.screen.value(&found)?;
        return Ok(ExitCode::SUCCESS);
    }
    let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let row = |one: &wire_backup::SnapshotThing| {
        let size = if one.kind == "file" { bytes(one.size) } else { "-".to_owned() };
        let name = match &one.target {
            Some(target) => format!("{} -> {target}", one.path),
            None => one.path.clone(),
        };
        vec![one.kind.clone(), or(&one.mode), size, or(&one.modified), name]
    };
    let rows: Vec<_> = found.things.iter().map(row).collect();
    context.screen.table(&["KIND", "MODE", "SIZE", "MODIFIED", "PATH"], &rows)?;
    left_out(context, found.total, found.things.len());
    Ok(ExitCode::SUCCESS)
}

async fn diff(context: &mut Context, arguments: DiffArguments) -> Result<ExitCode, Failure> {
    let destination = only(context, arguments.destination).await?;
    let path = format!(
        "/api/v1/backup/differences?destination={}&from={}&to={}",
        segment(&destination),
        segment(&arguments.from),
        segment(&arguments.to)
    );
    let found: wire_backup::SnapshotDifference =
        context.client.call("GET", &path, None::<&()>, WORK_TIME).await?;
    if context.screen.json {
        context.screen.value(&found)?;
        return Ok(ExitCode::SUCCESS);
    }
    for one in &found.changes {
        context.screen.line(&format!("{:<8} {}", one.change, one.path))?;
    }
    left_out(context, found.total, found.changes.len());
    Ok(ExitCode::SUCCESS)
}

fn left_out(context: &Context, total: u64, shown: usize) {
    let rest = total.saturating_sub(shown as u64);
    if rest > 0 {
        context.screen.say(&format!("{rest} more are not shown"));
    }
}

async fn forget(context: &mut Context, arguments: ForgetArguments) -> Result<ExitCode, Failure> {
    let destination = only(context, arguments.destination).await?;
    let path = "/api/v1/backup/forgets";
    let mut request =
        wire_backup::ForgetSnapshots { destination, snapshots: arguments.snapshots, dry_run: true };
    let mut gone: wire_backup::ForgottenSnapshots =
        context.client.call("POST", path, Some(&request), WORK_TIME).await?;
    if !arguments.dry_run {
        let named: Vec<String> =
            gone.snapshots.iter().map(|one| format!("{} of `{}`", short(&one.id), one.workspace)).collect();
        if !arguments.yes {
            ask(context, &format!("no longer listed at `{}`: {}", request.destination, named.join(", ")))?;
        }
        // What was shown is what is forgotten.
        request.snapshots = gone.snapshots.iter().map(|one| one.id.clone()).collect();
        request.dry_run = false;
        gone = context.client.call("POST", path, Some(&request), WORK_TIME).await?;
    }
    if context.screen.json {
        context.screen.value(&gone)?;
        return Ok(ExitCode::SUCCESS);
    }
    let verb = if gone.dry_run { "would be forgotten" } else { "is forgotten" };
    for one in &gone.snapshots {
        context.screen.line(&format!("{} of `{}` of {} {verb}", short(&one.id), one.workspace, one.time))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn unlock(context: &mut Context, arguments: UnlockArguments) -> Result<ExitCode, Failure> {
    if arguments.all && !arguments.dry_run && !arguments.yes {
        ask(context, "whoever works at the destination now would work unprotected")?;
    }
    let request = wire_backup::UnlockDestination {
        destination: arguments.destination,
        all: arguments.all,
        dry_run: arguments.dry_run,
    };
    let gone: wire_backup::UnlockedDestination =
        context.client.call("POST", "/api/v1/backup/unlocks", Some(&request), WORK_TIME).await?;
    if context.screen.json {
        context.screen.value(&gone)?;
        return Ok(ExitCode::SUCCESS);
    }
    let verb = if gone.dry_run { "would be taken away" } else { "was taken away" };
    for one in &gone.locks {
        let (host, since) = (&one.host, one.since.as_deref().unwrap_or("an unknown time"));
        context.screen.line(&format!("the lock of `{host}` since {since} {verb}"))?;
    }
    if gone.locks.is_empty() {
        context.screen.say("no lock is left over");
    }
    Ok(ExitCode::SUCCESS)
}

async fn adopt(context: &mut Context, arguments: AdoptArguments) -> Result<ExitCode, Failure> {
    if io::stdin().is_terminal() {
        context.screen.say("The recovery password (it is shown as you type):");
    }
    let mut password = String::new();
    io::stdin().lock().read_line(&mut password)?;
    let request = wire_backup::AdoptDestination {
        destination: arguments.destination,
        password: password.trim().to_owned(),
    };
    let path = "/api/v1/backup/adoptions";
    context.client.bytes("POST", path, Some(&request), WORK_TIME).await?;
    context.screen.say(&format!("`{}` opens with it; this node can restore from there", request.destination));
    Ok(ExitCode::SUCCESS)
}

fn ask(context: &Context, plan: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(Kind::Denied, "this needs a yes, and there is nobody to ask")
            .hint("add `--yes`, or `--dry-run` to see what would be done"));
    }
    context.screen.say(plan);
    context.screen.say("Do it? Type `yes`:");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if answer.trim() == "yes" { Ok(()) } else { Err(Failure::new(Kind::Denied, "nothing was done")) }
}

async fn verify(context: &mut Context, arguments: VerifyArguments) -> Result<ExitCode, Failure> {
    let request =
        wire_backup::VerifyBackup { destination: arguments.destination, read_data: arguments.read_data };
    let found: wire_backup::Verified =
        context.client.call("POST", "/api/v1/backup/verifications", Some(&request), WORK_TIME).await?;
    print_verified(context, &request.destination, &found)
}

fn print_verified(
    context: &Context,
    destination: &str,
    found: &wire_backup::Verified,
) -> Result<ExitCode, Failure> {
    if context.screen.json {
        context.screen.value(found)?;
    } else {
        found.findings.iter().try_for_each(|finding| context.screen.line(finding))?;
        if found.whole {
            context.screen.say(&format!("all snapshots at `{destination}` are whole"));
        }
    }
    if found.whole {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::new(Kind::Conflict, format!("`{destination}` is damaged"))
        .hint("a restore still brings back every file that is whole; back up to another destination now"))
}

async fn repair(context: &mut Context, arguments: RepairArguments) -> Result<ExitCode, Failure> {
    let request = wire_backup::RepairDestination { destination: arguments.destination };
    let found: wire_backup::Verified =
        context.client.call("POST", "/api/v1/backup/repairs", Some(&request), WORK_TIME).await?;
    print_verified(context, &request.destination, &found)
}

async fn recovery(context: &mut Context, arguments: &RecoveryArguments) -> Result<ExitCode, Failure> {
    let path = format!("/api/v1/backup/recovery?destination={}", segment(&arguments.destination));
    let found: wire_backup::Recovery = context.client.call("GET", &path, None::<&()>, ANSWER_TIME).await?;
    if context.screen.json {
        context.screen.value(&found)?;
        return Ok(ExitCode::SUCCESS);
    }
    context.screen.say("Print this or write it down, and keep it away from this machine. Without it nobody gets a backup back.");
    context.screen.facts(&[
        ("destination", Some(found.destination)),
        ("place", Some(found.place)),
        ("password", Some(found.password)),
    ])?;
    Ok(ExitCode::SUCCESS)
}

fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

fn bytes(count: u64) -> String {
    let (mut whole, mut rest, mut unit) = (count, 0, "B");
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if whole < 1024 {
            break;
        }
        (rest, whole, unit) = (whole % 1024 * 10 / 1024, whole / 1024, next);
    }
    if unit == "B" { format!("{whole} B") } else { format!("{whole}.{rest} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_are_short() {
        let shown = [0, 1023, 1024, 1_600_000, 5 << 30].map(bytes);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "5.0 GiB"]);
    }
}
