//! All mirrors of a destination: of each workspace of each node that writes there.
//!
//! Everything blocks: callers are on threads that may.

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::check;
use super::name::Names;
use super::name::Stamp;
use super::read;
use super::run::Mirror;
use crate::backup::objects::Objects;
use crate::backup::snapshot::Snapshot;
use crate::backup::trouble::Cause;
use crate::backup::trouble::Trouble;

/// A destination that holds mirrors. Cheap to clone.
#[derive(Clone)]
pub struct Mirrors {
    /// All objects of the destination.
    pub objects: Objects,
    /// The async runtime.
    pub runtime: Handle,
    /// Ends whatever is being done.
    pub stop: CancellationToken,
}

impl Mirrors {
    /// The mirror of one folder of one node.
    pub fn of(&self, names: Names) -> Mirror {
        let (objects, runtime, stop) = (self.objects.clone(), self.runtime.clone(), self.stop.clone());
        Mirror { objects, names, runtime, stop }
    }

    /// All snapshots of folders, the oldest first.
    ///
    /// # Errors
    /// When they cannot be listed or reached.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>, Trouble> {
        self.runtime.block_on(read::snapshots(&self.objects))
    }

    /// All snapshots of nodes' own state, the oldest first.
    ///
    /// # Errors
    /// When they cannot be listed or reached.
    pub fn states(&self) -> Result<Vec<Snapshot>, Trouble> {
        self.runtime.block_on(read::states(&self.objects))
    }

    /// Ready to read the folder a snapshot is of.
    ///
    /// # Errors
    /// When its manifests cannot be listed.
    pub fn reader(&self, snapshot: &Snapshot) -> Result<read::Reader, Trouble> {
        self.runtime.block_on(read::Reader::open(self.of(names(snapshot))))
    }

    /// What is not whole; with `read` down to each byte.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub fn check(&self, read: bool) -> Result<Vec<String>, Trouble> {
        let mut found = Vec::new();
        for names in self.runtime.block_on(check::owners(&self.objects))? {
            found.extend(self.runtime.block_on(self.of(names).check(read))?);
        }
        Ok(found)
    }

    /// Takes snapshots out of the list, with what no other one needs. The newest of a folder stays: it is the files
    /// themselves.
    ///
    /// # Errors
    /// When something stays that should have gone.
    pub fn forget(&self, snapshots: &[Snapshot]) -> Result<(), Trouble> {
        let mut owners: Vec<Names> = Vec::new();
        for names in snapshots.iter().map(names) {
            if !owners.contains(&names) {
                owners.push(names);
            }
        }
        for names in owners {
            let mirror = self.of(names);
            let chosen = |stamp: &Stamp| {
                let id = mirror.names.id(*stamp);
                snapshots.iter().any(|one| one.id == id)
            };
            let stamps = self.runtime.block_on(mirror.stamps())?;
            let drop: Vec<Stamp> = stamps.into_iter().filter(chosen).collect();
            if self.runtime.block_on(mirror.forget(&drop))? < drop.len() {
                // Of a clock that was set back: the list goes by time, the runs by what they wrote.
                let doing = format!("forget all of them at {}", self.objects.shown());
                return Err(Trouble::new(Cause::Other, doing, "the newest run of a folder stays"));
            }
        }
        Ok(())
    }
}

/// Where what a snapshot is of lies.
fn names(snapshot: &Snapshot) -> Names {
    Names::new(&snapshot.host, &snapshot.folder)
}
