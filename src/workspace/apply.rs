//! Takes one step: the only place where a worker changes the world.

use std::path::Path;
use std::path::PathBuf;

use futures::future::BoxFuture;

use super::context::Context;
use super::control::workspace_label;
use super::image;
use super::plan::Step;
use super::prepare::Trouble;
use super::worker::Input;
use crate::base::clock;
use crate::base::files;
use crate::compose;
use crate::compose::Plan;
use crate::engine;
use crate::engine::ProgressSink;
use crate::store::workspace::Desired;
use crate::store::workspace::Record;

/// How long a program may take to end when asked to.
const GRACE_SECONDS: u32 = 10;
/// Removed folders wait here, inside the watched directory, so that moving one is a rename.
const TRASH: &str = ".nexus-trash";

/// What a step does, for people.
pub fn doing(step: &Step) -> &'static str {
    match step {
        Step::Rest => "resting",
        Step::Look => "looking at the project",
        Step::Up => "creating its containers",
        Step::Remake(_) => "making its container anew",
        Step::Start(_) => "starting",
        Step::Unpause(_) => "waking up",
        Step::Restart(_) => "restarting",
        Step::Stop(_) => "stopping",
        Step::Down => "removing its containers",
        Step::Bury { .. } => "moving its folder to the trash",
    }
}

/// Takes any step but `Look`, `Up` and `Remake`.
///
/// # Errors
/// When the engine, the store or the file system refuses; the step can be taken again.
pub async fn run(context: &Context, input: &Input, step: &Step) -> Result<(), Trouble> {
    let engine = &context.engine;
    let done = match step {
        Step::Rest | Step::Look | Step::Up | Step::Remake(_) => Ok(()),
        Step::Start(ids) => each(ids, |id| engine.start(id)).await,
        Step::Unpause(ids) => each(ids, |id| engine.unpause(id)).await,
        Step::Stop(ids) => each(ids, |id| engine.stop(id, GRACE_SECONDS)).await,
        Step::Restart(ids) => match each(ids, |id| engine.stop(id, GRACE_SECONDS)).await {
            Ok(()) => each(ids, |id| engine.start(id)).await,
            Err(error) => Err(error),
        },
        Step::Down => engine.down(&compose::project_name(&input.record.id), false).await,
        Step::Bury { purge } => return bury(context, input, *purge).await,
    };
    done.map_err(|error| Trouble::of(&error))
}

async fn each<'a>(
    containers: &'a [String],
    work: impl Fn(&'a str) -> BoxFuture<'a, Result<(), engine::Error>>,
) -> Result<(), engine::Error> {
    for container in containers {
        work(container).await?;
    }
    Ok(())
}

/// Writes the stack file, makes what it takes for granted, and brings it up; or makes the container of one service of
/// it anew.
///
/// # Errors
/// When the disk or the engine refuses.
pub async fn up(
    context: &Context,
    input: &Input,
    plan: &Plan,
    remake: Option<&str>,
    progress: ProgressSink,
) -> Result<(), Trouble> {
    let of_engine = |error: engine::Error| Trouble::of(&error);
    let _permit = context.ups.acquire().await;
    for path in &plan.paths {
        inside(&input.path, path)?;
    }
    let file = write_stack(context, input, plan)?;
    if plan.agent {
        install_agent(context).await?;
    }
    let volumes = plan.volumes.iter().map(|volume| make_volume(context, &plan.image, volume));
    futures::future::try_join_all(volumes).await?;
    let stack = engine::Stack { project: plan.project.clone(), file, directory: input.path.clone() };
    let up = match remake {
        None => context.engine.up(&stack, progress).await,
        Some(service) => context.engine.remake(&stack, service, progress).await,
    };
    if matches!(up, Err(engine::Error::Overlap { .. })) {
        context.refuse_subnet(&input.record.id);
    }
    if up.is_err() {
        // Perhaps somebody took the agent away.
        *context.agent_installed.lock().await = false;
    }
    up.map_err(of_engine)
}

