//! The work of the operator.

use super::node::SymbolGuard;
use super::stream::{Counters, Guarding};
use crate::node_exec::Work;
use crate::observer::Observer;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, stream};
use std::sync::Arc;

impl Work for SymbolGuard {
    fn execute(
        &self,
        input: &Arc<dyn ExecutionPlan>,
        partition: usize,
        context: Arc<TaskContext>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<SendableRecordBatchStream> {
        let (schema, observer) = (input.schema(), Observer::of(&context));
        let stop = observer.stop().clone();
        let reservation = MemoryConsumer::new(format!("SymbolGuardExec[{partition}]")).register(context.memory_pool());
        let guarding = Guarding::new(self, &schema, observer, Counters::new(metrics, partition), reservation)?;
        let input = input.execute(partition, context)?;
        let input = match self.beside {
            true => input.boxed(),
            false => input.take_until(stop.cancelled_owned()).boxed(),
        };
        let batches = stream::try_unfold((input, Some(guarding)), |(mut input, guarding)| async move {
            let Some(mut guarding) = guarding else { return Ok(None) };
            match input.next().await {
                Some(batch) => {
                    let passed = guarding.next(batch?)?;
                    Ok(Some((passed, (input, Some(guarding)))))
                }
                None => Ok::<_, DataFusionError>(Some((guarding.end()?, (input, None)))),
            }
        });
        let batches = batches.flat_map(|passed| match passed {
            Ok(batches) => stream::iter(batches.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err(error)]),
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }
}
