//! The settings of a server: from the environment, the table `serve` of `tallow.toml`, or their defaults.

use crate::Error;
use crate::cli::config::{Layered, layer};
use crate::cli::live::duration;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;
use tallow_engine::resources::parse_bytes;

/// The table `serve` of `tallow.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct ServeFile {
    http: Option<String>,
    flight: Option<String>,
    keys: Option<PathBuf>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    running: Option<usize>,
    waiting: Option<usize>,
    timeout: Option<String>,
    query_memory: Option<String>,
    drain: Option<String>,
}

/// The settings of a server; flags come before them.
#[derive(Debug, Clone)]
pub(in crate::cli) struct ServeConfig {
    pub http: Layered<String>,
    pub flight: Layered<Option<String>>,
    pub keys: Layered<Option<PathBuf>>,
    pub tls_cert: Layered<Option<PathBuf>>,
    pub tls_key: Layered<Option<PathBuf>>,
    pub running: Layered<Option<usize>>,
    pub waiting: Layered<usize>,
    pub timeout: Layered<Duration>,
    pub query_memory: Layered<Option<usize>>,
    pub drain: Layered<Duration>,
}

impl ServeConfig {
    pub fn load(file: ServeFile) -> Result<ServeConfig, Error> {
        let path = |text: &str| Ok(Some(PathBuf::from(text)));
        let number =
            |text: &str| text.parse::<usize>().map_err(|_| Error::invalid(format!("'{text}': expected a number")));
        let time = |text: &str| duration(text).map_err(Error::invalid);
        let named =
            |name: &'static str| move |error: Error| Error::invalid(format!("tallow.toml: serve.{name}: {error}"));
        let timeout = file.timeout.as_deref().map(time).transpose().map_err(named("timeout"))?;
        let drain = file.drain.as_deref().map(time).transpose().map_err(named("drain"))?;
        let memory = file.query_memory.as_deref().map(parse_bytes).transpose().map_err(named("query_memory"))?;
        Ok(ServeConfig {
            http: layer(
                None,
                "TALLOW_SERVE_HTTP",
                |text| Ok(text.to_string()),
                file.http,
                "127.0.0.1:8080".to_string(),
            )?,
            flight: layer(None, "TALLOW_SERVE_FLIGHT", |text| Ok(Some(text.to_string())), file.flight.map(Some), None)?,
            keys: layer(None, "TALLOW_SERVE_KEYS", path, file.keys.map(Some), None)?,
            tls_cert: layer(None, "TALLOW_SERVE_TLS_CERT", path, file.tls_cert.map(Some), None)?,
            tls_key: layer(None, "TALLOW_SERVE_TLS_KEY", path, file.tls_key.map(Some), None)?,
            running: layer(None, "TALLOW_SERVE_RUNNING", |text| number(text).map(Some), file.running.map(Some), None)?,
            waiting: layer(None, "TALLOW_SERVE_WAITING", number, file.waiting, 256)?,
            timeout: layer(None, "TALLOW_SERVE_TIMEOUT", time, timeout, Duration::from_secs(300))?,
            query_memory: layer(
                None,
                "TALLOW_SERVE_QUERY_MEMORY",
                |text| parse_bytes(text).map(Some),
                memory.map(Some),
                None,
            )?,
            drain: layer(None, "TALLOW_SERVE_DRAIN", time, drain, Duration::from_secs(30))?,
        })
    }

    /// Names, values, and where these are from.
    pub fn rows(&self) -> [(&'static str, String, &'static str); 10] {
        let path = |path: &Option<PathBuf>| path.as_ref().map_or("-".to_string(), |path| path.display().to_string());
        let count = |count: Option<usize>| count.map_or("-".to_string(), |count| count.to_string());
        [
            ("serve.http", self.http.value.clone(), self.http.from),
            ("serve.flight", self.flight.value.clone().unwrap_or_else(|| "-".to_string()), self.flight.from),
            ("serve.keys", path(&self.keys.value), self.keys.from),
            ("serve.tls_cert", path(&self.tls_cert.value), self.tls_cert.from),
            ("serve.tls_key", path(&self.tls_key.value), self.tls_key.from),
            ("serve.running", count(self.running.value), self.running.from),
            ("serve.waiting", self.waiting.value.to_string(), self.waiting.from),
            ("serve.timeout", format!("{:?}", self.timeout.value), self.timeout.from),
            ("serve.query_memory", count(self.query_memory.value), self.query_memory.from),
            ("serve.drain", format!("{:?}", self.drain.value), self.drain.from),
        ]
    }
}
