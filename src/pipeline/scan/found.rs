//! What a scan found out beside its matches.

use super::patience::Patience;
use super::{MATCHES, NEWEST_BARS};
use crate::outcome::{Ended, ScanStatistics, Skipped};
use crate::relation::unreadable;
use datafusion::catalog::TableProvider;
use datafusion::physical_plan::ExecutionPlan;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use tallow_engine::dialect::closest;
use tallow_engine::symbol_guard::{Fault, Findings, SymbolGuard};
use tallow_engine::tally::{counted, counts};
use tallow_lake::CandleTable;
use tokio_util::sync::CancellationToken;

/// One try at the table.
pub(super) struct Pass {
    pub name: String,
    pub table: Option<Arc<dyn TableProvider>>,
    /// The symbols that were asked for; `None`: all.
    pub symbols: Option<Vec<String>>,
    /// Symbols to be read, where that is known.
    pub total: Option<u64>,
    /// What is executed, whose operators count, and find out about symbols.
    pub plan: Arc<dyn ExecutionPlan>,
    /// Of a sweep, whose rows are no matches: all matches, and the most symbols with any.
    pub swept: Option<(u64, u64)>,
    /// Whether bars are read at all: a formula that is the same for every bar may need none.
    pub reads: bool,
    /// How long its end may take.
    pub patience: Arc<Patience>,
    /// Cancelled by the caller; it may also have ended because its time was up.
    pub cancelled: CancellationToken,
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

    fn ended(&self) -> Ended {
        match (self.guarded("cut_short") > 0 || self.patience.is_exhausted(), self.cancelled.is_cancelled()) {
            (false, _) => Ended::Complete,
            (true, true) => Ended::Cancelled,
            (true, false) => Ended::TimedOut,
        }
    }

    /// Symbols and files that something is wrong with.
    pub fn skipped(&self) -> Vec<Skipped> {
        let Findings { symbols: scanned, faults } = Findings::of(&self.plan);
        let skipped = |Fault { symbol, reason }| Skipped { symbol, reason };
        let mut skipped: Vec<Skipped> = faults.into_iter().map(skipped).collect();
        let is_chosen = |symbol: &str| self.symbols.as_ref().is_none_or(|all| all.iter().any(|s| s == symbol));
        let by_name = self.candles().is_some_and(CandleTable::is_named_by_files);
        let files = self.candles().map(unreadable).unwrap_or_default();
        skipped.extend(files.into_iter().filter(|file| !by_name || is_chosen(&file.symbol)));
        for (path, symbol) in self.candles().map(CandleTable::empty_files).unwrap_or_default() {
            if (!by_name || is_chosen(&symbol)) && !scanned.contains(symbol.as_str()) {
                skipped.push(Skipped { symbol, reason: format!("no data: {path} has no rows") });
            }
        }
        if self.ended() == Ended::Complete && self.reads {
            let named: HashSet<String> = skipped.iter().map(|f| f.symbol.clone()).collect();
            let asked: BTreeSet<&String> = self.symbols.iter().flatten().collect();
            for symbol in asked.into_iter().filter(|s| !scanned.contains(*s) && !named.contains(*s)) {
                let similar = closest(symbol, scanned.iter().map(String::as_str));
                let similar = similar.map(|similar| format!("; did you mean {similar}?")).unwrap_or_default();
                let reason = format!("no data: the table has no bar of it{similar}");
                skipped.push(Skipped { symbol: symbol.clone(), reason });
            }
        }
        skipped.sort_by(|a, b| (&a.symbol, &a.reason).cmp(&(&b.symbol, &b.reason)));
        skipped
    }

    /// The numbers.
    pub fn statistics(&self) -> ScanStatistics {
        let scanned = Findings::of(&self.plan).symbols;
        let asked = match &self.symbols {
            Some(symbols) => symbols.iter().collect::<HashSet<_>>().len() as u64,
            None => {
                let skipped: BTreeSet<String> = self.skipped().into_iter().map(|f| f.symbol).collect();
                let more = skipped.difference(&scanned).count() as u64;
                self.total.unwrap_or(0).max(scanned.len() as u64) + more
            }
        };
        let (matches, with_matches) = self.matches();
        ScanStatistics {
            table: self.name.clone(),
            asked,
            scanned: scanned.len() as u64,
            with_matches,
            matches,
            bars: self.guarded("bars"),
            too_old: counts(&self.plan, NEWEST_BARS).dropped,
            ended: self.ended(),
            given_up: self.patience.is_exhausted(),
        }
    }
}
