//! When something can be seen on the other side, by the same means for everybody.
//!
//! One file is watched with inotify where the engine keeps the volume and read at each event, so that waiting costs
//! the contender nothing of the processor. Of many files the sizes are asked for in order, every few milliseconds.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use rustix::fs::inotify;
use tokio::net::unix::pipe;

/// How soon it is looked again although there was no event.
const AGAIN: Duration = Duration::from_millis(50);
/// How often many files are looked at.
const STEP: Duration = Duration::from_millis(2);

/// Waits for one file to satisfy a check.
pub struct Eye<F> {
    /// Tokio's way to wait for any descriptor that is read.
    events: pipe::Receiver,
    check: F,
}

impl<F: Fn() -> bool> Eye<F> {
    /// Watches from now on.
    pub fn open(path: &Path, check: F) -> Self {
        let events = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC).unwrap();
        let wanted = inotify::WatchFlags::CLOSE_WRITE
            | inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::CREATE;
        inotify::add_watch(&events, path.parent().unwrap(), wanted).unwrap();
        Self { events: pipe::Receiver::from_owned_fd_unchecked(events).unwrap(), check }
    }

    /// When it was so; nothing if it was not within the limit.
    pub async fn seen(self, limit: Duration) -> Option<Instant> {
        let until = Instant::now() + limit;
        while Instant::now() < until {
            if (self.check)() {
                return Some(Instant::now());
            }
            if let Ok(ready) = tokio::time::timeout(AGAIN, self.events.readable()).await {
                ready.unwrap();
                // Which file it was about does not matter: the check looks itself.
                while self.events.try_read(&mut [0; 4096]).is_ok() {}
            }
        }
        None
    }
}

/// Whether a file holds exactly this.
pub fn holds(path: &Path, content: &[u8]) -> bool {
    fs::read(path).is_ok_and(|found| found == content)
}

/// Whether a file has this size and this byte at a place.
pub fn has_byte(path: &Path, size: u64, at: u64, byte: u8) -> bool {
    let Ok(file) = fs::File::open(path) else { return false };
    let mut found = [0];
    file.metadata().is_ok_and(|metadata| metadata.len() == size)
        && file.read_exact_at(&mut found, at).is_ok()
        && found[0] == byte
}

/// When all of these had their sizes; nothing if they did not within the limit.
pub async fn all_seen(copy: &Path, wanted: &[(PathBuf, u64)], limit: Duration) -> Option<Instant> {
    let until = Instant::now() + limit;
    let mut next = 0;
    loop {
        while let Some((path, size)) = wanted.get(next)
            && fs::metadata(copy.join(path)).is_ok_and(|metadata| metadata.len() == *size)
        {
            next += 1;
        }
        if next == wanted.len() {
            return Some(Instant::now());
        }
        if Instant::now() > until {
            return None;
        }
        tokio::time::sleep(STEP).await;
    }
}
