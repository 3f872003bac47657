//! What the last restore drill of each destination came to, kept in the node's home until the next one.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::Deserialize;
use serde::Serialize;

use super::sample::Drill;
use super::sample::Tried;
use crate::backup::note;
use crate::base::home::Home;

/// The file. Old nodes skip new fields; what a new one misses in an old file is empty.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    time: Timestamp,
    #[serde(default)]
    workspaces: Vec<KeptTried>,
    #[serde(default)]
    failure: Option<String>,
    #[serde(default)]
    failures: u32,
    #[serde(default)]
    proved: Option<Timestamp>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct KeptTried {
    folder: String,
    snapshot: String,
    files: u64,
    bytes: u64,
    compared: u64,
    findings: Vec<String>,
}

fn file(home: &Home, name: &str) -> PathBuf {
    home.backup().join("drills").join(format!("{name}.json"))
}

/// What is known of the last drill of a destination. What cannot be read is not known: then there is one more.
pub fn load(home: &Home, name: &str) -> Option<Drill> {
    let kept: Kept = note::load(&file(home, name))?;
    let tried = |kept: KeptTried| Tried {
        folder: kept.folder,
        snapshot: kept.snapshot,
        files: kept.files,
        bytes: kept.bytes,
        compared: kept.compared,
        findings: kept.findings,
    };
    Some(Drill {
        time: kept.time,
        workspaces: kept.workspaces.into_iter().map(tried).collect(),
        failure: kept.failure,
        failures: kept.failures,
        proved: kept.proved,
    })
}

/// Keeps it.
pub fn save(home: &Home, name: &str, drill: &Drill) {
    let tried = |tried: &Tried| KeptTried {
        folder: tried.folder.clone(),
        snapshot: tried.snapshot.clone(),
        files: tried.files,
        bytes: tried.bytes,
        compared: tried.compared,
        findings: tried.findings.clone(),
    };
    let kept = Kept {
        time: drill.time,
        workspaces: drill.workspaces.iter().map(tried).collect(),
        failure: drill.failure.clone(),
        failures: drill.failures,
        proved: drill.proved,
    };
    if let Err(error) = note::save(&file(home, name), &kept) {
        tracing::warn!(error = %error, "what a restore drill came to could not be kept");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_came_to_comes_back_and_what_is_damaged_is_unknown() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path());
        assert_eq!(load(&home, "s3"), None);
        let tried = Tried {
            folder: "shop".to_owned(),
            snapshot: "abc".to_owned(),
            files: 3,
            bytes: 20,
            compared: 2,
            findings: vec!["`a` is gone".to_owned()],
        };
        let drill = Drill {
            time: Timestamp::UNIX_EPOCH,
            workspaces: vec![tried],
            failure: Some("no".to_owned()),
            failures: 2,
            proved: Some(Timestamp::UNIX_EPOCH),
        };
        save(&home, "s3", &drill);
        assert_eq!(load(&home, "s3"), Some(drill));
        std::fs::write(file(&home, "s3"), "[").unwrap();
        assert_eq!(load(&home, "s3"), None);
    }
}
