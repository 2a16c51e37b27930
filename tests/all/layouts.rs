//! Candle tables as people have them.

use crate::common::{
    Bar, DAY, START, assert_close, batch, numbers, plan, query, session, settings, try_query, walk, write_csv,
    write_parquet,
};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use std::path::Path;
use std::sync::Arc;
use tallow::{Session, Settings};

const SYMBOLS: [&str; 3] = ["AAA", "BBB", "CCC"];

async fn rsi(session: &Session, table: &str) -> (usize, Vec<f64>) {
    let result = query(session, &format!("select symbol, ts, rsi(14) r from {table} order by symbol, ts")).await;
    (result.num_rows(), numbers(&result, "r"))
}

async fn expected(session: &Session, bars: &[Bar]) -> Vec<f64> {
    session.context().register_batch("bars", batch(bars)).unwrap();
    rsi(session, "bars").await.1
}

fn without_symbol(all: &RecordBatch) -> RecordBatch {
    let columns: Vec<usize> = (1..all.num_columns()).collect();
    all.project(&columns).unwrap()
}

fn of(bars: &[Bar], symbol: &str) -> Vec<Bar> {
    bars.iter().filter(|b| b.0 == symbol).cloned().collect()
}

/// Writes the same bars in every layout; returns the table of each.
fn layouts(folder: &Path, bars: &[Bar]) -> Vec<String> {
    write_parquet(&folder.join("one.parquet"), &batch(bars), 50);
    write_csv(&folder.join("one.csv"), &batch(bars));
    for symbol in SYMBOLS {
        let own = without_symbol(&batch(&of(bars, symbol)));
        write_parquet(&folder.join(format!("named/{symbol}.parquet")), &own, 50);
        write_parquet(&folder.join(format!("hive/symbol={symbol}/part-0.parquet")), &own, 50);
        write_csv(&folder.join(format!("named_csv/{symbol}.csv")), &own);
    }
    let mut json = arrow::json::LineDelimitedWriter::new(std::fs::File::create(folder.join("one.ndjson")).unwrap());
    json.write(&batch(bars)).unwrap();
    json.finish().unwrap();
    ["one.parquet", "one.csv", "one.ndjson", "named/", "named/*.parquet", "hive/", "named_csv/"]
        .map(|name| format!("'{}/{name}'", folder.display()))
        .to_vec()
}

#[tokio::test]
async fn csv_files_are_one_table_where_their_columns_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let table = format!("'{}/'", folder.path().display());
    // Whole numbers here, decimals there.
    put("A.csv", "date,open,high,low,close,volume\n2020-01-01,5,5,5,5,100\n");
    put("B.csv", "date,open,high,low,close,volume\n2020-01-01,1.5,4,0.5,2.5,100\n");
    let closes = query(&session().await, &format!("select close from {table} order by symbol")).await;
    assert_eq!(numbers(&closes, "close"), [5.0, 2.5]);
    // A CSV file tells its columns by their places: another order must not be read as the same.
    put("C.csv", "date,close,open,high,low,volume\n2020-01-01,2,1,4,0.5,100\n");
    let error = try_query(&session().await, &format!("select * from {table}")).await.unwrap_err().to_string();
    assert!(error.contains("C.csv: its columns are date, close, open"), "{error}");
    assert!(error.contains("those of most files beside it are date, open, high"), "{error}");
    let readable = format!("\"{}/@readable\"", folder.path().display());
    let rest = query(&session().await, &format!("select close from {readable} order by symbol")).await;
    assert_eq!(numbers(&rest, "close"), [5.0, 2.5]);
}

