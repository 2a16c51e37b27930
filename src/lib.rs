//! SQL for candles: indicators, screens and labels over OHLCV data, as DataFusion plans.
//!
//! ```no_run
//! use tallow::Settings;
//!
//! # async fn example() -> tallow::Result<()> {
//! let session = tallow::open(Settings::default()).await?;
//! let frame = session.sql("select symbol, ts, rsi(14) from candles qualify rsi(14) < 30").await?;
//! for batch in session.collect(frame).await? {
//!     println!("{} rows", batch.num_rows());
//! }
//! # Ok(())
//! # }
//! ```

pub mod cli;
mod queries;

pub use queries::named_queries;
pub use tallow_common::{Error, Result};
pub use tallow_engine as engine;
pub use tallow_lake as lake;
pub use tallow_pipeline as pipeline;
pub use tallow_pipeline::{Session, Settings};

/// Opens a session over a lake.
pub async fn open(settings: Settings) -> Result<Session> {
    tallow_pipeline::open(settings, &named_queries(None)?).await
}

// The README's Rust examples are compiled with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
