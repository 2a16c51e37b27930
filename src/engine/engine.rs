//! An engine: a DataFusion session with tallow's functions, rules and limits, and threads of its own for computing.
//!
//! It knows no lake. What upper floors bring is handed in: object stores and functions when it is made, tables as catalogs
//! of its [context](Engine::context), and the [`TableFunctions`] of the dialect.

use crate::cancellation::Cancellation;
use crate::context::{context, of_request};
use crate::dialect::{self, NoTableFunctions, Params, Parsed, TableFunctions};
use crate::resources;
use arrow::array::RecordBatch;
use datafusion::catalog::CatalogProviderList;
use datafusion::common::DataFusionError;
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::logical_expr::{LogicalPlan, ScalarUDF, WindowUDF};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use futures::{FutureExt, Stream, StreamExt};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use tallow_common::{Error, Result};
use tallow_udfs::series::{SeriesFunction, SeriesWindow};
use tokio::runtime::{Handle, Runtime};

/// The limits of an engine.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Memory limit in bytes; by default 60 % of the machine or container.
    pub memory: usize,
    /// Threads that compute.
    pub threads: usize,
    /// Where sorts and groupings spill; the system's temporary folder by default.
    pub spill_dir: Option<PathBuf>,
    /// Rows per batch.
    pub batch_size: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            memory: resources::default_memory(),
            threads: resources::default_threads(),
            spill_dir: None,
            batch_size: 8192,
        }
    }
}

/// A DataFusion session and the threads that plan and compute for it.
pub struct Engine {
    context: SessionContext,
    functions: Arc<dyn TableFunctions>,
    threads: Arc<Threads>,
    /// The memory limit in bytes.
    memory: usize,
}

/// Threads, for as long as an engine is there that uses them.
struct Threads {
    cpu: Option<Runtime>,
    /// Keeps the time, which threads that compute do not do while they are busy.
    clock: Option<Runtime>,
}

impl Engine {
    /// An engine without tables, with these functions beside those of `tallow-udfs`, and these rules for physical plans, which run
    /// before distribution and order are enforced.
    pub fn new(
        options: &EngineOptions,
        stores: Arc<dyn ObjectStoreRegistry>,
        functions: Vec<ScalarUDF>,
        rules: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>>,
    ) -> Result<Engine> {
        if options.threads == 0 {
            return Err(Error::invalid("threads 0: expected at least 1".to_string()));
        }
        let failed = |e| Error::File("starting threads".to_string(), e);
        let cpu = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(resources::workers(options.threads, options.memory))
            // These only read files; every further one keeps buffers of its own.
            .max_blocking_threads(options.threads.max(2))
            // Plans are walked recursively; a filter of thousands of terms is a deep one. Only what is used takes memory.
            .thread_stack_size(32 << 20)
            .thread_name("tallow-cpu")
            .enable_all()
            .build()
            .map_err(failed)?;
        let context = context(options, stores, functions, rules, Some(cpu.handle().clone()))?;
        let clock = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("tallow-clock")
            .enable_time()
            .build()
            .map_err(failed)?;
        let threads = Arc::new(Threads { cpu: Some(cpu), clock: Some(clock) });
        Ok(Engine { context, functions: Arc::new(NoTableFunctions), threads, memory: options.memory })
    }

    /// The memory limit in bytes.
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// An engine for one request, on the same threads: with these catalogs, and no more than so much of this engine's memory.
    /// What is set and registered here is there too; what is set and registered there stays there.
    pub fn for_request(&self, catalogs: Arc<dyn CatalogProviderList>, memory: Option<usize>) -> Result<Engine> {
        if memory == Some(0) {
            return Err(Error::invalid("memory 0: expected at least 1 byte".to_string()));
        }
        let memory = memory.filter(|memory| *memory < self.memory);
        Ok(Engine {
            context: of_request(&self.context, catalogs, memory)?,
            functions: Arc::clone(&self.functions),
            threads: Arc::clone(&self.threads),
            memory: memory.unwrap_or(self.memory),
        })
    }

    /// Adds table functions, and what the dialect asks of tables.
    #[must_use]
    pub fn with_table_functions(mut self, functions: Arc<dyn TableFunctions>) -> Engine {
        self.functions = functions;
        self
    }

    /// Adds a series function of the user's own, which the dialect then knows as its own.
    ///
    /// # Errors
    /// There is a function of that name, or its signature contradicts itself.
    pub fn register(&self, function: Arc<dyn SeriesFunction>) -> Result<()> {
        let signature = function.signature();
        for name in std::iter::once(&signature.name).chain(&signature.aliases) {
            if self.context.state().window_functions().contains_key(name) {
                return Err(Error::conflict(format!("there is a function `{name}`")));
            }
        }
        self.context.register_udwf(WindowUDF::from(SeriesWindow::try_new(function)?));
        Ok(())
    }

    /// The series functions that were added by [`Engine::register`].
    pub fn registered(&self) -> Vec<Arc<dyn SeriesFunction>> {
        let state = self.context.state();
        let series = state.window_functions().values().filter_map(|w| w.inner().downcast_ref::<SeriesWindow>());
        let own = series.filter(|s| tallow_udfs::series_function(&s.function().signature().name).is_none());
        own.map(|series| Arc::clone(series.function())).collect()
    }

