//! Reads the rows that the commits of a table changed.

use super::{CHANGE_TYPE, COMMIT_TIME, COMMIT_VERSION, ChangeType};
use crate::as_of::AsOf;
use crate::delta::{Log, no_table};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{Column, Result, ScalarValue, plan_err};
use datafusion::datasource::{TableProvider, ViewTable, provider_as_source};
use datafusion::functions_aggregate::expr_fn::sum;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit, when};
use deltalake_core::kernel::Action;
use futures::{StreamExt, TryStreamExt, stream};
use std::sync::Arc;
use tallow_common::Error;
use tallow_common::time::timestamp_type;

/// Files that are asked for at the same time.
const REQUESTS: usize = 16;
/// How often a row came, less how often it went.
const BALANCE: &str = "_balance";

/// What a commit did to the rows of a table, and the files that tell.
#[derive(Debug, PartialEq)]
enum Changes {
    /// The files hold the changed rows.
    Named(Vec<String>),
    /// All rows of the files are new.
    Inserted(Vec<String>),
    /// All rows of the files are gone.
    Deleted(Vec<String>),
    /// Rows of some files were replaced by those of others.
    Replaced { before: Vec<String>, after: Vec<String> },
}

/// A commit that changed rows.
#[derive(Debug, PartialEq)]
struct ChangingCommit {
    version: u64,
    /// In milliseconds since 1970.
    time: Option<i64>,
    changes: Changes,
}

/// The rows that the commits after version `from` changed, up to and with version `to`, by default the newest: the table's columns, what became
/// of each row, and by which commit.
///
/// # Errors
/// A version does not exist, or what tells its changes does not exist any more.
pub(crate) async fn changes(log: &Log, from: u64, to: Option<u64>) -> Result<Arc<dyn TableProvider>> {
    let Some(newest) = log.snapshot(to.map(AsOf::Version).as_ref()).await? else { return no_table(&log.location) };
    let to = newest.version;
    if from > to {
        return plan_err!("the changes of {} from version {from} to {to}: the first must not be later", log.location);
    }
    let mut commits = vec![];
    for (version, actions) in log.actions(from + 1..=to).await? {
        commits.extend(changes_of(version, &actions).map_err(|said| said.context(log.location.clone()))?);
    }
    for commit in &commits {
        check_files(log, commit).await?;
    }
    let schema = &newest.schema;
    let mut parts = commits.iter().map(|commit| rows_of(log, schema, commit)).collect::<Result<Vec<_>>>()?.into_iter();
    let plan = match parts.next() {
        Some(first) => parts.try_fold(LogicalPlanBuilder::from(first), LogicalPlanBuilder::union)?.build()?,
        None => nothing(schema)?,
    };
    Ok(Arc::new(ViewTable::new(plan, None)))
}

/// What a commit did to the rows; `None` where it left them as they were.
fn changes_of(version: u64, actions: &[Action]) -> Result<Option<ChangingCommit>> {
    let (mut named, mut after, mut before, mut time) = (vec![], vec![], vec![], None);
    for action in actions {
        match action {
            Action::Cdc(file) => named.push(file.path.clone()),
            Action::Add(add) if add.data_change && add.deletion_vector.is_some() => {
                return plan_err!("version {version} has a deletion vector, which tallow does not read");
            }
            Action::Add(add) if add.data_change => after.push(add.path.clone()),
            Action::Remove(remove) if remove.data_change => before.push(remove.path.clone()),
            Action::CommitInfo(info) => time = info.timestamp,
            _ => {}
        }
    }
    let changes = match (named.is_empty(), before.is_empty(), after.is_empty()) {
        (false, _, _) => Changes::Named(named),
        (true, true, true) => return Ok(None),
        (true, true, false) => Changes::Inserted(after),
        (true, false, true) => Changes::Deleted(before),
        (true, false, false) => Changes::Replaced { before, after },
    };
    Ok(Some(ChangingCommit { version, time, changes }))
}

impl Changes {
    fn files(&self) -> impl Iterator<Item = &String> {
        let (some, more): (&[String], &[String]) = match self {
            Changes::Named(files) | Changes::Inserted(files) | Changes::Deleted(files) => (files, &[]),
            Changes::Replaced { before, after } => (before, after),
        };
        some.iter().chain(more)
    }
}

/// Files that a version needed may have been deleted since.
async fn check_files(log: &Log, commit: &ChangingCommit) -> Result<()> {
    let asked: Vec<_> = commit.changes.files().map(|file| log.holds_file(file)).collect();
    let found: Vec<bool> = stream::iter(asked).buffered(REQUESTS).try_collect().await?;
    if found.into_iter().all(|found| found) {
        return Ok(());
    }
    let version = commit.version;
    let said =
        format!("what version {version} of {} changed is not known any more: its files were deleted", log.location);
    Err(Error::not_found(said).with_hint("`vacuum` deletes them; keep more, or start from a later version").into())
}

