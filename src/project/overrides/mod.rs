//! Parses `.nexus/config.yaml`: what the user states about a project.
//!
//! Every problem is collected, with its line, before any is reported. A key nobody knows is an error, because a
//! mistyped one would otherwise be a setting that silently does nothing.

mod sync;

use std::collections::BTreeMap;

use serde_yaml::Value;

use crate::model::project::Kind;
use crate::model::project::Overrides;
use crate::model::project::Problem;
use crate::project::detect::yaml_text;
use crate::project::listing::Content;
use crate::project::listing::Listing;

/// Where it is, relative to the project.
const FILE: &str = ".nexus/config.yaml";

const KEYS: [&str; 18] = [
    "name",
    "title",
    "description",
    "icon",
    "kind",
    "root",
    "install",
    "build",
    "start",
    "port",
    "image",
    "service",
    "env",
    "allow",
    "mode",
    "exclude",
    "sync",
    "resources",
];
const RESOURCES: [&str; 3] = ["cpus", "memory", "pids"];
const KINDS: [Kind; 8] = [
    Kind::Node,
    Kind::Python,
    Kind::Php,
    Kind::Go,
    Kind::Ruby,
    Kind::Static,
    Kind::Dockerfile,
    Kind::Compose,
];

/// What the user states; every problem with it at once. A project without the file states nothing.
///
/// # Errors
/// When the file cannot be read, does not parse, or holds a key or value that means nothing.
pub fn overrides(listing: &Listing) -> Result<Overrides, Vec<Problem>> {
    let text = match listing.content(FILE) {
        None if listing.entry(FILE).is_none() => return Ok(Overrides::default()),
        Some(Content::Text(text)) => text,
        _ => return Err(vec![problem(None, "cannot be read", "make it a text file the node may read")]),
    };
    let value = yaml_text(text).map_err(|(at, message)| {
        vec![problem(at, message, "mend the file; it is read again when it changes")]
    })?;
    let mut reader = Reader { text, problems: Vec::new(), overrides: Overrides::default() };
    match &value {
        Value::Null => {}
        Value::Mapping(_) => reader.read(&value),
        _ => reader.problems.push(problem(
            None,
            "not a mapping of keys to values",
            "write lines such as `port: 3000`",
        )),
    }
    reader.problems.sort_by_key(|problem| problem.line);
    if reader.problems.is_empty() { Ok(reader.overrides) } else { Err(reader.problems) }
}

fn problem(at: Option<(usize, usize)>, message: impl Into<String>, hint: impl Into<String>) -> Problem {
    Problem {
        file: FILE.to_owned(),
        line: at.map(|at| at.0),
        column: at.map(|at| at.1),
        message: message.into().chars().map(|c| if c.is_control() { '?' } else { c }).collect(),
        hint: Some(hint.into()),
        fatal: true,
    }
}

struct Reader<'a> {
    text: &'a str,
    problems: Vec<Problem>,
    overrides: Overrides,
}

