//! What guards and aggregates found out about symbols, as metrics of their operators.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder, MetricValue};
use datafusion::prelude::SessionConfig;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Something that is wrong with a symbol.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fault {
    /// The symbol.
    pub symbol: String,
    /// What is wrong.
    pub reason: String,
}

/// What the operators of a plan found out in its executions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Symbols that were read to their end.
    pub symbols: BTreeSet<String>,
    /// What is wrong, by symbol.
    pub faults: BTreeSet<Fault>,
}

/// A metric is a name and a number wherever metrics travel: the name tells what was found.
#[derive(Serialize, Deserialize)]
pub(crate) enum Finding {
    #[serde(rename = "symbol")]
    Symbol(String),
    #[serde(rename = "fault")]
    Fault(Fault),
}

impl Finding {
    pub fn record(&self, metrics: &ExecutionPlanMetricsSet, partition: usize) {
        if let Ok(name) = serde_json::to_string(self) {
            MetricBuilder::new(metrics).counter(name, partition).add(1);
        }
    }
}

/// Whoever runs a plan reads its findings when it ends.
struct Read;

impl Findings {
    /// Tells the operators of an execution that its findings will be read. Those that may go on without a symbol then report it
    /// instead of ending the execution.
    pub fn read(config: SessionConfig) -> SessionConfig {
        config.with_extension(Arc::new(Read))
    }

    /// Whether the findings of an execution will be read.
    pub(crate) fn are_read(context: &TaskContext) -> bool {
        context.session_config().get_extension::<Read>().is_some()
    }

    /// What was found so far.
    pub fn of(plan: &Arc<dyn ExecutionPlan>) -> Findings {
        let mut found = Findings::default();
        let _ = plan.apply(|operator| {
            for metric in operator.metrics().iter().flat_map(|metrics| metrics.iter()) {
                if let MetricValue::Count { name, .. } = metric.value() {
                    found.add(name);
                }
            }
            Ok(TreeNodeRecursion::Continue)
        });
        found
    }

    fn add(&mut self, metric: &str) {
        match serde_json::from_str(metric) {
            Ok(Finding::Symbol(symbol)) => _ = self.symbols.insert(symbol),
            Ok(Finding::Fault(fault)) => _ = self.faults.insert(fault),
            // What is merely counted has another name.
            Err(_) => {}
        }
    }
}
