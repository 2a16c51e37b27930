//! The door of the library: engine, lake and function list put together.

use crate::engine::cancellation::Cancellation;
use crate::engine::dialect::{self, Params, Parsed};
use crate::engine::resources;
use crate::engine::session::{Settings, context};
use crate::error::{Error, Result};
use crate::lake::{
    Computed, IngestOptions, IngestProgress, IngestSummary, Lake, LakeSchema, ProfileCache, StoredFormula, Stores,
    Written,
};
use crate::pipeline::in_range::InRange;
use crate::pipeline::score::{Models, Predict};
use crate::pipeline::views;
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{CatalogProvider, MemTable, MemoryCatalogProvider, MemorySchemaProvider, SchemaProvider};
use datafusion::common::DataFusionError;
use datafusion::logical_expr::{LogicalPlan, ScalarUDF};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::{DataFrame, SessionContext};
use datafusion::sql::parser::Statement;
use futures::{FutureExt, Stream, StreamExt};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tallow_udfs::candle::Timeframe;
use tokio::runtime::{Handle, Runtime};

/// A DataFusion session with tallow's functions, tables, rules and limits, and a runtime of its own for computing.
pub struct Session {
    context: SessionContext,
    schema: Arc<LakeSchema>,
    stores: Arc<Stores>,
    models: Arc<Models>,
    cpu: Option<Runtime>,
    /// Keeps the time, which threads that compute do not do while they are busy.
    clock: Option<Runtime>,
}

impl Session {
    /// Opens a session over a lake.
    pub async fn open(settings: Settings) -> Result<Session> {
        if settings.threads == 0 {
            return Err(Error::Setting("threads 0: expected at least 1".to_string()));
        }
        let stores = Arc::new(Stores::default());
        // As many partitions may ask a model at the same time.
        let share = settings.memory / resources::partitions(settings.threads, settings.memory);
        let models = Arc::new(Models::new(share));
        let own = vec![ScalarUDF::from(Predict::new(Arc::clone(&models))), ScalarUDF::from(InRange::default())];
        let context = context(&settings, Arc::clone(&stores) as _, own)?;
        let as_of = settings.as_of.as_deref().map(str::parse).transpose()?;
        let lake = Lake { url: settings.lake.clone(), candles: settings.candles.clone(), as_of };
        let cache = ProfileCache::new(settings.cache_dir.clone());
        let schema = Arc::new(LakeSchema::open(lake, cache, &context.state()).await?);
        let state = context.state_weak_ref();
        schema.belongs_to(Box::new(move || state.upgrade().map(|s| s.read().clone())));
        let catalog = MemoryCatalogProvider::new();
        catalog.register_schema("public", Arc::clone(&schema) as Arc<dyn SchemaProvider>)?;
        catalog.register_schema("system", system_schema()?)?;
        context.register_catalog("tallow", Arc::new(catalog));

        let cpu = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(resources::workers(settings.threads, settings.memory))
            // These only read files; every further one keeps buffers of its own.
            .max_blocking_threads(settings.threads.max(2))
            // Plans are walked recursively; a filter of thousands of terms is a deep one. Only what is used takes memory.
            .thread_stack_size(32 << 20)
            .thread_name("tallow-cpu")
            .enable_all()
            .build()
            .map_err(|e| Error::File("starting threads".to_string(), e))?;
        let clock = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("tallow-clock")
            .enable_time()
            .build()
            .map_err(|e| Error::File("starting threads".to_string(), e))?;
        Ok(Session { context, schema, stores, models, cpu: Some(cpu), clock: Some(clock) })
    }

    /// The DataFusion session inside.
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// The tables of the lake.
    pub fn tables(&self) -> &LakeSchema {
        &self.schema
    }

    /// The models that matches are scored by.
    pub fn models(&self) -> &Models {
        &self.models
    }

    /// Bytes read from files and object stores so far.
    pub fn bytes_read(&self) -> u64 {
        self.stores.bytes_read()
    }

    /// Ingests files into the lake's table of a timeframe, in one atomic commit.
    pub async fn ingest(
        &self,
        timeframe: Timeframe,
        options: IngestOptions,
        progress: &IngestProgress,
    ) -> Result<IngestSummary> {
        let (schema, progress) = (Arc::clone(&self.schema), progress.clone());
        let work = async move { schema.ingest(timeframe, &options, &progress).await };
        Ok(self.on_cpu(work).await??)
    }

    /// Writes a computed table whole, in one commit.
    pub async fn replace(&self, table: &str, rows: Computed) -> Result<Written> {
        let (schema, table) = (Arc::clone(&self.schema), table.to_string());
        let _waiter = Cancellation::of_plan(&rows.rows).waiter();
        Ok(self.on_cpu(async move { schema.replace(&table, rows).await }).await??)
    }

    /// Adds a formula to those that the lake keeps; returns its version.
    pub async fn add_formula(&self, formula: StoredFormula) -> Result<i64> {
        let schema = Arc::clone(&self.schema);
        Ok(self.on_cpu(async move { schema.add_formula(formula).await }).await??)
    }

    /// All versions of the formulas that the lake keeps, by name and version.
    pub async fn formulas(&self) -> Result<Vec<StoredFormula>> {
        let schema = Arc::clone(&self.schema);
        Ok(self.on_cpu(async move { schema.formulas().await }).await??)
    }

    /// Runs work on the lake's tables on the session's own threads.
    pub async fn care<T, F>(&self, work: impl FnOnce(Arc<LakeSchema>) -> F) -> Result<T>
    where
        F: Future<Output = datafusion::common::Result<T>> + Send + 'static,
        T: Send + 'static,
    {
        Ok(self.on_cpu(work(Arc::clone(&self.schema))).await??)
    }

