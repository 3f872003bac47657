//! The objects of one destination: keys and bytes, in a bucket, a folder or memory.
//!
//! An upload is not believed: what was written is asked for again, its size at least, and its bytes where a whole
//! backup hangs on it. Patience (time-outs, retries with growing waits) is one place's decision: here.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::BackoffConfig;
use object_store::ClientOptions;
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

use super::destination::Bucket;
use super::destination::Place;
use super::trouble::Cause;
use super::trouble::Trouble;

/// How long one thing may take at a server before it is a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For one request with its body: a pack over a slow line.
    pub request: Duration,
    /// For one request with all of its repetitions. The signature is made anew for each.
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

/// The objects of one destination. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    /// How a person calls the place.
    shown: String,
}

/// An object as a list has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its key, below what was listed.
    pub key: String,
    /// Its size.
    pub size: u64,
}

impl Objects {
    /// Opens a place. A folder is made; a server is not spoken to yet.
    ///
    /// # Errors
    /// When the folder cannot be made, or the server has no usable description.
    pub fn open(place: &Place, patience: &Patience) -> Result<Self, Trouble> {
        let shown = place.to_string();
        let store: Arc<dyn ObjectStore> = match place {
            Place::Folder(path) => {
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
                Arc::new(store.with_fsync(true))
            }
            Place::Bucket(bucket) => bucket_store(bucket, patience, &shown)?,
        };
        Ok(Self { store, shown })
    }

    /// Objects in memory.
    pub fn memory() -> Self {
        Self { store: Arc::new(InMemory::new()), shown: "memory".to_owned() }
    }

    /// The same objects behind another store, for tests that put faults in between.
    pub fn through(&self, wrap: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>) -> Self {
        Self { store: wrap(Arc::clone(&self.store)), shown: self.shown.clone() }
    }

    /// How a person calls the place.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Writes an object and makes sure of its size.
    ///
    /// # Errors
    /// When it is not there afterwards as it should be.
    pub async fn put(&self, key: &str, pieces: Vec<Bytes>) -> Result<(), Trouble> {
        let size: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        let path = path(key)?;
        let payload: PutPayload = pieces.into_iter().collect();
        self.store.put(&path, payload).await.map_err(|error| self.trouble(&error, "write", key))?;
        match self.size(key).await? {
            Some(stored) if stored == size => Ok(()),
            Some(stored) => Err(self.damaged(key, format!("{size} bytes were sent, {stored} are there"))),
            None => Err(self.damaged(key, "it is not there after it was written".to_owned())),
        }
    }

    /// Writes an object and reads it back: for what a whole backup hangs on.
    ///
    /// # Errors
    /// When it is not there afterwards, byte for byte.
    pub async fn put_proved(&self, key: &str, bytes: Bytes) -> Result<(), Trouble> {
        let path = path(key)?;
        let payload = PutPayload::from_bytes(bytes.clone());
        self.store.put(&path, payload).await.map_err(|error| self.trouble(&error, "write", key))?;
        if self.get(key).await? == bytes {
            return Ok(());
        }
        Err(self.damaged(key, "what was written reads back otherwise".to_owned()))
    }

    /// Reads an object.
    ///
    /// # Errors
    /// When it cannot be read; [`Cause::Missing`] when there is none.
    pub async fn get(&self, key: &str) -> Result<Bytes, Trouble> {
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
        let range = offset..offset.saturating_add(length);
        let bytes = self
            .store
            .get_range(&path(key)?, range)
            .await
            .map_err(|error| self.trouble(&error, "read", key))?;
        if bytes.len() as u64 == length {
            return Ok(bytes);
        }
        Err(self.damaged(key, format!("{length} bytes at {offset} were asked for, {} came", bytes.len())))
    }

    /// How large an object is; `None` when there is none.
    ///
    /// # Errors
    /// When that cannot be known.
    pub async fn size(&self, key: &str) -> Result<Option<u64>, Trouble> {
        match self.store.head(&path(key)?).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.trouble(&error, "look at", key)),
        }
    }

    /// All objects below a prefix.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Listed>, Trouble> {
        let root = path(prefix)?;
        let listed: Vec<_> =
            self.store
                .list(Some(&root))
                .map_ok(|meta| {
                    let below = meta.location.prefix_match(&root).map(|parts| {
                        parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/")
                    });
                    Listed { key: below.unwrap_or_default(), size: meta.size }
                })
                .try_collect()
                .await
                .map_err(|error| self.trouble(&error, "list", prefix))?;
        Ok(listed)
    }

    /// Removes an object; one that is not there is removed already.
    ///
    /// # Errors
    /// When it stays.
    pub async fn delete(&self, key: &str) -> Result<(), Trouble> {
        match self.store.delete(&path(key)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.trouble(&error, "remove", key)),
        }
    }

    fn trouble(&self, error: &object_store::Error, verb: &str, key: &str) -> Trouble {
        let place = if key.is_empty() { self.shown.clone() } else { format!("`{key}` at {}", self.shown) };
        Trouble::of(error, format!("{verb} {place}"))
    }

    fn damaged(&self, key: &str, detail: String) -> Trouble {
        Trouble::new(Cause::Damaged, format!("trust `{key}` at {}", self.shown), detail)
    }
}

fn path(key: &str) -> Result<Path, Trouble> {
    Path::parse(key)
        .map_err(|error| Trouble::new(Cause::Other, format!("use the key `{key}`"), error.to_string()))
}

fn bucket_store(bucket: &Bucket, patience: &Patience, shown: &str) -> Result<Arc<dyn ObjectStore>, Trouble> {
    let Some(credentials) = &bucket.credentials else {
        return Err(Trouble::new(Cause::Unknown, format!("open {shown}"), "there are no credentials for it"));
    };
    let client = ClientOptions::new()
        .with_connect_timeout(patience.connect)
        .with_timeout(patience.request)
        .with_http1_only()
        .with_allow_http(bucket.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://")));
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(500),
        max_backoff: Duration::from_secs(20),
        base: 2.0,
    };
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&bucket.name)
        .with_region(&bucket.region)
        .with_access_key_id(&credentials.id)
        .with_secret_access_key(credentials.secret.reveal())
        .with_client_options(client)
        .with_retry(RetryConfig { backoff, max_retries: 30, retry_timeout: patience.retries })
        // A server that gets other bytes than we sent says so.
        .with_checksum_algorithm(Checksum::SHA256)
        // Too many servers answer yes to a condition they have not looked at.
        .with_conditional_put(S3ConditionalPut::Disabled);
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
