//! The settings of live runs: from the environment, the table `live` of `tallow.toml`, or their defaults.

use crate::Error;
use crate::cli::config::{Layered, layer};
use clap::ValueEnum;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;
use tallow_common::time::parse_duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum When {
    Batch,
    None,
}

/// Defaults of several settings, for what matters most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Profile {
    /// As many candles a second as there are cores for
    Throughput,
    /// The first answers of a burst early: smaller batches
    Latency,
    /// One worker, small batches, and results written to the lake often
    Memory,
}

/// What a profile sets.
struct Defaults {
    /// `None`: as many as there are threads.
    workers: Option<usize>,
    batch: usize,
    flush_s: u64,
    flush_rows: usize,
}

impl Profile {
    fn defaults(self) -> Defaults {
        match self {
            Profile::Throughput => Defaults { workers: None, batch: 4_096, flush_s: 60, flush_rows: 64 << 10 },
            Profile::Latency => Defaults { workers: None, batch: 256, flush_s: 60, flush_rows: 64 << 10 },
            Profile::Memory => Defaults { workers: Some(1), batch: 512, flush_s: 10, flush_rows: 8 << 10 },
        }
    }
}

pub(in crate::cli) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| format!("'{text}' is no length of time: expected one such as 500ms, 30s or 5m"))
}

/// The table `live` of `tallow.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct LiveFile {
    profile: Option<String>,
    workers: Option<usize>,
    batch: Option<usize>,
    durable: Option<String>,
    flush: Option<String>,
    flush_rows: Option<usize>,
    grace: Option<String>,
    drain: Option<String>,
    journal: Option<String>,
    listen: Option<String>,
}

/// The settings of live runs; flags of one come before them.
#[derive(Debug, Clone)]
pub(in crate::cli) struct LiveConfig {
    pub profile: Layered<Profile>,
    pub workers: Layered<Option<usize>>,
    /// Candles of a batch, at most.
    pub batch: Layered<usize>,
    pub durable: Layered<When>,
    pub flush: Layered<Duration>,
    /// Results that are written to the lake at once.
    pub flush_rows: Layered<usize>,
    pub grace: Layered<Duration>,
    pub drain: Layered<Duration>,
    pub journal: Layered<PathBuf>,
    pub listen: Layered<Option<String>>,
}

impl LiveConfig {
    pub fn load(file: LiveFile) -> Result<LiveConfig, Error> {
        let number = |text: &str| {
            let wrong = || Error::invalid(format!("'{text}': expected a number from 1"));
            text.parse().ok().filter(|count| *count > 0).ok_or_else(wrong)
        };
        let number_of_file = |name: &str, value: Option<usize>| {
            let wrong = |error| Error::invalid(format!("tallow.toml: live.{name} {error}"));
            value.map(|value| number(&value.to_string())).transpose().map_err(wrong)
        };
        let profile = |text: &str| {
            let wrong = |_| Error::invalid(format!("'{text}': expected throughput, latency or memory"));
            Profile::from_str(text, true).map_err(wrong)
        };
        let of_file_profile = file.profile.as_deref().map(profile).transpose();
        let of_file_profile =
            of_file_profile.map_err(|error| Error::invalid(format!("tallow.toml: live.profile: {error}")))?;
        let profile = layer(None, "TALLOW_LIVE_PROFILE", profile, of_file_profile, Profile::Throughput)?;
        let defaults = profile.value.defaults();
        let time = |text: &str| duration(text).map_err(Error::invalid);
        let when = |text: &str| {
            When::from_str(text, true).map_err(|_| Error::invalid(format!("'{text}': expected batch or none")))
        };
        let of_file = |name: &str, text: &Option<String>| -> Result<Option<Duration>, Error> {
            let wrong = |error: Error| Error::invalid(format!("tallow.toml: live.{name}: {error}"));
            text.as_deref().map(time).transpose().map_err(wrong)
        };
        let seconds = |name: &str, variable: &str, text: &Option<String>, default: u64| {
            layer(None, variable, time, of_file(name, text)?, Duration::from_secs(default))
        };
        let durable = file.durable.as_deref().map(when).transpose();
        let durable = durable.map_err(|error| Error::invalid(format!("tallow.toml: live.durable: {error}")))?;
        let workers = number_of_file("workers", file.workers)?.map(Some);
        Ok(LiveConfig {
            profile,
            workers: layer(None, "TALLOW_LIVE_WORKERS", |text| number(text).map(Some), workers, defaults.workers)?,
            batch: layer(None, "TALLOW_LIVE_BATCH", number, number_of_file("batch", file.batch)?, defaults.batch)?,
            durable: layer(None, "TALLOW_LIVE_DURABLE", when, durable, When::Batch)?,
            flush: seconds("flush", "TALLOW_LIVE_FLUSH", &file.flush, defaults.flush_s)?,
            flush_rows: layer(
                None,
                "TALLOW_LIVE_FLUSH_ROWS",
                number,
                number_of_file("flush_rows", file.flush_rows)?,
                defaults.flush_rows,
            )?,
            grace: seconds("grace", "TALLOW_LIVE_GRACE", &file.grace, 2)?,
            drain: seconds("drain", "TALLOW_LIVE_DRAIN", &file.drain, 30)?,
            journal: layer(
                None,
                "TALLOW_LIVE_JOURNAL",
                |text| Ok(PathBuf::from(text)),
                file.journal.map(PathBuf::from),
                "./tallow-live".into(),
            )?,
            listen: layer(None, "TALLOW_LIVE_LISTEN", |text| Ok(Some(text.to_string())), file.listen.map(Some), None)?,
        })
    }

    /// The same with the defaults of another profile.
    pub fn with(mut self, profile: Option<Profile>) -> LiveConfig {
        let Some(profile) = profile else { return self };
        self.profile = Layered { value: profile, from: "flag" };
        let Defaults { workers, batch, flush_s, flush_rows } = profile.defaults();
        self.workers.set_default(workers);
        self.batch.set_default(batch);
        self.flush.set_default(Duration::from_secs(flush_s));
        self.flush_rows.set_default(flush_rows);
        self
    }

    /// Names, values, and where these are from.
    pub fn rows(&self) -> [(&'static str, String, &'static str); 10] {
        let none = || "-".to_string();
        let durable = self.durable.value.to_possible_value().map_or_else(none, |value| value.get_name().to_string());
        let profile = self.profile.value.to_possible_value().map_or_else(none, |value| value.get_name().to_string());
        [
            ("live.profile", profile, self.profile.from),
            ("live.workers", self.workers.value.map_or_else(none, |count| count.to_string()), self.workers.from),
            ("live.batch", self.batch.value.to_string(), self.batch.from),
            ("live.durable", durable, self.durable.from),
            ("live.flush", format!("{:?}", self.flush.value), self.flush.from),
            ("live.flush_rows", self.flush_rows.value.to_string(), self.flush_rows.from),
            ("live.grace", format!("{:?}", self.grace.value), self.grace.from),
            ("live.drain", format!("{:?}", self.drain.value), self.drain.from),
            ("live.journal", self.journal.value.display().to_string(), self.journal.from),
            ("live.listen", self.listen.value.clone().unwrap_or_else(none), self.listen.from),
        ]
    }
}
