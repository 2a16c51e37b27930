//! The tables that a plan reads, and what changed of them.

use super::work::{Changes, Source};
use crate::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::LogicalPlan;
use std::collections::BTreeMap;
use std::sync::Arc;
use tallow_common::{Error, Result, Times};
use tallow_lake::{CandleTable, Changed, ReadSize};

/// Tables whose changes are known, with the version that is read, by name.
pub(super) type Followed = BTreeMap<String, (Arc<CandleTable>, u64)>;

/// The tables that a plan reads.
#[derive(Default)]
pub(super) struct Tables {
    pub followed: Followed,
    /// Why it is not known what changes in what is read, where it is not.
    pub unfollowed: Option<String>,
}

impl Tables {
    /// Those of an optimized plan.
    ///
    /// # Errors
    /// There is none.
    pub fn of(plan: &LogicalPlan) -> Result<Tables> {
        let mut tables = Tables::default();
        plan.apply_with_subqueries(|node| {
            let LogicalPlan::TableScan(scan) = node else { return Ok(TreeNodeRecursion::Continue) };
            let name = scan.table_name.table();
            let provider = source_as_provider(&scan.source)?;
            let table = provider.downcast_ref::<CandleTable>();
            match table.and_then(|table| Some((table, table.version()?))) {
                Some((table, version)) => {
                    tables.followed.insert(name.to_string(), (Arc::new(table.clone()), version));
                }
                None if table.is_some() => {
                    let said =
                        "is read from files without a transaction log, so that it is not known what changes in it";
                    tables.unfollowed = Some(format!("`{name}` {said}"));
                }
                None => {
                    tables.unfollowed =
                        Some(format!("`{name}` has no symbol and ts by which its changes could be followed"));
                }
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        match tables.followed.is_empty() && tables.unfollowed.is_none() {
            true => Err(Error::invalid("it reads no table of candles")),
            false => Ok(tables),
        }
    }

    /// What changed of them since the versions that `made_from` gives.
    pub async fn changes(
        &self,
        session: &Session,
        made_from: impl AsyncFnOnce(Vec<String>) -> Result<BTreeMap<String, u64>>,
    ) -> Result<Changes> {
        let since = made_from(self.followed.keys().cloned().collect()).await?;
        let (mut sources, mut by_table) = (vec![], BTreeMap::new());
        for (name, (_, to)) in &self.followed {
            let (from, to) = (since.get(name).copied(), *to);
            let mut of_table = match from {
                Some(from) if self.unfollowed.is_none() => changed(session, name, from, to).await?,
                _ => Changed::default(),
            };
            // Which symbols one table lacks decides what is made of another's bars: see `x@1d` in bars of 12h.
            if let Some(from) = from.filter(|from| *from < to && self.followed.len() > 1) {
                for symbol in moved(session, name, from, to).await? {
                    of_table.ranges.add(&symbol, &Times::all());
                }
            }
            sources.push(Source { table: name.clone(), from, to, changed: of_table.rows, read: ReadSize::default() });
            by_table.insert(name.clone(), of_table);
        }
        let is_known = sources.iter().all(|source| source.from.is_some());
        Ok(Changes { sources, by_table: is_known.then_some(by_table) })
    }
}

/// Symbols that a table has in one of two versions only.
async fn moved(session: &Session, table: &str, from: u64, to: u64) -> Result<Vec<String>> {
    let names = [from, to].map(|version| format!("{table}@v{version}"));
    let [before, after] = session
        .on_lake(move |lake| async move { Ok([lake.symbols(&names[0]).await?, lake.symbols(&names[1]).await?]) })
        .await?
        .map(Option::unwrap_or_default);
    Ok(before.symmetric_difference(&after).cloned().collect())
}

async fn changed(session: &Session, table: &str, from: u64, to: u64) -> Result<Changed> {
    let table = table.to_string();
    session.on_lake(move |lake| async move { lake.changed(&table, from, to).await }).await
}
