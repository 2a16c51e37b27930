//! Requests that a browser was talked into are refused.
//!
//! A page of another site can make a browser send requests to this machine. Such a request names the page as its origin, or, where a
//! name of the page was pointed at this machine, another host.

use super::failed::Failed;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::{IpAddr, SocketAddr};
use tallow_common::{Code, Error};

/// Lets a request through if it is meant for this server.
pub(crate) async fn same_site(State(address): State<SocketAddr>, request: Request, next: Next) -> Response {
    match refused(address, request.headers()) {
        Some(reason) => Failed::from(Error::known(Code::Forbidden, reason)).into_response(),
        None => next.run(request).await,
    }
}

fn refused(address: SocketAddr, headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(HOST)?;
    if address.ip().is_loopback() && !is_here(host) {
        return Some(format!("the host '{host}' is not this machine: expected localhost or a loopback address"));
    }
    let origin = text(ORIGIN)?;
    let of_origin = origin.split_once("://").map_or(origin, |(_, host)| host);
    (of_origin != host).then(|| format!("a page of '{origin}' may not send requests here"))
}

/// Whether a host, with or without a port, is this machine.
fn is_here(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused_of(host: &str, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        origin.into_iter().for_each(|origin| drop(headers.insert(ORIGIN, origin.parse().unwrap())));
        refused("127.0.0.1:80".parse().unwrap(), &headers).is_some()
    }

    #[test]
    fn a_page_of_another_site_is_refused() {
        assert!(!refused_of("localhost:8080", None));
        assert!(!refused_of("[::1]:8080", None));
        assert!(!refused_of("127.0.0.1:8080", Some("http://127.0.0.1:8080")));
        assert!(refused_of("127.0.0.1:8080", Some("https://example.com")));
        assert!(refused_of("127.0.0.1:8080", Some("null")));
        assert!(refused_of("example.com", None));
    }
}
