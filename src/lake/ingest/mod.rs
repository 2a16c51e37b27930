//! Ingest: files of any shape become validated candles in one atomic commit.
//!
//! Rows are parsed, checked and merged as a stream: in the order of delivery if that is the table's order, else through a
//! sort that spills. The commit names the new files; until then nothing of the table has changed, and if somebody else
//! commits first the merge is done again over what they wrote. What breaks a rule goes to the quarantine, after that.

mod canonical;
mod cells;
mod delivery;
mod mapping;
mod origin;
pub(in crate::lake) mod quarantine;
mod source;
pub(in crate::lake) mod times;
mod upsert;

use super::columns::timestamp_type;
use super::delta::{Change, Log, Outcome, Snapshot};
use super::files::symbol_of;
use super::profile::ProfileCache;
use super::readable::Unreadable;
use super::table::{CandleTable, ORIGIN, TIMEFRAME};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use canonical::{Rules, SEQUENCE, Scale};
use datafusion::common::{DataFusionError, Result, exec_datafusion_err, exec_err, plan_err};
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use delivery::{Delivery, Provided};
use futures::{StreamExt, TryStreamExt};
pub use mapping::Naming;
use mapping::PRICES;
use quarantine::Rejected;
use source::{BrokenFile, Reading, Source};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tallow_udfs::candle::{Grid, Origin, Timeframe};
use times::Zone;
use upsert::{Delivered, MAX_TAILS, Merged, OutOfOrder, REWRITE_BYTES, Upsert};

/// In microseconds.
const SECOND: i64 = 1_000_000;
/// How often a commit is tried when others commit first.
pub(super) const ATTEMPTS: u32 = 10;
/// Deliveries up to this size may become files of their own beside a large table.
const SMALL_DELIVERY: u64 = 256 << 20;

/// What to ingest, and how its rows are to be read.
#[derive(Debug, Clone, Default)]
pub struct IngestOptions {
    /// Paths, globs and URLs.
    pub sources: Vec<String>,
    /// Names of the columns, for files without a header.
    pub columns: Option<Vec<String>>,
    /// Which column is what, and where symbols come from.
    pub naming: Naming,
    /// The zone of times that name none, UTC by default.
    pub zone: Option<String>,
    /// Prices are multiplied by this.
    pub scale: Option<f64>,
    /// Times are those of the close.
    pub close_as_ts: bool,
    /// Where bars begin, for a table that is made by this delivery.
    pub origin: Option<String>,
    /// Read and check, but write nothing.
    pub dry_run: bool,
    /// Tables larger than this get new files for new rows; `None`: 2 GiB.
    pub rewrite_bytes: Option<u64>,
}

/// What an ingest did. `rows` is the sum of `new`, `unchanged`, `restated`, `duplicates`, `incomplete`, `future` and all
/// of `rejected`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IngestSummary {
    /// Files read, and those without a byte.
    pub files: usize,
    /// Files without a row.
    pub empty_files: Vec<String>,
    /// Files that were skipped because they cannot be read.
    pub unreadable: Vec<Unreadable>,
    /// Rows read.
    pub rows: u64,
    /// Rows for a (symbol, ts) that was not in the table.
    pub new: u64,
    /// Rows that the table had just so.
    pub unchanged: u64,
    /// Rows that replaced other values.
    pub restated: u64,
    /// Rows that a later row of the delivery repeats ...
    pub duplicates: u64,
    /// ... and those of them that say something else than the later one.
    pub conflicting: u64,
    /// Bars marked as not complete, and bars that have not ended yet.
    pub incomplete: u64,
    /// See [`IngestSummary::incomplete`].
    pub future: u64,
    /// Rows in the quarantine, by rule.
    pub rejected: BTreeMap<String, u64>,
    /// Rows that were taken with a warning, by rule.
    pub warnings: BTreeMap<String, u64>,
    /// The version of the table afterwards; `None` where nothing was committed.
    pub version: Option<u64>,
    /// How long it took.
    pub took: Duration,
}

impl IngestSummary {
    /// Skips a file that cannot be read, unless the error is about something else, or there is no other file.
    fn skip(&mut self, source: &Source, error: DataFusionError) -> Result<()> {
        if cause::<BrokenFile>(&error).is_none() || self.files <= 1 {
            return Err(error);
        }
        self.files -= 1;
        let symbol = symbol_of(source.meta.location.as_ref());
        self.unreadable.push(Unreadable { path: source.path.clone(), symbol, reason: crate::error::readable(&error) });
        Ok(())
    }
}

