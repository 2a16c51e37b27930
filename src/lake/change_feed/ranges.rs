//! Where a table changed: the times of the changed rows, by symbol.

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use datafusion::catalog::TableProvider;
use datafusion::common::{Column, Result};
use datafusion::datasource::provider_as_source;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
use datafusion::physical_plan::execute_stream;
use futures::TryStreamExt;
use std::collections::BTreeMap;
use std::sync::Arc;
use tallow_common::time::timestamp_type;
use tallow_common::{Ranges, Times};

/// Times of a symbol that are kept before they become ranges.
const MOST_INSTANTS: usize = 4096;

/// Where a table changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// The times of the bars that were inserted, updated or deleted.
    pub ranges: Ranges,
    /// How many changes there were; an update counts once.
    pub rows: u64,
}

/// Gathers the times of changed rows.
pub(crate) async fn changed(state: &SessionState, changes: &Arc<dyn TableProvider>) -> Result<Changed> {
    let column = |name: &str| Expr::Column(Column::from_name(name));
    let plan = LogicalPlanBuilder::scan("changes", provider_as_source(Arc::clone(changes)), None)?
        .project([column("symbol"), column("ts"), column(super::CHANGE_TYPE)])?
        .build()?;
    let plan = state.create_physical_plan(&plan).await?;
    let mut batches = execute_stream(plan, state.task_ctx())?;
    let mut changed = Changed::default();
    let mut instants: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    while let Some(batch) = batches.try_next().await? {
        let symbols = cast(batch.column(0), &DataType::Utf8View)?;
        let times = cast(batch.column(1), &timestamp_type())?;
        let types = cast(batch.column(2), &DataType::Utf8View)?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let before = super::ChangeType::UpdateBefore.to_string();
        changed.rows += types.as_string_view().iter().flatten().filter(|kind| *kind != before).count() as u64;
        for (symbol, time) in symbols.as_string_view().iter().zip(times.iter()) {
            let (Some(symbol), Some(time)) = (symbol, time) else { continue };
            let known = match instants.get_mut(symbol) {
                Some(known) => known,
                None => instants.entry(symbol.to_string()).or_default(),
            };
            known.push(time);
            if known.len() >= MOST_INSTANTS {
                changed.ranges.add(symbol, &Times::of_instants(std::mem::take(known)));
            }
        }
    }
    for (symbol, times) in instants {
        changed.ranges.add(&symbol, &Times::of_instants(times));
    }
    Ok(changed)
}
