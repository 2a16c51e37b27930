//! How a server and a live run are doing, in the text format of OpenMetrics. No label carries a symbol.

use crate::http::Served;
use crate::queries::QUERY_BOUNDS;
use crate::watched::Gauge;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt::Error;
use tallow_live::{BOUNDS, Status, Times};

/// The content type of the text.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Counts that are told apart by a reason.
const REJECTED: &str = "rejected_";

#[derive(Debug)]
struct Run(Status);

/// The metrics of a run, and of queries that are watched.
pub(crate) fn text(status: Status, watched: Vec<Gauge>) -> Result<String, Error> {
    let mut text = String::new();
    let mut of_run = Registry::with_prefix("tallow_live");
    of_run.register_collector(Box::new(Run(status)));
    encode_registry(&mut text, &of_run)?;
    let mut of_queries = Registry::with_prefix("tallow_query");
    of_queries.register_collector(Box::new(Queries(watched)));
    encode_registry(&mut text, &of_queries)?;
    encode_eof(&mut text)?;
    Ok(text)
}

/// The metrics of a server, and of queries that are watched.
pub(crate) fn of_server(served: &Served, watched: Vec<Gauge>) -> Result<String, Error> {
    let mut text = String::new();
    let mut of_server = Registry::with_prefix("tallow");
    of_server.register_collector(Box::new(Server(served.clone())));
    encode_registry(&mut text, &of_server)?;
    let mut of_queries = Registry::with_prefix("tallow_query");
    of_queries.register_collector(Box::new(Queries(watched)));
    encode_registry(&mut text, &of_queries)?;
    encode_eof(&mut text)?;
    Ok(text)
}

struct Server(Served);

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Server")
    }
}

impl Collector for Server {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), Error> {
        let Served { queries, lag, begun, .. } = &self.0;
        let mut ended =
            encoder.encode_descriptor("queries", "Queries that ended, by how they did", None, MetricType::Counter)?;
        for (state, count) in queries.records().ended() {
            ConstCounter::new(count).encode(ended.encode_family(&[("state", state)])?)?;
        }
        let (running, waiting) = queries.load();
        gauge(&mut encoder, "queries_running", "Queries that run", running as f64)?;
        gauge(&mut encoder, "queries_waiting", "Queries that wait for their turn", waiting as f64)?;
        let (counts, sum) = queries.records().times();
        let mut times = encoder.encode_descriptor(
            "query_seconds",
            "From when a query came until its last row was taken",
            None,
            MetricType::Histogram,
        )?;
        let bounds = QUERY_BOUNDS.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        times.encode_histogram::<[(&str, &str); 0]>(sum, counts.iter().sum(), &buckets, None)?;
        let session = queries.session();
        let pool = &session.context().runtime_env().memory_pool;
        gauge(&mut encoder, "memory_reserved_bytes", "Memory that queries hold", pool.reserved() as f64)?;
        gauge(&mut encoder, "memory_limit_bytes", "Memory that they may hold", session.engine().memory() as f64)?;
        let read = session.bytes_read();
        counter(&mut encoder, "read_bytes", "Bytes that were read from files and object stores", read)?;
        let [_, p95, p99] = lag.quantiles();
        gauge(
            &mut encoder,
            "lag_p95_seconds",
            "How late the threads of connections are, 95 times of a hundred",
            p95 / 1e3,
        )?;
        gauge(&mut encoder, "lag_p99_seconds", "The same, 99 times of a hundred", p99 / 1e3)?;
        gauge(&mut encoder, "uptime_seconds", "Time since the server began", begun.elapsed().as_secs_f64())
    }
}

#[derive(Debug)]
struct Queries(Vec<Gauge>);

impl Collector for Queries {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), Error> {
        let mut gauges = self.0.iter();
        gauges.try_for_each(|of| gauge(&mut encoder, &of.name, &of.help, of.value))
    }
}

