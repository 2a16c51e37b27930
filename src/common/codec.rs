//! How physical plans become bytes: what each floor states about its operators and functions.
//!
//! An operator is written under the name of its [`OperatorKind`] and read back by the kind of that name, perhaps in another
//! process. Inputs are written by themselves. DataFusion's own operators and expressions write themselves.

use datafusion::common::{Result, internal_datafusion_err};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::ScalarUDF;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf::{PhysicalExprNode, PhysicalPlanNode};
use prost::Message;
use std::sync::Arc;

/// An operator of ours, or several of one crate, that are written and read in one way.
#[derive(Debug, Clone, Copy)]
pub struct OperatorKind {
    /// Its name in the bytes.
    pub name: &'static str,
    /// Writes an operator, without its inputs; `None`: it is none of this kind.
    pub encode: Encode,
    /// Reads an operator, over these inputs.
    pub decode: Decode,
}

/// Writes an operator, if it is one of a kind.
pub type Encode = fn(&dyn ExecutionPlan, &Encoding<'_>) -> Result<Option<Vec<u8>>>;

/// Reads an operator of a kind, over its inputs.
pub type Decode = fn(&[u8], &[Arc<dyn ExecutionPlan>], &Decoding<'_>) -> Result<Arc<dyn ExecutionPlan>>;

/// A scalar function whose name does not say all: what it holds travels with it.
#[derive(Debug, Clone, Copy)]
pub struct FunctionKind {
    /// Its name.
    pub name: &'static str,
    /// Writes what it holds.
    pub encode: fn(&ScalarUDF) -> Result<Vec<u8>>,
    /// The function that holds it.
    pub decode: fn(&[u8]) -> Result<ScalarUDF>,
}

/// What writes expressions and plans within an operator.
pub struct Encoding<'a> {
    /// Writes what is not DataFusion's.
    pub codec: &'a dyn PhysicalExtensionCodec,
    /// Writes all else.
    pub converter: &'a dyn PhysicalProtoConverterExtension,
}

/// What reads expressions and plans within an operator.
pub struct Decoding<'a> {
    /// Knows functions by their names.
    pub task: &'a TaskContext,
    /// Reads what is not DataFusion's.
    pub codec: &'a dyn PhysicalExtensionCodec,
    /// Reads all else.
    pub converter: &'a dyn PhysicalProtoConverterExtension,
}

impl Encoding<'_> {
    /// An expression.
    pub fn expr(&self, expr: &Arc<dyn PhysicalExpr>) -> Result<Vec<u8>> {
        let node: PhysicalExprNode = self.converter.physical_expr_to_proto(expr, self.codec)?;
        Ok(node.encode_to_vec())
    }

    /// A plan with all below it.
    pub fn plan(&self, plan: &Arc<dyn ExecutionPlan>) -> Result<Vec<u8>> {
        let node = self.converter.execution_plan_to_proto(plan, self.codec)?;
        Ok(node.encode_to_vec())
    }
}

impl Decoding<'_> {
    fn context(&self) -> PhysicalPlanDecodeContext<'_> {
        PhysicalPlanDecodeContext::new(self.task, self.codec)
    }

    /// An expression over the columns of a plan.
    pub fn expr(&self, bytes: &[u8], input: &Arc<dyn ExecutionPlan>) -> Result<Arc<dyn PhysicalExpr>> {
        let node: PhysicalExprNode = read(bytes)?;
        self.converter.proto_to_physical_expr(&node, &input.schema(), &self.context())
    }

    /// A plan with all below it.
    pub fn plan(&self, bytes: &[u8]) -> Result<Arc<dyn ExecutionPlan>> {
        let node: PhysicalPlanNode = read(bytes)?;
        self.converter.proto_to_execution_plan(&node, &self.context())
    }
}

/// A message of a floor's own.
pub fn read<T: Message + Default>(bytes: &[u8]) -> Result<T> {
    T::decode(bytes).map_err(broken)
}

fn broken(error: prost::DecodeError) -> datafusion::common::DataFusionError {
    internal_datafusion_err!("a plan that cannot be read: {error}")
}

/// Bytes under a name.
pub fn named(name: &str, body: &[u8]) -> Vec<u8> {
    [name.as_bytes(), b"\n", body].concat()
}

/// The name and the bytes under it.
pub fn split_name(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|b| *b == b'\n')?;
    Some((std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 1..]))
}
