//! Brings every thing a compose file can say in several ways into one form, and lays one file over another.

use crate::compose::file::entry;
use crate::compose::node::Node;

/// Keys of a service that are a map, or a list of `KEY=VALUE`.
const PAIRS: [&str; 4] = ["annotations", "environment", "labels", "sysctls"];
/// Keys of a service that are a list, or one item.
const LISTS: [&str; 6] = ["dns", "dns_search", "tmpfs", "cap_add", "cap_drop", "security_opt"];
/// Keys whose value replaces the one beneath, lists though they are.
const REPLACED: [&str; 3] = ["command", "entrypoint", "test"];

/// A service in its one form; relative paths are put behind `base`, the directory of the file it stands in.
///
/// # Errors
/// The key that has no form at all, and why.
pub(super) fn service(service: &Node, base: &str) -> Result<Node, (String, String)> {
    let mut shaped = Vec::new();
    for (key, value) in service.entries() {
        if *value == Node::Null {
            continue;
        }
        let value = match key.as_str() {
            key if PAIRS.contains(&key) => pairs(value),
            key if LISTS.contains(&key) => Some(list(value)),
            "extra_hosts" => hosts(value),
            "networks" => named(value, &Node::Null),
            "depends_on" => named(value, &Node::Map(vec![entry("condition", "service_started")])),
            "env_file" => each(&list(value), |item| env_file(item, base)),
            "volumes" => each(value, |item| volume(item, base)),
            "secrets" | "configs" => each(value, source),
            "build" => build(value, base),
            "extends" => extends(value, base),
            _ => Some(value.clone()),
        };
        shaped.push((
            key.clone(),
            value.ok_or_else(|| (key.clone(), format!("`{key}` has a form that means nothing")))?,
        ));
    }
    Ok(Node::Map(shaped))
}

/// Lays `over` on `base`: maps are joined, lists appended, commands and single values replaced.
pub(super) fn merge(base: Node, over: Node) -> Node {
    match (base, over) {
        (base, Node::Null) => base,
        (Node::Map(mut entries), Node::Map(above)) => {
            for (key, value) in above {
                match entries.iter_mut().find(|(name, _)| *name == key) {
                    Some((_, old)) if REPLACED.contains(&key.as_str()) => *old = value,
                    Some((_, old)) if key == "volumes" => *old = by_target(old, &value),
                    Some((_, old)) => *old = merge(std::mem::replace(old, Node::Null), value),
                    None => entries.push((key, value)),
                }
            }
            Node::Map(entries)
        }
        (Node::List(mut items), Node::List(above)) => {
            for item in above {
                if !items.contains(&item) {
                    items.push(item);
                }
            }
            Node::List(items)
        }
        (_, over) => over,
    }
}

/// Mounts of `over` replace those of `base` at the same target. Top-level volumes are maps and are joined.
fn by_target(base: &Node, over: &Node) -> Node {
    if !matches!((base, over), (Node::List(_), Node::List(_))) {
        return merge(base.clone(), over.clone());
    }
    let taken = |mount: &&Node| !over.items().iter().any(|other| other.get("target") == mount.get("target"));
    let mut items: Vec<Node> = base.items().iter().filter(taken).cloned().collect();
    items.extend(over.items().iter().cloned());
    Node::List(items)
}

/// A map, or a list of `KEY=VALUE` and `KEY` (null).
pub(super) fn pairs(value: &Node) -> Option<Node> {
    match value {
        Node::Map(entries) => {
            let scalar = |value: &Node| !matches!(value, Node::List(_) | Node::Map(_));
            entries.iter().all(|(_, value)| scalar(value)).then(|| value.clone())
        }
        Node::List(items) => {
            let mut map = Node::Map(Vec::new());
            for item in items {
                let text = item.text()?;
                match text.split_once('=') {
                    Some((key, value)) => map.set(key, value.into()),
                    None => map.set(&text, Node::Null),
                }
            }
            Some(map)
        }
        _ => None,
    }
}

fn list(value: &Node) -> Node {
    match value {
        Node::List(_) => value.clone(),
        other => Node::List(vec![other.clone()]),
    }
}

fn hosts(value: &Node) -> Option<Node> {
    match value {
        Node::List(_) => Some(value.clone()),
        Node::Map(entries) => {
            let mut items = Vec::new();
            for (host, addresses) in entries {
                items.extend(addresses.words().iter().map(|address| Node::Text(format!("{host}={address}"))));
            }
            Some(Node::List(items))
        }
        _ => None,
    }
}

