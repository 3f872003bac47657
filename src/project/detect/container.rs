//! Projects that bring their own Dockerfile or compose file.

use serde_yaml::Value;

use crate::model::datastore::is_datastore;
use crate::model::project::Detection;
use crate::model::project::Kind;
use crate::model::project::Problem;
use crate::model::project::Reason;
use crate::project::detect::blank;
use crate::project::detect::line;
use crate::project::detect::parse;
use crate::project::detect::scan::pattern;
use crate::project::detect::view::View;

/// Compose files, in Compose's own order.
const COMPOSE_FILES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];

/// Images that look after a datastore: a file of these and datastores is a development aid, not the project.
const TOOLS: [&str; 16] = [
    "adminer",
    "phpmyadmin",
    "pgadmin4",
    "mailhog",
    "mailpit",
    "maildev",
    "redis-commander",
    "redisinsight",
    "mongo-express",
    "minio",
    "localstack",
    "jaeger",
    "all-in-one",
    "kafka-ui",
    "azurite",
    "smtp4dev",
];

/// Ports a browser is most likely meant for, the likeliest first.
const WEB_PORTS: [u16; 10] = [80, 443, 3000, 8080, 8000, 5173, 5601, 5000, 4200, 9000];
const WEB_NAMES: [&str; 10] =
    ["web", "app", "frontend", "proxy", "nginx", "gateway", "www", "client", "ui", "site"];

/// How sure a compose file is to be what runs the project.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Composed {
    /// It has a service that answers the web, or does not parse.
    Sure(Box<Detection>),
    /// It has services that may answer the web, though nothing says so.
    Maybe(Box<Detection>),
    /// It has datastores and their tools only: passed over, with the reason.
    No(Reason),
}

struct Service {
    name: String,
    image: Option<String>,
    build: Option<String>,
    ports: Vec<u16>,
    labelled: bool,
}

impl Service {
    fn read(name: &str, value: &Value) -> Self {
        let build = value.get("build").map(|build| {
            let context =
                build.as_str().or_else(|| build.get("context").and_then(Value::as_str)).unwrap_or(".");
            context.to_owned()
        });
        let list = |key: &str| value.get(key).and_then(Value::as_sequence).into_iter().flatten();
        let labelled = match value.get("labels") {
            Some(Value::Mapping(labels)) => labels.keys().any(|key| key.as_str() == Some("nexus.web")),
            Some(Value::Sequence(labels)) => {
                labels.iter().any(|label| label.as_str().is_some_and(|label| label.starts_with("nexus.web")))
            }
            _ => false,
        };
        Self {
            name: name.to_owned(),
            image: value.get("image").and_then(Value::as_str).map(str::to_owned),
            build,
            ports: list("ports").chain(list("expose")).filter_map(container_port).collect(),
            labelled,
        }
    }

    fn is_store(&self) -> bool {
        self.build.is_none() && self.image.as_deref().is_some_and(is_datastore)
    }

    fn is_tool(&self) -> bool {
        let name = self.image.as_deref().map(image_name).unwrap_or_default();
        self.build.is_none() && TOOLS.contains(&name)
    }

    fn answers(&self) -> bool {
        self.build.is_some() || !self.ports.is_empty()
    }

    /// Smaller is likelier to be the one a browser wants.
    fn rank(&self) -> (bool, usize, usize) {
        let port = self.ports.iter().filter_map(|port| WEB_PORTS.iter().position(|web| web == port)).min();
        let port = port.unwrap_or(if self.ports.is_empty() { 99 } else { 50 });
        let name = WEB_NAMES.iter().position(|name| self.name == *name).unwrap_or(WEB_NAMES.len());
        (!self.labelled, port, name)
    }
}

/// The name of an image: `caddy` of `docker.io/library/caddy:2@sha256:..`.
fn image_name(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or(image).rsplit('/').next().unwrap_or(image);
    name.split(':').next().unwrap_or(name)
}

/// The port inside the container of an entry of `ports` or `expose`.
fn container_port(entry: &Value) -> Option<u16> {
    if let Some(target) = entry.get("target").or(Some(entry)).and_then(Value::as_u64) {
        return u16::try_from(target).ok();
    }
    let text = entry.as_str()?;
    pattern!(VARIABLE, r"\$\{\w+:?-([^}]*)\}");
    let text = VARIABLE.replace_all(text, "$1");
    let port = text.rsplit(':').next()?.split('/').next()?;
    port.split('-').next()?.trim().parse().ok()
}