impl Collector for Run {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), Error> {
        let of = &self.0;
        let mut rejected = encoder.encode_descriptor(
            "rejected",
            "Candles that were not accepted, by reason",
            None,
            MetricType::Counter,
        )?;
        for (name, count) in &of.counters {
            if let Some(reason) = name.strip_prefix(REJECTED) {
                let labels = [("reason", reason)];
                ConstCounter::new(*count).encode(rejected.encode_family(&labels)?)?;
            }
        }
        for (name, count) in of.counters.iter().filter(|(name, _)| !name.starts_with(REJECTED)) {
            counter(&mut encoder, name, counted(name), *count)?;
        }
        counter(&mut encoder, "unreadable", "Lines that were no candles", of.unreadable)?;
        counter(&mut encoder, "rows", "Rows that were emitted", of.rows)?;
        counter(&mut encoder, "rebuilds", "Symbols whose bars were read again from the lake", of.rebuilds)?;
        counter(&mut encoder, "reconnects", "Connections to feeds that broke and were opened again", of.reconnects)?;
        gauge(&mut encoder, "queue_length", "Candles that wait or are being computed", of.queue as f64)?;
        gauge(&mut encoder, "queue_capacity", "Candles that may wait", of.queue_capacity as f64)?;
        gauge(&mut encoder, "oldest_waiting_seconds", "How long the longest waits", of.oldest_ms / 1e3)?;
        gauge(&mut encoder, "unflushed_rows", "Rows that are not in the lake", of.unflushed as f64)?;
        gauge(&mut encoder, "flush_lag_seconds", "How old the oldest of them is", of.flush_lag)?;
        gauge(&mut encoder, "dead_letters", "Candles that could not be computed", of.dead_letters as f64)?;
        gauge(&mut encoder, "symbols", "Symbols that are known", of.symbols as f64)?;
        gauge(&mut encoder, "memory_bytes", "Memory of the process", of.memory * (1 << 20) as f64)?;
        gauge(&mut encoder, "throughput", "Candles a second over the last minute", of.recent.per_second)?;
        gauge(&mut encoder, "health", "From 0 to 100", of.health.score)?;
        gauge(&mut encoder, "alerts", "Limits that are passed", of.alerts.len() as f64)?;
        gauge(&mut encoder, "uptime_seconds", "Time since the run began", of.uptime)?;
        histogram(&mut encoder, "latency_seconds", "From when a candle came until it was answered", &of.latency)?;
        histogram(&mut encoder, "queue_time_seconds", "Until it began to be computed", &of.queue_time)
    }
}

fn counted(name: &str) -> &'static str {
    match name {
        "received" => "Candles that came",
        "accepted" => "Candles that were accepted",
        "duplicates" => "Candles that came a second time",
        "restated" => "Candles that corrected others",
        "late" => "Candles that came after later ones of their symbols",
        "holes" => "Times at which bars were missing before one that came",
        "answered" => "Candles that were computed",
        "batches" => "Batches that were begun",
        "failures" => "Batches that failed",
        "retries" => "Batches that were tried again",
        "dead" => "Candles that became dead letters",
        "dead_dropped" => "Dead letters that were dropped, since there were too many",
        "revived" => "Dead letters that were tried again",
        "flushes" => "Times at which results were written",
        "flush_failures" => "Times at which they could not be",
        _ => "A count",
    }
}

fn counter(encoder: &mut DescriptorEncoder, name: &str, help: &str, value: u64) -> Result<(), Error> {
    ConstCounter::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)
}

fn gauge(encoder: &mut DescriptorEncoder, name: &str, help: &str, value: f64) -> Result<(), Error> {
    ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

fn histogram(encoder: &mut DescriptorEncoder, name: &str, help: &str, times: &Times) -> Result<(), Error> {
    let bounds = BOUNDS.iter().map(|ms| ms / 1e3).chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = bounds.zip(times.buckets.iter().copied()).collect();
    let sum = times.mean * times.count as f64 / 1e3;
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    metric.encode_histogram::<[(&str, &str); 0]>(sum, times.count, &buckets, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_text_that_ends() {
        let mut status = Status { queue: 3, ..Status::default() };
        status.counters = [("received".to_string(), 7), ("rejected_full".to_string(), 2)].into();
        status.latency = Times { count: 2, mean: 1.0, buckets: vec![1; 15], ..Times::default() };
        let stale = Gauge { name: "stale".to_string(), help: "Symbols without news".to_string(), value: 4.0 };
        let text = text(status, vec![stale]).unwrap();
        for line in [
            "tallow_live_received_total 7",
            "tallow_live_rejected_total{reason=\"full\"} 2",
            "tallow_query_stale 4.0",
            "tallow_live_queue_length 3.0",
            "tallow_live_latency_seconds_bucket{le=\"0.001\"} 4",
            "tallow_live_latency_seconds_bucket{le=\"+Inf\"} 15",
        ] {
            assert!(text.lines().any(|of| of == line), "{line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
