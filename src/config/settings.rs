//! The settings of a node, every one of them set. Pure.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use nexus_agent::look::Symlinks;
use nexus_agent::reconcile::Mode;
use nexus_agent::resolve::Strategy;
use nexus_agent::watch;

use super::problem::Invalid;
use super::stack::Stack;
use super::value::Table;
use super::value::Typed;

/// Whether official images are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registry {
    /// When a registry answers.
    Auto,
    /// Not at all.
    Never,
}

/// What holds for this node. The meaning of each is in config/defaults.yaml.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "each field is documented where its default is")]
pub struct Settings {
    pub home: PathBuf,
    pub workspaces_dir: PathBuf,
    pub workspaces_sample: bool,
    pub web_listen: SocketAddr,
    pub web_hosts: Vec<String>,
    pub control_listen: SocketAddr,
    pub control_hosts: Vec<String>,
    pub engine_socket: String,
    pub engine_timeout: Duration,
    pub engine_ca_bundle: Option<PathBuf>,
    pub project_settle: Duration,
    pub project_rescan: Duration,
    pub limits_cpus: f64,
    pub limits_memory_bytes: u64,
    pub limits_pids: u64,
    pub sync_mode: Mode,
    pub sync_strategy: Strategy,
    pub sync_exclude: Vec<String>,
    pub sync_watch_mode: watch::Mode,
    pub sync_watch_interval: Duration,
    pub sync_scan_full: bool,
    pub sync_entries_max: u64,
    pub sync_file_size_max: u64,
    pub sync_symlinks: Symlinks,
    pub sync_versions_keep: Duration,
    pub sync_versions_size: u64,
    pub sync_hold_deletions: u64,
    pub network_range: String,
    pub backup_destinations: Table,
    pub backup_schedule: String,
    pub backup_time_zone: String,
    pub backup_keep: String,
    pub backup_after_quiet: String,
    pub backup_drill: String,
    pub backup_git: bool,
    pub backup_exclude: Vec<String>,
    pub agent_path: Option<PathBuf>,
    pub images_dir: Option<PathBuf>,
    pub images_registry: Registry,
    pub log_level: String,
    pub log_json: bool,
}

impl Settings {
    /// Reads all settings of a stack that begins with the defaults, or says everything that is wrong.
    pub fn resolve(stack: &Stack) -> Result<Self, Invalid> {
        let mut values = Values(stack.resolve().map_err(|problems| Invalid { problems })?);
        Ok(Self {
            home: values.path("home"),
            workspaces_dir: values.path("workspaces.dir"),
            workspaces_sample: values.text("workspaces.sample") == "yes",
            web_listen: values.address("web.listen"),
            web_hosts: values.list("web.hosts"),
            control_listen: values.address("control.listen"),
            control_hosts: values.list("control.hosts"),
            engine_socket: values.text("engine.socket"),
            engine_timeout: values.duration("engine.timeout"),
            engine_ca_bundle: values.optional_path("engine.ca_bundle"),
            project_settle: values.duration("project.settle"),
            project_rescan: values.duration("project.rescan"),
            limits_cpus: values.decimal("limits.cpus"),
            limits_memory_bytes: values.number("limits.memory"),
            limits_pids: values.number("limits.pids"),
            sync_mode: values.named("sync.mode", &Mode::ALL, Mode::name),
            sync_strategy: values.named("sync.strategy", &Strategy::ALL, Strategy::name),
            sync_exclude: values.list("sync.exclude"),
            sync_watch_mode: values.named("sync.watch.mode", &watch::Mode::ALL, watch::Mode::name),
            sync_watch_interval: values.duration("sync.watch.interval"),
            sync_scan_full: values.text("sync.scan") == "full",
            sync_entries_max: values.number("sync.entries_max"),
            sync_file_size_max: values.number("sync.file_size_max"),
            sync_symlinks: values.named("sync.symlinks", &Symlinks::ALL, Symlinks::name),
            sync_versions_keep: values.duration("sync.versions.keep"),
            sync_versions_size: values.number("sync.versions.size"),
            sync_hold_deletions: values.number("sync.hold.deletions"),
            network_range: values.text("network.range"),
            backup_destinations: values.table("backup.destinations"),
            backup_schedule: values.text("backup.schedule"),
            backup_time_zone: values.text("backup.time_zone"),
            backup_keep: values.text("backup.keep"),
            backup_after_quiet: values.text("backup.after_quiet"),
            backup_drill: values.text("backup.drill"),
            backup_git: values.text("backup.git") == "yes",
            backup_exclude: values.list("backup.exclude"),
            agent_path: values.optional_path("agent.path"),
            images_dir: values.optional_path("images.dir"),
            images_registry: match values.text("images.registry").as_str() {
                "never" => Registry::Never,
                _ => Registry::Auto,
            },
            log_level: values.text("log.level"),
            log_json: values.text("log.format") == "json",
        })
    }
}

/// Values by key. A key without a value, or of another type than asked for, is a mistake in this file or in the
/// defaults, which a test finds.
struct Values(BTreeMap<&'static str, Typed>);

macro_rules! take {
    ($($name:ident: $variant:ident -> $type:ty),* $(,)?) => {
        impl Values {
            $(fn $name(&mut self, key: &str) -> $type {
                match self.0.remove(key) {
                    Some(Typed::$variant(value)) => value,
                    other => unreachable!("the default of `{key}` is of its type, not {other:?}"),
                }
            })*

            /// One of a few values by its name.
            fn named<T: Copy>(&mut self, key: &str, all: &[T], name: impl Fn(T) -> &'static str) -> T {
                let text = self.text(key);
                let named = all.iter().copied().find(|value| name(*value) == text);
                named.unwrap_or_else(|| unreachable!("`{key}` takes the names of its values, not `{text}`"))
            }

            fn optional_path(&mut self, key: &str) -> Option<PathBuf> {
                match self.0.get(key) {
                    Some(Typed::Nothing) => None,
                    _ => Some(self.path(key)),
                }
            }
        }
    };
}

take! {
    text: Text -> String,
    path: Path -> PathBuf,
    address: Address -> SocketAddr,
    duration: Duration -> Duration,
    number: Number -> u64,
    decimal: Decimal -> f64,
    list: List -> Vec<String>,
    table: Table -> Table,
}
