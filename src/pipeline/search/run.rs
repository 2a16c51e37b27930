//! A run of a search: the patterns, the tables, and what each stage dropped.

use super::aggregate::{SearchAggregate, matches_schema, report_schema, stages_of};
use super::prescreen::{Prescreen, screened};
use super::progress::observer;
use super::state::kind;
use super::{Pattern, QueryPattern, SearchOptions, length};
use crate::Session;
use crate::control::Control;
use crate::outcome::Skipped;
use crate::quoting;
use crate::relation::{Relation, despite_files, one};
use crate::rows::{column, texts};
use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, SchemaRef};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, col};
use datafusion::prelude::DataFrame;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use tallow_common::Result;
use tallow_engine::observer::Observer;
use tallow_engine::series_aggregate::aggregated;
use tallow_lake::CandleTable;
use tallow_udfs::similarity::search::{Stages, Windowing};

/// Patterns that one pass looks for.
const TOGETHER: usize = 8;

/// What is searched for, where and how.
#[derive(Debug, Clone)]
pub struct MatchRun {
    /// The patterns.
    pub patterns: Vec<Pattern>,
    /// How.
    pub options: SearchOptions,
    /// Look at every symbol's newest bars, not only at those of symbols that correlate best.
    pub exact: bool,
    /// Only matches that are nearer than this share of random windows.
    pub percentile: Option<f64>,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Matched {
    /// The matches: `timeframe` beside the columns of [`matches_schema`].
    pub rows: RecordBatch,
    /// What each pattern's search looked at.
    pub stages: Vec<(String, Counts)>,
    /// The table that was read: without the files that cannot be, where there are such.
    pub table: String,
    /// These files, and symbols whose bars are no series, as where two have the same time.
    pub skipped: Vec<Skipped>,
}

/// What a pattern's search looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Symbols that the first look saw, and those that it kept; `None` where there was none.
    pub prescreened: Option<(usize, usize)>,
    /// The search proper.
    pub stages: Stages,
}

/// Matches with the length of their bars.
pub fn rows_schema() -> SchemaRef {
    let timeframe = Arc::new(Field::new("timeframe", DataType::Utf8, true));
    let mut fields: Vec<_> = matches_schema().fields().iter().cloned().collect();
    fields.insert(1, timeframe);
    Arc::new(Schema::new(fields))
}

/// The first `most` rows of each pattern and timeframe, as matches are ordered.
pub fn nearest(matches: &RecordBatch, most: usize) -> Result<RecordBatch> {
    let (patterns, timeframes) = (texts(column(matches, "pattern")?)?, texts(column(matches, "timeframe")?)?);
    let mut counts: HashMap<_, usize> = HashMap::new();
    let among = patterns.into_iter().zip(timeframes).map(|key| {
        let count = counts.entry(key).or_default();
        *count += 1;
        Some(*count <= most)
    });
    Ok(filter_record_batch(matches, &among.collect::<BooleanArray>())?)
}

impl MatchRun {
    /// Searches in a table of candles, also of a timeframe that is only made of smaller bars; `timeframe` is what its bars
    /// are called in the result. Symbols whose bars are no series are left out, and so are files that cannot be read, which
    /// a second try finds.
    ///
    /// Each pass over the table looks for a few patterns, so that memory does not grow with their number.
    pub async fn run(&self, session: &Session, table: &str, timeframe: &str, control: &Control) -> Result<Matched> {
        let search = async |from: &Relation| self.over(session, from, timeframe, control).await;
        let clock = session.engine().clock()?;
        let (from, mut found) = control.limit(&clock, despite_files(session, table, search)).await?;
        found.skipped.splice(0..0, from.skipped());
        Ok(found)
    }

    async fn over(&self, session: &Session, from: &Relation, timeframe: &str, control: &Control) -> Result<Matched> {
        let groups = self.patterns.chunks(TOGETHER);
        let symbols = from.candles().and_then(CandleTable::symbols);
        let observer = observer(Arc::clone(&control.progress), symbols.map(|n| (n * groups.len()) as u64));
        let mut bars = format!("select symbol, ts, close from {}", from.sql);
        let doubled = from.doubled(session).await?;
        if !doubled.is_empty() {
            bars += &format!(" where symbol not in ({})", quoting::texts(doubled.iter().map(|f| &f.symbol)));
        }
        let (mut rows, mut stages, mut skipped) = (vec![], vec![], BTreeMap::new());
        for group in groups {
            let pass = self.pass(session, group, from, &bars, timeframe, &observer).await?;
            rows.push(pass.rows);
            stages.extend(pass.stages);
            skipped.extend(pass.skipped);
        }
        let rows = concat_batches(&rows_schema(), &rows)?;
        let skipped = skipped.into_iter().map(|(symbol, reason)| Skipped { symbol, reason });
        let skipped = doubled.into_iter().chain(skipped).collect();
        Ok(Matched { rows, stages, table: from.name.clone(), skipped })
    }

