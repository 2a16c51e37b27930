//! The proof that a file is sorted: symbol and time read once.

use super::files::{Format, Kind, symbol_of};
use super::profile::{Profile, Profiler, RowGroup, Run};
use arrow::array::{Array, ArrayRef, AsArray, StringViewArray};
use arrow::compute::{cast, partition};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::{SessionState, TaskContext};
use datafusion::parquet::basic::{LogicalType, TimeUnit as ParquetTimeUnit};
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::parquet::file::statistics::Statistics as ParquetStatistics;
use futures::StreamExt;
use object_store::{ObjectMeta, ObjectStore};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use tallow_common::time::timestamp_type;

/// Proves the order of files by reading symbol and time.
pub(super) struct Prover {
    pub session: Arc<SessionState>,
    /// Made once: it copies every registered function.
    pub task: Arc<TaskContext>,
    pub format: Format,
    pub store_url: ObjectStoreUrl,
    pub store: Arc<dyn ObjectStore>,
    pub read: TableSchema,
    pub named_by_file: bool,
    /// Positions of time and, unless the file names it, symbol.
    pub projection: Vec<usize>,
}

impl Prover {
    pub async fn prove(&self, meta: ObjectMeta) -> Result<Profile> {
        let mut own = symbol_of(meta.location.as_ref());
        let mut projection = self.projection.clone();
        let mut row_groups = vec![];
        let mut named_rows = None;
        let mut schema = 0;
        if self.format.kind == Kind::Parquet {
            let footer = footer(&self.session, &self.store, &meta).await?;
            named_rows = Some(rows_named(&footer)?);
            for group in footer.row_groups() {
                let column = group.column(0);
                let offset = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
                row_groups.push(RowGroup { rows: usize::try_from(group.num_rows()).unwrap_or_default(), offset });
            }
            let mut hasher = DefaultHasher::new();
            format!("{:?}", footer.file_metadata().schema()).hash(&mut hasher);
            schema = hasher.finish();
            if let Some(only) = self.only_symbol(&footer, &own) {
                if let Some((run, rows)) = self.declared(&footer, &only) {
                    return Ok(Profile { rows, sorted: true, runs: vec![run], row_groups, schema });
                }
                own = only;
                projection.truncate(1);
            }
        }
        let mut file = PartitionedFile::new_from_meta(meta);
        if self.named_by_file {
            file = file.with_partition_values(vec![ScalarValue::Utf8View(Some(own.clone()))]);
        }
        let reader = self.format.reader(self.session.as_ref(), &self.store_url);
        let config = FileScanConfigBuilder::new(self.store_url.clone(), reader.file_source(self.read.clone()))
            .with_file_compression_type(self.format.compression)
            .with_projection_indices(Some(projection))?
            .with_file_group(FileGroup::new(vec![file]))
            .build();
        let plan = reader.create_physical_plan(self.session.as_ref(), config).await?;
        let mut profiler = Profiler::new(row_groups, schema);
        let mut stream = plan.execute(0, Arc::clone(&self.task))?;
        while let Some(batch) = stream.next().await {
            let batch = batch?;
            let times = microseconds(batch.column(0))?;
            note_batch(&mut profiler, batch.columns().get(1), &own, &times)?;
        }
        let profile = profiler.finish();
        // Parts of a file are read by these numbers.
        check_rows(named_rows, profile.rows)?;
        Ok(profile)
    }
}

/// The footer of a Parquet file.
pub(super) async fn footer(
    state: &SessionState,
    store: &Arc<dyn ObjectStore>,
    file: &ObjectMeta,
) -> Result<Arc<ParquetMetaData>> {
    let footers = state.runtime_env().cache_manager.get_file_metadata_cache();
    DFParquetMetadata::new(store.as_ref(), file).with_file_metadata_cache(Some(footers)).fetch_metadata().await
}

/// The rows that a footer names.
pub(super) fn rows_named(footer: &ParquetMetaData) -> Result<usize> {
    let rows = footer.row_groups().iter().map(|group| usize::try_from(group.num_rows()).ok());
    match rows.reduce(|a, b| a?.checked_add(b?)) {
        Some(None) => exec_err!("its footer names no number of rows that a file can have"),
        rows => Ok(rows.flatten().unwrap_or_default()),
    }
}

