//! How far the columns of a plan look into the past and the future.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{
    Expr, LogicalPlan, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
};
use tallow_udfs::series::{Bars, Reach, SeriesWindow};

/// The reach of a plan's result.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanReach {
    /// For every output column, how far its value looks.
    pub columns: Vec<(String, Reach)>,
    /// How far the decision looks whether a row is there at all: filters and QUALIFY.
    pub rows: Reach,
}

impl PlanReach {
    /// The reach of everything together.
    pub fn total(&self) -> Reach {
        self.columns.iter().fold(self.rows, |all, (_, reach)| all.and(*reach))
    }
}

const UNKNOWN: Reach = Reach { back: Bars::Unbounded, ahead: Bars::Unbounded };

/// Composes the reach of every output column of a plan, in bars of the table it reads.
pub fn reach(plan: &LogicalPlan) -> PlanReach {
    let names = plan.schema().fields().iter().map(|f| f.name().clone());
    let (columns, rows) = of_plan(plan);
    PlanReach { columns: names.zip(columns).collect(), rows }
}

fn of_plan(plan: &LogicalPlan) -> (Vec<Reach>, Reach) {
    let width = plan.schema().fields().len();
    match plan {
        LogicalPlan::TableScan(_) | LogicalPlan::Values(_) | LogicalPlan::EmptyRelation(_) => {
            (vec![Reach::NONE; width], Reach::NONE)
        }
        LogicalPlan::Projection(p) => {
            let (below, rows) = of_plan(&p.input);
            (p.expr.iter().map(|e| of_expr(e, p.input.schema(), &below)).collect(), rows)
        }
        LogicalPlan::Filter(f) => {
            let (below, rows) = of_plan(&f.input);
            let predicate = of_expr(&f.predicate, f.input.schema(), &below);
            (below, rows.and(predicate))
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
            let results = a.aggr_expr.iter().map(|e| if by_time { of(e) } else { UNKNOWN });
            (groups.chain(results).collect(), if by_time { rows } else { UNKNOWN })
        }
        LogicalPlan::Join(join) => {
            let ((left, a), (right, b)) = (of_plan(&join.left), of_plan(&join.right));
            let columns: Vec<Reach> = left.into_iter().chain(right).take(width).collect();
            (columns, a.and(b))
        }
        LogicalPlan::Union(union) => union
            .inputs
            .iter()
            .map(|input| of_plan(input))
            .reduce(|(a, x), (b, y)| (a.into_iter().zip(b).map(|(a, b)| a.and(b)).collect(), x.and(y)))
            .unwrap_or((vec![], Reach::NONE)),
        LogicalPlan::Subquery(s) => of_plan(&s.subquery),
        // Operators that choose or order rows and leave the values alone.
        LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Repartition(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Distinct(_) => plan.inputs().first().map_or((vec![], Reach::NONE), |input| of_plan(input)),
        _ => (vec![UNKNOWN; width], UNKNOWN),
    }
}

fn is_time(expr: &Expr) -> bool {
    matches!(expr.clone().unalias(), Expr::Column(c) if c.name == "ts")
}

/// The reach of an expression whose columns have the reaches `below`.
fn of_expr(expr: &Expr, schema: &DFSchema, below: &[Reach]) -> Reach {
    let mut total = Reach::NONE;
    let _ = expr.apply(|node| {
        match node {
            Expr::WindowFunction(call) => {
                total = total.and(of_window(call, schema, below));
                return Ok(TreeNodeRecursion::Jump);
            }
            Expr::Column(column) => {
                let reach = schema.index_of_column(column).ok().and_then(|i| below.get(i)).copied();
                total = total.and(reach.unwrap_or(UNKNOWN));
            }
            Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) => total = UNKNOWN,
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    });
    total
}

fn of_window(call: &WindowFunction, schema: &DFSchema, below: &[Reach]) -> Reach {
    let params = &call.params;
    let args = params.args.iter().fold(Reach::NONE, |all, e| all.and(of_expr(e, schema, below)));
    let keys = params.order_by.iter().map(|s| &s.expr).chain(&params.partition_by);
    let args = keys.fold(args, |all, e| all.and(of_expr(e, schema, below)));
    // Over the symbols of one instant.
    if params.partition_by.iter().any(is_time) {
        return args;
    }
    let own = match &call.fun {
        WindowFunctionDefinition::WindowUDF(udf) => match udf.inner().downcast_ref::<SeriesWindow>() {
            Some(series) => series.params(&params.args).map_or(UNKNOWN, |p| series.function().reach(&p)),
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
    own.over(args)
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
