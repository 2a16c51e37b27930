//! Settings, layered: defaults, then `tallow.toml`, then the environment, then flags.

use super::Failure;
use super::args::Global;
use super::commands::{Context, Run};
use super::live::{When, duration};
use super::output::out;
use crate::Error;
use crate::pipeline::Request;
use crate::{Session, Settings};
use clap::{Args as ClapArgs, ValueEnum};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tallow_engine::resources;
use tallow_lake::AsOf;

#[derive(Debug, ClapArgs)]
pub(super) struct ConfigArgs {}

impl Run for ConfigArgs {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        cx.config.show()
    }
}

/// `tallow.toml` in the working folder.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    lake: Option<String>,
    candles: Option<String>,
    memory: Option<String>,
    threads: Option<usize>,
    spill_dir: Option<String>,
    cache_dir: Option<String>,
    queries: Option<String>,
    #[serde(default)]
    live: LiveFile,
}

/// Its table `live`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LiveFile {
    workers: Option<usize>,
    durable: Option<String>,
    flush: Option<String>,
    grace: Option<String>,
    drain: Option<String>,
    journal: Option<String>,
    listen: Option<String>,
}

/// A setting and where it comes from.
#[derive(Debug, Clone)]
struct Layered<T> {
    value: T,
    from: &'static str,
}

/// The settings in force.
#[derive(Debug, Clone)]
pub(super) struct Config {
    lake: Layered<String>,
    candles: Layered<Option<String>>,
    memory: Layered<usize>,
    threads: Layered<usize>,
    spill_dir: Layered<Option<PathBuf>>,
    cache_dir: Layered<Option<PathBuf>>,
    queries: Layered<PathBuf>,
    pub live: LiveConfig,
    as_of: Option<AsOf>,
    pub quiet: bool,
    pub verbose: bool,
}

/// The settings of live runs; flags of one come before them.
#[derive(Debug, Clone)]
pub(super) struct LiveConfig {
    workers: Layered<Option<usize>>,
    durable: Layered<When>,
    flush: Layered<Duration>,
    grace: Layered<Duration>,
    drain: Layered<Duration>,
    journal: Layered<PathBuf>,
    listen: Layered<Option<String>>,
}

