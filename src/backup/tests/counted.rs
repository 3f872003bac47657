//! Objects whose requests are counted, and that fail from a given one on.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::CopyOptions;
use object_store::Error;
use object_store::GetOptions;
use object_store::GetResult;
use object_store::ListResult;
use object_store::MultipartUpload;
use object_store::ObjectMeta;
use object_store::ObjectStore;
use object_store::PutMultipartOptions;
use object_store::PutOptions;
use object_store::PutPayload;
use object_store::PutResult;
use object_store::Result;
use object_store::path::Path;

use crate::backup::objects;

#[derive(Debug, Clone, Default)]
pub struct Counted(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicUsize,
    /// From this request on they fail; none when it is zero.
    limit: Mutex<Option<usize>>,
    failed: AtomicUsize,
    /// The tags that a server gives: MD5.
    tags: Mutex<HashMap<Path, String>>,
}

impl Counted {
    pub fn over(&self, store: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
        Arc::new(Store { inner: store, counts: Arc::clone(&self.0) })
    }

    pub fn requests(&self) -> usize {
        self.0.requests.load(Ordering::SeqCst)
    }

    /// So many more requests succeed.
    pub fn fail_after(&self, requests: usize) {
        *lock(&self.0.limit) = Some(self.requests() + requests);
    }

    pub fn fail_never(&self) {
        *lock(&self.0.limit) = None;
        self.0.failed.store(0, Ordering::SeqCst);
    }

    pub fn has_failed(&self) -> bool {
        self.0.failed.load(Ordering::SeqCst) > 0
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Store {
    inner: Arc<dyn ObjectStore>,
    counts: Arc<Counts>,
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "counted {}", self.inner)
    }
}

impl Counts {
    fn count(&self) -> Result<()> {
        let before = self.requests.fetch_add(1, Ordering::SeqCst);
        if lock(&self.limit).is_some_and(|limit| before >= limit) {
            self.failed.fetch_add(1, Ordering::SeqCst);
            return Err(Error::Generic { store: "counted", source: "the power is gone".into() });
        }
        Ok(())
    }

    fn tagged(&self, mut meta: ObjectMeta) -> ObjectMeta {
        meta.e_tag = lock(&self.tags).get(&meta.location).cloned();
        meta
    }
}

#[async_trait]
impl ObjectStore for Store {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.counts.count()?;
        let whole: Vec<u8> = payload.iter().flat_map(|piece| piece.to_vec()).collect();
        let tag = format!("\"{}\"", objects::md5_hex(&whole));
        let mut result = self.inner.put_opts(location, payload, opts).await?;
        lock(&self.counts.tags).insert(location.clone(), tag.clone());
        result.e_tag = Some(tag);
        Ok(result)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.counts.count()?;
        lock(&self.counts.tags).remove(location);
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.counts.count()?;
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.counts.count()?;
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let counts = Arc::clone(&self.counts);
        let locations = locations.map(move |location| counts.count().and(location));
        self.inner.delete_stream(locations.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let counts = Arc::clone(&self.counts);
        if let Err(error) = counts.count() {
            return futures::stream::iter([Err(error)]).boxed();
        }
        self.inner.list(prefix).map(move |meta| meta.map(|meta| counts.tagged(meta))).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.counts.count()?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.counts.count()?;
        self.inner.copy_opts(from, to, options).await?;
        let mut tags = lock(&self.counts.tags);
        let tag = tags.get(from).cloned();
        tag.map(|tag| tags.insert(to.clone(), tag));
        Ok(())
    }
}
