//! What starts a Node program: a script that is a server, else the file that is its entry.

use crate::model::project::Detection;
use crate::project::detect::line;
use crate::project::detect::node::framework::Framework;
use crate::project::detect::node::framework::Output;
use crate::project::detect::node::manager::Manager;
use crate::project::detect::node::package::Package;
use crate::project::detect::scan::pattern;
use crate::project::detect::scan::without_comments;
use crate::project::detect::view::View;

/// Commands that serve to the developer who typed them: program, first arguments (`""` is none at all).
const DEVELOPMENT: [(&str, &[&str]); 33] = [
    ("vite", &["", "dev", "serve", "--"]),
    ("astro", &["", "dev", "start"]),
    ("ng", &["serve", "s", "start", "dev"]),
    ("react-scripts", &["start"]),
    ("react-app-rewired", &["start"]),
    ("craco", &["start"]),
    ("vue-cli-service", &["serve"]),
    ("eleventy", &["--serve", "--watch"]),
    ("@11ty/eleventy", &["--serve", "--watch"]),
    ("gatsby", &["develop"]),
    ("docusaurus", &["start"]),
    ("next", &["", "dev"]),
    ("nuxt", &["", "dev"]),
    ("nuxi", &["dev"]),
    ("remix", &["dev", "vite:dev"]),
    ("react-router", &["dev"]),
    ("vitepress", &["", "dev"]),
    ("vuepress", &["dev"]),
    ("parcel", &["", "serve", "watch", "--"]),
    ("webpack", &["serve", "watch", "--watch"]),
    ("webpack-dev-server", &["", "--"]),
    ("rollup", &["-w", "--watch"]),
    ("expo", &["start"]),
    ("ember", &["serve", "server", "s"]),
    ("stencil", &["build"]),
    ("umi", &["dev"]),
    ("max", &["dev"]),
    ("hexo", &["server", "serve"]),
    ("brunch", &["watch"]),
    ("snowpack", &["dev"]),
    ("vinxi", &["dev"]),
    ("nitro", &["dev"]),
    ("strapi", &["develop", "dev"]),
];

/// Words before the program of a command that only prepare its environment.
const WRAPPERS: [&str; 7] = ["npx", "cross-env", "env", "dotenv", "bunx", "--yes", "--"];

/// Entry files tried when nothing names one, in the order people use them.
const STEMS: [&str; 14] = [
    "index",
    "server",
    "app",
    "main",
    "web",
    "start",
    "src/index",
    "src/server",
    "src/app",
    "src/main",
    "server/index",
    "server/server",
    "server/app",
    "lib/index",
];
const ENDINGS: [&str; 6] = ["js", "mjs", "cjs", "ts", "mts", "cts"];

