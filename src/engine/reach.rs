//! How far the columns of a plan look into the past and the future, in bars of each table that they come from.

use super::asof::AsofJoin;
use super::node::{self, NodeReach};
use arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, JoinType, Result, ScalarValue};
use datafusion::logical_expr::expr::{WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    Expr, Join, LogicalPlan, Operator, UserDefinedLogicalNode, WindowFrame, WindowFrameBound, WindowFrameUnits,
    WindowFunctionDefinition, WindowUDF,
};
use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};
use tallow_udfs::rolling::LagBars;
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
    /// Whether the result's column `ts` is the time of a table's bars, unchanged.
    pub is_of_bars: bool,
}

impl PlanReach {
    /// The reach of everything together.
    pub fn total(&self) -> Sources {
        self.columns.iter().fold(self.rows.clone(), |all, (_, sources)| all.and(sources))
    }
}

/// What is known of the rows of a plan.
#[derive(Debug, Clone, Default)]
struct Shape {
    /// For every column, how far its value looks.
    columns: Vec<Sources>,
    /// Which columns are the time of a table's bars, unchanged.
    times: Vec<bool>,
    /// What is known of the values of every column.
    values: Vec<Values>,
    /// How far the decision looks whether a row is there.
    rows: Sources,
    /// Whether rows in between may be missing, so that a row before is not the bar before.
    has_gaps: bool,
    /// Whether rows are bars made of smaller ones: what is said of them holds at their end, not at their time.
    at_end: bool,
    /// Which columns are where such a bar begins or ends.
    edges: Vec<Option<Edge>>,
}

/// What is known of a column's values, beyond how far they look. A series function passes over bars without a value, and
/// some forget their start only as their input moves: how many bars that takes is known of some columns only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Values {
    /// Any bar may be without one.
    #[default]
    Patchy,
    /// One at every bar after the warm-up at which the table's columns have theirs, but it may stay the same for long.
    Complete,
    /// A table's own column, or one that moves whenever that does.
    Stored,
}

impl Values {
    /// Those of a table's column. Of others than numbers and times nobody counts where they are missing, or move.
    fn stored(data_type: &DataType) -> Values {
        let is_counted = data_type.is_numeric() || matches!(data_type, DataType::Timestamp(_, _));
        if is_counted { Values::Stored } else { Values::Patchy }
    }
}

/// The beginning or the end of bars on a grid, told by the arguments of `bar_floor`.
#[derive(Debug, Clone, PartialEq)]
enum Edge {
    Floor(String),
    End(String),
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
    told(plan, of_plan(plan).settled())
}

/// As [`reach`], of rows that may themselves be bars made of smaller ones: what holds when they end.
pub fn reach_at_end(plan: &LogicalPlan) -> PlanReach {
    told(plan, of_plan(plan))
}

fn told(plan: &LogicalPlan, shape: Shape) -> PlanReach {
    let fields = plan.schema().fields();
    let is_of_bars = fields.iter().zip(&shape.times).any(|(f, is_time)| f.name() == "ts" && *is_time);
    let columns = fields.iter().map(|f| f.name().clone()).zip(shape.columns).collect();
    PlanReach { columns, rows: shape.rows, is_of_bars }
}

