//! Decides the one next step of a workspace, from what is wanted and what is there. Pure.
//!
//! The planner is asked again after every step, so a step only has to bring things closer. It is never told what
//! happened before: only what is.

use jiff::Timestamp;

use crate::engine::Container;
use crate::engine::ContainerState;
use crate::engine::label;
use crate::store::workspace::Desired;

/// Restarts of one container by the engine after which it is not expected to come right by itself. The engine's pauses
/// double from 0.1 s, so this is well over ten seconds of trying.
const RESTARTS_MAX: u32 = 6;

/// The folder of a workspace, as last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Folder {
    /// The watched directory cannot be read: what is there is unknown.
    Unknown {
        /// Why.
        why: String,
    },
    /// The directory was read and the folder is not in it.
    Missing,
    /// Somebody is writing in it.
    Settling {
        /// Since when.
        since: Timestamp,
        /// What changed last.
        changing: Option<String>,
    },
    /// It is there and cannot be read.
    Unreadable {
        /// Why.
        why: String,
    },
    /// It is there and quiet.
    Settled,
}

/// What a project asks for, once looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Project {
    /// Not looked at yet.
    Unseen,
    /// It cannot run; the view says why.
    Unrunnable,
    /// A stack.
    Stack(Stack),
}

/// The part of a stack the planner needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// Digest on every container made from it.
    pub digest: String,
    /// Its services.
    pub services: Vec<String>,
    /// The service that carries the agent.
    pub agent: Option<String>,
}

/// Everything the planner looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// What is wanted.
    pub desired: Desired,
    /// Containers started before this moment are restarted once.
    pub restart_at: Timestamp,
    /// Its owner asked for it by hand: a folder that keeps changing is taken as it is.
    pub insisted: bool,
    /// The folder.
    pub folder: Folder,
    /// The project.
    pub project: Project,
    /// All containers of the workspace.
    pub containers: Vec<Container>,
    /// Whether the engine was away since the stack was last brought up: what it stopped must be started again.
    pub revive: bool,
    /// Whether a container may be made anew now; not too soon after the last time.
    pub remake: bool,
}

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing to do until something changes.
    Rest,
    /// Look at the project.
    Look,
    /// Bring the stack up.
    Up,
    /// Make the container of this service anew.
    Remake(String),
    /// Start these containers.
    Start(Vec<String>),
    /// Let these frozen containers go on.
    Unpause(Vec<String>),
    /// Restart these containers.
    Restart(Vec<String>),
    /// Stop these containers.
    Stop(Vec<String>),
    /// Remove containers and networks.
    Down,
    /// Move the folder to the trash, remove the volumes if they are to go, and note that it is done.
    Bury {
        /// Whether the volumes go.
        purge: bool,
    },
}

/// The next step.
pub fn next(seen: &Observed) -> Step {
    match seen.desired {
        Desired::Removed => Step::Rest,
        Desired::Remove | Desired::Purge if !seen.containers.is_empty() => Step::Down,
        Desired::Remove => Step::Bury { purge: false },
        Desired::Purge => Step::Bury { purge: true },
        Desired::Stop => stop(seen),
        Desired::Run => run(seen),
    }
}

fn run(seen: &Observed) -> Step {
    let takeable = match seen.folder {
        Folder::Missing => return stop(seen),
        Folder::Settled => true,
        Folder::Settling { .. } => seen.insisted,
        Folder::Unknown { .. } | Folder::Unreadable { .. } => false,
    };
    match &seen.project {
        Project::Unseen if takeable => Step::Look,
        Project::Stack(stack) if takeable && !complete(stack, &seen.containers) => Step::Up,
        Project::Stack(_) if seen.revive && seen.containers.iter().any(idle) => Step::Up,
        Project::Stack(Stack { agent: Some(agent), .. })
            if takeable && seen.remake && stuck(agent, &seen.containers) =>
        {
            Step::Remake(agent.clone())
        }
        // What is unknown, half-written or broken changes nothing about what runs already.
        Project::Unseen | Project::Unrunnable | Project::Stack(_) => maintain(seen),
    }
}

/// Keeps alive what is there.
fn maintain(seen: &Observed) -> Step {
    let select = |wanted: &dyn Fn(&Container) -> bool| -> Vec<String> {
        seen.containers
            .iter()
            .filter(|container| wanted(container))
            .map(|container| container.id.clone())
            .collect()
    };
    let paused = select(&|container| container.state == ContainerState::Paused);
    if !paused.is_empty() {
        return Step::Unpause(paused);
    }
    let stale = select(&|container| {
        container.started_at_ms.is_some_and(|started| started < seen.restart_at.as_millisecond())
    });
    if !stale.is_empty() {
        return Step::Restart(stale);
    }
    // The agent never ends by itself, so its container is started whenever it is found stopped. Any other container
    // that has ended did so by its own restart policy.
    let Project::Stack(Stack { agent: Some(agent), .. }) = &seen.project else { return Step::Rest };
    let fallen = select(&|container| idle(container) && service_of(container) == Some(agent.as_str()));
    if fallen.is_empty() { Step::Rest } else { Step::Start(fallen) }
}

