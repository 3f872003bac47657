//! Python programs without an application object: tools that serve by themselves, scripts, packages.

use crate::model::project::Detection;
use crate::model::project::Serves;
use crate::model::project::Version;
use crate::project::detect::line;
use crate::project::detect::python::app;
use crate::project::detect::python::manager::Manifests;
use crate::project::detect::scan;
use crate::project::detect::scan::pattern;
use crate::project::detect::version;
use crate::project::detect::view::View;

/// Files that are a program when nothing says otherwise.
const ENTRIES: [&str; 13] = [
    "main.py",
    "app.py",
    "server.py",
    "run.py",
    "start.py",
    "web.py",
    "api.py",
    "bot.py",
    "hello.py",
    "index.py",
    "__main__.py",
    "wsgi.py",
    "src/main.py",
];

pattern!(
    SERVES,
    r"(?x)
    \b(?:HTTPServer|ThreadingHTTPServer|TCPServer|make_server|run_app|WSGIServer|run_simple|start_server|create_server)\s*\(
  | \.(?:listen|run_server)\s*\( | \bserve\s*\(\s*\) | \bapp\.run\s*\( | \b(?:ui|sio|socketio|bottle|cherrypy|uvicorn|web)\.(?:run|run_app|quickstart)\s*\(
"
);

/// The file that is the program.
pub(crate) fn entry(view: &View<'_>) -> Option<String> {
    if let Some(found) = view.first(&ENTRIES) {
        return Some(found.to_owned());
    }
    let scripts: Vec<&str> = view.names_ending(".py").collect();
    let programs: Vec<&&str> = scripts
        .iter()
        .filter(|name| {
            !["setup.py", "conftest.py", "noxfile.py", "manage.py"].contains(*name)
                && !name.starts_with("test_")
        })
        .collect();
    let main =
        |name: &&&str| view.text(name).is_some_and(|text| text.contains("__main__") || SERVES.is_match(text));
    programs
        .iter()
        .copied()
        .find(|name| main(name))
        .or((programs.len() == 1).then(|| programs[0]))
        .map(|name| (*name).to_owned())
}

/// Tools that run a file of the project as a web application: package, line with the file in place of `{}`, port.
const TOOLS: [(&str, &str, &str, u16); 5] = [
    (
        "streamlit",
        "import streamlit",
        "streamlit run {} --server.address 0.0.0.0 --server.port $PORT --server.headless true",
        8501,
    ),
    ("chainlit", "import chainlit", "chainlit run {} --host 0.0.0.0 --port $PORT --headless", 8000),
    (
        "panel",
        "import panel",
        "panel serve {} --address 0.0.0.0 --port $PORT --allow-websocket-origin '*'",
        5006,
    ),
    ("marimo", "import marimo", "marimo run {} --host 0.0.0.0 --port $PORT --headless", 2718),
    ("gradio", "import gradio", "GRADIO_SERVER_NAME=0.0.0.0 python {}", 7860),
];

/// Fills in the start of a tool that serves; false when none is used.
pub(crate) fn tool(view: &View<'_>, manifests: &Manifests, detection: &mut Detection) -> bool {
    if view.has("mkdocs.yml") && manifests.names.iter().any(|name| name.starts_with("mkdocs")) {
        detection.framework = Some("mkdocs".to_owned());
        detection.port_hint = Some(8000);
        detection.hot_reload = true;
        detection.start = Some("mkdocs serve --dev-addr 0.0.0.0:$PORT".to_owned());
        detection.because.push(view.reason("mkdocs.yml", "documentation that mkdocs serves"));
        return true;
    }
    for (package, import, template, port) in
        TOOLS.into_iter().filter(|(package, ..)| manifests.depends(package))
    {
        let sources = app::sources(view);
        let using = sources.iter().filter(|(_, text)| text.contains(import)).map(|(file, _)| *file);
        let usual =
            |file: &&str| ["streamlit_app.py", "app.py", "main.py", "Home.py", "home.py"].contains(file);
        let mut using: Vec<&str> = using.collect();
        using.sort_by_key(|file| (!usual(file), file.matches('/').count(), file.starts_with("pages/")));
        if let Some(word) = using.first().copied().and_then(line::path_word) {
            detection.framework = Some(package.to_owned());
            detection.port_hint = Some(port);
            detection.hot_reload = package != "gradio";
            detection.start = Some(template.replace("{}", &word));
            detection.because.push(view.reason(using[0], format!("{import}: {package} serves it")));
            return true;
        }
    }
    false
}

/// Fills in the start of a program that is no application; false when there is none.
pub(crate) fn start(view: &View<'_>, manifests: &Manifests, detection: &mut Detection) -> bool {
    if let Some((name, _)) = console_script(manifests) {
        let Some(word) = line::path_word(&name) else { return false };
        detection.because.push(view.reason("pyproject.toml", "[project.scripts] names its command"));
        detection.start = Some(word);
        serves(view, None, detection);
        return true;
    }
    if let Some(file) = entry(view)
        && let Some(word) = line::path_word(&file)
    {
        detection.because.push(view.reason(&file, "the program's entry"));
        detection.start = Some(format!("python {word}"));
        serves(view, Some(&file), detection);
        return true;
    }
    let package = app::sources(view).into_iter().find_map(|(file, _)| {
        let folder = file.strip_suffix("/__main__.py")?;
        Some((file, folder.strip_prefix("src/").unwrap_or(folder).replace('/', ".")))
    });
    if let Some((file, package)) = package
        && let Some(word) = line::path_word(&package)
    {
        let path = if file.starts_with("src/") { "PYTHONPATH=src " } else { "" };
        detection.because.push(view.reason(file, "a package that runs"));
        detection.start = Some(format!("{path}python -m {word}"));
        serves(view, Some(file), detection);
        return true;
    }
    false
}

/// The command a package installs.
fn console_script(manifests: &Manifests) -> Option<(String, String)> {
    let tables: [&[&str]; 2] = [&["project", "scripts"], &["tool", "poetry", "scripts"]];
    let scripts = tables.iter().find_map(|path| manifests.tool(path)?.as_table())?;
    let project = manifests.tool(&["project", "name"]).and_then(toml::Value::as_str).unwrap_or_default();
    let chosen = scripts
        .iter()
        .find(|(name, _)| ["start", "serve", "server", "web", project].contains(&name.as_str()))
        .or_else(|| scripts.iter().next())?;
    Some((chosen.0.clone(), chosen.1.as_str()?.to_owned()))
}

fn serves(view: &View<'_>, file: Option<&str>, detection: &mut Detection) {
    let sources = app::sources(view);
    let serving =
        sources.iter().find(|(path, text)| file.is_none_or(|file| file == *path) && SERVES.is_match(text));
    let serving = serving.or_else(|| sources.iter().find(|(_, text)| SERVES.is_match(text)));
    match serving {
        Some((path, text)) => {
            detection.port_hint = scan::port(text).or(Some(8000));
            detection.because.push(view.reason(path, "opens a port"));
        }
        None => {
            detection.serves = Serves::Process;
            detection
                .because
                .push(view.reason("", "nothing in it opens a port: a program that runs and may end"));
        }
    }
}

/// `python_version` of a Pipfile.
pub(crate) fn pipfile_version(view: &View<'_>, known: &[&str]) -> Option<Version> {
    pattern!(REQUIRES, r#"(?m)^\s*python_(?:full_)?version\s*=\s*['"]([^'"\n]+)['"]"#);
    let found = REQUIRES.captures(view.text("Pipfile")?)?;
    version::stated_in(view, "Pipfile", &found[1], known)
}
