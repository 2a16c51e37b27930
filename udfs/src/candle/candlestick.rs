//! Aggregates that build one candle: `candlestick` from bars, `candlestick_agg` from ticks, `rollup` from candles.

use super::CANDLES;
use super::candle_arrays::{CandlestickSource, FIELDS, Rows, States, candle_type, to_state, to_struct};
use super::partial_candle::{Candle, NUMBERS, TIMES};
use crate::described::Described;
use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{Result, ScalarValue, plan_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::{Accumulator, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, Signature};
use std::sync::Arc;

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
