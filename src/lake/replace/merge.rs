//! One pass over the new rows and the old ones of the files that are rewritten.

use crate::sorted_rows::SortedRows;
use crate::writer::TableWriter;
use arrow::array::{AsArray, RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::TimestampMicrosecondType;
use datafusion::common::{Result, internal_err};
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::Range;
use tallow_common::{Ranges, Times};

/// New rows, and the old ones that they may replace.
pub(super) struct Merge<'a> {
    pub new: SortedRows,
    /// Of files that are cut by symbol.
    pub by_symbol: SortedRows,
    /// Of tails.
    pub recent: SortedRows,
    /// Where old rows go.
    pub ranges: &'a Ranges,
    /// The last symbols of the files cut by symbol: a new file does not span what lay in two.
    pub ends: VecDeque<String>,
    /// New rows go to files by symbol, also where no old ones of their symbol follow: nothing stays that they lie beside.
    pub all_by_symbol: bool,
    /// Rows from this time on stay in the tail, whatever else is true of them.
    pub open_from: i64,
    pub progress: &'a (dyn Fn(u64) + Send + Sync),
}

/// Where rows go to.
pub(super) struct Outputs<'w, 'a> {
    pub by_symbol: &'w mut TableWriter<'a>,
    pub tail: &'w mut TableWriter<'a>,
    /// Old rows of tails, where these are closed.
    pub closed: Option<&'w mut TableWriter<'a>>,
}

/// A place in the order of rows.
type Key = (String, i64);

/// Whose row is next.
enum Next {
    New,
    BySymbol,
    Recent,
}

impl Merge<'_> {
    /// Returns the number of new rows.
    pub async fn run(mut self, mut outputs: Outputs<'_, '_>) -> Result<u64> {
        let mut rows = 0;
        loop {
            self.new.fill().await?;
            self.by_symbol.fill().await?;
            self.recent.fill().await?;
            let [new, by_symbol, recent] = [&self.new, &self.by_symbol, &self.recent]
                .map(|rows| rows.cursor.key().map(|(symbol, ts)| (symbol.to_string(), ts)));
            let Some((next, symbol)) = next(&new, &by_symbol, &recent) else { return Ok(rows) };
            if matches!(next, Next::New | Next::BySymbol) {
                self.end_files(&symbol, &mut outputs).await?;
            }
            match next {
                Next::New => {
                    // A file by symbol takes what lies before one of its old rows.
                    let inside = by_symbol.as_ref().is_some_and(|(of, _)| *of == symbol);
                    let limit = if inside || self.all_by_symbol { &by_symbol } else { &recent };
                    let taken = self.new.cursor.take_while(|key| key.0 == symbol && is_at_most(key, limit));
                    let Some(taken) = taken else { return internal_err!("no new row") };
                    self.check(&symbol, &taken)?;
                    rows += taken.num_rows() as u64;
                    (self.progress)(rows);
                    if self.all_by_symbol {
                        let (settled, open) = self.split(taken)?;
                        outputs.by_symbol.push(settled).await?;
                        outputs.tail.push(open).await?;
                    } else if inside {
                        outputs.by_symbol.push(taken).await?;
                    } else {
                        outputs.tail.push(taken).await?;
                    }
                }
                Next::BySymbol => {
                    let old = self.by_symbol.cursor.take_while(|key| key.0 == symbol && is_before(key, &new));
                    for kept in kept(old.as_ref(), &self.ranges.of(&symbol)) {
                        outputs.by_symbol.push(kept).await?;
                    }
                }
                Next::Recent => {
                    let old = self.recent.cursor.take_while(|key| key.0 == symbol && is_before(key, &new));
                    for kept in kept(old.as_ref(), &self.ranges.of(&symbol)) {
                        match &mut outputs.closed {
                            Some(closed) => {
                                let (settled, open) = self.split(kept)?;
                                closed.push(settled).await?;
                                outputs.tail.push(open).await?;
                            }
                            None => outputs.tail.push(kept).await?,
                        }
                    }
                }
            }
        }
    }

    /// The rows of one symbol that lie before those which stay in the tail, and these.
    fn split(&self, rows: RecordBatch) -> Result<(RecordBatch, RecordBatch)> {
        let times = rows.column(1).as_primitive::<TimestampMicrosecondType>().values();
        let at = times.partition_point(|time| *time < self.open_from);
        if at == rows.num_rows() {
            return Ok((rows.clone(), rows.slice(at, 0)));
        }
        // The few rows of each symbol that wait for the tail must not hold the memory of all others.
        let open: UInt64Array = (at as u64..rows.num_rows() as u64).collect();
        Ok((rows.slice(0, at), take_record_batch(&rows, &open)?))
    }

    /// Ends the file of symbols that all lie before this one.
    async fn end_files(&mut self, symbol: &str, outputs: &mut Outputs<'_, '_>) -> Result<()> {
        let mut ended = false;
        while self.ends.front().is_some_and(|end| end.as_str() < symbol) {
            self.ends.pop_front();
            ended = true;
        }
        if ended { outputs.by_symbol.cut().await } else { Ok(()) }
    }

    /// A row elsewhere would come beside an old one.
    fn check(&self, symbol: &str, rows: &RecordBatch) -> Result<()> {
        let ranges = self.ranges.of(symbol);
        let times = rows.column(1).as_primitive::<TimestampMicrosecondType>().values();
        match times.iter().find(|time| !ranges.contains(**time)) {
            Some(time) => internal_err!("a new row of {symbol} at {time} lies outside of what is replaced"),
            None => Ok(()),
        }
    }
}

/// Whose row is next, and its symbol; of equal keys the new one.
fn next(new: &Option<Key>, by_symbol: &Option<Key>, recent: &Option<Key>) -> Option<(Next, String)> {
    let all = [(Next::New, new), (Next::BySymbol, by_symbol), (Next::Recent, recent)];
    let some = all.into_iter().filter_map(|(next, key)| key.as_ref().map(|key| (next, key)));
    let first = some.reduce(|a, b| if b.1.cmp(a.1) == Ordering::Less { b } else { a });
    first.map(|(next, key)| (next, key.0.clone()))
}

fn is_before(key: (&str, i64), other: &Option<Key>) -> bool {
    other.as_ref().is_none_or(|(symbol, ts)| key < (symbol.as_str(), *ts))
}

fn is_at_most(key: (&str, i64), other: &Option<Key>) -> bool {
    other.as_ref().is_none_or(|(symbol, ts)| key <= (symbol.as_str(), *ts))
}

/// The rows of one symbol that lie outside of what is replaced.
fn kept(rows: Option<&RecordBatch>, replaced: &Times) -> Vec<RecordBatch> {
    let Some(rows) = rows else { return vec![] };
    let times = rows.column(1).as_primitive::<TimestampMicrosecondType>().values();
    let mut kept: Vec<Range<usize>> = vec![];
    for (row, time) in times.iter().enumerate() {
        match kept.last_mut() {
            _ if replaced.contains(*time) => {}
            Some(last) if last.end == row => last.end += 1,
            _ => kept.push(row..row + 1),
        }
    }
    let part = |range: Range<usize>| match range.len() == rows.num_rows() {
        true => rows.clone(),
        false => rows.slice(range.start, range.len()),
    };
    kept.into_iter().map(part).collect()
}
