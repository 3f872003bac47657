//! Makes hostile text fit for a terminal or a log: names, log lines and messages come from other people's folders.

use std::borrow::Cow;

/// Whether a character could move the cursor, change colours, start a new record or reorder what is shown.
fn hostile(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// One line of text with every control and direction character written out as `\u{1b}`, `\n`, ...
pub fn line(text: &str) -> Cow<'_, str> {
    escape(text, |_| false)
}

/// Text of several lines: line ends and tabs stay, everything else is treated as in [`line()`].
pub fn block(text: &str) -> Cow<'_, str> {
    escape(text, |c| matches!(c, '\n' | '\t'))
}

fn escape(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(|c| hostile(c) && !keep(c)) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if !hostile(c) || keep(c) {
            safe.push(c);
        } else if c.is_control() {
            safe.extend(c.escape_default());
        } else {
            safe.extend(c.escape_unicode());
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_written_out() {
        assert_eq!(line("plain caf\u{e9} \u{65e5}"), "plain caf\u{e9} \u{65e5}");
        assert_eq!(line("a\x1b[31mred\nb\r\t\u{9b}2J"), "a\\u{1b}[31mred\\nb\\r\\t\\u{9b}2J");
        assert_eq!(line("evil\u{202e}txt.exe"), "evil\\u{202e}txt.exe");
        assert_eq!(block("one\n\ttwo\x07\r\n"), "one\n\ttwo\\u{7}\\r\n");
    }
}
