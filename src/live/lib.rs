//! Live runs: feeds of candles in, results at once, the lake later, and the same numbers as a batch run over all candles.
//!
//! `core/` decides everything and knows no clock, no thread and no chance; a simulation (`sim/`) drives it through whatever may
//! happen. Around it stand workers that compute, a journal, the store and feeds.

mod alerts;
mod answers;
mod candles;
mod core;
mod door;
mod feeds;
mod journal;
mod lease;
mod letters;
mod load;
mod market;
mod newest;
mod oracle;
mod others;
mod paper;
mod plan;
mod prepared;
mod run;
mod series;
mod slot;
mod standing;
mod store;
mod symbols;
mod warm;
mod watch;
mod worker;

#[cfg(test)]
mod sim;

pub use alerts::{Baseline, save_baseline};
pub use answers::{Answers, Callback, Elsewhere, Ndjson, Nobody, Once, Results, Several};
pub use core::{Counters, Durable, Gather, Settings};
pub use door::{Door, Letter, Rejected, Submitted};
pub use feeds::{FeedUrl, OfExchange, Replay, Speed};
pub use letters::{drop_stored, retry_stored, stored_letters};
pub use load::{Disorder, Sent, load};
pub use paper::Account;
pub use plan::Asks;
pub use prepared::{Live, LiveOptions};
pub use run::Summary;
pub use watch::{Alert, BOUNDS, Health, Recent, Severity, Status, Times};
