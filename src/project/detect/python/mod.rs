//! Python: web applications found in their source, Django, the tools that serve by themselves, and plain programs.

mod app;
mod django;
mod manager;
mod plain;

use crate::model::project::Detection;
use crate::model::project::Kind;
use crate::model::project::Serves;
use crate::project::detect::blank;
use crate::project::detect::line;
use crate::project::detect::scan;
use crate::project::detect::version;
use crate::project::detect::view::View;

use app::App;
use app::Interface;
use manager::Manifests;

/// Files that by themselves make a folder a Python project.
const MARKS: [&str; 14] = [
    "requirements.txt",
    "pyproject.toml",
    "Pipfile",
    "setup.py",
    "setup.cfg",
    "manage.py",
    "uv.lock",
    "poetry.lock",
    "pdm.lock",
    "Pipfile.lock",
    "Requirements.txt",
    "requirments.txt",
    "requirement.txt",
    "requirements.txt.txt",
];

/// Whether the manifests of a directory list a package.
pub(crate) fn depends(view: &View<'_>, package: &str) -> bool {
    Manifests::read(view).depends(package)
}

/// Detects a Python project.
pub(crate) fn detect(view: &View<'_>) -> Option<Detection> {
    let marked = view.first(&MARKS);
    let entry = plain::entry(view);
    if marked.is_none() && entry.is_none() {
        return None;
    }
    let manifests = Manifests::read(view);
    let mut detection = blank(view, Kind::Python);
    let mark = marked.map(str::to_owned).or(entry)?;
    detection.because.push(view.reason(&mark, "a Python project"));
    detection.problems.extend(manifests.problems.clone());
    version(view, &manifests, &mut detection);
    let mut added = Vec::new();
    let started = django::start(view, &manifests, &mut detection)
        || plain::tool(view, &manifests, &mut detection)
        || application(view, &manifests, &mut added, &mut detection)
        || plain::start(view, &manifests, &mut detection);
    manager::install(view, &manifests, &added, &mut detection);
    if !started {
        nothing_to_start(view, &mark, &mut detection);
    }
    Some(detection)
}

fn nothing_to_start(view: &View<'_>, mark: &str, detection: &mut Detection) {
    detection.serves = Serves::Process;
    detection.problems.push(view.fatal(
        mark,
        "no application found: no Flask, FastAPI, Django or other app object, no main.py or app.py, no [project.scripts]",
        "name the start command: `start: gunicorn package.module:app` in .nexus/config.yaml, or a Procfile",
    ));
}

fn version(view: &View<'_>, manifests: &Manifests, detection: &mut Detection) {
    let known = &version::PYTHON;
    let requires = |path: &[&str]| {
        let stated = manifests.tool(path)?.as_str()?;
        version::stated_in(view, "pyproject.toml", stated, known)
    };
    detection.version = version::from_file(view, ".python-version", known)
        .or_else(|| version::from_file(view, "runtime.txt", known))
        .or_else(|| version::from_tools(view, &["python"], known))
        .or_else(|| plain::pipfile_version(view, known))
        .or_else(|| requires(&["project", "requires-python"]))
        .or_else(|| requires(&["tool", "poetry", "dependencies", "python"]));
    if let Some(version) = &detection.version {
        let fact = format!("asks for Python {}", version.stated);
        detection.because.push(crate::model::project::Reason { file: version.file.clone(), fact });
    }
    let listed = view.text(".python-version").into_iter().flat_map(str::lines);
    let versions: Vec<&str> =
        listed.map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    if versions.len() > 1 {
        let message = format!("lists {} versions; the first is used", versions.len());
        detection.problems.push(view.warning(".python-version", message, "keep one version in it"));
    }
}

