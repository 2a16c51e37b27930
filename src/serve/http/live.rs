//! The routes of a live run.

use super::connections::{Connections, Listening};
use super::failed::Failed;
use super::guard::same_site;
use crate::metrics;
use crate::watched::Watched;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use std::future::Future;
use std::sync::Arc;
use tallow_common::Error;
use tallow_live::Door;
use tallow_pipeline::Session;
use tokio_util::sync::CancellationToken;

/// A body is not longer.
const LONGEST: usize = 16 << 20;

/// What routes answer from.
#[derive(Clone)]
struct Served {
    door: Door,
    watched: Arc<Watched>,
}

impl Listening {
    /// Serves a live run of a session until it is stopped.
    pub fn serve(self, door: Door, session: Arc<Session>, stop: CancellationToken) -> impl Future<Output = ()> + Send {
        if !self.address().ip().is_loopback() {
            tracing::warn!("whoever reaches {} can read what the run knows and hand candles in", self.address());
        }
        let served = Served { door, watched: Arc::new(Watched::of(session)) };
        let routes = Router::new()
            .route("/metrics", get(metrics_of))
            .route("/health/live", get(|| async { "ok\n" }))
            .route("/health/ready", get(ready))
            .route("/health/detailed", get(status))
            .route("/v1/live", get(status))
            .route("/v1/live/dead-letters", get(dead_letters).delete(drop_letters))
            .route("/v1/live/dead-letters/retry", post(retry))
            .route("/v1/live/flush", post(flush))
            .route("/v1/candles", post(candles))
            .layer(DefaultBodyLimit::max(LONGEST))
            .layer(from_fn_with_state(self.address(), same_site))
            .with_state(served);
        self.answer(routes, None, Connections::default(), stop)
    }
}

/// Of which symbol.
#[derive(Deserialize)]
struct Which {
    symbol: Option<String>,
}

async fn metrics_of(State(served): State<Served>) -> Result<Response, Failed> {
    let status = served.door.status().await?;
    let text = metrics::text(status, served.watched.gauges().await);
    let text = text.map_err(|error| Failed::from(Error::invalid(format!("metrics cannot be written: {error}"))))?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

async fn ready(State(Served { door, .. }): State<Served>) -> Result<&'static str, Failed> {
    door.status().await?;
    Ok("ok\n")
}

async fn status(State(Served { door, .. }): State<Served>) -> Result<Response, Failed> {
    Ok(Json(door.status().await?).into_response())
}

async fn flush(State(Served { door, .. }): State<Served>) -> Result<Response, Failed> {
    door.flush().await?;
    Ok(Json(json!({ "flushed": true })).into_response())
}

async fn dead_letters(State(Served { door, .. }): State<Served>) -> Result<Response, Failed> {
    Ok(Json(door.dead_letters().await?).into_response())
}

async fn retry(State(Served { door, .. }): State<Served>, Query(which): Query<Which>) -> Result<Response, Failed> {
    let count = door.retry(which.symbol).await?;
    Ok(Json(json!({ "retried": count })).into_response())
}

async fn drop_letters(
    State(Served { door, .. }): State<Served>,
    Query(which): Query<Which>,
) -> Result<Response, Failed> {
    let count = door.drop_letters(which.symbol).await?;
    Ok(Json(json!({ "dropped": count })).into_response())
}

/// Candles as lines of JSON, or as one array. What is accepted is kept whatever happens; if nothing is, the status says so.
async fn candles(State(Served { door, .. }): State<Served>, body: Bytes) -> Result<Response, Failed> {
    let lines = match body.trim_ascii_start().first() {
        Some(b'[') => {
            let all: Vec<&serde_json::value::RawValue> = serde_json::from_slice(&body)
                .map_err(|error| Failed::from(Error::invalid(format!("the body is no array of candles: {error}"))))?;
            // Each on a line of its own.
            all.iter().map(|candle| candle.get().replace('\n', " ") + "\n").collect::<String>().into_bytes()
        }
        _ => body.to_vec(),
    };
    let submitted = door.submit(&lines).await?;
    let status = match (submitted.accepted, submitted.rejected.is_empty()) {
        (0, false) => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    };
    Ok((status, Json(submitted)).into_response())
}
