//! Looks at a project and writes its stack: folder -> listing -> detection -> image -> compose file.

use std::path::Path;
use std::sync::Arc;

use super::context::Context;
use super::control::workspace_label;
use super::files;
use super::image;
use super::status::Icon;
use super::terms;
use crate::base::fault;
use crate::base::fault::Explain;
use crate::base::files::read_beneath;
use crate::base::ids::WorkspaceId;
use crate::compose;
use crate::compose::Subnet;
use crate::engine;
use crate::engine::ProgressSink;
use crate::model::project::Detection;
use crate::model::project::Identity;
use crate::model::project::Kind;
use crate::model::project::Overrides;
use crate::model::workspace::Name;
use crate::project;
use crate::sync;

/// The largest icon kept.
const ICON_MAX: u64 = 64 * 1024;

/// Why something cannot be done, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What is wrong: one sentence.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Trouble {
    /// What an error says, with its causes.
    pub fn of(error: &impl Explain) -> Self {
        Self { message: fault::chain(error).to_string(), hint: error.hint() }
    }
}

/// A project, looked at.
#[derive(Debug, Clone, Default)]
pub struct Looked {
    /// What it is.
    pub detection: Option<Arc<Detection>>,
    /// How it shows itself.
    pub identity: Identity,
    /// Its icon.
    pub icon: Option<Arc<Icon>>,
    /// The stack it asks for.
    pub plan: Option<Arc<compose::Plan>>,
    /// Why there is no plan.
    pub trouble: Option<Trouble>,
    /// How its source is carried into the container and back.
    pub sync: sync::Settings,
    /// What its owner should know although it runs.
    pub notices: Vec<String>,
}

/// What a look needs to know.
pub struct Subject<'a> {
    /// The workspace.
    pub id: &'a WorkspaceId,
    /// Its name, for labels.
    pub name: &'a Name,
    /// Its folder.
    pub folder: &'a Path,
}

/// Looks at the project. Whatever is wrong with the project itself is in [`Looked::trouble`].
///
/// # Errors
/// When something else stands in the way (engine, registry, disk): it may be tried again. What was learnt so far comes
/// with it.
pub async fn look(
    context: &Context,
    subject: &Subject<'_>,
    progress: &ProgressSink,
) -> Result<Looked, (Looked, Trouble)> {
    let folder = subject.folder.to_owned();
    let node = context.settings.sync.clone();
    let observed = tokio::task::spawn_blocking(move || {
        let listing = project::observe(&folder, project::Limits::default())?;
        let (overrides, problems) = match project::overrides(&listing) {
            Ok(overrides) => (overrides, Vec::new()),
            Err(problems) => (Overrides::default(), problems),
        };
        let detection = project::detect(&listing, &overrides);
        let identity = project::identify(&listing, &overrides);
        let icon = identity.icon.as_deref().and_then(|icon| read_icon(&folder, icon));
        let sync = terms::compose(node, &listing, &detection, &overrides);
        Ok::<_, project::ObserveError>((overrides, problems, detection, identity, icon, sync))
    })
    .await;
    let (overrides, problems, detection, identity, icon, sync) = match observed {
        Ok(Ok(observed)) => observed,
        Ok(Err(error)) => return Err((Looked::default(), Trouble::of(&error))),
        Err(panicked) => {
            let message = format!("looking at the folder failed: {panicked}");
            return Err((Looked::default(), Trouble { message, hint: None }));
        }
    };
    let mut looked = Looked {
        detection: Some(Arc::new(detection.clone())),
        identity,
        icon: icon.map(Arc::new),
        sync,
        ..Looked::default()
    };
    let problems = problems.iter().chain(&detection.problems);
    if let Some(problem) = problems.clone().find(|problem| problem.fatal) {
        looked.trouble = Some(Trouble { message: place(problem), hint: problem.hint.clone() });
        return Ok(looked);
    }
    looked.notices.extend(problems.map(place));
    if detection.kind == Kind::Unknown {
        looked.trouble = Some(unknown(&detection));
        return Ok(looked);
    }
    match plan(context, subject, &detection, overrides, progress).await {
        Ok(Ok((plan, notice))) => {
            looked.notices.extend(notice.into_iter().chain(plan.notices.iter().cloned()));
            looked.plan = Some(Arc::new(plan));
            Ok(looked)
        }
        Ok(Err(problems)) => {
            looked.trouble = Some(several(&problems));
            Ok(looked)
        }
        Err(trouble) => Err((looked, trouble)),
    }
}

/// A plan, and what its owner should know about the image it runs in.
type Planned = Result<(compose::Plan, Option<String>), Vec<compose::Problem>>;

async fn plan(
    context: &Context,
    subject: &Subject<'_>,
    detection: &Detection,
    overrides: Overrides,
    progress: &ProgressSink,
) -> Result<Planned, Trouble> {
    let of_engine = |error: engine::Error| Trouble::of(&error);
    let about = context.engine.about().await.map_err(of_engine)?;
    let start_interval = start_interval(&about.api_version);
    if overrides.kind.unwrap_or(detection.kind) == Kind::Compose {
        return own_stack(context, subject, detection, overrides, start_interval).await;
    }
    let image = image::resolve(context, detection, &overrides, progress).await.map_err(of_engine)?;
    let input = compose::Input {
        node: context.node.clone(),
        workspace: subject.id.clone(),
        name: subject.name.clone(),
        detection: detection.clone(),
        overrides,
        image: image.reference,
        agent_volume: context.agent()?.volume(),
        folder: subject.folder.display().to_string(),
        ca_bundle: context.settings.ca_bundle.clone(),
        subnet: subnet(context, subject.id).await?,
        defaults: context.settings.limits,
        timezone: None,
        start_interval,
    };
    Ok(compose::plan(&input).map(|plan| (plan, image.notice)))
}

