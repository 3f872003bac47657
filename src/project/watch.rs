//! Watches the directory of projects: which folders there are, and which have settled.
//!
//! Task: [`run`] lists the directory when inotify hints that something happened, and every `rescan` as the safety net;
//! it publishes a [`Scene`] on a watch channel. A folder that is being written (a copy in progress) is *settling* until
//! its fingerprint has been the same for `settle`; a folder moved in whole is taken at once.
//!
//! Invariant: a directory that cannot be listed makes the scene [`Scene::Unavailable`]; it never makes folders vanish.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use notify::Watcher as _;
use tokio::sync::Notify;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::fingerprint;
use super::fingerprint::Fingerprint;
use crate::base::clock;
use crate::model::project::FolderIdentity;

/// How deep a settling folder is looked at.
const DEPTH: usize = 12;
/// How deep a settled folder is looked at for changed manifests; deeper edits are the sync session's business.
const SHALLOW: usize = 2;
/// A tree whose last change is older than this was not written just now: it was moved in whole.
const OLD: Duration = Duration::from_secs(2);
/// Without inotify the directory is listed this often.
const POLL: Duration = Duration::from_secs(2);

/// What to watch, and how patiently.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The directory of projects.
    pub directory: PathBuf,
    /// How long a folder must be quiet before it is taken.
    pub settle: Duration,
    /// How often everything is looked at, hints or not.
    pub rescan: Duration,
}

/// What was seen in the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scene {
    /// Nothing has been seen yet, or the directory cannot be listed: what is there is unknown.
    Unavailable {
        /// Why.
        why: String,
    },
    /// The folders, by name.
    Folders(BTreeMap<String, Folder>),
}

/// One folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Where it is.
    pub path: PathBuf,
    /// Which directory it is.
    pub identity: FolderIdentity,
    /// Whether it can be taken.
    pub stage: Stage,
    /// Grows each time its upper levels have changed and settled again.
    pub revision: u64,
}

/// Whether a folder can be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Somebody is writing in it.
    Settling {
        /// Since when, in milliseconds of the Unix epoch.
        since_ms: i64,
        /// The entry that changed last.
        changing: Option<String>,
    },
    /// It has been quiet.
    Settled,
    /// It cannot be read.
    Unreadable {
        /// Why.
        why: String,
    },
}

struct Tracked {
    folder: Folder,
    /// The last look, and since when it has been the same.
    look: Option<(Fingerprint, Instant)>,
    /// When that was.
    looked_at: Instant,
    shallow: Option<Fingerprint>,
}

/// Watches until the token is cancelled.
pub async fn run(settings: Settings, scene: watch::Sender<Scene>, token: CancellationToken) {
    let mut eyes = Eyes::open(&settings.directory);
    let mut tracked: BTreeMap<String, Tracked> = BTreeMap::new();
    loop {
        let began = Instant::now();
        let hints = eyes.hints();
        let seen = match list(&settings.directory).await {
            Ok(listing) => {
                eyes.follow(&settings.directory, listing.keys());
                look(&settings, &mut tracked, listing, &hints).await;
                Scene::Folders(tracked.iter().map(|(name, one)| (name.clone(), one.folder.clone())).collect())
            }
            Err(why) => {
                // The directory may come back as another one: its watches are made anew then.
                eyes = Eyes::open(&settings.directory);
                Scene::Unavailable { why }
            }
        };
        scene.send_if_modified(|current| {
            let changed = *current != seen;
            *current = seen;
            changed
        });
        let settling = || tracked.values().filter(|one| matches!(one.folder.stage, Stage::Settling { .. }));
        let unsettled = settling().next().is_some();
        let wait = if unsettled {
            let due = settling().filter_map(|one| Some(one.look.as_ref()?.1 + settings.settle)).min();
            let due = due.map_or(settings.settle, |due| due.saturating_duration_since(Instant::now()));
            // A pass over a large tree costs something: look at it for a tenth of the time at most.
            (settings.settle / 4).min(due).max(began.elapsed() * 10)
        } else if eyes.blind() || matches!(&*scene.borrow(), Scene::Unavailable { .. }) {
            POLL
        } else {
            settings.rescan
        };
        tokio::select! {
            // Cancel-safe: each arm only waits.
            () = token.cancelled() => return,
            () = tokio::time::sleep(wait) => if !unsettled { eyes.hint_all() },
            // While somebody writes there is a pass soon anyway; hints would only make passes pile up.
            () = eyes.changed.notified(), if !unsettled => {}
        }
    }
}

