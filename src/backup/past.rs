//! What happened at each destination, kept in the node's home, so that a restart does not start everything anew.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::Deserialize;
use serde::Serialize;

use super::schedule::Past;
use crate::base::files;
use crate::base::home::Home;

/// The file. Old nodes skip new fields; new ones read old files.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Kept {
    #[serde(default)]
    begun: Option<Timestamp>,
    #[serde(default)]
    succeeded: Option<Timestamp>,
    #[serde(default)]
    failures: u32,
}

fn file(home: &Home, name: &str) -> PathBuf {
    home.backup().join("past").join(format!("{name}.json"))
}

/// What is known of a destination's past. What cannot be read is not known: then there is one backup more.
pub fn load(home: &Home, name: &str) -> Past {
    let text = std::fs::read(file(home, name)).unwrap_or_default();
    let kept: Kept = serde_json::from_slice(&text).unwrap_or_default();
    Past { begun: kept.begun, succeeded: kept.succeeded, failures: kept.failures }
}

/// Keeps what happened at a destination.
pub fn save(home: &Home, name: &str, past: &Past) {
    let path = file(home, name);
    let kept = Kept { begun: past.begun, succeeded: past.succeeded, failures: past.failures };
    let text = serde_json::to_vec(&kept).expect("times become JSON");
    let directory = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    if let Err(error) = directory.and_then(|()| files::replace(&path, &text)) {
        tracing::warn!(error = %error, "what was backed up when could not be kept");
    }
}
