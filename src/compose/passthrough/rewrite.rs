//! Puts the judged parts together: our names, networks, labels, limits.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::compose::file::Drop;
use crate::compose::file::confinement;
use crate::compose::file::entry;
use crate::compose::file::log_caps;
use crate::compose::file::map;
use crate::compose::file::texts;
use crate::compose::labels::labels;
use crate::compose::labels::stamped;
use crate::compose::node::Node;
use crate::compose::plan::Candidate;
use crate::compose::plan::FROM_IMAGE;
use crate::compose::plan::Plan;
use crate::compose::plan::Volume;
use crate::compose::plan::project_name;
use crate::compose::problem::Problem;
use crate::compose::render::render;
use crate::compose::verify;
use crate::model::project::Kind;

use super::input::PassInput;
use super::load::load;
use super::networks;
use super::networks::Declared;
use super::scope::Bind;
use super::scope::Scope;
use super::service::Judged;
use super::service::judge;
use super::web;

/// Adapts the user's own compose file.
///
/// # Errors
/// Everything in it that cannot be run here, each with what to write to change that.
pub fn passthrough(input: &PassInput<'_>) -> Result<Plan, Vec<Problem>> {
    let mut scope = Scope::new(input);
    verify::environment("env", &input.overrides.env, &mut scope.problems);
    verify::limits("limits", input.overrides.limits, &mut scope.problems);
    let Some(project) = load(&mut scope) else { return Err(scope.into_problems()) };
    top_level(&mut scope, &project);
    let services: Vec<Judged> = project
        .get("services")
        .map_or(&[][..], Node::entries)
        .iter()
        .filter_map(|(name, service)| judge(&mut scope, name, service, &project))
        .collect();
    let joined: Vec<&[String]> = services.iter().map(|service| service.networks.as_slice()).collect();
    let declared = networks::judge(&mut scope, &project, &joined);
    let candidates = candidates(&mut scope, &services);
    if !scope.problems.is_empty() {
        return Err(scope.into_problems());
    }
    let tree = |stamp: Option<&str>| assemble(&scope, &project, &services, &declared, stamp);
    let digest = blake3::hash(render(&tree(None)).as_bytes()).to_hex()[..16].to_owned();
    Ok(Plan {
        image: String::new(),
        project: project_name(&input.workspace),
        file: render(&tree(Some(&digest))),
        digest,
        volumes: scope
            .volumes
            .iter()
            .map(|(name, labels)| Volume { name: name.clone(), labels: labels.clone() })
            .collect(),
        services: services.iter().map(|service| service.name.clone()).collect(),
        web: candidates,
        agent: false,
        unsynced: Some(unsynced(&scope)),
        paths: scope.paths.iter().cloned().collect(),
        notices: scope.notices.clone(),
    })
}

/// How an edit gets to containers that have no agent.
fn unsynced(scope: &Scope<'_>) -> String {
    let bind = |bind: &Bind| {
        let what =
            if bind.inside.is_empty() { "the project".to_owned() } else { format!("`{}`", bind.inside) };
        format!("`{}` has {what} at `{}`", bind.service, bind.target)
    };
    if scope.binds.is_empty() {
        return FROM_IMAGE.to_owned();
    }
    let binds: Vec<_> = scope.binds.iter().map(bind).collect();
    format!(
        "its compose file mounts what its containers see of the folder, so nothing is carried: {}",
        binds.join(", ")
    )
}

/// Keys beside `services`.
fn top_level(scope: &mut Scope<'_>, project: &Node) {
    for (key, value) in project.entries() {
        match key.as_str() {
            "services" | "networks" | "volumes" | "secrets" | "configs" | "version" | "name" => {}
            _ if *value == Node::Null => {}
            "include" => scope.forbid(
                "include",
                "other files are not taken in unseen",
                "copy their services into this file",
            ),
            key if key.starts_with("x-") => {}
            key => scope.forbid(key, "the key is not known to this node", "leave it out"),
        }
    }
    if project.get("services").is_none_or(|services| services.entries().is_empty())
        && scope.problems.is_empty()
    {
        scope.wrong(
            "services",
            "no service is to be run",
            "write at least one service, or activate its profile",
        );
    }
}

fn candidates(scope: &mut Scope<'_>, services: &[Judged]) -> Vec<Candidate> {
    let known: Vec<web::Service> = services
        .iter()
        .map(|service| web::Service {
            name: service.name.clone(),
            image: service.image.clone(),
            built: service.built,
            label: service.label.clone(),
            ports: service.ports.clone(),
            declared: service.declared.clone(),
        })
        .collect();
    let overrides = &scope.input.overrides;
    let wanted = overrides.service.as_deref();
    let mut candidates = web::rank(&known, wanted, overrides.port);
    for candidate in &mut candidates {
        // A guest has no address: its ports are its host's.
        if let Some(host) = services
            .iter()
            .find(|service| service.name == candidate.service)
            .and_then(|service| service.guest_of.clone())
        {
            candidate.service = host;
        }
    }
    if candidates.is_empty() && !services.is_empty() {
        let names =
            services.iter().map(|service| format!("`{}`", service.name)).collect::<Vec<_>>().join(", ");
        match wanted {
            Some(wanted) => scope.wrong("service", format!("there is no service `{wanted}`"), format!("name one of {names}")),
            None if overrides.kind == Some(Kind::Compose) => {}
            None => scope.wrong(
                "services",
                format!("none of {names} answers the web"),
                "name one as `service` in .nexus/config.yaml, or state `kind: compose` to run them all the same",
            ),
        }
    }
    candidates
}

