//! A screen: SQL with a parameter over a lake, as rows.
//!
//! Shows how a session is opened, how a text is given values for its parameters, and how its rows come back as Arrow batches.
//!
//! ```text
//! cargo run --release --example screen
//! ```

use datafusion::arrow::util::pretty::pretty_format_batches;
use tallow::Settings;

/// Stocks in an uptrend that have fallen fast. Series functions need no OVER clause, and `rsi(:n)` is `rsi(close, :n)`.
const SCREEN: &str = "
    select symbol, ts, close, round(rsi(:n), 1) as rsi, round(100 * (close / sma(200) - 1), 1) as percent_above_sma200
    from candles
    qualify rsi < :level and close > sma(200) and ts = max(ts) over ()
    order by rsi limit 10";

#[tokio::main]
async fn main() -> tallow::Result<()> {
    // The sample lake of this repository; a path or URL of your own goes into `lake`.
    let session = tallow::open(Settings { lake: "data".to_string(), ..Settings::default() }).await?;
    let rows = session.query(SCREEN).with("n", 2).with("level", 10).collect().await?;
    println!("{}", pretty_format_batches(&rows)?);
    println!("{} stocks", rows.iter().map(|batch| batch.num_rows()).sum::<usize>());
    Ok(())
}
