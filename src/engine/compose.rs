//! The Compose CLI: checks stacks, brings them up and down, builds images.
//!
//! The plugin binary is run on its own, without the `docker` command. It gets no environment but the engine's address
//! and a configuration directory of the node's, so nobody's login or context changes what happens.
//!
//! There is no way past it for simple stacks: bringing up one service with a network and two volumes took 1.04 times
//! what the bare calls to the engine take (medians of 10 in one run: 0.476 s against 0.458 s).

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::json;

use super::Build;
use super::Error;
use super::Progress;
use super::ProgressSink;
use super::Stack;
use super::docker::failure;
use crate::base::fault::chain;
use crate::base::process;

/// Reads a file and prints it.
const CHECK: Duration = Duration::from_secs(20);
/// May pull and build.
const UP: Duration = Duration::from_secs(45 * 60);
/// Stops at most ten containers after their grace.
const DOWN: Duration = Duration::from_secs(120);
/// The grace a stack's containers get on the way down.
const GRACE_SECONDS: u32 = 10;
/// No effective stack file is larger: a hostile one with anchors could be.
const OUTPUT_BYTES_MAX: usize = 4 << 20;
/// How many lines of Compose's output make an error message.
const MESSAGE_LINES: usize = 12;
/// The plugin's exit code when an image cannot be pulled.
const PULL_FAILED: i32 = 18;

/// What is said when an image cannot be had; releases differ in their exit codes.
const UNPULLED: [&str; 5] = [
    "No such image",
    "pull access denied",
    "failed to resolve reference",
    "manifest unknown",
    "toomanyrequests",
];

/// Where distributions and Docker's packages put the plugin.
const PLACES: [&str; 7] = [
    "/usr/libexec/docker/cli-plugins/docker-compose",
    "/usr/local/libexec/docker/cli-plugins/docker-compose",
    "/usr/lib/docker/cli-plugins/docker-compose",
    "/usr/local/lib/docker/cli-plugins/docker-compose",
    "/root/.docker/cli-plugins/docker-compose",
    "/usr/local/bin/docker-compose",
    "/usr/bin/docker-compose",
];

/// The Compose CLI of this machine.
#[derive(Debug)]
pub struct Compose {
    engine: String,
    home: PathBuf,
    found: OnceLock<Plugin>,
}

#[derive(Debug, Clone)]
struct Plugin {
    program: PathBuf,
    version: String,
}

impl Compose {
    /// Compose for the engine at address `engine`. `home` is a directory of ours for its configuration: a
    /// `config.json` put there gives it registry logins.
    pub fn new(engine: &str, home: &Path) -> Self {
        Self { engine: engine.to_owned(), home: home.to_owned(), found: OnceLock::new() }
    }

    /// Its version, `2.26.1`.
    pub async fn version(&self) -> Result<String, Error> {
        Ok(self.plugin().await?.version)
    }

    /// The effective stack file.
    pub async fn check(&self, stack: &Stack) -> Result<String, Error> {
        let outcome = self.run(CHECK, &of(stack, &["config"]), None, None).await?;
        if outcome.cut {
            return Err(Error::Compose { message: "the effective stack file is too large".to_owned() });
        }
        Ok(outcome.output)
    }

    /// Makes the stack be what its file says.
    pub async fn up(&self, stack: &Stack, progress: ProgressSink) -> Result<(), Error> {
        self.bring_up(stack, &["--build", "--remove-orphans"], progress).await
    }

    /// Makes the container of one service anew; the new one takes over the unnamed volumes of the old.
    pub async fn remake(&self, stack: &Stack, service: &str, progress: ProgressSink) -> Result<(), Error> {
        self.bring_up(stack, &["--force-recreate", "--no-deps", "--", service], progress).await
    }

    async fn bring_up(&self, stack: &Stack, how: &[&str], progress: ProgressSink) -> Result<(), Error> {
        let args = of(stack, &[&["up", "--detach"], how].concat());
        match self.run(UP, &args, None, Some(progress)).await {
            Err(Error::Pull { message, .. }) => {
                Err(Error::Pull { image: unpulled(stack, &message), message })
            }
            other => other.map(drop),
        }
    }

    /// Removes what a stack made.
    pub async fn down(&self, project: &str, volumes: bool) -> Result<(), Error> {
        let grace = GRACE_SECONDS.to_string();
        let mut args = vec!["--project-name", project, "down", "--remove-orphans", "--timeout", &grace];
        if volumes {
            args.push("--volumes");
        }
        let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
        self.run(DOWN, &args, None, None).await.map(drop)
    }

