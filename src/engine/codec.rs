//! Physical plans as bytes and back.
//!
//! The bytes hold the plan alone. What an execution adds, such as its cancellation, an observer, or the findings of a symbol
//! guard, belongs to the task that runs it. Functions are written by name, and found by it in the session that reads the
//! plan; a [`FunctionKind`] is for those whose name does not say all. DataFusion leaves `IGNORE NULLS` of its own window
//! functions out; series functions have none.

use super::asof::AsofExec;
use super::cancellation::CancelJoins;
use super::node::{self, NodeKind};
use super::series_exec::SeriesExec;
use arrow::datatypes::Schema;
use datafusion::common::{Result, internal_err, not_impl_err, plan_err};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Operator, ScalarUDF};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::windows::WindowAggExec;
use datafusion_proto::physical_plan::to_proto::serialize_physical_expr_with_converter;
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalPlanNodeExt, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf::physical_plan_node::PhysicalPlanType;
use datafusion_proto::protobuf::{PhysicalExprNode, PhysicalExtensionNode, PhysicalPlanNode};
use prost::Message;
use std::cell::Cell;
use std::fmt::Debug;
use std::sync::Arc;
use tallow_common::codec::{Decoding, Encoding, FunctionKind, OperatorKind, named, read, split_name};

/// Reads and writes the operators of all floors.
#[derive(Debug, Clone)]
pub struct Codec {
    nodes: Vec<NodeKind>,
    operators: Vec<OperatorKind>,
    functions: Vec<FunctionKind>,
}

/// The name that all [nodes](node) with one input are written under.
const NODE: &str = "node";

/// Operators of this floor that are not made of such nodes.
const OPERATORS: [OperatorKind; 2] = [
    OperatorKind { name: "series", encode: encode_series, decode: decode_series },
    OperatorKind { name: "asof", encode: encode_asof, decode: decode_asof },
];

impl Default for Codec {
    /// The operators of this floor.
    fn default() -> Self {
        Codec { nodes: node::NODES.to_vec(), operators: OPERATORS.to_vec(), functions: vec![] }
    }
}

impl Codec {
    /// Adds those of another floor.
    #[must_use]
    pub fn with(mut self, nodes: &[NodeKind], operators: &[OperatorKind], functions: &[FunctionKind]) -> Codec {
        self.nodes.extend(nodes);
        self.operators.extend(operators);
        self.functions.extend(functions);
        self
    }

    /// A plan as bytes.
    ///
    /// # Errors
    /// It has an operator or a function that no kind is known of.
    pub fn encode(&self, plan: &Arc<dyn ExecutionPlan>) -> Result<Vec<u8>> {
        Ok(Converter::default().execution_plan_to_proto(plan, self)?.encode_to_vec())
    }

    /// The plan that [`Codec::encode`] wrote. The task is one of the session that is to run it.
    ///
    /// # Errors
    /// Another build wrote it, or the session lacks a function.
    pub fn decode(&self, bytes: &[u8], task: &TaskContext) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = Decoding { task, codec: self, converter: &Converter::default() }.plan(bytes)?;
        // Joins ask the execution that they belong to here.
        CancelJoins.optimize(plan, task.session_config().options())
    }
}

impl PhysicalExtensionCodec for Codec {
    fn try_encode(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        bytes: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let encoding = Encoding { codec: self, converter };
        if let Some(node) = node::encode(plan.as_ref())? {
            bytes.extend(named(NODE, &node));
            return Ok(());
        }
        for kind in &self.operators {
            if let Some(body) = (kind.encode)(plan.as_ref(), &encoding)? {
                bytes.extend(named(kind.name, &body));
                return Ok(());
            }
        }
        not_impl_err!("{} cannot be sent to another process", plan.name())
    }

    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        task: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some((name, body)) = split_name(bytes) else { return internal_err!("an operator without a name") };
        if name == NODE {
            let [input] = inputs else { return internal_err!("a node with {} inputs", inputs.len()) };
            return node::decode(&self.nodes, body, Arc::clone(input));
        }
        match self.operators.iter().find(|kind| kind.name == name) {
            Some(kind) => (kind.decode)(body, inputs, &Decoding { task, codec: self, converter }),
            None => plan_err!("unknown operator `{name}`: another build of tallow wrote this plan"),
        }
    }

    fn try_encode_udf(&self, function: &ScalarUDF, bytes: &mut Vec<u8>) -> Result<()> {
        if let Some(kind) = self.functions.iter().find(|kind| kind.name == function.name()) {
            bytes.extend((kind.encode)(function)?);
        }
        Ok(())
    }

    fn try_decode_udf(&self, name: &str, bytes: &[u8]) -> Result<Arc<ScalarUDF>> {
        match self.functions.iter().find(|kind| kind.name == name) {
            Some(kind) => Ok(Arc::new((kind.decode)(bytes)?)),
            None => not_impl_err!("the function `{name}` is found by its name"),
        }
    }
}

/// Writes a deep plan in pieces: a message that holds others more than a hundred deep cannot be read.
#[derive(Default)]
struct Converter {
    depth: Cell<usize>,
}

/// The name of a piece.
const PIECE: &str = "piece";
/// Operators above each other in one piece. Each takes two or three messages, and expressions have their own.
const PIECE_DEPTH: usize = 12;

