//! Structured concurrency: nothing outlives the scope that started it.

use std::future::Future;
use std::time::Duration;

use tokio::runtime;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The least a thread can ask for: setpriority(2).
const NICEST: i32 = 19;

/// Runs what blocks and is in no hurry, on a thread of its own that gives way to everything else on the machine, as do
/// the threads it starts. `None` when it panicked, or when there was no thread to be had.
pub async fn aside<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, answer) = oneshot::channel();
    let runtime = runtime::Handle::current();
    let run = move || {
        let _entered = runtime.enter();
        // Of the calling thread alone, as Linux has it. Where that is forbidden it is no quicker than others.
        let _allowed = rustix::process::setpriority_process(None, NICEST);
        drop(done.send(work()));
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(run).ok()?;
    answer.await.ok()
}

/// A set of named tasks with one cancellation token. Dropping the group aborts what still runs.
pub struct TaskGroup {
    name: &'static str,
    token: CancellationToken,
    tasks: JoinSet<String>,
}

impl TaskGroup {
    /// A group whose token is cancelled when `parent` is.
    pub fn new(name: &'static str, parent: &CancellationToken) -> Self {
        Self { name, token: parent.child_token(), tasks: JoinSet::new() }
    }

    /// The token each task of this group should watch.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Starts a task. Its name is logged when it panics or is late at closing.
    pub fn spawn(&mut self, name: impl Into<String>, task: impl Future<Output = ()> + Send + 'static) {
        let name = name.into();
        // Finished tasks are reaped here, so that a group that lives long does not grow.
        while let Some(ended) = self.tasks.try_join_next() {
            self.report(ended);
        }
        self.tasks.spawn(async move {
            task.await;
            name
        });
    }

    /// How many tasks have not been joined yet.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether no task is left.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Cancels, joins, and after `deadline` aborts what is late.
    pub async fn close(mut self, deadline: Duration) {
        self.token.cancel();
        let joined = tokio::time::timeout(deadline, async {
            while let Some(ended) = self.tasks.join_next().await {
                self.report(ended);
            }
        })
        .await;
        if joined.is_err() {
            tracing::warn!(
                group = self.name,
                late = self.tasks.len(),
                "tasks did not end in time and were aborted"
            );
            self.tasks.abort_all();
        }
    }

    fn report(&self, ended: Result<String, tokio::task::JoinError>) {
        if let Err(error) = ended
            && error.is_panic()
        {
            tracing::error!(group = self.name, error = %error, "a task panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_runs_aside_gives_way_and_nobody_else_does() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        let seen = aside("test", move || (nice(), std::thread::spawn(nice).join().unwrap())).await;
        assert_eq!(seen, Some((NICEST, NICEST)));
        assert_eq!(nice(), before);
        assert_eq!(aside("test", || panic!("as it may")).await, None::<()>);
    }

    #[tokio::test]
    async fn closing_waits_for_tasks_that_watch_the_token() {
        let mut group = TaskGroup::new("test", &CancellationToken::new());
        let token = group.token();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        group.spawn("one", async move {
            token.cancelled().await;
            sender.send(()).expect("the test still listens");
        });
        group.close(Duration::from_secs(5)).await;
        receiver.await.expect("the task ran to its end");
    }
}
