//! Candles in Arrow arrays: as rows of an input, as states, and as results.

use super::partial_candle::{Candle, NUMBERS, Prices, TIMES, typical};
use crate::series::InputKind;
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, StructArray, TimestampMicrosecondArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Fields, Float64Type, Int64Type, TimestampMicrosecondType};
use datafusion_common::{Result, internal_datafusion_err};
use std::sync::{Arc, LazyLock};

/// The fields of a candle. `turnover` is the sum of price times volume, from which the average price follows.
pub(super) static FIELDS: LazyLock<Fields> = LazyLock::new(|| {
    let time = InputKind::Time.data_type();
    let number = DataType::Float64;
    [
        ("open_time", &time),
        ("open", &number),
        ("high", &number),
        ("low", &number),
        ("close_time", &time),
        ("close", &number),
        ("volume", &number),
        ("turnover", &number),
    ]
    .map(|(name, data_type)| Field::new(name, data_type.clone(), true))
    .to_vec()
    .into()
});

pub(super) fn candle_type() -> DataType {
    DataType::Struct(FIELDS.clone())
}

/// What a candle is built from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum CandlestickSource {
    /// `candlestick(ts, open, high, low, close, volume)`
    Bars,
    /// `candlestick_agg(ts, price, volume)`
    Ticks,
    /// `rollup(candlestick)`
    Candles,
}

/// The rows of an input as candles.
pub(super) struct Rows<'a> {
    source: CandlestickSource,
    times: Vec<&'a TimestampMicrosecondArray>,
    numbers: Vec<&'a Float64Array>,
    nulls: Option<&'a NullBuffer>,
}

impl<'a> Rows<'a> {
    pub fn of(source: CandlestickSource, values: &'a [ArrayRef]) -> Result<Self> {
        let (columns, nulls) = match values {
            [candles] if source == CandlestickSource::Candles => {
                let candles = candles.as_struct_opt().ok_or_else(|| internal_datafusion_err!("candles are structs"))?;
                (candles.columns(), candles.nulls())
            }
            columns => (columns, None),
        };
        let times = columns.iter().filter_map(|c| c.as_primitive_opt::<TimestampMicrosecondType>()).collect();
        let numbers = columns.iter().filter_map(|c| c.as_primitive_opt::<Float64Type>()).collect();
        Ok(Self { source, times, numbers, nulls })
    }

    pub fn get(&self, row: usize) -> Candle {
        let number = |i: usize| {
            let column = self.numbers[i];
            let known = column.is_valid(row) && column.value(row).is_finite();
            if known { column.value(row) } else { f64::NAN }
        };
        if self.nulls.is_some_and(|n| n.is_null(row)) || self.times[0].is_null(row) {
            return Candle::EMPTY;
        }
        let first = self.times[0].value(row);
        let (open, high, low, close, volume, turnover, last) = match self.source {
            CandlestickSource::Bars => {
                let (high, low, close, volume) = (number(1), number(2), number(3), number(4));
                (number(0), high, low, close, volume, typical(high, low, close) * volume, first)
            }
            CandlestickSource::Ticks => {
                let (price, volume) = (number(0), number(1));
                // A trade without a price says nothing.
                let volume = if price.is_nan() { f64::NAN } else { volume };
                (price, price, price, price, volume, price * volume, first)
            }
            CandlestickSource::Candles => {
                (number(0), number(1), number(2), number(3), number(4), number(5), self.times[1].value(row))
            }
        };
        if [high, low, close, volume].iter().all(|v| v.is_nan()) {
            return Candle::EMPTY;
        }
        let mut prices = Prices { high, low, ..Prices::NONE };
        if !close.is_nan() {
            (prices.close, prices.closed) = (close, last);
            if !open.is_nan() {
                (prices.open, prices.opened) = (open, first);
            }
        }
        let candle = Candle { first, last, volume, turnover, ..Candle::EMPTY };
        match volume == 0.0 {
            true => Candle { fillers: prices, ..candle },
            false => Candle { traded: prices, ..candle },
        }
    }
}

