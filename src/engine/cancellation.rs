//! Work ends soon after nobody waits for its result any more.
//!
//! A task of tokio ends where it yields, and DataFusion yields every 128 batches. That is late where one batch is much work:
//! many indicators over long series, or a hash join whose rows have many partners, which goes through all pairs of a batch in
//! one call. So an execution tells its operators when it is over. Ours ask between series and calls; joins ask before every
//! batch of pairs, as part of their filter.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinType, Result, exec_err, internal_err};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::expressions::lit;
use datafusion::physical_expr::{PhysicalExpr, PhysicalExprRef};
use datafusion::physical_expr_common::physical_expr::proto_encode::PhysicalExprEncodeCtx;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder, SortMergeJoinExec,
};
use datafusion::physical_plan::unnest::UnnestExec;
use datafusion::physical_plan::{ColumnarValue, ExecutionPlan};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_proto::protobuf::PhysicalExprNode;
use std::fmt::{Display, Formatter};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Tells whether an execution is over: somebody waited for it, and nobody does any more.
#[derive(Debug, Clone, Default)]
pub struct Cancellation(Arc<Waiting>);

/// How many began to wait, and how many have stopped. A plan may be executed again.
#[derive(Debug, Default)]
struct Waiting {
    begun: AtomicUsize,
    over: AtomicUsize,
}

/// Somebody who waits for an execution, until this is dropped.
#[derive(Debug)]
pub struct Waiter(Cancellation);

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.0.over.fetch_add(1, Ordering::Release);
    }
}

impl Cancellation {
    /// That of the joins of a plan; a new one, where it has none.
    pub fn of_plan(plan: &Arc<dyn ExecutionPlan>) -> Cancellation {
        let mut found = None;
        let _ = plan.apply(|node| {
            let filter = match (node.downcast_ref::<HashJoinExec>(), node.downcast_ref::<NestedLoopJoinExec>()) {
                (Some(join), _) => join.filter(),
                (None, Some(join)) => join.filter(),
                (None, None) => None,
            };
            found = filter.and_then(|f| f.expression().downcast_ref::<Asking>()).map(|asking| asking.of.clone());
            Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        });
        found.unwrap_or_default()
    }

    /// That of an execution; one that never comes, where nobody gave it any.
    pub fn of(context: &TaskContext) -> Cancellation {
        context.session_config().get_extension::<Cancellation>().map(|c| c.as_ref().clone()).unwrap_or_default()
    }

    /// What operators are given that are to ask for it, with whatever else they look for in the configuration.
    pub fn context(
        &self,
        session: &SessionContext,
        extend: impl FnOnce(SessionConfig) -> SessionConfig,
    ) -> Arc<TaskContext> {
        let context = TaskContext::from(session);
        let config = extend(context.session_config().clone()).with_extension(Arc::new(self.clone()));
        Arc::new(context.with_session_config(config))
    }

    /// Begins to wait.
    pub fn waiter(&self) -> Waiter {
        self.0.begun.fetch_add(1, Ordering::Release);
        Waiter(self.clone())
    }

    /// Whether the execution is over.
    pub fn is_cancelled(&self) -> bool {
        let over = self.0.over.load(Ordering::Acquire);
        over > 0 && over == self.0.begun.load(Ordering::Acquire)
    }

    /// An error where the execution is over, which nobody reads.
    ///
    /// # Errors
    /// It is over.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() { exec_err!("cancelled") } else { Ok(()) }
    }
}

/// Gives the thread back now and then: to whoever ends the task, and to others who need the thread.
#[derive(Debug)]
pub struct Turns {
    since: Instant,
    cancellation: Cancellation,
}

/// Work up to this is done in one go.
const TURN: Duration = Duration::from_millis(10);

impl Turns {
    /// Begins with one.
    pub fn new(cancellation: Cancellation) -> Turns {
        Turns { since: Instant::now(), cancellation }
    }

