//! A worker: what it keeps of its symbols, and how a batch of candles becomes results.

use crate::answers::{Results, lines};
use crate::core::{Bar, Batch, Failure, Symbol};
use crate::market::Market;
use crate::oracle::Oracle;
use crate::others::Kept;
use crate::standing::Standing;
use crate::symbols::Names;
use arrow::array::RecordBatch;
use datafusion::common::DataFusionError;
use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use tallow_common::{Code, code_of, readable};

/// A worker.
pub(crate) struct Worker {
    pub how: How,
    pub emitted: Emitted,
}

/// How results are computed.
pub(crate) enum How {
    /// The whole plan, over all the bars that they look at.
    Oracle(Oracle),
    /// The same, of all symbols together.
    Market(Market),
    /// Bar by bar.
    Standing(Standing),
}

/// Bars of a symbol, from before the first candle.
pub(crate) struct Known {
    pub symbol: Symbol,
    pub bars: VecDeque<Bar>,
    /// Whether there were more before.
    pub is_cut: bool,
}

/// What a batch gave.
#[derive(Debug)]
pub(crate) struct Answers {
    /// The rows that are new or changed.
    pub rows: RecordBatch,
    /// For each row, how often it was emitted before.
    pub revisions: Vec<u32>,
    /// Whether bars of other symbols may be missing, for each row; none: of no row.
    pub partial: Vec<bool>,
    /// The times whose rows were computed, of a symbol or of all: what is not among the rows is not there any more.
    pub ranges: Vec<(Option<Symbol>, Range<i64>)>,
    /// All rows as lines of JSON, if they were made.
    pub lines: Option<Vec<u8>>,
}

/// What came of a batch.
pub(crate) enum Computed {
    Answers(Answers),
    Failed(Failure),
    /// Symbols whose bars have to be looked up in the lake first, and from when on they change.
    TooOld(Vec<(Symbol, i64)>),
}

impl Computed {
    /// Makes lines of JSON of its rows.
    pub fn make_lines(&mut self) {
        if let Computed::Answers(Answers { rows, revisions, partial, lines: made, .. }) = self
            && rows.num_rows() > 0
            && !partial.contains(&true)
        {
            let results = Results { rows, revisions: Some(revisions), complete: true, lines: None };
            // What cannot be written is told when they are handed on.
            *made = lines(results).ok().map(Cow::into_owned);
        }
    }

    pub fn failed(error: &DataFusionError) -> Computed {
        Computed::Failed(Failure {
            is_transient: matches!(code_of(error), Code::Resources | Code::Unavailable | Code::Timeout),
            message: readable(error),
        })
    }
}

/// Which rows were emitted.
#[derive(Default)]
pub(crate) struct Emitted {
    /// Up to when, by the numbers of symbols.
    until: Vec<Option<i64>>,
    /// How often those that were corrected.
    revisions: HashMap<(Symbol, i64), u32>,
}

impl Emitted {
    /// How often a row was emitted before, now that it is again.
    pub fn revision(&mut self, symbol: Symbol, ts: i64) -> u32 {
        if self.until.get(symbol.0 as usize).is_none_or(|until| Some(ts) > *until) {
            return 0;
        }
        *self.revisions.entry((symbol, ts)).and_modify(|known| *known += 1).or_insert(1)
    }

    /// Says that all rows up to one are.
    pub fn through(&mut self, symbol: Symbol, ts: i64) {
        let at = symbol.0 as usize;
        if self.until.len() <= at {
            self.until.resize(at + 1, None);
        }
        self.until[at] = self.until[at].max(Some(ts));
    }
}

impl Worker {
    /// Takes bars that are known before the first candle.
    pub fn warm(&mut self, known: Known, name: &Arc<str>) -> Result<(), DataFusionError> {
        match &mut self.how {
            How::Oracle(oracle) => oracle.warm(known, &mut self.emitted),
            How::Market(market) => market.warm(known, name, &mut self.emitted),
            How::Standing(standing) => standing.warm(known, name, &mut self.emitted)?,
        }
        Ok(())
    }

    /// Computes a batch. If that fails, the worker is what it was.
    pub async fn compute(&mut self, batch: &Batch, names: &Names, others: &[Arc<Kept>]) -> Computed {
        match &mut self.how {
            How::Oracle(oracle) => oracle.compute(batch, names, others, &mut self.emitted).await,
            How::Market(market) => market.compute(batch, names, others, &mut self.emitted).await,
            How::Standing(standing) => standing.compute(batch, names, &mut self.emitted),
        }
    }

    /// What bars would give that are not closed, one of each symbol, behind its newest; nothing is kept of it.
    pub async fn peek(
        &mut self,
        bars: &[(Symbol, Bar)],
        names: &Names,
        others: &[Arc<Kept>],
    ) -> Result<RecordBatch, DataFusionError> {
        match &mut self.how {
            How::Oracle(oracle) => oracle.peek(bars, names, others).await,
            How::Market(market) => market.peek(bars, names, others).await,
            How::Standing(standing) => standing.peek(bars, names),
        }
    }

    /// All bars of a symbol that are known, from the oldest on, which change from a time on.
    pub fn rebuild(&mut self, symbol: Symbol, bars: &[Bar], from: i64, names: &Names) -> Result<(), DataFusionError> {
        match &mut self.how {
            How::Oracle(oracle) => oracle.rebuild(symbol, bars),
            How::Market(market) => market.rebuild(symbol, bars, names),
            How::Standing(standing) => standing.rebuild(symbol, bars, from, names)?,
        }
        Ok(())
    }

    /// The newest bar of a symbol.
    pub fn newest(&self, symbol: Symbol) -> Option<i64> {
        match &self.how {
            How::Oracle(oracle) => oracle.newest(symbol),
            How::Market(market) => market.newest(symbol),
            How::Standing(standing) => standing.newest(symbol),
        }
    }
}
