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
//! let oversold = session.query("select symbol, ts, rsi(14) from candles qualify rsi(14) < :level").with("level", 30);
//! for batch in oversold.collect().await? {
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
//! | open a lake | [`open`], [`Settings`] |
//! | run SQL, with parameters, a range, limits | [`Session::query`], [`Session::named_query`], [`QueryOptions`] |
//! | work with DataFrames | [`Session::context`], [`Session::sql`], [`Session::collect`], [`tallow_udfs::expr_fn`] |
//! | call a function of your own in SQL | [`Session::register`], [`tallow_udfs::series`] |
//! | follow and stop work | [`Control`] |
//! | scan, label, search, check and more, as the commands do | [`pipeline`] |
//! | compute candles as they come | [`live`] |
//! | handle errors | [`Error`], with a [`Code`], a place and a hint |
//! | know how it is built | [`architecture`] |
//!
//! Short programs are in `tests/examples/`; the manual is in `tallow help`.
#![cfg_attr(
    not(all(feature = "score", feature = "report")),
    allow(dead_code, unused_imports, unused_variables, reason = "what models and reports alone use")
)]

#[doc(hidden)]
pub mod cli;
mod queries;

pub use queries::named_queries;
pub use tallow_common::{Code, Error, Result};
pub use tallow_engine::dialect::{Formula, ParamValue, Params};
pub use tallow_lake::AsOf;
pub use tallow_live as live;
pub use tallow_pipeline as pipeline;
pub use tallow_pipeline::bounds::Range;
pub use tallow_pipeline::control::Control;
pub use tallow_pipeline::outcome::Outcome;
pub use tallow_pipeline::query::QueryOptions;
pub use tallow_pipeline::{Request, Session, SessionQuery, Settings};

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
