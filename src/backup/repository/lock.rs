//! restic's locks, so that a `restic prune` waits for our backups and we for it.
//!
//! Whoever works on a repository leaves an object in `locks/`; whoever wants to be alone (prune, check) leaves an
//! exclusive one and begins only when there is no other. A lock is renewed while work goes on; one that was not for half
//! an hour belongs to nobody any more. We pass over such a lock; restic does not, so those a killed node has left are taken
//! away by its next run, and all others when a person asks for it.

use std::time::Duration;

use aes256ctr_poly1305aes::Aes256CtrPoly1305Aes;
use aes256ctr_poly1305aes::Key;
use aes256ctr_poly1305aes::Nonce;
use aes256ctr_poly1305aes::aead::Aead as _;
use bytes::Bytes;
use jiff::SignedDuration;
use jiff::Timestamp;
use rustic_core::repofile::MasterKey;
use serde::Deserialize;
use serde::Serialize;
use sha2::Digest as _;
use sha2::Sha256;

use crate::backup::objects::Objects;
use crate::backup::trouble::Cause;
use crate::backup::trouble::Trouble;

/// How often a lock is renewed; restic's own rhythm.
pub const RENEW: Duration = Duration::from_secs(5 * 60);
/// From then on a lock is nobody's; restic's own limit.
const STALE: SignedDuration = SignedDuration::from_mins(30);
/// More locks than this are not read.
const READ_MAX: usize = 1000;

/// A lock as restic writes it. Old readers skip what they do not know, and so do we.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    time: Timestamp,
    exclusive: bool,
    hostname: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    pid: u32,
}

/// A lock that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its key.
    pub key: String,
    /// Who holds it.
    pub host: String,
    /// Since when, or when it was renewed; absent when it cannot be read.
    pub since: Option<Timestamp>,
    /// Whether whoever holds it wants to be alone.
    pub exclusive: bool,
}

impl Held {
    /// Whether nobody holds it any more. One that cannot be read may be anybody's.
    pub fn is_stale(&self, now: Timestamp) -> bool {
        self.since.is_some_and(|since| now.duration_since(since) >= STALE)
    }
}

/// A lock of ours on a repository.
pub struct Lock {
    objects: Objects,
    cipher: Aes256CtrPoly1305Aes,
    host: String,
    key: String,
    exclusive: bool,
}

impl Lock {
    /// Takes a lock beside others that do not want to be alone.
    ///
    /// # Errors
    /// [`Cause::Locked`] when someone wants to be alone.
    pub async fn take(
        objects: &Objects,
        key: &MasterKey,
        host: &str,
        now: Timestamp,
    ) -> Result<Self, Trouble> {
        Self::obtain(objects, key, host, false, now).await
    }

    /// Takes a lock that nobody else works beside.
    ///
    /// # Errors
    /// [`Cause::Locked`] when someone works there.
    pub async fn take_alone(
        objects: &Objects,
        key: &MasterKey,
        host: &str,
        now: Timestamp,
    ) -> Result<Self, Trouble> {
        Self::obtain(objects, key, host, true, now).await
    }

    async fn obtain(
        objects: &Objects,
        key: &MasterKey,
        host: &str,
        exclusive: bool,
        now: Timestamp,
    ) -> Result<Self, Trouble> {
        let cipher = cipher(key)?;
        let mut there = read_all(objects, &cipher, &[]).await?;
        refuse(objects, &there, None, exclusive, now)?;
        for held in there.iter().filter(|held| held.host == host && held.is_stale(now)) {
            objects.delete(&held.key).await?;
        }
        let written = write(objects, &cipher, host, exclusive, now).await?;
        let lock = Self { objects: objects.clone(), cipher, host: host.to_owned(), key: written, exclusive };
        there.push(Held { key: lock.key.clone(), host: host.to_owned(), since: Some(now), exclusive });
        // Whoever came between our look and our lock has seen ours or is seen now.
        let again = read_all(objects, &lock.cipher, &there).await;
        let refused = again.and_then(|there| refuse(objects, &there, Some(&lock.key), exclusive, now));
        if let Err(trouble) = refused {
            lock.release().await;
            return Err(trouble);
        }
        Ok(lock)
    }

    /// Says that we still work. The new lock is there before the old one goes.
    ///
    /// # Errors
    /// When it cannot be written; the old one still stands then.
    pub async fn renew(&mut self, now: Timestamp) -> Result<(), Trouble> {
        let new = write(&self.objects, &self.cipher, &self.host, self.exclusive, now).await?;
        let old = std::mem::replace(&mut self.key, new);
        self.objects.delete(&old).await
    }

    /// Gives it back. One that cannot be removed goes stale by itself.
    pub async fn release(self) {
        if let Err(trouble) = self.objects.delete(&self.key).await {
            tracing::warn!(error = %trouble, "a lock stays behind at a destination and ends by itself");
        }
    }
}

