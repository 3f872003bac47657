//! The container's first process: receives the source, installs, builds, starts the program and keeps it running.
//!
//! Tasks: the reaper ([`process`]), the control socket ([`crate::serve`], publishes progress), the supervisor
//! (`supervise`, reads progress, publishes the report) and, here, the signals. All on one thread. The init ends only
//! when it is told to, or when the engine has forgotten it (`forgotten`); a program that has finished or failed leaves
//! it waiting for a change.

pub mod command;
pub mod environment;
mod forgotten;
pub mod output;
pub mod prepare;
pub mod process;
mod program;
mod supervise;

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::task::JoinSet;

use crate::files::Root;
use crate::received::Received;
use crate::report::Ended;
use crate::serve;
use crate::serve::Control;
use environment::Environment;
use output::Reporter;
use process::Children;

/// How long a program may take to end after it was asked to; less than the engine gives us.
const GRACE: Duration = Duration::from_secs(8);

/// What the init was told to do.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The container's copy of the folder.
    pub folder: PathBuf,
    /// Where commands run: the folder or a directory in it.
    pub root: PathBuf,
    /// Where the agent keeps its state.
    pub state: PathBuf,
    /// Name of the control socket.
    pub socket: String,
    /// The install line.
    pub install: Option<String>,
    /// Files, relative to the root, whose change means installing again.
    pub install_inputs: Vec<String>,
    /// The build line.
    pub build: Option<String>,
    /// A line, or a program and its arguments.
    pub start: Vec<String>,
    /// The port the project is likely to use.
    pub port_hint: Option<u16>,
    /// Whether a port is expected at all.
    pub serves_http: bool,
    /// Whether the program is started again when a file changes.
    pub restart_on_change: bool,
    /// Whether nothing happens before a first sync.
    pub await_sync: bool,
    /// The environment the init was given.
    pub environment: Environment,
}

/// Why the init cannot even begin.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The folder is not there, and cannot be made.
    #[error("the folder `{}` cannot be opened", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// The control socket is taken.
    #[error("the control socket `{name}` cannot be listened on")]
    Socket {
        /// Its name.
        name: String,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// Signals cannot be handled.
    #[error("signals cannot be handled")]
    Signals(#[source] io::Error),
}

/// One line of the init's own in the container's log.
pub fn say(line: &str) {
    #[expect(clippy::print_stderr, reason = "the container's log is where people look")]
    {
        eprintln!("[nexus] {line}");
    }
}

/// Runs until told to end; the exit code is the program's.
///
/// # Errors
/// See [`InitError`].
pub async fn run(options: Options) -> Result<u8, InitError> {
    // Orphans come to us also where we are not the first process; there it is a convenience and may fail.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    prepare_directories(&options);
    let folder = |source| InitError::Folder { folder: options.folder.clone(), source };
    drop(Root::open(&options.folder).map_err(folder)?);
    let received = Received::open(&options.state, prepare::manifests(&options));
    let listener = serve::bind(&options.socket)
        .map_err(|source| InitError::Socket { name: options.socket.clone(), source })?;
    let reporter = Arc::new(Reporter::default());
    let control =
        Arc::new(Control::new(options.folder.clone(), options.state.clone(), received, reporter.subscribe()));
    let children = Arc::new(Children::default());
    let mut signals = Signals::new().map_err(InitError::Signals)?;

    let mut tasks = JoinSet::new();
    tasks.spawn(serve::serve(listener, Arc::clone(&control)));
    let reaper = Arc::clone(&children);
    tasks.spawn(async move { drop(reaper.reap().await) });
    let supervisor = supervise::Supervisor::new(options, control, Arc::clone(&children), reporter);
    tokio::select! {
        never = supervisor.run() => match never {},
        code = signals.until_told_to_end(&children) => Ok(code),
    }
}

/// What programs expect to be there. A read-only or absent state volume is noticed by whoever needs it.
fn prepare_directories(options: &Options) {
    for name in ["cache", "home", "bin"] {
        drop(std::fs::create_dir_all(options.state.join(name)));
    }
    drop(std::fs::create_dir_all(&options.folder));
}

fn home_is_writable(environment: &Environment) -> bool {
    environment.get("HOME").is_some_and(|home| process::is_writable(OsStr::new(home)))
}

/// The signals that mean the end, and those that are passed on.
struct Signals {
    ends: [(tokio::signal::unix::Signal, Signal); 3],
    passed: [(tokio::signal::unix::Signal, Signal); 4],
}

impl Signals {
    fn new() -> io::Result<Self> {
        let listen = |kind: SignalKind, sent: Signal| Ok::<_, io::Error>((signal(kind)?, sent));
        Ok(Self {
            ends: [
                listen(SignalKind::terminate(), Signal::TERM)?,
                listen(SignalKind::interrupt(), Signal::INT)?,
                listen(SignalKind::quit(), Signal::QUIT)?,
            ],
            passed: [
                listen(SignalKind::hangup(), Signal::HUP)?,
                listen(SignalKind::user_defined1(), Signal::USR1)?,
                listen(SignalKind::user_defined2(), Signal::USR2)?,
                listen(SignalKind::window_change(), Signal::WINCH)?,
            ],
        })
    }

    /// Passes signals on until one means the end, or nobody knows of us any more, then waits for the program: a while, or until asked again.
    async fn until_told_to_end(&mut self, children: &Children) -> u8 {
        let mut forgotten = std::pin::pin!(forgotten::forgotten());
        let told = loop {
            // Both are cancel-safe: each only waits.
            let (sent, ends) = tokio::select! {
                received = self.next() => received,
                () = &mut forgotten => {
                    say("the engine has taken the network away: it counts this container as ended, which ends now");
                    break Signal::TERM;
                }
            };
            if ends {
                break sent;
            }
            children.running().into_iter().for_each(|program| children.signal(program, sent));
        };
        let running = children.running();
        let Some(&program) = running.first() else { return 0 };
        let all = |signal| running.iter().for_each(|program| children.signal(*program, signal));
        all(told);
        let patience = async {
            let again = async { while !self.next().await.1 {} };
            drop(tokio::time::timeout(GRACE, again).await);
            all(Signal::KILL);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            ended = children.ended(program) => exit_code(ended),
            () = patience => 0,
        }
    }

    async fn next(&mut self) -> (Signal, bool) {
        let [term, int, quit] = &mut self.ends;
        let [hangup, user1, user2, window] = &mut self.passed;
        // Receiving a signal is cancel-safe.
        tokio::select! {
            _ = term.0.recv() => (term.1, true),
            _ = int.0.recv() => (int.1, true),
            _ = quit.0.recv() => (quit.1, true),
            _ = hangup.0.recv() => (hangup.1, false),
            _ = user1.0.recv() => (user1.1, false),
            _ = user2.0.recv() => (user2.1, false),
            _ = window.0.recv() => (window.1, false),
        }
    }
}

/// As a shell would say it.
fn exit_code(ended: Ended) -> u8 {
    let code = match ended {
        Ended::Code(code) => code,
        Ended::Signal(signal) => 128 + signal,
        Ended::OutOfMemory => 137,
    };
    u8::try_from(code).unwrap_or(1)
}
