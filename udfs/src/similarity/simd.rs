//! Wide vectors where the processor has them.

use fearless_simd::{Level, Simd, dispatch};

/// Runs plain code that was compiled for the widest vectors of the processor. Only what is inlined into it is: the closure
/// must be `#[inline(always)]`, and so must what it calls.
///
/// No product is fused with a sum, so that results are the same to the bit on every machine.
#[inline(always)]
pub(crate) fn widest<R>(code: impl FnOnce() -> R) -> R {
    #[inline(always)]
    fn run<S: Simd, R>(_: S, code: impl FnOnce() -> R) -> R {
        code()
    }
    let level = Level::new();
    dispatch!(level, simd => run(simd, code))
}
