//! Reads a YAML file somebody else wrote into a [`Node`].
//!
//! Bounded in every direction before Compose sees anything: text, nesting, nodes and bytes after aliases are expanded.
//! Duplicate keys, tags and numbers that are none are errors with their line and column. What Compose reads later is our
//! rendering of this tree, so that two YAML readers can never disagree about what a file says.

use std::cell::Cell;
use std::fmt;

use serde::de::DeserializeSeed;
use serde::de::EnumAccess;
use serde::de::Error as _;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;

use crate::base::yaml::bounded;
use crate::compose::node::Node;
use crate::compose::problem::Problem;

/// The longest file read; the longest public compose files have some 50 KiB.
const LONGEST: usize = 256 << 10;
/// Values in a file, those that aliases repeat counted each time.
const MOST_NODES: usize = 100_000;
/// Bytes of all values, those that aliases repeat counted each time.
const MOST_BYTES: usize = 8 << 20;

/// Reads `text`, the content of `file`.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub(super) fn parse(file: &str, text: &str) -> Result<Node, Box<Problem>> {
    let wrong = |place, message: String, hint: &str| {
        let (file, key, hint) = (file.to_owned(), String::new(), Some(hint.to_owned()));
        Box::new(Problem { file, place, key, message, hint, allow: None })
    };
    if text.len() > LONGEST {
        let message = format!("the file has {} bytes, at most {LONGEST} are read", text.len());
        return Err(wrong(None, message, "split it, or move data out of it"));
    }
    let text = bounded(text).map_err(|message| wrong(None, message, "write lists and mappings as lines"))?;
    let budget = Budget { nodes: Cell::new(MOST_NODES), bytes: Cell::new(MOST_BYTES) };
    let parsed = Seed(&budget).deserialize(serde_yaml::Deserializer::from_str(text));
    match parsed {
        Ok(Node::Map(entries)) if !entries.is_empty() => Ok(Node::Map(entries)),
        Ok(Node::Null | Node::Map(_)) => {
            Err(wrong(None, "the file is empty".to_owned(), "write `services:` into it"))
        }
        Ok(_) => {
            Err(wrong(Some((1, 1)), "the file is not a mapping".to_owned(), "start it with `services:`"))
        }
        Err(error) => {
            let place = error.location().map(|place| (place.line(), place.column()));
            let full = error.to_string();
            // The place is told apart from the sentence.
            let sentence = full.split(" at line ").next().unwrap_or(&full).to_owned();
            Err(wrong(place, sentence, "mend the YAML at that place"))
        }
    }
}

/// What may still be read.
struct Budget {
    nodes: Cell<usize>,
    bytes: Cell<usize>,
}

