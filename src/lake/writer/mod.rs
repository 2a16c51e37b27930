//! Writes rows into the Parquet files of a Delta table: row groups encoded on all threads, files cut at symbol boundaries.

mod statistics;
mod tags;

use super::delta::Log;
use super::uncommitted::UncommittedFiles;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{cast, concat, partition};
use arrow::datatypes::{DataType, SchemaRef};
use bytes::Bytes;
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryReservation};
use datafusion::parquet::arrow::ArrowSchemaConverter;
use datafusion::parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
};
use datafusion::parquet::basic::{Compression, Encoding, ZstdLevel};
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::metadata::SortingColumn;
use datafusion::parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use datafusion::parquet::file::writer::SerializedFileWriter;
use datafusion::parquet::schema::types::{ColumnPath, SchemaDescriptor};
use deltalake_core::kernel::Add;
use object_store::ObjectStore;
use object_store::buffered::BufWriter;
use statistics::statistics;
use std::collections::{HashMap, VecDeque};
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use tags::{GroupFacts, times};
pub(super) use tags::{profile_of, tier_of};
use tallow_common::Error;
use tokio::io::AsyncWriteExt;

/// A row group ends at the first symbol boundary after this many rows, or fewer where memory is short; and inside a symbol
/// after twice as many.
const GROUP_ROWS: usize = 32_768;
/// The share of the memory limit that the rows of a writer may take, from when they come until they are in a file ...
const MEMORY_SHARE: usize = 8;
/// ... and how many row groups should fit into it, waiting or being encoded.
const GROUPS_HELD: usize = 8;
/// Bytes that are sent to the store at once; object stores take no smaller parts than the first.
const UPLOAD_BYTES: (usize, usize) = (5 << 20, 10 << 20);
/// Parts that are on their way at the same time.
const UPLOADS: usize = 8;
/// Rows of a data page: what is read for a few bars of one symbol.
const PAGE_ROWS: usize = 4_096;
/// Parts with fewer rows than these on average are put together before they are encoded, since each costs as much as some hundred rows.
const SMALL_PART_ROWS: usize = 1_024;
/// Bytes after which a file ends, at the next symbol boundary.
pub(super) const FILE_BYTES: u64 = 64 << 20;
/// The same of a table of results, where a run replaces rows here and there: such a file is rewritten in a tenth of a second.
pub(super) const RESULT_FILE_BYTES: u64 = 8 << 20;
/// Bytes of a row in a file before any was written.
const ROW_BYTES: u64 = 32;
/// Bytes of a text in memory, roughly.
const TEXT_BYTES: usize = 32;

/// The end of the names of files that belong to a table with a log.
pub(super) const SUFFIX: &str = ".tallow.parquet";

/// How the rows of a table lie in its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// By the first two columns, `symbol` and `ts`, which is how rows must be pushed.
    Sorted,
    Unsorted,
}

/// Writes files. Nothing belongs to the table until what `finish` returns is committed.
pub(super) struct TableWriter<'a> {
    log: &'a Log,
    schema: SchemaRef,
    parquet: Arc<SchemaDescriptor>,
    properties: WriterPropertiesPtr,
    layout: Layout,
    /// The folder in the table's folder, where files do not lie in that itself.
    folder: Option<&'static str>,
    /// What is said of its files, if they hold rows of all symbols (see [`tier_of`]).
    tier: Option<u32>,
    target: u64,
    /// About the bytes of a row.
    row_bytes: usize,
    group_rows: usize,
    /// Bytes that rows may take here.
    budget: usize,
    reservation: MemoryReservation,
    group: Group,
    encoding: VecDeque<EncodingGroup>,
    file: Option<OpenFile>,
    done: UncommittedFiles,
    started: u64,
    bytes: u64,
    rows: u64,
}

/// Rows that wait to become a row group.
#[derive(Default)]
struct Group {
    batches: Vec<RecordBatch>,
    rows: usize,
    symbols: usize,
    first: Option<String>,
    last: Option<String>,
}

/// A row group on its way into the file.
struct EncodingGroup {
    facts: GroupFacts,
    /// Reserved for its rows and for what becomes of them.
    bytes: usize,
    chunks: SpawnedTask<Result<Vec<ArrowColumnChunk>>>,
}

struct OpenFile {
    name: String,
    writer: SerializedFileWriter<Sink>,
    sink: Sink,
    factory: ArrowRowGroupWriterFactory,
    upload: BufWriter,
    /// Rows given to it, and row groups of them that are begun.
    rows: u64,
    begun: usize,
    groups: Vec<GroupFacts>,
    size: u64,
}

