//! The server's edge: listening addresses, connections with a deadline for everything, bodies read within
//! bounds, callers' tokens, problem documents.
//!
//! It knows no route. `axum::serve` is not used: it lets a client that says nothing hold its connection for ever.

mod address;
mod body;
mod connection;
mod gate;
mod guard;
mod listener;
pub(crate) mod multipart;
mod passed;
mod problem;
mod request;
mod seat;
mod server;
mod settings;
mod socket;
#[cfg(test)]
mod tests;
mod timed;
mod traffic;
mod unread;

pub use address::Address;
pub use body::{
    BODY_STALL_MAX, BODY_TIME_MAX, announced_bytes, check_encoding, hear_out, media_type, next_data, read_body,
};
pub use gate::{Gate, read_token};
pub use guard::guard;
pub use listener::Listener;
pub use passed::{Passed, passed};
pub use problem::Problem;
pub use request::{Stay, until};
pub use server::{Ends, Serving, serve, serve_on, stopped};
pub use settings::{Limits, Settings};
pub use traffic::{ANSWERS, Connections, Route, Traffic};
