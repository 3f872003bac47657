//! What a service may see of files: its own volumes, and the project.

use crate::compose::file::Mount;
use crate::compose::file::Origin;
use crate::compose::file::entry;
use crate::compose::node::Node;
use crate::compose::plan::project_name;

use super::input::Entry;
use super::paths::Place;
use super::paths::join;
use super::paths::locate;
use super::policy;
use super::scope::Bind;
use super::scope::Scope;
use super::shape;

/// Judges the mounts of a service, its secrets and configs among them.
pub(super) fn judge(scope: &mut Scope<'_>, name: &str, service: &Node, project: &Node) -> Vec<Node> {
    let mut mounts = Vec::new();
    for (at, item) in service.get("volumes").map_or(&[][..], Node::items).iter().enumerate() {
        let key = format!("services.{name}.volumes[{at}]");
        mounts.extend(mount(scope, &key, name, item, project));
    }
    for kind in ["secrets", "configs"] {
        for (at, item) in service.get(kind).map_or(&[][..], Node::items).iter().enumerate() {
            let key = format!("services.{name}.{kind}[{at}]");
            mounts.extend(granted(scope, &key, kind, item, project));
        }
    }
    mounts
}

fn mount(scope: &mut Scope<'_>, key: &str, service: &str, item: &Node, project: &Node) -> Option<Node> {
    const KEYS: [&str; 7] = ["type", "source", "target", "read_only", "bind", "volume", "tmpfs"];
    let item = policy::known(scope, key, item, &[&KEYS[..], &["consistency"]].concat());
    let Some(target) = item.get("target").and_then(Node::text).filter(|target| target.starts_with('/'))
    else {
        scope.wrong(
            key,
            "the mount has no absolute path inside the container",
            "write it as `SOURCE:/TARGET`",
        );
        return None;
    };
    let read_only = item.get("read_only").is_some_and(Node::is_true);
    match item.get("type").and_then(Node::text).as_deref() {
        Some("volume") => volume(scope, key, service, &item, &target, project),
        Some("bind") => bind(scope, key, service, &item, &target),
        Some("tmpfs") => {
            let mut tree = vec![entry("type", "tmpfs"), entry("target", target)];
            if let Some(options) = item.get("tmpfs") {
                tree.push((
                    "tmpfs".to_owned(),
                    policy::known(scope, &format!("{key}.tmpfs"), options, &["size", "mode"]),
                ));
            }
            if read_only {
                tree.push(entry("read_only", true));
            }
            Some(Node::Map(tree))
        }
        Some(other) => {
            let why = format!("mounts of type `{other}` are not known to this node");
            scope.forbid(key, &why, "use a volume, or a directory of the project");
            None
        }
        None => {
            scope.wrong(key, "the mount has no `type`", "write `type: volume`, `bind` or `tmpfs`");
            None
        }
    }
}

/// A named volume becomes one of ours; one without a name gets a name, so that nothing is left without a label.
fn volume(
    scope: &mut Scope<'_>,
    key: &str,
    service: &str,
    item: &Node,
    target: &str,
    project: &Node,
) -> Option<Node> {
    let source = item.get("source").and_then(Node::text);
    let name = match &source {
        None => {
            let digest = blake3::hash(format!("{service}\0{target}").as_bytes()).to_hex();
            own(scope, &format!("anonymous-{}", &digest[..12]))
        }
        Some(source) => {
            let declared =
                project.get("volumes").map_or(&[][..], Node::entries).iter().find(|(name, _)| name == source);
            let Some((_, declared)) = declared else {
                let message = format!("the volume `{source}` is not declared");
                let hint = format!(
                    "write `volumes: {{{source}: }}` at the top level, or `./{source}` for a directory"
                );
                scope.wrong(key, message, hint);
                return None;
            };
            declared_volume(scope, source, declared)?
        }
    };
    let mut tree = vec![entry("type", "volume"), entry("source", name), entry("target", target)];
    if item.get("read_only").is_some_and(Node::is_true) {
        tree.push(entry("read_only", true));
    }
    if let Some(options) = item.get("volume") {
        tree.push((
            "volume".to_owned(),
            policy::known(scope, &format!("{key}.volume"), options, &["nocopy", "subpath"]),
        ));
    }
    Some(Node::Map(tree))
}