fn stop(seen: &Observed) -> Step {
    let up: Vec<String> = seen
        .containers
        .iter()
        .filter(|container| !idle(container))
        .map(|container| container.id.clone())
        .collect();
    if up.is_empty() { Step::Rest } else { Step::Stop(up) }
}

/// Whether the engine restarts the agent's container again and again. The agent never ends by itself, so that is no
/// crash of somebody's program but a container the engine has lost track of, and starting it cannot mend it: an engine
/// that was killed while it started a container finds it running later, ends what runs for the sake of a fresh start,
/// and takes the news of that end for the end of what it has just started (moby#48912). A container without an agent
/// keeps its owner's restart policy, whatever comes of it.
fn stuck(agent: &str, containers: &[Container]) -> bool {
    containers.iter().any(|container| {
        container.state == ContainerState::Restarting
            && container.restarts >= RESTARTS_MAX
            && service_of(container) == Some(agent)
    })
}

/// Whether every service has a container made from this very stack, and nothing is left of another. One that was made
/// and never started is what a failed start leaves; the agent's is started by itself. A second one with the agent is
/// what is left of making it anew: both would work on the same volumes.
fn complete(stack: &Stack, containers: &[Container]) -> bool {
    let begun = |state: ContainerState| match state {
        ContainerState::Dead => false,
        ContainerState::Created => stack.agent.is_some(),
        _ => true,
    };
    let made_from_it = |container: &Container| {
        container.labels.get(label::STACK) == Some(&stack.digest) && begun(container.state)
    };
    let there = |service: &String| containers.iter().any(|container| service_of(container) == Some(service));
    let of_agent = |container: &&Container| service_of(container) == stack.agent.as_deref();
    containers.iter().all(made_from_it)
        && stack.services.iter().all(there)
        && (stack.agent.is_none() || containers.iter().filter(of_agent).count() == 1)
}

fn idle(container: &Container) -> bool {
    matches!(container.state, ContainerState::Created | ContainerState::Exited | ContainerState::Dead)
}