pattern!(
    LISTENS,
    r"\.listen\s*\(|createServer\s*\(|\b(?:serve|serveHTTP|startServer|startStandaloneServer)\s*\(|Bun\.serve|Deno\.serve"
);
pattern!(EXPORTS_APP, r"(?m)^\s*(?:export\s+default\s+|module\.exports\s*=\s*|exports\.)\w*");
pattern!(BROWSER, r"\bdocument\.|\bwindow\.");
pattern!(NODE_ONLY, r#"\brequire\s*\(|\bprocess\.|^\s*import\s.*['"]node:|__dirname|console\.log"#);

/// The program and arguments of each command of a script, wrappers left out.
fn programs(script: &str) -> Vec<Vec<String>> {
    let unwrapped = |words: Vec<String>| {
        let skip = |word: &String| {
            WRAPPERS.contains(&word.as_str()) || (word.contains('=') && !word.starts_with('-'))
        };
        words.into_iter().skip_while(skip).collect::<Vec<_>>()
    };
    script
        .split(['&', '|', ';'])
        .map(line::command)
        .map(unwrapped)
        .filter(|words| !words.is_empty())
        .collect()
}

/// Whether a script starts a development server: bound to localhost, compiling as it goes.
pub(crate) fn is_development(script: &str) -> bool {
    programs(script).iter().any(|words| {
        let program = words[0].rsplit("/.bin/").next().unwrap_or_default();
        let first = words.get(1).map(String::as_str).unwrap_or_default();
        DEVELOPMENT.iter().any(|(name, starts)| {
            *name == program
                && (starts.contains(&first)
                    || (starts.contains(&"") && first.starts_with('-'))
                    || words.iter().skip(1).any(|word| word == "--serve" || word == "--watch"))
        })
    })
}

/// Whether a start line ends up in a development server, by itself or through a script of the manifest.
pub(crate) fn starts_development(view: &View<'_>, line: &str) -> bool {
    let package = Package::read(view).and_then(Result::ok);
    let script = programs(line).last().and_then(|words| match &words[..] {
        [manager, run, name, ..] if run == "run" && is_manager(manager) => Some(name.clone()),
        [manager, name, ..] if is_manager(manager) => Some(name.clone()),
        _ => None,
    });
    let named = script.zip(package).and_then(|(name, package)| package.script(&name).map(is_development));
    named.unwrap_or_else(|| is_development(line))
}

fn is_manager(program: &str) -> bool {
    ["npm", "yarn", "pnpm", "bun"].contains(&program)
}

/// Whether a script starts a tool as a server: `sanity start`, `mastra serve`.
pub(crate) fn looks_like_server(script: &str) -> bool {
    programs(script).last().is_some_and(|words| {
        !is_manager(&words[0])
            && words.get(1).is_some_and(|word| ["start", "serve", "server"].contains(&word.as_str()))
    })
}

/// Whether a script only shows what a build made, or serves a folder: the agent does that better.
pub(crate) fn is_preview(script: &str) -> bool {
    programs(script).last().is_some_and(|words| {
        let tools = ["serve", "http-server", "sirv", "live-server", "lite-server", "superstatic", "servor"];
        tools.contains(&words[0].as_str()) || words.get(1).is_some_and(|word| word == "preview")
    })
}

/// Whether a script runs a program of the project itself: `node server.js`.
pub(crate) fn runs_own_program(script: &str) -> bool {
    let runners = [
        "node",
        "tsx",
        "ts-node",
        "ts-node-esm",
        "bun",
        "nodemon",
        "pm2",
        "pm2-runtime",
        "babel-node",
        "esno",
        "deno",
    ];
    programs(script).iter().any(|words| runners.contains(&words[0].as_str()) && words.len() > 1)
}

/// The line for a start script: `node file.js` itself when that is all it says, so that no package manager stays in
/// between and signals arrive; else through the manager.
fn script_line(package: &Package, manager: Manager, name: &str, script: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '_' | '-' | '.' | '/' | '=' | ':');
    let hooks =
        package.script(&format!("pre{name}")).is_some() || package.script(&format!("post{name}")).is_some();
    let direct = script.starts_with("node ") && script.chars().all(plain) && !hooks;
    let linked = !matches!(manager, Manager::Berry { plug_and_play: true });
    if direct && linked { script.to_owned() } else { manager.run(name) }
}

/// Fills in the start line. Returns nothing: a project without one gets a problem that says what was looked for.
pub(crate) fn choose(
    view: &View<'_>,
    package: &Package,
    manager: Manager,
    framework: Option<&Framework>,
    detection: &mut Detection,
) {
    let made = framework.and_then(|framework| match &framework.output {
        Output::Server(start) => start.clone(),
        Output::Site(..) => None,
    });
    if let Some((name, script)) = server_script(package, made.is_some()) {
        let shown = shown(script);
        detection.start = Some(script_line(package, manager, name, script));
        detection.because.push(view.reason(package.file, format!("scripts.{name} is `{shown}`")));
        return check_files(view, package, script, detection);
    }
    if let Some(start) = made {
        let start_script = package.script("start");
        let fact = start_script.map_or_else(
            || "no start script; its framework is started by this".to_owned(),
            |script| {
                format!(
                    "scripts.start is `{}`, a development server; its build is served instead",
                    shown(script)
                )
            },
        );
        detection.because.push(view.reason(package.file, fact));
        detection.start = Some(start);
        return;
    }
    if let Some((entry, fact)) = entry(view, package) {
        return start_entry(view, package, manager, &entry, &fact, detection);
    }
    let workspace = package.is_workspace_root() || view.has("pnpm-workspace.yaml");
    if !workspace
        && let Some((name, script)) =
            package.scripts().find(|(name, _)| ["dev", "develop", "serve", "start:dev"].contains(name))
    {
        detection.start = Some(manager.run(if name == "dev" { "dev" } else { fixed(name) }));
        let fact = format!("no start script; scripts.{name} is `{}`", shown(script));
        return detection.because.push(view.reason(package.file, fact));
    }
    missing(view, package, detection);
}