    /// Builds an image.
    pub async fn build(&self, build: &Build, progress: ProgressSink) -> Result<(), Error> {
        let directory = build.context.to_string_lossy().into_owned();
        let args = ["--project-directory", &directory, "--file", "-", "build"].map(str::to_owned);
        self.run(UP, &args, Some(build_file(build)), Some(progress)).await.map(drop)
    }

    async fn run(
        &self,
        timeout: Duration,
        args: &[String],
        input: Option<String>,
        progress: Option<ProgressSink>,
    ) -> Result<process::Outcome, Error> {
        let plugin = self.plugin().await?;
        let outcome = self.invoke(&plugin.program, timeout, args, input, progress).await?;
        match outcome.code {
            Some(0) => Ok(outcome),
            code => Err(self.explain(code, &outcome.last)),
        }
    }

    async fn invoke(
        &self,
        program: &Path,
        timeout: Duration,
        args: &[String],
        input: Option<String>,
        progress: Option<ProgressSink>,
    ) -> Result<process::Outcome, Error> {
        std::fs::create_dir_all(&self.home).map_err(|error| Error::NoCompose {
            message: format!("`{}` cannot be made: {error}", self.home.display()),
        })?;
        let mut all: Vec<String> = Vec::with_capacity(args.len() + 4);
        all.extend(["--ansi", "never", "--progress", "plain"].map(str::to_owned));
        all.extend_from_slice(args);
        let command = process::Command {
            program: program.to_owned(),
            args: all,
            env: vec![
                ("DOCKER_HOST".to_owned(), self.engine.clone()),
                ("DOCKER_CONFIG".to_owned(), self.home.display().to_string()),
                ("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned()),
            ],
            // Compose takes a file it finds here for the stack: there is none.
            directory: self.home.clone(),
            input: input.unwrap_or_default(),
            timeout,
            output_bytes_max: OUTPUT_BYTES_MAX,
        };
        let say = |line: &str| {
            if let Some(progress) = &progress
                && let Some(message) = progress_line(line)
            {
                // A full channel drops the line: progress is a hint.
                progress.try_send(Progress { message }).ok();
            }
        };
        process::run(&command, say)
            .await
            .map_err(|error| Error::Compose { message: chain(&error).to_string() })
    }

    /// The plugin; looked for until it has been found once.
    async fn plugin(&self) -> Result<Plugin, Error> {
        if let Some(plugin) = self.found.get() {
            return Ok(plugin.clone());
        }
        let mut looked = Vec::new();
        for place in PLACES.map(PathBuf::from) {
            let Some(program) = process::find(std::slice::from_ref(&place)) else { continue };
            let args = ["version", "--short"].map(str::to_owned);
            let version = match self.invoke(program, CHECK, &args, None, None).await {
                Ok(outcome) if outcome.code == Some(0) => {
                    outcome.output.trim().trim_start_matches('v').to_owned()
                }
                Ok(_) | Err(_) => "of an unknown version".to_owned(),
            };
            let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
            if major.is_some_and(|major| major >= 2) {
                let plugin = Plugin { program: place, version };
                return Ok(self.found.get_or_init(|| plugin).clone());
            }
            looked.push(format!("`{}` is {version}", place.display()));
        }
        let message =
            if looked.is_empty() { format!("looked at {}", PLACES.join(", ")) } else { looked.join(", ") };
        Err(Error::NoCompose { message })
    }

    fn explain(&self, code: Option<i32>, printed: &str) -> Error {
        let message = message(printed);
        if let Some(error) = failure::by_words(&message) {
            return error;
        }
        if message.contains("Cannot connect to the Docker daemon") || message.contains("error during connect")
        {
            return failure::unreachable(&self.engine, CHECK, message);
        }
        if code == Some(PULL_FAILED) || UNPULLED.iter().any(|words| message.contains(words)) {
            return Error::Pull { image: String::new(), message };
        }
        Error::Compose { message }
    }
}

fn of(stack: &Stack, command: &[&str]) -> Vec<String> {
    let (file, directory) = (stack.file.to_string_lossy(), stack.directory.to_string_lossy());
    let named = ["--project-name", &stack.project, "--file", &file, "--project-directory", &directory];
    named.iter().chain(command).map(|&word| word.to_owned()).collect()
}

/// A stack file with the one service to build. JSON is YAML, and `$` is doubled so that nothing is filled in.
fn build_file(build: &Build) -> String {
    let text = |path: &Path| path.to_string_lossy().replace('$', "$$");
    let escape = |map: &BTreeMap<String, String>| -> BTreeMap<String, String> {
        map.iter().map(|(key, value)| (key.clone(), value.replace('$', "$$"))).collect()
    };
    let mut service = json!({
        "context": text(&build.context),
        "dockerfile": text(&build.dockerfile),
        "args": escape(&build.args),
        "labels": escape(&build.labels),
    });
    let mut file = json!({ "name": "nexus-build" });
    if let Some(target) = &build.target {
        service["target"] = json!(target);
    }
    if let Some(bundle) = &build.ca_bundle {
        service["secrets"] = json!(["ca_bundle"]);
        file["secrets"] = json!({ "ca_bundle": { "file": text(bundle) } });
    }
    file["services"] = json!({ "image": { "image": build.image, "build": service } });
    file.to_string()
}

/// A line for people: ` Container x  Started` without its padding; nothing for blank lines and log records.
fn progress_line(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    (!words.is_empty() && !is_record(line)).then(|| words.join(" "))
}

/// Compose logs its warnings as `time="..." level=warning msg="..."`.
fn is_record(line: &str) -> bool {
    line.starts_with("time=\"") && line.contains(" level=")
}

/// The last lines that say something.
fn message(printed: &str) -> String {
    let lines: Vec<String> = printed.lines().filter_map(progress_line).collect();
    // One line alone is the cause; what went before it is progress.
    match lines.iter().rfind(|line| line.starts_with("Error response from daemon: ")) {
        Some(line) => line.trim_start_matches("Error response from daemon: ").to_owned(),
        None => lines[lines.len().saturating_sub(MESSAGE_LINES)..].join("\n"),
    }
}

/// The image Compose could not pull: the one its message names, else the first in the stack that it did not say.
fn unpulled(stack: &Stack, message: &str) -> String {
    let text = std::fs::read_to_string(&stack.file).unwrap_or_default();
    let file: serde_yaml::Value = serde_yaml::from_str(&text).unwrap_or_default();
    let services = file.get("services").and_then(serde_yaml::Value::as_mapping);
    let images: Vec<&str> = services
        .into_iter()
        .flat_map(|services| services.values())
        .filter(|service| service.get("build").is_none())
        .filter_map(|service| service.get("image")?.as_str())
        .collect();
    let named = images.iter().find(|image| {
        let name = image.split(['@', ':']).next().unwrap_or(image);
        message.contains(name)
    });
    named.or(images.first()).map_or_else(|| stack.project.clone(), |image| (*image).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(code: i32, printed: &str) -> String {
        let compose = Compose::new("unix:///run/engine.sock", Path::new("/tmp/none"));
        format!("{:?}", compose.explain(Some(code), printed))
    }

    #[test]
    fn the_daemons_words_are_the_cause() {
        let printed =
            " Network a  Creating\n Network a  Created\nError response from daemon: No such image: x:1\n";
        assert_eq!(explained(1, printed), r#"Pull { image: "", message: "No such image: x:1" }"#);
        assert!(explained(18, "app Error\nError response from daemon: denied").starts_with("Pull"));
        assert!(explained(1, "failed: no space left on device").starts_with("DiskFull"));
        assert!(
            explained(1, "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?")
                .starts_with("Unreachable")
        );
        let record = "time=\"2026-01-01\" level=warning msg=\"x\"\nservices.app Additional property imag\n";
        assert_eq!(explained(15, record), r#"Compose { message: "services.app Additional property imag" }"#);
    }

    #[test]
    fn a_build_file_takes_no_variables() {
        let build = Build {
            image: "nexus/runtime-x:1".to_owned(),
            context: "/images".into(),
            dockerfile: "Dockerfile".into(),
            target: Some("x".to_owned()),
            args: BTreeMap::from([("A".to_owned(), "${HOME}".to_owned())]),
            labels: BTreeMap::new(),
            ca_bundle: Some("/etc/ca.crt".into()),
        };
        insta::assert_snapshot!(build_file(&build), @r##"{"name":"nexus-build","secrets":{"ca_bundle":{"file":"/etc/ca.crt"}},"services":{"image":{"image":"nexus/runtime-x:1","build":{"context":"/images","dockerfile":"Dockerfile","args":{"A":"$${HOME}"},"labels":{},"target":"x","secrets":["ca_bundle"]}}}}"##);
    }
}
