//! Finds the application object in Python source, without running it.

use crate::project::detect::scan::pattern;
use crate::project::detect::view::View;

/// What kind of application an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interface {
    Wsgi,
    Asgi,
}

/// An application found in the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct App {
    /// `flask`, `fastapi`, ...
    pub(crate) framework: &'static str,
    pub(crate) interface: Interface,
    /// The file, relative to the view.
    pub(crate) file: String,
    /// The import path: `main`, `pkg.web`.
    pub(crate) module: String,
    /// The directory to import from when it is not the root: `src`.
    pub(crate) path: Option<String>,
    /// The name in the module: `app`, or `create_app()` for a factory.
    pub(crate) object: String,
    /// Whether the object is made by calling it.
    pub(crate) factory: bool,
    /// Whether the file runs itself: `app.run()`, `uvicorn.run()`.
    pub(crate) runs_itself: bool,
}

/// Classes of applications.
const CLASSES: [(&str, &str, Interface); 13] = [
    ("FastAPI", "fastapi", Interface::Asgi),
    ("Flask", "flask", Interface::Wsgi),
    ("Starlette", "starlette", Interface::Asgi),
    ("Quart", "quart", Interface::Asgi),
    ("Litestar", "litestar", Interface::Asgi),
    ("BlackSheep", "blacksheep", Interface::Asgi),
    ("FastHTML", "fasthtml", Interface::Asgi),
    ("APIFlask", "flask", Interface::Wsgi),
    ("OpenAPI", "flask", Interface::Wsgi),
    ("Bottle", "bottle", Interface::Wsgi),
    ("App", "falcon", Interface::Wsgi),
    ("API", "falcon", Interface::Wsgi),
    ("Application", "pyramid", Interface::Wsgi),
];

/// File names an application is expected in, the likeliest first.
const LIKELY: [&str; 16] = [
    "wsgi",
    "asgi",
    "app",
    "main",
    "server",
    "application",
    "api",
    "web",
    "index",
    "run",
    "hello",
    "start",
    "__init__",
    "site",
    "manage",
    "__main__",
];

pattern!(INSTANCE, r"(?m)^([A-Za-z_]\w*)\s*(?::\s*[\w.\[\]]+\s*)?=\s*(?:[A-Za-z_]\w*\.)*([A-Z]\w*)\(");
pattern!(TUPLE, r"(?m)^([A-Za-z_]\w*)\s*,\s*\w+\s*=\s*fast_app\(");
pattern!(
    MADE,
    r"(?m)^([A-Za-z_]\w*)\s*(?::\s*[\w.\[\]]+\s*)?=\s*(?:[A-Za-z_]\w*\.)*(?:create_app|make_app|get_app|build_app|create_application|get_application|init_app|app_factory|fast_app)\("
);
pattern!(
    FACTORY,
    r"(?m)^(?:async\s+)?def\s+(create_app|make_app|get_app|build_app|create_application|get_application|app_factory)\s*\(([^)]*)\)"
);
pattern!(
    RUNS,
    r"(?m)^[ \t]*(?:[A-Za-z_]\w*\.run\s*\(|uvicorn\.run\s*\(|hypercorn\b.*serve|serve\s*\(|waitress\.serve)"
);
pattern!(LOCAL_IMPORT, r"(?m)^(?:from\s+([A-Za-z_]\w*)[\w.]*\s+import|import\s+([A-Za-z_]\w*))");

/// The application of a project: the likeliest of all that are found.
pub(crate) fn find(view: &View<'_>) -> Option<App> {
    let sources = sources(view);
    let mut found: Vec<(usize, App)> = Vec::new();
    for (file, text) in &sources {
        found.extend(in_file(view, file, text, &sources).map(|app| (rank(&app), app)));
    }
    found.sort_by(|(a, x), (b, y)| a.cmp(b).then_with(|| x.file.cmp(&y.file)));
    found.into_iter().next().map(|(_, app)| app)
}

/// Python files that belong to the program: no tests, docs, examples, migrations.
pub(crate) fn sources<'a>(view: &View<'a>) -> Vec<(&'a str, &'a str)> {
    const APART: [&str; 14] = [
        "test",
        "tests",
        "testing",
        "docs",
        "doc",
        "examples",
        "example",
        "migrations",
        "alembic",
        "scripts",
        "benchmarks",
        "node_modules",
        "notebooks",
        "tools",
    ];
    let mut sources = view.sources(&[".py"]);
    sources.retain(|(path, _)| {
        let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
        !folders.split('/').any(|folder| APART.contains(&folder))
            && !name.starts_with("test_")
            && !name.ends_with("_test.py")
            && !["conftest.py", "setup.py", "noxfile.py"].contains(&name)
    });
    sources
}

