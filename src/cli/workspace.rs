//! `nexus workspace ...`: see, follow, start, stop, restart, run a program inside, create, remove.

use std::io;
use std::io::BufRead as _;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use clap::Subcommand;
use http_body_util::BodyExt as _;

use super::Context;
use super::client::segment;
use super::failure::Failure;
use super::progress;
use super::progress::Goal;
use super::progress::Target;
use super::run::RunArguments;
use super::run::execute;
use crate::api::wire;
use crate::base::fault::Kind;

/// For a request that is answered at once.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// See and drive workspaces
#[derive(Debug, Subcommand)]
pub enum WorkspaceCommand {
    List(ListArguments),
    Show(ShowArguments),
    Logs(LogsArguments),
    Start(StartArguments),
    Stop(StopArguments),
    Restart(RestartArguments),
    Run(RunArguments),
    Create(CreateArguments),
    Remove(RemoveArguments),
}

/// List all workspaces
#[derive(Debug, Args)]
pub struct ListArguments {}

/// Show one workspace: its state, what it is and why
#[derive(Debug, Args)]
pub struct ShowArguments {
    /// Name or id
    workspace: String,
    /// Print the stack file it runs from
    #[arg(long)]
    compose: bool,
}

/// Print what a workspace's program prints
#[derive(Debug, Args)]
pub struct LogsArguments {
    /// Name or id
    workspace: String,
    /// Keep going as lines come
    #[arg(long, short)]
    follow: bool,
    /// The last lines only
    #[arg(long, value_name = "LINES", default_value_t = 200)]
    tail: u32,
    /// Which service of the stack; the one that answers the web unless named
    #[arg(long)]
    service: Option<String>,
    /// Start each line with its time
    #[arg(long)]
    timestamps: bool,
}

/// Let a workspace run
#[derive(Debug, Args)]
pub struct StartArguments {
    /// Name or id
    workspace: String,
    /// Wait until it answers, has finished or has failed
    #[arg(long)]
    wait: bool,
}

/// Stop a workspace; its data stays
#[derive(Debug, Args)]
pub struct StopArguments {
    /// Name or id
    workspace: String,
    /// Wait until it has stopped
    #[arg(long)]
    wait: bool,
}

/// Restart a workspace's containers
#[derive(Debug, Args)]
pub struct RestartArguments {
    /// Name or id
    workspace: String,
    /// Wait until it answers, has finished or has failed
    #[arg(long)]
    wait: bool,
}

/// Make a new folder in the watched directory
#[derive(Debug, Args)]
pub struct CreateArguments {
    /// Its name: 1 to 63 of a-z, 0-9 and -
    name: String,
    /// What to put into it: empty or hello
    #[arg(long, default_value = "empty")]
    template: String,
    /// Wait until it answers, has finished or has failed
    #[arg(long)]
    wait: bool,
}

/// Take a workspace down and move its folder to the trash
#[derive(Debug, Args)]
pub struct RemoveArguments {
    /// Name or id
    workspace: String,
    /// Remove its volumes too: dependencies, the container's copy
    #[arg(long)]
    purge: bool,
    /// Say what would go, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Wait until it is gone
    #[arg(long)]
    wait: bool,
}

/// Runs one of them.
pub async fn run(context: &mut Context, command: WorkspaceCommand) -> Result<ExitCode, Failure> {
    match command {
        WorkspaceCommand::List(arguments) => list(context, &arguments).await,
        WorkspaceCommand::Show(arguments) => show(context, &arguments).await,
        WorkspaceCommand::Logs(arguments) => logs(context, &arguments).await,
        WorkspaceCommand::Start(arguments) => {
            change(context, "start", &arguments.workspace, arguments.wait.then_some(Goal::Up)).await
        }
        WorkspaceCommand::Stop(arguments) => {
            change(context, "stop", &arguments.workspace, arguments.wait.then_some(Goal::Down)).await
        }
        WorkspaceCommand::Restart(arguments) => {
            change(context, "restart", &arguments.workspace, arguments.wait.then_some(Goal::Up)).await
        }
        WorkspaceCommand::Run(arguments) => execute(context, arguments).await,
        WorkspaceCommand::Create(arguments) => create(context, &arguments).await,
        WorkspaceCommand::Remove(arguments) => remove(context, &arguments).await,
    }
}

/// A workspace's place in the API.
pub(super) fn path(key: &str) -> String {
    format!("/api/v1/workspaces/{}", segment(key))
}