impl Reader<'_> {
    fn read(&mut self, value: &Value) {
        self.unknown(value, "", &KEYS);
        let mut read = std::mem::take(&mut self.overrides);
        read.identity.title = self.line(value, "title").or_else(|| self.line(value, "name"));
        read.identity.description = self.line(value, "description");
        read.identity.icon = self.path(value, "icon");
        read.kind = self.kind(value);
        read.root = self.path(value, "root");
        read.install = self.line(value, "install");
        read.build = self.line(value, "build");
        read.start = self.line(value, "start");
        read.port = self.port(value);
        read.image = self.line(value, "image");
        read.service = self.line(value, "service");
        read.env = self.env(value);
        read.allow = self.list(value, "allow", "privileged");
        self.syncing(value, &mut read);
        if let Some(resources) = value.get("resources") {
            self.unknown(resources, "resources", &RESOURCES);
            read.limits.cpus = self.cpus(resources);
            read.limits.memory_bytes = self.memory(resources);
            read.limits.pids = self.pids(resources);
        }
        self.overrides = read;
    }

    fn wrong(&mut self, path: &str, message: String, hint: impl Into<String>) {
        let at = position(self.text, path);
        self.problems.push(problem(at, message, hint));
    }

    fn unknown(&mut self, value: &Value, parent: &str, known: &[&str]) {
        let Some(mapping) = value.as_mapping() else {
            return self.wrong(
                parent,
                format!("`{parent}` is not a mapping"),
                format!("its keys are {}", known.join(", ")),
            );
        };
        for key in mapping.keys() {
            let name = scalar(key).unwrap_or_default();
            if known.contains(&name.as_str()) {
                continue;
            }
            let path = if parent.is_empty() { name.clone() } else { format!("{parent}.{name}") };
            let hint = nearest(&name, known).map_or_else(
                || format!("known keys: {}", known.join(", ")),
                |near| {
                    format!(
                        "did you mean `{}{near}`?",
                        if parent.is_empty() { String::new() } else { format!("{parent}.") }
                    )
                },
            );
            self.wrong(&path, format!("unknown key `{path}`"), hint);
        }
    }

    /// A text of one line.
    fn line(&mut self, value: &Value, key: &str) -> Option<String> {
        let value = value.get(key).filter(|value| !value.is_null())?;
        let Some(text) = scalar(value) else {
            self.wrong(key, format!("`{key}` is not a text"), "write one line of text");
            return None;
        };
        if text.trim().chars().any(char::is_control) {
            self.wrong(
                key,
                format!("`{key}` holds a line end or another control character"),
                "write it on one line",
            );
            return None;
        }
        Some(text.trim().to_owned())
    }

    /// A path below the project.
    fn path(&mut self, value: &Value, key: &str) -> Option<String> {
        let text = self.line(value, key)?;
        if text.starts_with('/') || text.split('/').any(|part| part == "..") {
            self.wrong(
                key,
                format!("`{key}` leads out of the project: `{text}`"),
                "write a path relative to the project",
            );
            return None;
        }
        Some(text)
    }

    fn kind(&mut self, value: &Value) -> Option<Kind> {
        let text = self.line(value, "kind")?;
        let found = KINDS.into_iter().find(|kind| kind.as_str() == text);
        if found.is_none() {
            let names = KINDS.map(Kind::as_str);
            let hint = nearest(&text, &names).map_or_else(
                || format!("write one of {}", names.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            self.wrong("kind", format!("`kind` is not a kind: `{text}`"), hint);
        }
        found
    }

    fn port(&mut self, value: &Value) -> Option<u16> {
        let text = self.line(value, "port")?;
        let port = text.parse::<u16>().ok().filter(|port| *port > 0);
        if port.is_none() {
            self.wrong("port", format!("`port` is not a port: `{text}`"), "write a number from 1 to 65535");
        }
        port
    }

    fn env(&mut self, value: &Value) -> BTreeMap<String, String> {
        let mut env = BTreeMap::new();
        let pairs: Vec<(String, Option<String>)> = match value.get("env") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Mapping(map)) => {
                map.iter().map(|(name, value)| (scalar(name).unwrap_or_default(), scalar(value))).collect()
            }
            Some(Value::Sequence(list)) => list
                .iter()
                .map(|entry| {
                    let text = scalar(entry).unwrap_or_default();
                    let (name, value) = text.split_once('=').unwrap_or((&text, ""));
                    (name.to_owned(), Some(value.to_owned()))
                })
                .collect(),
            Some(_) => {
                self.wrong("env", "`env` is not a mapping".to_owned(), "write `NAME: value` lines below it");
                Vec::new()
            }
        };
        for (name, value) in pairs {
            let path = format!("env.{name}");
            let plain = !name.is_empty()
                && !name.starts_with(|c: char| c.is_ascii_digit())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            match value {
                Some(value) if plain && !value.contains('\0') => drop(env.insert(name, value)),
                Some(_) if plain => self.wrong(&path, format!("`{path}` holds a NUL character"), "remove it"),
                Some(_) => {
                    let hint = "names are letters, digits and `_`, and begin with no digit";
                    self.wrong(&path, format!("`{name}` cannot be the name of a variable"), hint);
                }
                None => self.wrong(&path, format!("`{path}` is not a text"), "write a text or a number"),
            }
        }
        env
    }

    fn list(&mut self, value: &Value, key: &str, example: &str) -> Vec<String> {
        match value.get(key) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Sequence(list)) => list.iter().filter_map(scalar).collect(),
            Some(value) => {
                let one = scalar(value);
                if one.is_none() {
                    let hint = format!("write `- {example}` lines below it");
                    self.wrong(key, format!("`{key}` is not a list"), hint);
                }
                one.into_iter().collect()
            }
        }
    }

    fn cpus(&mut self, resources: &Value) -> Option<f64> {
        let text = scalar(resources.get("cpus")?)?;
        let cpus = text.parse::<f64>().ok().filter(|cpus| (0.01..=1024.0).contains(cpus));
        if cpus.is_none() {
            let message = format!("`resources.cpus` is not a number of cores: `{text}`");
            self.wrong("resources.cpus", message, "write cores as a number, such as `0.5` or `2`");
        }
        cpus
    }

    fn memory(&mut self, resources: &Value) -> Option<u64> {
        let text = scalar(resources.get("memory")?)?;
        let bytes = size(&text);
        if bytes.is_none() {
            let message = format!("`resources.memory` is not a size: `{text}`");
            self.wrong(
                "resources.memory",
                message,
                "write a number with its unit, such as `512m` or `2g`; at least 16m",
            );
        }
        bytes
    }

    fn pids(&mut self, resources: &Value) -> Option<u32> {
        let text = scalar(resources.get("pids")?)?;
        let pids = text.parse::<u32>().ok().filter(|pids| *pids > 0);
        if pids.is_none() {
            let message = format!("`resources.pids` is not a number of processes: `{text}`");
            self.wrong("resources.pids", message, "write a whole number, such as `256`");
        }
        pids
    }
}

