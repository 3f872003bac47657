//! What a setting can be, and reading it from YAML or from the text of a variable. Pure.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use nexus_agent::rules;
use nexus_agent::rules::Rules;
use serde_yaml::Value;

use super::problem::nearest;
use crate::base::yaml::bounded;

/// The type of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// An absolute path.
    Path,
    /// An absolute path, or nothing.
    OptionalPath,
    /// `ADDRESS:PORT`.
    Address,
    /// The engine's socket.
    Socket,
    /// `300ms`.
    Duration,
    /// `512MiB`.
    Bytes,
    /// A number above zero, with decimals.
    Decimal,
    /// A whole number above zero.
    Count,
    /// Addresses in CIDR form.
    Range,
    /// Words.
    List,
    /// Gitignore lines.
    Rules,
    /// Named groups of settings, each of these words alone.
    Table(&'static [&'static str]),
}

/// A setting that has been read.
#[derive(Debug, Clone, PartialEq)]
pub enum Typed {
    /// Not set.
    Nothing,
    /// Text, choice, socket or range.
    Text(String),
    /// A path.
    Path(PathBuf),
    /// An address.
    Address(SocketAddr),
    /// A duration.
    Duration(Duration),
    /// Bytes or a count.
    Number(u64),
    /// A decimal.
    Decimal(f64),
    /// A list.
    List(Vec<String>),
    /// Groups of settings by name.
    Table(Table),
}

/// Groups of settings by name, each value as it was written.
pub type Table = BTreeMap<String, BTreeMap<String, String>>;

/// What is wrong with a value, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// What the value is not: `is not a duration`.
    pub what: String,
    /// What to write.
    pub hint: String,
}

fn wrong<T>(what: &str, hint: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { what: what.to_owned(), hint: hint.into() })
}

impl Kind {
    /// Reads a value of this type.
    pub fn parse(self, value: &Value) -> Result<Typed, Wrong> {
        match self {
            Self::List => return list(value),
            Self::Rules => return lines(value),
            _ => {}
        }
        if let Self::Table(words) = self {
            return table(value, words);
        }
        let text = match value {
            Value::String(text) => text.trim().to_owned(),
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            Value::Null if self == Self::OptionalPath => return Ok(Typed::Nothing),
            Value::Null => return wrong("is empty", "give it a value, or leave the key out"),
            Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_) => {
                return wrong("is not a single value", "write one value after the colon");
            }
        };
        self.parse_text(&text)
    }

    fn parse_text(self, text: &str) -> Result<Typed, Wrong> {
        match self {
            Self::Text if text.is_empty() => wrong("is empty", "give it a value, or leave the key out"),
            Self::Text => Ok(Typed::Text(text.to_owned())),
            Self::Choice(words) if words.contains(&text) => Ok(Typed::Text(text.to_owned())),
            Self::Choice(words) => {
                let hint = nearest(text, words.iter().copied()).map_or_else(
                    || format!("write `{}`", words.join("` or `")),
                    |near| format!("did you mean `{near}`?"),
                );
                wrong("is not one of its words", hint)
            }
            Self::OptionalPath if text.is_empty() => Ok(Typed::Nothing),
            Self::Path | Self::OptionalPath if text.starts_with('/') => Ok(Typed::Path(text.into())),
            Self::Path | Self::OptionalPath => {
                wrong("is not an absolute path", "write a path that begins with `/`")
            }
            Self::Address => address(text),
            Self::Socket if text.starts_with("unix:///") || text.starts_with('/') => {
                Ok(Typed::Text(text.to_owned()))
            }
            Self::Socket => wrong("is not a unix socket", "write `unix:///var/run/docker.sock`"),
            Self::Duration => duration(text).map(Typed::Duration),
            Self::Bytes => bytes(text).map(Typed::Number),
            Self::Decimal => match text.parse::<f64>() {
                Ok(number) if number.is_finite() && number > 0.0 => Ok(Typed::Decimal(number)),
                _ => wrong("is not a number above zero", "write a number such as `1.5`"),
            },
            Self::Count => match text.parse::<u64>() {
                Ok(number) if number > 0 => Ok(Typed::Number(number)),
                _ => wrong("is not a whole number above zero", "write a number such as `512`"),
            },
            Self::Range => range(text),
            Self::List => list(&Value::String(text.to_owned())),
            Self::Rules => lines(&Value::String(text.to_owned())),
            Self::Table(words) => table(&Value::String(text.to_owned()), words),
        }
    }
}

fn list(value: &Value) -> Result<Typed, Wrong> {
    match value {
        Value::Null => Ok(Typed::List(Vec::new())),
        // A variable has no other way to hold several.
        Value::String(text) => {
            let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
            Ok(Typed::List(words.map(str::to_owned).collect()))
        }
        Value::Sequence(items) => {
            let words: Option<Vec<String>> =
                items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
            match words {
                Some(words) => Ok(Typed::List(words)),
                None => wrong("is not a list of words", "write `[one, two]`"),
            }
        }
        _ => wrong("is not a list", "write `[one, two]`"),
    }
}

