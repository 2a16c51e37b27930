//! Symbols and files that a command skipped.

use super::Failure;
use super::args::OutputArgs;
use super::output::{Writer, note};
use super::wording::typed;
use crate::pipeline::outcome::Skipped;
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use std::path::Path;
use std::sync::Arc;

/// How many are listed.
const LISTED: usize = 20;

/// The first of them, a line each.
pub(super) fn listed(skipped: &[Skipped], all: &str) -> String {
    let lines = skipped.iter().take(LISTED).map(|f| format!("  {}: {}\n", f.symbol, f.reason));
    let more = if skipped.len() > LISTED { format!("  ...; {all}\n") } else { String::new() };
    lines.collect::<String>() + &more
}

/// Lists what was skipped; the command has then done what it could.
pub(super) fn partial(skipped: &[Skipped]) -> Result<(), Failure> {
    if skipped.is_empty() {
        return Ok(());
    }
    note(format_args!("left out: {}\n{}", skipped.len(), listed(skipped, "and more").trim_end()));
    Err(Failure::Partial)
}

/// How a file with all of them is written.
pub(super) fn output(path: &Path) -> OutputArgs {
    OutputArgs { format: None, output: Some(path.to_path_buf()), max_rows: 0 }
}

/// Writes all of them to a file.
pub(super) fn write(path: &Path, skipped: &[Skipped]) -> Result<(), Failure> {
    let column = |of: fn(&Skipped) -> &String| -> ArrayRef {
        Arc::new(skipped.iter().map(|f| Some(typed(of(f)))).collect::<StringArray>())
    };
    let batch = RecordBatch::try_from_iter([("symbol", column(|f| &f.symbol)), ("reason", column(|f| &f.reason))])?;
    let mut writer = Writer::new(&output(path), batch.schema())?;
    writer.write(&batch)?;
    writer.finish()?;
    Ok(())
}
