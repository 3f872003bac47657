//! Projects that are not at the root of the folder: one level down, or members of a workspace.

use crate::model::project::Alternative;
use crate::model::project::Detection;
use crate::model::project::Kind;
use crate::model::project::Serves;
use crate::model::project::Site;
use crate::project::detect::choose;
use crate::project::detect::is_runnable;
use crate::project::detect::line;
use crate::project::detect::node::Package;
use crate::project::detect::view::View;

/// Names of folders that hold what a browser should see, the likeliest first.
const WEB: [&str; 14] = [
    "web",
    "www",
    "website",
    "site",
    "frontend",
    "front-end",
    "client",
    "app",
    "ui",
    "public",
    "dashboard",
    "server",
    "backend",
    "api",
];

/// Folders that hold members of a workspace.
const GROUPS: [&str; 5] = ["apps", "packages", "services", "projects", "sites"];

/// Folders that never hold the project.
const APART: [&str; 13] = [
    "templates",
    "docs",
    "doc",
    "test",
    "tests",
    "examples",
    "example",
    "scripts",
    "tools",
    "vendor",
    "fixtures",
    "e2e",
    "node_modules",
];

/// A project one level down: the only one, or the one that looks like the web's.
pub(crate) fn detect(view: &View<'_>) -> Option<Detection> {
    let mut found = candidates(view);
    found.retain(|(_, detection)| is_runnable(detection));
    found.sort_by_key(|(directory, detection)| rank(directory, detection));
    let mut found = found.into_iter();
    let (directory, mut chosen) = found.next()?;
    let others: Vec<(String, Detection)> = found.collect();
    if others.is_empty() {
        chosen.because.insert(0, view.reason(&directory, "the only project in the folder is one level down"));
        return Some(chosen);
    }
    let names: Vec<String> =
        others.iter().map(|(directory, other)| format!("`{directory}` ({})", other.kind)).collect();
    chosen
        .because
        .insert(0, view.reason(&directory, "several projects one level down; this one looks like the web's"));
    chosen.problems.push(view.warning(
        &directory,
        format!("several projects in one folder; `{directory}` is run, and not {}", names.join(", ")),
        format!(
            "write `root: {}` in .nexus/config.yaml to choose, or drop each as a folder of its own",
            others[0].0
        ),
    ));
    chosen.alternatives.extend(others.iter().map(|(directory, other)| Alternative {
        kind: other.kind,
        root: other.root.clone(),
        start: other.start.clone(),
        note: format!("write `root: {directory}` in .nexus/config.yaml to choose it"),
    }));
    Some(chosen)
}

/// Projects further down than one level, named when nothing else is found.
pub(crate) fn deeper(view: &View<'_>) -> Vec<Alternative> {
    let nested = view.directories().flat_map(|directory| {
        let child = view.child(directory);
        child.directories().map(|inner| format!("{directory}/{inner}")).collect::<Vec<_>>()
    });
    let found = nested.take(200).filter_map(|directory| {
        let detection = choose(&view.child(&directory), false);
        is_runnable(&detection).then(|| Alternative {
            kind: detection.kind,
            root: detection.root,
            start: detection.start,
            note: format!("write `root: {directory}` in .nexus/config.yaml to choose it"),
        })
    });
    found.take(10).collect()
}

fn candidates(view: &View<'_>) -> Vec<(String, Detection)> {
    let mut found = Vec::new();
    for directory in view.directories().filter(|directory| !APART.contains(directory)).take(100) {
        let child = view.child(directory);
        let detection = choose(&child, false);
        if detection.kind != Kind::Unknown {
            found.push((directory.to_owned(), detection));
        } else if GROUPS.contains(&directory) {
            found.extend(child.directories().take(50).map(|member| {
                let directory = format!("{directory}/{member}");
                let detection = choose(&view.child(&directory), false);
                (directory, detection)
            }));
        }
    }
    found
}

fn rank(directory: &str, detection: &Detection) -> (bool, usize, String) {
    let name = directory.rsplit('/').next().unwrap_or(directory).to_ascii_lowercase();
    let place = WEB.iter().position(|web| *web == name).unwrap_or(WEB.len());
    (detection.serves == Serves::Process, place, directory.to_owned())
}

/// The member of a Node workspace whose root has nothing to start: run from the root, where the lockfile is.
pub(crate) fn member(view: &View<'_>, root: &Detection) -> Option<Detection> {
    let package = Package::read(view)?.ok()?;
    let marks = ["pnpm-workspace.yaml", "turbo.json", "nx.json", "lerna.json"];
    if !package.is_workspace_root() && view.first(&marks).is_none() {
        return None;
    }
    let mut found = candidates(view);
    found.retain(|(directory, detection)| {
        is_runnable(detection) && view.has(&format!("{directory}/package.json"))
    });
    found.sort_by_key(|(directory, detection)| rank(directory, detection));
    let mut found = found.into_iter();
    let (directory, member) = found.next()?;
    let others: Vec<(String, Detection)> = found.collect();
    let manager = root.package_manager.as_deref().unwrap_or("npm");
    let mut chosen = root.clone();
    chosen.kind = member.kind;
    chosen.framework = member.framework.clone();
    chosen.serves = member.serves;
    chosen.port_hint = member.port_hint;
    chosen.problems.retain(|problem| !problem.fatal);
    chosen.because.push(view.reason(&directory, "a workspace; this member looks like the web's"));
    chosen.because.extend(member.because.clone());
    let scripts = Package::read(&view.child(&directory)).and_then(Result::ok);
    let builds = scripts.as_ref().is_some_and(|scripts| scripts.script("build").is_some());
    if chosen.build.is_none() && builds {
        chosen.build = Some(inside(manager, &directory, "build")?);
    }
    match member.site {
        Some(site) => {
            let directory = format!("{directory}/{}", site.directory);
            chosen.start = Some(format!("serve {}/", line::path_word(&directory)?));
            chosen.site = Some(Site { directory, fallback: site.fallback });
        }
        None if scripts.as_ref().is_some_and(|scripts| scripts.script("start").is_some()) => {
            chosen.start = Some(inside(manager, &directory, "start")?);
        }
        None => {
            let start = member.start.clone()?;
            let entry = start.strip_prefix("node ").filter(|entry| !entry.starts_with('-'));
            chosen.start = Some(format!("node {}", line::path_word(&format!("{directory}/{}", entry?))?));
        }
    }
    chosen.alternatives.extend(others.iter().map(|(directory, other)| Alternative {
        kind: other.kind,
        root: directory.clone(),
        start: inside(manager, directory, "start"),
        note: format!("write `root: {directory}` in .nexus/config.yaml to choose it"),
    }));
    Some(chosen)
}

/// The line that runs a member's script from the root.
fn inside(manager: &str, directory: &str, script: &str) -> Option<String> {
    let directory = line::path_word(directory)?;
    Some(match manager {
        "pnpm" => format!("pnpm --dir {directory} run {script}"),
        "yarn" => format!("yarn --cwd {directory} {script}"),
        "bun" => format!("bun run --cwd {directory} {script}"),
        _ => format!("npm run {script} --workspace {directory}"),
    })
}
