//! How much of a result is to be computed, given what changed of the tables that it is made from.

use super::bars::TableBars;
use super::buckets::whole_bars;
use super::tables::Followed;
use super::work::Extent;
use crate::Session;
use crate::bounds::Read;
use datafusion::logical_expr::LogicalPlan;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tallow_common::{Ranges, Result};
use tallow_engine::reach::{MadeBars, PlanScope, Scope, Sources, reach, scope};
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
    // Of made bars, it is these that count; they change as a whole.
    let (counted, longer) = match MadeBars::of(plan)? {
        Some(MadeBars { plan, bars }) => (plan, Some(bars)),
        None => (plan.clone(), None),
    };
    let whole = |ranges: &Ranges| longer.as_ref().map_or_else(|| ranges.clone(), |of| whole_bars(&of.grid, ranges));
    let (found, PlanScope { scope, symbol, time }) = (reach(&counted), scope(&counted));
    let reason = match &scope {
        Scope::Market(reason) | Scope::Anything(reason) => Some(reason.clone()),
        _ if symbol.is_none() => Some("its column symbol is not that of a table".to_string()),
        _ if time.is_none() || !found.is_of_bars => Some("its column ts is not the time of a table's bars".to_string()),
        _ => None,
    };
    if let Some(reason) = reason {
        return Ok(Extent::Everything(reason));
    }
    let (total, read) = (found.total(), Read::of(plan)?);
    let crosses = scope == Scope::CrossSection;
    let mut affected = Ranges::default();
    let mut bars: BTreeMap<&str, TableBars<'_>> = BTreeMap::new();
    let nothing = Read::default();
    let bars_of = |name, read, symbols| {
        let bars = TableBars::new(session, name, &tables[name].0, read, symbols);
        match &longer {
            Some(longer) => bars.making_up(longer.clone()),
            None => bars,
        }
    };
    for (name, changed) in changes {
        let mut symbols: BTreeSet<String> = changed.ranges.symbols().map(|(symbol, _)| symbol.to_string()).collect();
        if crosses {
            symbols.extend(all_symbols(session, name).await?);
        }
        let read = read.get(name).unwrap_or(&nothing);
        let mut of_table = bars_of(name, read, symbols);
        let reach = reach_of(&total, name);
        let mut of_changes = of_table.affected(&whole(&changed.ranges), reach).await?;
        if crosses {
            // Others are affected at these times, and through their own bars around them.
            let times = of_changes.symbols().flat_map(|(_, times)| times.iter().cloned()).collect();
            of_changes = of_table.affected(&Ranges::everywhere(times), reach).await?;
        }
        affected.extend(&whole(&of_changes));
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
            _ => bars_of(name, read, symbols),
        };
        let rows = match crosses {
            true => Ranges::everywhere(affected.symbols().flat_map(|(_, times)| times.iter().cloned()).collect()),
            false => affected.clone(),
        };
        needed.insert(name.clone(), Arc::new(whole(&known.needed(&rows, reach).await?)));
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
