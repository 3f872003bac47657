//! Inner values to wire values, by hand.

use super::wire;
use crate::model::project;
use crate::ops::doctor;
use crate::store::token;
use crate::workspace::View;

/// A workspace.
pub fn workspace(view: &View) -> wire::Workspace {
    wire::Workspace {
        id: view.id.to_string(),
        name: view.name.clone(),
        title: view.identity.title.clone(),
        description: view.identity.description.clone(),
        path: view.route.as_ref().map(|route| format!("/{route}/")),
        folder: view.folder.clone(),
        folder_present: view.folder_present,
        state: view.state.to_string(),
        phase: view.phase.as_str().to_owned(),
        at_rest: view.at_rest(),
        message: view.message.clone(),
        hint: view.hint.clone(),
        notices: view.notices.clone(),
        kind: view.detection.as_ref().map(|detection| detection.kind.to_string()),
        framework: view.detection.as_ref().and_then(|detection| detection.framework.clone()),
        services: services(view),
        sync: sync(view),
        log_tail: view.log_tail.clone(),
        restarts: view.restarts,
        created_at: view.created_at.to_string(),
        updated_at: view.updated_at.to_string(),
    }
}

/// The short answer about a workspace.
pub fn status(view: &View) -> wire::WorkspaceStatus {
    wire::WorkspaceStatus {
        id: view.id.to_string(),
        name: view.name.clone(),
        state: view.state.to_string(),
        phase: view.phase.as_str().to_owned(),
        message: view.message.clone(),
        hint: view.hint.clone(),
        services: services(view),
        sync: sync(view),
        restarts: view.restarts,
    }
}

fn services(view: &View) -> Vec<wire::Service> {
    let service = |service: &crate::workspace::status::Service| wire::Service {
        name: service.name.clone(),
        container: service.container.clone(),
        image: service.image.clone(),
        state: service.state.clone(),
    };
    view.services.iter().map(service).collect()
}

fn sync(view: &View) -> wire::Sync {
    let skipped = |(path, why): &(String, String)| wire::Skipped { path: path.clone(), why: why.clone() };
    wire::Sync {
        link: view.sync.link.clone(),
        files_total: view.sync.files_total,
        files_synced: view.sync.files_synced,
        skipped: view.sync.skipped.iter().map(skipped).collect(),
        error: view.sync.error.clone(),
        off: view.sync.off.clone(),
    }
}

/// A detection.
pub fn detection(detection: &project::Detection) -> wire::Detection {
    let reason =
        |reason: &project::Reason| wire::Reason { file: reason.file.clone(), fact: reason.fact.clone() };
    let alternative = |other: &project::Alternative| wire::Alternative {
        kind: other.kind.to_string(),
        root: other.root.clone(),
        start: other.start.clone(),
        note: other.note.clone(),
    };
    let problem = |problem: &project::Problem| wire::DetectionProblem {
        file: problem.file.clone(),
        line: problem.line,
        column: problem.column,
        message: problem.message.clone(),
        hint: problem.hint.clone(),
        fatal: problem.fatal,
    };
    wire::Detection {
        kind: detection.kind.to_string(),
        framework: detection.framework.clone(),
        package_manager: detection.package_manager.clone(),
        install: detection.install.clone(),
        build: detection.build.clone(),
        start: detection.start.clone(),
        port_hint: detection.port_hint,
        root: crate::project::served_directory(detection),
        serves: match detection.serves {
            project::Serves::Http => "http".to_owned(),
            project::Serves::Process => "process".to_owned(),
        },
        because: detection.because.iter().map(reason).collect(),
        alternatives: detection.alternatives.iter().map(alternative).collect(),
        problems: detection.problems.iter().map(problem).collect(),
    }
}

/// A token.
pub fn token(token: &token::Token) -> wire::Token {
    wire::Token {
        id: token.id.clone(),
        label: token.label.clone(),
        scope: token.scope.clone(),
        created_at: token.created_at.to_string(),
        expires_at: token.expires_at.map(|time| time.to_string()),
        last_used_at: token.last_used_at.map(|time| time.to_string()),
    }
}

/// One thing the doctor looked at.
pub fn check(check: &doctor::Check) -> wire::Check {
    wire::Check {
        name: check.name.clone(),
        result: check.outcome.as_str().to_owned(),
        found: check.found.clone(),
        why: check.why.clone(),
        next: check.next.clone(),
    }
}

/// What removing a workspace takes and leaves.
pub fn removal(view: &View, purge: bool, dry_run: bool) -> wire::Removal {
    let mut removes: Vec<String> =
        view.services.iter().map(|service| format!("container {}", service.container)).collect();
    removes.push(format!("network nexus-{}", view.id));
    let mut keeps = Vec::new();
    if view.folder_present {
        removes.push(format!("folder {} (to the trash)", view.folder));
    }
    let volumes = ["sync", "state"].map(|role| format!("volume nexus-{role}-{}", view.id));
    if purge {
        removes.extend(volumes)
    } else {
        keeps.extend(volumes)
    }
    wire::Removal { id: view.id.to_string(), name: view.name.clone(), dry_run, removes, keeps }
}
