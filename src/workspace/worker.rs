//! One workspace's loop: observe, plan, apply one step, show, wait.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::apply;
use super::attach::Attachment;
use super::context::Context;
use super::control::Workspaces;
use super::control::workspace_label;
use super::folders::Called;
use super::plan;
use super::plan::Folder;
use super::plan::Observed;
use super::plan::Project;
use super::plan::Step;
use super::prepare;
use super::prepare::Looked;
use super::prepare::Trouble;
use super::view;
use crate::base::backoff::Backoff;
use crate::base::clock;
use crate::engine;
use crate::engine::Container;
use crate::engine::ContainerState;
use crate::engine::Progress;
use crate::store::workspace::Record;

/// Without any hint everything is looked at again this often.
const REST: Duration = Duration::from_secs(30);
/// Progress lines on their way to the view. Progress is a hint: a reader that is slow loses lines, never the result.
const LINES: usize = 64;
/// How long a container that was made anew is given at first before it is made anew again, and at most.
const REMAKES: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(30 * 60));
/// A container that has run for so long is well; what was done to it is of no interest any more.
const WELL: Duration = Duration::from_secs(10 * 60);

/// What the supervisor tells a worker; the newest counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The row.
    pub record: Record,
    /// What the workspace is called.
    pub called: Called,
    /// Its folder.
    pub folder: Folder,
    /// Where that is.
    pub path: PathBuf,
    /// Grows when the folder's upper levels change.
    pub revision: u64,
    /// Grows each time the engine is found again after it was away.
    pub engine_session: u64,
    /// Grows with each event of one of its containers.
    pub hints: u64,
}

/// What is known about a workspace at one moment; [`view::render`] makes the view of it.
pub struct Facts<'a> {
    /// What the supervisor says.
    pub input: &'a Input,
    /// The project.
    pub looked: Option<&'a Looked>,
    /// Its containers, as last listed.
    pub containers: &'a [Container],
    /// The sync session with the agent.
    pub sync: Option<crate::sync::Status>,
    /// Where a container without an agent was found to listen.
    pub probed: Option<SocketAddr>,
    /// What is being done right now.
    pub doing: Option<&'a str>,
    /// What failed last, until something succeeds.
    pub trouble: Option<&'a Trouble>,
    /// When its container was last made anew, if it has not been well for long since.
    pub remade: Option<Timestamp>,
    /// The moment the view is made at.
    pub now: Timestamp,
}

pub(super) struct Worker {
    context: Arc<Context>,
    workspaces: Workspaces,
    input: watch::Receiver<Input>,
    looked: Option<Looked>,
    /// The folder revision and the name `looked` was made from.
    looked_at: Option<(u64, Option<String>)>,
    containers: Vec<Container>,
    /// When running containers were started, by id.
    started: BTreeMap<String, i64>,
    attachment: Attachment,
    trouble: Option<Trouble>,
    backoff: Backoff,
    /// The engine session in which the stack was last brought up or found whole.
    revived: Option<u64>,
    /// The last step taken, and what it was taken for.
    previous: Option<(Step, Input)>,
    remakes: Remakes,
}

/// Containers that were made anew: not more and more often, if it does not help.
struct Remakes {
    backoff: Backoff,
    last: Option<Timestamp>,
    not_before: Option<Instant>,
}

impl Remakes {
    fn new() -> Self {
        Self { backoff: Backoff::new(REMAKES.0, REMAKES.1), last: None, not_before: None }
    }

    fn may(&self) -> bool {
        self.not_before.is_none_or(|time| Instant::now() >= time)
    }

    fn note(&mut self) {
        self.last = Some(clock::now());
        self.not_before = Some(Instant::now() + self.backoff.next());
    }

    /// Forgets it all once everything has run for long.
    fn observe(&mut self, containers: &[Container], now: Timestamp) {
        let Some(last) = self.last else { return };
        let long_ago = |time: Timestamp| now.duration_since(time).unsigned_abs() >= WELL;
        let well = |container: &Container| {
            let started = container.started_at_ms.and_then(|time| Timestamp::from_millisecond(time).ok());
            container.state == ContainerState::Running && started.is_some_and(long_ago)
        };
        if long_ago(last) && !containers.is_empty() && containers.iter().all(well) {
            *self = Self::new();
        }
    }
}

/// What happened in one turn of the loop.
enum Turn {
    /// A step was taken: look again at once.
    Again,
    /// Nothing to do for so long.
    Rest(Duration),
}

