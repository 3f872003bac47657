//! Images: whether one is there, and pulling it.

use std::time::Duration;

use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptions;
use bollard::query_parameters::RemoveImageOptions;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::TryStreamExt as _;

use super::failure::Subject;
use super::socket::Socket;
use crate::engine::Error;
use crate::engine::Progress;
use crate::engine::ProgressSink;

/// The largest image over a slow line.
const PULL: Duration = Duration::from_secs(30 * 60);
/// Some megabytes from memory to the engine's disk.
const IMPORT: Duration = Duration::from_secs(60);

/// The id of an image, if it is there.
pub async fn id(socket: &Socket, image: &str) -> Result<Option<String>, Error> {
    let found = socket.call(Subject::image(image), |api| async move { api.inspect_image(image).await }).await;
    match found {
        Ok(found) => Ok(found.id),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes an image of a root file system.
pub async fn import(socket: &Socket, image: &str, archive: Bytes) -> Result<(), Error> {
    let (repo, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
    let options = CreateImageOptions {
        from_src: Some("-".to_owned()),
        repo: Some(repo.to_owned()),
        tag: Some(tag.to_owned()),
        ..Default::default()
    };
    socket
        .call_within(IMPORT, Subject::image(image), |api| async move {
            let body = bollard::body_full(archive);
            api.create_image(Some(options), Some(body), None)
                .try_for_each(|_| std::future::ready(Ok(())))
                .await
        })
        .await
}

/// Removes an image that nothing uses. Absent is success.
pub async fn remove(socket: &Socket, image: &str) -> Result<(), Error> {
    let removed = socket
        .call_within(IMPORT, Subject::image(image), |api| async move {
            api.remove_image(image, None::<RemoveImageOptions>, None).await
        })
        .await;
    match removed {
        Ok(_) | Err(Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Pulls an image.
pub async fn pull(socket: &Socket, image: &str, progress: ProgressSink) -> Result<(), Error> {
    let options = CreateImageOptions { from_image: Some(with_tag(image)), ..Default::default() };
    let pulled = socket
        .call_within(PULL, Subject::image(image), |api| async move {
            let mut steps = api.create_image(Some(options), None, None);
            while let Some(step) = steps.next().await {
                if let Some(message) = line(step?) {
                    // A full channel drops the line: progress is a hint.
                    progress.try_send(Progress { message }).ok();
                }
            }
            Ok(())
        })
        .await;
    pulled.map_err(|error| match error {
        Error::Refused { message } | Error::Conflict { message } => {
            Error::Pull { image: image.to_owned(), message }
        }
        Error::NotFound { .. } => Error::Pull {
            image: image.to_owned(),
            message: "the registry does not have it, or wants a login".to_owned(),
        },
        other => other,
    })
}

/// Without a tag the engine would pull every tag there is.
fn with_tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}

/// Moving bars are left out: each step of each layer is said once.
fn line(step: CreateImageInfo) -> Option<String> {
    let status = step.status?;
    let moving = step.progress_detail.is_some_and(|detail| detail.total.is_some());
    (!moving).then(|| match step.id {
        Some(id) => format!("{id}: {status}"),
        None => status,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_without_a_tag_means_latest() {
        for (image, expect) in [
            ("node", "node:latest"),
            ("node:22-slim", "node:22-slim"),
            ("registry:5000/a/node", "registry:5000/a/node:latest"),
            ("node@sha256:ab", "node@sha256:ab"),
        ] {
            assert_eq!(with_tag(image), expect);
        }
    }
}
