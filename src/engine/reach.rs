//! How far the columns of a plan look into the past and the future, in bars of each table that they come from.

use super::asof::AsofJoin;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{
    Expr, LogicalPlan, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
};
use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};
use tallow_udfs::series::{Bars, Reach, SeriesWindow};

/// For each table that a value comes from, how many of its bars the value looks back and ahead.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sources(BTreeMap<String, Reach>);

/// The reach of a plan's result.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanReach {
    /// For every output column, how far its value looks.
    pub columns: Vec<(String, Sources)>,
    /// How far the decision looks whether a row is there at all: filters and QUALIFY.
    pub rows: Sources,
}

impl PlanReach {
    /// The reach of everything together.
    pub fn total(&self) -> Sources {
        self.columns.iter().fold(self.rows.clone(), |all, (_, sources)| all.and(sources))
    }
}

impl Sources {
    fn table(name: &str) -> Sources {
        Sources([(name.to_string(), Reach::NONE)].into())
    }

    /// The tables.
    pub fn tables(&self) -> impl Iterator<Item = (&str, Reach)> {
        self.0.iter().map(|(name, reach)| (name.as_str(), *reach))
    }

    /// The furthest of all tables.
    pub fn furthest(&self) -> Reach {
        self.0.values().fold(Reach::NONE, |all, reach| all.and(*reach))
    }

    /// What an expression reads that uses both.
    pub fn and(mut self, other: &Sources) -> Sources {
        for (name, reach) in &other.0 {
            let known = self.0.entry(name.clone()).or_insert(Reach::NONE);
            *known = known.and(*reach);
        }
        self
    }

    /// What a function reads that is applied to this.
    fn under(mut self, own: Reach) -> Sources {
        for reach in self.0.values_mut() {
            *reach = own.over(*reach);
        }
        self
    }

    fn unknown(self) -> Sources {
        self.under(UNKNOWN)
    }
}

impl Display for Sources {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let reach = self.furthest();
        write!(f, "{:>8} {:>8}", reach.back.to_string(), reach.ahead.to_string())?;
        if self.0.len() > 1 {
            let each = self.0.iter().map(|(name, r)| format!("{name} {} {}", r.back, r.ahead));
            write!(f, "   ({})", each.collect::<Vec<_>>().join(", "))?;
        }
        Ok(())
    }
}

const UNKNOWN: Reach = Reach { back: Bars::Unbounded, ahead: Bars::Unbounded };

/// Composes the reach of every output column of a plan.
pub fn reach(plan: &LogicalPlan) -> PlanReach {
    let names = plan.schema().fields().iter().map(|f| f.name().clone());
    let (columns, rows) = of_plan(plan);
    PlanReach { columns: names.zip(columns).collect(), rows }
}

