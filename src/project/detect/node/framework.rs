//! The frameworks of the Node world: what gives each away, what it builds, and which of its commands are no servers.

use crate::project::detect::line;
use crate::project::detect::node::package::Package;
use crate::project::detect::parse;
use crate::project::detect::scan::pattern;
use crate::project::detect::scan::without_comments;
use crate::project::detect::view::View;

/// What a framework makes of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Framework {
    /// The word shown.
    pub(crate) name: &'static str,
    /// What comes out of it.
    pub(crate) output: Output,
    /// The command that builds when the manifest has no build script.
    pub(crate) build: Option<&'static str>,
    /// The port its server takes when `PORT` is not honoured.
    pub(crate) port: Option<u16>,
    /// The file and fact that decided.
    pub(crate) because: (String, String),
}

/// What runs after the build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output {
    /// Files: the directory, and whether unknown paths answer its index.
    Site(String, bool),
    /// A server of the framework, and the command that starts it when no script does.
    Server(Option<String>),
}

/// Frameworks that always build a site: name, dependencies that give it away, output, fallback, build command.
const SITES: [(&str, &[&str], &str, bool, &str); 16] = [
    ("gatsby", &["gatsby"], "public", false, "gatsby build"),
    ("docusaurus", &["@docusaurus/core"], "build", false, "docusaurus build"),
    ("vuepress", &["vuepress"], ".vuepress/dist", false, "vuepress build"),
    ("vitepress", &["vitepress"], ".vitepress/dist", false, "vitepress build"),
    ("eleventy", &["@11ty/eleventy"], "_site", false, "eleventy"),
    ("hexo", &["hexo"], "public", false, "hexo generate"),
    ("create-react-app", &["react-scripts"], "build", true, "react-scripts build"),
    ("vue-cli", &["@vue/cli-service"], "dist", true, "vue-cli-service build"),
    ("preact-cli", &["preact-cli"], "build", true, "preact build"),
    ("ember", &["ember-cli"], "dist", true, "ember build --environment=production"),
    ("stencil", &["@stencil/core"], "www", true, "stencil build"),
    ("umi", &["umi", "@umijs/max"], "dist", true, "umi build"),
    ("polymer", &["polymer-cli"], "build/default", true, "polymer build"),
    ("brunch", &["brunch"], "public", true, "brunch build --production"),
    ("snowpack", &["snowpack"], "build", true, "snowpack build"),
    ("expo", &["expo"], "dist", true, "expo export -p web"),
];

/// Libraries a server is written with: name, dependency, default port.
const SERVERS: [(&str, &str, u16); 22] = [
    ("nest", "@nestjs/core", 3000),
    ("adonis", "@adonisjs/core", 3333),
    ("strapi", "@strapi/strapi", 1337),
    ("keystone", "@keystone-6/core", 3000),
    ("directus", "directus", 8055),
    ("redwood", "@redwoodjs/core", 8910),
    ("sapper", "sapper", 3000),
    ("loopback", "@loopback/rest", 3000),
    ("fastify", "fastify", 3000),
    ("koa", "koa", 3000),
    ("hapi", "@hapi/hapi", 3000),
    ("hono", "hono", 3000),
    ("elysia", "elysia", 3000),
    ("h3", "h3", 3000),
    ("restify", "restify", 8080),
    ("polka", "polka", 3000),
    ("feathers", "@feathersjs/feathers", 3030),
    ("functions-framework", "@google-cloud/functions-framework", 8080),
    ("json-server", "json-server", 3000),
    ("apollo", "@apollo/server", 4000),
    ("socket.io", "socket.io", 3000),
    ("express", "express", 3000),
];

