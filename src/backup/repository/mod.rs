//! The incremental form: snapshots in a restic repository, written and read through rustic.
//!
//! The only place that knows rustic. Everything here blocks; callers are on threads that may. There is no prune: the
//! release of rustic this is built on can lose data in it. Space is given back by `restic prune` with the recovery
//! password, which waits for our locks as we wait for its.

mod backend;
mod blobs;
mod key;
mod lock;
mod prove;
mod ranges;
mod read;
mod save;
mod source;

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use rustic_core::CheckOptions;
use rustic_core::ConfigOptions;
use rustic_core::Credentials;
use rustic_core::IndexedIdsStatus;
use rustic_core::KeyOptions;
use rustic_core::OpenStatus;
use rustic_core::RepairIndexOptions;
use rustic_core::RepositoryBackends;
use rustic_core::RepositoryOptions;
use rustic_core::RusticError;
use rustic_core::repofile::MasterKey;
use rustic_core::repofile::SnapshotFile;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::objects::Objects;
use super::objects::unless_stopped;
use super::trouble::Cause;
use super::trouble::Trouble;
use crate::base::clock;
use crate::base::sealed::Sealed;

pub use super::snapshot::Saved;
pub use super::snapshot::Snapshot;
pub use key::Keys;
pub use lock::Held;
pub use lock::Lock;
pub use lock::RENEW;
pub use lock::unlock;
pub use read::Content;
pub use read::Reader;

use backend::Backend;
use blobs::Blobs;

/// What the paths of all workspaces begin with in a snapshot.
const ROOT: &str = "/workspaces";
/// What the tag with a workspace's id begins with.
const TAG: &str = "nexus-workspace-";
/// Where a node's own state lies in its snapshot.
const STATE: &str = "/nexus";
/// The tag of such a snapshot.
const STATE_TAG: &str = "nexus-state";

/// Where a repository is, and what opening it needs.
#[derive(Clone)]
pub struct Access {
    /// Its objects.
    pub objects: Objects,
    /// Where its keys are kept on this machine.
    pub keys: PathBuf,
    /// Where copies of its index are kept on this machine; losing them costs time alone.
    pub cache: PathBuf,
    /// The async runtime; it outlives the repository.
    pub runtime: Handle,
    /// Ends whatever is being done.
    pub stop: CancellationToken,
}

/// An open repository.
pub struct Repository<S = OpenStatus> {
    inner: rustic_core::Repository<S>,
    backend: Backend,
    shown: String,
}

/// A repository that is ready to take snapshots.
pub type Writer = Repository<IndexedIdsStatus>;

/// What a snapshot is taken of.
pub struct Subject<'a> {
    /// Where in the snapshot it lies.
    path: PathBuf,
    /// What the snapshot is found by.
    tag: String,
    /// The node that takes it.
    host: &'a str,
    /// When.
    now: Timestamp,
}

impl<'a> Subject<'a> {
    /// The folder of a workspace.
    pub fn workspace(folder: &str, id: &str, host: &'a str, now: Timestamp) -> Self {
        Self { path: Path::new(ROOT).join(folder), tag: format!("{TAG}{id}"), host, now }
    }

    /// The node's own state.
    pub fn state(host: &'a str, now: Timestamp) -> Self {
        Self { path: STATE.into(), tag: STATE_TAG.to_owned(), host, now }
    }
}

impl Access {
    /// Where a snapshot lies among the objects.
    pub fn key(snapshot: &str) -> String {
        format!("snapshots/{snapshot}")
    }

    /// Waits for something to be done to the objects, unless we are asked to stop.
    fn wait<T>(&self, work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
        self.runtime.block_on(unless_stopped(&self.stop, work))
    }

