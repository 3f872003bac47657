//! The life of one program: waits for its source, installs, builds, starts, and starts again.
//!
//! Level-triggered: after every change and every end it asks anew what has to be done before the program can run.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Pid;
use rustix::process::Signal;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Options;
use super::command;
use super::command::Action;
use super::command::Command;
use super::environment;
use super::environment::Environment;
use super::environment::Surroundings;
use super::output::Pumps;
use super::output::Reporter;
use super::prepare;
use super::prepare::Memo;
use super::process;
use super::process::Children;
use super::process::Program;
use super::program::Expectation;
use super::program::Watch;
use super::say;
use crate::listen;
use crate::report::Ended;
use crate::report::Failure;
use crate::report::Listener;
use crate::report::Phase;
use crate::report::Step;
use crate::serve::Control;
use crate::serve::Progress;

/// The port given to a program when none is known.
const PORT: u16 = 3000;
/// The port our own file server gets.
const STATIC_PORT: u16 = 8080;
/// The pause after the first crash; doubled by each further one.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// A failed installation or build is worth a longer pause.
const PAUSE_PREPARE: Duration = Duration::from_secs(10);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// A program that ran for this long starts from the shortest pause again.
const STEADY: Duration = Duration::from_secs(60);
/// Changes this close together are one.
const QUIET: Duration = Duration::from_millis(100);
/// And no longer than this is waited for them to end.
const QUIET_MAX: Duration = Duration::from_secs(1);
/// How long a program may take to end before a new one is started.
const GRACE: Duration = Duration::from_secs(5);

/// Runs one program.
pub(super) struct Supervisor {
    options: Options,
    control: Arc<Control>,
    children: Arc<Children>,
    reporter: Arc<Reporter>,
    progress: RefCell<Option<watch::Receiver<Progress>>>,
    installed: RefCell<Memo>,
    built: RefCell<Memo>,
    restarts: Cell<u32>,
    /// The changes that what runs, or has failed, is made of. Whatever came after is a reason to look again.
    seen: Cell<u64>,
    /// Listeners that were there before anything of ours.
    foreign: BTreeSet<Listener>,
}

/// How a run of the program came to its end.
enum Outcome {
    /// By us: something has changed.
    Changed,
    /// By itself, with code 0.
    Finished,
    /// By itself, otherwise.
    Crashed(Failure, Duration),
}

impl Supervisor {
    pub(super) fn new(
        options: Options,
        control: Arc<Control>,
        children: Arc<Children>,
        reporter: Arc<Reporter>,
    ) -> Self {
        let installed = RefCell::new(Memo::open(&options.state, "installed"));
        let built = RefCell::new(Memo::open(&options.state, "built"));
        let progress = RefCell::new(Some(control.progress()));
        let foreign = listen::observe();
        let restarts = Cell::new(0);
        let seen = Cell::new(0);
        Self { options, control, children, reporter, progress, installed, built, restarts, seen, foreign }
    }

    pub(super) async fn run(&self) -> Infallible {
        let mut progress = self.progress.take().unwrap_or_else(|| self.control.progress());
        self.first_sync(&mut progress).await;
        let mut pause = Pause::default();
        loop {
            self.seen.set(progress.borrow_and_update().changes);
            if let Err(failure) = self.prepare().await {
                let pause = pause.next(PAUSE_PREPARE);
                self.failed(failure, pause);
                self.changed_within(&mut progress, Some(pause)).await;
                continue;
            }
            match self.program(&mut progress).await {
                Outcome::Changed => pause = Pause::default(),
                Outcome::Finished => {
                    say("the program has finished");
                    self.reporter.update(|report| {
                        report.phase = Phase::Finished;
                        report.failure = None;
                    });
                    pause = Pause::default();
                    self.worth_a_run(&mut progress).await;
                }
                Outcome::Crashed(failure, ran) => {
                    if ran >= STEADY {
                        pause = Pause::default();
                    }
                    let pause = pause.next(PAUSE_MIN);
                    self.failed(failure, pause);
                    self.changed_within(&mut progress, Some(pause)).await;
                    self.restarts.set(self.restarts.get() + 1);
                    self.reporter.update(|report| report.restarts = self.restarts.get());
                }
            }
        }
    }

