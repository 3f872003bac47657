//! Notices which directories of a folder have changed.
//!
//! One inotify watch per carried directory, so that what is not carried (`node_modules`) costs nothing. Events are
//! hints: they say where to look, and a full look every now and then finds what they have missed.

use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use nexus_agent::path::RelPath;
use notify::EventKind;
use notify::RecommendedWatcher;
use notify::RecursiveMode;
use notify::Watcher as _;
use notify::event::AccessKind;
use notify::event::AccessMode;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Events this close together are one.
const QUIET: Duration = Duration::from_millis(10);
/// And no longer than this is waited for them to end: a file that is written all the time starves nobody.
const QUIET_MAX: Duration = Duration::from_millis(100);

/// Where to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Look {
    /// At everything.
    All,
    /// At these directories; `None` is the root.
    Directories(BTreeSet<Option<RelPath>>),
}

impl Look {
    /// Nowhere.
    pub(super) fn nowhere() -> Self {
        Self::Directories(BTreeSet::new())
    }

    pub(super) fn is_nowhere(&self) -> bool {
        *self == Self::nowhere()
    }

    /// Whether it shows `path`.
    pub(super) fn covers(&self, path: &RelPath) -> bool {
        match self {
            Self::All => true,
            Self::Directories(directories) => directories.contains(&path.parent()),
        }
    }

    /// Here too.
    pub(super) fn add(&mut self, other: Self) {
        match (self, other) {
            (Self::All, _) => {}
            (this, Self::All) => *this = Self::All,
            (Self::Directories(these), Self::Directories(others)) => these.extend(others),
        }
    }
}

/// Watches one folder.
pub(super) struct Watch {
    root: PathBuf,
    /// `None` where the kernel has no more to give: then only the regular look finds changes.
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<Option<RelPath>>,
    dirty: Arc<Dirty>,
}

#[derive(Debug)]
struct Dirty {
    look: Mutex<Look>,
    changed: Notify,
}

impl Watch {
    /// A watch on nothing yet.
    pub(super) fn new(root: &Path) -> Self {
        let dirty = Arc::new(Dirty { look: Mutex::new(Look::nowhere()), changed: Notify::new() });
        let (sink, base) = (Arc::clone(&dirty), root.to_owned());
        let watcher = notify::recommended_watcher(move |event| sink.note(&base, event));
        if let Err(error) = &watcher {
            tracing::warn!(error = %error, "a folder cannot be watched, it is looked at regularly instead");
        }
        Self { root: root.to_owned(), watcher: watcher.ok(), watched: BTreeSet::new(), dirty }
    }

    /// Whether events come at all.
    pub(super) fn works(&self) -> bool {
        self.watcher.is_some()
    }

    /// Watches exactly these directories. Returns those that are new: what happened in them before now was not seen.
    pub(super) fn follow(&mut self, directories: BTreeSet<Option<RelPath>>) -> BTreeSet<Option<RelPath>> {
        let Some(watcher) = &mut self.watcher else { return BTreeSet::new() };
        // First the old ones: a renamed directory is the same to the kernel under both names.
        for gone in self.watched.difference(&directories) {
            drop(watcher.unwatch(&place(&self.root, gone.as_ref())));
        }
        let new: BTreeSet<_> = directories.difference(&self.watched).cloned().collect();
        for directory in &new {
            let watched = watcher.watch(&place(&self.root, directory.as_ref()), RecursiveMode::NonRecursive);
            if let Err(error) = watched
                && matches!(error.kind, notify::ErrorKind::MaxFilesWatch)
            {
                tracing::warn!(error = %error, "no more directories can be watched, they are looked at regularly instead");
                self.watcher = None;
                return BTreeSet::new();
            }
        }
        self.watched = directories;
        new
    }

    /// Waits until something has changed and has come to rest for a moment. Cancel-safe: what was noticed stays.
    pub(super) async fn changed(&self) {
        while self.dirty.look().is_nowhere() {
            self.dirty.changed.notified().await;
        }
        let deadline = Instant::now() + QUIET_MAX;
        while Instant::now() < deadline {
            if tokio::time::timeout(QUIET, self.dirty.changed.notified()).await.is_err() {
                return;
            }
        }
    }

    /// Where something has changed since this was last asked.
    pub(super) fn take(&self) -> Look {
        std::mem::replace(&mut *self.dirty.look(), Look::nowhere())
    }
}

impl Dirty {
    fn look(&self) -> MutexGuard<'_, Look> {
        self.look.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called by the watcher's own thread.
    fn note(&self, root: &Path, event: notify::Result<notify::Event>) {
        let look = match event {
            Ok(event) if event.need_rescan() => Look::All,
            Ok(event) if is_reading(event.kind) => return,
            Ok(event) => {
                Look::Directories(event.paths.iter().filter_map(|path| holder(root, path)).collect())
            }
            Err(_) => Look::All,
        };
        self.look().add(look);
        self.changed.notify_one();
    }
}

/// Our own reading is no news.
fn is_reading(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

/// The directory that holds a path; the root for itself.
fn holder(root: &Path, path: &Path) -> Option<Option<RelPath>> {
    let relative = path.strip_prefix(root).ok()?;
    let parent = relative.parent().filter(|parent| !parent.as_os_str().is_empty());
    match parent {
        None => Some(None),
        Some(parent) => RelPath::parse(parent.as_os_str().as_encoded_bytes()).ok().map(Some),
    }
}

fn place(root: &Path, directory: Option<&RelPath>) -> PathBuf {
    directory.map_or_else(|| root.to_owned(), |directory| root.join(directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_write_names_its_directory_and_reading_is_no_news() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("src")).unwrap();
        let src = RelPath::parse(b"src").unwrap();
        let mut watch = Watch::new(folder.path());
        let both: BTreeSet<_> = [None, Some(src.clone())].into();
        assert_eq!(watch.follow(both.clone()), both);
        assert_eq!(watch.follow(both), BTreeSet::new());

        std::fs::write(folder.path().join("src/a"), "x").unwrap();
        tokio::time::timeout(Duration::from_secs(5), watch.changed()).await.unwrap();
        assert_eq!(watch.take(), Look::Directories([Some(src)].into()));
        std::fs::read(folder.path().join("src/a")).unwrap();
        let quiet = tokio::time::timeout(Duration::from_millis(50), watch.changed()).await;
        assert!(quiet.is_err() && watch.take().is_nowhere());
    }
}
