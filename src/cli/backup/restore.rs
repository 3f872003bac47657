//! `nexus backup restore` and `rebuild`: bring a workspace's folder back, or all of a lost node's.

use std::io;
use std::process::ExitCode;

use clap::Args;

use super::Context;
use super::Failure;
use super::WORK_TIME;
use super::ask;
use super::bytes;
use super::short;
use crate::api::wire::backup as wire_backup;
use crate::base::fault::Kind;

/// Bring a workspace's folder back
#[derive(Debug, Args)]
pub struct RestoreArguments {
    /// The workspace, as `nexus backup list` shows it
    workspace: String,
    /// Only these paths of it
    paths: Vec<String>,
    /// From this destination
    #[arg(long)]
    destination: Option<String>,
    /// From this snapshot: the beginning of its id
    #[arg(long)]
    snapshot: Option<String>,
    /// As it was then, such as "2024-01-15 10:30:00" (UTC)
    #[arg(long, value_name = "TIME")]
    point_in_time: Option<String>,
    /// Under another name
    #[arg(long, value_name = "NAME")]
    to: Option<String>,
    /// What to do with a folder that is there: merge adds and updates, mirror also takes out what the snapshot does not
    /// hold; both keep what was there aside
    #[arg(long, value_parser = ["merge", "mirror"])]
    mode: Option<String>,
    /// Only show the plan
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Bring back every workspace of a lost node, on this one
///
/// For a new machine: say where the backups are and give the recovery password (`nexus backup adopt`, or
/// `NEXUS_BACKUP_<NAME>_PASSWORD`), then run this. Workspaces that are there already are left alone.
#[derive(Debug, Args)]
pub struct RebuildArguments {
    /// From this destination
    #[arg(long)]
    destination: Option<String>,
    /// Only show the plan
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Restores, or shows what that would be.
pub(super) async fn restore(context: &mut Context, arguments: RestoreArguments) -> Result<ExitCode, Failure> {
    let mut request = wire_backup::RestoreBackup {
        workspace: arguments.workspace,
        destination: arguments.destination,
        snapshot: arguments.snapshot,
        point_in_time: arguments.point_in_time,
        to: arguments.to,
        mode: arguments.mode.as_deref().map(|mode| match mode {
            "mirror" => wire_backup::RestoreMode::Mirror,
            _ => wire_backup::RestoreMode::Merge,
        }),
        paths: arguments.paths,
        dry_run: true,
    };
    let path = "/api/v1/backup/restores";
    if arguments.dry_run || !arguments.yes {
        let plan: wire_backup::Restored =
            context.client.call("POST", path, Some(&request), WORK_TIME).await?;
        if arguments.dry_run {
            if context.screen.json {
                context.screen.value(&plan)?;
            } else {
                removed(&plan).iter().try_for_each(|line| context.screen.line(line))?;
                context.screen.line(&sentence(&plan, "would be"))?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        removed(&plan).iter().for_each(|line| context.screen.say(line));
        ask(context, &sentence(&plan, "would be"))?;
        // What was shown is what is restored, whatever has been backed up since.
        request.destination = Some(plan.snapshot.destination.clone());
        request.snapshot = Some(plan.snapshot.id.clone());
    }
    request.dry_run = false;
    let done: wire_backup::Restored = context.client.call("POST", path, Some(&request), WORK_TIME).await?;
    if context.screen.json {
        context.screen.value(&done)?;
    } else {
        context.screen.say(&sentence(&done, "were"));
        if let Some(aside) = &done.kept_aside {
            context.screen.say(&format!("what was replaced or removed is in {aside}"));
        }
        for note in &done.failed {
            context.screen.line(&format!("failed: {} ({})", note.path, note.text))?;
        }
    }
    if done.failed_total == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::new(Kind::Unavailable, format!("{} things could not be restored", done.failed_total))
        .hint("another destination or an older snapshot may have them: see `nexus backup list`"))
}

/// What goes, one line for each of the first.
fn removed(plan: &wire_backup::Restored) -> Vec<String> {
    let mut lines: Vec<String> = plan.removed.iter().map(|path| format!("remove: {path}")).collect();
    let more = plan.removed_total.saturating_sub(plan.removed.len() as u64);
    lines.extend((more > 0).then(|| format!("remove: and {more} more")));
    lines
}

fn sentence(done: &wire_backup::Restored, verb: &str) -> String {
    format!(
        "{} things {verb} added, {} replaced ({}) and {} removed, {} are the same; in {}, from snapshot {} of {} at `{}`",
        done.added,
        done.replaced,
        bytes(done.bytes),
        done.removed_total,
        done.unchanged,
        done.to,
        short(&done.snapshot.id),
        done.snapshot.time,
        done.snapshot.destination
    )
}

/// Rebuilds, or shows what that would be.
pub(super) async fn rebuild(context: &mut Context, arguments: RebuildArguments) -> Result<ExitCode, Failure> {
    let path = "/api/v1/backup/rebuilds";
    let mut request = wire_backup::RebuildNode { destination: arguments.destination, dry_run: true };
    let plan: wire_backup::Rebuilt = context.client.call("POST", path, Some(&request), WORK_TIME).await?;
    if arguments.dry_run {
        print_rebuilt(context, &plan)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !arguments.yes {
        let back = plan.workspaces.iter().filter(|one| one.fate == "back").count();
        ask(
            context,
            &format!("{back} workspaces of the node {} would come back, as of {}", plan.node, plan.time),
        )?;
    }
    request = wire_backup::RebuildNode { destination: Some(plan.destination), dry_run: false };
    let done: wire_backup::Rebuilt = context.client.call("POST", path, Some(&request), WORK_TIME).await?;
    print_rebuilt(context, &done)?;
    let failed = done.workspaces.iter().filter(|one| !matches!(one.fate.as_str(), "back" | "there")).count();
    if failed == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::new(Kind::Unavailable, format!("{failed} workspaces are not back"))
        .hint("run it again, or bring them back one by one: see `nexus backup list`"))
}

fn print_rebuilt(context: &Context, rebuilt: &wire_backup::Rebuilt) -> io::Result<()> {
    if context.screen.json {
        return context.screen.value(rebuilt);
    }
    for one in &rebuilt.workspaces {
        let fate = match (one.fate.as_str(), &one.snapshot, &one.failure) {
            ("back", Some(snapshot), _) if rebuilt.dry_run => {
                format!("would come back from snapshot {} ({})", short(snapshot), bytes(one.bytes))
            }
            ("back", Some(snapshot), _) => {
                format!("is back from snapshot {} ({})", short(snapshot), bytes(one.bytes))
            }
            ("there", ..) => "is there and was left alone".to_owned(),
            ("no_snapshot", ..) => "was never backed up there".to_owned(),
            (other, _, why) => why.clone().unwrap_or_else(|| other.to_owned()),
        };
        context.screen.line(&format!("`{}` {fate}", one.workspace))?;
    }
    if let Some(settings) = &rebuilt.settings {
        context
            .screen
            .say(&format!("the settings of that node are in {settings}; they are not in force here"));
    }
    Ok(())
}
