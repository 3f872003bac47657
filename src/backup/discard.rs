//! Putting away what is at a destination: snapshots a person does not want any more, locks nobody gives back, an index that
//! is damaged.

use super::control::Backups;
use super::control::blocking;
use super::control::renewing;
use super::error::Error;
use super::repository;
use super::repository::Held;
use super::repository::Lock;
use super::repository::Snapshot;
use crate::base::clock;

/// The snapshot an id means: all of it or its beginning.
///
/// # Errors
/// When it means none or several.
pub(super) fn meant<'a>(
    snapshots: &'a [Snapshot],
    id: &str,
    destination: &str,
) -> Result<&'a Snapshot, Error> {
    let fits = |one: &&Snapshot| !id.is_empty() && one.id.starts_with(id);
    let mut found: Vec<&Snapshot> = snapshots.iter().filter(fits).collect();
    // One that another program took of several folders is shown once for each.
    found.dedup_by(|one, other| one.id == other.id);
    match found.as_slice() {
        [one] => Ok(one),
        several => {
            Err(Error::Id { id: id.to_owned(), destination: destination.to_owned(), found: several.len() })
        }
    }
}

impl Backups {
    /// Takes snapshots out of the list, and says which those are. Their data stay until a prune.
    ///
    /// # Errors
    /// When an id means none or several, or they stay.
    pub async fn forget(
        &self,
        destination: &str,
        ids: &[String],
        dry_run: bool,
    ) -> Result<Vec<Snapshot>, Error> {
        let (this, destination, ids) = (self.clone(), destination.to_owned(), ids.to_vec());
        self.to_its_end(async move { this.forget_now(&destination, &ids, dry_run).await }).await
    }

    async fn forget_now(
        &self,
        destination: &str,
        ids: &[String],
        dry_run: bool,
    ) -> Result<Vec<Snapshot>, Error> {
        let (there, repository) = self.listed(destination).await?;
        let mut chosen: Vec<Snapshot> = Vec::new();
        for id in ids {
            chosen.push(meant(&there, id, destination)?.clone());
        }
        let Some(repository) = repository.filter(|_| !dry_run && !chosen.is_empty()) else {
            return Ok(chosen);
        };
        let _held = self.hold(self.destination(destination)?).await?;
        let lock = self.lock(&repository).await?;
        let all: Vec<String> = chosen.iter().map(|one| one.id.clone()).collect();
        renewing(lock, blocking(move || repository.forget(&all))).await?;
        Ok(chosen)
    }

    /// Makes the index of a destination anew, and says what is wrong after it.
    ///
    /// # Errors
    /// When someone works there, or it cannot be made.
    pub async fn repair(&self, destination: &str) -> Result<Vec<String>, Error> {
        let (this, destination) = (self.clone(), destination.to_owned());
        self.to_its_end(async move { this.repair_now(&destination).await }).await
    }

    async fn repair_now(&self, destination: &str) -> Result<Vec<String>, Error> {
        let _held = self.hold(self.destination(destination)?).await?;
        let Some(repository) = self.repository(destination).await? else { return Ok(Vec::new()) };
        let (again, _) = self.opening(destination)?;
        let (objects, master) = (repository.objects().clone(), repository.master());
        let lock = Lock::take_alone(&objects, &master, &self.inner().host, clock::now()).await?;
        let work = blocking(move || {
            repository.repair_index()?;
            again.open()?.map_or(Ok(Vec::new()), |repaired| repaired.check(false))
        });
        Ok(renewing(lock, work).await?)
    }

    /// Takes away locks that nobody holds any more, with `all` every one, and says which those are.
    ///
    /// # Errors
    /// When they cannot be read or removed.
    pub async fn unlock(&self, destination: &str, all: bool, dry_run: bool) -> Result<Vec<Held>, Error> {
        let _held = self.hold(self.destination(destination)?).await?;
        let Some(repository) = self.repository(destination).await? else { return Ok(Vec::new()) };
        let (objects, master) = (repository.objects(), repository.master());
        Ok(repository::unlock(objects, &master, all, !dry_run, clock::now()).await?)
    }
}