/// `nexus workspace list`, `nexus list`
pub async fn list(context: &mut Context, _arguments: &ListArguments) -> Result<ExitCode, Failure> {
    let list: wire::WorkspaceList = context.client.get("/api/v1/workspaces").await?;
    if context.screen.json {
        context.screen.value(&list)?;
        return Ok(ExitCode::SUCCESS);
    }
    if list.workspaces.is_empty() {
        context.screen.say("no workspaces yet: put a project folder into the watched directory");
    }
    let row = |view: &wire::Workspace| {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        vec![
            view.name.clone(),
            view.state.clone(),
            view.phase.clone(),
            text(&view.kind),
            text(&view.path),
            view.message.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<Vec<String>> = list.workspaces.iter().map(row).collect();
    context.screen.table(&["NAME", "STATE", "PHASE", "KIND", "PATH", "MESSAGE"], &rows)?;
    Ok(ExitCode::SUCCESS)
}

async fn show(context: &mut Context, arguments: &ShowArguments) -> Result<ExitCode, Failure> {
    let path = path(&arguments.workspace);
    if arguments.compose {
        let text = context.client.bytes("GET", &format!("{path}/compose"), None::<&()>, ANSWER_TIME).await?;
        if context.screen.json {
            context.screen.value(&serde_json::json!({ "compose": String::from_utf8_lossy(&text) }))?;
        } else {
            context.screen.foreign(&text)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let view: wire::Workspace = context.client.get(&path).await?;
    let detection: Option<wire::Detection> = match context.client.get(&format!("{path}/detect")).await {
        Ok(detection) => Some(detection),
        Err(failure) if failure.kind() == Some(Kind::NotFound) => None,
        Err(failure) => return Err(failure),
    };
    if context.screen.json {
        context.screen.value(&serde_json::json!({ "workspace": view, "detection": detection }))?;
    } else {
        print_view(context, &view, detection.as_ref())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print_view(
    context: &Context,
    view: &wire::Workspace,
    detection: Option<&wire::Detection>,
) -> io::Result<()> {
    let sync = match view.sync.error.as_ref().or(view.sync.off.as_ref()) {
        Some(why) => format!("{}: {why}", view.sync.link),
        None if view.sync.link == "off" => "off".to_owned(),
        None => format!("{}, {} of {} files", view.sync.link, view.sync.files_synced, view.sync.files_total),
    };
    let folder = if view.folder_present {
        view.folder.clone()
    } else {
        format!("{} (not there any more)", view.folder)
    };
    context.screen.facts(&[
        ("name", Some(view.name.clone())),
        ("id", Some(view.id.clone())),
        ("title", view.title.clone()),
        ("about", view.description.clone()),
        ("state", Some(format!("{} ({})", view.state, view.phase))),
        ("message", view.message.clone()),
        ("hint", view.hint.clone()),
        ("path", view.path.clone()),
        ("folder", Some(folder)),
        ("sync", Some(sync)),
        ("restarts", (view.restarts > 0).then(|| view.restarts.to_string())),
        ("kind", view.kind.clone()),
        ("framework", view.framework.clone()),
        ("install", detection.and_then(|detection| detection.install.clone())),
        ("build", detection.and_then(|detection| detection.build.clone())),
        ("start", detection.and_then(|detection| detection.start.clone())),
    ])?;
    for notice in &view.notices {
        context.screen.line(&format!("note: {notice}"))?;
    }
    for skipped in &view.sync.skipped {
        context.screen.line(&format!("skipped: {} ({})", skipped.path, skipped.why))?;
    }
    for reason in detection.iter().flat_map(|detection| &detection.because) {
        let file = if reason.file.is_empty() { "listing" } else { &reason.file };
        context.screen.line(&format!("because: {file}: {}", reason.fact))?;
    }
    for service in &view.services {
        context.screen.line(&format!("service: {} {} ({})", service.name, service.state, service.image))?;
    }
    for line in &view.log_tail {
        context.screen.line(&format!("| {line}"))?;
    }
    Ok(())
}

async fn logs(context: &mut Context, arguments: &LogsArguments) -> Result<ExitCode, Failure> {
    let mut path = format!(
        "{}/logs?tail={}&follow={}&timestamps={}",
        path(&arguments.workspace),
        arguments.tail,
        arguments.follow,
        arguments.timestamps
    );
    if let Some(service) = &arguments.service {
        path += &format!("&service={}", segment(service));
    }
    let accept = if context.screen.json { "application/x-ndjson" } else { "text/plain" };
    let mut body = context.client.stream("GET", &path, accept, None::<&()>).await?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| context.client.lost(&error))?;
        if let Ok(data) = frame.into_data() {
            context.screen.foreign(&data)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// start, stop, restart.
async fn change(
    context: &mut Context,
    verb: &str,
    key: &str,
    goal: Option<Goal>,
) -> Result<ExitCode, Failure> {
    let path = format!("{}/{verb}", path(key));
    let taken: wire::Workspace = context.client.call("POST", &path, None::<&()>, ANSWER_TIME).await?;
    let Some(goal) = goal else {
        return finish(context, &taken, &format!("asked `{}` to {verb}", taken.name));
    };
    let target = Target { key: &taken.id, before: Some(&taken.updated_at), at_once: verb != "restart", goal };
    let view = progress::wait(context, target).await?.unwrap_or(taken);
    let said = arrived(&view);
    finish(context, &view, &said)
}

fn arrived(view: &wire::Workspace) -> String {
    match (&view.path, view.state.as_str(), view.phase.as_str()) {
        (Some(path), "running", "ready") => format!("`{}` answers at {path}", view.name),
        (_, "running", _) => format!("`{}` has finished", view.name),
        (_, state, _) => format!("`{}` is {state}", view.name),
    }
}

fn finish(context: &Context, view: &wire::Workspace, said: &str) -> Result<ExitCode, Failure> {
    if context.screen.json {
        context.screen.value(view)?;
    } else {
        context.screen.say(said);
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(context: &mut Context, arguments: &CreateArguments) -> Result<ExitCode, Failure> {
    let request =
        wire::CreateWorkspace { name: arguments.name.clone(), template: Some(arguments.template.clone()) };
    let made: wire::CreatedWorkspace =
        context.client.call("POST", "/api/v1/workspaces", Some(&request), ANSWER_TIME).await?;
    if !arguments.wait {
        if context.screen.json {
            context.screen.value(&made)?;
        } else {
            context.screen.say(&format!("made the folder `{}`; it will answer at {}", made.name, made.path));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let target = Target { key: &made.name, before: None, at_once: true, goal: Goal::Up };
    let Some(view) = progress::wait(context, target).await? else { return Ok(ExitCode::SUCCESS) };
    let said = arrived(&view);
    finish(context, &view, &said)
}

async fn remove(context: &mut Context, arguments: &RemoveArguments) -> Result<ExitCode, Failure> {
    let path = format!("{}?purge={}", path(&arguments.workspace), arguments.purge);
    let plan: wire::Removal =
        context.client.call("DELETE", &format!("{path}&dry_run=true"), None::<&()>, ANSWER_TIME).await?;
    if arguments.dry_run {
        if context.screen.json {
            context.screen.value(&plan)?;
        } else {
            plan.removes.iter().try_for_each(|what| context.screen.line(&format!("remove {what}")))?;
            plan.keeps.iter().try_for_each(|what| context.screen.line(&format!("keep {what}")))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if !arguments.yes {
        ask(context, &plan)?;
    }
    // By id: what was shown is what goes, whatever has been renamed since.
    let path = format!("/api/v1/workspaces/{}?purge={}", plan.id, arguments.purge);
    let done: wire::Removal = context.client.call("DELETE", &path, None::<&()>, ANSWER_TIME).await?;
    if arguments.wait {
        progress::wait(context, Target { key: &plan.id, before: None, at_once: true, goal: Goal::Gone })
            .await?;
    }
    if context.screen.json {
        context.screen.value(&done)?;
    } else {
        let said = if arguments.wait { "removed" } else { "is removing" };
        context.screen.say(&format!("{said} `{}`", plan.name));
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows the plan and asks; without a terminal there is nobody to ask.
fn ask(context: &Context, plan: &wire::Removal) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(
            Kind::Denied,
            format!("removing `{}` needs a yes, and there is nobody to ask", plan.name),
        )
        .hint("add `--yes`, or `--dry-run` to see what would go"));
    }
    for what in &plan.removes {
        context.screen.say(&format!("remove {what}"));
    }
    for what in &plan.keeps {
        context.screen.say(&format!("keep {what}"));
    }
    context.screen.say(&format!("Remove `{}`? Type its name to say yes:", plan.name));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if answer.trim() == plan.name {
        Ok(())
    } else {
        Err(Failure::new(Kind::Denied, format!("`{}` was not removed", plan.name)))
    }
}
