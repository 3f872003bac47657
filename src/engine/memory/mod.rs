//! An engine in memory, for tests: it behaves like the real one and fails when told to.
//!
//! A fault is scripted by the number of the call or by its name. The important one is [`Fault::Lose`]: what was asked
//! for is done, only the answer never arrives.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tokio::io::AsyncWriteExt as _;
use tokio::io::DuplexStream;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;

use super::About;
use super::Build;
use super::Container;
use super::ContainerState;
use super::Engine;
use super::Error;
use super::Event;
use super::Exec;
use super::ExecSession;
use super::Labels;
use super::Logs;
use super::Mount;
use super::Network;
use super::Output;
use super::Pipe;
use super::Progress;
use super::ProgressSink;
use super::Stack;
use super::Volume;
use super::Whole;
use crate::base::tasks::TaskGroup;
use state::State;
use state::selected;

mod stack;
mod state;

/// How long a call that hangs takes: what the real engine's time-out is.
const HANG: Duration = Duration::from_secs(10);
/// What fits into a pipe before its reader must read.
const PIPE_BYTES: usize = 64 << 10;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done, and the engine says no with these words.
    Refuse(String),
    /// Nothing is done, and nobody answers.
    Drop,
    /// All is done, but nobody answers.
    Lose,
    /// The first half is done (networks, volumes, one container not started), and nobody answers.
    Half,
    /// Nothing happens until the time-out.
    Hang,
    /// The disk is full.
    DiskFull,
}

/// Which call goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// The n-th call of any kind from now, counted from 1.
    Nth(usize),
    /// The next call of this name: `up`, `containers`, ...
    Next(&'static str),
    /// Every call of this name.
    Every(&'static str),
}

/// A program inside a container: what is run where, and its standard input and output. Ends with its exit code.
pub type Program = Arc<dyn Fn(String, Exec, DuplexStream) -> BoxFuture<'static, i64> + Send + Sync>;

/// The engine in memory.
pub struct Memory {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<()>,
    programs: Mutex<BTreeMap<String, Program>>,
    tasks: Mutex<TaskGroup>,
}

impl Memory {
    /// An engine that has these images.
    pub fn new(images: &[&str]) -> Self {
        let mut state = State::new();
        for image in images {
            let id = state.id();
            state.images.insert((*image).to_owned(), id);
        }
        let memory = Self {
            state: Arc::new(Mutex::new(state)),
            changed: watch::Sender::new(()),
            programs: Mutex::default(),
            tasks: Mutex::new(TaskGroup::new("engine.memory", &CancellationToken::new())),
        };
        memory.install();
        memory
    }

    /// The programs every container has.
    fn install(&self) {
        self.program("true", Arc::new(|_, _, _| Box::pin(async { 0 })));
        self.program("false", Arc::new(|_, _, _| Box::pin(async { 1 })));
        self.program(
            "echo",
            Arc::new(|_, exec, mut io| {
                Box::pin(async move {
                    let line = format!("{}\n", exec.argv[1..].join(" "));
                    i64::from(io.write_all(line.as_bytes()).await.is_err())
                })
            }),
        );
        self.program(
            "cat",
            Arc::new(|_, _, io| {
                Box::pin(async move {
                    let (mut read, mut write) = tokio::io::split(io);
                    i64::from(tokio::io::copy(&mut read, &mut write).await.is_err())
                })
            }),
        );
    }

    /// Puts a program into every container, found by its first word.
    pub fn program(&self, name: &str, program: Program) {
        self.programs.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), program);
    }

    /// Scripts a fault.
    pub fn fault(&self, when: When, fault: Fault) {
        self.lock().faults.push((when, fault));
    }

    /// Takes all faults back.
    pub fn heal(&self) {
        self.lock().faults.clear();
    }

    /// The calls so far: `up nexus-1`, `containers`.
    pub fn calls(&self) -> Vec<String> {
        self.lock().calls.clone()
    }

    /// The engine ends: containers die, event streams end, nobody answers.
    pub fn leave(&self) {
        let mut state = self.lock();
        let running: Vec<String> = state.containers.keys().cloned().collect();
        for id in running {
            if matches!(state.containers[&id].seen.state, ContainerState::Running | ContainerState::Paused) {
                state.set(&id, ContainerState::Exited).ok();
            }
        }
        state.gone = true;
        state.hang_up();
        drop(state);
        self.changed.send_replace(());
    }

    /// The engine is back. Nothing runs.
    pub fn come_back(&self) {
        self.lock().gone = false;
        self.changed.send_replace(());
    }

    /// A container's main program ends by itself.
    pub fn exit(&self, container: &str, code: i64, oom_killed: bool) {
        let mut state = self.lock();
        if let Ok(kept) = state.find(container) {
            kept.seen.exit_code = Some(code);
            kept.seen.oom_killed = oom_killed;
        }
        state.set(container, ContainerState::Exited).ok();
        drop(state);
        self.changed.send_replace(());
    }

    /// Takes these addresses without showing who has them, as a real engine does that was killed while it made a
    /// network.
    pub fn hide(&self, subnet: &str) {
        self.lock().hidden.push(subnet.to_owned());
    }

    /// From now on the engine restarts this container for ever, as a real one does that has lost track of what runs in
    /// it; stopping and starting it does not help, only making it anew.
    pub fn doom(&self, container: &str) {
        let mut state = self.lock();
        if let Ok(kept) = state.find(container) {
            kept.doomed = true;
            kept.seen.exit_code = Some(137);
        }
        state.set(container, ContainerState::Exited).ok();
        state.set(container, ContainerState::Running).ok();
        drop(state);
        self.changed.send_replace(());
    }

    /// What containers print when they start, and the code they end with when stopped.
    pub fn behave(&self, prints: Vec<Output>, stop_code: i64) {
        let mut state = self.lock();
        state.prints = prints;
        state.stop_code = stop_code;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one call: notes it, lets the scripted fault happen, and wakes who waits for a change.
    async fn call<T>(
        &self,
        name: &'static str,
        about: &str,
        act: impl FnOnce(&mut State, bool) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let fault = {
            let mut state = self.lock();
            state.calls.push(format!("{name} {about}").trim_end().to_owned());
            if state.gone { Some(Fault::Drop) } else { due(&mut state.faults, name) }
        };
        match fault {
            Some(Fault::Refuse(message)) => return Err(Error::Refused { message }),
            Some(Fault::DiskFull) => {
                return Err(Error::DiskFull { message: "no space left on device".into() });
            }
            Some(Fault::Drop) => return Err(silence()),
            Some(Fault::Hang) => {
                tokio::time::sleep(HANG).await;
                return Err(silence());
            }
            Some(Fault::Lose | Fault::Half) | None => (),
        }
        let done = act(&mut self.lock(), fault == Some(Fault::Half));
        self.changed.send_replace(());
        if fault.is_some() { Err(silence()) } else { done }
    }

    /// Starts a program; returns its id and our end of its input and output.
    async fn run(&self, container: &str, exec: &Exec) -> Result<(String, DuplexStream), Error> {
        let id = self
            .call("exec", container, |state, _| {
                let seen = &state.find(container)?.seen;
                if seen.state != ContainerState::Running {
                    return Err(Error::Conflict { message: format!("container {} is not running", seen.id) });
                }
                let id = state.id();
                state.exits.insert(id.clone(), None);
                Ok(id)
            })
            .await?;
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        let first = exec.argv.first().cloned().unwrap_or_default();
        let programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        let ran = programs.get(&first).map(|program| program(container.to_owned(), exec.clone(), theirs));
        drop(programs);
        let (state, ended) = (Arc::clone(&self.state), id.clone());
        let task = async move {
            let code = match ran {
                Some(ran) => ran.await,
                // As a shell says: no such program.
                None => 127,
            };
            state.lock().unwrap_or_else(PoisonError::into_inner).exits.insert(ended, Some(code));
        };
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(first, task);
        Ok((id, ours))
    }
}

