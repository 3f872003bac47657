//! How far restores are, for whoever watches.

use std::fs::File;
use std::io::Seek as _;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use jiff::Timestamp;
use tokio::sync::watch;

use super::control::Backups;
use super::restore::Wanted;
use super::snapshot::Read;
use super::snapshot::Reader;
use super::snapshot::Snapshot;
use super::trouble::Trouble;
use crate::base::clock;

/// It is said no more often than this.
const SAID: Duration = Duration::from_millis(500);

/// A restore that is going on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restoring {
    /// Which of those of this node.
    pub number: u64,
    /// From where.
    pub destination: String,
    /// The workspace's folder.
    pub folder: String,
    /// The snapshot.
    pub snapshot: String,
    /// Since when.
    pub since: Timestamp,
    /// Files that are as they should be so far, and all that are to be.
    pub files: (u64, u64),
    /// Their bytes.
    pub bytes: (u64, u64),
    /// Those of the bytes that were brought: what was there already says nothing about the pace.
    pub brought: u64,
}

impl Restoring {
    /// How long the rest takes at the pace so far.
    pub fn left(&self, now: Timestamp) -> Option<Duration> {
        let (done, all) = self.bytes;
        let so_far = Duration::try_from(now.duration_since(self.since)).ok()?;
        if self.brought == 0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "it is a guess")]
        let rest = all.saturating_sub(done) as f64 / self.brought as f64;
        Duration::try_from_secs_f64(so_far.as_secs_f64() * rest).ok()
    }
}

impl Backups {
    /// The restores that are going on.
    pub fn restores(&self) -> watch::Receiver<Vec<Restoring>> {
        self.inner().restores.subscribe()
    }

    /// A restore begins; it is over when what this returns is gone.
    pub(super) fn restoring(&self, destination: &str, snapshot: &Snapshot) -> Told {
        let restores = self.inner().restores.clone();
        let mut number = 0;
        restores.send_modify(|all| {
            number = all.iter().map(|one| one.number).max().map_or(1, |last| last + 1);
            all.push(Restoring {
                number,
                destination: destination.to_owned(),
                folder: snapshot.folder.clone(),
                snapshot: snapshot.id.clone(),
                since: clock::now(),
                files: (0, snapshot.files),
                bytes: (0, snapshot.bytes),
                brought: 0,
            });
        });
        Told { restores, number, pending: Mutex::new(Pending::default()) }
    }
}

/// Says how far one restore is.
pub(super) struct Told {
    restores: watch::Sender<Vec<Restoring>>,
    number: u64,
    pending: Mutex<Pending>,
}

/// What was not said yet.
struct Pending {
    files: u64,
    bytes: u64,
    brought: u64,
    /// Files that are not wanted of the snapshot, and their bytes.
    unwanted: (u64, u64),
    said: Instant,
}

impl Default for Pending {
    fn default() -> Self {
        Self { files: 0, bytes: 0, brought: 0, unwanted: (0, 0), said: Instant::now() }
    }
}

impl Told {
    /// The same reader, which says what it gives.
    pub(super) fn reader<'a, R: Reader>(&'a self, reader: &'a R) -> Telling<'a, R> {
        Telling { reader, told: self }
    }

    /// A file was there already as it should be.
    pub(super) fn there(&self, bytes: u64) {
        self.add(|pending| {
            pending.files += 1;
            pending.bytes += bytes;
        });
    }

    /// A file of the snapshot is not wanted.
    pub(super) fn unwanted(&self, bytes: u64) {
        self.add(|pending| pending.unwanted = (pending.unwanted.0 + 1, pending.unwanted.1 + bytes));
    }

    fn brought(&self, bytes: u64) {
        self.add(|pending| {
            pending.files += 1;
            pending.bytes += bytes;
            pending.brought += bytes;
        });
    }

    fn add(&self, more: impl FnOnce(&mut Pending)) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        more(&mut pending);
        if pending.said.elapsed() < SAID {
            return;
        }
        let now = std::mem::take(&mut *pending);
        self.restores.send_modify(|all| {
            let Some(one) = all.iter_mut().find(|one| one.number == self.number) else { return };
            one.files = (one.files.0 + now.files, one.files.1.saturating_sub(now.unwanted.0));
            one.bytes = (one.bytes.0 + now.bytes, one.bytes.1.saturating_sub(now.unwanted.1));
            one.brought += now.brought;
        });
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.restores.send_modify(|all| all.retain(|one| one.number != self.number));
    }
}

/// Gives what another reader gives, and says so.
pub(super) struct Telling<'a, R> {
    reader: &'a R,
    told: &'a Told,
}

impl<R: Reader> Reader for Telling<'_, R> {
    type Content = R::Content;

    fn entries(
        &self,
        snapshot: &Snapshot,
        likely: &dyn Fn(&Wanted) -> bool,
        each: &mut dyn FnMut(Read<R::Content>),
    ) -> Result<Wanted, Trouble> {
        self.reader.entries(snapshot, likely, each)
    }

    fn content(&self, content: R::Content, to: &mut File) -> Result<(), Trouble> {
        self.reader.content(content, to)?;
        self.told.brought(to.stream_position().unwrap_or(0));
        Ok(())
    }

    fn length(&self, content: &R::Content) -> u64 {
        self.reader.length(content)
    }

    fn fingerprint(content: &R::Content) -> [u8; 32] {
        R::fingerprint(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_guessed_from_what_was_done() {
        let since: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let now: Timestamp = "2026-01-01T00:00:10Z".parse().unwrap();
        let restoring = |done, all| Restoring {
            number: 1,
            destination: "s3".to_owned(),
            folder: "shop".to_owned(),
            snapshot: "a".to_owned(),
            since,
            files: (0, 0),
            bytes: (done, all),
            brought: done,
        };
        assert_eq!(restoring(250, 1000).left(now), Some(Duration::from_secs(30)));
        assert_eq!(restoring(1000, 1000).left(now), Some(Duration::ZERO));
        assert_eq!(restoring(0, 1000).left(now), None);
        let gone_on_with = Restoring { brought: 100, ..restoring(600, 1000) };
        assert_eq!(gone_on_with.left(now), Some(Duration::from_secs(40)), "what was there took no time");
        assert_eq!(
            restoring(1, 1000).left("2025-01-01T00:00:00Z".parse().unwrap()),
            None,
            "a clock set back"
        );
    }

    #[test]
    fn a_restore_that_goes_on_where_it_was_comes_to_all_of_it() {
        let restores = watch::Sender::new(vec![Restoring {
            number: 1,
            destination: "s3".to_owned(),
            folder: "shop".to_owned(),
            snapshot: "a".to_owned(),
            since: clock::now(),
            files: (0, 4),
            bytes: (0, 1000),
            brought: 0,
        }]);
        let told = Told { restores: restores.clone(), number: 1, pending: Mutex::new(Pending::default()) };
        told.there(500);
        told.unwanted(200);
        told.brought(200);
        assert_eq!(restores.borrow()[0].files, (0, 4), "it is not said each time");
        told.pending.lock().unwrap().said -= SAID;
        told.brought(100);
        let one = restores.borrow()[0].clone();
        assert_eq!((one.files, one.bytes, one.brought), ((3, 3), (800, 800), 300));
        drop(told);
        assert_eq!(*restores.borrow(), []);
    }
}
