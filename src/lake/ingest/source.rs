//! The files of a delivery: what their columns are called, and their rows in chunks.

use super::IngestProgress;
use super::arrays::{self, Rows};
use super::cells::{Cells, Chunk, TextTable};
use crate::files::{Format, Kind};
use crate::isolation;
use crate::proof::{check_rows, footer, rows_named};
use arrow::datatypes::{DataType, SchemaRef};
use bytes::Bytes;
use datafusion::common::{DataFusionError, Result, exec_err, internal_err, plan_err};
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::{SessionState, TaskContext};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use std::sync::Arc;
use tallow_common::short;

/// Bytes of text that are parsed at once.
const BLOCK: usize = 1 << 20;
/// Bytes of text by which a file's columns and formats are recognised.
const HEAD: usize = 64 << 10;
/// No record of text is longer.
const LONGEST_RECORD: usize = 64 << 20;
/// The columns of rows that are arrays of six.
const OF_ARRAYS: [&str; 6] = ["ts", "open", "high", "low", "close", "volume"];
/// Delimiters, most usual first.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// What files are read with.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub state: Arc<SessionState>,
    /// Made once: it copies every registered function.
    task: Arc<TaskContext>,
}

impl Reading {
    pub fn new(state: &Arc<SessionState>) -> Reading {
        Reading { state: Arc::clone(state), task: state.task_ctx() }
    }
}

/// One file of a delivery.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// Path in its store, for messages and for the quarantine; of a member of an archive, the archive's and its own.
    pub path: String,
    /// The same as its store has it: the last part names the symbol where nothing else does.
    pub name: String,
    pub meta: ObjectMeta,
    store_url: ObjectStoreUrl,
    store: Arc<dyn ObjectStore>,
    format: Format,
    /// Names of its columns, in order.
    pub names: Vec<String>,
    /// Types of its columns; text has none.
    pub types: Option<SchemaRef>,
    /// Rows, where its footer names them.
    rows: Option<usize>,
    delimiter: u8,
    has_header: bool,
    /// JSON arrays, which are read as lines of text.
    has_arrays: bool,
    /// Whether it is a member of an archive.
    pub is_member: bool,
}

/// A file of a delivery that cannot be read, and why.
#[derive(Debug, thiserror::Error)]
#[error("{}", tallow_common::readable(.error))]
pub(super) struct BrokenFile {
    pub file: usize,
    #[source]
    pub error: DataFusionError,
}

impl BrokenFile {
    /// The error of a file.
    fn at(file: usize, path: &str, error: DataFusionError) -> DataFusionError {
        match error.find_root() {
            // Memory is not the file's fault.
            DataFusionError::ResourcesExhausted(_) => error,
            _ => DataFusionError::External(Box::new(BrokenFile { file, error: isolation::named(path, error) })),
        }
    }
}

impl Source {
    /// One that was not opened yet, by its path and its name.
    pub fn new(
        (path, name): (String, String),
        meta: ObjectMeta,
        (store_url, store): (&ObjectStoreUrl, &Arc<dyn ObjectStore>),
        format: Format,
        columns: Option<&[String]>,
    ) -> Source {
        Source {
            path,
            name,
            meta,
            store_url: store_url.clone(),
            store: Arc::clone(store),
            format,
            names: columns.map(<[String]>::to_vec).unwrap_or_default(),
            types: None,
            rows: None,
            delimiter: b',',
            has_header: columns.is_none(),
            has_arrays: false,
            is_member: false,
        }
    }

    /// Reads the names of the columns, and some rows by which their formats are recognised. `None`: no rows.
    pub async fn open(&mut self, session: &Reading, file: usize) -> Result<Option<Chunk>> {
        let opened = match self.format.kind {
            Kind::Csv | Kind::Tsv => self.open_text(file).await,
            Kind::Json if self.holds_arrays().await? => {
                self.has_arrays = true;
                self.open_text(file).await
            }
            _ => self.open_batches(session, file).await,
        };
        opened.map_err(|error| match error.find_root() {
            // It can be read, but not as it was said to be.
            DataFusionError::Plan(_) => isolation::named(&self.path, error),
            _ => BrokenFile::at(file, &self.path, error),
        })
    }

