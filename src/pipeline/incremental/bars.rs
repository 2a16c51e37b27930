//! The bars of a table that count for a reach, as far back as somebody has to know them.

use super::work::rows_within;
use crate::Session;
use crate::bounds::Read;
use crate::quoting::quoted;
use crate::resample::made_from;
use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion::catalog::TableProvider;
use datafusion::common::Column;
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tallow_common::time::timestamp_type;
use tallow_common::{Ranges, Result, Times};
use tallow_engine::reach::{CountedBars, LongerBars};
use tallow_lake::CandleTable;
use tallow_udfs::series::{Bars, Reach};

/// How much further back bars are looked up each time those that are known do not reach.
const FURTHER: i64 = 4;
/// All bars are read where those that are needed are at least one of so many.
const READ_AT_ONCE: i64 = 3;
/// Bars that are looked up beyond those that a reach counts, since not all of them count.
const SPARE_BARS: i64 = 16;

/// About the time between two bars of a table, or two longer ones that these make up.
pub(super) fn spacing(table: &CandleTable, longer: Option<&LongerBars>) -> i64 {
    let summary = table.summary();
    let Some((first, last)) = summary.times else { return i64::MAX };
    // Of fewer symbols than there are, bars lie closer: then more is looked up in a second step.
    let each = (summary.rows / table.least_symbols().max(1)).max(1);
    let own = last.saturating_sub(first) / i64::try_from(each).unwrap_or(i64::MAX);
    let longer = longer.map_or(0, |longer| longer.grid.bar(last).1.saturating_sub(longer.grid.bar(last).0));
    own.max(longer).max(1)
}

/// The bars of some symbols of a table.
pub(super) struct TableBars<'a> {
    session: &'a Session,
    name: &'a str,
    table: &'a CandleTable,
    read: &'a Read,
    /// The longer bars that count, where those of the table only make them up.
    longer: Option<LongerBars>,
    symbols: BTreeSet<String>,
    known: BTreeMap<String, Known>,
    /// How far back the next look-up goes.
    step: i64,
}

/// What is known of the bars of a symbol.
struct Known {
    /// The times of all that count from this time on.
    times: Vec<i64>,
    from: i64,
}

