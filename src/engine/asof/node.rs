//! The logical node.

use datafusion::common::{DFSchema, DFSchemaRef, JoinType, Result, plan_err};
use datafusion::logical_expr::logical_plan::builder::build_join_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, UserDefinedLogicalNodeCore, binary_expr};
use std::cmp::Ordering;
use std::fmt::Formatter;
use std::sync::Arc;
use tallow_udfs::series::{Bars, Reach};

/// Every left row with the nearest right row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AsofJoin {
    pub left: LogicalPlan,
    pub right: LogicalPlan,
    /// Expressions over the left and over the right input that must be equal.
    pub on: Vec<(Expr, Expr)>,
    /// `left op right`: the nearest right row for which this holds.
    pub matching: (Expr, Operator, Expr),
    schema: DFSchemaRef,
}

impl AsofJoin {
    /// Joins two plans; the conditions are comparisons, either way round.
    pub fn try_new(left: LogicalPlan, right: LogicalPlan, on: &[Expr], matching: &Expr) -> Result<Self> {
        let on = on
            .iter()
            .map(|equality| match sides(equality, left.schema(), right.schema()) {
                Some((l, Operator::Eq, r)) => Ok((l, r)),
                _ => plan_err!(
                    "ASOF JOIN: `{equality}` in ON is no equality between a left and a right column, such as a.symbol = b.symbol"
                ),
            })
            .collect::<Result<Vec<_>>>()?;
        let matching = match sides(matching, left.schema(), right.schema()) {
            Some((l, op @ (Operator::GtEq | Operator::Gt | Operator::LtEq | Operator::Lt), r)) => (l, op, r),
            _ => {
                return plan_err!(
                    "ASOF JOIN: MATCH_CONDITION ({matching}) does not compare a left with a right column by >=, >, <= or <, \
                     such as a.ts >= b.ts"
                );
            }
        };
        let schema = Arc::new(build_join_schema(left.schema(), right.schema(), &JoinType::Left)?);
        Ok(Self { left, right, on, matching, schema })
    }

    /// Whether the nearest right row is not later than the left one.
    pub fn looks_back(&self) -> bool {
        matches!(self.matching.1, Operator::GtEq | Operator::Gt)
    }

    /// How far a left row looks for the nearest right row, which may lie any number of bars away.
    pub fn reach(&self) -> Reach {
        match self.looks_back() {
            true => Reach::history(),
            false => Reach { back: Bars::Unbounded, ahead: Bars::Unbounded },
        }
    }
}

/// A comparison as left side, operator, right side; `None` where a side is of neither input or of both.
fn sides(expr: &Expr, left: &DFSchema, right: &DFSchema) -> Option<(Expr, Operator, Expr)> {
    // The optimizer keeps the name of what it rewrites as an alias.
    let expr = expr.clone().unalias();
    let Expr::BinaryExpr(BinaryExpr { left: a, op, right: b }) = &expr else { return None };
    let of = |e: &Expr, schema: &DFSchema| {
        let columns = e.column_refs();
        !columns.is_empty() && columns.iter().all(|c| schema.has_column(c))
    };
    if of(a, left) && of(b, right) {
        Some((a.as_ref().clone(), *op, b.as_ref().clone()))
    } else if of(b, left) && of(a, right) {
        Some((b.as_ref().clone(), op.swap()?, a.as_ref().clone()))
    } else {
        None
    }
}

impl PartialOrd for AsofJoin {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (&self.left, &self.right, &self.on).partial_cmp(&(&other.left, &other.right, &other.on))
    }
}

impl UserDefinedLogicalNodeCore for AsofJoin {
    fn name(&self) -> &str {
        "AsofJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    /// As comparisons, so that types are coerced between the sides; the match comes last.
    fn expressions(&self) -> Vec<Expr> {
        let on = self.on.iter().map(|(l, r)| l.clone().eq(r.clone()));
        let (l, op, r) = self.matching.clone();
        on.chain([binary_expr(l, op, r)]).collect()
    }

    fn fmt_for_explain(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let on: Vec<_> = self.on.iter().map(|(l, r)| format!("{l} = {r}")).collect();
        let (l, op, r) = &self.matching;
        write!(f, "AsofJoin: on=[{}], match=[{l} {op} {r}]", on.join(", "))
    }

    fn with_exprs_and_inputs(&self, mut exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match (exprs.pop(), inputs.pop(), inputs.pop()) {
            (Some(matching), Some(right), Some(left)) => Self::try_new(left, right, &exprs, &matching),
            _ => plan_err!("AsofJoin has two inputs and a match condition"),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let width = self.left.schema().fields().len();
        let mut left: Vec<usize> = output_columns.iter().copied().filter(|i| *i < width).collect();
        let mut right: Vec<usize> = output_columns.iter().filter_map(|i| i.checked_sub(width)).collect();
        let (l, _, r) = &self.matching;
        let add = |expr: &Expr, schema: &DFSchema, needed: &mut Vec<usize>| {
            needed.extend(expr.column_refs().iter().filter_map(|c| schema.index_of_column(c).ok()));
        };
        for (l, r) in self.on.iter().map(|(l, r)| (l, r)).chain([(l, r)]) {
            add(l, self.left.schema(), &mut left);
            add(r, self.right.schema(), &mut right);
        }
        for needed in [&mut left, &mut right] {
            needed.sort_unstable();
            needed.dedup();
        }
        Some(vec![left, right])
    }
}
