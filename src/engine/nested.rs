//! Window calls inside window calls: `sma(rsi(close, 14) OVER w, 5) OVER w`.
//!
//! SQL forbids them and DataFusion's planner refuses them. Here the planner is shown a scalar function in place of the
//! inner call ([`NestedCalls`]), and before analysis ([`NestedWindows`]) every inner call becomes a window of its own
//! below, once for every distinct call, whose column the outer call reads.

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result, internal_err};
use datafusion::logical_expr::expr::{NullTreatment, Sort, WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawWindowExpr};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, LogicalPlanBuilder, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility, WindowFrame, WindowFunctionDefinition,
};
use datafusion::optimizer::AnalyzerRule;

/// Hides inner window calls from the SQL planner.
#[derive(Debug)]
pub struct NestedCalls;

impl ExprPlanner for NestedCalls {
    fn plan_window(&self, mut call: RawWindowExpr) -> Result<PlannerResult<RawWindowExpr>> {
        let hidden = |e: Expr| e.transform_down(hide).data();
        call.args = call.args.into_iter().map(hidden).collect::<Result<_>>()?;
        call.partition_by = call.partition_by.into_iter().map(hidden).collect::<Result<_>>()?;
        for key in &mut call.order_by {
            key.expr = std::mem::take(&mut key.expr).transform_down(hide).data()?;
        }
        Ok(PlannerResult::Original(call))
    }
}

/// A window call dressed as a scalar function: arguments, partition keys and order keys are its arguments.
#[derive(Debug, PartialEq, Eq, Hash)]
struct InnerCall {
    fun: WindowFunctionDefinition,
    args: usize,
    partition_by: usize,
    /// Ascending, nulls first.
    order_by: Vec<(bool, bool)>,
    frame: WindowFrame,
    null_treatment: Option<NullTreatment>,
    signature: Signature,
}

fn hide(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::WindowFunction(call) = &expr else { return Ok(Transformed::no(expr)) };
    let WindowFunctionParams { args, partition_by, order_by, window_frame, filter, null_treatment, distinct } =
        &call.params;
    if filter.is_some() || *distinct {
        return Ok(Transformed::no(expr));
    }
    let inner = InnerCall {
        fun: call.fun.clone(),
        args: args.len(),
        partition_by: partition_by.len(),
        order_by: order_by.iter().map(|key| (key.asc, key.nulls_first)).collect(),
        frame: window_frame.clone(),
        null_treatment: *null_treatment,
        signature: Signature::variadic_any(Volatility::Immutable),
    };
    let all = args.iter().chain(partition_by).chain(order_by.iter().map(|key| &key.expr)).cloned().collect();
    Ok(Transformed::new(ScalarUDF::from(inner).call(all), true, TreeNodeRecursion::Jump))
}

/// Undoes [`hide`], at every depth.
fn reveal(expr: Expr) -> Result<Expr> {
    expr.transform_down(|e| {
        let Expr::ScalarFunction(call) = &e else { return Ok(Transformed::no(e)) };
        let Some(inner) = call.func.inner().downcast_ref::<InnerCall>() else { return Ok(Transformed::no(e)) };
        let (args, keys) = call.args.split_at(inner.args);
        let (partition_by, order_by) = keys.split_at(inner.partition_by);
        let order_by = order_by.iter().zip(&inner.order_by);
        let mut window = WindowFunction::new(inner.fun.clone(), args.to_vec());
        window.params.partition_by = partition_by.to_vec();
        window.params.order_by = order_by.map(|(key, (asc, first))| Sort::new(key.clone(), *asc, *first)).collect();
        window.params.window_frame = inner.frame.clone();
        window.params.null_treatment = inner.null_treatment;
        Ok(Transformed::yes(Expr::WindowFunction(Box::new(window))))
    })
    .data()
}

