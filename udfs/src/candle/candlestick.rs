//! Aggregates that build one candle: `candlestick` from bars, `candlestick_agg` from ticks, `rollup` from candles.

use super::CANDLES;
use crate::described::Described;
use crate::series::InputKind;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Float64Type, Int64Type, TimestampMicrosecondType};
use datafusion_common::{Result, ScalarValue, internal_datafusion_err, plan_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::{Accumulator, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, Signature};
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

/// What a candle is built from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum CandlestickSource {
    /// `candlestick(ts, open, high, low, close, volume)`
    Bars,
    /// `candlestick_agg(ts, price, volume)`
    Ticks,
    /// `rollup(candlestick)`
    Candles,
}

/// One of the three aggregates. The result does not depend on the order of the rows.
///
/// Bars without trades do not count: where any bar of the candle has a volume above zero, one with a volume of zero (a
/// filler at the last close) sets neither open, high, low nor close. Where none has, be they zero or null, all count. So
/// the larger bars of an exchange follow from its smaller ones.
///
/// A null in one column leaves out that column of that bar; one without a close gives its high, low and volume, but no
/// open. Rows without a time, and trades without a price, are passed over.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Candlestick {
    source: CandlestickSource,
    signature: Signature,
    documentation: Documentation,
}

impl Candlestick {
    pub fn of_bars() -> Self {
        let described = Described {
            group: CANDLES,
            usage: "candlestick(ts, open, high, low, close, volume)",
            doc: "One candle from bars, as a struct for candle_open and its siblings. Bars with a volume of zero set neither \
                  open, high, low nor close, unless no bar of the candle has a volume above zero",
            nulls: "A null leaves out that column of that bar: one without a close gives its high, low and volume, but no \
                    open; rows without a time do not count",
            source: "",
            arguments: &[
                ("ts", "time of the bar; the rows may come in any order"),
                ("open", "first price"),
                ("high", "highest price"),
                ("low", "lowest price"),
                ("close", "last price"),
                ("volume", "traded volume"),
            ],
            example: "SELECT symbol, bar_floor(ts, '1w') AS week, candlestick(ts, open, high, low, close, volume) AS candle \
                      FROM candles GROUP BY 1, 2",
        };
        Self::new(CandlestickSource::Bars, &described)
    }

    pub fn of_ticks() -> Self {
        let described = Described {
            group: CANDLES,
            usage: "candlestick_agg(ts, price, volume)",
            doc: "One candle from trades, as a struct for candle_open and its siblings; those with a volume of zero set no \
                  price, unless all are such",
            nulls: "Rows without a time, and trades whose price is null, do not count",
            source: "",
            arguments: &[
                ("ts", "time of the trade; the rows may come in any order"),
                ("price", "price of the trade"),
                ("volume", "volume of the trade"),
            ],
            example: "SELECT symbol, candlestick_agg(ts, close, volume) AS candle FROM candles GROUP BY symbol",
        };
        Self::new(CandlestickSource::Ticks, &described)
    }

    pub fn of_candles() -> Self {
        let described = Described {
            group: CANDLES,
            usage: "rollup(candlestick)",
            doc: "One candle from smaller candles; those with a volume of zero set no price, unless all are such",
            nulls: "Candles that are null do not count",
            source: "",
            arguments: &[("candlestick", "the result of candlestick or candlestick_agg")],
            example: "SELECT symbol, rollup(candle) AS candle FROM (SELECT symbol, bar_floor(ts, '1w') AS week, \
                      candlestick(ts, open, high, low, close, volume) AS candle FROM candles GROUP BY 1, 2) AS weeks \
                      GROUP BY symbol",
        };
        Self::new(CandlestickSource::Candles, &described)
    }

    fn new(source: CandlestickSource, described: &Described<'_>) -> Self {
        Self { source, signature: described.signature(), documentation: described.documentation() }
    }

    fn usage(&self) -> &str {
        &self.documentation.syntax_example
    }
}

