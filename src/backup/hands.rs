//! Writes the files of a snapshot into a folder, several at once, while those that come next are looked at.
//!
//! Whoever goes through the snapshot makes directories and links itself, in order; only files are handed over. What waits
//! to be written has a bound in number and in bytes. And all that is written has one: a snapshot is other people's words,
//! and what its files really hold may come to far more than it says of itself.

use std::fs::File;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;

use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;

use super::restore;
use super::restore::Action;
use super::restore::Spot;
use super::restore::Target;
use super::restore::Wanted;
use super::snapshot::Reader;
use super::trouble::Cause;
use super::trouble::Trouble;

/// So many hands at least: while one waits for content another writes.
const HANDS_MIN: usize = 2;
/// So many hands at most: each keeps some content in memory.
const HANDS_MAX: usize = 4;
/// So many files wait to be written.
const WAITING: usize = 1024;
/// And so many kilobytes of them, so far as one file is not larger.
const WAITING_KB: u32 = 32 << 10;

/// A file that is to be written.
pub struct Task<C> {
    /// Where.
    pub spot: Spot,
    /// What the snapshot says of it.
    pub wanted: Wanted,
    /// What is to become of what is there.
    pub action: Action,
    /// What reads it.
    pub content: C,
}

/// How many bytes may still be written: what was said to be needed, and half of what was free besides.
pub struct Room(AtomicU64);

impl Room {
    /// For what needs so many bytes where so many are free, if that is known.
    pub fn new(needed: u64, free: Option<u64>) -> Self {
        let spare = |free: u64| needed.saturating_add(free.saturating_sub(needed) / 2);
        Self(AtomicU64::new(free.map_or(u64::MAX, spare)))
    }

    /// Takes so many of them.
    ///
    /// # Errors
    /// How many there are, when there are fewer.
    fn take(&self, bytes: u64) -> Result<(), u64> {
        let less = |left: u64| left.checked_sub(bytes);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).map(drop)
    }
}

/// Is told what became of a file.
pub type Told<'a> = dyn Fn(&Wanted, Action, Result<(), String>) + Sync + 'a;

/// Those who write.
pub struct Hands<'a, R: Reader> {
    /// Gives the content.
    pub reader: &'a R,
    /// Takes it.
    pub target: &'a Target,
    /// How much may be written.
    pub room: Room,
    /// Is told about each file.
    pub told: &'a Told<'a>,
    /// Whether the disk was full once.
    pub full: AtomicBool,
}

/// A file that waits, and its share of the bytes that may.
type Waiting<C> = (Task<C>, Option<OwnedSemaphorePermit>);

/// Files that wait to be written.
pub struct Heap<'a, R: Reader> {
    hands: &'a Hands<'a, R>,
    sender: mpsc::SyncSender<Waiting<R::Content>>,
    bytes: Arc<Semaphore>,
    runtime: Handle,
}

impl<R: Reader> Heap<'_, R> {
    /// Has a file written; waits while there is enough to do.
    pub fn add(&self, task: Task<R::Content>) {
        let kilobytes = task.wanted.size().div_ceil(1024).min(WAITING_KB.into());
        let kilobytes = u32::try_from(kilobytes).unwrap_or(WAITING_KB);
        let held = self.runtime.block_on(Arc::clone(&self.bytes).acquire_many_owned(kilobytes));
        if let Err(mpsc::SendError((task, _))) = self.sender.send((task, held.ok())) {
            // There was no thread to be had for anybody else.
            self.hands.write(task);
        }
    }
}

impl<R: Reader> Hands<'_, R> {
    /// Writes whatever `look` adds; returns when all of it is written.
    pub fn work<T>(&self, look: impl FnOnce(&Heap<'_, R>) -> T) -> T {
        thread::scope(|scope| {
            let (sender, receiver) = mpsc::sync_channel::<Waiting<R::Content>>(WAITING);
            let receiver = Arc::new(Mutex::new(receiver));
            for _ in 0..hands() {
                let receiver = Arc::clone(&receiver);
                let next = move || receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let hand = move || {
                    while let Ok((task, _held)) = next() {
                        self.write(task);
                    }
                };
                // With fewer of them it takes longer.
                let _started = thread::Builder::new().name("restore".to_owned()).spawn_scoped(scope, hand);
            }
            drop(receiver);
            let bytes = Arc::new(Semaphore::new(WAITING_KB as usize));
            look(&Heap { hands: self, sender, bytes, runtime: Handle::current() })
        })
    }

    fn write(&self, task: Task<R::Content>) {
        let Task { spot, wanted, action, content } = task;
        let done = self.try_write(&spot, &wanted, action, content);
        (self.told)(&wanted, action, done);
    }

    fn try_write(
        &self,
        spot: &Spot,
        wanted: &Wanted,
        action: Action,
        content: R::Content,
    ) -> Result<(), String> {
        // Each further file would fail the same way, and be named as if it were damaged.
        if self.full.load(Ordering::Relaxed) {
            return Err("there is no space left".to_owned());
        }
        let length = self.reader.length(&content);
        self.room.take(length).map_err(|left| {
            let said = wanted.size();
            format!("it holds {length} bytes where the snapshot says {said}, and there is room for {left}")
        })?;
        let write = |file: &mut File| self.reader.content(content, file).map_err(Bad::There);
        self.target.put(spot, wanted, action, write).map_err(|bad| {
            if matches!(&bad, Bad::There(trouble) if trouble.cause == Cause::Full) {
                self.full.store(true, Ordering::Relaxed);
            }
            bad.said()
        })
    }
}

fn hands() -> usize {
    thread::available_parallelism().map_or(HANDS_MIN, NonZeroUsize::get).clamp(HANDS_MIN, HANDS_MAX)
}

/// A failure of one file.
pub enum Bad {
    /// The disk's.
    Disk(restore::Error),
    /// The destination's.
    There(Trouble),
}

impl From<restore::Error> for Bad {
    fn from(error: restore::Error) -> Self {
        Self::Disk(error)
    }
}

impl Bad {
    fn said(&self) -> String {
        match self {
            Self::Disk(error) => error.to_string(),
            Self::There(trouble) => trouble.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_what_was_said_and_for_half_of_the_rest() {
        let room = Room::new(100, Some(300));
        assert_eq!(room.take(150), Ok(()));
        assert_eq!(room.take(51), Err(50), "what is refused takes nothing");
        assert_eq!(room.take(50), Ok(()));
        assert_eq!(room.take(1), Err(0));
        assert_eq!(room.take(0), Ok(()), "an empty file has room anywhere");
        assert_eq!(Room::new(100, Some(40)).take(101), Err(100));
        assert_eq!(Room::new(0, None).take(u64::MAX), Ok(()), "nothing is known of the disk");
    }
}
