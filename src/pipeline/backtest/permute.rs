//! Whether a strategy has an edge: it is run on the same bars in another order, many times.
//!
//! The moves of all bars stay, and with them drift and volatility; what came after what is gone. Where the strategy is about as good on
//! such bars, what it gained is not owed to when it entered and left.

use super::Backtest;
use crate::Session;
use crate::control::{Control, Progress, Unit};
use crate::random::Random;
use crate::relation::one;
use crate::rows::{column, numbers, texts, times};
use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use datafusion::catalog::MemTable;
use datafusion::execution::memory_pool::MemoryConsumer;
use futures::StreamExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tallow_common::{Error, Result};

/// What a strategy comes to on bars in another order.
#[derive(Debug, Clone, PartialEq)]
pub struct Permutation {
    /// Sharpe ratio of a year on the bars as they are.
    pub sharpe: f64,
    /// Those on bars in another order, ascending.
    pub permuted: Vec<f64>,
}

/// How bars are brought in other orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shuffles {
    /// How many orders.
    pub runs: usize,
    /// Bars that stay together.
    pub block: usize,
    /// What chance begins with.
    pub seed: u64,
}

impl Permutation {
    /// What it says.
    pub fn sentence(&self) -> String {
        let at = |share: f64| self.permuted[((self.permuted.len() - 1) as f64 * share).round() as usize];
        let spread = [0.05, 0.5, 0.95].map(|share| format!("{:.2}", at(share))).join(", ");
        format!(
            "the same bars in {} other orders, 5, 50 and 95 of a hundred: Sharpe ratio {spread}; in {} it was {:.2} or more (p = {:.3})",
            self.permuted.len(),
            self.at_least(),
            self.sharpe,
            self.p_value()
        )
    }

    /// How many of them are at least as good.
    pub fn at_least(&self) -> usize {
        self.permuted.iter().filter(|sharpe| **sharpe >= self.sharpe).count()
    }

    /// The probability that bars without order show a ratio as good, the bars as they are counted as one more such order.
    pub fn p_value(&self) -> f64 {
        (self.at_least() + 1) as f64 / (self.permuted.len() + 1) as f64
    }
}

/// Bars of all symbols, by symbol and time.
#[derive(Debug, Default)]
struct Bars {
    names: Vec<String>,
    /// Where the bars of each symbol begin, and where the last one's end.
    begins: Vec<usize>,
    /// The place of each bar's instant among all instants.
    instants: Vec<usize>,
    ts: Vec<i64>,
    /// Open, high, low, close, volume.
    prices: [Vec<f64>; 5],
}

/// Memory that a bar takes here and in the table that is made of it.
const BYTES_A_BAR: usize = 2 * 7 * 8 + 8;

