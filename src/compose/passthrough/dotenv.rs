//! Reads `.env` files as Compose does.
//!
//! `KEY=value`, `export KEY=value`, `# comments`, 'literal' and "escaped" values that may span lines, variables in
//! values that are not literal.

use super::interpolate::Variables;

/// Reads `text` into pairs, in order; variables are looked up in `variables` and in the pairs before.
///
/// # Errors
/// The 1-based line and what is wrong with it.
pub(super) fn read(text: &str, variables: &mut Variables) -> Result<Vec<(String, String)>, (usize, String)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut rest = text.as_str();
    let mut line = 1;
    while !rest.is_empty() {
        let (first, _) = rest.split_once('\n').unwrap_or((rest, ""));
        let consumed = match statement(first) {
            None => first.len(),
            Some(Err(why)) => return Err((line, why)),
            Some(Ok((key, None))) => {
                // A name alone takes the value of the surroundings; without one it is nothing.
                if let Some(value) = variables.known.get(key) {
                    pairs.push((key.to_owned(), value.clone()));
                }
                first.len()
            }
            Some(Ok((key, Some(at)))) => {
                let (value, length) = value(&rest[at..], variables).map_err(|why| (line, why))?;
                variables.known.entry(key.to_owned()).or_insert_with(|| value.clone());
                pairs.push((key.to_owned(), value));
                at + length
            }
        };
        line += rest[..consumed].matches('\n').count();
        rest = &rest[consumed..];
        if let Some(after) = rest.strip_prefix('\n') {
            rest = after;
            line += 1;
        }
    }
    Ok(pairs)
}

/// The name a line gives a value to, and where the value starts.
fn statement(line: &str) -> Option<Result<(&str, Option<usize>), String>> {
    let trimmed = line.trim_start();
    if trimmed.is_empty() || trimmed.starts_with('#') {
        return None;
    }
    let body = trimmed.strip_prefix("export ").map_or(trimmed, str::trim_start);
    let offset = line.len() - body.len();
    let end = body.find(['=', ':']).unwrap_or(body.len());
    let key = body[..end].trim();
    let good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if key.is_empty() || !key.chars().all(good) {
        // Not the line itself: it may hold a secret.
        return Some(Err("the line is not `NAME=value`".to_owned()));
    }
    Some(Ok((key, (end < body.len()).then_some(offset + end + 1))))
}

/// The value `rest` starts with, and how much of it was read: up to the end of its line.
fn value(rest: &str, variables: &mut Variables) -> Result<(String, usize), String> {
    let start = rest.len() - rest.trim_start_matches([' ', '\t']).len();
    let body = &rest[start..];
    let line_end = |from: usize| rest[from..].find('\n').map_or(rest.len(), |at| from + at);
    if let Some(quoted) = body.strip_prefix('\'') {
        let end = quoted.find('\'').ok_or("a quote is not closed")?;
        return Ok((quoted[..end].to_owned(), line_end(start + 1 + end)));
    }
    if let Some(quoted) = body.strip_prefix('"') {
        let end = unescaped_quote(quoted).ok_or("a quote is not closed")?;
        let text = variables.substitute(&unescape(&quoted[..end]))?;
        return Ok((text, line_end(start + 1 + end)));
    }
    let end = line_end(start);
    let line = &rest[start..end];
    let bare = line.find(" #").map_or(line, |at| &line[..at]);
    Ok((variables.substitute(bare.trim_end())?, end))
}

fn unescaped_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, character)| {
        let found = character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
        found.then_some(at)
    })
}

/// Undoes `\n`, `\t`, `\r`, `\"`, `\\`; `\$` becomes a dollar that is not a variable's.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('$') => out.push_str("$$"),
            Some(other @ ('"' | '\\')) => out.push(other),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_compose_reads_them() {
        let text = "\u{feff}# a comment\r\nA=1\nexport B = two words # said\nC='$A # literal'\nD=\"$A\\n\\\"x\\\" \\$A\"\n\nE=\nF: yaml\nG=\"two\nlines\"\nH=a#b\nI=${NOPE:-d}\nJ\n";
        let pairs = read(text, &mut Variables::default()).unwrap();
        let shown: Vec<_> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(
            shown,
            [
                ("A", "1"),
                ("B", "two words"),
                ("C", "$A # literal"),
                ("D", "1\n\"x\" $A"),
                ("E", ""),
                ("F", "yaml"),
                ("G", "two\nlines"),
                ("H", "a#b"),
                ("I", "d"),
            ]
        );
    }

    #[test]
    fn a_broken_line_is_named_and_not_shown() {
        let broken = |text: &str| read(text, &mut Variables::default()).unwrap_err();
        assert_eq!(broken("A=\"x\ny\"\nhunter 2\n"), (3, "the line is not `NAME=value`".to_owned()));
        assert_eq!(broken("A='x\n").0, 1);
        assert_eq!(broken("A=1\n\nB=${X\n").0, 3);
        assert!(!broken("A=1\nhun ter2\n").1.contains("hun"));
    }
}
