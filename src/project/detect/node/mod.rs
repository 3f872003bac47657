//! Node.js and Bun: programs, frameworks with a server, and sites that a Node build makes.

mod framework;
mod manager;
mod package;
mod start;

use crate::model::project::Detection;
use crate::model::project::Kind;
use crate::model::project::Serves;
use crate::model::project::Site;
use crate::project::detect::blank;
use crate::project::detect::line;
use crate::project::detect::scan;
use crate::project::detect::static_site;
use crate::project::detect::version;
use crate::project::detect::view::View;

use framework::Framework;
use framework::Output;
use manager::Manager;
pub(crate) use package::Package;
pub(crate) use start::starts_development;

/// Programs that are run without a manifest.
const BARE: [&str; 10] = [
    "server.js",
    "app.js",
    "main.js",
    "index.js",
    "web.js",
    "server.mjs",
    "app.mjs",
    "main.mjs",
    "index.mjs",
    "server.cjs",
];

/// Detects a Node project.
pub(crate) fn detect(view: &View<'_>) -> Option<Detection> {
    match Package::read(view) {
        Some(Ok(package)) => with_manifest(view, &package),
        Some(Err(problem)) => {
            let mut detection = blank(view, Kind::Node);
            detection
                .because
                .push(view.reason("package.json", "a Node project; its manifest does not parse"));
            detection.problems.push(problem);
            Some(detection)
        }
        None => bare(view),
    }
}

/// A single program without package.json.
fn bare(view: &View<'_>) -> Option<Detection> {
    let page = view.has("index.html");
    let (file, text) = BARE
        .iter()
        .filter_map(|file| Some((*file, view.text(file)?)))
        .find(|(_, text)| start::is_node_program(text, page))?;
    let mut detection = blank(view, Kind::Node);
    detection.start = Some(format!("node {file}"));
    detection.because.push(view.reason(file, "a program for Node, and no package.json: nothing to install"));
    serves(view, file, text, &mut detection);
    version(view, &Package::empty(), &mut detection);
    Some(detection)
}

fn serves(view: &View<'_>, file: &str, text: &str, detection: &mut Detection) {
    if start::listens(view) {
        detection.port_hint = scan::port(&scan::without_comments(text)).or(detection.port_hint);
        detection.because.push(view.reason(file, "opens a port"));
    } else {
        detection.serves = Serves::Process;
        detection.because.push(view.reason(file, "nothing opens a port: a program that runs and may end"));
    }
}

fn with_manifest(view: &View<'_>, package: &Package) -> Option<Detection> {
    let framework = framework::find(view, package);
    if framework.is_none() && is_only_tooling(view, package) {
        return None;
    }
    let mut detection = blank(view, Kind::Node);
    detection.because.push(view.reason(package.file, "package.json makes it a Node project"));
    let manager = manager::choose(view, package, &mut detection);
    version(view, package, &mut detection);
    build(view, package, manager, framework.as_ref(), &mut detection);
    if let Some(framework) = &framework {
        detection.framework = Some(framework.name.to_owned());
        detection.port_hint = framework.port;
        detection.because.push(crate::model::project::Reason {
            file: if framework.because.0.is_empty() {
                String::new()
            } else {
                view.path(&framework.because.0)
            },
            fact: format!("{}: {}", framework.name, framework.because.1),
        });
        if let Output::Site(directory, fallback) = &framework.output
            && !package
                .script("start")
                .is_some_and(|script| start::runs_own_program(script) && !start::is_development(script))
        {
            site(view, package, directory, *fallback, &mut detection);
            return Some(detection);
        }
    }
    if framework.is_none() && built_page(view, package, &mut detection) {
        return Some(detection);
    }
    start::choose(view, package, manager, framework.as_ref(), &mut detection);
    adapters(view, package, manager, framework.as_ref(), &mut detection);
    port(view, package, framework.as_ref(), &mut detection);
    Some(detection)
}

/// Whether the manifest only holds tools (formatters, linters) beside something else.
fn is_only_tooling(view: &View<'_>, package: &Package) -> bool {
    let runs = package.script("start").is_some()
        || package.script("build").is_some()
        || package.script("dev").is_some();
    let page = [
        "index.html",
        "public/index.html",
        "src/index.html",
        "Staticfile",
        "dist/index.html",
        "docs/index.html",
    ];
    !runs
        && page.iter().any(|file| view.has(file))
        && start::entry(view, package)
            .is_none_or(|(entry, _)| view.text(&entry).is_none_or(|text| !start::is_node_program(text, true)))
}