/// Smaller is likelier: an object before a factory, near the root, in a file of the usual name.
fn rank(app: &App) -> usize {
    let name = app.file.rsplit('/').next().unwrap_or_default().trim_end_matches(".py");
    let depth = app.module.matches('.').count();
    let likely = LIKELY.iter().position(|likely| *likely == name).unwrap_or(LIKELY.len());
    let usual = ["app", "application", "api", "server"].contains(&app.object.as_str());
    usize::from(app.factory) * 1000 + depth * 100 + likely * 4 + usize::from(!usual) * 2
}

fn in_file(view: &View<'_>, file: &str, text: &str, sources: &[(&str, &str)]) -> Option<App> {
    let (module, path) = module(view, file, text)?;
    let app = |framework, interface, object: &str, factory: bool| App {
        framework,
        interface,
        file: file.to_owned(),
        module: module.clone(),
        path: path.clone(),
        object: if factory { format!("{object}()") } else { object.to_owned() },
        factory,
        runs_itself: RUNS.is_match(text),
    };
    let instance = INSTANCE.captures_iter(text).find_map(|found| {
        let (framework, interface) = class(&found[2], text)?;
        Some(app(framework, interface, &found[1], false))
    });
    let tuple = || TUPLE.captures(text).map(|found| app("fasthtml", Interface::Asgi, &found[1], false));
    let made = || {
        let object = MADE.captures(text)?[1].to_owned();
        let (framework, interface) = made_of(text, sources)?;
        Some(app(framework, interface, &object, false))
    };
    let factory = || {
        let found = FACTORY.captures(text)?;
        let (framework, interface) = made_of(text, &[])?;
        callable_without_arguments(&found[2]).then(|| app(framework, interface, &found[1], true))
    };
    instance.or_else(tuple).or_else(made).or_else(factory)
}

/// Which framework a class of that name belongs to, given what the file imports.
fn class(name: &str, text: &str) -> Option<(&'static str, Interface)> {
    let (_, framework, interface) = CLASSES.into_iter().find(|(class, ..)| *class == name)?;
    let named = match name {
        "App" | "API" => text.contains("falcon"),
        "Application" => text.contains("pyramid"),
        "OpenAPI" => text.contains("flask_openapi"),
        _ => true,
    };
    let asgi = text.contains("falcon.asgi") || text.contains("falcon import asgi");
    named.then_some((framework, if asgi { Interface::Asgi } else { interface }))
}

/// What a factory makes: told by the class called in the file, or anywhere in the program.
fn made_of(text: &str, sources: &[(&str, &str)]) -> Option<(&'static str, Interface)> {
    let in_text = |text: &str| {
        CLASSES[..8]
            .iter()
            .find(|(class, ..)| text.contains(&format!("{class}(")))
            .map(|(_, name, interface)| (*name, *interface))
    };
    in_text(text).or_else(|| sources.iter().find_map(|(_, text)| in_text(text)))
}

fn callable_without_arguments(parameters: &str) -> bool {
    parameters.split(',').map(str::trim).all(|parameter| {
        parameter.is_empty() || parameter.contains('=') || parameter.starts_with('*') || parameter == "/"
    })
}

/// The import path of a file and the directory to import it from. `None` when it cannot be imported.
fn module(view: &View<'_>, file: &str, text: &str) -> Option<(String, Option<String>)> {
    let stem = file.strip_suffix(".py")?;
    let mut parts: Vec<&str> = stem.split('/').collect();
    if parts.last() == Some(&"__init__") {
        parts.pop();
    }
    if parts.is_empty() {
        return None;
    }
    // Where modules beside the file are imported by their bare names, it runs from its own folder.
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    let package = view.has(&format!("{folder}/__init__.py"));
    let siblings = !package && !folder.is_empty() && imports_siblings(view, folder, text);
    let base = if siblings {
        folder.matches('/').count() + 1
    } else if parts[0] == "src" && parts.len() > 1 && !view.has("src/__init__.py") {
        1
    } else {
        0
    };
    let path = (base > 0).then(|| file.split('/').take(base).collect::<Vec<_>>().join("/"));
    let module = &parts[base.min(parts.len() - 1)..];
    let identifier = |part: &&str| {
        !part.is_empty()
            && part.chars().all(|c| c.is_alphanumeric() || c == '_')
            && !part.starts_with(|c: char| c.is_ascii_digit())
    };
    module.iter().all(identifier).then(|| (module.join("."), path))
}

fn imports_siblings(view: &View<'_>, folder: &str, text: &str) -> bool {
    LOCAL_IMPORT.captures_iter(text).any(|found| {
        let name = found.get(1).or(found.get(2)).map_or("", |name| name.as_str());
        let beside =
            view.has(&format!("{folder}/{name}.py")) || view.has(&format!("{folder}/{name}/__init__.py"));
        beside && !view.has(&format!("{name}.py")) && !view.has_dir(name)
    })
}
