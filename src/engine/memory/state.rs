//! What the engine in memory holds, and how a stack becomes part of it. No waiting in here.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use tokio::sync::broadcast;

use super::Fault;
use super::stack::File;
use super::stack::Object;
use super::stack::Service;
use crate::engine::Container;
use crate::engine::ContainerState;
use crate::engine::Error;
use crate::engine::Event;
use crate::engine::Labels;
use crate::engine::Mount;
use crate::engine::Network;
use crate::engine::Output;
use crate::engine::Stack;
use crate::engine::Volume;

/// Labels Compose itself puts on what it makes.
const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";

/// Enough for the events of one step; a reader that is later than this misses some, as with a real engine.
const EVENTS: usize = 256;
/// How often a container that ends as often as it is started has been restarted when it is looked at.
const DOOMED_RESTARTS: u32 = 20;

/// A container with what only the engine knows of it.
#[derive(Debug)]
pub struct Kept {
    pub seen: Container,
    pub mounts: Vec<Mount>,
    pub log: Vec<Output>,
    /// Whether it ends as often as it is started, until it is made anew.
    pub doomed: bool,
    networks: Vec<String>,
    digest: String,
}

/// All there is.
pub struct State {
    pub containers: BTreeMap<String, Kept>,
    pub networks: BTreeMap<String, Network>,
    pub volumes: BTreeMap<String, Volume>,
    pub images: BTreeMap<String, String>,
    /// Subnets that are taken by nobody who is shown.
    pub hidden: Vec<String>,
    pub exits: BTreeMap<String, Option<i64>>,
    pub calls: Vec<String>,
    pub faults: Vec<(super::When, Fault)>,
    pub gone: bool,
    pub prints: Vec<Output>,
    pub stop_code: i64,
    pub events: broadcast::Sender<Event>,
    made: u32,
}

impl State {
    pub fn new() -> Self {
        Self {
            containers: BTreeMap::new(),
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
            images: BTreeMap::new(),
            hidden: Vec::new(),
            exits: BTreeMap::new(),
            calls: Vec::new(),
            faults: Vec::new(),
            gone: false,
            prints: Vec::new(),
            stop_code: 0,
            events: broadcast::Sender::new(EVENTS),
            made: 0,
        }
    }

    /// A fresh id, as long as a real one.
    pub fn id(&mut self) -> String {
        self.made += 1;
        format!("{:064x}", self.made)
    }

    pub fn tell(&self, object: &str, action: &str, labels: &Labels) {
        let event = Event { object: object.to_owned(), action: action.to_owned(), labels: labels.clone() };
        // Nobody listens: nobody is told.
        self.events.send(event).ok();
    }

    /// Ends all event streams.
    pub fn hang_up(&mut self) {
        self.events = broadcast::Sender::new(EVENTS);
    }

    pub fn find(&mut self, name: &str) -> Result<&mut Kept, Error> {
        self.containers
            .values_mut()
            .find(|kept| kept.seen.id == name || kept.seen.name == name)
            .ok_or_else(|| Error::NotFound { object: "container", name: name.to_owned() })
    }

    pub fn set(&mut self, name: &str, state: ContainerState) -> Result<(), Error> {
        let (code, prints) = (self.stop_code, self.prints.clone());
        let made = self.made;
        let kept = self.find(name)?;
        let state = match state {
            ContainerState::Running if kept.doomed => {
                // As after some pauses of the engine.
                kept.seen.restarts = DOOMED_RESTARTS;
                ContainerState::Restarting
            }
            state => state,
        };
        let before = std::mem::replace(&mut kept.seen.state, state);
        if before == state {
            return Ok(());
        }
        let action = match (before, state) {
            (ContainerState::Paused, ContainerState::Running) => "unpause",
            (_, ContainerState::Paused) => "pause",
            (_, ContainerState::Running) => {
                kept.seen.exit_code = None;
                kept.seen.started_at_ms = Some(1 + i64::from(made));
                kept.log.extend(prints);
                "start"
            }
            _ => {
                kept.seen.exit_code.get_or_insert(code);
                kept.seen.addresses.clear();
                "die"
            }
        };
        let labels = kept.seen.labels.clone();
        if action == "start" {
            self.join(name)?;
        }
        self.tell("container", action, &labels);
        Ok(())
    }

