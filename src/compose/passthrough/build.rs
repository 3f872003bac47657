//! What a build may read and do.

use crate::compose::dockerfile;
use crate::compose::file::entry;
use crate::compose::node::Node;

use super::input::Entry;
use super::input::Text;
use super::paths::Place;
use super::paths::join;
use super::paths::locate;
use super::policy;
use super::scope::Scope;

/// A judged build.
pub(super) struct Build {
    /// The `build` of the service, every path absolute as this node sees it.
    pub(super) tree: Node,
    /// The TCP ports its Dockerfile declares.
    pub(super) exposed: Vec<u16>,
}

/// Judges the build of a service.
pub(super) fn judge(scope: &mut Scope<'_>, path: &str, build: &Node) -> Option<Build> {
    let context = context(scope, path, build)?;
    let mut tree = vec![entry("context", join(&scope.input.folder, &context))];
    let mut exposed = Vec::new();
    for (key, value) in build.entries() {
        let place = format!("{path}.{key}");
        let kept = match key.as_str() {
            "context" => None,
            "dockerfile" => None,
            "dockerfile_inline" => value.text().map(|text| {
                exposed = dockerfile::exposed(&text);
                Node::Text(text)
            }),
            "args" => Some(texts(value)),
            "labels" => policy::labels(scope, &place, value),
            "target" => value.text().map(Node::Text),
            "no_cache" | "pull" => Some(value.is_true().into()),
            "shm_size" | "ulimits" | "platforms" | "extra_hosts" => Some(value.clone()),
            "network" => network(scope, &place, value),
            "additional_contexts" => additional(scope, &place, value),
            "tags" | "cache_from" | "cache_to" | "provenance" | "sbom" => {
                scope.notice(format!("`{place}` is left out: the image is the node's"));
                None
            }
            "privileged" | "ssh" | "secrets" | "entitlements" | "isolation" if !empty(value) => {
                let why = "a build gets nothing of the host but its context";
                scope.refuse(&place, &format!("build.{key}"), why).then(|| value.clone())
            }
            "privileged" | "ssh" | "secrets" | "entitlements" | "isolation" => None,
            key if key.starts_with("x-") => None,
            key => scope
                .refuse(&place, &format!("build.{key}"), "the key is not known to this node")
                .then(|| value.clone()),
        };
        tree.extend(kept.map(|value| (key.clone(), value)));
    }
    if build.get("dockerfile_inline").is_none() {
        let (file, ports) = dockerfile_of(scope, path, build, &context)?;
        tree.push(entry("dockerfile", join(&scope.input.folder, &file)));
        exposed = ports;
    }
    Some(Build { tree: Node::Map(tree), exposed })
}

fn empty(value: &Node) -> bool {
    matches!(value, Node::Null | Node::Bool(false)) || matches!(value, Node::List(items) if items.is_empty())
}

fn texts(value: &Node) -> Node {
    Node::Map(value.entries().iter().filter_map(|(key, value)| Some(entry(key, value.text()?))).collect())
}

/// The directory sent to the builder, relative to the project.
fn context(scope: &mut Scope<'_>, path: &str, build: &Node) -> Option<String> {
    let key = format!("{path}.context");
    let text = build.get("context").and_then(Node::text).unwrap_or_else(|| ".".to_owned());
    inside(scope, &key, &text, "build.context")
}

/// Takes a path that must be a directory or file of the project.
fn inside(scope: &mut Scope<'_>, key: &str, text: &str, what: &str) -> Option<String> {
    if text.contains("://")
        || text.starts_with("git@")
        || text.starts_with("github.com/")
        || text.contains(".git#")
    {
        scope.forbid(key, &format!("`{text}` is remote"), "copy it into the project");
        return None;
    }
    let Place::Inside(inside) = locate(text, "", &scope.folders) else {
        scope.forbid(key, &format!("`{text}` is not in the project"), "move it into the project");
        return None;
    };
    match scope.input.files.entry(&inside) {
        Entry::Outside => {
            scope.forbid(
                key,
                &format!("`{text}` leads out of the project through a link"),
                "replace the link by what it names",
            );
            None
        }
        Entry::Absent => {
            scope.wrong(
                key,
                format!("`{text}` is not there"),
                format!("correct `{what}`, or add it to the project"),
            );
            None
        }
        Entry::Unreadable(why) => {
            scope.wrong(
                key,
                format!("`{text}` cannot be read: {why}"),
                "give the node permission to read it",
            );
            None
        }
        Entry::File | Entry::Directory => {
            scope.paths.insert(inside.clone());
            Some(inside)
        }
    }
}

/// The Dockerfile, relative to the project, and the ports it declares.
fn dockerfile_of(
    scope: &mut Scope<'_>,
    path: &str,
    build: &Node,
    context: &str,
) -> Option<(String, Vec<u16>)> {
    let key = format!("{path}.dockerfile");
    let name = build.get("dockerfile").and_then(Node::text).unwrap_or_else(|| "Dockerfile".to_owned());
    let text = if name.starts_with(['/', '~']) { name } else { format!("./{context}/{name}") };
    let file = inside(scope, &key, &text, "build.dockerfile")?;
    let ports = match scope.input.files.text(&file) {
        Text::Present(text) => dockerfile::exposed(&text),
        Text::Absent | Text::Unreadable(_) => Vec::new(),
    };
    Some((file, ports))
}

fn network(scope: &mut Scope<'_>, path: &str, value: &Node) -> Option<Node> {
    let text = value.text().unwrap_or_default();
    let harmless = text == "none" || text == "default";
    let why = format!("the build would run in the network `{text}`");
    (harmless || scope.refuse(path, &format!("build.network:{text}"), &why)).then(|| text.into())
}

fn additional(scope: &mut Scope<'_>, path: &str, value: &Node) -> Option<Node> {
    let mut kept = Vec::new();
    for (name, context) in value.entries() {
        let text = context.text().unwrap_or_default();
        let place = format!("{path}.{name}");
        if text.starts_with("docker-image://") || text.starts_with("service:") {
            kept.push(entry(name, text));
        } else if let Some(inside) = inside(scope, &place, &text, "build.additional_contexts") {
            kept.push(entry(name, join(&scope.input.folder, &inside)));
        }
    }
    Some(Node::Map(kept))
}
