//! The server's edge: listening addresses, connections with a deadline for everything, bodies read within
//! bounds, callers' tokens, problem documents.
//!
//! It knows no route. `axum::serve` is not used: it lets a client that says nothing hold its connection for ever.

mod body;
mod connection;
mod gate;
mod guard;
mod listener;
pub mod multipart;
mod passed;
mod problem;
mod request;
mod seat;
mod server;
mod socket;
#[cfg(test)]
mod tests;
mod timed;
mod traffic;
mod unread;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

pub use body::{
    BODY_STALL_MAX, BODY_TIME_MAX, announced_bytes, check_encoding, hear_out, media_type, next_data, read_body,
};
pub use gate::{Gate, read_token};
pub use guard::guard;
pub use listener::Listener;
pub use passed::{Passed, passed};
pub use problem::Problem;
pub use request::{Stay, until};
pub use server::{Ends, RETIREMENT_MAX, Serving, serve, serve_on, stopped};
pub use traffic::{ANSWERS, Connections, Route, Traffic};

/// Where to listen: `127.0.0.1:7480` or `unix:/run/typingd/typingd.sock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An IP address and a port; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// The path of a Unix stream socket.
    Unix(PathBuf),
}

impl Address {
    /// Whether only this machine can reach it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            // An IPv4 address that is written as an IPv6 one is what it is.
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            if !path.starts_with('/') {
                return Err(format!(
                    "`{text}` is not an address: a Unix socket needs an absolute path, such as unix:/run/typingd/typingd.sock"
                ));
            }
            return Ok(Self::Unix(path.into()));
        }
        text.parse().map(Self::Tcp).map_err(|_| {
            format!("`{text}` is not an address: an IP address with a port (127.0.0.1:7480) or unix:/path is right")
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What a listener grants its clients.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections at a time. A further one takes the place of one that lies idle, or waits in the system's queue.
    pub connections_max: usize,
    /// A request's head in bytes.
    pub head_bytes_max: usize,
    /// From a connection's opening, or a head's first byte, to the head's end.
    pub head_timeout: Duration,
    /// How long a connection may lie unused between two requests. Longer than the 60 s after which common clients
    /// drop an idle connection, so that it is they who close it and no request meets a closing connection.
    pub idle_timeout: Duration,
    /// How long a client may take nothing of an answer that is being written. What it holds up meanwhile is a piece of
    /// the answer and a place among the connections.
    pub stall_timeout: Duration,
    /// How long a client that has closed its own side may still wait for its answer. A client that has gone looks the
    /// same until it is answered. Longer than `drop_in.stall_timeout` by default, so that the bound of the request holds.
    pub half_closed_timeout: Duration,
    /// Whether header names keep the case in which they came and are set: for what passes through untouched.
    pub keep_header_case: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 512,
            head_bytes_max: 16 * 1024,
            head_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(75),
            stall_timeout: Duration::from_secs(30),
            half_closed_timeout: Duration::from_secs(75),
            keep_header_case: false,
        }
    }
}
