//! The node's own state in a backup: what a new node needs to have the same workspaces again.
//!
//! The database is copied through SQLite's own backup, so that it is one moment of it, and without what lets anybody in.
//! Beside it lies the node's configuration, which names files of credentials and holds none. Both lie in a folder that
//! changes only when they do, so that a quiet node adds nothing.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use super::known::Known;
use super::repository::Access;
use super::repository::Subject;
use super::repository::Writer;
use super::trouble::Cause;
use super::trouble::Trouble;
use super::walk;
use super::walk::Report;
use super::walk::Selection;
use super::walk::Shared;
use super::walk::Walk;
use crate::base::fault;
use crate::base::files;
use crate::base::home::Home;
use crate::store::Store;

/// The database's name in the state.
pub const DATABASE: &str = "nexus.db";
/// The configuration's name in the state.
pub const CONFIGURATION: &str = "config.yaml";

/// What the state is called among what is known to be at a destination.
pub const ID: &str = "state";

/// The state, ready to be backed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// The folder that holds it.
    pub folder: PathBuf,
    /// Equal for equal states.
    pub digest: String,
}

/// Brings the folder that is backed up to what is now.
///
/// # Errors
/// When the disk or the database does not let us.
pub async fn stage(store: &Store, home: &Home) -> Result<Staged, Trouble> {
    let failed = |error: &dyn std::error::Error| {
        Trouble::new(Cause::Other, "copy the node's own state", fault::chain(error).to_string())
    };
    let folder = home.backup().join("state");
    std::fs::create_dir_all(&folder).map_err(|error| failed(&error))?;
    // Beside the folder: what comes and goes in it would change its time, and so what is backed up.
    let scratch = tempfile::tempdir_in(home.backup()).map_err(|error| failed(&error))?;
    let copy = scratch.path().join(DATABASE);
    store.copy(copy.clone()).await.map_err(|error| failed(&error))?;
    let mut hasher = blake3::Hasher::new();
    for (from, name) in [(copy, DATABASE), (home.configuration(), CONFIGURATION)] {
        let held = follow(&from, &folder.join(name)).map_err(|error| failed(&error))?;
        hasher.update(blake3::hash(&held.unwrap_or_default()).as_bytes());
    }
    Ok(Staged { folder, digest: hasher.finalize().to_hex().to_string() })
}

/// Makes one file hold what another one does, if it does not yet, and returns that; `None` when there is none.
fn follow(from: &Path, to: &Path) -> io::Result<Option<Vec<u8>>> {
    let read = |path: &Path| match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    let (wanted, there) = (read(from)?, read(to)?);
    match &wanted {
        _ if wanted == there => {}
        Some(bytes) => files::replace(to, bytes)?,
        None => std::fs::remove_file(to)?,
    }
    Ok(wanted)
}

/// Backs it up to a repository, and says what is known to be there from now on.
///
/// # Errors
/// When it is not there whole.
pub fn save(
    writer: &Writer,
    folder: &Path,
    digest: &str,
    host: &str,
    now: Timestamp,
) -> Result<Option<Known>, Trouble> {
    let report = Shared::default();
    let walk = Walk::new(folder, &Selection::default(), Arc::clone(&report))
        .map_err(|error| failed(fault::chain(&error).to_string()))?;
    let subject = Subject::state(host, now);
    let (saved, _) = writer.save(&subject, walk, Arc::clone(&report), Arc::default())?;
    if let Some(trouble) = unread(&walk::lock(&report)) {
        return Err(trouble);
    }
    let snapshot = saved.snapshot.or(saved.since);
    Ok(snapshot.map(|snapshot| known(digest, Access::key(&snapshot), snapshot)))
}

/// What is known of a state of this digest from now on.
pub fn known(digest: &str, object: String, snapshot: String) -> Known {
    let digest = Some(digest.to_owned());
    Known { folder: String::new(), digest, snapshot, object, directories: Vec::new(), index: BTreeSet::new() }
}

/// Why the state is not there whole.
pub fn failed(detail: String) -> Trouble {
    Trouble::new(Cause::Other, "back up the node's own state", detail)
}

/// What of it could not be read.
pub fn unread(report: &Report) -> Option<Trouble> {
    let (path, why) = report.unreadable.listed.first()?;
    Some(failed(format!("`{path}` cannot be read: {why}")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::model::project::FolderIdentity;
    use crate::store::token::Token;
    use crate::store::workspace::Record;

    fn state_of(folder: &Path) -> Vec<(String, i64, i64, Vec<u8>)> {
        let mut all: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let meta = entry.metadata().unwrap();
                let name = entry.file_name().into_string().unwrap();
                (name, meta.mtime(), meta.mtime_nsec(), std::fs::read(entry.path()).unwrap())
            })
            .collect();
        all.sort();
        all
    }

    #[tokio::test]
    async fn it_changes_only_with_what_is_wanted_and_lets_nobody_in() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path());
        let store = Store::open(&home.database()).unwrap();
        let record = Record::new("shop", FolderIdentity { device: 1, inode: 2 }, Timestamp::UNIX_EPOCH);
        store.save_workspace(&record).await.unwrap();
        std::fs::write(home.configuration(), "backup: { git: true }\n").unwrap();
        let staged = stage(&store, &home).await.unwrap();
        let folder = &staged.folder;
        let first = state_of(folder);
        assert_eq!(first.iter().map(|one| one.0.as_str()).collect::<Vec<_>>(), [CONFIGURATION, DATABASE]);

        // A token is made: nobody gets it from a backup, so nothing has changed.
        let token = Token {
            id: "public".to_owned(),
            label: "secret-label".to_owned(),
            scope: "admin".to_owned(),
            hash: [7; 32],
            created_at: Timestamp::UNIX_EPOCH,
            expires_at: None,
            last_used_at: None,
        };
        assert!(store.add_token(&token).await.unwrap());
        assert_eq!(stage(&store, &home).await.unwrap(), staged);
        assert_eq!(state_of(folder), first);
        let text = String::from_utf8_lossy(&first[1].3).into_owned();
        assert!(text.contains("shop") && !text.contains("secret-label"));

        store.save_workspace(&Record::new("blog", record.identity, Timestamp::UNIX_EPOCH)).await.unwrap();
        std::fs::remove_file(home.configuration()).unwrap();
        assert_ne!(stage(&store, &home).await.unwrap().digest, staged.digest);
        let second = state_of(folder);
        assert_eq!(second.len(), 1);
        assert_ne!(second[0], first[1]);
        let again = Store::open(&folder.join(DATABASE)).unwrap().workspaces().await.unwrap();
        assert_eq!(again.len(), 2);
    }
}
