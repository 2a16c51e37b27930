//! What changes of bars do to labels: a label looks so many labelled bars back and ahead, whatever shorter bars it walks.

use super::bars::TableBars;
use super::buckets::whole_bars;
use super::tables::Tables;
use super::work::{ByTable, Extent, Work};
use crate::Session;
use crate::bounds::Read;
use crate::label::{LabelRun, LabelledBars};
use datafusion::logical_expr::LogicalPlan;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tallow_common::{Ranges, Result};
use tallow_udfs::series::{Bars, Reach};

/// What a run of labels has to do, whose plan this is.
pub(super) async fn work(
    session: &Session,
    run: &LabelRun,
    plan: &LogicalPlan,
    made_from: impl AsyncFnOnce(Vec<String>) -> Result<BTreeMap<String, u64>>,
) -> Result<Work> {
    let of = async |plan: &LogicalPlan, tables: &Tables, changes: &ByTable| {
        let mut changed = Ranges::default();
        changes.values().for_each(|of_table| changed.extend(&of_table.ranges));
        match changed.is_empty() {
            true => Ok(Extent::Nothing),
            false => extent(session, run, plan, tables, &changed).await,
        }
    };
    Work::by(session, plan, made_from, of).await
}

async fn extent(
    session: &Session,
    run: &LabelRun,
    plan: &LogicalPlan,
    tables: &Tables,
    changed: &Ranges,
) -> Result<Extent> {
    let LabelledBars { table: labelled, bars: of, reach, whole_history } = run.labelled_bars(session).await?;
    let Some((table, _)) = tables.followed.get(&labelled) else {
        return Ok(Extent::Everything(format!("its plan does not read `{labelled}`")));
    };
    let grid = of.grid;
    let changed = whole_bars(&grid, changed);
    let symbols: BTreeSet<String> = changed.symbols().map(|(symbol, _)| symbol.to_string()).collect();
    let read = Read::of(plan)?.remove(&labelled).unwrap_or_default();
    let mut bars = TableBars::new(session, &labelled, table, &read, symbols).making_up(of);
    let affected = bars.affected(&changed, reach).await?;
    let of_labelled = Arc::new(whole_bars(&grid, &bars.needed(&affected, reach).await?));
    // Shorter bars are walked from a labelled bar on.
    let path = Reach { back: Bars::Count(0), ..reach };
    let of_path = Arc::new(whole_bars(&grid, &bars.needed(&affected, path).await?));
    let ranges = |name: &String| Arc::clone(if *name == labelled { &of_labelled } else { &of_path });
    let needed = tables.followed.keys().map(|name| (name.clone(), ranges(name))).collect();
    Ok(Extent::Ranges { affected: Arc::new(whole_bars(&grid, &affected)), needed, whole_history })
}