/// The name of a declared volume. Only plain local ones are ours to make.
fn declared_volume(scope: &mut Scope<'_>, name: &str, declared: &Node) -> Option<String> {
    let key = format!("volumes.{name}");
    let mut fine = true;
    let mut external = false;
    for (option, value) in declared.entries() {
        let place = format!("{key}.{option}");
        match option.as_str() {
            "driver" if value.text().as_deref() == Some("local") => {}
            "driver" => fine &= scope.refuse(&place, &place, "a volume driver mounts what nobody looked at"),
            "driver_opts" if value.entries().is_empty() => {}
            "driver_opts" => {
                let why = "driver options can mount any directory or device of the host";
                fine &= scope.refuse(&place, &place, why);
            }
            "external" if matches!(value, Node::Bool(false)) => {}
            "external" => {
                external = scope.refuse(&place, &place, "the volume belongs to somebody else");
                fine &= external;
            }
            "name" => scope
                .notice(format!("`{place}` is left out: names are the node's, so that no two stacks clash")),
            "labels" => {
                fine &= shape::pairs(value).is_some_and(|labels| {
                    policy::labels(scope, &place, &labels).is_some() || labels.entries().is_empty()
                })
            }
            option if option.starts_with("x-") => {}
            _ => {
                scope.forbid(&place, "the key is not known to this node", "leave it out");
                fine = false;
            }
        }
    }
    if !fine {
        return None;
    }
    let options = declared.get("driver_opts").is_some_and(|options| !options.entries().is_empty());
    let driver = declared.get("driver").is_some_and(|driver| *driver != "local".into());
    Some(if external || options || driver { name.to_owned() } else { own(scope, name) })
}

/// A volume of the workspace, made by the caller.
fn own(scope: &mut Scope<'_>, name: &str) -> String {
    let full = format!("{}-{name}", project_name(&scope.input.workspace));
    scope.volumes.insert(full.clone(), scope.input.volume_labels());
    full
}

fn bind(scope: &mut Scope<'_>, key: &str, service: &str, item: &Node, target: &str) -> Option<Node> {
    let source = item.get("source").and_then(Node::text).unwrap_or_default();
    for (option, value) in item.get("bind").map_or(&[][..], Node::entries) {
        let place = format!("{key}.bind.{option}");
        match (option.as_str(), value.text().as_deref()) {
            ("create_host_path" | "selinux", _) | ("propagation", Some("private" | "rprivate")) => {}
            ("propagation", Some(how)) => {
                let why = format!("with `{how}` mounts made in the container appear on the host");
                // Not granted even then: nothing of ours can contain it.
                scope.forbid(&place, &why, "leave `propagation` out");
                return None;
            }
            _ => {
                scope.forbid(&place, "the key is not known to this node", "leave it out");
                return None;
            }
        }
    }
    let read_only = item.get("read_only").is_some_and(Node::is_true);
    match locate(&source, "", &scope.folders) {
        Place::Inside(inside) => project_bind(scope, key, service, &inside, target, read_only),
        Place::Home => {
            scope.forbid(key, &format!("`{source}` is in a home directory"), "move it into the project");
            None
        }
        Place::Outside(path) => {
            let why = if path.ends_with("docker.sock") || path.ends_with("containerd.sock") {
                format!("`{path}` is the engine's socket: whoever holds it is root on the host")
            } else {
                format!("`{path}` is not in the project")
            };
            let allowed = scope.refuse(key, &format!("bind:{path}"), &why);
            let origin = Origin::Host(path);
            allowed.then(|| Mount { origin, target: target.to_owned(), read_only }.tree())
        }
    }
}

