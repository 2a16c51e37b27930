//! Rows as the body of an answer.
//!
//! Rows are encoded where they are computed, and handed on as they come. What is encoded first is waited for: an answer that is
//! whole by then says so in its headers. Of one that fails later, the client sees that it is not whole: the connection breaks
//! before its end, and lines of JSON end with the error.

use super::ask::content_type;
use super::failed::{Failed, told};
use crate::queries::{QueryId, Record, Running};
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures::{FutureExt, Stream, StreamExt, stream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tallow_common::{Error, Result};
use tallow_pipeline::Session;
use tallow_pipeline::encoding::{Encoder, Encoding};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// What is encoded is waited for up to so many bytes, before the headers are sent.
const FIRST: usize = 64 << 10;
/// How long the error at the end of lines has to reach the client, before the connection breaks.
const LINGER: Duration = Duration::from_secs(1);
/// Pieces that wait to be sent.
const PIECES: usize = 2;

/// The name of a query.
pub(super) const QUERY_ID: HeaderName = HeaderName::from_static("x-query-id");
/// What it took.
const SUMMARY: HeaderName = HeaderName::from_static("x-tallow-summary");

/// A part of an answer.
enum Piece {
    Bytes(Vec<u8>),
    /// The last of it.
    End(Vec<u8>, Box<Record>),
}

/// Where an encoder writes to, and what it has written is taken from.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The rows of a query as an answer.
///
/// # Errors
/// They cannot be encoded, or the query failed before the headers were sent.
pub(super) async fn answer(session: &Session, query: Running, encoding: Encoding) -> Result<Response, Failed> {
    let id = query.id().clone();
    let failed = Failed::of(Some(id.clone()));
    let warnings = query.warnings.clone();
    let (to, mut from) = channel(PIECES);
    let clock = session.engine().clock().map_err(&failed)?;
    session.engine().spawn(encode(query, encoding, to, clock)).map_err(&failed)?;
    let (mut first, mut record) = (vec![], None);
    while first.len() < FIRST {
        match from.recv().await {
            Some(Ok(Piece::Bytes(bytes))) => first.extend(bytes),
            Some(Ok(Piece::End(bytes, ended))) => {
                first.extend(bytes);
                record = Some(ended);
                break;
            }
            Some(Err(error)) => return Err(failed(error)),
            None => return Err(failed(Error::Cancelled)),
        }
    }
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(encoding)));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.extend(value(&id.to_string()).map(|id| (QUERY_ID, id)));
    for warning in &warnings.list {
        headers.append(
            header::WARNING,
            value(&format!("199 - \"{}\"", warning.message.replace('"', "'")))
                .unwrap_or(HeaderValue::from_static("199 -")),
        );
    }
    let body = match record {
        Some(record) => {
            headers.extend(summary(&record).map(|summary| (SUMMARY, summary)));
            Body::from(first)
        }
        None => {
            headers.insert(header::TRAILER, HeaderValue::from_static("x-tallow-summary"));
            Body::new(StreamBody::new(frames(first, from, encoding, id)))
        }
    };
    Ok((headers, body).into_response())
}

/// A text as the value of a header, if it can be one.
fn value(text: &str) -> Option<HeaderValue> {
    let plain: String = text.chars().map(|c| if c.is_ascii() && !c.is_ascii_control() { c } else { ' ' }).collect();
    HeaderValue::from_str(&plain).ok()
}

fn summary(record: &Record) -> Option<HeaderValue> {
    let Record { rows, bytes, scanned_bytes, spilled_bytes, wait_us, plan_us, run_us, .. } = record;
    let ms = |micros: &u64| (*micros as f64 / 1e3 * 1e3).round() / 1e3;
    let of = serde_json::json!({"rows": rows, "bytes": bytes, "scanned_bytes": scanned_bytes,
        "spilled_bytes": spilled_bytes, "wait_ms": ms(wait_us), "plan_ms": ms(plan_us), "run_ms": ms(run_us)});
    value(&of.to_string())
}

