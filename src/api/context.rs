//! What every handler can reach.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::auth;
use super::origin;
use crate::backup::Backups;
use crate::base::home::Home;
use crate::base::ids::NodeId;
use crate::compose::Subnet;
use crate::engine::Engine;
use crate::ops::doctor;
use crate::ops::vitals::Vitals;
use crate::router;
use crate::store::Store;
use crate::workspace::Workspaces;

/// What the owner decides about the control port.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Host names that are ours, besides addresses and `localhost`.
    pub names: origin::Names,
    /// Where workspaces' containers live: requests from there are refused.
    pub refuse: Vec<Subnet>,
    /// How the owner's browser reaches the control port, without a slash at the end: `http://localhost:7070`.
    pub control_url: String,
}

/// What the node says about itself.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Its id.
    pub id: NodeId,
    /// When it started.
    pub started_at: Timestamp,
    /// The watched directory.
    pub directory: PathBuf,
    /// Its doors: name and URL.
    pub listeners: Vec<(String, String)>,
    /// How it is.
    pub vitals: Vitals,
    /// Cancelled when the node closes: streams that stay open end then.
    pub closing: CancellationToken,
}

/// The handle every handler holds. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    inner: Arc<Inner>,
}

/// What the doors are tied to.
pub struct Parts {
    /// The workspaces.
    pub workspaces: Workspaces,
    /// Backups.
    pub backups: Backups,
    /// What the web port counts.
    pub web: Arc<router::Metrics>,
    /// The engine.
    pub engine: Arc<dyn Engine>,
    /// Where tokens are kept.
    pub store: Store,
    /// The node's home.
    pub home: Home,
    /// What the owner decides.
    pub settings: Settings,
    /// What the node says about itself.
    pub facts: Facts,
    /// What the doctor looks at.
    pub doctor: doctor::Subject,
}

struct Inner {
    parts: Parts,
    tokens: Arc<auth::Tokens>,
}

impl Api {
    /// Ties the rooms together; starts nothing.
    pub fn new(parts: Parts) -> Self {
        let tokens = Arc::new(auth::Tokens::new(parts.store.clone(), parts.home.claim()));
        Self { inner: Arc::new(Inner { parts, tokens }) }
    }

    /// The workspaces.
    pub fn workspaces(&self) -> &Workspaces {
        &self.inner.parts.workspaces
    }

    /// Backups.
    pub fn backups(&self) -> &Backups {
        &self.inner.parts.backups
    }

    /// What the web port counts.
    pub fn web(&self) -> &router::Metrics {
        &self.inner.parts.web
    }

    /// The engine.
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.inner.parts.engine
    }

    /// The tokens.
    pub fn tokens(&self) -> &Arc<auth::Tokens> {
        &self.inner.tokens
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.inner.parts.settings
    }

    /// The node's facts.
    pub fn facts(&self) -> &Facts {
        &self.inner.parts.facts
    }

    /// What the doctor looks at.
    pub fn doctor(&self) -> &doctor::Subject {
        &self.inner.parts.doctor
    }
}