/// The whole file.
fn assemble(
    scope: &Scope<'_>,
    project: &Node,
    services: &[Judged],
    networks: &[Declared],
    stamp: Option<&str>,
) -> Node {
    let input = scope.input;
    let built: BTreeMap<&str, String> = services
        .iter()
        .filter(|service| service.built)
        .filter_map(|service| Some((service.image.as_deref()?, built_image(input, &service.name))))
        .collect();
    let bodies =
        services.iter().map(|service| (service.name.clone(), body(input, service, &built, stamp))).collect();
    let mut tree =
        vec![entry("name", project_name(&input.workspace)), ("services".to_owned(), Node::Map(bodies))];
    let nets: Vec<(String, Node)> = networks
        .iter()
        .map(|network| (network.key.clone(), networks::render(input, network, stamp)))
        .collect();
    if !nets.is_empty() {
        tree.push(("networks".to_owned(), Node::Map(nets)));
    }
    let mut volumes: Vec<(String, Node)> = scope
        .volumes
        .keys()
        .map(|name| (name.clone(), map([("external", true.into()), ("name", name.clone().into())])))
        .collect();
    volumes.extend(permitted_volumes(input, project, services, stamp));
    if !volumes.is_empty() {
        tree.push(("volumes".to_owned(), Node::Map(volumes)));
    }
    Node::Map(tree)
}

fn built_image(input: &PassInput<'_>, service: &str) -> String {
    format!("nexus-{}-{}", input.workspace, service.to_ascii_lowercase())
}

fn body(
    input: &PassInput<'_>,
    service: &Judged,
    built: &BTreeMap<&str, String>,
    stamp: Option<&str>,
) -> Node {
    let mut tree = Node::Map(Vec::new());
    let image = if service.built {
        // Never the name the file gives it: that could be another's image.
        Some(built_image(input, &service.name))
    } else {
        service
            .image
            .as_ref()
            .map(|image| built.get(image.as_str()).cloned().unwrap_or_else(|| image.clone()))
    };
    if let Some(image) = image {
        tree.set("image", image.into());
    }
    for (key, value) in &service.tree {
        tree.set(key, value.clone());
    }
    if let Some(mut build) = tree.take("build") {
        let mut own = build.take("labels").unwrap_or(Node::Map(Vec::new()));
        for (key, value) in labels(input.owner(false), "image") {
            own.set(&key, value.into());
        }
        build.set("labels", own);
        tree.set("build", build);
    }
    harden(&mut tree);
    if service.guest_of.is_none() {
        let mut ports: Vec<u16> = service
            .ports
            .published
            .iter()
            .map(|port| port.target)
            .chain(service.ports.exposed.clone())
            .collect();
        ports.sort_unstable();
        ports.dedup();
        if !ports.is_empty() {
            tree.set("expose", ports.iter().map(u16::to_string).collect::<Vec<_>>().into());
        }
    }
    let mut all = tree.take("labels").unwrap_or(Node::Map(Vec::new()));
    for (key, value) in stamped(input.owner(stamp.is_some()), "service", stamp) {
        all.set(&key, value.into());
    }
    tree.set("labels", all);
    tree
}

/// Confinement that an image of the user's own survives; what the user's file says beyond it stays.
fn harden(tree: &mut Node) {
    let privileged = tree.get("privileged").is_some();
    for (key, value) in confinement(Drop::Dangerous) {
        let theirs = tree.take(&key).map(|theirs| theirs.words()).unwrap_or_default();
        let relaxed = theirs.iter().any(|word| word.starts_with("no-new-privileges"));
        let mut all: Vec<String> = if privileged || relaxed { Vec::new() } else { value.words() };
        let dropped_all = theirs.iter().any(|word| word == "ALL");
        if dropped_all {
            all.clear();
        }
        all.extend(theirs.into_iter().filter(|word| !all.contains(word)).collect::<Vec<_>>());
        if !all.is_empty() {
            tree.set(&key, all.into());
        }
    }
    if tree.get("logging").is_none() {
        tree.set("logging", log_caps());
    }
}

/// Volumes the user permitted as they stand.
fn permitted_volumes(
    input: &PassInput<'_>,
    project: &Node,
    services: &[Judged],
    stamp: Option<&str>,
) -> Vec<(String, Node)> {
    let mounted: BTreeSet<String> = services
        .iter()
        .flat_map(|service| service.tree.iter().filter(|(key, _)| key == "volumes"))
        .flat_map(|(_, mounts)| mounts.items())
        .filter(|mount| mount.get("type") == Some(&"volume".into()))
        .filter_map(|mount| mount.get("source").and_then(Node::text))
        .collect();
    let declared = project.get("volumes").map_or(&[][..], Node::entries);
    let mut out = Vec::new();
    for (name, options) in declared.iter().filter(|(name, _)| mounted.contains(name)) {
        let mut options = options.clone();
        if options.get("external").is_none() {
            options.set("labels", texts(&labels(input.owner(stamp.is_some()), "data")));
        }
        out.push((name.clone(), options));
    }
    out
}
