//! The server's edge: listening addresses, connections with a deadline for everything, bodies read within
//! bounds, callers' tokens, problem documents.
//!
//! It knows no route. `axum::serve` is not used: it lets a silent client hold its connection for ever.

mod address;
mod auth;
mod body;
mod connection;
mod guard;
mod listener;
pub(crate) mod multipart;
mod passed;
mod problem;
mod request;
mod server;
mod serving;
mod settings;
mod slot;
mod socket;
#[cfg(test)]
mod tests;
mod timed;
mod traffic;
mod unreadable;

pub use address::Address;
pub(crate) use auth::require_token;
pub use auth::{TokenAuth, read_token};
pub use body::{BODY_STALL_MAX, BODY_TIME_MAX, announced_bytes, check_encoding, media_type, next_data, read_body};
pub use guard::guard;
pub use listener::Listener;
pub use passed::{Passed, passed};
pub use problem::Problem;
pub use request::{StreamControl, until};
pub use server::{serve, serve_on};
pub use serving::{Ends, Serving, stopped};
pub use settings::{Limits, Settings};
pub use traffic::{ANSWERS, Connections, Route, Traffic};
