//! `nexus workspace run`: a program in a workspace's container, its output as it comes, its exit code ours.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http_body_util::BodyExt as _;

use super::Context;
use super::failure::Failure;
use super::workspace::path;
use crate::api::wire;
use crate::base::fault::Kind;

/// What the node may take on top of the program's time.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// What a program may take unless `--timeout` says otherwise.
const RUN_SECONDS: u64 = 600;
/// Our own failures while running a program, as `docker` and `timeout` have them: apart from the program's codes.
const RUN_FAILED: u8 = 125;
const RUN_TIMED_OUT: u8 = 124;

/// Run a program in a workspace's container; exits with the program's code
#[derive(Debug, Args)]
pub struct RunArguments {
    /// Name or id
    workspace: String,
    /// Which service of the stack; the one that answers the web unless named
    #[arg(long)]
    service: Option<String>,
    /// How long to wait for it
    #[arg(long, value_name = "SECONDS", default_value_t = RUN_SECONDS)]
    timeout: u64,
    /// Added environment
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Where in the container to run it
    #[arg(long, value_name = "PATH")]
    directory: Option<String>,
    /// The program and its arguments; no shell
    #[arg(last = true, required = true)]
    argv: Vec<String>,
}

/// Runs it.
pub async fn execute(context: &mut Context, arguments: RunArguments) -> Result<ExitCode, Failure> {
    let seconds = arguments.timeout;
    let path = format!("{}/run", path(&arguments.workspace));
    let request = request(arguments)?;
    let ended = if context.screen.json {
        let time = Duration::from_secs(seconds).saturating_add(ANSWER_TIME);
        let result: wire::RunResult =
            context.client.call("POST", &path, Some(&request), time).await.map_err(ours)?;
        context.screen.value(&result)?;
        if result.truncated {
            context.screen.say("warning: the output was longer than 1 MiB and was cut");
        }
        let wire::RunResult { exit_code, timed_out, killed, .. } = result;
        wire::RunEnded { exit_code, timed_out, killed }
    } else {
        follow(context, &path, &request).await.map_err(ours)?
    };
    if !ended.timed_out {
        let code = ended.exit_code.and_then(|code| u8::try_from(code).ok()).unwrap_or(RUN_FAILED);
        return Ok(ExitCode::from(code));
    }
    let late = format!("the program did not end within {seconds}s");
    let failure = if ended.killed {
        Failure::new(Kind::Unavailable, format!("{late} and was killed"))
            .hint("give it more time with `--timeout`")
    } else {
        Failure::new(Kind::Unavailable, late)
            .hint("it may still run in the container; give it more time with `--timeout`")
    };
    Err(failure.code(RUN_TIMED_OUT))
}

fn ours(failure: Failure) -> Failure {
    failure.code(RUN_FAILED)
}

fn request(arguments: RunArguments) -> Result<wire::RunRequest, Failure> {
    let mut env = std::collections::BTreeMap::new();
    for pair in arguments.env {
        let (name, value) = pair.split_once('=').ok_or_else(|| {
            Failure::new(Kind::Invalid, format!("`{pair}` is no variable"))
                .hint("write `--env NAME=VALUE`")
                .code(RUN_FAILED)
        })?;
        env.insert(name.to_owned(), value.to_owned());
    }
    Ok(wire::RunRequest {
        argv: arguments.argv,
        service: arguments.service,
        timeout_ms: Some(arguments.timeout.saturating_mul(1000)),
        env,
        directory: arguments.directory,
    })
}

/// Prints what comes until the program has ended.
async fn follow(
    context: &mut Context,
    path: &str,
    request: &wire::RunRequest,
) -> Result<wire::RunEnded, Failure> {
    let mut body = context.client.stream("POST", path, "application/x-ndjson", Some(request)).await?;
    let mut pending = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| context.client.lost(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        pending.extend_from_slice(&data);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let piece = serde_json::from_slice(&line).map_err(|error| {
                Failure::new(
                    Kind::Internal,
                    format!("the node's answer is not what this command knows: {error}"),
                )
                .hint("the node and this command are of different versions: use the node's own")
            })?;
            match piece {
                wire::RunPiece::Stdout(text) => context.screen.foreign(text.as_bytes())?,
                wire::RunPiece::Stderr(text) => context.screen.foreign_talk(text.as_bytes())?,
                wire::RunPiece::Ended(ended) => return Ok(ended),
                wire::RunPiece::Failed(why) => return Err(Failure::new(Kind::Unavailable, why)),
            }
        }
    }
    Err(Failure::new(Kind::Unavailable, "the node let go of the program before it had ended"))
}
