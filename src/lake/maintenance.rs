//! Maintenance of tables: compaction and history.

use super::clusters::{Cluster, clusters};
use super::delta::{Attempts, Change, Log, no_table};
use super::profile::ProfileCache;
use super::properties::KIND;
use super::replace::{BARS_READ, MILLISECONDS};
use super::table::CandleTable;
use super::writable::{check_writable, log_schema, no_candles};
use super::writer::{FILE_BYTES, Layout, RESULT_FILE_BYTES, TableWriter, conform, profile_of};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::Result;
use datafusion::execution::SessionState;
use datafusion::physical_plan::execute_stream;
use deltalake_core::kernel::Add;
use futures::TryStreamExt;
use std::sync::Arc;
use std::time::Duration;

/// What an optimize did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OptimizeSummary {
    /// Files before and after.
    pub files: (usize, usize),
    /// Bytes before and after.
    pub bytes: (u64, u64),
    /// Files that were rewritten, and rows in them.
    pub rewritten: usize,
    /// See [`OptimizeSummary::rewritten`].
    pub rows: u64,
    /// The version of the table afterwards; `None` where there was nothing to do.
    pub version: Option<u64>,
}

/// One commit of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryEntry {
    /// The version that the commit made.
    pub version: u64,
    /// When, in milliseconds since 1970.
    pub time: Option<i64>,
    /// What was done.
    pub operation: String,
    /// How many rows and files it changed.
    pub metrics: String,
    /// Of a commit that computed rows, about how many bars that read, and how long it took.
    pub took: Option<(u64, Duration)>,
}

/// Brings a table into the layout that is read fastest: sorted files of about `file_bytes`, in disjoint symbol ranges.
pub(super) async fn optimize(
    state: &Arc<SessionState>,
    cache: &ProfileCache,
    log: &Log,
    file_bytes: Option<u64>,
) -> Result<OptimizeSummary> {
    let mut attempts = Attempts::default();
    loop {
        let Some(base) = log.snapshot(None).await? else { return no_table(&log.location) };
        let Some(table) = CandleTable::of_snapshot(state, log, &base, cache).await? else {
            return Err(no_candles(&log.location));
        };
        // Results have any columns.
        let is_result = base.properties.contains_key(KIND);
        if !is_result {
            check_writable(&log.location, &base.schema)?;
        }
        let target = file_bytes.unwrap_or(if is_result { RESULT_FILE_BYTES } else { FILE_BYTES });
        let before = (base.files.len(), base.files.iter().map(|f| f.meta.size).sum());
        let ours: Vec<bool> = base.files.iter().map(|f| profile_of(&f.add).is_some()).collect();
        let groups = groups(&clusters(&base.files, table.profiles()), &ours, target);
        let mut summary =
            OptimizeSummary { files: (before.0, before.0), bytes: (before.1, before.1), ..Default::default() };
        if groups.is_empty() {
            return Ok(summary);
        }
        let schema = read_schema(&table.schema());
        let mut writer = TableWriter::new(log, Arc::clone(&schema), Layout::Sorted)?.with_file_bytes(target);
        let rewritten = rewrite(state, &table, &groups, &schema, &mut writer).await;
        let (mut files, rows) = writer.finish(rewritten).await?;
        let adds = files.adds().to_vec();
        let removes: Vec<Add> = groups.iter().flatten().map(|&i| base.files[i].add.clone()).collect();
        let size = |files: &[Add]| files.iter().map(|a| u64::try_from(a.size).unwrap_or_default()).sum::<u64>();
        summary.rows = rows;
        summary.rewritten = removes.len();
        summary.files.1 = before.0 - removes.len() + adds.len();
        summary.bytes.1 = before.1 - size(&removes) + size(&adds);
        let metrics = [("files_removed", removes.len()), ("files_added", adds.len())];
        let change = Change {
            adds,
            removes,
            schema: Some(log_schema(&schema)),
            metrics: metrics.into_iter().map(|(k, n)| (k.to_string(), n.into())).collect(),
            operation: "OPTIMIZE",
            ..Change::default()
        };
        if let Some(version) = attempts.commit(log, Some(&base), change, &mut [&mut files]).await? {
            return Ok(OptimizeSummary { version: Some(version), ..summary });
        }
    }
}

