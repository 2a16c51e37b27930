//! How a live run is doing, for people to read.

use crate::live::{Door, Severity, Status, Times};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Shows it on the terminal, until the run has ended.
pub(super) async fn show(door: Door, ended: CancellationToken) {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(4));
    if let Ok(style) = ProgressStyle::with_template("{msg}") {
        bar.set_style(style);
    }
    loop {
        match door.status().await {
            Ok(status) => bar.set_message(lines(&status).join("\n")),
            Err(_) => break,
        }
        bar.tick();
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(500)) => {}
            () = ended.cancelled() => break,
        }
    }
    bar.finish_and_clear();
}

/// A line for each thing that is worth to be seen.
pub(super) fn lines(status: &Status) -> Vec<String> {
    let count = |name: &str| status.counters.get(name).copied().unwrap_or_default();
    let rejected: u64 = status.counters.iter().filter(|(name, _)| name.starts_with("rejected")).map(|(_, n)| n).sum();
    let how = if status.bar_by_bar { "bar by bar" } else { "anew from the bars that results look at" };
    let mut lines = vec![
        format!("run        {}, {} for {}, {how}", status.name, status.table, passed(status.uptime)),
        format!("health     {:.1} of 100", status.health.score),
        format!(
            "candles    {}/s, {} received, {} accepted, {rejected} rejected, {} unreadable",
            rounded(status.recent.per_second),
            count("received"),
            count("accepted"),
            status.unreadable
        ),
        format!(
            "           {} duplicates, {} corrected, {} late, {} holes",
            count("duplicates"),
            count("restated"),
            count("late"),
            count("holes")
        ),
        format!("queue      {} of {}, the oldest for {:.1} ms", status.queue, status.queue_capacity, status.oldest_ms),
        format!(
            "latency    {} in the last minute, {} since the beginning",
            times(&status.recent.latency),
            times(&status.latency)
        ),
        format!(
            "rows       {} emitted, {} not in the lake, the oldest for {:.0} s",
            status.rows, status.unflushed, status.flush_lag
        ),
        format!("symbols    {}, {} read again from the lake", status.symbols, status.rebuilds),
        format!(
            "failures   {} dead letters, {} batches failed, {} flushes failed",
            status.dead_letters,
            count("failures"),
            count("flush_failures")
        ),
        format!("memory     {:.0} MiB", status.memory),
    ];
    for alert in &status.alerts {
        let severity = match alert.severity {
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        };
        lines.push(format!("{severity:<10} {}: {:.1}, which passes {:.1}", alert.what, alert.value, alert.limit));
    }
    lines
}

fn times(times: &Times) -> String {
    match times.count {
        0 => "none".to_string(),
        _ => format!("{:.2} ms, 99 of 100 within {:.2} ms", times.p50, times.p99),
    }
}

fn rounded(value: f64) -> String {
    if value < 10.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

fn passed(seconds: f64) -> String {
    let seconds = seconds as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}
