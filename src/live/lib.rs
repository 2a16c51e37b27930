//! Live runs: feeds of candles in, results at once, the lake later, and the same numbers as a batch run over all candles.
//!
//! `core/` decides everything and knows no clock, no thread and no chance; a simulation (`sim/`) drives it through whatever may
//! happen. Around it stand workers that compute, a journal, the store and feeds.

mod answers;
mod core;
mod decoded;
mod feeds;
mod journal;
mod others;
mod plan;
mod run;
mod series;
mod slot;
mod store;
mod warm;
mod worker;

#[cfg(test)]
mod sim;

pub use answers::{Answers, Ndjson, Nobody};
pub use core::{Counters, Durable, Settings};
pub use feeds::{FeedUrl, OfExchange, Replay, Speed};
pub use run::{Live, LiveOptions, Summary};
