//! Limits that a run should not pass, and what is told of one that is.

use crate::core::Micros;
use crate::letters::replace;
use crate::watch::{Alert, Recent, Severity, Status, Times};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;
use tallow_common::{Error, Result};

/// How long nothing more is told of an alert.
const COOL_DOWN: Micros = 300_000_000;

/// What alerts are decided on, beside the last minute.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loads {
    /// Candles that wait, of a hundred that may.
    pub queue: f64,
    /// Memory of the process, of a hundred that it may have.
    pub memory: f64,
    /// What it uses of all processors, of a hundred.
    pub cpu: f64,
    /// Whether candles wait, so that it could do more.
    pub waits: bool,
}

/// A limit: what is measured, from where on it is worth a warning, and from where on it is critical.
struct Limit {
    what: &'static str,
    value: f64,
    warning: f64,
    critical: f64,
    /// Whether less is worse.
    is_least: bool,
    /// Whether it says anything now.
    counts: bool,
}

fn limits(recent: &Recent, loads: &Loads) -> [Limit; 9] {
    let most =
        |what, value, warning, critical, counts| Limit { what, value, warning, critical, is_least: false, counts };
    let least =
        |what, value, warning, critical, counts| Limit { what, value, warning, critical, is_least: true, counts };
    let any = recent.latency.count > 0;
    // One of three is no third.
    let enough = recent.latency.count >= 100;
    [
        most("latency of 99 of 100 candles, in ms", recent.latency.p99, 80.0, 100.0, any),
        most("mean latency, in ms", recent.latency.mean, 40.0, 50.0, any),
        most("time in the queue of 99 of 100 candles, in ms", recent.queue_time.p99, 50.0, 100.0, any),
        least("candles a second while some wait", recent.per_second, 800.0, 500.0, any && loads.waits),
        least("candles that were computed, of a hundred", recent.success, 99.0, 95.0, enough),
        least("candles for which no bars had to be read, of a hundred", recent.hits, 90.0, 80.0, enough),
        most("memory, of a hundred that may be used", loads.memory, 80.0, 95.0, true),
        most("processors, of a hundred", loads.cpu, 60.0, 80.0, true),
        most("candles that wait, of a hundred that may", loads.queue, 70.0, 90.0, true),
    ]
}

/// What is wrong now.
pub(crate) fn alerts(recent: &Recent, loads: &Loads) -> Vec<Alert> {
    let alert = |limit: Limit| {
        let passes = |at: f64| if limit.is_least { limit.value < at } else { limit.value > at };
        let (severity, at) = match () {
            () if !limit.counts => return None,
            () if passes(limit.critical) => (Severity::Critical, limit.critical),
            () if passes(limit.warning) => (Severity::Warning, limit.warning),
            () => return None,
        };
        Some(Alert { what: limit.what.to_string(), severity, value: limit.value, limit: at })
    };
    limits(recent, loads).into_iter().filter_map(alert).collect()
}

/// What a run was like when it was well, to be compared with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// Mean latency, in milliseconds.
    pub mean: f64,
    /// What 99 of 100 candles take at most.
    pub p99: f64,
}

/// Windows that have to be worse, one after the other, and how many candles each has at least.
pub(crate) const WORSE: usize = 3;
const CANDLES: u64 = 1_000;

/// What is worse than it was, in each of the last windows: by 10 % it is worth a warning, by 15 % it is critical.
pub(crate) fn regressions(baseline: &Baseline, windows: &[Times]) -> Vec<Alert> {
    if windows.len() < WORSE || windows.iter().any(|window| window.count < CANDLES) {
        return vec![];
    }
    let least = |of: fn(&Times) -> f64| windows.iter().map(of).fold(f64::INFINITY, f64::min);
    let compared = [
        ("mean latency against the baseline, in ms", baseline.mean, least(|times| times.mean)),
        ("latency of 99 of 100 candles against the baseline, in ms", baseline.p99, least(|times| times.p99)),
    ];
    let alert = |(what, was, value): (&str, f64, f64)| {
        let (severity, limit) = match () {
            () if value > 1.15 * was => (Severity::Critical, 1.15 * was),
            () if value > 1.10 * was => (Severity::Warning, 1.10 * was),
            () => return None,
        };
        Some(Alert { what: what.to_string(), severity, value, limit })
    };
    compared.into_iter().filter_map(alert).collect()
}

