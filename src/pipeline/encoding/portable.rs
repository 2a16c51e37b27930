//! Columns as every reader of Parquet and Arrow knows them: DataFusion's views of text are newer than most of these, and
//! pyarrow can neither filter nor sort nor join by them.

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use std::sync::Arc;
use tallow_common::Result;

/// A schema without views, and with times in one unit; those without a zone are of UTC, as everywhere here.
pub fn portable(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(portable_field);
    Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone()))
}

/// Rows with the types of such a schema.
pub fn ported(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| match column.data_type() == field.data_type() {
        true => Ok(Arc::clone(column)),
        false => cast_with_options(column, field.data_type(), &options),
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &rows)?)
}

fn portable_field(field: &FieldRef) -> FieldRef {
    let data_type = portable_type(field.data_type());
    if data_type == *field.data_type() { Arc::clone(field) } else { Arc::new(of_type(field, data_type)) }
}

fn of_type(field: &Field, data_type: DataType) -> Field {
    field.clone().with_data_type(data_type)
}

fn portable_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Timestamp(_, zone) => {
            let zone = zone.as_ref().filter(|zone| !is_utc(zone)).cloned();
            DataType::Timestamp(TimeUnit::Microsecond, Some(zone.unwrap_or_else(|| "UTC".into())))
        }
        DataType::List(item) | DataType::ListView(item) => DataType::List(portable_field(item)),
        DataType::LargeList(item) | DataType::LargeListView(item) => DataType::LargeList(portable_field(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(portable_field(item), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(portable_field).collect()),
        DataType::Map(entries, sorted) => DataType::Map(portable_field(entries), *sorted),
        other => other.clone(),
    }
}

fn is_utc(zone: &str) -> bool {
    ["UTC", "Etc/UTC", "Z", "+00:00"].iter().any(|name| name.eq_ignore_ascii_case(zone))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        Array, ArrayRef, AsArray, BinaryViewArray, DictionaryArray, ListArray, StringViewArray, StructArray,
        TimestampNanosecondArray,
    };
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::{Int32Type, TimestampMicrosecondType};

    fn field(name: &str, data_type: DataType) -> FieldRef {
        Arc::new(Field::new(name, data_type, true))
    }

    #[test]
    fn views_become_text_wherever_they_are() {
        let texts: ArrayRef =
            Arc::new(StringViewArray::from(vec![Some("a text that is too long to be inlined"), None]));
        let bytes: ArrayRef = Arc::new(BinaryViewArray::from(vec![Some(&b"x"[..]), None]));
        let list = ListArray::new(
            field("item", DataType::Utf8View),
            OffsetBuffer::from_lengths([1, 1]),
            Arc::clone(&texts),
            None,
        );
        let nested = StructArray::from(vec![
            (field("text", DataType::Utf8View), Arc::clone(&texts)),
            (field("list", list.data_type().clone()), Arc::new(list)),
        ]);
        let dictionary: DictionaryArray<Int32Type> = vec!["a", "a"].into_iter().collect();
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("texts", Arc::clone(&texts), true),
            ("bytes", bytes, true),
            ("nested", Arc::new(nested), true),
            ("dictionary", Arc::new(dictionary), true),
        ])
        .unwrap();
        let ported = ported(&batch, &portable(&batch.schema())).unwrap();
        let shown = format!("{:?}", ported.schema());
        assert!(!shown.contains("View"), "{shown}");
        assert_eq!(ported.column(0).as_string::<i32>().value(0), texts.as_string_view().value(0));
        let nested = ported.column(2).as_struct();
        assert_eq!(nested.column(0).as_string::<i32>().iter().flatten().count(), 1);
        let list = nested.column(1).as_list::<i32>();
        assert_eq!(list.value(0).as_string::<i32>().value(0), texts.as_string_view().value(0));
        assert_eq!(ported.column(3).data_type(), batch.column(3).data_type());
    }

    #[test]
    fn times_are_microseconds_of_utc_and_other_zones_stay() {
        let instant = TimestampNanosecondArray::from(vec![1_500]).with_timezone("+00:00");
        let local = TimestampNanosecondArray::from(vec![1_500]).with_timezone("America/New_York");
        let plain = TimestampNanosecondArray::from(vec![1_500]);
        let columns: [(&str, ArrayRef); 3] =
            [("instant", Arc::new(instant)), ("local", Arc::new(local)), ("plain", Arc::new(plain))];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let ported = ported(&batch, &portable(&batch.schema())).unwrap();
        let utc = tallow_common::time::timestamp_type();
        let new_york = DataType::Timestamp(TimeUnit::Microsecond, Some("America/New_York".into()));
        for (column, data_type) in ported.columns().iter().zip([&utc, &new_york, &utc]) {
            assert_eq!(column.data_type(), data_type);
            assert_eq!(column.as_primitive::<TimestampMicrosecondType>().value(0), 1);
        }
    }
}
