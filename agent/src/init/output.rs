//! The report, and the lines that go into it on their way to the container's log.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::report;
use crate::report::Phase;
use crate::report::Report;

/// How long a program's last output may take after its end: something it left behind may hold the pipe for ever.
const DRAIN: Duration = Duration::from_millis(200);

/// The one place the report is changed; it says nothing at first.
#[derive(Debug, Default)]
pub struct Reporter {
    report: watch::Sender<Report>,
}

impl Reporter {
    /// Where it is read.
    pub fn subscribe(&self) -> watch::Receiver<Report> {
        self.report.subscribe()
    }

    /// Changes it; readers hear of it only when it has become another.
    pub fn update(&self, change: impl FnOnce(&mut Report)) {
        self.report.send_if_modified(|report| {
            let before = report.clone();
            change(report);
            *report != before
        });
    }

    /// What it says now.
    pub fn phase(&self) -> Phase {
        self.report.borrow().phase
    }

    /// The last lines.
    pub fn lines(&self) -> Vec<String> {
        self.report.borrow().lines.clone()
    }

    /// Adds a line. A program that works prints for its log, not for the report: then nobody is woken.
    fn line(&self, line: String) {
        self.report.send_if_modified(|report| {
            if report.lines.len() >= report::LINES {
                report.lines.remove(0);
            }
            report.lines.push(line);
            !matches!(report.phase, Phase::Ready | Phase::Finished)
        });
    }
}

/// Carries a child's output to the log and the report until it ends.
pub struct Pumps(JoinSet<()>);

impl Pumps {
    /// Starts both.
    pub fn start(output: Receiver, errors: Receiver, reporter: &Arc<Reporter>) -> Self {
        let mut pumps = JoinSet::new();
        pumps.spawn(pump(output, tokio::io::stdout(), Arc::clone(reporter)));
        pumps.spawn(pump(errors, tokio::io::stderr(), Arc::clone(reporter)));
        Self(pumps)
    }

    /// Takes what is left after the program's end.
    pub async fn drain(mut self) {
        let all = async { while self.0.join_next().await.is_some() {} };
        drop(tokio::time::timeout(DRAIN, all).await);
    }
}

async fn pump(mut pipe: Receiver, mut log: impl tokio::io::AsyncWrite + Unpin, reporter: Arc<Reporter>) {
    let mut splitter = Splitter::default();
    let mut buffer = Vec::with_capacity(8 * 1024);
    loop {
        buffer.clear();
        match pipe.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        // A log nobody takes must not stop the program's output from being seen here.
        drop(log.write_all(&buffer).await);
        drop(log.flush().await);
        splitter.push(&buffer, |line| reporter.line(line));
    }
    splitter.end(|line| reporter.line(line));
}

/// Makes lines out of bytes. Pure.
#[derive(Debug, Default)]
struct Splitter {
    partial: Vec<u8>,
}

impl Splitter {
    fn push(&mut self, bytes: &[u8], mut emit: impl FnMut(String)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = (4 * report::LINE_BYTES).saturating_sub(self.partial.len());
            self.partial.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                self.end(&mut emit);
            }
        }
    }

    fn end(&mut self, mut emit: impl FnMut(String)) {
        let line = clean(&std::mem::take(&mut self.partial));
        if !line.is_empty() {
            emit(line);
        }
    }
}

/// A line for people: what a terminal would show last, without colours and control characters.
fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end_matches(['\n', '\r']);
    let shown = text.rsplit('\r').next().unwrap_or_default();
    let mut line = String::new();
    let mut characters = shown.chars();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => skip_escape(&mut characters),
            '\t' => line.push_str("    "),
            other if other.is_control() => {}
            other => line.push(other),
        }
    }
    report::cut(&mut line);
    line.truncate(line.trim_end().len());
    line
}

/// `ESC [ ... letter`, or `ESC` and one character.
fn skip_escape(characters: &mut std::str::Chars<'_>) {
    if characters.next() == Some('[') {
        for character in characters.by_ref() {
            if ('@'..='~').contains(&character) {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let (mut splitter, mut found) = (Splitter::default(), Vec::new());
        for piece in pieces {
            splitter.push(piece, |line| found.push(line));
        }
        splitter.end(|line| found.push(line));
        found
    }

    #[test]
    fn lines_are_whole_clean_and_bounded() {
        assert_eq!(lines(&[b"one\ntw", b"o\r\nthree"]), ["one", "two", "three"]);
        assert_eq!(lines(&[b"\x1b[31mred\x1b[0m \x1b[2K10%\r100%\n\n"]), ["100%"]);
        assert_eq!(lines(&[b"\x1b[1;32mok\x1b[0m\tx\x07\xff\n"]), ["ok    x\u{fffd}"]);
        let long = vec![b'x'; 100_000];
        let found = lines(&[&long, b"\nnext\n"]);
        assert_eq!((found[0].len(), &found[1][..]), (report::LINE_BYTES, "next"));
    }

    #[test]
    fn only_the_last_lines_are_kept_and_a_working_program_wakes_nobody() {
        let reporter = Reporter::default();
        let mut reader = reporter.subscribe();
        for number in 0..report::LINES + 7 {
            reporter.line(number.to_string());
        }
        assert_eq!(reporter.lines().first().map(String::as_str), Some("7"));
        assert_eq!(reporter.lines().len(), report::LINES);
        assert!(reader.has_changed().unwrap());
        reporter.update(|report| report.phase = Phase::Ready);
        reader.mark_unchanged();
        reporter.line("request".to_owned());
        assert!(!reader.has_changed().unwrap());
    }
}