pattern!(NEXT_EXPORT, r#"\boutput\s*:\s*['"`]export['"`]"#);
pattern!(DIST_DIR, r#"\bdistDir\s*:\s*['"`]([\w./-]+)['"`]"#);
pattern!(OUT_DIR, r#"\b(?:outDir|outputDir|outputPath|output_dir)\s*:\s*['"`]([\w./-]+)['"`]"#);
pattern!(ASTRO_SERVER, r#"\boutput\s*:\s*['"`](?:server|hybrid)['"`]|\badapter\s*:"#);
pattern!(NO_SSR, r"\bssr\s*:\s*false");
pattern!(
    ELEVENTY_OUTPUT,
    r#"\boutput\s*:\s*['"`]([\w./-]+)['"`]|setOutputDirectory\(\s*['"`]([\w./-]+)['"`]"#
);
pattern!(OUT_FLAG, r"--(?:outDir|out-dir|output|dest|dist-dir)[ =]([\w./-]+)");
pattern!(CONFIG_PORT, r"\bport\s*:\s*(\d{2,5})");

/// The framework of a project, if it has one.
pub(crate) fn find(view: &View<'_>, package: &Package) -> Option<Framework> {
    next(view, package)
        .or_else(|| nuxt(view, package))
        .or_else(|| astro(view, package))
        .or_else(|| sveltekit(view, package))
        .or_else(|| react_router(view, package))
        .or_else(|| nitro(view, package))
        .or_else(|| angular(view, package))
        .or_else(|| site(view, package))
        .or_else(|| server(view, package))
        .or_else(|| bundler(view, package))
}

fn framework(name: &'static str, output: Output, build: &'static str, file: &str, fact: &str) -> Framework {
    let build = Some(build).filter(|build| !build.is_empty());
    Framework { name, output, build, port: None, because: (file.to_owned(), fact.to_owned()) }
}

/// The first configuration file of a tool with its text, comments removed.
fn config(view: &View<'_>, stem: &str) -> (String, String) {
    let endings = ["ts", "mts", "js", "mjs", "cjs", "cts"];
    let found = endings.iter().find_map(|ending| {
        let file = format!("{stem}.{ending}");
        view.text(&file).map(|text| (file, without_comments(text)))
    });
    found.unwrap_or_default()
}

fn captured(pattern: &regex::Regex, text: &str) -> Option<String> {
    let found = pattern.captures(text)?;
    let path = found.iter().skip(1).flatten().next()?.as_str();
    line::clean_path(path).filter(|path| !path.is_empty())
}

fn port_in(text: &str) -> Option<u16> {
    CONFIG_PORT.captures(text)?.get(1)?.as_str().parse().ok()
}

fn next(view: &View<'_>, package: &Package) -> Option<Framework> {
    if !package.depends("next") {
        return None;
    }
    let (file, text) = config(view, "next.config");
    if NEXT_EXPORT.is_match(&text) {
        let directory = captured(&DIST_DIR, &text).unwrap_or_else(|| "out".to_owned());
        let output = Output::Site(directory, false);
        return Some(framework(
            "next-export",
            output,
            "next build",
            &file,
            "output: export makes files, not a server",
        ));
    }
    if package.script("build").is_some_and(|build| build.contains("next export")) {
        let output = Output::Site("out".to_owned(), false);
        return Some(framework("next-export", output, "", "package.json", "the build script exports files"));
    }
    let output = Output::Server(Some("next start".to_owned()));
    let mut found = framework("next", output, "next build", package.file, "depends on next");
    found.port = Some(3000);
    Some(found)
}

fn nuxt(view: &View<'_>, package: &Package) -> Option<Framework> {
    package.depends_on_any(&["nuxt", "nuxt3", "nuxt-nightly"])?;
    let generates = |name: &str| {
        package
            .script(name)
            .is_some_and(|script| script.contains("nuxt generate") || script.contains("nuxi generate"))
    };
    if generates("build") {
        let output = Output::Site(".output/public".to_owned(), false);
        return Some(framework("nuxt", output, "", "package.json", "the build script is `nuxt generate`"));
    }
    let (_, text) = config(view, "nuxt.config");
    let static_preset = text.contains("preset: 'static'") || text.contains("preset: \"static\"");
    if static_preset {
        let output = Output::Site(".output/public".to_owned(), false);
        return Some(framework("nuxt", output, "nuxt build", "nuxt.config.ts", "nitro preset static"));
    }
    let output = Output::Server(Some("node .output/server/index.mjs".to_owned()));
    let mut found = framework("nuxt", output, "nuxt build", package.file, "depends on nuxt");
    found.port = Some(3000);
    Some(found)
}

fn astro(view: &View<'_>, package: &Package) -> Option<Framework> {
    if !package.depends("astro") {
        return None;
    }
    let (file, text) = config(view, "astro.config");
    let directory = captured(&OUT_DIR, &text).unwrap_or_else(|| "dist".to_owned());
    if ASTRO_SERVER.is_match(&text) {
        let start = format!("node {}/server/entry.mjs", line::path_word(&directory)?);
        let output = Output::Server(Some(start));
        let mut found = framework(
            "astro-ssr",
            output,
            "astro build",
            &file,
            "a server adapter: pages are rendered on request",
        );
        found.port = Some(port_in(&text).unwrap_or(4321));
        return Some(found);
    }
    let file = if file.is_empty() { package.file.to_owned() } else { file };
    Some(framework(
        "astro",
        Output::Site(directory, false),
        "astro build",
        &file,
        "no server adapter: astro builds files",
    ))
}

fn sveltekit(view: &View<'_>, package: &Package) -> Option<Framework> {
    if !package.depends("@sveltejs/kit") {
        return None;
    }
    let (file, text) = config(view, "svelte.config");
    if package.depends("@sveltejs/adapter-static") && (text.is_empty() || text.contains("adapter-static")) {
        let spa = text.contains("fallback");
        let output = Output::Site("build".to_owned(), spa);
        return Some(framework("sveltekit", output, "vite build", &file, "adapter-static builds files"));
    }
    let output = Output::Server(Some("node build".to_owned()));
    let mut found = framework("sveltekit", output, "vite build", package.file, "depends on @sveltejs/kit");
    found.port = Some(3000);
    Some(found)
}

fn react_router(view: &View<'_>, package: &Package) -> Option<Framework> {
    let (name, stem) = match package.depends_on_any(&["@react-router/dev", "@remix-run/dev"])? {
        "@react-router/dev" => ("react-router", "react-router.config"),
        _ => ("remix", "vite.config"),
    };
    let (file, text) = config(view, stem);
    if NO_SSR.is_match(&text) {
        let output = Output::Site("build/client".to_owned(), true);
        let name = if name == "remix" { "remix-spa" } else { "react-router-spa" };
        let build = if name == "remix-spa" { "remix vite:build" } else { "react-router build" };
        return Some(framework(name, output, build, &file, "ssr: false builds files, not a server"));
    }
    let (build, start) = match (name, view.has("vite.config.ts") || view.has("vite.config.js")) {
        ("react-router", _) => ("react-router build", "react-router-serve ./build/server/index.js"),
        (_, true) => ("remix vite:build", "remix-serve ./build/server/index.js"),
        (_, false) => ("remix build", "remix-serve build"),
    };
    let output = Output::Server(Some(start.to_owned()));
    let mut found = framework(name, output, build, package.file, "depends on its framework");
    found.port = Some(3000);
    Some(found)
}

/// What is built on Nitro: a server in `.output`.
fn nitro(_: &View<'_>, package: &Package) -> Option<Framework> {
    let (name, build) = match package.depends_on_any(&[
        "@tanstack/react-start",
        "@tanstack/solid-start",
        "@tanstack/start",
        "@solidjs/start",
        "nitropack",
        "nitro",
        "vinxi",
    ])? {
        "@tanstack/react-start" | "@tanstack/solid-start" => ("tanstack-start", "vite build"),
        "@tanstack/start" => ("tanstack-start", "vinxi build"),
        "@solidjs/start" | "vinxi" => ("solid-start", "vinxi build"),
        _ => ("nitro", "nitro build"),
    };
    let output = Output::Server(Some("node .output/server/index.mjs".to_owned()));
    let mut found = framework(name, output, build, package.file, "depends on its framework");
    found.port = Some(3000);
    Some(found)
}

fn angular(view: &View<'_>, package: &Package) -> Option<Framework> {
    if !package.depends("@angular/core") || !view.has("angular.json") {
        return None;
    }
    let workspace = parse::json5(view, "angular.json")?.ok()?;
    let projects = workspace.get("projects")?.as_object()?;
    let default = workspace.get("defaultProject").and_then(|name| name.as_str());
    let application = |project: &serde_json::Value| {
        project.get("projectType").and_then(|kind| kind.as_str()) != Some("library")
    };
    let (name, project) = default
        .and_then(|name| projects.get_key_value(name))
        .or_else(|| projects.iter().find(|(_, project)| application(project)))?;
    let build = project.get("architect").or(project.get("targets"))?.get("build")?;
    let builder = build.get("builder").and_then(|builder| builder.as_str()).unwrap_or_default();
    let options = build.get("options");
    let path = options.and_then(|options| options.get("outputPath"));
    let (base, browser) = match path {
        Some(serde_json::Value::String(path)) => (path.clone(), None),
        Some(path) => (
            path.get("base")
                .and_then(|base| base.as_str())
                .map_or_else(|| format!("dist/{name}"), str::to_owned),
            path.get("browser").and_then(|browser| browser.as_str()),
        ),
        None => (format!("dist/{name}"), None),
    };
    let base = line::clean_path(&base)?;
    // The application builder puts what a browser loads into a folder of its own.
    let split = builder.ends_with(":application");
    let server =
        options.is_some_and(|options| options.get("ssr").is_some_and(|ssr| ssr.is_object() || ssr == true));
    if split && server {
        let start = format!("node {}", line::path_word(&format!("{base}/server/server.mjs"))?);
        let mut found =
            framework("angular-ssr", Output::Server(Some(start)), "ng build", "angular.json", "ssr is on");
        found.port = Some(4000);
        return Some(found);
    }
    let directory = match (split, browser) {
        (_, Some(browser)) => format!("{base}/{browser}"),
        (true, None) => format!("{base}/browser"),
        (false, None) => base,
    };
    let directory = line::clean_path(&directory)?;
    Some(framework(
        "angular",
        Output::Site(directory, true),
        "ng build",
        "angular.json",
        "outputPath of the build",
    ))
}

fn site(view: &View<'_>, package: &Package) -> Option<Framework> {
    let (name, _, directory, fallback, build) =
        SITES.into_iter().find(|(_, names, ..)| package.depends_on_any(names).is_some())?;
    // A dependency of a server (docs beside it) does not make the whole project a site.
    if name == "expo" && !package.depends("react-dom") && !package.depends("react-native-web") {
        return None;
    }
    if ["vitepress", "vuepress"].contains(&name)
        && package.script("build").is_some_and(|build| !build.contains(name))
    {
        return None;
    }
    let script = package.script("build").unwrap_or_default();
    let directory = captured(&OUT_FLAG, script)
        .or_else(|| configured(view, package, name))
        .unwrap_or_else(|| directory.to_owned());
    let because = format!("depends on {name}");
    Some(framework(name, Output::Site(directory, fallback), build, package.file, &because))
}

/// The output directory a site generator's own settings name.
fn configured(view: &View<'_>, package: &Package, name: &str) -> Option<String> {
    match name {
        "eleventy" => {
            let names = [
                ".eleventy.js",
                "eleventy.config.js",
                "eleventy.config.mjs",
                "eleventy.config.cjs",
                ".eleventy.cjs",
            ];
            let (_, text) = view.first_text(&names)?;
            captured(&ELEVENTY_OUTPUT, &without_comments(text))
        }
        "vitepress" | "vuepress" => {
            let folder = format!(".{name}");
            let scripts: Vec<&str> = package.scripts().map(|(_, script)| script).collect();
            let named = scripts.iter().find_map(|script| {
                let rest = script.split_once(&format!("{name} build"))?.1.trim_start();
                line::clean_path(rest.split_whitespace().next().filter(|word| !word.starts_with('-'))?)
            });
            let found = view.directories().find(|directory| view.has_dir(&format!("{directory}/{folder}")));
            let parent = named.or_else(|| found.map(str::to_owned)).filter(|parent| !parent.is_empty());
            Some(parent.map_or(format!("{folder}/dist"), |parent| format!("{parent}/{folder}/dist")))
        }
        "vue-cli" => captured(&OUT_DIR, &config(view, "vue.config").1),
        _ => None,
    }
}

fn server(view: &View<'_>, package: &Package) -> Option<Framework> {
    let found = SERVERS.into_iter().find(|(_, dependency, _)| package.depends(dependency))?;
    let (mut name, dependency, port) = found;
    // A mock server or a dev dependency beside a bundled front end is not what serves it.
    let front = bundler(view, package).is_some();
    let only_dev = package.list("devDependencies").any(|(listed, _)| listed == dependency)
        && !package.list("dependencies").any(|(listed, _)| listed == dependency);
    if front && (only_dev || !starts_own_server(package)) {
        return None;
    }
    if package.is_workspace_root() && name == "express" {
        name = "express";
    }
    let output = Output::Server(None);
    let mut found = framework(name, output, "", package.file, &format!("depends on {dependency}"));
    found.port = Some(port);
    Some(found)
}

/// Whether the start script runs a program of the project rather than a bundler's server.
fn starts_own_server(package: &Package) -> bool {
    package.script("start").is_some_and(|script| {
        line::commands(script).iter().any(|words| {
            let program = words.first().map(String::as_str).unwrap_or_default();
            ["node", "tsx", "ts-node", "bun", "nodemon", "pm2", "cross-env"].contains(&program)
        })
    })
}

fn bundler(view: &View<'_>, package: &Package) -> Option<Framework> {
    let script = package.script("build").unwrap_or_default();
    let flag = || captured(&OUT_FLAG, script);
    if package.depends("vite") || package.depends("rolldown-vite") {
        let (file, text) = config(view, "vite.config");
        let root = view.has("index.html") || view.text("package.json").is_none();
        if !root
            && package.depends_on_any(&["express", "fastify", "koa", "hono"]).is_some()
            && starts_own_server(package)
        {
            return None;
        }
        let directory = flag().or_else(|| captured(&OUT_DIR, &text)).unwrap_or_else(|| "dist".to_owned());
        let file = if file.is_empty() { package.file.to_owned() } else { file };
        let name = vite_flavour(package);
        return Some(framework(
            name,
            Output::Site(directory, true),
            "vite build",
            &file,
            "vite builds files",
        ));
    }
    if package.depends("parcel") || package.depends("parcel-bundler") {
        let directory = flag().unwrap_or_else(|| "dist".to_owned());
        return Some(framework(
            "parcel",
            Output::Site(directory, true),
            "",
            package.file,
            "parcel builds files",
        ));
    }
    if package.depends("webpack") && script.contains("webpack") {
        let (file, text) = config(view, "webpack.config");
        pattern!(WEBPACK_PATH, r#"\bpath\s*:\s*[^,\n]*?['"`]([\w./-]+)['"`]\s*\)"#);
        let directory =
            flag().or_else(|| captured(&WEBPACK_PATH, &text)).unwrap_or_else(|| "dist".to_owned());
        let file = if file.is_empty() { package.file.to_owned() } else { file };
        return Some(framework("webpack", Output::Site(directory, true), "", &file, "webpack builds files"));
    }
    None
}

fn vite_flavour(package: &Package) -> &'static str {
    let flavours = [
        ("svelte", "vite-svelte"),
        ("solid-js", "vite-solid"),
        ("preact", "vite-preact"),
        ("react", "vite-react"),
        ("vue", "vite-vue"),
        ("lit", "vite-lit"),
    ];
    flavours.into_iter().find(|(name, _)| package.depends(name)).map_or("vite", |(_, flavour)| flavour)
}