fn fixed(name: &str) -> &'static str {
    match name {
        "develop" => "develop",
        "serve" => "serve",
        _ => "start:dev",
    }
}

/// The script that starts what should run for good.
fn server_script(package: &Package, framework_starts: bool) -> Option<(&'static str, &str)> {
    let production = ["start:prod", "start:production", "start-prod", "prod", "production", "serve:prod"];
    let of = |name: &'static str| package.script(name).map(|script| (name, script));
    let start = of("start").filter(|(_, script)| !runs_members(script));
    let compiles = start.is_none_or(|(_, script)| {
        is_development(script)
            || programs(script).iter().any(|words| words[0] == "nest" || words.concat().contains("watch"))
    });
    if compiles && let Some(found) = production.into_iter().find_map(of) {
        return Some(found);
    }
    start
        .filter(|(_, script)| {
            let unfit = is_development(script) || (framework_starts && is_preview(script));
            !unfit && !programs(script).iter().any(|words| words[0] == "nest")
        })
        .or_else(|| {
            start.filter(|(_, script)| {
                !framework_starts
                    && programs(script).iter().any(|words| words[0] == "nest")
                    && package.script("build").is_none()
            })
        })
}

/// Whether a script only starts the scripts of a workspace's members.
fn runs_members(script: &str) -> bool {
    programs(script).iter().any(|words| ["turbo", "lerna", "nx", "moon", "rush"].contains(&words[0].as_str()))
}

/// A script as it is quoted in a reason: one line, not too long.
fn shown(script: &str) -> String {
    let clean: String = script.chars().filter(|c| !line::hostile(*c)).take(120).collect();
    clean.replace('`', "'")
}

/// The file a `node FILE` script runs must be there, unless a build makes it.
fn check_files(view: &View<'_>, package: &Package, script: &str, detection: &mut Detection) {
    let built = detection.build.is_some();
    for words in programs(script).iter().filter(|words| words[0] == "node") {
        let Some(file) = words[1..].iter().find(|word| !word.starts_with('-')) else { continue };
        let Some(path) = line::clean_path(file).filter(|path| !path.is_empty()) else { continue };
        if !built && resolve(view, &path).is_none() && !path.starts_with("node_modules") {
            let hint = "correct scripts.start, or add a build script that makes the file";
            let message = format!("scripts.start runs `{}`, which does not exist", shown(file));
            detection.problems.push(view.warning(package.file, message, hint));
        }
    }
}

/// A module path as Node finds it: the file, with an ending, or an index in the folder.
fn resolve(view: &View<'_>, path: &str) -> Option<String> {
    let with_endings = ENDINGS.iter().map(|ending| format!("{path}.{ending}"));
    let indexes = ENDINGS.iter().map(|ending| format!("{path}/index.{ending}"));
    std::iter::once(path.to_owned()).chain(with_endings).chain(indexes).find(|path| view.has(path))
}

/// The file that is the program, and why it is thought so.
pub(crate) fn entry(view: &View<'_>, package: &Package) -> Option<(String, String)> {
    if let Some(main) = package.text("main").and_then(line::clean_path).filter(|main| !main.is_empty()) {
        if let Some(found) = resolve(view, &main) {
            return Some((found, "main names it".to_owned()));
        }
        let built = package.script("build").is_some()
            && ["dist/", "build/", "lib/", "out/"].iter().any(|out| main.starts_with(out));
        if built {
            return Some((main, "main names it; the build makes it".to_owned()));
        }
    }
    let module = package.text("module").and_then(line::clean_path).and_then(|module| resolve(view, &module));
    if let Some(found) = module {
        return Some((found, "module names it".to_owned()));
    }
    let found = STEMS
        .iter()
        .flat_map(|stem| ENDINGS.iter().map(move |ending| format!("{stem}.{ending}")))
        .chain(["bin/www".to_owned(), "bin/server.js".to_owned(), "bin/server".to_owned()])
        .find(|file| view.has(file) && !is_browser_code(view, file))?;
    Some((found, "the usual entry file".to_owned()))
}

fn is_browser_code(view: &View<'_>, file: &str) -> bool {
    view.text(file)
        .is_some_and(|text| BROWSER.is_match(text) && !LISTENS.is_match(text) && !text.contains("process."))
}

