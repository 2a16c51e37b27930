//! A stream of NATS JetStream, read by a durable consumer: `nats://localhost:4222?stream=candles`.
//!
//! A message is a candle as JSON. It is acknowledged once the lake has what came of it; what is not within five minutes is delivered
//! again, and known to be the same.

use super::FromFeed;
use super::server::{AT_A_TIME, Acknowledged, Address, Ended, Lines, Server, run};
use crate::core::Feed;
use async_nats::jetstream::consumer::pull::{Config, Stream};
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer};
use async_nats::jetstream::message::Acker;
use async_nats::jetstream::{Message, new};
use async_nats::{ConnectOptions, Event};
use futures::StreamExt;
use std::time::Duration;
use tallow_common::Result;
use tokio::sync::mpsc::{Sender, channel};
use tokio_util::sync::CancellationToken;
use url::Url;

/// What is not acknowledged within this time is delivered again: results are flushed more often.
const ACKNOWLEDGED: Duration = Duration::from_secs(300);
/// How long it takes until what was left is delivered again.
const LEFT: Duration = Duration::from_secs(1);
/// Messages that may wait to be acknowledged.
const WAITING: i64 = 1_000_000;

/// A stream and a consumer that reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct NatsStream {
    server: Url,
    stream: String,
    consumer: Option<String>,
    subject: Option<String>,
}

impl NatsStream {
    /// Reads `nats://HOST:PORT?stream=NAME&consumer=NAME&subject=FILTER`.
    ///
    /// # Errors
    /// It names no stream, or something else that is not known.
    pub fn parse(text: &str) -> Result<NatsStream> {
        let mut of = Address::of_plain(text, &["stream", "consumer", "subject"])?;
        let stream = of.required("stream")?;
        Ok(NatsStream { stream, consumer: of.take("consumer"), subject: of.take("subject"), server: of.server })
    }

    /// Runs the feed; the consumer is called like the run, if it has no name.
    pub(super) async fn run(self, name: String, feed: Feed, into: Sender<FromFeed>, stop: CancellationToken) {
        let consumer = self.consumer.clone().unwrap_or_else(|| format!("tallow-{name}"));
        run(Reader { of: self, consumer }, feed, into, stop).await;
    }
}

struct Reader {
    of: NatsStream,
    consumer: String,
}

impl Server for Reader {
    type Receipt = Acker;

    fn name(&self) -> String {
        let host = self.of.server.host_str().unwrap_or_default();
        format!("nats://{host}:{} stream {}", self.of.server.port().unwrap_or(4222), self.of.stream)
    }

    async fn connected(&mut self, lines: &mut Lines<Acker>, acknowledged: &mut Acknowledged<Acker>) -> Ended {
        // The client would connect again by itself, and what the server forgot to be acknowledged would wait.
        let (lost, mut is_lost) = channel(1);
        match self.connect(lost).await {
            Ok(messages) => {
                tokio::select! {
                    ended = reads(messages, lines) => ended,
                    ended = tells(acknowledged) => ended,
                    _ = is_lost.recv() => Ended::broken("the connection is lost"),
                }
            }
            Err(error) => Ended::broken(error),
        }
    }
}

impl Reader {
    async fn connect(&self, lost: Sender<()>) -> std::result::Result<Stream, async_nats::Error> {
        let options = ConnectOptions::new().event_callback(move |event| {
            if event == Event::Disconnected {
                let _ = lost.try_send(());
            }
            async {}
        });
        let client = options.connect(self.of.server.as_str()).await?;
        let stream = new(client).get_stream(&self.of.stream).await?;
        let config = Config {
            durable_name: Some(self.consumer.clone()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACKNOWLEDGED,
            max_ack_pending: WAITING,
            filter_subject: self.of.subject.clone().unwrap_or_default(),
            ..Config::default()
        };
        let consumer: PullConsumer = stream.get_or_create_consumer(&self.consumer, config.clone()).await?;
        if consumer.cached_info().num_ack_pending > 0 {
            // What a connection before this one left is not waited for until its time is over.
            stream.create_consumer(Config { ack_wait: LEFT, ..config.clone() }).await?;
            tokio::time::sleep(2 * LEFT).await;
            stream.create_consumer(config).await?;
        }
        Ok(consumer.messages().await?)
    }
}

async fn reads(messages: Stream, lines: &mut Lines<Acker>) -> Ended {
    let mut messages = messages.ready_chunks(AT_A_TIME);
    while let Some(messages) = messages.next().await {
        let mut some = Vec::with_capacity(messages.len());
        for message in messages {
            match message.map(Message::split) {
                Ok((message, acker)) => some.push((acker, message.payload.to_vec())),
                Err(error) => return Ended::broken(error),
            }
        }
        if !lines.put(some).await {
            return Ended::Unwanted;
        }
    }
    Ended::broken("the server ended it")
}

async fn tells(acknowledged: &mut Acknowledged<Acker>) -> Ended {
    while let Some(ackers) = acknowledged.next().await {
        let last = ackers.len().saturating_sub(1);
        for (i, acker) in ackers.iter().enumerate() {
            // The last one waits for the server to have it, and so all of them.
            let told = if i == last { acker.double_ack().await } else { acker.ack().await };
            if let Err(error) = told {
                return Ended::broken(error);
            }
        }
    }
    Ended::Unwanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_has_a_name() {
        let of = NatsStream::parse("nats://localhost:4222?stream=bars&subject=bars.1m").unwrap();
        assert_eq!((of.stream.as_str(), of.subject.as_deref()), ("bars", Some("bars.1m")));
        for wrong in ["nats://localhost", "nats://localhost?stream=a&topic=b"] {
            assert!(NatsStream::parse(wrong).is_err(), "{wrong}");
        }
    }
}
