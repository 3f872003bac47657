//! The objects of one destination: keys and bytes, in a bucket, a folder or memory.
//!
//! An upload is not believed: what was written is asked for again, its size at least, and its bytes where a whole
//! backup hangs on it. What does not read back is taken away again, so that nobody finds half of it. Patience (time-outs,
//! trying again with growing waits) is one place's decision: here. Each try is a request of its own, signed anew, because
//! servers refuse signatures that are a quarter of an hour old.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::TryStreamExt as _;
use futures::stream;
use md5::Digest as _;
use object_store::ClientOptions;
use object_store::GetOptions;
use object_store::ObjectStore;
use object_store::ObjectStoreExt as _;
use object_store::PutPayload;
use object_store::RetryConfig;
use object_store::aws::AmazonS3Builder;
use object_store::aws::Checksum;
use object_store::aws::S3ConditionalPut;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::destination::Bucket;
use super::destination::Place;
use super::http::Doubtful;
use super::http::Line;
use super::trouble::Cause;
use super::trouble::Trouble;
use crate::base::backoff::Backoff;

/// How long one thing may take at a server before it is a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For one request with its body: a pack over a slow line.
    pub request: Duration,
    /// For one request with all of its repetitions.
    pub retries: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            request: Duration::from_secs(300),
            retries: Duration::from_secs(240),
        }
    }
}

/// The first wait before something is tried again; doubles.
const WAIT_FIRST: Duration = Duration::from_millis(500);
/// The longest such wait.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// The objects of one destination. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    /// How a person calls the place.
    shown: String,
    /// How long something is tried again.
    retries: Duration,
}

/// An object as a list has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its key, below what was listed.
    pub key: String,
    /// Its size.
    pub size: u64,
    /// The MD5 of its content, where the server's tag is one: of an object written in one piece it usually is.
    pub md5: Option<String>,
}

/// What makes us believe that an object was written.
enum Proof {
    Size(u64),
    Content(Bytes),
    /// The server's tag if it is the content's MD5, else the size.
    Tag(Bytes, u64),
}

impl Objects {
    /// Opens a place. A folder is made; a server is not spoken to yet.
    ///
    /// # Errors
    /// When the folder cannot be made, or the server has no usable description.
    pub fn open(place: &Place, patience: &Patience) -> Result<Self, Trouble> {
        Self::open_with(place, patience, false)
    }