/// Whether a file without a manifest is a program for Node.
pub(crate) fn is_node_program(text: &str, strict: bool) -> bool {
    let text = without_comments(text);
    let serves = LISTENS.is_match(&text) && NODE_ONLY.is_match(&text);
    serves || (!strict && NODE_ONLY.is_match(&text) && !BROWSER.is_match(&text))
}

fn start_entry(
    view: &View<'_>,
    package: &Package,
    manager: Manager,
    entry: &str,
    fact: &str,
    detection: &mut Detection,
) {
    let Some(word) = line::path_word(entry) else { return missing(view, package, detection) };
    detection.because.push(view.reason(entry, format!("no start script; {fact}")));
    if exports_only(view, package, entry) {
        detection.problems.push(view.fatal(
            entry,
            format!(
                "exports its app and nothing listens on a port: `{}` only works where a platform imports it",
                shown(entry)
            ),
            "call `app.listen(process.env.PORT || 3000)` and add a `start` script",
        ));
        return;
    }
    let typed = [".ts", ".mts", ".cts"].iter().any(|ending| entry.ends_with(ending));
    if !typed || manager == Manager::Bun {
        let runtime = if manager == Manager::Bun { "bun" } else { "node" };
        let runtime =
            if matches!(manager, Manager::Berry { plug_and_play: true }) { "yarn node" } else { runtime };
        detection.start = Some(format!("{runtime} {word}"));
        return;
    }
    let Some(runner) = package.depends_on_any(&["tsx", "ts-node", "esno"]) else {
        detection
            .because
            .push(view.reason(entry, "TypeScript and no build script: run with tsx, which is fetched"));
        if manager == Manager::Npm
            && let Some(install) = &mut detection.install
        {
            install.push_str(" && npm install --no-save tsx");
            detection.start = Some(format!("tsx {word}"));
        } else {
            detection.start = Some(format!("{} {word}", manager.execute("tsx")));
        }
        return;
    };
    detection.start = Some(format!("{runner} {word}"));
}

/// Whether the entry hands its app to a platform instead of listening.
fn exports_only(view: &View<'_>, package: &Package, entry: &str) -> bool {
    const WEB: [&str; 6] = ["express", "koa", "fastify", "hono", "h3", "@hapi/hapi"];
    let Some(text) = view.text(entry) else { return false };
    let text = without_comments(text);
    package.depends_on_any(&WEB).is_some() && EXPORTS_APP.is_match(&text) && !listens(view)
}

/// Whether any source of the project opens a port.
pub(crate) fn listens(view: &View<'_>) -> bool {
    let sources = view.sources(&[".js", ".mjs", ".cjs", ".ts", ".mts", ".cts", "bin/www"]);
    sources.iter().any(|(path, text)| !is_test(path) && LISTENS.is_match(&without_comments(text)))
}

/// Whether a path belongs to tests rather than to the program.
pub(crate) fn is_test(path: &str) -> bool {
    path.split('/').any(|part| ["test", "tests", "__tests__", "spec", "e2e", "cypress"].contains(&part))
        || path.contains(".test.")
        || path.contains(".spec.")
}

fn missing(view: &View<'_>, package: &Package, detection: &mut Detection) {
    let main = package.text("main").map(shown);
    let message = main.map_or_else(
        || "no start script, no main and no entry file such as index.js or server.js".to_owned(),
        |main| format!("no start script, and main names `{main}`, which does not exist"),
    );
    let hint = "add `\"start\": \"node FILE\"` to scripts in package.json, or `start:` to .nexus/config.yaml";
    detection.problems.push(view.fatal(package.file, message, hint));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_development_server_is_known_through_the_script_that_starts_it() {
        let manifest = r#"{"scripts": {"dev": "cross-env A=b vite --port 1", "start": "node server.js"}}"#;
        let listing = crate::project::listing::Listing::of_files([("package.json", manifest)]);
        let view = View::new(&listing, "");
        for line in ["npm run dev", "yarn dev", "npx vite", "vite --host", "next dev", "cd web && vite"] {
            assert!(starts_development(&view, line), "{line}");
        }
        for line in
            ["npm start", "npm run start", "node server.js", "next start", "vite preview", "npm run nothing"]
        {
            assert!(!starts_development(&view, line), "{line}");
        }
    }
}
