//! The session: the only place where a `SessionContext` is made and functions are registered.

use super::dialect::{self, Params};
use super::nested::{NestedCalls, NestedWindows};
use super::resources;
use super::series_exec::SeriesRule;
use crate::error::{Error, Result};
use crate::lake::{Lake, LakeSchema, ProfileCache};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{CatalogProvider, MemTable, MemoryCatalogProvider, MemorySchemaProvider, SchemaProvider};
use datafusion::common::DataFusionError;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::registry::FunctionRegistry;
use datafusion::optimizer::Analyzer;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use futures::{Stream, StreamExt};
use std::future::Future;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::runtime::Runtime;

/// What a session works with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The lake: path or URL.
    pub lake: String,
    /// A path, glob or URL that becomes the table `candles`.
    pub candles: Option<String>,
    /// Memory limit in bytes; by default 60 % of the machine or container.
    pub memory: usize,
    /// Threads that compute.
    pub threads: usize,
    /// Where sorts and groupings spill; the system's temporary folder by default.
    pub spill_dir: Option<PathBuf>,
    /// Where proofs of file order are kept between runs; `None` keeps none.
    pub cache_dir: Option<PathBuf>,
    /// Rows per batch.
    pub batch_size: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lake: "./data".to_string(),
            candles: None,
            memory: resources::default_memory(),
            threads: resources::default_threads(),
            spill_dir: None,
            cache_dir: None,
            batch_size: 8192,
        }
    }
}

/// A DataFusion session with tallow's functions, tables, rules and limits, and a runtime of its own for computing.
pub struct Session {
    context: SessionContext,
    schema: Arc<LakeSchema>,
    cpu: Option<Runtime>,
}

impl Session {
    /// Opens a session over a lake.
    pub async fn open(settings: Settings) -> Result<Session> {
        if settings.threads == 0 {
            return Err(Error::Setting("threads 0: expected at least 1".to_string()));
        }
        let pool = TrackConsumersPool::new(FairSpillPool::new(settings.memory), NonZeroUsize::MIN.saturating_add(2));
        let mut runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(pool));
        if let Some(folder) = &settings.spill_dir {
            std::fs::create_dir_all(folder).map_err(|e| Error::File(folder.display().to_string(), e))?;
            runtime = runtime.with_temp_file_path(folder);
        }
        let mut analyzer = Analyzer::new();
        analyzer.rules.insert(0, Arc::new(NestedWindows));
        let state = SessionStateBuilder::new()
            .with_config(config(&settings))
            .with_runtime_env(runtime.build_arc()?)
            .with_default_features()
            .with_analyzer_rules(analyzer.rules)
            .with_physical_optimizer_rules(physical_rules())
            .build();
        #[allow(clippy::disallowed_methods, reason = "this is the one place")]
        let context = SessionContext::new_with_state(state);
        let mut registry = context.clone();
        tallow_udfs::register_all(&mut registry)?;
        registry.register_expr_planner(Arc::new(NestedCalls))?;

        let lake = Lake { url: settings.lake.clone(), candles: settings.candles.clone() };
        let cache = ProfileCache::new(settings.cache_dir.clone());
        let schema = Arc::new(LakeSchema::open(lake, cache, &context.state()).await?);
        let state = context.state_weak_ref();
        schema.belongs_to(Box::new(move || state.upgrade().map(|s| s.read().clone())));
        let catalog = MemoryCatalogProvider::new();
        catalog.register_schema("public", Arc::clone(&schema) as Arc<dyn SchemaProvider>)?;
        catalog.register_schema("system", system_schema()?)?;
        context.register_catalog("tallow", Arc::new(catalog));