impl ScalarUDFImpl for InnerCall {
    fn name(&self) -> &str {
        self.fun.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        internal_err!("{}: the type follows from the fields", self.name())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let fields = &args.arg_fields[..self.args.min(args.arg_fields.len())];
        let fields = match &self.fun {
            WindowFunctionDefinition::AggregateUDF(f) => fields_with_udf(fields, f.as_ref())?,
            WindowFunctionDefinition::WindowUDF(f) => fields_with_udf(fields, f.as_ref())?,
        };
        self.fun.return_field(&fields, self.name())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("{} inside another window call was not given a window of its own", self.name())
    }
}

/// Gives inner window calls a window of their own.
#[derive(Debug)]
pub struct NestedWindows;

impl AnalyzerRule for NestedWindows {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| {
            let LogicalPlan::Window(window) = &node else { return Ok(Transformed::no(node)) };
            let revealed = window.window_expr.iter().cloned().map(reveal).collect::<Result<Vec<_>>>()?;
            if revealed.iter().all(|e| inner_calls(e).is_empty()) {
                return Ok(Transformed::no(node));
            }
            let (layered, columns) = layer(window.input.as_ref().clone(), &revealed)?;
            // What stands above knows the calls by the names they had before.
            let kept = window.input.schema().columns().into_iter().map(Expr::Column);
            let named = window.window_expr.iter().zip(columns).map(|(old, new)| {
                let name = old.schema_name().to_string();
                let is_named = matches!(&new, Expr::Column(column) if column.name == name);
                if is_named { new } else { new.alias(name) }
            });
            let exprs: Vec<Expr> = kept.chain(named).collect();
            Ok(Transformed::yes(LogicalPlanBuilder::from(layered).project(exprs)?.build()?))
        })
        .data()
    }

    fn name(&self) -> &str {
        "nested_windows"
    }
}

/// The outermost window calls inside a window call.
fn inner_calls(expr: &Expr) -> Vec<Expr> {
    let mut found = vec![];
    let _ = expr.apply_children(|child| {
        child.apply(|e| {
            if matches!(e, Expr::WindowFunction(_)) {
                found.push(e.clone());
                return Ok(TreeNodeRecursion::Jump);
            }
            Ok(TreeNodeRecursion::Continue)
        })
    });
    found
}

/// Computes window calls over `input`, inner ones first; returns the plan and the column of each call.
fn layer(input: LogicalPlan, calls: &[Expr]) -> Result<(LogicalPlan, Vec<Expr>)> {
    let mut inner: Vec<Expr> = vec![];
    for call in calls.iter().flat_map(inner_calls) {
        if !inner.contains(&call) {
            inner.push(call);
        }
    }
    let (mut plan, columns) = if inner.is_empty() {
        (input, vec![])
    } else {
        let (below, columns) = layer(input, &inner)?;
        // A projection keeps the layers apart: common_subexpr_eliminate takes neighbouring windows for one and would
        // compute what they share below both, where the inner calls do not exist yet.
        let all = below.schema().columns().into_iter().map(Expr::Column).collect::<Vec<_>>();
        (LogicalPlanBuilder::from(below).project(all)?.build()?, columns)
    };
    let flat = calls.iter().map(|call| {
        call.clone()
            .transform_down(|e| match inner.iter().position(|known| *known == e) {
                Some(i) => Ok(Transformed::new(columns[i].clone(), true, TreeNodeRecursion::Jump)),
                None => Ok(Transformed::no(e)),
            })
            .data()
    });
    let flat = flat.collect::<Result<Vec<Expr>>>()?;
    let mut new: Vec<Expr> = vec![];
    for call in flat.iter().filter(|e| matches!(e, Expr::WindowFunction(_))) {
        let known = plan.schema().has_column_with_unqualified_name(&call.schema_name().to_string());
        if !known && !new.contains(call) {
            new.push(call.clone());
        }
    }
    if !new.is_empty() {
        plan = LogicalPlanBuilder::window_plan(plan, new)?;
    }
    let columns = flat.into_iter().map(|e| match e {
        Expr::WindowFunction(_) => Expr::Column(Column::new_unqualified(e.schema_name().to_string())),
        column => column,
    });
    Ok((plan, columns.collect()))
}
