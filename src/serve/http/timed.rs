//! How long requests take, from when they came until their answers are sent.

use super::server::Served;
use crate::queries::{Operation, Records, micros_of_now};
use axum::body::{Body, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::{Bytes, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

/// Records a request once its answer is sent.
pub(super) async fn timed(State(served): State<Served>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_string());
    let Some(path) = path.filter(|path| path.starts_with("/v1/") && !path.starts_with("/v1/performance")) else {
        return next.run(request).await;
    };
    let mut sending = Sending {
        operation: format!("{} {path}", request.method()),
        time: micros_of_now(),
        begun: Instant::now(),
        records: Arc::clone(served.queries.shared_records()),
        error: Some("whoever asked has left".to_string()),
    };
    let response = next.run(request).await;
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        sending.error = Some(status.to_string());
    }
    let is_good = status.is_success() || status.is_redirection();
    response.map(|inner| Body::new(Sent { inner, is_good, sending }))
}

/// An answer that is being sent.
struct Sending {
    operation: String,
    time: i64,
    begun: Instant,
    records: Arc<Records>,
    error: Option<String>,
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.records.add_operation(Operation {
            operation: std::mem::take(&mut self.operation),
            time: self.time,
            ms: self.begun.elapsed().as_secs_f64() * 1e3,
            ok: self.error.is_none(),
            error: self.error.take(),
        });
    }
}

/// The body of an answer.
struct Sent {
    inner: Body,
    is_good: bool,
    sending: Sending,
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let next = std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &next {
            Some(Err(error)) => self.sending.error = Some(error.to_string()),
            Some(Ok(_)) if self.inner.is_end_stream() && self.is_good => self.sending.error = None,
            None if self.is_good => self.sending.error = None,
            _ => {}
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
