//! What was found out about each destination, kept in the node's home until the next probe.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::Deserialize;
use serde::Serialize;

use super::finding::Ability;
use super::finding::Finding;
use super::finding::Probe;
use super::finding::Verdict;
use crate::backup::note;
use crate::base::home::Home;

/// The file. Old nodes skip new fields and findings whose words they do not know; what a new one misses is unknown.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    time: Timestamp,
    place: String,
    findings: Vec<KeptFinding>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct KeptFinding {
    ability: String,
    verdict: String,
    #[serde(default)]
    detail: String,
}

fn file(home: &Home, name: &str) -> PathBuf {
    home.backup().join("probes").join(format!("{name}.json"))
}

/// What was found out last about a destination. What cannot be read is not known: then it is asked anew.
pub fn load(home: &Home, name: &str) -> Option<Probe> {
    let kept: Kept = note::load(&file(home, name))?;
    let finding = |kept: KeptFinding| {
        let ability = Ability::ALL.into_iter().find(|one| one.word() == kept.ability)?;
        let verdict = Verdict::ALL.into_iter().find(|one| one.word() == kept.verdict)?;
        Some(Finding { ability, verdict, detail: kept.detail })
    };
    let findings = kept.findings.into_iter().filter_map(finding).collect();
    Some(Probe { time: kept.time, place: kept.place, findings })
}

/// Keeps it.
pub fn save(home: &Home, name: &str, probe: &Probe) {
    let finding = |finding: &Finding| KeptFinding {
        ability: finding.ability.word().to_owned(),
        verdict: finding.verdict.word().to_owned(),
        detail: finding.detail.clone(),
    };
    let findings = probe.findings.iter().map(finding).collect();
    let kept = Kept { time: probe.time, place: probe.place.clone(), findings };
    if let Err(error) = note::save(&file(home, name), &kept) {
        tracing::warn!(error = %error, "what a destination does could not be kept");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_comes_back_and_what_is_damaged_is_unknown() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path());
        assert_eq!(load(&home, "s3"), None);
        let finding = |ability| Finding { ability, verdict: Verdict::Absent, detail: "why".to_owned() };
        let probe = Probe {
            time: Timestamp::UNIX_EPOCH,
            place: "s3://b".to_owned(),
            findings: Ability::ALL.map(finding).to_vec(),
        };
        save(&home, "s3", &probe);
        assert_eq!(load(&home, "s3"), Some(probe.clone()));
        let text = std::fs::read_to_string(file(&home, "s3")).unwrap();
        std::fs::write(file(&home, "s3"), text.replace("\"create_once\"", "\"of another version\"")).unwrap();
        let found = load(&home, "s3").unwrap();
        assert_eq!(found.findings.len(), probe.findings.len() - 1);
        assert_eq!(found.verdict(Ability::Create), Verdict::Unknown);
        std::fs::write(file(&home, "s3"), "{").unwrap();
        assert_eq!(load(&home, "s3"), None);
    }
}
