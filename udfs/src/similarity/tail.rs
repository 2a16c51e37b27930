//! `tail(x, ts, n)`: the last values of a group.

use super::SIMILARITY;
use super::lists::numbers;
use crate::described::Described;
use crate::list::{list_of, list_value};
use crate::series::InputKind;
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type};
use datafusion_common::{Result, ScalarValue, internal_datafusion_err, plan_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::{Accumulator, AggregateUDFImpl, Documentation, Signature};
use std::collections::BinaryHeap;
use std::sync::Arc;

const USAGE: &str = "tail(close, ts, 120)";

/// The last `n` values of a group by time, oldest first, as a list; shorter where there are fewer. Rows without a value or
/// a time do not count. Memory: `n` values a group, whatever order the rows come in.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Tail {
    signature: Signature,
    documentation: Documentation,
}

impl Tail {
    pub fn new() -> Self {
        let described = Described {
            group: SIMILARITY,
            usage: "tail(x, ts, n)",
            doc: "The last n values of a group by time, oldest first, as a list; shorter where there are fewer. In tallow's \
                  SQL tail(x, n) goes by ts",
            nulls: "Rows whose value or time is null do not count",
            source: "",
            arguments: &[
                ("x", "numbers"),
                ("ts", "their times; the rows may come in any order"),
                ("n", "how many: a literal, a whole number from 1 to 1000000"),
            ],
            example: "SELECT symbol, tail(close, ts, 60) AS closes FROM candles GROUP BY symbol",
        };
        Self { signature: described.signature(), documentation: described.documentation() }
    }
}

impl AggregateUDFImpl for Tail {
    fn name(&self) -> &str {
        "tail"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        match given {
            [x, ts, n]
                if (x.is_numeric() || x.is_null())
                    && (matches!(ts, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
                        || ts.is_null())
                    && n.is_integer() =>
            {
                Ok(vec![DataType::Float64, InputKind::Time.data_type(), DataType::Int64])
            }
            _ => plan_err!("tail takes numbers, their times and a whole number: {USAGE}"),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(numbers())
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |name: &str, item| Arc::new(Field::new(format!("{}[{name}]", args.name), list_of(item), true));
        Ok(vec![field("times", DataType::Int64), field("values", DataType::Float64)])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let literal =
            args.exprs.get(2).and_then(|e| e.downcast_ref::<datafusion_physical_expr::expressions::Literal>());
        match literal.map(|l| l.value()) {
            Some(ScalarValue::Int64(Some(n @ 1..=1_000_000))) => {
                Ok(Box::new(Last { n: *n as usize, kept: BinaryHeap::new() }))
            }
            Some(other) => plan_err!("`n` of tail is {other}, expected a whole number from 1 to 1000000: {USAGE}"),
            None => plan_err!("`n` of tail must be a literal: {USAGE}"),
        }
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

/// The last values: the oldest on top.
#[derive(Debug)]
struct Last {
    n: usize,
    kept: BinaryHeap<(std::cmp::Reverse<i64>, Bits)>,
}

/// A number that has an order.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bits(f64);

impl Eq for Bits {}

impl PartialOrd for Bits {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Bits {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Last {
    fn push(&mut self, time: i64, value: f64) {
        if self.kept.len() < self.n {
            self.kept.push((std::cmp::Reverse(time), Bits(value)));
        } else if let Some(mut oldest) = self.kept.peek_mut()
            && oldest.0.0 < time
        {
            *oldest = (std::cmp::Reverse(time), Bits(value));
        }
    }

    fn in_order(&self) -> (Vec<i64>, Vec<f64>) {
        let mut all: Vec<(i64, f64)> = self.kept.iter().map(|(time, value)| (time.0, value.0)).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        all.into_iter().unzip()
    }
}

fn wrong() -> datafusion_common::DataFusionError {
    internal_datafusion_err!("tail: arguments were not coerced")
}

impl Accumulator for Last {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let numbers = values[0].as_primitive_opt::<Float64Type>().ok_or_else(wrong)?;
        let times = cast(&values[1], &DataType::Int64)?;
        let times = times.as_primitive_opt::<Int64Type>().ok_or_else(wrong)?;
        for row in 0..numbers.len() {
            if numbers.is_valid(row) && times.is_valid(row) && numbers.value(row).is_finite() {
                self.push(times.value(row), numbers.value(row));
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists = |i: usize| states[i].as_list_opt::<i32>().ok_or_else(wrong);
        let (times, numbers) = (lists(0)?, lists(1)?);
        for (times, numbers) in times.iter().zip(numbers.iter()) {
            let (Some(times), Some(numbers)) = (times, numbers) else { continue };
            let (times, numbers) = (times.as_primitive::<Int64Type>(), numbers.as_primitive::<Float64Type>());
            times.values().iter().zip(numbers.values()).for_each(|(time, value)| self.push(*time, *value));
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let (times, numbers) = self.in_order();
        Ok(vec![list_value(Arc::new(Int64Array::from(times))), list_value(Arc::new(Float64Array::from(numbers)))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(list_value(Arc::new(Float64Array::from(self.in_order().1))))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.kept.capacity() * 16
    }
}
