//! `nexus detect`: says what a folder is and how it would run, without running anything.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;
use serde_json::json;

use super::Context;
use super::failure::Failure;
use crate::base::printable;
use crate::model::project::Alternative;
use crate::model::project::Detection;
use crate::model::project::Overrides;
use crate::model::project::Problem;
use crate::model::project::Serves;
use crate::project::Limits;

/// Say what a project folder is and how it would run, and why; nothing is run or changed
#[derive(Debug, Args)]
pub struct DetectArguments {
    /// The project's folder
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,
}

/// Exits with 0 whatever the project is; no folder to look at is a failure.
pub fn run(context: &Context, arguments: &DetectArguments) -> Result<ExitCode, Failure> {
    let listing = crate::project::observe(&arguments.directory, Limits::default())
        .map_err(|error| Failure::of(&error))?;
    let (overrides, broken) = match crate::project::overrides(&listing) {
        Ok(overrides) => (overrides, Vec::new()),
        Err(problems) => (Overrides::default(), problems),
    };
    let mut detection = crate::project::detect(&listing, &overrides);
    detection.problems.extend(broken);
    if context.screen.json {
        context.screen.value(&to_json(&detection))?;
    } else {
        context.screen.script(to_text(&detection).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The detection as `nexus detect --json` prints it.
pub fn to_json(detection: &Detection) -> Value {
    let because: Vec<Value> =
        detection.because.iter().map(|reason| json!({ "file": reason.file, "fact": reason.fact })).collect();
    json!({
        "kind": detection.kind.as_str(),
        "framework": detection.framework,
        "package_manager": detection.package_manager,
        "install": detection.install,
        "build": detection.build,
        "start": detection.start,
        "port_hint": detection.port_hint,
        "root": crate::project::served_directory(detection),
        "serves": serves(detection),
        "because": because,
        "alternatives": detection.alternatives.iter().map(alternative).collect::<Vec<_>>(),
        "site": detection.site.as_ref().map(|site| json!({ "directory": site.directory, "fallback": site.fallback })),
        "version": detection.version.as_ref().map(|version| {
            json!({ "stated": version.stated, "tag": version.tag, "file": version.file })
        }),
        "file": detection.file,
        "problems": detection.problems.iter().map(problem).collect::<Vec<_>>(),
    })
}

fn serves(detection: &Detection) -> &'static str {
    match detection.serves {
        Serves::Http => "http",
        Serves::Process => "process",
    }
}

fn alternative(alternative: &Alternative) -> Value {
    json!({
        "kind": alternative.kind.as_str(),
        "root": alternative.root,
        "start": alternative.start,
        "note": alternative.note,
    })
}

fn problem(problem: &Problem) -> Value {
    json!({
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "message": problem.message,
        "hint": problem.hint,
        "fatal": problem.fatal,
    })
}

/// The detection for people: the choice, the reasons, what else it could be, what is wrong.
pub fn to_text(detection: &Detection) -> String {
    let mut lines = Vec::new();
    let mut row = |name: &str, value: Option<&str>| {
        lines.extend(value.map(|value| format!("{name:<10}{}", printable::line(value))));
    };
    let port = detection.port_hint.map(|port| port.to_string());
    let version =
        detection.version.as_ref().map(|version| format!("{} (image tag {})", version.stated, version.tag));
    row("kind", Some(detection.kind.as_str()));
    row("framework", detection.framework.as_deref());
    row("root", Some(&crate::project::served_directory(detection)));
    row("packages", detection.package_manager.as_deref());
    row("version", version.as_deref());
    row("install", detection.install.as_deref());
    row("build", detection.build.as_deref());
    row("start", detection.start.as_deref());
    row("file", detection.file.as_deref());
    row("serves", Some(serves(detection)));
    row("port", port.as_deref());
    section(
        &mut lines,
        "because",
        detection.because.iter().map(|reason| place(&reason.file, None, &reason.fact)),
    );
    section(
        &mut lines,
        "or",
        detection.alternatives.iter().map(|other| {
            let start = other.start.as_deref().unwrap_or("no start command");
            format!("{} in {}: {start} ({})", other.kind, other.root, other.note)
        }),
    );
    section(
        &mut lines,
        "problems",
        detection.problems.iter().map(|problem| {
            let weight = if problem.fatal { "error" } else { "warning" };
            let hint =
                problem.hint.as_deref().map(|hint| format!("\n              {hint}")).unwrap_or_default();
            format!(
                "{weight}: {}{hint}",
                place(&problem.file, problem.line.zip(problem.column), &problem.message)
            )
        }),
    );
    lines.join("\n") + "\n"
}

fn place(file: &str, at: Option<(usize, usize)>, text: &str) -> String {
    let at = at.map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default();
    if file.is_empty() { text.to_owned() } else { format!("{file}{at}: {text}") }
}

fn section(lines: &mut Vec<String>, name: &str, items: impl Iterator<Item = String>) {
    for (index, item) in items.enumerate() {
        let name = if index == 0 { name } else { "" };
        lines.push(format!(
            "{name:<10}{}",
            item.split('\n').map(printable::line).collect::<Vec<_>>().join("\n")
        ));
    }
}
