//! The agent that runs inside every container.

use std::ffi::OsString;
use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use bytes::BytesMut;
use clap::Parser;
use clap::Subcommand;
use clap::ValueEnum;
use nexus_agent::endpoint;
use nexus_agent::forward;
use nexus_agent::init;
use nexus_agent::report::Phase;
use nexus_agent::run;
use nexus_agent::site;
use nexus_agent::wire;
use nexus_agent::wire::Frame;
use nexus_agent::wire::ToNode;

/// The port files are served on when `PORT` does not say.
const STATIC_PORT: u16 = 8080;

/// The agent that runs inside every Nexus container.
#[derive(Debug, Parser)]
#[command(name = "nexus-agent", version, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Receives the source, installs, builds, starts a program and keeps it running; for the container's first process
    Init(Init),
    /// Joins standard input and output with the init
    Endpoint {
        /// Name of the init's socket
        #[arg(long, default_value = endpoint::SOCKET)]
        socket: String,
    },
    /// Joins standard input and output with a port on the loopback interface
    Forward {
        /// The port
        port: u16,
    },
    /// Runs a program, and ends it and what it has started once standard input closes
    Run {
        /// The program and its arguments
        #[arg(last = true, required = true)]
        words: Vec<OsString>,
    },
    /// Serves a folder of files over HTTP at $HOST:$PORT
    Static {
        /// The folder
        directory: PathBuf,
        /// Answer unknown paths with index.html
        #[arg(long)]
        fallback: bool,
    },
    /// Ends with code 0 while the init is there and nothing has failed
    Health {
        /// Name of the init's socket
        #[arg(long, default_value = endpoint::SOCKET)]
        socket: String,
    },
    /// Prints the version and the protocol
    Version,
}

#[derive(Debug, clap::Args)]
struct Init {
    /// Where commands run: the synchronised folder or a directory in it
    #[arg(long, default_value = "/workspace")]
    root: PathBuf,
    /// The synchronised folder
    #[arg(long, default_value = "/workspace")]
    folder: PathBuf,
    /// Where the agent keeps its state
    #[arg(long, default_value = "/nexus-state")]
    state: PathBuf,
    /// Command line that installs dependencies
    #[arg(long)]
    install: Option<String>,
    /// File, relative to the root, whose change means installing again
    #[arg(long)]
    install_input: Vec<String>,
    /// Command line that builds
    #[arg(long)]
    build: Option<String>,
    /// Port the program is likely to use
    #[arg(long)]
    port_hint: Option<u16>,
    /// Whether the program answers HTTP
    #[arg(long, value_enum, default_value = "http")]
    serves: Serves,
    /// Start the program again when a file changes
    #[arg(long)]
    restart_on_change: bool,
    /// Receive a first sync before anything starts
    #[arg(long)]
    await_sync: bool,
    /// Name of the control socket
    #[arg(long, default_value = endpoint::SOCKET)]
    socket: String,
    /// A command line, or a program and its arguments
    #[arg(last = true, required = true)]
    start: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Serves {
    Http,
    Process,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Init(arguments) => run_init(arguments),
        Command::Endpoint { socket } => endpoint::run(&socket).map(|()| ExitCode::SUCCESS),
        Command::Forward { port } => forward::run(port).map(|()| ExitCode::SUCCESS),
        Command::Run { words } => run::run(&words).map(ExitCode::from),
        Command::Static { directory, fallback } => run_static(&directory, fallback),
        Command::Health { socket } => health(&socket),
        Command::Version => version(),
    };
    done.unwrap_or_else(|error| {
        init::say(&error.to_string());
        ExitCode::FAILURE
    })
}

fn run_init(arguments: Init) -> io::Result<ExitCode> {
    // One thread: an idle agent should cost nothing.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let options = options(arguments);
    let code = runtime.block_on(init::run(options)).map_err(|error| {
        let source =
            std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
        io::Error::other(format!("{error}{source}"))
    })?;
    // Nothing here is worth waiting for: the program has ended.
    runtime.shutdown_background();
    Ok(ExitCode::from(code))
}

fn options(arguments: Init) -> init::Options {
    init::Options {
        folder: arguments.folder,
        root: arguments.root,
        state: arguments.state,
        socket: arguments.socket,
        install: arguments.install,
        install_inputs: arguments.install_input,
        build: arguments.build,
        start: arguments.start,
        port_hint: arguments.port_hint,
        serves_http: arguments.serves == Serves::Http,
        restart_on_change: arguments.restart_on_change,
        await_sync: arguments.await_sync,
        // A name or value that is no text is left to the program: it inherits what is not listed here.
        environment: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
    }
}

fn run_static(directory: &std::path::Path, fallback: bool) -> io::Result<ExitCode> {
    #[expect(clippy::disallowed_methods, reason = "the environment is read here, once")]
    let given = |name| std::env::var(name).ok();
    let port = given("PORT").and_then(|port| port.parse().ok()).unwrap_or(STATIC_PORT);
    let host = given("HOST").and_then(|host| host.parse().ok());
    let host = host.unwrap_or(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(site::serve(directory, SocketAddr::new(host, port), fallback))?;
    Ok(ExitCode::SUCCESS)
}

/// Asks the init for its report.
fn health(socket: &str) -> io::Result<ExitCode> {
    let mut stream = endpoint::connect(socket)?;
    stream.set_read_timeout(Some(std::time::Duration::from_secs(5)))?;
    let mut buffer = BytesMut::new();
    wire::put_hello(&mut buffer, &wire::Hello::ours());
    stream.write_all(&buffer)?;
    buffer.clear();
    loop {
        let frame = wire::take::<ToNode>(&mut buffer).map_err(io::Error::other)?;
        if let Some(Frame::Message(ToNode::Report(report))) = frame {
            let failed = report.phase == Phase::Failed;
            return Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS });
        }
        if frame.is_none() {
            let mut bytes = [0; 4096];
            let count = stream.read(&mut bytes)?;
            if count == 0 {
                return Ok(ExitCode::FAILURE);
            }
            buffer.extend_from_slice(&bytes[..count]);
        }
    }
}

fn version() -> io::Result<ExitCode> {
    writeln!(io::stdout(), "nexus-agent {} (protocol {})", env!("CARGO_PKG_VERSION"), wire::PROTOCOL)?;
    Ok(ExitCode::SUCCESS)
}
