//! Rows of a table of Postgres, as they are inserted: `postgres://user@localhost/db?table=candles&channel=candles`.
//!
//! The table has a column `id` that grows, and symbol, ts, open, high, low, close, volume. A notification on the channel wakes the
//! feed; which rows are new only `id` decides. Rows that a transaction has written which is older than one that still runs wait for
//! that: what it writes may have smaller numbers. Up to which row the lake has what came of them is recorded there.

use super::FromFeed;
use super::server::{AT_A_TIME, Acknowledged, Address, Ended, Lines, Server, run};
use crate::core::Feed;
use futures::stream::poll_fn;
use futures::{FutureExt, StreamExt};
use std::time::Duration;
use tallow_common::Result;
use tallow_pipeline::quoting::quoted;
use tokio::sync::mpsc::Sender;
use tokio_postgres::{AsyncMessage, Client, NoTls};
use tokio_util::sync::CancellationToken;
use url::Url;

/// Without a notification, so often it is looked for rows.
const LOOK: Duration = Duration::from_secs(1);

/// A table.
#[derive(Debug, Clone, PartialEq)]
pub struct PostgresTable {
    server: Url,
    table: String,
    channel: Option<String>,
}

impl PostgresTable {
    /// Reads `postgres://USER:PASSWORD@HOST/DB?table=NAME&channel=NAME`, beside the parameters of a connection.
    ///
    /// # Errors
    /// It names no table.
    pub fn parse(text: &str) -> Result<PostgresTable> {
        let mut of = Address::of(text, &["table", "channel"])?;
        Ok(PostgresTable { table: of.required("table")?, channel: of.take("channel"), server: of.server })
    }

    /// What its position is recorded by in the lake.
    pub(super) fn key(&self) -> String {
        let (host, database) = (self.server.host_str().unwrap_or_default(), self.server.path());
        format!("postgres/{host}{database}/{}", self.table)
    }

    /// Runs the feed from behind a row on.
    pub(super) async fn run(self, after: u64, feed: Feed, into: Sender<FromFeed>, stop: CancellationToken) {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        run(Reader { of: self, after }, feed, into, stop).await;
    }
}

struct Reader {
    of: PostgresTable,
    /// The last row that was delivered.
    after: i64,
}

impl Server for Reader {
    /// The number of a row.
    type Receipt = i64;

    fn offset(row: &i64, _: u64) -> u64 {
        row.unsigned_abs()
    }

    fn name(&self) -> String {
        self.of.key()
    }

    async fn connected(&mut self, lines: &mut Lines<i64>, acknowledged: &mut Acknowledged<i64>) -> Ended {
        let connected = tokio_postgres::connect(self.of.server.as_str(), NoTls).await;
        let (client, mut connection) = match connected {
            Ok(connected) => connected,
            Err(error) => return Ended::broken(described(&error)),
        };
        let mut messages = poll_fn(move |cx| connection.poll_message(cx));
        let (wake, mut woken) = tokio::sync::mpsc::channel::<()>(1);
        let listens = async {
            while let Some(message) = messages.next().await {
                match message {
                    Ok(AsyncMessage::Notification(_)) => drop(wake.try_send(())),
                    Ok(_) => {}
                    Err(error) => return Ended::broken(described(&error)),
                }
            }
            Ended::broken("the server ended it")
        };
        let reads = async {
            if let Some(channel) = &self.of.channel
                && let Err(error) = client.batch_execute(&format!("listen {}", quoted(channel))).await
            {
                return Ended::broken(described(&error));
            }
            loop {
                match rows(&client, &self.of.table, self.after).await {
                    Ok(rows) => {
                        let is_full = rows.len() == AT_A_TIME;
                        if let Some((last, _)) = rows.last() {
                            self.after = *last;
                        }
                        if !lines.put(rows).await {
                            return Ended::Unwanted;
                        }
                        if is_full {
                            continue;
                        }
                    }
                    Err(error) => return Ended::broken(described(&error)),
                }
                let _ = tokio::time::timeout(LOOK, woken.recv().map(drop)).await;
            }
        };
        let tells = async {
            // Where it is, the lake knows.
            while acknowledged.next().await.is_some() {}
            Ended::Unwanted
        };
        tokio::select! {
            ended = listens => ended,
            ended = reads => ended,
            ended = tells => ended,
        }
    }
}

/// The next rows as lines of JSON.
async fn rows(
    client: &Client,
    table: &str,
    after: i64,
) -> std::result::Result<Vec<(i64, Vec<u8>)>, tokio_postgres::Error> {
    let name: Vec<String> = table.split('.').map(quoted).collect();
    let sql = format!(
        "select id::int8, symbol::text, (extract(epoch from ts) * 1000000)::int8, open::float8, high::float8, low::float8, \
         close::float8, volume::float8 from {} where id > $1 \
         and age(xmin) > age(pg_snapshot_xmin(pg_current_snapshot())::xid) order by id limit {AT_A_TIME}",
        name.join(".")
    );
    let rows = client.query(&sql, &[&after]).await?;
    let line = |row: &tokio_postgres::Row| {
        let [open, high, low, close, volume] = [3, 4, 5, 6, 7].map(|at| row.get::<_, Option<f64>>(at));
        let (symbol, ts) = (row.get::<_, Option<String>>(1), row.get::<_, Option<i64>>(2));
        let line = serde_json::json!({
            "symbol": symbol, "ts": ts, "open": open, "high": high, "low": low, "close": close, "volume": volume
        });
        (row.get(0), line.to_string().into_bytes())
    };
    Ok(rows.iter().map(line).collect())
}

/// An error with what the server says of it.
fn described(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(said) => said.message().to_string(),
        None => match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_name() {
        let of = PostgresTable::parse("postgres://me:secret@db:5433/market?table=public.bars&sslmode=disable").unwrap();
        assert_eq!((of.table.as_str(), of.key().as_str()), ("public.bars", "postgres/db/market/public.bars"));
        assert_eq!(of.server.as_str(), "postgres://me:secret@db:5433/market?sslmode=disable");
        assert!(PostgresTable::parse("postgres://localhost/db").is_err());
    }
}
