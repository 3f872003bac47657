//! The kernel's watches: one per directory, and which directory each of them is on.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::inotify;
use rustix::fs::inotify::ReadFlags;
use rustix::fs::inotify::WatchFlags;
use rustix::io::Errno;

use crate::files::Root;
use crate::look::Part;
use crate::path::RelPath;
use crate::tree::Name;

use super::batch::Batch;
use super::batch::Place;
use super::batch::Says;
use super::pens::Pens;

const EVENTS: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::EXCL_UNLINK);

/// What became of a wish to watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watched {
    Yes,
    /// It is no directory, or not one we may read: there is nothing to watch.
    Nothing,
    /// The kernel has no more to give.
    Full,
}

/// One inotify instance on one folder.
#[derive(Debug)]
pub(super) struct Kernel {
    queue: Arc<OwnedFd>,
    root: Root,
    root_watch: Option<i32>,
    by_watch: HashMap<i32, Place>,
    by_path: BTreeMap<Arc<RelPath>, i32>,
    /// A directory that was moved away and has not arrived yet, by the number both events carry.
    moving: Option<(u32, Place, Name)>,
    /// In tests: no more watches than this.
    pub(super) limit: usize,
}

impl Kernel {
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let root = Root::open(root)?;
        Ok(Self {
            queue: Arc::new(inotify::init(flags)?),
            root,
            root_watch: None,
            by_watch: HashMap::new(),
            by_path: BTreeMap::new(),
            moving: None,
            limit: usize::MAX,
        })
    }

    /// Where events are read.
    pub(super) fn queue(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.queue)
    }

    /// How many directories are watched.
    pub(super) fn len(&self) -> usize {
        self.by_watch.len()
    }

    /// Watches a directory. To ask again is cheap, and right after somebody has put another in its place.
    pub(super) fn watch(&mut self, directory: Option<&RelPath>) -> Watched {
        let watch = match self.add(directory) {
            Ok(watch) => watch,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS | Errno::PERM) => {
                return Watched::Nothing;
            }
            Err(_) => return Watched::Full,
        };
        let place = directory.cloned().map(Arc::new);
        // The kernel gives one directory one watch, wherever it was moved to.
        if let Some(Some(before)) = self.by_watch.insert(watch, place.clone())
            && self.by_path.get(&before) == Some(&watch)
        {
            self.by_path.remove(&before);
        }
        let other = match place {
            Some(place) => self.by_path.insert(place, watch),
            None => self.root_watch.replace(watch),
        };
        if let Some(other) = other.filter(|other| *other != watch) {
            self.remove(other);
        }
        Watched::Yes
    }

    fn add(&self, directory: Option<&RelPath>) -> rustix::io::Result<i32> {
        let known = match directory {
            Some(directory) => self.by_path.contains_key(directory),
            None => self.root_watch.is_some(),
        };
        if !known && self.len() >= self.limit {
            return Err(Errno::NOSPC);
        }
        let opened = self.root.open_directory(directory);
        let opened = opened.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        let flags = if directory.is_none() {
            EVENTS | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF
        } else {
            EVENTS
        };
        // By descriptor, so that it is the very directory that was opened beneath the root.
        inotify::add_watch(&*self.queue, format!("/proc/self/fd/{}", opened.as_raw_fd()), flags)
    }

    /// Watches nothing at or below a directory any more.
    pub(super) fn leave(&mut self, directory: &RelPath) {
        let within = self.by_path.range::<RelPath, _>(directory..);
        let within = within.take_while(|(path, _)| path.is_within(directory));
        let gone: Vec<_> = within.map(|(path, watch)| (Arc::clone(path), *watch)).collect();
        for (path, watch) in gone {
            self.by_path.remove(&path);
            self.remove(watch);
        }
    }

    fn remove(&mut self, watch: i32) {
        self.by_watch.remove(&watch);
        // It may be gone already, with its directory.
        let _ = inotify::remove_watch(&*self.queue, watch);
    }

    /// Takes one event; says whether the kernel has lost others.
    pub(super) fn note(
        &mut self,
        event: &inotify::Event<'_>,
        batch: &mut Batch,
        pens: &mut Pens,
        now: Duration,
    ) -> bool {
        let flags = event.events();
        if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
            batch.everything();
            pens.forget();
            return true;
        }
        let Some(place) = self.by_watch.get(&event.wd()).cloned() else { return false };
        if flags.contains(ReadFlags::IGNORED) {
            self.forget(event.wd(), &place);
        } else if flags.intersects(ReadFlags::UNMOUNT | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF) {
            // Of the root: whoever looks finds out what it means.
            batch.everything();
        } else if let Some(name) = event.file_name().map(|name| Name::from(name.to_bytes())) {
            if flags.contains(ReadFlags::ISDIR) {
                self.note_directory(&place, &name, flags, event.cookie(), batch, now);
            } else {
                note_pen(&place, &name, flags, pens, now);
                let done = flags.intersects(ReadFlags::CLOSE_WRITE | ReadFlags::MOVED_TO | ReadFlags::ATTRIB);
                batch.name(&place, &name, if done { Says::Done } else { Says::Begun }, now);
            }
        } else {
            // Its own mode or times: what is in it may be readable now, or not any more.
            batch.part(place.as_deref().cloned(), Part::Listing);
        }
        false
    }

    fn note_directory(
        &mut self,
        place: &Place,
        name: &Name,
        flags: ReadFlags,
        cookie: u32,
        batch: &mut Batch,
        now: Duration,
    ) {
        let Ok(path) = RelPath::child(place.as_deref(), name) else { return };
        if flags.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
            if let Some((_, from, old)) = self.moving.take_if(|(number, ..)| *number == cookie && cookie != 0)
            {
                batch.done(&from, &old);
            }
            batch.name(place, name, Says::Done, now);
            // Whatever was there under this name, this is another directory.
            batch.part(Some(path), Part::Below);
        } else if flags.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
            // Its watch goes when a look finds it gone, or to its new path when a look finds it there.
            batch.name(place, name, Says::Begun, now);
            if flags.contains(ReadFlags::MOVED_FROM) {
                self.moving = Some((cookie, place.clone(), name.clone()));
            }
        } else {
            batch.name(place, name, Says::Done, now);
            batch.part(Some(path), Part::Listing);
        }
    }

    /// The kernel has ended a watch: its directory is gone.
    fn forget(&mut self, watch: i32, place: &Place) {
        self.by_watch.remove(&watch);
        match place {
            Some(path) if self.by_path.get(path) == Some(&watch) => drop(self.by_path.remove(path)),
            None if self.root_watch == Some(watch) => self.root_watch = None,
            _ => {}
        }
    }
}

/// What an event about a file says of whoever writes it.
fn note_pen(place: &Place, name: &Name, flags: ReadFlags, pens: &mut Pens, now: Duration) {
    if flags.contains(ReadFlags::MODIFY) {
        pens.wrote(place, name, now);
    } else if flags.contains(ReadFlags::CLOSE_WRITE) {
        pens.closed(place, name);
    } else if flags.intersects(
        ReadFlags::CREATE.union(ReadFlags::DELETE).union(ReadFlags::MOVED_FROM).union(ReadFlags::MOVED_TO),
    ) {
        pens.gone(place, name);
    }
}