    /// Gives a container that starts its addresses.
    fn join(&mut self, name: &str) -> Result<(), Error> {
        self.made += 1;
        let [_, _, high, low] = self.made.to_be_bytes();
        let kept = self.find(name)?;
        let address = IpAddr::V4(Ipv4Addr::new(172, 31, high, low));
        kept.seen.addresses = kept.networks.iter().map(|name| (name.clone(), address)).collect();
        Ok(())
    }

    pub fn remove(&mut self, name: &str) {
        let id = self.find(name).map(|kept| kept.seen.id.clone());
        if let Some(kept) = id.ok().and_then(|id| self.containers.remove(&id)) {
            self.tell("container", "destroy", &kept.seen.labels);
        }
    }

    pub fn ensure_volume(&mut self, name: &str, labels: &Labels) {
        if !self.volumes.contains_key(name) {
            self.volumes.insert(name.to_owned(), Volume { name: name.to_owned(), labels: labels.clone() });
            self.tell("volume", "create", labels);
        }
    }

    fn ensure_network(&mut self, name: &str, labels: Labels, mut subnets: Vec<String>) -> Result<(), Error> {
        if !self.networks.contains_key(name) {
            if subnets.iter().any(|subnet| self.hidden.contains(subnet)) {
                return Err(Error::Overlap { message: "networks have overlapping IPv4".to_owned() });
            }
            let id = self.id();
            if subnets.is_empty() {
                subnets.push(format!("172.31.{}.0/28", self.networks.len()));
            }
            self.tell("network", "create", &labels);
            self.networks.insert(name.to_owned(), Network { id, name: name.to_owned(), subnets, labels });
        }
        Ok(())
    }

    /// Makes what a stack file says; with `half`, no more than its first container, not started.
    pub fn up(&mut self, stack: &Stack, file: &File, half: bool) -> Result<(), Error> {
        for (key, object) in file.all_networks() {
            let name = named(stack, &key, &object);
            match (object.external, self.networks.contains_key(&name)) {
                (true, false) => return Err(missing("network", &name)),
                (true, true) => (),
                (false, _) => self.ensure_network(&name, marked(stack, object.labels()), object.subnets())?,
            }
        }
        for (key, object) in &file.volumes {
            let object = object.clone().unwrap_or_default();
            let name = named(stack, key, &object);
            match (object.external, self.volumes.contains_key(&name)) {
                (true, false) => return Err(missing("volume", &name)),
                (true, true) => (),
                (false, _) => self.ensure_volume(&name, &marked(stack, object.labels())),
            }
        }
        for (name, service) in &file.services {
            let id = self.ensure_container(stack, file, name, service)?;
            if half {
                return Ok(());
            }
            self.set(&id, ContainerState::Running)?;
        }
        for id in self.of_project(&stack.project, |service| !file.services.contains_key(service)) {
            self.remove(&id);
        }
        Ok(())
    }

    /// Makes the container of one service anew; with `half`, it is not started.
    pub fn remake(&mut self, stack: &Stack, file: &File, service: &str, half: bool) -> Result<(), Error> {
        let Some(wanted) = file.services.get(service) else {
            return Err(Error::Compose { message: format!("no such service: {service}") });
        };
        for id in self.of_project(&stack.project, |name| name == service) {
            self.remove(&id);
        }
        let id = self.ensure_container(stack, file, service, wanted)?;
        if half { Ok(()) } else { self.set(&id, ContainerState::Running) }
    }