/// A YAML scalar as the text it was written as.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null => Some(String::new()),
        _ => None,
    }
}

/// `512m`, `512 MiB`, `2g`, `1.5GB`, `536870912b`: bytes, at least 16 MiB. A bare number has no unit and is refused.
fn size(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(at);
    let factor = match unit.trim() {
        "b" => 1.0,
        "k" | "kb" | "kib" => 1024.0,
        "m" | "mb" | "mib" => 1024.0 * 1024.0,
        "g" | "gb" | "gib" => 1024.0 * 1024.0 * 1024.0,
        "t" | "tb" | "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let bytes = number.parse::<f64>().ok()? * factor;
    let range = 16.0 * 1024.0 * 1024.0..=1e15;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
    range.contains(&bytes).then_some(bytes as u64)
}

/// Line and column of a key, by its dotted path: the first line that begins with it, among those right below its
/// parent's.
fn position(text: &str, path: &str) -> Option<(usize, usize)> {
    let (parent, key) = path.rsplit_once('.').unwrap_or(("", path));
    let above = if parent.is_empty() { None } else { Some(position(text, parent)?) };
    let mut lines = text
        .lines()
        .enumerate()
        .skip(above.map_or(0, |(line, _)| line))
        .map(|(index, line)| (index, line.len() - line.trim_start().len(), line.trim_start()))
        .filter(|(_, _, line)| !line.is_empty() && !line.starts_with(['#', '%']) && *line != "---")
        .take_while(|(_, indent, line)| {
            above.is_none_or(|(_, column)| {
                *indent >= column || (indent + 1 == column && line.starts_with('-'))
            })
        })
        .peekable();
    let level = lines.peek().map(|(_, indent, _)| *indent);
    let found = lines.find_map(|(index, indent, line)| {
        let rest = line.trim_start_matches("- ").trim_start_matches(['"', '\'']);
        let named = rest.strip_prefix(key)?.trim_start_matches(['"', '\'']).trim_start();
        (named.starts_with([':', '=']) && Some(indent) == level).then_some((index + 1, indent + 1))
    });
    // Keys of a flow mapping stand on their parent's line.
    found.or(above)
}

/// The known word a mistyped one is nearest to, if it is near at all.
fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let near = known.iter().map(|known| (distance(&word.to_lowercase(), known), *known)).min()?;
    (near.0 <= near.1.len().div_ceil(3)).then_some(near.1)
}

