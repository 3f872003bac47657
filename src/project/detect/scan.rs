//! Looks for facts in source text with regular expressions (linear in time, whatever the text).

use std::sync::LazyLock;

use regex::Regex;

/// A pattern compiled once.
pub(crate) type Pattern = LazyLock<Regex>;

/// Declares patterns: `pattern!(NAME, r"...")`.
macro_rules! pattern {
    ($name:ident, $text:expr) => {
        static $name: std::sync::LazyLock<regex::Regex> =
            std::sync::LazyLock::new(|| regex::Regex::new($text).expect("a pattern in the source compiles"));
    };
}
pub(crate) use pattern;

pattern!(
    PORT_FALLBACK,
    r#"(?x)
    (?:process\.env\.PORT|process\.env\[['"]PORT['"]\]|env\.PORT|ENV\[['"]PORT['"]\]|Bun\.env\.PORT)
    \s*(?:\|\||\?\?)\s*['"]?(\d{2,5})
  | (?:environ\.get|getenv|ENV\.fetch|env)\(\s*['"]PORT['"]\s*,\s*['"]?(\d{2,5})
"#
);
pattern!(
    PORT_LITERAL,
    r#"(?x)
    \.(?:listen|Listen|Start|Run|ListenAndServe)\(\s*(?:\{[^}]{0,80}?port\s*:\s*)?['"`]?(?:[\w.]*:)?(\d{2,5})\b
  | (?i:\bport\b)\s*(?::=|[:=])\s*['"]?(\d{2,5})\b
"#
);

/// The port a source file names as its default.
pub(crate) fn port(text: &str) -> Option<u16> {
    let find = |pattern: &Pattern| {
        pattern.captures_iter(text).find_map(|found| {
            let number = found.iter().skip(1).flatten().next()?;
            number.as_str().parse::<u16>().ok().filter(|port| *port > 0)
        })
    };
    find(&PORT_FALLBACK).or_else(|| find(&PORT_LITERAL))
}

/// Text without JavaScript or Go comments, near enough for looking for facts.
pub(crate) fn without_comments(text: &str) -> String {
    pattern!(BLOCKS, r"(?s)/\*.*?\*/");
    pattern!(LINES, r#"(?m)(^|[\s;,{}()])//.*$"#);
    LINES.replace_all(&BLOCKS.replace_all(text, ""), "$1").into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_from_source() {
        assert_eq!(port("const port = process.env.PORT || 8080"), Some(8080));
        assert_eq!(port("app.listen(3000)"), Some(3000));
        assert_eq!(port("server.listen({ host: 'x', port: 4000 })"), Some(4000));
        assert_eq!(port("http.ListenAndServe(\":9000\", nil)"), Some(9000));
        assert_eq!(port("app.run(debug=False, host=\"0.0.0.0\", port=5000)"), Some(5000));
        assert_eq!(port("int(os.environ.get('PORT', 8000))"), Some(8000));
        assert_eq!(port("export = 99999"), None);
        assert_eq!(port("listen(99999)"), None);
    }
}
