//! One line of a gitignore file, in the words of the matcher.
//!
//! The matcher's globs say a little more than git's (braces) and a little less (named classes, escapes in classes), and
//! differ in what a stray bracket means. So each line is read by git's rules and said again in a form about which both
//! agree. Git's rules: gitignore(5) and wildmatch. Where the two differ the manual counts: two stars within a component
//! (`a**/b`) are one, also directly behind the plain beginning of a pattern, where git takes them for a component.

/// What the line says, ready for the matcher; `Ok(None)` when it says nothing (empty, a comment).
///
/// # Errors
/// Says why no path can ever match the line.
pub(super) fn translate(line: &[u8]) -> Result<Option<String>, &'static str> {
    let line = String::from_utf8_lossy(trim(line));
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (negated, rest) = line.strip_prefix('!').map_or((false, &*line), |rest| (true, rest));
    let (only_directories, rest) = rest.strip_suffix('/').map_or((false, rest), |rest| (true, rest));
    let anchored = rest.contains('/');
    let rest = rest.strip_prefix('/').unwrap_or(rest);
    if rest.is_empty() {
        return Err("it names nothing");
    }
    if rest.split('/').any(str::is_empty) {
        return Err("it has an empty component");
    }
    let body = Body { text: rest.chars().collect(), anchored }.translate()?;
    // A slash in a class is none between components, but the matcher would take it for one.
    let anywhere = !anchored && body.contains('/');
    let mut glob = String::with_capacity(body.len() + 4);
    let parts = [("!", negated), ("/", anchored), ("**/", anywhere), (&body, true), ("/", only_directories)];
    for (part, wanted) in parts {
        if wanted {
            glob.push_str(part);
        }
    }
    Ok(Some(glob))
}

/// Without a carriage return and without spaces at the end, but for those that are escaped.
fn trim(line: &[u8]) -> &[u8] {
    let mut line = line.strip_suffix(b"\r").unwrap_or(line);
    while let Some(rest) = line.strip_suffix(b" ") {
        let escapes = rest.iter().rev().take_while(|byte| **byte == b'\\').count();
        if escapes % 2 == 1 {
            break;
        }
        line = rest;
    }
    line
}

/// A pattern without its marks.
struct Body {
    text: Vec<char>,
    /// Whether it is matched against the whole path and not against the name alone.
    anchored: bool,
}

impl Body {
    fn translate(&self) -> Result<String, &'static str> {
        let mut out = String::new();
        let mut at = 0;
        while let Some(&character) = self.text.get(at) {
            at += 1;
            match character {
                '*' => at = self.stars(at, &mut out),
                // What is not text in the line; git compares bytes, the matcher's `?` is one byte.
                '?' | char::REPLACEMENT_CHARACTER => out.push('?'),
                '[' => at = self.class(at, &mut out)?,
                '\\' => {
                    literal(*self.text.get(at).ok_or("it ends in a backslash")?, &mut out);
                    at += 1;
                }
                other => literal(other, &mut out),
            }
        }
        Ok(out)
    }

    /// A run of stars, the first of them before `at`; two or more cross directories only as a component of their own.
    fn stars(&self, at: usize, out: &mut String) -> usize {
        let end = at + self.text[at..].iter().take_while(|character| **character == '*').count();
        let rest = &self.text[end..];
        let starts = at == 1 || self.text[at - 2] == '/';
        let ends = matches!(rest, [] | ['/', ..] | ['\\', '/', ..]);
        out.push_str(if self.anchored && end > at && starts && ends { "**" } else { "*" });
        end
    }

    /// A class, its bracket before `at`.
    fn class(&self, mut at: usize, out: &mut String) -> Result<usize, &'static str> {
        let open = || "a `[` is not closed";
        let mut class = Class::default();
        if matches!(self.text.get(at), Some('!' | '^')) {
            class.negated = true;
            at += 1;
        }
        let start = at;
        let mut before = None;
        loop {
            let character = *self.text.get(at).ok_or_else(open)?;
            at += 1;
            match character {
                ']' if at > start + 1 => break,
                '-' if before.is_some() && self.text.get(at).is_some_and(|next| *next != ']') => {
                    let mut last = self.text[at];
                    at += 1;
                    if last == '\\' {
                        last = *self.text.get(at).ok_or_else(open)?;
                        at += 1;
                    }
                    class.range(before.take().unwrap_or(last), last);
                }
                '[' if self.text.get(at) == Some(&':') => {
                    let name_end =
                        self.text[at..].iter().position(|next| *next == ']').ok_or_else(open)? + at;
                    let name: String = self.text[at + 1..name_end].iter().collect();
                    match name.strip_suffix(':') {
                        Some(name) => {
                            class.named(name).ok_or("a class has no such name")?;
                            at = name_end + 1;
                            before = None;
                        }
                        // Then it was a bracket like any other character.
                        None => before = Some(class.one('[')),
                    }
                }
                '\\' => {
                    before = Some(class.one(*self.text.get(at).ok_or_else(open)?));
                    at += 1;
                }
                other => before = Some(class.one(other)),
            }
        }
        class.render(out)?;
        Ok(at)
    }
}