    async fn open_text(&mut self, file: usize) -> Result<Option<Chunk>> {
        let mut bytes = self.bytes(HEAD, None);
        let mut head: Vec<u8> = vec![];
        while head.len() < HEAD
            && let Some(more) = bytes.try_next().await?
        {
            head.extend_from_slice(&more);
        }
        let head = without_mark(&head);
        let blank = head.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        let blank_lines = memchr::memchr_iter(b'\n', &head[..blank]).count() as u64;
        let head = &head[blank..];
        let whole =
            if head.len() < HEAD { head.len() } else { memchr::memrchr(b'\n', head).map_or(head.len(), |at| at + 1) };
        let head = &head[..whole];
        let first_end = memchr::memchr(b'\n', head).map_or(head.len(), |at| at + 1);
        let first = String::from_utf8_lossy(&head[..first_end]).trim().to_string();
        let count = |d: &&u8| first.bytes().filter(|b| b == *d).count();
        if !self.has_arrays {
            self.delimiter = *DELIMITERS.iter().rev().max_by_key(count).unwrap_or(&b',');
        }
        let fields = first_record(&head[..first_end], self.delimiter);
        if head.is_empty() {
            return Ok(None);
        }
        let has_number = fields.iter().any(|f| super::cells::number(f, false).is_some_and(f64::is_finite));
        if self.names.is_empty() && self.has_arrays && fields.len() == OF_ARRAYS.len() {
            (self.names, self.has_header) = (OF_ARRAYS.map(str::to_string).to_vec(), false);
        }
        if self.names.is_empty() {
            if has_number {
                let what = if self.has_arrays {
                    "nothing names the columns of its rows"
                } else {
                    "the first line is no header"
                };
                return plan_err!(
                    "{what} ('{}'): name the columns, as in the option `columns ts,open,high,low,close,volume`",
                    short(&first)
                );
            }
            self.names = fields;
        } else if fields.len() != self.names.len() {
            return plan_err!(
                "the option `columns` names {} columns, the first line has {} ('{}')",
                self.names.len(),
                fields.len(),
                short(&first)
            );
        } else {
            // Files of one source have a header at one time, and none at another.
            self.has_header = !has_number && !self.has_arrays;
        }
        let from = if self.has_header { first_end } else { 0 };
        let table = TextTable::parse(head[from..].to_vec(), self.delimiter, self.names.len())?;
        let first_line = 1 + blank_lines + u64::from(self.has_header);
        let chunk = Chunk { file, number: 0, first_line, cells: Cells::Text(table) };
        Ok((chunk.rows() > 0 || whole > from).then_some(chunk))
    }

    /// Whether its JSON is an array of rows that are arrays.
    async fn holds_arrays(&self) -> Result<bool> {
        let head = self.bytes(HEAD, None).try_next().await?;
        Ok(head.is_some_and(|head| arrays::are_rows(without_mark(&head))))
    }

    async fn open_batches(&mut self, session: &Reading, file: usize) -> Result<Option<Chunk>> {
        let reader = self.format.reader(session.state.as_ref(), &self.store_url);
        let schema = reader.infer_schema(session.state.as_ref(), &self.store, std::slice::from_ref(&self.meta)).await?;
        self.names = schema.fields().iter().map(|f| f.name().clone()).collect();
        self.types = Some(schema);
        if self.format.kind == Kind::Parquet {
            let footer = footer(&session.state, &self.store, &self.meta);
            self.rows = Some(isolation::reading(&self.path, async { rows_named(footer.await?.as_ref()) }).await?);
        }
        let batch = self.batches(session, Some(1000)).await?.try_next().await?;
        Ok(batch.map(|batch| Chunk { file, number: 0, first_line: 1, cells: Cells::Arrays(batch) }))
    }

    /// The type of a column, where the file has types.
    pub fn type_of(&self, column: usize) -> Option<&DataType> {
        self.types.as_ref().map(|schema| schema.field(column).data_type())
    }