impl PhysicalProtoConverterExtension for Converter {
    fn execution_plan_to_proto(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        codec: &dyn PhysicalExtensionCodec,
    ) -> Result<PhysicalPlanNode> {
        let depth = self.depth.get() + 1;
        self.depth.set(depth);
        let node = PhysicalPlanNode::try_from_physical_plan_with_converter(Arc::clone(plan), codec, self);
        self.depth.set(depth - 1);
        let node = node?;
        if !depth.is_multiple_of(PIECE_DEPTH) {
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
        // A piece belongs to what is around it: a subquery's value is found there.
        if let Some(PhysicalPlanType::Extension(extension)) = &node.physical_plan_type
            && let Some((PIECE, body)) = split_name(&extension.node)
        {
            return self.proto_to_execution_plan(&read::<PhysicalPlanNode>(body)?, context);
        }
        self.default_proto_to_execution_plan(node, context)
    }

    fn proto_to_physical_expr(
        &self,
        node: &PhysicalExprNode,
        schema: &Schema,
        context: &PhysicalPlanDecodeContext<'_>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        self.default_proto_to_physical_expr(node, schema, context)
    }

    fn physical_expr_to_proto(
        &self,
        expr: &Arc<dyn PhysicalExpr>,
        codec: &dyn PhysicalExtensionCodec,
    ) -> Result<PhysicalExprNode> {
        serialize_physical_expr_with_converter(expr, codec, self)
    }
}

/// Series: DataFusion's window operator without an input, and the fields that are computed.
#[derive(Clone, PartialEq, prost::Message)]
struct Series {
    #[prost(bytes = "vec", tag = "1")]
    window: Vec<u8>,
    /// The names of the fields, per window expression.
    #[prost(bytes = "vec", tag = "2")]
    wanted: Vec<u8>,
}

fn encode_series(plan: &dyn ExecutionPlan, encoding: &Encoding<'_>) -> Result<Option<Vec<u8>>> {
    let Some(series) = plan.downcast_ref::<SeriesExec>() else { return Ok(None) };
    let nothing = Arc::new(EmptyExec::new(series.input().schema()));
    let window = WindowAggExec::try_new(series.window_expr().to_vec(), nothing, true)?;
    let window = encoding.plan(&(Arc::new(window) as Arc<dyn ExecutionPlan>))?;
    Ok(Some(Series { window, wanted: node::to_spec(&series.wanted())? }.encode_to_vec()))
}

fn decode_series(
    bytes: &[u8],
    inputs: &[Arc<dyn ExecutionPlan>],
    decoding: &Decoding<'_>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let Series { window, wanted } = read(bytes)?;
    let wanted: Vec<Option<Vec<String>>> = node::from_spec(&wanted)?;
    let (plan, [input]) = (decoding.plan(&window)?, inputs) else {
        return internal_err!("a series operator has one input, not {}", inputs.len());
    };
    let Some(window) = plan.downcast_ref::<WindowAggExec>() else {
        return internal_err!("a series operator is written as a window operator, not as {}", plan.name());
    };
    Ok(Arc::new(SeriesExec::try_new(window.window_expr().to_vec(), Arc::clone(input))?.with_wanted(&wanted)))
}

/// An as-of join: its pairs of equal keys, and the condition of the nearest row.
#[derive(Clone, PartialEq, prost::Message)]
struct Asof {
    #[prost(bytes = "vec", repeated, tag = "1")]
    left_keys: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    right_keys: Vec<Vec<u8>>,
    #[prost(bytes = "vec", tag = "3")]
    left: Vec<u8>,
    #[prost(string, tag = "4")]
    operator: String,
    #[prost(bytes = "vec", tag = "5")]
    right: Vec<u8>,
}

/// The comparisons that an as-of join knows.
const COMPARISONS: [Operator; 4] = [Operator::Lt, Operator::LtEq, Operator::Gt, Operator::GtEq];

fn encode_asof(plan: &dyn ExecutionPlan, encoding: &Encoding<'_>) -> Result<Option<Vec<u8>>> {
    let Some(join) = plan.downcast_ref::<AsofExec>() else { return Ok(None) };
    let (left, operator, right) = join.matching();
    let keys = join.on().iter().map(|(l, r)| Ok((encoding.expr(l)?, encoding.expr(r)?)));
    let (left_keys, right_keys) = keys.collect::<Result<Vec<_>>>()?.into_iter().unzip();
    let (left, right) = (encoding.expr(left)?, encoding.expr(right)?);
    Ok(Some(Asof { left_keys, right_keys, left, operator: operator.to_string(), right }.encode_to_vec()))
}

fn decode_asof(
    bytes: &[u8],
    inputs: &[Arc<dyn ExecutionPlan>],
    decoding: &Decoding<'_>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let [left_input, right_input] = inputs else {
        return internal_err!("an as-of join has two inputs, not {}", inputs.len());
    };
    let Asof { left_keys, right_keys, left, operator, right } = read(bytes)?;
    let Some(operator) = COMPARISONS.into_iter().find(|known| known.to_string() == operator) else {
        return plan_err!("an as-of join by `{operator}`: another build of tallow wrote this plan");
    };
    let keys = left_keys.iter().zip(&right_keys);
    let on = keys.map(|(l, r)| Ok((decoding.expr(l, left_input)?, decoding.expr(r, right_input)?)));
    let on = on.collect::<Result<Vec<_>>>()?;
    let matching = (decoding.expr(&left, left_input)?, operator, decoding.expr(&right, right_input)?);
    Ok(Arc::new(AsofExec::try_new(Arc::clone(left_input), Arc::clone(right_input), on, matching)?))
}
