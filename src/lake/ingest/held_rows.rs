//! Delivered rows in memory, brought into the order of (symbol, ts, delivery). Symbols are numbered as they come: rows are
//! counted into their places, and no texts are compared but those of the symbols.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringViewArray, StringViewBuilder};
use arrow::compute::interleave;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::{DataFusionError, HashMap, Result};
use futures::stream::{self, BoxStream, StreamExt};
use std::sync::Arc;

/// Rows of a batch that is handed out.
const BATCH_ROWS: usize = 32_768;

/// Rows in the order of their delivery, by symbol.
pub(super) struct HeldRows {
    schema: SchemaRef,
    /// Without their symbols ...
    batches: Vec<RecordBatch>,
    /// ... of which each row has the number.
    numbers: Vec<u32>,
    symbols: Vec<Symbol>,
    number_of: HashMap<String, u32>,
    bytes: usize,
}

/// What is known of a symbol's rows.
struct Symbol {
    name: String,
    rows: usize,
    newest: i64,
    in_order: bool,
}

/// A row: its batch, and its place there.
type Place = (u32, u32);

impl HeldRows {
    /// No rows of a schema yet.
    pub fn new(schema: SchemaRef) -> HeldRows {
        HeldRows { schema, batches: vec![], numbers: vec![], symbols: vec![], number_of: HashMap::new(), bytes: 0 }
    }

    /// Takes rows, which have a symbol and a time each.
    pub fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        let names = batch.column(0).as_string_view();
        let times = batch.column(1).as_primitive::<TimestampMicrosecondType>().values();
        self.numbers.reserve(batch.num_rows());
        for (row, time) in times.iter().enumerate() {
            let name = names.value(row);
            let begin = || {
                self.symbols.push(Symbol { name: name.to_string(), rows: 0, newest: i64::MIN, in_order: true });
                (self.symbols.len() - 1) as u32
            };
            let number = *self.number_of.entry_ref(name).or_insert_with(begin);
            self.numbers.push(number);
            let symbol = &mut self.symbols[number as usize];
            symbol.rows += 1;
            symbol.in_order &= *time >= symbol.newest;
            symbol.newest = *time;
        }
        let columns: Vec<usize> = (1..batch.num_columns()).collect();
        let kept = batch.project(&columns)?;
        self.bytes += kept.get_array_memory_size() + kept.num_rows() * (size_of::<u32>() + size_of::<Place>());
        self.batches.push(kept);
        Ok(())
    }

    /// Memory that they take, and sorting them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The rows as they came.
    pub fn into_delivered(self) -> impl Iterator<Item = Result<RecordBatch>> {
        let HeldRows { schema, batches, numbers, symbols, .. } = self;
        let mut numbers = numbers.into_iter();
        batches.into_iter().map(move |batch| {
            let own = numbers.by_ref().take(batch.num_rows());
            let names: StringViewArray = own.map(|number| Some(symbols[number as usize].name.as_str())).collect();
            with_symbols(&schema, Arc::new(names), batch.columns().to_vec())
        })
    }

    /// The rows in order, gathered by as many tasks as there are threads.
    pub fn sorted(self) -> BoxStream<'static, Result<RecordBatch>> {
        let sorted = Arc::new(Sorted::of(self));
        let batches = (0..sorted.places.len()).step_by(BATCH_ROWS).map(move |from| {
            let sorted = Arc::clone(&sorted);
            async move {
                let gathered = SpawnedTask::spawn(async move { sorted.rows(from) });
                gathered.join().await.map_err(|e| DataFusionError::External(Box::new(e)))?
            }
        });
        let threads = tokio::runtime::Handle::current().metrics().num_workers();
        stream::iter(batches).buffered(threads).boxed()
    }
}

/// Where the rows stand that come one after another.
struct Sorted {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    places: Vec<Place>,
    /// Each symbol and the place after its last row, in order.
    ends: Vec<(String, usize)>,
}

