//! How one session goes by, every part of it set. Pure.

use nexus_agent::keeper;
use nexus_agent::look;
use nexus_agent::path::RelPath;
use nexus_agent::reconcile::Mode;
use nexus_agent::resolve::Strategy;
use nexus_agent::rules;
use nexus_agent::safety::Limits;
use nexus_agent::session;
use nexus_agent::versions;
use nexus_agent::watch;

/// Carried whatever a `.gitignore` says: a program without its environment is another program. A project's own excludes
/// come after, and can take it back.
const ENVIRONMENT_FILES: [&str; 2] = ["!.env", "!.env.*"];

/// Files and directories a folder may have, unless told otherwise.
pub const ENTRIES_MAX: u64 = 300_000;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Which side's changes go where.
    pub mode: Mode,
    /// Who wins where both have changed.
    pub strategy: Strategy,
    /// What this project does not carry, as gitignore lines.
    pub excludes: Vec<String>,
    /// Build output that is carried although rules leave it out: what the project is served from.
    pub carried: Option<RelPath>,
    /// What goes with a directory although it is not carried, besides what always does.
    pub disposable: Vec<String>,
    /// Which symbolic links are carried.
    pub symlinks: look::Symlinks,
    /// Files and directories the folder may have.
    pub entries_max: u64,
    /// The longest file that is carried, in bytes: so much room the staging area may need for it.
    pub file_size_max: u64,
    /// How changes are noticed.
    pub watch: watch::Settings,
    /// How much is kept of what is displaced.
    pub versions: versions::Limits,
    /// What is too much to go without a yes.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        let look = look::Settings::default();
        Self {
            mode: Mode::TwoWaySafe,
            strategy: Strategy::HostWins,
            excludes: Vec::new(),
            carried: None,
            disposable: Vec::new(),
            symlinks: look.symlinks,
            entries_max: ENTRIES_MAX,
            file_size_max: look.file_size_max,
            watch: watch::Settings::default(),
            versions: versions::Limits::default(),
            limits: Limits::default(),
        }
    }
}

impl Settings {
    /// What the session itself goes by.
    pub(super) fn session(&self) -> session::Settings {
        session::Settings { mode: self.mode, strategy: self.strategy, limits: self.limits }
    }

    /// How either side is kept.
    pub(super) fn keeper(&self) -> keeper::Settings {
        let excludes = ENVIRONMENT_FILES.iter().map(ToString::to_string).chain(self.excludes.clone());
        let mut rules = rules::Settings { excludes: excludes.collect(), ..rules::Settings::default() };
        rules.disposable.extend(self.disposable.iter().cloned());
        if let Some(carried) = &self.carried {
            rules = rules.carrying(carried);
        }
        keeper::Settings {
            rules,
            look: look::Settings {
                symlinks: self.symlinks,
                entries_max: self.entries_max,
                file_size_max: self.file_size_max,
                ..look::Settings::default()
            },
            watch: self.watch,
            versions: self.versions,
        }
    }
}
