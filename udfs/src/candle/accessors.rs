//! `candle_open(candle)` and its siblings: the fields of a candlestick.

use super::CANDLES;
use super::candle_arrays::{FIELDS, candle_type};
use crate::described::Described;
use arrow::array::{Array, ArrayRef, AsArray, make_array};
use arrow::buffer::NullBuffer;
use arrow::compute::kernels::numeric::div;
use arrow::compute::nullif;
use arrow::datatypes::{DataType, Float64Type};
use datafusion_common::{Result, internal_datafusion_err, plan_err};
use datafusion_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature};

/// Function names, the field that each reads, and what it is.
const ACCESSORS: [(&str, &str, &str, &str); 8] = [
    ("candle_open", "open", "Open of a candle, in price", ""),
    ("candle_high", "high", "High of a candle, in price", ""),
    ("candle_low", "low", "Low of a candle, in price", ""),
    ("candle_close", "close", "Close of a candle, in price", ""),
    ("candle_volume", "volume", "Volume of a candle", ""),
    ("candle_vwap", "turnover", "Volume-weighted average price of a candle", ", and without volume"),
    ("candle_open_time", "open_time", "Time of a candle's first bar or trade", ""),
    ("candle_close_time", "close_time", "Time of a candle's last bar or trade", ""),
];

/// An accessor.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct CandleField {
    name: &'static str,
    field: usize,
    signature: Signature,
    documentation: Documentation,
}

impl CandleField {
    /// All accessors.
    pub fn all() -> impl Iterator<Item = CandleField> {
        ACCESSORS.iter().map(|(name, field, doc, also_null)| {
            let described = Described {
                group: CANDLES,
                usage: &format!("{name}(candlestick)"),
                doc,
                nulls: &format!("Null where the candle is null or has none{also_null}"),
                source: "",
                arguments: &[("candlestick", "the result of candlestick, candlestick_agg or rollup")],
                example: &format!(
                    "SELECT symbol, {name}(candlestick(ts, open, high, low, close, volume)) FROM candles GROUP BY symbol"
                ),
            };
            CandleField {
                name,
                field: FIELDS.iter().position(|f| f.name() == field).unwrap_or_default(),
                signature: described.signature(),
                documentation: described.documentation(),
            }
        })
    }
}

impl ScalarUDFImpl for CandleField {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match arg_types {
            [DataType::Struct(fields)] if *fields == *FIELDS => Ok(vec![candle_type()]),
            _ => plan_err!("{} takes the result of candlestick, candlestick_agg or rollup", self.name),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(FIELDS[self.field].data_type().clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let array = args.args[0].to_array(args.number_rows)?;
        let candles = array.as_struct_opt().ok_or_else(|| internal_datafusion_err!("candles are structs"))?;
        let column = candles.column(self.field);
        let column: ArrayRef = if self.name == "candle_vwap" {
            let volume = candles.column_by_name("volume").and_then(|v| v.as_primitive_opt::<Float64Type>());
            let volume = volume.ok_or_else(|| internal_datafusion_err!("a candle has a volume"))?;
            let none = volume.iter().map(|v| Some(v == Some(0.0))).collect();
            div(column, &nullif(volume, &none)?)?
        } else {
            column.clone()
        };
        let nulls = NullBuffer::union(candles.nulls(), column.nulls());
        Ok(ColumnarValue::Array(make_array(column.to_data().into_builder().nulls(nulls).build()?)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}
