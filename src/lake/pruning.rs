//! Pruning: the symbols and the span of time to which plain filters restrict a table.

use super::profile::Run;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use std::collections::BTreeSet;
use std::sync::Arc;
use tallow_common::Ranges;
use tallow_common::time::timestamp_type;

/// The rows that a query can need.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Selection {
    /// These symbols only.
    pub symbols: Option<BTreeSet<String>>,
    /// From and to these times, both included.
    pub from: i64,
    pub to: i64,
    /// Those in these ranges only.
    pub ranges: Option<Arc<Ranges>>,
}

impl Default for Selection {
    fn default() -> Self {
        Selection { symbols: None, from: i64::MIN, to: i64::MAX, ranges: None }
    }
}

impl Selection {
    /// The rows that pass these filters, and maybe others; without `times`, filters on the time are not used.
    pub fn of_filters(filters: &[Expr], times: bool) -> Selection {
        let mut selection = Selection { symbols: selected_symbols(filters), ..Selection::default() };
        if times {
            filters.iter().for_each(|filter| narrow_times(filter, &mut selection));
        }
        selection
    }

    /// Whether a run may hold any of these rows.
    pub fn touches(&self, run: &Run) -> bool {
        let named = |symbols: &BTreeSet<String>| match &run.through {
            None => symbols.contains(&run.symbol),
            Some(last) => symbols.range(run.symbol.clone()..=last.clone()).next().is_some(),
        };
        let inside = |ranges: &Arc<Ranges>| {
            ranges.touches((&run.symbol, run.last_symbol()), &(run.first..run.last.saturating_add(1)))
        };
        run.first <= self.to
            && run.last >= self.from
            && self.symbols.as_ref().is_none_or(named)
            && self.ranges.as_ref().is_none_or(inside)
    }
}

/// Narrows the span by what a filter says of the time: a comparison of `ts` with a literal, or several with AND.
fn narrow_times(filter: &Expr, selection: &mut Selection) {
    let is_ts = |e: &Expr| matches!(e, Expr::Column(c) if c.name == "ts");
    let micros = |e: &Expr| match e {
        Expr::Literal(value, _) => match value.cast_to(&timestamp_type()) {
            Ok(ScalarValue::TimestampMicrosecond(at, _)) => at,
            _ => None,
        },
        _ => None,
    };
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            narrow_times(left, selection);
            narrow_times(right, selection);
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (op, at) = match (is_ts(left), is_ts(right)) {
                (true, false) => (Some(*op), micros(right)),
                (false, true) => (op.swap(), micros(left)),
                _ => return,
            };
            let Some(at) = at else { return };
            match op {
                Some(Operator::Eq) => (selection.from, selection.to) = (selection.from.max(at), selection.to.min(at)),
                Some(Operator::Gt | Operator::GtEq) => selection.from = selection.from.max(at),
                Some(Operator::Lt | Operator::LtEq) => selection.to = selection.to.min(at),
                _ => {}
            }
        }
        Expr::Between(between) if !between.negated && is_ts(&between.expr) => {
            selection.from = selection.from.max(micros(&between.low).unwrap_or(i64::MIN));
            selection.to = selection.to.min(micros(&between.high).unwrap_or(i64::MAX));
        }
        _ => {}
    }
}

/// The symbols to which filters restrict the rows by `=` or `IN`.
fn selected_symbols(filters: &[Expr]) -> Option<BTreeSet<String>> {
    let mut selection: Option<BTreeSet<String>> = None;
    for set in filters.iter().filter_map(symbols_of) {
        selection = Some(match selection {
            Some(so_far) => so_far.intersection(&set).cloned().collect(),
            None => set,
        });
    }
    selection
}

fn symbols_of(filter: &Expr) -> Option<BTreeSet<String>> {
    let is_symbol = |e: &Expr| matches!(e, Expr::Column(c) if c.name == "symbol");
    let text = |e: &Expr| match e {
        Expr::Literal(value, _) => value.try_as_str().flatten().map(str::to_string),
        _ => None,
    };
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) if is_symbol(left) => {
            text(right).map(|s| BTreeSet::from([s]))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) if is_symbol(right) => {
            text(left).map(|s| BTreeSet::from([s]))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let (mut a, b) = (symbols_of(left)?, symbols_of(right)?);
            a.extend(b);
            Some(a)
        }
        Expr::InList(list) if !list.negated && is_symbol(&list.expr) => list.list.iter().map(text).collect(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::prelude::{col, lit};

    #[test]
    fn a_run_of_several_symbols_is_read_if_one_of_them_is_selected() {
        let run = Run { through: Some("F".to_string()), symbols: 3, ..Run::of("B", 0, 10, 20) };
        let selection = |s: &str| Selection { symbols: Some(BTreeSet::from([s.to_string()])), ..Selection::default() };
        assert!(selection("B").touches(&run) && selection("C").touches(&run) && selection("F").touches(&run));
        assert!(!selection("A").touches(&run) && !selection("G").touches(&run));
        assert!(Selection { from: 20, ..Selection::default() }.touches(&run));
        assert!(!Selection { from: 21, ..Selection::default() }.touches(&run));
        assert!(!Selection { to: 9, ..Selection::default() }.touches(&run));
        let ranges = |symbol: &str, times: std::ops::Range<i64>| {
            let mut ranges = Ranges::default();
            ranges.add(symbol, &[times].into_iter().collect());
            Selection { ranges: Some(Arc::new(ranges)), ..Selection::default() }
        };
        assert!(ranges("C", 20..30).touches(&run) && !ranges("C", 21..30).touches(&run));
        assert!(!ranges("G", 10..20).touches(&run));
    }

    #[test]
    fn plain_filters_are_understood() {
        let at = |micros| lit(ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into())));
        let filters = [
            col("symbol").in_list(vec![lit("B"), lit("A")], false),
            col("ts").gt_eq(at(5)).and(at(9).gt(col("ts"))),
            col("ts").between(at(6), at(100)),
            col("close").gt(lit(1.0)),
        ];
        let selection = Selection::of_filters(&filters, true);
        let symbols = BTreeSet::from(["A".to_string(), "B".to_string()]);
        assert_eq!(selection, Selection { symbols: Some(symbols), from: 6, to: 9, ranges: None });
        assert_eq!(Selection::of_filters(&filters[1..], false), Selection::default());
        // What is not plain leaves everything.
        assert_eq!(
            Selection::of_filters(&[col("symbol").gt(lit("A")), !col("ts").eq(at(1))], true),
            Selection::default()
        );
    }
}