fn version(view: &View<'_>, package: &Package, detection: &mut Detection) {
    let known = &version::NODE;
    detection.version = package
        .engine("node")
        .and_then(|stated| version::stated_in(view, package.file, stated, known))
        .or_else(|| version::from_file(view, ".nvmrc", known))
        .or_else(|| version::from_file(view, ".node-version", known))
        .or_else(|| version::from_tools(view, &["nodejs", "node"], known))
        .or_else(|| {
            let stated = package.get("volta")?.get("node")?.as_str()?;
            version::stated_in(view, package.file, stated, known)
        });
    if let Some(version) = &detection.version {
        let reason = crate::model::project::Reason {
            file: version.file.clone(),
            fact: format!("asks for Node {}", version.stated),
        };
        detection.because.push(reason);
    }
}

fn build(
    view: &View<'_>,
    package: &Package,
    manager: Manager,
    framework: Option<&Framework>,
    detection: &mut Detection,
) {
    let scripts = ["build", "build:prod", "build:production", "gcp-build", "heroku-postbuild", "compile"];
    if let Some(script) = scripts.into_iter().find(|script| package.script(script).is_some()) {
        detection.build = Some(manager.run(script));
        detection.because.push(view.reason(package.file, format!("scripts.{script} builds it")));
    } else if let Some(build) = framework.and_then(|framework| framework.build) {
        let own_server = package.script("start").is_some_and(start::runs_own_program);
        if !own_server {
            detection.build = Some(format!(
                "{}{build}",
                if matches!(manager, Manager::Berry { .. }) { "yarn " } else { "" }
            ));
            detection
                .because
                .push(view.reason(package.file, format!("no build script; `{build}` is its framework's")));
        }
    }
}

/// Makes it a site: built by Node, served by the agent.
fn site(view: &View<'_>, package: &Package, directory: &str, fallback: bool, detection: &mut Detection) {
    detection.kind = Kind::Static;
    detection.port_hint = None;
    detection.hot_reload = true;
    let staticfile = static_site::Staticfile::read(view);
    let directory = staticfile.root.unwrap_or_else(|| directory.to_owned());
    let fallback = staticfile.fallback.unwrap_or(fallback);
    if let Some(script) =
        package.script("start").filter(|script| start::is_development(script) || start::is_preview(script))
    {
        let script: String = script.chars().filter(|c| !line::hostile(*c)).take(120).collect();
        detection.because.push(view.reason(
            package.file,
            format!(
                "scripts.start is `{script}`, which is no server for visitors: the build is served instead"
            ),
        ));
    }
    detection.start =
        line::path_word(&directory).map(|word| format!("serve {}", static_site::slashed(&word)));
    detection.site = Some(Site { directory, fallback });
}

/// A page with a build script of no framework we know: files, unless something of it is a server.
fn built_page(view: &View<'_>, package: &Package, detection: &mut Detection) -> bool {
    let server = package
        .script("start")
        .is_some_and(|script| !start::is_development(script) && !start::is_preview(script));
    let program = start::entry(view, package)
        .is_some_and(|(entry, _)| view.text(&entry).is_some_and(|text| start::is_node_program(text, true)));
    if server || program {
        return false;
    }
    let served = package.script("start").filter(|script| start::is_preview(script)).and_then(|script| {
        line::words(script)
            .iter()
            .skip(1)
            .filter(|word| !word.starts_with('-'))
            .find_map(|word| line::clean_path(word))
    });
    let candidates = ["dist", "build", "public", "site", "_site", "www", "docs", "out"];
    let existing = candidates.iter().find(|directory| view.has(&format!("{directory}/index.html")));
    let directory = match (served, existing) {
        (Some(served), _) => {
            if served.is_empty() {
                ".".to_owned()
            } else {
                served
            }
        }
        (None, Some(found)) => (*found).to_owned(),
        (None, None) if view.has("index.html") => ".".to_owned(),
        (None, None) => match page_builder(view, package) {
            Some(made) => made.to_owned(),
            None => return false,
        },
    };
    detection.because.push(view.reason("", format!("a page and no server: `{directory}` is served")));
    site(view, package, &directory, false, detection);
    true
}

