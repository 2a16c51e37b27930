//! Which files a path, glob, folder or URL stands for, and their common format.

use super::columns::{NAMES, plain};
use super::delta::{Log, Snapshot};
use super::guarded::Guarded;
use super::isolation;
use arrow::datatypes::{DataType, Fields, Schema, SchemaRef};
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
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectMeta, ObjectStore};
use std::collections::BTreeMap;
use std::sync::Arc;
use tallow_udfs::calendar::Timeframe;

/// What the files hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Parquet,
    Csv,
    Tsv,
    Json,
    Arrow,
}

/// Format and compression, as the file name gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Format {
    pub kind: Kind,
    pub compression: FileCompressionType,
}

impl Format {
    /// Whether columns are identified by position.
    pub fn is_delimited(self) -> bool {
        matches!(self.kind, Kind::Csv | Kind::Tsv)
    }

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

    /// The reader of files of this format in a store.
    pub fn reader(&self, session: &dyn Session, store_url: &ObjectStoreUrl) -> Arc<dyn FileFormat> {
        let format: Arc<dyn FileFormat> = match self.kind {
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
        };
        Arc::new(Guarded::new(format, store_url))
    }
}

/// Files whose schemas are inferred at the same time.
const SCHEMAS_AT_ONCE: usize = 1024;
/// Distinct schemas that are remembered, so that files can share them.
const USUAL_SCHEMAS: usize = 64;

/// Parquet without compression around it, as tables with a log have it.
pub(super) const PARQUET: Format = Format { kind: Kind::Parquet, compression: FileCompressionType::UNCOMPRESSED };

/// The files behind a location, all of one format.
#[derive(Debug, Clone)]
pub(super) struct Files {
    pub location: String,
    pub store_url: ObjectStoreUrl,
    pub store: Arc<dyn ObjectStore>,
    pub format: Format,
    pub files: Vec<ObjectMeta>,
}

/// All files at a location that are not hidden, whatever they are.
pub(super) struct Listed {
    pub store_url: ObjectStoreUrl,
    pub store: Arc<dyn ObjectStore>,
    /// In the order of their paths.
    pub files: Vec<ObjectMeta>,
}

/// Lists what a path, glob, folder or URL stands for.
pub(super) async fn listed(session: &dyn Session, location: &str) -> Result<Listed> {
    let url = ListingTableUrl::parse(location)?;
    let store_url = url.object_store();
    let store = session.runtime_env().object_store(&store_url)?;
    let mut files: Vec<ObjectMeta> = url.list_all_files(session, store.as_ref(), "").await?.try_collect().await?;
    files.retain(|meta| {
        let uncommitted = url.is_collection() && is_uncommitted(meta);
        let hidden = url.strip_prefix(&meta.location).is_some_and(|mut parts| parts.any(|p| p.starts_with(['_', '.'])));
        !uncommitted && !hidden
    });
    files.sort_by(|a, b| a.location.cmp(&b.location));
    Ok(Listed { store_url, store, files })
}

/// Whether tallow wrote the file into a table's folder. Without a log that names it, it is not part of the table.
fn is_uncommitted(meta: &ObjectMeta) -> bool {
    meta.location.filename().is_some_and(|name| name.ends_with(super::writer::SUFFIX))
}