fn of_plan(plan: &LogicalPlan) -> Shape {
    let width = plan.schema().fields().len();
    match plan {
        LogicalPlan::TableScan(scan) => {
            let table = Sources::table(scan.table_name.table());
            let times = plan.schema().fields().iter().map(|f| f.name() == "ts").collect();
            let values = plan.schema().fields().iter().map(|f| Values::stored(f.data_type())).collect();
            Shape { columns: vec![table.clone(); width], times, values, rows: table, ..Shape::default() }
        }
        LogicalPlan::Values(_) | LogicalPlan::EmptyRelation(_) => {
            Shape { columns: vec![Sources::default(); width], times: vec![false; width], ..Shape::default() }
        }
        LogicalPlan::Projection(p) => {
            let below = of_plan(&p.input);
            let is_time = |e: &Expr| below.is_time(e, p.input.schema());
            Shape {
                columns: p.expr.iter().map(|e| below.of(e, p.input.schema())).collect(),
                times: p.expr.iter().map(is_time).collect(),
                values: p.expr.iter().map(|e| below.values(e, p.input.schema())).collect(),
                edges: p.expr.iter().map(|e| below.edge(e, p.input.schema())).collect(),
                ..below
            }
        }
        LogicalPlan::Filter(f) => {
            let mut shape = of_plan(&f.input);
            let predicate = shape.of(&f.predicate, f.input.schema());
            shape.has_gaps |= !split_conjunction(&f.predicate).iter().all(|e| keeps_runs(e));
            shape.rows = shape.rows.and(&predicate);
            shape
        }
        LogicalPlan::Window(w) => {
            let mut shape = of_plan(&w.input);
            let calls = w.window_expr.iter().map(|e| shape.of(e, w.input.schema())).collect::<Vec<_>>();
            let values = w.window_expr.iter().map(|e| shape.values(e, w.input.schema())).collect::<Vec<_>>();
            shape.times.extend(calls.iter().map(|_| false));
            shape.columns.extend(calls);
            shape.values.resize(w.input.schema().fields().len(), Values::Patchy);
            shape.values.extend(values);
            shape
        }
        LogicalPlan::Aggregate(a) => {
            let below = of_plan(&a.input);
            if let Some(bars) = below.gathered(&a.group_expr, &a.aggr_expr, a.input.schema(), width) {
                return bars;
            }
            let below = below.settled();
            let of = |e: &Expr| below.of(e, a.input.schema());
            let is_time = |e: &Expr| below.is_time(e, a.input.schema());
            // Grouped by time, an aggregate is a cross-section of one instant; otherwise it sees every bar.
            let by_time = a.group_expr.iter().any(is_time);
            let groups = a.group_expr.iter().map(of);
            let results = a.aggr_expr.iter().map(|e| if by_time { of(e) } else { of(e).and(&below.rows).unknown() });
            let mut times: Vec<bool> = a.group_expr.iter().map(is_time).collect();
            times.resize(width, false);
            let rows = if by_time { below.rows.clone() } else { below.rows.clone().unknown() };
            let columns = groups.chain(results).collect();
            Shape { columns, times, rows, has_gaps: below.has_gaps, ..Shape::default() }
        }
        LogicalPlan::Join(join) => joined(of_plan(&join.left).settled(), of_plan(&join.right).settled(), join, width),
        LogicalPlan::Extension(extension) => of_extension(plan, extension.node.as_ref(), width),
        LogicalPlan::Union(union) => {
            let parts: Vec<Shape> = union.inputs.iter().map(|input| of_plan(input)).collect();
            let edges = common_edges(&parts, width);
            let (parts, at_end) = match edges {
                Some(_) => (parts, true),
                None => (parts.into_iter().map(Shape::settled).collect(), false),
            };
            let whole = parts.into_iter().reduce(|a, b| Shape {
                columns: a.columns.into_iter().zip(&b.columns).map(|(a, b)| a.and(b)).collect(),
                times: a.times.iter().zip(&b.times).map(|(a, b)| *a && *b).collect(),
                rows: a.rows.and(&b.rows),
                has_gaps: true,
                ..Shape::default()
            });
            let whole = whole.map(|whole| Shape { at_end, edges: edges.unwrap_or_default(), ..whole });
            whole.unwrap_or_default()
        }
        LogicalPlan::Subquery(s) => of_plan(&s.subquery),
        LogicalPlan::Limit(_) | LogicalPlan::Distinct(_) => {
            let below = plan.inputs().first().map_or_else(Default::default, |input| of_plan(input));
            Shape { has_gaps: true, ..below }
        }
        // Operators that order rows and leave the values alone.
        LogicalPlan::Sort(_) | LogicalPlan::Repartition(_) | LogicalPlan::SubqueryAlias(_) => {
            plan.inputs().first().map_or_else(Default::default, |input| of_plan(input))
        }
        _ => unknown(plan),
    }
}

