//! Merges delivered rows into the files of a table: by (symbol, ts), the later delivery wins.

use super::canonical::SEQUENCE;
use super::counts::Counts;
use super::delivered::{Delivered, comparators};
use super::tally::Provided;
use crate::change_feed::{ChangeType, ChangeWriter};
use crate::clusters::{Cluster, clusters};
use crate::delta::{DataFile, Log};
use crate::sorted_rows::{Cursor, SortedRows};
use crate::table::CandleTable;
use crate::uncommitted::UncommittedFiles;
use crate::writer::{FILE_BYTES, Layout, TableWriter, conform};
use arrow::array::{Array, ArrayRef, AsArray, DynComparator, RecordBatch};
use arrow::datatypes::{Int64Type, SchemaRef, TimestampMicrosecondType};
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use std::collections::VecDeque;
use std::sync::Arc;

/// Tables up to this size are kept in order by rewriting the files that a delivery touches.
pub(super) const REWRITE_BYTES: u64 = 2 << 30;
/// Larger ones get files beside the others, until there are this many.
pub(super) const MAX_TAILS: usize = 8;

/// What a merge leaves behind: files to add and files to remove.
#[derive(Debug)]
pub(super) struct Merged {
    pub files: UncommittedFiles,
    pub removes: Vec<usize>,
    /// Files with the rows that changed, where files are removed.
    pub changed_rows: UncommittedFiles,
    pub counts: Counts,
}

impl Merged {
    /// Whether the table stays what it is.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.removes.is_empty()
    }

    /// Deletes what was written.
    pub async fn discard(&mut self) {
        self.files.discard().await;
        self.changed_rows.discard().await;
    }
}

/// Where a merge writes to.
#[derive(Default)]
struct Outputs<'w, 'a> {
    /// Every row of the result.
    all: Option<&'w mut TableWriter<'a>>,
    /// Only those that were not there.
    new: Option<&'w mut TableWriter<'a>>,
    /// What was inserted and updated.
    changes: Option<&'w mut ChangeWriter<'a>>,
}

impl Outputs<'_, '_> {
    async fn unchanged(&mut self, rows: Option<RecordBatch>, schema: &SchemaRef) -> Result<()> {
        push(&mut self.all, rows, schema).await
    }

    async fn inserted(&mut self, rows: Option<RecordBatch>, schema: &SchemaRef) -> Result<()> {
        if let (Some(changes), Some(rows)) = (&mut self.changes, &rows) {
            changes.push(rows, ChangeType::Insert).await?;
        }
        push(&mut self.all, rows.clone(), schema).await?;
        push(&mut self.new, rows, schema).await
    }

    async fn updated(&mut self, before: &RecordBatch, after: RecordBatch, schema: &SchemaRef) -> Result<()> {
        if let Some(changes) = &mut self.changes {
            changes.push(before, ChangeType::UpdateBefore).await?;
            changes.push(&after, ChangeType::UpdateAfter).await?;
        }
        push(&mut self.all, Some(after), schema).await
    }
}

/// Merges a delivery into a table.
pub(super) struct Upsert<'a> {
    pub state: &'a Arc<SessionState>,
    pub log: &'a Log,
    /// The table as it is; `None` if there is none yet.
    pub table: Option<&'a CandleTable>,
    pub files: &'a [DataFile],
    /// Columns of the table after the merge.
    pub schema: SchemaRef,
    /// Which columns each row was delivered with, unless all were.
    pub provided: Option<Provided>,
}

/// The symbols that go together into one set of files.
enum Until {
    /// All that come before this one.
    Before(String),
    End,
}

impl Until {
    fn holds(&self, symbol: &str) -> bool {
        match self {
            Until::Before(end) => symbol < end.as_str(),
            Until::End => true,
        }
    }
}

