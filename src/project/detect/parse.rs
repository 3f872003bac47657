//! Parses manifests; what does not parse becomes a problem with its line and column.

use serde_json::Value;

use crate::base::yaml::bounded;
use crate::model::project::Problem;
use crate::project::detect::view::View;
use crate::project::listing::Content;
use crate::project::listing::EntryKind;

/// A manifest that is there: parsed, or the problem with it.
pub(crate) type Parsed<T> = Option<Result<T, Problem>>;

/// Parses JSON. An empty file is broken, as it is for the tools that read it.
pub(crate) fn json(view: &View<'_>, file: &str) -> Parsed<Value> {
    let text = text(view, file)?;
    Some(text.and_then(|text| {
        serde_json::from_str(text).map_err(|error| {
            let at = (error.line(), error.column());
            at_line(
                view,
                file,
                Some(at),
                &format!("not valid JSON: {}", without_position(&error.to_string())),
            )
        })
    }))
}

/// Parses JSON with comments and trailing commas (tsconfig, deno.jsonc), unquoted keys and single quotes (JSON5).
pub(crate) fn json5(view: &View<'_>, file: &str) -> Parsed<Value> {
    let text = text(view, file)?;
    Some(text.and_then(|text| {
        serde_json::from_str(&relaxed(text))
            .map_err(|error| at_line(view, file, None, &without_position(&error.to_string())))
    }))
}

/// Parses TOML.
pub(crate) fn toml(view: &View<'_>, file: &str) -> Parsed<toml::Table> {
    let text = text(view, file)?;
    Some(text.and_then(|text| {
        text.parse::<toml::Table>().map_err(|error| {
            let at = error.span().map(|span| position(text, span.start));
            at_line(view, file, at, &format!("not valid TOML: {}", error.message()))
        })
    }))
}

/// Parses YAML.
pub(crate) fn yaml(view: &View<'_>, file: &str) -> Parsed<serde_yaml::Value> {
    let text = text(view, file)?;
    Some(text.and_then(|text| yaml_text(text).map_err(|(at, message)| at_line(view, file, at, &message))))
}

/// Parses YAML text: the value, or where and what is wrong.
pub(crate) fn yaml_text(text: &str) -> Result<serde_yaml::Value, (Option<(usize, usize)>, String)> {
    let text = bounded(text).map_err(|message| (None, message))?;
    let mut value: serde_yaml::Value = serde_yaml::from_str(text).map_err(|error| {
        let at = error.location().map(|at| (at.line(), at.column()));
        (at, format!("not valid YAML: {}", without_position(&error.to_string())))
    })?;
    value.apply_merge().map_err(|error| (None, format!("not valid YAML: {error}")))?;
    Ok(value)
}

/// The text of a manifest that is there; the problem when it cannot be read.
fn text<'a>(view: &View<'a>, file: &str) -> Option<Result<&'a str, Problem>> {
    let broken = |message: &str, hint: &str| Some(Err(view.fatal(file, message, hint)));
    match (&view.entry(file)?.kind, view.content(file)) {
        (EntryKind::File, Some(Content::Text(text))) => Some(Ok(text)),
        (EntryKind::File, Some(Content::Binary)) => broken("not a text file", "write it again as UTF-8"),
        (EntryKind::File, Some(Content::Unreadable(why))) => {
            broken(&format!("cannot be read: {why}"), "give the node read access")
        }
        (EntryKind::File, _) => broken("too large to be a manifest", "make it smaller than 256 KiB"),
        (EntryKind::Unreadable(why), _) => {
            broken(&format!("cannot be read: {why}"), "give the node read access")
        }
        (EntryKind::Link(what), _) => broken(what, "put the file itself there"),
        _ => None,
    }
}

fn at_line(view: &View<'_>, file: &str, at: Option<(usize, usize)>, message: &str) -> Problem {
    let mut problem = view.fatal(file, message, "mend the file; detection runs again when it changes");
    problem.line = at.map(|at| at.0.max(1));
    problem.column = at.map(|at| at.1.max(1));
    problem
}

/// Line and column, both from 1, of a byte offset.
pub(crate) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

fn without_position(message: &str) -> String {
    message.split(" at line ").next().unwrap_or(message).to_owned()
}

/// JSON5 made into JSON: enough for manifests, not a validator.
fn relaxed(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '/' if chars.peek() == Some(&'/') => {
                chars.by_ref().take_while(|c| *c != '\n').for_each(drop);
                out.push('\n');
            }
            '/' if chars.peek() == Some(&'*') => {
                chars.next();
                let mut last = ' ';
                for c in chars.by_ref() {
                    if last == '*' && c == '/' {
                        break;
                    }
                    last = c;
                }
            }
            '"' | '\'' => string(c, &mut chars, &mut out),
            '}' | ']' => {
                let kept = out.trim_end().trim_end_matches(',').len();
                if out.trim_end().ends_with(',') {
                    out.truncate(kept);
                }
                out.push(c);
            }
            c if c.is_ascii_alphabetic() || c == '_' || c == '$' => {
                let mut word = String::from(c);
                while let Some(c) =
                    chars.next_if(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '+' | '-' | '.'))
                {
                    word.push(c);
                }
                let key = chars.clone().find(|c| !c.is_whitespace()) == Some(':');
                out.push_str(&if key { format!("\"{word}\"") } else { word });
            }
            c => out.push(c),
        }
    }
    out
}

fn string(quote: char, chars: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) {
    out.push('"');
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('\'') => out.push('\''),
                Some('\n') | None => {}
                Some(escaped) => out.extend(['\\', escaped]),
            },
            c if c == quote => break,
            '"' => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out.push('"');
}
