//! Starts programs and reaps them, and whatever else ends up with no other parent.
//!
//! One task ([`Children::reap`]) waits for every child there is; who wants to know how one ended asks by its number.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::WaitOptions;
use tokio::net::unix::pipe::Receiver;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::sync::Notify;

use super::environment::Environment;
use crate::report::Ended;

/// A program to start.
#[derive(Debug)]
pub struct Program<'a> {
    /// Name or path, and arguments.
    pub words: &'a [String],
    /// The whole environment that was decided on; what the init itself was given stays below it.
    pub environment: &'a Environment,
    /// Where it runs.
    pub directory: &'a Path,
}

/// A program that was started, in a process group of its own.
#[derive(Debug)]
pub struct Child {
    /// Its number, and its group's.
    pub pid: Pid,
    /// What it prints.
    pub output: Receiver,
    /// What it prints as errors.
    pub errors: Receiver,
}

/// Why a program could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No such program.
    #[error("there is no program `{name}` in the container")]
    Missing {
        /// As it was named.
        name: String,
    },
    /// No such directory.
    #[error("there is no directory `{}`", directory.display())]
    Directory {
        /// Where it should have run.
        directory: PathBuf,
    },
    /// Found, and refused by the kernel.
    #[error("`{name}` cannot be started: {source}")]
    Refused {
        /// As it was named.
        name: String,
        /// What the kernel says.
        source: io::Error,
    },
}

/// Every child there is.
#[derive(Debug, Default)]
pub struct Children {
    table: Mutex<Table>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Table {
    /// Those that were started here: how they ended, once they have. Kept until the number is used again, because
    /// more than one may ask.
    started: BTreeMap<i32, Option<Ended>>,
    /// Those that still run, first started first: signals are for their groups.
    running: Vec<Pid>,
}

impl Children {
    /// Starts a program.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(&self, program: &Program<'_>) -> Result<Child, StartError> {
        let name = &program.words[0];
        if !program.directory.is_dir() {
            return Err(StartError::Directory { directory: program.directory.to_owned() });
        }
        let search = program.environment.get("PATH").map_or("", String::as_str);
        let file = find(name, search, program.directory)
            .ok_or_else(|| StartError::Missing { name: name.clone() })?;
        let refused = |source| StartError::Refused { name: name.clone(), source };
        let mut command = Command::new(file);
        command.arg0(name).args(&program.words[1..]).envs(program.environment).current_dir(program.directory);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        // The table is locked from here on, so the reaper cannot be faster than the note.
        let mut table = self.table();
        let mut child = command.spawn().map_err(refused)?;
        let pid = Pid::from_child(&child);
        table.started.insert(pid.as_raw_nonzero().get(), None);
        table.running.push(pid);
        drop(table);
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        let (Some(output), Some(errors)) = (output, errors) else { unreachable!("both were asked for") };
        let output = Receiver::from_owned_fd(output.into()).map_err(refused)?;
        let errors = Receiver::from_owned_fd(errors.into()).map_err(refused)?;
        Ok(Child { pid, output, errors })
    }

    /// Waits until a child that was started here has ended. Cancel-safe.
    pub async fn ended(&self, pid: Pid) -> Ended {
        loop {
            let changed = self.changed.notified();
            if let Some(Some(ended)) = self.table().started.get(&pid.as_raw_nonzero().get()) {
                return *ended;
            }
            changed.await;
        }
    }

    /// The programs signals are for, first started first.
    pub fn running(&self) -> Vec<Pid> {
        self.table().running.clone()
    }

    /// Sends a signal to a program and everything it started. One that is gone gets none.
    pub fn signal(&self, group: Pid, signal: Signal) {
        let _ = rustix::process::kill_process_group(group, signal);
    }

    /// Ends whatever is left of a program's group.
    pub fn bury(&self, pid: Pid) {
        self.signal(pid, Signal::KILL);
    }

    /// Reaps until dropped.
    ///
    /// # Errors
    /// When the kernel's signal cannot be listened to.
    pub async fn reap(&self) -> io::Result<()> {
        let mut children = signal(SignalKind::child())?;
        loop {
            self.reap_all();
            children.recv().await;
        }
    }

    fn reap_all(&self) {
        let mut any = false;
        let mut table = self.table();
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            any = true;
            let ended = match status.terminating_signal() {
                Some(signal) => Ended::Signal(signal),
                None => Ended::Code(status.exit_status().unwrap_or_default()),
            };
            if let Some(known) = table.started.get_mut(&pid.as_raw_nonzero().get()) {
                *known = Some(ended);
            }
            table.running.retain(|running| *running != pid);
        }
        drop(table);
        if any {
            self.changed.notify_waiters();
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Finds a program the way a shell does: by its path when it has a slash, else in the directories of `search`.
pub fn find(name: &str, search: &str, directory: &Path) -> Option<PathBuf> {
    if name.contains('/') {
        let path = directory.join(name);
        return path.is_file().then_some(path);
    }
    search.split(':').filter(|place| !place.is_empty()).map(|place| directory.join(place).join(name)).find(
        |path| {
            path.metadata()
                .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
        },
    )
}

/// How often the kernel killed something in this container for want of memory.
pub fn memory_kills() -> u64 {
    let tables = [
        ("/sys/fs/cgroup/memory.events", "oom_kill"),
        ("/sys/fs/cgroup/memory/memory.oom_control", "oom_kill"),
    ];
    tables
        .iter()
        .find_map(|(table, key)| {
            let text = std::fs::read_to_string(table).ok()?;
            text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
        })
        .unwrap_or_default()
}

/// Whether files can be made in a directory.
pub fn is_writable(directory: &OsStr) -> bool {
    !directory.is_empty()
        && rustix::fs::access(directory, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok()
}
