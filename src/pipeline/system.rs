//! The schema `system`: what a session can do, and what its lake keeps, as tables.

use crate::Session;
use crate::calendars::sessions_table;
use crate::functions::describe_with;
use crate::incremental;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use async_trait::async_trait;
use datafusion::catalog::{MemTable, MemorySchemaProvider, SchemaProvider, TableProvider};
use std::sync::Arc;
use tallow_common::{Error, Result};
use tallow_lake::{Lake, PipelineError, StoredPipeline};
use tallow_udfs::series::SeriesFunction;

/// The pipelines of the lake.
const PIPELINES: &str = "pipelines";
/// The commits of their tables.
const RUNS: &str = "pipeline_runs";
/// The symbols that they failed for.
const ERRORS: &str = "pipeline_errors";

/// The sessions of all calendars.
pub(crate) const SESSIONS: &str = "sessions";

/// The name of the schema.
pub(crate) const SYSTEM: &str = "system";
/// Its table of functions.
pub(crate) const FUNCTIONS: &str = "functions";

/// The schema: functions, which are known, and tables that are read from the lake when they are asked for.
#[derive(Debug)]
pub(crate) struct System {
    known: MemorySchemaProvider,
    lake: Arc<Lake>,
}

impl System {
    pub fn new(lake: Arc<Lake>) -> Result<System> {
        let known = MemorySchemaProvider::new();
        known.register_table(FUNCTIONS.to_string(), functions_table(&[])?)?;
        Ok(System { known, lake })
    }

    async fn pipelines(&self) -> Result<Arc<dyn TableProvider>> {
        let mut stored = self.lake.records::<StoredPipeline>().await?;
        stored.sort_by(|a, b| a.name.cmp(&b.name));
        let mut cells = [vec![], vec![], vec![], vec![]];
        for one in stored {
            let (kind, definition) = (one.kind.clone(), one.definition.clone());
            let pipeline = incremental::read(one)?;
            let table = pipeline.table()?;
            let row = [pipeline.name, kind, table, definition];
            cells.iter_mut().zip(row).for_each(|(column, cell)| column.push(cell));
        }
        text_table(["name", "kind", "table", "definition"].into_iter().zip(cells).collect(), vec![])
    }

    async fn runs(&self) -> Result<Arc<dyn TableProvider>> {
        let (mut cells, mut versions, mut times) = ([vec![], vec![], vec![]], vec![], vec![]);
        for stored in self.lake.records::<StoredPipeline>().await? {
            let pipeline = incremental::read(stored)?;
            let table = pipeline.table()?;
            // Without a table there was no run.
            for commit in self.lake.history(&table, None).await.unwrap_or_default() {
                let row = [pipeline.name.clone(), table.clone(), format!("{}: {}", commit.operation, commit.metrics)];
                cells.iter_mut().zip(row).for_each(|(column, cell)| column.push(cell));
                versions.push(i64::try_from(commit.version).ok());
                times.push(commit.time.map(|millis| millis * 1000));
            }
        }
        let times = TimestampMicrosecondArray::from(times).with_timezone("UTC");
        let more: Vec<(&str, ArrayRef)> =
            vec![("version", Arc::new(Int64Array::from(versions))), ("time", Arc::new(times))];
        text_table(["pipeline", "table", "what"].into_iter().zip(cells).collect(), more)
    }

    async fn errors(&self) -> Result<Arc<dyn TableProvider>> {
        let (mut cells, mut times) = ([vec![], vec![], vec![]], vec![]);
        for PipelineError { pipeline, symbol, error, time } in self.lake.records::<PipelineError>().await? {
            cells.iter_mut().zip([pipeline, symbol, error]).for_each(|(column, cell)| column.push(cell));
            times.push(time);
        }
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"));
        text_table(["pipeline", "symbol", "error"].into_iter().zip(cells).collect(), vec![("time", times)])
    }
}

#[async_trait]
impl SchemaProvider for System {
    fn table_names(&self) -> Vec<String> {
        let kept = [PIPELINES, RUNS, ERRORS, SESSIONS].map(str::to_string);
        self.known.table_names().into_iter().chain(kept).collect()
    }

    async fn table(&self, name: &str) -> datafusion::common::Result<Option<Arc<dyn TableProvider>>> {
        let read = match name {
            PIPELINES => self.pipelines().await,
            RUNS => self.runs().await,
            ERRORS => self.errors().await,
            SESSIONS => sessions_table(),
            _ => return self.known.table(name).await,
        };
        Ok(Some(read?))
    }

    fn register_table(
        &self,
        name: String,
        table: Arc<dyn TableProvider>,
    ) -> datafusion::common::Result<Option<Arc<dyn TableProvider>>> {
        self.known.register_table(name, table)
    }

    fn deregister_table(&self, name: &str) -> datafusion::common::Result<Option<Arc<dyn TableProvider>>> {
        self.known.deregister_table(name)
    }

    fn table_exist(&self, name: &str) -> bool {
        self.table_names().iter().any(|known| known == name)
    }
}

impl Session {
    /// Adds a series function of the user's own: the dialect gives it its window and its defaults as it does for others,
    /// operators run it, and `system.functions` lists it.
    ///
    /// # Errors
    /// There is a function of that name, or its signature contradicts itself.
    pub fn register(&self, function: Arc<dyn SeriesFunction>) -> Result<()> {
        self.engine().register(function)?;
        let system = self.context().catalog("tallow").and_then(|catalog| catalog.schema(SYSTEM));
        let system = system.ok_or_else(|| Error::not_found(format!("there is no schema `{SYSTEM}`")))?;
        let table = functions_table(&self.engine().registered())?;
        system.deregister_table(FUNCTIONS)?;
        system.register_table(FUNCTIONS.to_string(), table)?;
        Ok(())
    }
}

/// Every function with its signature, reach and documentation, those of the user among them.
pub(crate) fn functions_table(own: &[Arc<dyn SeriesFunction>]) -> Result<Arc<dyn TableProvider>> {
    let columns = ["name", "aliases", "family", "usage", "returns", "reach_back", "reach_ahead", "doc"];
    let mut cells: Vec<Vec<String>> = vec![vec![]; columns.len()];
    for function in describe_with(own) {
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
    text_table(columns.into_iter().zip(cells).collect(), vec![])
}

/// A table of columns with text, and others after them.
fn text_table(texts: Vec<(&str, Vec<String>)>, others: Vec<(&str, ArrayRef)>) -> Result<Arc<dyn TableProvider>> {
    let texts = texts.into_iter().map(|(name, cells)| (name, Arc::new(StringArray::from(cells)) as ArrayRef));
    let batch = RecordBatch::try_from_iter(texts.chain(others))?;
    Ok(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?))
}