        let cpu = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(settings.threads)
            // These only read files; every further one keeps buffers of its own.
            .max_blocking_threads(settings.threads.max(2))
            .thread_name("tallow-cpu")
            .enable_all()
            .build()
            .map_err(|e| Error::File("starting threads".to_string(), e))?;
        Ok(Session { context, schema, cpu: Some(cpu) })
    }

    /// The DataFusion session inside.
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// The tables of the lake.
    pub fn tables(&self) -> &LakeSchema {
        &self.schema
    }

    /// Plans one statement of tallow's dialect.
    pub async fn sql(&self, text: &str) -> Result<DataFrame> {
        self.sql_with(text, &Params::default()).await
    }

    /// As [`Session::sql`], with values for `:name` parameters.
    pub async fn sql_with(&self, text: &str, params: &Params) -> Result<DataFrame> {
        let mut statements = self.parse(text, params).await?;
        match (statements.pop(), statements.is_empty()) {
            (Some(statement), true) => self.frame(statement).await,
            (None, _) => Err(Error::Setting("the text holds no statement".to_string())),
            _ => Err(Error::Setting("the text holds several statements; run them one by one".to_string())),
        }
    }

    /// Parses and rewrites a text of any number of statements.
    pub async fn parse(&self, text: &str, params: &Params) -> Result<Vec<Statement>> {
        let (text, params, context) = (text.to_string(), params.clone(), self.context.clone());
        self.on_cpu(async move { dialect::rewrite(&text, &params, &context).await }).await?
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
        Ok(self.context.state().create_physical_plan(plan).await?)
    }

    /// All rows of a frame.
    pub async fn collect(&self, frame: DataFrame) -> Result<Vec<RecordBatch>> {
        let plan = frame.create_physical_plan().await?;
        let mut stream = self.execute(plan)?;
        let mut batches = vec![];
        while let Some(batch) = stream.next().await {
            batches.push(batch?);
        }
        Ok(batches)
    }

    /// Executes a plan on the session's own threads; dropping the stream stops it.
    pub fn execute(&self, plan: Arc<dyn ExecutionPlan>) -> Result<impl Stream<Item = Result<RecordBatch>> + use<>> {
        let task = self.context.task_ctx();
        let (sender, receiver) = futures::channel::mpsc::channel(2);
        let work = async move {
            let mut sender = sender;
            let run = async {
                let mut stream = execute_stream(plan, task)?;
                while let Some(batch) = stream.next().await {
                    if futures::SinkExt::send(&mut sender, batch).await.is_err() {
                        break;
                    }
                }
                Ok::<_, DataFusionError>(())
            };
            if let Err(error) = run.await {
                let _ = futures::SinkExt::send(&mut sender, Err(error)).await;
            }
        };
        let task = self.spawn(work)?;
        let guard = AbortOnDrop(task.abort_handle());
        Ok(receiver.map(move |batch| {
            let _ = &guard;
            batch.map_err(Error::from)
        }))
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
        if let Some(cpu) = self.cpu.take() {
            cpu.shutdown_background();
        }
    }
}

/// DataFusion's rules in their order, with ours before cooperation and dynamic filters are added.
fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    let at = rules.iter().position(|r| r.name() == "EnsureCooperative").unwrap_or(rules.len() - 1);
    rules.insert(at, Arc::new(SeriesRule));
    rules
}

fn config(settings: &Settings) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema("tallow", "public")
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(true)
        .with_target_partitions(resources::partitions(settings.threads, settings.memory))
        .with_batch_size(settings.batch_size);
    let options = config.options_mut();
    // A sorted input is worth more than one more shuffle.
    options.optimizer.prefer_existing_sort = true;
    // A watch-list of 20 symbols or more would otherwise prune nothing.
    options.execution.parquet.max_in_list_size = 10_000;
    // Files stay in the partition whose symbol range they were given.
    options.execution.enable_file_stream_work_stealing = false;
    options.execution.listing_table_ignore_subdirectory = false;
    config
}

/// `system.functions`: every series function with its signature, reach and documentation.
fn system_schema() -> Result<Arc<dyn SchemaProvider>> {
    let columns = ["name", "aliases", "family", "usage", "returns", "reach_back", "doc"];
    let mut cells: Vec<Vec<String>> = vec![vec![]; columns.len()];
    for function in crate::pipeline::functions::describe_all() {
        let row = [
            function.name,
            function.aliases.join(", "),
            function.family,
            function.usage,
            function.returns,
            function.reach_back.unwrap_or_default(),
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
