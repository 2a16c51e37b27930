//! Whether the rows of a plan depend on bars of their own symbol only.
//!
//! Reach says how far a value looks; this says among whose bars. Together they tell what a changed bar affects: rows of its
//! symbol, rows of all symbols at that time, or, where a plan groups or orders rows in another way, all rows.

use crate::asof::AsofJoin;
use crate::node::{self, NodeReach};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, JoinType};
use datafusion::logical_expr::{Aggregate, Distinct, Expr, Join, LogicalPlan, WindowFunctionDefinition};

/// On whose bars a row depends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// On those of its symbol.
    Symbol,
    /// Also on those of other symbols at the same time: on a cross-section.
    CrossSection,
    /// On those of all symbols, in the order of time; with the reason.
    Market(String),
    /// On any; with the reason.
    Anything(String),
}

/// On whose bars the rows of a plan depend, and which of its columns say whose row it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanScope {
    /// On whose bars.
    pub scope: Scope,
    /// The column with the symbol of a table, unchanged.
    pub symbol: Option<usize>,
    /// The column with the time of a table's rows, unchanged.
    pub time: Option<usize>,
}

impl PlanScope {
    /// Whether the rows of each symbol can be computed of its bars alone.
    pub fn is_by_symbol(&self) -> bool {
        self.scope == Scope::Symbol && self.symbol.is_some()
    }
}

/// What a plan, which should be optimized, depends on.
pub fn scope(plan: &LogicalPlan) -> PlanScope {
    let traced = of(plan);
    let column = |name: &str, is_key: &[bool]| {
        let mut fields = plan.schema().fields().iter().zip(is_key);
        fields.position(|(field, is_key)| *is_key && field.name() == name)
    };
    PlanScope { symbol: column("symbol", &traced.symbols), time: column("ts", &traced.times), scope: traced.scope }
}

/// What is known of the rows of a plan.
struct Traced {
    scope: Scope,
    /// Which columns are a table's symbols, unchanged ...
    symbols: Vec<bool>,
    /// ... and its times.
    times: Vec<bool>,
}

impl Traced {
    fn is_symbol(&self, expr: &Expr, schema: &DFSchema) -> bool {
        is_flagged(expr, schema, &self.symbols)
    }

    fn is_time(&self, expr: &Expr, schema: &DFSchema) -> bool {
        is_flagged(expr, schema, &self.times)
    }

    fn widened(mut self, scope: Scope) -> Traced {
        self.scope = self.scope.max(scope);
        self
    }
}

fn is_flagged(expr: &Expr, schema: &DFSchema, flags: &[bool]) -> bool {
    match expr.clone().unalias() {
        Expr::Column(column) => {
            schema.index_of_column(&column).is_ok_and(|i| flags.get(i).copied().unwrap_or_default())
        }
        _ => false,
    }
}

fn anything(reason: impl Into<String>) -> Scope {
    Scope::Anything(reason.into())
}

fn of(plan: &LogicalPlan) -> Traced {
    let is_subquery = |e: &Expr| {
        Ok(matches!(e, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_)))
    };
    if plan.expressions().iter().any(|e| e.exists(is_subquery).unwrap_or(true)) {
        return nothing_known(plan, "it has a subquery in an expression");
    }
    match plan {
        LogicalPlan::TableScan(scan) => {
            let named = |name: &str| plan.schema().fields().iter().map(|f| f.name() == name).collect();
            let limited = scan.fetch.map_or(Scope::Symbol, |_| anything("it has a LIMIT"));
            Traced { scope: limited, symbols: named("symbol"), times: named("ts") }
        }
        LogicalPlan::Values(_) | LogicalPlan::EmptyRelation(_) => unflagged(plan, Scope::Symbol),
        LogicalPlan::Projection(projection) => {
            let (below, schema) = (of(&projection.input), projection.input.schema());
            Traced {
                symbols: projection.expr.iter().map(|e| below.is_symbol(e, schema)).collect(),
                times: projection.expr.iter().map(|e| below.is_time(e, schema)).collect(),
                scope: below.scope,
            }
        }
        LogicalPlan::Window(window) => {
            let mut below = of(&window.input);
            for expr in &window.window_expr {
                below.scope = below.scope.clone().max(of_window(expr, &below, window.input.schema()));
            }
            below.symbols.resize(plan.schema().fields().len(), false);
            below.times.resize(plan.schema().fields().len(), false);
            below
        }
        LogicalPlan::Aggregate(aggregate) => of_aggregate(plan, aggregate),
        LogicalPlan::Join(join) => of_join(plan, join),
        LogicalPlan::Union(union) => {
            let parts = union.inputs.iter().map(|input| of(input));
            let both = |a: Vec<bool>, b: Vec<bool>| a.into_iter().zip(b).map(|(a, b)| a && b).collect();
            let whole = parts.reduce(|a, b| Traced {
                scope: a.scope.max(b.scope),
                symbols: both(a.symbols, b.symbols),
                times: both(a.times, b.times),
            });
            whole.unwrap_or_else(|| unflagged(plan, Scope::Symbol))
        }
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let below = of(input);
            let is_key = below.symbols.contains(&true) && below.times.contains(&true);
            let scope = if is_key { Scope::Symbol } else { anything("DISTINCT rows have no symbol and time") };
            below.widened(scope)
        }
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => of(&sort.input),
        LogicalPlan::Filter(filter) => of(&filter.input),
        LogicalPlan::SubqueryAlias(alias) => of(&alias.input),
        LogicalPlan::Repartition(repartition) => of(&repartition.input),
        LogicalPlan::Extension(extension) => {
            let node = extension.node.as_ref();
            match (node.as_any().downcast_ref::<AsofJoin>(), node.inputs().as_slice()) {
                (Some(asof), [_, _]) => of_asof(plan, asof),
                (None, [input]) if node::reach(node) == Some(NodeReach::OfInput) => of(input),
                _ => nothing_known(plan, &format!("nothing is known of the operator {}", node.name())),
            }
        }
        LogicalPlan::Limit(_) | LogicalPlan::Sort(_) => nothing_known(plan, "it has a LIMIT"),
        _ => nothing_known(plan, &format!("nothing is known of the operator {}", operator(plan))),
    }
}

