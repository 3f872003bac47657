//! The frame of every page, and the few pieces they share.

use std::fmt::{self, Display, Write as _};

use super::super::table::Site;

/// Text made harmless in HTML, in content and in quoted attributes.
pub(super) struct Text<'a>(pub(super) &'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(['&', '<', '>', '"', '\'']) {
            f.write_str(&rest[..at])?;
            f.write_str(match rest.as_bytes()[at] {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                _ => "&#39;",
            })?;
            rest = &rest[at + 1..];
        }
        f.write_str(rest)
    }
}

/// A whole page around its `main`.
pub(super) fn frame(title: &str, main: &str) -> String {
    let title = Text(title);
    format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="/_nexus/nexus.svg" type="image/svg+xml">
<link rel="stylesheet" href="/_nexus/nexus.css">
<script src="/_nexus/nexus.js" defer></script>
</head>
<body>
<header class="top"><a class="brand" href="/_nexus/"><img src="/_nexus/nexus.svg" alt="" width="26" height="26">Nexus</a>
<nav><a href="/monitor">Monitor</a></nav></header>
{main}
</body>
</html>
"#
    )
}

/// A site's picture, or its letter on a colour of its own.
pub(super) fn picture(site: &Site) -> String {
    if site.icon.is_some() {
        return format!(
            r#"<img class="icon" src="/_nexus/icon/{}" alt="" width="48" height="48">"#,
            Text(&site.name)
        );
    }
    let letter = site.title().chars().find(|letter| letter.is_alphanumeric()).unwrap_or('?');
    let letter: String = letter.to_uppercase().collect();
    format!(r#"<span class="icon letter hue{}" aria-hidden="true">{}</span>"#, hue(&site.name), Text(&letter))
}

/// One of twelve colours, the same for a name for ever.
fn hue(name: &str) -> u32 {
    name.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte))) % 12
}

/// Output as programs print it for terminals, without the terminal's escape sequences.
pub(super) fn without_escapes(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' if characters.next_if_eq(&'[').is_some() => {
                // CSI: parameters up to one final letter.
                while characters.next().is_some_and(|next| !('@'..='~').contains(&next)) {}
            }
            '\t' => plain.push(character),
            _ if character.is_control() => {}
            _ => plain.push(character),
        }
    }
    plain
}

/// The last lines of output, or nothing.
pub(super) fn output(caption: &str, lines: &[String]) -> String {
    let text: String = lines.iter().map(|line| without_escapes(line) + "\n").collect();
    let hidden = if lines.is_empty() { " hidden" } else { "" };
    format!(
        r#"<section class="output"{hidden}><h2>{caption}</h2><pre id="log" tabindex="0">{}</pre></section>"#,
        Text(&text)
    )
}

/// Messages are lower case without a full stop; on a page they stand alone.
pub(super) fn sentence(message: &str) -> String {
    let mut characters = message.chars();
    let Some(first) = characters.next() else { return String::new() };
    let mut sentence: String = first.to_uppercase().collect();
    sentence.push_str(characters.as_str());
    if !sentence.ends_with(['.', '?', '!', ':']) {
        sentence.push('.');
    }
    sentence
}

/// What stands in backticks becomes code.
pub(super) fn code(text: &str) -> String {
    let mut html = String::new();
    for (index, part) in text.split('`').enumerate() {
        let _infallible = if index % 2 == 1 {
            write!(html, "<code>{}</code>", Text(part))
        } else {
            write!(html, "{}", Text(part))
        };
    }
    html
}
