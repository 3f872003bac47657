//! Command lines: words quoted so that they stay words, and lines that would need a shell told apart.
//!
//! Lines are run without a shell: words, quotes, `$VAR` and `${VAR:-x}`, `A=b` before the command and `&&` are all there
//! is. A value from a manifest enters a line only through [`word`].

/// A value as one word of a line; `None` when no quoting makes it safe: control characters, or nothing at all.
pub(crate) fn word(value: &str) -> Option<String> {
    if value.is_empty() || value.chars().any(hostile) {
        return None;
    }
    let plain = |c: char| {
        c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '@' | ':' | '+' | ',' | '=' | '%')
    };
    Some(if value.chars().all(plain) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', "'\\''"))
    })
}

/// A path as one word of a line that no program takes for an option.
pub(crate) fn path_word(path: &str) -> Option<String> {
    if path.starts_with('-') { word(&format!("./{path}")) } else { word(path) }
}

/// Characters no command line holds: controls, line ends of any kind, and the marks that reorder text on a screen.
pub(crate) fn hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What in a line only a shell understands; `None` when the line can be run as it is.
pub(crate) fn shell_syntax(line: &str) -> Option<&'static str> {
    let mut chars = line.chars().peekable();
    let mut quote = None;
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some('\''), '\'') | (Some('"'), '"') => quote = None,
            (Some('\''), _) => {}
            (_, '\\') => drop(chars.next()),
            (_, '`') => return Some("a command substitution"),
            (_, '$') if chars.peek() == Some(&'(') => return Some("a command substitution"),
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '&') if chars.peek() == Some(&'&') => drop(chars.next()),
            (None, '&') => return Some("a background command `&`"),
            (None, '|') => return Some("a pipe or `||`"),
            (None, ';') => return Some("a list `;`"),
            (None, '<' | '>') => return Some("a redirect"),
            (None, '(' | ')') => return Some("a subshell"),
            (None, '*' | '?') => return Some("a file pattern"),
            (None, _) => {}
        }
    }
    quote.map(|_| "a quote that is not closed")
}

/// The words of a line, quotes removed, for looking at it; not for running it.
pub(crate) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut current: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => current.get_or_insert_default().push(c),
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                current.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(current.take()),
            None => current.get_or_insert_default().push(c),
        }
    }
    words.extend(current);
    words
}

/// The command's own words: `A=b` assignments before it left out.
pub(crate) fn command(line: &str) -> Vec<String> {
    let assignment = |word: &String| {
        word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        })
    };
    words(line).into_iter().skip_while(assignment).collect()
}

/// The commands a line runs one after the other.
pub(crate) fn commands(line: &str) -> Vec<Vec<String>> {
    line.split("&&").map(command).filter(|words| !words.is_empty()).collect()
}

/// A relative path without `.` and empty parts; `None` when it is absolute or climbs with `..`. The project is `""`.
pub(crate) fn clean_path(path: &str) -> Option<String> {
    let path = path.trim().replace('\\', "/");
    if path.starts_with('/') || path.chars().any(hostile) {
        return None;
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") { None } else { Some(parts.join("/")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_one_word() {
        assert_eq!(word("dist/main.js").as_deref(), Some("dist/main.js"));
        assert_eq!(word("a b").as_deref(), Some("'a b'"));
        assert_eq!(word("$(id)").as_deref(), Some("'$(id)'"));
        assert_eq!(word("it's").as_deref(), Some("'it'\\''s'"));
        assert_eq!(word("a\nb"), None);
        assert_eq!(word("a\u{202e}b"), None);
        assert_eq!(word(""), None);
        assert_eq!(path_word("-e.js").as_deref(), Some("./-e.js"));
    }

    #[test]
    fn lines_that_need_a_shell_are_told_apart() {
        for line in
            ["node a.js", "A=b rake db:migrate && puma -p ${PORT:-3000}", "php -r \"a(); b();\"", "x 'a|b'"]
        {
            assert_eq!(shell_syntax(line), None, "{line}");
        }
        for line in [
            "a | b",
            "a; b",
            "a & b",
            "a > b",
            "echo `x`",
            "echo $(x)",
            "echo \"$(x)\"",
            "rm *",
            "echo 'x",
            "a || b",
        ] {
            assert!(shell_syntax(line).is_some(), "{line}");
        }
    }

    #[test]
    fn paths_stay_inside() {
        assert_eq!(clean_path("./a//b/").as_deref(), Some("a/b"));
        assert_eq!(clean_path("/etc"), None);
        assert_eq!(clean_path("a/../.."), None);
        assert_eq!(clean_path(".").as_deref(), Some(""));
    }
}
