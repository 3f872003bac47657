//! What the engine tells as it happens: events and logs.

use bollard::models::EventMessage;
use futures::StreamExt as _;
use futures::TryStreamExt as _;
use futures::stream::BoxStream;
use http_body_util::BodyExt as _;
use hyper::Method;
use hyper::Response;
use hyper::body::Incoming;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;
use tokio::io::AsyncRead;
use tokio_util::codec::FramedRead;
use tokio_util::codec::LinesCodec;
use tokio_util::io::StreamReader;

use super::containers::by_labels;
use super::failure;
use super::failure::Subject;
use super::frames::Frames;
use super::socket::Socket;
use crate::engine::Error;
use crate::engine::Event;
use crate::engine::Labels;
use crate::engine::Logs;
use crate::engine::Output;

/// An event carries all labels of its object; nobody writes 256 KiB of labels.
const EVENT_BYTES_MAX: usize = 256 << 10;

/// Events of objects with these labels, from the moment this returns.
pub async fn events(
    socket: &Socket,
    labels: &Labels,
) -> Result<BoxStream<'static, Result<Event, Error>>, Error> {
    let mut filters = by_labels(labels);
    filters.insert("type".to_owned(), ["container", "network", "volume"].map(str::to_owned).into());
    let filters = serde_json::to_string(&filters).map_err(failure::garbled)?;
    let path = format!("/events?filters={}", utf8_percent_encode(&filters, NON_ALPHANUMERIC));
    let response = socket.open(Subject::ENGINE, Method::GET, &path, None).await?;
    let lines = FramedRead::new(reader(response), LinesCodec::new_with_max_length(EVENT_BYTES_MAX));
    let events = lines.map(|line| {
        let line = line.map_err(failure::garbled)?;
        Ok(event(serde_json::from_str(&line).map_err(failure::garbled)?))
    });
    Ok(events.boxed())
}

fn event(message: EventMessage) -> Event {
    let actor = message.actor.unwrap_or_default();
    Event {
        object: message.typ.map(|kind| kind.to_string()).unwrap_or_default(),
        action: message.action.unwrap_or_default(),
        labels: actor.attributes.unwrap_or_default().into_iter().collect(),
    }
}

/// A container's log.
pub async fn logs(
    socket: &Socket,
    container: &str,
    logs: &Logs,
) -> Result<BoxStream<'static, Result<Output, Error>>, Error> {
    let tail = logs.tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string());
    let path = format!(
        "/containers/{container}/logs?stdout=true&stderr=true&follow={}&timestamps={}&tail={tail}",
        logs.follow, logs.timestamps
    );
    let raw = has_terminal(socket, container).await?;
    let response = socket.open(Subject::container(container), Method::GET, &path, None).await?;
    let output = FramedRead::new(reader(response), Frames::new(raw));
    Ok(output.map_err(failure::garbled).boxed())
}

/// Only with a terminal is a log one plain stream, and engines before API 1.42 do not say so in their answer.
async fn has_terminal(socket: &Socket, container: &str) -> Result<bool, Error> {
    let subject = Subject::container(container);
    let found =
        socket.call(subject, |api| async move { api.inspect_container(container, None).await }).await?;
    Ok(found.config.and_then(|config| config.tty).unwrap_or_default())
}

fn reader(response: Response<Incoming>) -> impl AsyncRead + Send {
    StreamReader::new(response.into_body().into_data_stream().map_err(std::io::Error::other))
}