/// The folders of the directory. Hidden ones, files and links are not projects.
async fn list(directory: &Path) -> Result<BTreeMap<String, FolderIdentity>, String> {
    let directory = directory.to_owned();
    let listed = tokio::task::spawn_blocking(move || {
        let mut folders = BTreeMap::new();
        for entry in std::fs::read_dir(&directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || name == "lost+found" {
                continue;
            }
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => {
                    folders.insert(name, FolderIdentity { device: metadata.dev(), inode: metadata.ino() });
                }
                Ok(_) => {}
                // It went away between the listing and the look.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(folders)
    })
    .await;
    match listed {
        Ok(Ok(folders)) => Ok(folders),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_cancelled) => Err("the node is closing".to_owned()),
    }
}

async fn look(
    settings: &Settings,
    tracked: &mut BTreeMap<String, Tracked>,
    listing: BTreeMap<String, FolderIdentity>,
    hints: &Hints,
) {
    tracked.retain(|name, one| listing.get(name) == Some(&one.folder.identity));
    for (name, identity) in listing {
        let fresh = !tracked.contains_key(&name);
        let one = tracked.entry(name.clone()).or_insert_with(|| Tracked {
            folder: Folder {
                path: settings.directory.join(&name),
                identity,
                stage: settling(None),
                revision: 0,
            },
            look: None,
            looked_at: Instant::now(),
            shallow: None,
        });
        let settled = one.folder.stage == Stage::Settled;
        if settled && !fresh && !hints.contains(&name) {
            continue;
        }
        let path = one.folder.path.clone();
        let depth = if settled { SHALLOW } else { DEPTH };
        // One folder that is slow to read (a dead network mount) must not hold up the others for ever.
        let taken = tokio::time::timeout(
            Duration::from_secs(5),
            tokio::task::spawn_blocking(move || {
                let shallow = fingerprint::take(&path, SHALLOW)?;
                let deep = if depth == SHALLOW { shallow.clone() } else { fingerprint::take(&path, depth)? };
                std::io::Result::Ok((shallow, deep))
            }),
        )
        .await;
        match taken {
            Ok(Ok(Ok((shallow, deep)))) if settled => {
                if one.shallow.as_ref() != Some(&shallow) {
                    one.folder.stage = settling(deep.newest);
                    one.look = None;
                }
            }
            Ok(Ok(Ok((shallow, deep)))) => judge(settings, one, shallow, deep),
            Ok(Ok(Err(error))) => one.folder.stage = Stage::Unreadable { why: error.to_string() },
            Ok(Err(_)) => {}
            Err(_elapsed) => {
                one.folder.stage = Stage::Unreadable { why: "it could not be read within 5 s".to_owned() };
            }
        }
    }
}

/// Settled when it looks as it did `settle` ago, or when its last change is old.
fn judge(settings: &Settings, one: &mut Tracked, shallow: Fingerprint, deep: Fingerprint) {
    let now = Instant::now();
    let since_epoch = Duration::from_millis(u64::try_from(clock::now().as_millisecond()).unwrap_or(0));
    let age = since_epoch.saturating_sub(deep.newest_at);
    let moved_in = deep.entries > 0 && age > OLD;
    // What is different since the last look changed at its change time; what only went away leaves none.
    let quiet_since = match &one.look {
        Some((before, since)) if *before == deep => *since,
        _ => now.checked_sub(age).map_or(one.looked_at, |changed| changed.max(one.looked_at)),
    };
    one.looked_at = now;
    if moved_in || now.duration_since(quiet_since) >= settings.settle {
        one.folder.stage = Stage::Settled;
        one.folder.revision += 1;
        one.shallow = Some(shallow);
        one.look = None;
    } else {
        if let Stage::Settling { changing, .. } = &mut one.folder.stage {
            *changing = deep.newest.as_ref().map(|path| path.display().to_string());
        } else {
            one.folder.stage = settling(deep.newest.clone());
        }
        one.look = Some((deep, quiet_since));
    }
}