impl Budget {
    fn spend<E: serde::de::Error>(&self, bytes: usize) -> Result<(), E> {
        let left = (self.nodes.get().checked_sub(1), self.bytes.get().checked_sub(bytes));
        let (Some(nodes), Some(bytes)) = left else {
            return Err(E::custom("the file unfolds to too many values, its aliases repeat too much"));
        };
        self.nodes.set(nodes);
        self.bytes.set(bytes);
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Seed<'a>(&'a Budget);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value without a tag")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Node, E> {
        self.0.spend(0)?;
        Ok(Node::Null)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Node, E> {
        self.visit_unit()
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Node, E> {
        self.0.spend(0)?;
        Ok(Node::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Node, E> {
        self.visit_i128(value.into())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Node, E> {
        self.visit_i128(value.into())
    }

    fn visit_i128<E: serde::de::Error>(self, value: i128) -> Result<Node, E> {
        self.0.spend(0)?;
        Ok(Node::Int(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Node, E> {
        self.0.spend(0)?;
        if value.is_finite() {
            Ok(Node::Float(value))
        } else {
            Err(E::custom("a number that is none or has no end"))
        }
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Node, E> {
        self.0.spend(value.len())?;
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Node, A::Error> {
        Err(A::Error::custom("a tag such as `!reset` is not known to this node"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        self.0.spend(0)?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        self.0.spend(0)?;
        let mut entries: Vec<(String, Node)> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        let mut merged = Vec::new();
        while let Some(key) = access.next_key_seed(self)? {
            let key =
                key_text(key).ok_or_else(|| A::Error::custom("a key that is neither text nor a number"))?;
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom(format!(
                    "the key `{}` stands twice in one mapping",
                    key.escape_debug()
                )));
            }
            let value = access.next_value_seed(self)?;
            if key == "<<" {
                merged = merge_sources(value).ok_or_else(|| A::Error::custom("`<<` takes mappings"))?;
            } else {
                entries.push((key, value));
            }
        }
        for (key, value) in merged {
            if seen.insert(key.clone()) {
                entries.push((key, value));
            }
        }
        Ok(Node::Map(entries))
    }
}

fn key_text(key: Node) -> Option<String> {
    match key {
        Node::Text(text) => Some(text),
        Node::Int(number) => Some(number.to_string()),
        Node::Bool(value) => Some(value.to_string()),
        Node::Float(value) => Some(format!("{value:?}")),
        Node::Null | Node::List(_) | Node::Map(_) => None,
    }
}

/// The entries a `<<` brings in, the first mapping first.
fn merge_sources(value: Node) -> Option<Vec<(String, Node)>> {
    match value {
        Node::Map(entries) => Some(entries),
        Node::List(items) => {
            let mut all = Vec::new();
            for item in items {
                let Node::Map(entries) = item else { return None };
                all.extend(entries);
            }
            Some(all)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> String {
        parse("compose.yaml", text).unwrap_err().to_string()
    }

    #[test]
    fn broken_yaml_is_an_error_with_its_place() {
        let cases = [
            ("services:\n  web:\n  - a\n b: c\n", "did not find expected"),
            ("services:\n\tweb: {}\n", "found character that cannot start any token (compose.yaml:2:1)"),
            ("a: 1\nb:\n  c: 1\n  c: 2\n", "the key `c` stands twice in one mapping (compose.yaml:3:3)"),
            ("a: *nope\n", "unknown anchor (compose.yaml:1:4)"),
            ("a: 1\nb: !reset null\n", "is not known to this node (compose.yaml:2:4)"),
            ("a: .nan\n", "a number that is none or has no end (compose.yaml:1:4)"),
            ("? [a]\n: b\n", "a key that is neither text nor a number"),
            ("", "the file is empty (compose.yaml)"),
            ("- a\n", "the file is not a mapping (compose.yaml:1:1)"),
            ("a: b\n---\nc: d\n", "more than one document"),
            ("a: &a [*a]\n", "recursion limit exceeded"),
        ];
        for (text, expected) in cases {
            let shown = place(text);
            assert!(shown.contains(expected), "{text:?}: {shown}");
        }
    }

    #[test]
    fn bombs_end_early() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let items = vec![format!("*a{}", level - 1); 9].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{items}]\n"));
        }
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 1000].join(","));
        let deep = format!("a: {}{}", "[".repeat(1000), "]".repeat(1000));
        let deeper = "[".repeat(200_000);
        let wide = format!("a: {}{}", "[".repeat(2000), "a,".repeat(100_000));
        for (text, expected) in [
            (bomb, "repe"),
            (long, "too many values"),
            (deep, "recursion limit"),
            (deeper, "at most 2048"),
            (wide, ""),
            ("x".repeat(2 << 20), "at most 262144"),
        ] {
            let started = std::time::Instant::now();
            let shown = place(&text);
            assert!(shown.contains(expected), "{shown}");
            // Unoptimised and beside other tests; a bomb that is not seen takes minutes.
            assert!(started.elapsed().as_secs() < 30, "{expected}: {:?}", started.elapsed());
        }
    }

    #[test]
    fn anchors_and_merge_keys_are_resolved() {
        let tree =
            parse("f", "base: &b {x: 1, y: 2}\nmore: &m {y: 3, z: 4}\nboth: {<<: [*b, *m], x: 9}\n").unwrap();
        let Node::Map(entries) = tree else { panic!() };
        let expected = [("x", 9), ("y", 2), ("z", 4)].map(|(key, value)| (key.to_owned(), Node::Int(value)));
        assert_eq!(entries[2].1, Node::Map(expected.into()));
    }
}
