//! Keeps one worker per workspace and tells each what it needs to know.
//!
//! Reads: the scene of folders, the store (when nudged), the engine's events. Publishes: the views, through its workers.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::control::Workspaces;
use super::folders;
use super::folders::Change;
use super::plan::Folder;
use super::worker::Input;
use super::worker::Worker;
use crate::base::backoff::Backoff;
use crate::base::clock;
use crate::base::fault;
use crate::base::ids::WorkspaceId;
use crate::base::tasks::TaskGroup;
use crate::engine;
use crate::project::watch as folder_watch;
use crate::project::watch::Scene;
use crate::project::watch::Stage;
use crate::store;
use crate::store::workspace::Record;

/// Time for workers to end what they are doing.
const CLOSE: Duration = Duration::from_secs(10);

/// Engine events on their way to workers. They are hints: when the supervisor is behind, one that is dropped costs a
/// look 30 s later, and 256 are more than a stack of twenty containers sends at once.
const HINTS: usize = 256;

/// News of the engine.
enum News {
    /// It answers again after it was away (or for the first time).
    Session,
    /// Something happened to a container of this workspace.
    Hint(WorkspaceId),
}

struct Seat {
    input: watch::Sender<Input>,
}

pub(super) struct Supervisor {
    context: Arc<Context>,
    workspaces: Workspaces,
    seats: BTreeMap<WorkspaceId, Seat>,
    workers: TaskGroup,
    engine_session: u64,
}

/// Supervises until the token is cancelled.
pub async fn run(context: Arc<Context>, workspaces: Workspaces, token: CancellationToken) {
    sweep(&context).await;
    let mut tasks = TaskGroup::new("workspace", &token);
    let (scene_sender, mut scene) =
        watch::channel(Scene::Unavailable { why: "not looked at yet".to_owned() });
    let settings = folder_watch::Settings {
        directory: context.settings.directory.clone(),
        settle: context.settings.settle,
        rescan: context.settings.rescan,
    };
    tasks.spawn("folders", folder_watch::run(settings, scene_sender, tasks.token()));
    let (news_sender, mut news) = mpsc::channel(HINTS);
    tasks.spawn("engine events", listen(Arc::clone(&context), news_sender, tasks.token()));

    let workers = TaskGroup::new("workers", &token);
    let mut supervisor = Supervisor {
        context,
        workspaces: workspaces.clone(),
        seats: BTreeMap::new(),
        workers,
        engine_session: 0,
    };
    loop {
        let seen = scene.borrow_and_update().clone();
        let mut retry = Duration::from_secs(30);
        if let Err(error) = supervisor.reconcile(&seen).await {
            tracing::error!(error = %fault::chain(&error), "the state cannot be read or written");
            retry = Duration::from_secs(2);
        }
        tokio::select! {
            // Cancel-safe: each arm only waits, and `recv` loses nothing.
            () = token.cancelled() => break,
            _ = scene.changed() => {}
            () = workspaces.nudge.notified() => {}
            Some(first) = news.recv() => {
                supervisor.pass_on(first);
                while let Ok(more) = news.try_recv() {
                    supervisor.pass_on(more);
                }
            }
            // The engine may finish after our start what it was asked for before it.
            () = tokio::time::sleep(retry) => sweep(&supervisor.context).await,
        }
    }
    supervisor.workers.close(CLOSE).await;
    tasks.close(CLOSE).await;
}

/// Removes what an earlier life of this node left half done and nobody would look for again. What a worker of this
/// life is filling a volume with may be hit, too: it has done its work once it can be seen.
async fn sweep(context: &Context) {
    let mut seeds = context.node_label();
    seeds.insert(engine::label::ROLE.to_owned(), engine::label::SEED.to_owned());
    let swept = async {
        for seed in context.engine.containers(&seeds).await? {
            context.engine.remove_container(&seed.id).await?;
        }
        Ok::<(), engine::Error>(())
    };
    if let Err(error) = swept.await {
        tracing::warn!(error = %fault::chain(&error), "left-over containers cannot be removed");
    }
}

impl Supervisor {
    /// Pairs folders with rows and gives every worker its newest input.
    async fn reconcile(&mut self, scene: &Scene) -> Result<(), store::Error> {
        let store = &self.context.store;
        let now = clock::now();
        if let Scene::Folders(folders) = scene {
            // Rows first, folders second: a folder that a worker has just moved to the trash is in a scene seen before
            // that, and must not be taken for one that came back.
            let records = store.workspaces().await?;
            let there = folders.iter().filter(|(_, folder)| is_still_there(folder));
            let identities = there.map(|(name, folder)| (name.clone(), folder.identity)).collect();
            for change in folders::changes(&records, &identities, now) {
                match change {
                    Change::New(record) => {
                        tracing::info!(workspace = %record.folder, "a new folder");
                        store.save_workspace(&record).await?;
                    }
                    Change::Moved(record) => {
                        tracing::info!(workspace = %record.folder, "a known folder under another name or identity");
                        store.save_workspace(&record).await?;
                    }
                }
            }
        }
        let records = store.workspaces().await?;
        let mut called = folders::call(&records);
        for record in records {
            match called.remove(&record.id) {
                Some(name) => self.tell(record, name, scene),
                None => self.dismiss(&record.id),
            }
        }
        Ok(())
    }

