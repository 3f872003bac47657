//! The stack of a detected project.
//!
//! Nothing of the project is trusted: every string ends as one YAML scalar or one argument, never as part of a line
//! that something else parses. What cannot be such a string (a NUL, a path out of the project) is a [`Problem`].

use crate::base::ids::NodeId;
use crate::base::ids::WorkspaceId;
use crate::engine::Labels;
use crate::model::project::Detection;
use crate::model::project::Kind;
use crate::model::project::Limits;
use crate::model::project::Overrides;
use crate::model::project::Site;
use crate::model::workspace::Name;

use super::file::Check;
use super::file::Drop;
use super::file::File;
use super::file::Mount;
use super::file::Network;
use super::file::Origin;
use super::file::Quota;
use super::file::Service;
use super::file::Source;
use super::labels::Owner;
use super::labels::labels;
use super::labels::stamped;
use super::problem::Problem;
use super::render::render;
use super::subnet::Subnet;
use super::verify;

/// The one service of a generated stack.
pub const SERVICE: &str = "app";

const AGENT: &str = "/nexus/nexus-agent";
const SOURCE: &str = "/workspace";
const STATE: &str = "/nexus-state";
/// Whom the program runs as; the volumes belong to it.
const USER: &str = "1000:1000";
const CA_FILE: &str = "/etc/ssl/certs/ca-certificates.crt";
const CA_VARIABLES: [&str; 4] = ["NODE_EXTRA_CA_CERTS", "PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"];
/// Where the agent serves a static site.
const STATIC_PORT: u16 = 8080;

/// Everything a stack depends on.
#[derive(Debug, Clone)]
pub struct Input {
    /// This node.
    pub node: NodeId,
    /// The workspace.
    pub workspace: WorkspaceId,
    /// Its name.
    pub name: Name,
    /// What the project is.
    pub detection: Detection,
    /// What the user says it is.
    pub overrides: Overrides,
    /// The image to run, as found or built by the caller. Not used for [`Kind::Dockerfile`].
    pub image: String,
    /// The volume that holds the agent binary.
    pub agent_volume: String,
    /// The project folder as this node sees it, absolute: the build context of a Dockerfile.
    pub folder: String,
    /// Certificate authorities to trust, a file on the engine's host.
    pub ca_bundle: Option<String>,
    /// The network's subnet, from [`super::choose_subnet`].
    pub subnet: Subnet,
    /// What a container may use unless the project says otherwise.
    pub defaults: Limits,
    /// `Europe/Berlin`; the image's own when `None`.
    pub timezone: Option<String>,
    /// Whether the engine knows `start_interval` in health checks (API 1.44 or newer).
    pub start_interval: bool,
}

/// A stack, ready to be brought up.
///
/// The text stands alone: bring it up with an empty environment, no `.env` and any project directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The Compose project: [`project_name`].
    pub project: String,
    /// The compose file.
    pub file: String,
    /// Digest of everything in the file but the workspace's name; also on every container as
    /// [`crate::engine::label::STACK`]. Differs exactly when the stack must be brought up again.
    pub digest: String,
    /// The image its program runs in; empty for a stack that brings its own.
    pub image: String,
    /// Volumes that must exist, with these labels, before the stack is brought up.
    pub volumes: Vec<Volume>,
    /// Every service of the file.
    pub services: Vec<String>,
    /// The services that may answer the web, the likeliest first.
    pub web: Vec<Candidate>,
    /// Whether the first candidate's container carries the agent (init, sync, port report).
    pub agent: bool,
    /// Where it does not: how an edit gets to the containers then, in one sentence for people.
    pub unsynced: Option<String>,
    /// Paths inside the project, relative to it, that Compose or the engine will open: build contexts, Dockerfiles,
    /// mounts. The caller makes sure that none leads out through a link, each time just before it brings the stack up.
    pub paths: Vec<String>,
    /// What was changed or could not be honoured, for people.
    pub notices: Vec<String>,
}

/// A volume the caller makes. Compose sees it as external, so that no `down` ever removes it. As any empty volume it
/// starts with the content the image has where it is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
}

/// A service that may answer the web.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The service.
    pub service: String,
    /// Ports to try, the likeliest first; empty when only looking can tell.
    pub ports: Vec<u16>,
}

/// The Compose project of a workspace.
pub fn project_name(workspace: &WorkspaceId) -> String {
    format!("nexus-{workspace}")
}

/// The network of a workspace.
pub fn network_name(workspace: &WorkspaceId) -> String {
    format!("nexus-{workspace}")
}

