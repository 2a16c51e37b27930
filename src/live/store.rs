//! What was computed, until it is in the lake, and how it gets there.
//!
//! Three steps, of which a crash may leave any number undone: dead letters, results, and at last the candles, whose commit also
//! records how far the run has come. A candle whose results are not in the lake is not there either, so that it is computed again.

use crate::candles::{Columns, VALUES};
use crate::core::{Bar, Candle, DeadLetter, Sequence, Symbol};
use crate::lease::Lease;
use crate::letters::write_letters;
use crate::symbols::Names;
use crate::worker::Answers;
use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{SortColumn, cast, concat_batches, filter_record_batch, lexsort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::physical_plan::ExecutionPlan;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use tallow_common::time::timestamp_type;
use tallow_common::{Error, Ranges, Result, Times};
use tallow_lake::{Effort, Merging, Replacement};
use tallow_pipeline::Session;
use tallow_pipeline::materialize::ResultTable;
use tallow_udfs::calendar::Timeframe;

/// Where a run keeps what it computes.
#[derive(Clone)]
pub(crate) struct Target {
    /// The name of the run, under which its progress is recorded.
    pub name: String,
    /// The table of results, if they are kept.
    pub results: Option<ResultTable>,
    /// The table of candles, if they are kept: its bars and where these begin.
    pub candles: Option<(Timeframe, String)>,
    /// The file of dead letters.
    pub dead_letters: PathBuf,
    /// What makes this run the only one of its name, if candles are kept.
    pub lease: Option<Lease>,
}

impl Target {
    /// Under which names the candles' table records how far the run has come: the journal, and the flushes.
    pub fn applications(&self) -> [String; 2] {
        ["journal", "flush"].map(|of| self.application(of))
    }

    /// Under which name it records how far something has come.
    pub fn application(&self, of: &str) -> String {
        format!("tallow/live/{}/{of}", self.name)
    }
}

/// Results and candles that are not in the lake, in the order in which they came.
#[derive(Default)]
pub(crate) struct Unflushed {
    answers: Vec<Answers>,
    candles: Vec<(Symbol, Bar)>,
}

impl Unflushed {
    /// Adds candles.
    pub fn add_candles<'a>(&mut self, candles: impl Iterator<Item = &'a Candle>) {
        self.candles.extend(candles.map(|candle| (candle.symbol, candle.bar)));
    }

    /// Adds what they gave.
    pub fn add_answers(&mut self, answers: Answers) {
        self.answers.push(answers);
    }

    /// The bars of a symbol that are here.
    pub fn bars_of(&self, symbol: Symbol) -> impl Iterator<Item = Bar> + '_ {
        self.candles.iter().filter(move |(of, _)| *of == symbol).map(|(_, bar)| *bar)
    }

    /// What was to be written and was not, before what came since.
    pub fn put_back(&mut self, older: Unflushed) {
        let newer = std::mem::replace(self, older);
        self.answers.extend(newer.answers);
        self.candles.extend(newer.candles);
    }

    /// The newest rows by (symbol, ts), which are the first columns, and the times of which they are all rows.
    fn results(&self, names: &Names) -> Result<Option<(RecordBatch, Ranges)>> {
        let Some(schema) = self.answers.first().map(|answers| answers.rows.schema()) else { return Ok(None) };
        let mut computed: HashMap<Option<&str>, Vec<(usize, Range<i64>)>> = HashMap::new();
        let mut ranges = Ranges::default();
        for (at, answers) in self.answers.iter().enumerate() {
            for (symbol, times) in &answers.ranges {
                let name = symbol.map(|symbol| names.of(symbol).as_ref());
                computed.entry(name).or_default().push((at, times.clone()));
            }
        }
        for (name, of_symbol) in &computed {
            let times: Times = of_symbol.iter().map(|(_, times)| times.clone()).collect();
            match name {
                Some(name) => ranges.add(name, &times),
                None => ranges.extend(&Ranges::everywhere(times)),
            }
        }
        let mut newest = vec![];
        for (at, answers) in self.answers.iter().enumerate() {
            let rows = &answers.rows;
            let [symbols, times] = keys(rows)?;
            let (symbols, times) = (symbols.as_string_view(), times.as_primitive::<TimestampMicrosecondType>());
            let keep = symbols.iter().zip(times.values()).map(|(symbol, ts)| {
                // A run computes rows by symbol, or those of all together.
                let later = computed.get(&symbol).or_else(|| computed.get(&None)).into_iter().flatten().rev();
                !later.take_while(|(of, _)| *of > at).any(|(_, times)| times.contains(ts))
            });
            newest.push(filter_record_batch(rows, &BooleanArray::from(keep.collect::<Vec<_>>()))?);
        }
        let rows = concat_batches(&schema, &newest)?;
        let columns = keys(&rows)?.map(|values| SortColumn { values, options: None });
        let sorted = take_record_batch(&rows, &lexsort_to_indices(&columns, None)?)?;
        let first = ["symbol", "ts"].map(|name| schema.index_of(name));
        let [symbol, ts] = first;
        let (symbol, ts) = (symbol?, ts?);
        let rest = (0..schema.fields().len()).filter(|i| *i != symbol && *i != ts);
        Ok(Some((sorted.project(&[symbol, ts].into_iter().chain(rest).collect::<Vec<_>>())?, ranges)))
    }

    /// The candles by (symbol, ts), of several of one time the last.
    fn candles(&self, names: &Names) -> Result<RecordBatch> {
        let mut last: BTreeMap<(&Arc<str>, i64), &Bar> = BTreeMap::new();
        last.extend(self.candles.iter().map(|(symbol, bar)| ((names.of(*symbol), bar.ts), bar)));
        let mut columns = Columns::with_capacity(last.len());
        for ((name, _), bar) in last {
            columns.push(bar);
            columns.end(name);
        }
        Ok(columns.rows(&candles_schema())?)
    }
}

