//! One source of settings: its values by dotted key, each with its place. Pure.

use serde_yaml::Value;

use super::key::KEYS;
use super::locate::locate;
use super::problem::Problem;
use super::problem::distance;
use super::stack::Origin;
use super::value::Kind;
use crate::base::yaml::bounded;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Dotted key, as written.
    pub key: String,
    /// Value, as written.
    pub value: Value,
    /// Where.
    pub origin: Origin,
}

/// A source of settings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Layer {
    /// Its values.
    pub entries: Vec<Entry>,
}

impl Layer {
    /// Reads a settings file. `origin` makes the origin of a line and column.
    pub fn parse(text: &str, origin: impl Fn(usize, usize) -> Origin) -> Result<Self, Problem> {
        let text = bounded(text).map_err(|message| Problem {
            message,
            origin: origin(1, 1),
            hint: Some("write settings as lines, such as `web: { listen: 0.0.0.0:8080 }`".to_owned()),
        })?;
        let value: Value = serde_yaml::from_str(text).map_err(|error| {
            let place = error.location().map_or((1, 1), |place| (place.line(), place.column()));
            let message = error.to_string();
            // The place is said once, by the origin.
            let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
            Problem { message, origin: origin(place.0, place.1), hint: None }
        })?;
        let mut layer = Self::default();
        match value {
            Value::Null => (),
            Value::Mapping(_) => flatten(&value, &mut Vec::new(), &mut |key, value| {
                let (line, column) = locate(text, &key).unwrap_or((1, 1));
                layer.entries.push(Entry { key, value: value.clone(), origin: origin(line, column) });
            }),
            _ => {
                return Err(Problem {
                    message: "the file holds no settings".to_owned(),
                    origin: origin(1, 1),
                    hint: Some("write lines such as `web: { listen: 0.0.0.0:8080 }`".to_owned()),
                });
            }
        }
        Ok(layer)
    }

    /// The settings among environment variables. Others of ours (of the build, the tests) are let be, unless one is
    /// all but the name of a setting.
    pub fn of_environment<'a>(variables: impl Iterator<Item = (&'a str, &'a str)>) -> (Self, Vec<Problem>) {
        let (mut layer, mut problems) = (Self::default(), Vec::new());
        let names: Vec<(String, &str)> = KEYS
            .iter()
            .flat_map(|key| {
                let short = key.variable.map(|variable| (variable.to_owned(), key.name));
                [Some((variable(key.name), key.name)), short].into_iter().flatten()
            })
            .collect();
        // An empty variable is one that is not set: Compose passes them so.
        let set = variables.filter(|(name, value)| name.starts_with("NEXUS_") && !value.is_empty());
        for (name, value) in set {
            let origin = Origin::Environment { variable: name.to_owned() };
            if let Some((_, key)) = names.iter().find(|(known, _)| known == name) {
                let value = Value::String(value.to_owned());
                layer.entries.push(Entry { key: (*key).to_owned(), value, origin });
            } else if let Some((known, _)) = names.iter().find(|(known, _)| distance(known, name) <= 2) {
                let message = format!("unknown variable `{name}`");
                problems.push(Problem { message, origin, hint: Some(format!("did you mean `{known}`?")) });
            }
        }
        (layer, problems)
    }
}

/// The variable of a key: `web.listen` is `NEXUS_WEB_LISTEN`.
pub fn variable(key: &str) -> String {
    format!("NEXUS_{}", key.replace('.', "_").to_uppercase())
}

fn flatten(value: &Value, path: &mut Vec<String>, each: &mut impl FnMut(String, &Value)) {
    let whole = path.join(".");
    let is_table = KEYS.iter().any(|key| key.name == whole && matches!(key.kind, Kind::Table(_)));
    let Value::Mapping(map) = value else { return each(whole, value) };
    if is_table {
        return each(whole, value);
    }
    for (key, value) in map {
        let key = match key {
            Value::String(key) => key.clone(),
            other => serde_yaml::to_string(other).unwrap_or_default().trim().to_owned(),
        };
        path.push(key);
        flatten(value, path, each);
        path.pop();
    }
}
