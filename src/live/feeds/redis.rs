//! A stream of Redis, read as one of a group: `redis://localhost:6379/0?stream=candles`.
//!
//! An entry has a candle as JSON in a field `candle`, `data` or `json`, or a field for each of its values. It is acknowledged once
//! the lake has what came of it. What another member of the group, or this one before a crash, has left for a minute is claimed.

use super::FromFeed;
use super::server::{AT_A_TIME, Acknowledged, Address, Ended, Lines, Server, run};
use crate::core::Feed;
use redis::aio::MultiplexedConnection;
use redis::streams::{StreamAutoClaimReply, StreamId, StreamReadReply};
use redis::{AsyncConnectionConfig, Client, RedisResult, Value, cmd};
use std::collections::BTreeMap;
use std::time::Duration;
use tallow_common::Result;
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;
use url::Url;

/// What has been left for so long is claimed.
const LEFT: Duration = Duration::from_secs(60);
/// So long a read waits for entries.
const BLOCK: Duration = Duration::from_secs(1);
/// Fields that hold a whole candle.
const WHOLE: [&str; 3] = ["candle", "data", "json"];

/// A stream and a group that reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct RedisStream {
    /// The server, without what is of the stream.
    server: Url,
    stream: String,
    group: Option<String>,
    consumer: String,
}

impl RedisStream {
    /// Reads `redis://HOST:PORT/DB?stream=NAME&group=NAME&consumer=NAME`.
    ///
    /// # Errors
    /// It names no stream, or something else that is not known.
    pub fn parse(text: &str) -> Result<RedisStream> {
        let mut of = Address::of_plain(text, &["stream", "group", "consumer"])?;
        let consumer = of.take("consumer").unwrap_or_else(|| "tallow".to_string());
        Ok(RedisStream { stream: of.required("stream")?, group: of.take("group"), consumer, server: of.server })
    }

    /// Runs the feed; the group is called like the run, if it has no name.
    pub(super) async fn run(self, name: String, feed: Feed, into: Sender<FromFeed>, stop: CancellationToken) {
        let group = self.group.clone().unwrap_or_else(|| format!("tallow-{name}"));
        run(Reader { of: self, group }, feed, into, stop).await;
    }
}

struct Reader {
    of: RedisStream,
    group: String,
}

impl Server for Reader {
    type Receipt = String;

    fn name(&self) -> String {
        let host = self.of.server.host_str().unwrap_or_default();
        format!("redis://{host}:{} stream {}", self.of.server.port().unwrap_or(6379), self.of.stream)
    }

    async fn connected(&mut self, lines: &mut Lines<String>, acknowledged: &mut Acknowledged<String>) -> Ended {
        match self.connect().await {
            Ok([mut reading, mut telling]) => {
                // What was delivered to this consumer before comes first, from the beginning.
                let reads = self.reads(&mut reading, lines);
                let tells = self.tells(&mut telling, acknowledged);
                tokio::select! {
                    ended = reads => ended,
                    ended = tells => ended,
                }
            }
            Err(error) => Ended::broken(error),
        }
    }
}

impl Reader {
    async fn connect(&self) -> RedisResult<[MultiplexedConnection; 2]> {
        let client = Client::open(self.of.server.as_str())?;
        // A read that waits for entries answers when it has some.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(Duration::from_secs(15)))
            .set_response_timeout(Some(Duration::from_secs(30)));
        let mut reading = client.get_multiplexed_async_connection_with_config(&config).await?;
        let telling = client.get_multiplexed_async_connection_with_config(&config).await?;
        let created: RedisResult<()> = cmd("XGROUP")
            .arg(&["CREATE", &self.of.stream, &self.group, "0", "MKSTREAM"])
            .query_async(&mut reading)
            .await;
        match created {
            Err(error) if error.code() != Some("BUSYGROUP") => Err(error),
            _ => Ok([reading, telling]),
        }
    }

