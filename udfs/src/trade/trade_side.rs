//! `trade_side(side)`: the sign of a position.

use crate::described::Described;
use arrow::array::{AsArray, Int8Array};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion_common::{Result, exec_err, plan_err};
use datafusion_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature};
use std::sync::Arc;

const NAME: &str = "trade_side";
const DESCRIBED: Described<'_> = Described {
    group: "Trades",
    usage: "trade_side(side)",
    doc: "1 for a long position (long, buy, b, 1), -1 for a short one (short, sell, s, -1), in any case; int8. Anything else \
          is an error",
    nulls: "Null for null",
    source: "",
    arguments: &[("side", "text, or a number")],
    example: "SELECT side, trade_side(side) FROM (VALUES ('long'), ('SELL')) AS t(side)",
};

/// The sign of a side.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct TradeSide {
    signature: Signature,
    documentation: Documentation,
}

impl TradeSide {
    pub fn new() -> Self {
        Self { signature: DESCRIBED.signature(), documentation: DESCRIBED.documentation() }
    }
}

impl ScalarUDFImpl for TradeSide {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match arg_types {
            [side] if side.is_string() || side.is_numeric() || side.is_null() => Ok(vec![DataType::Utf8View]),
            _ => plan_err!("{NAME} takes one text or number: {}", DESCRIBED.usage),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [sides] = arrays.as_slice() else { return plan_err!("{NAME} takes one argument") };
        let sides = cast(sides, &DataType::Utf8View)?;
        let signs = sides.as_string_view().iter().map(|side| side.map(sign).transpose());
        Ok(ColumnarValue::Array(Arc::new(signs.collect::<Result<Int8Array>>()?)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

fn sign(side: &str) -> Result<i8> {
    match side.trim().to_ascii_lowercase().as_str() {
        "long" | "buy" | "b" | "1" | "+1" | "1.0" => Ok(1),
        "short" | "sell" | "s" | "-1" | "-1.0" => Ok(-1),
        _ => exec_err!("side '{side}': expected long, buy, b or 1, or short, sell, s or -1"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_have_a_sign() {
        assert_eq!(["long", " Buy ", "1", "SHORT", "s", "-1"].map(|side| sign(side).unwrap()), [1, 1, 1, -1, -1, -1]);
        assert!(sign("hold").unwrap_err().to_string().contains("side 'hold': expected long"));
    }
}