impl Sorted {
    fn of(rows: HeldRows) -> Sorted {
        let HeldRows { schema, batches, numbers, symbols, .. } = rows;
        let mut order: Vec<usize> = (0..symbols.len()).collect();
        order.sort_unstable_by(|a, b| symbols[*a].name.cmp(&symbols[*b].name));
        let (mut next, mut end) = (vec![0; symbols.len()], 0);
        for &symbol in &order {
            next[symbol] = end;
            end += symbols[symbol].rows;
        }
        let mut places: Vec<Place> = vec![(0, 0); end];
        let all =
            batches.iter().enumerate().flat_map(|(batch, rows)| (0..rows.num_rows()).map(move |row| (batch, row)));
        for ((batch, row), number) in all.zip(numbers) {
            let at = &mut next[number as usize];
            places[*at] = (batch as u32, row as u32);
            *at += 1;
        }
        // By now it is where the symbol ends.
        let times: Vec<&[i64]> = batches.iter().map(times).collect();
        for (symbol, end) in symbols.iter().zip(&next).filter(|(symbol, _)| !symbol.in_order) {
            places[end - symbol.rows..*end].sort_by_key(|(batch, row)| times[*batch as usize][*row as usize]);
        }
        let mut names: Vec<String> = symbols.into_iter().map(|symbol| symbol.name).collect();
        let ends = order.into_iter().map(|symbol| (std::mem::take(&mut names[symbol]), next[symbol])).collect();
        Sorted { schema, batches, places, ends }
    }

    /// The rows from one on, as many as a batch has.
    fn rows(&self, from: usize) -> Result<RecordBatch> {
        let to = self.places.len().min(from + BATCH_ROWS);
        let places: Vec<(usize, usize)> =
            self.places[from..to].iter().map(|(batch, row)| (*batch as usize, *row as usize)).collect();
        let mut symbols = StringViewBuilder::with_capacity(to - from);
        let mut at = from;
        for (name, end) in &self.ends[self.ends.partition_point(|(_, end)| *end <= from)..] {
            if at == to {
                break;
            }
            symbols.try_append_value_n(name, to.min(*end) - at)?;
            at = to.min(*end);
        }
        let columns = (0..self.batches[0].num_columns()).map(|column| {
            let parts: Vec<&dyn Array> = self.batches.iter().map(|batch| batch.column(column).as_ref()).collect();
            interleave(&parts, &places)
        });
        let columns = columns.collect::<Result<_, _>>()?;
        with_symbols(&self.schema, Arc::new(symbols.finish()), columns)
    }
}

fn with_symbols(schema: &SchemaRef, symbols: ArrayRef, mut columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    columns.insert(0, symbols);
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

fn times(batch: &RecordBatch) -> &[i64] {
    batch.column(0).as_primitive::<TimestampMicrosecondType>().values()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, TimestampMicrosecondArray};
    use futures::TryStreamExt;
    use proptest::prelude::*;

    type Row = (String, i64);

    fn batch(rows: &[Row], first: usize) -> RecordBatch {
        let symbols: StringViewArray = rows.iter().map(|(symbol, _)| Some(symbol)).collect();
        let times: TimestampMicrosecondArray = rows.iter().map(|(_, time)| Some(*time)).collect();
        let delivered = Int64Array::from_iter_values((first..first + rows.len()).map(|i| i as i64));
        let columns: [(&str, ArrayRef); 3] = [
            ("symbol", Arc::new(symbols)),
            ("ts", Arc::new(times.with_timezone("UTC"))),
            ("delivered", Arc::new(delivered)),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn held(rows: &[Row], cut: usize) -> HeldRows {
        let mut held = HeldRows::new(batch(&[], 0).schema());
        for (i, part) in rows.chunks(cut).enumerate() {
            held.push(&batch(part, i * cut)).unwrap();
        }
        held
    }

    fn rows(batches: &[RecordBatch]) -> Vec<(String, i64, i64)> {
        let of = |batch: &RecordBatch| {
            let symbols = batch.column(0).as_string_view().clone();
            let delivered = batch.column(2).as_primitive::<arrow::datatypes::Int64Type>().clone();
            let times = batch.column(1).as_primitive::<TimestampMicrosecondType>().clone();
            (0..batch.num_rows())
                .map(move |i| (symbols.value(i).to_string(), times.value(i), delivered.value(i)))
                .collect::<Vec<_>>()
        };
        batches.iter().flat_map(of).collect()
    }

    proptest! {
        #[test]
        fn they_come_as_from_a_sort(
            given in prop::collection::vec(("[ab]|long names of symbols [12]", 0i64..9), 1..60), cut in 1usize..20,
        ) {
            let mut expected: Vec<_> =
                given.iter().enumerate().map(|(i, (symbol, time))| (symbol.clone(), *time, i as i64)).collect();
            let delivered: Vec<RecordBatch> = held(&given, cut).into_delivered().collect::<Result<_>>().unwrap();
            prop_assert_eq!(rows(&delivered), expected.clone());
            expected.sort();
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
            let sorted = runtime.block_on(async { held(&given, cut).sorted().try_collect::<Vec<_>>().await }).unwrap();
            prop_assert_eq!(rows(&sorted), expected);
        }
    }
}
