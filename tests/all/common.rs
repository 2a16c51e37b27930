//! Sessions and small tables for the tests.

use arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::file::properties::WriterProperties;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use tallow::pipeline::control::Control;
use tallow::pipeline::incremental::Done;
use tallow::pipeline::label::LabelRun;
use tallow::{Session, Settings};

pub const DAY: i64 = 86_400_000_000;
pub const START: i64 = 1_577_836_800_000_000; // 2020-01-01

/// Settings over the sample lake, with nothing kept on disk.
pub fn settings() -> Settings {
    Settings {
        lake: concat!(env!("CARGO_MANIFEST_DIR"), "/data").to_string(),
        threads: 2,
        memory: 1 << 30,
        ..Settings::default()
    }
}

pub async fn session() -> Session {
    tallow::open(settings()).await.unwrap()
}

/// All rows of a query, as one batch.
pub async fn query(session: &Session, sql: &str) -> RecordBatch {
    try_query(session, sql).await.unwrap_or_else(|e| panic!("{sql}\n{e}"))
}

pub async fn try_query(session: &Session, sql: &str) -> tallow::Result<RecordBatch> {
    let frame = session.sql(sql).await?;
    let schema = Arc::new(frame.schema().as_arrow().clone());
    let batches = session.collect(frame).await?;
    let schema = batches.first().map_or(schema, RecordBatch::schema);
    Ok(arrow::compute::concat_batches(&schema, &batches)?)
}

/// A column of numbers, whole ones and booleans included; NaN is null.
pub fn numbers(batch: &RecordBatch, column: &str) -> Vec<f64> {
    let array = batch.column_by_name(column).unwrap_or_else(|| panic!("no column {column} in {:?}", batch.schema()));
    floats(array)
}

pub fn floats(array: &ArrayRef) -> Vec<f64> {
    let array = arrow::compute::cast(array, &DataType::Float64).unwrap();
    array.as_primitive::<Float64Type>().iter().map(|v| v.unwrap_or(f64::NAN)).collect()
}

/// Equal to 1e-9 of the column's scale, null with null.
pub fn assert_close(got: &[f64], want: &[f64], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}: rows");
    let scale = want.iter().filter(|v| v.is_finite()).fold(1.0f64, |m, v| m.max(v.abs()));
    for (row, (g, w)) in got.iter().zip(want).enumerate() {
        let same = (g.is_nan() && w.is_nan()) || (g - w).abs() <= 1e-9 * scale;
        assert!(same, "{what}, row {row}: {g} instead of {w}");
    }
}

/// One bar: symbol, day number, close. Open, high and low follow from the close.
pub type Bar = (String, i64, f64);

/// A walk of `bars` bars for each of `symbols`.
pub fn walk(symbols: &[&str], bars: usize) -> Vec<Bar> {
    let mut all = vec![];
    for (s, symbol) in symbols.iter().enumerate() {
        for bar in 0..bars {
            let x = bar as f64 + 7.0 * s as f64;
            all.push((symbol.to_string(), bar as i64, 100.0 + 10.0 * (x * 0.37).sin() + 3.0 * (x * 1.7).cos()));
        }
    }
    all
}

pub fn batch(bars: &[Bar]) -> RecordBatch {
    let symbols = StringArray::from_iter_values(bars.iter().map(|b| b.0.as_str()));
    let times =
        TimestampMicrosecondArray::from_iter_values(bars.iter().map(|b| START + b.1 * DAY)).with_timezone("UTC");
    let number = |f: fn(f64) -> f64| Arc::new(Float64Array::from_iter_values(bars.iter().map(|b| f(b.2)))) as ArrayRef;
    RecordBatch::try_from_iter([
        ("symbol", Arc::new(symbols) as ArrayRef),
        ("ts", Arc::new(times)),
        ("open", number(|c| c * 0.999)),
        ("high", number(|c| c * 1.01)),
        ("low", number(|c| c * 0.99)),
        ("close", number(|c| c)),
        ("volume", number(|c| (c * 1000.0).round())),
    ])
    .unwrap()
}

pub fn write_parquet(path: &Path, batch: &RecordBatch, row_group: usize) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(row_group)).build();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

pub fn write_csv(path: &Path, batch: &RecordBatch) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut writer = arrow::csv::Writer::new(File::create(path).unwrap());
    writer.write(batch).unwrap();
}

/// The physical plan of a query as text.
pub async fn plan(session: &Session, sql: &str) -> String {
    let frame = session.sql(sql).await.unwrap_or_else(|e| panic!("{sql}\n{e}"));
    let physical = session.physical(frame.logical_plan()).await.unwrap();
    datafusion::physical_plan::display::DisplayableExecutionPlan::new(physical.as_ref()).indent(false).to_string()
}

/// Writes a table of labels: how many rows, and the version of the table.
pub async fn write_labels(session: &Session, run: &LabelRun, table: &str) -> tallow::Result<(u64, u64)> {
    match run.run(session, table, &Control::default()).await?.done {
        Done::Written { rows, version } => Ok((rows, version)),
        other => panic!("nothing was written: {other:?}"),
    }
}