    /// All rows, as work that yields a chunk each.
    pub async fn chunks(
        self,
        session: Reading,
        file: usize,
        progress: IngestProgress,
    ) -> Result<BoxStream<'static, Result<Pending>>> {
        if self.has_arrays || matches!(self.format.kind, Kind::Csv | Kind::Tsv) {
            let first_line = 1;
            let blocks = Blocks {
                bytes: self.bytes(BLOCK, Some(progress)),
                rest: vec![],
                line: first_line,
                skip_header: self.has_header,
                started: false,
                ended: false,
            };
            let (delimiter, width) = (self.delimiter, self.names.len());
            let path = self.path.clone();
            let blocks = stream::try_unfold(blocks, |mut blocks| async move {
                let next = blocks.next().await?;
                Ok(next.map(|block| (block, blocks)))
            });
            let pending =
                blocks.map_ok(move |(first_line, block)| Pending::Text { file, first_line, block, delimiter, width });
            return Ok(pending.map_err(move |error| BrokenFile::at(file, &path, error)).boxed());
        }
        let path = self.path.clone();
        let batches = self.batches(&session, None).await.map_err(|error| BrokenFile::at(file, &path, error))?;
        let (named, size) = (self.rows, self.meta.size);
        // Of formats whose rows are not known, the file is read when all of it is.
        let share = move |rows: u64| match named {
            Some(named) if named > 0 => (u128::from(size) * u128::from(rows) / named as u128) as u64,
            _ => 0,
        };
        let rows = stream::try_unfold((batches, 1), move |(mut batches, first_line)| {
            let progress = progress.clone();
            async move {
                let read: u64 = first_line - 1;
                let Some(batch) = batches.try_next().await? else {
                    check_rows(named, read as usize)?;
                    progress.add_bytes(size.saturating_sub(share(read)));
                    return Ok(None);
                };
                let next = first_line + batch.num_rows() as u64;
                progress.add_bytes(share(next - 1).saturating_sub(share(read)));
                let chunk = Chunk { file, number: 0, first_line, cells: Cells::Arrays(batch) };
                Ok(Some((Pending::Ready(chunk), (batches, next))))
            }
        });
        Ok(rows.map_err(move |error| BrokenFile::at(file, &path, error)).boxed())
    }

    /// The file's text, delimited; what is read of the file is counted before that.
    fn bytes(&self, at_once: usize, progress: Option<IngestProgress>) -> BoxStream<'static, Result<Bytes>> {
        let bytes = self.unpacked(at_once, progress);
        if !self.has_arrays {
            return bytes;
        }
        let lines = stream::try_unfold((bytes, Rows::default(), false), |(mut bytes, mut rows, ended)| async move {
            if ended {
                return Ok(None);
            }
            Ok(match bytes.try_next().await? {
                Some(piece) => Some((rows.lines(&piece)?, (bytes, rows, false))),
                None => {
                    rows.end()?;
                    Some((Bytes::new(), (bytes, rows, true)))
                }
            })
        });
        lines.boxed()
    }

    /// The file's bytes, decompressed.
    fn unpacked(&self, at_once: usize, progress: Option<IngestProgress>) -> BoxStream<'static, Result<Bytes>> {
        let count = move |bytes: &Bytes| {
            if let Some(progress) = &progress {
                progress.add_bytes(bytes.len() as u64);
            }
        };
        let (store, location, size) = (Arc::clone(&self.store), self.meta.location.clone(), self.meta.size);
        // A plain web server may not serve parts of a file.
        let in_parts = !self.store_url.as_str().starts_with("http");
        if in_parts && self.format.compression == FileCompressionType::UNCOMPRESSED {
            let starts = (0..size).step_by(at_once);
            return stream::iter(starts)
                .map(move |start| {
                    let (store, location) = (Arc::clone(&store), location.clone());
                    let range = start..size.min(start + at_once as u64);
                    async move { Ok::<_, DataFusionError>(store.get_range(&location, range).await?) }
                })
                .buffered(2)
                .inspect_ok(count)
                .boxed();
        }
        let compression = self.format.compression;
        let opened = async move {
            let packed = store.get(&location).await?.into_stream().map_err(DataFusionError::from).inspect_ok(count);
            compression.convert_stream(packed.boxed())
        };
        stream::once(opened).try_flatten().boxed()
    }

    async fn batches(
        &self,
        session: &Reading,
        limit: Option<usize>,
    ) -> Result<datafusion::execution::SendableRecordBatchStream> {
        let Some(schema) = &self.types else { return internal_err!("{} was not opened", self.path) };
        let reader = self.format.reader(session.state.as_ref(), &self.store_url);
        let source = reader.file_source(TableSchema::from(Arc::clone(schema)));
        let config = FileScanConfigBuilder::new(self.store_url.clone(), source)
            .with_file_compression_type(self.format.compression)
            .with_file_group(FileGroup::new(vec![PartitionedFile::new_from_meta(self.meta.clone())]))
            .with_limit(limit)
            .build();
        let plan = reader.create_physical_plan(session.state.as_ref(), config).await?;
        plan.execute(0, Arc::clone(&session.task))
    }
}

