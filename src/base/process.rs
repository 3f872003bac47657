//! Runs another program: argv only, an absolute binary, a cleared environment, a time-out, capped output.
//!
//! The program gets a process group of its own, and all of it is killed when the caller stops waiting, so a cancelled
//! call leaves nothing behind.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process_group;
use tokio::io::AsyncBufReadExt as _;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::io::BufReader;

/// A line longer than this is handed on in parts.
const LINE_BYTES_MAX: u64 = 16 << 10;

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The program's absolute path.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
    /// Where it runs.
    pub directory: PathBuf,
    /// What it reads; nothing when empty.
    pub input: String,
    /// How long it may run.
    pub timeout: Duration,
    /// How much of its output is kept, and how much of its last lines.
    pub output_bytes_max: usize,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it printed on standard output, from the beginning.
    pub output: String,
    /// Whether it printed more than was kept of that.
    pub cut: bool,
    /// The last lines it printed on either output, in the order they came.
    pub last: String,
}

/// Why a program gave no outcome.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Only absolute paths are run: nothing is looked up on a search path.
    #[error("`{program}` is not an absolute path")]
    Relative {
        /// The program.
        program: PathBuf,
    },
    /// It cannot be started.
    #[error("`{program}` cannot be run")]
    Start {
        /// The program.
        program: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Its output cannot be read.
    #[error("the output of `{program}` cannot be read")]
    Output {
        /// The program.
        program: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// It took too long and was killed.
    #[error("`{program}` did not end within {seconds}s and was stopped")]
    Late {
        /// The program.
        program: PathBuf,
        /// The time-out.
        seconds: u64,
    },
}

/// Runs a program to its end. `on_line` gets each line it prints, on either output, as it comes.
pub async fn run(command: &Command, on_line: impl FnMut(&str) + Send) -> Result<Outcome, Error> {
    let program = || command.program.clone();
    if !command.program.is_absolute() {
        return Err(Error::Relative { program: program() });
    }
    let mut child = start(command).map_err(|source| Error::Start { program: program(), source })?;
    let group = Group(child.id());
    let listener = Mutex::new(Listener { last: String::new(), on_line });
    let ended = tokio::time::timeout(command.timeout, async {
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let input = feed(child.stdin.take(), command.input.as_bytes());
        let output = listen(out, &listener, command.output_bytes_max);
        let errors = listen(err, &listener, command.output_bytes_max);
        let ((), output, errors) = tokio::join!(input, output, errors);
        errors?;
        Ok::<_, io::Error>((child.wait().await?, output?))
    })
    .await;
    // What it left running in the background goes with it.
    drop(group);
    let last = listener.into_inner().unwrap_or_else(PoisonError::into_inner).last;
    match ended {
        Ok(Ok((status, (output, cut)))) => Ok(Outcome { code: status.code(), output, cut, last }),
        Ok(Err(source)) => Err(Error::Output { program: program(), source }),
        Err(_) => Err(Error::Late { program: program(), seconds: command.timeout.as_secs() }),
    }
}

/// The first of these files that is a program.
pub fn find(candidates: &[PathBuf]) -> Option<&Path> {
    use std::os::unix::fs::PermissionsExt as _;
    let runs = |path: &&PathBuf| {
        path.is_absolute()
            && path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    candidates.iter().find(runs).map(PathBuf::as_path)
}

fn start(command: &Command) -> io::Result<tokio::process::Child> {
    let stdin = if command.input.is_empty() { Stdio::null() } else { Stdio::piped() };
    tokio::process::Command::new(&command.program)
        .args(&command.args)
        .env_clear()
        .envs(command.env.iter().map(|(key, value)| (key, value)))
        .current_dir(&command.directory)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Kills a whole process group when dropped.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let pid = self.0.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // A group whose last process has ended is gone already.
            kill_process_group(pid, Signal::KILL).ok();
        }
    }
}

async fn feed(stdin: Option<tokio::process::ChildStdin>, input: &[u8]) {
    if let Some(mut stdin) = stdin {
        // A program that does not read its input to the end is free to.
        stdin.write_all(input).await.ok();
    }
}

