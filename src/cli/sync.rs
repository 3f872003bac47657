//! `nexus sync ...`: how a workspace's files are, what is in conflict, what was displaced and how to have it back.

use std::io;
use std::io::BufRead as _;
use std::io::IsTerminal as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::ArgGroup;
use clap::Args;
use clap::Subcommand;
use clap::ValueEnum;

use super::Context;
use super::client::segment;
use super::failure::Failure;
use super::workspace;
use crate::api::wire::WorkspaceList;
use crate::api::wire::sync as wire;
use crate::base::fault::Kind;

/// For a request that is answered at once, and for one that waits until both sides are equal.
const ANSWER_TIME: Duration = Duration::from_secs(30);
const FLUSH_TIME: Duration = Duration::from_secs(70);
/// How often `monitor` looks.
const MONITOR: Duration = Duration::from_millis(500);

/// See and steer how files are kept equal
#[derive(Debug, Subcommand)]
pub enum SyncCommand {
    Status(StatusArguments),
    /// Wait until both sides have looked at everything and are equal
    Flush(OneArguments),
    /// Stop making changes, on either side
    Pause(OneArguments),
    Resume(ResumeArguments),
    Conflicts(ConflictsArguments),
    Resolve(ResolveArguments),
    Preview(PreviewArguments),
    Versions(VersionsArguments),
    Undo(UndoArguments),
    Trace(TraceArguments),
    /// Print a line whenever something changes, until interrupted
    Monitor(OneArguments),
}

/// Show how sync is: of one workspace, or of all
#[derive(Debug, Args)]
pub struct StatusArguments {
    /// Name or id
    workspace: Option<String>,
}

/// Which workspace
#[derive(Debug, Args)]
pub struct OneArguments {
    /// Name or id
    workspace: String,
}

/// Go on after a pause
#[derive(Debug, Args)]
pub struct ResumeArguments {
    /// Name or id
    workspace: String,
    /// Say yes to what is halted or held, as it is now
    #[arg(long)]
    accept_deletions: bool,
}

/// List the conflicts that wait for a person
#[derive(Debug, Args)]
pub struct ConflictsArguments {
    /// Name or id
    workspace: String,
    /// Show the difference between the two versions of this path
    #[arg(long, value_name = "PATH")]
    diff: Option<String>,
}

/// Settle conflicts; what is displaced is kept as a version
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("stays").required(true).args(["keep", "merged", "with"])))]
pub struct ResolveArguments {
    /// Name or id
    workspace: String,
    /// A path, or a pattern such as 'src/**' for many
    path: String,
    /// Whose version stays
    #[arg(long, value_enum)]
    keep: Option<Keep>,
    /// Put both edits of a text together; what clashes stays in conflict
    #[arg(long)]
    merged: bool,
    /// The text in this file stays, on both sides
    #[arg(long, value_name = "FILE")]
    with: Option<PathBuf>,
    /// Say what would become of them, and settle nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Keep {
    Host,
    Container,
}

/// Say what other settings would do, and change nothing
///
/// Settings are stated in the project's .nexus/config.yaml; what is saved there counts at once.
#[derive(Debug, Args)]
pub struct PreviewArguments {
    /// Name or id
    workspace: String,
    /// Whose changes go where: two-way-safe, two-way-resolved, one-way-safe, one-way-replica
    #[arg(long)]
    mode: Option<String>,
    /// Who wins a conflict: host-wins, container-wins, newer-wins, manual
    #[arg(long)]
    strategy: Option<String>,
    /// What is not carried besides, as a gitignore line; with `!` what is carried again
    #[arg(long, value_name = "LINE")]
    exclude: Vec<String>,
}

/// List what sync has overwritten or removed and keeps
#[derive(Debug, Args)]
pub struct VersionsArguments {
    /// Name or id
    workspace: String,
    /// A path in the folder; everything without one
    path: Option<String>,
}

