//! Putting away what is at a destination: snapshots a person does not want any more, locks nobody gives back, an index that
//! is damaged.

use super::control::Backups;
use super::control::blocking;
use super::control::renewing;
use super::error::Error;
use super::opened::Opened;
use super::repository;
use super::repository::Held;
use super::repository::Lock;
use super::snapshot::Snapshot;
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

/// Whether each folder keeps one that is newer than those that are chosen.
///
/// # Errors
/// When the newest of a folder is among them.
fn older(chosen: &[Snapshot], there: &[Snapshot]) -> Result<(), Error> {
    let of = |one: &Snapshot| (one.host.clone(), one.folder.clone());
    let is_newest = |one: &&Snapshot| there.iter().rfind(|other| of(other) == of(one)) == Some(*one);
    match chosen.iter().find(is_newest) {
        Some(newest) => Err(Error::Newest { id: newest.id.clone(), folder: newest.folder.clone() }),
        None => Ok(()),
    }
}

impl Backups {
    /// Takes snapshots out of the list, and says which those are. In a repository their data stay until a prune; in a
    /// mirror what no other one needs goes at once, and the newest of a folder stays.
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
        let (there, opened) = self.listed(destination).await?;
        let mut chosen: Vec<Snapshot> = Vec::new();
        for id in ids {
            chosen.push(meant(&there, id, destination)?.clone());
        }
        if let Opened::Mirrors(_) = opened {
            older(&chosen, &there)?;
        }
        if dry_run || chosen.is_empty() {
            return Ok(chosen);
        }
        let _held = self.hold(self.destination(destination)?).await?;
        let lock = self.lock(&opened).await?;
        let all = chosen.clone();
        renewing(lock, blocking(move || opened.forget(&all))).await?;
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
        Ok(renewing(Some(lock), work).await?)
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
