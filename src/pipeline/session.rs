//! A session: an engine over a lake.

use crate::versioned;
use arrow::array::RecordBatch;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{DataFrame, SessionContext};
use datafusion::sql::parser::Statement;
use futures::{Stream, StreamExt};
use object_store::ObjectStore;
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use tallow_common::control::Control;
use tallow_common::{Error, Result};
use tallow_engine::cancellation::Cancellation;
use tallow_engine::dialect::{Params, Parsed};
use tallow_engine::{Engine, EngineOptions, Extend, resources};
use tallow_lake::{Computed, Earlier, IngestOptions, IngestSummary, Lake, Replaced, StoredFormula, Stores, Written};
use tallow_udfs::calendar::Timeframe;
use url::Url;

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
    /// Object stores that are not opened by tallow itself, each under a URL whose scheme and host stand for it.
    pub stores: Vec<(Url, Arc<dyn ObjectStore>)>,
    /// Whether files beside those of the lake and `candles` are not read, whoever names them.
    pub confined: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let EngineOptions { memory, threads, spill_dir, batch_size } = EngineOptions::default();
        let lake = "./data".to_string();
        Self {
            lake,
            candles: None,
            memory,
            threads,
            spill_dir,
            cache_dir: None,
            batch_size,
            stores: vec![],
            confined: false,
        }
    }
}

impl Settings {
    /// Those that concern the engine.
    pub fn engine(&self) -> EngineOptions {
        let Settings { memory, threads, spill_dir, batch_size, .. } = self.clone();
        EngineOptions { memory, threads, spill_dir, batch_size }
    }

    /// Bytes that each of the partitions has that compute at the same time.
    pub fn memory_of_partition(&self) -> usize {
        self.memory / resources::partitions(self.threads, self.memory)
    }
}

/// An engine over a lake.
pub struct Session {
    engine: Engine,
    lake: Arc<Lake>,
    stores: Arc<Stores>,
    extensions: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
}

impl Session {
    /// Joins an engine with the lake whose tables are registered in it and the stores that both read from.
    pub fn new(engine: Engine, lake: Arc<Lake>, stores: Arc<Stores>) -> Session {
        Session { engine, lake, stores, extensions: HashMap::new() }
    }

    pub(crate) fn with_engine(&self, engine: Engine) -> Session {
        let (lake, stores) = (Arc::clone(&self.lake), Arc::clone(&self.stores));
        Session { engine, lake, stores, extensions: self.extensions.clone() }
    }

    pub(crate) fn with_lake(self, lake: Arc<Lake>) -> Session {
        Session { lake, ..self }
    }

    /// Adds something that use-cases share, one of each type.
    #[must_use]
    pub fn with_extension<T: Any + Send + Sync>(mut self, extension: Arc<T>) -> Session {
        self.extensions.insert(TypeId::of::<T>(), extension);
        self
    }

    /// What was added of a type.
    pub fn extension<T: Any + Send + Sync>(&self) -> Result<Arc<T>> {
        let known = self.extensions.get(&TypeId::of::<T>()).cloned();
        let missing = || Error::invalid(format!("this session has no {}", std::any::type_name::<T>()));
        known.and_then(|e| e.downcast().ok()).ok_or_else(missing)
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The DataFusion session inside.
    pub fn context(&self) -> &SessionContext {
        self.engine.context()
    }

    /// The lake.
    pub fn lake(&self) -> &Lake {
        &self.lake
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
        control: &Control,
    ) -> Result<IngestSummary> {
        let (progress, clock) = (Arc::clone(&control.progress), self.engine.clock()?);
        let work = self.on_lake(|lake| async move { lake.ingest(timeframe, &options, &progress).await });
        control.limit(&clock, work).await
    }

    /// Writes a computed table whole, in one commit.
    pub async fn overwrite(&self, table: &str, rows: Computed) -> Result<Written> {
        let table = table.to_string();
        let _waiter = Cancellation::of_plan(&rows.rows).waiter();
        self.on_lake(|lake| async move { lake.overwrite(&table, rows).await }).await
    }

    /// Writes a computed table in one commit: its rows take the place of those that it has, or are added to them.
    pub async fn write(&self, table: &str, rows: Computed, earlier: Earlier) -> Result<Replaced> {
        let table = table.to_string();
        let _waiter = Cancellation::of_plan(&rows.rows).waiter();
        self.on_lake(|lake| async move { lake.write(&table, rows, earlier).await }).await
    }

    /// Adds a formula to those that the lake keeps; returns its version.
    pub async fn add_formula(&self, formula: StoredFormula) -> Result<i64> {
        self.on_lake(|lake| async move { versioned::store(&lake, formula).await }).await
    }

    /// All versions of the formulas that the lake keeps, by name and version.
    pub async fn formulas(&self) -> Result<Vec<StoredFormula>> {
        self.on_lake(|lake| async move { versioned::all(&lake).await }).await
    }

    /// Runs work on the lake's tables on the session's own threads.
    pub async fn on_lake<T, F>(&self, work: impl FnOnce(Arc<Lake>) -> F) -> Result<T>
    where
        F: Future<Output = datafusion::common::Result<T>> + Send + 'static,
        T: Send + 'static,
    {
        Ok(self.engine.run(work(Arc::clone(&self.lake))).await??)
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
            (None, _) => Err(Error::invalid("the text holds no statement".to_string())),
            _ => Err(Error::invalid("the text holds several statements; run them one by one".to_string())),
        }
    }

    /// Parses and rewrites a text of any number of statements.
    pub async fn parse(&self, text: &str, params: &Params) -> Result<Parsed> {
        self.engine.parse(text, params).await
    }

    /// Plans a rewritten statement. Statements that define or set something take effect here.
    pub async fn frame(&self, statement: Statement) -> Result<DataFrame> {
        self.engine.frame(statement).await
    }

    /// The physical plan of a logical one.
    pub async fn physical(&self, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
        self.engine.physical(plan).await
    }

    /// The physical plan of a frame.
    pub async fn plan(&self, frame: DataFrame) -> Result<Arc<dyn ExecutionPlan>> {
        self.engine.plan(frame).await
    }

    /// A logical plan as the optimizer makes it.
    pub async fn optimized(&self, plan: &LogicalPlan) -> Result<LogicalPlan> {
        self.engine.optimized(plan).await
    }

    /// All rows of a frame.
    pub async fn collect(&self, frame: DataFrame) -> Result<Vec<RecordBatch>> {
        self.collect_with(frame, &|config| config).await
    }

    /// As [`Session::collect`], with what operators look for in the configuration of this one execution.
    pub(crate) async fn collect_with(&self, frame: DataFrame, extend: Extend<'_>) -> Result<Vec<RecordBatch>> {
        let plan = self.plan(frame).await?;
        let mut stream = self.execute_with(plan, extend)?;
        let mut batches = vec![];
        while let Some(batch) = stream.next().await {
            batches.push(batch?);
        }
        Ok(batches)
    }

    /// Executes a plan on the session's own threads; dropping the stream stops it.
    pub fn execute(&self, plan: Arc<dyn ExecutionPlan>) -> Result<impl Stream<Item = Result<RecordBatch>> + use<>> {
        self.execute_with(plan, &|config| config)
    }

    /// As [`Session::execute`], with what operators look for in the configuration of this one execution.
    pub(crate) fn execute_with(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        extend: Extend<'_>,
    ) -> Result<impl Stream<Item = Result<RecordBatch>> + use<>> {
        self.engine.execute(plan, extend)
    }
}
