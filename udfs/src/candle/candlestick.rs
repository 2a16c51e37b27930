//! Aggregates that build one candle: `candlestick` from bars, `candlestick_agg` from ticks, `rollup` from candles.

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use datafusion_common::{Result, ScalarValue, internal_datafusion_err, plan_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::{
    Accumulator, AggregateUDFImpl, DocSection, Documentation, EmitTo, GroupsAccumulator, Signature, Volatility,
};
use std::sync::{Arc, LazyLock};

/// The fields of a candle. `turnover` is the sum of price times volume, from which the average price follows.
pub(super) static FIELDS: LazyLock<Fields> = LazyLock::new(|| {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
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
pub enum CandlestickSource {
    /// `candlestick(ts, open, high, low, close, volume)`
    Bars,
    /// `candlestick_agg(ts, price, volume)`
    Ticks,
    /// `rollup(candlestick)`
    Candles,
}

/// One of the three aggregates. The result does not depend on the order of the rows.
///
/// The open is that of the first bar with trades: a filler bar without volume does not set the open of a larger bar.
/// Rows without a time or a price are passed over.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Candlestick {
    source: CandlestickSource,
    signature: Signature,
    documentation: Documentation,
}

impl Candlestick {
    /// The aggregate for a source.
    pub fn new(source: CandlestickSource) -> Self {
        let (doc, usage) = match source {
            CandlestickSource::Bars => ("One candle from bars", "candlestick(ts, open, high, low, close, volume)"),
            CandlestickSource::Ticks => ("One candle from trades", "candlestick_agg(ts, price, volume)"),
            CandlestickSource::Candles => ("One candle from smaller candles", "rollup(candlestick)"),
        };
        let section = DocSection { include: true, label: "Candle Arithmetic", description: None };
        let documentation = Documentation::builder(section, doc, usage).build();
        Self { source, signature: Signature::user_defined(Volatility::Immutable), documentation }
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
        Ok(vec![
            Arc::new(Field::new(format!("{}[candle]", args.name), candle_type(), true)),
            Arc::new(Field::new(format!("{}[opened]", args.name), DataType::Int64, true)),
        ])
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

/// A candle in the making.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candle {
    open_time: i64,
    open: Option<f64>,
    /// Whether `open` stems from a bar with trades.
    open_traded: bool,
    /// When `open` was seen.
    open_seen: i64,
    high: Option<f64>,
    low: Option<f64>,
    close_time: i64,
    close: Option<f64>,
    volume: Option<f64>,
    turnover: Option<f64>,
}

impl Candle {
    const EMPTY: Candle = Candle {
        open_time: i64::MAX,
        open: None,
        open_traded: false,
        open_seen: i64::MAX,
        high: None,
        low: None,
        close_time: i64::MIN,
        close: None,
        volume: None,
        turnover: None,
    };

    /// When the open was seen, and in the last bit whether without trades: what a state needs beside the fields.
    fn opened(&self) -> i64 {
        self.open_seen.saturating_mul(2) | i64::from(!self.open_traded)
    }

    fn with_opened(self, opened: i64) -> Candle {
        Candle { open_seen: opened >> 1, open_traded: opened & 1 == 0, ..self }
    }

    fn merge(&mut self, other: &Candle) {
        if other.close.is_none() {
            return;
        }
        self.open_time = self.open_time.min(other.open_time);
        let earlier = (!other.open_traded, other.open_seen) < (!self.open_traded, self.open_seen);
        if other.open.is_some() && (self.open.is_none() || earlier) {
            self.open = other.open;
            self.open_traded = other.open_traded;
            self.open_seen = other.open_seen;
        }
        self.high = either(self.high, other.high, f64::max);
        self.low = either(self.low, other.low, f64::min);
        if other.close_time >= self.close_time {
            self.close_time = other.close_time;
            self.close = other.close;
        }
        self.volume = either(self.volume, other.volume, |a, b| a + b);
        self.turnover = either(self.turnover, other.turnover, |a, b| a + b);
    }
}

fn either(a: Option<f64>, b: Option<f64>, f: impl Fn(f64, f64) -> f64) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(f(a, b)),
        (a, b) => a.or(b),
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
            (column.is_valid(row)).then(|| column.value(row)).filter(|v| v.is_finite())
        };
        if self.nulls.is_some_and(|n| n.is_null(row)) || self.times[0].is_null(row) {
            return Candle::EMPTY;
        }
        let open_time = self.times[0].value(row);
        let (open, high, low, close, volume, turnover, close_time) = match self.source {
            CandlestickSource::Bars => {
                let (high, low, close, volume) = (number(1), number(2), number(3), number(4));
                let typical = high.zip(low).zip(close).map(|((h, l), c)| (h + l + c) / 3.0).or(close);
                (number(0), high, low, close, volume, typical.zip(volume).map(|(p, v)| p * v), open_time)
            }
            CandlestickSource::Ticks => {
                let (price, volume) = (number(0), number(1));
                (price, price, price, price, volume, price.zip(volume).map(|(p, v)| p * v), open_time)
            }
            CandlestickSource::Candles => {
                let close_time = self.times[1].value(row);
                (number(0), number(1), number(2), number(3), number(4), number(5), close_time)
            }
        };
        if close.is_none() {
            return Candle::EMPTY;
        }
        let open_traded = volume.is_none_or(|v| v > 0.0);
        Candle { open_time, open, open_traded, open_seen: open_time, high, low, close_time, close, volume, turnover }
    }
}

