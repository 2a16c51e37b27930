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

pub(in crate::cli) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| format!("'{text}' is no length of time: expected one such as 500ms, 30s or 5m"))
}

/// The table `live` of `tallow.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct LiveFile {
    workers: Option<usize>,
    durable: Option<String>,
    flush: Option<String>,
    grace: Option<String>,
    drain: Option<String>,
    journal: Option<String>,
    listen: Option<String>,
}

/// The settings of live runs; flags of one come before them.
#[derive(Debug, Clone)]
pub(in crate::cli) struct LiveConfig {
    pub workers: Layered<Option<usize>>,
    pub durable: Layered<When>,
    pub flush: Layered<Duration>,
    pub grace: Layered<Duration>,
    pub drain: Layered<Duration>,
    pub journal: Layered<PathBuf>,
    pub listen: Layered<Option<String>>,
}

impl LiveConfig {
    pub fn load(file: LiveFile) -> Result<LiveConfig, Error> {
        let number = |text: &str| {
            let wrong = || Error::invalid(format!("workers '{text}': expected a number from 1"));
            text.parse().ok().filter(|count| *count > 0).map(Some).ok_or_else(wrong)
        };
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
        Ok(LiveConfig {
            workers: layer(None, "TALLOW_LIVE_WORKERS", number, file.workers.map(Some), None)?,
            durable: layer(None, "TALLOW_LIVE_DURABLE", when, durable, When::Batch)?,
            flush: seconds("flush", "TALLOW_LIVE_FLUSH", &file.flush, 60)?,
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

    /// Names, values, and where these are from.
    pub fn rows(&self) -> [(&'static str, String, &'static str); 7] {
        let none = || "-".to_string();
        let durable = self.durable.value.to_possible_value().map_or_else(none, |value| value.get_name().to_string());
        [
            ("live.workers", self.workers.value.map_or_else(none, |count| count.to_string()), self.workers.from),
            ("live.durable", durable, self.durable.from),
            ("live.flush", format!("{:?}", self.flush.value), self.flush.from),
            ("live.grace", format!("{:?}", self.grace.value), self.grace.from),
            ("live.drain", format!("{:?}", self.drain.value), self.drain.from),
            ("live.journal", self.journal.value.display().to_string(), self.journal.from),
            ("live.listen", self.listen.value.clone().unwrap_or_else(none), self.listen.from),
        ]
    }
}
