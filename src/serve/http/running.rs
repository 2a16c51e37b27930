//! `/v1/running`: queries that run.

use super::caller::{Reads, With};
use super::failed::Failed;
use super::server::Served;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tallow_common::{Code, Error};

pub(super) async fn list(State(served): State<Served>, _: Reads) -> Response {
    Json(served.queries.running()).into_response()
}

pub(super) async fn get(State(served): State<Served>, _: Reads, Path(id): Path<String>) -> Result<Response, Failed> {
    let found = served.queries.running().into_iter().find(|record| record.id == id);
    let missing = || Error::not_found(format!("no query `{}` is running", tallow_common::short(&id)));
    Ok(Json(found.ok_or_else(missing)?).into_response())
}

/// Stops a query: one's own, or with the role write any.
pub(super) async fn stop(
    State(served): State<Served>,
    With(caller): Reads,
    Path(id): Path<String>,
) -> Result<StatusCode, Failed> {
    let found = served.queries.running().into_iter().find(|record| record.id == id);
    if let Some(record) = found
        && record.who != caller.name
        && caller.may(crate::access::Role::Write).is_err()
    {
        return Err(Error::known(Code::Forbidden, format!("the query `{id}` is one of `{}`", record.who)).into());
    }
    served.queries.stop(&id)?;
    Ok(StatusCode::NO_CONTENT)
}