fn of_plan(plan: &LogicalPlan) -> (Vec<Sources>, Sources) {
    let width = plan.schema().fields().len();
    match plan {
        LogicalPlan::TableScan(scan) => {
            let table = Sources::table(scan.table_name.table());
            (vec![table.clone(); width], table)
        }
        LogicalPlan::Values(_) | LogicalPlan::EmptyRelation(_) => (vec![Sources::default(); width], Sources::default()),
        LogicalPlan::Projection(p) => {
            let (below, rows) = of_plan(&p.input);
            (p.expr.iter().map(|e| of_expr(e, p.input.schema(), &below)).collect(), rows)
        }
        LogicalPlan::Filter(f) => {
            let (below, rows) = of_plan(&f.input);
            let predicate = of_expr(&f.predicate, f.input.schema(), &below);
            (below, rows.and(&predicate))
        }
        LogicalPlan::Window(w) => {
            let (mut columns, rows) = of_plan(&w.input);
            let calls = w.window_expr.iter().map(|e| of_expr(e, w.input.schema(), &columns)).collect::<Vec<_>>();
            columns.extend(calls);
            (columns, rows)
        }
        LogicalPlan::Aggregate(a) => {
            let (below, rows) = of_plan(&a.input);
            let of = |e: &Expr| of_expr(e, a.input.schema(), &below);
            // Grouped by time, an aggregate is a cross-section of one instant; otherwise it sees every bar.
            let by_time = a.group_expr.iter().any(is_time);
            let groups = a.group_expr.iter().map(of);
            let results = a.aggr_expr.iter().map(|e| if by_time { of(e) } else { of(e).and(&rows).unknown() });
            let columns = groups.chain(results).collect();
            (columns, if by_time { rows } else { rows.unknown() })
        }
        LogicalPlan::Join(join) => {
            let ((left, a), (right, b)) = (of_plan(&join.left), of_plan(&join.right));
            (left.into_iter().chain(right).take(width).collect(), a.and(&b))
        }
        // Which right row is nearest depends on that input's rows, but not on whether a left row is there.
        LogicalPlan::Extension(extension) => {
            match (extension.node.as_any().is::<AsofJoin>(), extension.node.inputs().as_slice()) {
                (true, [left, right]) => {
                    let ((left, rows), (right, _)) = (of_plan(left), of_plan(right));
                    (left.into_iter().chain(right).collect(), rows)
                }
                (false, [input]) if input.schema().fields().len() == width => of_plan(input),
                _ => unknown(plan),
            }
        }
        LogicalPlan::Union(union) => union
            .inputs
            .iter()
            .map(|input| of_plan(input))
            .reduce(|(a, x), (b, y)| (a.into_iter().zip(&b).map(|(a, b)| a.and(b)).collect(), x.and(&y)))
            .unwrap_or_default(),
        LogicalPlan::Subquery(s) => of_plan(&s.subquery),
        // Operators that choose or order rows and leave the values alone.
        LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Repartition(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Distinct(_) => plan.inputs().first().map_or_else(Default::default, |input| of_plan(input)),
        _ => unknown(plan),
    }
}

/// A plan of which only the tables are known.
fn unknown(plan: &LogicalPlan) -> (Vec<Sources>, Sources) {
    let mut all = Sources::default();
    let _ = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            all = std::mem::take(&mut all).and(&Sources::table(scan.table_name.table()));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    let all = all.unknown();
    (vec![all.clone(); plan.schema().fields().len()], all)
}

fn is_time(expr: &Expr) -> bool {
    matches!(expr.clone().unalias(), Expr::Column(c) if c.name == "ts")
}

/// The reach of an expression whose columns have the reaches `below`.
fn of_expr(expr: &Expr, schema: &DFSchema, below: &[Sources]) -> Sources {
    let mut total = Sources::default();
    let _ = expr.apply(|node| {
        let more = match node {
            Expr::WindowFunction(call) => {
                total = std::mem::take(&mut total).and(&of_window(call, schema, below));
                return Ok(TreeNodeRecursion::Jump);
            }
            Expr::Column(column) => schema.index_of_column(column).ok().and_then(|i| below.get(i)).cloned(),
            Expr::ScalarSubquery(subquery) => Some(unknown(&subquery.subquery).1),
            Expr::InSubquery(within) => Some(unknown(&within.subquery.subquery).1),
            Expr::Exists(exists) => Some(unknown(&exists.subquery.subquery).1),
            _ => None,
        };
        if let Some(more) = more {
            total = std::mem::take(&mut total).and(&more);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    total
}

fn of_window(call: &WindowFunction, schema: &DFSchema, below: &[Sources]) -> Sources {
    let params = &call.params;
    let keys = params.order_by.iter().map(|s| &s.expr).chain(&params.partition_by);
    let all = params.args.iter().chain(keys);
    let args = all.fold(Sources::default(), |all, e| all.and(&of_expr(e, schema, below)));
    // Over the symbols of one instant.
    if params.partition_by.iter().any(is_time) {
        return args;
    }
    let own = match &call.fun {
        WindowFunctionDefinition::WindowUDF(udf) => match udf.inner().downcast_ref::<SeriesWindow>() {
            Some(series) => of_series(series, &params.args),
            None => match (udf.name(), offset(&params.args)) {
                ("lag", Some(n)) | ("lead", Some(n)) => {
                    let past = (udf.name() == "lag") == (n >= 0);
                    let bars = Bars::Count(usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX));
                    let none = Bars::Count(0);
                    if past { Reach { back: bars, ahead: none } } else { Reach { back: none, ahead: bars } }
                }
                ("row_number" | "rank" | "dense_rank", _) => Reach::history(),
                ("first_value" | "last_value" | "nth_value", _) => of_frame(&params.window_frame),
                _ => UNKNOWN,
            },
        },
        WindowFunctionDefinition::AggregateUDF(_) => of_frame(&params.window_frame),
    };
    args.under(own)
}

/// The reach of a series function. Where its rows are smaller bars, how many of them make up its horizon is not known.
fn of_series(series: &SeriesWindow, args: &[Expr]) -> Reach {
    let reach = series.params(args).map_or(UNKNOWN, |p| series.function().reach(&p));
    let signature = series.function().signature();
    let options = args.iter().skip(signature.inputs.len() + signature.params.len()).zip(&signature.options);
    let mut given = options.filter(|(arg, _)| !matches!(arg, Expr::Literal(value, _) if value.is_null()));
    if given.any(|(_, option)| option.name == "label_ts") && reach.ahead > Bars::Count(0) {
        return Reach { ahead: Bars::Unbounded, ..reach };
    }
    reach
}

/// The offset of `lag(x, n)`: 1 where it is left out.
fn offset(args: &[Expr]) -> Option<i64> {
    match args.get(1) {
        None => Some(1),
        Some(Expr::Literal(value, _)) => match value.cast_to(&arrow::datatypes::DataType::Int64) {
            Ok(ScalarValue::Int64(n)) => n,
            _ => None,
        },
        Some(Expr::Negative(inner)) => offset(&[inner.as_ref().clone(), inner.as_ref().clone()]).map(|n| -n),
        _ => None,
    }
}

fn of_frame(frame: &WindowFrame) -> Reach {
    // RANGE counts time, not bars: how many bars that is depends on the data.
    let rows = frame.units == WindowFrameUnits::Rows;
    let count = |value: &ScalarValue| match value.cast_to(&arrow::datatypes::DataType::UInt64) {
        Ok(ScalarValue::UInt64(Some(n))) if rows => Bars::Count(usize::try_from(n).unwrap_or(usize::MAX)),
        _ => Bars::Unbounded,
    };
    let back = match &frame.start_bound {
        WindowFrameBound::Preceding(n) => count(n),
        _ => Bars::Count(0),
    };
    let ahead = match &frame.end_bound {
        WindowFrameBound::Following(n) => count(n),
        _ => Bars::Count(0),
    };
    Reach { back, ahead }
}