/// How many letters must be added, removed, changed or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(40).collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let last = &rows[i - 1];
            let mut best =
                (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + usize::from(a[i - 1] != b[j - 1]));
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn read(text: &str) -> Result<Overrides, Vec<Problem>> {
        overrides(&Listing::of_files([(FILE, text)]))
    }

    pub(super) fn complaints(text: &str) -> Vec<String> {
        let show = |problem: &Problem| {
            let at = problem
                .line
                .zip(problem.column)
                .map_or(String::new(), |(line, column)| format!("{line}:{column}: "));
            format!("{at}{}; {}", problem.message, problem.hint.as_deref().unwrap_or_default())
        };
        read(text).unwrap_err().iter().map(show).collect()
    }

    #[test]
    fn what_is_stated_is_read() {
        let text = "name: Shop\ndescription: sells things\nkind: node\nroot: web\nstart: node a.js\nport: 8080\n\
                    env:\n  MODE: fast\n  WORKERS: 2\nallow: [privileged]\nexclude: [data, cache/raw]\nresources: { cpus: 0.5, memory: 512m, pids: 64 }\n";
        let read = read(text).unwrap();
        assert_eq!(read.identity.title.as_deref(), Some("Shop"));
        assert_eq!(read.kind, Some(Kind::Node));
        assert_eq!(read.root.as_deref(), Some("web"));
        assert_eq!(read.port, Some(8080));
        assert_eq!(read.env["WORKERS"], "2");
        assert_eq!(read.allow, ["privileged"]);
        assert_eq!(read.exclude, ["data", "cache/raw"]);
        assert_eq!(read.limits.memory_bytes, Some(512 << 20));
        assert_eq!(read.limits.cpus, Some(0.5));
    }

    #[test]
    fn nothing_stated_is_nothing() {
        assert_eq!(overrides(&Listing::default()), Ok(Overrides::default()));
        assert_eq!(read(""), Ok(Overrides::default()));
        assert_eq!(read("# only a comment\n"), Ok(Overrides::default()));
    }

    #[test]
    fn every_problem_is_told_with_its_line_and_the_next_step() {
        let text = "naem: Shop\nkind: nod\nport: 99999\nroot: ../up\nresources:\n  memroy: 1g\n  memory: 512\n  pids: many\n\
                    env:\n  2X: y\n";
        insta::assert_snapshot!(complaints(text).join("\n"), @r"
        1:1: unknown key `naem`; did you mean `name`?
        2:1: `kind` is not a kind: `nod`; did you mean `node`?
        3:1: `port` is not a port: `99999`; write a number from 1 to 65535
        4:1: `root` leads out of the project: `../up`; write a path relative to the project
        6:3: unknown key `resources.memroy`; did you mean `resources.memory`?
        7:3: `resources.memory` is not a size: `512`; write a number with its unit, such as `512m` or `2g`; at least 16m
        8:3: `resources.pids` is not a number of processes: `many`; write a whole number, such as `256`
        10:3: `2X` cannot be the name of a variable; names are letters, digits and `_`, and begin with no digit
        ");
    }

    #[test]
    fn broken_yaml_has_a_place() {
        let problems = read("name: a\n  port: 1\n").unwrap_err();
        assert_eq!(problems[0].line, Some(2));
        assert!(problems[0].message.starts_with("not valid YAML"), "{}", problems[0].message);
        assert!(read("start: \"a\\nb\"\n").is_err());
        assert!(read("- a\n").is_err());
        assert!(read("env: 3\nallow: {a: b}\n").is_err() && read("exclude: {a: b}\n").is_err());
    }
}
