//! What happened at each destination, kept in the node's home, so that a restart does not start everything anew.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde::Serialize;

use super::note;
use super::schedule::Past;
use super::status::Figures;
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
    #[serde(default)]
    figures: Option<KeptFigures>,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
struct KeptFigures {
    files: u64,
    bytes: u64,
    stored: u64,
    took_ms: u64,
}

fn file(home: &Home, name: &str) -> PathBuf {
    home.backup().join("past").join(format!("{name}.json"))
}

/// What is known of a destination's past. What cannot be read is not known: then there is one backup more.
pub fn load(home: &Home, name: &str) -> (Past, Option<Figures>) {
    let kept: Kept = note::load(&file(home, name)).unwrap_or_default();
    let figures = kept.figures.map(|kept| Figures {
        files: kept.files,
        bytes: kept.bytes,
        stored: kept.stored,
        took: Duration::from_millis(kept.took_ms),
    });
    (Past { begun: kept.begun, succeeded: kept.succeeded, failures: kept.failures }, figures)
}

/// Keeps what happened at a destination.
pub fn save(home: &Home, name: &str, past: &Past, figures: Option<Figures>) {
    let figures = figures.map(|figures| KeptFigures {
        files: figures.files,
        bytes: figures.bytes,
        stored: figures.stored,
        took_ms: u64::try_from(figures.took.as_millis()).unwrap_or(u64::MAX),
    });
    let kept = Kept { begun: past.begun, succeeded: past.succeeded, failures: past.failures, figures };
    if let Err(error) = note::save(&file(home, name), &kept) {
        tracing::warn!(error = %error, "what was backed up when could not be kept");
    }
}