/// The columns of candles as they are merged into the lake.
pub(crate) fn candles_schema() -> SchemaRef {
    let field = |name: &str| Field::new(name, DataType::Float64, true);
    let keys = [Field::new("symbol", DataType::Utf8View, false), Field::new("ts", timestamp_type(), false)];
    Arc::new(Schema::new(keys.into_iter().chain(VALUES.map(field)).collect::<Vec<_>>()))
}

fn keys(rows: &RecordBatch) -> Result<[ArrayRef; 2]> {
    let column = |name: &str| {
        let missing = || Error::invalid(format!("the result has no column `{name}`"));
        rows.column_by_name(name).ok_or_else(missing)
    };
    Ok([cast(column("symbol")?, &DataType::Utf8View)?, cast(column("ts")?, &timestamp_type())?])
}

/// Rows as a plan.
pub(crate) fn plan_of(rows: RecordBatch) -> Result<Arc<dyn ExecutionPlan>> {
    let schema: SchemaRef = rows.schema();
    Ok(MemorySourceConfig::try_new_exec(&[vec![rows]], schema, None)?)
}

/// A flush: what is written, and what is recorded with it.
pub(crate) struct Flushing {
    pub rows: Unflushed,
    pub names: Names,
    pub dead_letters: Vec<DeadLetter>,
    pub flush: u64,
    pub through: Sequence,
    /// How far feeds have come that are asked from there on.
    pub positions: Vec<(String, u64)>,
}

/// Writes it; what was not written is to be put back.
pub(crate) async fn write(session: &Session, target: &Target, flushing: &Flushing) -> Result<()> {
    write_letters(&target.dead_letters, &flushing.dead_letters, &flushing.names)?;
    if let Some(table) = &target.results
        && let Some((rows, ranges)) = flushing.rows.results(&flushing.names)?
    {
        let replacement = Replacement {
            effort: Effort::begin(rows.num_rows() as u64),
            rows: plan_of(rows)?,
            ranges: Arc::new(ranges),
            kind: table.kind,
            properties: table.properties.clone(),
            sources: vec![],
            whole_symbols: false,
            open_from: i64::MIN,
            once: false,
            progress: Box::new(|_| ()),
        };
        let table = table.name.clone();
        session.on_lake(move |lake| async move { lake.replace(&table, replacement).await }).await?;
    }
    if let Some((timeframe, origin)) = target.candles.clone() {
        let plan = plan_of(flushing.rows.candles(&flushing.names)?)?;
        let [journal, flush] = target.applications();
        let mut sources = vec![(journal, flushing.through), (flush, flushing.flush)];
        sources.extend(flushing.positions.iter().cloned());
        sources.extend(target.lease.iter().flat_map(Lease::sources));
        let held = target.lease.as_ref().map(Lease::held);
        let merged = session.on_lake(move |lake| async move {
            lake.merge(
                timeframe,
                &origin,
                plan,
                Merging { operation: "LIVE", sources: &sources, only_if: held.as_ref() },
            )
            .await
        });
        if let Err(error) = merged.await {
            if let Some(lease) = &target.lease {
                lease.check(session, target, &format!("candles_{timeframe}")).await?;
            }
            return Err(error);
        }
    }
    Ok(())
}
