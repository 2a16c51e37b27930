//! How matches are arranged: ranked, grouped, ordered and limited.

use super::{Group, Scan, named};
use datafusion::functions_aggregate::expr_fn::{count, max, min};
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::{Expr, ExprFunctionExt, col, lit};
use datafusion::prelude::DataFrame;
use tallow_common::Result;

/// The column with the place of a match in its group.
const PLACE: &str = "(place)";

impl Scan {
    /// Ranked, grouped, ordered and limited.
    pub(super) fn arranged(&self, matches: DataFrame) -> Result<DataFrame> {
        let newest_first = || vec![col("ts").sort(false, false), col("symbol").sort(true, false)];
        let best = self.ranked()?.map(|rank| named(&rank.by.to_string()).sort(!rank.descending, false));
        let frame = match (self.group, best) {
            (None, None) => matches.sort(newest_first())?,
            (None, Some(best)) => matches.sort([vec![best], newest_first()].concat())?,
            (Some(group), Some(best)) => {
                let (key, order) = match group {
                    Group::Date => (col("ts"), col("ts").sort(false, false)),
                    Group::Symbol => (col("symbol"), col("symbol").sort(true, false)),
                };
                let names: Vec<_> = matches.schema().columns().into_iter().map(Expr::Column).collect();
                let by = [vec![best], newest_first()].concat();
                let place = row_number().partition_by(vec![key]).order_by(by).build()?.alias(PLACE);
                let placed = matches.window(vec![place])?;
                let top = self.top.map_or(u64::MAX, |n| n as u64);
                let placed = placed.filter(named(PLACE).lt_eq(lit(top)))?;
                return Ok(placed.sort(vec![order, named(PLACE).sort(true, false)])?.select(names)?);
            }
            (Some(Group::Date), None) => matches
                .aggregate(vec![col("ts")], vec![count(lit(1)).alias("matches")])?
                .sort(vec![col("ts").sort(false, false)])?,
            (Some(Group::Symbol), None) => {
                let counts =
                    vec![count(lit(1)).alias("matches"), min(col("ts")).alias("first"), max(col("ts")).alias("last")];
                let order = vec![col("matches").sort(false, false), col("symbol").sort(true, false)];
                matches.aggregate(vec![col("symbol")], counts)?.sort(order)?
            }
        };
        Ok(match self.top {
            Some(top) => frame.limit(0, Some(top))?,
            None => frame,
        })
    }
}
