//! What the engine has to say.

use std::time::Duration;

use super::Check;
use super::Subject;
use crate::base::fault;
use crate::base::fault::Explain as _;
use crate::engine::About;
use crate::engine::Labels;
use crate::engine::label;

/// The runtime images; one that is missing is built when a project first needs it.
const RUNTIMES: [&str; 6] = ["static", "node", "python", "php", "go", "ruby"];

const WHY: &str = "workspaces run in its containers";

/// What the engine says of itself, or the check that failed.
pub(super) async fn about(subject: &Subject) -> Result<About, Check> {
    subject.engine.about().await.map_err(|error| {
        let next = error.hint().unwrap_or_else(|| "see the engine's log".to_owned());
        Check::failed("engine", fault::chain(&error).to_string(), WHY, next)
    })
}

pub(super) fn silent(waited: Duration) -> Check {
    let found = format!("the container engine has not answered within {} ms", waited.as_millis());
    Check::failed(
        "engine",
        found,
        WHY,
        "if it stays so, restart the engine; `nexus doctor` asks it with more patience",
    )
}

pub(super) async fn engine(subject: &Subject) -> Vec<Check> {
    let about = match about(subject).await {
        Ok(about) => about,
        Err(failed) => {
            return vec![failed, Check::skipped("compose", "not looked for: the engine does not answer")];
        }
    };
    let engine = Check::ok("engine", format!("version {}, API {}", about.version, about.api_version));
    let compose = match about.compose_version {
        Some(version) => Check::ok("compose", format!("version {version}")),
        None => Check::failed(
            "compose",
            "the Compose plugin is missing",
            "stacks are brought up with `docker compose`",
            "install it: the package is called `docker-compose-v2`, `docker-compose` or `docker-compose-plugin`",
        ),
    };
    vec![engine, compose]
}

pub(super) async fn images(subject: &Subject) -> Vec<Check> {
    let mut missing = Vec::new();
    for runtime in RUNTIMES {
        let reference = format!("nexus/runtime-{runtime}:{}", env!("CARGO_PKG_VERSION"));
        match subject.engine.image(&reference).await {
            Ok(Some(_)) => {}
            Ok(None) => missing.push(runtime),
            Err(error) => return vec![Check::skipped("images", fault::chain(&error).to_string())],
        }
    }
    vec![judge_images(
        &missing,
        subject.images.join("runtimes.yaml").is_file(),
        &subject.images.display().to_string(),
    )]
}

pub(super) fn judge_images(missing: &[&str], buildable: bool, directory: &str) -> Check {
    if missing.is_empty() {
        return Check::ok("images", format!("all {} runtime images are there", RUNTIMES.len()));
    }
    let found = format!("not there yet: {}", missing.join(", "));
    if buildable {
        Check::warning(
            "images",
            found,
            "the first project of such a kind waits minutes while its image is built, unless a registry has the official one",
            "build them ahead: `./scripts/images`",
        )
    } else {
        Check::failed(
            "images",
            format!("{found}, and no Dockerfiles in {directory}"),
            "without a registry such projects cannot run",
            "set `NEXUS_IMAGES` to the directory `images` of nexus, or run `./scripts/images`",
        )
    }
}

pub(super) async fn other_nodes(subject: &Subject) -> Vec<Check> {
    let networks = match subject.engine.networks(&Labels::new()).await {
        Ok(networks) => networks,
        Err(error) => return vec![Check::skipped("other nodes", fault::chain(&error).to_string())],
    };
    let mut nodes: Vec<&str> =
        networks.iter().filter_map(|network| network.labels.get(label::NODE)).map(String::as_str).collect();
    nodes.sort_unstable();
    nodes.dedup();
    vec![judge_nodes(&nodes, subject.node.as_ref().map(|node| node.as_str()))]
}

pub(super) fn judge_nodes(nodes: &[&str], ours: Option<&str>) -> Check {
    let others: Vec<&str> = nodes.iter().copied().filter(|node| ours != Some(*node)).collect();
    // Without an id of our own the first one found may be ours.
    let count = if ours.is_some() { others.len() } else { others.len().saturating_sub(1) };
    if count == 0 {
        return Check::ok("other nodes", "none on this engine");
    }
    Check::warning(
        "other nodes",
        format!("workspaces of {} are on this engine too", others.join(", ")),
        "nodes leave each other's workspaces alone, but share the engine's names, memory and disk",
        "stop the one that is not meant to be there, or remove what it left behind",
    )
}