fn silence() -> Error {
    Error::Unreachable { socket: "memory".to_owned(), seconds: HANG.as_secs(), source: None }
}

/// Takes the fault that is due for a call of this name.
fn due(faults: &mut Vec<(When, Fault)>, name: &str) -> Option<Fault> {
    for (when, _) in faults.iter_mut() {
        if let When::Nth(left) = when {
            *left = left.saturating_sub(1);
        }
    }
    let is_due = |when: &When| match when {
        When::Nth(left) => *left == 0,
        When::Next(call) | When::Every(call) => *call == name,
    };
    let place = faults.iter().position(|(when, _)| is_due(when))?;
    match faults[place].0 {
        When::Every(_) => Some(faults[place].1.clone()),
        When::Nth(_) | When::Next(_) => Some(faults.remove(place).1),
    }
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path)
        .map_err(|error| Error::Compose { message: format!("{}: {error}", path.display()) })
}

#[async_trait]
impl Engine for Memory {
    async fn about(&self) -> Result<About, Error> {
        self.call("about", "", |_, _| {
            Ok(About {
                version: "0.0.0-memory".to_owned(),
                api_version: "1.53".to_owned(),
                compose_version: Some("2.0.0-memory".to_owned()),
                root: "/volumes".into(),
            })
        })
        .await
    }

    async fn containers(&self, labels: &Labels) -> Result<Vec<Container>, Error> {
        self.call("containers", "", |state, _| {
            let seen = state.containers.values().map(|kept| &kept.seen);
            Ok(seen.filter(|seen| selected(&seen.labels, labels)).cloned().collect())
        })
        .await
    }

