//! Which files a path, glob, folder or URL stands for, and their common format.

use super::delta::{Log, Snapshot};
use arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::{Result, plan_err};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::arrow::ArrowFormat;
use datafusion::datasource::file_format::csv::CsvFormat;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::ListingTableUrl;
use datafusion::execution::object_store::ObjectStoreUrl;
use futures::TryStreamExt;
use object_store::{ObjectMeta, ObjectStore};
use std::sync::Arc;

/// What the files hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Parquet,
    Csv,
    Tsv,
    Json,
    Arrow,
}

/// Format and compression, told by the file name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Format {
    pub kind: Kind,
    pub compression: FileCompressionType,
}

impl Format {
    pub fn of(path: &str) -> Option<Format> {
        let (stem, compression) = match path.rsplit_once('.') {
            Some((stem, "gz")) => (stem, FileCompressionType::GZIP),
            Some((stem, "zst")) => (stem, FileCompressionType::ZSTD),
            _ => (path, FileCompressionType::UNCOMPRESSED),
        };
        let kind = match stem.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
            "parquet" | "pq" => Kind::Parquet,
            "csv" | "txt" => Kind::Csv,
            "tsv" => Kind::Tsv,
            "arrow" | "feather" => Kind::Arrow,
            "json" | "ndjson" | "jsonl" => Kind::Json,
            _ => return None,
        };
        Some(Format { kind, compression })
    }

    pub fn reader(&self, session: &dyn Session) -> Arc<dyn FileFormat> {
        match self.kind {
            Kind::Parquet => {
                Arc::new(ParquetFormat::new().with_options(session.default_table_options().parquet.clone()))
            }
            Kind::Csv | Kind::Tsv => {
                let delimiter = if self.kind == Kind::Tsv { b'\t' } else { b',' };
                let format = CsvFormat::default().with_has_header(true).with_delimiter(delimiter);
                Arc::new(format.with_file_compression_type(self.compression))
            }
            Kind::Arrow => Arc::new(ArrowFormat),
            // A number that turns out to have decimals later on, or a key that comes late, would silently be cut off.
            Kind::Json => {
                let format = JsonFormat::default().with_schema_infer_max_rec(usize::MAX);
                Arc::new(format.with_file_compression_type(self.compression))
            }
        }
    }
}

/// The files behind a location, all of one format.
#[derive(Debug, Clone)]
pub(super) struct Files {
    pub location: String,
    pub store_url: ObjectStoreUrl,
    pub store: Arc<dyn ObjectStore>,
    pub format: Format,
    pub files: Vec<ObjectMeta>,
}

/// Written into a table's folder by tallow. Without a log that names it, such a file is no part of anything yet.
fn is_uncommitted(meta: &ObjectMeta) -> bool {
    meta.location.filename().is_some_and(|name| name.ends_with(super::writer::SUFFIX))
}

impl Files {
    /// Lists them. `Ok(None)`: nothing there looks like a table.
    pub async fn list(session: &dyn Session, location: &str) -> Result<Option<Files>> {
        let url = ListingTableUrl::parse(location)?;
        let store_url = url.object_store();
        let store = session.runtime_env().object_store(&store_url)?;
        let listed: Vec<ObjectMeta> = url.list_all_files(session, store.as_ref(), "").await?.try_collect().await?;
        let left_out = |meta: &ObjectMeta| {
            let uncommitted = url.is_collection() && is_uncommitted(meta);
            uncommitted
                || url.strip_prefix(&meta.location).is_some_and(|mut parts| parts.any(|p| p.starts_with(['_', '.'])))
        };
        let mut files: Vec<(Format, ObjectMeta)> = listed
            .into_iter()
            .filter(|meta| !left_out(meta))
            .filter_map(|meta| Some((Format::of(meta.location.as_ref())?, meta)))
            .collect();
        files.sort_by(|(_, a), (_, b)| a.location.cmp(&b.location));
        let Some((format, _)) = files.first() else { return Ok(None) };
        let format = *format;
        if let Some((other, meta)) = files.iter().find(|(f, _)| *f != format) {
            return plan_err!(
                "{location}: files of different formats side by side ({:?} and, in {}, {:?}); name one of them, as in \
                 '{location}/*.parquet'",
                format.kind,
                meta.location,
                other.kind
            );
        }
        let files = files.into_iter().map(|(_, meta)| meta).collect();
        Ok(Some(Files { location: location.to_string(), store_url, store, format, files }))
    }

    /// The files that a version of a Delta table names.
    pub fn of_log(log: &Log, snapshot: &Snapshot) -> Files {
        Files {
            location: log.location.clone(),
            store_url: log.store_url.clone(),
            store: Arc::clone(&log.store),
            format: Format { kind: Kind::Parquet, compression: FileCompressionType::UNCOMPRESSED },
            files: snapshot.files.iter().map(|f| f.meta.clone()).collect(),
        }
    }

    /// A file without a byte is no file of any format.
    pub fn check_not_empty(&self) -> Result<()> {
        match self.files.iter().find(|meta| meta.size == 0) {
            Some(meta) => plan_err!("{} is empty (0 bytes)", meta.location),
            None => Ok(()),
        }
    }

    /// The common schema; `alike` if all files are known to have the same.
    pub async fn schema(&self, session: &dyn Session, alike: bool) -> Result<SchemaRef> {
        let reader = self.format.reader(session);
        let files = if alike { &self.files[..1] } else { &self.files };
        match reader.infer_schema(session, &self.store, files).await {
            Ok(schema) if schema.fields().is_empty() => plan_err!("{} has no columns", self.location),
            Ok(schema) => Ok(schema),
            Err(error) => Err(error.context(format!("cannot read {}", self.location))),
        }
    }
}

/// A file's name without what tells its format and compression; what else follows a dot belongs to the name, as in BRK.B.
fn without_extensions(name: &str) -> &str {
    if Format::of(name).is_none() {
        return name;
    }
    let stem = |name: &'_ str| name.rsplit_once('.').map_or(name.len(), |(stem, _)| stem.len());
    let inner = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name);
    &inner[..stem(inner)]
}

/// The symbol that a file stands for: `symbol=X` in its path, else its name without extensions.
pub(super) fn symbol_of(path: &str) -> String {
    let keyed = path.split('/').find_map(|part| part.strip_prefix("symbol="));
    let name = match keyed {
        Some(value) => value,
        None => without_extensions(path.rsplit('/').next().unwrap_or(path)),
    };
    // Listings percent-encode what a URL cannot hold.
    object_store::path::Path::from_url_path(name).map_or_else(|_| name.to_string(), |p| p.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_is_in_the_path_or_the_name() {
        assert_eq!(symbol_of("data/candles/1d/symbol=BRK.B/part-0.parquet"), "BRK.B");
        assert_eq!(symbol_of("dump/AAPL.csv.gz"), "AAPL");
        assert_eq!(symbol_of("dump/BRK.B.csv"), "BRK.B");
        assert_eq!(symbol_of("dump/7203.T.csv.zst"), "7203.T");
    }

    #[test]
    fn format_and_compression_are_in_the_name() {
        let csv = Format::of("x/AAPL.csv.gz").unwrap();
        assert_eq!((csv.kind, csv.compression), (Kind::Csv, FileCompressionType::GZIP));
        assert!(Format::of("x/readme.md").is_none());
    }
}