fn to_struct(candles: &[Candle]) -> ArrayRef {
    let some = |candle: &Candle| candle.close.is_some();
    let time = |f: fn(&Candle) -> i64| {
        let times = candles.iter().map(|c| some(c).then(|| f(c))).collect::<TimestampMicrosecondArray>();
        Arc::new(times.with_timezone("UTC")) as ArrayRef
    };
    let number = |f: fn(&Candle) -> Option<f64>| Arc::new(candles.iter().map(f).collect::<Float64Array>()) as ArrayRef;
    let columns = vec![
        time(|c| c.open_time),
        number(|c| c.open),
        number(|c| c.high),
        number(|c| c.low),
        time(|c| c.close_time),
        number(|c| c.close),
        number(|c| c.volume),
        number(|c| c.turnover),
    ];
    Arc::new(StructArray::new(FIELDS.clone(), columns, Some(NullBuffer::from_iter(candles.iter().map(some)))))
}

/// Candles as states that can be merged.
fn to_state(candles: &[Candle]) -> Vec<ArrayRef> {
    vec![to_struct(candles), Arc::new(candles.iter().map(|c| Some(c.opened())).collect::<Int64Array>())]
}

/// The states of [`to_state`], row by row.
struct States<'a> {
    rows: Rows<'a>,
    opened: &'a Int64Array,
}

impl<'a> States<'a> {
    fn of(states: &'a [ArrayRef]) -> Result<Self> {
        let opened = states.get(1).and_then(|a| a.as_primitive_opt::<Int64Type>());
        let opened = opened.ok_or_else(|| internal_datafusion_err!("a candle's state has two columns"))?;
        Ok(Self { rows: Rows::of(CandlestickSource::Candles, &states[..1])?, opened })
    }

    fn get(&self, row: usize) -> Candle {
        self.rows.get(row).with_opened(self.opened.value(row))
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
        Ok(vec![self.scalar()?, ScalarValue::Int64(Some(self.candle.opened()))])
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

    fn bar(ts: i64, [open, high, low, close]: [f64; 4], volume: f64) -> Candle {
        Candle {
            open_time: ts,
            open: Some(open),
            open_traded: volume > 0.0,
            open_seen: ts,
            high: Some(high),
            low: Some(low),
            close_time: ts,
            close: Some(close),
            volume: Some(volume),
            turnover: Some(close * volume),
        }
    }

    #[test]
    fn a_filler_bar_does_not_set_the_open() {
        let mut candle = Candle::EMPTY;
        candle.merge(&bar(2, [11.0, 12.0, 10.0, 11.5], 5.0));
        candle.merge(&bar(1, [9.0, 9.0, 9.0, 9.0], 0.0));
        assert_eq!((candle.open, candle.open_time, candle.low), (Some(11.0), 1, Some(9.0)));
        assert_eq!((candle.close, candle.close_time, candle.volume), (Some(11.5), 2, Some(5.0)));
    }

    #[test]
    fn states_merge_as_rows_do() {
        let filler = bar(1, [9.0, 9.0, 9.0, 9.0], 0.0);
        let (first, second) = (bar(2, [10.0, 10.0, 10.0, 10.0], 1.0), bar(3, [11.0, 11.0, 11.0, 11.0], 1.0));
        let mut one = Candle::EMPTY;
        [&filler, &second].into_iter().for_each(|c| one.merge(c));
        let states = to_state(&[one, first, Candle::EMPTY]);
        let rows = States::of(&states).unwrap();
        let mut merged = Candle::EMPTY;
        (0..3).for_each(|row| merged.merge(&rows.get(row)));
        assert_eq!((merged.open, merged.open_time, merged.close), (Some(10.0), 1, Some(11.0)));
    }

    #[test]
    fn only_fillers_open_with_the_first() {
        let mut candle = Candle::EMPTY;
        candle.merge(&bar(2, [8.0, 8.0, 8.0, 8.0], 0.0));
        candle.merge(&bar(1, [9.0, 9.0, 9.0, 9.0], 0.0));
        assert_eq!((candle.open, candle.close), (Some(9.0), Some(8.0)));
    }
}