/// The locks on a repository, and with `remove` takes those away that nobody holds any more, with `all` every one.
///
/// # Errors
/// When they cannot be read or removed.
pub async fn unlock(
    objects: &Objects,
    key: &MasterKey,
    all: bool,
    remove: bool,
    now: Timestamp,
) -> Result<Vec<Held>, Trouble> {
    let there = read_all(objects, &cipher(key)?, &[]).await?;
    let chosen: Vec<Held> = there.into_iter().filter(|held| all || held.is_stale(now)).collect();
    if remove {
        for held in &chosen {
            objects.delete(&held.key).await?;
        }
    }
    Ok(chosen)
}

pub(super) fn cipher(key: &MasterKey) -> Result<Aes256CtrPoly1305Aes, Trouble> {
    let parts = [key.encrypt.as_slice(), &key.mac.k, &key.mac.r].concat();
    if parts.len() != 64 {
        return Err(Trouble::new(
            Cause::WrongKey,
            "use the key of the repository",
            "it has the wrong length",
        ));
    }
    Ok(Aes256CtrPoly1305Aes::new(Key::from_slice(&parts)))
}

/// Encrypts as restic does: a random beginning, then the sealed text.
pub(super) fn seal(cipher: &Aes256CtrPoly1305Aes, text: &[u8]) -> Vec<u8> {
    let mut nonce = Nonce::default();
    getrandom::fill(&mut nonce).expect("the kernel gives random bytes");
    let sealed = cipher.encrypt(&nonce, text).expect("a few bytes can be encrypted");
    [nonce.as_slice(), &sealed].concat()
}