    async fn container(&self, name: &str) -> Result<Container, Error> {
        self.call("container", name, |state, _| Ok(state.find(name)?.seen.clone())).await
    }

    async fn networks(&self, labels: &Labels) -> Result<Vec<Network>, Error> {
        self.call("networks", "", |state, _| {
            Ok(state.networks.values().filter(|it| selected(&it.labels, labels)).cloned().collect())
        })
        .await
    }

    async fn volumes(&self, labels: &Labels) -> Result<Vec<Volume>, Error> {
        self.call("volumes", "", |state, _| {
            Ok(state.volumes.values().filter(|it| selected(&it.labels, labels)).cloned().collect())
        })
        .await
    }

    async fn mounts(&self, name: &str) -> Result<Vec<Mount>, Error> {
        self.call("mounts", name, |state, _| Ok(state.find(name)?.mounts.clone())).await
    }

    async fn check(&self, stack: &Stack) -> Result<String, Error> {
        self.call("check", &stack.project, |_, _| {
            let text = read(&stack.file)?;
            stack::File::parse(&text)?;
            Ok(text)
        })
        .await
    }

    async fn up(&self, stack: &Stack, progress: ProgressSink) -> Result<(), Error> {
        self.call("up", &stack.project, |state, half| {
            progress.try_send(Progress { message: format!("Stack {}", stack.project) }).ok();
            let file = stack::File::parse(&read(&stack.file)?)?;
            state.up(stack, &file, half)
        })
        .await
    }

    async fn remake(&self, stack: &Stack, service: &str, _: ProgressSink) -> Result<(), Error> {
        self.call("remake", &stack.project, |state, half| {
            let file = stack::File::parse(&read(&stack.file)?)?;
            state.remake(stack, &file, service, half)
        })
        .await
    }

    async fn down(&self, project: &str, volumes: bool) -> Result<(), Error> {
        self.call("down", project, |state, _| {
            state.down(project, volumes);
            Ok(())
        })
        .await
    }

    async fn start(&self, container: &str) -> Result<(), Error> {
        self.call("start", container, |state, _| state.set(container, ContainerState::Running)).await
    }

    async fn stop(&self, container: &str, _: u32) -> Result<(), Error> {
        self.call("stop", container, |state, _| match state.find(container)?.seen.state {
            ContainerState::Created => Ok(()),
            _ => state.set(container, ContainerState::Exited),
        })
        .await
    }

    async fn pause(&self, container: &str) -> Result<(), Error> {
        self.call("pause", container, |state, _| match state.find(container)?.seen.state {
            ContainerState::Running => state.set(container, ContainerState::Paused),
            _ => Err(Error::Conflict { message: format!("container {container} is not running") }),
        })
        .await
    }

    async fn unpause(&self, container: &str) -> Result<(), Error> {
        self.call("unpause", container, |state, _| match state.find(container)?.seen.state {
            ContainerState::Paused => state.set(container, ContainerState::Running),
            _ => Err(Error::Conflict { message: format!("container {container} is not paused") }),
        })
        .await
    }

    async fn remove_container(&self, container: &str) -> Result<(), Error> {
        self.call("remove_container", container, |state, _| {
            state.remove(container);
            Ok(())
        })
        .await
    }

    async fn remove_network(&self, network: &str) -> Result<(), Error> {
        self.call("remove_network", network, |state, _| {
            let used = |kept: &state::Kept| kept.seen.addresses.contains_key(network);
            if state.containers.values().any(used) {
                return Err(Error::Refused { message: format!("network {network} has active endpoints") });
            }
            let found = state.networks.values().find(|it| it.name == network || it.id == network).cloned();
            if let Some(found) = found {
                state.networks.remove(&found.name);
                state.tell("network", "destroy", &found.labels);
            }
            Ok(())
        })
        .await
    }

    async fn remove_volume(&self, volume: &str) -> Result<(), Error> {
        self.call("remove_volume", volume, |state, _| {
            let source = Path::new("/volumes").join(volume);
            if state.containers.values().any(|kept| kept.mounts.iter().any(|mount| mount.source == source)) {
                return Err(Error::Conflict { message: format!("volume {volume} is in use") });
            }
            if let Some(found) = state.volumes.remove(volume) {
                state.tell("volume", "destroy", &found.labels);
            }
            Ok(())
        })
        .await
    }

    async fn ensure_volume(&self, volume: &str, labels: &Labels) -> Result<(), Error> {
        self.call("ensure_volume", volume, |state, _| {
            state.ensure_volume(volume, labels);
            Ok(())
        })
        .await
    }

