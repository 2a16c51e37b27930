//! A progress bar on a terminal, and the summary after a long job.

use super::Failure;
use super::commands::Context;
use super::config::Config;
use super::output::note;
use crate::pipeline::control::{self, Control};
use crate::pipeline::outcome::Statistics;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Jobs shorter than this end without a summary.
const LONG: Duration = Duration::from_secs(2);

/// Follows one job.
pub(super) struct Progress {
    bar: ProgressBar,
    started: Instant,
    quiet: bool,
    verbose: bool,
    unit: String,
}

/// Does work that ends at an interrupt, and shows how far it is.
pub(super) async fn followed<T>(
    cx: &Context,
    unit: &str,
    work: impl AsyncFnOnce(&Control) -> crate::Result<T>,
) -> Result<T, Failure> {
    let progress = Arc::new(Progress::new(&cx.config, None, unit));
    let control = Control { cancel: cx.cancel.clone(), ..progress.control() };
    let done = work(&control).await;
    progress.clear();
    match done {
        Err(_) if cx.cancel.is_cancelled() => Err(Failure::Interrupted),
        done => Ok(done?),
    }
}

impl Progress {
    /// Shown only on a terminal, and not with `--quiet`.
    pub fn new(config: &Config, total: Option<u64>, unit: &str) -> Progress {
        let quiet = config.quiet;
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(5));
        if quiet || !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        bar.set_style(style(&match total {
            Some(_) => counted(unit),
            None => format!("{{spinner}} {{human_pos}} {unit}, {{elapsed}}"),
        }));
        Progress { bar, started: Instant::now(), quiet, verbose: config.verbose, unit: unit.to_string() }
    }

    /// Work that this shows the progress of.
    pub fn control(self: &Arc<Self>) -> Control {
        let shown = Arc::clone(self);
        Control::followed(Arc::new(move |control::Progress { done, total, .. }| {
            if shown.bar.is_finished() {
                shown.bar.reset();
            }
            if let Some(total) = total {
                shown.of(total);
            }
            shown.set(done);
        }))
    }

    pub fn set(&self, position: u64) {
        self.bar.set_position(position);
    }

    /// Sets how much there is to do.
    pub fn of(&self, total: u64) {
        if self.bar.length() != Some(total) {
            self.bar.set_length(total);
            self.bar.set_style(style(&counted(&self.unit)));
        }
    }

    /// Shows a share of the whole, and what was done in words; another whole is another step, with a time of its own.
    pub fn share(&self, done: u64, of: u64, said: &str) {
        if self.bar.length() != Some(of) {
            self.bar.set_length(of);
            self.bar.set_style(style(SHARE));
            self.bar.reset_eta();
        }
        self.bar.set_message(said.to_string());
        self.bar.set_position(done);
    }

    /// Takes the bar off the screen, before a result is printed there.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// No bar, where results appear on the terminal as they come.
    pub fn hidden(self, hidden: bool) -> Progress {
        if hidden {
            self.bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        self
    }

    /// Ends the bar; after a long job, or with `--verbose`, says what it took.
    pub fn finish(&self, statistics: Option<&Statistics>, rows: u64, bytes_read: u64) {
        self.bar.finish_and_clear();
        let took = self.started.elapsed();
        if self.quiet || (took < LONG && !self.verbose) {
            return;
        }
        let mut parts = vec![if rows == 1 { "1 row".to_string() } else { format!("{rows} rows") }];
        if let Some(series) = statistics.map(Statistics::series).filter(|series| *series > 0) {
            parts.push(format!("{series} series"));
        }
        parts.push(format!("{:.2} s", took.as_secs_f64()));
        parts.push(format!("{:.2} MB read", bytes_read as f64 / 1e6));
        if let Some(peak) = peak_memory() {
            parts.push(format!("{} MB peak memory", peak / 1000));
        }
        if let Some(statistics) = statistics {
            parts.push(format!("{:.1} MB spilled", statistics.spilled_bytes() as f64 / 1e6));
        }
        note(format_args!("{}", parts.join(", ")));
    }
}

/// A bar that counts.
fn counted(unit: &str) -> String {
    format!("{{wide_bar}} {{percent}} %, {{human_pos}} of {{human_len}} {unit}, {{eta}} left")
}

/// A bar beside what is said.
const SHARE: &str = "{wide_bar} {percent} %, {msg}, {eta} left";

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// The most memory that the process has had resident, in kB, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_understood() {
        for template in [SHARE.to_string(), counted("rows")] {
            assert!(ProgressStyle::with_template(&template).is_ok(), "{template}");
        }
    }
}
