//! From texts to one effective project: variables replaced, override file laid over, `extends` resolved, services of
//! inactive profiles left out.

use std::collections::BTreeMap;

use crate::compose::node::Node;
use crate::compose::problem::Problem;

use super::dotenv;
use super::input::Text;
use super::interpolate::Variables;
use super::parse::parse;
use super::paths::Place;
use super::paths::locate;
use super::scope::Scope;
use super::shape;

/// The names a compose file can have, the preferred first; each may have an override beside it.
pub const FILES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];

/// How long a chain of `extends` may be.
const LONGEST_CHAIN: usize = 16;

/// One file, interpolated.
struct Loaded {
    file: String,
    base: String,
    tree: Node,
}

/// The effective project: top-level maps, services in their one form. `None` when `scope` says why there is none.
pub(super) fn load(scope: &mut Scope<'_>) -> Option<Node> {
    let file = choose(scope)?;
    scope.base = directory(&file);
    scope.file = file.clone();
    let mut variables = environment(scope);
    let mut project = read(scope, &file, &mut variables)?.tree;
    let mut services = expand(scope, &file, &mut variables, &project);
    if let Some(over) = override_of(scope, &file) {
        let above = read(scope, &over, &mut variables)?.tree;
        let above_services = expand(scope, &over, &mut variables, &above);
        services = shape::merge(services, above_services);
        project = shape::merge(project, above);
        scope.notice(format!("`{over}` is laid over `{file}`"));
    }
    report_variables(scope, &variables);
    let active = profiles(scope, &variables, services);
    let finished = active
        .entries()
        .iter()
        .map(|(name, service)| (name.clone(), settle(scope, name, service, &mut variables)));
    let finished = Node::Map(finished.collect());
    project.set("services", finished);
    Some(project)
}

fn directory(file: &str) -> String {
    file.rsplit_once('/').map_or(String::new(), |(directory, _)| directory.to_owned())
}

fn beside(base: &str, name: &str) -> String {
    if base.is_empty() { name.to_owned() } else { format!("{base}/{name}") }
}

/// The compose file to use; says so when there are several.
fn choose(scope: &mut Scope<'_>) -> Option<String> {
    let base = scope.input.file.as_deref().map(directory).unwrap_or_default();
    let there = |name: &&str| scope.input.files.text(&beside(&base, name)) != Text::Absent;
    let found: Vec<&str> = FILES.iter().copied().filter(there).collect();
    let chosen = scope.input.file.clone().or_else(|| found.first().map(|name| beside(&base, name)));
    let Some(chosen) = chosen else {
        scope.wrong(
            "",
            "the project has no compose file",
            "add a compose.yaml, or state another `kind` in .nexus/config.yaml",
        );
        return None;
    };
    let others: Vec<String> =
        found.iter().map(|name| beside(&base, name)).filter(|name| *name != chosen).collect();
    if !others.is_empty() {
        scope.notice(format!("`{chosen}` is used, `{}` is not", others.join("`, `")));
    }
    Some(chosen)
}

/// The override file beside `file`: of the same stem, else of any.
fn override_of(scope: &Scope<'_>, file: &str) -> Option<String> {
    let base = directory(file);
    let stem =
        |name: &str, ending: &str| name.strip_suffix(ending).map(|stem| format!("{stem}.override{ending}"));
    let names = FILES.iter().filter_map(|name| stem(name, ".yaml").or_else(|| stem(name, ".yml")));
    let usual = FILES.iter().any(|name| beside(&base, name) == file);
    names.map(|name| beside(&base, &name)).find(|name| usual && scope.input.files.text(name) != Text::Absent)
}

/// The variables: the project's `.env`, beneath what the user states, beneath what Compose itself sets.
fn environment(scope: &mut Scope<'_>) -> Variables {
    let mut variables = Variables { known: scope.input.overrides.env.clone(), ..Variables::default() };
    let project = crate::compose::plan::project_name(&scope.input.workspace);
    variables.known.insert("COMPOSE_PROJECT_NAME".to_owned(), project);
    let place = super::paths::join(&scope.input.folder, &scope.base);
    variables.known.entry("PWD".to_owned()).or_insert(place);
    let name = beside(&scope.base, ".env");
    match scope.input.files.text(&name) {
        Text::Absent => {}
        Text::Unreadable(why) => {
            scope.wrong("", format!("`{name}` cannot be read: {why}"), "mend it or remove it")
        }
        Text::Present(text) => match dotenv::read(&text, &mut variables) {
            Ok(pairs) => {
                for (key, value) in pairs {
                    variables.known.entry(key).or_insert(value);
                }
            }
            Err((line, message)) => scope.problems.push(Problem {
                file: name,
                place: Some((line, 1)),
                key: String::new(),
                message,
                hint: Some("write each variable as `NAME=value`".to_owned()),
                allow: None,
            }),
        },
    }
    // What is blank in `.env` itself was asked for by nobody.
    variables.blank.clear();
    variables
}

