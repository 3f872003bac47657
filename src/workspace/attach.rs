//! What a worker holds on to while its stack runs: the sync session with the agent, or, for containers without one,
//! the port that was found to answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::plan::service_of;
use super::prepare::Looked;
use super::sync::Sessions;
use super::worker::Input;
use super::worker::address;
use crate::base::backoff::Backoff;
use crate::base::ids::WorkspaceId;
use crate::base::tasks::TaskGroup;
use crate::compose;
use crate::compose::Candidate;
use crate::engine::Container;
use crate::engine::ContainerState;
use crate::sync;

/// How long a port may take to answer a connection.
const DIAL: Duration = Duration::from_millis(300);
/// Where content waits that is to be moved into a folder beside it.
const STAGE: &str = ".nexus-stage";
/// How long a session may take to end.
const CLOSE: Duration = Duration::from_secs(5);

struct Session {
    container: String,
    folder: std::path::PathBuf,
    settings: sync::Settings,
    tasks: TaskGroup,
    status: watch::Receiver<sync::Status>,
    /// Held for its life: dropped, the session ends.
    _handle: sync::Handle,
}

/// See the module.
pub struct Attachment {
    workspace: WorkspaceId,
    sessions: Sessions,
    session: Option<Session>,
    probed: Option<SocketAddr>,
    probing: Option<Backoff>,
}

impl Attachment {
    /// Holds nothing yet; its session is shown in `sessions`.
    pub(super) fn new(workspace: WorkspaceId, sessions: Sessions) -> Self {
        Self { workspace, sessions, session: None, probed: None, probing: None }
    }

    /// Makes what is held fit the containers that run now.
    pub async fn attend(
        &mut self,
        context: &Arc<Context>,
        input: &Input,
        looked: Option<&Looked>,
        containers: &[Container],
    ) {
        let Some(looked) = looked else { return };
        let Some(plan) = looked.plan.as_ref() else { return };
        let running = |service: &str| {
            containers.iter().find(|container| {
                container.state == ContainerState::Running && service_of(container) == Some(service)
            })
        };
        if plan.agent {
            let container = running(&plan.web[0].service).map(|container| container.id.clone());
            self.keep_session(context, input, &looked.sync, container).await;
        } else {
            self.detach().await;
            self.probe(&plan.web, &compose::network_name(&input.record.id), running).await;
        }
    }

    async fn keep_session(
        &mut self,
        context: &Arc<Context>,
        input: &Input,
        settings: &sync::Settings,
        container: Option<String>,
    ) {
        let held =
            self.session.as_ref().map(|session| (&session.container, &session.folder, &session.settings));
        if held == container.as_ref().map(|container| (container, &input.path, settings)) {
            return;
        }
        self.detach().await;
        let Some(container) = container else { return };
        // Ended by `detach`, or by the worker's own end, which drops it.
        let mut tasks = TaskGroup::new("sync", &CancellationToken::new());
        let spec = sync::SessionSpec {
            name: input.record.folder.clone(),
            container: container.clone(),
            root: input.path.clone(),
            staging: context.settings.directory.join(STAGE).join(input.record.id.as_str()),
            state: context.home.sync(&input.record.id),
            settings: settings.clone(),
        };
        let handle = sync::spawn(spec, Arc::clone(&context.engine), &mut tasks);
        let status = handle.status.clone();
        self.sessions.put(&self.workspace, &handle, settings);
        self.session = Some(Session {
            container,
            folder: input.path.clone(),
            settings: settings.clone(),
            tasks,
            status,
            _handle: handle,
        });
    }

    /// Looks for the first candidate that takes a connection.
    async fn probe<'a>(
        &mut self,
        candidates: &[Candidate],
        network: &str,
        running: impl Fn(&str) -> Option<&'a Container>,
    ) {
        let mut targets = Vec::new();
        for candidate in candidates {
            let Some(container) = running(&candidate.service) else { continue };
            let Some(ip) = address(container, network) else { continue };
            let mut ports = candidate.ports.clone();
            ports.extend(container.exposed.iter().filter(|port| !candidate.ports.contains(port)));
            targets.extend(ports.into_iter().map(|port| SocketAddr::new(ip, port)));
        }
        self.probed = None;
        for target in &targets {
            if let Ok(Ok(_stream)) = tokio::time::timeout(DIAL, TcpStream::connect(target)).await {
                self.probed = Some(*target);
                break;
            }
        }
        if self.probed.is_some() || targets.is_empty() {
            self.probing = None;
        } else if self.probing.is_none() {
            self.probing = Some(Backoff::new(Duration::from_millis(200), Duration::from_secs(5)));
        }
    }

    /// How long to wait before looking again, while nothing answers yet.
    pub fn patience(&mut self) -> Option<Duration> {
        self.probing.as_mut().map(Backoff::next)
    }

    /// Resolves when the session has news; never while there is none.
    pub async fn changed(&mut self) {
        let news = match &mut self.session {
            Some(session) => session.status.changed().await.is_ok(),
            None => false,
        };
        if !news {
            std::future::pending().await
        }
    }

    /// The session's status.
    pub fn status(&self) -> Option<sync::Status> {
        self.session.as_ref().map(|session| session.status.borrow().clone())
    }

    /// Where a container without an agent answers.
    pub fn probed(&self) -> Option<SocketAddr> {
        self.probed
    }

    /// Ends the session and forgets the port.
    pub async fn detach(&mut self) {
        self.probed = None;
        self.probing = None;
        self.sessions.remove(&self.workspace);
        if let Some(session) = self.session.take() {
            session.tasks.close(CLOSE).await;
        }
    }
}
