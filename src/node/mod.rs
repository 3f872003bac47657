//! The composition root: opens what the rooms need, runs their tasks, closes them in order.
//!
//! Tasks: the workspace supervisor (which owns the folder watch and the workers), the vital signs, the router's listener, the control
//! port's and the local socket's. Everything hangs on one token; cancelling it closes the node.

mod error;
mod lock;
mod sample;
mod settings;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use nexus_agent::session::Amount;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api;
use crate::backup;
use crate::backup::Backups;
use crate::base::backoff::Backoff;
use crate::base::clock;
use crate::base::door;
use crate::base::door::Door;
use crate::base::fault;
use crate::base::home::Home;
use crate::base::ids::NodeId;
use crate::base::ids::WorkspaceId;
use crate::base::tasks::TaskGroup;
use crate::config;
use crate::engine;
use crate::engine::Engine;
use crate::engine::docker::Docker;
use crate::engine::mounts::Mapping;
use crate::ops::doctor;
use crate::ops::vitals;
use crate::ops::vitals::Vitals;
use crate::router;
use crate::store::Store;
use crate::workspace;
use crate::workspace::Context;
use crate::workspace::Workspaces;

pub use error::Error;
pub use settings::agent_path;
pub use settings::images_path;

/// Time for everything to end after the first signal.
const CLOSE: Duration = Duration::from_secs(15);

/// How often it is looked whether sync has carried something.
const EDITS: Duration = Duration::from_secs(5);

/// Where workspaces answer.
const WEB: Door = Door { name: "web port", setting: "web.listen", variable: "NEXUS_WEB_LISTEN" };
/// Where the node itself does.
const CONTROL: Door =
    Door { name: "control port", setting: "control.listen", variable: "NEXUS_CONTROL_LISTEN" };

/// Runs the node until the token is cancelled.
///
/// # Errors
/// When it cannot start; everything is reserved before anything serves.
pub async fn run(
    config: config::Settings,
    environment: &[(String, String)],
    token: CancellationToken,
) -> Result<(), Error> {
    let home = Home::new(&config.home);
    for directory in [home.root(), config.workspaces_dir.as_path()] {
        std::fs::create_dir_all(directory)
            .map_err(|source| Error::Directory { path: directory.to_owned(), source })?;
    }
    let _lock = lock::take(&home)?;
    let web = door::open(WEB, config.web_listen).await?;
    let control = door::open(CONTROL, config.control_listen).await?;
    let local = api::listen::bind_local(&home.socket())
        .map_err(|source| Error::Directory { path: home.socket(), source })?;
    let store = Store::open(&home.database())?;
    let node = store.node_id().await?;
    if config.workspaces_sample {
        sample::place(&store, &config.workspaces_dir).await?;
    }
    let engine: Arc<dyn Engine> = Arc::new(Docker::new(&engine::docker::Settings {
        socket: config.engine_socket.clone(),
        compose_home: home.root().join("compose"),
        call_timeout: config.engine_timeout,
    }));

    let mut tasks = TaskGroup::new("node", &token);
    let workspaces =
        Workspaces::new(store.clone(), Arc::clone(&engine), home.clone(), config.workspaces_dir.clone());
    let (folders, sources) = watch::channel(Vec::new());
    let (restless, busy) = watch::channel(false);
    tasks.spawn(
        "backup sources",
        publish_sources(workspaces.clone(), config.workspaces_dir.clone(), folders, restless, tasks.token()),
    );
    let settings = settings::backup(&config, environment)?;
    let backups =
        Backups::new(settings, node.to_string(), home.clone(), store.clone(), sources, tasks.token());
    let (edits, edited) = watch::channel(None);
    if backups.follows_edits() {
        tasks.spawn("edits", publish_edits(workspaces.clone(), edits, tasks.token()));
    }
    tasks.spawn("backups", backups.clone().follow_schedules(busy, edited, tasks.token()));
    tasks.spawn("backup destinations", backups.clone().look_after(tasks.token()));
    let metrics = Arc::new(router::Metrics::default());
    let doctor = doctor_subject(&config, &engine, &home, &node);
    let (vitals, looking) = vitals::prepare(doctor.clone());
    tasks.spawn("vitals", looking.run(tasks.token()));
    let api = api::Api::new(api::Parts {
        workspaces: workspaces.clone(),
        backups,
        web: Arc::clone(&metrics),
        engine: Arc::clone(&engine),
        store: store.clone(),
        home: home.clone(),
        settings: settings::api(&config)?,
        facts: facts(&node, &config, vitals, tasks.token()),
        doctor,
    });
    api.tokens().ensure_claim().await?;
    let (_routes, doors) = api::rest::router(&api);
    tasks.spawn("control port", api::listen::serve_control(control, doors.clone(), tasks.token()));
    tasks.spawn("local socket", api::listen::serve_local(local, doors, tasks.token()));

    let routes = settings::router(&config);
    let (table_sender, table) = watch::channel(Arc::new(router::Table::compile(vec![], routes.clone())));
    tasks.spawn("routes", publish_routes(workspaces.clone(), routes, table_sender, tasks.token()));
    tasks.spawn("web port", router::serve(web, table, router::Limits::default(), metrics, tasks.token()));

    // Only the engine can say where our paths are on its host; until it answers nothing can be run anyway.
    if let Some(mapping) = mapping(engine.as_ref(), &token).await {
        let settings = settings::workspace(&config, &mapping)?;
        let context = Arc::new(Context::new(node, settings, store, engine, home));
        tasks.spawn("workspaces", workspace::run(context, workspaces, tasks.token()));
    }

    token.cancelled().await;
    tasks.close(CLOSE).await;
    Ok(())
}

