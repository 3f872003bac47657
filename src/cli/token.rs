//! `nexus token ...`: see, give and take access.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use clap::Subcommand;

use super::Context;
use super::client::segment;
use super::failure::Failure;
use crate::api::wire;

const ANSWER_TIME: Duration = Duration::from_secs(30);

/// See, give and take access tokens
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    List(TokenListArguments),
    Create(TokenCreateArguments),
    Revoke(TokenRevokeArguments),
}

/// List tokens, without their secrets
#[derive(Debug, Args)]
pub struct TokenListArguments {}

/// Make a token and print it this once
#[derive(Debug, Args)]
pub struct TokenCreateArguments {
    /// What to call it
    label: String,
    /// What it allows: read, write (and read) or admin (all)
    #[arg(long, default_value = "read")]
    scope: String,
    /// Days until it stops working; works until revoked when absent
    #[arg(long)]
    days: Option<u32>,
}

/// Make a token stop working
#[derive(Debug, Args)]
pub struct TokenRevokeArguments {
    /// Its id, as `nexus token list` shows it
    id: String,
}

/// Runs one of them.
pub async fn run(context: &mut Context, command: TokenCommand) -> Result<ExitCode, Failure> {
    match command {
        TokenCommand::List(_) => list(context).await,
        TokenCommand::Create(arguments) => create(context, arguments).await,
        TokenCommand::Revoke(arguments) => revoke(context, &arguments).await,
    }
}

async fn list(context: &mut Context) -> Result<ExitCode, Failure> {
    let list: wire::TokenList = context.client.get("/api/v1/tokens").await?;
    if context.screen.json {
        context.screen.value(&list)?;
        return Ok(ExitCode::SUCCESS);
    }
    let row = |token: &wire::Token| {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "never".to_owned());
        vec![
            token.id.clone(),
            token.scope.clone(),
            token.created_at.clone(),
            text(&token.expires_at),
            text(&token.last_used_at),
            token.label.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = list.tokens.iter().map(row).collect();
    context.screen.table(&["ID", "SCOPE", "CREATED", "EXPIRES", "LAST USED", "LABEL"], &rows)?;
    Ok(ExitCode::SUCCESS)
}

async fn create(context: &mut Context, arguments: TokenCreateArguments) -> Result<ExitCode, Failure> {
    let request = wire::CreateToken { label: arguments.label, scope: arguments.scope, days: arguments.days };
    let made: wire::CreatedToken =
        context.client.call("POST", "/api/v1/tokens", Some(&request), ANSWER_TIME).await?;
    if context.screen.json {
        context.screen.value(&made)?;
    } else {
        context.screen.line(&made.secret)?;
        let token = &made.token;
        context.screen.say(&format!(
            "made the {} token `{}` ({}); it is not shown again",
            token.scope, token.label, token.id
        ));
    }
    Ok(ExitCode::SUCCESS)
}

async fn revoke(context: &mut Context, arguments: &TokenRevokeArguments) -> Result<ExitCode, Failure> {
    let path = format!("/api/v1/tokens/{}", segment(&arguments.id));
    context.client.bytes("DELETE", &path, None::<&()>, ANSWER_TIME).await?;
    if context.screen.json {
        context.screen.value(&serde_json::json!({ "revoked": arguments.id }))?;
    } else {
        context.screen.say(&format!("revoked the token {}", arguments.id));
    }
    Ok(ExitCode::SUCCESS)
}
