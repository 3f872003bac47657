//! Every room's settings, composed from the node's configuration.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use nexus_agent::safety;
use nexus_agent::versions;
use nexus_agent::watch;

use crate::api;
use crate::backup;
use crate::backup::destination;
use crate::backup::destination::Description;
use crate::backup::objects::Patience;
use crate::backup::schedule::Schedule;
use crate::backup::walk::Selection;
use crate::base::fault;
use crate::base::sealed::Sealed;
use crate::compose;
use crate::compose::Subnet;
use crate::config;
use crate::config::Registry;
use crate::engine::mounts::Mapping;
use crate::model::project::Limits;
use crate::router;
use crate::sync;
use crate::workspace;

use super::Error;

/// Where the appliance's image keeps its own files.
const SHARE: &str = "/usr/share/nexus";

/// Less than this is no pause between two edits but a breath.
const QUIET_MIN: Duration = Duration::from_secs(60);

/// The agent binary: as configured, else beside this program, else where the image has it.
pub fn agent_path(config: &config::Settings) -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|program| Some(program.parent()?.join("nexus-agent")));
    let candidates = [config.agent_path.clone(), beside, Some(Path::new(SHARE).join("agent/nexus-agent"))];
    let mut candidates = candidates.into_iter().flatten().peekable();
    let first = candidates.peek().cloned().unwrap_or_default();
    if config.agent_path.is_some() { first } else { candidates.find(|path| path.exists()).unwrap_or(first) }
}

/// The runtime images' Dockerfiles: as configured, else where the image has them.
pub fn images_path(config: &config::Settings) -> PathBuf {
    config.images_dir.clone().unwrap_or_else(|| Path::new(SHARE).join("images"))
}

/// What a workspace may use, from the configuration.
fn limits(config: &config::Settings) -> Limits {
    Limits {
        cpus: Some(config.limits_cpus),
        memory_bytes: Some(config.limits_memory_bytes),
        pids: Some(u32::try_from(config.limits_pids).unwrap_or(u32::MAX)),
    }
}

/// How folders and containers' copies are kept equal, from the configuration.
fn sync(config: &config::Settings) -> sync::Settings {
    sync::Settings {
        mode: config.sync_mode,
        strategy: config.sync_strategy,
        general: config.sync_exclude.clone(),
        symlinks: config.sync_symlinks,
        entries_max: config.sync_entries_max,
        file_size_max: config.sync_file_size_max,
        watch: watch::Settings {
            mode: config.sync_watch_mode,
            interval: config.sync_watch_interval,
            full: config.sync_scan_full,
        },
        versions: versions::Limits { age: config.sync_versions_keep, bytes: config.sync_versions_size },
        limits: safety::Limits { deletions: config.sync_hold_deletions, ..safety::Limits::default() },
        ..sync::Settings::default()
    }
}

/// The workspace room's settings.
///
/// # Errors
/// When `network.range` is none.
pub fn workspace(config: &config::Settings, mapping: &Mapping) -> Result<workspace::Settings, Error> {
    // An empty value is how a compose file says "none".
    let bundle = config.engine_ca_bundle.clone().filter(|path| path.is_file());
    Ok(workspace::Settings {
        directory: config.workspaces_dir.clone(),
        settle: config.project_settle,
        rescan: config.project_rescan,
        limits: limits(config),
        sync: sync(config),
        ca_bundle: bundle
            .as_deref()
            .and_then(|path| mapping.on_host(path))
            .map(|path| path.display().to_string()),
        build_ca_bundle: bundle,
        mapping: mapping.clone(),
        network_range: network_range(config)?,
        registry: config.images_registry == Registry::Auto,
        images: images_path(config),
        agent: agent_path(config),
    })
}

/// The range workspaces' networks are taken from.
///
/// # Errors
/// When it is none.
pub fn network_range(config: &config::Settings) -> Result<Subnet, Error> {
    Subnet::parse(&config.network_range).ok_or_else(|| Error::Range { text: config.network_range.clone() })
}

/// The router's settings.
pub fn router(config: &config::Settings) -> router::Settings {
    router::Settings {
        base_hosts: config.web_hosts.clone(),
        control_port: config.control_listen.port(),
        drop_into: config.workspaces_dir.display().to_string(),
    }
}

