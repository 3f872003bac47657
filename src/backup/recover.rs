//! Bringing things back: which snapshots there are, restoring one, proving that what is stored is what was written.
//!
//! A folder that is not there yet is restored beside its place under a hidden name and put there in one step, so nothing
//! ever sees half of it; what an interrupted restore has brought is used by the next one. Into a folder that is there,
//! only what differs is written, and what that replaces, or removes where the folder is to be equal, is kept in the node's
//! home.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::control::Backups;
use super::control::blocking;
use super::control::renewing;
use super::error::Error;
use super::hands::Hands;
use super::hands::Heap;
use super::hands::Room;
use super::hands::Task;
use super::hands::Told;
use super::opened::Opened;
use super::progress;
use super::restore;
use super::restore::Action;
use super::restore::Kind;
use super::restore::Target;
use super::restore::Wanted;
use super::snapshot::Reader;
use super::snapshot::Snapshot;
use super::surplus;
use super::surplus::Shape;
use super::trouble::Cause;
use super::trouble::Trouble;
use super::walk::Named;
use super::walk::Selection;
use crate::base::clock;
use crate::base::sealed::Sealed;

/// What is to be restored, and where to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// From where; the first destination that has it when absent.
    pub destination: Option<String>,
    /// Of which workspace.
    pub folder: String,
    /// Which snapshot, by the beginning of its id; the newest that fits when absent.
    pub snapshot: Option<String>,
    /// Not newer than this.
    pub at: Option<Timestamp>,
    /// Under which name; its own when absent.
    pub to: Option<String>,
    /// What is to become of a folder that is there.
    pub mode: Mode,
    /// Only these paths and what is below them; all when empty.
    pub paths: Vec<String>,
    /// Whether only the plan is wanted.
    pub dry_run: bool,
}

/// What is to become of a folder that is there and holds something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nothing: it is refused.
    #[default]
    New,
    /// What is missing is added, what differs is replaced, nothing is removed.
    Merge,
    /// It becomes equal: what a backup would take of it and the snapshot does not hold goes aside as well.
    Mirror,
}

/// What a restore does, or did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// From where.
    pub destination: String,
    /// The snapshot.
    pub snapshot: Snapshot,
    /// The folder.
    pub to: PathBuf,
    /// Things that were not there.
    pub added: u64,
    /// Things that were otherwise; what they were is kept.
    pub replaced: u64,
    /// Things that were the same.
    pub left: u64,
    /// Bytes of the files that are written.
    pub bytes: u64,
    /// What could not be restored, and why.
    pub failed: Named,
    /// Files and links that the snapshot does not hold and that are not there any more; what they were is kept.
    pub removed: Named,
    /// Where what was replaced or removed is.
    pub aside: Option<PathBuf>,
}

impl Restored {
    /// Something is as it shall be.
    fn count(&mut self, wanted: &Wanted, action: Action) {
        match action {
            Action::Replace => self.replaced += 1,
            _ => self.added += 1,
        }
        self.bytes = self.bytes.saturating_add(wanted.size());
    }
}

/// Reads a point in time: RFC 3339, or date and time in UTC.
///
/// # Errors
/// When it is neither.
pub fn parse_time(text: &str) -> Result<Timestamp, Error> {
    let text = text.trim();
    let civil = || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    text.parse().ok().or_else(civil).ok_or_else(|| Error::Time { text: text.to_owned() })
}

/// Whether a name is one of a folder that lies in the watched directory itself.
pub fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.len() <= 255 && !name.starts_with('.') && !name.contains(['/', '\0'])
}

/// The snapshot a request means; `snapshots` are the oldest first.
fn choose<'a>(request: &Request, snapshots: &'a [Snapshot]) -> Option<&'a Snapshot> {
    snapshots.iter().rev().find(|one| {
        one.folder == request.folder
            && request.snapshot.as_ref().is_none_or(|id| one.id.starts_with(id.as_str()))
            && request.at.is_none_or(|at| one.time <= at)
    })
}