impl Bars {
    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let (symbols, ts) = (texts(column(batch, "symbol")?)?, times(column(batch, "ts")?)?);
        for (name, ts) in symbols.into_iter().zip(ts) {
            if self.names.last() != Some(&name) {
                self.names.push(name);
                self.begins.push(self.ts.len());
            }
            self.ts.push(ts);
        }
        for (column_name, all) in ["open", "high", "low", "close", "volume"].iter().zip(&mut self.prices) {
            all.extend(numbers(column(batch, column_name)?)?);
        }
        Ok(())
    }

    /// Once all bars are there.
    fn complete(&mut self) {
        let mut instants: Vec<i64> = self.ts.clone();
        instants.sort_unstable();
        instants.dedup();
        self.instants = self.ts.iter().map(|ts| instants.partition_point(|known| known < ts)).collect();
        self.begins.push(self.ts.len());
    }

    /// How many instants there are.
    fn len(&self) -> usize {
        self.instants.iter().max().map_or(0, |last| last + 1)
    }

    /// The same bars where instants come in the order of these ranks: each symbol has its own moves in that order, at its own times.
    fn in_order(&self, ranks: &[usize]) -> [Vec<f64>; 5] {
        let mut out: [Vec<f64>; 5] = std::array::from_fn(|_| Vec::with_capacity(self.ts.len()));
        let [open, high, low, close, volume] = &self.prices;
        for bars in self.begins.windows(2).map(|ends| ends[0]..ends[1]) {
            let mut order: Vec<usize> = bars.clone().collect();
            order.sort_by_key(|bar| ranks[self.instants[*bar]]);
            let mut last = open[bars.start];
            for bar in order {
                // From the close before a bar to its open, and from there on.
                let gap = if bar > bars.start { open[bar] / close[bar - 1] } else { 1.0 };
                let begin = last * if gap.is_finite() && gap > 0.0 { gap } else { 1.0 };
                let of = |price: f64| begin * (price / open[bar]);
                let values = [begin, of(high[bar]), of(low[bar]), of(close[bar]), volume[bar]];
                if values[3].is_finite() && values[3] > 0.0 {
                    last = values[3];
                }
                out.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
            }
        }
        out
    }

    fn batch(&self, prices: [Vec<f64>; 5]) -> Result<RecordBatch> {
        let counts = self.begins.windows(2).map(|ends| ends[1] - ends[0]);
        let symbols =
            self.names.iter().zip(counts).flat_map(|(name, count)| std::iter::repeat_n(Some(name.as_str()), count));
        let ts = TimestampMicrosecondArray::from(self.ts.clone()).with_timezone("UTC");
        let [open, high, low, close, volume] = prices.map(|values| {
            let known = values.into_iter().map(|value| value.is_finite().then_some(value));
            Arc::new(known.collect::<Float64Array>()) as ArrayRef
        });
        Ok(RecordBatch::try_from_iter([
            ("symbol", Arc::new(symbols.collect::<StringArray>()) as ArrayRef),
            ("ts", Arc::new(ts)),
            ("open", open),
            ("high", high),
            ("low", low),
            ("close", close),
            ("volume", volume),
        ])?)
    }
}

/// The ranks of instants whose blocks of a length were shuffled.
fn shuffled(instants: usize, block: usize, random: &mut Random) -> Vec<usize> {
    let mut blocks: Vec<usize> = (0..instants.div_ceil(block)).collect();
    for at in (1..blocks.len()).rev() {
        blocks.swap(at, random.below(at + 1));
    }
    let mut ranks = vec![0; instants];
    let order = blocks.into_iter().flat_map(|number| number * block..((number + 1) * block).min(instants));
    order.enumerate().for_each(|(rank, instant)| ranks[instant] = rank);
    ranks
}

impl Backtest {
    /// Runs it on its bars in so many other orders: blocks of bars are shuffled, for all symbols alike, and prices are made anew
    /// of the bars' moves. `sharpe` is its Sharpe ratio on the bars as they are.
    ///
    /// # Errors
    /// As [`Backtest::run`]; formulas that read other columns than prices and volume, or other tables.
    pub async fn permuted(
        &self,
        session: &Session,
        sharpe: f64,
        shuffles: Shuffles,
        control: &Control,
    ) -> Result<Permutation> {
        let run = async |strategy: Backtest| {
            let own = Control { cancel: control.cancel.clone(), ..Control::default() };
            Ok(strategy.run(session, &own).await?.sharpe()?.unwrap_or(0.0))
        };
        self.on_shuffled(session, sharpe, shuffles, control, run).await
    }

