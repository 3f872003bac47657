//! Writes a tree as YAML that every YAML reader reads back as the same bytes.
//!
//! An emitter of our own, because the reader is Compose (another language's YAML, with interpolation on top): a string
//! is written plain only when no version of YAML could take it for anything else; any other is double-quoted with every
//! unusual character escaped. `$` becomes `$$` in values, so that Compose substitutes nothing, ever. Keys are never
//! interpolated by Compose and stay as they are.

use std::fmt::Write as _;

use super::node::Node;

/// Writes `node` as a YAML document.
pub(crate) fn render(node: &Node) -> String {
    let mut out = String::new();
    block(node, 0, &mut out);
    out
}

/// Writes a value that starts on its own line.
fn block(node: &Node, depth: usize, out: &mut String) {
    match node {
        Node::Map(entries) if !entries.is_empty() => {
            for (place, (key, value)) in entries.iter().enumerate() {
                // The first entry of a map in a list stands behind its dash.
                if place > 0 || !out.ends_with("- ") {
                    indent(depth, out);
                }
                quote(key, out);
                out.push(':');
                after(value, depth + 1, out);
            }
        }
        Node::List(items) if !items.is_empty() => {
            for item in items {
                indent(depth, out);
                out.push('-');
                if matches!(item, Node::Map(entries) if !entries.is_empty()) {
                    out.push(' ');
                    block(item, depth + 1, out);
                } else {
                    after(item, depth + 1, out);
                }
            }
        }
        flat => {
            indent(depth, out);
            scalar(flat, out);
            out.push('\n');
        }
    }
}

/// Writes the value that follows a `key:` or a `-`.
fn after(node: &Node, depth: usize, out: &mut String) {
    let nested = match node {
        Node::Map(entries) => !entries.is_empty(),
        Node::List(items) => !items.is_empty(),
        _ => false,
    };
    if nested {
        out.push('\n');
        block(node, depth, out);
    } else {
        out.push(' ');
        scalar(node, out);
        out.push('\n');
    }
}

fn indent(depth: usize, out: &mut String) {
    out.extend(std::iter::repeat_n("  ", depth));
}

fn scalar(node: &Node, out: &mut String) {
    match node {
        Node::Null => out.push_str("null"),
        Node::Bool(value) => write!(out, "{value}").expect("a string takes every write"),
        Node::Int(value) => write!(out, "{value}").expect("a string takes every write"),
        Node::Float(value) => write!(out, "{value:?}").expect("a string takes every write"),
        Node::Text(text) => quote(&text.replace('$', "$$"), out),
        Node::List(_) => out.push_str("[]"),
        Node::Map(_) => out.push_str("{}"),
    }
}

/// Writes text plain when that is safe in every YAML there is, else double-quoted.
fn quote(text: &str, out: &mut String) {
    if is_plain(text) {
        out.push_str(text);
        return;
    }
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            ' '..='~' => out.push(character),
            letter if letter.is_alphanumeric() && (letter as u32) < 0x1_0000 => out.push(letter),
            other if (other as u32) < 0x100 => {
                write!(out, "\\x{:02x}", other as u32).expect("a string takes every write");
            }
            other if (other as u32) < 0x1_0000 => {
                write!(out, "\\u{:04x}", other as u32).expect("a string takes every write");
            }
            other => write!(out, "\\U{:08x}", other as u32).expect("a string takes every write"),
        }
    }
    out.push('"');
}

/// A word of letters, digits and `_ . / -` that starts with a letter, `_` or `/` and is no boolean, null or number.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 10] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan"];
    let first = text.bytes().next();
    first.is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_' || byte == b'/')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_./-".contains(&byte))
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_words_go_unquoted() {
        let mut out = String::new();
        for text in [
            "node",
            "/nexus/nexus-agent",
            "yes",
            "1e3",
            "0x10",
            "",
            "-",
            "a: b",
            "~",
            "2001-01-01",
            "caf\u{e9}\u{2028}",
        ] {
            quote(text, &mut out);
            out.push(' ');
        }
        assert_eq!(
            out,
            "node /nexus/nexus-agent \"yes\" \"1e3\" \"0x10\" \"\" \"-\" \"a: b\" \"~\" \"2001-01-01\" \"caf\u{e9}\\u2028\" "
        );
    }

    #[test]
    fn nesting_and_empty_collections() {
        let tree = Node::Map(vec![
            (
                "a".to_owned(),
                Node::List(vec![
                    Node::Map(vec![("b".to_owned(), Node::Int(1))]),
                    Node::Text("$x".to_owned()),
                ]),
            ),
            ("c".to_owned(), Node::Map(vec![])),
        ]);
        assert_eq!(render(&tree), "a:\n  - b: 1\n  - \"$$x\"\nc: {}\n");
        assert!(serde_yaml::from_str::<serde_yaml::Value>(&render(&tree)).is_ok());
    }
}