/// Starts the application object found in the source.
fn application(
    view: &View<'_>,
    manifests: &Manifests,
    added: &mut Vec<&'static str>,
    detection: &mut Detection,
) -> bool {
    let Some(app) = app::find(view) else { return false };
    let text = view.text(&app.file).unwrap_or_default();
    detection.framework = Some(app.framework.to_owned());
    detection
        .because
        .push(view.reason(&app.file, format!("`{}` is a {} application", app.object, app.framework)));
    let (start, port) = match app.interface {
        Interface::Wsgi => wsgi(view, &app, manifests, added, detection),
        Interface::Asgi => asgi(view, &app, manifests, added, detection),
    };
    detection.port_hint =
        Some(if start.starts_with("python ") { scan::port(text).unwrap_or(port) } else { port });
    detection.start = Some(start);
    true
}

/// A folder to import from as an assignment before the command; nothing when the root is that folder.
fn import_path(app: &App) -> String {
    app.path
        .as_deref()
        .and_then(line::path_word)
        .map(|path| format!("PYTHONPATH={path} "))
        .unwrap_or_default()
}

/// `module:object`, quoted where the object is a call.
fn target(app: &App) -> String {
    let target = format!("{}:{}", app.module, app.object);
    line::word(&target).unwrap_or(target)
}

fn wsgi(
    view: &View<'_>,
    app: &App,
    manifests: &Manifests,
    added: &mut Vec<&'static str>,
    detection: &mut Detection,
) -> (String, u16) {
    let path = import_path(app);
    let mut because = |fact: &str| detection.because.push(view.reason(&app.file, fact));
    if manifests.depends("gunicorn") {
        because("gunicorn is among the dependencies and serves it");
        return (format!("{path}gunicorn {}", target(app)), 8000);
    }
    if manifests.depends("waitress") {
        because("waitress is among the dependencies and serves it");
        let call = if app.factory { "--call " } else { "" };
        let object = format!("{}:{}", app.module, app.object.trim_end_matches("()"));
        return (format!("{path}waitress-serve --listen=0.0.0.0:$PORT {call}{object}"), 8000);
    }
    if app.runs_itself
        && let Some(file) = line::path_word(&app.file)
    {
        because("no gunicorn among the dependencies; the file runs itself");
        return (format!("python {file}"), 5000);
    }
    if app.framework == "flask" {
        because("no gunicorn among the dependencies; Flask's own server serves it");
        return (format!("{path}flask --app {} run --host 0.0.0.0 --port $PORT", target(app)), 5000);
    }
    because("no server among the dependencies; gunicorn is added to the install");
    added.push("gunicorn");
    (format!("{path}gunicorn {}", target(app)), 8000)
}

fn asgi(
    view: &View<'_>,
    app: &App,
    manifests: &Manifests,
    added: &mut Vec<&'static str>,
    detection: &mut Detection,
) -> (String, u16) {
    let path = import_path(app);
    let extras = ["fastapi[standard]", "fastapi[all]", "fastapi[standard-no-fastapi-cloud-cli]"];
    let brings = ["python-fasthtml", "blacksheep"].iter().any(|name| manifests.depends(name))
        || extras.iter().any(|extra| manifests.extras.contains(*extra));
    let mut because = |fact: &str| detection.because.push(view.reason(&app.file, fact));
    if manifests.depends("hypercorn") && !manifests.depends("uvicorn")
        || app.framework == "quart" && !manifests.depends("uvicorn")
    {
        because("hypercorn serves it");
        return (format!("{path}hypercorn --bind 0.0.0.0:$PORT {}", target(app)), 8000);
    }
    if manifests.depends("uvicorn") || brings {
        because("uvicorn is among the dependencies and serves it");
    } else {
        because("no ASGI server among the dependencies; uvicorn is added to the install");
        added.push("uvicorn");
    }
    let factory = if app.factory { "--factory " } else { "" };
    let object = format!("{}:{}", app.module, app.object.trim_end_matches("()"));
    (format!("{path}uvicorn {factory}{object} --host 0.0.0.0 --port $PORT"), 8000)
}
