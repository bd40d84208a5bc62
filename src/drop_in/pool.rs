//! The pool of connections for what is forwarded. It adds nothing to a request.

use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::forward_body::ForwardBody;
use super::written::Watching;
use crate::salesforce::connection::{Connection, Dialer, POOL_IDLE_TIMEOUT};

pub(super) type Pool = legacy::Client<Watching<HttpsConnector<Dialer>>, ForwardBody>;

pub(super) fn pool(connection: &Connection) -> Pool {
    legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .pool_max_idle_per_host(POOL_IDLE_MAX)
        .http1_max_buf_size(HEAD_BYTES_MAX)
        .http1_preserve_header_case(true)
        .build(Watching(connection.forward_connector()))
}

/// As many as one listening address has connections.
const POOL_IDLE_MAX: usize = 512;
/// An answer's head. A request's has the bound of the server.
const HEAD_BYTES_MAX: usize = 64 * 1024;
