//! HTTP.

mod answer;
mod ask;
mod caller;
mod connections;
mod failed;
mod guard;
mod live;
mod named;
mod running;
mod scan;
mod server;
mod sql;
mod timed;
mod tls;
mod watching;

pub use connections::{Connections, Listening, listen};
pub(crate) use server::Served;
pub use server::{Doors, Server, ServerOptions};
pub use tls::Tls;
