//! `nearest_resistance(levels, price)`, `nearest_support(levels, price)`, `levels_near(levels, price, distance)`.

use super::LEVELS;
use crate::described::Described;
use crate::series::InputKind;
use arrow::array::{Array, AsArray, Float64Array, ListArray, UInt64Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Float64Type};
use datafusion_common::{Result, internal_datafusion_err, plan_err};
use datafusion_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature};
use std::sync::Arc;

/// Price of the nearest level on its own side of a price.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct NearestLevel {
    resistance: bool,
    signature: Signature,
    documentation: Documentation,
}

const LIST: (&str, &str) = ("levels", "a list of struct{price, type}, type support or resistance");

impl NearestLevel {
    pub fn resistance() -> Self {
        let described = Described {
            group: LEVELS,
            usage: "nearest_resistance(levels, price)",
            doc: "Price of the nearest resistance above a price",
            nulls: "Null where there is none, or levels or price is null; a level without a price or a type does not count",
            source: "",
            arguments: &[LIST, ("price", "resistances above it count")],
            example: "SELECT symbol, ts, nearest_resistance([named_struct('price', 120.0, 'type', 'resistance')], close) \
                      AS resistance FROM candles",
        };
        Self { resistance: true, signature: described.signature(), documentation: described.documentation() }
    }

    pub fn support() -> Self {
        let described = Described {
            group: LEVELS,
            usage: "nearest_support(levels, price)",
            doc: "Price of the nearest support below a price",
            nulls: "Null where there is none, or levels or price is null; a level without a price or a type does not count",
            source: "",
            arguments: &[LIST, ("price", "supports below it count")],
            example: "SELECT symbol, ts, nearest_support([named_struct('price', 80.0, 'type', 'support')], close) AS support \
                      FROM candles",
        };
        Self { resistance: false, signature: described.signature(), documentation: described.documentation() }
    }
}

impl ScalarUDFImpl for NearestLevel {
    fn name(&self) -> &str {
        if self.resistance { "nearest_resistance" } else { "nearest_support" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match arg_types {
            [levels, price] if InputKind::Levels.accepts(levels) && InputKind::Number.accepts(price) => {
                Ok(vec![InputKind::Levels.data_type(), DataType::Float64])
            }
            _ => plan_err!("{0} takes a list of struct{{price, type}} and a price: {0}(levels, close)", self.name()),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let wrong = || internal_datafusion_err!("{}: arguments were not coerced", self.name());
        let lists = arrays[0].as_list_opt::<i32>().ok_or_else(wrong)?;
        let price = arrays[1].as_primitive_opt::<Float64Type>().ok_or_else(wrong)?;
        let items = lists.values().as_struct_opt().ok_or_else(wrong)?;
        let prices = items.column(0).as_primitive_opt::<Float64Type>().ok_or_else(wrong)?;
        let types = items.column(1).as_string_opt::<i32>().ok_or_else(wrong)?;
        let offsets = lists.value_offsets();
        let nearest = |row: usize| {
            let price = price.is_valid(row).then(|| price.value(row)).filter(|_| lists.is_valid(row))?;
            (offsets[row] as usize..offsets[row + 1] as usize)
                .filter(|&i| prices.is_valid(i) && types.is_valid(i))
                .filter(|&i| types.value(i).starts_with(['r', 'R']) == self.resistance)
                .map(|i| prices.value(i))
                .filter(|level| if self.resistance { *level > price } else { *level < price })
                .min_by(|a, b| (a - price).abs().total_cmp(&(b - price).abs()))
        };
        let result: Float64Array = (0..lists.len()).map(nearest).collect();
        Ok(ColumnarValue::Array(Arc::new(result)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

/// The levels that matter at a price.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct LevelsNear {
    signature: Signature,
    documentation: Documentation,
}

impl LevelsNear {
    pub fn new() -> Self {
        let described = Described {
            group: LEVELS,
            usage: "levels_near(levels, price, distance)",
            doc: "The levels within a distance of a price, and the nearest on its own side above and below, as a list of \
                  struct{price, type}",
            nulls: "Null where levels is null; an empty list where the price is null; without a distance only the nearest",
            source: "",
            arguments: &[LIST, ("price", "what they are near to"), ("distance", "in price")],
            example: "SELECT symbol, ts, levels_near([named_struct('price', 80.0, 'type', 'support')], close, 5.0) AS levels \
                      FROM candles",
        };
        Self { signature: described.signature(), documentation: described.documentation() }
    }
}

impl ScalarUDFImpl for LevelsNear {
    fn name(&self) -> &str {
        "levels_near"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match arg_types {
            [levels, price, distance]
                if InputKind::Levels.accepts(levels)
                    && [price, distance].iter().all(|t| InputKind::Number.accepts(t)) =>
            {
                Ok(vec![InputKind::Levels.data_type(), DataType::Float64, DataType::Float64])
            }
            _ => plan_err!(
                "levels_near takes a list of struct{{price, type}}, a price and a distance: levels_near(levels, close, 3.0)"
            ),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(InputKind::Levels.data_type())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let wrong = || internal_datafusion_err!("levels_near: arguments were not coerced");
        let lists = arrays[0].as_list_opt::<i32>().ok_or_else(wrong)?;
        let price = arrays[1].as_primitive_opt::<Float64Type>().ok_or_else(wrong)?;
        let distance = arrays[2].as_primitive_opt::<Float64Type>().ok_or_else(wrong)?;
        let items = lists.values().as_struct_opt().ok_or_else(wrong)?;
        let prices = items.column(0).as_primitive_opt::<Float64Type>().ok_or_else(wrong)?.values();
        let types = items.column(1).as_string_opt::<i32>().ok_or_else(wrong)?;
        let offsets = lists.value_offsets();
        let (mut kept, mut lengths): (Vec<u64>, Vec<usize>) = (vec![], vec![]);
        for row in 0..lists.len() {
            let before = kept.len();
            if lists.is_valid(row) && price.is_valid(row) {
                let price = price.value(row);
                let reach = if distance.is_valid(row) { distance.value(row) } else { 0.0 };
                let all = || offsets[row] as usize..offsets[row + 1] as usize;
                let known = |i: &usize| types.is_valid(*i);
                let is_above = |i: usize| types.value(i).starts_with(['r', 'R']);
                let by_price = |a: &usize, b: &usize| prices[*a].total_cmp(&prices[*b]);
                let above = all().filter(known).filter(|&i| is_above(i) && prices[i] > price).min_by(by_price);
                let below = all().filter(known).filter(|&i| !is_above(i) && prices[i] < price).max_by(by_price);
                let matters = |i: &usize| (prices[*i] - price).abs() <= reach || Some(*i) == above || Some(*i) == below;
                kept.extend(all().filter(matters).map(|i| i as u64));
            }
            lengths.push(kept.len() - before);
        }
        let items = take(items, &UInt64Array::from(kept), None)?;
        let field = Arc::new(Field::new_list_field(items.data_type().clone(), true));
        let nulls = lists.nulls().cloned();
        Ok(ColumnarValue::Array(Arc::new(ListArray::try_new(
            field,
            OffsetBuffer::from_lengths(lengths),
            items,
            nulls,
        )?)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}
