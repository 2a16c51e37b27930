//! A scan under way, and what it found in numbers.

use super::patience::Patience;
use super::{MATCHES, NEWEST_BARS};
use crate::control::AbortOnDrop;
use crate::outcome::Skipped;
use crate::relation::unreadable;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::physical_plan::ExecutionPlan;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tallow_common::Result;
use tallow_engine::dialect::{Problems, closest};
use tallow_engine::symbol_guard::{Fault, Findings, SymbolGuard};
use tallow_engine::tally::{counted, counts};
use tallow_lake::CandleTable;

/// How a scan ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All symbols were scanned.
    Complete,
    /// It was cancelled.
    Cancelled,
    /// It ran out of time.
    TimedOut,
}

/// What a scan found, in numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Symbols that were asked for; with a scan of all, those of the table.
    pub asked: u64,
    /// Symbols whose bars were read to the end.
    pub scanned: u64,
    /// Symbols and files that something is wrong with.
    pub skipped: Vec<Skipped>,
    /// Symbols with a match.
    pub with_matches: u64,
    /// Bars that match.
    pub matches: u64,
    /// Bars read, those before the range included.
    pub bars: u64,
    /// Symbols that were left out because their newest bar is too old; 0 where all bars count.
    pub too_old: u64,
    /// How it ended.
    pub ended: Ended,
    /// It was ended, and what was complete by then could not be brought together in time: matches are missing.
    pub given_up: bool,
}

impl Summary {
    /// Share of the symbols scanned that have a match.
    pub fn match_rate(&self) -> f64 {
        if self.scanned == 0 { 0.0 } else { self.with_matches as f64 / self.scanned as f64 }
    }
}

/// A scan under way: its matches, and its numbers once they have all been taken.
pub struct ScanRun {
    pub(super) schema: SchemaRef,
    pub(super) batches: BoxStream<'static, Result<RecordBatch>>,
    pub(super) pass: Pass,
    /// What is allowed in the formula and hardly meant.
    pub warnings: Problems,
    pub(super) symbols: Option<Vec<String>>,
    pub(super) total: Option<u64>,
    pub(super) timed_out: Arc<AtomicBool>,
    pub(super) patience: Patience,
    pub(super) given_up: bool,
    pub(super) _timer: Option<AbortOnDrop<()>>,
}

/// One try at the table.
pub(super) struct Pass {
    pub name: String,
    pub table: Option<Arc<dyn TableProvider>>,
    /// What is executed, whose operators count, and find out about symbols.
    pub plan: Arc<dyn ExecutionPlan>,
    /// Of a sweep, whose rows are no matches: all matches, and the most symbols with any.
    pub swept: Option<(u64, u64)>,
    /// Whether bars are read at all: a formula that is the same for every bar may need none.
    pub reads: bool,
}

impl Pass {
    fn candles(&self) -> Option<&CandleTable> {
        self.table.as_ref()?.downcast_ref::<CandleTable>()
    }

    /// Matches so far, and symbols that have any.
    pub fn matches(&self) -> (u64, u64) {
        let counts = || counts(&self.plan, MATCHES);
        self.swept.unwrap_or_else(|| (counts().rows, counts().symbols))
    }

    /// A counter of the guards.
    fn guarded(&self, name: &str) -> u64 {
        counted(&self.plan, |_: &SymbolGuard| true, name)
    }
}

impl ScanRun {
    /// The columns of the matches.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The table that is read: without the files that cannot be, where there are such.
    pub fn table(&self) -> &str {
        &self.pass.name
    }

    /// The next matches.
    pub async fn next(&mut self) -> Option<Result<RecordBatch>> {
        match self.patience.wait_while(|| self.pass.matches().0, self.batches.next()).await {
            Some(batch) => batch,
            None => {
                self.given_up = true;
                self.batches = stream::empty().boxed();
                None
            }
        }
    }

    /// The numbers, complete after the last batch was taken.
    pub fn summary(&self) -> Summary {
        let Findings { symbols: scanned, faults } = Findings::of(&self.pass.plan);
        let seen: BTreeSet<&str> = scanned.iter().map(String::as_str).collect();
        let skipped = |Fault { symbol, reason }| Skipped { symbol, reason };
        let mut skipped: Vec<Skipped> = faults.into_iter().map(skipped).collect();
        let wanted = |symbol: &str| self.symbols.as_ref().is_none_or(|all| all.iter().any(|s| s == symbol));
        let by_name = self.pass.candles().is_some_and(CandleTable::is_named_by_files);
        let files = self.pass.candles().map(unreadable).unwrap_or_default();
        skipped.extend(files.into_iter().filter(|file| !by_name || wanted(&file.symbol)));
        for (path, symbol) in self.pass.candles().map(CandleTable::empty_files).unwrap_or_default() {
            if (!by_name || wanted(&symbol)) && !seen.contains(symbol.as_str()) {
                skipped.push(Skipped { symbol, reason: format!("no data: {path} has no rows") });
            }
        }
        let ended = match (self.pass.guarded("cut_short") > 0 || self.given_up, self.timed_out.load(Ordering::Relaxed))
        {
            (false, _) => Ended::Complete,
            (true, true) => Ended::TimedOut,
            (true, false) => Ended::Cancelled,
        };
        let mut asked: BTreeSet<&str> = self.symbols.iter().flatten().map(String::as_str).collect();
        if ended == Ended::Complete && self.pass.reads {
            let named: HashSet<String> = skipped.iter().map(|f| f.symbol.clone()).collect();
            for symbol in asked.iter().filter(|s| !seen.contains(*s) && !named.contains(**s)) {
                let near = closest(symbol, seen.iter().copied()).map(|n| format!("; did you mean {n}?"));
                let reason = format!("no data: the table has no bar of it{}", near.unwrap_or_default());
                skipped.push(Skipped { symbol: (*symbol).to_string(), reason });
            }
        }
        skipped.sort_by(|a, b| (&a.symbol, &a.reason).cmp(&(&b.symbol, &b.reason)));
        let all_asked = match &self.symbols {
            Some(_) => asked.len() as u64,
            None => {
                asked = skipped.iter().map(|f| f.symbol.as_str()).collect();
                let more = asked.iter().filter(|s| !seen.contains(*s)).count() as u64;
                self.total.unwrap_or(seen.len() as u64).max(seen.len() as u64) + more
            }
        };
        let (matches, with_matches) = self.pass.matches();
        Summary {
            asked: all_asked,
            scanned: seen.len() as u64,
            skipped,
            with_matches,
            matches,
            bars: self.pass.guarded("bars"),
            too_old: counts(&self.pass.plan, NEWEST_BARS).dropped,
            ended,
            given_up: self.given_up,
        }
    }
}
