//! The command line: a client of the API over the local socket; only `serve`, `config`, `detect` and
//! `doctor --offline` run in-process.
//!
//! Standard output is data, standard error is talk. A command is an `Args` struct whose doc is its help, and one
//! function.

mod backup;
mod claim;
mod client;
mod completions;
mod config;
mod detect;
mod doctor;
mod failure;
mod node;
mod progress;
mod run;
mod screen;
mod serve;
mod sync;
mod token;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::Subcommand;

use crate::base::home::Home;
use crate::config as settings;
use client::Client;
use failure::Failure;
use screen::Screen;

pub use failure::exit_code;

/// The environment as main read it.
pub type Environment = Vec<(String, String)>;

/// Drop a project folder, get a running stack, a URL, live sync and a backup.
#[derive(Debug, Parser)]
#[command(name = "nexus", version, arg_required_else_help = true, max_term_width = 100)]
pub struct Arguments {
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    /// The node's local socket, when it is not in the node's home
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArguments),
    Status(node::StatusArguments),
    #[command(subcommand, visible_alias = "ws")]
    Workspace(workspace::WorkspaceCommand),
    List(workspace::ListArguments),
    #[command(subcommand)]
    Sync(sync::SyncCommand),
    Detect(detect::DetectArguments),
    #[command(subcommand)]
    Backup(backup::BackupCommand),
    Doctor(doctor::DoctorArguments),
    Claim(claim::ClaimArguments),
    #[command(subcommand)]
    Token(token::TokenCommand),
    #[command(subcommand)]
    Config(config::ConfigCommand),
    Completions(completions::CompletionsArguments),
}

/// What every command is given.
struct Context {
    screen: Screen,
    client: Client,
    home: Home,
    environment: Environment,
}

/// Runs the command line and returns the process's exit code.
pub fn main(environment: Environment) -> ExitCode {
    let arguments = Arguments::parse();
    let home = Home::new(home(&environment));
    let socket = arguments.socket.clone().unwrap_or_else(|| home.socket());
    let screen = Screen::new(arguments.json);
    let context = Context { screen, client: Client::new(socket), home, environment };
    let runtime = match &arguments.command {
        Command::Serve(_) => tokio::runtime::Builder::new_multi_thread().enable_all().build(),
        _ => tokio::runtime::Builder::new_current_thread().enable_all().build(),
    };
    let runtime = runtime.expect("the kernel gives a thread and an event queue");
    let code = match runtime.block_on(run(context, arguments.command)) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    };
    // A blocking call that hangs (a dead network file system) must not hold the answer back.
    runtime.shutdown_background();
    code
}

/// Where the node lives. Settings that cannot be used are the node's problem and not a client's, who then needs the
/// variable or the default alone.
fn home(environment: &Environment) -> PathBuf {
    let named = || environment.iter().find(|(name, _)| name == "NEXUS_HOME").map(|(_, value)| value.clone());
    match settings::load(environment) {
        Ok((_, settings)) => settings.home,
        Err(_) => {
            named().or_else(|| Some(settings::defaults().get("home")?.value)).unwrap_or_default().into()
        }
    }
}

async fn run(mut context: Context, command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Serve(arguments) => serve::run(&context, &arguments).await,
        Command::Status(arguments) => node::run(&mut context, &arguments).await,
        Command::Workspace(command) => workspace::run(&mut context, command).await,
        Command::List(arguments) => workspace::list(&mut context, &arguments).await,
        Command::Sync(command) => sync::run(&mut context, command).await,
        Command::Detect(arguments) => detect::run(&context, &arguments),
        Command::Backup(command) => backup::run(&mut context, command).await,
        Command::Doctor(arguments) => doctor::run(&mut context, &arguments).await,
        Command::Claim(arguments) => claim::run(&mut context, &arguments).await,
        Command::Token(command) => token::run(&mut context, command).await,
        Command::Config(command) => config::run(&context, &command),
        Command::Completions(arguments) => completions::run(&mut context, &arguments),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Arguments;

    #[test]
    fn the_arguments_are_sound() {
        Arguments::command().debug_assert();
    }
}
