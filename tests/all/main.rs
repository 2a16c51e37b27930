//! Scenario tests over the whole engine: one binary, because each links DataFusion.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod asof;
mod cli;
mod common;
mod dialect;
mod formulas;
mod fuzz;
mod golden;
mod ingest;
mod interpreter;
mod labels;
mod lake;
mod layouts;
mod leaks;
mod limits;
mod matching;
mod mistakes;
mod others;
mod plans;
mod properties;
mod registry;
mod reports;
mod scans;
mod similarity;
mod slt;
