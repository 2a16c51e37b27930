//! A pipeline of DataFrames: indicators, a filter, a grouping and a join, without SQL.
//!
//! Shows `expr_fn::series`, which makes a call of any series function. Here all series are written out: `atr` takes high, low and
//! close. One call may take another's column.
//!
//! ```text
//! cargo run --release --example dataframe_pipeline
//! ```

use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::functions_aggregate::expr_fn::{avg, count, max};
use datafusion::prelude::*;
use tallow::Settings;
use tallow_udfs::expr_fn::series;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let session = tallow::open(Settings { lake: "data".to_string(), ..Settings::default() }).await?;
    let candles = session.context().table("candles").await?;

    // One row a bar, with indicators as columns.
    let indicators = candles.clone().window(vec![
        series("rsi", vec![col("close"), lit(14)])?.alias("rsi"),
        series("sma", vec![col("close"), lit(200)])?.alias("average"),
        series("natr", vec![col("high"), col("low"), col("close"), lit(14)])?.alias("range_percent"),
    ])?;
    let smoothed = indicators.window(vec![series("sma", vec![col("rsi"), lit(5)])?.alias("smooth_rsi")])?;

    // How often a stock in an uptrend was oversold, and how wide its days were then.
    let oversold = smoothed.filter(col("smooth_rsi").lt(lit(35)).and(col("close").gt(col("average"))))?;
    let bars = oversold.aggregate(
        vec![col("symbol")],
        vec![
            count(lit(1)).alias("bars"),
            max(col("ts")).alias("newest"),
            avg(col("range_percent")).alias("range_percent"),
        ],
    )?;

    // Beside what it trades.
    let turnover = candles
        .aggregate(vec![col("symbol")], vec![avg(col("close") * col("volume")).alias("turnover")])?
        .select(vec![col("symbol").alias("traded"), col("turnover")])?;
    let result = bars
        .join(turnover, JoinType::Inner, &["symbol"], &["traded"], None)?
        .drop_columns(&["traded"])?
        .sort(vec![col("bars").sort(false, false), col("symbol").sort(true, false)])?
        .limit(0, Some(5))?;

    // Planned and computed on the session's own threads, within its memory limit.
    println!("{}", pretty_format_batches(&session.collect(result).await?)?);
    Ok(())
}
