//! What is known about one session, as a value on a `watch` channel.

use nexus_agent::path::RelPath;
use nexus_agent::reconcile::Side;
use nexus_agent::session;
use nexus_agent::session::Presence;

pub use nexus_agent::report::Ended;
pub use nexus_agent::report::Failure;
pub use nexus_agent::report::Listener;
pub use nexus_agent::report::Phase;
pub use nexus_agent::report::Report;
pub use nexus_agent::report::Step;

/// The connection to the agent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Link {
    /// Not connected yet.
    #[default]
    Connecting,
    /// Connected.
    Up,
    /// Was connected or should be, and is not; tried again within a second.
    Lost {
        /// Why, with its causes.
        reason: String,
    },
}

/// A file that is not carried, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Relative to the folder, printable.
    pub path: String,
    /// Lower case, no full stop.
    pub why: String,
}

/// How many skipped files a status lists; [`Status::skipped_total`] counts them all.
pub const SKIPPED_LISTED: usize = 100;

/// Everything known about one session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// The connection.
    pub link: Link,
    /// What the agent's init last said; kept while the link is lost.
    pub report: Report,
    /// Whether everything the folder held at some moment of this session has arrived.
    pub synced: bool,
    /// The session itself; `None` before it has begun.
    pub session: Option<session::Status>,
    /// What a person should know of how changes are noticed, and what to do about it.
    pub warnings: Vec<String>,
    /// Files and links in the folder that belong in the container.
    pub files_total: u64,
    /// Those of them known to be there.
    pub files_synced: u64,
    /// Files that are not carried: unreadable ones, sockets, links out of the folder, ones a side refused.
    pub skipped: Vec<Skipped>,
    /// How many there are of them.
    pub skipped_total: u64,
    /// Set while nothing is sent for safety's sake (the folder vanished or was emptied), with the reason.
    pub halted: Option<String>,
    /// The last thing that went wrong with the session itself; cleared by the next success.
    pub error: Option<String>,
}

impl Status {
    /// Takes what the session says of itself. Says whether that is news.
    pub(super) fn say(&mut self, session: session::Status, warnings: Vec<String>) -> bool {
        if self.session.as_ref() == Some(&session) && self.warnings == warnings {
            return false;
        }
        let host = session.side(Side::Alpha);
        self.files_total = host.files;
        self.files_synced = session.agreed_files.min(self.files_total);
        let problems = Side::BOTH.into_iter().flat_map(|side| {
            let told = session.side(side).problems.iter();
            told.map(move |(path, why)| (path.as_ref(), format!("{side}: {why}")))
        });
        let deferred =
            session.deferred.iter().map(|(path, deferred)| (path.as_ref(), deferred.reason.clone()));
        let skipped: Vec<_> = problems.chain(deferred).collect();
        self.skipped_total = skipped.len() as u64;
        let place =
            |path: Option<&RelPath>| path.map_or_else(|| "the folder itself".to_owned(), RelPath::to_string);
        self.skipped = skipped
            .into_iter()
            .take(SKIPPED_LISTED)
            .map(|(path, why)| Skipped { path: place(path), why })
            .collect();
        self.halted = halted(&session);
        if session.state() == session::State::Equal {
            self.error = None;
        }
        (self.session, self.warnings) = (Some(session), warnings);
        true
    }
}

/// Why nothing is carried at all.
fn halted(session: &session::Status) -> Option<String> {
    if let Some(halt) = session.halt {
        return Some(format!("{halt}; nothing is removed"));
    }
    // A container that cannot be looked at is a link's matter, a folder is its owner's.
    match &session.side(Side::Alpha).presence {
        Presence::Unavailable { reason } => Some(format!("{reason}; nothing is removed")),
        _ => None,
    }
}
