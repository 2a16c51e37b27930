//! Symbols and files that a command left out.

use super::Failure;
use super::args::OutputArgs;
use super::output::Writer;
use crate::pipeline::scan::Failure as LeftOut;
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// How many are listed.
const LISTED: usize = 20;

/// The first failures, a line each.
pub(super) fn listed(failures: &[LeftOut], all: &str) -> String {
    let lines = failures.iter().take(LISTED).map(|f| format!("  {}: {}\n", f.symbol, f.reason));
    let more = if failures.len() > LISTED { format!("  ...; {all}\n") } else { String::new() };
    lines.collect::<String>() + &more
}

/// Tells of files that were left out; the command has then done what it could.
pub(super) fn partial(failures: &[LeftOut]) -> Result<(), Failure> {
    if failures.is_empty() {
        return Ok(());
    }
    let _ = write!(std::io::stderr(), "left out: {}\n{}", failures.len(), listed(failures, "and more"));
    Err(Failure::Partial)
}

/// How a file with all of them is written.
pub(super) fn output(path: &Path) -> OutputArgs {
    OutputArgs { format: None, output: Some(path.to_path_buf()), max_rows: 0 }
}

/// Writes all of them to a file.
pub(super) fn write(path: &Path, failures: &[LeftOut]) -> Result<(), Failure> {
    let column = |of: fn(&LeftOut) -> &String| -> ArrayRef {
        Arc::new(failures.iter().map(|f| Some(of(f))).collect::<StringArray>())
    };
    let batch = RecordBatch::try_from_iter([("symbol", column(|f| &f.symbol)), ("reason", column(|f| &f.reason))])?;
    let mut writer = Writer::new(&output(path), batch.schema())?;
    writer.write(&batch)?;
    writer.finish()?;
    Ok(())
}