impl LiveConfig {
    fn load(file: LiveFile) -> Result<LiveConfig, Error> {
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

    pub fn workers(&self, flag: Option<usize>) -> Option<usize> {
        flag.or(self.workers.value)
    }

    pub fn durable(&self, flag: Option<When>) -> When {
        flag.unwrap_or(self.durable.value)
    }

    pub fn flush(&self, flag: Option<Duration>) -> Duration {
        flag.unwrap_or(self.flush.value)
    }

    pub fn grace(&self, flag: Option<Duration>) -> Duration {
        flag.unwrap_or(self.grace.value)
    }

    pub fn drain(&self, flag: Option<Duration>) -> Duration {
        flag.unwrap_or(self.drain.value)
    }

    pub fn journal(&self, flag: Option<&Path>) -> PathBuf {
        flag.map_or_else(|| self.journal.value.clone(), Path::to_path_buf)
    }

    pub fn listen(&self, flag: Option<&str>) -> Option<String> {
        flag.map(str::to_string).or_else(|| self.listen.value.clone())
    }

    /// Names, values, and where these are from.
    fn rows(&self) -> [(&'static str, String, &'static str); 7] {
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

fn layer<T>(
    flag: Option<T>,
    name: &str,
    parse: impl Fn(&str) -> Result<T, Error>,
    file: Option<T>,
    default: T,
) -> Result<Layered<T>, Error> {
    if let Some(value) = flag {
        return Ok(Layered { value, from: "flag" });
    }
    if let Ok(text) = std::env::var(name) {
        let value = parse(&text).map_err(|e| Error::invalid(format!("{name}: {e}")))?;
        return Ok(Layered { value, from: "environment" });
    }
    Ok(match file {
        Some(value) => Layered { value, from: "tallow.toml" },
        None => Layered { value: default, from: "default" },
    })
}

impl Config {
    /// Whether the user says how much memory may be taken.
    pub fn limits_memory(&self) -> bool {
        self.memory.from != "default"
    }

    /// Whether a file stands for `candles`.
    pub fn has_candles(&self) -> bool {
        self.candles.value.is_some()
    }

    pub fn load(flags: &Global) -> Result<Config, Error> {
        let file = read(Path::new("tallow.toml"))?;
        let text = |t: &str| Ok(t.to_string());
        let path = |t: &str| Ok(Some(PathBuf::from(t)));
        let bytes =
            |t: &str| resources::parse_bytes(t).map_err(|e| Error::invalid(format!("tallow.toml: memory: {e}")));
        let number = |t: &str| {
            t.parse()
                .ok()
                .filter(|n| *n > 0)
                .ok_or_else(|| Error::invalid(format!("threads '{t}': expected a number from 1")))
        };
        Ok(Config {
            lake: layer(flags.lake.clone(), "TALLOW_LAKE", text, file.lake, "./data".to_string())?,
            candles: layer(
                flags.candles.clone().map(Some),
                "TALLOW_CANDLES",
                |t| Ok(Some(t.to_string())),
                file.candles.map(Some),
                None,
            )?,
            memory: layer(
                flags.memory,
                "TALLOW_MEMORY",
                resources::parse_bytes,
                file.memory.as_deref().map(bytes).transpose()?,
                resources::default_memory(),
            )?,
            threads: layer(flags.threads, "TALLOW_THREADS", number, file.threads, resources::default_threads())?,
            spill_dir: layer(
                flags.spill_dir.clone().map(Some),
                "TALLOW_SPILL_DIR",
                path,
                file.spill_dir.map(|p| Some(p.into())),
                None,
            )?,
            cache_dir: layer(None, "TALLOW_CACHE_DIR", path, file.cache_dir.map(|p| Some(p.into())), default_cache())?,
            queries: layer(
                None,
                "TALLOW_QUERIES",
                |t| Ok(PathBuf::from(t)),
                file.queries.map(PathBuf::from),
                "queries".into(),
            )?,
            live: LiveConfig::load(file.live)?,
            as_of: flags.as_of.clone(),
            quiet: flags.quiet,
            verbose: flags.verbose > 0,
        })
    }

    /// The folder with the user's own named queries.
    pub fn queries(&self) -> &Path {
        &self.queries.value
    }

    pub fn threads(&self) -> usize {
        self.threads.value
    }

    pub async fn session(&self) -> Result<Session, Error> {
        // Who runs a query of one's own that cannot be read is told; others need not know.
        let own = crate::named_queries(Some(self.queries()));
        let queries = own.or_else(|_| crate::named_queries(None))?;
        let settings = Settings {
            lake: self.lake.value.clone(),
            candles: self.candles.value.clone(),
            memory: self.memory.value,
            threads: self.threads.value,
            spill_dir: self.spill_dir.value.clone(),
            cache_dir: self.cache_dir.value.clone(),
            ..Settings::default()
        };
        let session = crate::pipeline::open(settings, &queries).await?;
        match &self.as_of {
            Some(_) => session.for_request(&Request { as_of: self.as_of.clone(), memory: None }),
            None => Ok(session),
        }
    }

    fn show(&self) -> Result<(), Failure> {
        let path = |p: &Option<PathBuf>| p.as_ref().map_or_else(|| "-".to_string(), |p| p.display().to_string());
        let rows = [
            ("lake", self.lake.value.clone(), self.lake.from),
            ("candles", self.candles.value.clone().unwrap_or_else(|| "-".to_string()), self.candles.from),
            ("memory", format!("{} MiB", self.memory.value >> 20), self.memory.from),
            ("threads", self.threads.value.to_string(), self.threads.from),
            ("spill_dir", path(&self.spill_dir.value), self.spill_dir.from),
            ("cache_dir", path(&self.cache_dir.value), self.cache_dir.from),
            ("queries", self.queries.value.display().to_string(), self.queries.from),
        ];
        for (name, value, from) in rows.into_iter().chain(self.live.rows()) {
            out!("{name:<12} {value:<40} {from}");
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<File, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => toml::from_str(&text).map_err(|e| Error::invalid(format!("{}: {}", path.display(), e.message()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(File::default()),
        Err(error) => Err(Error::File(path.display().to_string(), error)),
    }
}

fn default_cache() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    base.map(|b| b.join("tallow"))
}