/// The first word of how an operator is shown.
fn operator(plan: &LogicalPlan) -> String {
    let shown = plan.display().to_string();
    shown.split([':', ' ']).next().unwrap_or_default().to_string()
}

fn unflagged(plan: &LogicalPlan, scope: Scope) -> Traced {
    let none = vec![false; plan.schema().fields().len()];
    Traced { scope, symbols: none.clone(), times: none }
}

fn nothing_known(plan: &LogicalPlan, reason: &str) -> Traced {
    let below = plan.inputs().into_iter().map(|input| of(input).scope).max().unwrap_or(Scope::Symbol);
    let scope = if matches!(below, Scope::Anything(_)) { below } else { anything(reason) };
    unflagged(plan, scope)
}

fn of_window(expr: &Expr, below: &Traced, schema: &DFSchema) -> Scope {
    let expr = expr.clone().unalias();
    let Expr::WindowFunction(call) = &expr else { return Scope::Symbol };
    let partition = &call.params.partition_by;
    if partition.iter().any(|e| below.is_symbol(e, schema)) {
        return Scope::Symbol;
    }
    if partition.iter().any(|e| below.is_time(e, schema)) {
        return Scope::CrossSection;
    }
    let name = match &call.fun {
        WindowFunctionDefinition::AggregateUDF(function) => function.name().to_string(),
        WindowFunctionDefinition::WindowUDF(function) => function.name().to_string(),
    };
    let reason = format!("the window of {name} is not PARTITION BY symbol");
    match call.params.order_by.as_slice() {
        [key] if below.is_time(&key.expr, schema) => Scope::Market(reason),
        _ => anything(reason),
    }
}

fn of_aggregate(plan: &LogicalPlan, aggregate: &Aggregate) -> Traced {
    let (below, schema) = (of(&aggregate.input), aggregate.input.schema());
    let groups = &aggregate.group_expr;
    if groups.iter().any(|e| matches!(e, Expr::GroupingSet(_))) {
        return nothing_known(plan, "it has GROUPING SETS");
    }
    let width = plan.schema().fields().len();
    let flagged = |is_key: &dyn Fn(&Expr) -> bool| {
        let mut flags: Vec<bool> = groups.iter().map(is_key).collect();
        flags.resize(width, false);
        flags
    };
    let symbols = flagged(&|e| below.is_symbol(e, schema));
    let times = flagged(&|e| below.is_time(e, schema));
    let scope = match (symbols.contains(&true), times.contains(&true)) {
        (true, _) => Scope::Symbol,
        (false, true) => Scope::CrossSection,
        (false, false) => anything("it groups rows by neither symbol nor ts"),
    };
    Traced { scope: below.scope.max(scope), symbols, times }
}