impl AggregateUDFImpl for Candlestick {
    fn name(&self) -> &str {
        match self.source {
            CandlestickSource::Bars => "candlestick",
            CandlestickSource::Ticks => "candlestick_agg",
            CandlestickSource::Candles => "rollup",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let expected = match self.source {
            CandlestickSource::Bars => 6,
            CandlestickSource::Ticks => 3,
            CandlestickSource::Candles => 1,
        };
        if arg_types.len() != expected {
            return plan_err!("{} takes {expected} arguments, not {}: {}", self.name(), arg_types.len(), self.usage());
        }
        if self.source == CandlestickSource::Candles {
            return match &arg_types[0] {
                DataType::Struct(fields) if *fields == *FIELDS => Ok(vec![candle_type()]),
                other => plan_err!("rollup takes the result of candlestick or candlestick_agg, not {other}"),
            };
        }
        let mut types = vec![FIELDS[0].data_type().clone()];
        for (i, data_type) in arg_types.iter().enumerate() {
            let fits = if i == 0 {
                data_type.is_temporal() || data_type.is_null()
            } else {
                data_type.is_numeric() || data_type.is_null()
            };
            if !fits {
                return plan_err!("argument {} of {} is {data_type}: {}", i + 1, self.name(), self.usage());
            }
            if i > 0 {
                types.push(DataType::Float64);
            }
        }
        Ok(types)
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(candle_type())
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |name: String, kind: DataType| Arc::new(Field::new(format!("{}[{name}]", args.name), kind, true));
        let times = (0..TIMES).map(|i| field(format!("time {i}"), DataType::Int64));
        let numbers = (0..NUMBERS).map(|i| field(format!("number {i}"), DataType::Float64));
        Ok(times.chain(numbers).collect())
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(One { source: self.source, candle: Candle::EMPTY }))
    }

    fn groups_accumulator_supported(&self, _: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Many { source: self.source, candles: vec![] }))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

pub(super) fn candle_type() -> DataType {
    DataType::Struct(FIELDS.clone())
}

/// Prices in the making; NaN and the ends of time where there is none yet.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Prices {
    open: f64,
    /// When `open` was seen.
    opened: i64,
    high: f64,
    low: f64,
    close: f64,
    /// When `close` was seen.
    closed: i64,
}

impl Prices {
    const NONE: Prices =
        Prices { open: f64::NAN, opened: i64::MAX, high: f64::NAN, low: f64::NAN, close: f64::NAN, closed: i64::MIN };

    fn merge(&mut self, other: &Prices) {
        if other.opened < self.opened {
            (self.open, self.opened) = (other.open, other.opened);
        }
        // These pass over NaN.
        self.high = self.high.max(other.high);
        self.low = self.low.min(other.low);
        if other.closed >= self.closed && !other.close.is_nan() {
            (self.close, self.closed) = (other.close, other.closed);
        }
    }
}

/// A candle in the making.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candle {
    /// Time of the first bar and of the last.
    first: i64,
    last: i64,
    /// What bars with trades say, or of which it is not known whether they had any ...
    traded: Prices,
    /// ... and what those say that had none, which counts where no bar is known to have had any.
    fillers: Prices,
    /// NaN: not known.
    volume: f64,
    turnover: f64,
}

/// Columns of a state: times and numbers of [`Candle`].
const TIMES: usize = 6;
const NUMBERS: usize = 10;

impl Candle {
    const EMPTY: Candle = Candle {
        first: i64::MAX,
        last: i64::MIN,
        traded: Prices::NONE,
        fillers: Prices::NONE,
        volume: f64::NAN,
        turnover: f64::NAN,
    };

    fn is_empty(&self) -> bool {
        self.first == i64::MAX
    }

    fn merge(&mut self, other: &Candle) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.traded.merge(&other.traded);
        self.fillers.merge(&other.fillers);
        self.volume = sum(self.volume, other.volume);
        self.turnover = sum(self.turnover, other.turnover);
    }

    fn prices(&self) -> Prices {
        let mut prices = self.traded;
        let has_trades = self.volume > 0.0;
        if !has_trades {
            prices.merge(&self.fillers);
        }
        prices
    }

    /// Every field, so that a new one is not forgotten in states.
    fn times(&self) -> [i64; TIMES] {
        let Candle { first, last, traded, fillers, volume: _, turnover: _ } = self;
        [*first, *last, traded.opened, traded.closed, fillers.opened, fillers.closed]
    }

    fn numbers(&self) -> [f64; NUMBERS] {
        let of = |Prices { open, opened: _, high, low, close, closed: _ }: Prices| [open, high, low, close];
        let ([a, b, c, d], [e, f, g, h]) = (of(self.traded), of(self.fillers));
        [a, b, c, d, e, f, g, h, self.volume, self.turnover]
    }

    fn of([first, last, a, b, c, d]: [i64; TIMES], numbers: [f64; NUMBERS]) -> Candle {
        let [o, h, l, x, fo, fh, fl, fx, volume, turnover] = numbers;
        Candle {
            first,
            last,
            traded: Prices { open: o, opened: a, high: h, low: l, close: x, closed: b },
            fillers: Prices { open: fo, opened: c, high: fh, low: fl, close: fx, closed: d },
            volume,
            turnover,
        }
    }
}

