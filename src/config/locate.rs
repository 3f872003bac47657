//! Finds where a key stands in the text of a settings file. Pure.
//!
//! The YAML reader keeps no positions. Settings files are nested block mappings, so the lines themselves tell; for a
//! key written any other way, the closest key above it is pointed at.

/// The line and column, counted from 1, of a dotted key.
pub fn locate(text: &str, key: &str) -> Option<(usize, usize)> {
    let mut open: Vec<(usize, &str)> = Vec::new();
    let mut best: Option<(usize, (usize, usize))> = None;
    for (number, line) in text.lines().enumerate() {
        let Some((indent, name)) = key_of(line) else { continue };
        open.retain(|(above, _)| *above < indent);
        open.push((indent, name));
        let path = open.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(".");
        let place = (number + 1, indent + 1);
        if path == key {
            return Some(place);
        }
        let covers = key.strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with('.'));
        if covers && best.is_none_or(|(length, _)| length < path.len()) {
            best = Some((path.len(), place));
        }
    }
    best.map(|(_, place)| place)
}

/// The indent and the key of a line `  key: ...`.
fn key_of(line: &str) -> Option<(usize, &str)> {
    let indent = line.len() - line.trim_start_matches(' ').len();
    let rest = &line[indent..];
    let (name, after) = match rest.chars().next()? {
        quote @ ('"' | '\'') => {
            let (name, after) = rest[1..].split_once(quote)?;
            (name, after.trim_start().strip_prefix(':')?)
        }
        '#' | '-' | '{' | '[' => return None,
        _ => rest.split_once(':')?,
    };
    (after.is_empty() || after.starts_with([' ', '\t', '\r'])).then(|| (indent, name.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_where_they_stand() {
        let text = "# x: y\nweb:\n    listen: 1.2.3.4:80\n\nlog:\n  'level': info\nengine: { socket: x }\nweb.hosts: []\n";
        for (key, place) in [
            ("web", Some((2, 1))),
            ("web.listen", Some((3, 5))),
            ("log.level", Some((6, 3))),
            ("engine.socket", Some((7, 1))),
            ("web.hosts", Some((8, 1))),
            ("x", None),
        ] {
            assert_eq!(locate(text, key), place, "{key}");
        }
    }
}