/// Bytes on their way from the encoder to the store.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Sink {
    fn take(&self) -> Bytes {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

/// How columns are written.
///
/// Measured on 3.1 million synthetic daily bars and the 619,000 of the sample, whole processes on two cores: six indicators over
/// all took 131 ms under zstd and 101 ms under lz4, reading every column 140 and 88 ms, and ingest 0.63 and 0.52 s; files were
/// larger by 24 % (synthetic) and 44 % (stocks). On a disk that is worth it; from a bucket, bytes take longer than decoding
/// them. Snappy lay between the two in time and above lz4 in size. Dictionaries of prices took longer and were larger,
/// byte-stream-split was larger and no faster than lz4 alone, zstd 3 slower to write and no faster to read. Row groups of 12,500
/// to 100,000 rows and pages of 2,048 to 8,192 made no difference under lz4; the smaller, the less is read of a stretch of time.
fn properties(schema: &arrow::datatypes::Schema, layout: Layout, is_on_disk: bool) -> WriterProperties {
    let compression = if is_on_disk { Compression::LZ4_RAW } else { Compression::ZSTD(ZstdLevel::default()) };
    let mut properties = WriterProperties::builder()
        .set_compression(compression)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(PAGE_ROWS)
        .set_max_row_group_row_count(Some(usize::MAX));
    for field in schema.fields() {
        let column = ColumnPath::from(field.name().as_str());
        properties = match field.data_type() {
            DataType::Float64 => properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, Encoding::PLAIN),
            DataType::Timestamp(_, _) | DataType::Int64 => properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED),
            _ => properties,
        };
    }
    if layout == Layout::Sorted {
        let sorting = [0, 1].map(|column_idx| SortingColumn { column_idx, descending: false, nulls_first: false });
        properties = properties.set_sorting_columns(Some(sorting.to_vec()));
    }
    properties.build()
}

