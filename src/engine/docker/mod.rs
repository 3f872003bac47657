//! The real engine: the Docker API over its socket, and the Compose CLI for stacks.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use super::About;
use super::Build;
use super::Container;
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
use super::ProgressSink;
use super::Stack;
use super::Volume;
use super::Whole;
use super::compose::Compose;

mod containers;
mod exec;
pub mod failure;
mod frames;
mod images;
mod socket;
mod streams;
mod version;
mod volumes;

/// How often in a row an engine may fail to answer while Compose works: one that is restarted is back by then.
const MISSED_MAX: u32 = 3;

/// How the engine is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Its socket: `unix:///var/run/docker.sock`.
    pub socket: String,
    /// A directory of the node's for the Compose CLI; made when first needed.
    pub compose_home: PathBuf,
    /// Time-out of an ordinary call.
    pub call_timeout: Duration,
}

impl Settings {
    /// The time-out of an ordinary call when nobody wishes otherwise.
    pub const CALL_TIMEOUT: Duration = socket::CALL;
}

/// The engine behind a socket.
pub struct Docker {
    socket: socket::Socket,
    compose: Compose,
}

impl Docker {
    /// An engine at a socket. Nothing is opened or looked for before the first call.
    pub fn new(settings: &Settings) -> Self {
        let socket = socket::Socket::new(&settings.socket, settings.call_timeout);
        let compose = Compose::new(socket.address(), &settings.compose_home);
        Self { socket, compose }
    }

    /// Does long work with Compose for as long as the engine shows signs of life: Compose itself waits for ever.
    async fn attended<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        // Dropping the loser is fine: the work's processes are killed, and a look changes nothing.
        tokio::select! {
            done = work => done,
            error = self.silence() => Err(error),
        }
    }

    /// Waits until the engine has not answered several times in a row.
    async fn silence(&self) -> Error {
        let mut missed = 0;
        loop {
            tokio::time::sleep(self.socket.call_timeout()).await;
            match self.socket.hello().await {
                Ok(()) => missed = 0,
                Err(error) => {
                    missed += 1;
                    if missed == MISSED_MAX {
                        return error;
                    }
                }
            }
        }
    }
}

#[async_trait]
impl Engine for Docker {
    async fn about(&self) -> Result<About, Error> {
        let info = self.socket.call(failure::Subject::ENGINE, |api| async move { api.info().await }).await?;
        let peer = self.socket.peer().await?;
        Ok(About {
            version: peer.version.clone(),
            api_version: peer.api_version.clone(),
            compose_version: self.compose.version().await.ok(),
            root: info.docker_root_dir.unwrap_or_default().into(),
        })
    }

    async fn containers(&self, labels: &Labels) -> Result<Vec<Container>, Error> {
        containers::list(&self.socket, labels).await
    }

    async fn container(&self, name: &str) -> Result<Container, Error> {
        containers::inspect(&self.socket, name).await
    }

    async fn networks(&self, labels: &Labels) -> Result<Vec<Network>, Error> {
        volumes::networks(&self.socket, labels).await
    }

    async fn volumes(&self, labels: &Labels) -> Result<Vec<Volume>, Error> {
        volumes::list(&self.socket, labels).await
    }

    async fn mounts(&self, name: &str) -> Result<Vec<Mount>, Error> {
        containers::mounts(&self.socket, name).await
    }

    async fn check(&self, stack: &Stack) -> Result<String, Error> {
        self.compose.check(stack).await
    }

    async fn up(&self, stack: &Stack, progress: ProgressSink) -> Result<(), Error> {
        // A hanging engine is found out here, in seconds, not by Compose's patience.
        self.socket.hello().await?;
        self.attended(self.compose.up(stack, progress)).await
    }

    async fn remake(&self, stack: &Stack, service: &str, progress: ProgressSink) -> Result<(), Error> {
        self.socket.hello().await?;
        self.attended(self.compose.remake(stack, service, progress)).await
    }

    async fn down(&self, project: &str, volumes: bool) -> Result<(), Error> {
        self.socket.hello().await?;
        self.attended(self.compose.down(project, volumes)).await
    }

    async fn start(&self, container: &str) -> Result<(), Error> {
        containers::start(&self.socket, container).await
    }

    async fn stop(&self, container: &str, grace_seconds: u32) -> Result<(), Error> {
        containers::stop(&self.socket, container, grace_seconds).await
    }

    async fn pause(&self, container: &str) -> Result<(), Error> {
        let subject = failure::Subject::container(container);
        self.socket.call(subject, |api| async move { api.pause_container(container).await }).await
    }

    async fn unpause(&self, container: &str) -> Result<(), Error> {
        let subject = failure::Subject::container(container);
        self.socket.call(subject, |api| async move { api.unpause_container(container).await }).await
    }

    async fn remove_container(&self, container: &str) -> Result<(), Error> {
        containers::remove(&self.socket, container).await
    }

    async fn remove_network(&self, network: &str) -> Result<(), Error> {
        volumes::remove_network(&self.socket, network).await
    }

    async fn remove_volume(&self, volume: &str) -> Result<(), Error> {
        volumes::remove(&self.socket, volume).await
    }

    async fn ensure_volume(&self, volume: &str, labels: &Labels) -> Result<(), Error> {
        volumes::ensure(&self.socket, volume, labels).await
    }

    async fn seed_volume(
        &self,
        volume: &str,
        labels: &Labels,
        image: &str,
        directory: &str,
        whole: Option<Whole>,
    ) -> Result<(), Error> {
        volumes::seed(&self.socket, volume, labels, image, directory, whole).await
    }

    async fn image(&self, image: &str) -> Result<Option<String>, Error> {
        images::id(&self.socket, image).await
    }

    async fn import_image(&self, image: &str, archive: Bytes) -> Result<(), Error> {
        images::import(&self.socket, image, archive).await
    }

    async fn remove_image(&self, image: &str) -> Result<(), Error> {
        images::remove(&self.socket, image).await
    }

    async fn pull(&self, image: &str, progress: ProgressSink) -> Result<(), Error> {
        images::pull(&self.socket, image, progress).await
    }

    async fn build(&self, build: &Build, progress: ProgressSink) -> Result<(), Error> {
        self.socket.hello().await?;
        self.attended(self.compose.build(build, progress)).await
    }

    async fn exec(&self, container: &str, exec: &Exec) -> Result<ExecSession, Error> {
        exec::exec(&self.socket, container, exec).await
    }

    async fn exec_exit(&self, id: &str) -> Result<Option<i64>, Error> {
        exec::exit(&self.socket, id).await
    }

    async fn pipe(&self, container: &str, exec: &Exec) -> Result<Box<dyn Pipe>, Error> {
        exec::pipe(&self.socket, container, exec).await
    }

    async fn logs(
        &self,
        container: &str,
        logs: &Logs,
    ) -> Result<BoxStream<'static, Result<Output, Error>>, Error> {
        streams::logs(&self.socket, container, logs).await
    }

    async fn events(&self, labels: &Labels) -> Result<BoxStream<'static, Result<Event, Error>>, Error> {
        streams::events(&self.socket, labels).await
    }
}
