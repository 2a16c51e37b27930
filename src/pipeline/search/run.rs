//! A run of `tallow match`: the patterns, the tables, and what each stage dropped.

use super::fold::{SearchFold, Sought};
use super::prescreen::Prescreen;
use super::{Pattern, SearchOptions, Watched, length, matches_schema};
use crate::Session;
use crate::engine::fold::{Fold, folded};
use crate::error::Result;
use crate::lake::CandleTable;
use crate::pipeline::control::Control;
use crate::pipeline::outcome::Skipped;
use crate::pipeline::quoting;
use crate::pipeline::relation::{Relation, despite_files, one};
use crate::pipeline::rows::{column, texts};
use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, Field, Float64Type, Schema, SchemaRef};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, col};
use datafusion::prelude::DataFrame;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, PoisonError};
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
        let clock = session.clock()?;
        let (from, mut found) = control.limit(&clock, despite_files(session, table, search)).await?;
        found.skipped.splice(0..0, from.skipped());
        Ok(found)
    }

    async fn over(&self, session: &Session, from: &Relation, timeframe: &str, control: &Control) -> Result<Matched> {
        let groups = self.patterns.chunks(TOGETHER);
        let symbols = from.candles().and_then(CandleTable::symbols);
        let watched = Watched::new(Arc::clone(&control.progress), symbols.map(|n| (n * groups.len()) as u64));
        let mut bars = format!("select symbol, ts, close from {}", from.sql);
        let doubled = from.doubled(session).await?;
        if !doubled.is_empty() {
            bars += &format!(" where symbol not in ({})", quoting::texts(doubled.iter().map(|f| &f.symbol)));
        }
        let (mut rows, mut stages) = (vec![], vec![]);
        for group in groups {
            let (found, told) = self.pass(session, group, from, &bars, timeframe, &watched).await?;
            rows.push(found);
            stages.extend(told);
        }
        let rows = concat_batches(&rows_schema(), &rows)?;
        let skipped = [doubled, watched.skipped()].concat();
        Ok(Matched { rows, stages, table: from.name.clone(), skipped })
    }

    async fn pass(
        &self,
        session: &Session,
        patterns: &[Pattern],
        from: &Relation,
        bars: &str,
        timeframe: &str,
        watched: &Watched,
    ) -> Result<(RecordBatch, Vec<(String, Counts)>)> {
        let prepare = |pattern: &Pattern| {
            let mut sought = self.options.prepare(pattern)?;
            // A longer bar that begins before the pattern may end in it.
            if let (Some(own), Some(excluded)) = (&pattern.timeframe, &mut sought.excluded)
                && own != timeframe
            {
                excluded.from -= (length(timeframe) - 1).max(0);
            }
            Ok(sought)
        };
        let sought = patterns.iter().map(prepare).collect::<Result<Vec<_>>>()?;
        let (state, plan) = one(session, bars).await?.into_parts();
        let screened = self.options.windowing == Windowing::Latest && !self.exact;
        let (plan, sought, seen) = match screened {
            true => self.prescreen(session, plan, sought, from, watched).await?,
            false => (plan, sought, vec![]),
        };
        let fold = Arc::new(SearchFold::new(sought, &self.options).watched(watched));
        let told = fold.told();
        let found = DataFrame::new(state, folded(plan, fold)?);
        let batches = session.collect(found).await?;
        let rows = concat_batches(&matches_schema(), &batches)?;
        let rows = match self.percentile {
            Some(least) => {
                let percentiles = rows.column(rows.num_columns() - 1).as_primitive::<Float64Type>();
                let kept: BooleanArray = percentiles.iter().map(|p| Some(p.is_some_and(|p| p >= least))).collect();
                filter_record_batch(&rows, &kept)?
            }
            None => rows,
        };
        let mut columns = rows.columns().to_vec();
        columns.insert(1, Arc::new(StringArray::from(vec![timeframe; rows.num_rows()])) as ArrayRef);
        let told = told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let counts =
            |(i, (id, stages)): (usize, (String, Stages))| (id, Counts { prescreened: seen.get(i).copied(), stages });
        let stages = told.into_iter().enumerate().map(counts).collect();
        Ok((RecordBatch::try_new(rows_schema(), columns)?, stages))
    }

    /// Looks at all symbols, and leaves those that correlate best with each pattern.
    async fn prescreen(
        &self,
        session: &Session,
        plan: LogicalPlan,
        mut sought: Vec<Sought>,
        from: &Relation,
        watched: &Watched,
    ) -> Result<(LogicalPlan, Vec<Sought>, Vec<(usize, usize)>)> {
        let fold = Arc::new(Prescreen::new(&sought, self.options.null, watched));
        let told = fold.told();
        let fold: Arc<dyn Fold> = fold;
        session.collect(DataFrame::new(session.context().state(), folded(plan.clone(), fold)?)).await?;
        let told = std::mem::take(&mut *told.lock().unwrap_or_else(PoisonError::into_inner));
        let mut all = BTreeSet::new();
        let mut seen = vec![];
        for (sought, screened) in sought.iter_mut().zip(told) {
            seen.push((screened.seen, screened.kept.len()));
            all.extend(screened.kept.iter().cloned());
            sought.only = Some(Arc::new(screened.kept.into_iter().collect::<HashSet<_>>()));
            sought.null = Some(Arc::new(screened.null));
        }
        // The others need not be read, where the table can tell where they are not.
        let plan = match from.candles().filter(|_| from.is_stored).map(|t| t.near(&Arc::new(all))) {
            Some(near) => LogicalPlanBuilder::scan("candles", provider_as_source(Arc::new(near)), None)?
                .project([col("symbol"), col("ts"), col("close")])?
                .build()?,
            None => plan,
        };
        Ok((plan, sought, seen))
    }
}