    /// Opens the repository; `None` when there is none there.
    ///
    /// # Errors
    /// When it cannot be opened; [`Cause::WrongKey`] when nothing on this machine opens it.
    pub fn open(&self) -> Result<Option<Repository>, Trouble> {
        if self.wait(self.objects.size("config"))?.is_none() {
            return Ok(None);
        }
        let Some(mut keys) = self.load()? else {
            let detail = "it was made elsewhere, and its recovery password was not given";
            return Err(Trouble::new(Cause::WrongKey, self.doing("open"), detail));
        };
        let (repository, opened) = self.open_with(&keys)?;
        if keys.master.is_none() {
            keys.master = Some(Sealed::new(opened));
            self.save(&keys)?;
        }
        Ok(Some(repository))
    }

    /// Opens the repository, with this password when nothing on this machine opens it; `None` when there is none there.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open_with_password(
        &self,
        password: Option<Sealed<String>>,
    ) -> Result<Option<Repository>, Trouble> {
        match (self.open(), password) {
            (Err(trouble), Some(password)) if trouble.cause == Cause::WrongKey => {
                self.adopt(password).map(Some)
            }
            (opened, _) => opened,
        }
    }

    /// Opens the repository, or makes one.
    ///
    /// # Errors
    /// When neither works.
    pub fn open_or_create(&self, password: Option<Sealed<String>>) -> Result<Repository, Trouble> {
        match self.open_with_password(password)? {
            Some(repository) => Ok(repository),
            None => self.create(),
        }
    }

    /// Remembers the recovery password of a repository that was made elsewhere, if it opens it.
    ///
    /// # Errors
    /// When it does not.
    pub fn adopt(&self, password: Sealed<String>) -> Result<Repository, Trouble> {
        let mut keys = Keys { password, master: None };
        let (repository, master) = self.open_with(&keys)?;
        keys.master = Some(Sealed::new(master));
        self.save(&keys)?;
        Ok(repository)
    }

    fn create(&self) -> Result<Repository, Trouble> {
        if !self.wait(self.objects.list("data"))?.is_empty() {
            let detail = "there are data of a repository without its `config`";
            return Err(Trouble::new(Cause::Foreign, self.doing("make a repository"), detail));
        }
        // Somebody was stopped between the key and the `config`. That key opens nothing, and whoever looks for the one that
        // opens the repository would take it for that.
        for listed in self.wait(self.objects.list("keys"))? {
            self.wait(self.objects.delete(&format!("keys/{}", listed.key)))?;
        }
        let mut keys = match self.load()? {
            Some(keys) => keys,
            None => Keys::random(),
        };
        let master = MasterKey::new();
        keys.master = Some(Sealed::new(master.clone()));
        self.save(&keys)?;
        let (name, key) = key::locked(&keys.password, &master, clock::now())?;
        let (name, key) = (format!("keys/{name}"), Bytes::from(key));
        self.wait(self.objects.put(&name, vec![key.clone()]))?;
        let (closed, backend) = self.closed()?;
        let mut config = ConfigOptions::default().set_version(2_u32);
        // A pack has to get through a slow line in the time one request has.
        config.set_datapack_size = "16MiB".parse().ok();
        let inner = closed
            .init(&Credentials::Masterkey(master), &KeyOptions::default(), &config)
            .map_err(|error| self.not_made(&backend, &name, &error))?;
        // Whoever has begun to make one beside us takes keys away that open nothing; this one does.
        if self.wait(self.objects.size(&name))?.is_none() {
            self.wait(self.objects.put(&name, vec![key]))?;
        }
        Ok(Repository { inner, backend, shown: self.objects.shown().to_owned() })
    }

    fn not_made(&self, backend: &Backend, key: &str, error: &RusticError) -> Trouble {
        // It opens nothing. Where it stays, the next one who makes a repository takes it away.
        let _removed = self.wait(self.objects.delete(key));
        let trouble = self.trouble(backend, "make a repository", error);
        if !trouble.detail.contains("already exists") {
            return trouble;
        }
        Trouble::new(Cause::Locked, trouble.doing, "another node is making one there")
    }

    fn closed(&self) -> Result<(rustic_core::Repository<()>, Backend), Trouble> {
        let backend = Backend::new(self.objects.clone(), self.runtime.clone(), self.stop.clone());
        let options = RepositoryOptions::default().cache_dir(self.cache.clone());
        let backends = RepositoryBackends::new(Arc::new(backend.clone()), None);
        let closed = rustic_core::Repository::new(&options, &backends)
            .map_err(|error| self.trouble(&backend, "open", &error))?;
        Ok((closed, backend))
    }

    fn open_with(&self, keys: &Keys) -> Result<(Repository, MasterKey), Trouble> {
        let (closed, backend) = self.closed()?;
        let credentials = match &keys.master {
            Some(master) => Credentials::Masterkey(master.reveal().clone()),
            None => Credentials::password(keys.password.reveal()),
        };
        let inner = closed.open(&credentials).map_err(|error| {
            let trouble = self.trouble(&backend, "open", &error);
            if trouble.cause != Cause::Damaged {
                return trouble;
            }
            // Opening decrypts the `config` and nothing else.
            let detail = "its `config` was written with another key, or is damaged";
            Trouble::new(Cause::WrongKey, trouble.doing, detail)
        })?;
        let master = inner.key();
        Ok((Repository { inner, backend, shown: self.objects.shown().to_owned() }, master))
    }

    /// The keys on this machine.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn load(&self) -> Result<Option<Keys>, Trouble> {
        Keys::load(&self.keys).map_err(|error| self.local("read the keys of", &error))
    }

    fn save(&self, keys: &Keys) -> Result<(), Trouble> {
        keys.save(&self.keys).map_err(|error| self.local("keep the keys of", &error))
    }

    fn local(&self, verb: &str, error: &std::io::Error) -> Trouble {
        Trouble::new(Cause::Other, self.doing(verb), error.to_string())
    }

    fn doing(&self, verb: &str) -> String {
        format!("{verb} {}", self.objects.shown())
    }

    fn trouble(&self, backend: &Backend, verb: &str, error: &RusticError) -> Trouble {
        trouble(backend, &self.doing(verb), error)
    }
}

