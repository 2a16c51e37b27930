//! The statistics of a file as the log keeps them.

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::parquet::file::metadata::RowGroupMetaData;
use datafusion::parquet::file::statistics::Statistics;
use serde_json::{Map, Value, json};

/// The statistics of a file as Delta keeps them.
pub(super) fn statistics(schema: &SchemaRef, groups: &[RowGroupMetaData], rows: u64) -> Value {
    let (mut min, mut max, mut nulls) = (Map::new(), Map::new(), Map::new());
    let firsts = schema.fields().iter().scan(0, |next, field| {
        let first = *next;
        *next += leaves(field.data_type());
        Some((first, field))
    });
    // Of structs and lists nothing is told: nobody prunes by them.
    for (leaf, field) in firsts.filter(|(_, field)| !field.data_type().is_nested()) {
        let known: Option<Vec<&Statistics>> = groups.iter().map(|g| g.column(leaf).statistics()).collect();
        let Some(known) = known else { continue };
        if let Some(count) = known.iter().map(|s| s.null_count_opt()).sum::<Option<u64>>() {
            nulls.insert(field.name().clone(), count.into());
        }
        if let Some((low, high)) = extremes(field.data_type(), &known) {
            min.insert(field.name().clone(), low);
            max.insert(field.name().clone(), high);
        }
    }
    json!({ "numRecords": rows, "minValues": min, "maxValues": max, "nullCount": nulls })
}

/// Columns that a file has for a type.
fn leaves(data_type: &DataType) -> usize {
    match data_type {
        DataType::Struct(fields) => fields.iter().map(|field| leaves(field.data_type())).sum(),
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field) => leaves(field.data_type()),
        DataType::FixedSizeList(field, _) | DataType::Map(field, _) => leaves(field.data_type()),
        _ => 1,
    }
}

fn extremes(data_type: &DataType, groups: &[&Statistics]) -> Option<(Value, Value)> {
    // Row groups of nulls only have no extremes.
    let filled: Vec<_> = groups.iter().filter(|s| s.min_bytes_opt().is_some() && s.max_bytes_opt().is_some()).collect();
    match (data_type, filled.first()?) {
        (DataType::Float64, Statistics::Double(_)) => {
            let mut ends = (f64::INFINITY, f64::NEG_INFINITY);
            for group in &filled {
                let Statistics::Double(s) = group else { return None };
                ends = (ends.0.min(*s.min_opt()?), ends.1.max(*s.max_opt()?));
            }
            (ends.0.is_finite() && ends.1.is_finite()).then(|| ((ends.0 + 0.0).into(), (ends.1 + 0.0).into()))
        }
        (DataType::Timestamp(_, _) | DataType::Int64, Statistics::Int64(_)) => {
            let mut ends = (i64::MAX, i64::MIN);
            for group in &filled {
                let Statistics::Int64(s) = group else { return None };
                ends = (ends.0.min(*s.min_opt()?), ends.1.max(*s.max_opt()?));
            }
            if *data_type == DataType::Int64 {
                return Some((ends.0.into(), ends.1.into()));
            }
            // Other readers take milliseconds; the last one begins at or before the last time.
            let text = |micros: i64| {
                let at = chrono::DateTime::from_timestamp_micros(micros)?;
                Some(Value::from(at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()))
            };
            Some((text(ends.0)?, text(ends.1)?))
        }
        (DataType::Utf8 | DataType::Utf8View, Statistics::ByteArray(_)) => {
            let mut ends: Option<(String, String)> = None;
            for group in &filled {
                let Statistics::ByteArray(s) = group else { return None };
                if !s.min_is_exact() || !s.max_is_exact() {
                    return None;
                }
                let (low, high) = (s.min_opt()?.as_utf8().ok()?.to_string(), s.max_opt()?.as_utf8().ok()?.to_string());
                ends = Some(match ends {
                    None => (low, high),
                    Some((a, b)) => (a.min(low), b.max(high)),
                });
            }
            ends.map(|(low, high)| (low.into(), high.into()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::Field;

    #[test]
    fn a_nested_type_has_a_column_for_each_of_its_fields() {
        let pair = DataType::Struct(
            vec![Field::new("a", DataType::Float64, true), Field::new("b", DataType::Utf8, true)].into(),
        );
        let list = DataType::List(Field::new("item", pair.clone(), true).into());
        let of = |name: &str, kind: &DataType| Field::new(name, kind.clone(), true);
        let both = DataType::Struct(vec![of("x", &pair), of("y", &list), of("z", &DataType::Int64)].into());
        assert_eq!([&DataType::Int64, &pair, &list, &both].map(leaves), [1, 2, 2, 5]);
    }

    #[test]
    fn the_ends_of_a_file_are_those_of_all_its_row_groups() {
        let time = DataType::Int64;
        let groups = [
            Statistics::int64(Some(3), Some(8), None, Some(0), false),
            Statistics::int64(None, None, None, Some(2), false),
        ];
        let ends = |groups: &[Statistics], kind: &DataType| extremes(kind, &groups.iter().collect::<Vec<_>>());
        assert_eq!(ends(&groups, &time), Some((3.into(), 8.into())));
        assert_eq!(ends(&groups[1..], &time), None);
        let infinite = [Statistics::double(Some(1.0), Some(f64::INFINITY), None, Some(0), false)];
        assert_eq!(ends(&infinite, &DataType::Float64), None);
    }
}