/// Writes the stack of a detected project. A project with its own compose file is [`super::passthrough`]'s.
///
/// # Errors
/// Every reason why there cannot be one.
pub fn plan(input: &Input) -> Result<Plan, Vec<Problem>> {
    let problems = verify::input(input);
    if !problems.is_empty() {
        return Err(problems);
    }
    let unstamped = render(&file(input, None).tree());
    let digest = blake3::hash(unstamped.as_bytes()).to_hex()[..16].to_owned();
    let owner = owner(input, Some(&digest));
    let volumes = [("sync", sync_volume(input)), ("state", state_volume(input))]
        .map(|(role, name)| Volume { name, labels: labels(owner, role) });
    Ok(Plan {
        project: project_name(&input.workspace),
        file: render(&file(input, Some(&digest)).tree()),
        digest,
        image: input.image.clone(),
        volumes: if carries_agent(input) { volumes.into() } else { Vec::new() },
        services: vec![SERVICE.to_owned()],
        web: vec![Candidate { service: SERVICE.to_owned(), ports: ports(input) }],
        agent: carries_agent(input),
        unsynced: (!carries_agent(input)).then(|| FROM_IMAGE.to_owned()),
        paths: paths(input),
        notices: notices(input),
    })
}

fn owner<'a>(input: &'a Input, stamp: Option<&str>) -> Owner<'a> {
    Owner { node: &input.node, workspace: &input.workspace, name: stamp.map(|_| &input.name) }
}

/// The kind, as the user states it or as detected.
pub(super) fn kind(input: &Input) -> Kind {
    input.overrides.kind.unwrap_or(input.detection.kind)
}

/// The directory commands run in, relative to the project: empty for the project itself.
pub(super) fn root(input: &Input) -> &str {
    directory(&input.detection, &input.overrides)
}

/// The same of a project that there is no input for yet.
pub fn directory<'a>(detection: &'a Detection, overrides: &'a Overrides) -> &'a str {
    let root = overrides.root.as_deref().unwrap_or(&detection.root);
    let root = root.trim_start_matches("./").trim_end_matches('/');
    if root == "." { "" } else { root }
}

/// Of a stack whose containers have the project from their images.
pub(super) const FROM_IMAGE: &str =
    "its containers have their files from their images: an edit is in them when those are built anew";

fn carries_agent(input: &Input) -> bool {
    kind(input) != Kind::Dockerfile
}

fn sync_volume(input: &Input) -> String {
    format!("nexus-sync-{}", input.workspace)
}

fn state_volume(input: &Input) -> String {
    format!("nexus-state-{}", input.workspace)
}

fn file(input: &Input, stamp: Option<&str>) -> File {
    let network = Network {
        name: network_name(&input.workspace),
        subnet: input.subnet,
        labels: labels(owner(input, stamp), "network"),
    };
    let volumes = vec![input.agent_volume.clone(), state_volume(input), sync_volume(input)];
    File {
        project: project_name(&input.workspace),
        service: SERVICE.to_owned(),
        body: if carries_agent(input) { hosted(input, stamp) } else { built(input, stamp) },
        network,
        volumes: if carries_agent(input) { volumes } else { Vec::new() },
    }
}

/// A program under our agent, in an image of which we know what it needs.
fn hosted(input: &Input, stamp: Option<&str>) -> Service {
    let files_only = files_only(&input.detection, &input.overrides);
    let mut mounts = vec![
        Mount {
            origin: Origin::Volume(input.agent_volume.clone()),
            target: "/nexus".to_owned(),
            read_only: true,
        },
        Mount { origin: Origin::Volume(sync_volume(input)), target: SOURCE.to_owned(), read_only: false },
        Mount { origin: Origin::Volume(state_volume(input)), target: STATE.to_owned(), read_only: false },
    ];
    let mut environment = input.overrides.env.clone();
    if let (Some(path), false) = (&input.ca_bundle, files_only) {
        mounts.push(Mount {
            origin: Origin::Host(path.clone()),
            target: CA_FILE.to_owned(),
            read_only: true,
        });
        for variable in CA_VARIABLES {
            environment.entry(variable.to_owned()).or_insert_with(|| CA_FILE.to_owned());
        }
    }
    if let Some(timezone) = &input.timezone {
        environment.entry("TZ".to_owned()).or_insert_with(|| timezone.clone());
    }
    Service {
        source: Source::Image(input.overrides.image.clone().unwrap_or_else(|| input.image.clone())),
        entrypoint: entrypoint(input),
        user: Some(USER.to_owned()),
        read_only: files_only,
        environment,
        mounts,
        drop: Drop::All,
        quota: quota(input.overrides.limits, input.defaults),
        check: Some(Check {
            argv: vec![AGENT.to_owned(), "health".to_owned()],
            quick_start: input.start_interval,
        }),
        labels: stamped(owner(input, stamp), "app", stamp),
    }
}

/// The user's own image, built from the project: it runs as it is, without the agent.
fn built(input: &Input, stamp: Option<&str>) -> Service {
    let mut environment = input.overrides.env.clone();
    if let Some(port) = ports(input).first() {
        environment.entry("PORT".to_owned()).or_insert_with(|| port.to_string());
    }
    if let Some(timezone) = &input.timezone {
        environment.entry("TZ".to_owned()).or_insert_with(|| timezone.clone());
    }
    let dockerfile = input.detection.file.as_deref().unwrap_or("Dockerfile");
    let context = match root(input) {
        "" => input.folder.clone(),
        root => format!("{}/{root}", input.folder.trim_end_matches('/')),
    };
    Service {
        source: Source::Build {
            context,
            dockerfile: format!("{}/{dockerfile}", input.folder.trim_end_matches('/')),
            labels: labels(owner(input, None), "image"),
        },
        entrypoint: Vec::new(),
        user: None,
        read_only: false,
        environment,
        mounts: Vec::new(),
        drop: Drop::Dangerous,
        quota: quota(input.overrides.limits, input.defaults),
        check: None,
        labels: stamped(owner(input, stamp), "app", stamp),
    }
}