/// A chunk, or the text that becomes one.
pub(super) enum Pending {
    Ready(Chunk),
    Text { file: usize, first_line: u64, block: Vec<u8>, delimiter: u8, width: usize },
}

impl Pending {
    /// Does the work; `paths` are those of the files.
    pub fn parse(self, paths: &[String]) -> Result<Chunk> {
        match self {
            Pending::Ready(chunk) => Ok(chunk),
            Pending::Text { file, first_line, block, delimiter, width } => {
                let table = TextTable::parse(block, delimiter, width);
                let table = table.map_err(|error| BrokenFile::at(file, &paths[file], error))?;
                Ok(Chunk { file, number: 0, first_line, cells: Cells::Text(table) })
            }
        }
    }
}

/// Cuts text into blocks of whole records.
struct Blocks {
    bytes: BoxStream<'static, Result<Bytes>>,
    rest: Vec<u8>,
    /// Line of the first byte of `rest`.
    line: u64,
    skip_header: bool,
    started: bool,
    ended: bool,
}

impl Blocks {
    async fn next(&mut self) -> Result<Option<(u64, Vec<u8>)>> {
        loop {
            while !self.ended && self.rest.len() < BLOCK {
                match self.bytes.try_next().await? {
                    Some(more) => self.rest.extend_from_slice(&more),
                    None => self.ended = true,
                }
            }
            if !self.started {
                self.started = true;
                let mark = self.rest.len() - without_mark(&self.rest).len();
                let blank = self.rest[mark..].iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
                self.line += memchr::memchr_iter(b'\n', &self.rest[mark..mark + blank]).count() as u64;
                self.rest.drain(..mark + blank);
                if self.skip_header {
                    self.line += 1;
                    let header = memchr::memchr(b'\n', &self.rest).map_or(self.rest.len(), |at| at + 1);
                    self.rest.drain(..header);
                }
                continue;
            }
            if self.rest.is_empty() {
                return Ok(None);
            }
            let end = if self.ended { Some(self.rest.len()) } else { last_record_end(&self.rest) };
            let Some(end) = end else {
                if self.rest.len() > LONGEST_RECORD {
                    return exec_err!(
                        "line {}: a record longer than {} MB, or a quote that is never closed",
                        self.line,
                        LONGEST_RECORD >> 20
                    );
                }
                match self.bytes.try_next().await? {
                    Some(more) => self.rest.extend_from_slice(&more),
                    None => self.ended = true,
                }
                continue;
            };
            let after = self.rest.split_off(end);
            let block = std::mem::replace(&mut self.rest, after);
            let first_line = self.line;
            self.line += memchr::memchr_iter(b'\n', &block).count() as u64;
            return Ok(Some((first_line, block)));
        }
    }
}

/// The end of the last whole record: a line break outside quotes.
fn last_record_end(text: &[u8]) -> Option<usize> {
    if memchr::memchr(b'"', text).is_none() {
        return memchr::memrchr(b'\n', text).map(|at| at + 1);
    }
    let (mut quoted, mut end) = (false, None);
    for at in memchr::memchr2_iter(b'"', b'\n', text) {
        if text[at] == b'"' {
            quoted = !quoted;
        } else if !quoted {
            end = Some(at + 1);
        }
    }
    end
}

/// Text without the byte order mark that some programs put in front.
fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

fn first_record(line: &[u8], delimiter: u8) -> Vec<String> {
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).has_headers(false).from_reader(line);
    let mut record = csv::ByteRecord::new();
    let _ = reader.read_byte_record(&mut record);
    record.iter().map(|f| String::from_utf8_lossy(f).trim().trim_matches(['<', '>']).to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_ends_with_a_record() {
        assert_eq!(last_record_end(b"a,b\nc,d\ne"), Some(8));
        assert_eq!(last_record_end(b"a,\"b\nc\",d\ne"), Some(10));
        assert_eq!(last_record_end(b"\"a\nb"), None);
    }
}
