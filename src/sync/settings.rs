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

/// Carried whatever a `.gitignore` says: a program without its environment is another program. The excludes of node and
/// project come after, and can take it back.
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
    /// What no project of this node carries, as gitignore lines.
    pub general: Vec<String>,
    /// Build output that is carried although rules leave it out: what the project is served from.
    pub carried: Option<RelPath>,
    /// What this project does not carry, as gitignore lines: they come last, and so can take back what `general` and
    /// `carried` say.
    pub excludes: Vec<String>,
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
            general: Vec::new(),
            carried: None,
            excludes: Vec::new(),
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
        let excludes = ENVIRONMENT_FILES.iter().map(ToString::to_string).chain(self.general.iter().cloned());
        let mut rules = rules::Settings { excludes: excludes.collect(), ..rules::Settings::default() };
        if let Some(carried) = &self.carried {
            rules = rules.carrying(carried);
        }
        rules.excludes.extend(self.excludes.iter().cloned());
        rules.disposable.extend(self.disposable.iter().cloned());
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

#[cfg(test)]
mod tests {
    use nexus_agent::rules::Rules;
    use nexus_agent::rules::Verdict;

    use super::*;

    #[test]
    fn the_project_s_own_excludes_have_the_last_word() {
        let lines = |lines: &[&str]| lines.iter().map(ToString::to_string).collect();
        let settings = Settings {
            general: lines(&["dist", ".env.local", "secrets/"]),
            carried: Some(RelPath::parse(b"dist").unwrap()),
            excludes: lines(&["dist/maps/", "!secrets/"]),
            ..Settings::default()
        };
        let mut rules = Rules::new(settings.keeper().rules).unwrap();
        rules.set_gitignore(None, Some(b".env\n"));
        let carried =
            |path: &str| rules.judge(&RelPath::parse(path.as_bytes()).unwrap(), true) == Verdict::Carry;
        for path in ["dist", "dist/deep", ".env", "secrets"] {
            assert!(carried(path), "{path}");
        }
        for path in [".env.local", "dist/maps", "build"] {
            assert!(!carried(path), "{path}");
        }
    }
}
