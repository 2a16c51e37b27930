//! What walks plans and expressions, DataFusion's and ours, and writes deep ones in pieces.
//!
//! A message that holds others more than a hundred deep cannot be read. A piece is bytes within the message around it, and so
//! begins anew.

use arrow::datatypes::Schema;
use datafusion::common::Result;
use datafusion::logical_expr::physical_planning_context::ScalarSubqueryResults;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::to_proto::serialize_physical_expr_with_converter;
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalPlanNodeExt, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf::physical_expr_node::ExprType;
use datafusion_proto::protobuf::physical_plan_node::PhysicalPlanType;
use datafusion_proto::protobuf::{
    PhysicalExprNode, PhysicalExtensionExprNode, PhysicalExtensionNode, PhysicalPlanNode,
};
use prost::Message;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use tallow_common::codec::{named, read, split_name};

/// The name of a piece.
const PIECE: &str = "piece";
/// Operators above each other in one piece, and expressions within each other. An operator takes two messages, an expression
/// up to three; the rest is for the types and values in them.
const PIECE_DEPTH: usize = 12;

/// Walks one plan.
#[derive(Default)]
pub(super) struct Converter {
    operators: Cell<usize>,
    expressions: Cell<usize>,
    /// Where the values of the scalar subqueries are found that surround what is being read.
    subqueries: RefCell<Option<ScalarSubqueryResults>>,
    /// Expressions that stand in several places and change in all of them at once, as the dynamic filter of a sort does that
    /// its scan applies.
    shared: RefCell<HashMap<u64, Arc<dyn PhysicalExpr>>>,
}

/// Works one deeper, and tells whether a piece begins there.
fn deeper<T>(depth: &Cell<usize>, work: impl FnOnce() -> Result<T>) -> Result<(T, bool)> {
    let own = depth.get() + 1;
    depth.set(own);
    let done = work();
    depth.set(own - 1);
    Ok((done?, own.is_multiple_of(PIECE_DEPTH)))
}

impl Converter {
    fn operator(&self, plan: &Arc<dyn ExecutionPlan>, codec: &dyn PhysicalExtensionCodec) -> Result<PhysicalPlanNode> {
        let mut node = vec![];
        if codec.try_encode(Arc::clone(plan), &mut node, self).is_err() {
            return PhysicalPlanNode::try_from_physical_plan_with_converter(Arc::clone(plan), codec, self);
        }
        // DataFusion would write the inputs of ours without asking here, and so without counting.
        let inputs = plan.children().into_iter().map(|input| self.execution_plan_to_proto(input, codec));
        let extension = PhysicalExtensionNode { node, inputs: inputs.collect::<Result<_>>()? };
        Ok(PhysicalPlanNode { physical_plan_type: Some(PhysicalPlanType::Extension(extension)) })
    }

    /// With the subqueries around: operators of ours read what is within them in contexts that know of none.
    fn within<'a>(&self, context: &PhysicalPlanDecodeContext<'a>) -> PhysicalPlanDecodeContext<'a> {
        match (context.scalar_subquery_results(), self.subqueries.borrow().as_ref()) {
            (None, Some(results)) => context.with_scalar_subquery_results(results.clone()),
            _ => context.clone(),
        }
    }
}

impl PhysicalProtoConverterExtension for Converter {
    fn execution_plan_to_proto(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        codec: &dyn PhysicalExtensionCodec,
    ) -> Result<PhysicalPlanNode> {
        let (node, ends) = deeper(&self.operators, || self.operator(plan, codec))?;
        if !ends {
            return Ok(node);
        }
        let piece = PhysicalExtensionNode { node: named(PIECE, &node.encode_to_vec()), inputs: vec![] };
        Ok(PhysicalPlanNode { physical_plan_type: Some(PhysicalPlanType::Extension(piece)) })
    }

    fn proto_to_execution_plan(
        &self,
        node: &PhysicalPlanNode,
        context: &PhysicalPlanDecodeContext<'_>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let context = self.within(context);
        if let Some(PhysicalPlanType::Extension(extension)) = &node.physical_plan_type
            && let Some((PIECE, body)) = split_name(&extension.node)
        {
            return self.proto_to_execution_plan(&read::<PhysicalPlanNode>(body)?, &context);
        }
        let around = self.subqueries.replace(context.scalar_subquery_results().cloned());
        let plan = self.default_proto_to_execution_plan(node, &context);
        self.subqueries.replace(around);
        plan
    }

    fn proto_to_physical_expr(
        &self,
        node: &PhysicalExprNode,
        schema: &Schema,
        context: &PhysicalPlanDecodeContext<'_>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let context = self.within(context);
        if let Some(ExprType::Extension(extension)) = &node.expr_type
            && let Some((PIECE, body)) = split_name(&extension.expr)
        {
            return self.proto_to_physical_expr(&read::<PhysicalExprNode>(body)?, schema, &context);
        }
        let expr = self.default_proto_to_physical_expr(node, schema, &context)?;
        let Some(id) = node.expr_id else { return Ok(expr) };
        match self.shared.borrow_mut().entry(id) {
            Entry::Vacant(first) => Ok(Arc::clone(first.insert(expr))),
            // Its columns may lie elsewhere in this place.
            Entry::Occupied(known) => {
                let children = expr.children().into_iter().cloned().collect();
                Arc::clone(known.get()).with_new_children(children)
            }
        }
    }

    fn physical_expr_to_proto(
        &self,
        expr: &Arc<dyn PhysicalExpr>,
        codec: &dyn PhysicalExtensionCodec,
    ) -> Result<PhysicalExprNode> {
        let write = || serialize_physical_expr_with_converter(expr, codec, self);
        let (node, ends) = deeper(&self.expressions, write)?;
        if !ends {
            return Ok(node);
        }
        let piece = PhysicalExtensionExprNode { expr: named(PIECE, &node.encode_to_vec()), inputs: vec![] };
        Ok(PhysicalExprNode { expr_id: None, expr_type: Some(ExprType::Extension(piece)) })
    }
}
