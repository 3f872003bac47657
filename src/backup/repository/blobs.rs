//! Blobs of packs: fetched ahead, many with each request, and opened when their turn comes.
//!
//! rustic reads one blob with each request and one after the other. Here those that are wanted next are fetched at once,
//! and whoever writes a file opens its blobs itself, so that as many are decrypted and unpacked at once as there are
//! writers. Whatever a blob turns out to hold is proved by the digest it is called by. One that is damaged fails alone:
//! where a part of a pack does not come whole, each blob of it is asked for by itself.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use aes256ctr_poly1305aes::Aes256CtrPoly1305Aes;
use aes256ctr_poly1305aes::Nonce;
use aes256ctr_poly1305aes::Tag;
use aes256ctr_poly1305aes::aead::AeadInPlace as _;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::future::Shared;
use rustic_core::Id;
use sha2::Digest as _;
use sha2::Sha256;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;
use zstd::bulk::Decompressor;

use super::backend::Backend;
use super::ranges;
use super::ranges::Part;
use super::ranges::Place;
use crate::backup::trouble::Cause;
use crate::backup::trouble::Trouble;

/// So many requests are on their way at once.
const REQUESTS: usize = 8;
/// No program writes larger blobs; whoever says that one is wants our memory.
const BLOB_MAX: u32 = 128 << 20;
/// More memory than this is given back after a blob.
const KEPT_MAX: usize = 16 << 20;
/// What encryption adds before a blob.
const NONCE: usize = 16;
/// What it adds after it.
const TAG: usize = 16;

/// A blob as the index has it.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// What it is called: the digest of what it holds.
    pub id: Id,
    /// Where it lies.
    pub place: Place,
    /// How long it is once it is unpacked, if it is packed.
    pub unpacked: Option<NonZeroU32>,
}

impl Entry {
    /// How many bytes it holds.
    pub fn holds(&self) -> u64 {
        let plain = || u64::from(self.place.length).saturating_sub((NONCE + TAG) as u64);
        self.unpacked.map_or_else(plain, |length| length.get().into())
    }
}

type Fetched = Shared<BoxFuture<'static, Result<Bytes, Trouble>>>;

/// A blob that is under way.
pub struct Blob {
    entry: Entry,
    part: Arc<Part>,
    fetched: Fetched,
}

/// What opening blobs needs, kept between them.
#[derive(Default)]
struct Bench {
    unpacker: Option<Decompressor<'static>>,
    opened: Vec<u8>,
    unpacked: Vec<u8>,
}

/// The blobs of one repository.
pub struct Blobs {
    backend: Backend,
    cipher: Aes256CtrPoly1305Aes,
    requests: Arc<Semaphore>,
    benches: Mutex<Vec<Bench>>,
}

impl Blobs {
    /// Blobs that lie at `backend` and were sealed with the key of `cipher`.
    pub fn new(backend: Backend, cipher: Aes256CtrPoly1305Aes) -> Self {
        Self { backend, cipher, requests: Arc::new(Semaphore::new(REQUESTS)), benches: Mutex::default() }
    }

    /// Begins to fetch blobs. What nobody waits for any more is given up.
    pub fn fetch(&self, wanted: &[Entry]) -> Vec<Blob> {
        let places: Vec<Place> = wanted.iter().map(|entry| entry.place).collect();
        let (parts, of) = ranges::plan(&places);
        let parts: Vec<_> = parts.into_iter().map(|part| self.begin(part)).collect();
        let blob = |(entry, part): (&Entry, usize)| {
            let (part, fetched) = &parts[part];
            Blob { entry: *entry, part: Arc::clone(part), fetched: fetched.clone() }
        };
        wanted.iter().zip(of).map(blob).collect()
    }

    fn begin(&self, part: Part) -> (Arc<Part>, Fetched) {
        let part = Arc::new(part);
        let (backend, requests, wanted) =
            (self.backend.clone(), Arc::clone(&self.requests), Arc::clone(&part));
        let fetch = async move {
            let _turn = requests.acquire().await;
            backend.part(&wanted).await
        };
        let running = AbortOnDropHandle::new(self.backend.runtime.spawn(fetch));
        let stopped = |_| Err(Trouble::new(Cause::Stopped, "go on", ""));
        (part, running.map(move |fetched| fetched.unwrap_or_else(stopped)).boxed().shared())
    }

    /// Waits for a blob, opens it, and gives what it holds to `take`.
    ///
    /// # Errors
    /// When it cannot be fetched or is not what was written, and what `take` says.
    pub fn open<T>(&self, blob: &Blob, take: impl FnOnce(&[u8]) -> Result<T, Trouble>) -> Result<T, Trouble> {
        let mut bench = self.benches().pop().unwrap_or_default();
        let done = self.open_on(&mut bench, blob).and_then(take);
        // What one large blob needed is not kept for the small ones.
        if bench.opened.capacity().max(bench.unpacked.capacity()) <= KEPT_MAX {
            self.benches().push(bench);
        }
        done
    }