/// A map by name, or a list of names that all mean `usual`.
fn named(value: &Node, usual: &Node) -> Option<Node> {
    match value {
        Node::Map(_) => Some(value.clone()),
        Node::List(items) => Some(Node::Map(
            items.iter().map(|item| Some((item.text()?, usual.clone()))).collect::<Option<_>>()?,
        )),
        _ => None,
    }
}

fn each(value: &Node, shape: impl Fn(&Node) -> Option<Node>) -> Option<Node> {
    let Node::List(items) = value else { return None };
    Some(Node::List(items.iter().map(shape).collect::<Option<_>>()?))
}

/// Puts a relative path behind the directory of its file.
fn rebase(path: &str, base: &str) -> String {
    let remote = path.contains("://") || path.starts_with("git@") || path.starts_with("service:");
    if base.is_empty() || remote || path.starts_with(['/', '~']) {
        path.to_owned()
    } else {
        format!("./{base}/{path}")
    }
}

fn env_file(item: &Node, base: &str) -> Option<Node> {
    let (path, required) = match item {
        Node::Map(_) => (item.get("path")?.text()?, item.get("required").is_none_or(Node::is_true)),
        other => (other.text()?, true),
    };
    let mut shaped = Node::Map(vec![entry("path", rebase(&path, base)), entry("required", required)]);
    for (key, value) in item.entries().iter().filter(|(key, _)| key != "path" && key != "required") {
        shaped.set(key, value.clone());
    }
    Some(shaped)
}

fn source(item: &Node) -> Option<Node> {
    match item {
        Node::Map(_) => Some(item.clone()),
        other => Some(Node::Map(vec![entry("source", other.text()?)])),
    }
}

fn build(value: &Node, base: &str) -> Option<Node> {
    let mut shaped = match value {
        Node::Map(_) => value.clone(),
        Node::Text(context) => Node::Map(vec![entry("context", context.clone())]),
        _ => return None,
    };
    let context = shaped.get("context").map_or(Some(".".to_owned()), Node::text)?;
    shaped.set("context", rebase(&context, base).into());
    for key in ["args", "labels", "additional_contexts"] {
        if let Some(value) = shaped.get(key) {
            let value = pairs(value)?;
            shaped.set(key, value);
        }
    }
    if let Some(contexts) = shaped.take("additional_contexts") {
        let moved =
            |(name, value): &(String, Node)| Some((name.clone(), rebase(&value.text()?, base).into()));
        shaped.set(
            "additional_contexts",
            Node::Map(contexts.entries().iter().map(moved).collect::<Option<_>>()?),
        );
    }
    Some(shaped)
}

fn extends(value: &Node, base: &str) -> Option<Node> {
    let mut shaped = match value {
        Node::Map(_) => value.clone(),
        Node::Text(name) => Node::Map(vec![entry("service", name.clone())]),
        _ => return None,
    };
    if let Some(file) = shaped.get("file").map(Node::text) {
        shaped.set("file", rebase(&file?, base).into());
    }
    Some(shaped)
}

/// A mount in its long form. The short one is `[SOURCE:]TARGET[:MODE,...]`; a source with a `/`, `.` or `~` in front is
/// a path, any other a volume.
fn volume(item: &Node, base: &str) -> Option<Node> {
    if let Node::Map(_) = item {
        let mut shaped = item.clone();
        let bind = item.get("type").and_then(Node::text).as_deref() == Some("bind");
        if let (true, Some(source)) = (bind, item.get("source")) {
            shaped.set("source", rebase(&source.text()?, base).into());
        }
        return Some(shaped);
    }
    let text = item.text()?;
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, modes) = match parts.as_slice() {
        [target] => (None, *target, ""),
        [source, target] => (Some(*source), *target, ""),
        [source, target, modes] => (Some(*source), *target, *modes),
        _ => return None,
    };
    let path = source.is_some_and(|source| source.starts_with(['/', '.', '~']));
    let mut shaped = Node::Map(vec![entry("type", if path { "bind" } else { "volume" })]);
    if let Some(source) = source {
        shaped.set("source", if path { rebase(source, base).into() } else { source.into() });
    }
    shaped.set("target", target.into());
    for mode in modes.split(',').filter(|mode| !mode.is_empty()) {
        match mode {
            "ro" => shaped.set("read_only", true.into()),
            // Hints for other systems, and the labels of SELinux, which the engine here has no say in.
            "rw" | "z" | "Z" | "cached" | "delegated" | "consistent" => {}
            "nocopy" => shaped.set("volume", Node::Map(vec![entry("nocopy", true)])),
            propagation => shaped.set("bind", Node::Map(vec![entry("propagation", propagation)])),
        }
    }
    Some(shaped)
}
