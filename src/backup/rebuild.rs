//! Bringing a lost node's workspaces back on another one: which there were, in which state, and their folders.
//!
//! The newest state at the destination says which workspaces there were. Each that is not there yet is first written down
//! with the id it had, so that its snapshots go on, and then its folder is restored. Nothing that is there is touched, so
//! a rebuild that was interrupted is simply asked for again. The other node's settings are not put into force, because
//! they name its disks and its ports: they are kept beside, for their owner to read.

use std::fs::File;
use std::path::Path;
use std::path::PathBuf;

use jiff::Timestamp;

use super::control::Backups;
use super::control::blocking;
use super::error::Error;
use super::opened::Opened;
use super::recover::Request;
use super::recover::is_plain;
use super::restore::Target;
use super::snapshot::Reader as _;
use super::snapshot::Snapshot;
use super::state;
use super::trouble::Cause;
use super::trouble::Trouble;
use crate::base::fault;
use crate::model::project::FolderIdentity;
use crate::store::Store;
use crate::store::workspace::Desired;
use crate::store::workspace::Record;

/// What a rebuild did, or would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// From where.
    pub destination: String,
    /// The node whose state it was.
    pub node: String,
    /// Of when the state is.
    pub time: Timestamp,
    /// Each workspace by its folder, and what became of it.
    pub workspaces: Vec<(String, Fate)>,
    /// Where the other node's settings are kept, if it had any of its own.
    pub settings: Option<PathBuf>,
}

/// What became of a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is back, or would be.
    Back {
        /// From this snapshot.
        snapshot: String,
        /// Bytes of its files.
        bytes: u64,
    },
    /// Something of its name is there, and was left alone.
    There,
    /// No snapshot of it is at the destination.
    NoSnapshot,
    /// It is not back.
    Failed(String),
}

/// A state that was found: where, whose, and with which snapshots beside it.
struct Found {
    destination: String,
    state: Snapshot,
    snapshots: Vec<Snapshot>,
}

impl Backups {
    /// Brings back every workspace of a node whose state is at a destination, or says what that would be.
    ///
    /// # Errors
    /// When no destination has a state, or it cannot be read.
    pub async fn rebuild(&self, destination: Option<&str>, dry_run: bool) -> Result<Rebuilt, Error> {
        let (this, destination) = (self.clone(), destination.map(str::to_owned));
        self.to_its_end(async move { this.rebuild_now(destination, dry_run).await }).await
    }

    async fn rebuild_now(&self, destination: Option<String>, dry_run: bool) -> Result<Rebuilt, Error> {
        let (found, opened) = self.find_state(destination).await?;
        let home = self.inner().home.backup();
        let folder = |source| Error::Folder { path: home.clone(), source };
        std::fs::create_dir_all(&home).map_err(folder)?;
        let scratch = tempfile::tempdir_in(&home).map_err(folder)?;
        let (state, to) = (found.state.clone(), scratch.path().to_owned());
        blocking(move || fetch(opened, &state, &to)).await?;
        let records = records(&scratch.path().join(state::DATABASE)).await?;
        let mut rebuilt = Rebuilt {
            destination: found.destination.clone(),
            node: found.state.host.clone(),
            time: found.state.time,
            workspaces: Vec::new(),
            settings: None,
        };
        for record in records {
            let name = record.folder.clone();
            let fate = self.bring_back(record, &found, dry_run).await?;
            rebuilt.workspaces.push((name, fate));
        }
        let settings = scratch.path().join(state::CONFIGURATION);
        if settings.exists() && !dry_run {
            let kept = home.join(format!("settings-of-{}.yaml", found.state.host));
            std::fs::rename(&settings, &kept).map_err(folder)?;
            rebuilt.settings = Some(kept);
        }
        Ok(rebuilt)
    }

