//! The two streams: data on standard output, talk on standard error.
//!
//! On a terminal, control characters in other people's text are written out; into a pipe or file bytes go as they are.

use std::borrow::Cow;
use std::io;
use std::io::IsTerminal as _;
use std::io::Write as _;

use serde::Serialize;

use crate::base::printable;

/// Where a command speaks.
pub struct Screen {
    /// Whether data is JSON.
    pub json: bool,
    /// Whether standard output is a terminal.
    out_is_terminal: bool,
    /// Whether standard error is a terminal.
    pub talk_is_terminal: bool,
}

impl Screen {
    /// The process's own streams.
    pub fn new(json: bool) -> Self {
        Self {
            json,
            out_is_terminal: io::stdout().is_terminal(),
            talk_is_terminal: io::stderr().is_terminal(),
        }
    }

    /// Prints a value as JSON.
    pub fn value(&self, value: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string_pretty(value).expect("wire types become JSON");
        self.write(format!("{text}\n").as_bytes())
    }

    /// Prints one line of data.
    pub fn line(&self, text: &str) -> io::Result<()> {
        self.write(format!("{}\n", printable::line(text)).as_bytes())
    }

    /// Prints bytes of our own as they are.
    pub fn script(&self, bytes: &[u8]) -> io::Result<()> {
        self.write(bytes)
    }

    /// Prints bytes of somebody else's: a log, a program's output.
    pub fn foreign(&self, bytes: &[u8]) -> io::Result<()> {
        self.write(&foreign(bytes, self.out_is_terminal))
    }

    /// Prints bytes of somebody else's to standard error.
    pub fn foreign_talk(&self, bytes: &[u8]) -> io::Result<()> {
        io::stderr().write_all(&foreign(bytes, self.talk_is_terminal))
    }

    /// Prints rows in columns; the last column is not padded.
    pub fn table(&self, head: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
        self.write(table(head, rows).as_bytes())
    }

    /// Prints names and values; rows without a value are left out.
    pub fn facts(&self, facts: &[(&str, Option<String>)]) -> io::Result<()> {
        let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in facts.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
            self.line(&format!("{name:<width$}  {value}"))?;
        }
        Ok(())
    }

    /// Says a line to the person.
    pub fn say(&self, text: &str) {
        // Talk that nobody can hear is no failure.
        let _told = writeln!(io::stderr(), "{}", printable::line(text));
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    }
}

fn foreign(bytes: &[u8], terminal: bool) -> Cow<'_, [u8]> {
    if !terminal {
        return Cow::Borrowed(bytes);
    }
    // A line end as programs for terminals write it is no attack.
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
    Cow::Owned(printable::block(&text).into_owned().into_bytes())
}

fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<Cow<'_, str>>> =
        rows.iter().map(|row| row.iter().map(|cell| printable::line(cell)).collect()).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(head.get(column).map(|name| name.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    let head = head.iter().map(|name| Cow::Borrowed(*name)).collect();
    for row in std::iter::once(&head).chain(&rows) {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_names_cannot_move_the_cursor() {
        let rows = vec![
            vec!["caf\u{e9}".to_owned(), "running".to_owned()],
            vec!["a\x1b[2J".to_owned(), String::new()],
        ];
        assert_eq!(
            table(&["NAME", "STATE"], &rows),
            "NAME        STATE\ncaf\u{e9}        running\na\\u{1b}[2J\n"
        );
    }

    #[test]
    fn other_peoples_bytes_are_tamed_on_a_terminal_only() {
        let log = b"ok\r\n\x1b]0;owned\x07\xff\n";
        assert_eq!(foreign(log, false).as_ref(), log);
        assert_eq!(foreign(log, true).as_ref(), "ok\n\\u{1b}]0;owned\\u{7}\u{fffd}\n".as_bytes());
    }
}