/// The agent's command line: what to install, build and start, each one argument.
fn entrypoint(input: &Input) -> Vec<String> {
    let (detection, overrides) = (&input.detection, &input.overrides);
    let root = match root(input) {
        "" => SOURCE.to_owned(),
        root => format!("{SOURCE}/{root}"),
    };
    let mut argv: Vec<String> =
        [AGENT, "init", "--root", &root, "--state", STATE, "--await-sync"].map(str::to_owned).into();
    let mut flag = |name: &str, value: &str| argv.extend([name.to_owned(), value.to_owned()]);
    if let Some(line) = install_line(detection, overrides) {
        flag("--install", line);
        detection.install_inputs.iter().for_each(|file| flag("--install-input", &operand(file)));
    }
    if let Some(line) = build_line(detection, overrides) {
        flag("--build", line);
    }
    if let Some(port) = ports(input).first() {
        flag("--port-hint", &port.to_string());
    }
    flag("--serves", if serves_http(input) { "http" } else { "process" });
    if site(input).is_none() && !detection.hot_reload {
        argv.push("--restart-on-change".to_owned());
    }
    argv.push("--".to_owned());
    argv.extend(start(input));
    argv
}

/// A path that no reader of arguments takes for an option.
fn operand(path: &str) -> String {
    if path.starts_with('-') { format!("./{path}") } else { path.to_owned() }
}

/// What runs after installing and building: the agent as a file server, or the start line as one argument.
fn start(input: &Input) -> Vec<String> {
    match site(input) {
        Some(site) => {
            let mut argv = vec![AGENT.to_owned(), "static".to_owned(), operand(&site.directory)];
            argv.extend(site.fallback.then(|| "--fallback".to_owned()));
            argv
        }
        None => start_line(input).map(str::to_owned).into_iter().collect(),
    }
}

/// The line that starts the program, as the user states it or as detected.
pub(super) fn start_line(input: &Input) -> Option<&str> {
    input.overrides.start.as_deref().or(input.detection.start.as_deref())
}

/// The site the agent serves; a start command of the user's own wins over it.
pub(super) fn site(input: &Input) -> Option<&Site> {
    served(&input.detection, &input.overrides)
}

/// The same of a project that there is no input for yet.
pub fn served<'a>(detection: &'a Detection, overrides: &Overrides) -> Option<&'a Site> {
    detection.site.as_ref().filter(|_| overrides.start.is_none())
}

/// The line that installs dependencies, as the user states it or as detected.
fn install_line<'a>(detection: &'a Detection, overrides: &'a Overrides) -> Option<&'a str> {
    overrides.install.as_deref().or(detection.install.as_deref()).filter(|line| !line.is_empty())
}

/// The line that builds, as the user states it or as detected.
pub fn build_line<'a>(detection: &'a Detection, overrides: &'a Overrides) -> Option<&'a str> {
    overrides.build.as_deref().or(detection.build.as_deref()).filter(|line| !line.is_empty())
}

/// Whether nothing but the agent ever runs in the container.
pub fn files_only(detection: &Detection, overrides: &Overrides) -> bool {
    served(detection, overrides).is_some()
        && install_line(detection, overrides).is_none()
        && build_line(detection, overrides).is_none()
}

fn serves_http(input: &Input) -> bool {
    input.detection.serves == crate::model::project::Serves::Http || input.overrides.port.is_some()
}

/// The ports to try first. The agent reports the one really listened on.
fn ports(input: &Input) -> Vec<u16> {
    let fixed = site(input).map(|_| STATIC_PORT);
    input.overrides.port.or(fixed).or(input.detection.port_hint).into_iter().collect()
}

/// The limits stated, else the node's, else cautious ones that every machine can grant.
pub(super) fn quota(stated: Limits, defaults: Limits) -> Quota {
    Quota {
        cpus: stated.cpus.or(defaults.cpus).unwrap_or(1.0),
        memory_bytes: stated.memory_bytes.or(defaults.memory_bytes).unwrap_or(1 << 30),
        pids: stated.pids.or(defaults.pids).unwrap_or(512),
    }
}

/// What a build opens.
fn paths(input: &Input) -> Vec<String> {
    let context = root(input).to_owned();
    let built = [context, input.detection.file.clone().unwrap_or_else(|| "Dockerfile".to_owned())];
    if carries_agent(input) { Vec::new() } else { built.into() }
}

fn notices(input: &Input) -> Vec<String> {
    let mut notices = Vec::new();
    if !carries_agent(input) {
        notices.push(
            "the image of the project's own Dockerfile runs as it is: an edit needs a rebuild".to_owned(),
        );
    }
    notices
}

#[cfg(test)]
#[path = "tests.rs"]
pub(in crate::compose) mod tests;