/// Candles as the result of an aggregate.
pub(super) fn to_struct(candles: &[Candle]) -> ArrayRef {
    let prices: Vec<Prices> = candles.iter().map(Candle::prices).collect();
    let time = |f: fn(&Candle) -> i64| {
        let times = candles.iter().map(|c| (!c.is_empty()).then(|| f(c))).collect::<TimestampMicrosecondArray>();
        Arc::new(times.with_timezone("UTC")) as ArrayRef
    };
    let known = |v: f64| (!v.is_nan()).then_some(v);
    let price =
        |f: fn(&Prices) -> f64| Arc::new(prices.iter().map(|p| known(f(p))).collect::<Float64Array>()) as ArrayRef;
    let number =
        |f: fn(&Candle) -> f64| Arc::new(candles.iter().map(|c| known(f(c))).collect::<Float64Array>()) as ArrayRef;
    let columns = vec![
        time(|c| c.first),
        price(|p| p.open),
        price(|p| p.high),
        price(|p| p.low),
        time(|c| c.last),
        price(|p| p.close),
        number(|c| c.volume),
        number(|c| c.turnover),
    ];
    let nulls = NullBuffer::from_iter(candles.iter().map(|c| !c.is_empty()));
    Arc::new(StructArray::new(FIELDS.clone(), columns, Some(nulls)))
}

/// Candles as states that can be merged.
pub(super) fn to_state(candles: &[Candle]) -> Vec<ArrayRef> {
    let (times, numbers): (Vec<_>, Vec<_>) = candles.iter().map(|c| (c.times(), c.numbers())).unzip();
    let times = (0..TIMES).map(|i| Arc::new(times.iter().map(|t| t[i]).collect::<Int64Array>()) as ArrayRef);
    let numbers = (0..NUMBERS).map(|i| Arc::new(numbers.iter().map(|n| n[i]).collect::<Float64Array>()) as ArrayRef);
    times.chain(numbers).collect()
}

