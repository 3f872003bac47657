//! Puts the judged parts together: our names, networks, labels, limits.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::compose::file::Drop;
use crate::compose::file::Network;
use crate::compose::file::Quota;
use crate::compose::file::confinement;
use crate::compose::file::entry;
use crate::compose::file::log_caps;
use crate::compose::file::map;
use crate::compose::file::texts;
use crate::compose::labels::Owner;
use crate::compose::labels::labels;
use crate::compose::labels::stamped;
use crate::compose::node::Node;
use crate::compose::plan::Plan;
use crate::compose::plan::Volume;
use crate::compose::plan::network_name;
use crate::compose::plan::project_name;
use crate::compose::plan::quota;
use crate::compose::problem::Problem;
use crate::compose::render::render;
use crate::compose::subnet::Subnet;
use crate::compose::verify;
use crate::engine::Labels;
use crate::model::project::Kind;
use crate::model::project::Limits;

use super::build;
use super::input::PassInput;
use super::load::load;
use super::mounts;
use super::policy;
use super::ports;
use super::ports::Ports;
use super::scope::Scope;
use super::web;

/// A judged service.
struct Judged {
    name: String,
    tree: Vec<(String, Node)>,
    /// The image it names in the file, and whether it is built.
    image: Option<String>,
    built: bool,
    label: Option<String>,
    ports: Ports,
    declared: Vec<u16>,
    networks: Vec<String>,
    /// The service whose network it shares.
    guest_of: Option<String>,
}

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
    let declared = networks(&mut scope, &project, &services);
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
        paths: scope.paths.iter().cloned().collect(),
        notices: scope.notices.clone(),
    })
}

fn owner<'a>(input: &'a PassInput<'_>, named: bool) -> Owner<'a> {
    Owner { node: &input.node, workspace: &input.workspace, name: named.then_some(&input.name) }
}

