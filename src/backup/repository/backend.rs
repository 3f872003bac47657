//! A restic repository's files as objects: what rustic asks for, answered by [`Objects`].
//!
//! rustic is blocking and has threads of its own; the objects are async. Each call waits for the runtime, which must
//! outlive it, so everything here runs on threads that may block. rustic knows no "stop": a run ends by this backend
//! refusing to go on. And it wraps our errors in its own words, so the first one is kept aside as it was.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use bytes::Bytes;
use rustic_core::BytesList;
use rustic_core::ErrorKind;
use rustic_core::FileType;
use rustic_core::Id;
use rustic_core::ReadBackend;
use rustic_core::RusticError;
use rustic_core::RusticResult;
use rustic_core::WriteBackend;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::ranges::Part;
use crate::backup::objects::Objects;
use crate::backup::objects::unless_stopped;
use crate::backup::trouble::Trouble;

/// The objects of one repository. Cheap to clone; clones share their state.
#[derive(Debug, Clone)]
pub struct Backend {
    /// For what rustic does not do.
    pub objects: Objects,
    /// The async runtime; it outlives the repository.
    pub runtime: Handle,
    stop: CancellationToken,
    first: Arc<Mutex<Option<Trouble>>>,
    /// The files of the index, as they were listed last and written since.
    index: Arc<Mutex<BTreeSet<Id>>>,
}

impl Backend {
    /// Reads and writes until the token is cancelled.
    pub fn new(objects: Objects, runtime: Handle, stop: CancellationToken) -> Self {
        Self { objects, runtime, stop, first: Arc::default(), index: Arc::default() }
    }

    /// The files of the index, as they were listed last and written since, by the beginnings of their names: enough of
    /// them that no two are alike by chance.
    pub fn index(&self) -> BTreeSet<String> {
        let beginning = |id: &Id| id.to_hex().as_str()[..16].to_owned();
        self.lock_index().iter().map(beginning).collect()
    }

    fn lock_index(&self) -> MutexGuard<'_, BTreeSet<Id>> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What went wrong first, said once.
    pub fn take_trouble(&self) -> Option<Trouble> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Waits for something to be done to the objects.
    pub fn wait<T>(&self, work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
        self.runtime.block_on(work)
    }

    fn run<T>(&self, work: impl Future<Output = Result<T, Trouble>>) -> RusticResult<T> {
        let done = self.runtime.block_on(unless_stopped(&self.stop, work));
        done.map_err(|trouble| {
            let error = RusticError::new(ErrorKind::Backend, trouble.to_string());
            self.first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(trouble);
            error
        })
    }

    /// A part of a pack.
    ///
    /// # Errors
    /// When it cannot be read whole, or we are asked to stop.
    pub async fn part(&self, part: &Part) -> Result<Bytes, Trouble> {
        let (key, bytes) = (key(FileType::Pack, &part.pack), &part.bytes);
        unless_stopped(&self.stop, self.objects.get_range(&key, bytes.start, bytes.end - bytes.start)).await
    }
}

/// Where a file of the repository lies, as every restic lays it out.
fn key(tpe: FileType, id: &Id) -> String {
    let name = id.to_hex();
    match tpe {
        FileType::Config => "config".to_owned(),
        FileType::Pack => format!("data/{}/{}", &name.as_str()[..2], name.as_str()),
        other => format!("{}/{}", other.dirname(), name.as_str()),
    }
}

impl ReadBackend for Backend {
    fn location(&self) -> String {
        self.objects.shown().to_owned()
    }

    fn list_with_size(&self, tpe: FileType) -> RusticResult<Vec<(Id, u32)>> {
        if tpe == FileType::Config {
            let size = self.run(self.objects.size("config"))?;
            return Ok(size.map(|size| (Id::default(), small(size))).into_iter().collect());
        }
        let listed = self.run(self.objects.list(tpe.dirname()))?;
        let file = |one: crate::backup::objects::Listed| {
            let name = one.key.rsplit('/').next().unwrap_or_default();
            Some((name.parse().ok()?, small(one.size)))
        };
        let all: Vec<(Id, u32)> = listed.into_iter().filter_map(file).collect();
        if tpe == FileType::Index {
            *self.lock_index() = all.iter().map(|(id, _)| *id).collect();
        }
        Ok(all)
    }

    fn read_full(&self, tpe: FileType, id: &Id) -> RusticResult<Bytes> {
        self.run(self.objects.get(&key(tpe, id)))
    }

    fn read_partial(
        &self,
        tpe: FileType,
        id: &Id,
        _cacheable: bool,
        offset: u32,
        length: u32,
    ) -> RusticResult<Bytes> {
        self.run(self.objects.get_range(&key(tpe, id), offset.into(), length.into()))
    }

    fn warmup_path(&self, tpe: FileType, id: &Id) -> String {
        key(tpe, id)
    }
}

impl WriteBackend for Backend {
    fn write_bytes(&self, tpe: FileType, id: &Id, _cacheable: bool, content: BytesList) -> RusticResult<()> {
        let key = key(tpe, id);
        let pieces = content.into_vec();
        if tpe == FileType::Pack {
            return self.run(self.objects.put(&key, pieces));
        }
        // A whole backup hangs on each of these.
        self.run(self.objects.put_proved(&key, Bytes::from(pieces.concat())))?;
        if tpe == FileType::Index {
            self.lock_index().insert(*id);
        }
        Ok(())
    }

    fn remove(&self, tpe: FileType, id: &Id, _cacheable: bool) -> RusticResult<()> {
        if tpe == FileType::Index {
            self.lock_index().remove(id);
        }
        self.run(self.objects.delete(&key(tpe, id)))
    }
}

fn small(size: u64) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
