//! The plan of a search in a table: the same for the table function `dtw_search` and for a run over many patterns. All that it
//! takes, a first look at the newest bars included, is one plan.

use super::{Pattern, SearchAggregate, SearchOptions, length};
use crate::among::among;
use crate::relation::Relation;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::DataFrame;
use std::sync::Arc;
use tallow_common::Result;
use tallow_engine::series_aggregate::aggregated;
use tallow_udfs::calendar::Timeframe;

/// The bars that are searched.
pub(crate) struct Bars<'a> {
    pub from: &'a Relation,
    /// What they are called.
    pub timeframe: &'a str,
    /// Those of these symbols only; `None`: all.
    pub symbols: Option<&'a [String]>,
}

/// What a search is to put out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// The matches; symbols that cannot be used are findings of the execution.
    Matches,
    /// Also what was looked at and skipped, as rows: see [`Report`](super::report::Report).
    Report,
}

impl Bars<'_> {
    /// The plan of a search for patterns.
    ///
    /// # Errors
    /// Options that do not fit together, or a pattern that cannot be searched for.
    pub async fn search(
        &self,
        state: &SessionState,
        patterns: &[Pattern],
        options: &SearchOptions,
        output: Output,
    ) -> Result<LogicalPlan> {
        options.check()?;
        let prepare = |pattern: &Pattern| {
            let mut prepared = options.prepare(pattern)?;
            // A longer bar that begins before the pattern may end in it.
            if let (Some(own), Some(excluded)) = (&pattern.timeframe, &mut prepared.excluded)
                && own != self.timeframe
            {
                excluded.from -= (length(self.timeframe) - 1).max(0);
            }
            Ok(prepared)
        };
        let patterns = patterns.iter().map(prepare).collect::<Result<Vec<_>>>()?;
        let files = self.from.skipped().into_iter().map(|file| (file.symbol, file.reason)).collect();
        let search = SearchAggregate::new(patterns, options).without(files);
        let search = if output == Output::Report { search.reporting() } else { search };
        let mut bars = state.create_logical_plan(&self.from.closes()).await?;
        if let Some(symbols) = self.symbols {
            bars = among(DataFrame::new(state.clone(), bars), symbols)?.into_parts().1;
        }
        Ok(aggregated(bars, Arc::new(search))?)
    }
}

/// What is said of a search for patterns of other bars.
pub(crate) fn warning(timeframe: &str, of_other_bars: &[(String, String)]) -> String {
    let names: Vec<_> = of_other_bars.iter().map(|(pattern, own)| format!("{pattern} ({own})")).collect();
    format!("searching {timeframe} bars for what was cut from other bars: {}", names.join(", "))
}

/// Patterns that were cut from other bars than these, and from which: a pattern is a shape and may be looked for in any bars, but
/// seldom in others by intent.
pub(crate) fn of_other_bars(patterns: &[Pattern], timeframe: &str) -> Vec<(String, String)> {
    if timeframe.parse::<Timeframe>().is_err() {
        return vec![];
    }
    let other = |p: &Pattern| {
        let own = p.timeframe.as_ref().filter(|own| *own != timeframe)?;
        Some((p.id.clone(), own.clone()))
    };
    patterns.iter().filter_map(other).collect()
}
