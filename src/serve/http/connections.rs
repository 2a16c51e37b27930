//! Connections: accepted, kept in number, cut when they are slow to ask, and ended in order.

use super::tls::Tls;
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tallow_common::{Error, Result};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How connections are kept.
#[derive(Debug, Clone)]
pub struct Connections {
    /// So many at the same time; others wait to be accepted.
    pub most: usize,
    /// How long one may take to say what it asks, and to ask again.
    pub asks_within: Duration,
    /// How long requests that have begun may go on once the server is to end.
    pub drain: Duration,
}

impl Default for Connections {
    fn default() -> Self {
        Connections { most: 16_384, asks_within: Duration::from_secs(30), drain: Duration::from_secs(30) }
    }
}

/// How long it is waited after a connection could not be accepted: mostly there are too many files.
const AGAIN: Duration = Duration::from_millis(50);

/// A port that is listened on.
pub struct Listening {
    listener: TcpListener,
    address: SocketAddr,
}

/// Listens on `host:port`; port 0: any that is free.
///
/// # Errors
/// It cannot be listened on.
pub async fn listen(address: &str) -> Result<Listening> {
    let named = |error| Error::File(format!("listening on {address}"), error);
    let listener = TcpListener::bind(address).await.map_err(named)?;
    let address = listener.local_addr().map_err(named)?;
    Ok(Listening { listener, address })
}

impl Listening {
    /// Where.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until it is stopped, and then those that have begun.
    pub(crate) async fn answer(self, routes: Router, tls: Option<Tls>, options: Connections, stop: CancellationToken) {
        let room = Arc::new(Semaphore::new(options.most));
        let mut open = JoinSet::new();
        loop {
            let accepted = async {
                let room = Arc::clone(&room).acquire_owned().await.ok()?;
                Some((self.listener.accept().await, room))
            };
            let (accepted, room) = tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = open.join_next(), if !open.is_empty() => continue,
                accepted = accepted => match accepted {
                    Some(accepted) => accepted,
                    None => break,
                },
            };
            let socket = match accepted {
                Ok((socket, _)) => socket,
                Err(error) => {
                    tracing::warn!("a connection cannot be accepted: {error}");
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
            };
            let (routes, tls, stop, within) = (routes.clone(), tls.clone(), stop.clone(), options.asks_within);
            open.spawn(async move {
                let _room = room;
                let _ = socket.set_nodelay(true);
                match tls {
                    None => connection(socket, routes, within, stop).await,
                    Some(tls) => {
                        if let Some(socket) = secured(&tls, socket, within).await {
                            connection(socket, routes, within, stop).await;
                        }
                    }
                }
            });
        }
        drop(self.listener);
        let ended = tokio::time::timeout(options.drain, async { while open.join_next().await.is_some() {} }).await;
        if ended.is_err() {
            tracing::warn!("{} connections are cut: what they asked for has not ended", open.len());
        }
    }
}

async fn secured(tls: &Tls, socket: TcpStream, within: Duration) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
    match tokio::time::timeout(within, tls.0.accept(socket)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!("a connection has no TLS: {error}");
            None
        }
        Err(_) => None,
    }
}

async fn connection(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    routes: Router,
    within: Duration,
    stop: CancellationToken,
) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(within);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(within);
    let mut connection =
        std::pin::pin!(builder.serve_connection(TokioIo::new(socket), TowerToHyperService::new(routes)));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection ended: {error}");
    }
}
