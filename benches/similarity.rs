//! Kernels of similarity: microseconds a pair, millions of rows a second. `benches/similarity.py` puts them beside a peer.
//!
//! The series are those of the peer's run, from a file of 2,001 lines of numbers: a reference and a pool.

use std::hint::black_box;
use std::time::Instant;
use tallow_udfs::similarity::band::Band;
use tallow_udfs::similarity::dtw::{Scratch, dtw_abandoning, dtw_with};
use tallow_udfs::similarity::many::{LANES, dtw_many, side_by_side};
use tallow_udfs::similarity::pearson::Correlator;

/// Splitmix64 walks, where no file is given.
fn walks(count: usize, length: usize) -> Vec<Vec<f64>> {
    let mut state = 7u64;
    let mut step = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((z ^ (z >> 27)) >> 11) as f64 / (1u64 << 53) as f64 - 0.5
    };
    let mut walk = || {
        let mut level = 0.0;
        let values: Vec<f64> = (0..length)
            .map(|_| {
                level += step();
                level
            })
            .collect();
        tallow_udfs::similarity::znorm::znorm(&values)
    };
    (0..count).map(|_| walk()).collect()
}

/// The best of seven rounds, in seconds.
fn best(mut work: impl FnMut() -> f64) -> (f64, f64) {
    let mut result = 0.0;
    let rounds = (0..7).map(|_| {
        let started = Instant::now();
        result = work();
        started.elapsed().as_secs_f64()
    });
    (rounds.fold(f64::INFINITY, f64::min), result)
}

fn main() {
    let file = std::env::var("TALLOW_BENCH_PAIRS").ok();
    let series: Vec<Vec<f64>> = match file.map(std::fs::read_to_string) {
        Some(Ok(text)) => text.lines().map(|l| l.split(' ').filter_map(|x| x.parse().ok()).collect()).collect(),
        _ => walks(2_001, 120),
    };
    let Some((reference, pool)) = series.split_first() else { return };
    let (n, pairs) = (reference.len(), pool.len() as f64);
    let band = Band::fraction(n, n, 0.12);
    let mut scratch = Scratch::default();
    let say = |name: &str, (seconds, check): (f64, f64)| {
        println!("{name}: {:.3} us/pair  (check {check:.6})", seconds / pairs * 1e6);
    };
    say("one pair", best(|| pool.iter().map(|p| dtw_with(reference, black_box(p), band, &mut scratch)).sum()));
    let rows = |p: &Vec<f64>, scratch: &mut Scratch| {
        dtw_abandoning(reference, black_box(p), band, None, f64::INFINITY, scratch).unwrap_or_default().sqrt()
    };
    say("one pair, rows that may be abandoned", best(|| pool.iter().map(|p| rows(p, &mut scratch)).sum()));
    let (mut batch, mut line) = (vec![], vec![]);
    say(
        "one against many",
        best(|| {
            let group = |g: &[Vec<f64>]| {
                side_by_side(g.iter().map(Vec::as_slice), &mut batch);
                dtw_many(reference, black_box(&batch), band, &mut line)[..g.len()].iter().sum::<f64>()
            };
            pool.chunks(LANES).map(group).sum()
        }),
    );
    let matrix = pool.concat();
    let correlator = Correlator::new(reference);
    let mut product = vec![];
    let (seconds, _) = best(|| {
        correlator.rows(black_box(&matrix), &mut product);
        product.iter().sum()
    });
    println!("prescreen: {:.2} M rows/s", pairs / seconds / 1e6);
}