impl Upsert<'_> {
    /// Rewrites the files that the delivery touches; the others stay as they are.
    pub async fn rewrite(&self, delivered: &mut Delivered) -> Result<Merged> {
        let clusters = match self.table {
            Some(table) => clusters(self.files, table.profiles()),
            None => vec![],
        };
        let mut writer = TableWriter::new(self.log, Arc::clone(&self.schema), Layout::Sorted)?;
        // Nothing is removed from a table that holds nothing.
        let mut changes = self.table.map(|_| ChangeWriter::new(self.log, &self.schema)).transpose()?;
        let done = self.rewrite_clusters(delivered, &clusters, &mut writer, changes.as_mut()).await;
        let finished = writer.finish(done).await;
        let needed = finished.as_ref().is_ok_and(|(_, (removes, _))| !removes.is_empty());
        let changed_rows = match changes {
            Some(changes) if needed => changes.finish().await,
            Some(changes) => {
                changes.abandon().await;
                Ok(UncommittedFiles::of(self.log))
            }
            None => Ok(UncommittedFiles::of(self.log)),
        };
        let (mut files, (removes, mut counts)) = finished?;
        let changed_rows = files.keep_if_ok(changed_rows).await?;
        counts.duplicates = delivered.duplicates;
        counts.conflicting = delivered.conflicting;
        Ok(Merged { files, removes, changed_rows, counts })
    }

    /// Returns the files that are replaced.
    async fn rewrite_clusters<'a>(
        &self,
        delivered: &mut Delivered,
        clusters: &[Cluster],
        writer: &mut TableWriter<'a>,
        mut changes: Option<&mut ChangeWriter<'a>>,
    ) -> Result<(Vec<usize>, Counts)> {
        let (mut removes, mut all) = (vec![], Counts::default());
        let is_small = |c: &Cluster| c.bytes < FILE_BYTES;
        // Clusters before this one are done with.
        let mut open = 0;
        while delivered.fill().await? {
            let symbol = delivered.cursor.key().map(|(symbol, _)| symbol.to_string()).unwrap_or_default();
            let next = clusters.partition_point(|c| c.last < symbol);
            let inside = clusters.get(next).is_some_and(|c| c.first <= symbol);
            let before = next.checked_sub(1).filter(|&i| i >= open && is_small(&clusters[i]));
            let after = Some(next).filter(|&i| clusters.get(i).is_some_and(is_small));
            let into = if inside { Some(next) } else { before.or(after) };
            let following = into.map_or(next, |i| i + 1);
            let until = clusters.get(following).map_or(Until::End, |c| Until::Before(c.first.clone()));
            open = following;
            let existing = match (into, self.table) {
                (Some(i), Some(table)) => {
                    let plan = table.read_in_order(self.state, &clusters[i].files, None).await?;
                    Some(datafusion::physical_plan::execute_stream(plan, self.state.task_ctx())?)
                }
                _ => None,
            };
            writer.cut().await?;
            let mark = writer.files().len();
            let outputs = Outputs { all: Some(&mut *writer), changes: changes.as_deref_mut(), new: None };
            let counts = self.merge(delivered, existing, &until, outputs).await?;
            all.add(counts);
            if counts.new + counts.restated == 0 {
                writer.cut().await?;
                writer.discard_since(mark).await;
            } else if let Some(i) = into {
                removes.extend(&clusters[i].files);
            }
        }
        Ok((removes, all))
    }

    /// Writes new rows to files beside the others. `Ok(None)`: a row restates another, so files have to be rewritten.
    pub async fn append(&self, rows: &[RecordBatch]) -> Result<Option<Merged>> {
        let Some(table) = self.table else { return Ok(None) };
        let schema = match rows.first() {
            Some(batch) => batch.schema(),
            None => {
                let files = UncommittedFiles::of(self.log);
                let changed_rows = UncommittedFiles::of(self.log);
                return Ok(Some(Merged { files, removes: vec![], changed_rows, counts: Counts::default() }));
            }
        };
        let times = rows.iter().flat_map(|b| b.column(1).as_primitive::<TimestampMicrosecondType>().values());
        let span = times.fold((i64::MAX, i64::MIN), |(lo, hi), t| (lo.min(*t), hi.max(*t)));
        let all: Vec<usize> = (0..self.files.len()).collect();
        let plan = table.read_in_order(self.state, &all, Some(span)).await?;
        let existing = datafusion::physical_plan::execute_stream(plan, self.state.task_ctx())?;
        let memory: VecDeque<Result<RecordBatch>> = rows.iter().cloned().map(Ok).collect();
        let stream =
            datafusion::physical_plan::stream::RecordBatchStreamAdapter::new(schema, futures::stream::iter(memory));
        let mut delivered = Delivered::new(Box::pin(stream));
        let mut writer = TableWriter::new(self.log, Arc::clone(&self.schema), Layout::Sorted)?;
        let outputs = Outputs { new: Some(&mut writer), ..Outputs::default() };
        let counts = self.merge(&mut delivered, Some(existing), &Until::End, outputs).await;
        if counts.as_ref().is_ok_and(|counts| counts.restated > 0) {
            writer.abandon().await;
            return Ok(None);
        }
        let (files, mut counts) = writer.finish(counts).await?;
        counts.duplicates = delivered.duplicates;
        counts.conflicting = delivered.conflicting;
        Ok(Some(Merged { files, removes: vec![], changed_rows: UncommittedFiles::of(self.log), counts }))
    }

    /// Merges rows up to a symbol.
    async fn merge(
        &self,
        delivered: &mut Delivered,
        existing: Option<SendableRecordBatchStream>,
        until: &Until,
        mut outputs: Outputs<'_, '_>,
    ) -> Result<Counts> {
        let mut counts = Counts::default();
        let mut existing = SortedRows::new(existing, &self.schema);
        let mut pair = Pair::default();
        loop {
            let have = delivered.fill().await?;
            let left = delivered.cursor.key().filter(|(symbol, _)| have && until.holds(symbol));
            existing.fill().await?;
            match (left, existing.cursor.key()) {
                (None, None) => return Ok(counts),
                (None, Some(_)) => {
                    let rows = existing.cursor.take_while(|_| true);
                    outputs.unchanged(rows, &self.schema).await?;
                }
                (Some(left), right) if right.is_none_or(|right| left < right) => {
                    let end = right.map(|(symbol, ts)| (symbol.to_string(), ts));
                    let before = |key: (&str, i64)| end.as_ref().is_none_or(|(s, t)| key < (s.as_str(), *t));
                    let rows = delivered.cursor.take_while(|key| until.holds(key.0) && before(key));
                    counts.new += rows.as_ref().map_or(0, |r| r.num_rows() as u64);
                    outputs.inserted(rows, &self.schema).await?;
                }
                (Some(left), Some(right)) if left > right => {
                    let (symbol, ts) = (left.0.to_string(), left.1);
                    let rows = existing.cursor.take_while(|key| key < (symbol.as_str(), ts));
                    outputs.unchanged(rows, &self.schema).await?;
                }
                _ => {
                    // The same keys on both sides, as far as they go and say the same.
                    let from = existing.cursor.at;
                    let mut same = 0;
                    pair.set(delivered.cursor.batch(), existing.cursor.batch())?;
                    while let (Some(a), Some(b)) = (delivered.cursor.key(), existing.cursor.key())
                        && a == b
                        && until.holds(a.0)
                        && pair.same(delivered.cursor.at, existing.cursor.at, |c| self.has(&delivered.cursor, c))
                    {
                        same += 1;
                        delivered.cursor.at += 1;
                        existing.cursor.at += 1;
                    }
                    if same > 0 {
                        counts.unchanged += same as u64;
                        let rows = existing.cursor.batch().map(|b| b.slice(from, same));
                        outputs.unchanged(rows, &self.schema).await?;
                        continue;
                    }
                    counts.restated += 1;
                    let (before, after) = self.restated(&delivered.cursor, &existing.cursor)?;
                    outputs.updated(&before, after, &self.schema).await?;
                    delivered.cursor.at += 1;
                    existing.cursor.at += 1;
                }
            }
        }
    }

    /// Whether the row that a cursor is at was delivered with a column.
    fn has(&self, delivered: &Cursor, column: usize) -> bool {
        let Some(provided) = &self.provided else { return true };
        let sequence = delivered.batch().and_then(|b| b.columns().last()?.as_primitive_opt::<Int64Type>());
        sequence.is_none_or(|s| provided.has(s.value(delivered.at), column))
    }

    /// A row as it was, and with the delivered values; the table's own in columns that were not delivered.
    fn restated(&self, delivered: &Cursor, existing: &Cursor) -> Result<(RecordBatch, RecordBatch)> {
        let (Some(new), Some(old)) = (delivered.batch(), existing.batch()) else {
            return internal_err!("no row to restate");
        };
        let given = |name: &str| {
            let column = new.schema().index_of(name).ok()?;
            self.has(delivered, column).then(|| new.column(column))
        };
        let columns = self.schema.fields().iter().map(|field| -> Result<ArrayRef> {
            match (given(field.name()), old.column_by_name(field.name())) {
                (Some(column), _) => Ok(arrow::compute::cast(&column.slice(delivered.at, 1), field.data_type())?),
                (None, Some(column)) => Ok(arrow::compute::cast(&column.slice(existing.at, 1), field.data_type())?),
                (None, None) => Ok(arrow::array::new_null_array(field.data_type(), 1)),
            }
        });
        let after = RecordBatch::try_new(Arc::clone(&self.schema), columns.collect::<Result<_>>()?)?;
        Ok((old.slice(existing.at, 1), after))
    }
}

