//! Waits for a workspace to get somewhere and shows the way: a spinner on a terminal, one line per phase elsewhere.

use std::io;
use std::io::Write as _;
use std::time::Duration;
use std::time::Instant;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::Context;
use super::failure::Failure;
use super::screen::Screen;
use crate::api::wire;
use crate::base::fault::Kind;
use crate::base::printable;

/// How long a workspace is waited for: installing a large project takes minutes.
const WAIT_TIME: Duration = Duration::from_secs(30 * 60);
/// A failure that was there before counts as the answer when nothing has changed for so long.
const STALE_TIME: Duration = Duration::from_secs(15);
const TICK: Duration = Duration::from_millis(120);
const SPINNER: [&str; 4] = ["|", "/", "-", "\\"];

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// It answers, or its program has finished.
    Up,
    /// It exists and does not run.
    Down,
    /// It is gone.
    Gone,
}

/// Which workspace, and how it was when the request was taken.
pub struct Target<'a> {
    /// Its id, or the name of one that is about to be.
    pub key: &'a str,
    /// `updated_at` then; a state seen before means nothing when something was asked for since.
    pub before: Option<&'a str>,
    /// Whether a state that was there before is an answer too: it already runs, it is stopped.
    pub at_once: bool,
    /// Where it should get.
    pub goal: Goal,
}

enum Verdict {
    Wait,
    Reached,
    Failed,
}

fn judge(target: &Target<'_>, view: &wire::Workspace, stale: bool) -> Verdict {
    let fresh = stale || target.before != Some(view.updated_at.as_str());
    match (target.goal, view.state.as_str(), view.phase.as_str()) {
        (Goal::Gone, "destroyed", _) => Verdict::Reached,
        (Goal::Up, "running", "ready" | "finished") | (Goal::Down, "stopped", _)
            if fresh || target.at_once =>
        {
            Verdict::Reached
        }
        (_, "error", _) if fresh => Verdict::Failed,
        _ => Verdict::Wait,
    }
}

/// Waits until the workspace is where it should be; returns how it is then, `None` when it is gone.
pub async fn wait(context: &mut Context, target: Target<'_>) -> Result<Option<wire::Workspace>, Failure> {
    let body = context.client.stream("GET", "/api/v1/events", "text/event-stream", None::<&()>).await?;
    let mut line = StatusLine::new(&context.screen, target.key);
    let watched = watch(&mut line, body, &target);
    let outcome = tokio::time::timeout(WAIT_TIME, watched).await;
    line.clear();
    match outcome {
        Ok(outcome) => outcome,
        Err(_elapsed) => Err(Failure::new(
            Kind::Unavailable,
            format!("`{}` did not get there within {} minutes", target.key, WAIT_TIME.as_secs() / 60),
        )
        .hint(format!("see `nexus workspace show {}`; it is still being worked on", target.key))),
    }
}

async fn watch(
    line: &mut StatusLine<'_>,
    mut body: Incoming,
    target: &Target<'_>,
) -> Result<Option<wire::Workspace>, Failure> {
    let mut events = Events::default();
    let mut tick = tokio::time::interval(TICK);
    let mut current: Option<wire::Workspace> = None;
    let started = Instant::now();
    loop {
        // Cancel-safe: a frame is taken whole or not at all, an interval loses no tick that matters.
        let frame = tokio::select! {
            frame = body.frame() => frame,
            _ = tick.tick() => {
                line.turn();
                let stale = started.elapsed() > STALE_TIME;
                match current.as_ref().map(|view| judge(target, view, stale)) {
                    Some(Verdict::Failed) => return Err(failed(current.as_ref())),
                    _ => continue,
                }
            }
        };
        let Some(Ok(frame)) = frame else {
            return Err(Failure::new(Kind::Unavailable, "the node went away while it was being waited for"));
        };
        let Ok(data) = frame.into_data() else { continue };
        for event in events.push(&data) {
            if apply(&event, target, &mut current) && target.goal == Goal::Gone {
                return Ok(None);
            }
        }
        let Some(view) = &current else { continue };
        line.show(view);
        match judge(target, view, false) {
            Verdict::Wait => {}
            Verdict::Reached => return Ok(current),
            Verdict::Failed => return Err(failed(current.as_ref())),
        }
    }
}