    async fn pass(
        &self,
        session: &Session,
        patterns: &[Pattern],
        from: &Relation,
        bars: &str,
        timeframe: &str,
        observer: &Observer,
    ) -> Result<Pass> {
        let prepare = |pattern: &Pattern| {
            let mut prepared = self.options.prepare(pattern)?;
            // A longer bar that begins before the pattern may end in it.
            if let (Some(own), Some(excluded)) = (&pattern.timeframe, &mut prepared.excluded)
                && own != timeframe
            {
                excluded.from -= (length(timeframe) - 1).max(0);
            }
            Ok(prepared)
        };
        let patterns = patterns.iter().map(prepare).collect::<Result<Vec<_>>>()?;
        let (state, plan) = one(session, bars).await?.into_parts();
        let screens = self.options.windowing == Windowing::Latest && !self.exact;
        let Screen { plan, patterns, seen, mut skipped } = match screens {
            true => self.prescreen(session, plan, patterns, from, observer).await?,
            false => Screen { plan, patterns, seen: vec![], skipped: BTreeMap::new() },
        };
        let search = SearchAggregate::new(patterns, &self.options).reporting();
        let found = DataFrame::new(state, aggregated(plan, Arc::new(search))?);
        let batches = session.collect_with(found, &|config| observer.extend(config)).await?;
        let report = concat_batches(&report_schema(), &batches)?;
        let stages = stages(&report)?.into_iter().enumerate();
        let counts = |(i, (id, stages))| (id, Counts { prescreened: seen.get(i).copied(), stages });
        skipped.extend(skipped_symbols(&report)?);
        Ok(Pass { rows: self.matches(&report, timeframe)?, stages: stages.map(counts).collect(), skipped })
    }

    /// The matches of a report that are near enough.
    fn matches(&self, report: &RecordBatch, timeframe: &str) -> Result<RecordBatch> {
        let matches = of_kind(report, kind::MATCH)?;
        let width = matches_schema().fields().len();
        let rows = matches.project(&(0..width).collect::<Vec<_>>())?;
        let rows = match self.percentile {
            Some(least) => {
                let percentiles = rows.column(width - 1).as_primitive::<Float64Type>();
                let kept: BooleanArray = percentiles.iter().map(|p| Some(p.is_some_and(|p| p >= least))).collect();
                filter_record_batch(&rows, &kept)?
            }
            None => rows,
        };
        let mut columns = rows.columns().to_vec();
        columns.insert(1, Arc::new(StringArray::from(vec![timeframe; rows.num_rows()])) as ArrayRef);
        Ok(RecordBatch::try_new(rows_schema(), columns)?)
    }

    /// Looks at all symbols, and leaves those that correlate best with each pattern.
    async fn prescreen(
        &self,
        session: &Session,
        plan: LogicalPlan,
        mut patterns: Vec<QueryPattern>,
        from: &Relation,
        observer: &Observer,
    ) -> Result<Screen> {
        let prescreen = aggregated(plan.clone(), Arc::new(Prescreen::new(&patterns, &self.options)))?;
        let frame = DataFrame::new(session.context().state(), prescreen);
        let result = session.collect_with(frame, &|config| observer.extend(config)).await?;
        let (screened, skipped) = screened(&result, patterns.len())?;
        let mut all = BTreeSet::new();
        let mut seen = vec![];
        for (pattern, screened) in patterns.iter_mut().zip(screened) {
            seen.push((screened.seen, screened.kept.len()));
            all.extend(screened.kept.iter().cloned());
            pattern.only = Some(Arc::new(screened.kept));
            pattern.null = Some(Arc::new(screened.null));
        }
        // The others need not be read, where the table can tell where they are not.
        let plan = match from.candles().filter(|_| from.is_stored).map(|t| t.for_symbols(&Arc::new(all))) {
            Some(near) => LogicalPlanBuilder::scan("candles", provider_as_source(Arc::new(near)), None)?
                .project([col("symbol"), col("ts"), col("close")])?
                .build()?,
            None => plan,
        };
        Ok(Screen { plan, patterns, seen, skipped })
    }
}

/// What one pass over the table found.
struct Pass {
    rows: RecordBatch,
    stages: Vec<(String, Counts)>,
    skipped: BTreeMap<String, String>,
}

/// What the first look leaves to be searched.
struct Screen {
    plan: LogicalPlan,
    patterns: Vec<QueryPattern>,
    /// Symbols seen and kept, of each pattern; empty where there was no first look.
    seen: Vec<(usize, usize)>,
    skipped: BTreeMap<String, String>,
}

/// The rows of a kind.
fn of_kind(report: &RecordBatch, kind: &str) -> Result<RecordBatch> {
    let kinds = texts(column(report, "kind")?)?;
    Ok(filter_record_batch(report, &kinds.iter().map(|k| Some(k == kind)).collect::<BooleanArray>())?)
}

/// What each pattern's search looked at.
fn stages(report: &RecordBatch) -> Result<Vec<(String, Stages)>> {
    let rows = of_kind(report, kind::STAGES)?;
    let patterns = texts(column(&rows, "pattern")?)?;
    let counts = column(&rows, "counts")?.as_list::<i64>();
    let of = |(i, pattern)| Ok((pattern, stages_of(counts.value(i).as_primitive::<Int64Type>().values())?));
    patterns.into_iter().enumerate().map(of).collect()
}

/// Symbols that could not be used, and why.
fn skipped_symbols(report: &RecordBatch) -> Result<Vec<(String, String)>> {
    let rows = of_kind(report, kind::SKIPPED)?;
    Ok(texts(column(&rows, "symbol")?)?.into_iter().zip(texts(column(&rows, "reason")?)?).collect())
}