impl Backups {
    /// The snapshots at one destination, the oldest first.
    ///
    /// # Errors
    /// When there is no such destination, or it cannot be read.
    pub async fn snapshots(&self, destination: &str) -> Result<Vec<Snapshot>, Error> {
        Ok(self.listed(destination).await?.0)
    }

    /// The names of all destinations.
    pub fn destinations(&self) -> Vec<String> {
        self.inner().settings.destinations.iter().map(|one| one.name.clone()).collect()
    }

    /// The recovery password of a destination.
    ///
    /// # Errors
    /// When there is no such destination, or no repository there yet.
    pub async fn recovery(&self, destination: &str) -> Result<Sealed<String>, Error> {
        let (access, _) = self.opening(destination)?;
        let keys = blocking(move || access.load()).await?;
        let none = || {
            Trouble::new(
                Cause::Missing,
                format!("show the password of `{destination}`"),
                "nothing was backed up there yet",
            )
        };
        Ok(keys.ok_or_else(none)?.password)
    }

    /// Keeps the recovery password of a repository that was made elsewhere, if it opens it.
    ///
    /// # Errors
    /// When there is no such destination, nothing there, or the password does not open it.
    pub async fn adopt(&self, destination: &str, password: Sealed<String>) -> Result<(), Error> {
        let (access, _) = self.opening(destination)?;
        Ok(blocking(move || access.adopt(password).map(drop)).await?)
    }