/// Reads one file and replaces its variables.
fn read(scope: &mut Scope<'_>, file: &str, variables: &mut Variables) -> Option<Loaded> {
    let text = match scope.input.files.text(file) {
        Text::Present(text) => text,
        Text::Absent => {
            scope.wrong("", format!("there is no `{file}`"), "name a file of the project");
            return None;
        }
        Text::Unreadable(why) => {
            scope.wrong(
                "",
                format!("`{file}` cannot be read: {why}"),
                "mend it; it must be a UTF-8 file of the project",
            );
            return None;
        }
    };
    match parse(file, &text) {
        Ok(tree) => {
            if scope.texts.iter().all(|(known, _)| known != file) {
                scope.texts.push((file.to_owned(), text));
            }
            let tree = substitute(scope, &tree, "", variables);
            Some(Loaded { file: file.to_owned(), base: directory(file), tree })
        }
        Err(problem) => {
            scope.problems.push(*problem);
            None
        }
    }
}

/// The same tree with every variable in a value replaced.
fn substitute(scope: &mut Scope<'_>, node: &Node, key: &str, variables: &mut Variables) -> Node {
    match node {
        Node::Text(text) => match variables.substitute(text) {
            Ok(text) => Node::Text(text),
            Err(message) => {
                scope.wrong(key, message, "write a plain dollar as `$$`");
                Node::Null
            }
        },
        Node::List(items) => {
            let each = items.iter().enumerate();
            Node::List(
                each.map(|(at, item)| substitute(scope, item, &format!("{key}[{at}]"), variables)).collect(),
            )
        }
        Node::Map(entries) => {
            let mut out = Vec::new();
            for (name, value) in entries {
                // Extension fields go nowhere; what their anchors brought elsewhere is substituted there.
                if key.is_empty() && name.starts_with("x-") {
                    continue;
                }
                let path = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                out.push((name.clone(), substitute(scope, value, &path, variables)));
            }
            Node::Map(out)
        }
        other => other.clone(),
    }
}

/// The services of one file, in their one form, what they extend beneath them.
fn expand(scope: &mut Scope<'_>, file: &str, variables: &mut Variables, tree: &Node) -> Node {
    let mut files = BTreeMap::from([(file.to_owned(), tree.clone())]);
    let mut services = Vec::new();
    match tree.get("services") {
        Some(Node::Map(entries)) => {
            for (name, _) in entries {
                let mut chain = Vec::new();
                if let Some(service) = resolve(scope, (file, name), variables, &mut files, &mut chain) {
                    services.push((name.clone(), service));
                }
            }
        }
        None => {}
        Some(_) => scope.wrong(
            "services",
            "`services` is not a mapping",
            "write `services:` with one key per service",
        ),
    }
    Node::Map(services)
}

/// One service of one file, with what it extends.
fn resolve(
    scope: &mut Scope<'_>,
    (file, name): (&str, &str),
    variables: &mut Variables,
    files: &mut BTreeMap<String, Node>,
    chain: &mut Vec<(String, String)>,
) -> Option<Node> {
    let key = format!("services.{name}");
    let link = (file.to_owned(), name.to_owned());
    if chain.contains(&link) || chain.len() >= LONGEST_CHAIN {
        scope.wrong(
            &format!("{key}.extends"),
            "the service extends itself, or too many others",
            "end the chain",
        );
        return None;
    }
    chain.push(link);
    let raw = files
        .get(file)
        .and_then(|tree| tree.get("services"))
        .and_then(|services| services.get(name))
        .cloned();
    let raw = match raw {
        Some(raw @ Node::Map(_)) => raw,
        Some(_) => {
            scope.wrong(&key, "the service is not a mapping", "write at least `image:` or `build:` into it");
            return None;
        }
        None => {
            scope.wrong(
                &key,
                format!("there is no service `{name}` in `{file}`"),
                "name a service that is there",
            );
            return None;
        }
    };
    let mut service = match shape::service(&raw, &directory(file)) {
        Ok(service) => service,
        Err((part, message)) => {
            scope.wrong(&format!("{key}.{part}"), message, "write it as the Compose specification does");
            return None;
        }
    };
    let Some(extends) = service.take("extends") else { return Some(service) };
    let beneath = parent(scope, &key, file, &extends, variables, files, chain)?;
    Some(shape::merge(beneath, service))
}

/// The service an `extends` names: in the same file, or in another file of the project.
fn parent(
    scope: &mut Scope<'_>,
    key: &str,
    file: &str,
    extends: &Node,
    variables: &mut Variables,
    files: &mut BTreeMap<String, Node>,
    chain: &mut Vec<(String, String)>,
) -> Option<Node> {
    let key = format!("{key}.extends");
    let Some(name) = extends.get("service").and_then(Node::text) else {
        scope.wrong(&key, "`extends` names no service", "write `extends: {service: NAME}`");
        return None;
    };
    let other = match extends.get("file").and_then(Node::text) {
        None => file.to_owned(),
        Some(path) if path.contains("://") || path.starts_with("git@") => {
            scope.forbid(&key, &format!("`{path}` is remote"), "copy the file into the project");
            return None;
        }
        Some(path) => match locate(&path, "", &scope.folders) {
            Place::Inside(path) => path,
            Place::Outside(_) | Place::Home => {
                scope.forbid(
                    &key,
                    &format!("`{path}` is not in the project"),
                    "copy the file into the project",
                );
                return None;
            }
        },
    };
    if !files.contains_key(&other) {
        let loaded = read(scope, &other, variables)?;
        scope.paths.insert(loaded.file.clone());
        debug_assert_eq!(loaded.base, directory(&other));
        files.insert(other.clone(), loaded.tree);
    }
    resolve(scope, (&other, &name), variables, files, chain)
}