/// The states of [`to_state`], row by row.
pub(super) struct States<'a> {
    times: [&'a Int64Array; TIMES],
    numbers: [&'a Float64Array; NUMBERS],
}

impl<'a> States<'a> {
    pub fn of(states: &'a [ArrayRef]) -> Result<Self> {
        let wrong = || internal_datafusion_err!("the state of a candle has {TIMES} times and {NUMBERS} numbers");
        let times: Vec<_> = states.iter().filter_map(|a| a.as_primitive_opt::<Int64Type>()).collect();
        let numbers: Vec<_> = states.iter().filter_map(|a| a.as_primitive_opt::<Float64Type>()).collect();
        Ok(Self { times: times.try_into().map_err(|_| wrong())?, numbers: numbers.try_into().map_err(|_| wrong())? })
    }

    pub fn get(&self, row: usize) -> Candle {
        Candle::of(self.times.map(|t| t.value(row)), self.numbers.map(|n| n.value(row)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: f64 = f64::NAN;

    /// Bars as rows: open, high, low, close, volume, a time unit apart.
    fn candles(bars: &[[f64; 5]]) -> Vec<Candle> {
        let times = TimestampMicrosecondArray::from_iter_values(1..=bars.len() as i64);
        let column = |i: usize| {
            let values = bars.iter().map(|bar| (!bar[i].is_nan()).then_some(bar[i]));
            Arc::new(values.collect::<Float64Array>()) as ArrayRef
        };
        let columns: Vec<ArrayRef> =
            std::iter::once(Arc::new(times.with_timezone("UTC")) as ArrayRef).chain((0..5).map(column)).collect();
        let rows = Rows::of(CandlestickSource::Bars, &columns).unwrap();
        (0..bars.len()).map(|row| rows.get(row)).collect()
    }

    /// Open, high, low, close, volume of the larger bar, whichever way it is put together.
    fn larger(bars: &[[f64; 5]]) -> [f64; 5] {
        let bars = candles(bars);
        let mut forward = Candle::EMPTY;
        bars.iter().for_each(|bar| forward.merge(bar));
        let mut backward = Candle::EMPTY;
        bars.iter().rev().for_each(|bar| backward.merge(bar));
        let states = to_state(&bars);
        let rows = States::of(&states).unwrap();
        let mut of_states = Candle::EMPTY;
        (0..bars.len()).for_each(|row| of_states.merge(&rows.get(row)));
        // Sums of prices depend on their order by as much as rounding does.
        let shown = |c: &Candle| format!("{:?}", Candle { turnover: 0.0, ..*c });
        assert_eq!((shown(&forward), shown(&forward)), (shown(&backward), shown(&of_states)));
        let Prices { open, high, low, close, .. } = forward.prices();
        [open, high, low, close, forward.volume]
    }

    fn assert_same(got: [f64; 5], want: [f64; 5]) {
        let same = |(g, w): (&f64, &f64)| g == w || g.is_nan() && w.is_nan();
        assert!(got.iter().zip(&want).all(same), "{got:?} instead of {want:?}");
    }

    #[test]
    fn a_filler_sets_no_price_of_a_bar_with_trades() {
        let filler = |price: f64| [price, price + 5.0, price - 5.0, price, 0.0];
        let trades = [[11.0, 12.0, 10.0, 11.5, 5.0], [11.5, 13.0, 11.0, 12.0, 2.0]];
        let bars = [filler(20.0), trades[0], filler(30.0), trades[1], filler(1.0)];
        assert_same(larger(&bars), [11.0, 13.0, 10.0, 12.0, 7.0]);
    }

    #[test]
    fn where_all_are_fillers_all_count() {
        assert_same(larger(&[[9.0, 9.5, 8.5, 9.0, 0.0], [8.0, 8.0, 7.0, 8.0, 0.0]]), [9.0, 9.5, 7.0, 8.0, 0.0]);
        // Nothing is known to have traded.
        assert_same(larger(&[[9.0, 9.5, 8.5, 9.0, 0.0], [8.0, 8.0, 7.0, 8.0, NONE]]), [9.0, 9.5, 7.0, 8.0, 0.0]);
    }

    #[test]
    fn without_volumes_all_count() {
        assert_same(larger(&[[9.0, 9.5, 8.5, 9.0, NONE], [8.0, 8.0, 7.0, 8.0, NONE]]), [9.0, 9.5, 7.0, 8.0, NONE]);
    }

    #[test]
    fn a_bar_of_unknown_volume_is_no_filler() {
        assert_same(larger(&[[9.0, 9.5, 8.5, 9.0, NONE], [8.0, 8.0, 7.0, 8.0, 3.0]]), [9.0, 9.5, 7.0, 8.0, 3.0]);
    }

    #[test]
    fn a_bar_without_a_close_gives_high_low_and_volume() {
        let bars = [[9.0, 15.0, 5.0, NONE, 4.0], [10.0, 12.0, 9.0, 11.0, 1.0], [11.0, 16.0, NONE, NONE, 2.0]];
        assert_same(larger(&bars), [10.0, 16.0, 5.0, 11.0, 7.0]);
        assert_same(larger(&[[NONE, NONE, NONE, NONE, NONE], [1.0, 1.0, 1.0, 1.0, 1.0]]), [1.0, 1.0, 1.0, 1.0, 1.0]);
        assert_same(larger(&[[9.0, 15.0, 5.0, NONE, 4.0]]), [NONE, 15.0, 5.0, NONE, 4.0]);
    }

    #[test]
    fn a_bar_without_an_open_leaves_it_to_the_next() {
        let bars = [[NONE, 12.0, 9.0, 11.0, 1.0], [10.0, 11.0, 10.0, 10.5, 1.0]];
        assert_same(larger(&bars), [10.0, 12.0, 9.0, 10.5, 2.0]);
    }

    #[test]
    fn a_candle_spans_its_first_and_last_bar() {
        let bars = candles(&[[9.0, 9.0, 9.0, 9.0, 0.0], [1.0, 1.0, 1.0, 1.0, 1.0], [9.0, 9.0, 9.0, 9.0, 0.0]]);
        let mut whole = Candle::EMPTY;
        bars.iter().for_each(|bar| whole.merge(bar));
        assert_eq!((whole.first, whole.last), (1, 3));
        // The larger bar of larger bars is that of the smaller ones.
        let halves = [&bars[..1], &bars[1..]].map(|part| {
            let mut candle = Candle::EMPTY;
            part.iter().for_each(|bar| candle.merge(bar));
            candle
        });
        let columns = [to_struct(&halves)];
        let rows = Rows::of(CandlestickSource::Candles, &columns).unwrap();
        let mut rolled = rows.get(0);
        rolled.merge(&rows.get(1));
        assert_eq!((rolled.first, rolled.last, rolled.volume), (1, 3, 1.0));
        assert_eq!((rolled.prices().open, rolled.prices().high), (1.0, 1.0));
    }
}