/// What is not known adds nothing.
fn sum(a: f64, b: f64) -> f64 {
    match (a.is_nan(), b.is_nan()) {
        (true, _) => b,
        (_, true) => a,
        _ => a + b,
    }
}

/// The rows of an input as candles.
struct Rows<'a> {
    source: CandlestickSource,
    times: Vec<&'a TimestampMicrosecondArray>,
    numbers: Vec<&'a Float64Array>,
    nulls: Option<&'a NullBuffer>,
}

impl<'a> Rows<'a> {
    fn of(source: CandlestickSource, values: &'a [ArrayRef]) -> Result<Self> {
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

    fn get(&self, row: usize) -> Candle {
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

/// The price that a bar's volume is valued at.
fn typical(high: f64, low: f64, close: f64) -> f64 {
    let middle = if close.is_nan() { (high + low) / 2.0 } else { (high + low + close) / 3.0 };
    match middle.is_nan() {
        true => [close, high, low].into_iter().find(|p| !p.is_nan()).unwrap_or(f64::NAN),
        false => middle,
    }
}

fn to_struct(candles: &[Candle]) -> ArrayRef {
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
fn to_state(candles: &[Candle]) -> Vec<ArrayRef> {
    let (times, numbers): (Vec<_>, Vec<_>) = candles.iter().map(|c| (c.times(), c.numbers())).unzip();
    let times = (0..TIMES).map(|i| Arc::new(times.iter().map(|t| t[i]).collect::<Int64Array>()) as ArrayRef);
    let numbers = (0..NUMBERS).map(|i| Arc::new(numbers.iter().map(|n| n[i]).collect::<Float64Array>()) as ArrayRef);
    times.chain(numbers).collect()
}

/// The states of [`to_state`], row by row.
struct States<'a> {
    times: [&'a Int64Array; TIMES],
    numbers: [&'a Float64Array; NUMBERS],
}

impl<'a> States<'a> {
    fn of(states: &'a [ArrayRef]) -> Result<Self> {
        let wrong = || internal_datafusion_err!("the state of a candle has {TIMES} times and {NUMBERS} numbers");
        let times: Vec<_> = states.iter().filter_map(|a| a.as_primitive_opt::<Int64Type>()).collect();
        let numbers: Vec<_> = states.iter().filter_map(|a| a.as_primitive_opt::<Float64Type>()).collect();
        Ok(Self { times: times.try_into().map_err(|_| wrong())?, numbers: numbers.try_into().map_err(|_| wrong())? })
    }

    fn get(&self, row: usize) -> Candle {
        Candle::of(self.times.map(|t| t.value(row)), self.numbers.map(|n| n.value(row)))
    }
}

#[derive(Debug)]
struct One {
    source: CandlestickSource,
    candle: Candle,
}

impl One {
    fn scalar(&self) -> Result<ScalarValue> {
        ScalarValue::try_from_array(&to_struct(&[self.candle]), 0)
    }
}

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = Rows::of(self.source, values)?;
        (0..values[0].len()).for_each(|row| self.candle.merge(&rows.get(row)));
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let rows = States::of(states)?;
        (0..states[0].len()).for_each(|row| self.candle.merge(&rows.get(row)));
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.scalar()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        to_state(&[self.candle]).iter().map(|column| ScalarValue::try_from_array(column, 0)).collect()
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

#[derive(Debug)]
struct Many {
    source: CandlestickSource,
    candles: Vec<Candle>,
}

impl GroupsAccumulator for Many {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.candles.resize(total_num_groups, Candle::EMPTY);
        let rows = Rows::of(self.source, values)?;
        for (row, &group) in group_indices.iter().enumerate() {
            if opt_filter.is_none_or(|f| f.is_valid(row) && f.value(row)) {
                self.candles[group].merge(&rows.get(row));
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.candles.resize(total_num_groups, Candle::EMPTY);
        let rows = States::of(values)?;
        group_indices.iter().enumerate().for_each(|(row, &group)| self.candles[group].merge(&rows.get(row)));
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        Ok(to_struct(&emit_to.take_needed(&mut self.candles)))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(to_state(&emit_to.take_needed(&mut self.candles)))
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows = Rows::of(self.source, values)?;
        let kept = |row: usize| opt_filter.is_none_or(|f| f.is_valid(row) && f.value(row));
        let candles: Vec<_> =
            (0..values[0].len()).map(|row| if kept(row) { rows.get(row) } else { Candle::EMPTY }).collect();
        Ok(to_state(&candles))
    }

    fn size(&self) -> usize {
        self.candles.capacity() * size_of::<Candle>()
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