/// The rows that a commit changed.
fn rows_of(log: &Log, schema: &SchemaRef, commit: &ChangingCommit) -> Result<LogicalPlan> {
    let scan = |files: &[String], schema: &SchemaRef| {
        LogicalPlanBuilder::scan("changes", provider_as_source(log.files_table(files, schema)?), None)
    };
    let (rows, change) = match &commit.changes {
        Changes::Named(files) => {
            let mut fields = schema.fields().to_vec();
            fields.push(Arc::new(Field::new(CHANGE_TYPE, DataType::Utf8, true)));
            (scan(files, &Arc::new(Schema::new(fields)))?, column(CHANGE_TYPE))
        }
        Changes::Inserted(files) => (scan(files, schema)?, lit(ChangeType::Insert.to_string())),
        Changes::Deleted(files) => (scan(files, schema)?, lit(ChangeType::Delete.to_string())),
        Changes::Replaced { before, after } => {
            let columns: Vec<Expr> = schema.fields().iter().map(|field| column(field.name())).collect();
            let with = |rows: LogicalPlanBuilder, balance: i64| {
                rows.project(columns.iter().cloned().chain([lit(balance).alias(BALANCE)]))?.build()
            };
            let rows = LogicalPlanBuilder::from(with(scan(before, schema)?, -1)?)
                .union(with(scan(after, schema)?, 1)?)?
                .aggregate(columns.clone(), [sum(column(BALANCE)).alias(BALANCE)])?
                .filter(column(BALANCE).not_eq(lit(0i64)))?;
            let deleted = column(BALANCE).lt(lit(0i64));
            let mut change = when(deleted, lit(ChangeType::Delete.to_string()));
            (rows, change.otherwise(lit(ChangeType::Insert.to_string()))?)
        }
    };
    let time = ScalarValue::TimestampMicrosecond(commit.time.map(|time| time * 1000), Some("UTC".into()));
    let version = i64::try_from(commit.version).unwrap_or(i64::MAX);
    let columns = schema.fields().iter().map(|field| column(field.name()));
    let about = [
        datafusion::logical_expr::cast(change, DataType::Utf8).alias(CHANGE_TYPE),
        lit(version).alias(COMMIT_VERSION),
        lit(time).alias(COMMIT_TIME),
    ];
    rows.project(columns.chain(about))?.build()
}

/// No row, where no commit changed any.
fn nothing(schema: &SchemaRef) -> Result<LogicalPlan> {
    let mut fields = schema.fields().to_vec();
    fields.push(Arc::new(Field::new(CHANGE_TYPE, DataType::Utf8, false)));
    fields.push(Arc::new(Field::new(COMMIT_VERSION, DataType::Int64, false)));
    fields.push(Arc::new(Field::new(COMMIT_TIME, timestamp_type(), true)));
    let schema = Arc::new(Schema::new(fields));
    let empty = datafusion::datasource::MemTable::try_new(schema, vec![vec![]])?;
    LogicalPlanBuilder::scan("changes", provider_as_source(Arc::new(empty)), None)?.build()
}

fn column(name: &str) -> Expr {
    Expr::Column(Column::from_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use deltalake_core::kernel::{Add, AddCDCFile, Remove};

    fn add(path: &str, data_change: bool) -> Action {
        Action::Add(Add { path: path.to_string(), data_change, ..Add::default() })
    }

    fn remove(path: &str) -> Action {
        Action::Remove(Remove { path: path.to_string(), data_change: true, ..Remove::default() })
    }

    #[test]
    fn a_commit_says_what_it_changed() {
        let of = |actions: &[Action]| changes_of(3, actions).unwrap().map(|commit| commit.changes);
        let files = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(of(&[add("a", false)]), None);
        assert_eq!(of(&[add("a", true)]), Some(Changes::Inserted(files(&["a"]))));
        assert_eq!(of(&[remove("a")]), Some(Changes::Deleted(files(&["a"]))));
        let replaced = Changes::Replaced { before: files(&["a"]), after: files(&["b"]) };
        assert_eq!(of(&[remove("a"), add("b", true)]), Some(replaced));
        let named = Action::Cdc(AddCDCFile { path: "c".to_string(), ..AddCDCFile::default() });
        assert_eq!(of(&[remove("a"), add("b", true), named]), Some(Changes::Named(files(&["c"]))));
    }
}
