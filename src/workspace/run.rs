//! Runs a program in a workspace's container, and ends it when nobody waits for it any more.
//!
//! Where the container has our agent, the agent runs the program and ends it, with all it has started, as soon as its
//! own standard input closes. The node holds that open for as long as it waits; the engine closes it whichever way the
//! node lets go. A container without the agent has nobody in it to do so: there the program may go on.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use super::control::Error;
use super::control::Workspaces;
use crate::engine;

/// Output kept of one run, each of standard output and standard error.
const RUN_OUTPUT_MAX: usize = 1024 * 1024;
/// How long a program may run unless told otherwise.
const TIME: Duration = Duration::from_secs(600);
/// How long the agent may take to end a program: its grace and some.
const ENDING: Duration = nexus_agent::run::GRACE.saturating_mul(3);
/// Where the agent is mounted, in the containers that have it.
const AGENT_VOLUME: &str = "/nexus";
/// What runs a program there.
const AGENT_RUN: [&str; 3] = ["/nexus/nexus-agent", "run", "--"];

/// A program to run in a workspace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Run {
    /// Program and arguments; no shell.
    pub argv: Vec<String>,
    /// Which service; the one that answers the web when `None`.
    pub service: Option<String>,
    /// Added environment.
    pub env: Vec<(String, String)>,
    /// Working directory in the container; the project's own when `None`.
    pub directory: Option<String>,
    /// How long to wait; 10 minutes when `None`.
    pub timeout: Option<Duration>,
}

/// What comes of a running program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Standard output.
    Out(Bytes),
    /// Standard error.
    Err(Bytes),
    /// The last piece, unless the engine fails.
    Ended(Ended),
}

/// How a program ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ended {
    /// Exit code; `None` when it did not end in time.
    pub exit_code: Option<i64>,
    /// Whether the time ran out.
    pub timed_out: bool,
    /// Whether it was ended then. Else it may still run.
    pub killed: bool,
}

/// How it went, all at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunOutcome {
    /// How it ended.
    pub ended: Ended,
    /// Standard output, the first MiB.
    pub stdout: Vec<u8>,
    /// Standard error, the first MiB.
    pub stderr: Vec<u8>,
    /// Whether some of either was left out.
    pub truncated: bool,
}

/// Pieces as they come. Dropped, it lets go of the program.
pub type Pieces = BoxStream<'static, Result<Piece, engine::Error>>;

impl Workspaces {
    /// Starts a program in the workspace's container.
    ///
    /// # Errors
    /// When it is not running or the engine fails. A program that fails is no error: see its exit code.
    pub async fn run(&self, key: &str, run: Run) -> Result<Pieces, Error> {
        let view = self.find(key)?;
        let container = self.running_container(&view, run.service.as_deref()).await?;
        let mounts = self.engine.mounts(&container).await?;
        let agent = mounts.iter().any(|mount| mount.target == Path::new(AGENT_VOLUME));
        let wrapper = if agent { AGENT_RUN.map(str::to_owned).into() } else { Vec::new() };
        let exec = engine::Exec {
            argv: [wrapper, run.argv].concat(),
            env: run.env,
            directory: run.directory,
            stdin: agent,
            ..Default::default()
        };
        let session = self.engine.exec(&container, &exec).await?;
        let running = Running {
            engine: Arc::clone(&self.engine),
            id: session.id,
            output: session.output,
            hold: session.stdin,
            until: Instant::now() + run.timeout.unwrap_or(TIME),
            timed_out: false,
        };
        Ok(futures::stream::unfold(Some(running), next).boxed())
    }

    /// Runs a program in the workspace's container and waits for it.
    ///
    /// # Errors
    /// As [`Workspaces::run`].
    pub async fn run_whole(&self, key: &str, run: Run) -> Result<RunOutcome, Error> {
        let mut pieces = self.run(key, run).await?;
        let mut outcome = RunOutcome::default();
        while let Some(piece) = pieces.next().await {
            let (kept, bytes) = match piece? {
                Piece::Out(bytes) => (&mut outcome.stdout, bytes),
                Piece::Err(bytes) => (&mut outcome.stderr, bytes),
                Piece::Ended(ended) => {
                    outcome.ended = ended;
                    break;
                }
            };
            let room = RUN_OUTPUT_MAX.saturating_sub(kept.len()).min(bytes.len());
            kept.extend_from_slice(&bytes[..room]);
            outcome.truncated |= room < bytes.len();
        }
        Ok(outcome)
    }
}

struct Running {
    engine: Arc<dyn engine::Engine>,
    id: String,
    output: BoxStream<'static, Result<engine::Output, engine::Error>>,
    /// Held open while somebody waits; there only where the agent runs the program.
    hold: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    until: Instant,
    timed_out: bool,
}

/// The next piece, and what comes after it.
async fn next(running: Option<Running>) -> Option<(Result<Piece, engine::Error>, Option<Running>)> {
    let mut running = running?;
    loop {
        match tokio::time::timeout_at(running.until, running.output.next()).await {
            Ok(Some(Ok(engine::Output::Out(bytes)))) => return Some((Ok(Piece::Out(bytes)), Some(running))),
            Ok(Some(Ok(engine::Output::Err(bytes)))) => return Some((Ok(Piece::Err(bytes)), Some(running))),
            Ok(Some(Err(error))) => return Some((Err(error), None)),
            Ok(None) if running.timed_out => {
                let ended = Ended { exit_code: None, timed_out: true, killed: true };
                return Some((Ok(Piece::Ended(ended)), None));
            }
            Ok(None) => {
                let code = running.engine.exec_exit(&running.id).await;
                let ended = code.map(|exit_code| Piece::Ended(Ended { exit_code, ..Ended::default() }));
                return Some((ended, None));
            }
            Err(_elapsed) => {
                let hold = if running.timed_out { None } else { running.hold.take() };
                running.timed_out = true;
                let Some(mut hold) = hold else {
                    let ended = Ended { timed_out: true, ..Ended::default() };
                    return Some((Ok(Piece::Ended(ended)), None));
                };
                // A stream that is broken already has let go of the program, too.
                hold.shutdown().await.ok();
                running.until = Instant::now() + ENDING;
            }
        }
    }
}
