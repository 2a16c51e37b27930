//! Labels of own trades, worked by hand.

use crate::common::{query, settings, try_query};
use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int32Type};
use std::path::Path;
use tallow::{Session, Settings};

/// Twenty minutes of bars: the one of minute i closes at 100 + i, half a point off its high and low.
fn bars() -> String {
    let bar = |i: usize| {
        let close = 100 + i;
        format!("AAA,2024-01-02T00:{i:02}:00Z,{close},{close}.5,{}.5,{close},10\n", close - 1)
    };
    let rows: String = (0..20).map(bar).collect();
    format!("symbol,ts,open,high,low,close,volume\n{rows}")
}

const TRADES: &str = "symbol,side,entry_time,price,quantity
AAA,long,2024-01-02T00:05:00Z,,3
AAA,sell,2024-01-02T00:05:30Z,105,
AAA,buy,2024-01-02T00:05:00Z,109.05,
";

/// A lake of these bars.
async fn open(lake: &Path) -> Session {
    let table = lake.join("candles").join("1m");
    std::fs::create_dir_all(&table).unwrap();
    std::fs::write(table.join("bars.csv"), bars()).unwrap();
    tallow::open(Settings { lake: lake.display().to_string(), ..settings() }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn trades_end_at_the_first_bar_that_closes_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let trades = folder.path().join("trades.csv");
    std::fs::write(&trades, TRADES).unwrap();
    let session = open(folder.path()).await;
    let sql = format!(
        "select side, horizon, entry_price, exit_price, forward_return, mfe, mae, class, cast(available_at as varchar) as known
         from trade_labels('{}', '1m', horizons => '5m,15m') order by entry_time, entry_price, exit_price",
        trades.display()
    );
    let rows = query(&session, &sql).await;
    let number = |column: usize, row: usize| {
        let column = rows.column(column).as_primitive::<Float64Type>();
        (!arrow::array::Array::is_null(column, row)).then(|| column.value(row))
    };
    let class = |row: usize| {
        let column = rows.column(7).as_primitive::<Int32Type>();
        (!arrow::array::Array::is_null(column, row)).then(|| column.value(row))
    };
    let near = |value: Option<f64>, expected: f64| (value.unwrap() - expected).abs() < 1e-12;
    // A long trade without a price, after 5 minutes: entered at the close of minute 4, left at that of minute 9.
    assert_eq!((number(2, 0), number(3, 0), class(0)), (Some(104.0), Some(109.0), Some(1)));
    assert!(near(number(4, 0), 109.0 / 104.0 - 1.0) && near(number(5, 0), 109.5 / 104.0 - 1.0));
    assert_eq!(number(6, 0), Some(0.0));
    // After 15 minutes, at the close of the last bar.
    assert_eq!(number(3, 1), Some(119.0));
    // A long trade entered at 109.05 has lost less than 0.1 % after 5 minutes.
    assert_eq!((number(2, 2), number(3, 2), class(2)), (Some(109.05), Some(109.0), Some(0)));
    assert!(near(number(6, 2), 104.5 / 109.05 - 1.0));
    // A short trade within minute 5: the bar of that minute is not part of its path.
    assert_eq!((number(2, 4), number(3, 4), class(4)), (Some(105.0), Some(110.0), Some(-1)));
    assert!(near(number(4, 4), -(110.0 / 105.0 - 1.0)) && near(number(6, 4), 1.0 - 110.5 / 105.0));
    assert_eq!(number(5, 4), Some(0.0));
    // Its 15 minutes are not over.
    assert_eq!((number(3, 5), number(4, 5), number(5, 5), class(5)), (None, None, None, None));
    let known = rows.column(8).as_string_view_opt().map(|known| known.value(0).to_string());
    let known = known.unwrap_or_else(|| rows.column(8).as_string::<i32>().value(0).to_string());
    assert!(known.contains("00:10:00"), "{known}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_trades_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("sides.csv", "symbol,side,entry_time\nAAA,hold,2024-01-02T00:05:00Z\n");
    write("columns.csv", "symbol,entry_time\nAAA,2024-01-02T00:05:00Z\n");
    write("trades.csv", TRADES);
    let session = open(folder.path()).await;
    for (trades, more, expected) in [
        ("sides.csv", "", "side 'hold': expected long, buy"),
        ("columns.csv", "", "have no column `side`: expected symbol, side, entry_time"),
        ("trades.csv", ", horizons => 'soon'", "horizon 'soon': expected a length of time"),
        ("trades.csv", ", tolerance => '0m'", "tolerance => '0m': expected a length of time"),
        ("absent.csv", "", "absent.csv"),
    ] {
        let file = folder.path().join(trades);
        let sql = format!("select * from trade_labels('{}', '1m'{more})", file.display());
        let said = try_query(&session, &sql).await.unwrap_err().to_string();
        assert!(said.contains(expected), "{sql}: {said}");
    }
}
