//! `level_states(ts, level_id, price, event)`.

use super::LEVELS;
use super::list_aggregate::{ToList, fields};
use crate::described::Described;
use crate::series::InputKind;
use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, ListArray, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Fields, Float64Type, TimestampMicrosecondType};
use datafusion_common::{Result, plan_err};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which levels are active from each event on.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct LevelStates;

impl ToList for LevelStates {
    const NAME: &'static str = "level_states";

    fn described() -> Described<'static> {
        Described {
            group: LEVELS,
            usage: "level_states(ts, level_id, price, event)",
            doc: "The levels of one symbol that are active from each event on: a list of struct{ts, levels}, where levels is \
                  a list of struct{price, type}",
            nulls: "Rows whose time, level or event is null do not count, nor do new levels without a price",
            source: "",
            arguments: &[
                ("ts", "time of the event; the rows may come in any order"),
                ("level_id", "which level"),
                ("price", "its price"),
                ("event", "as level_events names them; only NEW, FLIP and DEACTIVATE count"),
            ],
            example: "SELECT level_states(ts, level, price, event) AS states FROM (VALUES \
                      (timestamp '2024-01-02T00:00:00Z', '1', 101.5, 'NEW_RESISTANCE'), \
                      (timestamp '2024-01-05T00:00:00Z', '1', 101.5, 'FLIP_TO_SUPPORT')) AS events(ts, level, price, event)",
        }
    }

    fn arguments() -> Fields {
        fields([
            ("ts", InputKind::Time.data_type()),
            ("level_id", DataType::Utf8),
            ("price", DataType::Float64),
            ("event", DataType::Utf8),
        ])
    }

    fn item() -> Fields {
        fields([("ts", InputKind::Time.data_type()), ("levels", InputKind::Levels.data_type())])
    }

    /// Within an instant, levels are made before they flip, and flip before they end.
    fn rank(rows: &StructArray) -> Option<ArrayRef> {
        let rank = |event: Option<&str>| match event.unwrap_or_default() {
            e if e.starts_with("NEW") => 0,
            e if e.starts_with("DEACTIVATE") => 2,
            _ => 1,
        };
        let events = rows.column(3).as_string::<i32>();
        Some(Arc::new(events.iter().map(|event| Some(rank(event))).collect::<Int64Array>()))
    }

    fn compute(rows: &[ArrayRef]) -> Result<StructArray> {
        let times = rows[0].as_primitive::<TimestampMicrosecondType>();
        let (ids, events) = (rows[1].as_string::<i32>(), rows[3].as_string::<i32>());
        let prices = rows[2].as_primitive::<Float64Type>();
        // By price and name, so that the lists are in the order of prices.
        let mut active: BTreeMap<&str, (f64, bool)> = BTreeMap::new();
        let mut at: Vec<i64> = vec![];
        let mut lengths: Vec<usize> = vec![];
        let (mut level_prices, mut level_types): (Vec<f64>, Vec<&str>) = (vec![], vec![]);
        let changes = |event: &str| ["NEW", "FLIP", "DEACTIVATE"].iter().any(|what| event.starts_with(what));
        let rows: Vec<usize> = (0..times.len())
            .filter(|&i| times.is_valid(i) && ids.is_valid(i) && events.is_valid(i) && changes(events.value(i)))
            .collect();
        for (n, &row) in rows.iter().enumerate() {
            let (id, event) = (ids.value(row), events.value(row));
            let side = event.contains("RESISTANCE");
            let known_side = side || event.contains("SUPPORT");
            if event.starts_with("NEW") {
                if prices.is_valid(row) {
                    active.insert(id, (prices.value(row), side));
                }
            } else if event.starts_with("FLIP") {
                if let Some(level) = active.get_mut(id) {
                    level.1 = if known_side { side } else { !level.1 };
                }
            } else {
                active.remove(id);
            }
            let next = rows.get(n + 1).map(|&next| times.value(next));
            if next != Some(times.value(row)) {
                let mut now: Vec<(f64, bool)> = active.values().copied().collect();
                now.sort_by(|a, b| a.0.total_cmp(&b.0));
                at.push(times.value(row));
                lengths.push(now.len());
                level_prices.extend(now.iter().map(|l| l.0));
                level_types.extend(now.iter().map(|l| if l.1 { "resistance" } else { "support" }));
            }
        }
        let levels = match InputKind::Levels.data_type() {
            DataType::List(item) => {
                let DataType::Struct(of) = item.data_type().clone() else { return plan_err!("levels are structs") };
                let columns: Vec<ArrayRef> =
                    vec![Arc::new(Float64Array::from(level_prices)), Arc::new(StringArray::from(level_types))];
                let items = StructArray::try_new(of, columns, None)?;
                ListArray::try_new(item, OffsetBuffer::from_lengths(lengths), Arc::new(items), None)?
            }
            other => return plan_err!("levels are lists, not {other}"),
        };
        let ts = TimestampMicrosecondArray::from(at).with_timezone("UTC");
        Ok(StructArray::try_new(Self::item(), vec![Arc::new(ts), Arc::new(levels)], None)?)
    }
}
