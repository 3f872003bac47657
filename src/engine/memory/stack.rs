//! The part of a stack file that the engine in memory acts on.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_yaml::Value;

use crate::engine::Error;
use crate::engine::Labels;

/// A stack file.
#[derive(Debug, Default, Deserialize)]
pub struct File {
    /// Services by name.
    #[serde(default)]
    pub services: BTreeMap<String, Service>,
    /// Networks by their name within the file.
    #[serde(default)]
    pub networks: BTreeMap<String, Option<Object>>,
    /// Volumes by their name within the file.
    #[serde(default)]
    pub volumes: BTreeMap<String, Option<Object>>,
}

/// A service.
#[derive(Debug, Default, Deserialize)]
pub struct Service {
    /// The image; built ones may have none.
    pub image: Option<String>,
    /// How it is built.
    pub build: Option<Value>,
    /// A name of its own.
    pub container_name: Option<String>,
    #[serde(default)]
    labels: Value,
    #[serde(default)]
    expose: Vec<Value>,
    #[serde(default)]
    networks: Value,
    #[serde(default)]
    volumes: Vec<Value>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// A network or a volume.
#[derive(Debug, Default, Clone, Deserialize)]
pub struct Object {
    /// Its name in the engine.
    pub name: Option<String>,
    /// Whether somebody else makes it.
    #[serde(default)]
    pub external: bool,
    #[serde(default)]
    labels: Value,
    #[serde(default)]
    ipam: Ipam,
}

#[derive(Debug, Default, Clone, Deserialize)]
struct Ipam {
    #[serde(default)]
    config: Vec<Pool>,
}

#[derive(Debug, Clone, Deserialize)]
struct Pool {
    subnet: String,
}

impl Object {
    /// The subnets it asks for.
    pub fn subnets(&self) -> Vec<String> {
        self.ipam.config.iter().map(|pool| pool.subnet.clone()).collect()
    }
}

impl File {
    /// Reads a stack file as Compose would, as far as the engine in memory goes.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refuse = |message: String| Error::Compose { message };
        let file: Self = serde_yaml::from_str(text).map_err(|error| refuse(error.to_string()))?;
        for (name, service) in &file.services {
            if service.image.is_none() && service.build.is_none() {
                return Err(refuse(format!("service \"{name}\" has neither an image nor a build context")));
            }
        }
        Ok(file)
    }

    /// The networks there will be, by their name within the file.
    pub fn all_networks(&self) -> BTreeMap<String, Object> {
        let mut all: BTreeMap<String, Object> = self
            .networks
            .iter()
            .map(|(name, object)| (name.clone(), object.clone().unwrap_or_default()))
            .collect();
        if self.services.values().any(|service| service.networks().contains(&"default".to_owned())) {
            all.entry("default".to_owned()).or_default();
        }
        all
    }
}

impl Service {
    /// The labels it gives its container.
    pub fn labels(&self) -> Labels {
        labels(&self.labels)
    }

    /// The ports it declares.
    pub fn exposed(&self) -> Vec<u16> {
        self.expose.iter().filter_map(|port| scalar(port).parse().ok()).collect()
    }

    /// Its networks by their name within the file.
    pub fn networks(&self) -> Vec<String> {
        match &self.networks {
            Value::Sequence(names) => names.iter().map(scalar).collect(),
            Value::Mapping(names) => names.keys().map(scalar).collect(),
            _ if self.rest.contains_key("network_mode") => Vec::new(),
            _ => vec!["default".to_owned()],
        }
    }

    /// Named volumes and binds: source and target.
    pub fn mounts(&self) -> Vec<(String, String)> {
        let mount = |value: &Value| match value {
            Value::String(text) => {
                let mut parts = text.split(':');
                Some((parts.next()?.to_owned(), parts.next()?.to_owned()))
            }
            other => Some((scalar(other.get("source")?), scalar(other.get("target")?))),
        };
        self.volumes.iter().filter_map(mount).collect()
    }

    /// Two services with the same digest need no new container.
    pub fn digest(&self) -> String {
        format!("{self:?}")
    }
}

impl Object {
    /// Its labels.
    pub fn labels(&self) -> Labels {
        labels(&self.labels)
    }
}

fn labels(value: &Value) -> Labels {
    match value {
        Value::Mapping(map) => map.iter().map(|(key, value)| (scalar(key), scalar(value))).collect(),
        Value::Sequence(list) => list
            .iter()
            .map(scalar)
            .map(|item| {
                item.split_once('=')
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .unwrap_or((item, String::new()))
            })
            .collect(),
        _ => Labels::new(),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        _ => String::new(),
    }
}
