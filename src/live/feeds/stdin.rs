//! Lines of JSON on standard input.

use super::FromFeed;
use super::ndjson::Lines;
use crate::core::Feed;
use std::io::{BufRead, BufReader};
use tallow_common::{Error, Result};
use tokio::sync::mpsc::Sender;

/// Reads standard input on a thread of its own: it cannot be read otherwise and be given up.
pub(super) fn start(feed: Feed, into: Sender<FromFeed>) -> Result<()> {
    let work = move || {
        let mut input = BufReader::with_capacity(1 << 18, std::io::stdin());
        let mut lines = Lines::default();
        loop {
            let mut read = vec![];
            let length = match input.fill_buf() {
                Ok([]) => break,
                Ok(bytes) => {
                    lines.push(bytes, &mut read);
                    bytes.len()
                }
                Err(error) => {
                    let _ =
                        into.blocking_send(FromFeed::Failed(feed, Error::File("standard input".to_string(), error)));
                    return;
                }
            };
            input.consume(length);
            if !read.is_empty() && into.blocking_send(FromFeed::Lines(feed, read)).is_err() {
                return;
            }
        }
        let mut read = vec![];
        lines.end(&mut read);
        let _ = into.blocking_send(FromFeed::Lines(feed, read));
        let _ = into.blocking_send(FromFeed::Closed(feed));
    };
    let started = std::thread::Builder::new().name("tallow-stdin".to_string()).spawn(work);
    started.map(drop).map_err(|error| Error::File("starting a thread".to_string(), error))
}
