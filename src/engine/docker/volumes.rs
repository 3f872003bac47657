//! Volumes and networks.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models;
use bollard::query_parameters::CreateContainerOptions;
use bollard::query_parameters::ListNetworksOptions;
use bollard::query_parameters::ListVolumesOptions;
use bollard::query_parameters::RemoveVolumeOptions;

use super::containers;
use super::containers::by_labels;
use super::failure::Subject;
use super::socket::Socket;
use crate::engine::Error;
use crate::engine::Labels;
use crate::engine::Network;
use crate::engine::Volume;
use crate::engine::label;

/// How often a seed's name may be taken, and the pause between attempts: together longer than an engine takes to
/// create a container.
const SEED_ATTEMPTS: u32 = 100;
const SEED_PAUSE: Duration = Duration::from_millis(100);

/// All volumes with these labels.
pub async fn list(socket: &Socket, labels: &Labels) -> Result<Vec<Volume>, Error> {
    let options = ListVolumesOptions { filters: Some(by_labels(labels)) };
    let found =
        socket.call(Subject::ENGINE, |api| async move { api.list_volumes(Some(options)).await }).await?;
    let volume =
        |volume: models::Volume| Volume { name: volume.name, labels: volume.labels.into_iter().collect() };
    Ok(found.volumes.unwrap_or_default().into_iter().map(volume).collect())
}

/// Creates a volume unless it is there.
pub async fn ensure(socket: &Socket, name: &str, labels: &Labels) -> Result<(), Error> {
    let request = models::VolumeCreateRequest {
        name: Some(name.to_owned()),
        labels: Some(labels.clone().into_iter().collect()),
        ..Default::default()
    };
    socket.call(Subject::volume(name), |api| async move { api.create_volume(request).await }).await?;
    Ok(())
}

/// Removes a volume. Absent is success.
pub async fn remove(socket: &Socket, name: &str) -> Result<(), Error> {
    let removed = socket
        .call_within(socket.call_timeout() * 3, Subject::volume(name), |api| async move {
            api.remove_volume(name, None::<RemoveVolumeOptions>).await
        })
        .await;
    absent_is_success(removed)
}

/// Gives an empty volume what `directory` holds in `image`: the engine copies it when a container that mounts the
/// volume there is created. The container is never started. Its name is the volume's, so that one which outlived the
/// node that made it is found by the next attempt.
pub async fn seed(
    socket: &Socket,
    volume: &str,
    labels: &Labels,
    image: &str,
    directory: &str,
) -> Result<(), Error> {
    ensure(socket, volume, labels).await?;
    let name = format!("{volume}-seed");
    let mount = models::Mount {
        target: Some(directory.to_owned()),
        source: Some(volume.to_owned()),
        typ: Some(models::MountType::VOLUME),
        ..Default::default()
    };
    let body = models::ContainerCreateBody {
        image: Some(image.to_owned()),
        // Never run; an image without a command of its own needs one to be created.
        cmd: Some(vec!["/never".to_owned()]),
        labels: Some(seed_labels(labels)),
        network_disabled: Some(true),
        host_config: Some(models::HostConfig { mounts: Some(vec![mount]), ..Default::default() }),
        ..Default::default()
    };
    for _ in 0..SEED_ATTEMPTS {
        let (named, body) =
            (CreateContainerOptions { name: Some(name.clone()), ..Default::default() }, body.clone());
        let made = socket
            .call_within(socket.call_timeout() * 3, Subject::image(image), |api| async move {
                api.create_container(Some(named), body).await
            })
            .await;
        match made {
            // One that a killed node left behind, or that is still being made for it.
            Err(Error::Conflict { .. }) => {
                containers::remove(socket, &name).await?;
                tokio::time::sleep(SEED_PAUSE).await;
            }
            Err(error) => return Err(error),
            Ok(made) => return containers::remove(socket, &made.id).await,
        }
    }
    Err(Error::Conflict { message: format!("the container `{name}` does not go away") })
}

/// It belongs to the node, but is no container of the workspace's stack.
fn seed_labels(labels: &Labels) -> HashMap<String, String> {
    let node = labels.get(label::NODE).map(|node| (label::NODE.to_owned(), node.clone()));
    node.into_iter().chain([(label::ROLE.to_owned(), label::SEED.to_owned())]).collect()
}

/// All networks with these labels.
pub async fn networks(socket: &Socket, labels: &Labels) -> Result<Vec<Network>, Error> {
    let filters: HashMap<_, _> = by_labels(labels);
    let options = ListNetworksOptions { filters: Some(filters) };
    let found =
        socket.call(Subject::ENGINE, |api| async move { api.list_networks(Some(options)).await }).await?;
    let network = |network: models::Network| Network {
        id: network.id.unwrap_or_default(),
        name: network.name.unwrap_or_default(),
        subnets: network
            .ipam
            .and_then(|ipam| ipam.config)
            .unwrap_or_default()
            .into_iter()
            .filter_map(|config| config.subnet)
            .collect(),
        labels: network.labels.unwrap_or_default().into_iter().collect(),
    };
    Ok(found.into_iter().map(network).collect())
}

/// Removes a network. Absent is success.
pub async fn remove_network(socket: &Socket, name: &str) -> Result<(), Error> {
    let removed =
        socket.call(Subject::network(name), |api| async move { api.remove_network(name).await }).await;
    absent_is_success(removed)
}

fn absent_is_success(removed: Result<(), Error>) -> Result<(), Error> {
    match removed {
        Err(Error::NotFound { .. }) => Ok(()),
        other => other,
    }
}
