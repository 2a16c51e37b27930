//! A strategy on paper: an account that goes on as bars come, and is what a back-test over the same bars makes of it.

use super::Backtest;
use super::bars::{Batch, Instant, Symbols, instants};
use super::run::Account;
use crate::Session;
use crate::bounds::Range;
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::logical_expr::col;
use futures::StreamExt;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tallow_common::time::timestamp_type;
use tallow_common::{Error, Result};
use tallow_udfs::trade::backtest::account::Rejected;
use tallow_udfs::trade::backtest::portfolio::{Entered, Ledger, Mark, SymbolBar};
use tallow_udfs::trade::backtest::simulate::Trade;
use tallow_udfs::trade::backtest::{Reason, Side};

/// Instants of which bars may be corrected or come late.
const RECENT: usize = 64;

/// An account that a strategy trades with as bars come.
///
/// It never sells because the data ends: for that, compare it with a back-test whose option `end` is `open`. A bar that is corrected
/// changes what was bought and sold since, as in a back-test over the corrected bars.
#[derive(Debug)]
pub struct Paper {
    of: Backtest,
    /// The query for the bars with what the strategy makes of them.
    sql: String,
    symbols: Symbols,
    /// The account before the recent instants, and after them.
    before: Account<'static>,
    now: Account<'static>,
    recent: VecDeque<Recent>,
    /// The last instant that is not among them.
    through: i64,
    /// Bars that changed too late.
    too_late: u64,
}

#[derive(Debug)]
struct Recent {
    instant: Instant,
    told: Vec<Told>,
    revision: u32,
}

/// A row of what is told.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    event: &'static str,
    symbol: Option<usize>,
    side: Option<Side>,
    quantity: Option<f64>,
    price: Option<f64>,
    pnl: Option<f64>,
    reason: Option<&'static str>,
    mark: Option<(Mark, i64)>,
}

impl Told {
    fn of(event: &'static str, symbol: Option<usize>) -> Told {
        let (side, quantity, price, pnl, reason, mark) = (None, None, None, None, None, None);
        Told { event, symbol, side, quantity, price, pnl, reason, mark }
    }
}

/// What happens at an instant.
#[derive(Default)]
struct Happened {
    told: Vec<Told>,
    /// Entries that did not happen.
    rejected: i64,
}

impl Ledger for Happened {
    fn entered(&mut self, symbol: usize, entered: &Entered) {
        let Entered { side, price, quantity } = *entered;
        let told = Told::of("entered", Some(symbol));
        self.told.push(Told { side: Some(side), quantity: Some(quantity), price: Some(price), ..told });
    }

    fn left(&mut self, symbol: usize, trade: &Trade) {
        self.told.push(Told {
            side: Some(trade.side),
            quantity: Some(trade.quantity),
            price: Some(trade.exit_price),
            pnl: Some(trade.pnl),
            reason: Some(Reason::NAMES[trade.reason as usize]),
            ..Told::of("left", Some(symbol))
        });
    }

    fn rejected(&mut self, _: usize, _: Rejected) {
        self.rejected += 1;
    }
}

/// An account goes on by an instant; what there is to tell of it.
fn step(account: &mut Account<'_>, instant: &Instant) -> Vec<Told> {
    let mut happened = Happened::default();
    let mark = account.step(instant, false, &mut happened);
    let mark = Some((mark, happened.rejected));
    happened.told.push(Told { mark, ..Told::of("account", None) });
    happened.told
}

impl Paper {
    /// An account that begins at a time, or with the first bar, and what the bars of the table up to another time, which is not
    /// among them, have made of it.
    ///
    /// # Errors
    /// As [`Backtest::run`]; or the strategy looks at shorter bars.
    pub async fn begin(session: &Session, strategy: &Backtest, from: Option<i64>, until: Option<i64>) -> Result<Paper> {
        strategy.check()?;
        if strategy.detail.is_some() {
            return Err(Error::Argument("detail", ": an account on paper sees no shorter bars".to_string()));
        }
        let (of, relation) = strategy.with_query(session).await?;
        let of = Backtest { range: Range { from, to: until }, ..of.into_owned() };
        let sql = of.sql(session, &relation, &[])?;
        let everywhere = Backtest { range: Range::default(), ..of.clone() };
        // No bar is known to be the last of its symbol.
        let symbols = everywhere.lasts(session, &relation).await?.into_iter();
        let symbols = Symbols::of(symbols.map(|(name, _, bars)| (name, i64::MAX, bars)).collect());
        let mut before = of.account(session).await?;
        // Whatever is known, a strategy that looks ahead is refused.
        everywhere.bars(session, &relation).await?;
        let (mut open, mut recent) = (Instant::default(), VecDeque::new());
        let mut through = i64::MIN;
        let mut known = |instant: &Instant| {
            let instant = Instant { ts: instant.ts, bars: instant.bars.clone() };
            recent.push_back(instant);
            if recent.len() > RECENT
                && let Some(oldest) = recent.pop_front()
            {
                through = oldest.ts;
                step(&mut before, &oldest);
            }
        };
        if until.is_none_or(|until| from.unwrap_or(i64::MIN) < until) {
            let bars = of.bars(session, &relation).await?;
            let by_time = bars.sort(vec![col("ts").sort(true, false), col("symbol").sort(true, false)])?;
            let mut rows = session.execute(session.plan(by_time).await?)?;
            while let Some(batch) = rows.next().await {
                instants(&batch?, &of, &symbols, &mut open, &mut known)?;
            }
        }
        if !open.bars.is_empty() {
            known(&open);
        }
        let mut now = before.clone();
        let recent = recent.into_iter().map(|instant| {
            let told = step(&mut now, &instant);
            Recent { instant, told, revision: 0 }
        });
        let recent = recent.collect();
        Ok(Paper { of, sql, symbols, before, now, recent, through, too_late: 0 })
    }