fn settling(newest: Option<PathBuf>) -> Stage {
    Stage::Settling {
        since_ms: clock::now().as_millisecond(),
        changing: newest.map(|path| path.display().to_string()),
    }
}

/// Which folders to look at although they have settled.
enum Hints {
    All,
    Some(HashSet<OsString>),
}

impl Hints {
    fn contains(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(names) => names.contains(std::ffi::OsStr::new(name)),
        }
    }
}

/// inotify on the directory and on each folder's top level: hints only.
struct Eyes {
    watcher: Option<notify::RecommendedWatcher>,
    changed: Arc<Notify>,
    touched: Arc<Mutex<HashSet<OsString>>>,
    followed: HashSet<String>,
    all: bool,
}

impl Eyes {
    fn open(directory: &Path) -> Self {
        let changed = Arc::new(Notify::new());
        let touched = Arc::new(Mutex::new(HashSet::new()));
        let handler = {
            let (changed, touched) = (Arc::clone(&changed), Arc::clone(&touched));
            let directory = directory.to_owned();
            move |event: notify::Result<notify::Event>| {
                let Ok(event) = event else { return };
                if matches!(event.kind, notify::EventKind::Access(_)) {
                    return;
                }
                let mut touched = touched.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                for path in event.paths {
                    let Ok(relative) = path.strip_prefix(&directory) else { continue };
                    touched.extend(relative.components().next().map(|first| first.as_os_str().to_owned()));
                }
                changed.notify_one();
            }
        };
        let watcher = notify::recommended_watcher(handler)
            .inspect_err(|error| tracing::warn!(error = %error, "no inotify, the directory is polled"))
            .ok();
        Self { watcher, changed, touched, followed: HashSet::new(), all: true }
    }

    fn blind(&self) -> bool {
        self.watcher.is_none()
    }

    fn hint_all(&mut self) {
        self.all = true;
    }