/// Compares the values of rows of two batches.
#[derive(Default)]
struct Pair {
    of: Option<(RecordBatch, RecordBatch)>,
    /// With the position of each column in the delivery.
    columns: Vec<(usize, DynComparator)>,
}

impl Pair {
    fn set(&mut self, a: Option<&RecordBatch>, b: Option<&RecordBatch>) -> Result<()> {
        let (Some(a), Some(b)) = (a, b) else { return Ok(()) };
        let is_same = |x: &RecordBatch, y: &RecordBatch| Arc::ptr_eq(x.column(1), y.column(1));
        if self.of.as_ref().is_some_and(|(x, y)| is_same(x, a) && is_same(y, b)) {
            return Ok(());
        }
        let schema = a.schema();
        let shared = schema.fields().iter().enumerate().skip(2).filter(|(_, f)| f.name() != SEQUENCE);
        // A column that the table does not have yet is a difference.
        let shared: Vec<(usize, usize)> =
            shared.filter_map(|(i, f)| Some((i, b.schema().index_of(f.name()).ok()?))).collect();
        let compare = comparators(a, b, shared.iter().copied())?;
        self.columns = shared.into_iter().map(|(column, _)| column).zip(compare).collect();
        self.of = Some((a.clone(), b.clone()));
        Ok(())
    }

    fn same(&self, a: usize, b: usize, has: impl Fn(usize) -> bool) -> bool {
        self.columns.iter().all(|(column, compare)| compare(a, b).is_eq() || !has(*column))
    }
}

async fn push(writer: &mut Option<&mut TableWriter<'_>>, rows: Option<RecordBatch>, schema: &SchemaRef) -> Result<()> {
    match (writer, rows) {
        (Some(writer), Some(rows)) => writer.push(conform(&rows, schema)?).await,
        _ => Ok(()),
    }
}
