//! Aggregates that hold every value they have seen: `median`, `percentile_cont`, `array_agg`, `string_agg`.
//!
//! DataFusion asks accumulators for their size after each batch and compares that with what the memory pool gives. For a
//! sum this is all there is. These hold their values two to eight times over when groups are handed on: the values, the
//! places of the values, the list that is made of them, its sorted copy on the way to the disk. So they say a larger size
//! than they have; what does not fit is spilled, or refused, while there is still room for the copies. A query with such an
//! aggregate is also planned for fewer partitions, each of which would hold the values of its own and, after the exchange,
//! those of others. Where that leaves one, groups are handed on only to be spilled, and merging what was spilled takes all
//! values at once again: more than a small limit allows, so it is refused there.

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue, resources_err};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::function::{AccumulatorArgs, AggregateFunctionSimplification, StateFieldsArgs};
use datafusion::logical_expr::registry::FunctionRegistry;
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, Expr, GroupsAccumulator, LogicalPlan,
    ReversedUDAF, Signature,
};
use std::sync::Arc;

/// The functions, and how many times over, in quarters, they hold their values at most: measured as the resident memory of
/// the process, less what it takes otherwise, against the sizes that were reported.
const FUNCTIONS: [(&str, usize); 4] = [("median", 7), ("percentile_cont", 7), ("array_agg", 12), ("string_agg", 12)];
/// The same where the values are sorted: each value and each key is then a value of its own.
const ORDERED: usize = 64;

/// Least memory of a partition of a query with such an aggregate.
const PARTITION_BYTES: usize = 256 << 20;

/// Share of a small limit that values may take where they are handed on.
const SPILLED_SHARE: usize = 8;

/// Puts accumulators that report what they will need in the place of DataFusion's.
pub(super) fn register(registry: &mut dyn FunctionRegistry, memory: usize) -> Result<()> {
    let most = (memory / PARTITION_BYTES <= 1).then_some(memory / SPILLED_SHARE);
    for (name, quarters) in FUNCTIONS {
        let known = registry.udaf(name)?;
        let inner =
            known.inner().downcast_ref::<Holding>().map_or_else(|| Arc::clone(&known), |h| Arc::clone(&h.inner));
        registry.register_udaf(Arc::new(AggregateUDF::from(Holding { inner, quarters, most })))?;
    }
    Ok(())
}

/// Partitions to plan for, if a plan has such an aggregate and it should be fewer than otherwise.
pub(super) fn partitions(plan: &LogicalPlan, memory: usize) -> Result<Option<usize>> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            found |= expr.exists(|e| Ok(is_holding(e)))?;
            Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
    })?;
    Ok(found.then(|| (memory / PARTITION_BYTES).max(1)))
}

fn is_holding(expr: &Expr) -> bool {
    matches!(expr, Expr::AggregateFunction(AggregateFunction { func, .. }) if func.inner().is::<Holding>())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Holding {
    inner: Arc<AggregateUDF>,
    /// How many quarters of its size are reported.
    quarters: usize,
    /// How many bytes of values may be handed on.
    most: Option<usize>,
}

impl Holding {
    fn wrap(&self, inner: Arc<AggregateUDF>) -> Holding {
        Holding { inner, ..*self }
    }

    fn quarters(&self, args: &AccumulatorArgs<'_>) -> usize {
        if args.order_bys.is_empty() { self.quarters } else { ORDERED }
    }
}

impl AggregateUDFImpl for Holding {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        self.inner.inner().return_type(given)
    }

    fn return_field(&self, given: &[FieldRef]) -> Result<FieldRef> {
        self.inner.inner().return_field(given)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let quarters = self.quarters(&args);
        Ok(Box::new(One { inner: self.inner.accumulator(args)?, quarters }))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.inner.create_sliding_accumulator(args)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        let (quarters, most) = (self.quarters(&args), self.most);
        let name = self.inner.name().to_string();
        Ok(Box::new(Groups { inner: self.inner.create_groups_accumulator(args)?, name, quarters, most }))
    }

    fn with_beneficial_ordering(self: Arc<Self>, is_ordered: bool) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        let inner = Arc::clone(self.inner.inner()).with_beneficial_ordering(is_ordered)?;
        let wrap = |inner| Arc::new(self.wrap(Arc::new(AggregateUDF::new_from_shared_impl(inner))));
        Ok(inner.map(|inner| wrap(inner) as Arc<dyn AggregateUDFImpl>))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        self.inner.simplify()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        match self.inner.reverse_udf() {
            ReversedUDAF::Reversed(inner) => ReversedUDAF::Reversed(Arc::new(AggregateUDF::from(self.wrap(inner)))),
            other => other,
        }
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        self.inner.inner().default_value(data_type)
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.inner.supports_null_handling_clause()
    }

    fn supports_within_group_clause(&self) -> bool {
        self.inner.supports_within_group_clause()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// The values of one group.
#[derive(Debug)]
struct One {
    inner: Box<dyn Accumulator>,
    quarters: usize,
}

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(values)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.inner.evaluate()
    }

    fn size(&self) -> usize {
        self.inner.size().saturating_mul(self.quarters) / 4
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }
}

/// The values of all groups.
struct Groups {
    inner: Box<dyn GroupsAccumulator>,
    name: String,
    quarters: usize,
    most: Option<usize>,
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        groups: usize,
    ) -> Result<()> {
        self.inner.update_batch(values, group_indices, filter, groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        self.inner.evaluate(emit_to)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let held = self.inner.size();
        match self.most {
            Some(most) if held > most => resources_err!(
                "{} holds all values of its groups, {} MB so far, and under so small a memory limit they may be {} MB at most. \
                 Raise the option `memory`, or ask for fewer rows at once",
                self.name,
                held >> 20,
                most >> 20
            ),
            _ => self.inner.state(emit_to),
        }
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], groups: usize) -> Result<()> {
        self.inner.merge_batch(values, group_indices, groups)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(values, filter)
    }

    fn size(&self) -> usize {
        self.inner.size().saturating_mul(self.quarters) / 4
    }
}