/// How far an ingest is. A pass that is repeated starts again.
#[derive(Debug, Default, Clone)]
pub struct IngestProgress(Arc<Passed>);

#[derive(Debug, Default)]
struct Passed {
    rows: AtomicU64,
    bytes: AtomicU64,
    of_bytes: AtomicU64,
    merged: AtomicU64,
}

impl IngestProgress {
    /// Rows read so far.
    pub fn rows(&self) -> u64 {
        self.0.rows.load(Ordering::Relaxed)
    }

    /// Bytes of the delivered files that were read, and of all of them.
    pub fn bytes(&self) -> (u64, u64) {
        (self.0.bytes.load(Ordering::Relaxed), self.0.of_bytes.load(Ordering::Relaxed))
    }

    /// Rows that had to be sorted first and have been merged since; `None` where none have yet.
    pub fn merged(&self) -> Option<u64> {
        Some(self.0.merged.load(Ordering::Relaxed)).filter(|rows| *rows > 0)
    }

    fn start(&self, bytes: u64) {
        let Passed { rows, bytes: read, of_bytes, merged } = self.0.as_ref();
        [rows, read, merged].into_iter().for_each(|count| count.store(0, Ordering::Relaxed));
        of_bytes.store(bytes, Ordering::Relaxed);
    }

    fn add_rows(&self, rows: u64) {
        self.0.rows.fetch_add(rows, Ordering::Relaxed);
    }

