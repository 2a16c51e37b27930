//! Plan nodes of ours that have one input: each states what it is once, and the logical node, the planner, the reach and the
//! codec follow from that.
//!
//! A node is pure data. [`UnaryNode::spec`] writes it down, two nodes are equal if their specs are, and a [`NodeKind`] reads
//! it back, perhaps on another machine. What whoever waits for an execution follows, or shares between its tasks, is no part of a
//! node: operators find it in the context of their task, as they find their [`Cancellation`](super::cancellation::Cancellation).
//!
//! The as-of join has two inputs, is made by hand, and goes when DataFusion brings its own.

use super::node_exec::NodeExec;
use super::symbol_guard::SymbolGuard;
use super::tally::Tally;
use super::unnested::Unnested;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, DFSchemaRef, DataFusionError, Result, internal_err, plan_err};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::any::Any;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt::{Debug, Formatter};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A plan node with one input.
pub trait UnaryNode: Any + Debug + Send + Sync {
    /// What it is called where it is encoded: the name of its [`NodeKind`].
    fn name(&self) -> &'static str;

    /// What plans show: `Name: details`. The operator is called `NameExec`.
    fn describe(&self) -> String;

    /// The columns of its rows, given those of its input.
    ///
    /// # Errors
    /// An input that it cannot work with.
    fn schema(&self, input: &DFSchemaRef) -> Result<DFSchemaRef>;

    /// Positions of the input's columns that it reads to put out some of its own.
    fn input_columns(&self, output: &[usize], input: &DFSchema) -> Vec<usize>;

    /// How far its rows look. There is no default: who adds a node says so.
    fn reach(&self) -> NodeReach;

    /// Whether filters and limits above it may as well stand below it.
    fn is_transparent(&self) -> bool {
        false
    }

    /// The operator that does a part of its work.
    ///
    /// # Errors
    /// A part that it does not have, or an input that does not fit.
    fn operator(&self, phase: Phase, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>>;

    /// The operators that do all of its work.
    ///
    /// # Errors
    /// An input that does not fit.
    fn plan(&self, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        self.operator(Phase::Whole, input)
    }

    /// All that it is, as bytes that its [`NodeKind`] reads.
    ///
    /// # Errors
    /// What cannot be written down.
    fn spec(&self) -> Result<Vec<u8>>;
}

/// How far the rows of a node look, beyond those of its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeReach {
    /// No farther: every row is one of the input's, with the same columns at the same places, and of a symbol's rows none that lies
    /// between others is missing.
    OfInput,
    /// Any row may depend on any bar, earlier or later.
    Unknown,
}

/// The part of a node's work that an operator does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// All of it.
    Whole,
    /// Makes state rows of each partition.
    Partial,
    /// Makes the result of all state rows.
    Final,
}

/// How nodes of a name are read back.
#[derive(Debug, Clone, Copy)]
pub struct NodeKind {
    /// [`UnaryNode::name`].
    pub name: &'static str,
    /// Reads [`UnaryNode::spec`].
    pub decode: fn(&[u8]) -> Result<Arc<dyn UnaryNode>>,
}

/// The nodes of this floor. Those of upper floors, which the codec is handed as well, are in lists of their own.
pub const NODES: [NodeKind; 3] = [Unnested::KIND, SymbolGuard::KIND, Tally::KIND];

/// Puts a node above a plan.
///
/// # Errors
/// An input that it cannot work with.
pub fn above(input: LogicalPlan, node: Arc<dyn UnaryNode>) -> Result<LogicalPlan> {
    Ok(LogicalPlan::Extension(Extension { node: Arc::new(Unary::new(input, node)?) }))
}

/// What a node states of its reach; `None`: it is none of these.
pub(super) fn reach(node: &dyn UserDefinedLogicalNode) -> Option<NodeReach> {
    node.as_any().downcast_ref::<Unary>().map(|unary| unary.node.reach())
}

/// A node's name and spec, as JSON.
///
/// # Errors
/// What cannot be written down.
pub fn to_spec(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| DataFusionError::External(Box::new(e)))
}