/// The directory a build script of the project's own writes pages to: named beside them in the files it runs.
fn page_builder(view: &View<'_>, package: &Package) -> Option<&'static str> {
    let script = package.script("build")?;
    let words = line::words(script);
    let texts: Vec<&str> = words.iter().filter_map(|word| view.text(word.trim_start_matches("./"))).collect();
    let names = |directory: &&str| {
        let named = ["'", "\"", "`", "./"].map(|before| format!("{before}{directory}"));
        let ends = |rest: &str| rest.starts_with(['\'', '"', '`', '/']);
        texts
            .iter()
            .any(|text| text.contains(".html") && named.iter().any(|name| text.split(name).skip(1).any(ends)))
    };
    ["dist", "build", "public", "_site", "site", "www", "out"].into_iter().find(|directory| names(directory))
}

/// Whether a member of the workspace has a framework, so that what the root starts answers the web.
fn member_serves(view: &View<'_>, package: &Package) -> bool {
    let members = view.files().into_iter().filter_map(|path| path.strip_suffix("/package.json")).take(50);
    package.is_workspace_root()
        && members.map(|member| view.child(member)).any(|member| {
            Package::read(&member)
                .and_then(Result::ok)
                .is_some_and(|package| framework::find(&member, &package).is_some())
        })
}

/// Frameworks whose server depends on an adapter.
fn adapters(
    view: &View<'_>,
    package: &Package,
    manager: Manager,
    framework: Option<&Framework>,
    detection: &mut Detection,
) {
    match framework.map(|framework| framework.name) {
        Some("sveltekit")
            if !package.depends("@sveltejs/adapter-node")
                && detection.start.as_deref() == Some("node build") =>
        {
            if package
                .depends_on_any(&[
                    "@sveltejs/adapter-vercel",
                    "@sveltejs/adapter-netlify",
                    "@sveltejs/adapter-cloudflare",
                ])
                .is_some()
                && !package.depends("@sveltejs/adapter-auto")
            {
                let (file, message) =
                    ("svelte.config.js", "its adapter builds for another platform, not a server to run here");
                detection.problems.push(view.fatal(
                    file,
                    message,
                    "use @sveltejs/adapter-node or adapter-auto",
                ));
                return;
            }
            // adapter-auto takes adapter-node when it believes to be on a platform that runs containers.
            if let Some(build) = &mut detection.build {
                *build = format!("GCP_BUILDPACKS=1 {build}");
            }
            if let (Manager::Npm, Some(install)) = (manager, &mut detection.install) {
                install.push_str(" && npm install --no-save @sveltejs/adapter-node");
            }
            detection.because.push(view.reason(
                "svelte.config.js",
                "adapter-auto builds no server by itself: it is told to take adapter-node",
            ));
        }
        Some("astro-ssr") if !package.depends("@astrojs/node") && detection.start.is_some() => {
            detection.problems.push(view.warning(
                package.file,
                "its adapter is not @astrojs/node, so the build may hold no server",
                "add @astrojs/node with mode `standalone`",
            ));
        }
        _ => {}
    }
}

/// The likely port, and whether there is one at all.
fn port(view: &View<'_>, package: &Package, framework: Option<&Framework>, detection: &mut Detection) {
    let entry = detection.start.as_deref().and_then(|start| {
        line::words(start)
            .into_iter()
            .rev()
            .find(|word| view.has(word))
            .or_else(|| start::entry(view, package).map(|(entry, _)| entry))
    });
    let own = matches!(framework.map(|framework| &framework.output), None | Some(Output::Server(None)));
    let sources = view.sources(&[".js", ".mjs", ".cjs", ".ts", ".mts", "bin/www"]);
    let texts = entry.as_deref().and_then(|entry| view.text(entry)).into_iter().chain(
        sources
            .iter()
            .filter(|(path, text)| !start::is_test(path) && text.contains("listen"))
            .map(|(_, text)| *text),
    );
    if own && let Some(found) = texts.take(20).find_map(|text| scan::port(&scan::without_comments(text))) {
        detection.port_hint = Some(found);
    }
    let script = package.script("start").unwrap_or_default();
    if framework.is_none()
        && !start::listens(view)
        && !start::looks_like_server(script)
        && !member_serves(view, package)
    {
        detection.serves = Serves::Process;
        detection.port_hint = None;
        detection
            .because
            .push(view.reason("", "nothing in it opens a port: a program that runs and may end"));
    }
}