/// The compose file of a directory, if it has one.
pub(crate) fn compose(view: &View<'_>) -> Option<Composed> {
    let files: Vec<&str> = COMPOSE_FILES.into_iter().filter(|file| view.entry(file).is_some()).collect();
    let file = *files.first()?;
    let mut detection = blank(view, Kind::Compose);
    detection.file = Some(view.path(file));
    detection.start = Some("docker compose up".to_owned());
    several(view, &files, &mut detection);
    let value = match parse::yaml(view, file)? {
        Ok(value) => value,
        Err(problem) => {
            detection.because.push(view.reason(file, "a compose file; it does not parse"));
            return Some(broken(detection, problem));
        }
    };
    let Some(services) = value.get("services").and_then(Value::as_mapping) else {
        if value.get("include").is_some() {
            detection.because.push(view.reason(file, "a compose file that includes others"));
            return Some(Composed::Sure(Box::new(detection)));
        }
        return Some(Composed::No(view.reason(file, "names no services: passed over")));
    };
    let services: Vec<Service> = services
        .iter()
        .filter_map(|(name, value)| Some(Service::read(name.as_str()?, value)))
        .filter(|service| !service.is_store())
        .collect();
    if let Some(context) = missing_context(view, &services) {
        let fact =
            format!("builds from `{context}`, which is not there: it cannot be built and is passed over");
        return Some(Composed::No(view.reason(file, fact)));
    }
    let likeliest = |service: &&Service| (service.is_tool(), !service.answers(), service.rank());
    let Some(web) = services.iter().min_by_key(likeliest) else {
        let fact = "holds only datastores and their tools: not what runs the project";
        return Some(Composed::No(view.reason(file, fact)));
    };
    detection.framework = framework(view, web);
    detection.port_hint = web
        .ports
        .iter()
        .copied()
        .min_by_key(|port| WEB_PORTS.iter().position(|web| web == port).unwrap_or(WEB_PORTS.len()));
    let name = crate::project::detect::unknown::printable(&web.name);
    detection
        .because
        .push(view.reason(file, format!("a compose file; `{name}` is the likeliest web service")));
    to_fill_in(view, file, &value, &mut detection);
    let sure = web.answers() && !web.is_tool();
    let detection = Box::new(detection);
    Some(if sure { Composed::Sure(detection) } else { Composed::Maybe(detection) })
}

/// A build folder of the file that does not exist.
fn missing_context(view: &View<'_>, services: &[Service]) -> Option<String> {
    let contexts = services.iter().filter_map(|service| service.build.as_deref());
    let local = contexts.filter(|context| !context.contains("://") && !context.contains('$'));
    let mut missing =
        local.filter_map(line::clean_path).filter(|path| !path.is_empty() && !view.has_dir(path));
    missing.next().map(|path| crate::project::detect::unknown::printable(&path))
}

fn broken(mut detection: Detection, problem: Problem) -> Composed {
    detection.start = None;
    detection.problems.push(problem);
    Composed::Sure(Box::new(detection))
}

fn several(view: &View<'_>, files: &[&str], detection: &mut Detection) {
    let [first, others @ ..] = files else { return };
    if !others.is_empty() {
        let message =
            format!("several compose files; `{first}` is used, as Compose does; not {}", others.join(", "));
        detection.problems.push(view.warning(first, message, "delete the others"));
    }
}

/// What the web service is made of: its image, or what its build folder holds.
fn framework(view: &View<'_>, web: &Service) -> Option<String> {
    if let Some(context) = web.build.as_deref().and_then(line::clean_path) {
        let inside = if context.is_empty() { view.clone() } else { view.child(&context) };
        let found = crate::project::detect::language(&inside)?;
        return Some(found.framework.unwrap_or_else(|| found.kind.to_string()));
    }
    let name = image_name(web.image.as_deref()?);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    name.chars().all(plain).then(|| name.to_owned()).filter(|name| !name.is_empty())
}

/// Files and variables the file needs from the user.
fn to_fill_in(view: &View<'_>, file: &str, value: &Value, detection: &mut Detection) {
    let services = value.get("services").and_then(Value::as_mapping);
    let listed = services.into_iter().flatten().filter_map(|(_, service)| service.get("env_file"));
    let mut missing: Vec<String> =
        listed.flat_map(env_files).filter_map(|path| line::clean_path(&path)).collect();
    missing.retain(|path| view.entry(path).is_none());
    missing.sort();
    missing.dedup();
    for path in missing {
        let message = format!("`env_file` names `{path}`, which is not there");
        let hint = format!(
            "write {path} with the variables the services need; an empty file will do if there are none"
        );
        detection.problems.push(view.fatal(file, message, hint));
    }
    pattern!(REQUIRED, r"\$\{(\w+):?\?([^}]*)\}");
    let given = view.text(".env").unwrap_or_default();
    let text = view.text(file).unwrap_or_default();
    let mut seen = Vec::new();
    for found in REQUIRED.captures_iter(text) {
        let name = found[1].to_owned();
        let set = given
            .lines()
            .any(|line| line.trim().trim_start_matches("export ").starts_with(&format!("{name}=")));
        if set || seen.contains(&name) {
            continue;
        }
        let (at, column) = parse::position(text, found.get(0).map_or(0, |found| found.start()));
        let mut problem = view.fatal(
            file,
            format!("`{name}` must be set: {}", &found[2]),
            format!("write {name}=... into .env"),
        );
        problem.message = problem.message.chars().filter(|c| !line::hostile(*c)).collect();
        (problem.line, problem.column) = (Some(at), Some(column));
        detection.problems.push(problem);
        seen.push(name);
    }
}