    fn ensure_container(
        &mut self,
        stack: &Stack,
        file: &File,
        name: &str,
        service: &Service,
    ) -> Result<String, Error> {
        let digest = service.digest();
        let existing = self.of_project(&stack.project, |service| service == name);
        for id in existing {
            if self.find(&id)?.digest == digest {
                return Ok(id);
            }
            self.remove(&id);
        }
        let image = service.image.clone().unwrap_or_else(|| format!("{}-{name}", stack.project));
        if service.build.is_some() {
            let id = self.id();
            self.images.insert(image.clone(), id);
        } else if !self.images.contains_key(&image) {
            return Err(Error::Pull { image, message: "no registry answers".to_owned() });
        }
        let called = service.container_name.clone().unwrap_or_else(|| format!("{}-{name}-1", stack.project));
        if self.find(&called).is_ok() {
            return Err(Error::Conflict { message: format!("the name `{called}` is in use") });
        }
        let networks = file.all_networks();
        let networks = service.networks().into_iter().map(|key| {
            let object = networks.get(&key).cloned().unwrap_or_default();
            named(stack, &key, &object)
        });
        let networks = networks.collect();
        let mut labels = marked(stack, service.labels());
        labels.insert(SERVICE.to_owned(), name.to_owned());
        let mounts = service.mounts().into_iter().map(|(source, target)| {
            let source = match file.volumes.get(&source) {
                Some(object) => {
                    PathBuf::from("/volumes").join(named(stack, &source, &object.clone().unwrap_or_default()))
                }
                None => PathBuf::from(source),
            };
            Mount { source, target: target.into() }
        });
        let mounts = mounts.collect();
        let id = self.id();
        self.tell("container", "create", &labels);
        let seen = Container {
            id: id.clone(),
            name: called,
            image,
            state: ContainerState::Created,
            exit_code: None,
            restarts: 0,
            oom_killed: false,
            labels,
            addresses: BTreeMap::new(),
            exposed: service.exposed(),
            started_at_ms: None,
            health: None,
        };
        self.containers
            .insert(id.clone(), Kept { seen, mounts, networks, log: Vec::new(), digest, doomed: false });
        Ok(id)
    }

    pub fn down(&mut self, project: &str, volumes: bool) {
        for id in self.of_project(project, |_| true) {
            self.remove(&id);
        }
        let ours = |labels: &Labels| labels.get(PROJECT).is_some_and(|name| name == project);
        let networks: Vec<Network> = self.networks.values().filter(|it| ours(&it.labels)).cloned().collect();
        for network in networks {
            self.networks.remove(&network.name);
            self.tell("network", "destroy", &network.labels);
        }
        let gone: Vec<Volume> =
            self.volumes.values().filter(|it| volumes && ours(&it.labels)).cloned().collect();
        for volume in gone {
            self.volumes.remove(&volume.name);
            self.tell("volume", "destroy", &volume.labels);
        }
    }

    /// The containers of a project whose service is one of those.
    fn of_project(&self, project: &str, service: impl Fn(&str) -> bool) -> Vec<String> {
        let of = |kept: &&Kept| {
            let label = |key| kept.seen.labels.get(key).map(String::as_str);
            label(PROJECT) == Some(project) && label(SERVICE).is_some_and(&service)
        };
        self.containers.values().filter(of).map(|kept| kept.seen.id.clone()).collect()
    }
}

/// Whether these labels contain those.
pub fn selected(labels: &Labels, by: &Labels) -> bool {
    by.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn named(stack: &Stack, key: &str, object: &Object) -> String {
    match (&object.name, object.external) {
        (Some(name), _) => name.clone(),
        (None, true) => key.to_owned(),
        (None, false) => format!("{}_{key}", stack.project),
    }
}

fn marked(stack: &Stack, mut labels: Labels) -> Labels {
    labels.insert(PROJECT.to_owned(), stack.project.clone());
    labels
}

fn missing(object: &str, name: &str) -> Error {
    Error::Compose { message: format!("{object} {name} declared as external, but could not be found") }
}