fn of_join(plan: &LogicalPlan, join: &Join) -> Traced {
    let (left, right) = (of(&join.left), of(&join.right));
    let (ls, rs) = (join.left.schema(), join.right.schema());
    let by_symbol = join.on.iter().any(|(l, r)| left.is_symbol(l, ls) && right.is_symbol(r, rs));
    let by_time = join.on.iter().any(|(l, r)| left.is_time(l, ls) && right.is_time(r, rs));
    // Without symbols on one side, its rows belong to all symbols.
    let one_is_shared = !left.symbols.contains(&true) || !right.symbols.contains(&true);
    let scope = match (by_symbol, by_time) {
        (true, _) => Scope::Symbol,
        (false, true) => Scope::CrossSection,
        (false, false) if one_is_shared => anything("it joins rows that have no symbol and no ts in common"),
        (false, false) => anything("it joins rows of different symbols"),
    };
    let (keeps_left, keeps_right) = match join.join_type {
        JoinType::Inner => (true, true),
        JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti => (true, false),
        JoinType::Right | JoinType::RightSemi | JoinType::RightAnti => (false, true),
        _ => (false, false),
    };
    let only_left = matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti);
    let only_right = matches!(join.join_type, JoinType::RightSemi | JoinType::RightAnti);
    let flags = |left: &[bool], right: &[bool]| {
        let left = left.iter().map(|flag| *flag && keeps_left).filter(|_| !only_right);
        let right = right.iter().map(|flag| *flag && keeps_right).filter(|_| !only_left);
        let mut flags: Vec<bool> = left.chain(right).collect();
        flags.resize(plan.schema().fields().len(), false);
        flags
    };
    Traced {
        symbols: flags(&left.symbols, &right.symbols),
        times: flags(&left.times, &right.times),
        scope: left.scope.max(right.scope).max(scope),
    }
}

fn of_asof(plan: &LogicalPlan, asof: &AsofJoin) -> Traced {
    let (mut left, right) = (of(&asof.left), of(&asof.right));
    let by_symbol =
        asof.on.iter().any(|(l, r)| left.is_symbol(l, asof.left.schema()) && right.is_symbol(r, asof.right.schema()));
    let scope = if by_symbol { Scope::Symbol } else { Scope::CrossSection };
    left.symbols.resize(plan.schema().fields().len(), false);
    left.times.resize(plan.schema().fields().len(), false);
    left.scope = left.scope.max(right.scope).max(scope);
    left
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "plans of DataFusion's own are enough")]
mod tests {
    use super::*;
    use datafusion::prelude::SessionContext;

    async fn scope_of(sql: &str) -> PlanScope {
        let context = SessionContext::new();
        for table in ["candles", "others"] {
            let sql = format!(
                "create table {table} as select 'A' as symbol, to_timestamp_micros(1) as ts, 1.0 as close, 2.0 as open"
            );
            context.sql(&sql).await.unwrap().collect().await.unwrap();
        }
        scope(&context.sql(sql).await.unwrap().into_optimized_plan().unwrap())
    }

    #[tokio::test]
    async fn rows_of_a_symbol_depend_on_it() {
        for sql in [
            "select symbol, ts, close / open from candles where close > 1 order by ts",
            "select symbol, ts, avg(close) over (partition by symbol order by ts rows 3 preceding) from candles",
            "select c.symbol, c.ts, o.close from candles c join others o on c.symbol = o.symbol and c.ts = o.ts",
            "select * from candles union all select * from others",
            "select symbol, ts, sum(close) from candles group by symbol, ts",
        ] {
            let found = scope_of(sql).await;
            assert_eq!((found.scope, found.symbol, found.time), (Scope::Symbol, Some(0), Some(1)), "{sql}");
        }
    }

    #[tokio::test]
    async fn a_cross_section_depends_on_all_symbols_at_a_time() {
        for sql in [
            "select symbol, ts, rank() over (partition by ts order by close) from candles",
            "select ts, avg(close) from candles group by ts",
            "select c.symbol, c.ts, c.close / m.mean from candles c
             join (select ts, avg(close) as mean from candles group by ts) m on c.ts = m.ts",
            "select c.symbol, c.ts, o.close from candles c join others o on c.ts = o.ts",
        ] {
            assert_eq!(scope_of(sql).await.scope, Scope::CrossSection, "{sql}");
        }
    }

    #[tokio::test]
    async fn a_series_of_the_market_depends_on_all_symbols_in_the_order_of_time() {
        for sql in [
            "select ts, sum(mean) over (order by ts) from (select ts, avg(close) as mean from candles group by ts)",
            "select symbol, ts, sum(close) over (partition by open order by ts) from candles",
        ] {
            let found = scope_of(sql).await.scope;
            assert!(matches!(&found, Scope::Market(reason) if reason.contains("sum is not")), "{sql}: {found:?}");
        }
    }

    #[tokio::test]
    async fn what_is_mixed_otherwise_is_said() {
        for (sql, reason) in [
            ("select * from candles order by close limit 3", "LIMIT"),
            ("select sum(close) from candles", "groups rows by neither"),
            ("select symbol, ts, row_number() over (order by close) from candles", "row_number is not PARTITION BY"),
            ("select c.symbol, c.ts, o.symbol from candles c cross join others o", "different symbols"),
            ("select distinct close from candles", "neither symbol nor ts"),
        ] {
            match scope_of(sql).await.scope {
                Scope::Anything(said) => assert!(said.contains(reason), "{sql}: {said}"),
                other => panic!("{sql}: {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_changed_symbol_or_time_is_none() {
        let found = scope_of("select lower(symbol) as symbol, ts + interval '1 day' as ts from candles").await;
        assert_eq!((found.symbol, found.time), (None, None));
    }
}