/// Gitignore lines; one that can never match anything is a mistake.
fn lines(value: &Value) -> Result<Typed, Wrong> {
    let typed = list(value).map_err(|wrong| Wrong {
        what: wrong.what.replace("words", "gitignore lines"),
        hint: "write lines such as `- \"*.log\"`, in quotes where one begins with `!` or `*`".to_owned(),
    })?;
    if let Typed::List(lines) = &typed {
        let settings = rules::Settings { excludes: lines.clone(), ..rules::Settings::default() };
        if let Err(error) = Rules::new(settings) {
            return wrong(
                &format!("holds a line that excludes nothing (`{}`: {})", error.pattern, error.reason),
                "write a line as in a .gitignore, such as `data/` or `*.tmp`",
            );
        }
    }
    Ok(typed)
}

fn table(value: &Value, words: &[&str]) -> Result<Typed, Wrong> {
    let hint = || format!("write `{{ name: {{ {}: ... }} }}`", words.first().unwrap_or(&""));
    let parsed;
    let groups = match value {
        Value::Null => return Ok(Typed::Table(Table::new())),
        Value::Mapping(groups) => groups,
        // A variable has no other way to hold a table than to write it out.
        Value::String(text) => {
            parsed = bounded(text).ok().and_then(|text| serde_yaml::from_str::<Value>(text).ok());
            match &parsed {
                Some(Value::Mapping(groups)) => groups,
                _ => return wrong("is not a table", hint()),
            }
        }
        _ => return wrong("is not a table", hint()),
    };
    let mut table = Table::new();
    for (name, group) in groups {
        let (Value::String(name), Value::Mapping(group)) = (name, group) else {
            return wrong("is not a table of named groups", hint());
        };
        let mut read = BTreeMap::new();
        for (word, value) in group {
            let word = word.as_str().unwrap_or_default();
            if !words.contains(&word) {
                let near = nearest(word, words.iter().copied());
                let hint = near.map_or_else(
                    || format!("its settings are `{}`", words.join("`, `")),
                    |near| format!("did you mean `{near}`?"),
                );
                return wrong(&format!("has an unknown setting `{name}.{word}`"), hint);
            }
            let text = match value {
                Value::String(text) => text.trim().to_owned(),
                Value::Number(number) => number.to_string(),
                Value::Bool(flag) => flag.to_string(),
                _ => return wrong(&format!("has no single value at `{name}.{word}`"), hint()),
            };
            read.insert(word.to_owned(), text);
        }
        table.insert(name.clone(), read);
    }
    Ok(Typed::Table(table))
}

fn address(text: &str) -> Result<Typed, Wrong> {
    match (text.parse(), text.strip_prefix(':'), text.parse::<u16>()) {
        (Ok(address), _, _) => Ok(Typed::Address(address)),
        (_, Some(port), _) if port.parse::<u16>().is_ok() => {
            wrong("has no address", format!("write `0.0.0.0:{port}` for all interfaces"))
        }
        (_, _, Ok(port)) => wrong("has no address", format!("write `0.0.0.0:{port}` for all interfaces")),
        _ => wrong("is not an address and a port", "write `127.0.0.1:8080` or `[::]:8080`"),
    }
}

/// The number a text begins with, and the unit after it.
fn quantity(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    Some((number, text[end..].trim()))
}

/// Reads `300ms`, `30s`, `5m`, `1h` or `30d`.
///
/// # Errors
/// What the text is not, and what to write.
pub fn duration(text: &str) -> Result<Duration, Wrong> {
    let Some((number, unit)) = quantity(text) else {
        return wrong("is not a duration", "write `300ms`, `30s`, `5m` or `1h`");
    };
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        "" => return wrong("is not a duration: it has no unit", format!("write `{text}s`")),
        _ => return wrong("is not a duration", "write `300ms`, `30s`, `5m` or `1h`"),
    };
    match Duration::try_from_secs_f64(number * seconds) {
        // Ten years: more is a mistake.
        Ok(duration) if duration.as_secs() < 315_360_000 => Ok(duration),
        _ => wrong("is too long a duration", "write `300ms`, `30s`, `5m` or `1h`"),
    }
}

/// Reads `512MiB`, `2GB` or `100B`.
///
/// # Errors
/// What the text is not, and what to write.
pub fn bytes(text: &str) -> Result<u64, Wrong> {
    let Some((number, unit)) = quantity(text) else {
        return wrong("is not a size", "write `512MiB` or `1GiB`");
    };
    let unit = match unit {
        "B" => 1_u64,
        "kB" | "KB" => 1000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        "TB" => 1_000_000_000_000,
        "TiB" => 1 << 40,
        "" => return wrong("is not a size: it has no unit", format!("write `{text}MiB`")),
        _ => return wrong("is not a size", "write `512MiB` or `1GiB`"),
    };
    #[expect(
        clippy::cast_precision_loss,
        reason = "units are exact powers; a size is no more exact than it is written"
    )]
    let size = number * unit as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be within range")]
    match size {
        size if (1.0..1e16).contains(&size) => Ok(size as u64),
        _ => wrong("is no size anything can have", "write `512MiB` or `1GiB`"),
    }
}

fn range(text: &str) -> Result<Typed, Wrong> {
    let parts = text.split_once('/');
    let right = parts.is_some_and(|(address, prefix)| {
        address.parse::<Ipv4Addr>().is_ok()
            && prefix.parse::<u8>().is_ok_and(|prefix| (8..=26).contains(&prefix))
    });
    match right {
        true => Ok(Typed::Text(text.to_owned())),
        false => wrong("is not a range of addresses", "write one such as `10.213.0.0/16`, from /8 to /26"),
    }
}