/// Variables that must be filled in, and those that are blank because nobody set them.
fn report_variables(scope: &mut Scope<'_>, variables: &Variables) {
    for (name, why) in &variables.missing {
        let reason = if why.is_empty() { String::new() } else { format!(": {why}") };
        let hint = format!("write `{name}=...` into .env, or `env: {{{name}: ...}}` into .nexus/config.yaml");
        scope.wrong(
            &format!("${{{name}}}"),
            format!("the variable `{name}` must be filled in{reason}"),
            hint,
        );
    }
    for name in &variables.blank {
        scope.notice(format!(
            "the variable `{name}` is not set and is blank; set it in .env or .nexus/config.yaml"
        ));
    }
}

/// The services whose profile is active: those of no profile, and those of `COMPOSE_PROFILES`.
fn profiles(scope: &mut Scope<'_>, variables: &Variables, services: Node) -> Node {
    let active: Vec<&str> = variables
        .known
        .get("COMPOSE_PROFILES")
        .map_or(Vec::new(), |list| list.split(',').map(str::trim).collect());
    let Node::Map(mut entries) = services else { return services };
    entries.retain(|(name, service)| {
        let asked = service.get("profiles").map(Node::words).unwrap_or_default();
        let stays = asked.is_empty()
            || asked.iter().any(|profile| active.contains(&profile.as_str()) || active.contains(&"*"));
        if !stays {
            scope.notice(format!(
                "the service `{name}` is left out: its profile `{}` is not in COMPOSE_PROFILES",
                asked.join("`, `")
            ));
        }
        stays
    });
    Node::Map(entries)
}

/// Puts the content of the files in `env_file` beneath `environment`, and gives bare names their value.
fn settle(scope: &mut Scope<'_>, name: &str, service: &Node, variables: &mut Variables) -> Node {
    let mut service = service.clone();
    let mut settled = Node::Map(Vec::new());
    let files = service.take("env_file");
    for (at, item) in files.iter().flat_map(Node::items).enumerate() {
        let key = format!("services.{name}.env_file[{at}]");
        for (variable, value) in env_file(scope, &key, item, variables) {
            settled.set(&variable, value.into());
        }
    }
    for (variable, value) in service.take("environment").unwrap_or(Node::Null).entries() {
        match value.text().or_else(|| variables.known.get(variable).cloned()) {
            Some(value) => settled.set(variable, value.into()),
            None => drop(settled.take(variable)),
        }
    }
    if !settled.entries().is_empty() {
        service.set("environment", settled);
    }
    service
}

fn env_file(
    scope: &mut Scope<'_>,
    key: &str,
    item: &Node,
    variables: &mut Variables,
) -> Vec<(String, String)> {
    let path = item.get("path").and_then(Node::text).unwrap_or_default();
    let required = item.get("required").is_none_or(Node::is_true);
    if let Some(format) = item.get("format").and_then(Node::text).filter(|format| format != "raw") {
        scope.wrong(key, format!("the format `{format}` is not known to this node"), "leave `format` out");
    }
    let Place::Inside(path) = locate(&path, "", &scope.folders) else {
        scope.forbid(key, &format!("`{path}` is not in the project"), "copy the file into the project");
        return Vec::new();
    };
    match scope.input.files.text(&path) {
        Text::Absent if !required => Vec::new(),
        Text::Absent => {
            let examples =
                [".example", ".sample", ".dist", ".template"].map(|ending| format!("{path}{ending}"));
            let example = examples.iter().find(|example| scope.input.files.text(example) != Text::Absent);
            let hint = match example {
                Some(example) => format!("copy `{example}` to `{path}` and fill it in"),
                None => format!("create `{path}` with the variables the service needs"),
            };
            scope.wrong(key, format!("the file `{path}` is missing"), hint);
            Vec::new()
        }
        Text::Unreadable(why) => {
            scope.wrong(
                key,
                format!("`{path}` cannot be read: {why}"),
                "mend it; it must be a UTF-8 file of the project",
            );
            Vec::new()
        }
        Text::Present(text) => {
            // Its variables see the project's, but add nothing to them.
            let mut local = Variables { known: variables.known.clone(), ..Variables::default() };
            match dotenv::read(&text, &mut local) {
                Ok(pairs) => pairs,
                Err((line, message)) => {
                    scope.wrong(
                        key,
                        format!("`{path}` line {line}: {message}"),
                        "write each variable as `NAME=value`",
                    );
                    Vec::new()
                }
            }
        }
    }
}
