//! Which symbols a table of candles has: taken from the profiles of its files where these name all, else read once.

use super::catalog::Lake;
use super::profile::Run;
use super::table::CandleTable;
use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::Result;
use datafusion::execution::SessionState;
use datafusion::physical_plan::execute_stream;
use futures::TryStreamExt;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::OnceCell;

/// The symbols of a table, once somebody has asked for them.
pub(super) type Symbols = Arc<OnceCell<Arc<BTreeSet<String>>>>;

impl Lake {
    /// The symbols of a table of candles; `None`, where it is none.
    pub async fn symbols(&self, name: &str) -> Result<Option<Arc<BTreeSet<String>>>> {
        let Some(provider) = self.table(name).await? else { return Ok(None) };
        let Some(table) = provider.downcast_ref::<CandleTable>() else { return Ok(None) };
        let symbols = table.symbols.get_or_try_init(|| async {
            match table.profiled_symbols() {
                Some(listed) => Ok(Arc::new(listed)),
                None => {
                    let (table, state) = (table.clone(), Arc::clone(self.state()));
                    self.reading(async move { table.read_symbols(&state).await.map(Arc::new) }).await
                }
            }
        });
        symbols.await.cloned().map(Some)
    }
}

impl CandleTable {
    /// The symbols, where every file is known to be sorted and no stretch of it holds more than two.
    fn profiled_symbols(&self) -> Option<BTreeSet<String>> {
        let mut all = BTreeSet::new();
        for profile in self.profiles.iter().filter(|p| p.rows > 0) {
            if !profile.sorted || profile.runs.iter().any(|run| run.symbols > 2) {
                return None;
            }
            let of_run = |run: &Run| [run.symbol.clone(), run.last_symbol().to_string()];
            all.extend(profile.runs.iter().flat_map(of_run));
        }
        Some(all)
    }

    async fn read_symbols(&self, state: &SessionState) -> Result<BTreeSet<String>> {
        let plan = self.scan(state, Some(&vec![self.schema.index_of("symbol")?]), &[], None).await?;
        let mut rows = execute_stream(plan, state.task_ctx())?;
        let mut all = BTreeSet::new();
        while let Some(batch) = rows.try_next().await? {
            let symbols = cast(batch.column(0), &DataType::Utf8View)?;
            let mut last: Option<&str> = None;
            for symbol in symbols.as_string_view().iter().flatten() {
                if last != Some(symbol) && !all.contains(symbol) {
                    all.insert(symbol.to_string());
                }
                last = Some(symbol);
            }
        }
        Ok(all)
    }
}
