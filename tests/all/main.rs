//! Scenario tests over the whole engine: one binary, because each links DataFusion.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod asof;
mod cancellation;
mod cli;
mod codec;
mod common;
mod damaged;
mod dialect;
mod examples;
mod floors;
mod formulas;
mod fuzz;
mod golden;
mod ingest;
mod interpreter;
mod interrupts;
mod labels;
mod lake;
mod layouts;
mod leaks;
mod limits;
mod manual;
mod matching;
mod mistakes;
mod others;
mod plans;
mod properties;
mod ranges;
mod registry;
mod reports;
mod scans;
mod similarity;
mod slt;
mod timeframes;
mod use_cases;
mod warm_up;
