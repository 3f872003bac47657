//! What every worker shares: the drivers and the node's settings for workspaces.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::prepare::Trouble;
use crate::base::home::Home;
use crate::base::ids::NodeId;
use crate::base::ids::WorkspaceId;
use crate::compose;
use crate::compose::Subnet;
use crate::engine;
use crate::engine::Engine;
use crate::engine::mounts::Mapping;
use crate::model::project::Limits;
use crate::store::Store;
use crate::sync;

/// Stacks brought up at the same time: more would only make each of them slower.
const UPS_AT_ONCE: usize = 2;

/// The node's settings for workspaces.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The watched directory, as this process sees it.
    pub directory: PathBuf,
    /// How long a folder must be quiet before it is taken.
    pub settle: Duration,
    /// How often everything is looked at again, hints or not.
    pub rescan: Duration,
    /// What a container may use unless its project says otherwise.
    pub limits: Limits,
    /// How folders and containers' copies are kept equal unless their projects say otherwise.
    pub sync: sync::Settings,
    /// Certificate authorities for containers: a file on the engine's host.
    pub ca_bundle: Option<String>,
    /// The same for image builds: a file this process can read.
    pub build_ca_bundle: Option<PathBuf>,
    /// How this process's paths relate to those of the engine's host.
    pub mapping: Mapping,
    /// Where workspaces' networks are taken from.
    pub network_range: Subnet,
    /// Whether official images may be pulled.
    pub registry: bool,
    /// The directory of the runtime images' Dockerfiles.
    pub images: PathBuf,
    /// The agent binary to put into containers.
    pub agent: PathBuf,
}

/// What every worker shares.
pub struct Context {
    /// Which node this is.
    pub node: NodeId,
    /// Settings.
    pub settings: Settings,
    /// What is wanted.
    pub store: Store,
    /// What is.
    pub engine: Arc<dyn Engine>,
    /// Paths.
    pub home: Home,
    /// Taken while a stack is brought up.
    pub ups: Semaphore,
    /// Taken while a runtime image is built: a build uses all there is.
    pub builds: Semaphore,
    /// Subnets chosen for workspaces whose network may not exist yet.
    reserved: Mutex<HashMap<WorkspaceId, Subnet>>,
    /// Subnets the engine would not have although nothing it shows is there; each costs one attempt, so that they need
    /// not outlive this process.
    refused: Mutex<BTreeSet<Subnet>>,
    agent: OnceLock<sync::Agent>,
    /// Whether the agent is known to be on its volume.
    pub(super) agent_installed: tokio::sync::Mutex<bool>,
    /// Images that could not be pulled, and when that was.
    absent: Mutex<HashMap<String, Instant>>,
}

impl Context {
    /// A context over these drivers.
    pub fn new(node: NodeId, settings: Settings, store: Store, engine: Arc<dyn Engine>, home: Home) -> Self {
        Self {
            node,
            settings,
            store,
            engine,
            home,
            ups: Semaphore::new(UPS_AT_ONCE),
            builds: Semaphore::new(1),
            reserved: Mutex::new(HashMap::new()),
            refused: Mutex::new(BTreeSet::new()),
            agent: OnceLock::new(),
            agent_installed: tokio::sync::Mutex::new(false),
            absent: Mutex::new(HashMap::new()),
        }
    }

    /// Selects everything this node made.
    pub fn node_label(&self) -> engine::Labels {
        engine::Labels::from([(engine::label::NODE.to_owned(), self.node.to_string())])
    }

    /// The agent that containers get. Its binary is read once.
    pub(super) fn agent(&self) -> Result<&sync::Agent, Trouble> {
        if let Some(agent) = self.agent.get() {
            return Ok(agent);
        }
        let agent = sync::Agent::load(&self.settings.agent).map_err(|error| Trouble::of(&error))?;
        Ok(self.agent.get_or_init(|| agent))
    }

    /// A subnet for the network of this workspace that overlaps neither `used` nor what others were given.
    pub(super) fn reserve_subnet(
        &self,
        id: &WorkspaceId,
        used: &[String],
    ) -> Result<Subnet, compose::Exhausted> {
        let mut reserved = self.reserved.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let refused = self.refused.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let used: Vec<String> = used.iter().cloned().chain(refused.iter().map(Subnet::to_string)).collect();
        let free = |mine: &Subnet| {
            !used.iter().filter_map(|text| Subnet::parse(text)).any(|other| other.overlaps(*mine))
        };
        if let Some(mine) = reserved.get(id).filter(|mine| free(mine)) {
            return Ok(*mine);
        }
        let others = reserved.iter().filter(|(other, _)| *other != id).map(|(_, subnet)| subnet.to_string());
        let taken: Vec<String> = used.into_iter().chain(others).collect();
        let chosen = compose::choose_subnet(self.settings.network_range, &taken)?;
        reserved.insert(id.clone(), chosen);
        Ok(chosen)
    }

    /// The engine would not have the subnet that was chosen for this workspace: the next choice is another one.
    pub(super) fn refuse_subnet(&self, id: &WorkspaceId) {
        let mut reserved = self.reserved.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut refused = self.refused.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        refused.extend(reserved.remove(id));
    }

    /// Whether a pull of this image failed within the last ten minutes.
    pub(super) fn known_absent(&self, image: &str) -> bool {
        let absent = self.absent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        absent.get(image).is_some_and(|since| since.elapsed() < Duration::from_secs(600))
    }

    pub(super) fn note_absent(&self, image: &str) {
        let mut absent = self.absent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        absent.insert(image.to_owned(), Instant::now());
    }
}