impl Files {
    /// Lists them. `Ok(None)`: nothing there looks like a table.
    pub async fn list(session: &dyn Session, location: &str) -> Result<Option<Files>> {
        let Listed { store_url, store, files } = listed(session, location).await?;
        let with_format = |meta: ObjectMeta| Some((Format::of(meta.location.as_ref())?, meta));
        let files: Vec<(Format, ObjectMeta)> = files.into_iter().filter_map(with_format).collect();
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
            format: PARQUET,
            files: snapshot.files.iter().map(|f| f.meta.clone()).collect(),
        }
    }

    /// Refuses files without a byte, which are valid in no format.
    pub fn check_not_empty(&self) -> Result<()> {
        match self.files.iter().find(|meta| meta.size == 0) {
            Some(meta) => plan_err!("{} is empty (0 bytes)", self.shown(meta)),
            None => Ok(()),
        }
    }

    /// The common schema; `alike` if all files are known to have the same.
    pub async fn schema(&self, session: &dyn Session, alike: bool) -> Result<SchemaRef> {
        let files = if alike { &self.files[..1] } else { &self.files };
        let inferred = if self.format.is_delimited() && files.len() > 1 {
            // Their columns are identified by position, and whole numbers in one may have decimals in another.
            let schemas = self.schemas(session).await?;
            match odd(&schemas).first() {
                Some((file, reason)) => plan_err!("{}: {reason}", self.shown(&self.files[*file])),
                None => merged(&schemas),
            }
        } else {
            self.reader(session).infer_schema(session, &self.store, files).await
        };
        match inferred {
            Ok(schema) if schema.fields().is_empty() => plan_err!("{} has no columns", self.location),
            Ok(schema) => Ok(schema),
            Err(error) => Err(isolation::named(&self.location, error)),
        }
    }

    /// The schema of each file.
    async fn schemas(&self, session: &dyn Session) -> Result<Vec<SchemaRef>> {
        let reader = self.reader(session);
        let infer = |file: &ObjectMeta| {
            let (reader, file) = (Arc::clone(&reader), file.clone());
            async move { reader.infer_schema(session, &self.store, std::slice::from_ref(&file)).await }
        };
        let threads = session.config().target_partitions().max(1);
        let mut schemas = Vec::with_capacity(self.files.len());
        // Of a hundred thousand files most have the same schema, which is kept once.
        let mut usual: Vec<SchemaRef> = vec![];
        for part in self.files.chunks(SCHEMAS_AT_ONCE) {
            let mut inferred = stream::iter(part.iter().map(infer).collect::<Vec<_>>()).buffered(threads);
            while let Some(schema) = inferred.try_next().await? {
                match usual.iter().find(|known| **known == schema) {
                    Some(known) => schemas.push(Arc::clone(known)),
                    None => {
                        if usual.len() < USUAL_SCHEMAS {
                            usual.push(Arc::clone(&schema));
                        }
                        schemas.push(schema);
                    }
                }
            }
        }
        Ok(schemas)
    }

    /// Files whose columns are not those of most others, and why they cannot be read together with them.
    pub async fn odd(&self, session: &dyn Session) -> Result<Vec<(usize, String)>> {
        let schemas = self.schemas(session).await?;
        Ok(if self.format.is_delimited() { odd(&schemas) } else { unlike(&schemas) })
    }

    /// The path or URL of a file, for messages.
    pub fn shown(&self, file: &ObjectMeta) -> String {
        isolation::shown(&self.store_url, &file.location)
    }

    /// The reader of these files.
    pub fn reader(&self, session: &dyn Session) -> Arc<dyn FileFormat> {
        self.format.reader(session, &self.store_url)
    }
}

/// The kind of values that a column holds: files of one table must agree on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Values {
    Numbers,
    Times,
    Text,
}

impl Values {
    /// `None`: there are none.
    fn of(data_type: &DataType) -> Option<Values> {
        match data_type {
            DataType::Null => None,
            number if number.is_numeric() => Some(Values::Numbers),
            time if time.is_temporal() => Some(Values::Times),
            _ => Some(Values::Text),
        }
    }

    fn shown(self) -> &'static str {
        match self {
            Values::Numbers => "numbers",
            Values::Times => "times",
            Values::Text => "text",
        }
    }
}

/// The most frequent item; of equally frequent ones, the first.
fn most<T: Ord + Clone>(all: impl Iterator<Item = T>) -> Option<T> {
    let mut counts: BTreeMap<T, (usize, std::cmp::Reverse<usize>)> = BTreeMap::new();
    for (i, one) in all.enumerate() {
        counts.entry(one).or_insert((0, std::cmp::Reverse(i))).0 += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(one, _)| one)
}

/// Files that cannot be read together with most others, and why: with other columns, or the same in another order; with
/// text where those have prices; with times of another kind.
fn odd(schemas: &[SchemaRef]) -> Vec<(usize, String)> {
    let names = |schema: &SchemaRef| schema.fields().iter().map(|f| plain(f.name())).collect::<Vec<_>>();
    let Some(usual) = most(schemas.iter().map(names)) else { return vec![] };
    let is_like = |schema: &&SchemaRef| names(schema) == usual;
    let of_candles = |name: &String| {
        NAMES.iter().any(|(n, others)| *n != "symbol" && (n == name || others.contains(&name.as_str())))
    };
    let columns = (0..usual.len()).filter(|&i| of_candles(&usual[i]));
    let values = |schema: &SchemaRef, column: usize| Values::of(schema.field(column).data_type());
    let kinds: Vec<_> = columns
        .filter_map(|i| Some((i, most(schemas.iter().filter(is_like).filter_map(|schema| values(schema, i)))?)))
        .collect();
    let reason = |schema: &SchemaRef| {
        let own = names(schema);
        if own != usual {
            let (own, usual) = (own.join(", "), usual.join(", "));
            return Some(format!("its columns are {own}; those of most files beside it are {usual}"));
        }
        kinds.iter().find_map(|&(i, kind)| {
            let own = values(schema, i).filter(|own| *own != kind)?;
            let (name, own, kind) = (schema.field(i).name(), own.shown(), kind.shown());
            Some(format!("its column {name} holds {own}, that of most files beside it {kind}"))
        })
    };
    schemas.iter().enumerate().filter_map(|(file, schema)| Some((file, reason(schema)?))).collect()
}

