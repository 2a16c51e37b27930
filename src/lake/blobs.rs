//! Files beside the tables of a lake, such as models.

use super::catalog::Lake;
use datafusion::common::Result;
use datafusion::datasource::listing::ListingTableUrl;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::sync::Arc;

impl Lake {
    /// The contents of a file: one of the lake by its path in the lake, any other by a path that begins with `/` or `.`, or by
    /// its URL.
    pub async fn file(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let (store, path) = self.store_of(path)?;
        let read = async move {
            match store.get(&path).await {
                Ok(found) => Ok(Some(found.bytes().await?.to_vec())),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            }
        };
        self.reading(read).await
    }

    /// Writes a file of the lake, in the place of what it was.
    pub async fn put_file(&self, path: &str, contents: Vec<u8>) -> Result<()> {
        let (store, path) = self.store_of(path)?;
        store.put(&path, contents.into()).await?;
        Ok(())
    }

    /// The names of the files in a folder of the lake.
    pub async fn files_in(&self, folder: &str) -> Result<Vec<String>> {
        let (store, path) = self.store_of(folder)?;
        let list = async move {
            match store.list_with_delimiter(Some(&path)).await {
                Ok(listed) => Ok(listed.objects),
                Err(object_store::Error::NotFound { .. }) => Ok(vec![]),
                Err(error) => Err(error.into()),
            }
        };
        let listed = self.reading(list).await?;
        Ok(listed.iter().filter_map(|o| o.location.filename().map(str::to_string)).collect())
    }

    fn store_of(&self, path: &str) -> Result<(Arc<dyn ObjectStore>, Path)> {
        if path.split('/').any(|part| part == "..") {
            self.options().permits(path)?;
        }
        let whole = match path.starts_with(['/', '.']) || path.contains("://") {
            true => {
                self.options().permits(path)?;
                path.to_string()
            }
            false => format!("{}/{path}", self.options().url.trim_end_matches('/')),
        };
        let url = ListingTableUrl::parse(&whole)?;
        let store = self.state().runtime_env().object_store(url.object_store())?;
        Ok((store, url.prefix().clone()))
    }
}