    /// The DataFusion session inside.
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// Parses and rewrites a text of any number of statements, and reads what they name beside tables.
    pub async fn parse(&self, text: &str, params: &Params) -> Result<Parsed> {
        let (text, params, context) = (text.to_string(), params.clone(), self.context.clone());
        let functions = Arc::clone(&self.functions);
        let work = async move {
            let parsed = dialect::rewrite(&text, &params, &context, functions.as_ref()).await?;
            functions.prepare(&parsed.statements).await?;
            Ok(parsed)
        };
        self.run(work).await?
    }

    /// Plans a rewritten statement. Statements that define or set something take effect here.
    pub async fn frame(&self, statement: Statement) -> Result<DataFrame> {
        self.frame_if(statement, |_| Ok(())).await
    }

    /// As [`Engine::frame`], if the plan is permitted.
    ///
    /// # Errors
    /// It is not; nothing has taken effect then.
    pub async fn frame_if(
        &self,
        statement: Statement,
        permits: impl FnOnce(&LogicalPlan) -> Result<()> + Send + 'static,
    ) -> Result<DataFrame> {
        let context = self.context.clone();
        let work = async move {
            let state = context.state();
            let plan = state.statement_to_plan(statement).await?;
            permits(&plan)?;
            match plan {
                LogicalPlan::Ddl(_) | LogicalPlan::Statement(_) => context.execute_logical_plan(plan).await,
                // A session's state is no small thing to copy twice.
                plan => Ok(DataFrame::new(state, plan)),
            }
        };
        Ok(self.run(work).await??)
    }

    /// The logical plan of a rewritten statement, which does not take effect.
    pub async fn logical(&self, statement: Statement) -> Result<LogicalPlan> {
        let context = self.context.clone();
        Ok(self.run(async move { context.state().statement_to_plan(statement).await }).await??)
    }

    /// The physical plan of a logical one.
    pub async fn physical(&self, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
        let (state, plan) = (self.context.state(), plan.clone());
        Ok(self.run(async move { state.create_physical_plan(&plan).await }).await??)
    }

    /// The physical plan of a frame.
    pub async fn plan(&self, frame: DataFrame) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self.run(async move { frame.create_physical_plan().await }).await??)
    }

    /// A logical plan as the optimizer makes it.
    pub async fn optimized(&self, plan: &LogicalPlan) -> Result<LogicalPlan> {
        let (state, plan) = (self.context.state(), plan.clone());
        Ok(self.run(async move { state.optimize(&plan) }).await??)
    }

    /// Executes a plan on the engine's threads; dropping the stream stops it. A panic there is an error here: the rows
    /// before it are not all that there are. `extend` adds what operators look for in the configuration of this one execution.
    pub fn execute(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        extend: Extend<'_>,
    ) -> Result<impl Stream<Item = Result<RecordBatch>> + use<>> {
        let cancellation = Cancellation::of_plan(&plan);
        let waiter = cancellation.waiter();
        let task = cancellation.context(&self.context, extend);
        let (sender, receiver) = futures::channel::mpsc::channel(2);
        let work = async move {
            let mut sender = sender;
            let run = async {
                let mut stream = execute_stream(Arc::clone(&plan), task)?;
                while let Some(batch) = stream.next().await {
                    // Where batches come without a pause, the task is never found waiting.
                    if cancellation.is_cancelled() || futures::SinkExt::send(&mut sender, batch).await.is_err() {
                        break;
                    }
                }
                tracing::trace!("executed\n{}", DisplayableExecutionPlan::with_metrics(plan.as_ref()).indent(true));
                Ok::<_, DataFusionError>(())
            };
            // A stream that merely ended would look like a whole result.
            let done = AssertUnwindSafe(run).catch_unwind().await.unwrap_or_else(|_| {
                Err(DataFusionError::Execution(
                    "the query stopped at a bug: what was delivered is not whole".to_string(),
                ))
            });
            if let Err(error) = done {
                let _ = futures::SinkExt::send(&mut sender, Err(error)).await;
            }
        };
        let task = self.spawn(work)?;
        let guards = (AbortOnDrop(task.abort_handle()), waiter);
        Ok(receiver.map(move |batch| {
            let _ = &guards;
            batch.map_err(Error::from)
        }))
    }

    /// Runs a future on the engine's threads and waits for it; dropped, it stops.
    pub async fn run<F>(&self, work: F) -> Result<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let task = self.spawn(work)?;
        let guard = AbortOnDrop(task.abort_handle());
        let done = task.await.map_err(|e| Error::DataFusion(DataFusionError::External(Box::new(e))));
        drop(guard);
        done
    }

    /// Runs a future on the engine's threads.
    pub fn spawn<F>(&self, work: F) -> Result<tokio::task::JoinHandle<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match &self.threads.cpu {
            Some(cpu) => Ok(cpu.handle().spawn(work)),
            None => Err(Error::invalid("the engine is closed".to_string())),
        }
    }

    /// Where time is kept, however busy the other threads are.
    pub fn clock(&self) -> Result<Handle> {
        let closed = || Error::invalid("the engine is closed".to_string());
        self.threads.clock.as_ref().map(|clock| clock.handle().clone()).ok_or_else(closed)
    }
}

/// Puts extensions into the configuration of an execution, where its operators find them.
pub type Extend<'a> = &'a (dyn Fn(SessionConfig) -> SessionConfig + Sync);

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // A runtime must not be dropped where it would wait inside another.
        [self.cpu.take(), self.clock.take()].into_iter().flatten().for_each(Runtime::shutdown_background);
    }
}