    /// Asked before a batch is taken.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.cancellation.check()?;
        if self.since.elapsed() < TURN {
            return Poll::Ready(Ok(()));
        }
        self.since = Instant::now();
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// As [`Turns::poll`].
    ///
    /// # Errors
    /// The execution is over.
    pub async fn next(&mut self) -> Result<()> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }
}

/// Joins ask whether they are still wanted, and yield between the batches that they put out, which may be many for each that
/// they read.
///
/// It runs when nothing else changes joins any more, but for the dynamic filters that are pushed down below them.
#[derive(Debug, Default)]
pub struct CancelJoins;

impl PhysicalOptimizerRule for CancelJoins {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let cancellation = Cancellation::default();
        plan.transform_up(|node| asking(node, &cancellation)).data()
    }

    fn name(&self) -> &str {
        "cancel_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn asking(plan: Arc<dyn ExecutionPlan>, cancellation: &Cancellation) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    let asks = |filter: &JoinFilter| {
        let known = filter.expression().downcast_ref::<Asking>().map(|asking| &asking.inner);
        let inner = Arc::clone(known.unwrap_or(filter.expression()));
        let expression = Arc::new(Asking { inner, of: cancellation.clone() });
        JoinFilter::new(expression, filter.column_indices().to_vec(), Arc::clone(filter.schema()))
    };
    let plan: Arc<dyn ExecutionPlan> = if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        let always = || JoinFilter::new(lit(true), vec![], Arc::new(Schema::empty()));
        let filter = match join.filter() {
            Some(filter) => Some(asks(filter)),
            None if keeps_pairs(*join.join_type()) => None,
            None => Some(asks(&always())),
        };
        match filter {
            Some(filter) => join.builder().with_filter(Some(filter)).build_exec()?,
            None => plan,
        }
    } else if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
        match join.filter() {
            Some(filter) => Arc::new(NestedLoopJoinExecBuilder::from(join).with_filter(Some(asks(filter))).build()?),
            None => plan,
        }
    } else if plan.is::<CrossJoinExec>() || plan.is::<SortMergeJoinExec>() || plan.is::<UnnestExec>() {
        plan
    } else if let Some(yields) = plan.downcast_ref::<CooperativeExec>()
        && yields.input().is::<CooperativeExec>()
    {
        // Of a plan that was read, and yielded where it was written.
        return Ok(Transformed::yes(Arc::clone(yields.input())));
    } else {
        return Ok(Transformed::no(plan));
    };
    Ok(Transformed::yes(Arc::new(CooperativeExec::new(plan))))
}

/// Whether every pair becomes a row, so that a join puts out a batch for each batch of pairs.
fn keeps_pairs(join: JoinType) -> bool {
    matches!(join, JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full)
}

/// An expression that is evaluated as long as the execution goes on.
#[derive(Debug)]
struct Asking {
    inner: PhysicalExprRef,
    of: Cancellation,
}

impl PartialEq for Asking {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner)
    }
}

impl Eq for Asking {}

impl Hash for Asking {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl Display for Asking {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

impl PhysicalExpr for Asking {
    fn data_type(&self, schema: &Schema) -> Result<DataType> {
        self.inner.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.inner.nullable(schema)
    }

    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        self.inner.return_field(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        self.of.check()?;
        self.inner.evaluate(batch)
    }

    fn children(&self) -> Vec<&PhysicalExprRef> {
        vec![&self.inner]
    }

    /// Whoever reads the plan asks about an execution of its own.
    fn try_to_proto(&self, context: &PhysicalExprEncodeCtx<'_>) -> Result<Option<PhysicalExprNode>> {
        context.encode_child(&self.inner).map(Some)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<PhysicalExprRef>) -> Result<PhysicalExprRef> {
        match (children.pop(), children.is_empty()) {
            (Some(inner), true) => Ok(Arc::new(Asking { inner, of: self.of.clone() })),
            _ => internal_err!("one expression is asked about"),
        }
    }

    fn fmt_sql(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt_sql(f)
    }
}