/// Refuses a file that holds more or fewer rows than its footer names, if it has one.
pub(super) fn check_rows(named: Option<usize>, read: usize) -> Result<()> {
    match named {
        Some(named) if named != read => exec_err!("its footer names {named} rows, it holds {read}"),
        _ => Ok(()),
    }
}

impl Prover {
    /// The symbol of a file that holds just one, by its statistics or, without a symbol column, by its name.
    fn only_symbol(&self, footer: &ParquetMetaData, own: &str) -> Option<String> {
        let Some(&symbol) = self.projection.get(1) else { return Some(own.to_string()) };
        if !self.is_flat(footer) {
            return None;
        }
        let mut only: Option<&str> = None;
        for group in footer.row_groups() {
            let ParquetStatistics::ByteArray(names) = group.column(symbol).statistics()? else { return None };
            let exact = names.null_count_opt() == Some(0) && names.min_is_exact() && names.max_is_exact();
            let name = names.min_opt().filter(|min| exact && names.max_opt() == Some(min))?.as_utf8().ok()?;
            if only.is_some_and(|known| known != name) {
                return None;
            }
            only = Some(name);
        }
        only.map(str::to_string)
    }

    /// Whether leaf columns stand at the positions of the schema's fields.
    fn is_flat(&self, footer: &ParquetMetaData) -> bool {
        footer.file_metadata().schema_descr().num_columns() == self.read.file_schema().fields().len()
    }

    /// What the footer alone says of a file of one symbol that declares to be sorted; a lake of such files need not be
    /// read twice. That the declaration is true is checked whenever the file is read.
    fn declared(&self, footer: &ParquetMetaData, symbol: &str) -> Option<(Run, usize)> {
        let ts = *self.projection.first()?;
        let column = footer.file_metadata().schema_descr().column(ts);
        let micros =
            matches!(column.logical_type_ref(), Some(LogicalType::Timestamp(t)) if t.unit == ParquetTimeUnit::MICROS);
        if !self.is_flat(footer) || !micros {
            return None;
        }
        let key: Vec<i32> = self.projection.iter().rev().filter_map(|&i| i32::try_from(i).ok()).collect();
        let mut found: Option<Run> = None;
        let mut rows = 0;
        for group in footer.row_groups() {
            let declared = group.sorting_columns()?;
            let by_key = declared.iter().zip(&key).filter(|(s, k)| s.column_idx == **k && !s.descending).count();
            let ParquetStatistics::Int64(times) = group.column(ts).statistics()? else { return None };
            if by_key < key.len() || times.null_count_opt() != Some(0) {
                return None;
            }
            let (first, last) = (*times.min_opt()?, *times.max_opt()?);
            match &mut found {
                None => found = Some(Run::of(symbol, 0, first, last)),
                Some(run) if run.last < first => run.last = last,
                Some(_) => return None,
            }
            rows += usize::try_from(group.num_rows()).ok()?;
        }
        found.map(|run| (run, rows))
    }
}

/// Times as int64 microseconds.
fn microseconds(times: &ArrayRef) -> Result<ArrayRef> {
    let times = match times.data_type() {
        DataType::Int64 => return Ok(Arc::clone(times)),
        _ => cast(times, &timestamp_type())?,
    };
    Ok(arrow::array::make_array(times.to_data().into_builder().data_type(DataType::Int64).build()?))
}

fn note_batch(profiler: &mut Profiler, symbols: Option<&ArrayRef>, own: &str, times: &ArrayRef) -> Result<()> {
    let rows = times.len();
    if rows == 0 {
        return Ok(());
    }
    let times = times.as_primitive::<Int64Type>();
    if !profiler.is_sorted() || times.null_count() > 0 {
        profiler.stretch(None, None, rows);
        return Ok(());
    }
    let Some(symbols) = symbols else {
        profiler.stretch(Some(own), Some(times.values()), rows);
        return Ok(());
    };
    let names: &StringViewArray = symbols.as_string_view();
    for range in partition(std::slice::from_ref(symbols))?.ranges() {
        let name = names.is_valid(range.start).then(|| names.value(range.start));
        profiler.stretch(name, Some(&times.values()[range.clone()]), range.len());
    }
    Ok(())
}
