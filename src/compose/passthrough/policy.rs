//! What a service may ask for.
//!
//! One table, default deny: a key that is not in it is refused with "not known to this node". Judged on effective
//! values, after variables, `extends` and overrides, because that is what would run.

use crate::compose::file::DANGEROUS;
use crate::compose::file::entry;
use crate::compose::node::Node;

use super::scope::Scope;

/// What happens to a key.
enum Rule {
    /// It stays, when its value has this shape.
    Keep(Shape),
    /// It goes; the text says why, when that is worth saying.
    Drop(&'static str),
    /// It is refused: why. The user can allow it by the key's name.
    Refuse(&'static str),
    /// It stays as it is, is changed, or goes.
    Judge(fn(&mut Scope<'_>, &str, &Node) -> Option<Node>),
    /// Another file of this room looks at it.
    Elsewhere,
}

/// What a value must look like.
#[derive(Clone, Copy)]
enum Shape {
    /// A text, number or boolean; written as text.
    Text,
    /// A number, or a text such as `512m`.
    Amount,
    /// Yes or no.
    Flag,
    /// One text or a list of texts.
    Words,
    /// A map of texts.
    Table,
}

use Rule::Drop;
use Rule::Elsewhere;
use Rule::Judge;
use Rule::Keep;
use Rule::Refuse;

const RULES: [(&str, Rule); 90] = [
    ("annotations", Refuse("annotations steer the container runtime of the host")),
    ("attach", Drop("")),
    ("blkio_config", Refuse("it names block devices of the host")),
    ("build", Elsewhere),
    ("cap_add", Judge(cap_add)),
    ("cap_drop", Judge(cap_drop)),
    ("cgroup", Judge(namespace)),
    ("cgroup_parent", Refuse("it leaves the control group the limits hold for")),
    ("command", Keep(Shape::Words)),
    ("configs", Elsewhere),
    ("container_name", Judge(container_name)),
    ("cpu_count", Keep(Shape::Amount)),
    ("cpu_percent", Keep(Shape::Amount)),
    ("cpu_period", Drop("limits are written as `cpus`")),
    ("cpu_quota", Drop("limits are written as `cpus`")),
    ("cpu_rt_period", Refuse("real-time scheduling can starve the host")),
    ("cpu_rt_runtime", Refuse("real-time scheduling can starve the host")),
    ("cpu_shares", Keep(Shape::Amount)),
    ("cpus", Keep(Shape::Amount)),
    ("cpuset", Keep(Shape::Text)),
    ("credential_spec", Refuse("it reads credentials of the host")),
    ("depends_on", Judge(depends_on)),
    ("deploy", Elsewhere),
    ("develop", Drop("the node follows edits itself")),
    ("device_cgroup_rules", Refuse("it opens devices of the host")),
    ("devices", Refuse("it opens devices of the host")),
    ("dns", Keep(Shape::Words)),
    ("dns_opt", Keep(Shape::Words)),
    ("dns_search", Keep(Shape::Words)),
    ("domainname", Keep(Shape::Text)),
    ("entrypoint", Keep(Shape::Words)),
    ("environment", Keep(Shape::Table)),
    ("expose", Elsewhere),
    ("external_links", Refuse("it reaches containers of other stacks")),
    ("extra_hosts", Keep(Shape::Words)),
    ("gpus", Refuse("it opens devices of the host")),
    ("group_add", Keep(Shape::Words)),
    ("healthcheck", Judge(healthcheck)),
    ("hostname", Keep(Shape::Text)),
    ("image", Elsewhere),
    ("init", Keep(Shape::Flag)),
    ("ipc", Judge(namespace)),
    ("isolation", Refuse("it chooses another runtime")),
    ("label_file", Refuse("it reads labels from a file nobody looked at")),
    ("labels", Judge(labels)),
    ("links", Keep(Shape::Words)),
    ("logging", Judge(logging)),
    ("mac_address", Keep(Shape::Text)),
    ("mem_limit", Keep(Shape::Amount)),
    ("mem_reservation", Keep(Shape::Amount)),
    ("mem_swappiness", Keep(Shape::Amount)),
    ("memswap_limit", Keep(Shape::Amount)),
    ("models", Refuse("it asks the host to run models")),
    ("network_mode", Judge(namespace)),
    ("networks", Elsewhere),
    ("oom_kill_disable", Judge(oom_kill_disable)),
    ("oom_score_adj", Judge(oom_score_adj)),
    ("pid", Judge(namespace)),
    ("pids_limit", Keep(Shape::Amount)),
    ("platform", Keep(Shape::Text)),
    ("ports", Elsewhere),
    ("post_start", Judge(hooks)),
    ("pre_stop", Judge(hooks)),
    ("privileged", Judge(privileged)),
    ("profiles", Drop("")),
    ("provider", Refuse("it runs a program on the host")),
    ("pull_policy", Keep(Shape::Text)),
    ("read_only", Keep(Shape::Flag)),
    ("restart", Keep(Shape::Text)),
    ("runtime", Refuse("it chooses another runtime")),
    ("scale", Keep(Shape::Amount)),
    ("secrets", Elsewhere),
    ("security_opt", Judge(security_opt)),
    ("shm_size", Keep(Shape::Amount)),
    ("stdin_open", Keep(Shape::Flag)),
    ("stop_grace_period", Keep(Shape::Text)),
    ("stop_signal", Keep(Shape::Text)),
    ("storage_opt", Refuse("it changes how the engine stores containers")),
    ("sysctls", Judge(sysctls)),
    ("tmpfs", Keep(Shape::Words)),
    ("tty", Keep(Shape::Flag)),
    ("ulimits", Judge(ulimits)),
    ("use_api_socket", Refuse("it hands the engine's socket to the container, which is root on the host")),
    ("user", Keep(Shape::Text)),
    ("userns_mode", Judge(namespace)),
    ("uts", Judge(namespace)),
    ("volumes", Elsewhere),
    ("volumes_from", Refuse("it mounts what other containers have")),
    ("working_dir", Keep(Shape::Text)),
    ("x-", Drop("")),
];

/// Capabilities a service may add without asking: what engines grant by default, and two that stay with the process.
const HARMLESS: [&str; 13] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "KILL",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
    "SYS_NICE",
];

/// Kernel settings that belong to the container's own network.
const OWN_SYSCTLS: [&str; 8] = [
    "net.core.somaxconn",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_syncookies",
];

/// Judges the keys of a service that stand for themselves; those another file looks at are left out.
pub(super) fn service(scope: &mut Scope<'_>, name: &str, service: &Node) -> Vec<(String, Node)> {
    let mut kept = Vec::new();
    for (key, value) in service.entries() {
        let path = format!("services.{name}.{key}");
        if let Some(value) = judge(scope, &path, key, value) {
            kept.push((key.clone(), value));
        }
    }
    kept
}

fn judge(scope: &mut Scope<'_>, path: &str, key: &str, value: &Node) -> Option<Node> {
    let looked_up = if key.starts_with("x-") { "x-" } else { key };
    match RULES.iter().find(|(known, _)| *known == looked_up).map(|(_, rule)| rule) {
        Some(Keep(shape)) => shaped(scope, path, *shape, value),
        Some(Drop("")) | Some(Elsewhere) => None,
        Some(Drop(why)) => {
            scope.notice(format!("`{path}` is left out: {why}"));
            None
        }
        Some(Refuse(why)) => {
            let empty =
                matches!(value, Node::Bool(false)) || matches!(value, Node::List(items) if items.is_empty());
            (!empty && scope.refuse(path, key, why)).then(|| value.clone())
        }
        Some(Judge(judge)) => judge(scope, path, value),
        None => scope.refuse(path, key, "the key is not known to this node").then(|| value.clone()),
    }
}

/// Brings a value into the shape Compose expects of it, variables having made texts of everything.
fn shaped(scope: &mut Scope<'_>, path: &str, shape: Shape, value: &Node) -> Option<Node> {
    let wrong = |scope: &mut Scope<'_>, expected: &str| {
        scope.wrong(path, format!("this is not {expected}"), "write it as the Compose specification does");
        None
    };
    match (shape, value) {
        (Shape::Flag, Node::Bool(_)) | (Shape::Amount, Node::Int(_) | Node::Float(_)) => Some(value.clone()),
        (Shape::Flag, Node::Text(text)) => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some(Node::Bool(true)),
            "false" | "no" | "off" | "0" | "" => Some(Node::Bool(false)),
            _ => wrong(scope, "true or false"),
        },
        (Shape::Amount, Node::Text(text)) => Some(amount(text)),
        (Shape::Text, scalar) => match scalar.text() {
            Some(text) => Some(Node::Text(text)),
            None => wrong(scope, "a text"),
        },
        (Shape::Words, Node::List(items)) => {
            let texts: Option<Vec<String>> = items.iter().map(Node::text).collect();
            texts.map(Node::from).or_else(|| wrong(scope, "a list of texts"))
        }
        (Shape::Words, Node::Text(text)) => Some(Node::Text(text.clone())),
        (Shape::Table, Node::Map(entries)) => {
            let texts = entries.iter().map(|(key, value)| Some((key.clone(), Node::Text(value.text()?))));
            texts.collect::<Option<_>>().map(Node::Map).or_else(|| wrong(scope, "a map of texts"))
        }
        (Shape::Flag, _) => wrong(scope, "true or false"),
        (Shape::Amount, _) => wrong(scope, "a number"),
        (Shape::Words, _) => wrong(scope, "a text or a list of texts"),
        (Shape::Table, _) => wrong(scope, "a map of texts"),
    }
}

/// A number where the text is one; `512m` stays a text.
pub(super) fn amount(text: &str) -> Node {
    match (text.parse::<i64>(), text.parse::<f64>()) {
        (Ok(whole), _) => Node::Int(whole.into()),
        (_, Ok(number)) if number.is_finite() => Node::Float(number),
        _ => Node::Text(text.to_owned()),
    }
}

fn privileged(scope: &mut Scope<'_>, path: &str, value: &Node) -> Option<Node> {
    if let Node::Bool(false) = value {
        return None;
    }
    if matches!(value, Node::Text(text) if ["false", "no", "off", "0"].contains(&text.to_ascii_lowercase().as_str()))
    {
        return None;
    }
    scope.refuse(path, "privileged", "a privileged container is root on the host").then_some(Node::Bool(true))
}

fn capability(text: &str) -> String {
    let upper = text.trim().to_ascii_uppercase();
    upper.strip_prefix("CAP_").map_or(upper.clone(), str::to_owned)
}

fn cap_add(scope: &mut Scope<'_>, path: &str, value: &Node) -> Option<Node> {
    let mut kept = Vec::new();
    for word in value.words() {
        let name = capability(&word);
        let harmless = HARMLESS.contains(&name.as_str()) || DANGEROUS.contains(&name.as_str());
        // Asked for by name, what the engine grants by default anyway is granted.
        if harmless
            || scope.refuse(
                path,
                &format!("cap_add:{name}"),
                &format!("`{name}` reaches beyond the container"),
            )
        {
            kept.push(name);
        }
    }
    (!kept.is_empty()).then(|| kept.into())
}

fn cap_drop(_: &mut Scope<'_>, _: &str, value: &Node) -> Option<Node> {
    let names: Vec<String> = value.words().iter().map(|word| capability(word)).collect();
    (!names.is_empty()).then(|| names.into())
}

/// `network_mode`, `pid`, `ipc`, `uts`, `userns_mode`, `cgroup`: the container's own, or that of a service of the stack.
fn namespace(scope: &mut Scope<'_>, path: &str, value: &Node) -> Option<Node> {
    let key = path.rsplit('.').next().unwrap_or(path);
    let text = value.text().unwrap_or_default();
    let own = ["", "private", "shareable", "none"].contains(&text.as_str());
    let neighbour = text.starts_with("service:") && key != "userns_mode" && key != "cgroup" && key != "uts";
    if key == "network_mode" && (text == "bridge" || text == "default") {
        scope.notice(format!("`{path}: {text}` is left out: the stack has a network of its own"));
        return None;
    }
    let why = format!("`{text}` shares a namespace with the host or with other stacks");
    (own && !text.is_empty() || neighbour || scope.refuse(path, &format!("{key}:{text}"), &why))
        .then(|| text.into())
}

fn security_opt(scope: &mut Scope<'_>, path: &str, value: &Node) -> Option<Node> {
    let mut kept = Vec::new();
    for word in value.words() {
        let plain: String = word.chars().filter(|c| !c.is_whitespace()).collect::<String>().replace('=', ":");
        let hardening = matches!(plain.as_str(), "no-new-privileges" | "no-new-privileges:true");
        if !hardening
            && scope.refuse(path, &format!("security_opt:{plain}"), &format!("`{word}` weakens the sandbox"))
        {
            kept.push(word);
        }
    }
    (!kept.is_empty()).then(|| kept.into())
}

fn sysctls(scope: &mut Scope<'_>, path: &str, value: &Node) -> Option<Node> {
    let mut kept = Vec::new();
    for (name, value) in value.entries() {
        let own = OWN_SYSCTLS.contains(&name.as_str());
        if own
            || scope.refuse(
                &format!("{path}.{name}"),
                &format!("sysctls:{name}"),
                "it changes settings of the kernel",
            )
        {
            kept.push(entry(name, value.text().unwrap_or_default()));
        }
    }
    (!kept.is_empty()).then_some(Node::Map(kept))
}

fn oom_kill_disable(scope: &mut Scope<'_>, path: &str, value: &Node) -> Option<Node> {
    let why = "a container that is never ended takes the host's memory";
    (value.is_true() && scope.refuse(path, "oom_kill_disable", why)).then_some(Node::Bool(true))
}

fn oom_score_adj(scope: &mut Scope<'_>, path: &str, value: &Node) -> Option<Node> {
    let score = amount(&value.text().unwrap_or_default());
    let modest = matches!(score, Node::Int(0..=1000));
    (modest || scope.refuse(path, "oom_score_adj", "other programs of the host would be ended first"))
        .then_some(score)
}

fn ulimits(scope: &mut Scope<'_>, path: &str, value: &Node) -> Option<Node> {
    let mut kept = Vec::new();
    for (name, limit) in value.entries() {
        let number =
            |node: &Node| node.text().map(|text| amount(&text)).filter(|node| matches!(node, Node::Int(_)));
        let limit = match limit {
            Node::Map(entries) => entries
                .iter()
                .map(|(key, value)| Some((key.clone(), number(value)?)))
                .collect::<Option<_>>()
                .map(Node::Map),
            single => number(single),
        };
        match limit {
            Some(limit) => kept.push((name.clone(), limit)),
            None => scope.wrong(
                &format!("{path}.{name}"),
                "this is not a number",
                "write a number, or `soft` and `hard`",
            ),
        }
    }
    (!kept.is_empty()).then_some(Node::Map(kept))
}

fn container_name(scope: &mut Scope<'_>, path: &str, value: &Node) -> Option<Node> {
    let name = value.text().unwrap_or_default();
    scope.notice(format!("`{path}: {name}` is left out: names are the node's, so that no two stacks clash"));
    None
}

/// Labels are kept but for ours and those Compose finds its own containers by.
pub(super) fn labels(scope: &mut Scope<'_>, path: &str, value: &Node) -> Option<Node> {
    let mut kept = Vec::new();
    for (key, value) in value.entries() {
        let lower = key.to_ascii_lowercase();
        let ours = lower == "nexus" || (lower.starts_with("nexus.") && lower != "nexus.web");
        if ours || lower.starts_with("com.docker.") {
            scope.forbid(
                &format!("{path}.{key}"),
                "the label belongs to the node or to the engine",
                "remove it",
            );
        } else {
            kept.push(entry(key, value.text().unwrap_or_default()));
        }
    }
    (!kept.is_empty()).then_some(Node::Map(kept))
}

fn logging(scope: &mut Scope<'_>, path: &str, value: &Node) -> Option<Node> {
    const OPTIONS: [&str; 8] =
        ["max-size", "max-file", "compress", "tag", "labels", "env", "mode", "max-buffer-size"];
    let driver = value
        .get("driver")
        .map_or_else(|| "json-file".to_owned(), |driver| driver.text().unwrap_or_default());
    let local = ["json-file", "local", "none"].contains(&driver.as_str());
    let why = format!("the driver `{driver}` sends the log somewhere else");
    if !local {
        return scope.refuse(path, &format!("logging:{driver}"), &why).then(|| value.clone());
    }
    let mut options: Vec<(String, Node)> = Vec::new();
    for (key, option) in value.get("options").map_or(&[][..], Node::entries) {
        if OPTIONS.contains(&key.as_str()) {
            options.push(entry(key, option.text().unwrap_or_default()));
        } else {
            scope.wrong(
                &format!("{path}.options.{key}"),
                "the option is not known to this node",
                "leave it out",
            );
        }
    }
    for (key, cap) in [("max-size", "10m"), ("max-file", "3")] {
        if driver != "none" && !options.iter().any(|(name, _)| name == key) {
            options.push(entry(key, cap));
        }
    }
    let mut out = vec![entry("driver", driver)];
    if !options.is_empty() {
        out.push(entry("options", Node::Map(options)));
    }
    Some(Node::Map(out))
}

fn depends_on(scope: &mut Scope<'_>, path: &str, value: &Node) -> Option<Node> {
    let mut kept = Vec::new();
    for (name, rule) in value.entries() {
        let place = format!("{path}.{name}");
        let rule = known(scope, &place, rule, &["condition", "required", "restart"]);
        kept.push((
            name.clone(),
            if rule.entries().is_empty() {
                Node::Map(vec![entry("condition", "service_started")])
            } else {
                rule
            },
        ));
    }
    (!kept.is_empty()).then_some(Node::Map(kept))
}

fn healthcheck(scope: &mut Scope<'_>, path: &str, value: &Node) -> Option<Node> {
    let keys = ["test", "interval", "timeout", "retries", "start_period", "start_interval", "disable"];
    let mut check = known(scope, path, value, &keys);
    if !scope.input.start_interval && check.take("start_interval").is_some() {
        scope.notice(format!("`{path}.start_interval` is left out: the engine does not know it"));
    }
    if let Some(retries) = check.get("retries").and_then(Node::text) {
        check.set("retries", amount(&retries));
    }
    if let Some(disable) = check.get("disable").map(Node::is_true) {
        check.set("disable", disable.into());
    }
    Some(check)
}

fn hooks(scope: &mut Scope<'_>, path: &str, value: &Node) -> Option<Node> {
    let mut kept = Vec::new();
    for (at, hook) in value.items().iter().enumerate() {
        let place = format!("{path}[{at}]");
        let mut hook =
            known(scope, &place, hook, &["command", "user", "working_dir", "environment", "privileged"]);
        if let Some(asked) = hook.take("privileged")
            && let Some(granted) = privileged(scope, &format!("{place}.privileged"), &asked)
        {
            hook.set("privileged", granted);
        }
        kept.push(hook);
    }
    (!kept.is_empty()).then_some(Node::List(kept))
}

/// The entries of a map this node knows; each other one is a problem.
pub(super) fn known(scope: &mut Scope<'_>, path: &str, value: &Node, keys: &[&str]) -> Node {
    let mut kept = Vec::new();
    for (key, value) in value.entries() {
        if keys.contains(&key.as_str()) {
            kept.push((key.clone(), value.clone()));
        } else if !key.starts_with("x-") {
            scope.forbid(&format!("{path}.{key}"), "the key is not known to this node", "leave it out");
        }
    }
    Node::Map(kept)
}