impl<'a> TableBars<'a> {
    /// Bars of these symbols, of which nothing is known yet.
    pub fn new(
        session: &'a Session,
        name: &'a str,
        table: &'a CandleTable,
        read: &'a Read,
        symbols: BTreeSet<String>,
    ) -> TableBars<'a> {
        TableBars { session, name, table, read, longer: None, symbols, known: BTreeMap::new(), step: 0 }
    }

    /// The longer bars that these make up.
    pub fn making_up(self, longer: LongerBars) -> TableBars<'a> {
        TableBars { longer: Some(longer), ..self }
    }

    /// Whether these are among its symbols.
    pub fn has(&self, symbols: &BTreeSet<String>) -> bool {
        symbols.is_subset(&self.symbols)
    }

    /// The rows that changes at these times affect.
    pub async fn affected(&mut self, changed: &Ranges, reach: Reach) -> Result<Ranges> {
        // The bars that these will need are looked up with them.
        if let Some(hull) = changed.hull()
            && reach.back != Bars::Count(0)
            && !self.is_near_beginning(hull.start, reach.back)
        {
            self.step = self.step.max(self.back_from(hull.start, reach.back));
        }
        self.widened(changed, (reach.ahead, reach.back), |bars, times| bars.affected(times, reach)).await
    }

    /// The bars that rows at these times need; more, where it takes as long to find out where they begin as to read them.
    pub async fn needed(&mut self, rows: &Ranges, reach: Reach) -> Result<Ranges> {
        let from_beginning = rows.hull().is_some_and(|hull| self.is_near_beginning(hull.start, reach.back));
        let back = if from_beginning { Bars::Unbounded } else { reach.back };
        let reach = Reach { back, ..reach };
        self.widened(rows, (reach.back, reach.ahead), |bars, times| bars.needed(times, reach)).await
    }

    /// Whether so many bars before a time are so large a part of all before it that these are read at once.
    fn is_near_beginning(&self, time: i64, back: Bars) -> bool {
        let first = self.table.summary().times.map_or(i64::MAX, |(first, _)| first);
        match back {
            Bars::Count(0) => false,
            _ => time.saturating_sub(self.back_from(time, back).saturating_mul(READ_AT_ONCE)) <= first,
        }
    }

    /// Ranges widened by so many bars before and after.
    async fn widened(
        &mut self,
        ranges: &Ranges,
        (before, after): (Bars, Bars),
        of: impl Fn(CountedBars<'_>, &Times) -> Option<Times>,
    ) -> Result<Ranges> {
        let Some(hull) = ranges.hull() else { return Ok(Ranges::default()) };
        let counts_bars = before != Bars::Unbounded || after != Bars::Count(0);
        let length = if before == Bars::Unbounded { 0 } else { self.back_from(hull.start, before) };
        let from = hull.start.saturating_sub(length);
        let is_far = |symbol: &&String| self.known.get(*symbol).is_none_or(|known| known.from > from);
        let far: BTreeSet<String> = self.symbols.iter().filter(is_far).cloned().collect();
        if counts_bars && !far.is_empty() {
            self.step = self.step.max(length);
            self.look_up(far, hull.start).await?;
        }
        // A symbol whose bars seldom count is looked up further than all others.
        loop {
            match self.widened_by_known(ranges, &of) {
                Ok(widened) => return Ok(widened),
                Err(symbols) => {
                    let known = symbols.iter().filter_map(|symbol| self.known.get(symbol));
                    let before = known.map(|known| known.from).min().unwrap_or(hull.start);
                    self.look_up(symbols, before).await?;
                }
            }
        }
    }

    /// As an error the symbols of which more bars have to be known.
    fn widened_by_known(
        &self,
        ranges: &Ranges,
        of: &impl Fn(CountedBars<'_>, &Times) -> Option<Times>,
    ) -> std::result::Result<Ranges, BTreeSet<String>> {
        let (mut widened, mut unknown) = (Ranges::default(), BTreeSet::new());
        for symbol in &self.symbols {
            let times = ranges.of(symbol);
            if times.is_empty() {
                continue;
            }
            let bars = match self.known.get(symbol) {
                Some(known) => CountedBars { times: &known.times, from_beginning: known.from == i64::MIN },
                None => CountedBars { times: &[], from_beginning: false },
            };
            match of(bars, &times) {
                Some(times) => widened.add(symbol, &times),
                None => drop(unknown.insert(symbol.clone())),
            }
        }
        if unknown.is_empty() { Ok(widened) } else { Err(unknown) }
    }

    /// About how far so many bars before a time lie from it.
    fn back_from(&self, time: i64, bars: Bars) -> i64 {
        match bars {
            Bars::Count(0) => 0,
            Bars::Count(bars) => self.length(bars),
            Bars::Since(bars, anchor) => {
                time.saturating_sub(anchor.around(time).start).saturating_add(self.length(bars))
            }
            Bars::Unbounded => i64::MAX,
        }
    }

    /// About the time that so many bars take, and some more.
    fn length(&self, bars: usize) -> i64 {
        self.spacing().saturating_mul(i64::try_from(bars).unwrap_or(i64::MAX).saturating_add(SPARE_BARS))
    }

    /// About the time between two bars that count.
    fn spacing(&self) -> i64 {
        spacing(self.table, self.longer.as_ref())
    }

    /// SQL: symbol and time of the bars of a table that count, or of the longer ones that these make up.
    async fn counted(&self, table: &str) -> Result<String> {
        let of_table = self.session.lake().bars(self.name).await?;
        let made = self.longer.as_ref().zip(of_table);
        let Some((LongerBars { timeframe, origin, .. }, (shorter, begin))) =
            made.filter(|(longer, (own, begin))| (longer.timeframe, &longer.origin) != (*own, begin))
        else {
            return Ok(self.read.counted(table, "true"));
        };
        let volume = self.table.schema().index_of("volume").is_ok();
        let made = made_from(&quoted(table), volume, (shorter, &begin), (*timeframe, origin))?;
        Ok(self.read.counted_in(&format!("({made})"), "true"))
    }

    /// Looks up bars of some symbols from some way before a time on.
    async fn look_up(&mut self, symbols: BTreeSet<String>, before: i64) -> Result<()> {
        self.step = self.step.max(self.length(0));
        let from = before.saturating_sub(self.step);
        let first = self.table.summary().times.map_or(i64::MAX, |(first, _)| first);
        // The first of longer bars is a whole one, too.
        let from = self.longer.as_ref().map_or(from, |longer| longer.grid.bar(from).0);
        let from = if from <= first { i64::MIN } else { from };
        self.step = self.step.saturating_mul(FURTHER);
        let mut ranges = Ranges::default();
        let since: Times = [from..i64::MAX].into_iter().collect();
        symbols.iter().for_each(|symbol| ranges.add(symbol, &since));
        let ranges = Arc::new(ranges);
        let provider = Arc::new(self.table.within(&ranges));
        let key = ["symbol", "ts"].map(|name| Expr::Column(Column::from_name(name)));
        let [symbol, ts] = key;
        let plan = LogicalPlanBuilder::scan("bars", provider_as_source(provider), None)?
            .filter(rows_within(symbol, ts, &ranges))?
            .build()?;
        // Runs at the same time have tables of their own.
        static LOOK_UPS: AtomicU64 = AtomicU64::new(0);
        let name = format!("#bars {} of {}", LOOK_UPS.fetch_add(1, Ordering::Relaxed), self.name);
        self.session.lake().keep_hidden(&name, Arc::new(ViewTable::new(plan, None)));
        let sql = format!("{} order by symbol, ts", self.counted(&name).await?);
        let found = self.session.collect(self.session.sql(&sql).await?).await;
        self.session.lake().drop_hidden(&name);
        self.known.extend(symbols.iter().map(|symbol| (symbol.clone(), Known { times: vec![], from })));
        for batch in found? {
            let [symbols, times] =
                [(0, DataType::Utf8), (1, timestamp_type())].map(|(column, kind)| cast(batch.column(column), &kind));
            let (symbols, times) = (symbols?, times?);
            let (symbols, times) = (symbols.as_string::<i32>(), times.as_primitive::<TimestampMicrosecondType>());
            let mut row = 0;
            while row < batch.num_rows() {
                let symbol = symbols.value(row);
                let end = (row..batch.num_rows()).find(|&other| symbols.value(other) != symbol);
                let of_symbol = &times.values()[row..end.unwrap_or(batch.num_rows())];
                if let Some(known) = self.known.get_mut(symbol) {
                    known.times.extend(of_symbol);
                }
                row += of_symbol.len();
            }
        }
        if from != i64::MIN {
            // Whether the first bar moved, only the one before it tells.
            for symbol in &symbols {
                if let Some(known) = self.known.get_mut(symbol).filter(|known| !known.times.is_empty()) {
                    known.times.remove(0);
                }
            }
        }
        Ok(())
    }
}
