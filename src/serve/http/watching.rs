//! How the server is doing: health, metrics, performance.

use super::ask::duration;
use super::caller::{Reads, Writes};
use super::failed::Failed;
use super::server::Served;
use crate::metrics;
use axum::Json;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use tallow_common::{Code, Error};

pub(super) async fn alive() -> &'static str {
    "ok\n"
}

pub(super) async fn ready(State(served): State<Served>) -> Result<&'static str, Failed> {
    match served.ends.is_cancelled() {
        false => Ok("ok\n"),
        true => Err(Error::known(Code::Unavailable, "the server is about to end").into()),
    }
}

pub(super) async fn detailed(State(served): State<Served>, _: Reads) -> Response {
    let (running, waiting) = served.queries.load();
    let pool = &served.queries.session().context().runtime_env().memory_pool;
    let lag = served.lag.quantiles();
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_s": served.begun.elapsed().as_secs(),
        "queries": { "running": running, "waiting": waiting },
        "memory": { "reserved": pool.reserved(), "limit": served.queries.session().engine().memory() },
        "lag_ms": { "p50": lag[0], "p95": lag[1], "p99": lag[2] },
    }))
    .into_response()
}

pub(super) async fn metrics(State(served): State<Served>, _: Reads) -> Result<Response, Failed> {
    let text = metrics::of_server(&served, served.watched.gauges().await);
    let text = text.map_err(|error| Error::invalid(format!("metrics cannot be written: {error}")))?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Last {
    last_n: Option<usize>,
}

/// Operations that are told by default, and at most.
const LAST: usize = 100;
const MOST: usize = 1_000;

pub(super) async fn performance(
    State(served): State<Served>,
    _: Reads,
    Query(Last { last_n }): Query<Last>,
) -> Result<Response, Failed> {
    let last = last_n.unwrap_or(LAST);
    if !(1..=MOST).contains(&last) {
        return Err(Error::invalid(format!("`last_n` is {last}: expected 1 to {MOST}")).into());
    }
    Ok(Json(served.queries.records().operations(last)).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Window {
    window: Option<String>,
}

pub(super) async fn summary(
    State(served): State<Served>,
    _: Reads,
    Query(Window { window }): Query<Window>,
) -> Result<Response, Failed> {
    let window = duration("window", window.as_deref().unwrap_or("1h"))?;
    let seconds = window.as_secs();
    if !(300..=86_400).contains(&seconds) {
        return Err(Error::invalid(format!("`window` is {seconds} s: expected 5m to 24h")).into());
    }
    Ok(Json(served.queries.records().summaries(window)).into_response())
}

pub(super) async fn clear(State(served): State<Served>, _: Writes) -> StatusCode {
    served.queries.records().clear();
    StatusCode::NO_CONTENT
}
