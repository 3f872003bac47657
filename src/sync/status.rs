//! What is known about one session, as a value on a `watch` channel.

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
    /// Entries in the folder.
    pub files_total: u64,
    /// Entries of them known to be in the container.
    pub files_synced: u64,
    /// Bytes the push under way has to send.
    pub bytes_total: u64,
    /// Bytes of them sent.
    pub bytes_synced: u64,
    /// Files that are not carried: unreadable ones, sockets, links out of the folder, ones the container refused.
    pub skipped: Vec<Skipped>,
    /// How many there are of them.
    pub skipped_total: u64,
    /// Set while nothing is sent for safety's sake (the folder vanished or was emptied), with the reason.
    pub halted: Option<String>,
    /// The last thing that went wrong with the folder itself; cleared by the next success.
    pub error: Option<String>,
}
