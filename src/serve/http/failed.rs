//! Errors as answers.

use crate::queries::QueryId;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tallow_common::{Code, Error};

/// After so many seconds it is worth while to ask again.
const AGAIN: HeaderValue = HeaderValue::from_static("1");

/// An error, and of which query.
#[derive(Debug)]
pub(crate) struct Failed {
    error: Error,
    query: Option<QueryId>,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed { error, query: None }
    }
}

/// An error as it is told.
#[derive(Debug, Serialize)]
struct Told<'a> {
    code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<Position>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<Detail<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    query_id: Option<String>,
}

/// A place in the text of a query, from 1.
#[derive(Debug, Clone, Copy, Serialize)]
struct Position {
    line: usize,
    column: usize,
}

/// One of several problems of a text.
#[derive(Debug, Serialize)]
struct Detail<'a> {
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<Position>,
}

fn position(place: Option<(usize, usize)>) -> Option<Position> {
    place.map(|(line, column)| Position { line, column })
}

impl Failed {
    /// An error of a query.
    pub fn of(query: Option<QueryId>) -> impl Fn(Error) -> Failed {
        move |error| Failed { error, query: query.clone() }
    }

    fn status(&self) -> StatusCode {
        let status = match self.error.code() {
            // Somebody's text, whatever went wrong with it.
            Code::Internal if self.query.is_some() => 422,
            code => code.http_status(),
        };
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// An error as JSON.
pub(crate) fn told(error: &Error, query: Option<&QueryId>) -> serde_json::Value {
    let (message, details) = match error {
        Error::Text(problems) => {
            let detail = problems.list.iter().map(|problem| Detail {
                message: &problem.message,
                hint: problem.help.as_deref(),
                position: position(problem.place.map(|(line, column, _)| (line, column))),
            });
            let details: Vec<Detail<'_>> = detail.collect();
            let first = details.first().map_or_else(|| error.to_string(), |first| first.message.to_string());
            (first, if details.len() > 1 { details } else { vec![] })
        }
        Error::Known { message, .. } => (tallow_common::redact::redacted(message).into_owned(), vec![]),
        other => (other.to_string(), vec![]),
    };
    let told = Told {
        code: error.code().name(),
        message,
        hint: error.hint(),
        position: position(error.place()),
        details,
        query_id: query.map(QueryId::to_string),
    };
    serde_json::json!({ "error": told })
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = (status, Json(told(&self.error, self.query.as_ref()))).into_response();
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            response.headers_mut().insert(header::RETRY_AFTER, AGAIN);
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
