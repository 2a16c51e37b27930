//! Rows that are computed and written as a table: the one way to do so.

use super::control::{Control, Progress};
use crate::Session;
use arrow::array::RecordBatch;
use datafusion::physical_plan::ExecutionPlan;
use std::collections::HashMap;
use std::sync::Arc;
use tallow_common::{Error, Result, readable};
use tallow_engine::cancellation::Cancellation;
use tallow_lake::{Computed, IngestSummary, Merging, ResultKind, Written};
use tallow_udfs::calendar::Timeframe;

/// The name of a result table as it is given: `swing` or `labels_swing` among those of the lake, or a place.
///
/// # Errors
/// It cannot be the name of such a table.
pub fn result_table(kind: ResultKind, given: &str) -> Result<String> {
    kind.table(given).map_err(|error| Error::Request(readable(&error)))
}

/// A table that results are written to.
#[derive(Debug, Clone)]
pub struct ResultTable {
    /// Its name, as [`result_table`] gives it.
    pub name: String,
    /// What it holds.
    pub kind: ResultKind,
    /// What is to be remembered of the rows: what they are about, and what they were computed by.
    pub properties: HashMap<String, String>,
}

impl ResultTable {
    /// Whether it may be written: [`Materialization::overwrite`] asks too, but by then much may be computed.
    ///
    /// # Errors
    /// Something else is there than an earlier result of the same kind, of the same bars.
    pub async fn check(&self, session: &Session) -> Result<()> {
        let ResultTable { name, kind, properties } = self.clone();
        session.on_lake(move |lake| async move { lake.check_overwrite(&name, kind, &properties).await }).await
    }
}

/// Rows that are to be written.
#[derive(Debug, Clone)]
pub struct Materialization {
    plan: Arc<dyn ExecutionPlan>,
    ordered: bool,
    /// How many rows there will be, as far as that is known, for who follows the work.
    expected: Option<u64>,
}

impl Materialization {
    /// The rows of a query.
    ///
    /// # Errors
    /// It cannot be planned.
    pub async fn of_sql(session: &Session, sql: &str) -> Result<Materialization> {
        let plan = session.plan(session.sql(sql).await?).await?;
        Ok(Materialization { plan, ordered: false, expected: None })
    }

    /// Rows that are there already.
    ///
    /// # Errors
    /// They cannot be planned.
    pub async fn of_rows(session: &Session, rows: &RecordBatch) -> Result<Materialization> {
        let plan = session.plan(session.context().read_batch(rows.clone())?).await?;
        Ok(Materialization { plan, ordered: false, expected: None })
    }

    /// The rows come ordered by (symbol, ts), which are their first two columns.
    pub fn ordered(self) -> Materialization {
        Materialization { ordered: true, ..self }
    }

    /// About so many rows will come.
    pub fn expecting(self, rows: Option<u64>) -> Materialization {
        Materialization { expected: rows, ..self }
    }

    /// Writes them as the whole contents of a result table, in one commit; it is made if it is not there.
    ///
    /// # Errors
    /// As [`ResultTable::check`]; or computing or writing them failed or was stopped, and the table is what it was.
    pub async fn overwrite(self, session: &Session, table: &ResultTable, control: &Control) -> Result<Written> {
        let Materialization { plan, ordered, expected } = self;
        let progress = Arc::clone(&control.progress);
        let computed = Computed {
            rows: plan,
            ordered,
            properties: table.properties.clone(),
            kind: table.kind,
            sources: vec![],
            progress: Box::new(move |rows| progress(Progress::rows(rows, expected))),
        };
        control.limit(&session.engine().clock()?, session.overwrite(&table.name, computed)).await
    }

    /// Merges them, which are candles ordered by (symbol, ts), into the lake's table of a timeframe, in one commit.
    ///
    /// # Errors
    /// Computing or writing them failed or was stopped, and the table is what it was.
    pub async fn merge(
        self,
        session: &Session,
        timeframe: Timeframe,
        origin: String,
        control: &Control,
    ) -> Result<IngestSummary> {
        let plan = self.plan;
        let _waiter = Cancellation::of_plan(&plan).waiter();
        let merged = session.on_lake(move |lake| async move {
            lake.merge(timeframe, &origin, plan, Merging { operation: "RESAMPLE", sources: &[], only_if: None }).await
        });
        control.limit(&session.engine().clock()?, merged).await
    }
}
