//! `/v1/running`: queries that run.

use super::caller::{Reads, With};
use super::failed::Failed;
use super::server::Served;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tallow_common::Error;

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
    served.queries.stop(&id, &caller)?;
    Ok(StatusCode::NO_CONTENT)
}
