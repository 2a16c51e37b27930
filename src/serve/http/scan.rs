//! `/v1/scan`.

use super::ask::{Ask, Names};
use super::caller::{Runs, With};
use super::failed::Failed;
use super::server::Served;
use super::sql::run;
use crate::queries::Work;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use tallow_common::Error;
use tallow_pipeline::formulas;
use tallow_pipeline::scan::{Rank, Scan};

/// A scan, as a JSON object.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Asked {
    /// The condition, or the name of one of the lake.
    formula: String,
    params: BTreeMap<String, Value>,
    timeframe: Option<String>,
    symbols: Option<Names>,
    from: Option<String>,
    to: Option<String>,
    /// The newest bar of each symbol only.
    last: bool,
    /// What matches are ordered by, such as `volume desc`.
    rank: Option<String>,
    top: Option<usize>,
    allow_lookahead: bool,
    format: Option<String>,
    as_of: Option<String>,
    timeout: Option<String>,
    memory: Option<String>,
}

pub(super) async fn post(
    State(served): State<Served>,
    With(caller): Runs,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failed> {
    let asked: Asked =
        serde_json::from_slice(&body).map_err(|error| Error::invalid(format!("the body is no scan: {error}")))?;
    let Asked { formula, timeframe, last, rank, top, allow_lookahead, .. } = asked;
    let Asked { params, symbols, from, to, format, as_of, timeout, memory, .. } = asked;
    if formula.trim().is_empty() {
        return Err(Error::invalid("nothing is asked: give a condition as `formula`").into());
    }
    let ask = Ask { params, symbols, from, to, format, as_of, timeout, memory, ..Ask::default() };
    let options = ask.options()?;
    let session = served.queries.session();
    let table = match timeframe {
        Some(timeframe) => tallow_pipeline::table_of(&timeframe)?,
        None => "candles".to_string(),
    };
    let (formula, _) = formulas::resolve(session, &formula).await?;
    let scan = Scan {
        params: ask.params()?,
        table,
        symbols: options.symbols,
        range: options.range,
        last,
        rank: rank.as_deref().map(Rank::parse).transpose()?,
        top,
        allow_lookahead,
        ..Scan::of(formula)
    };
    run(&served, &caller, &headers, &ask, Work::Scan(Box::new(scan))).await
}