/// What [`to_spec`] wrote.
///
/// # Errors
/// Other bytes.
pub fn from_spec<T: DeserializeOwned>(spec: &[u8]) -> Result<T> {
    serde_json::from_slice(spec).map_err(|e| DataFusionError::External(Box::new(e)))
}

/// A number in a spec: by its bits, since it must come back as it was, and JSON knows no infinity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exact(u64);

impl From<f64> for Exact {
    fn from(number: f64) -> Exact {
        Exact(number.to_bits())
    }
}

impl From<Exact> for f64 {
    fn from(exact: Exact) -> f64 {
        f64::from_bits(exact.0)
    }
}

/// What comes before the spec of an encoded operator, in a line of its own.
#[derive(Serialize, Deserialize)]
struct Header {
    name: String,
    phase: Phase,
}

/// An operator of such a node as bytes; `None` where it is none.
///
/// # Errors
/// What cannot be written down.
pub fn encode(operator: &dyn ExecutionPlan) -> Result<Option<Vec<u8>>> {
    let Some(operator) = operator.downcast_ref::<NodeExec>() else { return Ok(None) };
    let (node, phase) = (operator.node(), operator.phase());
    let mut bytes = to_spec(&Header { name: node.name().to_string(), phase })?;
    bytes.push(b'\n');
    bytes.extend(node.spec()?);
    Ok(Some(bytes))
}

/// The operator that [`encode`] wrote, over an input.
///
/// # Errors
/// A node of none of these kinds, or bytes that are not its.
pub fn decode(kinds: &[NodeKind], bytes: &[u8], input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let Some(end) = bytes.iter().position(|b| *b == b'\n') else { return internal_err!("a plan node without a spec") };
    let Header { name, phase } = from_spec(&bytes[..end])?;
    match kinds.iter().find(|kind| kind.name == name) {
        Some(kind) => (kind.decode)(&bytes[end + 1..])?.operator(phase, input),
        None => plan_err!("unknown plan node `{name}`: another build of tallow wrote this plan"),
    }
}

/// The logical node.
#[derive(Debug, Clone)]
struct Unary {
    node: Arc<dyn UnaryNode>,
    spec: Arc<[u8]>,
    input: LogicalPlan,
    schema: DFSchemaRef,
}

impl Unary {
    fn new(input: LogicalPlan, node: Arc<dyn UnaryNode>) -> Result<Unary> {
        let (spec, schema) = (node.spec()?.into(), node.schema(input.schema())?);
        Ok(Unary { node, spec, input, schema })
    }

    fn value(&self) -> (&str, &[u8], &LogicalPlan) {
        (self.node.name(), &self.spec, &self.input)
    }
}

impl PartialEq for Unary {
    fn eq(&self, other: &Self) -> bool {
        self.value() == other.value()
    }
}

impl Eq for Unary {}

impl Hash for Unary {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.value().hash(state);
    }
}

impl PartialOrd for Unary {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.value().partial_cmp(&other.value())
    }
}

impl UserDefinedLogicalNodeCore for Unary {
    fn name(&self) -> &str {
        self.node.name()
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        match self.node.is_transparent() {
            true => HashSet::new(),
            false => self.schema.fields().iter().map(|f| f.name().clone()).collect(),
        }
    }

    fn fmt_for_explain(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.node.describe())
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match (inputs.pop(), inputs.is_empty()) {
            (Some(input), true) => Unary::new(input, Arc::clone(&self.node)),
            _ => plan_err!("{} has one input", self.node.name()),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let mut needed = self.node.input_columns(output_columns, self.input.schema());
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }

    fn supports_limit_pushdown(&self) -> bool {
        self.node.is_transparent()
    }
}

/// Positions of the columns of these names, as far as there are such.
pub(super) fn positions(names: &[&str], schema: &DFSchema) -> Vec<usize> {
    names.iter().filter_map(|name| schema.fields().iter().position(|f| f.name() == name)).collect()
}

/// Plans these nodes.
#[derive(Debug)]
pub(super) struct NodePlanner;

