//! What a project is, decided from its listing alone. Pure; project code is never run.
//!
//! The first match wins: a Procfile, a compose file with a web service, a Dockerfile, then PHP, Ruby, Go, Python, Node,
//! static files, a project one level down. What the user states in `.nexus/config.yaml` beats every choice. Each choice
//! says the file and the fact behind it, and what else the project could be.

mod line;
mod node;
mod parse;
mod python;
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

use view::View;

/// Decides what a project is and how it is installed, built and started.
///
/// Always answers: a project nobody knows how to run is [`Kind::Unknown`] with what to do next. No command in the answer
/// holds a control character, whatever the manifests say.
pub fn detect(listing: &Listing, overrides: &Overrides) -> Detection {
    let view = View::new(listing, "");
    let mut detection = choose(&view);
    overridden(&mut detection, overrides);
    guard(&mut detection);
    detection
}

/// The folder whose files a browser sees, relative to the project: a site's directory, a PHP docroot, else the root.
pub fn served_directory(detection: &Detection) -> String {
    detection.root.clone()
}

type Detector = fn(&View<'_>) -> Option<Detection>;

/// The languages, in the order in which they win.
const LANGUAGES: [Detector; 3] = [python::detect, node::detect, static_site::detect];

fn choose(view: &View<'_>) -> Detection {
    let mut found = LANGUAGES.iter().filter_map(|detect| detect(view));
    let Some(mut first) = found.next() else { return unknown::detect(view) };
    let others: Vec<Alternative> = found.map(|other| alternative(&other)).collect();
    first.alternatives.extend(others);
    first
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
    Detection {
        kind,
        framework: None,
        package_manager: None,
        install: None,
        build: None,
        start: None,
        port_hint: None,
        root: view.root(),
        serves: Serves::Http,
        site: None,
        version: None,
        install_inputs: Vec::new(),
        hot_reload: false,
        file: None,
        because: Vec::new(),
        alternatives: Vec::new(),
        problems: Vec::new(),
    }
}
