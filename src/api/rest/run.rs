//! Runs a program in a workspace's container: its output at its end, or line by line as it comes.

use std::time::Duration;

use axum::Extension;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header;
use axum::response::IntoResponse as _;
use axum::response::Response;
use bytes::Bytes;
use futures::Stream;
use futures::StreamExt as _;

use crate::api::Api;
use crate::api::auth::Principal;
use crate::api::input::Input;
use crate::api::input::Key;
use crate::api::problem::Problem;
use crate::api::wire;
use crate::base::fault;
use crate::engine;
use crate::workspace::Piece;
use crate::workspace::Run;

/// The longest a program may be waited for.
const RUN_TIME_MAX: Duration = Duration::from_secs(3600);
const ARGUMENTS_MAX: usize = 1024;

/// Runs a program in a workspace's container and waits for it. `Accept: application/x-ndjson` gives its output as it
/// comes, one JSON object per line, and how it ended on the last. A client that hangs up ends the program.
#[utoipa::path(post, path = "/api/v1/workspaces/{id}/run", tag = "workspaces", params(("id" = String, Path, description = "Id or name")), request_body = wire::RunRequest, responses(
    (status = 200, content((wire::RunResult = "application/json"), (wire::RunPiece = "application/x-ndjson"))), (status = "4XX", body = wire::Failure)))]
pub async fn run(
    State(api): State<Api>,
    Extension(principal): Extension<Principal>,
    Key(key): Key,
    headers: HeaderMap,
    Input(request): Input<wire::RunRequest>,
) -> Result<Response, Problem> {
    let run = plan(request)?;
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    if accepts.is_some_and(|accept| accept.contains("application/x-ndjson")) {
        let pieces = lines(api.workspaces().run(&key, run).await?);
        let body = Body::from_stream(super::events::while_allowed(&api, principal, pieces));
        return Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response());
    }
    let outcome = api.workspaces().run_whole(&key, run).await?;
    let result = wire::RunResult {
        exit_code: outcome.ended.exit_code,
        stdout: String::from_utf8_lossy(&outcome.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&outcome.stderr).into_owned(),
        truncated: outcome.truncated,
        timed_out: outcome.ended.timed_out,
        killed: outcome.ended.killed,
    };
    Ok(Json(result).into_response())
}

fn plan(request: wire::RunRequest) -> Result<Run, Problem> {
    let nul = |text: &String| text.contains('\0');
    if request.argv.first().is_none_or(String::is_empty) || request.argv.len() > ARGUMENTS_MAX {
        return Err(Problem::invalid("`argv` names no program, or has more than 1024 entries")
            .hint("send the program and its arguments: `[\"npm\", \"test\"]`"));
    }
    if request.argv.iter().chain(request.env.values()).chain(&request.directory).any(nul)
        || request.env.keys().any(|name| name.is_empty() || nul(name) || name.contains('='))
    {
        return Err(Problem::invalid(
            "an argument, variable or directory holds a NUL, or a variable has no proper name",
        ));
    }
    let timeout = request.timeout_ms.map(Duration::from_millis);
    if timeout.is_some_and(|timeout| timeout.is_zero() || timeout > RUN_TIME_MAX) {
        return Err(Problem::invalid("`timeout_ms` is 1 to 3600000"));
    }
    Ok(Run {
        argv: request.argv,
        service: request.service,
        env: request.env.into_iter().collect(),
        directory: request.directory,
        timeout,
    })
}

/// One JSON object per line. A character whose bytes arrive in two pieces stays one.
fn lines(
    pieces: impl Stream<Item = Result<Piece, engine::Error>> + Send + 'static,
) -> impl Stream<Item = Result<Bytes, engine::Error>> + Send {
    let mut halves = [Vec::new(), Vec::new()];
    pieces.map(move |piece| {
        let mut text = String::new();
        match piece {
            Ok(Piece::Out(bytes)) => push(&mut text, wire::RunPiece::Stdout, whole(&mut halves[0], &bytes)),
            Ok(Piece::Err(bytes)) => push(&mut text, wire::RunPiece::Stderr, whole(&mut halves[1], &bytes)),
            last => {
                let [out, err] = halves.each_ref().map(|half| String::from_utf8_lossy(half).into_owned());
                push(&mut text, wire::RunPiece::Stdout, out);
                push(&mut text, wire::RunPiece::Stderr, err);
                let last = match last {
                    Ok(Piece::Ended(ended)) => wire::RunPiece::Ended(wire::RunEnded {
                        exit_code: ended.exit_code,
                        timed_out: ended.timed_out,
                        killed: ended.killed,
                    }),
                    Ok(Piece::Out(_) | Piece::Err(_)) => unreachable!("taken above"),
                    Err(error) => wire::RunPiece::Failed(fault::chain(&error).to_string()),
                };
                push_line(&mut text, &last);
            }
        }
        Ok(Bytes::from(text))
    })
}

fn push(lines: &mut String, kind: fn(String) -> wire::RunPiece, text: String) {
    if !text.is_empty() {
        push_line(lines, &kind(text));
    }
}

fn push_line(lines: &mut String, piece: &wire::RunPiece) {
    lines.push_str(&serde_json::to_string(piece).expect("wire types become JSON"));
    lines.push('\n');
}

/// The text of what there is; the beginning of a character that has not come whole waits in `half`.
fn whole(half: &mut Vec<u8>, bytes: &[u8]) -> String {
    half.extend_from_slice(bytes);
    let rest = half.split_off(half.len() - begun(half));
    String::from_utf8_lossy(&std::mem::replace(half, rest)).into_owned()
}

/// How many bytes at the end are the beginning of a character.
fn begun(bytes: &[u8]) -> usize {
    let length = |first: u8| match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 0,
    };
    let last = bytes.iter().rev().take(3).position(|byte| !(0x80..0xc0).contains(byte));
    last.map(|back| back + 1).filter(|back| length(bytes[bytes.len() - back]) > *back).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Ended;

    #[tokio::test]
    async fn characters_stay_whole_and_the_end_comes_last() {
        let out = |bytes: &[u8]| Ok(Piece::Out(Bytes::copy_from_slice(bytes)));
        let ended = Ended { exit_code: Some(3), ..Ended::default() };
        let pieces = vec![
            out(b"caf\xc3"),
            Ok(Piece::Err(Bytes::from_static(b"\xff!"))),
            out(b"\xa9 \xf0\x9f"),
            Ok(Piece::Ended(ended)),
        ];
        let text: Vec<Bytes> = lines(futures::stream::iter(pieces)).map(Result::unwrap).collect().await;
        let text = String::from_utf8(text.concat()).unwrap();
        let expect = "{\"stdout\":\"caf\"}\n{\"stderr\":\"\u{fffd}!\"}\n{\"stdout\":\"\u{e9} \"}\n{\"stdout\":\"\u{fffd}\"}\n\
                      {\"ended\":{\"exit_code\":3,\"timed_out\":false,\"killed\":false}}\n";
        assert_eq!(text, expect);
    }
}