/// What both outputs of a program come to.
struct Listener<F> {
    last: String,
    on_line: F,
}

impl<F: FnMut(&str)> Listener<F> {
    fn hear(&mut self, text: &str, bytes_max: usize) {
        let text = text.trim_end();
        if text.is_empty() {
            return;
        }
        (self.on_line)(text);
        self.last.push_str(text);
        self.last.push('\n');
        if self.last.len() > bytes_max {
            let cut = self.last.ceil_char_boundary(self.last.len() - bytes_max);
            self.last.drain(..cut);
        }
    }
}

/// Reads one output to its end; returns its beginning and whether that is not all.
async fn listen<F: FnMut(&str)>(
    stream: Option<impl AsyncRead + Unpin>,
    listener: &Mutex<Listener<F>>,
    bytes_max: usize,
) -> io::Result<(String, bool)> {
    let mut kept = String::new();
    let mut cut = false;
    let Some(stream) = stream else { return Ok((kept, cut)) };
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await? > 0 {
        let text = String::from_utf8_lossy(&line);
        let room = text.floor_char_boundary(bytes_max - kept.len());
        kept.push_str(&text[..room]);
        cut |= room < text.len();
        listener.lock().unwrap_or_else(PoisonError::into_inner).hear(&text, bytes_max);
        line.clear();
    }
    Ok((kept, cut))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        Command {
            program: "/bin/sh".into(),
            args: vec!["-c".to_owned(), script.to_owned()],
            env: vec![("GREETING".to_owned(), "hello".to_owned())],
            directory: "/".into(),
            input: String::new(),
            timeout: Duration::from_secs(10),
            output_bytes_max: 64,
        }
    }

    #[tokio::test]
    async fn a_program_sees_its_environment_and_input_only() {
        let mut lines = Vec::new();
        let script = "echo $GREETING $HOME; cat; echo one >&2; echo two >&2; exit 3";
        let command = Command { input: "fed".to_owned(), ..shell(script) };
        let outcome = run(&command, |line| lines.push(line.to_owned())).await.unwrap();
        assert_eq!((outcome.code, outcome.output.as_str(), outcome.cut), (Some(3), "hello\nfed", false));
        lines.sort();
        assert_eq!(lines, ["fed", "hello", "one", "two"]);
    }

    #[tokio::test]
    async fn output_is_kept_from_its_start_and_lines_to_their_end() {
        let script = "i=0; while [ $i -lt 1000 ]; do echo $i; i=$((i+1)); done";
        let outcome = run(&shell(script), |_| ()).await.unwrap();
        assert!(outcome.cut && outcome.output.len() == 64 && outcome.output.starts_with("0\n1\n"));
        assert!(outcome.last.len() <= 64 && outcome.last.ends_with("998\n999\n"), "{outcome:?}");
    }

    #[tokio::test]
    async fn a_late_program_goes_with_all_it_started() {
        let directory = tempfile::tempdir().unwrap();
        let script = format!("sleep 600 & echo $! > {}/pid; wait", directory.path().display());
        let late = Command { timeout: Duration::from_millis(500), ..shell(&script) };
        let error = run(&late, |_| ()).await.unwrap_err();
        assert!(matches!(error, Error::Late { .. }), "{error}");
        let pid = std::fs::read_to_string(directory.path().join("pid")).unwrap();
        let stat = format!("/proc/{}/stat", pid.trim());
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        let alive = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
        while alive() {
            assert!(std::time::Instant::now() < deadline, "the program's child is still there");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_is_not_absolute_or_not_there_is_not_run() {
        let relative = Command { program: "sh".into(), ..shell("") };
        assert_eq!(run(&relative, |_| ()).await.unwrap_err().to_string(), "`sh` is not an absolute path");
        let missing = Command { program: "/nowhere/sh".into(), ..shell("") };
        assert_eq!(run(&missing, |_| ()).await.unwrap_err().to_string(), "`/nowhere/sh` cannot be run");
    }
}
