//! Runs one program for the node, and ends it with everything it has started once nobody waits for it any more.
//!
//! The node runs this with `exec` and keeps its standard input open for as long as it waits: the engine closes it
//! whichever way the node lets go, by a time-out, by a client that hung up or by its own death. The program itself
//! gets no input; its output is ours, untouched.

use std::ffi::OsString;
use std::io;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::process::Pid;
use rustix::process::Signal;

/// How long a program may take to end when it is asked to.
pub const GRACE: Duration = Duration::from_secs(2);
/// What a shell says when there is no such program, and when it cannot be run.
const MISSING: u8 = 127;
const REFUSED: u8 = 126;

/// Runs until the program has ended; the exit code is the program's, as a shell would say it.
///
/// # Errors
/// When it cannot be waited for.
pub fn run(words: &[OsString]) -> io::Result<u8> {
    let Some((program, arguments)) = words.split_first() else { return Ok(MISSING) };
    let mut child = match Command::new(program).args(arguments).stdin(Stdio::null()).process_group(0).spawn()
    {
        Ok(child) => child,
        Err(error) => {
            let missing = error.kind() == io::ErrorKind::NotFound;
            crate::init::say(&format!("cannot run `{}`: {error}", program.display()));
            return Ok(if missing { MISSING } else { REFUSED });
        }
    };
    let group = Pid::from_child(&child);
    let let_go = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&let_go);
    // Never joined: it waits for an end that may not come, and ends with the process.
    std::thread::spawn(move || {
        while matches!(io::stdin().read(&mut [0; 64]), Ok(1..)) {}
        told.store(true, Ordering::SeqCst);
        signal(group, Signal::TERM);
        #[expect(clippy::disallowed_methods, reason = "a process of its own with nothing else to do")]
        std::thread::sleep(GRACE);
        signal(group, Signal::KILL);
    });
    let status = child.wait()?;
    if let_go.load(Ordering::SeqCst) {
        signal(group, Signal::KILL);
    }
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
}

/// To the program and what it has started; a group that is gone gets none.
fn signal(group: Pid, signal: Signal) {
    let _ = rustix::process::kill_process_group(group, signal);
}