    /// Does something with the strategy on its bars in other orders.
    pub(crate) async fn on_shuffled(
        &self,
        session: &Session,
        sharpe: f64,
        Shuffles { runs, block, seed }: Shuffles,
        control: &Control,
        best: impl AsyncFn(Backtest) -> Result<f64>,
    ) -> Result<Permutation> {
        if self.from_query.is_some() || self.benchmark.is_some() || self.detail.is_some() {
            let said = ": bars in another order have no benchmark, no rows of a query and no shorter bars".to_string();
            return Err(Error::Argument("permute", said));
        }
        let pool = Arc::clone(session.context().task_ctx().memory_pool());
        let reservation = MemoryConsumer::new("bars in another order").register(&pool);
        let bars = self.bars_in_memory(session, &reservation).await?;
        let mut random = Random(seed);
        static RUNS: AtomicU64 = AtomicU64::new(0);
        let name = format!("#bars in another order {}", RUNS.fetch_add(1, Ordering::Relaxed));
        let strategy = Backtest { table: name.clone(), range: Default::default(), symbols: None, ..self.clone() };
        let mut permuted = vec![];
        for run in 0..runs {
            let ranks = shuffled(bars.len(), block, &mut random);
            let batch = bars.batch(bars.in_order(&ranks))?;
            session.lake().keep_hidden(&name, Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?));
            let sharpe = best(strategy.clone()).await;
            session.lake().drop_hidden(&name);
            permuted.push(sharpe?);
            let (done, total) = (run as u64 + 1, Some(runs as u64));
            (control.progress)(Progress { unit: Unit::Rows, done, total, rows: done });
        }
        permuted.sort_by(f64::total_cmp);
        Ok(Permutation { sharpe, permuted })
    }

    async fn bars_in_memory(
        &self,
        session: &Session,
        reservation: &datafusion::execution::memory_pool::MemoryReservation,
    ) -> Result<Bars> {
        let (_, from) = self.with_query(session).await?;
        let sql = format!(
            "select symbol, ts, open, high, low, close, volume from (select * from {} as candles{}) where true{} order by symbol, ts",
            from.sql,
            self.among(),
            self.bounds()
        );
        let mut batches = session.execute(session.plan(one(session, &sql).await?).await?)?;
        let mut bars = Bars::default();
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            reservation.try_grow(batch.num_rows() * BYTES_A_BAR)?;
            bars.add(&batch)?;
        }
        bars.complete();
        Ok(bars)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars() -> Bars {
        let close = vec![10.0, 11.0, 9.9, 19.8, 5.0, 6.0];
        let open = vec![10.0, 10.5, 11.0, 9.9, 5.0, 5.5];
        let mut bars = Bars {
            names: vec!["A".to_string(), "B".to_string()],
            begins: vec![0, 4],
            ts: vec![0, 1, 2, 3, 1, 3],
            prices: [open.clone(), close.clone(), open, close, vec![1.0; 6]],
            ..Bars::default()
        };
        bars.complete();
        bars
    }

    #[test]
    fn bars_in_their_own_order_are_what_they_were() {
        let bars = bars();
        let prices = bars.in_order(&[0, 1, 2, 3]);
        for (got, want) in prices.iter().zip(&bars.prices) {
            assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-12), "{got:?} {want:?}");
        }
    }

    #[test]
    fn in_another_order_the_moves_are_the_same_for_all_symbols() {
        let bars = bars();
        // The last instant first.
        let [open, _, _, close, _] = bars.in_order(&[1, 2, 3, 0]);
        // A doubles from its first open; then come its other bars.
        assert!((open[0] - 10.0).abs() < 1e-12 && (close[0] - 20.0).abs() < 1e-12);
        assert!((close[3] / 10.0 - 1.98).abs() < 1e-9, "{close:?}");
        // B had its last bar at that instant too.
        assert!((close[4] / open[4] - 6.0 / 5.5).abs() < 1e-12);
    }

    #[test]
    fn blocks_stay_together() {
        let ranks = shuffled(10, 4, &mut Random(5));
        let mut sorted = ranks.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        assert!(
            [0..4, 4..8, 8..10].into_iter().all(|block| ranks[block].windows(2).all(|pair| pair[1] == pair[0] + 1))
        );
    }

    #[test]
    fn the_bars_as_they_are_count_as_one_order() {
        let of = Permutation { sharpe: 0.5, permuted: vec![-0.2, 0.1, 0.6] };
        assert_eq!((of.at_least(), of.p_value()), (1, 0.5));
    }
}