    async fn seed_volume(
        &self,
        volume: &str,
        labels: &Labels,
        image: &str,
        _directory: &str,
        _whole: Option<Whole>,
    ) -> Result<(), Error> {
        self.call("seed_volume", volume, |state, _| {
            state.ensure_volume(volume, labels);
            match state.images.contains_key(image) {
                true => Ok(()),
                false => Err(Error::NotFound { object: "image", name: image.to_owned() }),
            }
        })
        .await
    }

    async fn image(&self, image: &str) -> Result<Option<String>, Error> {
        self.call("image", image, |state, _| Ok(state.images.get(image).cloned())).await
    }

    async fn import_image(&self, image: &str, _: Bytes) -> Result<(), Error> {
        self.call("import_image", image, |state, _| {
            let id = state.id();
            state.images.insert(image.to_owned(), id);
            Ok(())
        })
        .await
    }

    async fn remove_image(&self, image: &str) -> Result<(), Error> {
        self.call("remove_image", image, |state, _| {
            if state.containers.values().any(|kept| kept.seen.image == image) {
                return Err(Error::Conflict { message: format!("image {image} is in use") });
            }
            state.images.remove(image);
            Ok(())
        })
        .await
    }

    async fn pull(&self, image: &str, _: ProgressSink) -> Result<(), Error> {
        self.call("pull", image, |state, _| match state.images.contains_key(image) {
            true => Ok(()),
            false => Err(Error::Pull { image: image.to_owned(), message: "no registry answers".to_owned() }),
        })
        .await
    }

    async fn build(&self, build: &Build, _: ProgressSink) -> Result<(), Error> {
        self.call("build", &build.image, |state, _| {
            let id = state.id();
            state.images.insert(build.image.clone(), id);
            Ok(())
        })
        .await
    }

    async fn exec(&self, container: &str, exec: &Exec) -> Result<ExecSession, Error> {
        let (id, io) = self.run(container, exec).await?;
        let (read, write) = tokio::io::split(io);
        let output = ReaderStream::new(read).map(|bytes| match bytes {
            Ok(bytes) => Ok(Output::Out(bytes)),
            Err(error) => Err(Error::Garbled { message: error.to_string() }),
        });
        let stdin = exec.stdin.then(|| -> Pin<Box<dyn tokio::io::AsyncWrite + Send>> { Box::pin(write) });
        Ok(ExecSession { stdin, output: output.boxed(), id })
    }

    async fn exec_exit(&self, id: &str) -> Result<Option<i64>, Error> {
        // Who asks in a loop lets the program go on.
        tokio::task::yield_now().await;
        self.call("exec_exit", id, |state, _| {
            let absent = || Error::NotFound { object: "exec", name: id.to_owned() };
            state.exits.get(id).copied().ok_or_else(absent)
        })
        .await
    }

    async fn pipe(&self, container: &str, exec: &Exec) -> Result<Box<dyn Pipe>, Error> {
        Ok(Box::new(self.run(container, exec).await?.1))
    }

    async fn logs(
        &self,
        container: &str,
        logs: &Logs,
    ) -> Result<BoxStream<'static, Result<Output, Error>>, Error> {
        let (id, at) = self
            .call("logs", container, |state, _| {
                let kept = state.find(container)?;
                let tail = logs.tail.and_then(|tail| usize::try_from(tail).ok()).unwrap_or(usize::MAX);
                Ok((kept.seen.id.clone(), kept.log.len().saturating_sub(tail)))
            })
            .await?;
        let reader = (Arc::clone(&self.state), self.changed.subscribe(), id, at);
        let follow = logs.follow;
        let lines = futures::stream::unfold(reader, move |(state, mut changed, id, at)| async move {
            loop {
                let (line, runs) = {
                    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                    let kept = state.find(&id).ok()?;
                    let runs = matches!(kept.seen.state, ContainerState::Running | ContainerState::Paused);
                    (kept.log.get(at).cloned(), runs)
                };
                if let Some(line) = line {
                    return Some((Ok(line), (state, changed, id, at + 1)));
                }
                if !follow || !runs {
                    return None;
                }
                changed.changed().await.ok()?;
            }
        });
        Ok(lines.boxed())
    }

    async fn events(&self, labels: &Labels) -> Result<BoxStream<'static, Result<Event, Error>>, Error> {
        let labels = labels.clone();
        let receiver = self.call("events", "", |state, _| Ok(state.events.subscribe())).await?;
        let events = futures::stream::unfold((receiver, labels), |(mut receiver, labels)| async move {
            loop {
                match receiver.recv().await {
                    Ok(event) if selected(&event.labels, &labels) => {
                        return Some((Ok(event), (receiver, labels)));
                    }
                    Ok(_) | Err(RecvError::Lagged(_)) => (),
                    Err(RecvError::Closed) => return None,
                }
            }
        });
        Ok(events.boxed())
    }
}
