//! A live run in a world of one thread, in which a seed decides everything.
//!
//! Around the real decisions stand models: a market, feeds that deliver twice, late, corrected or nothing, workers that fail, a
//! journal whose unsynced end is lost, a store that fails before or after it has written, a process that is killed at any step. The
//! checks are made after every step, and at the end the store has to hold what all final candles give at once.
//!
//! `TALLOW_SEED=17 cargo test -p tallow-live sim::one -- --nocapture` runs one seed and tells what happens.

mod dice;
mod model;
mod world;

use crate::core::Planted;
use world::{Outcome, World};

/// How many seeds a run of tests tries, and how many at full size.
const SEEDS: (u64, u64) = (300, 1_000_000);
/// Within so many seeds each planted fault is found.
const TO_FIND: u64 = 2_000;

fn run(seed: u64, planted: Option<Planted>, tells: bool) -> Outcome {
    World::new(seed, planted, tells).run()
}

#[test]
fn one() {
    let Some(seed) = std::env::var("TALLOW_SEED").ok().and_then(|seed| seed.parse().ok()) else { return };
    let outcome = run(seed, None, true);
    assert!(outcome.is_ok(), "seed {seed}: {outcome:?}");
}

#[test]
fn whatever_happens_the_store_holds_what_the_candles_give() {
    let seeds = if std::env::var_os("TALLOW_LONG").is_some() { SEEDS.1 } else { SEEDS.0 };
    let (mut steps, mut crashes) = (0, 0);
    for seed in 0..seeds {
        match run(seed, None, false) {
            Ok(done) => (steps, crashes) = (steps + done.steps, crashes + done.crashes),
            Err(wrong) => panic!("TALLOW_SEED={seed}: {wrong}"),
        }
    }
    println!("{seeds} seeds, {steps} steps, {crashes} crashes");
    assert!(crashes > seeds / 10, "{crashes} crashes in {seeds} seeds");
}

/// The first seed that finds a fault.
fn found(fault: Planted) -> Option<u64> {
    (0..TO_FIND).find(|seed| run(*seed, Some(fault), false).is_err())
}

#[test]
fn every_planted_fault_is_found() {
    for fault in Planted::ALL {
        let seed = found(fault);
        println!("{fault:?}: seed {seed:?}");
        assert!(seed.is_some(), "{fault:?} is not found within {TO_FIND} seeds");
    }
}