/// What an object of a repository is called: the digest of what it holds.
pub(super) fn name(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn write(
    objects: &Objects,
    cipher: &Aes256CtrPoly1305Aes,
    host: &str,
    exclusive: bool,
    now: Timestamp,
) -> Result<String, Trouble> {
    let record = Record {
        time: now,
        exclusive,
        hostname: host.to_owned(),
        username: "nexus".to_owned(),
        pid: std::process::id(),
    };
    let text = serde_json::to_vec(&record).expect("a lock becomes JSON");
    let bytes = Bytes::from(seal(cipher, &text));
    let key = format!("locks/{}", name(&bytes));
    objects.put(&key, vec![bytes]).await?;
    Ok(key)
}

/// All locks there are. Those that are known are not read again: a lock is called by its digest and never changes.
async fn read_all(
    objects: &Objects,
    cipher: &Aes256CtrPoly1305Aes,
    known: &[Held],
) -> Result<Vec<Held>, Trouble> {
    let mut all = Vec::new();
    for listed in objects.list("locks").await?.into_iter().take(READ_MAX) {
        let key = format!("locks/{}", listed.key);
        if let Some(held) = known.iter().find(|held| held.key == key) {
            all.push(held.clone());
            continue;
        }
        // Gone in between: it is no lock any more.
        let Some(bytes) = objects.find(&key).await? else { continue };
        all.push(match open(cipher, &bytes) {
            Some(record) => {
                Held { key, host: record.hostname, since: Some(record.time), exclusive: record.exclusive }
            }
            // Unknown is not absent.
            None => Held { key, host: String::new(), since: None, exclusive: true },
        });
    }
    Ok(all)
}

/// Refuses when someone else than `ours` wants to be alone, or is there and we want to be `alone`.
fn refuse(
    objects: &Objects,
    there: &[Held],
    ours: Option<&str>,
    alone: bool,
    now: Timestamp,
) -> Result<(), Trouble> {
    let in_the_way =
        |held: &&Held| (held.exclusive || alone) && Some(held.key.as_str()) != ours && !held.is_stale(now);
    let Some(held) = there.iter().find(in_the_way) else { return Ok(()) };
    let detail = match held.since {
        Some(time) => format!("`{}` since {time}", held.host),
        None => format!("`{}` cannot be read", held.key),
    };
    Err(Trouble::new(Cause::Locked, format!("work at {}", objects.shown()), detail))
}

fn open(cipher: &Aes256CtrPoly1305Aes, bytes: &[u8]) -> Option<Record> {
    let (nonce, sealed) = bytes.split_at_checked(16)?;
    let text = cipher.decrypt(Nonce::from_slice(nonce), sealed).ok()?;
    // restic compresses in repositories of version 2: a 2, then zstd.
    match text.split_first() {
        Some((b'{', _)) => serde_json::from_slice(&text).ok(),
        Some((2, packed)) => serde_json::from_slice(&zstd::decode_all(packed).ok()?).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::tests::counted::Counted;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    async fn exclusive(objects: &Objects, key: &MasterKey, time: &str, compress: bool) {
        let record = serde_json::json!({ "time": time, "exclusive": true, "hostname": "laptop", "pid": 7 });
        let text = serde_json::to_vec(&record).unwrap();
        let text = if compress { [vec![2], zstd::encode_all(&*text, 1).unwrap()].concat() } else { text };
        let sealed = cipher(key).unwrap().encrypt(&Nonce::default(), &*text).unwrap();
        objects.put("locks/theirs", vec![[&[0; 16][..], &sealed].concat().into()]).await.unwrap();
    }

    #[tokio::test]
    async fn we_work_beside_others_but_not_beside_who_wants_to_be_alone() {
        let (objects, key) = (Objects::memory(), MasterKey::new());
        let now = at("2026-01-01T12:00:00Z");
        let mut one = Lock::take(&objects, &key, "a", now).await.unwrap();
        let other = Lock::take(&objects, &key, "b", now).await.unwrap();
        one.renew(now).await.unwrap();
        assert_eq!(objects.list("locks").await.unwrap().len(), 2);
        for compress in [false, true] {
            exclusive(&objects, &key, "2026-01-01T11:45:00+00:00", compress).await;
            let refused = Lock::take(&objects, &key, "c", now).await.err().unwrap();
            assert_eq!(refused.cause, Cause::Locked);
            assert!(refused.detail.contains("laptop"), "{refused}");
        }
        assert_eq!(objects.list("locks").await.unwrap().len(), 3, "who is refused leaves nothing");
        let late = Lock::take(&objects, &key, "c", at("2026-01-01T12:16:00Z")).await.unwrap();
        for lock in [one, other, late] {
            lock.release().await;
        }
        assert_eq!(objects.list("locks").await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn each_lock_is_read_once_and_our_own_never() {
        let (counted, key, now) = (Counted::default(), MasterKey::new(), at("2026-01-01T12:00:00Z"));
        let objects = Objects::memory().through(|store| counted.over(store));
        let other = Lock::take(&objects, &key, "b", now).await.unwrap();
        // A list, our lock and its size, a list.
        assert_eq!(counted.requests(), 4);
        let one = Lock::take(&objects, &key, "a", now).await.unwrap();
        assert_eq!(counted.requests(), 4 + 5, "and the other one, once");
        one.release().await;
        other.release().await;
    }

    #[tokio::test]
    async fn who_wants_to_be_alone_waits_for_the_others_and_they_for_it() {
        let (objects, key, now) = (Objects::memory(), MasterKey::new(), at("2026-01-01T12:00:00Z"));
        let other = Lock::take(&objects, &key, "b", now).await.unwrap();
        assert_eq!(Lock::take_alone(&objects, &key, "a", now).await.err().unwrap().cause, Cause::Locked);
        other.release().await;
        let mut alone = Lock::take_alone(&objects, &key, "a", now).await.unwrap();
        alone.renew(now).await.unwrap();
        assert_eq!(Lock::take(&objects, &key, "b", now).await.err().unwrap().cause, Cause::Locked);
        alone.release().await;
        assert_eq!(objects.list("locks").await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_lock_nobody_gave_back_is_taken_away_by_who_left_it_or_when_asked() {
        let (objects, key) = (Objects::memory(), MasterKey::new());
        let (then, now) = (at("2026-01-01T12:00:00Z"), at("2026-01-01T12:31:00Z"));
        // As two killed nodes leave them.
        for host in ["a", "b"] {
            drop(Lock::take(&objects, &key, host, then).await.unwrap());
        }
        let fresh = Lock::take(&objects, &key, "c", now).await.unwrap();
        assert_eq!(objects.list("locks").await.unwrap().len(), 3, "those of others are theirs");
        let ours = Lock::take(&objects, &key, "a", now).await.unwrap();
        assert_eq!(objects.list("locks").await.unwrap().len(), 3, "its own old one is gone");
        let shown = unlock(&objects, &key, false, false, now).await.unwrap();
        assert_eq!(shown.iter().map(|held| held.host.as_str()).collect::<Vec<_>>(), ["b"]);
        unlock(&objects, &key, false, true, now).await.unwrap();
        assert_eq!(objects.list("locks").await.unwrap().len(), 2, "who works keeps its lock");
        objects.put("locks/strange", vec![Bytes::from_static(b"?")]).await.unwrap();
        assert_eq!(unlock(&objects, &key, false, true, now).await.unwrap(), [], "it may be anybody's");
        assert_eq!(unlock(&objects, &key, true, true, now).await.unwrap().len(), 3);
        assert_eq!(objects.list("locks").await.unwrap(), []);
        for lock in [fresh, ours] {
            lock.release().await;
        }
    }

    #[tokio::test]
    async fn a_lock_that_cannot_be_read_is_respected() {
        let (objects, key) = (Objects::memory(), MasterKey::new());
        objects.put("locks/strange", vec![Bytes::from_static(b"?")]).await.unwrap();
        let refused = Lock::take(&objects, &key, "a", at("2026-01-01T12:00:00Z")).await.err().unwrap();
        assert_eq!(refused.cause, Cause::Locked);
    }
}