/// The service of the stack file a container was made from.
pub fn service_of(container: &Container) -> Option<&str> {
    container.labels.get("com.docker.compose.service").map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(service: &str, state: ContainerState, digest: &str) -> Container {
        Container {
            id: format!("id-{service}"),
            name: service.to_owned(),
            image: "image".to_owned(),
            state,
            exit_code: None,
            restarts: 0,
            oom_killed: false,
            labels: [(label::STACK, digest), ("com.docker.compose.service", service)]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            addresses: Default::default(),
            exposed: vec![],
            started_at_ms: Some(1_000),
            health: None,
        }
    }

    fn seen(containers: Vec<Container>) -> Observed {
        Observed {
            desired: Desired::Run,
            restart_at: Timestamp::UNIX_EPOCH,
            insisted: false,
            folder: Folder::Settled,
            project: Project::Stack(Stack {
                digest: "d1".to_owned(),
                services: vec!["app".to_owned()],
                agent: Some("app".to_owned()),
            }),
            containers,
            revive: false,
            remake: true,
        }
    }

    fn settling() -> Folder {
        Folder::Settling { since: Timestamp::UNIX_EPOCH, changing: None }
    }

    use ContainerState::Created;
    use ContainerState::Exited;
    use ContainerState::Paused;
    use ContainerState::Restarting;
    use ContainerState::Running;

    #[test]
    fn a_settled_folder_is_looked_at_brought_up_and_left_alone() {
        assert_eq!(next(&Observed { project: Project::Unseen, ..seen(vec![]) }), Step::Look);
        assert_eq!(next(&seen(vec![])), Step::Up);
        assert_eq!(next(&seen(vec![container("app", Running, "d1")])), Step::Rest);
    }

    #[test]
    fn a_copy_in_progress_is_not_taken_unless_its_owner_insists() {
        let copying = Observed { folder: settling(), project: Project::Unseen, ..seen(vec![]) };
        assert_eq!(next(&copying), Step::Rest);
        assert_eq!(next(&Observed { insisted: true, ..copying }), Step::Look);
    }

    #[test]
    fn another_stack_replaces_what_runs_and_a_broken_project_does_not() {
        let old = vec![container("app", Running, "d0")];
        assert_eq!(next(&seen(old.clone())), Step::Up);
        assert_eq!(next(&Observed { project: Project::Unrunnable, ..seen(old) }), Step::Rest);
    }

    #[test]
    fn an_unknown_directory_touches_nothing_and_a_missing_folder_stops() {
        let up = vec![container("app", Running, "d0")];
        let unknown = Folder::Unknown { why: "gone".to_owned() };
        assert_eq!(next(&Observed { folder: unknown, ..seen(up.clone()) }), Step::Rest);
        let missing = Observed { folder: Folder::Missing, ..seen(up) };
        assert_eq!(next(&missing), Step::Stop(vec!["id-app".to_owned()]));
        let stopped = Observed { containers: vec![container("app", Exited, "d0")], ..missing };
        assert_eq!(next(&stopped), Step::Rest);
    }

    #[test]
    fn the_agent_s_container_is_kept_running_and_others_keep_their_own_policy() {
        let fallen = seen(vec![container("app", Exited, "d1"), container("job", Exited, "d1")]);
        assert_eq!(next(&fallen), Step::Start(vec!["id-app".to_owned()]));
        let revived = Observed { revive: true, ..fallen };
        assert_eq!(next(&revived), Step::Up);
        let paused = seen(vec![container("app", Paused, "d1")]);
        assert_eq!(next(&paused), Step::Unpause(vec!["id-app".to_owned()]));
    }

    #[test]
    fn what_was_made_and_never_started_is_brought_up_again() {
        let mut failed = seen(vec![container("app", Running, "d1"), container("db", Created, "d1")]);
        let stack = |agent: Option<&str>| {
            Project::Stack(Stack {
                digest: "d1".to_owned(),
                services: vec!["app".to_owned(), "db".to_owned()],
                agent: agent.map(str::to_owned),
            })
        };
        failed.project = stack(None);
        assert_eq!(next(&failed), Step::Up);
        failed.project = stack(Some("db"));
        assert_eq!(next(&failed), Step::Start(vec!["id-db".to_owned()]));
    }

    #[test]
    fn an_agent_that_the_engine_restarts_for_ever_is_made_anew_and_nobody_else() {
        let restarting =
            |service: &str, restarts: u32| Container { restarts, ..container(service, Restarting, "d1") };
        assert_eq!(next(&seen(vec![restarting("app", RESTARTS_MAX - 1)])), Step::Rest, "its first pauses");
        let stuck = seen(vec![restarting("app", RESTARTS_MAX)]);
        assert_eq!(next(&stuck), Step::Remake("app".to_owned()));
        assert_eq!(next(&Observed { remake: false, ..stuck.clone() }), Step::Rest, "not again so soon");
        let unknown = Folder::Unknown { why: "gone".to_owned() };
        assert_eq!(next(&Observed { folder: unknown, ..stuck.clone() }), Step::Rest);
        let stopped = Observed { desired: Desired::Stop, ..stuck.clone() };
        assert_eq!(next(&stopped), Step::Stop(vec!["id-app".to_owned()]));
        let own = Stack { digest: "d1".to_owned(), services: vec!["app".to_owned()], agent: None };
        assert_eq!(
            next(&Observed { project: Project::Stack(own), ..stuck }),
            Step::Rest,
            "its owner's policy"
        );
        let beside = seen(vec![container("app", Running, "d1"), restarting("job", 1_000)]);
        assert_eq!(next(&beside), Step::Rest, "another service of the stack");
    }

    #[test]
    fn two_containers_with_the_agent_are_one_too_many() {
        let mut twice = seen(vec![container("app", Running, "d1"), container("app", Created, "d1")]);
        assert_eq!(next(&twice), Step::Up);
        let replicas = Stack { digest: "d1".to_owned(), services: vec!["app".to_owned()], agent: None };
        twice.project = Project::Stack(replicas);
        twice.containers[1].state = Running;
        assert_eq!(next(&twice), Step::Rest, "a project of its own may have several");
    }

    #[test]
    fn a_restart_happens_once() {
        let restart_at = Timestamp::from_millisecond(2_000).unwrap();
        let mut asked = Observed { restart_at, ..seen(vec![container("app", Running, "d1")]) };
        assert_eq!(next(&asked), Step::Restart(vec!["id-app".to_owned()]));
        asked.containers[0].started_at_ms = Some(2_500);
        assert_eq!(next(&asked), Step::Rest);
    }

    #[test]
    fn removal_takes_the_containers_down_before_the_folder_is_moved() {
        let asked = Observed { desired: Desired::Remove, ..seen(vec![container("app", Created, "d1")]) };
        assert_eq!(next(&asked), Step::Down);
        assert_eq!(next(&Observed { containers: vec![], ..asked }), Step::Bury { purge: false });
        assert_eq!(next(&Observed { desired: Desired::Purge, ..seen(vec![]) }), Step::Bury { purge: true });
        assert_eq!(next(&Observed { desired: Desired::Removed, ..seen(vec![]) }), Step::Rest);
    }
}