impl Worker {
    pub(super) fn new(context: Arc<Context>, workspaces: Workspaces, input: watch::Receiver<Input>) -> Self {
        let attachment = Attachment::new(input.borrow().record.id.clone(), workspaces.sessions.clone());
        Self {
            context,
            workspaces,
            input,
            looked: None,
            looked_at: None,
            containers: Vec::new(),
            started: BTreeMap::new(),
            attachment,
            trouble: None,
            backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(60)),
            revived: None,
            previous: None,
            remakes: Remakes::new(),
        }
    }

    /// Works until the token is cancelled or the supervisor lets go.
    pub(super) async fn run(mut self, token: CancellationToken) {
        loop {
            let input = self.input.borrow_and_update().clone();
            let turn = tokio::select! {
                // Not cancel-safe, and need not be: a step cut short is found half done and done again at the next
                // start.
                () = token.cancelled() => break,
                turn = self.turn(&input) => turn,
            };
            match turn {
                Turn::Again => tokio::task::yield_now().await,
                Turn::Rest(wait) => {
                    if !self.rest(&input, wait, &token).await {
                        break;
                    }
                }
            }
        }
        self.attachment.detach().await;
    }

    /// Shows and waits; `false` when the worker's time is over.
    async fn rest(&mut self, input: &Input, wait: Duration, token: &CancellationToken) -> bool {
        let until = Instant::now() + wait;
        loop {
            let facts = self.facts(input, None);
            // Time alone can change what is to be said; nothing else wakes this loop for it.
            let speak = view::speaks_in(&facts).map_or(until, |time| until.min(Instant::now() + time));
            self.workspaces.publish(view::render(&facts));
            tokio::select! {
                // Cancel-safe: each arm only waits.
                () = token.cancelled() => return false,
                changed = self.input.changed() => {
                    if changed.is_ok() && self.input.borrow().record.updated_at != input.record.updated_at {
                        // Its owner did something: what failed before may be tried again at once.
                        self.backoff.reset();
                    }
                    return changed.is_ok();
                }
                () = tokio::time::sleep_until(speak) => if speak == until { return true },
                () = self.attachment.changed() => {}
            }
        }
    }

    async fn turn(&mut self, input: &Input) -> Turn {
        match self.step(input).await {
            // The same step twice for the same reasons did not help the first time.
            Ok(step)
                if step != Step::Rest && self.previous.as_ref() == Some(&(step.clone(), input.clone())) =>
            {
                Turn::Rest(self.backoff.next())
            }
            Ok(Step::Rest) => {
                self.backoff.reset();
                Turn::Rest(self.attachment.patience().unwrap_or(REST))
            }
            Ok(step) => {
                self.previous = Some((step, input.clone()));
                Turn::Again
            }
            Err(trouble) => {
                tracing::warn!(workspace = %input.record.folder, error = %trouble.message, "a step failed and is tried again");
                self.trouble = Some(trouble);
                Turn::Rest(self.backoff.next())
            }
        }
    }

    /// Observes, plans, applies.
    async fn step(&mut self, input: &Input) -> Result<Step, Trouble> {
        let of_engine = |error: engine::Error| Trouble::of(&error);
        self.containers =
            self.context.engine.containers(&workspace_label(&input.record.id)).await.map_err(of_engine)?;
        self.note_starts().await.map_err(of_engine)?;
        self.remakes.observe(&self.containers, clock::now());
        let step = plan::next(&self.observed(input));
        tracing::debug!(workspace = %input.record.folder, step = ?step, "planned");
        match &step {
            Step::Rest => {
                self.trouble = None;
                self.revived = Some(input.engine_session);
                self.attachment.attend(&self.context, input, self.looked.as_ref(), &self.containers).await;
            }
            Step::Look => self.look(input).await?,
            Step::Up => {
                self.up(input, None).await?;
                self.revived = Some(input.engine_session);
            }
            Step::Remake(service) => {
                tracing::warn!(
                    workspace = %input.record.folder, service = %service,
                    "the engine keeps restarting the container, it is made anew"
                );
                self.attachment.detach().await;
                self.remakes.note();
                self.up(input, Some(service)).await?;
            }
            _ => {
                if matches!(step, Step::Stop(_) | Step::Down | Step::Bury { .. }) {
                    self.attachment.detach().await;
                }
                self.publish(input, Some(apply::doing(&step)));
                apply::run(&self.context, input, &step).await?;
                if matches!(step, Step::Bury { .. }) {
                    self.workspaces.nudge.notify_one();
                }
            }
        }
        if step != Step::Rest {
            self.started.clear();
        }
        Ok(step)
    }

    /// A listing does not say since when a container runs; it is asked once after each step.
    async fn note_starts(&mut self) -> Result<(), engine::Error> {
        for container in &mut self.containers {
            if container.state != ContainerState::Running || container.started_at_ms.is_some() {
                continue;
            }
            if !self.started.contains_key(&container.id) {
                let started = self.context.engine.container(&container.id).await?.started_at_ms;
                self.started.insert(container.id.clone(), started.unwrap_or(0));
            }
            container.started_at_ms = self.started.get(&container.id).copied();
        }
        Ok(())
    }

    fn observed(&self, input: &Input) -> Observed {
        let current = self.looked_at == Some((input.revision, input.called.route().map(ToString::to_string)));
        let project = match &self.looked {
            Some(looked) if current && looked.trouble.is_some() => Project::Unrunnable,
            Some(looked) if current => match &looked.plan {
                Some(plan) => Project::Stack(plan::Stack {
                    digest: plan.digest.clone(),
                    services: plan.services.clone(),
                    agent: plan.agent.then(|| plan.web[0].service.clone()),
                }),
                None => Project::Unrunnable,
            },
            // Without a name there is nothing to look for.
            _ if input.called.route().is_none() => Project::Unrunnable,
            _ => Project::Unseen,
        };
        Observed {
            desired: input.record.desired,
            restart_at: input.record.restart_at,
            insisted: input.record.updated_at != input.record.created_at,
            folder: input.folder.clone(),
            project,
            containers: self.containers.clone(),
            revive: self.revived != Some(input.engine_session),
            remake: self.remakes.may(),
        }
    }

    async fn look(&mut self, input: &Input) -> Result<(), Trouble> {
        let Some(name) = input.called.route().cloned() else { return Ok(()) };
        let context = Arc::clone(&self.context);
        let (progress, lines) = mpsc::channel(LINES);
        let subject = prepare::Subject { id: &input.record.id, name: &name, folder: &input.path };
        let looking = prepare::look(&context, &subject, &progress);
        let looked = self.with_progress(input, "looking at the project", looking, lines).await;
        let (looked, trouble) = match looked {
            Ok(looked) => (looked, None),
            Err((partial, trouble)) => (partial, Some(trouble)),
        };
        let plan = self.looked.take().and_then(|before| before.plan);
        self.looked_at = trouble.is_none().then(|| (input.revision, Some(name.to_string())));
        // The stack that runs now stays known until it is replaced.
        self.looked = Some(Looked { plan: looked.plan.clone().or(plan), ..looked });
        trouble.map_or(Ok(()), Err)
    }

    /// Brings the stack up, or makes the container of one service anew.
    async fn up(&mut self, input: &Input, remake: Option<&str>) -> Result<(), Trouble> {
        let Some(plan) = self.looked.as_ref().and_then(|looked| looked.plan.clone()) else { return Ok(()) };
        let context = Arc::clone(&self.context);
        let (progress, lines) = mpsc::channel(LINES);
        let doing = match remake {
            None => apply::doing(&Step::Up),
            Some(service) => apply::doing(&Step::Remake(service.to_owned())),
        };
        let coming_up = apply::up(&context, input, &plan, remake, progress);
        let up = self.with_progress(input, doing, coming_up, lines).await;
        if up.is_err() {
            // What it was planned on may no longer be so (a subnet taken meanwhile, an image removed): look again.
            self.looked_at = None;
        }
        up
    }

    /// Runs a long step and shows its progress while it lasts.
    async fn with_progress<T>(
        &mut self,
        input: &Input,
        doing: &str,
        work: impl Future<Output = T>,
        mut lines: mpsc::Receiver<Progress>,
    ) -> T {
        self.publish(input, Some(doing));
        tokio::pin!(work);
        loop {
            tokio::select! {
                // Cancel-safe: `work` is polled by reference, `recv` loses nothing.
                done = &mut work => return done,
                Some(line) = lines.recv() => self.publish(input, Some(&line.message)),
            }
        }
    }

    fn publish(&self, input: &Input, doing: Option<&str>) {
        self.workspaces.publish(view::render(&self.facts(input, doing)));
    }

    fn facts<'a>(&'a self, input: &'a Input, doing: Option<&'a str>) -> Facts<'a> {
        Facts {
            input,
            looked: self.looked.as_ref(),
            containers: &self.containers,
            sync: self.attachment.status(),
            probed: self.attachment.probed(),
            doing,
            trouble: self.trouble.as_ref(),
            remade: self.remakes.last,
            now: clock::now(),
        }
    }
}

/// The address to reach a container at: on its workspace's own network where it has several.
pub(super) fn address(container: &Container, network: &str) -> Option<IpAddr> {
    let addresses: &BTreeMap<String, IpAddr> = &container.addresses;
    addresses.get(network).or_else(|| addresses.values().next()).copied()
}
