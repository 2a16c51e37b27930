//! SQL for candles: indicators, screens and labels over OHLCV data, as DataFusion plans.
//!
//! A [`Session`] is a DataFusion session with every TA-Lib function and more as window functions, the tables of a lake, and
//! threads and a memory limit of its own:
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
//!
//! # Where to look
//!
//! | to | see |
//! |---|---|
//! | open a lake, run SQL, plan and execute | [`open`], [`Settings`], [`Session`] |
//! | find bars by a condition | [`pipeline::scan`], [`engine::dialect::Formula`] |
//! | find charts that look alike | [`pipeline::search`] |
//! | label bars, check for look-ahead | [`pipeline::label`], [`pipeline::check`] |
//! | use the queries that come with tallow | [`named_queries`] |
//! | call functions in DataFrames, or write one | [`tallow_udfs::expr_fn`], [`tallow_udfs::series`] |
//! | handle errors | [`Error`], with a code, a place and a hint |
//! | know how it is built | [`architecture`] |
//!
//! Short programs are in `tests/examples/`; the manual is in `tallow help`.

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

#[cfg(doc)]
#[doc = include_str!("README.md")]
pub mod architecture {}

// The Rust examples of both READMEs are compiled and run with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../udfs/README.md")]
struct FunctionsReadme;