    fn hints(&mut self) -> Hints {
        let touched =
            std::mem::take(&mut *self.touched.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        if std::mem::take(&mut self.all) { Hints::All } else { Hints::Some(touched) }
    }

    /// Watches the directory and the top level of each folder. A folder replaced under the same name is watched anew.
    fn follow<'a>(&mut self, directory: &Path, names: impl Iterator<Item = &'a String>) {
        let Some(watcher) = &mut self.watcher else { return };
        let mut add = |path: &Path| watcher.watch(path, notify::RecursiveMode::NonRecursive).is_ok();
        let current: HashSet<String> = names.cloned().collect();
        if self.followed.is_empty() {
            add(directory);
        }
        self.followed.retain(|name| current.contains(name));
        for name in current {
            if !self.followed.contains(&name) && add(&directory.join(&name)) {
                add(&directory.join(&name).join(".nexus"));
                self.followed.insert(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::tasks::TaskGroup;

    fn settings(directory: &Path) -> Settings {
        Settings {
            directory: directory.to_owned(),
            settle: Duration::from_millis(120),
            rescan: Duration::from_secs(30),
        }
    }

    async fn wait_for(
        receiver: &mut watch::Receiver<Scene>,
        what: &str,
        check: impl Fn(&Scene) -> bool,
    ) -> Scene {
        let waited =
            tokio::time::timeout(Duration::from_secs(10), receiver.wait_for(|scene| check(scene))).await;
        waited.unwrap_or_else(|_| panic!("never saw: {what}")).unwrap().clone()
    }

    fn stage<'a>(scene: &'a Scene, name: &str) -> Option<&'a Stage> {
        match scene {
            Scene::Folders(folders) => folders.get(name).map(|folder| &folder.stage),
            Scene::Unavailable { .. } => None,
        }
    }

    fn start(directory: &Path) -> (TaskGroup, watch::Receiver<Scene>) {
        let mut tasks = TaskGroup::new("test", &CancellationToken::new());
        let (sender, receiver) = watch::channel(Scene::Unavailable { why: "not seen yet".to_owned() });
        tasks.spawn("watch", run(settings(directory), sender, tasks.token()));
        (tasks, receiver)
    }

    #[tokio::test]
    async fn a_folder_is_taken_once_its_copy_has_ended() {
        let directory = tempfile::tempdir().unwrap();
        let (tasks, mut scene) = start(directory.path());
        wait_for(&mut scene, "an empty directory", |scene| matches!(scene, Scene::Folders(_))).await;
        let project = directory.path().join("app");
        std::fs::create_dir(&project).unwrap();
        let mut writes = tokio::time::interval(Duration::from_millis(30));
        for file in 0..20 {
            writes.tick().await;
            std::fs::write(project.join(format!("{file}.txt")), "x").unwrap();
            assert_ne!(
                stage(&scene.borrow(), "app"),
                Some(&Stage::Settled),
                "taken while it was being written"
            );
        }
        let settled = |scene: &Scene| stage(scene, "app") == Some(&Stage::Settled);
        wait_for(&mut scene, "the settled folder", settled).await;
        tasks.close(Duration::from_secs(5)).await;
    }

    #[tokio::test]
    async fn a_change_counts_from_when_it_was_made_but_not_from_before_the_last_look() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("page"), "x").unwrap();
        let mut seen = fingerprint::take(directory.path(), DEPTH).unwrap();
        let made = Duration::from_millis(90);
        seen.newest_at = Duration::from_millis(u64::try_from(clock::now().as_millisecond()).unwrap()) - made;
        let quiet_since = |looked_at| {
            let folder = Folder {
                path: directory.path().to_owned(),
                identity: FolderIdentity { device: 1, inode: 1 },
                stage: settling(None),
                revision: 0,
            };
            let mut one = Tracked { folder, look: None, looked_at, shallow: None };
            let patient = Settings { settle: Duration::from_secs(60), ..settings(directory.path()) };
            judge(&patient, &mut one, seen.clone(), seen.clone());
            one.look.unwrap().1
        };
        let now = Instant::now();
        assert!(now.duration_since(quiet_since(now.checked_sub(made * 3).unwrap())) >= made / 2);
        assert!(quiet_since(now) >= now);
    }

    #[tokio::test]
    async fn a_changed_manifest_is_a_new_revision_and_a_vanished_directory_is_unknown() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("projects");
        std::fs::create_dir_all(root.join("app")).unwrap();
        std::fs::write(root.join("app/package.json"), "{}").unwrap();
        let (tasks, mut scene) = start(&root);
        let revision = |scene: &Scene| match scene {
            Scene::Folders(folders) => folders.get("app").map_or(0, |folder| folder.revision),
            Scene::Unavailable { .. } => 0,
        };
        wait_for(&mut scene, "the first revision", |scene| revision(scene) == 1).await;
        std::fs::write(root.join("app/package.json"), "{\"name\":\"x\"}").unwrap();
        wait_for(&mut scene, "the second revision", |scene| revision(scene) == 2).await;
        std::fs::rename(&root, directory.path().join("elsewhere")).unwrap();
        wait_for(&mut scene, "the loss", |scene| matches!(scene, Scene::Unavailable { .. })).await;
        tasks.close(Duration::from_secs(5)).await;
    }

    #[tokio::test]
    async fn hidden_folders_files_and_links_are_no_projects() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join(".trash")).unwrap();
        std::fs::write(directory.path().join("notes.txt"), "").unwrap();
        std::os::unix::fs::symlink("/", directory.path().join("root")).unwrap();
        std::fs::create_dir(directory.path().join("app")).unwrap();
        let (tasks, mut scene) = start(directory.path());
        let seen = wait_for(&mut scene, "folders", |scene| matches!(scene, Scene::Folders(_))).await;
        let Scene::Folders(folders) = seen else { panic!("waited for folders") };
        assert_eq!(folders.keys().collect::<Vec<_>>(), ["app"]);
        tasks.close(Duration::from_secs(5)).await;
    }
}
