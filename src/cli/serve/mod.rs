//! `tallow serve`.

mod settings;

use super::Failure;
use super::commands::{Context, Run};
use super::live::duration;
use super::output::note;
use crate::Error;
use clap::Args as ClapArgs;
pub(super) use settings::{ServeConfig, ServeFile};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tallow_engine::resources::parse_bytes;
use tallow_serve::{Access, Connections, Doors, Keys, Limits, Server, ServerOptions, Tls, listen};

#[derive(Debug, ClapArgs)]
pub(super) struct ServeArgs {
    /// Where requests by HTTP are answered [default: 127.0.0.1:8080; env: TALLOW_SERVE_HTTP]
    #[arg(long, value_name = "ADDRESS")]
    pub http: Option<String>,
    /// Where queries by Arrow Flight SQL are answered, as ADBC and JDBC ask them, such as 127.0.0.1:32010 [env: TALLOW_SERVE_FLIGHT]
    #[arg(long, value_name = "ADDRESS")]
    pub flight: Option<String>,
    /// The file of keys: whoever has none of them is refused (see `tallow key`) [env: TALLOW_SERVE_KEYS]
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
    /// The certificate, with those that sign it, as PEM: connections are encrypted [env: TALLOW_SERVE_TLS_CERT]
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Its private key, as PEM [env: TALLOW_SERVE_TLS_KEY]
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Serve other machines without keys, or without encryption
    #[arg(long)]
    pub insecure: bool,
    /// Queries that run at the same time [default: twice the threads; env: TALLOW_SERVE_RUNNING]
    #[arg(long, value_name = "N")]
    pub running: Option<usize>,
    /// Queries that wait for their turn; more are refused at once [default: 256; env: TALLOW_SERVE_WAITING]
    #[arg(long, value_name = "N")]
    pub waiting: Option<usize>,
    /// How long a query may take, waiting included [default: 5m; env: TALLOW_SERVE_TIMEOUT]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// Memory of one query [default: a quarter of that of all; env: TALLOW_SERVE_QUERY_MEMORY]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub query_memory: Option<usize>,
    /// How long queries that run may go on once the server is stopped [default: 30s; env: TALLOW_SERVE_DRAIN]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub drain: Option<Duration>,
}

impl Run for ServeArgs {
    async fn run(self, cx: &Context) -> Result<(), Failure> {
        let config = &cx.config.serve;
        let keys = config.keys.or(self.keys.clone().map(Some));
        let (cert, key) =
            (config.tls_cert.or(self.tls_cert.clone().map(Some)), config.tls_key.or(self.tls_key.clone().map(Some)));
        let tls = match (cert, key) {
            (Some(cert), Some(key)) => Some(Tls::read(&cert, &key)?),
            (None, None) => None,
            _ => {
                let said =
                    "connections are encrypted with a certificate and its key: give both --tls-cert and --tls-key";
                return Err(Error::invalid(said).into());
            }
        };
        let access = match &keys {
            Some(path) => Access::Keys(Keys::open(path)?),
            None => Access::Open,
        };
        let flight = config.flight.or(self.flight.clone().map(Some));
        let doors = doors(&config.http.or(self.http.clone()), flight.as_deref()).await?;
        for (_, address) in told(&doors) {
            self.refuse_openness(address, keys.is_some(), tls.is_some())?;
        }
        let limits = Limits {
            running: config.running.or(self.running.map(Some)).unwrap_or(2 * cx.config.threads()).max(1),
            waiting: config.waiting.or(self.waiting),
            timeout: config.timeout.or(self.timeout),
            memory: config.query_memory.or(self.query_memory.map(Some)).unwrap_or(cx.config.memory() / 4).max(1),
        };
        let connections = Connections { drain: config.drain.or(self.drain), ..Connections::default() };
        let session = Arc::new(cx.config.confined_session().await?);
        let secured = if tls.is_some() { "s" } else { "" };
        let server = Server::new(session, ServerOptions { limits, access, tls, connections })?;
        for (scheme, address) in told(&doors) {
            note(format_args!("listening on {scheme}{secured}://{address}"));
        }
        server.run(doors, cx.cancel.clone()).await;
        Ok(())
    }
}

/// Listens where a server is asked.
async fn doors(http: &str, flight: Option<&str>) -> Result<Doors, Error> {
    let http = listen(http).await?;
    #[cfg(feature = "flight")]
    let doors = Doors {
        http,
        flight: match flight {
            Some(address) => Some(listen(address).await?),
            None => None,
        },
    };
    #[cfg(not(feature = "flight"))]
    let doors = match flight {
        None => Doors { http },
        Some(_) => {
            let said = "this program answers no queries by Arrow Flight SQL";
            return Err(Error::invalid(said).with_hint("build it with the cargo feature `flight`"));
        }
    };
    Ok(doors)
}

/// Where that is.
fn told(doors: &Doors) -> Vec<(&'static str, SocketAddr)> {
    #[allow(unused_mut, reason = "for further doors")]
    let mut all = vec![("http", doors.http.address())];
    #[cfg(feature = "flight")]
    all.extend(doors.flight.as_ref().map(|of| ("grpc", of.address())));
    all
}

impl ServeArgs {
    /// Other machines are let in with a key, over connections that nobody else reads.
    fn refuse_openness(&self, address: SocketAddr, has_keys: bool, has_tls: bool) -> Result<(), Error> {
        if address.ip().is_loopback() || self.insecure || (has_keys && has_tls) {
            return Ok(());
        }
        let missing = match (has_keys, has_tls) {
            (false, _) => "whoever reaches it may read and write",
            _ => "whoever is between them reads keys and results",
        };
        Err(Error::invalid(format!("{address} is reached from other machines, and {missing}"))
            .with_hint("give --keys, --tls-cert and --tls-key, or --insecure if something else sees to it"))
    }
}