/// What the objects said if they said anything, else what rustic says.
fn trouble(backend: &Backend, doing: &str, error: &RusticError) -> Trouble {
    if let Some(first) = backend.take_trouble() {
        return first;
    }
    let text = error.display_log();
    let cause = if error.is_incorrect_password() {
        Cause::WrongKey
    } else if text.contains("version") && text.contains("not supported") {
        Cause::Foreign
    } else if text.contains("MAC check failed") {
        Cause::Damaged
    } else {
        Cause::Other
    };
    Trouble::new(cause, doing, text.chars().take(300).collect::<String>())
}

impl<S> Repository<S> {
    fn trouble(&self, verb: &str, error: &RusticError) -> Trouble {
        trouble(&self.backend, &format!("{verb} {}", self.shown), error)
    }
}

impl Repository {
    /// Its master key, for locks.
    pub fn master(&self) -> MasterKey {
        self.inner.key()
    }

    /// Its objects, for what rustic does not do.
    pub fn objects(&self) -> &Objects {
        &self.backend.objects
    }

    /// All snapshots of folders, the oldest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>, Trouble> {
        Ok(self.all()?.0)
    }

    /// All snapshots of nodes' own state, the oldest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn states(&self) -> Result<Vec<Snapshot>, Trouble> {
        Ok(self.all()?.1)
    }

    /// All snapshots, of folders and of nodes' own state, each the oldest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn all(&self) -> Result<(Vec<Snapshot>, Vec<Snapshot>), Trouble> {
        let all =
            self.inner.get_all_snapshots().map_err(|error| self.trouble("read the snapshots of", &error))?;
        let is_state = |file: &&SnapshotFile| file.tags.iter().any(|tag| tag == STATE_TAG);
        let (states, folders): (Vec<_>, Vec<_>) = all.iter().partition(is_state);
        let sorted = |files: Vec<&SnapshotFile>| {
            let mut all: Vec<Snapshot> = files.into_iter().flat_map(shown).collect();
            all.sort_by(|one, other| (one.time, &one.id).cmp(&(other.time, &other.id)));
            all
        };
        Ok((sorted(folders), sorted(states)))
    }

    /// Takes snapshots out of the list. Their data stay until a prune.
    ///
    /// # Errors
    /// When some stay.
    pub fn forget(&self, ids: &[String]) -> Result<(), Trouble> {
        let ids: Vec<_> = ids.iter().filter_map(|id| id.parse().ok()).collect();
        self.inner.delete_snapshots(&ids).map_err(|error| self.trouble("forget snapshots of", &error))
    }

    /// Looks whether all that snapshots need is there, and with `read` whether it is what was written.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub fn check(&self, read: bool) -> Result<Vec<String>, Trouble> {
        let mut options = CheckOptions::default();
        options.read_data = read;
        let found = self.inner.check(options).map_err(|error| self.trouble("check", &error))?;
        if let Some(first) = self.backend.take_trouble() {
            return Err(first);
        }
        // rustic does not name the type of the level outside of itself.
        let bad = found.0.into_iter().filter(|(level, _)| format!("{level:?}") == "Error");
        Ok(bad.map(|(_, error)| error.to_string()).collect())
    }

    /// Makes the index anew from what is there: damaged parts of it go, and packs it does not know are read. Nobody may
    /// work beside it.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn repair_index(&self) -> Result<(), Trouble> {
        let objects = &self.backend.objects;
        for listed in self.backend.wait(objects.list("index"))? {
            let key = format!("index/{}", listed.key);
            let bytes = self.backend.wait(objects.get(&key))?;
            // Each is called by its digest: this one is not what was written, and nothing can be read before it is gone.
            if lock::name(&bytes) != listed.key {
                self.backend.wait(objects.delete(&key))?;
            }
        }
        self.inner
            .repair_index(&RepairIndexOptions::default(), false)
            .map_err(|error| self.trouble("repair the index of", &error))
    }

    /// Ready to add snapshots.
    ///
    /// # Errors
    /// When its index cannot be read.
    pub fn writer(self) -> Result<Writer, Trouble> {
        let (backend, shown) = (self.backend, self.shown);
        let inner = self
            .inner
            .to_indexed_ids()
            .map_err(|error| trouble(&backend, &format!("read the index of {shown}"), &error))?;
        Ok(Repository { inner, backend, shown })
    }

    /// Ready to give content back.
    ///
    /// # Errors
    /// When its index cannot be read.
    pub fn reader(self) -> Result<Reader, Trouble> {
        let (backend, shown) = (self.backend, self.shown);
        let inner = self
            .inner
            .to_indexed()
            .map_err(|error| trouble(&backend, &format!("read the index of {shown}"), &error))?;
        let blobs = Blobs::new(backend.clone(), lock::cipher(&inner.key())?);
        Ok(Reader::new(Repository { inner, backend, shown }, blobs))
    }
}

/// A snapshot of ours holds one folder; one that another program took may hold several, each of which is shown.
fn shown(file: &SnapshotFile) -> Vec<Snapshot> {
    let summary = file.summary.clone().unwrap_or_default();
    let one = |path: &String| {
        let ours = path.strip_prefix(ROOT).map(|rest| rest.trim_start_matches('/'));
        let folder = ours.or_else(|| path.rsplit('/').next()).filter(|folder| !folder.is_empty())?;
        Some(Snapshot {
            id: file.id.to_hex().as_str().to_owned(),
            time: file.time.timestamp(),
            host: file.hostname.clone(),
            folder: folder.to_owned(),
            path: path.clone(),
            workspace: file.tags.iter().find_map(|tag| tag.strip_prefix(TAG)).map(str::to_owned),
            files: summary.total_files_processed,
            bytes: summary.total_bytes_processed,
        })
    };
    file.paths.iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests;