    /// The same for objects whose keys are the paths of files: in a folder, directories that become empty go, so that a
    /// file may come where a directory was.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_plain(place: &Place, patience: &Patience) -> Result<Self, Trouble> {
        Self::open_with(place, patience, true)
    }

    fn open_with(place: &Place, patience: &Patience, plain: bool) -> Result<Self, Trouble> {
        let shown = place.to_string();
        let store: Arc<dyn ObjectStore> = match place {
            Place::Folder(path) => folder_store(path, plain, &shown)?,
            // Too many servers answer yes to a condition they have not looked at.
            Place::Bucket(bucket) => {
                bucket_store(bucket, patience, &shown, S3ConditionalPut::Disabled, Doubtful::default())?
            }
        };
        Ok(Self { store, shown, retries: patience.retries })
    }

    /// Objects in memory.
    pub fn memory() -> Self {
        Self { store: Arc::new(InMemory::new()), shown: "memory".to_owned(), retries: Duration::ZERO }
    }

    /// The same objects behind another store.
    pub fn through(&self, wrap: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>) -> Self {
        Self { store: wrap(Arc::clone(&self.store)), ..self.clone() }
    }

    /// How a person calls the place.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Does something, and again while what is the matter may pass.
    async fn patiently<T, W: Future<Output = Result<T, Trouble>>>(
        &self,
        passes: impl Fn(Cause) -> bool,
        work: impl Fn() -> W,
    ) -> Result<T, Trouble> {
        let begun = Instant::now();
        let mut backoff = Backoff::new(WAIT_FIRST, WAIT_MAX);
        loop {
            let trouble = match work().await {
                Ok(done) => return Ok(done),
                Err(trouble) => trouble,
            };
            let wait = jitter(backoff.next());
            if !passes(trouble.cause) || begun.elapsed() + wait > self.retries {
                return Err(trouble);
            }
            tracing::debug!(error = %trouble, wait_ms = wait.as_millis(), "something at a destination is tried again");
            tokio::time::sleep(wait).await;
        }
    }

    /// Writes an object and makes sure of its size.
    ///
    /// # Errors
    /// When it is not there afterwards as it should be.
    pub async fn put(&self, key: &str, pieces: Vec<Bytes>) -> Result<(), Trouble> {
        let size: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        self.write(key, pieces.into_iter().collect(), &Proof::Size(size)).await
    }

    /// Writes an object and reads it back: for what a whole backup hangs on.
    ///
    /// # Errors
    /// When it is not there afterwards, byte for byte.
    pub async fn put_proved(&self, key: &str, bytes: Bytes) -> Result<(), Trouble> {
        self.write(key, PutPayload::from_bytes(bytes.clone()), &Proof::Content(bytes)).await
    }

    async fn write(&self, key: &str, payload: PutPayload, proof: &Proof) -> Result<(), Trouble> {
        let path = path(key)?;
        let put = || async {
            let put = self.store.put(&path, payload.clone()).await;
            let tag = put.map_err(|error| self.trouble(&error, "write", key))?.e_tag;
            match (proof, tag.as_deref().and_then(md5_of)) {
                (Proof::Tag(bytes, _), Some(md5)) if md5 == md5_hex(bytes) => Ok(()),
                _ => self.prove(key, proof).await,
            }
        };
        // A server that says yes and has not stored it may do so the next time.
        let passes = |cause: Cause| cause.passes() || cause == Cause::Damaged;
        let written = self.patiently(passes, put).await;
        if written.as_ref().is_err_and(|trouble| trouble.cause == Cause::Damaged) {
            // Where even that fails a verify names it.
            let _gone = self.store.delete(&path).await;
        }
        written
    }

    async fn prove(&self, key: &str, proof: &Proof) -> Result<(), Trouble> {
        let not_there = || self.damaged(key, "it is not there after it was written".to_owned());
        match proof {
            Proof::Size(size) | Proof::Tag(_, size) => match self.look(key).await? {
                Some(stored) if stored == *size => Ok(()),
                Some(stored) => Err(self.damaged(key, format!("{size} bytes were sent, {stored} are there"))),
                None => Err(not_there()),
            },
            Proof::Content(bytes) => match self.fetch(key).await {
                Ok(stored) if stored == *bytes => Ok(()),
                Ok(_) => Err(self.damaged(key, "what was written reads back otherwise".to_owned())),
                Err(trouble) if trouble.cause == Cause::Missing => Err(not_there()),
                Err(trouble) => Err(trouble),
            },
        }
    }

    /// Writes an object whole and makes sure of it without a further request where the server's answer names its content:
    /// its tag is the content's MD5 nearly everywhere. Where it is not, the object's size is asked for.
    ///
    /// # Errors
    /// When it is not there afterwards as it should be.
    pub async fn put_tagged(&self, key: &str, bytes: Bytes) -> Result<(), Trouble> {
        let size = bytes.len() as u64;
        self.write(key, PutPayload::from_bytes(bytes.clone()), &Proof::Tag(bytes, size)).await
    }

    /// Writes an object piece by piece, for what is too large to be held whole. `next` blocks; an empty piece is the end.
    ///
    /// # Errors
    /// When it is not there afterwards as it should be; what was sent of it is given up then.
    pub async fn put_pieces<N>(&self, key: &str, mut next: N) -> Result<u64, Trouble>
    where
        N: FnMut() -> Result<Bytes, Trouble> + Send + 'static,
    {
        let path = path(key)?;
        let failed = |error: object_store::Error| self.trouble(&error, "write", key);
        let mut upload = self.store.put_multipart(&path).await.map_err(failed)?;
        let mut size = 0;
        let sent: Result<(), Trouble> = async {
            loop {
                let read = tokio::task::spawn_blocking(move || (next(), next)).await;
                let (piece, again) =
                    read.map_err(|_| Trouble::new(Cause::Stopped, format!("write `{key}`"), ""))?;
                next = again;
                let piece = piece?;
                if piece.is_empty() {
                    break;
                }
                size += piece.len() as u64;
                upload.put_part(PutPayload::from_bytes(piece)).await.map_err(failed)?;
            }
            upload.complete().await.map_err(failed).map(drop)
        }
        .await;
        if let Err(trouble) = sent {
            // Where even this fails the server forgets it by itself, sooner or later.
            if let Err(error) = upload.abort().await {
                tracing::debug!(error = %error, "an upload could not be given up");
            }
            return Err(trouble);
        }
        self.prove(key, &Proof::Size(size)).await.map(|()| size)
    }

    /// Copies an object at the server and makes sure of its size; `None` when there is none to copy.
    ///
    /// # Errors
    /// When the copy is not there afterwards as it should be.
    pub async fn copy(&self, from: &str, to: &str) -> Result<Option<u64>, Trouble> {
        let (source, target) = (path(from)?, path(to)?);
        let copy = || async {
            match self.store.copy(&source, &target).await {
                Ok(()) => {}
                Err(object_store::Error::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(self.trouble(&error, "copy", from)),
            }
            let size = self.look(to).await?;
            size.map(Some).ok_or_else(|| self.damaged(to, "it is not there after it was copied".to_owned()))
        };
        self.patiently(|cause| cause.passes() || cause == Cause::Damaged, copy).await
    }

    /// Reads an object.
    ///
    /// # Errors
    /// When it cannot be read; [`Cause::Missing`] when there is none.
    pub async fn get(&self, key: &str) -> Result<Bytes, Trouble> {
        self.patiently(Cause::passes, || self.fetch(key)).await
    }

    async fn fetch(&self, key: &str) -> Result<Bytes, Trouble> {
        let got = self.store.get(&path(key)?).await.map_err(|error| self.trouble(&error, "read", key))?;
        got.bytes().await.map_err(|error| self.trouble(&error, "read", key))
    }

    /// Reads an object that may not be there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn find(&self, key: &str) -> Result<Option<Bytes>, Trouble> {
        match self.get(key).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(trouble) if trouble.cause == Cause::Missing => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    /// Reads a part of an object.
    ///
    /// # Errors
    /// When it cannot be read, or is shorter.
    pub async fn get_range(&self, key: &str, offset: u64, length: u64) -> Result<Bytes, Trouble> {
        let (range, path) = (offset..offset.saturating_add(length), path(key)?);
        let fetch = || async {
            let got = self.store.get_range(&path, range.clone()).await;
            got.map_err(|error| self.trouble(&error, "read", key))
        };
        let bytes = self.patiently(Cause::passes, fetch).await?;
        if bytes.len() as u64 == length {
            return Ok(bytes);
        }
        Err(self.damaged(key, format!("{length} bytes at {offset} were asked for, {} came", bytes.len())))
    }

    /// Reads the beginning of an object, at most so many bytes.
    ///
    /// # Errors
    /// When it cannot be read; [`Cause::Missing`] when there is none.
    pub async fn get_beginning(&self, key: &str, most: u64) -> Result<Bytes, Trouble> {
        let path = path(key)?;
        let failed = |error: object_store::Error| self.trouble(&error, "read", key);
        let read = || async {
            let options = GetOptions { range: Some((0..most).into()), ..GetOptions::default() };
            self.store.get_opts(&path, options).await.map_err(failed)?.bytes().await.map_err(failed)
        };
        self.patiently(Cause::passes, read).await
    }

    /// How large an object is; `None` when there is none.
    ///
    /// # Errors
    /// When that cannot be known.
    pub async fn size(&self, key: &str) -> Result<Option<u64>, Trouble> {
        self.patiently(Cause::passes, || self.look(key)).await
    }

    async fn look(&self, key: &str) -> Result<Option<u64>, Trouble> {
        let path = path(key)?;
        let error = match self.store.head(&path).await {
            Ok(meta) => return Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => self.trouble(&error, "look at", key),
        };
        if error.cause.passes() {
            return Err(error);
        }
        // The answer to this question has no room for a reason; the answer to another one has.
        match self.store.get_range(&path, 0..1).await {
            Err(said) if !matches!(said, object_store::Error::NotFound { .. }) => {
                Err(self.trouble(&said, "look at", key))
            }
            _ => Err(error),
        }
    }

    /// All objects below a prefix.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Listed>, Trouble> {
        let root = path(prefix)?;
        let listed = |meta: object_store::ObjectMeta| {
            let md5 = meta.e_tag.as_deref().and_then(md5_of);
            let below = meta
                .location
                .prefix_match(&root)
                .map(|parts| parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/"));
            Listed { key: below.unwrap_or_default(), size: meta.size, md5 }
        };
        let list = || async {
            let all: Result<Vec<_>, _> = self.store.list(Some(&root)).map_ok(listed).try_collect().await;
            all.map_err(|error| self.trouble(&error, "list", prefix))
        };
        self.patiently(Cause::passes, list).await
    }

    /// Removes an object; one that is not there is removed already.
    ///
    /// # Errors
    /// When it stays.
    pub async fn delete(&self, key: &str) -> Result<(), Trouble> {
        let path = path(key)?;
        let remove = || async {
            match self.store.delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(self.trouble(&error, "remove", key)),
            }
        };
        self.patiently(Cause::passes, remove).await
    }

    /// Removes objects, many with each request where the server knows how; those that are not there are removed already.
    ///
    /// # Errors
    /// When one stays.
    pub async fn delete_all(&self, keys: &[String]) -> Result<(), Trouble> {
        let paths: Vec<Path> = keys.iter().map(|key| path(key)).collect::<Result<_, _>>()?;
        let remove = || async {
            let paths = stream::iter(paths.clone().into_iter().map(Ok)).boxed();
            let mut removed = self.store.delete_stream(paths);
            loop {
                match removed.next().await {
                    None => return Ok(()),
                    Some(Ok(_) | Err(object_store::Error::NotFound { .. })) => {}
                    Some(Err(error)) => return Err(self.trouble(&error, "remove objects at", "")),
                }
            }
        };
        self.patiently(Cause::passes, remove).await
    }

    fn trouble(&self, error: &object_store::Error, verb: &str, key: &str) -> Trouble {
        let place = if key.is_empty() { self.shown.clone() } else { format!("`{key}` at {}", self.shown) };
        Trouble::of(error, format!("{verb} {place}"))
    }

    fn damaged(&self, key: &str, detail: String) -> Trouble {
        Trouble::new(Cause::Damaged, format!("trust `{key}` at {}", self.shown), detail)
    }
}

