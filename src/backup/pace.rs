//! No more bytes in a second than the owner of the line allows.
//!
//! What is sent or read is paid for in the time it takes at the allowed pace, and nothing is begun before everything
//! earlier is paid for. So the pace holds over the seconds that one object takes: a single one goes as fast as the line
//! is, and the next waits for it. Both directions share one line, as a backup and a restore at the same destination do.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::CopyOptions;
use object_store::GetOptions;
use object_store::GetResult;
use object_store::GetResultPayload;
use object_store::ListResult;
use object_store::MultipartUpload;
use object_store::ObjectMeta;
use object_store::ObjectStore;
use object_store::PutMultipartOptions;
use object_store::PutOptions;
use object_store::PutPayload;
use object_store::PutResult;
use object_store::Result;
use object_store::UploadPart;
use object_store::path::Path;
use tokio::time::Instant;

/// A line with a pace, shared by all who use it.
#[derive(Debug)]
pub struct Pace {
    /// Bytes in a second.
    rate: u64,
    /// When all that was asked for so far is paid for.
    paid: Mutex<Option<Instant>>,
}

impl Pace {
    /// A line that carries so many bytes in a second.
    pub fn new(rate: u64) -> Self {
        Self { rate: rate.max(1), paid: Mutex::default() }
    }

    /// Whoever wants to move so many bytes begins when this is over.
    async fn wait(&self, bytes: u64) {
        let begin = {
            let now = Instant::now();
            let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
            let (begin, end) = turn(self.rate, paid.map_or(now, |paid| paid.max(now)), bytes);
            *paid = Some(end);
            begin
        };
        tokio::time::sleep_until(begin).await;
    }
}

/// When so many bytes may begin, and when they are paid for.
fn turn(rate: u64, free: Instant, bytes: u64) -> (Instant, Instant) {
    #[expect(clippy::cast_precision_loss, reason = "a byte more or less in a petabyte is no matter")]
    let cost = Duration::from_secs_f64(bytes as f64 / rate as f64);
    (free, free + cost)
}

/// A store at the end of such a line.
#[derive(Debug)]
pub struct Paced {
    inner: Arc<dyn ObjectStore>,
    pace: Arc<Pace>,
}

impl Paced {
    /// Puts a store at the end of a line.
    pub fn new(inner: Arc<dyn ObjectStore>, pace: Arc<Pace>) -> Self {
        Self { inner, pace }
    }
}

impl fmt::Display for Paced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Paced {
    async fn put_opts(&self, to: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.pace.wait(payload.content_length() as u64).await;
        self.inner.put_opts(to, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        to: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let inner = self.inner.put_multipart_opts(to, options).await?;
        Ok(Box::new(Upload { inner, pace: Arc::clone(&self.pace) }))
    }

    async fn get_opts(&self, from: &Path, options: GetOptions) -> Result<GetResult> {
        // What is asked for without its content costs nothing.
        let free = options.head;
        self.pace.wait(0).await;
        let got = self.inner.get_opts(from, options).await?;
        if free {
            return Ok(got);
        }
        let pace = Arc::clone(&self.pace);
        let payload = match got.payload {
            GetResultPayload::Stream(pieces) => GetResultPayload::Stream(
                pieces
                    .then(move |piece| {
                        let pace = Arc::clone(&pace);
                        async move {
                            if let Ok(piece) = &piece {
                                pace.wait(piece.len() as u64).await;
                            }
                            piece
                        }
                    })
                    .boxed(),
            ),
            file @ GetResultPayload::File(..) => {
                pace.wait(got.range.end - got.range.start).await;
                file
            }
        };
        Ok(GetResult { payload, ..got })
    }

    async fn get_ranges(&self, from: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let bytes = ranges.iter().map(|range| range.end.saturating_sub(range.start)).sum();
        self.pace.wait(bytes).await;
        self.inner.get_ranges(from, ranges).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// An upload over such a line.
#[derive(Debug)]
struct Upload {
    inner: Box<dyn MultipartUpload>,
    pace: Arc<Pace>,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (pace, bytes) = (Arc::clone(&self.pace), data.content_length() as u64);
        let part = self.inner.put_part(data);
        Box::pin(async move {
            pace.wait(bytes).await;
            part.await
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.inner.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use object_store::ObjectStoreExt as _;
    use object_store::memory::InMemory;

    use super::*;

    const RATE: u64 = 1000;

    fn store() -> Paced {
        Paced::new(Arc::new(InMemory::new()), Arc::new(Pace::new(RATE)))
    }

    fn bytes(count: usize) -> PutPayload {
        vec![7_u8; count].into()
    }

    async fn took<T>(work: impl Future<Output = T>) -> Duration {
        let begun = Instant::now();
        work.await;
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn ten_seconds_worth_takes_about_that_long_however_many_ask() {
        let store = store();
        let put = async |number: usize| {
            store.put(&Path::from(format!("{number}")), bytes(100)).await.unwrap();
        };
        let took = took(join_all((0..100).map(put))).await;
        assert!((Duration::from_millis(9800)..Duration::from_millis(10_100)).contains(&took), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_read_and_what_comes_in_parts_counts_too_and_time_without_work_is_not_saved_up() {
        let store = store();
        let path = Path::from("a");
        store.put(&path, bytes(1000)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let read = took(async { store.get(&path).await.unwrap().bytes().await.unwrap() }).await;
        let part = took(async { store.get_range(&path, 0..500).await.unwrap() }).await;
        let ranges = took(async { store.get_ranges(&path, &[0..250, 500..750]).await.unwrap() }).await;
        let head = took(async { store.head(&path).await.unwrap() }).await;
        let upload = took(async {
            let mut upload = store.put_multipart(&Path::from("b")).await.unwrap();
            upload.put_part(bytes(2000)).await.unwrap();
            upload.put_part(bytes(2000)).await.unwrap();
            upload.complete().await.unwrap();
        })
        .await;
        let all = read + part + ranges + head + upload;
        assert!((Duration::from_millis(3900)..Duration::from_millis(4200)).contains(&all), "{all:?}");
    }
}
