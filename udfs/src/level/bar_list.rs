//! `bar_list(ts, high, low)`.

use super::LEVELS;
use super::list_aggregate::{ToList, fields};
use crate::described::Described;
use crate::series::InputKind;
use arrow::array::{ArrayRef, StructArray};
use arrow::datatypes::{DataType, Fields};
use datafusion_common::Result;

/// The bars themselves.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct BarList;

impl ToList for BarList {
    const NAME: &'static str = "bar_list";

    fn described() -> Described<'static> {
        Described {
            group: LEVELS,
            usage: "bar_list(ts, high, low)",
            doc: "The highs and lows of bars in time order: a list of struct{high, low}, for tie => 'refine'",
            nulls: "A high or low that is null is null in the list; rows without a time come last",
            source: "",
            arguments: &[
                ("ts", "time of the bar; the rows may come in any order"),
                ("high", "highest price"),
                ("low", "lowest price"),
            ],
            example: "SELECT symbol, bar_floor(ts, '1w') AS week, bar_list(ts, high, low) AS smaller FROM candles GROUP BY 1, 2",
        }
    }

    fn arguments() -> Fields {
        let number = DataType::Float64;
        fields([("ts", InputKind::Time.data_type()), ("high", number.clone()), ("low", number)])
    }

    fn item() -> Fields {
        fields([("high", DataType::Float64), ("low", DataType::Float64)])
    }

    fn compute(rows: &[ArrayRef]) -> Result<StructArray> {
        Ok(StructArray::try_new(Self::item(), rows[1..].to_vec(), None)?)
    }
}