#[async_trait]
impl ExtensionPlanner for NodePlanner {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &dyn Session,
        _: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(unary) = node.as_any().downcast_ref::<Unary>() else { return Ok(None) };
        match inputs {
            [input] => unary.node.plan(Arc::clone(input)).map(Some),
            _ => plan_err!("{} has one input, not {}", unary.node.name(), inputs.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
    use datafusion::logical_expr::logical_plan::table_scan;
    use datafusion::physical_plan::displayable;
    use datafusion::physical_plan::empty::EmptyExec;
    use std::collections::BTreeSet;

    fn bars() -> Arc<Schema> {
        let time = DataType::Timestamp(TimeUnit::Microsecond, None);
        let fields = [("symbol", DataType::Utf8), ("ts", time), ("close", DataType::Float64)];
        Arc::new(Schema::new(fields.map(|(name, kind)| Field::new(name, kind, true)).to_vec()))
    }

    fn rows() -> LogicalPlan {
        table_scan(Some("candles"), &bars(), None).unwrap().build().unwrap()
    }

    fn guard(symbol: &str) -> SymbolGuard {
        let set = |name: &str| BTreeSet::from([name.to_string()]);
        SymbolGuard { symbols: Some(set(symbol)), columns: set("close"), beside: true }
    }

    /// One node of each kind.
    fn one_of_each() -> Vec<Arc<dyn UnaryNode>> {
        let tally = Tally { name: "newest".to_string(), since: Some(-5), ordered: true };
        vec![Arc::new(Unnested), Arc::new(guard("A")), Arc::new(tally)]
    }

    #[test]
    fn nodes_are_equal_by_what_they_say() {
        let of = |node: Arc<dyn UnaryNode>| Unary::new(rows(), node).unwrap();
        assert_eq!(of(Arc::new(guard("A"))), of(Arc::new(guard("A"))));
        assert_ne!(of(Arc::new(guard("A"))), of(Arc::new(guard("B"))));
        assert_ne!(of(Arc::new(Unnested)), of(Arc::new(guard("A"))));
    }

    #[test]
    fn every_node_is_read_back_from_what_it_says() {
        let nodes = one_of_each();
        assert_eq!(nodes.iter().map(|n| n.name()).collect::<Vec<_>>(), NODES.map(|kind| kind.name));
        for (kind, node) in NODES.iter().zip(nodes) {
            let spec = node.spec().unwrap();
            let read = (kind.decode)(&spec).unwrap();
            assert_eq!((read.spec().unwrap(), read.describe()), (spec, node.describe()));
            assert_eq!(read.schema(rows().schema()).unwrap(), node.schema(rows().schema()).unwrap());
        }
    }

    #[test]
    fn operators_are_read_back_over_their_input() {
        let input: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(bars()));
        for node in one_of_each() {
            let operator = node.plan(Arc::clone(&input)).unwrap();
            // What vanishes from the physical plan is not written.
            let Some(bytes) = encode(operator.as_ref()).unwrap() else { continue };
            let read = decode(&NODES, &bytes, Arc::clone(&input)).unwrap();
            let shown = |plan: &Arc<dyn ExecutionPlan>| displayable(plan.as_ref()).indent(false).to_string();
            assert_eq!((shown(&read), encode(read.as_ref()).unwrap()), (shown(&operator), Some(bytes)));
        }
    }

    #[test]
    fn an_exact_number_is_every_number() {
        for number in [0.1 + 0.2, f64::MIN_POSITIVE, -0.0, f64::NEG_INFINITY, f64::NAN] {
            let read: Exact = from_spec(&to_spec(&Exact::from(number)).unwrap()).unwrap();
            assert_eq!(f64::from(read).to_bits(), number.to_bits());
        }
    }

    #[test]
    fn a_plan_of_another_build_is_refused() {
        let input: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(bars()));
        let bytes = b"{\"name\":\"Later\",\"phase\":\"Whole\"}\n{}";
        let error = decode(&NODES, bytes, input).unwrap_err().to_string();
        assert!(error.contains("unknown plan node `Later`"), "{error}");
    }
}
