//! Go: the main package, one binary.

use std::collections::BTreeSet;

use crate::model::project::Detection;
use crate::model::project::Kind;
use crate::model::project::Serves;
use crate::project::detect::blank;
use crate::project::detect::line;
use crate::project::detect::scan;
use crate::project::detect::scan::pattern;
use crate::project::detect::version;
use crate::project::detect::view::View;

pattern!(MAIN, r"(?m)^package\s+main\b");
pattern!(ENTRY, r"(?m)^func\s+main\s*\(\s*\)");
pattern!(MODULE, r"(?m)^module\s+(\S+)");
pattern!(DIRECTIVE, r"(?m)^go\s+(\d[\w.]*)");
pattern!(TOOLCHAIN, r"(?m)^toolchain\s+go(\d[\w.]*)");
pattern!(
    SERVES,
    r"\.ListenAndServe|http\.Serve\(|\bnet\.Listen\(|\.(?:Run|Listen|Start|Serve|StartServer)\(|ListenAndServeTLS|funcframework\."
);
pattern!(ADDRESS, r#""(?:0\.0\.0\.0|localhost|127\.0\.0\.1|\[::\])?:(\d{2,5})""#);

/// Libraries a server is written with: import path part, name, port.
const FRAMEWORKS: [(&str, &str, u16); 9] = [
    ("github.com/gin-gonic/gin", "gin", 8080),
    ("github.com/labstack/echo", "echo", 1323),
    ("github.com/gofiber/fiber", "fiber", 3000),
    ("github.com/go-chi/chi", "chi", 8080),
    ("github.com/gorilla/mux", "gorilla", 8080),
    ("github.com/beego/beego", "beego", 8080),
    ("github.com/kataras/iris", "iris", 8080),
    ("github.com/gobuffalo/buffalo", "buffalo", 3000),
    ("github.com/GoogleCloudPlatform/functions-framework-go", "functions-framework", 8080),
];

/// Names of commands that serve, the likeliest first.
const SERVING: [&str; 10] =
    ["web", "server", "api", "app", "http", "httpd", "service", "serve", "main", "site"];

/// Detects a Go project.
pub(crate) fn detect(view: &View<'_>) -> Option<Detection> {
    let module = view.text("go.mod");
    let workspace = view.text("go.work");
    let mains = mains(view);
    if module.is_none() && workspace.is_none() && !mains.contains("") {
        return None;
    }
    let mut detection = blank(view, Kind::Go);
    detection.package_manager = Some("go".to_owned());
    let mark = view.first(&["go.mod", "go.work", "main.go"]).unwrap_or_default();
    detection.because.push(view.reason(mark, "a Go project"));
    version(view, &mut detection);
    install(view, module, &mut detection);
    let name =
        module.and_then(|text| MODULE.captures(text)).map(|found| found[1].trim_matches('"').to_owned());
    let Some(package) = choose(view, &mains, workspace, name.as_deref()) else {
        detection.problems.push(view.fatal(
            mark,
            "no main package: nothing to run here but a library",
            "add main.go, or set `build:` and `start:` in .nexus/config.yaml",
        ));
        return Some(detection);
    };
    build(view, &package, module.is_some() || workspace.is_some(), &mut detection);
    others(view, &mains, &package, &mut detection);
    serves(view, &package, module, &mut detection);
    Some(detection)
}

/// Directories that hold a main package; `""` is the root.
fn mains(view: &View<'_>) -> BTreeSet<String> {
    view.sources(&[".go"])
        .into_iter()
        .filter(|(path, text)| is_program(path) && MAIN.is_match(text) && ENTRY.is_match(text))
        .filter(|(_, text)| !text.contains("//go:build ignore") && !text.contains("// +build ignore"))
        .map(|(path, _)| path.rsplit_once('/').map_or(String::new(), |(folder, _)| folder.to_owned()))
        .collect()
}

fn is_program(path: &str) -> bool {
    let apart = [
        "vendor",
        "testdata",
        "examples",
        "example",
        "_examples",
        "hack",
        "tools",
        "scripts",
        "node_modules",
    ];
    !path.ends_with("_test.go") && !path.split('/').any(|part| apart.contains(&part))
}

/// The main package that is the program: the root, then the command of a serving name, then the first.
fn choose(
    view: &View<'_>,
    mains: &BTreeSet<String>,
    workspace: Option<&str>,
    module: Option<&str>,
) -> Option<String> {
    if mains.contains("") && workspace.is_none_or(|_| view.has("go.mod")) {
        return Some(String::new());
    }
    let own = module.and_then(|module| module.rsplit('/').find(|part| !is_version(part))).unwrap_or_default();
    let rank = |folder: &&String| {
        let name = folder.rsplit('/').next().unwrap_or_default();
        let command = !folder.starts_with("cmd/") && folder.as_str() != "cmd";
        let serving = SERVING.iter().position(|serving| *serving == name);
        let serving = if name == own { Some(0) } else { serving.map(|place| place + 1) };
        (serving.unwrap_or(SERVING.len() + 1), command, folder.matches('/').count(), (*folder).clone())
    };
    mains.iter().min_by_key(rank).cloned()
}

fn is_version(part: &str) -> bool {
    part.strip_prefix('v')
        .is_some_and(|digits| !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit()))
}