    /// Proves that all snapshots of a destination are whole; with `read` down to each byte.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub async fn verify(&self, destination: &str, read: bool) -> Result<Vec<String>, Error> {
        let (this, destination) = (self.clone(), destination.to_owned());
        self.to_its_end(async move { this.verify_now(&destination, read).await }).await
    }

    async fn verify_now(&self, destination: &str, read: bool) -> Result<Vec<String>, Error> {
        let held = self.hold(self.destination(destination)?).await?;
        let opened = self.open(destination).await?;
        let lock = self.lock(&opened).await?;
        let found = renewing(lock, blocking(move || opened.check(read))).await?;
        drop(held);
        Ok(found)
    }

    /// Restores, or says what would be restored.
    ///
    /// # Errors
    /// When nothing could be restored. What failed of a snapshot is in the answer.
    pub async fn restore(&self, request: Request) -> Result<Restored, Error> {
        let this = self.clone();
        self.to_its_end(async move { this.restore_now(request).await }).await
    }

    async fn restore_now(&self, request: Request) -> Result<Restored, Error> {
        let name = request.to.clone().unwrap_or_else(|| request.folder.clone());
        if !is_plain(&name) {
            return Err(Error::Name { name });
        }
        let (destination, snapshot, opened) = self.find(&request).await?;
        let directory = self.inner().settings.directory.clone();
        let to = directory.join(&name);
        let stamp = clock::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let aside = self.inner().home.backup().join("replaced").join(format!("{name}-{stamp}"));
        let lock = self.lock(&opened).await?;
        let there = std::fs::symlink_metadata(&to).is_ok();
        let selection = self.inner().settings.selection.clone();
        let told = (!request.dry_run).then(|| Arc::new(self.restoring(&destination, &snapshot)));
        let watched = told.clone();
        let job =
            Job { request, name, to, aside, snapshot, destination, directory, selection, there, watched };
        let run = move || {
            let reader = opened.reader()?;
            Ok(match &told {
                Some(told) => job.run(&told.reader(&reader)),
                None => job.run(&reader),
            })
        };
        let work = async { Ok(blocking(run).await) };
        let done = renewing(lock, work).await;
        // What the hands held is nobody's any more, and would count beside what the next run needs.
        nexus_agent::memory::give_back();
        done??
    }

    async fn find(&self, request: &Request) -> Result<(String, Snapshot, Opened), Error> {
        let names = match &request.destination {
            Some(name) => vec![name.clone()],
            None => self.destinations(),
        };
        let mut failure = None;
        for name in &names {
            match self.listed(name).await {
                Ok((snapshots, opened)) => {
                    if let Some(found) = choose(request, &snapshots) {
                        return Ok((name.clone(), found.clone(), opened));
                    }
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(failure.unwrap_or_else(|| Error::NoSnapshot {
            folder: request.folder.clone(),
            destination: names.join("`, `"),
        }))
    }
}

/// What a restore into a folder that is there comes to.
#[derive(Default)]
struct Look {
    /// Bytes of what is written.
    bytes: u64,
    /// All things of the snapshot, where the folder is to be equal to it.
    wanted: HashMap<OsString, Shape>,
    /// Why they may not be all.
    failure: Option<Trouble>,
}

/// A restore that is going on.
struct Job {
    request: Request,
    name: String,
    to: PathBuf,
    aside: PathBuf,
    snapshot: Snapshot,
    destination: String,
    directory: PathBuf,
    /// What a backup takes of a folder.
    selection: Selection,
    /// Whether the folder is there already, and its own.
    there: bool,
    /// Is told what need not be brought.
    watched: Option<Arc<progress::Told>>,
}

impl Job {
    fn run<R: Reader>(self, reader: &R) -> Result<Restored, Error> {
        let there = self.there;
        let empty = std::fs::read_dir(&self.to).is_ok_and(|mut entries| entries.next().is_none());
        if there && !empty && self.request.mode == Mode::New {
            return Err(Error::NotEmpty { name: self.name });
        }
        let id = self.snapshot.id.get(..8).unwrap_or_default();
        let hidden = self.directory.join(format!(".nexus-restore-{}-{id}", self.name));
        let place = if there { &self.to } else { &hidden };
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Folder { path, source }
        };
        let mut done = Restored {
            destination: self.destination.clone(),
            snapshot: self.snapshot.clone(),
            to: self.to.clone(),
            added: 0,
            replaced: 0,
            left: 0,
            bytes: 0,
            failed: Named::default(),
            removed: Named::default(),
            aside: None,
        };
        let fresh = !place.exists();
        if fresh {
            if self.request.dry_run {
                // Nothing is there, so all is added; nothing has to be made to know that.
                reader.entries(&self.snapshot, &|_| false, &mut |entry| self.count(entry, &mut done))?;
                return Ok(done);
            }
            std::fs::create_dir(place).map_err(failed(place))?;
            if let Ok(owner) = std::fs::metadata(&self.directory) {
                // Where that is not allowed it stays ours.
                let _kept = std::os::unix::fs::chown(place, Some(owner.uid()), Some(owner.gid()));
            }
        }
        let disk = |error: restore::Error| failed(place)(std::io::Error::other(error.to_string()));
        let target = Target::open(place, self.aside.clone()).map_err(disk)?;
        let (look, room) = self.plan(reader, &target, !empty).inspect_err(|_| {
            if fresh {
                // Nothing is in it yet; where it stays the next restore uses it.
                let _removed = std::fs::remove_dir(place);
            }
        })?;
        if let Some(look) = look.filter(|_| self.request.mode == Mode::Mirror) {
            self.make_room(look, &target, &mut done)?;
        }
        if !self.request.dry_run {
            target.sweep(None).map_err(disk)?;
        }
        // What is there already is not fetched.
        let likely = |wanted: &Wanted| {
            let there = || !fresh && target.look(wanted).is_ok_and(|(_, action)| action == Action::Leave);
            !self.request.dry_run && self.chosen(wanted) && !there()
        };
        let done = Mutex::new(done);
        let told = |wanted: &Wanted, action: Action, outcome: Result<(), String>| {
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            match outcome {
                Ok(()) => done.count(wanted, action),
                Err(why) => done.failed.add(&wanted.path.to_string_lossy(), why),
            }
        };
        let hands = Hands { reader, target: &target, room, told: &told, full: AtomicBool::new(false) };
        let root = hands.work(|heap| {
            reader.entries(&self.snapshot, &likely, &mut |entry| self.put(entry, &target, heap, &told, &done))
        })?;
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        // Several hands come to their ends in any order.
        done.failed.listed.sort();
        if self.request.dry_run {
            return Ok(done);
        }
        // A folder that was there keeps what its owner has set.
        target.close((!there).then_some(&root)).map_err(disk)?;
        if !there {
            std::fs::rename(&hidden, &self.to).map_err(failed(&self.to))?;
        }
        done.aside = (done.replaced + done.removed.total > 0).then_some(self.aside);
        Ok(done)
    }

    /// What is to be done as far as that has to be known before, and how much may be written for it.
    fn plan<R: Reader>(
        &self,
        reader: &R,
        target: &Target,
        filled: bool,
    ) -> Result<(Option<Look>, Room), Error> {
        let (said, free) = (self.snapshot.bytes, target.space());
        // What another program wrote may not say how large it is. And of what is too large some may not be wanted, or be
        // there already.
        let unknown = self.snapshot.files == 0 || free.is_some_and(|free| free < said);
        let look = if self.there && filled || unknown { Some(self.look(reader, target)?) } else { None };
        let needed = look.as_ref().map_or(said, |look| look.bytes);
        match free {
            Some(free) if free < needed => Err(Error::Space { needed, free }),
            _ => Ok((look, Room::new(needed, free))),
        }
    }

    /// Goes through the snapshot without reading any content: what is to be written into a folder that is there, and
    /// what it is to hold in the end.
    fn look<R: Reader>(&self, reader: &R, target: &Target) -> Result<Look, Error> {
        let mut look = Look::default();
        reader.entries(&self.snapshot, &|_| false, &mut |entry| match entry {
            Ok((wanted, _)) => {
                let action = target.look(&wanted).map(|(_, action)| action);
                let written = matches!(action, Ok(Action::Add | Action::Replace | Action::InTheWay));
                if written && self.chosen(&wanted) {
                    look.bytes = look.bytes.saturating_add(wanted.size());
                }
                if let (Mode::Mirror, Some(shape)) = (self.request.mode, Shape::of(&wanted)) {
                    look.wanted.insert(wanted.path, shape);
                }
            }
            Err(trouble) => look.failure = look.failure.take().or(Some(trouble)),
        })?;
        Ok(look)
    }

    /// Sets aside what the folder holds and the snapshot does not.
    fn make_room(&self, look: Look, target: &Target, done: &mut Restored) -> Result<(), Error> {
        if let Some(trouble) = look.failure {
            // What is not listed may be in it all the same.
            done.failed
                .add("", format!("nothing was removed, because not all of the snapshot is known: {trouble}"));
            return Ok(());
        }
        let found = surplus::found(&self.to, &self.selection).map_err(|error| Error::Folder {
            path: self.to.clone(),
            source: std::io::Error::other(error.to_string()),
        })?;
        for (path, shape) in surplus::surplus(found, &look.wanted) {
            if !surplus::is_below(path.as_bytes(), &self.request.paths) {
                continue;
            }
            let gone = if self.request.dry_run { Ok(true) } else { target.set_aside(&path) };
            match gone {
                Ok(true) if shape != Shape::Directory => done.removed.add(&path.to_string(), ""),
                Ok(_) => {}
                Err(error) => done.failed.add(&path.to_string(), error.to_string()),
            }
        }
        Ok(())
    }

    fn chosen(&self, wanted: &Wanted) -> bool {
        let path = wanted.path.as_bytes();
        // What leads to it is needed too.
        let above = |chosen: &String| {
            let chosen = chosen.trim_matches('/').as_bytes();
            chosen.strip_prefix(path).is_some_and(|rest| rest.first() == Some(&b'/'))
        };
        let leads = wanted.kind == Kind::Directory && self.request.paths.iter().any(above);
        leads || surplus::is_below(path, &self.request.paths)
    }

    /// Says of a file that it need not be brought, and why.
    fn say(&self, wanted: &Wanted, why: fn(&progress::Told, u64)) {
        if let (Some(watched), Kind::File { size }) = (&self.watched, &wanted.kind) {
            why(watched, *size);
        }
    }

    fn only_asked_to_be_equal(&self) -> bool {
        self.request.dry_run && self.request.mode == Mode::Mirror
    }

    fn count<C>(&self, entry: Result<(Wanted, C), Trouble>, done: &mut Restored) {
        match entry {
            Ok((wanted, _)) if self.chosen(&wanted) => {
                done.count(&wanted, Action::Add);
            }
            Ok(_) => {}
            Err(trouble) => done.failed.add("", trouble.to_string()),
        }
    }

    fn put<R: Reader>(
        &self,
        entry: Result<(Wanted, R::Content), Trouble>,
        target: &Target,
        heap: &Heap<'_, R>,
        told: &Told<'_>,
        done: &Mutex<Restored>,
    ) {
        let done = || done.lock().unwrap_or_else(PoisonError::into_inner);
        let (wanted, content) = match entry {
            Ok(entry) => entry,
            Err(trouble) => return done().failed.add("", trouble.to_string()),
        };
        if !self.chosen(&wanted) {
            return self.say(&wanted, progress::Told::unwanted);
        }
        let (spot, action) = match target.look(&wanted) {
            Ok(looked) => looked,
            // The file that is there in place of its directory will have been set aside.
            Err(restore::Error::Io { source, .. })
                if source.kind() == std::io::ErrorKind::NotADirectory && self.only_asked_to_be_equal() =>
            {
                return told(&wanted, Action::Add, Ok(()));
            }
            Err(error) => return told(&wanted, Action::Add, Err(error.to_string())),
        };
        match action {
            Action::Leave => {
                done().left += 1;
                self.say(&wanted, progress::Told::there);
                if wanted.kind == Kind::Directory && !self.request.dry_run {
                    // What cannot be swept is in nobody's way.
                    let _swept = target.sweep(Some(&spot.path));
                    if !self.there {
                        // Made by an earlier try, which did not come to its end.
                        target.finish_later(&spot.path, &wanted);
                    }
                }
                return;
            }
            // Where the folder is to be equal it will have been set aside.
            Action::InTheWay if self.only_asked_to_be_equal() => {}
            Action::InTheWay => {
                let why = "something of another kind is there, and stays";
                return told(&wanted, action, Err(why.to_owned()));
            }
            Action::Never => {
                let why = "devices, pipes and sockets are not restored";
                return told(&wanted, action, Err(why.to_owned()));
            }
            Action::Add | Action::Replace => {}
        }
        if self.request.dry_run {
            return told(&wanted, action, Ok(()));
        }
        if matches!(wanted.kind, Kind::File { .. }) {
            return heap.add(Task { spot, wanted, action, content });
        }
        let put: Result<(), restore::Error> = target.put(&spot, &wanted, action, |_| Ok(()));
        told(&wanted, action, put.map_err(|error| error.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(id: &str, folder: &str, time: &str) -> Snapshot {
        Snapshot {
            id: id.to_owned(),
            time: time.parse().unwrap(),
            host: "h".to_owned(),
            folder: folder.to_owned(),
            path: format!("/workspaces/{folder}"),
            workspace: None,
            files: 1,
            bytes: 1,
        }
    }

    #[test]
    fn the_newest_that_fits_is_meant() {
        let all = [
            snapshot("aa1", "shop", "2024-01-14T00:00:00Z"),
            snapshot("bb2", "shop", "2024-01-15T10:30:00Z"),
            snapshot("cc3", "blog", "2024-01-16T00:00:00Z"),
            snapshot("dd4", "shop", "2024-01-17T00:00:00Z"),
        ];
        let ask = |change: fn(&mut Request)| {
            let mut request = Request { folder: "shop".to_owned(), ..Request::default() };
            change(&mut request);
            choose(&request, &all).map(|one| one.id.clone())
        };
        assert_eq!(ask(|_| {}).as_deref(), Some("dd4"));
        assert_eq!(
            ask(|request| request.at = parse_time("2024-01-15 10:30:00").ok()).as_deref(),
            Some("bb2")
        );
        assert_eq!(
            ask(|request| request.at = parse_time("2024-01-15T10:30:00+01:00").ok()).as_deref(),
            Some("aa1")
        );
        assert_eq!(ask(|request| request.snapshot = Some("aa".to_owned())).as_deref(), Some("aa1"));
        assert_eq!(ask(|request| request.snapshot = Some("cc".to_owned())), None, "another workspace's");
        assert!(parse_time("yesterday").is_err());
    }
}
