//! Settings, layered: defaults, then `tallow.toml`, then the environment, then flags.

use super::Failure;
use super::args::Global;
use super::commands::{Context, Run};
use super::live::{LiveConfig, LiveFile};
use super::output::out;
use super::serve::{ServeConfig, ServeFile};
use crate::Error;
use crate::pipeline::Request;
use crate::{Session, Settings};
use clap::Args as ClapArgs;
use serde::Deserialize;
use std::path::{Path, PathBuf};
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
    #[serde(default)]
    serve: ServeFile,
}

/// A setting and where it comes from.
#[derive(Debug, Clone)]
pub(super) struct Layered<T> {
    pub value: T,
    pub from: &'static str,
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
    pub serve: ServeConfig,
    as_of: Option<AsOf>,
    pub quiet: bool,
    pub verbose: bool,
}

impl<T: Clone> Layered<T> {
    /// What is given on the command line, or else this.
    pub fn or(&self, flag: Option<T>) -> T {
        flag.unwrap_or_else(|| self.value.clone())
    }

    /// Another default.
    pub fn set_default(&mut self, value: T) {
        if self.from == "default" {
            self.value = value;
        }
    }
}

pub(super) fn layer<T>(
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
            serve: ServeConfig::load(file.serve)?,
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

    /// The memory limit in bytes.
    pub fn memory(&self) -> usize {
        self.memory.value
    }

    pub async fn session(&self) -> Result<Session, Error> {
        self.open(false).await
    }

    /// One that reads no files beside those of the lake, for others than the user.
    pub async fn confined_session(&self) -> Result<Session, Error> {
        self.open(true).await
    }

    async fn open(&self, confined: bool) -> Result<Session, Error> {
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
            confined,
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
        for (name, value, from) in rows.into_iter().chain(self.live.rows()).chain(self.serve.rows()) {
            out!("{name:<18} {value:<40} {from}");
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
