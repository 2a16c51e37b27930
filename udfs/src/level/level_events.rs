//! `level_events(close_time, high, low, close, k, cluster, max_age)`.

use super::LEVELS;
use super::detect::{LevelRules, detect};
use super::list_aggregate::{ToList, fields};
use crate::described::Described;
use crate::series::InputKind;
use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Fields, Float64Type, Int64Type, TimestampMicrosecondType};
use datafusion_common::{Result, plan_err};
use std::sync::Arc;

/// What happens to the levels of a symbol.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct LevelEvents;

impl ToList for LevelEvents {
    const NAME: &'static str = "level_events";

    fn described() -> Described<'static> {
        Described {
            group: LEVELS,
            usage: "level_events(close_time, high, low, close, k, cluster, max_age)",
            doc: "Support and resistance levels of one symbol: a list of struct{level, ts, event, price}. Swing pivots of k \
                  bars on each side become levels when they are confirmed, unless one lies within `cluster` average true \
                  ranges; events are NEW, TOUCH, BREAK, FLIP_TO and DEACTIVATE, each with _SUPPORT or _RESISTANCE",
            nulls: "Rows whose time or one of the prices is null do not count",
            source: "",
            arguments: &[
                ("close_time", "time at which the bar ends; the rows may come in any order"),
                ("high", "highest price"),
                ("low", "lowest price"),
                ("close", "last price"),
                ("k", "bars on each side of a pivot, from 1 to 10000; the same in every row"),
                ("cluster", "in average true ranges, from 0 up; the same in every row"),
                (
                    "max_age",
                    "bars after which a level that nothing touches is deactivated, from 1 to 10000; the same in every row",
                ),
            ],
            example: "SELECT symbol, level_events(bar_end(ts, '1d'), high, low, close, 5, 0.25, 500) AS events FROM candles \
                      GROUP BY symbol",
        }
    }

    fn arguments() -> Fields {
        let number = DataType::Float64;
        fields([
            ("close_time", InputKind::Time.data_type()),
            ("high", number.clone()),
            ("low", number.clone()),
            ("close", number.clone()),
            ("k", DataType::Int64),
            ("cluster", number),
            ("max_age", DataType::Int64),
        ])
    }

    fn item() -> Fields {
        fields([
            ("level", DataType::Int64),
            ("ts", InputKind::Time.data_type()),
            ("event", DataType::Utf8),
            ("price", DataType::Float64),
        ])
    }

    fn compute(rows: &[ArrayRef]) -> Result<StructArray> {
        let number = |i: usize| rows[i].as_primitive::<Float64Type>();
        let whole = |i: usize| Some(rows[i].as_primitive::<Int64Type>()).filter(|a| !a.is_empty()).map(|a| a.value(0));
        // Bars without a price are passed over.
        let valid: Vec<usize> = (0..rows[0].len())
            .filter(|&i| rows[..4].iter().all(|c| c.is_valid(i)) && (1..4).all(|c| number(c).value(i).is_finite()))
            .collect();
        let column = |i: usize| valid.iter().map(|&row| number(i).value(row)).collect::<Vec<f64>>();
        let times = rows[0].as_primitive::<TimestampMicrosecondType>();
        let positive = |name: &str, value: Option<i64>| match value.unwrap_or(1) {
            v @ 1..=10_000 => Ok(v as usize),
            v => plan_err!("`{name}` of level_events is {v}, expected a whole number from 1 to 10000"),
        };
        let cluster = number(5);
        let rules = LevelRules {
            k: positive("k", whole(4))?,
            cluster: if cluster.is_empty() { 0.0 } else { cluster.value(0) },
            max_age: positive("max_age", whole(6))?,
        };
        if rules.cluster.is_nan() || rules.cluster < 0.0 {
            return plan_err!("`cluster` of level_events is {}, expected a number from 0 up", rules.cluster);
        }
        let found = detect(&column(1), &column(2), &column(3), &rules);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(found.iter().map(|e| e.level).collect::<Int64Array>()),
            Arc::new(
                TimestampMicrosecondArray::from_iter_values(found.iter().map(|e| times.value(valid[e.bar])))
                    .with_timezone("UTC"),
            ),
            Arc::new(found.iter().map(|e| Some(e.to_string())).collect::<StringArray>()),
            Arc::new(found.iter().map(|e| e.price).collect::<Float64Array>()),
        ];
        Ok(StructArray::try_new(Self::item(), columns, None)?)
    }
}
