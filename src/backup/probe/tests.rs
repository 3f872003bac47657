//! Places that do what they say, and one that only says so.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use futures::TryStreamExt as _;
use futures::stream::BoxStream;
use object_store::CopyOptions;
use object_store::GetOptions;
use object_store::GetResult;
use object_store::ListResult;
use object_store::MultipartUpload;
use object_store::ObjectMeta;
use object_store::ObjectStore;
use object_store::ObjectStoreExt as _;
use object_store::PutMultipartOptions;
use object_store::PutOptions;
use object_store::PutPayload;
use object_store::PutResult;
use object_store::Result;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;

use super::ask;
use super::finding::Ability;
use super::finding::Finding;
use super::finding::Verdict;
use super::finding::judge;

/// Says yes to every condition and names a version with each write, and knows neither.
#[derive(Debug, Default)]
struct Liar {
    inner: InMemory,
    writes: AtomicU64,
}

impl fmt::Display for Liar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a liar")
    }
}

#[async_trait]
impl ObjectStore for Liar {
    async fn put_opts(&self, to: &Path, payload: PutPayload, _: PutOptions) -> Result<PutResult> {
        let version = Some(self.writes.fetch_add(1, Ordering::Relaxed).to_string());
        let put = self.inner.put_opts(to, payload, PutOptions::default()).await?;
        Ok(PutResult { version, ..put })
    }

    async fn put_multipart_opts(
        &self,
        to: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(to, options).await
    }

    async fn get_opts(&self, from: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(from, GetOptions { version: None, ..options }).await
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

async fn findings(store: &dyn ObjectStore, server: bool) -> Vec<Finding> {
    let answers = ask::ask(store, None, "a place").await.unwrap();
    let left: Vec<_> = store.list(None).try_collect().await.unwrap();
    assert_eq!(left, [], "nothing is left");
    judge(&answers, server)
}

fn verdict(findings: &[Finding], ability: Ability) -> Verdict {
    findings.iter().find(|finding| finding.ability == ability).unwrap().verdict
}

#[tokio::test]
async fn memory_and_a_folder_do_all_that_such_a_place_can() {
    let directory = tempfile::tempdir().unwrap();
    let folder = LocalFileSystem::new_with_prefix(directory.path()).unwrap().with_automatic_cleanup(true);
    for store in [Arc::new(InMemory::new()) as Arc<dyn ObjectStore>, Arc::new(folder)] {
        for finding in findings(store.as_ref(), false).await {
            assert_eq!(finding.verdict, Verdict::Proved, "{store}: {finding:?}");
        }
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nor any directory");
}

#[tokio::test]
async fn a_place_that_only_says_so_is_not_believed() {
    let found = findings(&Liar::default(), true).await;
    assert_eq!(verdict(&found, Ability::Create), Verdict::Absent, "{found:?}");
    let create = found.iter().find(|finding| finding.ability == Ability::Create).unwrap();
    assert!(create.detail.contains("overwrites"), "seen before any race: {create:?}");
    assert_eq!(verdict(&found, Ability::Versions), Verdict::Absent, "{found:?}");
    assert_eq!(verdict(&found, Ability::Checksums), Verdict::Unknown, "nobody damaged anything: {found:?}");
    for ability in [Ability::Write, Ability::Read, Ability::List, Ability::Delete] {
        assert_eq!(verdict(&found, ability), Verdict::Proved, "{found:?}");
    }
}

#[tokio::test]
async fn what_is_there_besides_is_left_alone() {
    let store = InMemory::new();
    let theirs = Path::from(".nexus-probe/of-another-node/object");
    store.put(&theirs, "theirs".into()).await.unwrap();
    ask::ask(&store, None, "a place").await.unwrap();
    assert!(store.head(&theirs).await.is_ok(), "a probe that may be at work");
}