/// The backups' settings. Credentials and passwords are taken from their files and from the environment.
///
/// # Errors
/// All that is wrong with a destination.
pub fn backup(
    config: &config::Settings,
    environment: &[(String, String)],
) -> Result<backup::Settings, Error> {
    let mut destinations = Vec::new();
    let mut problems = Vec::new();
    let mut passwords = BTreeMap::new();
    for (name, words) in &config.backup_destinations {
        let credentials = match words.get("credentials") {
            Some(path) => credentials_of_file(name, path).map_err(|wrong| problems.push(wrong)).ok(),
            None => destination::credentials_of_environment(name, environment),
        };
        let description = Description {
            name,
            words,
            home: &config.home,
            schedule: &config.backup_schedule,
            zone: &config.backup_time_zone,
            keep: &config.backup_keep,
            credentials,
        };
        match description.read() {
            Ok(read) => destinations.push(read),
            Err(wrong) => problems.extend(wrong),
        }
        let variable = format!("NEXUS_BACKUP_{}_PASSWORD", name.replace('-', "_").to_uppercase());
        if let Some((_, password)) =
            environment.iter().find(|(set, value)| *set == variable && !value.is_empty())
        {
            passwords.insert(name.clone(), Sealed::new(password.clone()));
        }
    }
    let mut problems: Vec<String> = problems.iter().map(|wrong| fault::chain(wrong).to_string()).collect();
    let drill = Schedule::parse(&config.backup_drill, &config.backup_time_zone).unwrap_or_else(|wrong| {
        problems.push(format!("`backup.drill` cannot be used: {}", fault::chain(&wrong)));
        Schedule::Never
    });
    let quiet = quiet(&config.backup_after_quiet).unwrap_or_else(|wrong| {
        problems.push(wrong);
        None
    });
    if !problems.is_empty() {
        return Err(Error::Backup { problems });
    }
    let selection =
        Selection { git: config.backup_git, exclude: config.backup_exclude.clone(), measure: false };
    Ok(backup::Settings {
        directory: config.workspaces_dir.clone(),
        destinations,
        selection,
        quiet,
        drill,
        patience: Patience::default(),
        passwords,
    })
}

/// How long what was edited is left alone before it is backed up; none for `never`.
fn quiet(text: &str) -> Result<Option<Duration>, String> {
    if text.trim() == "never" {
        return Ok(None);
    }
    match config::duration(text.trim()) {
        Ok(quiet) if quiet >= QUIET_MIN => Ok(Some(quiet)),
        _ => Err(format!(
            "`backup.after_quiet` is not a time of at least a minute: `{text}`; write `10m`, or `never`"
        )),
    }
}

fn credentials_of_file(name: &str, path: &str) -> Result<destination::Credentials, destination::Wrong> {
    let (name, path) = (name.to_owned(), PathBuf::from(path));
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            destination::parse_credentials(&text).ok_or(destination::Wrong::Credentials { name, path })
        }
        Err(error) => Err(destination::Wrong::CredentialsFile { name, path, reason: error.to_string() }),
    }
}

/// The control port's settings.
///
/// # Errors
/// When `network.range` is none.
pub fn api(config: &config::Settings) -> Result<api::Settings, Error> {
    let hosts = config.control_hosts.iter().cloned().chain(api::listen::machine_names()).collect();
    Ok(api::Settings {
        names: api::origin::Names { hosts },
        refuse: compose::subnet_ranges(network_range(config)?),
        control_url: format!("http://localhost:{}", config.control_listen.port()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_backups_is_said_at_once() {
        let mut config = config::Settings::resolve(&config::defaults()).unwrap();
        config.backup_schedule = "hourly".to_owned();
        config.backup_keep = "last=0".to_owned();
        config.backup_drill = "now and then".to_owned();
        config.backup_after_quiet = "5".to_owned();
        let words = |bandwidth: &str| {
            let words = [("url", "x"), ("bandwidth", bandwidth)];
            words.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
        };
        config.backup_destinations = [("a".to_owned(), words("0B"))].into();
        let error = backup(&config, &[]).unwrap_err();
        let Error::Backup { problems } = error else { panic!("{error}") };
        let expected = [
            "is no schedule",
            "would keep nothing",
            "bytes a second",
            "`backup.drill`",
            "`backup.after_quiet`",
        ];
        assert_eq!(problems.len(), expected.len(), "{problems:#?}");
        for (problem, word) in problems.iter().zip(expected) {
            assert!(problem.contains(word), "{word}: {problem}");
        }
        let defaults = config::Settings::resolve(&config::defaults()).unwrap();
        let settings = backup(&defaults, &[]).unwrap();
        assert_eq!(settings.quiet, None);
        assert!(matches!(settings.drill, Schedule::Cron { .. }));
        assert_eq!(quiet("10m"), Ok(Some(Duration::from_secs(600))));
        assert!(quiet("5s").is_err());
    }

    /// Otherwise a session that was never told anything would go by something else than config/defaults.yaml says.
    #[test]
    fn the_defaults_of_sync_are_written_down_as_they_are() {
        let defaults = config::Settings::resolve(&config::defaults()).unwrap();
        assert_eq!(sync(&defaults), sync::Settings::default());
    }
}