/// The files of an `env_file` that must be there.
fn env_files(value: &Value) -> Vec<String> {
    match value {
        Value::String(path) => vec![path.clone()],
        Value::Sequence(list) => list.iter().flat_map(env_files).collect(),
        Value::Mapping(_) if value.get("required").and_then(Value::as_bool) != Some(false) => {
            value.get("path").and_then(Value::as_str).map(str::to_owned).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

pattern!(EXPOSE, r"(?mi)^\s*EXPOSE\s+(.+)$");
pattern!(FROM, r"(?mi)^\s*FROM\s+(?:--\S+\s+)*(\S+)");
pattern!(ENV_PORT, r#"(?mi)^\s*(?:ENV|ARG)\s+(?:.*\s)?PORT[= ]['"]?(\d{2,5})"#);
pattern!(COPY, r"(?mi)^\s*(?:COPY|ADD)\s+(.+)$");
pattern!(START, r"(?mi)^\s*(?:CMD|ENTRYPOINT)\s+(.+)$");

/// The project's own Dockerfile, if it has one that says how the project runs.
pub(crate) fn dockerfile(view: &View<'_>) -> Option<Detection> {
    let file = view.first(&["Dockerfile", "Containerfile", "dockerfile"])?;
    let text = view.text(file)?.replace("\\\r\n", " ").replace("\\\n", " ");
    let mut detection = blank(view, Kind::Dockerfile);
    detection.file = Some(view.path(file));
    let base = FROM.captures_iter(&text).last().map(|found| found[1].to_owned());
    let Some(base) = base else {
        detection.problems.push(view.fatal(file, "no `FROM` in it", "begin it with FROM and an image"));
        return Some(detection);
    };
    detection.because.push(view.reason(file, "the project's own Dockerfile"));
    detection.port_hint = exposed(&text);
    if let Some(port) = detection.port_hint {
        detection.because.push(view.reason(file, format!("listens on {port}")));
    }
    if is_datastore(&base) {
        detection.problems.push(view.warning(
            file,
            "its image is a datastore",
            "name the application's own Dockerfile",
        ));
    }
    Some(detection)
}

/// The port the last stage exposes: 80, else the smallest that is not privileged.
fn exposed(text: &str) -> Option<u16> {
    let last = FROM.find_iter(text).last().map_or(0, |found| found.start());
    let default = || ENV_PORT.captures_iter(text).last().and_then(|found| found[1].parse::<u16>().ok());
    let words =
        EXPOSE.captures_iter(&text[last..]).map(|found| found[1].to_owned()).collect::<Vec<_>>().join(" ");
    let ports = words.split_whitespace().filter(|word| !word.ends_with("/udp")).filter_map(|word| {
        if word.contains('$') { default() } else { word.split('/').next()?.split('-').next()?.parse().ok() }
    });
    let ports: Vec<u16> = ports.collect();
    let usual = ports.iter().copied().find(|port| *port == 80);
    usual
        .or_else(|| ports.iter().copied().filter(|port| *port >= 1024).min())
        .or(ports.first().copied())
        .or_else(default)
}

/// Why the Dockerfile cannot be what runs the project, when its language can: it copies files that are not there, or
/// starts a script that is no server.
pub(crate) fn stale(view: &View<'_>, dockerfile: &Detection, language: &Detection) -> Option<Reason> {
    let file = dockerfile.file.as_deref()?.rsplit('/').next()?;
    let text = view.text(file)?.replace("\\\r\n", " ").replace("\\\n", " ");
    let copied =
        COPY.captures_iter(&text).map(|found| found[1].to_owned()).filter(|line| !line.contains("--from"));
    for copy in copied {
        let list = copy.replace(['[', ']', '"', ','], " ");
        let words: Vec<&str> = list.split_whitespace().filter(|word| !word.starts_with("--")).collect();
        let sources = words.split_last().map_or(&[][..], |(_, sources)| sources);
        let plain = sources
            .iter()
            .filter(|source| !source.contains(['*', '?', '$', '[', '<']) && !source.contains("://"));
        for source in plain {
            let Some(path) = line::clean_path(source.trim_start_matches('/')).filter(|path| !path.is_empty())
            else {
                continue;
            };
            let built = path
                .split('/')
                .any(|part| ["dist", "build", "target", "out", "bin", "node_modules"].contains(&part));
            if view.entry(&path).is_none() && !built && view.listing().cut().is_none() {
                let path = crate::project::detect::unknown::printable(&path);
                return Some(view.reason(
                    file,
                    format!("copies `{path}`, which is not there: it cannot be built and is passed over"),
                ));
            }
        }
    }
    let start = START.captures_iter(&text).last().map(|found| found[1].replace(['[', ']', '"', ','], " "))?;
    let scripted = ["npm run start", "npm start", "yarn start", "pnpm start", "pnpm run start"];
    let start = start.split_whitespace().collect::<Vec<_>>().join(" ");
    (language.kind == Kind::Static && scripted.contains(&start.as_str()))
        .then(|| view.reason(file, format!("runs `{start}`, which is no server here: it is passed over")))
}
