//! All layers on top of each other: which value holds, where it comes from, what is wrong. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde_yaml::Value;

use super::key::KEYS;
use super::layer::Entry;
use super::layer::Layer;
use super::problem::Problem;
use super::problem::nearest;
use super::value::Typed;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It is the default.
    Default,
    /// It stands in a file.
    File {
        /// The file.
        file: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The column, counted from 1.
        column: usize,
    },
    /// It is set in the environment.
    Environment {
        /// The variable.
        variable: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { file, line, column } => write!(f, "{}:{line}:{column}", file.display()),
            Self::Environment { variable } => write!(f, "environment {variable}"),
        }
    }
}

/// A setting as it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its dotted key.
    pub key: &'static str,
    /// Its value on one line, as YAML; `null` when it is not set.
    pub value: String,
    /// Where that comes from.
    pub origin: Origin,
}

/// Layers, the lowest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stack {
    layers: Vec<Layer>,
}

impl Stack {
    /// Puts a layer on top.
    pub fn push(&mut self, layer: Layer) {
        self.layers.push(layer);
    }

    /// Every setting as it holds, in the order of the defaults.
    pub fn show(&self) -> Vec<Shown> {
        KEYS.iter().filter_map(|key| self.get(key.name)).collect()
    }

    /// One setting as it holds; `None` when there is no such key.
    pub fn get(&self, key: &str) -> Option<Shown> {
        let known = KEYS.iter().find(|known| known.name == key)?;
        let entry = self.entry(key)?;
        Some(Shown { key: known.name, value: inline(&entry.value), origin: entry.origin.clone() })
    }

    fn entry(&self, key: &str) -> Option<&Entry> {
        self.layers.iter().rev().flat_map(|layer| layer.entries.iter().rev()).find(|entry| entry.key == key)
    }

    /// Reads every setting as what it should be. Values of lower layers are read too: a mistake does not wait in a
    /// file until the variable over it is gone.
    pub fn resolve(&self) -> Result<BTreeMap<&'static str, Typed>, Vec<Problem>> {
        let mut resolved = BTreeMap::new();
        let mut problems = Vec::new();
        for entry in self.layers.iter().flat_map(|layer| &layer.entries) {
            let Some(key) = KEYS.iter().find(|key| key.name == entry.key) else {
                problems.extend(unknown(entry));
                continue;
            };
            match key.kind.parse(&entry.value) {
                Ok(typed) => drop(resolved.insert(key.name, typed)),
                Err(wrong) => problems.push(Problem {
                    message: format!("`{}` {}: `{}`", key.name, wrong.what, inline(&entry.value)),
                    origin: entry.origin.clone(),
                    hint: Some(wrong.hint),
                }),
            }
        }
        if problems.is_empty() { Ok(resolved) } else { Err(problems) }
    }
}

fn unknown(entry: &Entry) -> Option<Problem> {
    let section = format!("{}.", entry.key);
    let within: Vec<&str> =
        KEYS.iter().map(|key| key.name).filter(|name| name.starts_with(&section)).collect();
    let (message, hint) = match (&entry.value, within.first()) {
        // A section with all of its keys commented out.
        (Value::Null, Some(_)) => return None,
        (_, Some(first)) => {
            (format!("`{}` is a section, not a setting", entry.key), Some(format!("write `{first}`")))
        }
        (_, None) => {
            let near = nearest(&entry.key, KEYS.iter().map(|key| key.name));
            (format!("unknown key `{}`", entry.key), near.map(|near| format!("did you mean `{near}`?")))
        }
    };
    Some(Problem { message, origin: entry.origin.clone(), hint })
}

/// A value on one line.
fn inline(value: &Value) -> String {
    match value {
        Value::Sequence(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::String(text) => text.clone(),
        Value::Mapping(map) => {
            let pairs = map.iter().map(|(key, value)| format!("{}: {}", inline(key), inline(value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
        other => serde_yaml::to_string(other).unwrap_or_default().trim_end().to_owned(),
    }
}
