//! Bars of a table of the lake, as if they came now.

use super::{FromFeed, Raw};
use crate::candles::{columns, each};
use crate::core::Feed;
use arrow::array::RecordBatch;
use futures::TryStreamExt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tallow_common::time::instant;
use tallow_common::{Error, Result};
use tallow_pipeline::Session;
use tallow_pipeline::quoting::quoted;
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

/// How fast bars come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// As fast as they are taken.
    Max,
    /// So many times as fast as they came.
    Times(f64),
}

/// A table, what of it is replayed, and how fast: `candles_1m?speed=100x&from=2024-01-01&to=2024-02-01`.
#[derive(Debug, Clone, PartialEq)]
pub struct Replay {
    /// The table.
    pub table: String,
    /// From this time on.
    pub from: Option<i64>,
    /// Up to this time, which is not in it any more.
    pub to: Option<i64>,
    /// How fast.
    pub speed: Speed,
}

impl FromStr for Speed {
    type Err = Error;

    fn from_str(text: &str) -> Result<Speed> {
        if text == "max" {
            return Ok(Speed::Max);
        }
        let number = text.trim_end_matches('x').parse::<f64>().ok();
        let number = number.filter(|times| *times > 0.0 && times.is_finite());
        let wrong = || Error::invalid(format!("speed '{text}': expected `max`, or a number such as 100x"));
        Ok(Speed::Times(number.ok_or_else(wrong)?))
    }
}

impl FromStr for Replay {
    type Err = Error;

    fn from_str(text: &str) -> Result<Replay> {
        let (table, options) = text.split_once('?').unwrap_or((text, ""));
        let mut replay = Replay { table: table.to_string(), from: None, to: None, speed: Speed::Max };
        for option in options.split('&').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("from", time)) => replay.from = Some(instant(time)?),
                Some(("to", time)) => replay.to = Some(instant(time)?),
                Some(("speed", speed)) => replay.speed = speed.parse()?,
                _ => {
                    return Err(Error::invalid(format!("'{option}' in replay://{text}: expected speed, from or to")));
                }
            }
        }
        if replay.table.is_empty() {
            return Err(Error::invalid("replay:// names no table: expected one such as replay://candles_1m"));
        }
        Ok(replay)
    }
}

impl Replay {
    pub(crate) fn start(
        &self,
        feed: Feed,
        session: &Arc<Session>,
        into: Sender<FromFeed>,
        stop: CancellationToken,
    ) -> Result<()> {
        let (replay, of) = (self.clone(), Arc::clone(session));
        session.engine().spawn(async move {
            let told = tokio::select! {
                done = replay.run(feed, &of, &into) => done,
                () = stop.cancelled() => Ok(()),
            };
            let last = told.map_or_else(|error| FromFeed::Failed(feed, error), |()| FromFeed::Closed(feed));
            let _ = into.send(last).await;
        })?;
        Ok(())
    }

    async fn run(&self, feed: Feed, session: &Session, into: &Sender<FromFeed>) -> Result<()> {
        let mut sql = format!("select {} from {}", columns(), quoted(&self.table));
        let limit = |sign: &str, at: Option<i64>| at.map(|at| format!("ts {sign} to_timestamp_micros({at})"));
        let filters: Vec<String> = [limit(">=", self.from), limit("<", self.to)].into_iter().flatten().collect();
        if !filters.is_empty() {
            sql += &format!(" where {}", filters.join(" and "));
        }
        sql += " order by ts, symbol";
        let plan = session.plan(session.sql(&sql).await?).await?;
        let mut rows = std::pin::pin!(session.execute(plan)?);
        let (begun, mut first, mut line) = (tokio::time::Instant::now(), None, 0);
        while let Some(batch) = rows.try_next().await? {
            let mut candles = candles(&batch, &mut line)?;
            let Speed::Times(times) = self.speed else {
                if into.send(FromFeed::Lines(feed, candles.into_iter().map(Ok).collect())).await.is_err() {
                    return Ok(());
                }
                continue;
            };
            while let Some(ts) = candles.first().map(|candle| candle.bar.ts) {
                let since = (ts - *first.get_or_insert(ts)) as f64 / 1e6 / times;
                tokio::time::sleep_until(begun + Duration::from_secs_f64(since)).await;
                let now = candles.partition_point(|candle| candle.bar.ts <= ts);
                let later = candles.split_off(now);
                if into.send(FromFeed::Lines(feed, candles.into_iter().map(Ok).collect())).await.is_err() {
                    return Ok(());
                }
                candles = later;
            }
        }
        Ok(())
    }
}

fn candles(batch: &RecordBatch, line: &mut u64) -> Result<Vec<Raw>> {
    let mut candles = Vec::with_capacity(batch.num_rows());
    each(batch, |symbol, bar| {
        *line += 1;
        candles.push(Raw {
            symbol: symbol.to_string(),
            bar,
            priority: 0,
            timeframe: None,
            line: *line,
            offset: None,
            is_forming: false,
        });
    })?;
    Ok(candles)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_says_what_and_how_fast() {
        let replay: Replay = "candles_1m?speed=100x&from=2024-01-01".parse().unwrap();
        assert_eq!((replay.table.as_str(), replay.speed), ("candles_1m", Speed::Times(100.0)));
        assert_eq!((replay.from, replay.to), (Some(1_704_067_200_000_000), None));
        for wrong in ["", "candles_1m?speed=fast", "candles_1m?speed=-1", "candles_1m?until=2024-01-01"] {
            assert!(wrong.parse::<Replay>().is_err(), "{wrong}");
        }
    }
}