    /// The newest state at the first destination that has one, and that destination, open.
    async fn find_state(&self, destination: Option<String>) -> Result<(Found, Opened), Error> {
        let names = destination.map_or_else(|| self.destinations(), |name| vec![name]);
        let mut failure = None;
        for name in &names {
            let opened = self.open(name).await?;
            match blocking(move || look(opened)).await {
                Ok(Some((state, snapshots, opened))) => {
                    return Ok((Found { destination: name.clone(), state, snapshots }, opened));
                }
                Ok(None) => {}
                Err(trouble) => failure = failure.or(Some(trouble)),
            }
        }
        Err(failure.map_or(Error::NoState { destinations: names }, Error::Trouble))
    }

    async fn bring_back(&self, record: Record, found: &Found, dry_run: bool) -> Result<Fate, Error> {
        if !is_plain(&record.folder) {
            // Whoever can write a mirror can write this.
            return Ok(Fate::Failed(Error::Name { name: record.folder }.to_string()));
        }
        let store = &self.inner().store;
        let there = store.workspaces().await.map_err(Error::Store)?;
        let known = there.iter().any(|one| {
            one.desired != Desired::Removed && (one.id == record.id || one.folder == record.folder)
        });
        let path = self.inner().settings.directory.join(&record.folder);
        if std::fs::symlink_metadata(&path).is_ok() {
            return Ok(Fate::There);
        }
        let of_it = |one: &&Snapshot| one.workspace.as_deref() == Some(record.id.as_str());
        let Some(snapshot) = found.snapshots.iter().rfind(of_it) else { return Ok(Fate::NoSnapshot) };
        let fate = Fate::Back { snapshot: snapshot.id.clone(), bytes: snapshot.bytes };
        if dry_run {
            return Ok(fate);
        }
        if !known {
            // Its folder will be another one; which, is seen when it is there.
            let row = Record { identity: FolderIdentity { device: 0, inode: 0 }, ..record.clone() };
            store.save_workspace(&row).await.map_err(Error::Store)?;
        }
        let request = Request {
            destination: Some(found.destination.clone()),
            folder: snapshot.folder.clone(),
            snapshot: Some(snapshot.id.clone()),
            to: Some(record.folder.clone()),
            ..Request::default()
        };
        match self.restore(request).await {
            Ok(done) if done.failed.total == 0 => Ok(fate),
            Ok(done) => Ok(Fate::Failed(format!("{} things of it could not be restored", done.failed.total))),
            Err(error) => Ok(Fate::Failed(fault::chain(&error).to_string())),
        }
    }
}

fn look(opened: Opened) -> Result<Option<(Snapshot, Vec<Snapshot>, Opened)>, Trouble> {
    let Some(state) = opened.states()?.pop() else { return Ok(None) };
    Ok(Some((state, opened.snapshots()?, opened)))
}

/// Brings the files of a state to a folder of ours.
fn fetch(opened: Opened, state: &Snapshot, to: &Path) -> Result<(), Trouble> {
    let failed = |detail: String| Trouble::new(Cause::Other, "read the node's state", detail);
    let reader = opened.reader()?;
    let target = Target::open(to, to.to_owned()).map_err(|error| failed(error.to_string()))?;
    let mut first = None;
    reader.entries(state, &|_| true, &mut |entry| {
        let done = entry.and_then(|(wanted, content)| {
            let (path, action) = target.look(&wanted).map_err(|error| failed(error.to_string()))?;
            let write = |file: &mut File| reader.content(content, file).map_err(Bad);
            target.put(&path, &wanted, action, write).map_err(|bad| bad.0)
        });
        first = first.take().or(done.err());
    })?;
    first.map_or(Ok(()), Err)
}

/// A failure to bring a file of a state.
struct Bad(Trouble);

impl From<super::restore::Error> for Bad {
    fn from(error: super::restore::Error) -> Self {
        Self(Trouble::new(Cause::Other, "keep the node's state", error.to_string()))
    }
}

/// The workspaces in a copy of a database.
async fn records(copy: &Path) -> Result<Vec<Record>, Error> {
    let copy = Store::open(copy).map_err(Error::Store)?;
    let all = copy.workspaces().await.map_err(Error::Store)?;
    Ok(all.into_iter().filter(|one| matches!(one.desired, Desired::Run | Desired::Stop)).collect())
}
