//! Object stores by URL, opened when a URL first names them, and how much is read from them.

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::common::{Result, plan_datafusion_err, plan_err};
use datafusion::execution::object_store::ObjectStoreRegistry;
use futures::stream::BoxStream;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::ClientOptions;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
};
use std::collections::HashMap;
use std::fmt::{Display, Formatter};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tallow_common::{Code, Error};
use url::Url;

/// The object stores of a session: `file`, `s3`, `gs`, `az`, `memory`, and `http` to read from.
///
/// Credentials, region and endpoint come from the environment, under the names that the tools of each cloud use
/// (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, `GOOGLE_APPLICATION_CREDENTIALS`, `AZURE_STORAGE_ACCOUNT_NAME`, ...).
#[derive(Debug, Default)]
pub struct Stores {
    known: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
    read: Arc<AtomicU64>,
}

impl Stores {
    /// Bytes read from all stores so far.
    pub fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    fn counted(&self, store: impl ObjectStore) -> Arc<dyn ObjectStore> {
        Arc::new(Counted { inner: Arc::new(store), read: Arc::clone(&self.read) })
    }

    fn make(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        let failed = |e: object_store::Error| Error::known(Code::Unavailable, format!("cannot open {url}: {e}"));
        Ok(match url.scheme() {
            "file" => self.counted(LocalFileSystem::new()),
            "memory" => self.counted(InMemory::new()),
            "s3" | "s3a" => {
                let plain = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]
                    .iter()
                    .any(|name| std::env::var(name).is_ok_and(|e| e.starts_with("http://")));
                let builder = AmazonS3Builder::from_env().with_url(url.as_str());
                let builder = if plain { builder.with_allow_http(true) } else { builder };
                self.counted(builder.build().map_err(failed)?)
            }
            "gs" => self.counted(GoogleCloudStorageBuilder::from_env().with_url(url.as_str()).build().map_err(failed)?),
            "az" | "azure" | "adl" | "abfs" | "abfss" => {
                self.counted(MicrosoftAzureBuilder::from_env().with_url(url.as_str()).build().map_err(failed)?)
            }
            "http" | "https" => {
                let options = ClientOptions::new().with_allow_http(true);
                self.counted(
                    HttpBuilder::new().with_url(url.as_str()).with_client_options(options).build().map_err(failed)?,
                )
            }
            other => {
                return plan_err!(
                    "cannot open {url}: scheme `{other}` is none of file, s3, gs, az, memory, http, https"
                );
            }
        })
    }
}

/// The part of a URL that a store stands for: scheme, host and port.
fn root_of(url: &Url) -> String {
    url[..url::Position::BeforePath].to_string()
}

impl ObjectStoreRegistry for Stores {
    fn register_store(&self, url: &Url, store: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(root_of(url), store)
    }

    fn deregister_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        let removed = self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&root_of(url));
        removed.ok_or_else(|| Error::not_found(format!("no object store is registered for {url}")).into())
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let root = root_of(url);
        if let Some(store) = known.get(&root) {
            return Ok(Arc::clone(store));
        }
        let base = Url::parse(&format!("{root}/")).map_err(|e| plan_datafusion_err!("cannot open {url}: {e}"))?;
        let store = self.make(&base)?;
        known.insert(root, Arc::clone(&store));
        Ok(store)
    }
}

/// A store that counts the bytes read from it.
#[derive(Debug)]
struct Counted {
    inner: Arc<dyn ObjectStore>,
    read: Arc<AtomicU64>,
}

impl Display for Counted {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.inner)
    }
}

impl Counted {
    /// Refuses ranges beyond the file, as a damaged footer gives them: a store may allocate them before it looks at the file.
    async fn check_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> object_store::Result<()> {
        const USUAL: u64 = 16 << 20;
        if ranges.iter().all(|r| r.start <= r.end && r.end - r.start <= USUAL) {
            return Ok(());
        }
        let size = self.inner.head(location).await?.size;
        match ranges.iter().find(|r| r.start > r.end || r.end > size) {
            None => Ok(()),
            Some(Range { start, end }) => Err(object_store::Error::Generic {
                store: "file",
                source: format!("bytes {start} to {end} are wanted of {size}").into(),
            }),
        }
    }
}

#[async_trait]
impl ObjectStore for Counted {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        let head = options.head;
        let result = self.inner.get_opts(location, options).await?;
        if !head {
            self.read.fetch_add(result.range.end.saturating_sub(result.range.start), Ordering::Relaxed);
        }
        Ok(result)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> object_store::Result<Vec<Bytes>> {
        self.check_ranges(location, ranges).await?;
        let parts = self.inner.get_ranges(location, ranges).await?;
        self.read.fetch_add(parts.iter().map(|p| p.len() as u64).sum(), Ordering::Relaxed);
        Ok(parts)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> object_store::Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_that_a_file_does_not_have_are_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "candles").unwrap();
        let store = Stores::default().get_store(&Url::parse("file:///").unwrap()).unwrap();
        let path = Path::from_absolute_path(file.path()).unwrap();
        assert_eq!(store.get_ranges(&path, &[0..2, 3..7]).await.unwrap()[1], "dles");
        for beyond in [0..u64::MAX / 2, Range { start: 5, end: 3 }] {
            let said = store.get_ranges(&path, &[beyond]).await.unwrap_err().to_string();
            assert!(said.contains("are wanted of 7"), "{said}");
        }
    }

    #[test]
    fn a_store_is_made_once_for_each_host() {
        let stores = Stores::default();
        let get = |url: &str| stores.get_store(&Url::parse(url).unwrap());
        assert!(Arc::ptr_eq(&get("memory:///a").unwrap(), &get("memory:///b/c").unwrap()));
        assert!(!Arc::ptr_eq(&get("http://x:1/a").unwrap(), &get("http://x:2/a").unwrap()));
        assert!(get("ftp://x/").unwrap_err().to_string().contains("scheme `ftp`"));
    }
}