/// What comes after the first part.
enum Rest {
    Pieces(Receiver<Result<Piece>>),
    /// It breaks off.
    Broken(Error),
    /// It has come to its end.
    Whole(Box<Record>),
    Nothing,
}

/// An answer, the first part of which is there.
fn frames(
    first: Vec<u8>,
    from: Receiver<Result<Piece>>,
    encoding: Encoding,
    id: QueryId,
) -> impl Stream<Item = Result<Frame<Bytes>, std::io::Error>> {
    let rest = stream::unfold(Rest::Pieces(from), move |rest| {
        let id = id.clone();
        async move {
            let mut from = match rest {
                Rest::Pieces(from) => from,
                Rest::Broken(error) => {
                    // A body that fails takes with it what is not sent yet, and nothing tells when it is.
                    if encoding == Encoding::Ndjson {
                        tokio::time::sleep(LINGER).await;
                    }
                    return Some((Err(std::io::Error::other(error.to_string())), Rest::Nothing));
                }
                Rest::Whole(record) => {
                    let trailers = summary(&record).map(|summary| (SUMMARY, summary)).into_iter().collect();
                    return Some((Ok(Frame::trailers(trailers)), Rest::Nothing));
                }
                Rest::Nothing => return None,
            };
            Some(match from.recv().await {
                Some(Ok(Piece::Bytes(bytes))) => (Ok(Frame::data(Bytes::from(bytes))), Rest::Pieces(from)),
                Some(Ok(Piece::End(bytes, record))) => (Ok(Frame::data(Bytes::from(bytes))), Rest::Whole(record)),
                failed => {
                    let error = failed.and_then(Result::err).unwrap_or(Error::Cancelled);
                    let last = match encoding {
                        Encoding::Ndjson => format!("{}\n", told(&error, Some(&id))),
                        _ => String::new(),
                    };
                    (Ok(Frame::data(Bytes::from(last))), Rest::Broken(error))
                }
            })
        }
    });
    stream::iter([Ok(Frame::data(Bytes::from(first)))]).chain(rest)
}

/// Encodes rows as they come, until all are, or nobody wants them.
async fn encode(mut query: Running, encoding: Encoding, to: Sender<Result<Piece>>, clock: tokio::runtime::Handle) {
    match encoded(&mut query, encoding, &to, &clock).await {
        Ok(last) => {
            let record = Box::new(query.record());
            // What the query held is given back before it is said that it has ended.
            drop(query);
            let _ = to.send(Ok(Piece::End(last, record))).await;
        }
        Err(error) => {
            let error = query.failed(error);
            drop(query);
            let _ = to.send(Err(error)).await;
        }
    }
}

/// Sends all but the last bytes, which are given back.
async fn encoded(
    query: &mut Running,
    encoding: Encoding,
    to: &Sender<Result<Piece>>,
    clock: &tokio::runtime::Handle,
) -> Result<Vec<u8>> {
    let control = query.control().clone();
    let send = |bytes: Vec<u8>| {
        let sending = async move { to.send(Ok(Piece::Bytes(bytes))).await.map_err(|_| Error::Cancelled) };
        control.limit(clock, sending)
    };
    let buffer = Buffer::default();
    let mut encoder = Encoder::new(encoding, &query.schema, buffer.clone())?;
    loop {
        let next = match query.next().now_or_never() {
            Some(next) => next,
            None => {
                // What there is is not held back for what comes later.
                let bytes = buffer.take();
                if !bytes.is_empty() {
                    query.sent(bytes.len());
                    send(bytes).await?;
                }
                tokio::select! {
                    biased;
                    () = to.closed() => return Err(Error::Cancelled),
                    next = query.next() => next,
                }
            }
        };
        let Some(rows) = next.transpose()? else { break };
        encoder.write(&rows)?;
        if buffer.len() >= FIRST {
            let bytes = buffer.take();
            query.sent(bytes.len());
            send(bytes).await?;
        }
    }
    encoder.finish()?;
    let last = buffer.take();
    query.sent(last.len());
    Ok(last)
}