    async fn first_sync(&self, progress: &mut watch::Receiver<Progress>) {
        if !self.options.await_sync {
            return;
        }
        loop {
            let now = *progress.borrow_and_update();
            if now.complete {
                return;
            }
            let phase = if now.connected { Phase::Syncing } else { Phase::Waiting };
            self.reporter.update(|report| report.phase = phase);
            if progress.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn failed(&self, mut failure: Failure, pause: Duration) {
        failure.retry_ms = u64::try_from(pause.as_millis()).ok();
        say(&format!("{}; trying again in {}s or when a file changes", failure.message, pause.as_secs()));
        self.reporter.update(|report| {
            report.phase = Phase::Failed;
            report.port = None;
            report.listeners.clear();
            report.failure = Some(failure);
        });
    }

    /// Waits for a change to the source, at most for `limit`; then for the changes to come to an end.
    async fn changed_within(&self, progress: &mut watch::Receiver<Progress>, limit: Option<Duration>) {
        let seen = self.seen.get();
        let change = async {
            if progress.wait_for(|progress| progress.changes != seen).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let timer = async {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = change => {
                settle(progress).await;
                self.seen.set(progress.borrow_and_update().changes);
                // It was about a source that is no more.
                self.reporter.update(|report| report.failure = None);
            }
            () = timer => {}
        }
    }

    /// Waits for a change that a finished program is run again for.
    async fn worth_a_run(&self, progress: &mut watch::Receiver<Progress>) {
        loop {
            self.changed_within(progress, None).await;
            if self.options.restart_on_change || self.install_due().is_some() || self.build_due().is_some() {
                return;
            }
        }
    }

    // ---- before the program

    async fn prepare(&self) -> Result<(), Failure> {
        if let Some(digest) = self.install_due() {
            self.install().await?;
            self.installed.borrow_mut().write(&digest);
        }
        if let Some(digest) = self.build_due() {
            self.build().await?;
            self.built.borrow_mut().write(&digest);
        }
        Ok(())
    }

    fn search(&self) -> String {
        self.environment().remove("PATH").unwrap_or_default()
    }

    fn install_due(&self) -> Option<String> {
        self.options.install.as_ref()?;
        let digest = prepare::install_digest(&self.options, &self.control.received(), &self.search());
        (!self.installed.borrow().says(&digest)).then_some(digest)
    }

    fn build_due(&self) -> Option<String> {
        self.options.build.as_ref()?;
        let installed = match self.options.install {
            Some(_) => prepare::install_digest(&self.options, &self.control.received(), &self.search()),
            None => String::new(),
        };
        let digest = prepare::build_digest(&self.options, &self.control.received(), &installed);
        (!self.built.borrow().says(&digest)).then_some(digest)
    }

    async fn install(&self) -> Result<(), Failure> {
        let install = self.options.install.as_deref();
        // What a failed installation leaves behind counts as nothing.
        self.installed.borrow_mut().clear();
        self.begin(Phase::Installing, install);
        let start = self.options.start.first().map(String::as_str);
        let lines = [install, self.options.build.as_deref(), start];
        let mut steps: Vec<Vec<String>> =
            prepare::corepack_step(&lines, &self.options.state, &self.search()).into_iter().collect();
        if prepare::is_python(install) {
            steps.extend(prepare::python_steps(install, &self.options.state, &self.search()));
        }
        for words in steps {
            self.chain(Step::Install, &words.join(" "), &command::literal(&words)).await?;
        }
        self.line(Step::Install, install.unwrap_or_default()).await
    }

    async fn build(&self) -> Result<(), Failure> {
        self.built.borrow_mut().clear();
        let build = self.options.build.as_deref();
        self.begin(Phase::Building, build);
        self.line(Step::Build, build.unwrap_or_default()).await
    }

    fn begin(&self, phase: Phase, command: Option<&str>) {
        if let Some(command) = command {
            let verb = match phase {
                Phase::Installing => "installing",
                Phase::Building => "building",
                _ => "starting",
            };
            say(&format!("{verb}: {command}"));
        }
        self.reporter.update(|report| {
            report.phase = phase;
            report.command = command.map(str::to_owned);
            report.port = None;
            report.listeners.clear();
            report.notes.clear();
            report.lines.clear();
        });
    }

    async fn line(&self, step: Step, line: &str) -> Result<(), Failure> {
        let commands = command::parse(line).map_err(|error| refused(step, line, &error))?;
        self.chain(step, line, &commands).await
    }

    /// Runs commands one after the other, as long as each ends with code 0.
    async fn chain(&self, step: Step, line: &str, commands: &[Command]) -> Result<(), Failure> {
        let mut place = Place { environment: self.environment(), directory: self.options.root.clone() };
        for command in commands {
            let Some((environment, words)) = place.take(command) else { continue };
            self.one(step, line, &words, &environment, &place.directory).await?;
        }
        Ok(())
    }

    /// Runs one program to its end; given up on the way, it is killed.
    async fn one(
        &self,
        step: Step,
        line: &str,
        words: &[String],
        environment: &Environment,
        directory: &Path,
    ) -> Result<(), Failure> {
        let kills = process::memory_kills();
        let run = self.start(step, line, words, environment, directory)?;
        let ended = self.children.ended(run.pid).await;
        run.end().await;
        if ended == Ended::Code(0) { Ok(()) } else { Err(self.failure(step, line, ended, kills)) }
    }

    // ---- the program

    async fn program(&self, progress: &mut watch::Receiver<Progress>) -> Outcome {
        let line = self.options.start.join(" ");
        self.begin(Phase::Starting, Some(&line));
        let crashed = |failure| Outcome::Crashed(failure, Duration::ZERO);
        let mut commands = match self.start_commands() {
            Ok(commands) => commands,
            Err(failure) => return crashed(failure),
        };
        let Some(last) = commands.pop() else { return Outcome::Finished };
        let mut place = Place { environment: self.environment(), directory: self.options.root.clone() };
        place.environment.extend(environment::node_mode(&self.options.environment, &line));
        for command in commands {
            let Some((environment, words)) = place.take(&command) else { continue };
            if let Err(failure) = self.one(Step::Start, &line, &words, &environment, &place.directory).await {
                return crashed(failure);
            }
        }
        let Some((environment, words)) = place.take(&last) else { return Outcome::Finished };
        let kills = process::memory_kills();
        let started = Instant::now();
        let run = match self.start(Step::Start, &line, &words, &environment, &place.directory) {
            Ok(run) => run,
            Err(failure) => return crashed(failure),
        };
        if !self.options.serves_http {
            self.reporter.update(|report| report.phase = Phase::Ready);
        }
        let expectation = Expectation {
            asked: environment.get("PORT").and_then(|port| port.parse().ok()).unwrap_or(self.port()),
            hint: self.options.port_hint,
            http: self.options.serves_http,
        };
        // All three can be dropped at any await: a notification, polling, and a wait for a change.
        let ended = tokio::select! {
            ended = self.children.ended(run.pid) => Some(ended),
            never = Watch::new(&self.reporter, expectation, &self.foreign).run() => match never {},
            () = self.must_end(progress) => None,
        };
        match ended {
            Some(ended) => {
                run.end().await;
                if ended == Ended::Code(0) {
                    return Outcome::Finished;
                }
                Outcome::Crashed(self.failure(Step::Start, &line, ended, kills), started.elapsed())
            }
            None => {
                self.stop(run.pid).await;
                run.end().await;
                Outcome::Changed
            }
        }
    }

    fn start_commands(&self) -> Result<Vec<Command>, Failure> {
        match &self.options.start[..] {
            [line] => command::parse(line).map_err(|error| refused(Step::Start, line, &error)),
            words => Ok(command::literal(words)),
        }
    }

    /// Waits for a change the running program has to be ended for. What can be built is built beside it.
    async fn must_end(&self, progress: &mut watch::Receiver<Progress>) {
        loop {
            self.changed_within(progress, None).await;
            if self.install_due().is_some() {
                return;
            }
            if let Some(digest) = self.build_due() {
                let shown = (self.reporter.phase(), self.reporter.lines());
                let line = self.options.build.as_deref().unwrap_or_default();
                say(&format!("building: {line}"));
                match self.line(Step::Build, line).await {
                    Ok(()) => {
                        self.built.borrow_mut().write(&digest);
                        self.reporter.update(|report| report.failure = None);
                    }
                    Err(failure) => {
                        say(&format!("{}; what was built before is still served", failure.message));
                        self.reporter.update(|report| {
                            report.phase = shown.0;
                            report.failure = Some(failure);
                        });
                        continue;
                    }
                }
            }
            if self.options.restart_on_change {
                return;
            }
        }
    }

    async fn stop(&self, pid: Pid) {
        self.reporter.update(|report| {
            report.phase = Phase::Starting;
            report.port = None;
            report.listeners.clear();
        });
        say("restarting: the source has changed");
        self.children.signal(pid, Signal::TERM);
        if tokio::time::timeout(GRACE, self.children.ended(pid)).await.is_err() {
            self.children.signal(pid, Signal::KILL);
            self.children.ended(pid).await;
        }
    }

    fn start(
        &self,
        step: Step,
        line: &str,
        words: &[String],
        environment: &Environment,
        directory: &Path,
    ) -> Result<Run<'_>, Failure> {
        let child =
            self.children.start(&Program { words, environment, directory }).map_err(|error| Failure {
                step,
                command: line.to_owned(),
                ended: None,
                message: error.to_string(),
                hint: None,
                retry_ms: None,
            })?;
        let pumps = Pumps::start(child.output, child.errors, &self.reporter);
        Ok(Run { children: &self.children, pid: child.pid, pumps: Some(pumps) })
    }

    fn failure(&self, step: Step, line: &str, ended: Ended, kills_before: u64) -> Failure {
        let ended = if process::memory_kills() > kills_before { Ended::OutOfMemory } else { ended };
        let (message, hint) = match ended {
            Ended::OutOfMemory => (
                format!("`{line}` was killed: the memory limit was reached"),
                Some("raise the project's memory limit, or make it use less".to_owned()),
            ),
            Ended::Code(code) => {
                let hint = prepare::hint(&self.reporter.lines(), &self.environment());
                (format!("`{line}` ended with code {code}"), hint)
            }
            Ended::Signal(signal) => (format!("`{line}` was ended by signal {signal}"), None),
        };
        Failure { step, command: line.to_owned(), ended: Some(ended), message, hint, retry_ms: None }
    }

    // ---- what commands find

    fn port(&self) -> u16 {
        let ours = self.options.start.len() > 1
            && self.options.start[0].ends_with("/nexus-agent")
            && self.options.start[1] == "static";
        self.options.port_hint.unwrap_or(if ours { STATIC_PORT } else { PORT })
    }

    fn environment(&self) -> Environment {
        let given = &self.options.environment;
        let python = prepare::is_python(self.options.install.as_deref());
        let surroundings = Surroundings {
            root: self.options.root.clone(),
            state: self.options.state.clone(),
            port: self.port(),
            home_writable: super::home_is_writable(given),
            python,
        };
        environment::surround(given, &surroundings)
    }
}

/// A program that runs. Dropped, it and all it has started are killed.
struct Run<'a> {
    children: &'a Children,
    pid: Pid,
    pumps: Option<Pumps>,
}

impl Run<'_> {
    /// Takes the last output of a program that has ended, after ending what it left behind.
    async fn end(mut self) {
        self.children.bury(self.pid);
        if let Some(pumps) = self.pumps.take() {
            pumps.drain().await;
        }
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        if self.pumps.is_some() {
            self.children.bury(self.pid);
        }
    }
}

