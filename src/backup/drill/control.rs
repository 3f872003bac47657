//! Restore drills in the hands of [`Backups`]: one now, and what is known of the last.

use super::kept;
use super::restore::restore;
use super::sample::Drill;
use super::sample::Tried;
use crate::backup::control::Backups;
use crate::backup::control::Workspace;
use crate::backup::control::blocking;
use crate::backup::control::renewing;
use crate::backup::error::Error;
use crate::backup::opened::Opened;
use crate::backup::snapshot::Snapshot;
use crate::backup::trouble::Cause;
use crate::backup::trouble::Trouble;
use crate::base::clock;
use crate::base::fault;

/// Where samples are restored to, in the node's home.
const SCRATCH: &str = "drill";

impl Backups {
    /// Restores a sample of the newest snapshot of one workspace, or of each there is here, and says what came back.
    /// What went wrong is in the answer, and known from then on.
    ///
    /// # Errors
    /// When there is no such destination, or no snapshot of the workspace.
    pub async fn drill(&self, destination: &str, folder: Option<&str>) -> Result<Drill, Error> {
        let (this, destination) = (self.clone(), destination.to_owned());
        let folder = folder.map(str::to_owned);
        self.to_its_end(async move { this.drill_now(&destination, folder.as_deref()).await }).await
    }

    async fn drill_now(&self, destination: &str, folder: Option<&str>) -> Result<Drill, Error> {
        self.destination(destination)?;
        let time = clock::now();
        let before = self.status(destination).and_then(|status| status.drill);
        let mut drill = Drill {
            time,
            workspaces: Vec::new(),
            failure: None,
            failures: 0,
            proved: before.as_ref().and_then(|before| before.proved),
        };
        match self.sampled(destination, folder).await {
            Ok(workspaces) => drill.workspaces = workspaces,
            Err(error @ (Error::NoSnapshot { .. } | Error::Closing)) => return Err(error),
            Err(error) => {
                drill.failure = Some(fault::chain(&error).to_string());
                drill.failures = before.map_or(0, |before| before.failures).saturating_add(1);
            }
        }
        if folder.is_none() && drill.is_good() {
            drill.proved = Some(time);
        }
        // One workspace that came back is no proof about the others.
        if folder.is_none() || drill.is_bad() {
            kept::save(&self.inner().home, destination, &drill);
            self.change(destination, |status| status.drill = Some(drill.clone()));
        }
        Ok(drill)
    }

    async fn sampled(&self, destination: &str, folder: Option<&str>) -> Result<Vec<Tried>, Error> {
        let opened = self.open(destination).await?;
        let lock = self.lock(&opened).await?;
        let here = self.inner().workspaces.borrow().clone();
        let (this, name, folder) = (self.clone(), destination.to_owned(), folder.map(str::to_owned));
        let work = async {
            Ok(blocking(move || Ok(this.each_sampled(opened, &name, &here, folder.as_deref()))).await)
        };
        renewing(lock, work).await??
    }

    fn each_sampled(
        &self,
        opened: Opened,
        destination: &str,
        here: &[Workspace],
        folder: Option<&str>,
    ) -> Result<Vec<Tried>, Error> {
        let snapshots = opened.snapshots()?;
        let newest = |folder: &str| snapshots.iter().rev().find(|one| one.folder == folder);
        let chosen: Vec<&Snapshot> = match folder {
            Some(folder) => vec![newest(folder).ok_or_else(|| Error::NoSnapshot {
                folder: folder.to_owned(),
                destination: destination.to_owned(),
            })?],
            None => here.iter().filter_map(|workspace| newest(&workspace.folder)).collect(),
        };
        if chosen.is_empty() {
            return Ok(Vec::new());
        }
        let place = self.inner().home.backup().join(SCRATCH);
        let failed = |source| Error::Folder { path: place.clone(), source };
        std::fs::create_dir_all(&place).map_err(failed)?;
        let reader = opened.reader()?;
        let mut tried = Vec::new();
        for snapshot in chosen {
            if self.inner().closing.is_cancelled() {
                return Err(Trouble::new(Cause::Stopped, "go on", "").into());
            }
            let scratch = tempfile::tempdir_in(&place).map_err(failed)?;
            let source = here.iter().find(|workspace| workspace.folder == snapshot.folder);
            let source = source.map(|workspace| workspace.path.as_path());
            tried.push(restore(&reader, snapshot, scratch.path(), source)?);
        }
        Ok(tried)
    }

    /// Removes what a drill has left that ended with its node.
    pub(in crate::backup) fn sweep_drills(&self) {
        let place = self.inner().home.backup().join(SCRATCH);
        match std::fs::remove_dir_all(&place) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(error = %error, "what a restore drill has left could not be removed");
            }
            _ => {}
        }
    }
}
