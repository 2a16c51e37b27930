//! Live runs: feeds of candles in, results at once, the lake later, and the same numbers as a batch run over all candles.
//!
//! `core/` decides everything and knows no clock, no thread and no chance; a simulation (`sim/`) drives it through whatever may
//! happen. Around it stand workers that compute, a journal, the store and feeds.

mod answers;
mod candles;
mod core;
mod feeds;
mod journal;
mod oracle;
mod others;
mod plan;
mod prepared;
mod run;
mod series;
mod slot;
mod standing;
mod store;
mod symbols;
mod warm;
mod worker;

#[cfg(test)]
mod sim;

pub use answers::{Answers, Ndjson, Nobody};
pub use core::{Counters, Durable, Settings};
pub use feeds::{FeedUrl, OfExchange, Replay, Speed};
pub use prepared::{Live, LiveOptions};
pub use run::Summary;