/// The labels of a volume that holds the user's data.
pub(super) fn volume_labels(input: &PassInput<'_>) -> Labels {
    labels(owner(input, true), "data")
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

fn judge(scope: &mut Scope<'_>, name: &str, service: &Node, project: &Node) -> Option<Judged> {
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
    let (networks, attachments) = attach(scope, &path, service);
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

/// Limits: the user's for the project, else the file's, else the node's.
fn limit(scope: &mut Scope<'_>, path: &str, service: &Node, tree: &mut Vec<(String, Node)>) {
    let deploy = service.get("deploy").cloned().unwrap_or(Node::Map(Vec::new()));
    let deploy = deployment(scope, &format!("{path}.deploy"), &deploy);
    let stated =
        deploy.get("resources").and_then(|resources| resources.get("limits")).cloned().unwrap_or(Node::Null);
    let own = scope.input.overrides.limits;
    let usual: Quota = quota(Limits::default(), scope.input.defaults);
    let take = |tree: &mut Vec<(String, Node)>, key: &str| {
        let at = tree.iter().position(|(name, _)| name == key)?;
        Some(tree.remove(at).1)
    };
    let cpus = take(tree, "cpus").or(stated.get("cpus").cloned());
    let memory = take(tree, "mem_limit").or(stated.get("memory").cloned());
    let pids = take(tree, "pids_limit")
        .or(stated.get("pids").cloned())
        .filter(|pids| !matches!(pids, Node::Int(..=0)));
    let number = |node: Node| node.text().map_or(node, |text| policy::amount(&text));
    tree.push(entry(
        "cpus",
        own.cpus.map(Node::Float).or(cpus.map(number)).unwrap_or(Node::Float(usual.cpus)),
    ));
    let reserved = tree.iter().any(|(key, _)| key == "mem_reservation");
    match own.memory_bytes.map(Node::from).or(memory) {
        Some(memory) => tree.push(entry("mem_limit", memory)),
        // A reservation above the usual limit would be refused by the engine; whoever reserves knows what is needed.
        None if reserved => {
            scope.notice(format!("`{path}` has no memory limit: it states a reservation of its own"))
        }
        None => tree.push(entry("mem_limit", usual.memory_bytes)),
    }
    tree.push(entry(
        "pids_limit",
        own.pids.map(u64::from).map(Node::from).or(pids.map(number)).unwrap_or(u64::from(usual.pids).into()),
    ));
    let reservations = deploy.get("resources").and_then(|resources| resources.get("reservations"));
    if let Some(devices) = reservations.and_then(|reservations| reservations.get("devices")) {
        // Only the user's permission brought them this far.
        let resources = map([("reservations", map([("devices", devices.clone())]))]);
        tree.push(("deploy".to_owned(), map([("resources", resources)])));
    }
    if let Some(replicas) = deploy.get("replicas").and_then(Node::text)
        && !tree.iter().any(|(key, _)| key == "scale")
    {
        tree.push(("scale".to_owned(), policy::amount(&replicas)));
    }
    if let Some(policy) =
        deploy.get("restart_policy").and_then(|policy| policy.get("condition")).and_then(Node::text)
        && !tree.iter().any(|(key, _)| key == "restart")
    {
        let restart = match policy.as_str() {
            "none" => "no",
            "on-failure" => "on-failure",
            _ => "unless-stopped",
        };
        tree.push(entry("restart", restart));
    }
}

/// What `deploy` means on one machine.
fn deployment(scope: &mut Scope<'_>, path: &str, deploy: &Node) -> Node {
    let mut kept = Vec::new();
    for (key, value) in deploy.entries() {
        let place = format!("{path}.{key}");
        match key.as_str() {
            "replicas" | "restart_policy" => kept.push((key.clone(), value.clone())),
            "resources" => {
                for (part, amounts) in value.entries() {
                    for (name, _) in amounts
                        .entries()
                        .iter()
                        .filter(|(name, _)| !["cpus", "memory", "pids"].contains(&name.as_str()))
                    {
                        scope.refuse(
                            &format!("{place}.{part}.{name}"),
                            "devices",
                            "it opens devices of the host",
                        );
                    }
                }
                kept.push((key.clone(), value.clone()));
            }
            "labels" | "mode" | "endpoint_mode" | "placement" | "update_config" | "rollback_config"
            | "job" => {
                scope.notice(format!("`{place}` is left out: it is about several machines"));
            }
            key if key.starts_with("x-") => {}
            _ => scope.forbid(&place, "the key is not known to this node", "leave it out"),
        }
    }
    Node::Map(kept)
}

/// The networks a service joins.
fn attach(scope: &mut Scope<'_>, path: &str, service: &Node) -> (Vec<String>, Option<Node>) {
    let shared = service
        .get("network_mode")
        .and_then(Node::text)
        .is_some_and(|mode| mode != "bridge" && mode != "default");
    if shared {
        return (Vec::new(), None);
    }
    let Some(networks) = service.get("networks").filter(|networks| !networks.entries().is_empty()) else {
        return (vec!["default".to_owned()], None);
    };
    let mut attachments = Vec::new();
    for (name, options) in networks.entries() {
        let place = format!("{path}.networks.{name}");
        let mut kept = Vec::new();
        for (key, value) in options.entries() {
            match key.as_str() {
                "aliases" | "priority" | "mac_address" | "gw_priority" => {
                    kept.push((key.clone(), value.clone()))
                }
                "ipv4_address" | "ipv6_address" | "link_local_ips" => {
                    scope.notice(format!(
                        "`{place}.{key}` is left out: addresses are the node's; use the service's name"
                    ));
                }
                key if key.starts_with("x-") => {}
                key => {
                    scope.forbid(
                        &format!("{place}.{key}"),
                        "the key is not known to this node",
                        "leave it out",
                    );
                }
            }
        }
        attachments.push((name.clone(), if kept.is_empty() { Node::Null } else { Node::Map(kept) }));
    }
    (attachments.iter().map(|(name, _)| name.clone()).collect(), Some(Node::Map(attachments)))
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

/// A network of the stack.
struct Declared {
    key: String,
    subnet: Option<Subnet>,
    internal: bool,
    /// Permitted as it stands.
    raw: Option<Node>,
}

/// Judges the networks and divides our addresses among them.
fn networks(scope: &mut Scope<'_>, project: &Node, services: &[Judged]) -> Vec<Declared> {
    let declared = project.get("networks").map_or(&[][..], Node::entries);
    let used: BTreeSet<&str> =
        services.iter().flat_map(|service| service.networks.iter().map(String::as_str)).collect();
    let mut out = Vec::new();
    for name in &used {
        let options = declared.iter().find(|(known, _)| known == name).map(|(_, options)| options);
        if options.is_none() && *name != "default" {
            let hint = format!("write `networks: {{{name}: }}` at the top level");
            scope.wrong(&format!("networks.{name}"), "the network is not declared", hint);
        }
        out.push(network(scope, name, options.unwrap_or(&Node::Null)));
    }
    for (name, options) in declared.iter().filter(|(name, _)| !used.contains(name.as_str())) {
        // Judged all the same: what is refused is refused whether or not anybody uses it.
        network(scope, name, options);
    }
    let ours = out.iter().filter(|network| network.raw.is_none()).count();
    let busiest = out
        .iter()
        .map(|network| services.iter().filter(|service| service.networks.contains(&network.key)).count())
        .max();
    let shares = scope.input.subnet.split(ours, busiest.unwrap_or(0) + 3);
    if shares.is_empty() && ours > 0 {
        scope.notice(
            "the stack has many networks: their addresses come from the engine's own pools".to_owned(),
        );
    }
    let mut shares = shares.into_iter();
    out.iter_mut().filter(|network| network.raw.is_none()).for_each(|network| network.subnet = shares.next());
    out
}

fn network(scope: &mut Scope<'_>, name: &str, options: &Node) -> Declared {
    let key = format!("networks.{name}");
    let mut raw = false;
    let mut internal = false;
    for (option, value) in options.entries() {
        let place = format!("{key}.{option}");
        let blank = matches!(value, Node::Null | Node::Bool(false))
            || matches!(value, Node::Map(entries) if entries.is_empty());
        match option.as_str() {
            "driver" if value.text().is_none_or(|driver| driver == "bridge" || driver == "default") => {}
            "driver" => raw |= scope.refuse(&place, &place, "another driver reaches the host's own network"),
            "internal" => internal = value.is_true(),
            "name" => scope
                .notice(format!("`{place}` is left out: names are the node's, so that no two stacks clash")),
            "ipam" if !blank => scope.notice(format!("`{place}` is left out: addresses are the node's")),
            "enable_ipv6" if !blank => {
                scope.notice(format!("`{place}` is left out: stacks have IPv4 addresses"))
            }
            "external" if !blank => {
                raw |= scope.refuse(&place, &place, "the network belongs to somebody else")
            }
            "driver_opts" if !blank => {
                raw |= scope.refuse(&place, &place, "driver options reach the host's network settings")
            }
            "labels" => {
                if let Some(labels) = super::shape::pairs(value) {
                    policy::labels(scope, &place, &labels);
                }
            }
            "attachable" | "enable_ipv4" | "ipam" | "enable_ipv6" | "external" | "driver_opts" => {}
            option if option.starts_with("x-") => {}
            _ => scope.forbid(&place, "the key is not known to this node", "leave it out"),
        }
    }
    Declared { key: name.to_owned(), subnet: None, internal, raw: raw.then(|| options.clone()) }
}

fn candidates(scope: &mut Scope<'_>, services: &[Judged]) -> Vec<crate::compose::plan::Candidate> {
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
    let nets: Vec<(String, Node)> =
        networks.iter().map(|network| (network.key.clone(), network_tree(input, network, stamp))).collect();
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
        for (key, value) in labels(owner(input, false), "image") {
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
    for (key, value) in stamped(owner(input, stamp.is_some()), "service", stamp) {
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

fn network_tree(input: &PassInput<'_>, network: &Declared, stamp: Option<&str>) -> Node {
    let labels = labels(owner(input, stamp.is_some()), "network");
    if let Some(raw) = &network.raw {
        let mut raw = raw.clone();
        if raw.get("external").is_none() {
            raw.set("labels", texts(&labels));
        }
        return raw;
    }
    let name = match network.key.as_str() {
        "default" => network_name(&input.workspace),
        key => format!("{}-{key}", network_name(&input.workspace)),
    };
    let mut tree = match network.subnet {
        Some(subnet) => Network { name, subnet, labels }.tree(),
        None => map([("name", name.into()), ("driver", "bridge".into()), ("labels", texts(&labels))]),
    };
    if network.internal {
        tree.set("internal", true.into());
    }
    tree
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
            options.set("labels", texts(&labels(owner(input, stamp.is_some()), "data")));
        }
        out.push((name.clone(), options));
    }
    out
}
