//! Lines of JSON on connections to a port.
//!
//! Each connection hears what became of its lines: `{"accepted":17}`, how many are by now, and `{"rejected":18,"error":".."}` for
//! a line that is not. A client that sends faster than candles are computed is held up, not refused.

use super::ndjson::Lines;
use super::{FromFeed, Numbers, Reply};
use crate::core::Feed;
use std::net::TcpListener as Bound;
use std::sync::Arc;
use std::time::Duration;
use tallow_common::{Error, Result};
use tallow_pipeline::Session;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Sender, unbounded_channel};
use tokio_util::sync::CancellationToken;

/// Connections at the same time; a further one is refused.
const CONNECTIONS: usize = 1_024;
/// How long it is waited after a connection could not be accepted, as with too many open files.
const WAIT: Duration = Duration::from_millis(100);

pub(super) fn start(
    address: &str,
    feed: Feed,
    session: &Arc<Session>,
    numbers: &Arc<Numbers>,
    into: Sender<FromFeed>,
    stop: CancellationToken,
) -> Result<()> {
    let named = |error| Error::File(format!("listening on {address}"), error);
    let bound = Bound::bind(address).map_err(named)?;
    bound.set_nonblocking(true).map_err(named)?;
    if let Ok(address) = bound.local_addr() {
        tracing::info!("listening on {address}");
    }
    let (numbers, of_session) = (Arc::clone(numbers), Arc::clone(session));
    session.engine().spawn(async move {
        let listener = match TcpListener::from_std(bound) {
            Ok(listener) => listener,
            Err(error) => {
                let _ = into.send(FromFeed::Failed(feed, Error::File("listening".to_string(), error))).await;
                return;
            }
        };
        let free = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!("a connection is not accepted: {error}");
                    tokio::time::sleep(WAIT).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&free).try_acquire_owned() else {
                refuse(&stream).await;
                continue;
            };
            let (own, into, stop) = (numbers.next(), into.clone(), stop.clone());
            let served = of_session.engine().spawn(async move {
                serve(stream, own, into, stop).await;
                drop(permit);
            });
            if served.is_err() {
                break;
            }
        }
        let _ = into.send(FromFeed::Closed(feed)).await;
    })?;
    Ok(())
}

/// Says why a connection is closed.
async fn refuse(stream: &TcpStream) {
    let error = format!("{CONNECTIONS} connections are open, and no more may be");
    // Its buffer is empty: this takes no time.
    let _ = tokio::time::timeout(WAIT, stream.writable()).await;
    let _ = stream.try_write(format!("{}\n", serde_json::json!({ "error": error })).as_bytes());
}

async fn serve(stream: TcpStream, feed: Feed, into: Sender<FromFeed>, stop: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let (mut input, mut output) = stream.into_split();
    let (replies, mut to_send) = unbounded_channel();
    if into.send(FromFeed::Opened(feed, replies)).await.is_err() {
        return;
    }
    let reading = async {
        let (mut lines, mut buffer) = (Lines::default(), vec![0; 1 << 16]);
        loop {
            let mut read = vec![];
            let length = tokio::select! {
                length = input.read(&mut buffer) => length.unwrap_or(0),
                () = stop.cancelled() => 0,
            };
            if length == 0 {
                lines.end(&mut read);
            } else {
                lines.push(&buffer[..length], &mut read);
            }
            let is_over = !read.is_empty() && into.send(FromFeed::Lines(feed, read)).await.is_err();
            if is_over || length == 0 {
                break;
            }
        }
        let _ = into.send(FromFeed::Closed(feed)).await;
    };
    let writing = async {
        while let Some(reply) = to_send.recv().await {
            let mut text = line(&reply);
            while let Ok(more) = to_send.try_recv() {
                text += &line(&more);
            }
            if output.write_all(text.as_bytes()).await.is_err() {
                break;
            }
        }
    };
    futures::join!(reading, writing);
}

fn line(reply: &Reply) -> String {
    let value = match reply {
        Reply::Accepted(count) => serde_json::json!({ "accepted": count }),
        Reply::Rejected { line, error } => serde_json::json!({ "rejected": line, "error": error }),
    };
    format!("{value}\n")
}
