//! What is known to be at a destination: for each workspace its last snapshot, and the fingerprints of the folder and of
//! its directories then.
//!
//! Kept in the node's home, one small file for each workspace and destination. It is a short cut and no proof: whoever
//! uses it asks the destination whether the snapshot is still there. Losing it costs one run as long as any other.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use super::digest::Print;
use super::note;
use crate::base::home::Home;

/// What was last written of a workspace. Old nodes skip new fields; what a new one misses in an old file is unknown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// The folder's name then: a snapshot is of one name.
    pub folder: String,
    /// The fingerprint of the folder when the snapshot was taken, if it proves anything.
    pub digest: Option<String>,
    /// The snapshot.
    pub snapshot: String,
    /// The object at the destination that a snapshot is: without it there is none.
    pub object: String,
    /// The fingerprints of its directories then, of all that prove anything.
    #[serde(default, with = "hexadecimal")]
    pub directories: Vec<Print>,
    /// What the destination's index consisted of, by the beginnings of its files' names: as long as all of it is there,
    /// nothing that the snapshot needs has been taken out of it.
    #[serde(default)]
    pub index: BTreeSet<String>,
}

/// Fingerprints as one text.
mod hexadecimal {
    use serde::Deserialize as _;
    use serde::Deserializer;
    use serde::Serializer;
    use serde::de::Error as _;

    use super::*;

    pub fn serialize<S: Serializer>(prints: &[Print], serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(prints.len() * 32);
        for print in prints {
            let _never_fails = write!(text, "{:032x}", u128::from_be_bytes(*print));
        }
        serializer.serialize_str(&text)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Print>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let print = |digits: &[u8]| u128::from_str_radix(str::from_utf8(digits).ok()?, 16).ok();
        let prints: Option<Vec<_>> =
            text.as_bytes().chunks(32).map(|digits| print(digits).map(u128::to_be_bytes)).collect();
        prints.ok_or_else(|| D::Error::custom("these are no fingerprints"))
    }
}

fn file(home: &Home, destination: &str, workspace: &str) -> PathBuf {
    home.backup().join("known").join(destination).join(format!("{workspace}.json"))
}

/// What is known of a workspace at a destination.
pub fn load(home: &Home, destination: &str, workspace: &str) -> Option<Known> {
    // What cannot be read is not known: then there is one run as long as the first.
    note::load(&file(home, destination, workspace))
}

/// Keeps it, or forgets it when there is nothing to be known.
pub fn save(home: &Home, destination: &str, workspace: &str, known: Option<&Known>) {
    let path = file(home, destination, workspace);
    let done = match known {
        Some(known) => note::save(&path, known),
        None => match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
    };
    if let Err(error) = done {
        tracing::warn!(error = %error, "what is at a destination could not be remembered");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_comes_back_and_what_is_damaged_is_unknown() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path());
        assert_eq!(load(&home, "local", "w1"), None);
        let known = Known {
            folder: "shop".into(),
            digest: Some("d".into()),
            snapshot: "s".into(),
            object: "o".into(),
            directories: vec![[0; 16], [255; 16], *b"sixteen bytes ..."[..16].first_chunk().unwrap()],
            index: ["i".into()].into(),
        };
        save(&home, "local", "w1", Some(&known));
        assert_eq!(load(&home, "local", "w1"), Some(known));
        assert_eq!((load(&home, "other", "w1"), load(&home, "local", "w2")), (None, None));
        std::fs::write(file(&home, "local", "w1"), "{").unwrap();
        assert_eq!(load(&home, "local", "w1"), None);
        // As nodes wrote it that knew no directories, and as nobody writes it.
        let old = r#"{"folder":"shop","digest":"d","snapshot":"s","object":"o"#;
        std::fs::write(file(&home, "local", "w1"), format!("{old}\"}}")).unwrap();
        assert_eq!(load(&home, "local", "w1").unwrap().directories, [[0; 16]; 0]);
        std::fs::write(file(&home, "local", "w1"), format!("{old}\",\"directories\":\"xy\"}}")).unwrap();
        assert_eq!(load(&home, "local", "w1"), None);
        save(&home, "local", "w1", None);
        save(&home, "local", "w1", None);
        assert!(!file(&home, "local", "w1").exists());
    }
}