/// A directory or file of the project, named as the engine's host knows it.
fn project_bind(
    scope: &mut Scope<'_>,
    key: &str,
    service: &str,
    inside: &str,
    target: &str,
    read_only: bool,
) -> Option<Node> {
    match scope.input.files.entry(inside) {
        Entry::Outside => {
            scope.forbid(
                key,
                &format!("`./{inside}` leads out of the project through a link"),
                "replace the link by what it names",
            );
            return None;
        }
        Entry::Unreadable(why) => {
            scope.wrong(
                key,
                format!("`./{inside}` cannot be read: {why}"),
                "give the node permission to read it",
            );
            return None;
        }
        Entry::Absent
            if read_only
                || inside
                    .rsplit('/')
                    .next()
                    .is_some_and(|last| last.trim_start_matches('.').contains('.')) =>
        {
            scope.wrong(
                key,
                format!("`./{inside}` is not there"),
                "add it to the project; the engine would make an empty directory of it",
            );
            return None;
        }
        // Compose would make the directory in the user's folder; we keep the data without touching the folder.
        Entry::Absent => {
            let digest = blake3::hash(inside.as_bytes()).to_hex();
            let name = own(scope, &format!("data-{}", &digest[..12]));
            scope.notice(format!(
                "`{service}`: `./{inside}` is not in the project, its data is kept in the volume `{name}`"
            ));
            return Some(Mount { origin: Origin::Volume(name), target: target.to_owned(), read_only }.tree());
        }
        Entry::File | Entry::Directory => {}
    }
    let Some(path) = scope.input.view.host(&join(&scope.input.folder, inside)) else {
        scope.wrong(
            key,
            "the engine's host has no path for the project: the node's own container does not mount it",
            "start the node with the watched directory mounted from the host",
        );
        return None;
    };
    scope.paths.insert(inside.to_owned());
    scope.binds.push(Bind {
        service: service.to_owned(),
        inside: inside.to_owned(),
        target: target.to_owned(),
    });
    Some(Mount { origin: Origin::Host(path), target: target.to_owned(), read_only }.tree())
}

/// A secret or config: a file of the project, mounted read-only where Compose would put it.
fn granted(scope: &mut Scope<'_>, key: &str, kind: &str, item: &Node, project: &Node) -> Option<Node> {
    let item = policy::known(scope, key, item, &["source", "target", "uid", "gid", "mode"]);
    let name = item.get("source").and_then(Node::text).unwrap_or_default();
    let declared =
        project.get(kind).map_or(&[][..], Node::entries).iter().find(|(declared, _)| *declared == name);
    let Some((_, declared)) = declared else {
        scope.wrong(
            key,
            format!("`{name}` is not declared under `{kind}`"),
            format!("write `{kind}: {{{name}: {{file: ./PATH}}}}`"),
        );
        return None;
    };
    let place = format!("{kind}.{name}");
    for (option, _) in declared.entries() {
        match option.as_str() {
            "file" | "name" | "labels" => {}
            option if option.starts_with("x-") => {}
            "environment" => scope.forbid(
                &format!("{place}.environment"),
                "the value would stand in the engine's records",
                "put it into a file of the project",
            ),
            "content" => scope.forbid(
                &format!("{place}.content"),
                "the engine would unpack an archive into the container",
                "put it into a file of the project",
            ),
            "external" => scope.forbid(
                &format!("{place}.external"),
                "it belongs to somebody else",
                "put it into a file of the project",
            ),
            _ => scope.forbid(
                &format!("{place}.{option}"),
                "the key is not known to this node",
                "put it into a file of the project",
            ),
        }
    }
    let file = declared.get("file").and_then(Node::text)?;
    let base = if scope.base.is_empty() || file.starts_with(['/', '~']) {
        file.clone()
    } else {
        format!("./{}/{file}", scope.base)
    };
    let Place::Inside(inside) = locate(&base, "", &scope.folders) else {
        scope.forbid(
            &format!("{place}.file"),
            &format!("`{file}` is not in the project"),
            "move it into the project",
        );
        return None;
    };
    if item.get("uid").or(item.get("gid")).or(item.get("mode")).is_some() {
        scope.notice(format!("`{key}`: `uid`, `gid` and `mode` are left out, the file is mounted as it is"));
    }
    let target = match item.get("target").and_then(Node::text) {
        Some(target) if target.starts_with('/') => target,
        Some(target) if kind == "secrets" => format!("/run/secrets/{target}"),
        Some(target) => format!("/{target}"),
        None if kind == "secrets" => format!("/run/secrets/{name}"),
        None => format!("/{name}"),
    };
    project_bind(scope, &format!("{place}.file"), &name, &inside, &target, true)
}
