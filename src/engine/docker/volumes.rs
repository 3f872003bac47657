//! Volumes and networks.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models;
use bollard::query_parameters::CreateContainerOptions;
use bollard::query_parameters::DownloadFromContainerOptions;
use bollard::query_parameters::ListNetworksOptions;
use bollard::query_parameters::ListVolumesOptions;
use bollard::query_parameters::RemoveVolumeOptions;
use bollard::query_parameters::UploadToContainerOptions;
use bytes::BytesMut;
use futures::TryStreamExt as _;

use super::containers;
use super::containers::by_labels;
use super::failure::Subject;
use super::socket::Socket;
use crate::engine::Error;
use crate::engine::Labels;
use crate::engine::Network;
use crate::engine::Volume;
use crate::engine::Whole;
use crate::engine::label;

/// How often a seed's name may be taken, and the pause between attempts: together longer than an engine takes to
/// create a container.
const SEED_ATTEMPTS: u32 = 100;
const SEED_PAUSE: Duration = Duration::from_millis(100);

/// What an archive of one file holds besides the file.
const ARCHIVE_ROOM: usize = 64 << 10;

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
        // Its own default. Named, the engine notes the labels also of a volume whose directory it finds without a note,
        // because it was killed before it wrote one; else it takes that for a volume of somebody who wanted no labels.
        driver: Some("local".to_owned()),
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
    whole: Option<Whole>,
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
            Ok(made) => {
                let mended = match &whole {
                    Some(whole) => mend(socket, &made.id, whole).await,
                    None => Ok(()),
                };
                containers::remove(socket, &made.id).await?;
                return mended;
            }
        }
    }
    Err(Error::Conflict { message: format!("the container `{name}` does not go away") })
}

/// Writes a file of the seed's volume anew unless it holds what it must.
async fn mend(socket: &Socket, seed: &str, whole: &Whole) -> Result<(), Error> {
    if is_whole(socket, seed, whole).await? {
        return Ok(());
    }
    tracing::warn!(file = whole.path, "a file in a volume was cut off and is written anew");
    let options = UploadToContainerOptions { path: "/".to_owned(), ..Default::default() };
    let body = bollard::body_full(whole.archive.clone());
    socket
        .call_within(socket.call_timeout() * 3, Subject::container(seed), |api| async move {
            api.upload_to_container(seed, Some(options), body).await
        })
        .await?;
    match is_whole(socket, seed, whole).await? {
        true => Ok(()),
        false => Err(Error::Refused { message: format!("`{}` cannot be written whole", whole.path) }),
    }
}

async fn is_whole(socket: &Socket, seed: &str, whole: &Whole) -> Result<bool, Error> {
    let options = DownloadFromContainerOptions { path: whole.path.clone() };
    let most = whole.content.len() + ARCHIVE_ROOM;
    let read = socket
        .call_within(socket.call_timeout() * 3, Subject::container(seed), |api| async move {
            let mut parts = std::pin::pin!(api.download_from_container(seed, Some(options)));
            let mut archive = BytesMut::new();
            while archive.len() <= most
                && let Some(part) = parts.try_next().await?
            {
                archive.extend_from_slice(&part);
            }
            Ok(archive)
        })
        .await;
    match read {
        Ok(archive) => Ok(first_file(&archive).is_some_and(|content| content == whole.content)),
        // Cut off before it began.
        Err(Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The content of the first file in a tar archive, behind any extended headers.
fn first_file(archive: &[u8]) -> Option<&[u8]> {
    const BLOCK: usize = 512;
    let mut at = 0;
    loop {
        let header = archive.get(at..at + BLOCK)?;
        let digits = std::str::from_utf8(&header[124..136]).ok()?;
        let size = usize::from_str_radix(digits.trim_matches(['\0', ' ']), 8).ok()?;
        let content = archive.get(at + BLOCK..at + BLOCK + size)?;
        match header[156] {
            b'0' | 0 => return Some(content),
            _ => at += BLOCK + size.next_multiple_of(BLOCK),
        }
    }
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
