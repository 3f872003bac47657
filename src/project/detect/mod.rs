//! What a project is, decided from its listing alone. Pure; project code is never run.
//!
//! The first match wins: a compose file with a web service, a Dockerfile, then PHP, Ruby, Go, Python, Node, static
//! files, a project one level down; a Procfile names the start line of what is found, and beats a Dockerfile. What the
//! user states in `.nexus/config.yaml` beats every choice. Each choice says the file and the fact behind it, and what
//! else the project could be.

mod container;
mod go;
mod line;
mod nested;
mod node;
mod parse;
mod php;
mod procfile;
mod python;
mod ruby;
mod scan;
mod static_site;
mod unknown;
mod version;
mod view;

use crate::model::project::Alternative;
use crate::model::project::Detection;
use crate::model::project::Kind;
use crate::model::project::Overrides;
use crate::model::project::Serves;
use crate::project::listing::Listing;

use container::Composed;
use procfile::Procfile;
use view::View;

pub(crate) use line::clean_path;
pub(crate) use parse::yaml_text;
pub(crate) use scan::pattern;

/// Decides what a project is and how it is installed, built and started.
///
/// Always answers: a project nobody knows how to run is [`Kind::Unknown`] with what to do next. No command in the answer
/// holds a control character, whatever the manifests say.
pub fn detect(listing: &Listing, overrides: &Overrides) -> Detection {
    let stated = overrides.root.as_deref().map(|root| (root, line::clean_path(root)));
    let base = stated.as_ref().and_then(|(_, clean)| clean.clone()).unwrap_or_default();
    let view = View::new(listing, &base);
    let mut detection = match overrides.kind {
        Some(kind) => of_kind(&view, kind),
        None => choose(&view, true),
    };
    if let Some((root, clean)) = stated
        && !clean.is_some_and(|clean| clean.is_empty() || View::new(listing, "").has_dir(&clean))
    {
        let root = unknown::printable(root);
        let message = format!("`root` is `{root}`, which is no folder of the project");
        detection.problems.push(View::new(listing, "").fatal(
            ".nexus/config.yaml",
            message,
            "correct `root`",
        ));
    }
    overridden(&mut detection, overrides);
    let start = detection.start.as_deref().filter(|_| detection.site.is_none());
    detection.development =
        start.is_some_and(|start| node::starts_development(&View::new(listing, &rooted(&detection)), start));
    guard(&mut detection);
    detection
}

/// The folder whose files a browser sees, relative to the project: a site's directory, a PHP docroot, else the root.
pub fn served_directory(detection: &Detection) -> String {
    let docroot =
        detection.start.as_deref().filter(|_| detection.kind == Kind::Php).and_then(php::docroot_of);
    match docroot.filter(|docroot| !docroot.is_empty()) {
        Some(docroot) if detection.root == "." => docroot,
        Some(docroot) => format!("{}/{docroot}", detection.root),
        None => detection.root.clone(),
    }
}

