//! Maintenance of the lake's tables: optimize, vacuum, history. A table is named by its name, its timeframe or its path.

use super::control::Control;
use super::query::Query;
use super::quoting;
use super::relation::table_named;
use crate::Session;
use tallow_common::Result;
use tallow_lake::{HistoryEntry, OptimizeSummary};

/// Rewrites small and overlapping files into sorted ones of about so many bytes.
pub async fn optimize(
    session: &Session,
    table: &str,
    file_bytes: Option<u64>,
    control: &Control,
) -> Result<OptimizeSummary> {
    let name = table_named(table);
    let work = session.on_lake(move |lake| async move { lake.optimize(&name, file_bytes).await });
    control.limit(&session.engine().clock()?, work).await
}

/// Deletes files that only versions older than `keep` need, and names them; or only names them.
pub async fn vacuum(session: &Session, table: &str, keep: chrono::Duration, dry_run: bool) -> Result<Vec<String>> {
    let name = table_named(table);
    session.on_lake(move |lake| async move { lake.vacuum(&name, keep, dry_run).await }).await
}

/// The commits of a table, the newest first, at most so many.
pub async fn history(session: &Session, table: &str, limit: Option<usize>) -> Result<Vec<HistoryEntry>> {
    let name = table_named(table);
    session.on_lake(move |lake| async move { lake.history(&name, limit).await }).await
}

/// The rows of a table that changed between two versions, in the order of the changes: its columns, what became of each row
/// and by which version.
pub fn changes(table: &str, from: u64, to: Option<u64>) -> Query {
    let (table, to) = (quoting::text(table), to.map(|to| format!(", to => {to}")).unwrap_or_default());
    Query::of(format!("select * from changes({table}, from => {from}{to}) order by _commit_version"))
}