/// Does something unless we are asked to stop.
///
/// # Errors
/// [`Cause::Stopped`], and whatever the work says.
pub async fn unless_stopped<T>(
    stop: &CancellationToken,
    work: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    tokio::select! {
        // Cancel-safe: whoever stops wants none of it.
        biased;
        () = stop.cancelled() => Err(Trouble::new(Cause::Stopped, "go on", "")),
        done = work => done,
    }
}

/// Between half of the wait and all of it, so that many who were refused at once do not come back at once.
fn jitter(wait: Duration) -> Duration {
    let chance = getrandom::u32().unwrap_or(u32::MAX);
    wait.mul_f64(0.5 + 0.5 * f64::from(chance) / f64::from(u32::MAX))
}

/// A tag that is an MD5, in small hexadecimal digits.
fn md5_of(tag: &str) -> Option<String> {
    let tag = tag.trim_matches('"');
    (tag.len() == 32 && tag.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| tag.to_ascii_lowercase())
}

/// Whether a tag is the MD5 of a content.
pub fn is_md5_of(tag: &str, content: &[u8]) -> bool {
    md5_of(tag).is_some_and(|md5| md5 == md5_hex(content))
}

/// The MD5 of bytes, as servers write it. It tells damage from content, and is no proof against anyone.
pub fn md5_hex(bytes: &[u8]) -> String {
    md5::Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn path(key: &str) -> Result<Path, Trouble> {
    Path::parse(key)
        .map_err(|error| Trouble::new(Cause::Other, format!("use the key `{key}`"), error.to_string()))
}

/// The store of a place as a probe asks it: conditions are sent along, nothing is tried again, and the line is the
/// probe's.
///
/// # Errors
/// When the folder cannot be made, or the server has no usable description.
pub fn asked(place: &Place, patience: &Patience, line: &Arc<Line>) -> Result<Arc<dyn ObjectStore>, Trouble> {
    let shown = place.to_string();
    match place {
        Place::Folder(path) => folder_store(path, true, &shown),
        Place::Bucket(bucket) => {
            bucket_store(bucket, patience, &shown, S3ConditionalPut::ETagMatch, Doubtful::on(line))
        }
    }
}

fn folder_store(path: &std::path::Path, plain: bool, shown: &str) -> Result<Arc<dyn ObjectStore>, Trouble> {
    let denied = |error: &std::io::Error| {
        let cause = match error.kind() {
            std::io::ErrorKind::StorageFull => Cause::Full,
            std::io::ErrorKind::NotFound => Cause::Missing,
            _ => Cause::Denied,
        };
        Trouble::new(cause, format!("open {shown}"), error.to_string())
    };
    std::fs::create_dir_all(path).map_err(|error| denied(&error))?;
    let store = LocalFileSystem::new_with_prefix(path)
        .map_err(|error| Trouble::of(&error, format!("open {shown}")))?;
    Ok(Arc::new(store.with_fsync(true).with_automatic_cleanup(plain)))
}

fn bucket_store(
    bucket: &Bucket,
    patience: &Patience,
    shown: &str,
    conditional: S3ConditionalPut,
    line: Doubtful,
) -> Result<Arc<dyn ObjectStore>, Trouble> {
    let Some(credentials) = &bucket.credentials else {
        return Err(Trouble::new(Cause::Unknown, format!("open {shown}"), "there are no credentials for it"));
    };
    let client = ClientOptions::new()
        .with_connect_timeout(patience.connect)
        .with_timeout(patience.request)
        .with_http1_only()
        .with_allow_http(bucket.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://")));
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&bucket.name)
        .with_region(&bucket.region)
        .with_access_key_id(&credentials.id)
        .with_secret_access_key(credentials.secret.reveal())
        .with_client_options(client)
        .with_http_connector(line)
        // We do it ourselves: it would send the same signature again.
        .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
        // A server that gets other bytes than we sent says so.
        .with_checksum_algorithm(Checksum::SHA256)
        .with_conditional_put(conditional);
    if let Some(session) = &credentials.session {
        builder = builder.with_token(session.reveal());
    }
    if let Some(endpoint) = &bucket.endpoint {
        builder = builder.with_endpoint(endpoint).with_virtual_hosted_style_request(false);
    }
    let store = builder.build().map_err(|error| Trouble::of(&error, format!("open {shown}")))?;
    if bucket.prefix.is_empty() {
        return Ok(Arc::new(store));
    }
    Ok(Arc::new(PrefixStore::new(store, path(&bucket.prefix)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn contract(objects: Objects) {
        assert_eq!(objects.find("a/b").await.unwrap(), None);
        objects.put("a/b", vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")]).await.unwrap();
        objects.put_proved("a/c", Bytes::from_static(b"three")).await.unwrap();
        assert_eq!(objects.get("a/b").await.unwrap(), "onetwo");
        assert_eq!(objects.get_range("a/b", 3, 2).await.unwrap(), "tw");
        assert!(objects.get_range("a/b", 3, 20).await.is_err(), "a short answer is no answer");
        let mut listed = objects.list("a").await.unwrap();
        listed.sort_by(|one, other| one.key.cmp(&other.key));
        let names: Vec<_> = listed.iter().map(|one| (one.key.as_str(), one.size)).collect();
        assert_eq!(names, [("b", 6), ("c", 5)]);
        assert_eq!(objects.list("nothing").await.unwrap(), []);
        assert_eq!(objects.get_beginning("a/b", 4).await.unwrap(), "onet");
        assert_eq!(objects.get_beginning("a/b", 40).await.unwrap(), "onetwo");
        objects.put_tagged("a/d", Bytes::from_static(b"four")).await.unwrap();
        let mut pieces = vec!["", "pieces", "in "];
        let size = objects.put_pieces("a/e", move || Ok(Bytes::from(pieces.pop().unwrap()))).await.unwrap();
        assert_eq!((size, objects.get("a/e").await.unwrap()), (9, Bytes::from_static(b"in pieces")));
        let broken = || Err(Trouble::new(Cause::Other, "read", ""));
        assert!(objects.put_pieces("a/f", broken).await.is_err());
        assert_eq!(objects.size("a/f").await.unwrap(), None, "half an object is none");
        assert_eq!(objects.copy("a/d", "c/d").await.unwrap(), Some(4));
        assert_eq!(objects.copy("a/none", "c/none").await.unwrap(), None);
        objects.delete_all(&["a/d".to_owned(), "a/e".to_owned(), "a/none".to_owned()]).await.unwrap();
        assert_eq!(objects.list("a").await.unwrap().len(), 2);
        let odd = "x/100%25 %23 a+b &\u{e9} ~[1]{2}|'\"*?<>\\^`";
        objects.put(odd, vec![Bytes::from_static(b"odd")]).await.unwrap();
        assert_eq!(objects.get(odd).await.unwrap(), "odd");
        assert_eq!(objects.list("x").await.unwrap()[0].key, odd[2..]);
        objects.delete("a/b").await.unwrap();
        objects.delete("a/b").await.unwrap();
        assert_eq!(objects.size("a/b").await.unwrap(), None);
        assert!(objects.put("../x", vec![]).await.is_err());
    }

    #[tokio::test]
    async fn memory_and_a_folder_keep_the_same_promises() {
        contract(Objects::memory()).await;
        let directory = tempfile::tempdir().unwrap();
        let place = Place::Folder(directory.path().join("new/place"));
        contract(Objects::open(&place, &Patience::default()).unwrap()).await;
    }
}