/// Bring back what sync has overwritten or removed
#[derive(Debug, Args)]
pub struct UndoArguments {
    /// Name or id
    workspace: String,
    /// What the last batch displaced at this path or below it
    #[arg(required_unless_present_any = ["batch", "version"], conflicts_with_all = ["batch", "version"])]
    path: Option<String>,
    /// All that a batch displaced
    #[arg(long, conflicts_with = "version")]
    batch: Option<u64>,
    /// One version, by its number
    #[arg(long)]
    version: Option<String>,
    /// On which side only
    #[arg(long, value_enum)]
    side: Option<Keep>,
    /// Say what would come back, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Say why a path is where it is, or is not
#[derive(Debug, Args)]
pub struct TraceArguments {
    /// Name or id
    workspace: String,
    /// A path in the folder
    path: String,
}

/// Runs one of them.
pub async fn run(context: &mut Context, command: SyncCommand) -> Result<ExitCode, Failure> {
    match command {
        SyncCommand::Status(arguments) => status(context, arguments.workspace.as_deref()).await,
        SyncCommand::Flush(arguments) => {
            let done: wire::SyncStatus =
                context.client.call("POST", &path(&arguments.workspace, ""), None::<&()>, FLUSH_TIME).await?;
            let said = format!("both sides of `{}` are equal", done.workspace);
            show(context, &done, &said)
        }
        SyncCommand::Pause(arguments) => {
            let path = path(&arguments.workspace, "/pause");
            let done: wire::SyncStatus = context.client.call("POST", &path, None::<&()>, ANSWER_TIME).await?;
            let said = format!("paused the sync of `{}`", done.workspace);
            show(context, &done, &said)
        }
        SyncCommand::Resume(arguments) => resume(context, &arguments).await,
        SyncCommand::Conflicts(arguments) => conflicts(context, &arguments).await,
        SyncCommand::Resolve(arguments) => resolve(context, &arguments).await,
        SyncCommand::Preview(arguments) => preview(context, &arguments).await,
        SyncCommand::Versions(arguments) => versions(context, &arguments).await,
        SyncCommand::Undo(arguments) => undo(context, &arguments).await,
        SyncCommand::Trace(arguments) => trace(context, &arguments).await,
        SyncCommand::Monitor(arguments) => monitor(context, &arguments.workspace).await,
    }
}

fn path(key: &str, rest: &str) -> String {
    format!("{}/sync{rest}", workspace::path(key))
}

fn show(context: &Context, status: &wire::SyncStatus, said: &str) -> Result<ExitCode, Failure> {
    if context.screen.json {
        context.screen.value(status)?;
    } else {
        context.screen.say(said);
    }
    Ok(ExitCode::SUCCESS)
}

async fn status(context: &mut Context, key: Option<&str>) -> Result<ExitCode, Failure> {
    let Some(key) = key else { return all(context).await };
    let status: wire::SyncStatus = context.client.get(&path(key, "")).await?;
    if context.screen.json {
        context.screen.value(&status)?;
        return Ok(ExitCode::SUCCESS);
    }
    let side = |name: &str| {
        let side = status.sides.iter().find(|side| side.side == name)?;
        let mut text = format!("{}, {} files", side.reason.as_ref().unwrap_or(&side.presence), side.files);
        if side.done_entries < side.total_entries {
            text += &format!(", {}", progress(side));
        }
        Some(text)
    };
    context.screen.facts(&[
        ("workspace", Some(status.workspace.clone())),
        ("state", Some(status.state.clone())),
        ("mode", Some(format!("{}, {}", status.mode, status.strategy))),
        ("host", side("host")),
        ("container", side("container")),
        ("latency", status.latency_us.map(|latency| format!("{:.1} ms", latency as f64 / 1000.0))),
        ("conflicts", (status.conflicts > 0).then(|| status.conflicts.to_string())),
        ("halted", status.halt.clone()),
        ("error", status.error.clone()),
    ])?;
    for hold in &status.holds {
        context.screen.line(&format!("held: {} (for example {})", hold.message, hold.samples.join(", ")))?;
    }
    for retry in &status.retries {
        context.screen.line(&format!("retried: {}: {}", retry.path, retry.reason))?;
    }
    for side in &status.sides {
        for problem in &side.problems {
            context
                .screen
                .line(&format!("left out on the {}: {}: {}", side.side, problem.path, problem.reason))?;
        }
    }
    for warning in &status.warnings {
        context.screen.line(&format!("warning: {warning}"))?;
    }
    if status.halt.is_some() || !status.holds.is_empty() {
        context.screen.say(&format!("hint: nexus sync resume {} --accept-deletions", status.workspace));
    }
    Ok(ExitCode::SUCCESS)
}

fn progress(side: &wire::SyncSide) -> String {
    format!(
        "{} of {} entries and {} of {} bytes brought",
        side.done_entries, side.total_entries, side.done_bytes, side.total_bytes
    )
}

async fn all(context: &mut Context) -> Result<ExitCode, Failure> {
    let list: WorkspaceList = context.client.get("/api/v1/workspaces").await?;
    let mut found = Vec::new();
    for view in &list.workspaces {
        match context.client.get::<wire::SyncStatus>(&path(&view.id, "")).await {
            Ok(status) => found.push(status),
            // It has no session, or went away since.
            Err(failure) if matches!(failure.kind(), Some(Kind::Conflict | Kind::NotFound)) => {}
            Err(failure) => return Err(failure),
        }
    }
    if context.screen.json {
        context.screen.value(&found)?;
        return Ok(ExitCode::SUCCESS);
    }
    let row = |status: &wire::SyncStatus| {
        let files = |name: &str| {
            let side = status.sides.iter().find(|side| side.side == name);
            side.map_or_else(|| "-".to_owned(), |side| side.files.to_string())
        };
        vec![
            status.workspace.clone(),
            status.state.clone(),
            status.mode.clone(),
            files("host"),
            files("container"),
            status.conflicts.to_string(),
            status.halt.clone().or_else(|| status.error.clone()).unwrap_or_default(),
        ]
    };
    let rows: Vec<Vec<String>> = found.iter().map(row).collect();
    context.screen.table(&["NAME", "STATE", "MODE", "HOST", "CONTAINER", "CONFLICTS", "MESSAGE"], &rows)?;
    Ok(ExitCode::SUCCESS)
}

async fn resume(context: &mut Context, arguments: &ResumeArguments) -> Result<ExitCode, Failure> {
    let request = wire::ResumeSync { accept_deletions: arguments.accept_deletions };
    let path = path(&arguments.workspace, "/resume");
    let done: wire::SyncStatus = context.client.call("POST", &path, Some(&request), ANSWER_TIME).await?;
    let said = format!("resumed the sync of `{}`", done.workspace);
    show(context, &done, &said)
}

async fn conflicts(context: &mut Context, arguments: &ConflictsArguments) -> Result<ExitCode, Failure> {
    let query = arguments.diff.as_ref().map(|path| format!("?path={}&diff=true", segment(path)));
    let path = path(&arguments.workspace, &format!("/conflicts{}", query.unwrap_or_default()));
    let found: wire::SyncConflicts = context.client.get(&path).await?;
    if context.screen.json {
        context.screen.value(&found)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(wanted) = &arguments.diff {
        let Some(conflict) = found.conflicts.first() else {
            return Err(Failure::new(Kind::NotFound, format!("there is no conflict at `{wanted}`")));
        };
        match &conflict.diff {
            Some(diff) => context.screen.foreign(diff.as_bytes())?,
            None => context.screen.say("the two versions are not both text"),
        }
        return Ok(ExitCode::SUCCESS);
    }
    if found.conflicts.is_empty() {
        context.screen.say("no conflicts");
    }
    let told = |version: &wire::SyncVersion| match version.size {
        Some(size) => format!("{}, {size} bytes", version.what),
        None => version.what.clone(),
    };
    let row = |conflict: &wire::SyncConflict| {
        vec![conflict.path.clone(), told(&conflict.ancestor), told(&conflict.host), told(&conflict.container)]
    };
    let rows: Vec<Vec<String>> = found.conflicts.iter().map(row).collect();
    context.screen.table(&["PATH", "WAS", "HOST", "CONTAINER"], &rows)?;
    Ok(ExitCode::SUCCESS)
}

async fn resolve(context: &mut Context, arguments: &ResolveArguments) -> Result<ExitCode, Failure> {
    let (keep, text) = match (arguments.keep, &arguments.with) {
        (Some(side), _) => (name(side), None),
        (None, Some(file)) => ("text", Some(text_of(file)?)),
        (None, None) => ("merged", None),
    };
    let request = wire::ResolveSync {
        path: Some(arguments.path.clone()),
        keep: keep.to_owned(),
        text,
        key: None,
        dry_run: arguments.dry_run,
    };
    let path = path(&arguments.workspace, "/resolve");
    let done: wire::ResolvedSync = context.client.call("POST", &path, Some(&request), ANSWER_TIME).await?;
    if context.screen.json {
        context.screen.value(&done)?;
    } else {
        settled(context, &done, arguments)?;
    }
    if !done.resolved.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    if done.refused.is_empty() {
        return Err(Failure::new(Kind::NotFound, format!("there is no conflict at `{}`", arguments.path))
            .hint("see `nexus sync conflicts`"));
    }
    Err(Failure::new(Kind::Conflict, "no conflict was settled".to_owned()).hint(format!(
        "choose a side with `--keep`, or write the text yourself: `nexus sync resolve {} PATH --with FILE`",
        arguments.workspace
    )))
}

fn settled(
    context: &Context,
    done: &wire::ResolvedSync,
    arguments: &ResolveArguments,
) -> Result<(), Failure> {
    for path in &done.resolved {
        match done.merged.iter().find(|merged| merged.path == *path) {
            Some(merged) => {
                context.screen.say(&format!("{path} would become"));
                context.screen.foreign(merged.text.as_bytes())?;
            }
            None => context.screen.line(path)?,
        }
    }
    for refused in &done.refused {
        context.screen.say(&format!("not settled: {}: {}", refused.path, refused.reason));
    }
    let verb = if arguments.dry_run { "would settle" } else { "settled" };
    let how = match (arguments.keep, &arguments.with) {
        (Some(side), _) => format!("for the {}", name(side)),
        (None, Some(file)) => format!("with `{}`", file.display()),
        (None, None) => "with both edits put together".to_owned(),
    };
    context.screen.say(&format!("{verb} {} {how}", done.resolved.len()));
    Ok(())
}

fn text_of(file: &Path) -> Result<String, Failure> {
    let failure =
        |reason: String| Failure::new(Kind::Invalid, format!("cannot read `{}`: {reason}", file.display()));
    let content = std::fs::read(file).map_err(|error| failure(error.to_string()))?;
    String::from_utf8(content).map_err(|_| {
        failure("it is no text".to_owned())
            .hint("put a file that is no text into the folder, and keep the `host`")
    })
}

fn name(side: Keep) -> &'static str {
    match side {
        Keep::Host => "host",
        Keep::Container => "container",
    }
}

async fn preview(context: &mut Context, arguments: &PreviewArguments) -> Result<ExitCode, Failure> {
    let request = wire::PreviewSync {
        mode: arguments.mode.clone(),
        strategy: arguments.strategy.clone(),
        excludes: arguments.exclude.clone(),
    };
    let path = path(&arguments.workspace, "/preview");
    let preview: wire::SyncPreview = context.client.call("POST", &path, Some(&request), ANSWER_TIME).await?;
    if context.screen.json {
        context.screen.value(&preview)?;
        return Ok(ExitCode::SUCCESS);
    }
    let named = |named: &wire::SyncNamed| {
        (named.count > 0).then(|| format!("{} (for example {})", named.count, named.samples.join(", ")))
    };
    let side = |name: &str| {
        let side = preview.sides.iter().find(|side| side.side == name)?;
        let told = format!("{} made, {} changed, {} removed", side.created, side.changed, side.deleted);
        (side.created + side.changed + side.deleted > 0).then_some(told)
    };
    let conflicts = (preview.conflicts_now + preview.conflicts > 0)
        .then(|| format!("{} instead of {}", preview.conflicts, preview.conflicts_now));
    context.screen.facts(&[
        ("mode", Some(format!("{}, {}", preview.mode, preview.strategy))),
        ("stops to travel", named(&preview.stops)),
        ("begins to travel", named(&preview.begins)),
        ("on the host", side("host")),
        ("in the container", side("container")),
        ("conflicts", conflicts),
        ("would halt", preview.halt.clone()),
    ])?;
    for hold in &preview.holds {
        context.screen.line(&format!(
            "would wait for a yes: {} (for example {})",
            hold.message,
            hold.samples.join(", ")
        ))?;
    }
    if let Some(line) = stated(arguments) {
        context
            .screen
            .say(&format!("hint: to have it so, write into .nexus/config.yaml of the project: {line}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// The line of a project's configuration that says the same.
fn stated(arguments: &PreviewArguments) -> Option<String> {
    let mut parts = Vec::new();
    parts.extend(arguments.mode.as_ref().map(|mode| format!("mode: {mode}")));
    parts.extend(arguments.strategy.as_ref().map(|strategy| format!("strategy: {strategy}")));
    if !arguments.exclude.is_empty() {
        let quoted = arguments.exclude.iter().map(|line| format!("'{}'", line.replace('\'', "''")));
        parts.push(format!("exclude: [{}]", quoted.collect::<Vec<_>>().join(", ")));
    }
    (!parts.is_empty()).then(|| format!("sync: {{{}}}", parts.join(", ")))
}

async fn versions(context: &mut Context, arguments: &VersionsArguments) -> Result<ExitCode, Failure> {
    let query = arguments.path.as_ref().map(|path| format!("?path={}", segment(path)));
    let path = path(&arguments.workspace, &format!("/versions{}", query.unwrap_or_default()));
    let found: wire::SyncVersions = context.client.get(&path).await?;
    if context.screen.json {
        context.screen.value(&found)?;
        return Ok(ExitCode::SUCCESS);
    }
    if found.versions.is_empty() {
        context.screen.say("nothing was displaced there, or it is kept no longer");
    }
    let row = |kept: &wire::SyncKept| {
        vec![
            kept.id.clone(),
            kept.batch.to_string(),
            kept.side.clone(),
            kept.kept_at.clone(),
            kept.size.to_string(),
            kept.cause.clone(),
            kept.path.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    };
    let rows: Vec<Vec<String>> = found.versions.iter().map(row).collect();
    context.screen.table(&["VERSION", "BATCH", "SIDE", "KEPT", "BYTES", "CAUSE", "PATH"], &rows)?;
    Ok(ExitCode::SUCCESS)
}

async fn undo(context: &mut Context, arguments: &UndoArguments) -> Result<ExitCode, Failure> {
    let request = wire::UndoSync {
        path: arguments.path.clone(),
        batch: arguments.batch,
        version: arguments.version.clone(),
        side: arguments.side.map(|side| name(side).to_owned()),
        dry_run: true,
    };
    let path = path(&arguments.workspace, "/undo");
    let plan: wire::UndoneSync = context.client.call("POST", &path, Some(&request), ANSWER_TIME).await?;
    if plan.restored.is_empty() {
        return Err(Failure::new(Kind::NotFound, "there is nothing to bring back".to_owned())
            .hint(format!("see `nexus sync versions {}`", arguments.workspace)));
    }
    if arguments.dry_run {
        return told(context, &plan, "would bring back");
    }
    if !arguments.yes {
        ask(context, &plan)?;
    }
    let request = wire::UndoSync { dry_run: false, ..request };
    let done: wire::UndoneSync = context.client.call("POST", &path, Some(&request), ANSWER_TIME).await?;
    told(context, &done, "brought back")
}

fn told(context: &Context, done: &wire::UndoneSync, verb: &str) -> Result<ExitCode, Failure> {
    if context.screen.json {
        context.screen.value(done)?;
    } else {
        for restored in &done.restored {
            context.screen.line(&format!("{verb} {} ({})", restored.path, restored.reason))?;
        }
        for failed in &done.failed {
            context.screen.say(&format!("not brought back: {}: {}", failed.path, failed.reason));
        }
    }
    if done.failed.is_empty() { Ok(ExitCode::SUCCESS) } else { Ok(ExitCode::FAILURE) }
}

fn ask(context: &Context, plan: &wire::UndoneSync) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(Kind::Denied, "an undo needs a yes, and there is nobody to ask".to_owned())
            .hint("add `--yes`, or `--dry-run` to see what would come back"));
    }
    for restored in &plan.restored {
        context.screen.say(&format!("bring back {} ({})", restored.path, restored.reason));
    }
    context.screen.say("What stands there now becomes a version itself. Type `yes`:");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if answer.trim() == "yes" {
        Ok(())
    } else {
        Err(Failure::new(Kind::Denied, "nothing was brought back".to_owned()))
    }
}

async fn trace(context: &mut Context, arguments: &TraceArguments) -> Result<ExitCode, Failure> {
    let path = path(&arguments.workspace, &format!("/trace?path={}", segment(&arguments.path)));
    let trace: wire::SyncTrace = context.client.get(&path).await?;
    if context.screen.json {
        context.screen.value(&trace)?;
    } else {
        trace.because.iter().try_for_each(|line| context.screen.line(line))?;
        for decision in &trace.decided {
            let at = match decision.path.as_str() {
                "" => "the folder itself: ".to_owned(),
                path if path == trace.path => String::new(),
                path => format!("{path}: "),
            };
            context.screen.line(&format!("{} {at}{}", decision.at, decision.what))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A line for each change, until it is interrupted.
async fn monitor(context: &mut Context, key: &str) -> Result<ExitCode, Failure> {
    let mut last = None;
    loop {
        let status: wire::SyncStatus = context.client.get(&path(key, "")).await?;
        if last.as_ref() != Some(&status) {
            if context.screen.json {
                context.screen.value(&status)?;
            } else {
                context.screen.line(&line(&status))?;
            }
            last = Some(status);
        }
        tokio::time::sleep(MONITOR).await;
    }
}

fn line(status: &wire::SyncStatus) -> String {
    let mut line = format!("{} {}", status.workspace, status.state);
    for side in status.sides.iter().filter(|side| side.done_entries < side.total_entries) {
        line += &format!("; to the {}: {}", side.side, progress(side));
    }
    if let Some(latency) = status.latency_us {
        line += &format!("; last change took {:.1} ms", latency as f64 / 1000.0);
    }
    if status.conflicts > 0 {
        line += &format!("; {} conflicts", status.conflicts);
    }
    if let Some(halt) = status.halt.as_ref().or(status.error.as_ref()) {
        line += &format!("; {halt}");
    }
    line
}
