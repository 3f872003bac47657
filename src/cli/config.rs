//! `nexus config ...`: which settings hold on this machine, and why. Runs without a node.

use std::process::ExitCode;

use clap::Args;
use clap::Subcommand;

use super::Context;
use super::failure::Failure;
use crate::base::fault::Kind;
use crate::config;
use crate::config::Shown;

/// See the settings that hold, and where they come from
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    Show(ConfigShowArguments),
    Get(ConfigGetArguments),
}

/// Show every setting
#[derive(Debug, Args)]
pub struct ConfigShowArguments {
    /// Show where each value comes from
    #[arg(long)]
    origin: bool,
}

/// Print one setting
#[derive(Debug, Args)]
pub struct ConfigGetArguments {
    /// Its key, as in `web.listen`
    key: String,
    /// Print where the value comes from too
    #[arg(long)]
    origin: bool,
}

/// Runs one of them.
pub fn run(context: &Context, command: &ConfigCommand) -> Result<ExitCode, Failure> {
    let (stack, _) = config::load(&context.environment).map_err(|invalid| Failure::of(&invalid))?;
    match command {
        ConfigCommand::Show(arguments) => show(context, &stack.show(), arguments.origin)?,
        ConfigCommand::Get(arguments) => {
            let shown = stack.get(&arguments.key).ok_or_else(|| unknown(&arguments.key, &stack))?;
            get(context, &shown, arguments.origin)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn json(shown: &Shown) -> serde_json::Value {
    // A value is one line of YAML, so it has its type in JSON too.
    let value = serde_yaml::from_str(&shown.value).unwrap_or_else(|_| serde_json::json!(shown.value));
    serde_json::json!({ "key": shown.key, "value": value, "origin": shown.origin.to_string() })
}

fn show(context: &Context, settings: &[Shown], origin: bool) -> std::io::Result<()> {
    if context.screen.json {
        return context
            .screen
            .value(&serde_json::json!({ "settings": settings.iter().map(json).collect::<Vec<_>>() }));
    }
    let head = if origin { &["KEY", "VALUE", "ORIGIN"][..] } else { &["KEY", "VALUE"] };
    let row = |shown: &Shown| {
        let origin = origin.then(|| shown.origin.to_string());
        [shown.key.to_owned(), shown.value.clone()].into_iter().chain(origin).collect()
    };
    context.screen.table(head, &settings.iter().map(row).collect::<Vec<_>>())
}

fn get(context: &Context, shown: &Shown, origin: bool) -> std::io::Result<()> {
    if context.screen.json {
        return context.screen.value(&json(shown));
    }
    context.screen.line(&shown.value)?;
    if origin {
        context.screen.line(&shown.origin.to_string())?;
    }
    Ok(())
}

fn unknown(key: &str, stack: &config::Stack) -> Failure {
    let failure = Failure::new(Kind::NotFound, format!("there is no setting `{key}`"));
    match config::nearest(key, stack.show().iter().map(|shown| shown.key)) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None => failure.hint("see `nexus config show`"),
    }
}
