//! Where the pages of a Parquet file begin, kept beside its footer.
//!
//! DataFusion keeps footers in a cache, but reads the index of pages anew for every query that prunes by it: the footer is asked
//! for without it, and what is read later stays out of the cache. Asked for with its index, it is kept with it.

use bytes::Bytes;
use datafusion::common::Result;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileSource, ParquetFileReaderFactory, ParquetSource};
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::errors::Result as ParquetResult;
use datafusion::parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;
use std::ops::Range;
use std::sync::Arc;

/// A source that prunes, with readers that keep the index of pages.
pub(super) fn keeping(source: &ParquetSource) -> Option<ParquetSource> {
    source.filter()?;
    let readers = Arc::clone(source.parquet_file_reader_factory()?);
    Some(source.clone().with_parquet_file_reader_factory(Arc::new(Keeping(readers))))
}

/// Makes readers that ask for footers with their index.
#[derive(Debug)]
struct Keeping(Arc<dyn ParquetFileReaderFactory>);

impl ParquetFileReaderFactory for Keeping {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        metadata_size: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        Ok(Box::new(Reader(self.0.create_reader(partition, file, metadata_size, metrics)?)))
    }
}

struct Reader(Box<dyn AsyncFileReader + Send>);

impl AsyncFileReader for Reader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        self.0.get_bytes(range)
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        self.0.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        let options = options.cloned().unwrap_or_default().with_page_index_policy(PageIndexPolicy::Optional);
        async move { self.0.get_metadata(Some(&options)).await }.boxed()
    }
}
