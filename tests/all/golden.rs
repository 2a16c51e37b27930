//! Values computed by others: C TA-Lib, and another project's published indicators.

use crate::common::{assert_close, floats, numbers, query, session};
use arrow::array::{AsArray, RecordBatch};
use std::collections::BTreeMap;
use tallow::Session;
use tallow_udfs::series::SeriesSignature;
use tallow_udfs::series_function;

fn path(name: &str) -> String {
    format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn texts(batch: &RecordBatch, column: &str) -> Vec<String> {
    let array = batch.column_by_name(column).unwrap();
    let array = arrow::compute::cast(array, &arrow::datatypes::DataType::Utf8).unwrap();
    array.as_string::<i32>().iter().map(|v| v.unwrap_or_default().to_string()).collect()
}

/// The call that the golden file was made with: C TA-Lib's defaults, and its own choice of series for functions that
/// take two plain ones.
fn call(function: &str) -> (String, &'static SeriesSignature) {
    let signature = series_function(&format!("ta_{function}")).unwrap().signature();
    let mut plain = ["high", "low"].into_iter();
    let two = signature.inputs.iter().filter(|i| i.default.is_none()).count() == 2;
    let series: Vec<String> = signature
        .inputs
        .iter()
        .map(|i| match (i.name.as_str(), i.default) {
            ("real", None) if function == "mavp" => "close".to_string(),
            ("periods", _) => {
                "cast(5 + (row_number() over (partition by symbol order by ts) - 1) % 20 as double)".to_string()
            }
            (_, None) if two => plain.next().unwrap().to_string(),
            (_, default) => default.unwrap().to_string(),
        })
        .collect();
    let name = &signature.name;
    // A moving average's period has no default here; C TA-Lib's is 30 unless it says otherwise.
    let period = match function {
        _ if signature.resolve(&[]).is_ok() => String::new(),
        "hma" => ", 20".to_string(),
        "t3" => ", 5".to_string(),
        _ => ", 30".to_string(),
    };
    (format!("{name}({}{period})", series.join(", ")), signature)
}

/// Of equal extremes C TA-Lib up to 0.8.1 reports the older one in some windows; later versions, and the crate, the
/// newer. `positions_point_at_the_extreme` in `registry.rs` checks these functions.
const TIES: [&str; 3] = ["maxindex", "minindex", "minmaxindex"];

/// Each function over all 505 stocks: number of values, where they begin, sum, last value.
#[tokio::test(flavor = "multi_thread")]
async fn equals_c_talib_over_the_sp500() {
    let session = session().await;
    let golden = query(
        &session,
        &format!("select * from '{}' order by function, output_index, symbol", path("talib_sp500.parquet")),
    )
    .await;
    let (functions, symbols) = (texts(&golden, "function"), texts(&golden, "symbol"));
    let output_index = numbers(&golden, "output_index");
    let [count, sum, abs_sum, last] = ["count", "sum", "abs_sum", "last"].map(|c| numbers(&golden, c));
    let mut expected: BTreeMap<(String, usize), BTreeMap<String, [f64; 4]>> = BTreeMap::new();
    for row in 0..golden.num_rows() {
        let key = (functions[row].clone(), output_index[row] as usize);
        let values = [count[row], sum[row], abs_sum[row], last[row]];
        expected.entry(key).or_default().insert(symbols[row].clone(), values);
    }
    assert!(expected.len() >= 230, "{} outputs in the golden file", expected.len());
    let names: Vec<String> =
        expected.keys().map(|(f, _)| f.clone()).collect::<std::collections::BTreeSet<_>>().into_iter().collect();
    let mut checked = 0;
    for function in names {
        if TIES.contains(&function.as_str()) {
            continue;
        }
        let (call, signature) = call(&function);
        let outputs: Vec<String> = signature
            .outputs
            .iter()
            .map(|o| if signature.outputs.len() == 1 { "v".to_string() } else { format!("v['{}']", o.name) })
            .collect();
        let columns: Vec<String> = outputs
            .iter()
            .enumerate()
            .map(|(i, o)| {
                format!(
                    "count({o}) c{i}, sum(cast({o} as double)) s{i}, sum(abs(cast({o} as double))) a{i}, \
                     last_value(cast({o} as double) order by ts) filter (where {o} is not null) l{i}"
                )
            })
            .collect();
        let sql = format!(
            "select symbol, {} from (select symbol, ts, {call} v from candles) group by symbol order by symbol",
            columns.join(", ")
        );
        let result = query(&session, &sql).await;
        let symbols = texts(&result, "symbol");
        for i in 0..outputs.len() {
            let want = &expected[&(function.clone(), i)];
            let got = ["c", "s", "a", "l"].map(|c| numbers(&result, &format!("{c}{i}")));
            for (row, symbol) in symbols.iter().enumerate() {
                let [count, sum, abs_sum, last] = want[symbol];
                assert_eq!(got[0][row], count, "{function} output {i} {symbol}: number of values");
                // Sums that overflow say nothing; the order of summation is not C's.
                if abs_sum.is_finite() && abs_sum < 1e200 && count > 0.0 {
                    let tolerance = 1e-9 * abs_sum.max(1.0);
                    assert!(
                        (got[1][row] - sum).abs() <= tolerance,
                        "{function} output {i} {symbol}: sum {} {sum}",
                        got[1][row]
                    );
                    assert!((got[2][row] - abs_sum).abs() <= tolerance, "{function} output {i} {symbol}: abs sum");
                    let scale = (abs_sum / count).max(last.abs()).max(1.0);
                    assert!(
                        (got[3][row] - last).abs() <= 1e-9 * scale,
                        "{function} output {i} {symbol}: last {} {last}",
                        got[3][row]
                    );
                }
                checked += 1;
            }
        }
    }
    assert!(checked > 100_000, "{checked} comparisons");
}

/// Each function over every bar of one stock.
#[tokio::test(flavor = "multi_thread")]
async fn equals_c_talib_bar_by_bar() {
    let session = session().await;
    let sql = format!("select * from '{}' order by function, output_index, row", path("talib_series.parquet"));
    let golden = query(&session, &sql).await;
    let functions = texts(&golden, "function");
    let (index, value) = (numbers(&golden, "output_index"), numbers(&golden, "value"));
    let mut expected: BTreeMap<(String, usize), Vec<f64>> = BTreeMap::new();
    for row in 0..golden.num_rows() {
        expected.entry((functions[row].clone(), index[row] as usize)).or_default().push(value[row]);
    }
    for ((function, output), want) in &expected {
        if TIES.contains(&function.as_str()) {
            continue;
        }
        let (call, signature) = call(function);
        let field = if signature.outputs.len() == 1 {
            String::new()
        } else {
            format!("['{}']", signature.outputs[*output].name)
        };
        let sql = format!("select ts, ({call}){field} as v from candles where symbol = 'AAPL' order by ts");
        let result = query(&session, &sql).await;
        assert_close(&numbers(&result, "v"), want, &format!("{function} output {output}"));
    }
    assert!(expected.len() >= 230);
}

#[derive(serde::Deserialize)]
struct Reference {
    case: Vec<Case>,
    exception: Vec<Exception>,
}

#[derive(serde::Deserialize)]
struct Case {
    file: String,
    column: String,
    quotes: String,
    second: Option<String>,
    expr: String,
    from: usize,
}

#[derive(serde::Deserialize)]
struct Exception {
    file: String,
    reason: String,
}

/// The published values of another project, wherever an expression over our functions is the same thing.
#[tokio::test(flavor = "multi_thread")]
async fn equals_published_indicator_values() {
    let session = session().await;
    let text = std::fs::read_to_string(path("indicator_reference.toml")).unwrap();
    let reference: Reference = toml::from_str(&text).unwrap();
    let results = query(
        &session,
        &format!("select * from '{}' order by file, \"column\", row", path("indicator_reference/results.parquet")),
    )
    .await;
    let (files, columns, values) = (texts(&results, "file"), texts(&results, "column"), numbers(&results, "value"));
    let mut expected: BTreeMap<(String, String), Vec<f64>> = BTreeMap::new();
    for row in 0..results.num_rows() {
        expected.entry((files[row].clone(), columns[row].clone())).or_default().push(values[row]);
    }
    for case in &reference.case {
        let want = &expected[&(case.file.clone(), case.column.clone())];
        let got = evaluate(&session, case).await;
        let scale = want.iter().filter(|v| v.is_finite()).fold(1.0f64, |m, v| m.max(v.abs()));
        for (row, (got, want)) in got.iter().zip(want).enumerate().skip(case.from) {
            let same = (got.is_nan() && want.is_nan()) || (got - want).abs() <= 1e-9 * scale;
            assert!(same, "{} {}, row {row}: {} is {got} instead of {want}", case.file, case.column, case.expr);
        }
        assert_eq!(got.len(), want.len());
        assert!(want.len() - case.from >= 100, "{} {}: too few rows compared", case.file, case.column);
    }
    let matched: std::collections::BTreeSet<_> = reference.case.iter().map(|c| &c.file).collect();
    assert!(matched.len() >= 35, "{} files matched", matched.len());
    assert!(reference.exception.iter().all(|e| !e.reason.is_empty() && !matched.contains(&e.file)));
}

async fn evaluate(session: &Session, case: &Case) -> Vec<f64> {
    let quotes = path(&format!("indicator_reference/{}", case.quotes));
    let source = match &case.second {
        None => format!("'{quotes}'"),
        Some(second) => {
            let second = path(&format!("indicator_reference/{second}"));
            format!(
                "(select a.*, b.close second_close, b.open second_open, b.high second_high, b.low second_low, \
                 b.volume second_volume from '{quotes}' a join '{second}' b on a.ts = b.ts)"
            )
        }
    };
    let sql = format!("select ts, {} as v from {source} order by ts", case.expr);
    let result = query(session, &sql).await;
    floats(result.column_by_name("v").unwrap())
}

/// Events, and how many of their first touches differ from what mlfinpy found: by a long, a short and no side.
#[tokio::test(flavor = "multi_thread")]
async fn the_books_triple_barrier_equals_mlfinpy() {
    let session = session().await;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/mlfinpy_barriers.csv");
    let time = |column: &str| format!("arrow_cast({column}, 'Timestamp(Microsecond, Some(\"UTC\"))') as {column}");
    let call = |arguments: &str| {
        format!(
            "triple_barrier(close, close, close, {arguments}, horizon => 20, width => 'sigma', touch => 'close')['hit_ts']"
        )
    };
    let sql = format!(
        "with told as (select symbol, {ts}, close, {long}, {short}, {none}, long_known as known from '{path}'),
              found as (select *, {l} as l, {s} as s, {n} as n from told)
         select count(*) filter (where known) as events, count(long_touched) as touched,
                count(*) filter (where known and (long_touched is distinct from l)) as long,
                count(*) filter (where known and (short_touched is distinct from s)) as short,
                count(*) filter (where known and (none_touched is distinct from n)) as none
         from found",
        ts = time("ts"),
        long = time("long_touched"),
        short = time("short_touched"),
        none = time("none_touched"),
        l = call("up => 1.5, down => 1.0, side => 1.0"),
        s = call("up => 1.5, down => 1.0, side => -1.0"),
        // Without a side mlfinpy uses the first multiple for both.
        n = call("up => 1.5, down => 1.5"),
    );
    let got = query(&session, &sql).await;
    let value = |column: &str| numbers(&got, column)[0];
    assert_eq!((value("events"), value("touched")), (978.0, 975.0));
    assert_eq!((value("long"), value("short"), value("none")), (0.0, 0.0, 0.0));
}
