//! The handle on all workspaces: what the API and the command line can ask for.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use tokio::sync::Notify;
use tokio::sync::watch;

use super::status::View;
use super::sync::Sessions;
use crate::base::clock;
use crate::base::fault;
use crate::base::home::Home;
use crate::base::ids::WorkspaceId;
use crate::engine;
use crate::engine::Engine;
use crate::engine::label;
use crate::model::workspace::Name;
use crate::model::workspace::NameError;
use crate::model::workspace::State;
use crate::store;
use crate::store::Store;
use crate::store::workspace::Desired;
use crate::sync;

/// Why a request about a workspace failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is none of that name or id.
    #[error("no workspace is called `{key}`")]
    NotFound {
        /// What was asked for.
        key: String,
        /// A name close to it.
        near: Option<String>,
    },
    /// A folder of that name is there already.
    #[error("the workspace `{name}` exists already")]
    Exists {
        /// The name.
        name: String,
    },
    /// Not a workspace's name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// It has no running container to work in.
    #[error("the workspace `{name}` is {state}, it has no running container")]
    NotRunning {
        /// The workspace.
        name: String,
        /// Its state.
        state: State,
    },
    /// It has no such service.
    #[error("the workspace `{name}` has no service `{service}`")]
    NoService {
        /// The workspace.
        name: String,
        /// The service asked for.
        service: String,
        /// Those it has.
        services: Vec<String>,
    },
    /// It has no sync session now.
    #[error("the workspace `{name}` has no sync session: {why}")]
    NoSession {
        /// The workspace.
        name: String,
        /// Why not.
        why: String,
    },
    /// Its two sides did not become equal in time.
    #[error("`{name}` is not equal on both sides: {reason}")]
    NotEqual {
        /// The workspace.
        name: String,
        /// What it waits for.
        reason: String,
    },
    /// The sync session does not do it.
    #[error(transparent)]
    Session(#[from] sync::SessionError),
    /// No stack has been written for it yet.
    #[error("the workspace `{name}` has no stack yet")]
    NoStack {
        /// The workspace.
        name: String,
    },
    /// The engine failed.
    #[error("the engine failed")]
    Engine(#[from] engine::Error),
    /// The store failed.
    #[error("the state could not be changed")]
    Store(#[from] store::Error),
    /// A file operation failed.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// The verb.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl fault::Explain for Error {
    fn kind(&self) -> fault::Kind {
        match self {
            Self::NotFound { .. } | Self::NoService { .. } | Self::NoStack { .. } => fault::Kind::NotFound,
            Self::Exists { .. } | Self::NotRunning { .. } | Self::NoSession { .. } => fault::Kind::Conflict,
            Self::NotEqual { .. } => fault::Kind::Unavailable,
            Self::Session(error) => error.kind(),
            Self::Name(_) => fault::Kind::Invalid,
            Self::Engine(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Io { .. } => fault::Kind::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { near: Some(near), .. } => Some(format!("did you mean `{near}`?")),
            Self::NotFound { near: None, .. } => Some("see `nexus workspace list`".to_owned()),
            Self::Name(error) => error.suggestion().map(|name| format!("call it `{name}`")),
            Self::NoSession { name, .. } => Some(format!("see `nexus workspace show {name}`")),
            Self::NotEqual { name, .. } => Some(format!("see `nexus sync status {name}`")),
            Self::Session(error) => error.hint(),
            Self::NotRunning { name, .. } => Some(format!("start it: `nexus workspace start {name}`")),
            Self::NoService { services, .. } => Some(format!("it has: {}", services.join(", "))),
            Self::NoStack { name } => {
                Some(format!("see `nexus workspace show {name}` for what it waits for"))
            }
            Self::Engine(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Exists { .. } | Self::Io { .. } => None,
        }
    }
}

/// All views, ordered by name.
pub type Views = Arc<Vec<Arc<View>>>;

/// The handle on all workspaces. Cheap to clone.
#[derive(Clone)]
pub struct Workspaces {
    pub(super) store: Store,
    pub(super) engine: Arc<dyn Engine>,
    pub(super) home: Home,
    /// The watched directory.
    pub(super) directory: PathBuf,
    pub(super) views: Arc<watch::Sender<Views>>,
    /// Woken when something was asked for; the supervisor reads the store again.
    pub(super) nudge: Arc<Notify>,
    pub(super) sessions: Sessions,
}

impl Workspaces {
    /// A handle with no workspaces yet; the supervisor fills it.
    pub fn new(store: Store, engine: Arc<dyn Engine>, home: Home, directory: PathBuf) -> Self {
        let (views, _) = watch::channel(Views::default());
        Self {
            store,
            engine,
            home,
            directory,
            views: Arc::new(views),
            nudge: Arc::new(Notify::new()),
            sessions: Sessions::default(),
        }
    }

    /// The views, now and as they change.
    pub fn views(&self) -> watch::Receiver<Views> {
        self.views.subscribe()
    }

    /// One workspace by id, name or folder.
    ///
    /// # Errors
    /// [`Error::NotFound`], with a name close to it where there is one.
    pub fn find(&self, key: &str) -> Result<Arc<View>, Error> {
        let views = self.views.borrow();
        let exact = |view: &&Arc<View>| view.id.as_str() == key || view.name == key || view.folder == key;
        views.iter().find(exact).cloned().ok_or_else(|| {
            let near = views.iter().find(|view| view.name.starts_with(key) || key.starts_with(&view.name));
            Error::NotFound { key: key.to_owned(), near: near.map(|view| view.name.clone()) }
        })
    }

    /// Wants it to run.
    ///
    /// # Errors
    /// When there is none, or the store fails.
    pub async fn start(&self, key: &str) -> Result<Arc<View>, Error> {
        self.desire(key, Desired::Run).await
    }

    /// Wants it to exist and not run.
    ///
    /// # Errors
    /// When there is none, or the store fails.
    pub async fn stop(&self, key: &str) -> Result<Arc<View>, Error> {
        self.desire(key, Desired::Stop).await
    }

    /// Wants its containers restarted once, and running.
    ///
    /// # Errors
    /// When there is none, or the store fails.
    pub async fn restart(&self, key: &str) -> Result<Arc<View>, Error> {
        let view = self.find(key)?;
        let now = clock::now();
        if let Some(mut record) = self.store.workspace(&view.id).await? {
            record.desired = Desired::Run;
            record.restart_at = now;
            record.updated_at = now;
            self.store.save_workspace(&record).await?;
        }
        self.nudge.notify_one();
        Ok(view)
    }

    /// Wants it gone: containers and networks removed, the folder moved to the trash; with `purge` its volumes
    /// (dependencies, the container's copy) are removed too.
    ///
    /// # Errors
    /// When there is none, or the store fails.
    pub async fn remove(&self, key: &str, purge: bool) -> Result<Arc<View>, Error> {
        self.desire(key, if purge { Desired::Purge } else { Desired::Remove }).await
    }

    /// Makes an empty folder, or one with the given files; it becomes a workspace once it has settled.
    ///
    /// # Errors
    /// When the name is none, or the folder exists.
    pub async fn create(&self, name: &str, files: Vec<(String, Vec<u8>)>) -> Result<Name, Error> {
        let name = Name::parse(name)?;
        let path = self.directory.join(name.as_str());
        let io = |what, path: &PathBuf| {
            let path = path.clone();
            move |source| Error::Io { what, path, source }
        };
        match tokio::fs::create_dir(&path).await {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(Error::Exists { name: name.to_string() });
            }
            made => made.map_err(io("create", &path))?,
        }
        for (file, content) in files {
            let path = path.join(file);
            tokio::fs::write(&path, content).await.map_err(io("write", &path))?;
        }
        self.nudge.notify_one();
        Ok(name)
    }

    /// Reads the log of one service; of the one that answers the web when `service` is `None`.
    ///
    /// # Errors
    /// When there is no container yet, or the engine fails.
    pub async fn logs(
        &self,
        key: &str,
        service: Option<&str>,
        logs: &engine::Logs,
    ) -> Result<BoxStream<'static, Result<Bytes, engine::Error>>, Error> {
        let view = self.find(key)?;
        let container = self.container(&view, service).await?;
        let lines = self.engine.logs(&container.id, logs).await?;
        Ok(lines
            .map(|piece| {
                piece.map(|piece| match piece {
                    engine::Output::Out(bytes) | engine::Output::Err(bytes) => bytes,
                })
            })
            .boxed())
    }

    /// The stack file, as written for Compose.
    ///
    /// # Errors
    /// When none has been written yet.
    pub async fn stack_file(&self, key: &str) -> Result<String, Error> {
        let view = self.find(key)?;
        let path = self.home.stack(&view.id).join("compose.yaml");
        match tokio::fs::read_to_string(&path).await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::NoStack { name: view.name.clone() })
            }
            read => read.map_err(|source| Error::Io { what: "read", path, source }),
        }
    }

    /// Shows a view; what did not change but for its time is not shown again.
    pub(super) fn publish(&self, view: View) {
        self.views.send_if_modified(|views| {
            let place = views.iter().position(|other| other.id == view.id);
            if let Some(old) = place.map(|place| &views[place])
                && (View { updated_at: view.updated_at, ..View::clone(old) }) == view
            {
                return false;
            }
            let mut next: Vec<Arc<View>> =
                views.iter().filter(|other| other.id != view.id).cloned().collect();
            next.push(Arc::new(view));
            next.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.id.cmp(&b.id)));
            *views = Arc::new(next);
            true
        });
    }

    /// Takes a workspace that is gone out of the views.
    pub(super) fn forget(&self, id: &WorkspaceId) {
        self.views.send_modify(|views| {
            *views = Arc::new(views.iter().filter(|view| view.id != *id).cloned().collect());
        });
    }

    async fn desire(&self, key: &str, desired: Desired) -> Result<Arc<View>, Error> {
        let view = self.find(key)?;
        self.store.desire(&view.id, desired, clock::now()).await?;
        self.nudge.notify_one();
        Ok(view)
    }

    pub(super) async fn running_container(
        &self,
        view: &View,
        service: Option<&str>,
    ) -> Result<String, Error> {
        match self.container(view, service).await {
            Ok(container) if container.state == engine::ContainerState::Running => Ok(container.id),
            Ok(_) | Err(Error::NotRunning { .. }) => {
                Err(Error::NotRunning { name: view.name.clone(), state: view.state })
            }
            Err(error) => Err(error),
        }
    }

    async fn container(&self, view: &View, service: Option<&str>) -> Result<engine::Container, Error> {
        let containers = self.engine.containers(&workspace_label(&view.id)).await?;
        let wanted = service.or_else(|| view.services.first().map(|service| service.name.as_str()));
        let name_of =
            |container: &engine::Container| container.labels.get("com.docker.compose.service").cloned();
        match wanted {
            Some(wanted) => {
                let services = containers.iter().filter_map(name_of).collect();
                let found =
                    containers.into_iter().find(|container| name_of(container).as_deref() == Some(wanted));
                found.ok_or_else(|| Error::NoService {
                    name: view.name.clone(),
                    service: wanted.to_owned(),
                    services,
                })
            }
            None => containers
                .into_iter()
                .next()
                .ok_or_else(|| Error::NotRunning { name: view.name.clone(), state: view.state }),
        }
    }
}

/// Selects what belongs to one workspace.
pub(super) fn workspace_label(id: &WorkspaceId) -> engine::Labels {
    engine::Labels::from([(label::WORKSPACE.to_owned(), id.to_string())])
}