/// The stack of a project with its own compose file. That file is read here, beneath the project, and never by Compose.
async fn own_stack(
    context: &Context,
    subject: &Subject<'_>,
    detection: &Detection,
    overrides: Overrides,
    start_interval: bool,
) -> Result<Planned, Trouble> {
    let (node, workspace, name) = (context.node.clone(), subject.id.clone(), subject.name.clone());
    let (view, defaults) = (files::view(&context.settings.mapping), context.settings.limits);
    let (folder, file) = (subject.folder.to_owned(), detection.file.clone());
    let subnet = subnet(context, subject.id).await?;
    let planned = tokio::task::spawn_blocking(move || {
        compose::passthrough(&compose::PassInput {
            node,
            workspace,
            name,
            file,
            overrides,
            files: &files::Project::new(&folder),
            folder: folder.display().to_string(),
            view,
            subnet,
            defaults,
            start_interval,
        })
    })
    .await;
    let planned = planned.map_err(|panicked| Trouble {
        message: format!("reading the compose file failed: {panicked}"),
        hint: None,
    })?;
    Ok(planned.map(|plan| (plan, None)))
}

/// The subnet of the workspace's network where it exists, else a free one.
async fn subnet(context: &Context, id: &WorkspaceId) -> Result<Subnet, Trouble> {
    let of_engine = |error: engine::Error| Trouble::of(&error);
    let name = compose::network_name(id);
    let own = context.engine.networks(&workspace_label(id)).await.map_err(of_engine)?;
    let kept = own.iter().find(|network| network.name == name).and_then(|network| network.subnets.first());
    if let Some(subnet) = kept.and_then(|text| Subnet::parse(text)) {
        return Ok(subnet);
    }
    let networks = context.engine.networks(&engine::Labels::new()).await.map_err(of_engine)?;
    let used: Vec<String> =
        networks.into_iter().flat_map(|network| network.subnets).chain(host_routes()).collect();
    context.reserve_subnet(id, &used).map_err(|error| Trouble::of(&error))
}

/// The networks the host itself has routes to, but for the default route.
fn host_routes() -> Vec<String> {
    let table = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    table.lines().skip(1).filter_map(route).collect()
}

/// One line of `/proc/net/route`: addresses are in hexadecimal, their bytes in network order (proc(5)).
fn route(line: &str) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let number = |index: usize| u32::from_str_radix(fields.get(index)?, 16).ok();
    let (destination, mask) = (number(1)?, number(7)?);
    let prefix = mask.count_ones();
    (prefix > 0).then(|| format!("{}/{prefix}", std::net::Ipv4Addr::from(destination.swap_bytes())))
}

/// `start_interval` in health checks came with API 1.44.
fn start_interval(api_version: &str) -> bool {
    let parsed = api_version
        .split_once('.')
        .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    parsed.is_some_and(|version: (u32, u32)| version >= (1, 44))
}

fn place(problem: &crate::model::project::Problem) -> String {
    match (problem.line, problem.column) {
        _ if problem.file.is_empty() => problem.message.clone(),
        (Some(line), Some(column)) => format!("{} ({}:{line}:{column})", problem.message, problem.file),
        (Some(line), None) => format!("{} ({}:{line})", problem.message, problem.file),
        (None, _) => format!("{} ({})", problem.message, problem.file),
    }
}

fn several(problems: &[compose::Problem]) -> Trouble {
    let message = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let hints: Vec<String> = problems.iter().filter_map(Explain::hint).collect();
    Trouble { message, hint: (!hints.is_empty()).then(|| hints.join("; ")) }
}

fn unknown(detection: &Detection) -> Trouble {
    let facts: Vec<&str> = detection.because.iter().map(|reason| reason.fact.as_str()).collect();
    let message = if facts.is_empty() {
        "nothing here that can be run was recognised".to_owned()
    } else {
        facts.join("; ")
    };
    let hint = detection.alternatives.first().map_or_else(
        || "write how it starts into .nexus/config.yaml, for example `kind: node` and `start: node server.js`".to_owned(),
        |alternative| alternative.note.clone(),
    );
    Trouble { message, hint: Some(hint) }
}

/// Reads an image file of the project, if it is one and small; links are not followed.
fn read_icon(folder: &Path, icon: &str) -> Option<Icon> {
    let mime = match Path::new(icon).extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        _ => return None,
    };
    let bytes = read_beneath(folder, Path::new(icon), ICON_MAX).ok()?;
    Some(Icon { mime, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read_and_the_default_route_is_none() {
        let line = "eth0\t0002A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0";
        assert_eq!(route(line).as_deref(), Some("192.168.2.0/24"));
        assert_eq!(route("eth0\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0"), None);
    }

    #[test]
    fn the_engine_s_version_decides_about_start_interval() {
        assert!(!start_interval("1.41") && !start_interval("1.43") && !start_interval("what"));
        assert!(start_interval("1.44") && start_interval("1.51"));
    }
}
