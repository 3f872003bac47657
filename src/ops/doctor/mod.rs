//! Looks at what the node needs and says what is wrong, why it matters and what to do. Changes nothing.
//!
//! The same checks run inside a node (asked over the API) and without one (`nexus doctor --offline`). Each has a time-out
//! of its own, so that one thing that hangs does not hide the others.

mod engine;
mod host;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::base::home::Home;
use crate::base::ids::NodeId;
use crate::engine::About;
use crate::engine::Engine;

/// How long one check may take.
const CHECK_TIME: Duration = Duration::from_secs(8);

/// What is looked at.
#[derive(Clone)]
pub struct Subject {
    /// The engine.
    pub engine: Arc<dyn Engine>,
    /// The node's home.
    pub home: Home,
    /// The watched directory.
    pub directory: PathBuf,
    /// The node's doors: name and address.
    pub listeners: Vec<(String, SocketAddr)>,
    /// The agent binary that is put into containers.
    pub agent: PathBuf,
    /// The directory of the runtime images' Dockerfiles.
    pub images: PathBuf,
    /// This node's id, when it is known.
    pub node: Option<NodeId>,
    /// Whether the node runs in this process: its ports are its own then.
    pub serving: bool,
}

/// How a check ended; worse is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// Could not be looked at, because of something else.
    Skipped,
    /// Works, with a drawback.
    Warning,
    /// Does not work.
    Failed,
}

impl Outcome {
    /// The word used in JSON and on the screen.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What was found.
    pub found: String,
    /// Why it matters, when it is not ok.
    pub why: Option<String>,
    /// What to do, when it is not ok.
    pub next: Option<String>,
}

impl Check {
    fn ok(name: &str, found: impl Into<String>) -> Self {
        Self { name: name.to_owned(), outcome: Outcome::Ok, found: found.into(), why: None, next: None }
    }

    fn skipped(name: &str, found: impl Into<String>) -> Self {
        Self { outcome: Outcome::Skipped, ..Self::ok(name, found) }
    }

    fn warning(name: &str, found: impl Into<String>, why: &str, next: impl Into<String>) -> Self {
        let (why, next) = (Some(why.to_owned()), Some(next.into()));
        Self { outcome: Outcome::Warning, why, next, ..Self::ok(name, found) }
    }

    fn failed(name: &str, found: impl Into<String>, why: &str, next: impl Into<String>) -> Self {
        Self { outcome: Outcome::Failed, ..Self::warning(name, found, why, next) }
    }
}

/// Looks at everything, in the order a person would.
pub async fn examine(subject: &Subject) -> Vec<Check> {
    let mut checks = timed("engine", engine::engine(subject)).await;
    if checks.iter().all(|check| check.outcome == Outcome::Ok || check.name != "engine") {
        checks.extend(timed("images", engine::images(subject)).await);
        checks.extend(timed("other nodes", engine::other_nodes(subject)).await);
    } else {
        checks.push(Check::skipped("images", "not looked for: the engine does not answer"));
        checks.push(Check::skipped("other nodes", "not looked for: the engine does not answer"));
    }
    checks.extend(timed("home", host::home(subject)).await);
    checks.extend(timed("directory", host::directory(subject)).await);
    checks.extend(timed("agent", host::agent(subject)).await);
    checks.extend(timed("inotify", host::inotify()).await);
    checks.extend(timed("ports", host::ports(subject)).await);
    checks
}

/// The cheap part of it, as often as one likes: the engine when it answers, and what was found.
pub(super) async fn glance(subject: &Subject) -> (Option<About>, Vec<Check>) {
    let (about, space, directory) = tokio::join!(
        tokio::time::timeout(CHECK_TIME, engine::about(subject)),
        timed("space", host::space(subject)),
        timed("directory", host::directory(subject)),
    );
    let (about, failed) = match about {
        Ok(Ok(about)) => (Some(about), None),
        Ok(Err(check)) => (None, Some(check)),
        Err(_elapsed) => (None, Some(silent(CHECK_TIME))),
    };
    (about, failed.into_iter().chain(space).chain(directory).collect())
}

/// An engine that has been asked and says nothing.
pub(super) fn silent(waited: Duration) -> Check {
    engine::silent(waited)
}

async fn timed(name: &str, check: impl Future<Output = Vec<Check>>) -> Vec<Check> {
    tokio::time::timeout(CHECK_TIME, check).await.unwrap_or_else(|_elapsed| {
        let found = format!("no answer within {}s", CHECK_TIME.as_secs());
        vec![Check::failed(name, found, "what hangs here hangs the node too", "look at the system's log")]
    })
}

#[cfg(test)]
mod tests;