fn build(view: &View<'_>, package: &str, module: bool, detection: &mut Detection) {
    let output =
        ["out", "app", "nexus-out"].into_iter().find(|name| view.entry(name).is_none()).unwrap_or("out");
    let place = if package.is_empty() { "go.mod".to_owned() } else { package.to_owned() };
    let what = if package.is_empty() { "the root" } else { package };
    detection.because.push(view.reason(&place, format!("the main package is `{what}`")));
    let target = match (package, module) {
        ("", true) => String::new(),
        ("", false) => loose(view),
        (package, _) => {
            line::word(&format!("./{package}")).map(|word| format!(" {word}")).unwrap_or_default()
        }
    };
    detection.build = Some(format!("go build -o {output}{target}"));
    detection.start = Some(format!("./{output}"));
}

/// The files of a program without go.mod.
fn loose(view: &View<'_>) -> String {
    let files = view.names_ending(".go").filter(|name| is_program(name));
    files.filter_map(line::path_word).map(|word| format!(" {word}")).collect()
}

fn others(view: &View<'_>, mains: &BTreeSet<String>, chosen: &str, detection: &mut Detection) {
    let others: Vec<&str> =
        mains.iter().filter(|folder| *folder != chosen).map(String::as_str).take(5).collect();
    if others.is_empty() {
        return;
    }
    let first = if others[0].is_empty() { "." } else { others[0] };
    detection.because.push(view.reason(
        "",
        format!(
            "other main packages: {}; write `build: go build -o out ./{first}` to choose one",
            others.join(", ")
        ),
    ));
}

fn install(view: &View<'_>, module: Option<&str>, detection: &mut Detection) {
    let inputs = ["go.mod", "go.sum", "go.work", "go.work.sum"].into_iter().filter(|file| view.has(file));
    detection.install_inputs = inputs.map(str::to_owned).collect();
    if view.has("vendor/modules.txt") {
        detection
            .because
            .push(view.reason("vendor/modules.txt", "dependencies are vendored: nothing to fetch"));
    } else if module.is_some_and(|text| text.contains("require")) {
        detection.install = Some("go mod download".to_owned());
    }
}

fn version(view: &View<'_>, detection: &mut Detection) {
    let known = &version::GO;
    let stated = |file: &str, pattern: &regex::Regex| {
        let found = pattern.captures(view.text(file)?)?;
        version::stated_in(view, file, &found[1], known)
    };
    detection.version = version::from_tools(view, &["go", "golang"], known)
        .or_else(|| stated("go.mod", &TOOLCHAIN))
        .or_else(|| stated("go.mod", &DIRECTIVE))
        .or_else(|| stated("go.work", &DIRECTIVE));
    if detection.version.is_none() && view.has("go.mod") {
        detection.because.push(view.reason("go.mod", "no go directive: the newest Go"));
    }
}

fn serves(view: &View<'_>, package: &str, module: Option<&str>, detection: &mut Detection) {
    let sources = view.sources(&[".go"]);
    let program: Vec<&(&str, &str)> = sources.iter().filter(|(path, _)| is_program(path)).collect();
    let imported = |import: &str| program.iter().any(|(_, text)| text.contains(import));
    let framework = FRAMEWORKS
        .iter()
        .find(|(import, ..)| module.is_some_and(|text| text.contains(import)) && imported(import));
    let network = imported("\"net/http\"") || imported("\"net\"") || framework.is_some();
    let own = |path: &str| package.is_empty() || path.starts_with(&format!("{package}/"));
    let serving = program
        .iter()
        .filter(|(_, text)| SERVES.is_match(text) && network)
        .min_by_key(|(path, _)| (!own(path), path.matches('/').count()));
    let Some((path, text)) = serving else {
        detection.serves = Serves::Process;
        detection
            .because
            .push(view.reason("", "nothing in it opens a port: a program that runs and may end"));
        return;
    };
    let text = scan::without_comments(text);
    let address = || ADDRESS.captures(&text).and_then(|found| found[1].parse().ok());
    let (name, port) = framework.map_or(("net/http", None), |(_, name, port)| (*name, Some(*port)));
    detection.framework = Some(name.to_owned());
    detection.port_hint = address().or_else(|| scan::port(&text)).or(port).or(Some(8080));
    detection.because.push(view.reason(path, "opens a port"));
}
