//! Matches that are kept, each with the run that found it, so that what was known when can be looked up later.

use crate::Session;
use crate::control::{Control, Progress};
use crate::materialize::ResultTable;
use crate::range::time;
use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{DataFrame, lit};
use std::sync::Arc;
use tallow_common::Result;
use tallow_lake::{Computed, Earlier, Replaced, ResultKind};
use uuid::{Builder, Uuid};

/// One run of a search whose matches are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MatchedAt {
    /// Its id: a UUID of version 7, so that ids have the order of the runs.
    pub run_id: String,
    /// When it was, in microseconds since the epoch.
    pub found_at: i64,
}

impl MatchedAt {
    pub fn new(now: DateTime<Utc>) -> MatchedAt {
        let millis = u64::try_from(now.timestamp_millis()).unwrap_or_default();
        let mut random = [0; 10];
        random.copy_from_slice(&Uuid::new_v4().as_bytes()[6..]);
        let run_id = Builder::from_unix_timestamp_millis(millis, &random).into_uuid().to_string();
        MatchedAt { run_id, found_at: now.timestamp_micros() }
    }

    /// Matches with the columns `run_id` and `found_at`.
    async fn of(&self, session: &Session, matches: DataFrame) -> Result<Arc<dyn ExecutionPlan>> {
        let columns = [("run_id", lit(self.run_id.clone())), ("found_at", time(self.found_at))];
        let marked = columns.into_iter().try_fold(matches, |rows, (name, value)| rows.with_column(name, value))?;
        session.plan(marked).await
    }

    /// Adds the matches of this run to those that a table keeps of earlier ones, or puts them in their place; `sources` are what
    /// they were found in, where the same versions are to be searched once only.
    pub async fn keep(
        &self,
        session: &Session,
        matches: DataFrame,
        table: &ResultTable,
        sources: Vec<(String, u64)>,
        earlier: Earlier,
        control: &Control,
    ) -> Result<Replaced> {
        let progress = Arc::clone(&control.progress);
        let computed = Computed {
            rows: self.of(session, matches).await?,
            ordered: false,
            properties: table.properties.clone(),
            kind: ResultKind::Matches,
            sources,
            progress: Box::new(move |rows| progress(Progress::rows(rows, None))),
        };
        control.limit(&session.engine().clock()?, session.write(&table.name, computed, earlier)).await
    }

    /// The same for matches that are there already.
    pub async fn keep_rows(
        &self,
        session: &Session,
        matches: &RecordBatch,
        table: &ResultTable,
        control: &Control,
    ) -> Result<Replaced> {
        let rows = session.context().read_batch(matches.clone())?;
        self.keep(session, rows, table, vec![], Earlier::Kept, control).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_order_of_the_runs() {
        let at = |micros| MatchedAt::new(DateTime::from_timestamp_micros(micros).unwrap()).run_id;
        let (first, second) = (at(1_700_000_000_000_000), at(1_700_000_000_001_000));
        assert!(first < second);
        assert_eq!(Uuid::parse_str(&first).unwrap().get_version_num(), 7);
        assert_ne!(at(1), at(1));
    }
}