/// Files whose columns have other types than those of the same names in most others; columns are identified by name.
fn unlike(schemas: &[SchemaRef]) -> Vec<(usize, String)> {
    let types = |schema: &SchemaRef| schema.fields().iter().map(|f| format!("{f:?}")).collect::<Vec<_>>();
    let usual = most(schemas.iter().map(types));
    let Some(usual) = schemas.iter().find(|schema| usual.as_ref() == Some(&types(schema))) else { return vec![] };
    let reason = |schema: &SchemaRef| {
        let merged = Schema::try_merge([usual.as_ref().clone(), schema.as_ref().clone()]);
        merged.err().map(|error| format!("it does not go with most files beside it: {error}"))
    };
    schemas.iter().enumerate().filter_map(|(file, schema)| Some((file, reason(schema)?))).collect()
}

/// One schema for files whose columns have the same names in the same order, under those of the first file.
fn merged(schemas: &[SchemaRef]) -> Result<SchemaRef> {
    let Some(first) = schemas.first() else { return plan_err!("there are no files") };
    let column = |i: usize| {
        let mut types = schemas.iter().map(|schema| schema.field(i).data_type()).filter(|t| !t.is_null());
        let own = types.next().cloned().unwrap_or(DataType::Null);
        let merged = types.fold(own, |one, other| match (Values::of(&one), Values::of(other)) {
            _ if one == *other => one,
            (Some(Values::Numbers), Some(Values::Numbers)) => DataType::Float64,
            (Some(Values::Times), Some(Values::Times)) if matches!(one, DataType::Timestamp(..)) => one,
            (Some(Values::Times), Some(Values::Times)) => other.clone(),
            _ => DataType::Utf8,
        });
        Arc::new(first.field(i).clone().with_data_type(merged).with_nullable(true))
    };
    Ok(Arc::new(Schema::new((0..first.fields().len()).map(column).collect::<Fields>())))
}

/// A file's name without the extensions for format and compression; anything else after a dot belongs to the name, as in BRK.B.
pub(super) fn without_extensions(name: &str) -> &str {
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

/// A name without the length of bars that programs write behind it, and without dates behind that: `BTC_USDT-4h` and
/// `BTCUSDT-1h-2024-01` where bars are that long.
pub(super) fn without_timeframe(name: &str, timeframe: Timeframe) -> &str {
    let begins = name.char_indices().filter(|(at, sign)| *at > 0 && matches!(sign, '-' | '_' | ' '));
    for (at, _) in begins {
        let mut words = name[at + 1..].split(['-', '_', ' ']);
        let is_length = words.next().and_then(|word| word.parse().ok()) == Some(timeframe);
        if is_length && words.all(|word| word.bytes().all(|byte| byte.is_ascii_digit())) {
            return &name[..at];
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_the_bars_is_no_part_of_a_symbol() {
        let of = |name: &'static str, timeframe: &str| without_timeframe(name, timeframe.parse().unwrap());
        assert_eq!(of("ETH_USDT-4h", "4h"), "ETH_USDT");
        assert_eq!(of("BTCUSDT-1h-2024-01", "1h"), "BTCUSDT");
        assert_eq!(of("EURUSD_H1_202401020000_202412312300", "1h"), "EURUSD");
        assert_eq!(of("AAPL daily", "1d"), "AAPL");
        // Another length is part of a name, as far as is known.
        assert_eq!(of("ETH_USDT-4h", "1h"), "ETH_USDT-4h");
        assert_eq!(of("BRK-B", "1d"), "BRK-B");
        assert_eq!(of("4h", "4h"), "4h");
    }

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
