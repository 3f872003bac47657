//! One service of the user's file: each of its parts judged, what is kept put together.

use crate::compose::file::entry;
use crate::compose::node::Node;
use crate::compose::verify;

use super::build;
use super::limits::limit;
use super::mounts;
use super::networks;
use super::policy;
use super::ports;
use super::ports::Ports;
use super::scope::Scope;
use super::web;

/// A judged service.
pub(super) struct Judged {
    pub(super) name: String,
    pub(super) tree: Vec<(String, Node)>,
    /// The image it names in the file, and whether it is built.
    pub(super) image: Option<String>,
    pub(super) built: bool,
    pub(super) label: Option<String>,
    pub(super) ports: Ports,
    pub(super) declared: Vec<u16>,
    pub(super) networks: Vec<String>,
    /// The service whose network it shares.
    pub(super) guest_of: Option<String>,
}

/// Judges a service; `None` when it cannot even be named.
pub(super) fn judge(scope: &mut Scope<'_>, name: &str, service: &Node, project: &Node) -> Option<Judged> {
    let path = format!("services.{name}");
    if !verify::is_word(name) {
        scope.wrong(&path, "this is no name for a service", "use letters, digits, `_`, `.` and `-`");
        return None;
    }
    let mut tree = policy::service(scope, name, service);
    if let Some(environment) = service.get("environment") {
        let pairs = environment
            .entries()
            .iter()
            .filter_map(|(key, value)| Some((key.clone(), value.text()?)))
            .collect();
        let mut problems = Vec::new();
        verify::environment(&format!("{path}.environment"), &pairs, &mut problems);
        problems.iter_mut().for_each(|problem| problem.file.clone_from(&scope.file));
        scope.problems.append(&mut problems);
    }
    let image = image(scope, &path, service);
    let built = service.get("build").and_then(|build| build::judge(scope, &format!("{path}.build"), build));
    if service.get("build").is_none() && image.is_none() {
        scope.wrong(
            &path,
            "the service has neither an image nor a build",
            "write `image:` or `build:` into it",
        );
    }
    let declared = built.as_ref().map(|built| built.exposed.clone()).unwrap_or_default();
    if let Some(built) = &built {
        tree.push(("build".to_owned(), built.tree.clone()));
    }
    let mounts = mounts::judge(scope, name, service, project);
    if !mounts.is_empty() {
        tree.push(entry("volumes", Node::List(mounts)));
    }
    limit(scope, &path, service, &mut tree);
    let (networks, attachments) = networks::attach(scope, &path, service);
    if let Some(attachments) = attachments {
        tree.push(("networks".to_owned(), attachments));
    }
    references(scope, &path, service, project);
    let mode = service.get("network_mode").and_then(Node::text).unwrap_or_default();
    Some(Judged {
        name: name.to_owned(),
        tree,
        image,
        built: service.get("build").is_some(),
        label: service.get("labels").and_then(|labels| labels.get(web::LABEL)).and_then(Node::text),
        ports: ports::judge(scope, name, service),
        declared,
        networks,
        guest_of: mode.strip_prefix("service:").map(str::to_owned),
    })
}

/// The image a service names.
fn image(scope: &mut Scope<'_>, path: &str, service: &Node) -> Option<String> {
    let image = service.get("image")?.text().unwrap_or_default();
    let key = format!("{path}.image");
    if !verify::is_image(&image) {
        scope.wrong(&key, format!("{image:?} is not the name of an image"), "write it as `name:tag`");
        return None;
    }
    // What one workspace built is not another's to read.
    if image.starts_with("nexus-") && service.get("build").is_none() {
        scope.forbid(
            &key,
            "images called `nexus-...` belong to workspaces of the node",
            "name another image",
        );
        return None;
    }
    Some(image)
}

/// Other services a service names must be in the stack.
fn references(scope: &mut Scope<'_>, path: &str, service: &Node, project: &Node) {
    let services = project.get("services").map_or(&[][..], Node::entries);
    let mut named: Vec<(String, String)> = Vec::new();
    for (name, rule) in service.get("depends_on").map_or(&[][..], Node::entries) {
        if rule.get("required").is_none_or(Node::is_true) {
            named.push((format!("{path}.depends_on"), name.clone()));
        }
    }
    for link in service.get("links").map(Node::words).unwrap_or_default() {
        named.push((format!("{path}.links"), link.split(':').next().unwrap_or_default().to_owned()));
    }
    for key in ["network_mode", "pid", "ipc"] {
        let mode = service.get(key).and_then(Node::text).unwrap_or_default();
        if let Some(name) = mode.strip_prefix("service:") {
            named.push((format!("{path}.{key}"), name.to_owned()));
        }
    }
    for (key, name) in named {
        if !services.iter().any(|(known, _)| *known == name) {
            scope.wrong(
                &key,
                format!("there is no service `{name}` in the stack"),
                "correct the name, or activate its profile",
            );
        }
    }
}
