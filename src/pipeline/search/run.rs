//! A run of a search for any number of patterns.

use super::plan::{Bars, Output};
use super::report::{Counts, Report, matches_schema, report_schema};
use super::{Pattern, SearchOptions};
use crate::Session;
use crate::among::absent;
use crate::control::{Control, Progress};
use crate::outcome::Skipped;
use crate::relation::{Relation, despite_files};
use crate::rows::{column, texts};
use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::prelude::DataFrame;
use std::collections::HashMap;
use std::sync::Arc;
use tallow_common::Result;
use tallow_engine::observer::Observer;
use tallow_lake::CandleTable;

/// Patterns that one pass looks for.
const TOGETHER: usize = 8;

/// What is searched for, and how.
#[derive(Debug, Clone)]
pub struct MatchRun {
    /// The patterns.
    pub patterns: Vec<Pattern>,
    /// How.
    pub options: SearchOptions,
    /// In the bars of these symbols only; `None`: of all.
    pub symbols: Option<Vec<String>>,
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
        let search = async |from: &Relation| {
            self.over(session, &Bars { from, timeframe, symbols: self.symbols.as_deref() }, control).await
        };
        let clock = session.engine().clock()?;
        Ok(control.limit(&clock, despite_files(session, table, search)).await?.1)
    }

    async fn over(&self, session: &Session, bars: &Bars<'_>, control: &Control) -> Result<Matched> {
        let groups = self.patterns.chunks(TOGETHER);
        let symbols = match bars.symbols {
            Some(symbols) => Some(symbols.len()),
            None => bars.from.candles().and_then(CandleTable::symbols),
        };
        let (progress, total) = (Arc::clone(&control.progress), symbols.map(|n| (n * groups.len()) as u64));
        let observer = Observer::new(move |done| progress(Progress::symbols(done, total)));
        let (mut rows, mut stages, mut skipped) = (vec![], vec![], vec![]);
        for group in groups {
            let state = session.context().state();
            let plan = bars.search(&state, group, &self.options, Output::Report).await?;
            let batches = session.collect_with(DataFrame::new(state, plan), &|config| observer.extend(config)).await?;
            let report = Report(concat_batches(&report_schema(), &batches)?);
            rows.push(with_timeframe(&report.matches()?, bars.timeframe)?);
            stages.extend(report.counts()?);
            for symbol in report.skipped()? {
                if !skipped.contains(&symbol) {
                    skipped.push(symbol);
                }
            }
        }
        if let Some(symbols) = bars.symbols {
            let all = session.context().state().create_logical_plan(&bars.from.closes()).await?;
            skipped.extend(absent(session, &all, symbols).await?);
        }
        Ok(Matched { rows: concat_batches(&rows_schema(), &rows)?, stages, table: bars.from.name.clone(), skipped })
    }
}

fn with_timeframe(matches: &RecordBatch, timeframe: &str) -> Result<RecordBatch> {
    let mut columns = matches.columns().to_vec();
    columns.insert(1, Arc::new(StringArray::from(vec![timeframe; matches.num_rows()])) as ArrayRef);
    Ok(RecordBatch::try_new(rows_schema(), columns)?)
}
