//! Forgets runs that the rules no longer keep, with the versions of files that no other run needs.
//!
//! The manifest goes first: whatever happens then, no snapshot is listed that is not whole. A version belongs to a run of
//! neighbouring manifests, so it is needed as long as the manifest before or the one after still names it. What cannot
//! be known, because one of them is damaged, stays.

use std::iter::Peekable;

use nexus_agent::path::RelPath;

use super::manifest;
use super::manifest::Entry;
use super::manifest::Kind;
use super::manifest::Stored;
use super::name::Names;
use super::name::Stamp;
use super::read::Replaced;
use super::run::Mirror;
use crate::backup::trouble::Trouble;

impl Mirror {
    /// Forgets the runs of these moments; never the newest.
    ///
    /// # Errors
    /// When something stays that should have gone.
    pub async fn forget(&self, drop: &[Stamp]) -> Result<usize, Trouble> {
        let mut stamps = self.stamps().await?;
        let mut replaced: Option<Replaced> = None;
        let mut forgotten = 0;
        for at in drop {
            let Some(index) = stamps.iter().position(|stamp| stamp == at) else { continue };
            let Some(next) = stamps.get(index + 1).copied() else { continue };
            let before = index.checked_sub(1).map(|index| stamps[index]);
            if replaced.is_none() {
                replaced = Some(self.replaced().await?);
            }
            let unneeded = self.unneeded(before, *at, next).await?;
            self.objects.delete(&self.names.manifest(*at)).await?;
            let there = replaced.iter().flat_map(|replaced| {
                unneeded.iter().filter_map(|part| Some((lies(replaced, part, *at, next)?, part)))
            });
            let keys: Vec<String> = there.map(|(stamp, part)| self.names.replaced(stamp, part)).collect();
            self.objects.delete_all(&keys).await?;
            stamps.remove(index);
            forgotten += 1;
        }
        if let (Some(oldest), Some(replaced)) = (stamps.first(), &replaced) {
            self.remove_before(*oldest, replaced).await?;
        }
        Ok(forgotten)
    }

    /// The versions that the run at `at` names and its neighbours do not.
    async fn unneeded(&self, before: Option<Stamp>, at: Stamp, next: Stamp) -> Result<Vec<String>, Trouble> {
        let mut neighbours = Vec::new();
        for stamp in before.into_iter().chain([next]) {
            neighbours.push(self.whole(stamp).await?);
        }
        let Some(own) = self.whole(at).await? else { return Ok(Vec::new()) };
        let Some(neighbours) = neighbours.into_iter().collect::<Option<Vec<_>>>() else {
            return Ok(Vec::new());
        };
        Ok(exclusive(own, neighbours))
    }

    /// A manifest's things; none when it is damaged.
    async fn whole(&self, at: Stamp) -> Result<Option<Box<dyn Iterator<Item = Entry> + Send>>, Trouble> {
        let bytes = self.objects.get(&self.names.manifest(at)).await?;
        let readable =
            manifest::Reader::open(bytes.clone()).is_ok_and(|mut reader| reader.all(|entry| entry.is_ok()));
        let reader = if readable { manifest::Reader::open(bytes).ok() } else { None };
        Ok(reader.map(|reader| Box::new(reader.filter_map(Result::ok)) as Box<_>))
    }

    /// Removes what was replaced before the oldest manifest: nothing names it any more.
    async fn remove_before(&self, oldest: Stamp, replaced: &Replaced) -> Result<(), Trouble> {
        let keys = replaced.iter().flat_map(|(part, stamps)| {
            let old = stamps.iter().filter(|stamp| **stamp <= oldest);
            old.map(|stamp| self.names.replaced(*stamp, part))
        });
        let keys: Vec<String> = keys.collect();
        if keys.is_empty() { Ok(()) } else { self.objects.delete_all(&keys).await }
    }
}

/// Where a version of the run at `at` lies, if it was replaced no later than by the run at `next`.
fn lies(replaced: &Replaced, part: &str, at: Stamp, next: Stamp) -> Option<Stamp> {
    let stamps = replaced.get(part)?;
    stamps.iter().copied().find(|stamp| *stamp > at).filter(|stamp| *stamp <= next)
}

/// The last parts of the keys of the files that `own` has and no neighbour has in the same version.
fn exclusive<I: Iterator<Item = Entry>>(own: impl Iterator<Item = Entry>, neighbours: Vec<I>) -> Vec<String> {
    let mut neighbours: Vec<Peekable<I>> = neighbours.into_iter().map(Iterator::peekable).collect();
    let mut parts = Vec::new();
    for entry in own {
        let Kind::File(stored) = &entry.kind else { continue };
        let mut needed = false;
        for neighbour in &mut neighbours {
            needed |= has(neighbour, &entry.path, stored);
        }
        if !needed {
            parts.push(Names::part(&entry.path));
        }
    }
    parts
}

fn has(entries: &mut Peekable<impl Iterator<Item = Entry>>, path: &RelPath, stored: &Stored) -> bool {
    while entries.next_if(|entry| entry.path < *path).is_some() {}
    entries.peek().is_some_and(|entry| {
        let same = |other: &Stored| (other.since, other.hash) == (stored.since, stored.hash);
        entry.path == *path && matches!(&entry.kind, Kind::File(other) if same(other))
    })
}