    fn tell(&mut self, record: Record, called: folders::Called, scene: &Scene) {
        let (folder, revision) = folder_of(&record.folder, scene);
        let path: PathBuf = self.context.settings.directory.join(&record.folder);
        let id = record.id.clone();
        let hints = self.seats.get(&id).map_or(0, |seat| seat.input.borrow().hints);
        let input =
            Input { record, called, folder, path, revision, engine_session: self.engine_session, hints };
        match self.seats.get(&id) {
            Some(seat) => {
                seat.input.send_if_modified(|current| {
                    let changed = *current != input;
                    *current = input;
                    changed
                });
            }
            None => {
                let (sender, receiver) = watch::channel(input);
                let worker = Worker::new(Arc::clone(&self.context), self.workspaces.clone(), receiver);
                self.workers.spawn(format!("worker {id}"), worker.run(self.workers.token()));
                self.seats.insert(id, Seat { input: sender });
            }
        }
    }

    /// A removed workspace needs no worker: dropping its seat ends it.
    fn dismiss(&mut self, id: &WorkspaceId) {
        if self.seats.remove(id).is_some() {
            self.workspaces.forget(id);
        }
    }

    fn pass_on(&mut self, news: News) {
        match news {
            News::Session => {
                self.engine_session += 1;
                for seat in self.seats.values() {
                    seat.input.send_modify(|input| input.engine_session = self.engine_session);
                }
            }
            News::Hint(id) => {
                if let Some(seat) = self.seats.get(&id) {
                    seat.input.send_modify(|input| input.hints += 1);
                }
            }
        }
    }
}

/// Whether a folder of the scene is there at this moment. What cannot be looked at is not gone.
fn is_still_there(folder: &folder_watch::Folder) -> bool {
    match std::fs::symlink_metadata(&folder.path) {
        Ok(found) => (found.dev(), found.ino()) == (folder.identity.device, folder.identity.inode),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}

/// What the scene says about a folder.
fn folder_of(name: &str, scene: &Scene) -> (Folder, u64) {
    let folders = match scene {
        Scene::Unavailable { why } => return (Folder::Unknown { why: why.clone() }, 0),
        Scene::Folders(folders) => folders,
    };
    let Some(folder) = folders.get(name) else { return (Folder::Missing, 0) };
    let seen = match &folder.stage {
        Stage::Settled => Folder::Settled,
        Stage::Unreadable { why } => Folder::Unreadable { why: why.clone() },
        Stage::Settling { since_ms, changing } => Folder::Settling {
            since: Timestamp::from_millisecond(*since_ms).unwrap_or(Timestamp::UNIX_EPOCH),
            changing: changing.clone(),
        },
    };
    (seen, folder.revision)
}

/// Follows the engine's events; when they end, waits for the engine and says that it is a new session.
async fn listen(context: Arc<Context>, news: mpsc::Sender<News>, token: CancellationToken) {
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
    loop {
        let followed = tokio::select! {
            // Not cancel-safe, and need not be: events are hints.
            () = token.cancelled() => return,
            followed = follow(&context, &news, &mut backoff) => followed,
        };
        if let Err(error) = followed {
            tracing::warn!(error = %fault::chain(&error), "the engine does not answer");
        }
        tokio::select! {
            // Cancel-safe: each arm only waits.
            () = token.cancelled() => return,
            () = tokio::time::sleep(backoff.next()) => {}
        }
    }
}

async fn follow(
    context: &Context,
    news: &mpsc::Sender<News>,
    backoff: &mut Backoff,
) -> Result<(), engine::Error> {
    let mut events = context.engine.events(&context.node_label()).await?;
    context.engine.about().await?;
    backoff.reset();
    // The receiver ends with the supervisor; there is nobody to tell then.
    news.send(News::Session).await.ok();
    while let Some(event) = events.next().await {
        let event = event?;
        let id = event.labels.get(engine::label::WORKSPACE).and_then(|text| WorkspaceId::parse(text));
        // Health checks and our own execs tell nothing new.
        if event.action.starts_with("exec_") || event.action.starts_with("health_status") {
            continue;
        }
        if let Some(id) = id {
            news.try_send(News::Hint(id)).ok();
        }
    }
    Ok(())
}
