//! Physical plans as bytes and back.
//!
//! A [`Codec`] is told of everything that DataFusion does not write itself: nodes, other operators, functions that hold
//! something. `tests/all/codec.rs` finds what it was not told of.
//!
//! The bytes hold the plan alone. What an execution adds, such as its cancellation or an observer, belongs to the task that
//! runs it. Functions are written by name, and found by it in the session that reads the plan; a [`FunctionKind`] is for those
//! whose name does not say all. DataFusion leaves `IGNORE NULLS` of its own window functions out; series functions have none.

mod operators;
mod pieces;

use super::cancellation::CancelJoins;
use super::node::{self, NodeKind};
use super::within::Within;
use datafusion::common::{Result, internal_err, not_impl_err, plan_err};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::ScalarUDF;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use operators::OPERATORS;
use pieces::Converter;
use prost::Message;
use std::fmt::Debug;
use std::sync::Arc;
use tallow_common::codec::{Decoding, Encoding, FunctionKind, OperatorKind, named, split_name};

/// Reads and writes the operators of all floors.
#[derive(Debug, Clone)]
pub struct Codec {
    nodes: Vec<NodeKind>,
    operators: Vec<OperatorKind>,
    functions: Vec<FunctionKind>,
}

/// The name that all [nodes](node) with one input are written under.
const NODE: &str = "node";

impl Default for Codec {
    /// The operators and functions of this floor.
    fn default() -> Self {
        Codec { nodes: node::NODES.to_vec(), operators: OPERATORS.to_vec(), functions: vec![Within::KIND] }
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

    /// The names of the nodes that it reads.
    pub fn nodes(&self) -> impl Iterator<Item = &'static str> {
        self.nodes.iter().map(|kind| kind.name)
    }

    /// A plan as bytes. Plans are walked recursively: a deep one needs the stack of an engine's threads, here and where it is
    /// read.
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