/// Whether a series function in a plan forgets its start only as its inputs move.
pub fn fades_by_movement(plan: &LogicalPlan) -> Result<bool> {
    let fades = |e: &Expr| {
        let Expr::WindowFunction(call) = e else { return Ok(false) };
        let WindowFunctionDefinition::WindowUDF(udf) = &call.fun else { return Ok(false) };
        let Some(series) = udf.inner().downcast_ref::<SeriesWindow>() else { return Ok(false) };
        Ok(series.function().fades_by_movement(&series.params(&call.params.args)?))
    };
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        for expr in node.expressions() {
            found = found || expr.exists(fades)?;
        }
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// A node that DataFusion does not know: of those that do not state how far they look, nothing is known.
fn of_extension(plan: &LogicalPlan, node: &dyn UserDefinedLogicalNode, width: usize) -> Shape {
    let stated = node::reach(node);
    match (node.as_any().downcast_ref::<AsofJoin>(), node.inputs().as_slice()) {
        (Some(asof), [left, right]) => asof_joined(asof, left, right, width),
        (None, [input]) if stated == Some(NodeReach::OfInput) && input.schema().fields().len() == width => {
            of_plan(input)
        }
        _ => unknown(plan),
    }
}

/// An as-of join: every left row, with the nearest of the right rows.
fn asof_joined(asof: &AsofJoin, left: &LogicalPlan, below: &LogicalPlan, width: usize) -> Shape {
    let (mut left, right) = (of_plan(left), of_plan(below));
    // Matched by their end, bars made of smaller ones had ended.
    let ended = matches!(right.edge(&asof.matching.2, below.schema()), Some(Edge::End(_)));
    let right = if ended && asof.looks_back() { right } else { right.settled() };
    let away = asof.reach();
    left.times.extend(right.times.iter().map(|_| false));
    left.edges.resize(width, None);
    left.columns.extend(right.columns.into_iter().map(|c| c.under(away)));
    left
}

/// A join: bars with bars of the same time, or with rows that are no bars; else nothing is known of the right side.
fn joined(left: Shape, right: Shape, join: &Join, width: usize) -> Shape {
    let both_bars = left.times.contains(&true) && right.times.contains(&true);
    let of_one_time =
        join.on.iter().any(|(l, r)| left.is_time(l, join.left.schema()) && right.is_time(r, join.right.schema()));
    let known = !both_bars || of_one_time;
    let keeps_left = matches!(join.join_type, JoinType::Left) && of_one_time;
    let right_columns = right.columns.into_iter().map(|c| if known { c } else { c.unknown() });
    let rows = left.rows.and(&right.rows);
    let right_times = right.times.into_iter().map(|t| t && of_one_time);
    let mut times: Vec<bool> = left.times.into_iter().chain(right_times).collect();
    times.resize(width, false);
    Shape {
        columns: left.columns.into_iter().chain(right_columns).take(width).collect(),
        times,
        rows: if known { rows } else { rows.unknown() },
        values: if keeps_left { left.values } else { vec![] },
        has_gaps: left.has_gaps || !keeps_left,
        ..Shape::default()
    }
}

/// Whether a filter leaves every symbol's bars without holes: it chooses symbols, or a stretch of time.
fn keeps_runs(filter: &Expr) -> bool {
    let names: Vec<String> = filter.column_refs().iter().map(|c| c.name.clone()).collect();
    let is_bound = |e: &Expr| match e {
        Expr::Between(b) => !b.negated && matches!(b.expr.as_ref(), Expr::Column(_)),
        Expr::BinaryExpr(b) => {
            let order = matches!(b.op, Operator::Gt | Operator::GtEq | Operator::Lt | Operator::LtEq);
            order && (matches!(b.left.as_ref(), Expr::Column(_)) || matches!(b.right.as_ref(), Expr::Column(_)))
        }
        _ => false,
    };
    names.iter().all(|n| n == "symbol") || names.iter().all(|n| n == "ts") && is_bound(filter)
}

/// A plan of which only the tables are known.
fn unknown(plan: &LogicalPlan) -> Shape {
    let mut all = Sources::default();
    let _ = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            all = std::mem::take(&mut all).and(&Sources::table(scan.table_name.table()));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    let all = all.unknown();
    let width = plan.schema().fields().len();
    let times = vec![false; width];
    Shape { columns: vec![all.clone(); width], times, rows: all, has_gaps: true, ..Shape::default() }
}

/// The edges of bars that are partly made of smaller ones, on one grid, and partly bars of a table.
fn common_edges(parts: &[Shape], width: usize) -> Option<Vec<Option<Edge>>> {
    let made: Vec<&Shape> = parts.iter().filter(|p| p.at_end).collect();
    let first = made.first()?;
    let edges: Vec<Option<Edge>> = (0..width).map(|i| first.edges.get(i).cloned().flatten()).collect();
    let at = edges.iter().position(Option::is_some)?;
    let alike = made.iter().all(|p| p.edges.get(at).cloned().flatten() == edges[at]);
    let others = parts.iter().filter(|p| !p.at_end).all(|p| p.times.get(at).copied().unwrap_or(false));
    (alike && others).then_some(edges)
}

/// `name(column, 'timeframe', 'origin')`: the column, and the rest.
fn grid_call<'a>(expr: &'a Expr, name: &str) -> Option<(&'a Expr, String)> {
    let Expr::ScalarFunction(call) = expr else { return None };
    let (column, grid) = call.args.split_first().filter(|_| call.name() == name)?;
    let text = |e: &Expr| match e {
        Expr::Literal(value, _) => value.try_as_str().flatten().map(str::to_string),
        _ => None,
    };
    Some((column, grid.iter().map(text).collect::<Option<Vec<_>>>()?.join(" ")))
}