/// The baseline of the run of a folder; none where it has none, or none that can be read.
pub(crate) fn baseline(folder: &Path) -> Option<Baseline> {
    serde_json::from_str(&std::fs::read_to_string(folder.join(BASELINE)).ok()?).ok()
}

/// Keeps what a run of a folder is like now as its baseline.
///
/// # Errors
/// It has computed too little for that, or the file cannot be written.
pub fn save_baseline(folder: &Path, status: &Status) -> Result<Baseline> {
    let Times { count, mean, p99, .. } = status.recent.latency;
    if count < CANDLES {
        return Err(Error::invalid(format!(
            "{count} candles were computed in the last minute: a baseline needs {CANDLES}"
        )));
    }
    let baseline = Baseline { mean, p99 };
    let path = folder.join(BASELINE);
    let text = serde_json::to_vec(&baseline).map_err(|error| Error::File(path.display().to_string(), error.into()))?;
    replace(&path, &text)?;
    Ok(baseline)
}

const BASELINE: &str = "baseline.json";

/// What of alerts was told, and when.
#[derive(Default)]
pub(crate) struct Told(HashMap<String, (Severity, Micros)>);

impl Told {
    /// Those that are to be told now: not again within five minutes, unless it got worse.
    pub fn news<'a>(&mut self, now: Micros, alerts: &'a [Alert]) -> Vec<&'a Alert> {
        let mut news = vec![];
        for alert in alerts {
            let known = self.0.get(&alert.what);
            if known.is_none_or(|(severity, at)| *severity < alert.severity || now - at >= COOL_DOWN) {
                self.0.insert(alert.what.clone(), (alert.severity, now));
                news.push(alert);
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn recent(p99: f64, per_second: f64) -> Recent {
        let latency = Times { count: 1_000, p99, ..Times::default() };
        Recent { per_second, latency, success: 100.0, hits: 100.0, ..Recent::default() }
    }

    const IDLE: Loads = Loads { queue: 0.0, memory: 10.0, cpu: 5.0, waits: false };

    #[test]
    fn what_passes_a_limit_is_told_once() {
        let (fine, slow, slower) = (recent(10.0, 900.0), recent(90.0, 900.0), recent(150.0, 100.0));
        assert_eq!(alerts(&fine, &IDLE), []);
        let mut told = Told::default();
        let found = alerts(&slow, &IDLE);
        assert_eq!(
            found.iter().map(|alert| (alert.severity, alert.value, alert.limit)).collect::<Vec<_>>(),
            [(Severity::Warning, 90.0, 80.0)]
        );
        assert_eq!(told.news(0, &found).len(), 1);
        assert_eq!(told.news(COOL_DOWN - 1, &found).len(), 0);
        // It got worse.
        assert_eq!(told.news(1, &alerts(&slower, &IDLE)).len(), 1);
        assert_eq!(told.news(COOL_DOWN + 1, &alerts(&slower, &IDLE)).len(), 1);
    }

    #[test]
    fn what_is_worse_in_three_windows_is_told() {
        let baseline = Baseline { mean: 1.0, p99: 10.0 };
        let window = |mean, count| Times { count, mean, p99: 10.0, ..Times::default() };
        let of = |means: &[f64], count| {
            let windows: Vec<Times> = means.iter().map(|mean| window(*mean, count)).collect();
            regressions(&baseline, &windows).iter().map(|alert| alert.severity).collect::<Vec<_>>()
        };
        assert_eq!(of(&[1.2, 1.11, 1.3], 1_000), [Severity::Warning]);
        assert_eq!(of(&[1.2, 1.16, 1.3], 1_000), [Severity::Critical]);
        assert_eq!(of(&[1.2, 1.05, 1.3], 1_000), []);
        assert_eq!(of(&[1.2, 1.2], 1_000), []);
        assert_eq!(of(&[1.2, 1.2, 1.2], 999), []);
    }

    #[test]
    fn few_candles_are_no_fault_of_a_run_that_has_none_to_compute() {
        assert_eq!(alerts(&recent(1.0, 1.0), &IDLE), []);
        assert_eq!(alerts(&recent(1.0, 1.0), &Loads { waits: true, ..IDLE }).len(), 1);
    }
}
