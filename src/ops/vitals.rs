//! Keeps known how the node is: whether its engine answers, whether its disk has room, whether its directory is there.
//!
//! Task: [`Task::run`] looks every half minute, and when asked; it publishes a [`Look`] on a watch channel. So whoever asks
//! is answered at once, whatever hangs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::doctor;
use super::doctor::Check;
use super::doctor::Outcome;
use super::doctor::Subject;
use crate::engine::About;

/// Without being asked it is looked this often.
const REST: Duration = Duration::from_secs(30);
/// How long whoever asks waits for a look of now. A busy engine answers within some tens of milliseconds.
const PATIENCE: Duration = Duration::from_millis(400);

/// What was seen last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// Counts the looks; 0 before the first.
    number: u64,
    /// The engine, when it answered.
    pub engine: Option<About>,
    /// What does not work.
    pub failed: Vec<Check>,
}

/// The handle. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Vitals {
    seen: watch::Receiver<Look>,
    asked: Arc<Notify>,
}

/// Does the looking.
pub struct Task {
    subject: Subject,
    seen: watch::Sender<Look>,
    asked: Arc<Notify>,
}

/// A handle and the task behind it; nothing is looked at before the task runs.
pub fn prepare(subject: Subject) -> (Vitals, Task) {
    let (sender, seen) = watch::channel(Look::default());
    let asked = Arc::new(Notify::new());
    (Vitals { seen, asked: Arc::clone(&asked) }, Task { subject, seen: sender, asked })
}

impl Vitals {
    /// How the node is. An engine that does not answer at once is said to be silent, with what else was seen last.
    pub async fn now(&self) -> Look {
        let mut seen = self.seen.clone();
        let before = seen.borrow_and_update().number;
        self.asked.notify_one();
        let fresh = tokio::time::timeout(PATIENCE, seen.wait_for(|look| look.number > before)).await;
        if let Ok(Ok(look)) = fresh {
            return look.clone();
        }
        let mut look = self.seen.borrow().clone();
        if look.engine.take().is_some() || look.number == 0 {
            look.failed.push(doctor::silent(PATIENCE));
        }
        look
    }
}

impl Task {
    /// Looks until the token is cancelled.
    pub async fn run(self, token: CancellationToken) {
        loop {
            // Whoever asked before this look is answered by it.
            std::pin::pin!(self.asked.notified()).as_mut().enable();
            let looked = tokio::select! {
                // Cancel-safe: a look changes nothing.
                () = token.cancelled() => return,
                looked = doctor::glance(&self.subject) => looked,
            };
            let (engine, mut failed) = looked;
            failed.retain(|check| check.outcome == Outcome::Failed);
            self.seen.send_modify(|seen| *seen = Look { number: seen.number + 1, engine, failed });
            tokio::select! {
                // Cancel-safe: each arm only waits.
                () = token.cancelled() => return,
                () = tokio::time::sleep(REST) => {}
                () = self.asked.notified() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::home::Home;
    use crate::base::tasks::TaskGroup;
    use crate::engine::memory::Fault;
    use crate::engine::memory::Memory;
    use crate::engine::memory::When;

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_is_answered_at_once_although_the_engine_hangs() {
        let temp = tempfile::tempdir().unwrap();
        let engine = Arc::new(Memory::new(&[]));
        let (vitals, task) = prepare(Subject {
            engine: Arc::<Memory>::clone(&engine),
            home: Home::new(temp.path()),
            directory: temp.path().join("gone"),
            listeners: vec![],
            agent: temp.path().join("agent"),
            images: temp.path().join("images"),
            node: None,
            serving: true,
        });
        assert!(vitals.now().await.failed[0].found.contains("has not answered within 400 ms"));
        let mut tasks = TaskGroup::new("test", &CancellationToken::new());
        tasks.spawn("vitals", task.run(tasks.token()));
        let well = vitals.now().await;
        assert!(well.engine.is_some(), "{well:?}");
        assert!(well.failed.iter().any(|check| check.name == "directory"), "{well:?}");

        engine.fault(When::Next("about"), Fault::Hang);
        let began = tokio::time::Instant::now();
        let hanging = vitals.now().await;
        assert!(began.elapsed() < Duration::from_millis(500));
        assert_eq!(hanging.engine, None);
        assert!(hanging.failed.iter().any(|check| check.name == "engine"), "{hanging:?}");
        assert!(
            hanging.failed.iter().any(|check| check.name == "directory"),
            "what is known is kept: {hanging:?}"
        );
        tasks.close(Duration::from_secs(1)).await;
    }
}
