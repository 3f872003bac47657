//! Containers as the engine lists them.
//!
//! One list call tells what a node needs while all is well; only a container that has ended, or that the engine keeps
//! restarting, is looked at closer, for its exit code, whether memory was the reason, and how often.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::net::IpAddr;

use bollard::models;
use bollard::models::ContainerSummaryStateEnum;
use bollard::query_parameters::ListContainersOptions;
use bollard::query_parameters::RemoveContainerOptions;
use bollard::query_parameters::StopContainerOptions;
use futures::StreamExt as _;

use super::failure::Subject;
use super::socket::Socket;
use crate::engine::Container;
use crate::engine::ContainerState;
use crate::engine::Error;
use crate::engine::Labels;
use crate::engine::Mount;

/// How many containers are looked at closer at once.
const INSPECTIONS: usize = 8;

/// Filters that select by labels.
pub fn by_labels(labels: &Labels) -> HashMap<String, Vec<String>> {
    let selectors = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    HashMap::from([("label".to_owned(), selectors)])
}

/// All containers with these labels.
pub async fn list(socket: &Socket, labels: &Labels) -> Result<Vec<Container>, Error> {
    let options = ListContainersOptions { all: true, filters: Some(by_labels(labels)), ..Default::default() };
    let listed =
        socket.call(Subject::ENGINE, |api| async move { api.list_containers(Some(options)).await }).await?;
    let closer = futures::stream::iter(listed.into_iter().map(summarised)).map(|container| async {
        if !has_ended(container.state) {
            return Ok(Some(container));
        }
        match inspect(socket, &container.id).await {
            Ok(found) => Ok(Some(found)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    });
    let found: Vec<Result<Option<Container>, Error>> = closer.buffered(INSPECTIONS).collect().await;
    found.into_iter().filter_map(Result::transpose).collect()
}

/// One container.
pub async fn inspect(socket: &Socket, name: &str) -> Result<Container, Error> {
    Ok(inspected(look(socket, name).await?))
}

/// The mounts of one container.
pub async fn mounts(socket: &Socket, name: &str) -> Result<Vec<Mount>, Error> {
    let mounts = look(socket, name).await?.mounts.unwrap_or_default();
    let mount = |mount: models::MountPoint| {
        Some(Mount { source: mount.source?.into(), target: mount.destination?.into() })
    };
    Ok(mounts.into_iter().filter_map(mount).filter(|mount| mount.source.is_absolute()).collect())
}

async fn look(socket: &Socket, name: &str) -> Result<models::ContainerInspectResponse, Error> {
    socket.call(Subject::container(name), |api| async move { api.inspect_container(name, None).await }).await
}

/// Starts a container; one that runs is success.
pub async fn start(socket: &Socket, name: &str) -> Result<(), Error> {
    let limit = socket.call_timeout() * 3;
    socket
        .call_within(
            limit,
            Subject::container(name),
            |api| async move { api.start_container(name, None).await },
        )
        .await
}

/// Stops a container; one that does not run is success.
pub async fn stop(socket: &Socket, name: &str, grace_seconds: u32) -> Result<(), Error> {
    let limit = socket.call_timeout() + std::time::Duration::from_secs(grace_seconds.into());
    let options = StopContainerOptions { t: i32::try_from(grace_seconds).ok(), ..Default::default() };
    socket
        .call_within(limit, Subject::container(name), |api| async move {
            api.stop_container(name, Some(options)).await
        })
        .await
}

/// Removes a container, running or not, and its unnamed volumes.
pub async fn remove(socket: &Socket, name: &str) -> Result<(), Error> {
    let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
    let removed = socket
        .call_within(socket.call_timeout() * 3, Subject::container(name), |api| async move {
            api.remove_container(name, Some(options)).await
        })
        .await;
    match removed {
        Err(Error::NotFound { .. }) => Ok(()),
        // Somebody else is removing it already; the next look tells whether that went well.
        Err(Error::Conflict { message }) if message.contains("already in progress") => Ok(()),
        other => other,
    }
}

fn summarised(summary: models::ContainerSummary) -> Container {
    let status = summary.status.unwrap_or_default();
    let networks = summary.network_settings.and_then(|settings| settings.networks);
    let mut exposed: Vec<u16> = summary
        .ports
        .unwrap_or_default()
        .into_iter()
        .filter(|port| port.typ.is_none_or(|kind| kind == models::PortSummaryTypeEnum::TCP))
        .map(|port| port.private_port)
        .collect();
    exposed.sort_unstable();
    exposed.dedup();
    let state = match summary.state.unwrap_or(ContainerSummaryStateEnum::EMPTY) {
        ContainerSummaryStateEnum::EMPTY | ContainerSummaryStateEnum::CREATED => ContainerState::Created,
        ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::STOPPING => ContainerState::Running,
        ContainerSummaryStateEnum::PAUSED => ContainerState::Paused,
        ContainerSummaryStateEnum::RESTARTING => ContainerState::Restarting,
        ContainerSummaryStateEnum::EXITED => ContainerState::Exited,
        ContainerSummaryStateEnum::REMOVING | ContainerSummaryStateEnum::DEAD => ContainerState::Dead,
    };
    let name = summary.names.unwrap_or_default().into_iter().next().unwrap_or_default();
    Container {
        id: summary.id.unwrap_or_default(),
        name: name.trim_start_matches('/').to_owned(),
        image: summary.image.unwrap_or_default(),
        state,
        exit_code: exit_code(&status),
        restarts: 0,
        oom_killed: false,
        labels: summary.labels.unwrap_or_default().into_iter().collect(),
        addresses: addresses(networks),
        exposed,
        started_at_ms: None,
        health: health(&status),
    }
}

fn inspected(container: models::ContainerInspectResponse) -> Container {
    let state = container.state.unwrap_or_default();
    let config = container.config.unwrap_or_default();
    let networks = container.network_settings.and_then(|settings| settings.networks);
    let exposed = config.exposed_ports.unwrap_or_default();
    let exposed = exposed.iter().filter_map(|port| match port.split_once('/') {
        Some((number, "tcp")) => number.parse().ok(),
        Some(_) => None,
        None => port.parse().ok(),
    });
    let mut exposed: Vec<u16> = exposed.collect();
    exposed.sort_unstable();
    let ended = has_ended(inspected_state(&state));
    let status = state.health.as_ref().and_then(|health| health.status);
    Container {
        id: container.id.unwrap_or_default(),
        name: container.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        image: config.image.unwrap_or_default(),
        state: inspected_state(&state),
        exit_code: state.exit_code.filter(|_| ended),
        restarts: container.restart_count.and_then(|count| u32::try_from(count).ok()).unwrap_or_default(),
        oom_killed: state.oom_killed.unwrap_or_default(),
        labels: config.labels.unwrap_or_default().into_iter().collect(),
        addresses: addresses(networks),
        exposed,
        started_at_ms: state.started_at.as_deref().and_then(started_at_ms),
        health: status
            .map(|status| status.to_string())
            .filter(|status| !matches!(status.as_str(), "" | "none")),
    }
}

/// Whether its last run is over.
fn has_ended(state: ContainerState) -> bool {
    matches!(state, ContainerState::Exited | ContainerState::Dead | ContainerState::Restarting)
}

fn inspected_state(state: &models::ContainerState) -> ContainerState {
    use models::ContainerStateStatusEnum as Status;
    match state.status.unwrap_or(Status::EMPTY) {
        Status::EMPTY | Status::CREATED => ContainerState::Created,
        Status::RUNNING | Status::STOPPING => ContainerState::Running,
        Status::PAUSED => ContainerState::Paused,
        Status::RESTARTING => ContainerState::Restarting,
        Status::EXITED => ContainerState::Exited,
        Status::REMOVING | Status::DEAD => ContainerState::Dead,
    }
}

fn addresses(networks: Option<HashMap<String, models::EndpointSettings>>) -> BTreeMap<String, IpAddr> {
    let address = |endpoint: models::EndpointSettings| {
        let v4 = endpoint.ip_address.and_then(|address| address.parse().ok());
        v4.or_else(|| endpoint.global_ipv6_address.and_then(|address| address.parse().ok()))
    };
    networks
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(name, endpoint)| Some((name, address(endpoint)?)))
        .collect()
}

/// The code in `Exited (137) 3 minutes ago`.
fn exit_code(status: &str) -> Option<i64> {
    let (_, rest) = status.split_once('(')?;
    rest.split_once(')')?.0.parse().ok()
}

/// The verdict in `Up 5 seconds (health: starting)` or `Up 5 seconds (healthy)`.
fn health(status: &str) -> Option<String> {
    let (_, rest) = status.rsplit_once('(')?;
    let verdict = rest.trim_end_matches(')').trim_start_matches("health: ");
    matches!(verdict, "starting" | "healthy" | "unhealthy").then(|| verdict.to_owned())
}

/// A container that never ran has the year 1 there.
fn started_at_ms(text: &str) -> Option<i64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(time.as_millisecond()).filter(|time| *time > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_line_tells_exit_code_and_health() {
        assert_eq!(exit_code("Exited (137) 3 minutes ago"), Some(137));
        assert_eq!(exit_code("Up 3 minutes (healthy)"), None);
        assert_eq!(health("Up 5 seconds (health: starting)").as_deref(), Some("starting"));
        assert_eq!(health("Up 5 seconds (healthy)").as_deref(), Some("healthy"));
        assert_eq!(health("Up 5 seconds (Paused)"), None);
        assert_eq!(started_at_ms("0001-01-01T00:00:00Z"), None);
        assert_eq!(started_at_ms("1970-01-01T00:00:01.5Z"), Some(1500));
    }
}
