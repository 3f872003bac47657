//! Images: whether one is there, and pulling it.

use std::time::Duration;

use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptions;
use futures::StreamExt as _;

use super::failure::Subject;
use super::socket::Socket;
use crate::engine::Error;
use crate::engine::Progress;
use crate::engine::ProgressSink;

/// The largest image over a slow line.
const PULL: Duration = Duration::from_secs(30 * 60);

/// The id of an image, if it is there.
pub async fn id(socket: &Socket, image: &str) -> Result<Option<String>, Error> {
    let found = socket.call(Subject::image(image), |api| async move { api.inspect_image(image).await }).await;
    match found {
        Ok(found) => Ok(found.id),
        Err(Error::NotFound { .. }) => Ok(None),
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