#[tokio::test]
async fn what_csv_files_hold_must_agree_and_what_they_look_like_need_not() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let rows = async |name: &str| {
        let table = format!("'{}/{name}/'", folder.path().display());
        let sql = format!("select symbol, ts, close from {table} order by symbol, ts");
        try_query(&session().await, &sql).await.map_err(|error| error.to_string())
    };
    // Symbols may look like numbers or truth values, times like dates or instants, prices like whole numbers.
    put("alike/a.csv", "Date,Ticker,Close\n2020-01-01,TRUE,1\n2020-01-02,TRUE,2\n");
    put("alike/b.csv", "date,ticker,close\n2020-01-01T00:00:00,7203,1.5\n");
    put("alike/c.csv", "date,ticker,close\n");
    let alike = rows("alike").await.unwrap();
    assert_eq!(numbers(&alike, "close"), [1.5, 1.0, 2.0]);
    assert_eq!(numbers(&alike, "ts"), [START, START, START + DAY].map(|t| t as f64));
    // What is remembered of files gives the same table.
    let cache_dir = Some(folder.path().join("cache"));
    for _ in 0..2 {
        let session = tallow::open(Settings { cache_dir: cache_dir.clone(), ..settings() }).await.unwrap();
        let sql = format!("select symbol, ts, close from '{}/alike/' order by symbol, ts", folder.path().display());
        assert_eq!(query(&session, &sql).await, alike);
    }
    // A price that is no number, in one file.
    put("text/a.csv", "date,close\n2020-01-01,1\n");
    put("text/b.csv", "date,close\n2020-01-01,n/a\n");
    put("text/c.csv", "date,close\n2020-01-01,1.5\n");
    let text = rows("text").await.unwrap_err();
    assert!(text.contains("b.csv: its column close holds text, that of most files beside it numbers"), "{text}");
    let readable = format!("select close from \"{}/text/@readable\" order by symbol", folder.path().display());
    assert_eq!(numbers(&query(&session().await, &readable).await, "close"), [1.0, 1.5]);
    // Epochs: the first file has none, the second one tells the unit, in which all must count.
    put("epochs/a.csv", "time,close\n");
    put("epochs/b.csv", "time,close\n1577836800,1\n1577923200,2\n");
    let epochs = rows("epochs").await.unwrap();
    assert_eq!(numbers(&epochs, "ts"), [START, START + DAY].map(|t| t as f64));
    put("epochs/c.csv", "time,close\n1577836800000,1\n");
    let epochs = rows("epochs").await.unwrap_err();
    assert!(
        epochs.contains("c.csv: its times are whole numbers such as 1577836800000, which are no seconds"),
        "{epochs}"
    );
    put("days/a.csv", "time,close\n20200101,1\n");
    let days = rows("days").await.unwrap_err();
    assert!(days.contains("whole numbers such as 20200101, which are no epochs"), "{days}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_layout_is_the_same_table() {
    let folder = tempfile::tempdir().unwrap();
    let session = session().await;
    let bars = walk(&SYMBOLS, 90);
    let want = expected(&session, &bars).await;
    for table in layouts(folder.path(), &bars) {
        let (rows, got) = rsi(&session, &table).await;
        assert_eq!(rows, 270, "{table}");
        assert_close(&got, &want, &table);
        let plan = plan(&session, &format!("select symbol, ts, rsi(14) r from {table}")).await;
        assert!(plan.contains("SeriesExec") && !plan.contains("WindowAggExec"), "{table}\n{plan}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sorted_files_need_no_sort_and_no_shuffle() {
    let folder = tempfile::tempdir().unwrap();
    let session = session().await;
    for table in layouts(folder.path(), &walk(&SYMBOLS, 90)) {
        let plan = plan(&session, &format!("select symbol, ts, rsi(14) r from {table}")).await;
        assert!(!plan.contains("SortExec") && !plan.contains("RepartitionExec"), "{table}\n{plan}");
        assert!(plan.contains("output_partitioning=Range"), "{table}\n{plan}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unsorted_rows_are_sorted_not_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let session = session().await;
    let bars = walk(&SYMBOLS, 90);
    let want = expected(&session, &bars).await;
    let mut by_time = bars.clone();
    by_time.sort_by_key(|b| b.1);
    let mut one_off = bars.clone();
    one_off.swap(130, 131);
    let newest_first: Vec<Bar> = bars.iter().rev().cloned().collect();
    for (name, bars) in [("by_time", by_time), ("one_off", one_off), ("newest_first", newest_first)] {
        let path = folder.path().join(format!("{name}.parquet"));
        write_parquet(&path, &batch(&bars), 64);
        let table = format!("'{}'", path.display());
        assert_close(&rsi(&session, &table).await.1, &want, name);
        let plan = plan(&session, &format!("select rsi(14) from {table}")).await;
        assert!(plan.contains("SortExec") && plan.contains("SeriesExec"), "{name}\n{plan}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bar_that_comes_twice_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut bars = walk(&SYMBOLS, 30);
    bars.insert(40, bars[40].clone());
    let path = folder.path().join("twice.parquet");
    write_parquet(&path, &batch(&bars), 64);
    let error = try_query(&session().await, &format!("select rsi(14) from '{}'", path.display())).await.unwrap_err();
    assert!(error.to_string().contains("series BBB has two bars at 2020-01-11"), "{error}");
}

/// A proof that has become wrong does not lead to a wrong number: the operator checks while it reads.
#[tokio::test(flavor = "multi_thread")]
async fn a_lie_about_order_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let path = folder.path().join("x.parquet");
    let bars = walk(&SYMBOLS, 40);
    write_parquet(&path, &batch(&bars), 64);
    let open = || tallow::open(Settings { cache_dir: Some(cache.clone()), ..settings() });
    let sql = format!("select rsi(14) from '{}'", path.display());
    try_query(&open().await.unwrap(), &sql).await.unwrap();
    // Same size, same time, other rows.
    let meta = std::fs::metadata(&path).unwrap();
    let mut swapped = bars.clone();
    swapped.swap(50, 51);
    write_parquet(&path, &batch(&swapped), 64);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_modified(meta.modified().unwrap()).unwrap();
    if file.metadata().unwrap().len() == meta.len() {
        let error = try_query(&open().await.unwrap(), &sql).await.unwrap_err().to_string();
        assert!(error.contains("BBB") && error.contains("not sorted as it was declared"), "{error}");
        assert!(error.contains("x.parquet"), "{error}");
    }
}

/// Files of one symbol that declare their order are taken at their word, and held to it while they are read.
#[tokio::test(flavor = "multi_thread")]
async fn a_declared_order_is_checked_while_reading() {
    use datafusion::parquet::file::metadata::SortingColumn;
    let folder = tempfile::tempdir().unwrap();
    let sorting = [0, 1].map(|column_idx| SortingColumn { column_idx, descending: false, nulls_first: false });
    let write = |name: &str, bars: &[Bar]| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let properties = datafusion::parquet::file::properties::WriterProperties::builder()
            .set_sorting_columns(Some(sorting.to_vec()))
            .set_max_row_group_row_count(Some(16))
            .build();
        let file = std::fs::File::create(&path).unwrap();
        let all = batch(bars);
        let mut writer =
            datafusion::parquet::arrow::ArrowWriter::try_new(file, all.schema(), Some(properties)).unwrap();
        writer.write(&all).unwrap();
        writer.close().unwrap();
    };
    let session = session().await;
    let bars = walk(&SYMBOLS, 40);
    for symbol in SYMBOLS {
        write(&format!("good/{symbol}.parquet"), &of(&bars, symbol));
    }
    let table = format!("'{}/good/'", folder.path().display());
    assert_close(&rsi(&session, &table).await.1, &expected(&session, &bars).await, "declared");
    let plan = plan(&session, &format!("select rsi(14) from {table}")).await;
    assert!(!plan.contains("SortExec") && plan.contains("output_partitioning=Range"), "{plan}");

    let mut lie = of(&bars, "AAA");
    lie.swap(20, 21);
    write("bad/AAA.parquet", &lie);
    let sql = format!("select rsi(14) from '{}/bad/'", folder.path().display());
    let error = try_query(&session, &sql).await.unwrap_err().to_string();
    assert!(error.contains("series AAA steps back in time to 2020-01-21"), "{error}");
}

fn with_times(bars: &[Bar], times: ArrayRef) -> RecordBatch {
    let all = batch(bars);
    let mut fields: Vec<Field> = all.schema().fields().iter().map(|f| f.as_ref().clone()).collect();
    let mut columns = all.columns().to_vec();
    fields[1] = Field::new("ts", times.data_type().clone(), false);
    columns[1] = times;
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn times_come_as_dates_epochs_and_timestamps() {
    let folder = tempfile::tempdir().unwrap();
    let session = session().await;
    let bars = walk(&SYMBOLS, 40);
    let want = expected(&session, &bars).await;
    let utc = batch(&bars).column(1).clone();
    let stamp = |unit, zone: Option<&str>| DataType::Timestamp(unit, zone.map(Into::into));
    let types = [
        DataType::Date32,
        DataType::Date64,
        stamp(TimeUnit::Second, None),
        stamp(TimeUnit::Millisecond, Some("UTC")),
        stamp(TimeUnit::Microsecond, None),
        stamp(TimeUnit::Nanosecond, Some("America/New_York")),
        stamp(TimeUnit::Nanosecond, None),
    ];
    let mut columns: Vec<(String, ArrayRef)> =
        types.iter().map(|t| (t.to_string(), arrow::compute::cast(&utc, t).unwrap())).collect();
    for (unit, divisor) in [("s", 1_000_000), ("ms", 1000), ("us", 1)] {
        let epochs = bars.iter().map(|b| (START + b.1 * DAY) / divisor);
        columns.push((format!("epoch {unit}"), Arc::new(arrow::array::Int64Array::from_iter_values(epochs))));
    }
    for (i, (name, times)) in columns.into_iter().enumerate() {
        let all = with_times(&bars, times);
        let parquet = folder.path().join(format!("{i}.parquet"));
        let csv = folder.path().join(format!("{i}.csv"));
        write_parquet(&parquet, &all, 64);
        write_csv(&csv, &all);
        for path in [parquet, csv] {
            let table = format!("'{}'", path.display());
            assert_close(&rsi(&session, &table).await.1, &want, &format!("{name} in {table}"));
            let first =
                query(&session, &format!("select min(ts) = timestamp '2020-01-01T00:00:00Z' ok from {table}")).await;
            assert_eq!(numbers(&first, "ok"), [1.0], "{name} in {table}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn usual_column_names_are_understood() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("AAPL.csv"),
        "Date,Open,High,Low,Close,Adj Close,Volume\n2024-01-02,187.15,188.44,183.89,185.64,184.9,82488700\n\
         2024-01-03,184.22,185.88,183.43,184.25,183.5,58414500\n",
    )
    .unwrap();
    let session = session().await;
    let table = format!("'{}/AAPL.csv'", folder.path().display());
    let result =
        query(&session, &format!("select symbol, ts, close, simple_return(close) r from {table} order by ts")).await;
    assert_close(&numbers(&result, "r"), &[f64::NAN, 184.25 / 185.64 - 1.0], "returns");
    let symbols = query(&session, &format!("select count(*) n from {table} where symbol = 'AAPL'")).await;
    assert_eq!(numbers(&symbols, "n"), [2.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn symbols_may_be_of_any_text_type() {
    let folder = tempfile::tempdir().unwrap();
    let session = session().await;
    let bars = walk(&SYMBOLS, 40);
    let want = expected(&session, &bars).await;
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    for (i, data_type) in [DataType::Utf8, DataType::LargeUtf8, DataType::Utf8View, dictionary].into_iter().enumerate()
    {
        let all = batch(&bars);
        let mut columns = all.columns().to_vec();
        columns[0] = arrow::compute::cast(&columns[0], &data_type).unwrap();
        let names = all.schema();
        let all = RecordBatch::try_from_iter(names.fields().iter().map(|f| f.name().as_str()).zip(columns)).unwrap();
        session.context().register_batch(format!("m{i}"), all.clone()).unwrap();
        assert_close(&rsi(&session, &format!("m{i}")).await.1, &want, &format!("{data_type} in memory"));
        let path = folder.path().join(format!("{i}.parquet"));
        write_parquet(&path, &all, 64);
        assert_close(
            &rsi(&session, &format!("'{}'", path.display())).await.1,
            &want,
            &format!("{data_type} in a file"),
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_may_be_of_any_numeric_type() {
    let session = session().await;
    let bars: Vec<Bar> = walk(&["A"], 60).into_iter().map(|(s, t, c)| (s, t, c.round())).collect();
    let all = batch(&bars);
    for data_type in [DataType::Int32, DataType::UInt64, DataType::Float32, DataType::Decimal128(12, 2)] {
        let close = arrow::compute::cast(all.column_by_name("close").unwrap(), &data_type).unwrap();
        let typed = RecordBatch::try_from_iter([
            ("symbol", all.column(0).clone()),
            ("ts", all.column(1).clone()),
            ("close", close),
        ])
        .unwrap();
        let name = format!(
            "t_{}",
            data_type.to_string().chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase()
        );
        session.context().register_batch(&name, typed).unwrap();
        let typed = query(&session, &format!("select rsi(close, 14) r from {name}")).await;
        let cast = query(
            &session,
            &format!("select rsi(x, 14) r from (select symbol, ts, cast(close as double) x from {name})"),
        )
        .await;
        assert_close(&numbers(&typed, "r"), &numbers(&cast, "r"), &name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_symbol_reads_its_rows_only() {
    let session = session().await;
    let all =
        query(&session, "select * from (select symbol, ts, rsi(14) r from candles) where symbol = 'MSFT' order by ts")
            .await;
    let one = query(&session, "select symbol, ts, rsi(14) r from candles where symbol = 'MSFT' order by ts").await;
    assert_eq!(one.num_rows(), 1259);
    assert_close(&numbers(&one, "r"), &numbers(&all, "r"), "one symbol");
    let count = query(&session, "select count(*) n from candles where symbol in ('MSFT', 'AAPL', 'NOPE')").await;
    assert_eq!(numbers(&count, "n"), [2518.0]);
}
