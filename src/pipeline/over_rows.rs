//! SQL over rows that are no table of the lake.

use crate::Session;
use crate::quoting::quoted;
use crate::relation::one;
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use datafusion::catalog::MemTable;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tallow_common::Result;

/// The rows of a query over other rows; `sql` makes it of what stands in FROM for each.
pub(crate) async fn over_rows<const N: usize>(
    session: &Session,
    rows: [&RecordBatch; N],
    sql: impl FnOnce([String; N]) -> String,
) -> Result<RecordBatch> {
    // What runs at the same time has tables of its own.
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let names: [String; N] = std::array::from_fn(|at| format!("#rows {at} of {run}"));
    for (name, rows) in names.iter().zip(rows) {
        let table = MemTable::try_new(rows.schema(), vec![vec![rows.clone()]])?;
        session.lake().keep_hidden(name, Arc::new(table));
    }
    let sql = sql(std::array::from_fn(|at| quoted(&names[at])));
    let found = async {
        let frame = one(session, &sql).await?;
        let schema = Arc::clone(frame.schema().inner());
        Ok((schema, session.collect(frame).await?))
    };
    let found: Result<_> = found.await;
    names.iter().for_each(|name| session.lake().drop_hidden(name));
    let (schema, batches) = found?;
    Ok(concat_batches(&schema, &batches)?)
}
