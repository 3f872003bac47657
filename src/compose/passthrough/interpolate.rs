//! Replaces `${VARIABLES}` by their values, as Compose does: policy must see what Compose would run.
//!
//! `$$`, `$X`, `${X}`, `${X:-default}`, `${X-default}`, `${X:?why}`, `${X?why}`, `${X:+then}`, `${X+then}`, nested.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// How deep defaults may nest.
const DEEPEST: usize = 16;
/// The longest value one text may become.
const LONGEST: usize = 1 << 20;

/// The variables, and what was asked of them.
#[derive(Debug, Default)]
pub(super) struct Variables {
    /// What is known.
    pub(super) known: BTreeMap<String, String>,
    /// Variables that must be filled in, with what the file says about them.
    pub(super) missing: BTreeMap<String, String>,
    /// Variables that are used, not set, and have no default: blank.
    pub(super) blank: BTreeSet<String>,
}

impl Variables {
    /// `text` with every variable replaced.
    ///
    /// # Errors
    /// What is malformed about it. A variable that must be filled in is not an error here but in [`Self::missing`].
    pub(super) fn substitute(&mut self, text: &str) -> Result<String, String> {
        if !text.contains('$') {
            return Ok(text.to_owned());
        }
        self.expand(text, 0)
    }

    fn expand(&mut self, text: &str, depth: usize) -> Result<String, String> {
        if depth > DEEPEST {
            return Err("defaults nest too deeply".to_owned());
        }
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some(after) = rest.strip_prefix('{') {
                let end = closing(after).ok_or_else(|| format!("`${{` is not closed in {text:?}"))?;
                out.push_str(&self.braced(&after[..end], depth)?);
                rest = &after[end + 1..];
            } else {
                let length = name_length(rest);
                if length == 0 {
                    return Err(format!(
                        "`$` is followed by no variable in {text:?}; a plain dollar is written `$$`"
                    ));
                }
                out.push_str(&self.plain(&rest[..length]));
                rest = &rest[length..];
            }
            if out.len() > LONGEST {
                return Err("the value grows beyond 1 MiB".to_owned());
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    fn plain(&mut self, name: &str) -> String {
        match self.known.get(name) {
            Some(value) => value.clone(),
            None => {
                self.blank.insert(name.to_owned());
                String::new()
            }
        }
    }

    fn braced(&mut self, body: &str, depth: usize) -> Result<String, String> {
        let length = name_length(body);
        let (name, tail) = body.split_at(length);
        let malformed = || format!("`${{{body}}}` is not a variable");
        if name.is_empty() {
            return Err(malformed());
        }
        if tail.is_empty() {
            return Ok(self.plain(name));
        }
        let (filled, tail) = match tail.strip_prefix(':') {
            Some(tail) => (self.known.get(name).filter(|value| !value.is_empty()), tail),
            None => (self.known.get(name), tail),
        };
        let filled = filled.cloned();
        let mut parts = tail.chars();
        let (operator, word) = (parts.next(), parts.as_str());
        match (operator, filled) {
            (Some('-' | '?'), Some(value)) => Ok(value),
            (Some('-'), None) => self.expand(word, depth + 1),
            (Some('?'), None) => {
                let why = self.expand(word, depth + 1)?;
                self.missing.insert(name.to_owned(), why);
                Ok(String::new())
            }
            (Some('+'), Some(_)) => self.expand(word, depth + 1),
            (Some('+'), None) => Ok(String::new()),
            _ => Err(malformed()),
        }
    }
}

/// Where the brace that opened before `text` closes.
fn closing(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    let mut before = ' ';
    for (at, character) in text.char_indices() {
        match character {
            '{' if before == '$' => open += 1,
            '}' if open == 0 => return Some(at),
            '}' => open -= 1,
            _ => {}
        }
        before = character;
    }
    None
}

/// The length of the variable name `text` starts with.
fn name_length(text: &str) -> usize {
    let good = |(at, byte): &(usize, u8)| {
        byte.is_ascii_alphabetic() || *byte == b'_' || (*at > 0 && byte.is_ascii_digit())
    };
    text.bytes().enumerate().take_while(good).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_as_compose_does() {
        let known = [("A", "one"), ("EMPTY", ""), ("D", "$A ${B}")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let mut variables = Variables { known: known.into(), ..Variables::default() };
        let cases = [
            ("plain", "plain"),
            ("$A-${A}", "one-one"),
            ("$$A $${A}", "$A ${A}"),
            ("${B:-two} ${B-two} ${EMPTY:-three} [${EMPTY-three}]", "two two three []"),
            ("${B:-${A}} ${B:-${C:-deep}}", "one deep"),
            ("${A:+set}${B:+set}${EMPTY+set}${EMPTY:+set}", "setset"),
            ("${A:?why}", "one"),
            ("$D", "$A ${B}"),
            ("a{b}${A}}", "a{b}one}"),
            ("${B:-a:b/c}", "a:b/c"),
        ];
        for (text, expected) in cases {
            assert_eq!(variables.substitute(text).as_deref(), Ok(expected), "{text}");
        }
        assert!(variables.missing.is_empty());
        assert_eq!(variables.substitute("x${SECRET:?set a $A secret}${EMPTY:?}").unwrap(), "x");
        assert_eq!(variables.missing["SECRET"], "set a one secret");
        assert_eq!(variables.missing["EMPTY"], "");
        assert_eq!(variables.substitute("[$NOPE]").unwrap(), "[]");
        assert!(variables.blank.contains("NOPE"));
    }

    #[test]
    fn malformed_variables_are_errors() {
        let mut variables = Variables::default();
        let nested = format!("{}x{}", "${A:-".repeat(40), "}".repeat(40));
        for bad in ["${A", "$", "$1", "${}", "${1}", "${A!b}", "${A:}", "a $ b", "${A:-${B}", &nested] {
            assert!(variables.substitute(bad).is_err(), "{bad}");
        }
    }
}
