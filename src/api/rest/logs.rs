//! Logs of a workspace: as text, or as one JSON object per line, once or as they come.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header;
use axum::response::IntoResponse as _;
use axum::response::Response;
use bytes::Bytes;
use bytes::BytesMut;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::api::Api;
use crate::api::auth::Principal;
use crate::api::input::Key;
use crate::api::input::Params;
use crate::api::problem::Problem;
use crate::api::wire;
use crate::base::fault;
use crate::engine;

const TAIL_MAX: u32 = 100_000;
/// A longer line is cut into pieces of this size.
const LINE_MAX: usize = 16 * 1024;

/// Which lines.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// The last lines only; 200 when absent.
    tail: Option<u32>,
    /// Keep going as lines come.
    #[serde(default)]
    follow: bool,
    /// Which service; the one that answers the web when absent.
    service: Option<String>,
    /// Whether each line starts with its time.
    #[serde(default)]
    timestamps: bool,
}

/// The log of one service of a workspace. `Accept: application/x-ndjson` gives one JSON object per line.
#[utoipa::path(get, path = "/api/v1/workspaces/{id}/logs", tag = "workspaces", params(("id" = String, Path, description = "Id or name"), Which), responses(
    (status = 200, content((String = "text/plain"), (wire::LogLine = "application/x-ndjson"))), (status = "4XX", body = wire::Failure)))]
pub async fn read(
    State(api): State<Api>,
    Extension(principal): Extension<Principal>,
    Key(key): Key,
    Params(which): Params<Which>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let logs = engine::Logs {
        tail: Some(which.tail.unwrap_or(200).min(TAIL_MAX)),
        follow: which.follow,
        timestamps: which.timestamps,
    };
    let stream = api.workspaces().logs(&key, which.service.as_deref(), &logs).await?;
    let stream = super::events::while_allowed(&api, principal, stream);
    let wants_json = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("application/x-ndjson"));
    let (kind, body) = if wants_json {
        ("application/x-ndjson", Body::from_stream(as_lines(stream)))
    } else {
        ("text/plain; charset=utf-8", Body::from_stream(stream))
    };
    Ok(([(header::CONTENT_TYPE, kind)], body).into_response())
}

type Pieces = BoxStream<'static, Result<Bytes, engine::Error>>;

/// Cuts pieces of any size into one JSON object per line.
fn as_lines(pieces: Pieces) -> Pieces {
    let pending = BytesMut::new();
    futures::stream::unfold((pieces, pending, false), |(mut pieces, mut pending, ended)| async move {
        if ended {
            return None;
        }
        let mut lines = String::new();
        let over = loop {
            match pieces.next().await {
                Some(Ok(piece)) => {
                    pending.extend_from_slice(&piece);
                    cut(&mut pending, &mut lines);
                    if !lines.is_empty() {
                        break false;
                    }
                }
                Some(Err(error)) => {
                    tracing::debug!(error = %fault::chain(&error), "a log ended early");
                    break true;
                }
                None => break true,
            }
        };
        if over && !pending.is_empty() {
            push(&mut lines, &pending);
        }
        Some((Ok(Bytes::from(lines)), (pieces, pending, over)))
    })
    .boxed()
}

fn cut(pending: &mut BytesMut, lines: &mut String) {
    while let Some(length) = pending
        .iter()
        .take(LINE_MAX)
        .position(|byte| *byte == b'\n')
        .or((pending.len() >= LINE_MAX).then_some(LINE_MAX))
    {
        let line = pending.split_to(length);
        if pending.first() == Some(&b'\n') {
            drop(pending.split_to(1));
        }
        push(lines, &line);
    }
}

fn push(lines: &mut String, line: &[u8]) {
    let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned();
    let json = serde_json::to_string(&wire::LogLine { line }).expect("strings become JSON");
    lines.push_str(&json);
    lines.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(pieces: &[&str], expect: &str) {
        let pieces: Vec<Result<Bytes, engine::Error>> =
            pieces.iter().map(|piece| Ok(Bytes::copy_from_slice(piece.as_bytes()))).collect();
        let lines: Vec<Bytes> =
            as_lines(futures::stream::iter(pieces).boxed()).map(Result::unwrap).collect().await;
        assert_eq!(String::from_utf8(lines.concat()).unwrap(), expect);
    }

    #[tokio::test]
    async fn lines_are_whole_however_they_arrive() {
        check(
            &["a\nb", "c\r\n", "\x1b[1m\"d"],
            "{\"line\":\"a\"}\n{\"line\":\"bc\"}\n{\"line\":\"\\u001b[1m\\\"d\"}\n",
        )
        .await;
        check(&[], "").await;
        check(&["\n"], "{\"line\":\"\"}\n").await;
    }

    #[tokio::test]
    async fn a_line_without_end_is_cut() {
        let long = "x".repeat(LINE_MAX);
        let half = "x".repeat(5);
        check(&[&long, &half], &format!("{{\"line\":\"{long}\"}}\n{{\"line\":\"{half}\"}}\n")).await;
    }
}
