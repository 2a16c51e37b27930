//! `/v1/sql`.

use super::answer::answer;
use super::ask::{Ask, query_id};
use super::caller::{Reads, With};
use super::failed::Failed;
use super::server::Served;
use crate::access::Caller;
use crate::queries::{Asked, Work};
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use tallow_common::Error;
use tallow_pipeline::query::Query;

pub(super) async fn get(
    State(served): State<Served>,
    With(caller): Reads,
    headers: HeaderMap,
    RawQuery(address): RawQuery,
) -> Result<Response, Failed> {
    let ask = Ask::default().with_address(address.as_deref())?;
    let text = ask.sql.clone().ok_or_else(|| Error::invalid("nothing is asked: give the text of a query as `q`"))?;
    let query = Query { text, params: ask.params()?, ..Query::default() };
    run(&served, &caller, &headers, &ask, Work::Query(query)).await
}

pub(super) async fn post(
    State(served): State<Served>,
    With(caller): Reads,
    headers: HeaderMap,
    RawQuery(address): RawQuery,
    body: Bytes,
) -> Result<Response, Failed> {
    let ask = Ask::of_body(&headers, &body)?.with_address(address.as_deref())?;
    let text = ask.sql.clone().ok_or_else(|| Error::invalid("nothing is asked: give the text of a query as `sql`"))?;
    let query = Query { text, params: ask.params()?, ..Query::default() };
    run(&served, &caller, &headers, &ask, Work::Query(query)).await
}

/// Does what is asked with the options of a request, and answers with its rows.
pub(super) async fn run(
    served: &Served,
    caller: &Caller,
    headers: &HeaderMap,
    ask: &Ask,
    mut work: Work,
) -> Result<Response, Failed> {
    let queries = &served.queries;
    let id = query_id(headers)?.unwrap_or_else(|| queries.new_id());
    let failed = Failed::of(Some(id.clone()));
    // Before anything runs.
    let (encoding, mut options) = (ask.encoding(headers)?, ask.options()?);
    let mut request = std::mem::take(&mut options.request);
    request.memory = request.memory.into_iter().chain(caller.memory).min();
    let timeout = options.timeout.take();
    if let Work::Query(query) = &mut work {
        query.options = options;
    }
    let (who, most) = (caller.name.clone(), caller.queries);
    let asked = Asked { id, door: "http", who, most, request, timeout, work };
    let running = queries.begin(asked).await.map_err(failed)?;
    answer(queries.session(), running, encoding).await
}