    /// Plans one statement of tallow's dialect.
    pub async fn sql(&self, text: &str) -> Result<DataFrame> {
        self.sql_with(text, &Params::default()).await
    }

    /// As [`Session::sql`], with values for `:name` parameters.
    pub async fn sql_with(&self, text: &str, params: &Params) -> Result<DataFrame> {
        let Parsed { mut statements, warnings } = self.parse(text, params).await?;
        for warning in &warnings.list {
            tracing::warn!("{}", warning.message);
        }
        match (statements.pop(), statements.is_empty()) {
            (Some(statement), true) => self.frame(statement).await,
            (None, _) => Err(Error::Setting("the text holds no statement".to_string())),
            _ => Err(Error::Setting("the text holds several statements; run them one by one".to_string())),
        }
    }

    /// Parses and rewrites a text of any number of statements.
    pub async fn parse(&self, text: &str, params: &Params) -> Result<Parsed> {
        let (text, params, context) = (text.to_string(), params.clone(), self.context.clone());
        let functions = views::Views::new(&self.schema);
        let (schema, models) = (Arc::clone(&self.schema), Arc::clone(&self.models));
        let work = async move {
            let parsed = dialect::rewrite(&text, &params, &context, &functions).await?;
            models.load_called(&schema, &parsed.statements).await?;
            Ok(parsed)
        };
        self.on_cpu(work).await?
    }

    /// Plans a rewritten statement. Statements that define or set something take effect here.
    pub async fn frame(&self, statement: Statement) -> Result<DataFrame> {
        let context = self.context.clone();
        let work = async move {
            let plan = context.state().statement_to_plan(statement).await?;
            context.execute_logical_plan(plan).await
        };
        Ok(self.on_cpu(work).await??)
    }

    /// Runs a future on the session's own threads and waits for it.
    async fn on_cpu<F>(&self, work: F) -> Result<F::Output>
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

    /// The physical plan of a logical one.
    pub async fn physical(&self, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
        let (state, plan) = (self.context.state(), plan.clone());
        Ok(self.on_cpu(async move { state.create_physical_plan(&plan).await }).await??)
    }

    /// The physical plan of a frame.
    pub async fn plan(&self, frame: DataFrame) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self.on_cpu(async move { frame.create_physical_plan().await }).await??)
    }

    /// A logical plan as the optimizer makes it.
    pub async fn optimized(&self, plan: &LogicalPlan) -> Result<LogicalPlan> {
        let (state, plan) = (self.context.state(), plan.clone());
        Ok(self.on_cpu(async move { state.optimize(&plan) }).await??)
    }

    /// All rows of a frame.
    pub async fn collect(&self, frame: DataFrame) -> Result<Vec<RecordBatch>> {
        let plan = self.plan(frame).await?;
        let mut stream = self.execute(plan)?;
        let mut batches = vec![];
        while let Some(batch) = stream.next().await {
            batches.push(batch?);
        }
        Ok(batches)
    }

    /// Executes a plan on the session's own threads; dropping the stream stops it. A panic there is an error here: the rows
    /// before it are not all that there are.
    pub fn execute(&self, plan: Arc<dyn ExecutionPlan>) -> Result<impl Stream<Item = Result<RecordBatch>> + use<>> {
        let cancellation = Cancellation::of_plan(&plan);
        let waiter = cancellation.waiter();
        let task = cancellation.context(&self.context);
        let (sender, receiver) = futures::channel::mpsc::channel(2);
        let work = async move {
            let mut sender = sender;
            let run = async {
                let mut stream = execute_stream(plan, task)?;
                while let Some(batch) = stream.next().await {
                    // Where batches come without a pause, the task is never found waiting.
                    if cancellation.is_cancelled() || futures::SinkExt::send(&mut sender, batch).await.is_err() {
                        break;
                    }
                }
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

    /// Where time is kept, however busy the session's other threads are.
    pub(crate) fn clock(&self) -> Result<Handle> {
        let closed = || Error::Setting("the session is closed".to_string());
        self.clock.as_ref().map(|clock| clock.handle().clone()).ok_or_else(closed)
    }

    /// Runs a future on the session's own threads.
    pub fn spawn<F>(&self, work: F) -> Result<tokio::task::JoinHandle<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match &self.cpu {
            Some(cpu) => Ok(cpu.handle().spawn(work)),
            None => Err(Error::Setting("the session is closed".to_string())),
        }
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A runtime must not be dropped where it would wait inside another.
        [self.cpu.take(), self.clock.take()].into_iter().flatten().for_each(Runtime::shutdown_background);
    }
}

/// `system.functions`: every series function with its signature, reach and documentation.
fn system_schema() -> Result<Arc<dyn SchemaProvider>> {
    let columns = ["name", "aliases", "family", "usage", "returns", "reach_back", "reach_ahead", "doc"];
    let mut cells: Vec<Vec<String>> = vec![vec![]; columns.len()];
    for function in crate::pipeline::functions::describe_all() {
        let row = [
            function.name,
            function.aliases.join(", "),
            function.family,
            function.usage,
            function.returns,
            function.reach_back.unwrap_or_default(),
            function.reach_ahead.unwrap_or_default(),
            function.doc,
        ];
        cells.iter_mut().zip(row).for_each(|(column, cell)| column.push(cell));
    }
    let fields = columns.map(|name| Field::new(name, DataType::Utf8, false)).to_vec();
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    let arrays = cells.into_iter().map(|column| Arc::new(StringArray::from(column)) as ArrayRef).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays)?;
    let provider = MemorySchemaProvider::new();
    provider.register_table("functions".to_string(), Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))?;
    Ok(Arc::new(provider))
}
