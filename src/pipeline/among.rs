//! Plans over some symbols only.

use super::outcome::Skipped;
use super::rows::texts;
use crate::Session;
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::prelude::DataFrame;
use std::collections::BTreeSet;
use tallow_common::{Error, Result};
use tallow_engine::dialect::closest;

/// Restricts a frame to symbols, as if its tables of bars held no others.
pub fn among(frame: DataFrame, symbols: &[String]) -> Result<DataFrame> {
    let (state, plan) = frame.into_parts();
    let restricted = plan.transform_up_with_subqueries(|node| match symbol_of_bars(&node) {
        Some(symbol) => {
            let filter = symbol.in_list(symbols.iter().map(|s| lit(s.as_str())).collect(), false);
            Ok(Transformed::yes(LogicalPlanBuilder::from(node).filter(filter)?.build()?))
        }
        None => Ok(Transformed::no(node)),
    })?;
    if !restricted.transformed {
        return Err(Error::invalid(
            "only some symbols are asked for, and no table that is read has the columns symbol and ts".to_string(),
        ));
    }
    Ok(DataFrame::new(state, restricted.data))
}

/// Symbols of which no table that a plan reads has a bar.
pub async fn absent(session: &Session, plan: &LogicalPlan, symbols: &[String]) -> Result<Vec<Skipped>> {
    let mut tables: Vec<(LogicalPlan, Expr)> = vec![];
    plan.apply_with_subqueries(|node| {
        if let Some(symbol) = symbol_of_bars(node)
            && !tables.iter().any(|(known, _)| known == node)
        {
            tables.push((node.clone(), symbol));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let mut absent: BTreeSet<&String> = symbols.iter().collect();
    for (table, symbol) in &tables {
        let chosen = symbol.clone().in_list(absent.iter().map(|s| lit(s.as_str())).collect(), false);
        let there = names(session, LogicalPlanBuilder::from(table.clone()).filter(chosen)?, symbol).await?;
        absent.retain(|symbol| !there.contains(*symbol));
        if absent.is_empty() {
            return Ok(vec![]);
        }
    }
    let mut known = BTreeSet::new();
    for (table, symbol) in &tables {
        known.extend(names(session, LogicalPlanBuilder::from(table.clone()), symbol).await?);
    }
    let skipped = |symbol: &String| {
        let similar =
            closest(symbol, known.iter().map(String::as_str)).map(|similar| format!("; did you mean {similar}?"));
        let reason = format!("no data: no table that is read has a bar of it{}", similar.unwrap_or_default());
        Skipped { symbol: symbol.clone(), reason }
    };
    Ok(absent.into_iter().map(skipped).collect())
}

/// The different symbols of a plan.
async fn names(session: &Session, plan: LogicalPlanBuilder, symbol: &Expr) -> Result<BTreeSet<String>> {
    let plan = plan.project([symbol.clone()])?.distinct()?.build()?;
    let mut names = BTreeSet::new();
    for batch in session.collect(DataFrame::new(session.context().state(), plan)).await? {
        names.extend(texts(batch.column(0))?);
    }
    Ok(names)
}

/// The column with the symbol, where a node reads a table of bars.
fn symbol_of_bars(node: &LogicalPlan) -> Option<Expr> {
    if !matches!(node, LogicalPlan::TableScan(_)) {
        return None;
    }
    let fields = node.schema().fields();
    let position = |name: &str| fields.iter().position(|f| f.name() == name);
    position("ts")?;
    let symbol = position("symbol")?;
    Some(Expr::Column(Column::from(node.schema().qualified_field(symbol))))
}
