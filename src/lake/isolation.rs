//! Isolation of files: one that is damaged fails by itself and takes nothing else down.
//!
//! Decoders of Parquet and Arrow files panic on some that are damaged (in `bytes`, or where `arrow-ipc` converts a schema).
//! Whatever reads a file runs isolated: a panic ends as an error that names the file.

use arrow::error::ArrowError;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreUrl;
use object_store::path::Path;
use std::any::Any;
use std::cell::Cell;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;
use std::task::{Context, Poll};
use tallow_common::redact::redacted;

/// How the message about a file that cannot be read begins.
const CANNOT_READ: &str = "cannot read ";

/// A file by its path or its URL, for messages and records.
pub(super) fn shown(store: &ObjectStoreUrl, location: &Path) -> String {
    let root = redacted(store.as_str());
    format!("{}{location}", root.strip_prefix("file://").unwrap_or(&root))
}

/// Work that reads a file; an error of it names the file.
pub(super) async fn reading<T>(path: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    to_its_end(path, work).await.map_err(|error| named(path, error))
}

/// An error with the name of the file that it is about, unless it says so already.
pub(super) fn named(path: &str, error: DataFusionError) -> DataFusionError {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => error,
        _ if is_named(&error) => error,
        DataFusionError::Internal(said) => damaged(path, said.lines().next().unwrap_or_default()),
        _ => error.context(format!("{CANNOT_READ}{path}")),
    }
}

/// Whether an error names the file that it is about.
pub(super) fn is_named(error: &DataFusionError) -> bool {
    matches!(error, DataFusionError::Context(said, _) if said.starts_with(CANNOT_READ))
}

/// As [`named`], for work that not only reads a file but computes from what it holds.
pub(super) fn named_if_of_file(path: &str, error: DataFusionError) -> DataFusionError {
    let is_of_file = match error.find_root() {
        DataFusionError::ParquetError(_)
        | DataFusionError::ObjectStore(_)
        | DataFusionError::IoError(_)
        | DataFusionError::Internal(_) => true,
        DataFusionError::ArrowError(error, _) => matches!(
            error.as_ref(),
            ArrowError::ParquetError(_)
                | ArrowError::ExternalError(_)
                | ArrowError::ParseError(_)
                | ArrowError::CsvError(_)
                | ArrowError::JsonError(_)
                | ArrowError::IpcError(_)
                | ArrowError::IoError(..)
                | ArrowError::SchemaError(_)
        ),
        _ => false,
    };
    if is_of_file { named(path, error) } else { error }
}

fn damaged(path: &str, said: &str) -> DataFusionError {
    let error = DataFusionError::Execution(format!("the file seems to be damaged, its decoder gave up ({said})"));
    error.context(format!("{CANNOT_READ}{path}"))
}

thread_local! {
    /// Whether this thread runs isolated work.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Does a piece of work on a file and returns a panic as an error.
pub(super) fn contained<T>(path: &str, work: impl FnOnce() -> T) -> Result<T> {
    silence_what_is_caught();
    let outside = INSIDE.replace(true);
    // What is left half done is not used again: whoever gets the error drops it.
    let done = catch_unwind(AssertUnwindSafe(work));
    INSIDE.set(outside);
    done.map_err(|panic| damaged(path, said(panic.as_ref())))
}

/// As [`contained`], for work that waits.
pub(super) async fn to_its_end<T>(path: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut work = std::pin::pin!(work);
    let step = |cx: &mut Context<'_>| match contained(path, || work.as_mut().poll(cx)) {
        Ok(polled) => polled,
        Err(error) => Poll::Ready(Err(error)),
    };
    poll_fn(step).await
}

pub(super) fn contained_step<T>(path: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    contained(path, work)?.map_err(|error| named_if_of_file(path, error))
}

/// The message of a panic.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.and_then(|text| text.lines().next()).unwrap_or("a panic without a message")
}

/// Panics of isolated work become errors and are not reported by the process's panic hook as well; all others are
/// reported as before.
fn silence_what_is_caught() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let hook = take_hook();
        set_hook(Box::new(move |panic| {
            if !INSIDE.get() {
                hook(panic);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_as_an_error_that_names_the_file() {
        fn broken() -> Result<()> {
            panic!("range start 10 after its end")
        }
        let error = reading("/x.parquet", async { broken() }).await.unwrap_err();
        let said = tallow_common::readable(&error);
        assert!(
            said.starts_with("cannot read /x.parquet: ") && said.contains("range start 10 after its end"),
            "{said}"
        );
        assert!(!INSIDE.get(), "outside again");
    }

    #[test]
    fn an_error_names_its_file_once() {
        let error = named("/x.csv", named("/x.csv", DataFusionError::Execution("odd".to_string())));
        assert_eq!(tallow_common::readable(&error), "cannot read /x.csv: odd");
        let memory = named("/x.csv", DataFusionError::ResourcesExhausted("no memory".to_string()));
        assert_eq!(tallow_common::readable(&memory), "no memory");
        let internal = tallow_common::readable(&named("/x", DataFusionError::Internal("no\nbacktrace".to_string())));
        assert!(!internal.contains("Internal error") && internal.ends_with("(no)"), "{internal}");
    }

    #[test]
    fn what_is_computed_of_a_file_is_not_its_fault() {
        let error = |e: ArrowError| tallow_common::readable(&named_if_of_file("/x", e.into()));
        assert!(!error(ArrowError::DivideByZero).contains("/x"));
        assert!(error(ArrowError::CsvError("odd".to_string())).starts_with("cannot read /x: "));
    }
}
