//! `nexus claim`: the link that gives the first token.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::Context;
use super::failure::Failure;
use crate::api::wire;
use crate::base::fault::Kind;

/// Print the one-time link that gives the first token
#[derive(Debug, Args)]
pub struct ClaimArguments {
    /// Make a new link; an old one stops working
    #[arg(long)]
    new: bool,
}

/// Prints the link; a claimed node has none until asked for a new one.
pub async fn run(context: &mut Context, arguments: &ClaimArguments) -> Result<ExitCode, Failure> {
    let method = if arguments.new { "POST" } else { "GET" };
    let time = Duration::from_secs(30);
    let claim: wire::Claim = context.client.call(method, "/api/v1/claim", None::<&()>, time).await?;
    if context.screen.json {
        context.screen.value(&claim)?;
        return Ok(ExitCode::SUCCESS);
    }
    let Some(url) = claim.url else {
        return Err(Failure::new(Kind::Conflict, "this node was claimed already")
            .hint("`nexus token create` makes another token, `nexus claim --new` another link"));
    };
    context.screen.line(&url)?;
    Ok(ExitCode::SUCCESS)
}
