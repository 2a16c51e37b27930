//! Results do not depend on how rows are cut: batch size, threads, files, or whether the rule fired.

use crate::common::{Bar, assert_close, batch, numbers, query, session, settings, walk, write_csv, write_parquet};
use proptest::prelude::*;
use tallow::Settings;

const COLUMNS: [&str; 6] = ["rsi", "macd", "upper", "nested", "past", "crossed"];

fn sql(table: &str) -> String {
    format!(
        "select symbol, ts, rsi(close, 5) rsi, macd(close, 4, 9, 3).macdhist macd, bbands(close, 6).upperband upper, \
         sma(rsi(close, 5), 3) nested, lag(close, 2) past, cast(crosses_above(close, sma(close, 4)) as double) crossed \
         from {table} order by symbol, ts"
    )
}

/// The values of every column, computed by DataFusion's own operator from memory.
async fn expected(bars: &[Bar]) -> Vec<Vec<f64>> {
    let session = session().await;
    session.context().register_batch("bars", batch(bars)).unwrap();
    let result = query(&session, &sql("bars")).await;
    COLUMNS.map(|c| numbers(&result, c)).to_vec()
}

async fn check(settings: Settings, table: &str, want: &[Vec<f64>]) {
    let session = tallow::open(settings).await.unwrap();
    let result = query(&session, &sql(table)).await;
    for (column, want) in COLUMNS.iter().zip(want) {
        assert_close(&numbers(&result, column), want, &format!("{column} of {table}"));
    }
}

/// Symbols of very different lengths, one of a single bar.
fn uneven(lengths: &[usize]) -> Vec<Bar> {
    lengths.iter().enumerate().flat_map(|(i, n)| walk(&[&format!("S{i:02}")], *n)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_gives_the_same(
        lengths in prop::collection::vec(1usize..60, 1..7),
        batch_size in 1usize..70,
        threads in 1usize..4,
        row_group in 1usize..90,
        per_file in 1usize..4,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async move {
            let bars = uneven(&lengths);
            let want = expected(&bars).await;
            let folder = tempfile::tempdir().unwrap();
            let all = folder.path().join("all.parquet");
            write_parquet(&all, &batch(&bars), row_group);
            let settings = Settings { batch_size, threads, ..settings() };
            check(settings.clone(), &format!("'{}'", all.display()), &want).await;

            // The same rows in files of a few symbols each, and once more as CSV.
            let symbols: Vec<String> = (0..lengths.len()).map(|i| format!("S{i:02}")).collect();
            for (i, group) in symbols.chunks(per_file).enumerate() {
                let part: Vec<Bar> = bars.iter().filter(|b| group.contains(&b.0)).cloned().collect();
                write_parquet(&folder.path().join(format!("files/part{i}.parquet")), &batch(&part), row_group);
                write_csv(&folder.path().join(format!("csv/part{i}.csv")), &batch(&part));
            }
            check(settings.clone(), &format!("'{}/files/'", folder.path().display()), &want).await;
            check(settings.clone(), &format!("'{}/csv/'", folder.path().display()), &want).await;

            // A file a day: every file holds every symbol.
            let days = lengths.iter().max().copied().unwrap_or(0) as i64;
            for from in (0..days).step_by(11) {
                let part: Vec<Bar> = bars.iter().filter(|b| (from..from + 11).contains(&b.1)).cloned().collect();
                write_parquet(&folder.path().join(format!("days/d{from:03}.parquet")), &batch(&part), row_group);
            }
            check(settings, &format!("'{}/days/'", folder.path().display()), &want).await;
        });
    }
}