    fn benches(&self) -> MutexGuard<'_, Vec<Bench>> {
        self.benches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_on<'a>(&self, bench: &'a mut Bench, blob: &Blob) -> Result<&'a [u8], Trouble> {
        let entry = &blob.entry;
        let wrong = |detail: &str| self.damaged(entry, detail);
        if entry.place.length > BLOB_MAX || entry.holds() > u64::from(BLOB_MAX) {
            return Err(wrong("no blob is as large as the index says it is"));
        }
        let sealed = self.wait(blob)?;
        let (nonce, rest) = sealed.split_at_checked(NONCE).ok_or_else(|| wrong("it is too short"))?;
        let (text, tag) = rest.split_last_chunk::<TAG>().ok_or_else(|| wrong("it is too short"))?;
        bench.opened.clear();
        bench.opened.extend_from_slice(text);
        let (nonce, tag) = (Nonce::from_slice(nonce), Tag::from_slice(tag));
        self.cipher
            .decrypt_in_place_detached(nonce, &[], &mut bench.opened, tag)
            .map_err(|_| wrong("it was changed after it was written"))?;
        let text = match entry.unpacked {
            None => &bench.opened,
            Some(length) => {
                unpack(&mut bench.unpacker, &bench.opened, length.get(), &mut bench.unpacked)
                    .map_err(|error| wrong(&error.to_string()))?;
                &bench.unpacked
            }
        };
        if Id::new(Sha256::digest(text).into()) != entry.id {
            return Err(wrong("it holds something else than it is called by"));
        }
        Ok(text)
    }

    /// The sealed bytes of a blob.
    fn wait(&self, blob: &Blob) -> Result<Bytes, Trouble> {
        let bytes = blob.entry.place.bytes();
        let trouble = match self.backend.wait(blob.fetched.clone()) {
            Ok(part) => {
                let at = |position: u64| usize::try_from(position - blob.part.bytes.start);
                let (Ok(from), Ok(to)) = (at(bytes.start), at(bytes.end)) else {
                    return Err(self.damaged(&blob.entry, "it is too large for this machine"));
                };
                return Ok(part.slice(from..to));
            }
            Err(trouble) => trouble,
        };
        // A pack that is cut off gives what is left of it.
        let others = blob.part.bytes != bytes;
        if !others || trouble.cause.passes() || matches!(trouble.cause, Cause::Missing | Cause::Stopped) {
            return Err(trouble);
        }
        self.backend.wait(self.backend.part(&Part { pack: blob.entry.place.pack, bytes }))
    }

    fn damaged(&self, entry: &Entry, detail: &str) -> Trouble {
        let (blob, pack) = (entry.id.to_hex(), entry.place.pack.to_hex());
        let doing = format!("trust the blob {} of the pack {}", &blob.as_str()[..8], &pack.as_str()[..8]);
        Trouble::new(Cause::Damaged, format!("{doing} at {}", self.backend.objects.shown()), detail)
    }
}

/// Unpacks what comes to so many bytes, and nothing that comes to more.
fn unpack(
    unpacker: &mut Option<Decompressor<'static>>,
    packed: &[u8],
    length: u32,
    into: &mut Vec<u8>,
) -> std::io::Result<()> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let unpacker = match unpacker {
        Some(unpacker) => unpacker,
        None => unpacker.insert(Decompressor::new()?),
    };
    into.clear();
    into.reserve(length);
    // Never more than there is room for: a few bytes may become as many as one likes.
    let unpacked = unpacker.decompress_to_buffer(packed, into)?;
    if unpacked == length {
        return Ok(());
    }
    Err(std::io::Error::other(format!("it unpacks to {unpacked} bytes, and {length} were to come")))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn what_says_it_is_small_never_becomes_large() {
        let bomb = zstd::encode_all(std::io::repeat(0).take(64 << 20), 3).unwrap();
        assert!(bomb.len() < 10_000);
        let (mut unpacker, mut into) = (None, Vec::new());
        assert!(unpack(&mut unpacker, &bomb, 4, &mut into).is_err());
        assert!(into.capacity() < 1 << 20, "{}", into.capacity());
        let small = zstd::encode_all(&b"four"[..], 3).unwrap();
        unpack(&mut unpacker, &small, 4, &mut into).unwrap();
        assert_eq!(into, b"four");
        let why = unpack(&mut unpacker, &small, 5, &mut into).unwrap_err().to_string();
        assert_eq!(why, "it unpacks to 4 bytes, and 5 were to come");
        assert!(unpack(&mut unpacker, b"no frame", 8, &mut into).is_err());
    }
}