    async fn reads(&self, connection: &mut MultiplexedConnection, lines: &mut Lines<String>) -> Ended {
        let mut after = Some("0".to_string());
        let mut claimed = tokio::time::Instant::now();
        loop {
            let entries = match self.read(connection, after.as_deref()).await {
                Ok(entries) => entries,
                Err(error) => return Ended::broken(error),
            };
            // Of what was delivered before there is no more: from here on, what is new.
            after = after.and_then(|_| entries.last().map(|entry| entry.id.clone()));
            if !lines.put(entries.into_iter().map(line).collect()).await {
                return Ended::Unwanted;
            }
            if after.is_none() && claimed.elapsed() >= LEFT / 2 {
                claimed = tokio::time::Instant::now();
                let entries = match self.claim(connection).await {
                    Ok(entries) => entries,
                    Err(error) => return Ended::broken(error),
                };
                if !lines.put(entries.into_iter().map(line).collect()).await {
                    return Ended::Unwanted;
                }
            }
        }
    }

    async fn read(&self, connection: &mut MultiplexedConnection, after: Option<&str>) -> RedisResult<Vec<StreamId>> {
        let (group, consumer, stream) = (&self.group, &self.of.consumer, &self.of.stream);
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP").arg(group).arg(consumer).arg("COUNT").arg(AT_A_TIME);
        read.arg("BLOCK").arg(BLOCK.as_millis() as u64).arg("STREAMS").arg(stream).arg(after.unwrap_or(">"));
        let reply: Option<StreamReadReply> = read.query_async(connection).await?;
        Ok(reply.into_iter().flat_map(|reply| reply.keys).flat_map(|key| key.ids).collect())
    }

    /// What another consumer of the group has left.
    async fn claim(&self, connection: &mut MultiplexedConnection) -> RedisResult<Vec<StreamId>> {
        let (mut entries, mut from) = (vec![], "0-0".to_string());
        loop {
            let mut claim = cmd("XAUTOCLAIM");
            claim.arg(&self.of.stream).arg(&self.group).arg(&self.of.consumer).arg(LEFT.as_millis() as u64);
            claim.arg(&from).arg("COUNT").arg(AT_A_TIME);
            let reply: StreamAutoClaimReply = claim.query_async(connection).await?;
            entries.extend(reply.claimed);
            from = reply.next_stream_id;
            if from == "0-0" || entries.len() >= AT_A_TIME {
                return Ok(entries);
            }
        }
    }

    async fn tells(&self, connection: &mut MultiplexedConnection, acknowledged: &mut Acknowledged<String>) -> Ended {
        while let Some(ids) = acknowledged.next().await {
            for ids in ids.chunks(AT_A_TIME) {
                let told: RedisResult<()> =
                    cmd("XACK").arg(&self.of.stream).arg(&self.group).arg(ids).query_async(connection).await;
                if let Err(error) = told {
                    return Ended::broken(error);
                }
            }
        }
        Ended::Unwanted
    }
}

/// An entry as a line of JSON, with its identifier.
fn line(entry: StreamId) -> (String, Vec<u8>) {
    let text = |value: &Value| redis::from_redis_value_ref::<String>(value).unwrap_or_default();
    let whole = WHOLE.iter().find_map(|name| entry.map.get(*name));
    let line = match whole {
        Some(value) => text(value).into_bytes(),
        None => {
            let fields: BTreeMap<&str, String> =
                entry.map.iter().map(|(name, value)| (name.as_str(), text(value))).collect();
            serde_json::to_vec(&fields).unwrap_or_default()
        }
    };
    (entry.id, line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_has_a_name() {
        let of = RedisStream::parse("redis://:secret@localhost:6380/2?stream=bars&group=g").unwrap();
        assert_eq!((of.stream.as_str(), of.group.as_deref(), of.consumer.as_str()), ("bars", Some("g"), "tallow"));
        assert_eq!(of.server.as_str(), "redis://:secret@localhost:6380/2");
        for wrong in ["redis://localhost", "redis://localhost?stream=a&topic=b"] {
            assert!(RedisStream::parse(wrong).is_err(), "{wrong}");
        }
    }
}