    fn add_bytes(&self, bytes: u64) {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn add_merged(&self, rows: u64) {
        self.0.merged.fetch_add(rows, Ordering::Relaxed);
    }
}

/// Ingests files into the table of a timeframe.
pub(super) async fn ingest(
    state: &Arc<SessionState>,
    cache: &ProfileCache,
    lake: &str,
    timeframe: Timeframe,
    options: &IngestOptions,
    progress: &IngestProgress,
) -> Result<IngestSummary> {
    let started = Instant::now();
    let lake = lake.trim_end_matches('/');
    let candles = Log::at(state.as_ref(), &format!("{lake}/candles/{timeframe}"))?;
    let quarantine = Log::at(state.as_ref(), &format!("{lake}/quarantine/{timeframe}"))?;
    let zone = match &options.zone {
        Some(name) => Zone::parse(name).ok_or_else(|| {
            exec_datafusion_err!("--tz '{name}': expected a zone such as America/New_York, UTC or +02:00")
        })?,
        None => Zone::Fixed(0),
    };
    let reading = Reading::new(state);
    let (listed, empty_files) = source::list(state, &options.sources, options.columns.as_deref()).await?;
    let mut summary = IngestSummary { files: listed.len() + empty_files.len(), empty_files, ..Default::default() };
    let (mut with_rows, mut recognised) = (vec![], vec![]);
    for mut source in listed {
        match source.open(&reading, with_rows.len()).await {
            Ok(Some(head)) => {
                recognised.push(mapping::recognise(&source, &head, &options.naming)?);
                with_rows.push(source);
            }
            Ok(None) => summary.empty_files.push(source.path),
            Err(error) => summary.skip(&source, error)?,
        }
    }
    let mut in_order = true;
    let mut append = true;
    let mut attempt = 0;
    loop {
        if with_rows.is_empty() {
            summary.took = started.elapsed();
            return Ok(summary);
        }
        let base = candles.snapshot(None).await?;
        if let Some(base) = base.as_ref().filter(|_| !options.dry_run) {
            quarantine::recover(&candles, base.version, &quarantine).await?;
        }
        let table = existing(state, cache, &candles, base.as_ref()).await?;
        let origin = origin_of(base.as_ref(), options.origin.as_deref(), timeframe)?;
        let plan = mapping::plan(&recognised, base.as_ref().map(|b| b.schema.as_ref()))?;
        let rules = Rules {
            grid: Grid::new(timeframe, origin.1),
            zone: zone.clone(),
            scale: options.scale.map(Scale::new),
            close_as_ts: options.close_as_ts,
            close_slack: match timeframe {
                Timeframe::Fixed(_) | Timeframe::Day => SECOND,
                Timeframe::Days(_) | Timeframe::Week | Timeframe::Month => 4 * 86_400 * SECOND,
            },
            now: chrono::Utc::now().timestamp_micros(),
        };
        let schema = table_schema(base.as_ref(), &plan.schema)?;
        let delivery = Delivery::new(&reading, &with_rows, plan, rules, timeframe, progress.clone());
        let job = Job { state, log: &candles, table: table.as_ref(), base: base.as_ref(), schema: &schema, options };
        let merged = match job.run(&delivery, in_order, append).await {
            Ok(Some(merged)) => merged,
            // Some rows restate others: their files are rewritten after all.
            Ok(None) => {
                append = false;
                continue;
            }
            Err(error) if in_order && cause::<OutOfOrder>(&error).is_some() => {
                tracing::debug!("rows are not in order: sorting them");
                in_order = false;
                continue;
            }
            Err(error) => {
                // Some of its rows may have been taken already: all is done again without the file.
                let Some(file) = cause::<BrokenFile>(&error).map(|broken| broken.file) else { return Err(error) };
                recognised.remove(file);
                summary.skip(&with_rows.remove(file), error)?;
                continue;
            }
        };
        let tally = delivery.finish();
        if let Err(error) = tally.check_origin(timeframe) {
            candles.discard(&merged.adds).await;
            return Err(error);
        }
        summary = tally.summary(summary, &merged.counts);
        if options.dry_run {
            candles.discard(&merged.adds).await;
            summary.took = started.elapsed();
            return Ok(summary);
        }
        let rejected = match Rejected::write(state, &quarantine, &tally.rejects).await {
            Ok(rejected) => rejected,
            Err(error) => {
                candles.discard(&merged.adds).await;
                return Err(error);
            }
        };
        if merged.adds.is_empty() && merged.removes.is_empty() {
            rejected.commit(state, &quarantine).await?;
            summary.took = started.elapsed();
            return Ok(summary);
        }
        let outcome = job.commit(merged, timeframe, &origin.0, "INGEST", rejected.told()).await;
        if !matches!(outcome, Ok(Outcome::Committed(_))) {
            rejected.discard(&quarantine).await;
        }
        match outcome? {
            Outcome::Committed(version) => {
                rejected.commit(state, &quarantine).await.map_err(|error| {
                    error.context(format!(
                        "the candles are in version {version}; rows that were not taken come into the quarantine with the next \
                         ingest"
                    ))
                })?;
                summary.version = Some(version);
                summary.took = started.elapsed();
                return Ok(summary);
            }
            Outcome::Conflict => {
                attempt += 1;
                if attempt >= ATTEMPTS {
                    return exec_err!(
                        "{}: {ATTEMPTS} times another writer committed first; nothing was written, try again",
                        candles.location
                    );
                }
                tracing::info!("another writer committed first: merging again");
                pause(attempt).await;
            }
        }
    }
}

/// Merges the rows of a plan, candles already and ordered by (symbol, ts), into the table of a timeframe.
pub(super) async fn merge_rows(
    state: &Arc<SessionState>,
    cache: &ProfileCache,
    lake: &str,
    timeframe: Timeframe,
    origin: &str,
    rows: &Arc<dyn ExecutionPlan>,
) -> Result<IngestSummary> {
    let started = Instant::now();
    let log = Log::at(state.as_ref(), &format!("{}/candles/{timeframe}", lake.trim_end_matches('/')))?;
    let options = IngestOptions::default();
    for attempt in 1..=ATTEMPTS {
        let base = log.snapshot(None).await?;
        let table = existing(state, cache, &log, base.as_ref()).await?;
        let (origin, _) = origin_of(base.as_ref(), Some(origin), timeframe)?;
        let schema = table_schema(base.as_ref(), &rows.schema())?;
        let job =
            Job { state, log: &log, table: table.as_ref(), base: base.as_ref(), schema: &schema, options: &options };
        // A plan keeps state of its last run.
        let stream = execute_stream(reset_plan_states(Arc::clone(rows))?, state.task_ctx())?;
        let merged = job.upsert(None).rewrite(&mut Delivered::new(numbered(stream))).await?;
        let counts = merged.counts;
        let mut summary = IngestSummary {
            rows: counts.new + counts.unchanged + counts.restated + counts.duplicates,
            new: counts.new,
            unchanged: counts.unchanged,
            restated: counts.restated,
            duplicates: counts.duplicates,
            ..IngestSummary::default()
        };
        summary.took = started.elapsed();
        if merged.adds.is_empty() && merged.removes.is_empty() {
            return Ok(summary);
        }
        if let Outcome::Committed(version) = job.commit(merged, timeframe, &origin, "RESAMPLE", None).await? {
            return Ok(IngestSummary { version: Some(version), took: started.elapsed(), ..summary });
        }
        pause(attempt).await;
    }
    exec_err!("{}: {ATTEMPTS} times another writer committed first; nothing was written, try again", log.location)
}

/// Rows with the order in which they come.
fn numbered(rows: SendableRecordBatchStream) -> SendableRecordBatchStream {
    let mut fields = rows.schema().fields().to_vec();
    fields.push(Arc::new(Field::new(SEQUENCE, DataType::Int64, false)));
    let schema = Arc::new(Schema::new(fields));
    let target = Arc::clone(&schema);
    let mut next = 0i64;
    let numbered = rows.map(move |batch| {
        let batch = batch?;
        let end = next + batch.num_rows() as i64;
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(arrow::array::Int64Array::from_iter_values(next..end)));
        next = end;
        Ok(RecordBatch::try_new(Arc::clone(&target), columns)?)
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, numbered))
}