impl Shape {
    /// What holds at the time of the rows: of bars made of smaller ones, nothing is known before their end.
    fn settled(self) -> Shape {
        if !self.at_end {
            return self;
        }
        Shape {
            columns: self.columns.into_iter().map(Sources::unknown).collect(),
            times: vec![false; self.times.len()],
            rows: self.rows.unknown(),
            has_gaps: self.has_gaps,
            ..Shape::default()
        }
    }

    /// Whether a column is where bars made of smaller ones begin or end.
    fn edge(&self, expr: &Expr, schema: &DFSchema) -> Option<Edge> {
        let expr = expr.clone().unalias();
        if let Expr::Column(column) = &expr {
            return self.edges.get(schema.index_of_column(column).ok()?).cloned().flatten();
        }
        if let Some((time, grid)) = grid_call(&expr, "bar_floor") {
            return self.is_time(time, schema).then_some(Edge::Floor(grid));
        }
        let (floor, grid) = grid_call(&expr, "bar_end")?;
        (self.edge(floor, schema)? == Edge::Floor(grid.clone())).then_some(Edge::End(grid))
    }

    /// Bars made of these, where the grouping is by their symbol and `bar_floor(ts, ..)`.
    fn gathered(&self, groups: &[Expr], results: &[Expr], schema: &DFSchema, width: usize) -> Option<Shape> {
        let is_floor = |e: &Expr| matches!(self.edge(e, schema), Some(Edge::Floor(_)));
        if self.at_end || !groups.iter().any(is_floor) || groups.iter().any(|e| self.is_time(e, schema)) {
            return None;
        }
        let all = groups.iter().chain(results);
        let mut edges: Vec<_> = groups.iter().map(|e| self.edge(e, schema)).collect();
        edges.resize(width, None);
        Some(Shape {
            columns: all.map(|e| self.of(e, schema).and(&self.rows).under(Reach::history())).take(width).collect(),
            times: edges.iter().map(Option::is_some).collect(),
            values: vec![],
            rows: self.rows.clone().under(Reach::history()),
            has_gaps: self.has_gaps,
            at_end: true,
            edges,
        })
    }

