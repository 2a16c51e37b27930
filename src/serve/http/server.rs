//! A server over a lake.

use super::caller::known;
use super::connections::{Connections, Listening};
use super::failed::Failed;
use super::guard::same_site;
use super::timed::timed;
use super::tls::Tls;
use super::{named, running, scan, sql, watching};
use crate::access::Access;
use crate::lag::Lag;
use crate::queries::{Limits, Queries};
use crate::watched::Watched;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use std::sync::Arc;
use std::time::Instant;
use tallow_common::{Error, Result};
use tallow_pipeline::Session;
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;
use tower_http::timeout::RequestBodyTimeoutLayer;

/// A body is not longer.
const LONGEST: usize = 16 << 20;
/// Answers that are shorter are not compressed.
const COMPRESSED: u16 = 512;

/// How a server is run.
pub struct ServerOptions {
    /// What queries may take.
    pub limits: Limits,
    /// Who is let in.
    pub access: Access,
    /// The certificate and its key, if connections are encrypted.
    pub tls: Option<Tls>,
    /// How connections are kept.
    pub connections: Connections,
}

/// Where a server is asked.
pub struct Doors {
    /// By HTTP.
    pub http: Listening,
    /// By Arrow Flight SQL.
    #[cfg(feature = "flight")]
    pub flight: Option<Listening>,
}

/// A server over a lake.
pub struct Server {
    served: Served,
    access: Arc<Access>,
    tls: Option<Tls>,
    connections: Connections,
}

/// What routes answer from.
#[derive(Clone)]
pub(crate) struct Served {
    pub queries: Arc<Queries>,
    pub watched: Arc<Watched>,
    pub lag: Arc<Lag>,
    pub begun: Instant,
    /// Nothing further is begun.
    pub ends: CancellationToken,
}

impl Server {
    /// A server of a session whose statements read the lake alone (see [`Settings::confined`](tallow_pipeline::Settings)).
    ///
    /// # Errors
    /// The session has no tables of its own.
    pub fn new(session: Arc<Session>, options: ServerOptions) -> Result<Server> {
        let ServerOptions { limits, access, tls, connections } = options;
        let served = Served {
            queries: Queries::new(Arc::clone(&session), limits)?,
            watched: Arc::new(Watched::of(session)),
            lag: Arc::default(),
            begun: Instant::now(),
            ends: CancellationToken::new(),
        };
        Ok(Server { served, access: Arc::new(access), tls, connections })
    }

    fn routes(&self, listening: &Listening) -> Router {
        let missing = || async { Failed::from(Error::not_found("there is nothing at this address")) };
        Router::new()
            .route("/v1/sql", get(sql::get).post(sql::post))
            .route("/v1/queries", get(named::list))
            .route("/v1/queries/{name}", get(named::get).post(named::post))
            .route("/v1/scan", post(scan::post))
            .route("/v1/running", get(running::list))
            .route("/v1/running/{id}", get(running::get).delete(running::stop))
            .route("/v1/performance", get(watching::performance))
            .route("/v1/performance/summary", get(watching::summary))
            .route("/v1/performance/clear", post(watching::clear))
            .route("/metrics", get(watching::metrics))
            .route("/health/live", get(watching::alive))
            .route("/health/ready", get(watching::ready))
            .route("/health/detailed", get(watching::detailed))
            .fallback(missing)
            .layer(CompressionLayer::new().compress_when(SizeAbove::new(COMPRESSED)))
            .layer(from_fn_with_state(self.served.clone(), timed))
            .layer(from_fn_with_state(Arc::clone(&self.access), known))
            .layer(DefaultBodyLimit::max(LONGEST))
            .layer(RequestBodyTimeoutLayer::new(self.connections.asks_within))
            .layer(from_fn_with_state(listening.address(), same_site))
            .with_state(self.served.clone())
    }

    /// Answers requests until it is stopped, and then those that have begun.
    pub async fn run(self, doors: Doors, stop: CancellationToken) {
        let routes = self.routes(&doors.http);
        let Served { queries, lag, ends, .. } = self.served;
        #[cfg(feature = "flight")]
        let flight = {
            let routes = crate::flight::routes(Arc::clone(&queries), Arc::clone(&self.access));
            let (tls, connections, stop) = (self.tls.clone(), self.connections.clone(), stop.clone());
            async move {
                if let Some(listening) = doors.flight {
                    listening.answer(routes, tls, connections, stop).await;
                }
            }
        };
        #[cfg(not(feature = "flight"))]
        let flight = std::future::ready(());
        let closing = async {
            stop.cancelled().await;
            queries.close();
            ends.cancel();
        };
        let answering = doors.http.answer(routes, self.tls, self.connections, stop.clone());
        tokio::select! {
            ((), (), ()) = async { tokio::join!(answering, flight, closing) } => {}
            () = lag.watch() => {}
        }
    }
}