/// Waits a little, longer each time, and not as long as another process that waits too.
pub(super) async fn pause(attempt: u32) {
    let spread = u64::from(std::process::id() % 37) * 3;
    tokio::time::sleep(Duration::from_millis(20 * (1 << attempt.min(6)) + spread)).await;
}

async fn existing(
    state: &Arc<SessionState>,
    cache: &ProfileCache,
    log: &Log,
    base: Option<&Snapshot>,
) -> Result<Option<CandleTable>> {
    let Some(base) = base else {
        refuse_plain_files(state, log).await?;
        return Ok(None);
    };
    if base.files.is_empty() {
        return Ok(None);
    }
    check_writable(&log.location, &base.schema)?;
    match CandleTable::of_snapshot(state, log, base, cache).await? {
        Some(table) => Ok(Some(table)),
        None => exec_err!("the table at {} has no columns `ts` and `close`", log.location),
    }
}

/// A folder of plain files would vanish from queries once a log stands beside them.
pub(super) async fn refuse_plain_files(state: &Arc<SessionState>, log: &Log) -> Result<()> {
    let files = super::files::Files::list(state.as_ref(), &format!("{}/", log.location)).await;
    match files {
        Ok(Some(files)) => exec_err!(
            "{} holds {} plain files without a transaction log, which a table there would hide: write to another lake \
             (--lake) or place, and ingest these files there",
            log.location,
            files.files.len()
        ),
        _ => Ok(()),
    }
}

/// The origin by name and as a grid: the table's own, which a delivery cannot change.
fn origin_of(base: Option<&Snapshot>, given: Option<&str>, timeframe: Timeframe) -> Result<(String, Origin)> {
    let known = base.and_then(|b| b.properties.get(ORIGIN)).map(String::as_str);
    if let (Some(known), Some(given)) = (known, given)
        && known != given
    {
        return plan_err!("--origin '{given}': the bars of this {timeframe} table begin by `{known}`");
    }
    let name = known.or(given).unwrap_or("utc");
    Ok((name.to_string(), name.parse()?))
}