    fn is_time(&self, expr: &Expr, schema: &DFSchema) -> bool {
        match expr.clone().unalias() {
            Expr::Column(c) => schema.index_of_column(&c).is_ok_and(|i| self.times.get(i).copied().unwrap_or(false)),
            _ => false,
        }
    }

    /// The reach of an expression over these rows.
    fn of(&self, expr: &Expr, schema: &DFSchema) -> Sources {
        let mut total = Sources::default();
        let _ = expr.apply(|node| {
            let more = match node {
                Expr::WindowFunction(call) => {
                    total = std::mem::take(&mut total).and(&self.of_window(call, schema));
                    return Ok(TreeNodeRecursion::Jump);
                }
                Expr::Column(column) => schema.index_of_column(column).ok().and_then(|i| self.columns.get(i)).cloned(),
                Expr::ScalarSubquery(subquery) => Some(unknown(&subquery.subquery).rows),
                Expr::InSubquery(within) => Some(unknown(&within.subquery.subquery).rows),
                Expr::Exists(exists) => Some(unknown(&exists.subquery.subquery).rows),
                _ => None,
            };
            if let Some(more) = more {
                total = std::mem::take(&mut total).and(&more);
            }
            Ok(TreeNodeRecursion::Continue)
        });
        total
    }

    fn of_window(&self, call: &WindowFunction, schema: &DFSchema) -> Sources {
        let params = &call.params;
        let keys = params.order_by.iter().map(|s| &s.expr).chain(&params.partition_by);
        let all = params.args.iter().chain(keys);
        let args = all.fold(Sources::default(), |all, e| all.and(&self.of(e, schema)));
        // Over the symbols of one instant.
        if params.partition_by.iter().any(|e| self.is_time(e, schema)) {
            return args;
        }
        let own = match &call.fun {
            WindowFunctionDefinition::WindowUDF(udf) => self.of_function(udf, params, schema),
            WindowFunctionDefinition::AggregateUDF(_) => of_frame(&params.window_frame),
        };
        // Bars are counted along time; where rows are missing or ordered by something else, a row is no bar.
        let in_time = match params.order_by.as_slice() {
            [] => Some(UNKNOWN),
            [key] if !self.is_time(&key.expr, schema) => None,
            [key] if key.asc => Some(own),
            [_] => Some(Reach { back: own.ahead, ahead: own.back }),
            _ => None,
        };
        let own = in_time.unwrap_or(UNKNOWN);
        let uncountable = self.has_gaps || self.at_end;
        args.under(Reach { back: unless(uncountable, own.back), ahead: unless(uncountable, own.ahead) })
    }

