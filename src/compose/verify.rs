//! What an input must be before a stack is written from it.

use std::collections::BTreeMap;

use crate::model::project::Kind;
use crate::model::project::Limits;

use super::plan::Input;
use super::plan::kind;
use super::plan::root;
use super::plan::site;
use super::plan::start_line;
use super::problem::Problem;

/// The kernel's limit on one argument or one `KEY=value` (`MAX_ARG_STRLEN`), its closing NUL included.
const LONGEST: usize = 128 * 1024;

/// Every reason why no stack can be written.
pub(super) fn input(input: &Input) -> Vec<Problem> {
    let mut problems = Vec::new();
    runnable(input, &mut problems);
    paths(input, &mut problems);
    commands(input, &mut problems);
    environment("env", &input.overrides.env, &mut problems);
    limits("limits", input.overrides.limits, &mut problems);
    limits("node limits", input.defaults, &mut problems);
    surroundings(input, &mut problems);
    problems
}

fn runnable(input: &Input, problems: &mut Vec<Problem>) {
    match kind(input) {
        Kind::Unknown => problems.push(Problem::setting(
            "kind",
            "nothing in the project says how to run it",
            "state `kind` and `start` in .nexus/config.yaml",
        )),
        Kind::Compose => problems.push(Problem::setting(
            "kind",
            "the project has no compose file with a service that answers the web",
            "state another `kind` in .nexus/config.yaml",
        )),
        Kind::Dockerfile => {}
        _ if site(input).is_none() && start_line(input).is_none_or(|line| line.trim().is_empty()) => {
            problems.push(Problem::setting(
                "start",
                "nothing says how the project is started",
                "state `start` in .nexus/config.yaml",
            ));
        }
        _ => {}
    }
}

fn paths(input: &Input, problems: &mut Vec<Problem>) {
    let mut inside = |key: &str, path: &str| {
        if let Err(why) = beneath(path) {
            problems.push(Problem::setting(
                key,
                format!("{why}: {path:?}"),
                "write a path inside the project, relative to it",
            ));
        }
    };
    inside("root", root(input));
    if let Some(site) = site(input) {
        inside("site", &site.directory);
    }
    input.detection.install_inputs.iter().for_each(|file| inside("install inputs", file));
    if let Some(file) = &input.detection.file {
        inside("file", file);
    }
}

/// Why `path` is not the name of something beneath the directory it is relative to.
pub(super) fn beneath(path: &str) -> Result<(), &'static str> {
    if path.starts_with('/') || path.starts_with('~') {
        return Err("the path is absolute");
    }
    if path.split('/').any(|part| part == "..") {
        return Err("the path leads out of the project");
    }
    if path.chars().any(char::is_control) {
        return Err("the path holds a control character");
    }
    Ok(())
}

fn commands(input: &Input, problems: &mut Vec<Problem>) {
    let (detection, overrides) = (&input.detection, &input.overrides);
    let lines = [
        ("install", overrides.install.as_ref().or(detection.install.as_ref())),
        ("build", overrides.build.as_ref().or(detection.build.as_ref())),
        ("start", overrides.start.as_ref().or(detection.start.as_ref())),
    ];
    for (key, line) in lines.into_iter().filter_map(|(key, line)| Some((key, line?))) {
        if line.contains('\0') {
            problems.push(Problem::setting(key, "the command holds a NUL character", "remove it"));
        }
        if line.starts_with('-') {
            problems.push(Problem::setting(
                key,
                format!("the command starts with an option: {line:?}"),
                "a command starts with the name of a program",
            ));
        }
        if line.len() >= LONGEST {
            problems.push(Problem::setting(
                key,
                "the command is longer than 128 KiB",
                "put it into a script and name the script",
            ));
        }
    }
}

/// Checks names and sizes of environment variables.
pub(super) fn environment(key: &str, variables: &BTreeMap<String, String>, problems: &mut Vec<Problem>) {
    for (name, value) in variables {
        let place = format!("{key}.{name}");
        let good = |c: char| !c.is_control() && !c.is_whitespace() && c != '=';
        if name.is_empty() || !name.chars().all(good) {
            let message = format!("{name:?} is not the name of a variable");
            problems.push(Problem::setting(key, message, "use letters, digits and `_`"));
        }
        if value.contains('\0') {
            problems.push(Problem::setting(
                &place,
                "the value holds a NUL character",
                "remove it; no program can receive it",
            ));
        }
        if name.len() + value.len() + 2 > LONGEST {
            problems.push(Problem::setting(
                &place,
                "name and value are longer than 128 KiB together",
                "put the value into a file",
            ));
        }
    }
}

/// Checks limits against what an engine accepts.
pub(super) fn limits(key: &str, limits: Limits, problems: &mut Vec<Problem>) {
    let mut range = |name: &str, good: bool, given: String, range: &str| {
        if !good {
            let message = format!("{given} is out of range");
            problems.push(Problem::setting(&format!("{key}.{name}"), message, format!("give {range}")));
        }
    };
    if let Some(cpus) = limits.cpus {
        range("cpus", (0.01..=1024.0).contains(&cpus), cpus.to_string(), "0.01 to 1024 cores");
    }
    if let Some(bytes) = limits.memory_bytes {
        range("memory", (6 << 20..=1 << 50).contains(&bytes), format!("{bytes} bytes"), "6 MiB to 1 PiB");
    }
    if let Some(pids) = limits.pids {
        range("pids", (1..=4_194_304).contains(&pids), pids.to_string(), "1 to 4194304 processes");
    }
}

fn surroundings(input: &Input, problems: &mut Vec<Problem>) {
    if input.overrides.port == Some(0) {
        problems.push(Problem::setting("port", "0 is not a port", "give 1 to 65535"));
    }
    let image = input.overrides.image.as_ref().unwrap_or(&input.image);
    if kind(input) != Kind::Dockerfile && !is_image(image) {
        let message = format!("{image:?} is not the name of an image");
        problems.push(Problem::setting("image", message, "write it as `name:tag`"));
    }
    if !is_word(&input.agent_volume) {
        let message = format!("{:?} is not the name of a volume", input.agent_volume);
        problems.push(Problem::setting("agent volume", message, "use letters, digits, `_`, `.` and `-`"));
    }
    for (key, path) in [("ca bundle", input.ca_bundle.as_deref()), ("folder", Some(input.folder.as_str()))] {
        if path.is_some_and(|path| !path.starts_with('/') || path.contains('\0')) {
            let message = format!("{:?} is not an absolute path", path.unwrap_or_default());
            problems.push(Problem::setting(key, message, "write the path from `/` on"));
        }
    }
    if let Some(zone) = &input.timezone
        && !zone.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_/+-".contains(&byte))
    {
        problems.push(Problem::setting(
            "timezone",
            format!("{zone:?} is not the name of a time zone"),
            "write it as `Europe/Berlin`",
        ));
    }
}

/// Whether `text` has the characters of an image reference: `registry:5000/name:tag@sha256:...`.
pub(super) fn is_image(text: &str) -> bool {
    text.len() <= 512
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/:@+".contains(&byte))
}

/// Whether `text` can be the name of a volume, network or container.
pub(super) fn is_word(text: &str) -> bool {
    text.len() <= 128
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}
