//! Wide vectors where the processor has them.

use fearless_simd::{Level, Simd, SimdBase, dispatch};

/// Runs plain code that was compiled for the widest vectors of the processor. Only what is inlined into it is: the closure
/// must be `#[inline(always)]`, and so must what it calls.
///
/// No product is fused with a sum, so that results are the same to the bit on every machine.
#[inline(always)]
pub(crate) fn widest<R>(code: impl FnOnce() -> R) -> R {
    widest_of(
        #[inline(always)]
        |_| code(),
    )
}

/// As [`widest`], for code that wants to know how many doubles a vector holds.
#[inline(always)]
pub(crate) fn widest_of<R>(code: impl FnOnce(usize) -> R) -> R {
    #[inline(always)]
    fn run<S: Simd, R>(_: S, code: impl FnOnce(usize) -> R) -> R {
        code(S::f64s::LEN)
    }
    let level = level();
    dispatch!(level, simd => run(simd, code))
}

#[inline(always)]
fn level() -> Level {
    #[cfg(test)]
    if let Some(level) = tests::LEVEL.get() {
        return level;
    }
    Level::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::similarity::band::Band;
    use crate::similarity::dtw::dtw;
    use crate::similarity::envelope::Envelope;
    use crate::similarity::many::{LANES, dtw_many, side_by_side};
    use crate::similarity::pearson::Correlator;
    use crate::similarity::reference::{Channels, Reference};
    use crate::similarity::search::{Search, Windowing, Worker};
    use std::cell::Cell;

    thread_local! {
        /// What this thread's code runs on, in place of the best that there is.
        pub(super) static LEVEL: Cell<Option<Level>> = const { Cell::new(None) };
    }

    /// All that this machine has.
    fn levels() -> Vec<Level> {
        let best = Level::new();
        #[cfg(target_arch = "x86_64")]
        let weaker = [
            best.as_sse2().map(Level::Sse2),
            best.as_sse4_2().map(Level::Sse4_2),
            best.as_avx2().map(Level::Avx2),
            best.as_avx512().map(Level::Avx512),
        ];
        #[cfg(not(target_arch = "x86_64"))]
        let weaker = [Some(Level::baseline())];
        weaker.into_iter().flatten().chain([best]).collect()
    }

    fn walk(seed: u64, length: usize) -> Vec<f64> {
        let mut state = seed;
        let mut level = 100.0;
        let step = |_| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            level *= 1.0 + ((state >> 33) as f64 / (1u64 << 31) as f64 - 0.5) / 20.0;
            level
        };
        (0..length).map(step).collect()
    }

    /// The bits of what every kernel makes of some walks.
    fn bits() -> Vec<u64> {
        let mut all = vec![];
        let walks: Vec<_> = (1..=LANES as u64).map(|seed| walk(seed, 90)).collect();
        let (mut lanes, mut line) = (vec![], vec![]);
        side_by_side(walks.iter().map(Vec::as_slice), &mut lanes);
        for share in [0.02, 0.06, 0.1, 0.15, 0.3, 1.0] {
            let reference = walk(99, 80);
            let band = Band::fraction(reference.len(), 90, share);
            all.extend(walks.iter().map(|w| dtw(&reference, w, band)));
            all.extend(dtw_many(&reference, &lanes, Band::fraction(90, 80, share), &mut line));
            let envelope = Envelope::of_columns(&reference, band, 90);
            all.extend(envelope.lower.iter().chain(&envelope.upper));
        }
        let mut correlations = vec![];
        Correlator::new(&walk(99, 90)).rows(&walks.concat(), &mut correlations);
        all.extend(correlations);
        for windowing in [Windowing::History, Windowing::Latest] {
            let reference = Reference::new(&walk(5, 130), 59, Channels::BOTH, &[0.9, 1.0, 1.1]).unwrap();
            let search = Search::new(reference, windowing, 5, None);
            let mut worker = Worker::default();
            for seed in 20..40 {
                let closes = walk(seed, 400);
                let times: Vec<i64> = (0..400).collect();
                worker.symbol(&search, &seed.to_string(), &times, &closes);
            }
            all.extend(search.best().iter().flat_map(|m| [m.start_ts as f64, m.scale, m.distance.combined]));
        }
        all.into_iter().map(f64::to_bits).collect()
    }

    #[test]
    fn results_are_the_same_to_the_bit_with_any_vectors() {
        let expected = bits();
        for level in levels() {
            LEVEL.set(Some(level));
            let found = bits();
            LEVEL.set(None);
            assert!(found == expected, "{level:?}");
        }
    }
}