    fn of_function(&self, udf: &WindowUDF, params: &WindowFunctionParams, schema: &DFSchema) -> Reach {
        if let Some(series) = udf.inner().downcast_ref::<SeriesWindow>() {
            return self.of_series(series, &params.args, schema);
        }
        if let Some(shift) = udf.inner().downcast_ref::<LagBars>() {
            let has_values = params.args.first().is_some_and(|e| self.values(e, schema) >= Values::Complete);
            let Reach { back, ahead } = shift.reach(&params.args).unwrap_or(UNKNOWN);
            return Reach { back: unless(!has_values, back), ahead: unless(!has_values, ahead) };
        }
        match (udf.name(), offset(&params.args)) {
            ("lag", Some(n)) | ("lead", Some(n)) => {
                let bars = usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX);
                if (udf.name() == "lag") == (n >= 0) { Reach::back(bars) } else { Reach::ahead(bars) }
            }
            ("row_number" | "rank" | "dense_rank", _) => Reach::history(),
            ("first_value" | "last_value" | "nth_value", _) => of_frame(&params.window_frame),
            _ => UNKNOWN,
        }
    }

    /// The reach of a series function over these rows. It counts bars at which its inputs have a value, or move: how many of
    /// the table's bars these are is not known where an input is patchy, or may stay the same for long.
    fn of_series(&self, series: &SeriesWindow, args: &[Expr], schema: &DFSchema) -> Reach {
        let function = series.function();
        let Ok(params) = series.params(args) else { return UNKNOWN };
        let Reach { back, ahead } = function.reach(&params);
        let signature = function.signature();
        let (inputs, others) = args.split_at(signature.inputs.len().min(args.len()));
        let inputs = inputs.iter().map(|e| self.values(e, schema)).min().unwrap_or(Values::Stored);
        let least = if function.fades_by_movement(&params) { Values::Stored } else { Values::Complete };
        // Where rows are smaller bars, how many of them make up a horizon is not known.
        let options = others.iter().skip(signature.params.len()).zip(&signature.options);
        let mut given = options.filter(|(arg, _)| !matches!(arg, Expr::Literal(value, _) if value.is_null()));
        let over_smaller = given.any(|(_, option)| option.name == "label_ts");
        Reach { back: unless(inputs < least, back), ahead: unless(inputs < Values::Complete || over_smaller, ahead) }
    }

    /// What is known of an expression's values.
    fn values(&self, expr: &Expr, schema: &DFSchema) -> Values {
        let of = |e: &Expr| self.values(e, schema);
        let worst = |all: &[&Expr]| all.iter().map(|e| of(e)).min().unwrap_or_default().min(Values::Complete);
        match expr {
            Expr::Column(c) => {
                schema.index_of_column(c).ok().and_then(|i| self.values.get(i)).copied().unwrap_or_default()
            }
            Expr::Literal(value, _) if !value.is_null() => Values::Complete,
            Expr::IsNull(_) | Expr::IsNotNull(_) => Values::Complete,
            Expr::Alias(alias) => of(&alias.expr),
            // Prices in whole numbers may stay the same while the prices move.
            Expr::Cast(cast) if *cast.field.data_type() == DataType::Float64 => of(&cast.expr),
            Expr::Cast(cast) => of(&cast.expr).min(Values::Complete),
            Expr::Negative(inner) | Expr::Not(inner) => of(inner),
            Expr::BinaryExpr(b) => match b.op {
                Operator::Divide | Operator::Modulo if !is_nonzero(&b.right) => Values::Patchy,
                _ => worst(&[&b.left, &b.right]),
            },
            Expr::Case(case) => {
                let results = case.when_then_expr.iter().map(|(_, then)| then).chain(&case.else_expr);
                match case.else_expr {
                    Some(_) => worst(&results.map(AsRef::as_ref).collect::<Vec<_>>()),
                    None => Values::Patchy,
                }
            }
            Expr::ScalarFunction(call) => match (call.name(), call.args.split_first()) {
                ("get_field", Some((of_struct, _))) => of(of_struct).min(Values::Complete),
                ("abs" | "round" | "floor" | "ceil" | "greatest" | "least", Some(_)) => {
                    worst(&call.args.iter().collect::<Vec<_>>())
                }
                _ => Values::Patchy,
            },
            Expr::WindowFunction(call) => match &call.fun {
                WindowFunctionDefinition::WindowUDF(udf) => match udf.inner().downcast_ref::<SeriesWindow>() {
                    Some(series) if series.function().is_total() => {
                        let inputs = series.function().signature().inputs.len();
                        worst(&call.params.args.iter().take(inputs).collect::<Vec<_>>())
                    }
                    None if udf.inner().is::<LagBars>() => worst(&call.params.args.iter().take(1).collect::<Vec<_>>()),
                    _ => Values::Patchy,
                },
                WindowFunctionDefinition::AggregateUDF(_) => Values::Patchy,
            },
            _ => Values::Patchy,
        }
    }
}

/// A number of bars; where bars cannot be counted, more than none are any number.
fn unless(uncountable: bool, bars: Bars) -> Bars {
    if uncountable && bars > Bars::Count(0) { Bars::Unbounded } else { bars }
}