type Detector = fn(&View<'_>) -> Option<Detection>;

/// The languages, in the order in which they win.
const LANGUAGES: [Detector; 6] =
    [php::detect, ruby::detect, go::detect, python::detect, node::detect, static_site::detect];

/// What a directory is. `deep` looks one level down when there is nothing in the directory itself.
fn choose(view: &View<'_>, deep: bool) -> Detection {
    let composed = container::compose(view);
    let language = language(view);
    if let Some(Composed::Sure(mut composed)) = composed {
        composed.alternatives.extend(language.as_ref().map(alternative));
        return *composed;
    }
    let mut found = match (container::dockerfile(view), language) {
        (Some(docker), language) => dockerfile_or(view, docker, language),
        (None, Some(language)) => language,
        (None, None) => match composed {
            Some(Composed::Maybe(composed)) => return *composed,
            _ => (deep && !unknown::is_foreign(view))
                .then(|| nested::detect(view))
                .flatten()
                .unwrap_or_else(|| lost(view, deep)),
        },
    };
    if deep && !is_runnable(&found) && !is_broken(&found) && !unknown::is_foreign(view) {
        found = nested::member(view, &found).or_else(|| nested_if_clear(view)).unwrap_or(found);
    }
    match composed {
        Some(Composed::No(reason)) => found.because.push(reason),
        Some(Composed::Maybe(composed)) => found.alternatives.push(alternative(&composed)),
        _ => {}
    }
    found
}

/// One level down, where the root has a manifest but nothing to start.
fn nested_if_clear(view: &View<'_>) -> Option<Detection> {
    nested::detect(view).filter(|found| found.serves == Serves::Http)
}

fn lost(view: &View<'_>, deep: bool) -> Detection {
    let mut detection = unknown::detect(view);
    if deep {
        detection.alternatives = nested::deeper(view);
        if let Some(first) = detection.alternatives.first() {
            let fact = format!("a project is further down, in `{}`", first.root);
            detection.because.push(view.reason("", fact));
        }
    }
    detection
}

/// The Dockerfile, unless the language has a reason to win.
fn dockerfile_or(view: &View<'_>, mut docker: Detection, language: Option<Detection>) -> Detection {
    let Some(mut language) = language else { return docker };
    let usable = is_runnable(&language);
    let stated = Procfile::read(view).is_some_and(|procfile| procfile.chosen().is_some());
    let reason = container::stale(view, &docker, &language).or_else(|| {
        stated.then(|| view.reason("Procfile", "a Procfile says how to start it, before the Dockerfile"))
    });
    match reason {
        Some(reason) if usable => {
            language.because.push(reason);
            language.alternatives.push(alternative(&docker));
            language
        }
        _ => {
            docker.alternatives.push(alternative(&language));
            docker
        }
    }
}

/// What the sources and manifests of a directory make it, with the Procfile's start line.
fn language(view: &View<'_>) -> Option<Detection> {
    let procfile = Procfile::read(view);
    let mut found: Vec<Detection> = LANGUAGES.iter().filter_map(|detect| detect(view)).collect();
    let runs = |detection: &Detection| is_runnable(detection) || is_broken(detection);
    let first = found.iter().position(|detection| runs(detection) && !is_weak(detection, &found));
    let mut chosen = match (first, found.is_empty()) {
        (Some(first), _) => found.remove(first),
        (None, false) => found.remove(0),
        (None, true) => procfile::by_itself(view, procfile.as_ref()?)?,
    };
    chosen.alternatives.extend(found.iter().filter(|other| is_runnable(other)).map(alternative));
    if let Some(procfile) = &procfile {
        procfile::apply(view, procfile, &mut chosen);
    }
    Some(chosen)
}

/// Whether a detection gives way to another: a Python script to a server, a folder of pages to a program.
fn is_weak(detection: &Detection, all: &[Detection]) -> bool {
    let server =
        |other: &Detection| other.serves == Serves::Http && is_runnable(other) && other.site.is_none();
    match detection.kind {
        Kind::Python => {
            detection.serves == Serves::Process
                && all.iter().any(|other| other.kind == Kind::Node && server(other))
        }
        Kind::Static if detection.package_manager.is_none() => {
            let vague =
                ["static", "docs", "web", "html", "out"].iter().any(|name| detection.root.ends_with(name));
            vague && all.iter().any(|other| other.kind != Kind::Static)
        }
        _ => false,
    }
}

/// Whether there is something to start.
fn is_runnable(detection: &Detection) -> bool {
    let started = detection.start.is_some() || detection.site.is_some();
    (started || detection.kind == Kind::Dockerfile) && detection.kind != Kind::Unknown
}

/// Whether a manifest does not parse: then nothing else is guessed.
fn is_broken(detection: &Detection) -> bool {
    detection.problems.iter().any(|problem| problem.fatal && problem.line.is_some())
}

/// The detection of the kind the user states, as much of it as there is.
fn of_kind(view: &View<'_>, kind: Kind) -> Detection {
    let found = match kind {
        Kind::Compose => container::compose(view).and_then(|composed| match composed {
            Composed::Sure(detection) | Composed::Maybe(detection) => Some(*detection),
            Composed::No(_) => None,
        }),
        Kind::Dockerfile => container::dockerfile(view),
        Kind::Unknown => None,
        _ => LANGUAGES.iter().filter_map(|detect| detect(view)).find(|found| found.kind == kind),
    };
    let mut detection = found.unwrap_or_else(|| blank(view, kind));
    let reason =
        View::new(view.listing(), "").reason(".nexus/config.yaml", format!("`kind: {kind}` is stated"));
    detection.because.insert(0, reason);
    detection
}

/// How a detection that was not chosen is offered.
fn alternative(other: &Detection) -> Alternative {
    Alternative {
        kind: other.kind,
        root: other.root.clone(),
        start: other.start.clone(),
        note: format!("write `kind: {}` in .nexus/config.yaml to choose it", other.kind),
    }
}

fn overridden(detection: &mut Detection, overrides: &Overrides) {
    let take = |to: &mut Option<String>, from: &Option<String>| {
        if from.is_some() {
            to.clone_from(from);
        }
    };
    take(&mut detection.install, &overrides.install);
    take(&mut detection.build, &overrides.build);
    take(&mut detection.start, &overrides.start);
    detection.port_hint = overrides.port.or(detection.port_hint);
    if overrides.start.is_some() {
        detection.site = None;
        // What was missing is now stated.
        detection.problems.retain(|problem| !(problem.fatal && problem.line.is_none()));
    }
}

/// Where its commands run, as a view is based.
fn rooted(detection: &Detection) -> String {
    if detection.root == "." { String::new() } else { detection.root.clone() }
}

/// The last door: no command leaves with a character that could end or disguise a line.
fn guard(detection: &mut Detection) {
    for command in [&mut detection.install, &mut detection.build, &mut detection.start] {
        if command.as_deref().is_some_and(|line| line.chars().any(line::hostile)) {
            *command = None;
        }
    }
}

/// A detection of a kind that says nothing else yet.
fn blank(view: &View<'_>, kind: Kind) -> Detection {
    Detection { root: view.root(), ..Detection::of(kind) }
}
