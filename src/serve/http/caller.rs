//! Who asks: the key of a request, and what it allows.

use super::failed::Failed;
use crate::access::{Access, Caller, Role};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use tallow_common::{Code, Error};

/// What anybody may ask: whether the server is there, and what it has.
const OPEN: [&str; 2] = ["/health/live", "/health/ready"];

/// Lets a request through whose key is known.
pub(super) async fn known(State(access): State<Arc<Access>>, mut request: Request, next: Next) -> Response {
    if OPEN.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    match access.caller(key(request.headers())) {
        Ok(caller) => {
            request.extensions_mut().insert(Arc::new(caller));
            next.run(request).await
        }
        Err(error) => Failed::from(error).into_response(),
    }
}

fn key(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text(AUTHORIZATION.as_str()).and_then(|value| {
        let (kind, key) = value.split_once(' ')?;
        kind.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    bearer.or_else(|| text("x-api-key"))
}

/// Who asks, of a request that needs a role.
pub(super) struct With<const ROLE: u8>(pub Arc<Caller>);

/// Who may read.
pub(super) type Reads = With<{ Role::Read as u8 }>;
/// Who may begin what takes long.
pub(super) type Runs = With<{ Role::Run as u8 }>;
/// Who may hand candles in.
pub(super) type Writes = With<{ Role::Write as u8 }>;

impl<S: Sync, const ROLE: u8> FromRequestParts<S> for With<ROLE> {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failed> {
        let caller = parts.extensions.get::<Arc<Caller>>().cloned();
        let unknown = || Error::known(Code::Unauthorized, "nobody knows who asks");
        let caller = caller.ok_or_else(unknown)?;
        let needed = Role::ALL.into_iter().find(|role| *role as u8 == ROLE).unwrap_or(Role::Write);
        caller.may(needed)?;
        Ok(With(caller))
    }
}