/// Waits for the engine; `None` when the node is to close first.
async fn mapping(engine: &dyn Engine, token: &CancellationToken) -> Option<Mapping> {
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
    loop {
        match Mapping::observe(engine).await {
            Ok(mapping) => return Some(mapping),
            Err(error) => tracing::warn!(error = %fault::chain(&error), "the engine does not answer"),
        }
        tokio::select! {
            // Cancel-safe: both arms only wait.
            () = token.cancelled() => return None,
            () = tokio::time::sleep(backoff.next()) => {}
        }
    }
}

fn facts(node: &NodeId, config: &config::Settings, vitals: Vitals, closing: CancellationToken) -> api::Facts {
    let doors = [("web", config.web_listen), ("control", config.control_listen)];
    api::Facts {
        id: node.clone(),
        started_at: clock::now(),
        directory: config.workspaces_dir.clone(),
        listeners: doors.map(|(name, address)| (name.to_owned(), format!("http://{address}"))).into(),
        vitals,
        closing,
    }
}

fn doctor_subject(
    config: &config::Settings,
    engine: &Arc<dyn Engine>,
    home: &Home,
    node: &NodeId,
) -> doctor::Subject {
    let doors = [("web", config.web_listen), ("control", config.control_listen)];
    doctor::Subject {
        engine: Arc::clone(engine),
        home: home.clone(),
        directory: config.workspaces_dir.clone(),
        listeners: doors.map(|(name, address)| (name.to_owned(), address)).into(),
        agent: settings::agent_path(config),
        images: settings::images_path(config),
        node: Some(node.clone()),
        serving: true,
    }
}

/// Says which folders there are to back up whenever a view changes, and whether any workspace is on its way up.
async fn publish_sources(
    workspaces: Workspaces,
    directory: PathBuf,
    sources: watch::Sender<Vec<backup::Workspace>>,
    busy: watch::Sender<bool>,
    token: CancellationToken,
) {
    let mut views = workspaces.views();
    loop {
        let now = views.borrow_and_update().clone();
        let carrying =
            |view: &workspace::View| view.sync.link == "up" && view.sync.files_synced < view.sync.files_total;
        let restless = now.iter().any(|view| !view.at_rest() || carrying(view));
        busy.send_if_modified(|before| std::mem::replace(before, restless) != restless);
        let current: Vec<backup::Workspace> = now
            .iter()
            .filter(|view| view.folder_present)
            .map(|view| backup::Workspace {
                id: view.id.to_string(),
                folder: view.folder.clone(),
                path: directory.join(&view.folder),
            })
            .collect();
        sources.send_if_modified(|before| {
            let other = *before != current;
            *before = current;
            other
        });
        tokio::select! {
            // Cancel-safe: each arm only waits.
            () = token.cancelled() => return,
            changed = views.changed() => if changed.is_err() { return },
        }
    }
}

/// Says when sync last carried something, a look each few seconds.
async fn publish_edits(
    workspaces: Workspaces,
    edits: watch::Sender<Option<Timestamp>>,
    token: CancellationToken,
) {
    let mut ticks = tokio::time::interval(EDITS);
    let mut known = BTreeMap::new();
    loop {
        tokio::select! {
            // Cancel-safe: each arm only waits.
            () = token.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let sessions = workspaces.sessions().borrow().clone();
        let now: BTreeMap<WorkspaceId, Option<(Amount, Option<Duration>)>> = sessions
            .iter()
            .map(|(id, session)| {
                let status = session.status.borrow();
                (id.clone(), status.session.as_ref().map(|session| (session.agreed, session.latency)))
            })
            .collect();
        if was_edited(&known, &now) {
            edits.send_replace(Some(clock::now()));
        }
        known = now;
    }
}

/// Whether something was carried between two looks. A session that was not there before has carried nothing new.
fn was_edited<T: PartialEq>(
    before: &BTreeMap<WorkspaceId, Option<T>>,
    now: &BTreeMap<WorkspaceId, Option<T>>,
) -> bool {
    now.iter().any(|(id, now)| match (before.get(id), now) {
        (Some(Some(before)), Some(now)) => before != now,
        _ => false,
    })
}

/// Compiles the router's table anew whenever a view changes.
async fn publish_routes(
    workspaces: Workspaces,
    settings: router::Settings,
    table: watch::Sender<Arc<router::Table>>,
    token: CancellationToken,
) {
    let mut views = workspaces.views();
    loop {
        let current = views.borrow_and_update().clone();
        table.send_replace(Arc::new(workspace::compile_routes(&current, &settings)));
        tokio::select! {
            // Cancel-safe: each arm only waits.
            () = token.cancelled() => return,
            changed = views.changed() => if changed.is_err() { return },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_is_what_a_session_that_was_there_has_carried_since() {
        let id = WorkspaceId::random();
        let look = |state: Option<u8>| BTreeMap::from([(id.clone(), state)]);
        let nothing = BTreeMap::new();
        assert!(!was_edited(&nothing, &look(Some(1))), "it has only just begun");
        assert!(!was_edited(&look(None), &look(Some(1))));
        assert!(!was_edited(&look(Some(1)), &look(Some(1))));
        assert!(was_edited(&look(Some(1)), &look(Some(2))));
        assert!(!was_edited(&look(Some(1)), &nothing));
    }
}
