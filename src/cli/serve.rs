//! `nexus serve`: the node itself, in the foreground.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio_util::sync::CancellationToken;

use super::Context;
use super::failure::Failure;
use crate::base::fault::Kind;
use crate::base::tasks::TaskGroup;
use crate::config;
use crate::node;
use crate::telemetry;

/// For the task that waits for signals to end.
const CLOSE: Duration = Duration::from_secs(1);

/// Run the node
#[derive(Debug, Args)]
pub struct ServeArguments {}

/// Runs until the first signal, then drains.
pub async fn run(context: &Context, _arguments: &ServeArguments) -> Result<ExitCode, Failure> {
    let environment: Vec<(String, String)> =
        context.environment.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let (_, settings) = config::load(&environment).map_err(|error| Failure::of(&error))?;
    let logs = telemetry::Settings { filter: settings.log_level.clone(), json: settings.log_json };
    telemetry::init(&logs).map_err(|error| Failure::of(&error))?;
    let token = CancellationToken::new();
    let mut signals = TaskGroup::new("signals", &token);
    signals.spawn("signals", until_told(token.clone())?);
    let ended = node::run(settings, &environment, token.clone()).await;
    token.cancel();
    signals.close(CLOSE).await;
    ended.map_err(|error| Failure::of(&error))?;
    Ok(ExitCode::SUCCESS)
}

/// Cancels the token at the first signal.
fn until_told(token: CancellationToken) -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    let listen =
        |kind| signal(kind).map_err(|error| Failure::new(Kind::Internal, format!("no signals: {error}")));
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            // Cancel-safe: each arm only waits.
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = token.cancelled() => {}
        }
        token.cancel();
    })
}
