//! Named queries that are watched: those with `metric:` in their header, whose first number is a gauge.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tallow_common::Result;
use tallow_pipeline::Session;
use tallow_pipeline::named::NamedQueries;
use tokio::sync::Mutex;

/// How long an answer is given again.
const FRESH: Duration = Duration::from_secs(15);

/// A number that a query gave.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Gauge {
    pub name: String,
    pub help: String,
    pub value: f64,
}

/// The queries of a session, and what they gave last.
pub(crate) struct Watched {
    session: Arc<Session>,
    last: Mutex<Option<(Instant, Vec<Gauge>)>>,
}

impl Watched {
    pub fn of(session: Arc<Session>) -> Watched {
        Watched { session, last: Mutex::new(None) }
    }

    /// What they give now. Who asks at the same time waits for the same answer.
    pub async fn gauges(&self) -> Vec<Gauge> {
        let mut last = self.last.lock().await;
        if let Some((at, gauges)) = last.as_ref()
            && at.elapsed() < FRESH
        {
            return gauges.clone();
        }
        let mut gauges = vec![];
        let queries = self.session.extension::<NamedQueries>();
        for query in queries.iter().flat_map(|queries| queries.iter()) {
            let Some(help) = &query.metric else { continue };
            match self.number(&query.name).await {
                Ok(Some(value)) => gauges.push(Gauge { name: query.name.clone(), help: help.clone(), value }),
                Ok(None) => tracing::warn!("the query `{}` gives no number to be watched", query.name),
                Err(error) => tracing::warn!("the query `{}` cannot be watched: {error}", query.name),
            }
        }
        *last = Some((Instant::now(), gauges.clone()));
        gauges
    }

    async fn number(&self, query: &str) -> Result<Option<f64>> {
        // Its type is too deep for the compiler to look through.
        let found: Pin<Box<dyn Future<Output = Result<Vec<RecordBatch>>> + Send + '_>> =
            Box::pin(self.session.named_query(query)?.collect());
        let batches = found.await?;
        Ok(batches.iter().find(|batch| batch.num_rows() > 0).and_then(first_number))
    }
}

/// The first number of the first row.
fn first_number(rows: &RecordBatch) -> Option<f64> {
    let numbers = rows.columns().iter().filter(|column| column.data_type().is_numeric());
    let number = |column: &Arc<dyn Array>| {
        let column = cast(column, &DataType::Float64).ok()?;
        let column = column.as_primitive::<Float64Type>();
        column.is_valid(0).then(|| column.value(0))
    };
    numbers.filter_map(number).next()
}
