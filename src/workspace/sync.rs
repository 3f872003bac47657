//! What people want of workspaces' sync sessions: how they are, a flush, a pause, a choice, a version back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use nexus_agent::inquiry::Answer;
use nexus_agent::inquiry::Kept;
use nexus_agent::inquiry::Question;
use nexus_agent::inquiry::Which;
use nexus_agent::path::RelPath;
use nexus_agent::reconcile::Mode;
use nexus_agent::reconcile::Side;
use nexus_agent::resolve::Strategy;
use nexus_agent::session;
use tokio::sync::watch;

use super::control::Error;
use super::control::Workspaces;
use super::status::View;
use crate::base::clock;
use crate::base::ids::WorkspaceId;
use crate::model::workspace::State;
use crate::sync;
use crate::sync::SessionError;
use crate::sync::Traced;

/// How long a flush may take.
const FLUSH: Duration = Duration::from_secs(60);
/// How long there may be no session between one and the next: other settings begin another.
const BETWEEN: Duration = Duration::from_secs(5);
/// How long a side may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// A session as others see it.
#[derive(Clone)]
pub struct Session {
    /// What is known of it.
    pub status: watch::Receiver<sync::Status>,
    /// How it goes by.
    pub settings: sync::Settings,
    pub(super) wishes: sync::Wishes,
}

impl Session {
    fn is(&self, other: &Self) -> bool {
        self.status.same_channel(&other.status)
    }
}

/// The sessions there are, by workspace.
#[derive(Clone, Default)]
pub(super) struct Sessions(Arc<watch::Sender<BTreeMap<WorkspaceId, Session>>>);

impl Sessions {
    pub(super) fn put(&self, id: &WorkspaceId, handle: &sync::Handle, settings: &sync::Settings) {
        let session = Session {
            status: handle.status.clone(),
            settings: settings.clone(),
            wishes: handle.wishes.clone(),
        };
        self.0.send_modify(|sessions| drop(sessions.insert(id.clone(), session)));
    }

    pub(super) fn remove(&self, id: &WorkspaceId) {
        self.0.send_if_modified(|sessions| sessions.remove(id).is_some());
    }

    fn get(&self, id: &WorkspaceId) -> Option<Session> {
        self.0.borrow().get(id).cloned()
    }
}

/// Other settings, as far as they are others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Which side's changes go where.
    pub mode: Option<Mode>,
    /// Who wins where both have changed.
    pub strategy: Option<Strategy>,
    /// What is not carried besides, as gitignore lines.
    pub excludes: Vec<String>,
}

/// What an undo did.
#[derive(Debug, Default)]
pub struct Undone {
    /// Where, and on which side.
    pub restored: Vec<(Side, RelPath)>,
    /// Where not, on which side, and why.
    pub failed: Vec<(Side, String, String)>,
}

/// What is known of a path.
#[derive(Debug)]
pub struct Trace {
    /// What either side says of it, host first; why not where one cannot be asked.
    pub sides: [Result<Answer, String>; 2],
    /// What is kept of it.
    pub versions: Vec<Kept>,
    /// What the session has decided; why not when it cannot be asked.
    pub session: Result<session::Trace, String>,
    /// When the clock of its records stood at nought.
    pub epoch: Timestamp,
}

impl Workspaces {
    /// The sessions there are, by workspace, as they come and go.
    pub fn sessions(&self) -> watch::Receiver<BTreeMap<WorkspaceId, Session>> {
        self.sessions.0.subscribe()
    }

    /// The session of a workspace, with the workspace.
    ///
    /// # Errors
    /// When there is no such workspace, or it has no session: it is stopped, or its stack carries no agent.
    pub fn session(&self, key: &str) -> Result<(Arc<View>, Session), Error> {
        let view = self.find(key)?;
        match self.sessions.get(&view.id) {
            Some(session) => Ok((view, session)),
            None => {
                let waits = match view.state {
                    State::Running => "its agent is not there yet".to_owned(),
                    state => format!("it is {state}"),
                };
                let why = view.sync.off.clone().unwrap_or(waits);
                Err(Error::NoSession { name: view.name.clone(), why })
            }
        }
    }

    /// Waits until both sides have looked at everything and are equal.
    ///
    /// # Errors
    /// As [`session`](Self::session); also when they are not equal in time, with the reason.
    pub async fn flush(&self, key: &str) -> Result<Arc<View>, Error> {
        let (view, mut session) = self.session(key)?;
        let flushed = async {
            loop {
                match session.wishes.flush().await {
                    Err(SessionError::Ended) => match self.after(&view.id, &session).await {
                        Some(next) => session = next,
                        None => return Err(SessionError::Ended),
                    },
                    done => return done,
                }
            }
        };
        match tokio::time::timeout(FLUSH, flushed).await {
            Ok(done) => done?,
            Err(_elapsed) => {
                let reason = unequal(&session.status.borrow());
                return Err(Error::NotEqual { name: view.name.clone(), reason });
            }
        }
        Ok(view)
    }

    /// The session that goes on for one that has ended: the same, begun again, or the next.
    async fn after(&self, id: &WorkspaceId, ended: &Session) -> Option<Session> {
        let mut sessions = self.sessions();
        let next = sessions.wait_for(|sessions| {
            sessions.get(id).is_some_and(|session| session.wishes.are_heard() || !session.is(ended))
        });
        let next = tokio::time::timeout(BETWEEN, next).await.ok()?.ok()?;
        next.get(id).cloned()
    }

    /// Stops making changes, or goes on.
    ///
    /// # Errors
    /// As [`session`](Self::session).
    pub async fn pause_sync(&self, key: &str, paused: bool) -> Result<Arc<View>, Error> {
        let (view, session) = self.session(key)?;
        session.wishes.pause(paused).await?;
        Ok(view)
    }

