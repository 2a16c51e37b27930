//! What happens when a handle is used that another signature gave.

/// Parameters, inputs and outputs have the kinds that their signature declares, and so do its handles: only a handle of
/// another signature can name something of another kind, or nothing. That is a mistake in the function's code, so it stops
/// at once, and is never read as zero or as an empty series.
#[cold]
#[track_caller]
pub(super) fn foreign(what: &str, index: usize) -> ! {
    unreachable!("{what} {index} is read through a handle of another signature")
}
