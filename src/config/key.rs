//! Every key there is and what it takes.

use super::value::Kind;

/// A setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Its dotted name: `web.listen`.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// A shorter variable for it, besides `NEXUS_` and its name.
    pub variable: Option<&'static str>,
}

const fn key(name: &'static str, kind: Kind) -> Key {
    Key { name, kind, variable: None }
}

const fn called(name: &'static str, kind: Kind, variable: &'static str) -> Key {
    Key { name, kind, variable: Some(variable) }
}

/// What can be said of one place backups go to.
const DESTINATION: [&str; 8] =
    ["url", "endpoint", "region", "credentials", "form", "schedule", "keep", "bandwidth"];

/// All of them, in the order of config/defaults.yaml.
pub const KEYS: [Key; 41] = [
    key("home", Kind::Path),
    key("workspaces.dir", Kind::Path),
    key("workspaces.sample", Kind::Choice(&["yes", "no"])),
    key("web.listen", Kind::Address),
    key("web.hosts", Kind::List),
    key("control.listen", Kind::Address),
    key("control.hosts", Kind::List),
    key("engine.socket", Kind::Socket),
    key("engine.timeout", Kind::Duration),
    called("engine.ca_bundle", Kind::OptionalPath, "NEXUS_CA_BUNDLE"),
    key("project.settle", Kind::Duration),
    key("project.rescan", Kind::Duration),
    key("limits.cpus", Kind::Decimal),
    key("limits.memory", Kind::Bytes),
    key("limits.pids", Kind::Count),
    key("sync.mode", Kind::Choice(&["two-way-safe", "two-way-resolved", "one-way-safe", "one-way-replica"])),
    key("sync.strategy", Kind::Choice(&["host-wins", "container-wins", "newer-wins", "manual"])),
    key("sync.exclude", Kind::Rules),
    key("sync.watch.mode", Kind::Choice(&["auto", "force-poll", "no-watch"])),
    key("sync.watch.interval", Kind::Duration),
    key("sync.scan", Kind::Choice(&["accelerated", "full"])),
    key("sync.entries_max", Kind::Count),
    key("sync.file_size_max", Kind::Bytes),
    key("sync.symlinks", Kind::Choice(&["portable", "ignore", "posix-raw"])),
    key("sync.versions.keep", Kind::Duration),
    key("sync.versions.size", Kind::Bytes),
    key("sync.hold.deletions", Kind::Count),
    key("network.range", Kind::Range),
    key("backup.destinations", Kind::Table(&DESTINATION)),
    key("backup.schedule", Kind::Text),
    key("backup.time_zone", Kind::Text),
    key("backup.keep", Kind::Text),
    key("backup.after_quiet", Kind::Text),
    key("backup.drill", Kind::Text),
    key("backup.git", Kind::Choice(&["yes", "no"])),
    key("backup.exclude", Kind::List),
    called("agent.path", Kind::OptionalPath, "NEXUS_AGENT"),
    called("images.dir", Kind::OptionalPath, "NEXUS_IMAGES"),
    key("images.registry", Kind::Choice(&["auto", "never"])),
    called("log.level", Kind::Text, "NEXUS_LOG"),
    key("log.format", Kind::Choice(&["text", "json"])),
];
