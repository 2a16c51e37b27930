//! Files are looked for and looked at on the threads that compute, whoever asks.

use super::{Lake, LakeOptions};
use crate::as_of::AsOf;
use crate::patterns::StoredPattern;
use crate::profile::ProfileCache;
use async_trait::async_trait;
use bytes::Bytes;
use datafusion::catalog::SchemaProvider;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::prelude::SessionConfig;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use tallow_common::ComputeThreads;
use url::Url;

/// The file system, and the threads that asked it for something.
#[derive(Debug, Default)]
struct Watched {
    inner: LocalFileSystem,
    threads: Mutex<BTreeSet<String>>,
}

impl Watched {
    fn asked(&self) {
        self.threads.lock().unwrap().insert(std::thread::current().name().unwrap_or_default().to_string());
    }
}

impl std::fmt::Display for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Watched {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(&self, to: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(to, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.asked();
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.asked();
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.asked();
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.asked();
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[test]
fn a_lake_asks_its_store_on_the_threads_that_compute() {
    let folder = tempfile::tempdir().unwrap();
    for timeframe in ["1d", "mine"] {
        std::fs::create_dir_all(folder.path().join("candles").join(timeframe)).unwrap();
    }
    std::fs::write(folder.path().join("candles/1d/A.csv"), "symbol,ts,close\nA,2024-01-01,1\nA,2024-01-02,2\n")
        .unwrap();
    std::fs::write(folder.path().join("other.csv"), "a,b\n1,2\n").unwrap();
    let compute = tokio::runtime::Builder::new_multi_thread().thread_name("compute").enable_all().build().unwrap();
    let (store, environment) = (Arc::new(Watched::default()), RuntimeEnv::default());
    environment.register_object_store(&Url::parse("file:///").unwrap(), Arc::clone(&store) as _);
    let config = ComputeThreads::into_config(compute.handle().clone(), SessionConfig::new());
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(Arc::new(environment))
        .with_default_features()
        .build();
    let options = LakeOptions { url: folder.path().display().to_string(), candles: None, as_of: None, confined: false };
    let caller = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    caller.block_on(async {
        let lake = Lake::open(options, ProfileCache::new(None), state).await.unwrap();
        assert!(lake.candle_table("candles").await.unwrap().is_some());
        assert!(lake.table("candles_1d@readable").await.unwrap().is_some());
        assert!(lake.bars(&format!("{}/candles/1d/A.csv", folder.path().display())).await.unwrap().is_some());
        assert!(lake.table(&folder.path().join("other.csv").display().to_string()).await.unwrap().is_some());
        assert_eq!(lake.symbols("candles").await.unwrap().unwrap().len(), 1);
        assert!(lake.records::<StoredPattern>().await.unwrap().is_empty());
        assert!(lake.file("models/none.json").await.unwrap().is_none());
        assert!(lake.at(AsOf::Version(3)).table("candles").await.is_err());
    });
    assert_eq!(*store.threads.lock().unwrap(), BTreeSet::from(["compute".to_string()]));
    compute.shutdown_background();
}