fn is_nonzero(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, _) => match value.cast_to(&DataType::Float64) {
            Ok(ScalarValue::Float64(Some(v))) => v != 0.0,
            _ => false,
        },
        Expr::Cast(cast) => is_nonzero(&cast.expr),
        Expr::Negative(inner) => is_nonzero(inner),
        _ => false,
    }
}

/// The offset of `lag(x, n)`: 1 where it is left out.
fn offset(args: &[Expr]) -> Option<i64> {
    match args.get(1) {
        None => Some(1),
        Some(Expr::Literal(value, _)) => match value.cast_to(&DataType::Int64) {
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
    let count = |value: &ScalarValue| match value.cast_to(&DataType::UInt64) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{Phase, UnaryNode, above};
    use arrow::datatypes::{Field, Schema, TimeUnit};
    use datafusion::common::{DFSchemaRef, internal_err};
    use datafusion::logical_expr::logical_plan::table_scan;
    use datafusion::logical_expr::{Extension, UserDefinedLogicalNodeCore};
    use datafusion::physical_plan::ExecutionPlan;
    use std::sync::Arc;

    fn bars() -> LogicalPlan {
        let time = DataType::Timestamp(TimeUnit::Microsecond, None);
        let fields = [("symbol", DataType::Utf8), ("ts", time), ("close", DataType::Float64)];
        let schema = Schema::new(fields.map(|(name, kind)| Field::new(name, kind, true)).to_vec());
        table_scan(Some("candles"), &schema, None).unwrap().build().unwrap()
    }

    /// A node that somebody added, whose rows look like those of its input.
    #[derive(Debug, PartialEq, Eq, Hash, PartialOrd)]
    struct Foreign(LogicalPlan);

    impl UserDefinedLogicalNodeCore for Foreign {
        fn name(&self) -> &str {
            "Foreign"
        }

        fn inputs(&self) -> Vec<&LogicalPlan> {
            vec![&self.0]
        }

        fn schema(&self) -> &DFSchemaRef {
            self.0.schema()
        }

        fn expressions(&self) -> Vec<Expr> {
            vec![]
        }

        fn fmt_for_explain(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
            write!(f, "Foreign")
        }

        fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
            Ok(Foreign(inputs.remove(0)))
        }
    }

    /// A node of ours that states this.
    #[derive(Debug)]
    struct Stating(NodeReach);

    impl UnaryNode for Stating {
        fn name(&self) -> &'static str {
            "Stating"
        }

        fn describe(&self) -> String {
            "Stating".to_string()
        }

        fn schema(&self, input: &DFSchemaRef) -> Result<DFSchemaRef> {
            Ok(Arc::clone(input))
        }

        fn input_columns(&self, output: &[usize], _: &DFSchema) -> Vec<usize> {
            output.to_vec()
        }

        fn reach(&self) -> NodeReach {
            self.0
        }

        fn operator(&self, _: Phase, _: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
            internal_err!("it is not executed")
        }

        fn spec(&self) -> Result<Vec<u8>> {
            Ok(vec![])
        }
    }

    #[test]
    fn a_node_that_states_no_reach_is_not_taken_for_harmless() {
        let foreign = LogicalPlan::Extension(Extension { node: Arc::new(Foreign(bars())) });
        let of_foreign = reach(&foreign);
        assert_eq!((of_foreign.total().furthest(), of_foreign.is_of_bars), (UNKNOWN, false));
    }

    #[test]
    fn a_node_is_taken_at_its_word() {
        let of = |stated| reach(&above(bars(), Arc::new(Stating(stated))).unwrap());
        assert_eq!(of(NodeReach::OfInput), reach(&bars()));
        assert_eq!(of(NodeReach::OfInput).total().furthest(), Reach::NONE);
        assert_eq!(of(NodeReach::Unknown).total().furthest(), UNKNOWN);
    }
}
