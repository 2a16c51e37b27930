//! How much of a result is to be computed, given what changed of the tables that it is made from.

use super::bars::TableBars;
use super::tables::Followed;
use super::work::Extent;
use crate::Session;
use crate::bounds::Read;
use datafusion::logical_expr::LogicalPlan;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tallow_common::{Ranges, Result};
use tallow_engine::reach::{PlanScope, Scope, Sources, reach, scope};
use tallow_lake::Changed;
use tallow_udfs::series::{Bars, Reach};

/// How much of a result changes of these tables concern.
pub(super) async fn extent(
    session: &Session,
    plan: &LogicalPlan,
    tables: &Followed,
    changes: &BTreeMap<String, Changed>,
) -> Result<Extent> {
    if changes.values().all(|changed| changed.ranges.is_empty()) {
        return Ok(Extent::Nothing);
    }
    let (found, PlanScope { scope, symbol, time }) = (reach(plan), scope(plan));
    let whole = match &scope {
        Scope::Anything(reason) => Some(reason.clone()),
        _ if symbol.is_none() => Some("its column symbol is not that of a table".to_string()),
        _ if time.is_none() || !found.is_of_bars => Some("its column ts is not the time of a table's bars".to_string()),
        _ => None,
    };
    if let Some(reason) = whole {
        return Ok(Extent::Everything(reason));
    }
    let (total, read) = (found.total(), Read::of(plan)?);
    let crosses = scope == Scope::CrossSection;
    let mut affected = Ranges::default();
    let mut bars: BTreeMap<&str, TableBars<'_>> = BTreeMap::new();
    let nothing = Read::default();
    for (name, changed) in changes {
        let mut symbols: BTreeSet<String> = changed.ranges.symbols().map(|(symbol, _)| symbol.to_string()).collect();
        if crosses {
            symbols.extend(all_symbols(session, name).await?);
        }
        let read = read.get(name).unwrap_or(&nothing);
        let mut of_table = TableBars::new(session, name, &tables[name].0, read, symbols);
        let reach = reach_of(&total, name);
        let mut of_changes = of_table.affected(&changed.ranges, reach).await?;
        if crosses {
            // Others are affected at these times, and through their own bars around them.
            let times = of_changes.symbols().flat_map(|(_, times)| times.iter().cloned()).collect();
            of_changes = of_table.affected(&Ranges::everywhere(times), reach).await?;
        }
        affected.extend(&of_changes);
        bars.insert(name, of_table);
    }
    let mut needed = BTreeMap::new();
    for name in tables.keys() {
        let reach = reach_of(&total, name);
        let symbols: BTreeSet<String> = match crosses {
            true => all_symbols(session, name).await?,
            false => affected.symbols().map(|(symbol, _)| symbol.to_string()).collect(),
        };
        let read = read.get(name).unwrap_or(&nothing);
        let mut known = match bars.remove(name.as_str()) {
            Some(known) if known.has(&symbols) => known,
            _ => TableBars::new(session, name, &tables[name].0, read, symbols),
        };
        let rows = match crosses {
            true => Ranges::everywhere(affected.symbols().flat_map(|(_, times)| times.iter().cloned()).collect()),
            false => affected.clone(),
        };
        needed.insert(name.clone(), Arc::new(known.needed(&rows, reach).await?));
    }
    let columns = found.columns.iter().filter(|(_, sources)| sources.furthest().back == Bars::Unbounded);
    let whole_history = columns.map(|(name, _)| name.clone()).collect();
    Ok(Extent::Ranges { affected: Arc::new(affected), needed, whole_history })
}

fn reach_of(total: &Sources, table: &str) -> Reach {
    let found = total.tables().find(|(name, _)| *name == table).map(|(_, reach)| reach);
    found.unwrap_or(Reach::NONE)
}

async fn all_symbols(session: &Session, table: &str) -> Result<BTreeSet<String>> {
    let table = table.to_string();
    let symbols = session.on_lake(move |lake| async move { lake.symbols(&table).await }).await?;
    Ok(symbols.map(|symbols| symbols.as_ref().clone()).unwrap_or_default())
}