    /// Says yes to what is halted or held, as it is now. Says what it was.
    ///
    /// # Errors
    /// As [`session`](Self::session).
    pub async fn accept_sync(&self, key: &str) -> Result<u64, Error> {
        let (_, session) = self.session(key)?;
        let Some(status) = session.status.borrow().session.clone() else { return Ok(0) };
        let mut accepted = 0;
        if let Some(halt) = status.halt {
            accepted += u64::from(session.wishes.accept(halt).await?);
        }
        for hold in &status.holds {
            accepted += u64::from(session.wishes.approve(hold.key).await?);
        }
        Ok(accepted)
    }

    /// What a change of the settings would do, and what they would be then. Nothing changes by it.
    ///
    /// # Errors
    /// As [`session`](Self::session); also when a rule makes no sense.
    pub async fn preview_sync(
        &self,
        key: &str,
        change: Change,
    ) -> Result<(sync::Settings, session::Preview, usize), Error> {
        let (_, session) = self.session(key)?;
        let mut settings = session.settings.clone();
        settings.mode = change.mode.unwrap_or(settings.mode);
        settings.strategy = change.strategy.unwrap_or(settings.strategy);
        settings.excludes.extend(change.excludes);
        let preview = session.wishes.preview(settings.clone()).await?;
        let conflicts = session.status.borrow().session.as_ref().map_or(0, |status| status.conflicts.len());
        Ok((settings, preview, conflicts))
    }

    /// What is kept of a path on both sides, the oldest first; of everything without one. A side that is not there is
    /// left out.
    ///
    /// # Errors
    /// As [`session`](Self::session).
    pub async fn versions(&self, key: &str, path: Option<RelPath>) -> Result<Vec<Kept>, Error> {
        let (_, session) = self.session(key)?;
        let mut kept = Vec::new();
        for side in Side::BOTH {
            let question = Question::Versions { path: path.clone() };
            if let Ok(Answer::Versions(versions)) = ask(&session, side, question).await {
                kept.extend(versions);
            }
        }
        kept.sort_by_key(|kept| kept.id);
        Ok(kept)
    }

    /// Brings back what sync has displaced: on the side named, or else wherever there is something to bring back, the
    /// host first.
    ///
    /// # Errors
    /// As [`session`](Self::session).
    pub async fn undo(
        &self,
        key: &str,
        which: Which,
        side: Option<Side>,
        dry_run: bool,
    ) -> Result<Undone, Error> {
        let (_, session) = self.session(key)?;
        let mut undone = Undone::default();
        for side in side.map_or_else(|| Side::BOTH.to_vec(), |side| vec![side]) {
            let question = Question::Undo { which: which.clone(), batch: 0, dry_run };
            match ask(&session, side, question).await {
                Ok(Answer::Undone { paths, failed }) => {
                    undone.restored.extend(paths.into_iter().map(|path| (side, path)));
                    undone.failed.extend(failed.into_iter().map(|(path, why)| (side, path, why)));
                }
                Ok(_) => {}
                Err(reason) => undone.failed.push((side, String::new(), reason)),
            }
            // What comes back on one side goes to the other by itself.
            if !undone.restored.is_empty() {
                undone.failed.clear();
                break;
            }
        }
        Ok(undone)
    }

    /// What a file holds on one side, the beginning of it.
    ///
    /// # Errors
    /// As [`session`](Self::session).
    pub async fn content(&self, key: &str, side: Side, path: RelPath) -> Result<Option<Vec<u8>>, Error> {
        let (_, session) = self.session(key)?;
        match ask(&session, side, Question::Content { path, version: None }).await {
            Ok(Answer::Content { bytes, .. }) => Ok(Some(bytes)),
            _ => Ok(None),
        }
    }

    /// Everything known of a path.
    ///
    /// # Errors
    /// As [`session`](Self::session).
    pub async fn trace(&self, key: &str, path: RelPath) -> Result<Trace, Error> {
        let (_, session) = self.session(key)?;
        let why = |side| ask(&session, side, Question::Why { path: path.clone() });
        let sides = [why(Side::Alpha).await, why(Side::Beta).await];
        let versions = self.versions(key, Some(path.clone())).await?;
        let traced = session.wishes.trace(path).await;
        let now = clock::now();
        let (session, epoch) = match traced {
            Ok(Traced { trace, now: passed }) => (Ok(trace), now.saturating_sub(passed).unwrap_or(now)),
            Err(error) => (Err(format!("the session cannot be asked: {error}")), now),
        };
        Ok(Trace { sides, versions, session, epoch })
    }
}

pub(super) async fn ask(session: &Session, side: Side, question: Question) -> Result<Answer, String> {
    match tokio::time::timeout(ANSWER, session.wishes.ask(side, question)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(format!("the {side} cannot be asked: {error}")),
        Err(_elapsed) => Err(format!("the {side} did not answer within {}s", ANSWER.as_secs())),
    }
}

/// Why two sides are not equal yet.
fn unequal(status: &sync::Status) -> String {
    if let Some(halted) = &status.halted {
        return halted.clone();
    }
    if let sync::Link::Lost { reason } = &status.link {
        return format!("there is no link to the agent: {reason}");
    }
    let Some(session) = &status.session else { return "it has not begun".to_owned() };
    match session.deferred.first() {
        Some((path, deferred)) => {
            let place = path.as_ref().map_or_else(|| "the folder itself".to_owned(), RelPath::to_string);
            format!("{place}: {}", deferred.reason)
        }
        None => format!("it is {}", session.state().name()),
    }
}