    /// The query for the bars with what the strategy makes of them, which the account is then told.
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// The columns of what it tells: `ts`, `event`, which is entered, left or account, and what belongs to that. `rejected` counts the
    /// entries of an instant that did not happen.
    pub fn schema() -> SchemaRef {
        let number = |name: &str| Field::new(name, DataType::Float64, true);
        let text = |name: &str| Field::new(name, DataType::Utf8, true);
        Arc::new(Schema::new(vec![
            Field::new("ts", timestamp_type(), false),
            Field::new("event", DataType::Utf8, false),
            text("symbol"),
            text("side"),
            number("quantity"),
            number("price"),
            number("pnl"),
            text("reason"),
            number("cash"),
            number("value"),
            number("equity"),
            Field::new("positions", DataType::Int64, true),
            Field::new("rejected", DataType::Int64, true),
        ]))
    }

    /// Takes rows of its query, all of an instant together; what happened, and how often each instant was told before.
    ///
    /// # Errors
    /// They are not rows of its query.
    pub fn take(&mut self, rows: &RecordBatch) -> Result<(RecordBatch, Vec<u32>)> {
        self.symbols.learn(rows)?;
        let batch = Batch::of(rows, &self.symbols)?;
        let mut by_time: BTreeMap<i64, Vec<SymbolBar>> = BTreeMap::new();
        for row in 0..rows.num_rows() {
            let bar = batch.bar(row, &self.of, self.of.each(), &self.symbols);
            by_time.entry(batch.ts[row]).or_default().push(bar);
        }
        let (mut changed, mut told) = (false, vec![]);
        for (ts, bars) in by_time {
            if ts <= self.through {
                self.too_late += 1;
                if self.too_late == 1 {
                    tracing::warn!(
                        "a bar changed too late for the account, which keeps what it was: a back-test tells"
                    );
                }
                continue;
            }
            let at = self.recent.partition_point(|recent| recent.instant.ts < ts);
            let is_newest = at == self.recent.len();
            let is_there = self.recent.get(at).is_some_and(|recent| recent.instant.ts == ts);
            if !is_there {
                let instant = Instant { ts, bars: vec![] };
                self.recent.insert(at, Recent { instant, told: vec![], revision: 0 });
            }
            let instant = &mut self.recent[at].instant;
            for bar in bars {
                let place = instant.bars.partition_point(|known| known.symbol < bar.symbol);
                match instant.bars.get_mut(place) {
                    Some(known) if known.symbol == bar.symbol => *known = bar,
                    _ => instant.bars.insert(place, bar),
                }
            }
            if !is_newest {
                changed = true;
            } else if !changed {
                let recent = &mut self.recent[at];
                recent.told = step(&mut self.now, &recent.instant);
                told.push(at);
            }
        }
        if changed {
            told = self.again();
        }
        let mut all = vec![];
        for at in told {
            let Recent { instant, told, revision } = &self.recent[at];
            all.extend(told.iter().map(|told| (instant.ts, *revision, told)));
        }
        let rows = self.rows(&all)?;
        let revisions = all.iter().map(|(_, revision, _)| *revision).collect();
        while self.recent.len() > RECENT
            && let Some(oldest) = self.recent.pop_front()
        {
            self.through = oldest.instant.ts;
            step(&mut self.before, &oldest.instant);
        }
        Ok((rows, revisions))
    }

    /// Goes through the recent instants again; those of which something else is to be told.
    fn again(&mut self) -> Vec<usize> {
        self.now = self.before.clone();
        let mut changed = vec![];
        for (at, recent) in self.recent.iter_mut().enumerate() {
            let told = step(&mut self.now, &recent.instant);
            if told != recent.told {
                recent.revision += u32::from(!recent.told.is_empty());
                recent.told = told;
                changed.push(at);
            }
        }
        changed
    }

    fn rows<'a>(&'a self, all: &[(i64, u32, &'a Told)]) -> Result<RecordBatch> {
        let times: Vec<i64> = all.iter().map(|(ts, ..)| *ts).collect();
        let all = || all.iter().map(|(_, _, told)| *told);
        let number = |of: fn(&Told) -> Option<f64>| -> ArrayRef {
            Arc::new(all().map(|told| of(told).filter(|number| number.is_finite())).collect::<Float64Array>())
        };
        let text =
            |of: &dyn Fn(&'a Told) -> Option<&'a str>| -> ArrayRef { Arc::new(StringArray::from_iter(all().map(of))) };
        let side = |side: Side| if side == Side::Long { "long" } else { "short" };
        let count = |of: fn(&(Mark, i64)) -> i64| -> ArrayRef {
            Arc::new(all().map(|told| told.mark.as_ref().map(of)).collect::<Int64Array>())
        };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampMicrosecondArray::from(times).with_data_type(timestamp_type())),
            text(&|told| Some(told.event)),
            text(&|told| told.symbol.map(|symbol| self.symbols.names[symbol].as_str())),
            text(&|told| told.side.map(side)),
            number(|told| told.quantity),
            number(|told| told.price),
            number(|told| told.pnl),
            text(&|told| told.reason),
            number(|told| told.mark.map(|(mark, _)| mark.cash)),
            number(|told| told.mark.map(|(mark, _)| mark.value)),
            number(|told| told.mark.map(|(mark, _)| mark.equity)),
            count(|(mark, _)| mark.positions as i64),
            count(|(_, rejected)| *rejected),
        ];
        Ok(RecordBatch::try_new(Paper::schema(), columns)?)
    }
}