/// Once, and by one worker at a time: the engine fills a volume only while it is empty.
async fn install_agent(context: &Context) -> Result<(), Trouble> {
    let mut installed = context.agent_installed.lock().await;
    if !*installed {
        let install = context.agent()?.install(context.engine.as_ref(), &context.node_label()).await;
        install.map_err(|error| Trouble::of(&error))?;
        *installed = true;
    }
    Ok(())
}

/// Volumes of the agent belong to the user the program runs as, whatever its image; our own images see to that
/// themselves. Others start as the image says.
async fn make_volume(context: &Context, image: &str, volume: &compose::Volume) -> Result<(), Trouble> {
    let engine = context.engine.as_ref();
    let (name, labels) = (&volume.name, &volume.labels);
    let made = match labels.get(engine::label::ROLE).map(String::as_str) {
        _ if image::is_own(image) => engine.ensure_volume(name, labels).await,
        Some("sync") => context.agent()?.source_volume(engine, name, labels).await,
        Some("state") => context.agent()?.state_volume(engine, name, labels).await,
        _ => engine.ensure_volume(name, labels).await,
    };
    made.map_err(|error| Trouble::of(&error))
}

/// Makes sure that a path of the stack does not lead out of the project through a link. What is not there yet cannot.
fn inside(project: &Path, path: &str) -> Result<(), Trouble> {
    let resolved = match project.join(path).canonicalize() {
        Ok(resolved) => resolved,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(Trouble { message: format!("`{path}` cannot be resolved: {error}"), hint: None });
        }
    };
    let root = project.canonicalize().unwrap_or_else(|_| project.to_owned());
    if resolved.starts_with(root) {
        return Ok(());
    }
    Err(Trouble {
        message: format!("`{path}` is a link that leads out of the project"),
        hint: Some("replace the link by what it points to".to_owned()),
    })
}

fn write_stack(context: &Context, input: &Input, plan: &Plan) -> Result<PathBuf, Trouble> {
    let directory = context.home.stack(&input.record.id);
    let file = directory.join("compose.yaml");
    let wrote =
        std::fs::create_dir_all(&directory).and_then(|()| files::replace(&file, plan.file.as_bytes()));
    wrote.map_err(|error| Trouble {
        message: format!("cannot write {}: {error}", file.display()),
        hint: Some("check that the node's home can be written and has room".to_owned()),
    })?;
    Ok(file)
}

/// The last step of a removal. Each part is done only where it is still to do, so that it can be cut short anywhere.
async fn bury(context: &Context, input: &Input, purge: bool) -> Result<(), Trouble> {
    let now = clock::now();
    let trash = context.settings.directory.join(TRASH);
    let name = format!("{}-{}", input.record.folder, now.as_millisecond());
    let moved = move_to_trash(&input.path, &trash, &name).map_err(|error| Trouble {
        message: format!("cannot move {} to {}: {error}", input.path.display(), trash.display()),
        hint: Some("move the folder away by hand; the workspace is gone then".to_owned()),
    })?;
    if purge {
        for volume in
            context.engine.volumes(&workspace_label(&input.record.id)).await.map_err(|e| Trouble::of(&e))?
        {
            context.engine.remove_volume(&volume.name).await.map_err(|error| Trouble::of(&error))?;
        }
    }
    let record = Record {
        desired: Desired::Removed,
        folder: format!("{TRASH}/{name}"),
        trash: moved.then(|| trash.join(&name).display().to_string()),
        updated_at: now,
        ..input.record.clone()
    };
    context.store.save_workspace(&record).await.map_err(|error| Trouble::of(&error))
}

/// Whether there was a folder to move.
fn move_to_trash(folder: &Path, trash: &Path, name: &str) -> std::io::Result<bool> {
    std::fs::create_dir_all(trash)?;
    match std::fs::rename(folder, trash.join(name)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
