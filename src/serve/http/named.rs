//! `/v1/queries`: named queries.

use super::ask::Ask;
use super::caller::{Reads, With};
use super::failed::Failed;
use super::server::Served;
use super::sql::run;
use crate::queries::Work;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tallow_pipeline::named::NamedQueries;
use tallow_pipeline::query::Query;

pub(super) async fn list(State(served): State<Served>, _: Reads) -> Result<Response, Failed> {
    let queries = served.queries.session().extension::<NamedQueries>()?;
    let all = queries.iter().map(|query| {
        let params =
            query.params.iter().map(|param| json!({ "name": param.name, "default": param.default, "doc": param.doc }));
        json!({ "name": query.name, "doc": query.doc, "params": params.collect::<Vec<_>>() })
    });
    Ok(Json(all.collect::<Vec<_>>()).into_response())
}

pub(super) async fn get(
    State(served): State<Served>,
    With(caller): Reads,
    Path(name): Path<String>,
    headers: HeaderMap,
    RawQuery(address): RawQuery,
) -> Result<Response, Failed> {
    let ask = Ask::default().with_address(address.as_deref())?;
    let query = of(&served, &name, &ask)?;
    run(&served, &caller, &headers, &ask, Work::Query(query)).await
}

pub(super) async fn post(
    State(served): State<Served>,
    With(caller): Reads,
    Path(name): Path<String>,
    headers: HeaderMap,
    RawQuery(address): RawQuery,
    body: Bytes,
) -> Result<Response, Failed> {
    // Who needs no values for parameters need not send any.
    let ask = match headers.contains_key(header::CONTENT_TYPE) || !body.is_empty() {
        true => Ask::of_body(&headers, &body)?,
        false => Ask::default(),
    };
    let ask = ask.with_address(address.as_deref())?;
    let query = of(&served, &name, &ask)?;
    run(&served, &caller, &headers, &ask, Work::Query(query)).await
}

fn of(served: &Served, name: &str, ask: &Ask) -> Result<Query, Failed> {
    let queries = served.queries.session().extension::<NamedQueries>()?;
    Ok(Query::named(queries.find(name)?, &ask.params()?)?)
}
