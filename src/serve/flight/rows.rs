//! Rows as messages of Flight, made where they are computed.

use super::status;
use crate::queries::{Asked, Queries, Running};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use futures::{Stream, StreamExt, stream};
use std::sync::{Arc, Mutex, PoisonError};
use tallow_common::{Error, Result};
use tallow_pipeline::control::Control;
use tallow_pipeline::encoding::{portable, ported};
use tonic::Status;

/// Messages that wait to be sent.
const MESSAGES: usize = 2;

/// The rows of queries, one after the other; the first has begun.
///
/// # Errors
/// The first failed before its first rows.
pub(super) async fn of(
    queries: &Arc<Queries>,
    mut asked: Vec<Asked>,
) -> Result<impl Stream<Item = std::result::Result<FlightData, Status>> + Send + use<>> {
    let none = || Error::invalid("no values are given for the parameters");
    let rest = asked.split_off(1.min(asked.len()));
    let first = queries.begin(asked.pop().ok_or_else(none)?).await?;
    let schema = portable(&first.schema);
    let session = Arc::clone(queries.session());
    let (to, from) = tokio::sync::mpsc::channel(MESSAGES);
    // That of the query whose rows come.
    let current = Arc::new(Mutex::new(first.control().clone()));
    let clock = session.engine().clock()?;
    let rows = of_all(Arc::clone(queries), first, rest, Arc::clone(&schema), Arc::clone(&current));
    let mut messages = FlightDataEncoderBuilder::new().with_schema(schema).build(rows);
    session.engine().spawn(async move {
        loop {
            let next = tokio::select! {
                biased;
                () = to.closed() => break,
                next = messages.next() => next,
            };
            let Some(message) = next else { break };
            let control = current.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let sending = async { to.send(message.map_err(told)).await.map_err(|_| Error::Cancelled) };
            if control.limit(&clock, sending).await.is_err() {
                break;
            }
        }
    })?;
    Ok(stream::unfold(from, |mut from| async move { Some((from.recv().await?, from)) }))
}

/// An error of ours is itself again.
fn told(error: FlightError) -> Status {
    match error {
        FlightError::ExternalError(inner) => match inner.downcast::<Error>() {
            Ok(ours) => status(*ours),
            Err(other) => Status::internal(other.to_string()),
        },
        other => Status::from(other),
    }
}

fn of_all(
    queries: Arc<Queries>,
    first: Running,
    rest: Vec<Asked>,
    schema: SchemaRef,
    current: Arc<Mutex<Control>>,
) -> impl Stream<Item = std::result::Result<RecordBatch, FlightError>> + Send {
    let others = stream::iter(rest).then(move |asked| {
        let (queries, current) = (Arc::clone(&queries), Arc::clone(&current));
        async move {
            let query = queries.begin(asked).await?;
            *current.lock().unwrap_or_else(PoisonError::into_inner) = query.control().clone();
            Ok::<_, Error>(query)
        }
    });
    let all = stream::iter([Ok(first)]).chain(others);
    all.flat_map(move |query| match query {
        Ok(query) => of_one(query, Arc::clone(&schema)).boxed(),
        Err(error) => stream::iter([Err(FlightError::from_external_error(Box::new(error)))]).boxed(),
    })
}

fn of_one(
    query: Running,
    schema: SchemaRef,
) -> impl Stream<Item = std::result::Result<RecordBatch, FlightError>> + Send {
    stream::unfold(query, move |mut query| {
        let schema = Arc::clone(&schema);
        async move {
            let rows = query.next().await?;
            let rows =
                rows.and_then(|rows| ported(&rows, &schema)).inspect(|rows| query.sent(rows.get_array_memory_size()));
            Some((rows.map_err(|error| FlightError::from_external_error(Box::new(query.failed(error)))), query))
        }
    })
}
