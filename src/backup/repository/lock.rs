//! restic's locks, so that a `restic prune` waits for our backups and we for it.
//!
//! Whoever works on a repository leaves an object in `locks/`; whoever wants to be alone (prune, check) leaves an
//! exclusive one and begins only when there is no other. A lock is renewed while work goes on; one that was not for half
//! an hour belongs to nobody any more.

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

/// A lock of ours on a repository.
pub struct Lock {
    objects: Objects,
    cipher: Aes256CtrPoly1305Aes,
    host: String,
    key: String,
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
        let cipher = cipher(key)?;
        let none = String::new();
        look(objects, &cipher, &none, now).await?;
        let written = write(objects, &cipher, host, now).await?;
        let lock = Self { objects: objects.clone(), cipher, host: host.to_owned(), key: written };
        // Whoever came between our look and our lock has seen ours or is seen now.
        if let Err(trouble) = look(&lock.objects, &lock.cipher, &lock.key, now).await {
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
        let new = write(&self.objects, &self.cipher, &self.host, now).await?;
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

fn cipher(key: &MasterKey) -> Result<Aes256CtrPoly1305Aes, Trouble> {
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

async fn write(
    objects: &Objects,
    cipher: &Aes256CtrPoly1305Aes,
    host: &str,
    now: Timestamp,
) -> Result<String, Trouble> {
    let record = Record {
        time: now,
        exclusive: false,
        hostname: host.to_owned(),
        username: "nexus".to_owned(),
        pid: std::process::id(),
    };
    let text = serde_json::to_vec(&record).expect("a lock becomes JSON");
    let mut nonce = Nonce::default();
    getrandom::fill(&mut nonce).expect("the kernel gives random bytes");
    let sealed = cipher.encrypt(&nonce, text.as_slice()).expect("a few bytes can be encrypted");
    let bytes = Bytes::from([nonce.as_slice(), &sealed].concat());
    let name: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let key = format!("locks/{name}");
    objects.put(&key, vec![bytes]).await?;
    Ok(key)
}

/// Whether someone else wants to be alone.
async fn look(
    objects: &Objects,
    cipher: &Aes256CtrPoly1305Aes,
    ours: &str,
    now: Timestamp,
) -> Result<(), Trouble> {
    for listed in objects.list("locks").await?.into_iter().take(READ_MAX) {
        let key = format!("locks/{}", listed.key);
        if key == ours {
            continue;
        }
        // Gone in between: it is no lock any more.
        let Some(bytes) = objects.find(&key).await? else { continue };
        let Some(record) = open(cipher, &bytes) else {
            // Unknown is not absent.
            let detail = format!("`{key}` cannot be read");
            return Err(Trouble::new(Cause::Locked, format!("work at {}", objects.shown()), detail));
        };
        if record.exclusive && now.duration_since(record.time) < STALE {
            let detail = format!("`{}` since {}", record.hostname, record.time);
            return Err(Trouble::new(Cause::Locked, format!("work at {}", objects.shown()), detail));
        }
    }
    Ok(())
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
    async fn a_lock_that_cannot_be_read_is_respected() {
        let (objects, key) = (Objects::memory(), MasterKey::new());
        objects.put("locks/strange", vec![Bytes::from_static(b"?")]).await.unwrap();
        let refused = Lock::take(&objects, &key, "a", at("2026-01-01T12:00:00Z")).await.err().unwrap();
        assert_eq!(refused.cause, Cause::Locked);
    }
}