/// A character that means itself. At the end of a line the matcher would cut off white space.
fn literal(character: char, out: &mut String) {
    if character.is_whitespace() {
        out.extend(['[', character, ']']);
    } else {
        if character.is_ascii_punctuation() && character != '/' {
            out.push('\\');
        }
        out.push(character);
    }
}

/// What stands between brackets.
struct Class {
    negated: bool,
    ascii: [bool; 128],
    other: Vec<char>,
}

impl Default for Class {
    fn default() -> Self {
        Self { negated: false, ascii: [false; 128], other: Vec::new() }
    }
}

impl Class {
    fn one(&mut self, character: char) -> char {
        self.range(character, character);
        character
    }

    fn range(&mut self, first: char, last: char) {
        for character in [first, last] {
            if !character.is_ascii() && first <= last {
                self.other.push(character);
            }
        }
        for code in u32::from(first)..=u32::from(last).min(127) {
            self.ascii[code as usize] = true;
        }
    }

    fn named(&mut self, name: &str) -> Option<()> {
        let holds: fn(&u8) -> bool = match name {
            "alnum" => u8::is_ascii_alphanumeric,
            "alpha" => u8::is_ascii_alphabetic,
            "blank" => |byte| matches!(byte, b' ' | b'\t'),
            "cntrl" => u8::is_ascii_control,
            "digit" => u8::is_ascii_digit,
            "graph" => u8::is_ascii_graphic,
            "lower" => u8::is_ascii_lowercase,
            "print" => |byte| matches!(byte, b' '..=b'~'),
            "punct" => u8::is_ascii_punctuation,
            "space" => |byte| matches!(byte, b'\t'..=b'\r' | b' '),
            "upper" => u8::is_ascii_uppercase,
            "xdigit" => u8::is_ascii_hexdigit,
            _ => return None,
        };
        for byte in (0..128).filter(holds) {
            self.ascii[usize::from(byte)] = true;
        }
        Some(())
    }

    /// In the matcher's words, which know no escape: `]` means itself in the first place, `-` in the last, and `!` and
    /// `^` anywhere but in the first. A slash is in no class.
    fn render(mut self, out: &mut String) -> Result<(), &'static str> {
        self.ascii[usize::from(b'/')] = self.negated;
        let mut special = |byte: u8| std::mem::take(&mut self.ascii[usize::from(byte)]);
        let (bracket, dash, bang, hat) = (special(b']'), special(b'-'), special(b'!'), special(b'^'));
        let mut members = String::from(if bracket { "]" } else { "" });
        let mut code = 0_u8;
        while code < 128 {
            let length = self.ascii[usize::from(code)..].iter().take_while(|held| **held).count() as u8;
            match length {
                0 => {}
                1 => members.push(char::from(code)),
                _ => members.extend([char::from(code), '-', char::from(code + length - 1)]),
            }
            code += length + 1;
        }
        members.extend(self.other);
        let marks = [('!', bang), ('^', hat), ('-', dash)];
        let marks: String = marks.iter().filter(|(_, held)| *held).map(|(mark, _)| *mark).collect();
        match (members.is_empty() && !self.negated, &*marks) {
            (true, "") => return Err("a class is empty"),
            (true, "!^") => out.push_str("{\\!,\\^}"),
            (true, "!^-") => out.push_str("{\\!,\\^,\\-}"),
            (true, "!-" | "^-") => out.extend(["[-", &marks[..1], "]"]),
            (true, one) => out.extend(["\\", one]),
            (false, marks) => out.extend([if self.negated { "[!" } else { "[" }, &members, marks, "]"]),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_meaning_in_the_matchers_words() {
        for (line, glob) in [
            ("node_modules", "node\\_modules"),
            ("/dist/", "/dist/"),
            ("a/b", "/a/b"),
            ("!*.log", "!*\\.log"),
            ("a/**/b", "/a/**/b"),
            ("a**b", "a*b"),
            ("a/x**", "/a/x*"),
            ("{a,b}", "\\{a\\,b\\}"),
            ("\\!x", "\\!x"),
            ("x\\ ", "x[ ]"),
            ("x  \r", "x"),
            ("[[:digit:]_]", "[0-9_]"),
            ("[]a-]", "[]a-]"),
            ("[!a]", "**/[!/a]"),
            ("[\\]x]", "[]x]"),
            ("[^", ""),
        ] {
            let translated = translate(line.as_bytes()).unwrap_or(Some(String::new())).unwrap();
            assert_eq!(translated, glob, "{line}");
        }
        for nothing in ["", "# x", "   ", "\r"] {
            assert_eq!(translate(nothing.as_bytes()), Ok(None));
        }
        for never in ["/", "!/", "a[b", "x\\", "[[:nothing:]]", "a//b"] {
            assert!(translate(never.as_bytes()).is_err(), "{never}");
        }
    }
}