impl<'a> TableWriter<'a> {
    /// Writes rows of this schema into a table's folder.
    pub fn new(log: &'a Log, schema: SchemaRef, layout: Layout) -> Result<TableWriter<'a>> {
        let parquet = Arc::new(ArrowSchemaConverter::new().convert(&schema).map_err(failed)?);
        let properties = Arc::new(properties(&schema, layout, log.is_on_disk()));
        let budget = match log.memory.memory_limit() {
            MemoryLimit::Finite(bytes) => bytes / MEMORY_SHARE,
            _ => usize::MAX,
        };
        let row_bytes =
            schema.fields().iter().map(|f| f.data_type().primitive_width().unwrap_or(TEXT_BYTES)).sum::<usize>();
        let row_bytes = row_bytes.max(1);
        Ok(TableWriter {
            log,
            row_bytes,
            group_rows: (budget / GROUPS_HELD / row_bytes).clamp(PAGE_ROWS, GROUP_ROWS),
            budget,
            reservation: MemoryConsumer::new(format!("writing {}", log.location)).register(&log.memory),
            schema,
            parquet,
            properties,
            layout,
            folder: None,
            tier: None,
            target: FILE_BYTES,
            group: Group::default(),
            encoding: VecDeque::new(),
            file: None,
            done: UncommittedFiles::of(log),
            started: 0,
            bytes: 0,
            rows: 0,
        })
    }

    /// Files end after this many bytes.
    pub fn with_file_bytes(mut self, target: u64) -> Self {
        self.target = target;
        self
    }

    /// Files lie in a folder of the table's folder.
    pub fn in_folder(mut self, folder: &'static str) -> Self {
        self.folder = Some(folder);
        self
    }

    /// Files are marked as those of a tier.
    pub fn in_tier(mut self, tier: Option<u32>) -> Self {
        self.tier = tier;
        self
    }

    /// Takes rows, in order if the layout is sorted.
    pub async fn push(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        if self.layout == Layout::Unsorted {
            self.stage(&batch, 0, batch.num_rows());
            if self.group.rows >= self.group_rows {
                self.end_group(true).await?;
            }
            return Ok(());
        }
        let symbols = Arc::clone(batch.column(0));
        let names = symbols.as_string_view();
        let mut from = 0;
        for run in partition(&[Arc::clone(&symbols)])?.ranges() {
            let symbol = names.value(run.start);
            if self.group.last.as_deref() != Some(symbol) {
                if self.group.rows + run.start - from >= self.group_rows {
                    self.stage(&batch, from, run.start);
                    from = run.start;
                    self.end_group(true).await?;
                }
                self.group.symbols += 1;
                self.group.last = Some(symbol.to_string());
                self.group.first.get_or_insert_with(|| symbol.to_string());
            }
            while self.group.rows + run.end - from > 2 * self.group_rows {
                let to = from + 2 * self.group_rows - self.group.rows;
                self.stage(&batch, from, to);
                from = to;
                self.end_group(false).await?;
                self.group.symbols = 1;
                self.group.first = Some(symbol.to_string());
                self.group.last = Some(symbol.to_string());
            }
        }
        self.stage(&batch, from, batch.num_rows());
        Ok(())
    }

    fn stage(&mut self, batch: &RecordBatch, from: usize, to: usize) {
        if to > from {
            self.group.rows += to - from;
            // Accounted without asking: it is bounded by the budget, and whoever can spill has to leave room for it.
            self.reservation.grow((to - from) * self.row_bytes);
            let is_all = to - from == batch.num_rows();
            self.group.batches.push(if is_all { batch.clone() } else { batch.slice(from, to - from) });
        }
    }

    /// Hands the waiting rows to an encoder; `at_boundary`: the file may end here.
    async fn end_group(&mut self, at_boundary: bool) -> Result<()> {
        let group = std::mem::take(&mut self.group);
        if group.rows == 0 {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(Self::open(
                self.log,
                &name(self.folder, self.started),
                self.budget,
                &self.parquet,
                &self.properties,
                &self.schema,
            )?),
        };
        let columns = file.factory.create_column_writers(file.begun).map_err(failed)?;
        file.begun += 1;
        file.rows += group.rows as u64;
        let facts = GroupFacts {
            rows: group.rows,
            offset: 0,
            first: group.first.unwrap_or_default(),
            last: group.last.unwrap_or_default(),
            symbols: group.symbols,
            from: 0,
            to: 0,
        };
        let (schema, batches) = (Arc::clone(&self.schema), group.batches);
        let chunks = SpawnedTask::spawn(async move {
            let (mut chunks, mut columns) = (vec![], columns.into_iter());
            for (i, field) in schema.fields().iter().enumerate() {
                // Of a struct, each field has a column of its own.
                let mut own: Vec<ArrowColumnWriter> = vec![];
                for array in parts(batches.iter().map(|batch| batch.column(i)))? {
                    for (at, leaf) in compute_leaves(field, &array).map_err(failed)?.iter().enumerate() {
                        if at == own.len() {
                            own.extend(columns.next());
                        }
                        own[at].write(leaf).map_err(failed)?;
                    }
                }
                for column in own {
                    chunks.push(column.close().map_err(failed)?);
                }
            }
            Ok(chunks)
        });
        let enough = file.rows * self.bytes.max(1).checked_div(self.rows).unwrap_or(ROW_BYTES) >= self.target;
        let rows = group.rows * self.row_bytes;
        self.reservation.grow(rows);
        self.encoding.push_back(EncodingGroup { facts, bytes: 2 * rows, chunks });
        let threads = tokio::runtime::Handle::current().metrics().num_workers();
        while self.encoding.len() > threads || self.reservation.size() > self.budget && !self.encoding.is_empty() {
            self.append_oldest().await?;
        }
        if at_boundary && enough {
            self.end_file().await?;
        }
        Ok(())
    }

    fn open(
        log: &Log,
        name: &str,
        budget: usize,
        parquet: &SchemaDescriptor,
        properties: &WriterPropertiesPtr,
        schema: &SchemaRef,
    ) -> Result<OpenFile> {
        let sink = Sink::default();
        let writer = SerializedFileWriter::new(sink.clone(), parquet.root_schema_ptr(), Arc::clone(properties));
        let writer = writer.map_err(failed)?;
        let factory = ArrowRowGroupWriterFactory::new(&writer, Arc::clone(schema));
        let store: Arc<dyn ObjectStore> = Arc::clone(&log.store);
        let part = (budget / 2).clamp(UPLOAD_BYTES.0, UPLOAD_BYTES.1);
        let upload = BufWriter::with_capacity(store, log.path_of(name), part);
        let upload = upload.with_max_concurrency((budget / 2 / part).clamp(1, UPLOADS));
        Ok(OpenFile {
            name: name.to_string(),
            writer,
            sink,
            factory,
            upload,
            rows: 0,
            begun: 0,
            groups: vec![],
            size: 0,
        })
    }

    /// Waits for the oldest row group and writes it.
    async fn append_oldest(&mut self) -> Result<()> {
        let (Some(oldest), Some(file)) = (self.encoding.pop_front(), &mut self.file) else { return Ok(()) };
        let EncodingGroup { mut facts, bytes: reserved, chunks } = oldest;
        let chunks = chunks.join().await.map_err(|e| DataFusionError::External(Box::new(e)))??;
        let mut group = file.writer.next_row_group().map_err(failed)?;
        for chunk in chunks {
            chunk.append_to_row_group(&mut group).map_err(failed)?;
        }
        let written = group.close().map_err(failed)?;
        let column = written.column(0);
        facts.offset = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
        if self.layout == Layout::Sorted
            && let Some((from, to)) = times(&written)
        {
            (facts.from, facts.to) = (from, to);
        }
        self.rows += facts.rows as u64;
        file.groups.push(facts);
        let bytes = file.sink.take();
        self.bytes += bytes.len() as u64;
        file.size += bytes.len() as u64;
        file.upload.put(bytes).await?;
        self.reservation.shrink(reserved);
        Ok(())
    }

    async fn end_file(&mut self) -> Result<()> {
        while !self.encoding.is_empty() {
            self.append_oldest().await?;
        }
        let Some(mut file) = self.file.take() else { return Ok(()) };
        let metadata = file.writer.finish().map_err(failed)?;
        let bytes = file.sink.take();
        file.size += bytes.len() as u64;
        file.upload.put(bytes).await?;
        file.upload.shutdown().await.map_err(|e| Error::File(format!("cannot write {}", file.name), e))?;
        self.started += 1;
        let tags = match self.layout {
            Layout::Sorted => tags::of_sorted(&file.groups, self.tier)?,
            Layout::Unsorted => HashMap::new(),
        };
        self.done.push(Add {
            path: file.name,
            partition_values: HashMap::new(),
            size: i64::try_from(file.size).unwrap_or_default(),
            modification_time: chrono::Utc::now().timestamp_millis(),
            data_change: true,
            stats: Some(statistics(&self.schema, metadata.row_groups(), file.rows).to_string()),
            tags: Some(tags),
            deletion_vector: None,
            base_row_id: None,
            default_row_commit_version: None,
            clustering_provider: None,
        });
        Ok(())
    }

    /// Ends the last file after all rows were pushed; where they were not, or it fails, gives up everything. The files are in
    /// the table's folder; a commit makes them part of it.
    pub async fn finish<T>(mut self, written: Result<T>) -> Result<(UncommittedFiles, T)> {
        let ended = match written {
            Ok(written) => self.cut().await.map(|()| written),
            Err(error) => Err(error),
        };
        match ended {
            Ok(written) => Ok((self.done, written)),
            Err(error) => {
                self.abandon().await;
                Err(error)
            }
        }
    }

    /// Gives up everything that was written.
    pub async fn abandon(mut self) {
        if let Some(mut file) = self.file.take() {
            let _ = file.upload.abort().await;
        }
        self.done.discard().await;
    }

    /// Ends the current file, so that what follows goes to another.
    pub async fn cut(&mut self) -> Result<()> {
        self.end_group(true).await?;
        self.end_file().await
    }

    /// Gives up the files from this one on.
    pub async fn discard_since(&mut self, first: usize) {
        self.done.discard_since(first).await;
    }

    /// Files that are complete so far.
    pub fn files(&self) -> &[Add] {
        self.done.adds()
    }
}

/// The name of a new file of a table.
fn name(folder: Option<&str>, number: u64) -> String {
    let folder = folder.map(|folder| format!("{folder}/")).unwrap_or_default();
    format!("{folder}part-{number:05}-{}{SUFFIX}", uuid::Uuid::new_v4())
}

/// Rows with the columns of a schema, by name: missing ones are null, others are cast.
pub(super) fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = schema.fields().iter().map(|field| match batch.column_by_name(field.name()) {
        Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
        Some(column) => cast(column, field.data_type()),
        None => Ok(arrow::array::new_null_array(field.data_type(), batch.num_rows())),
    });
    Ok(RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, _>>()?)?)
}

fn failed(error: ParquetError) -> DataFusionError {
    DataFusionError::ParquetError(Box::new(error))
}

/// A column as it is handed to the encoder: in one piece, where it comes in many small ones.
fn parts<'c>(columns: impl Iterator<Item = &'c ArrayRef>) -> Result<Vec<ArrayRef>> {
    let parts: Vec<&ArrayRef> = columns.collect();
    let rows: usize = parts.iter().map(|part| part.len()).sum();
    if rows / parts.len().max(1) >= SMALL_PART_ROWS || parts.len() < 2 {
        return Ok(parts.into_iter().cloned().collect());
    }
    Ok(vec![concat(&parts.into_iter().map(AsRef::as_ref).collect::<Vec<_>>())?])
}