/// Groups of files that are rewritten together: those that overlap, those that other programs wrote, and small neighbours.
fn groups(clusters: &[Cluster], ours: &[bool], target: u64) -> Vec<Vec<usize>> {
    let mut found: Vec<(Vec<usize>, u64, bool)> = vec![];
    for cluster in clusters {
        let messy = cluster.files.len() > 1 || cluster.files.iter().any(|&f| !ours[f]);
        match found.last_mut() {
            Some((files, bytes, needed)) if *bytes + cluster.bytes <= target + target / 4 => {
                files.extend(&cluster.files);
                *bytes += cluster.bytes;
                *needed |= messy || files.len() > 1;
            }
            _ => found.push((cluster.files.clone(), cluster.bytes, messy)),
        }
    }
    found.into_iter().filter(|(_, _, needed)| *needed).map(|(files, _, _)| files).collect()
}

async fn rewrite(
    state: &Arc<SessionState>,
    table: &CandleTable,
    groups: &[Vec<usize>],
    schema: &SchemaRef,
    writer: &mut TableWriter<'_>,
) -> Result<u64> {
    let mut rows = 0;
    for files in groups {
        let plan = table.read_in_order(state, files, None).await?;
        let mut batches = execute_stream(plan, state.task_ctx())?;
        while let Some(batch) = batches.try_next().await? {
            rows += batch.num_rows() as u64;
            writer.push(conform(&batch, schema)?).await?;
        }
        writer.cut().await?;
    }
    Ok(rows)
}

/// The columns of a table as the writer takes them.
fn read_schema(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 => Field::new(field.name(), DataType::Utf8View, true),
        other => Field::new(field.name(), other.clone(), true),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The commits of a table, newest first.
pub(super) async fn history(log: &Log, limit: Option<usize>) -> Result<Vec<HistoryEntry>> {
    if !log.exists().await? {
        return no_table(&log.location);
    }
    let commits = log.history(limit).await?;
    Ok(commits
        .into_iter()
        .map(|(version, info)| {
            let text = |key: &str| info.info.get(key).cloned();
            let operation = match text("tallowOperation") {
                Some(serde_json::Value::String(operation)) => operation,
                _ => info.operation.clone().unwrap_or_default(),
            };
            let numbers = match text("operationMetrics") {
                Some(serde_json::Value::Object(metrics)) => metrics,
                _ => serde_json::Map::new(),
            };
            let shown = numbers.iter().filter(|(_, v)| v.as_u64().is_some_and(|n| n > 0));
            let metrics = shown.map(|(k, v)| format!("{k} {v}")).collect::<Vec<_>>().join(", ");
            let number = |key: &str| numbers.get(key)?.as_u64();
            let took = number(BARS_READ).zip(number(MILLISECONDS).map(Duration::from_millis));
            HistoryEntry { version, time: info.timestamp, operation, metrics, took }
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(files: &[usize], bytes: u64) -> Cluster {
        Cluster { files: files.to_vec(), first: String::new(), last: String::new(), bytes }
    }

    #[test]
    fn only_what_gains_is_rewritten() {
        let ours = [true; 6];
        assert!(groups(&[cluster(&[0], 90), cluster(&[1], 100)], &ours, 100).is_empty());
        assert_eq!(groups(&[cluster(&[0], 10), cluster(&[1], 20), cluster(&[2], 100)], &ours, 100), [vec![0, 1]]);
        assert_eq!(groups(&[cluster(&[0, 1], 300), cluster(&[2], 100)], &ours, 100), [vec![0, 1]]);
        assert_eq!(groups(&[cluster(&[0], 100), cluster(&[1], 100)], &[true, false], 100), [vec![1]]);
    }
}
