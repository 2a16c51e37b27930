//! The logical node.

use crate::node::{NodeKind, NodeReach, Phase, UnaryNode, from_spec, positions, to_spec};
use crate::node_exec::{NodeExec, Shape};
use datafusion::common::{DFSchema, DFSchemaRef, Result, plan_err};
use datafusion::physical_plan::ExecutionPlan;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Lets symbols pass whose bars are a series, with null in the place of NaN.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SymbolGuard {
    /// Only these symbols; `None`: all.
    pub symbols: Option<BTreeSet<String>>,
    /// Columns that matter: what is wrong with others, which are only shown, is passed over.
    pub columns: BTreeSet<String>,
    /// Another timeframe beside the bars that the plan is about: what is wrong there is found, but its symbols and bars are not
    /// counted, and it goes on until these bars have ended.
    pub beside: bool,
}

impl SymbolGuard {
    /// How it is read back.
    pub const KIND: NodeKind =
        NodeKind { name: "SymbolGuard", decode: |spec| Ok(Arc::new(from_spec::<SymbolGuard>(spec)?)) };
}

impl UnaryNode for SymbolGuard {
    fn name(&self) -> &'static str {
        Self::KIND.name
    }

    fn describe(&self) -> String {
        let columns: Vec<_> = self.columns.iter().map(String::as_str).collect();
        let symbols = self.symbols.as_ref().map_or(String::new(), |symbols| format!(" of {} symbols", symbols.len()));
        let beside = if self.beside { ", beside" } else { "" };
        format!("SymbolGuard: [{}]{symbols}{beside}", columns.join(", "))
    }

    fn schema(&self, input: &DFSchemaRef) -> Result<DFSchemaRef> {
        match positions(&["symbol", "ts"], input).len() {
            2 => Ok(Arc::clone(input)),
            _ => plan_err!("a symbol guard needs the columns symbol and ts"),
        }
    }

    fn input_columns(&self, output: &[usize], input: &DFSchema) -> Vec<usize> {
        [output, &positions(&["symbol", "ts"], input)].concat()
    }

    fn reach(&self) -> NodeReach {
        // Of a symbol all rows pass or none.
        NodeReach::OfInput
    }

    fn operator(&self, phase: Phase, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let (shape, guard) = (Shape::passing(&input)?, Arc::new(self.clone()));
        Ok(NodeExec::plan(Arc::clone(&guard) as _, phase, input, shape, guard))
    }

    fn spec(&self) -> Result<Vec<u8>> {
        to_spec(self)
    }
}
