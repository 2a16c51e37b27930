//! SQL for candles: indicators, screens and labels over OHLCV data, as DataFusion plans.
//!
//! ```no_run
//! use tallow::{Session, Settings};
//!
//! # async fn example() -> tallow::Result<()> {
//! let session = Session::open(Settings::default()).await?;
//! let frame = session.sql("select symbol, ts, rsi(14) from candles qualify rsi(14) < 30").await?;
//! for batch in session.collect(frame).await? {
//!     println!("{} rows", batch.num_rows());
//! }
//! # Ok(())
//! # }
//! ```

pub mod cli;
pub mod engine;
pub mod error;
mod instant;
pub mod lake;
pub mod pipeline;
mod redact;
mod session;

pub use engine::session::Settings;
pub use error::{Error, Result};
pub use session::Session;

// The Rust examples of both READMEs are compiled and run with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../udfs/README.md")]
struct FunctionsReadme;