/// Takes an event in; true when it says that the workspace is not there.
fn apply(event: &Event, target: &Target<'_>, current: &mut Option<wire::Workspace>) -> bool {
    let ours = |view: &wire::Workspace| view.id == target.key || view.name == target.key;
    match event.name.as_str() {
        "workspaces" => {
            let list: Option<wire::WorkspaceList> = serde_json::from_str(&event.data).ok();
            *current = list.and_then(|list| list.workspaces.into_iter().find(ours));
            current.is_none()
        }
        "workspace" => {
            if let Some(view) = serde_json::from_str(&event.data).ok().filter(ours) {
                *current = Some(view);
            }
            false
        }
        "gone" => {
            let gone: Option<wire::Gone> = serde_json::from_str(&event.data).ok();
            gone.is_some_and(|gone| current.as_ref().is_some_and(|view| view.id == gone.id))
        }
        _ => false,
    }
}

fn failed(view: Option<&wire::Workspace>) -> Failure {
    let Some(view) = view else { return Failure::new(Kind::Internal, "it failed") };
    let mut message =
        format!("`{}` failed: {}", view.name, view.message.as_deref().unwrap_or("no reason is known"));
    for line in view.log_tail.iter().rev().take(15).rev() {
        message += &format!("\n  {}", printable::line(line));
    }
    let hint = view.hint.clone().unwrap_or_else(|| format!("see `nexus workspace logs {}`", view.name));
    Failure::new(Kind::Internal, message).hint(hint)
}

/// The line on standard error.
struct StatusLine<'a> {
    screen: &'a Screen,
    shown: String,
    since: Instant,
    turns: usize,
    name: &'a str,
}

impl<'a> StatusLine<'a> {
    fn new(screen: &'a Screen, name: &'a str) -> Self {
        Self { screen, shown: String::new(), since: Instant::now(), turns: 0, name }
    }

    fn show(&mut self, view: &wire::Workspace) {
        let text = match &view.message {
            Some(message) if view.state != "running" => format!("{}: {} ({message})", view.name, view.phase),
            _ => format!("{}: {}", view.name, view.phase),
        };
        if text == self.shown {
            return;
        }
        self.since = Instant::now();
        if !self.screen.talk_is_terminal {
            self.screen.say(&text);
        }
        self.shown = text;
    }

    fn turn(&mut self) {
        if !self.screen.talk_is_terminal {
            return;
        }
        self.turns += 1;
        let spinner = SPINNER[self.turns % SPINNER.len()];
        let text = if self.shown.is_empty() { format!("{}: waiting", self.name) } else { self.shown.clone() };
        let text: String = printable::line(&text).chars().take(100).collect();
        // Talk that nobody can hear is no failure. `\r` to the start, `ESC[K` clears what was longer.
        let _told = write!(io::stderr(), "\r{spinner} {text} {}s\x1b[K", self.since.elapsed().as_secs());
    }

    fn clear(&mut self) {
        if self.screen.talk_is_terminal {
            let _told = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// One server-sent event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Event {
    name: String,
    data: String,
}

/// Cuts a byte stream into server-sent events.
#[derive(Default)]
struct Events {
    pending: Vec<u8>,
}

impl Events {
    fn push(&mut self, bytes: &[u8]) -> Vec<Event> {
        self.pending.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some(end) = self.pending.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.pending.drain(..end + 2).collect();
            let mut event = Event::default();
            for line in String::from_utf8_lossy(&block).lines() {
                match line.split_once(": ") {
                    Some(("event", name)) => name.clone_into(&mut event.name),
                    Some(("data", data)) => event.data.push_str(data),
                    _ => {}
                }
            }
            if !event.name.is_empty() {
                events.push(event);
            }
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_whole_however_they_arrive() {
        let mut events = Events::default();
        assert_eq!(events.push(b": keep-alive\n\nevent: gone\nda"), []);
        let event = Event { name: "gone".to_owned(), data: "{\"id\":\"x\"}".to_owned() };
        assert_eq!(events.push(b"ta: {\"id\":\"x\"}\n\nevent: wo"), [event]);
    }
}