/// Refuses to write to a table whose candles have other names or types than ours: nothing of it would be kept right.
pub(super) fn check_writable(location: &str, schema: &Schema) -> Result<()> {
    let expected = |name: &str| match name {
        "symbol" => Some(DataType::Utf8),
        "ts" => Some(timestamp_type()),
        name if PRICES.contains(&name) => Some(DataType::Float64),
        _ => None,
    };
    for name in ["symbol", "ts", "close"] {
        if schema.field_with_name(name).is_err() {
            let found: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
            return exec_err!(
                "{location}: tallow writes to tables with the columns symbol, ts, close; this one has {}. Ingest it into \
                 a table of its own",
                found.join(", ")
            );
        }
    }
    for field in schema.fields() {
        let text = matches!(field.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        match expected(field.name()) {
            Some(wanted) if *field.data_type() != wanted && !(text && wanted == DataType::Utf8) => {
                return exec_err!(
                    "{location}: column `{}` is {}, and tallow writes {wanted}. Ingest it into a table of its own",
                    field.name(),
                    field.data_type()
                );
            }
            _ => {}
        }
    }
    Ok(())
}

/// The table's columns, and those that the delivery adds.
fn table_schema(base: Option<&Snapshot>, delivered: &SchemaRef) -> Result<SchemaRef> {
    let mut fields: Vec<Field> = vec![];
    if let Some(base) = base {
        for field in base.schema.fields() {
            let data_type = match field.data_type() {
                DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
                other => other.clone(),
            };
            fields.push(Field::new(field.name(), data_type, true));
        }
        // Files are sorted by their first two columns; the log goes by name.
        fields.sort_by_key(|f| match f.name().as_str() {
            "symbol" => 0,
            "ts" => 1,
            _ => 2,
        });
    } else {
        fields.extend(delivered.fields().iter().take(2).map(|f| f.as_ref().clone()));
        fields.extend(PRICES.map(|name| Field::new(name, DataType::Float64, true)));
    }
    for field in delivered.fields() {
        if fields.iter().all(|f| f.name() != field.name()) {
            fields.push(field.as_ref().clone());
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// One try at merging a delivery into a table.
struct Job<'a> {
    state: &'a Arc<SessionState>,
    log: &'a Log,
    table: Option<&'a CandleTable>,
    base: Option<&'a Snapshot>,
    schema: &'a SchemaRef,
    options: &'a IngestOptions,
}

impl Job<'_> {
    fn upsert(&self, provided: Option<Provided>) -> Upsert<'_> {
        let files = self.base.map_or(&[][..], |b| &b.files);
        Upsert { state: self.state, log: self.log, table: self.table, files, schema: Arc::clone(self.schema), provided }
    }

    async fn run(&self, delivery: &Delivery, in_order: bool, append: bool) -> Result<Option<Merged>> {
        let upsert = self.upsert(delivery.provided());
        let files = upsert.files;
        let rows = if in_order { delivery.as_delivered()? } else { delivery.sorted()? };
        let size: u64 = files.iter().map(|f| f.meta.size).sum();
        let large = size > self.options.rewrite_bytes.unwrap_or(REWRITE_BYTES);
        let tails = files.len().saturating_sub(self.table.map_or(0, CandleTable::longest_chain));
        if append && large && delivery.bytes() < SMALL_DELIVERY && tails < MAX_TAILS {
            let (mut small, mut bytes, mut rows) = (vec![], 0, rows);
            while let Some(batch) = rows.try_next().await? {
                bytes += batch.get_array_memory_size() as u64;
                small.push(batch);
                if bytes > SMALL_DELIVERY {
                    return Ok(None);
                }
            }
            return upsert.append(&small).await;
        }
        upsert.rewrite(&mut Delivered::new(rows)).await.map(Some)
    }

    async fn commit(
        &self,
        merged: Merged,
        timeframe: Timeframe,
        origin: &str,
        operation: &'static str,
        run: Option<serde_json::Value>,
    ) -> Result<Outcome> {
        let files = self.base.map_or(&[][..], |b| &b.files);
        let number = |n: u64| serde_json::Value::from(n);
        let metrics = [
            ("new", number(merged.counts.new)),
            ("restated", number(merged.counts.restated)),
            ("unchanged", number(merged.counts.unchanged)),
            ("files_added", number(merged.adds.len() as u64)),
            ("files_removed", number(merged.removes.len() as u64)),
        ];
        let written = merged.adds.clone();
        let change = Change {
            adds: merged.adds,
            removes: merged.removes.iter().map(|&i| files[i].add.clone()).collect(),
            schema: Some(log_schema(self.schema)),
            properties: HashMap::from([
                (TIMEFRAME.to_string(), timeframe.to_string()),
                (ORIGIN.to_string(), origin.to_string()),
            ]),
            data_change: true,
            metrics: metrics.into_iter().map(|(k, v)| (k.to_string(), v)).collect(),
            operation,
            run,
        };
        let outcome = self.log.commit(self.base, change).await;
        if !matches!(outcome, Ok(Outcome::Committed(_))) {
            self.log.discard(&written).await;
        }
        outcome
    }
}

/// Types as a log names them.
pub(super) fn log_schema(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Utf8View => field.as_ref().clone().with_data_type(DataType::Utf8),
        _ => field.as_ref().clone(),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// What an error is, beneath all that was said of it on its way.
fn cause<T: std::error::Error + 'static>(error: &DataFusionError) -> Option<&T> {
    let mut error: &(dyn std::error::Error + 'static) = error;
    loop {
        match error.downcast_ref() {
            Some(found) => return Some(found),
            None => error = error.source()?,
        }
    }
}