/// What the commands of one line hand on to the next.
struct Place {
    environment: Environment,
    directory: PathBuf,
}

impl Place {
    /// Takes one command: changes the place, or says what to run.
    fn take(&mut self, command: &Command) -> Option<(Environment, Vec<String>)> {
        match command.resolve(|name| self.environment.get(name).cloned()) {
            Action::Run { environment, words } => {
                let mut own = self.environment.clone();
                own.extend(environment);
                Some((own, words))
            }
            Action::Set(pairs) => {
                self.environment.extend(pairs);
                None
            }
            Action::Directory(directory) => {
                self.directory.push(directory);
                None
            }
        }
    }
}

fn refused(step: Step, line: &str, error: &command::CommandError) -> Failure {
    Failure {
        step,
        command: line.to_owned(),
        ended: None,
        message: error.to_string(),
        hint: Some(error.hint()),
        retry_ms: None,
    }
}

/// Waits until changes have come to an end.
async fn settle(progress: &mut watch::Receiver<Progress>) {
    let deadline = Instant::now() + QUIET_MAX;
    progress.mark_unchanged();
    while Instant::now() < deadline {
        if tokio::time::timeout(QUIET, progress.changed()).await.is_err() {
            return;
        }
    }
}

/// Pauses that grow.
#[derive(Debug, Default)]
struct Pause(Option<Duration>);

impl Pause {
    fn next(&mut self, first: Duration) -> Duration {
        let pause = self.0.map_or(first, |last| last.saturating_mul(2)).clamp(first, PAUSE_MAX);
        self.0 = Some(pause);
        pause
    }
}
