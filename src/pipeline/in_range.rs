//! `in_range(ts)`: the place where the range that a result is wanted for reaches a subquery.
//!
//! A range cuts the result; a subquery that counts, as for folds of equal length, sees everything unless it asks.

use super::range::Range;
use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result as Done, ScalarValue};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, DocSection, Documentation, Expr, LogicalPlan, ScalarFunctionArgs, ScalarUDFImpl, Signature,
    Volatility,
};
use std::hash::{Hash, Hasher};
use tallow_common::Result;

/// Name of the function.
const NAME: &str = "in_range";

/// The function, which is true of every time where no range is given.
#[derive(Debug)]
pub(crate) struct InRange {
    signature: Signature,
    documentation: Documentation,
}

impl Default for InRange {
    fn default() -> Self {
        let section = DocSection { include: true, label: "Candle Arithmetic", description: None };
        let doc = "Whether a time lies in the range that the result is wanted for (`from`, `to`), which is always so without \
                   one; for subqueries that count, and would count everything else";
        let documentation = Documentation::builder(section, doc, "in_range(ts)").build();
        Self { signature: Signature::any(1, Volatility::Immutable), documentation }
    }
}

impl PartialEq for InRange {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for InRange {}

impl Hash for InRange {
    fn hash<H: Hasher>(&self, state: &mut H) {
        NAME.hash(state);
    }
}

impl ScalarUDFImpl for InRange {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Done<DataType> {
        Ok(DataType::Boolean)
    }

    fn simplify(&self, _: Vec<Expr>, _: &SimplifyContext) -> Done<ExprSimplifyResult> {
        Ok(ExprSimplifyResult::Simplified(always()))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Done<ColumnarValue> {
        Ok(ColumnarValue::Scalar(ScalarValue::Boolean(Some(true))))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

fn always() -> Expr {
    Expr::Literal(ScalarValue::Boolean(Some(true)), None)
}

/// Puts a range in the place of the function, wherever it stands in a plan that was not optimized yet.
pub(super) fn bound(plan: LogicalPlan, range: Range) -> Result<LogicalPlan> {
    let mut found = false;
    let bound = plan.transform_up_with_subqueries(|node| {
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            let bound = expr.transform_up(|expr| match &expr {
                Expr::ScalarFunction(call) if call.name() == NAME && call.args.len() == 1 => {
                    Ok(Transformed::yes(range.holds(&call.args[0]).unwrap_or_else(always)))
                }
                _ => Ok(Transformed::no(expr)),
            })?;
            found |= bound.transformed;
            Ok(bound.update_data(|expr| name.restore(expr)))
        })
    });
    let bound = bound.data()?;
    if !found {
        return Ok(bound);
    }
    // What stands above was planned with the function's nullability.
    Ok(bound.transform_up_with_subqueries(|node| Ok(Transformed::yes(node.recompute_schema()?))).data()?)
}
