//! What a listener serves, and how its serving ends.

use axum::Router;
use tokio::sync::watch;

use super::forward_route::ForwardRoute;
use super::settings::Limits;
use super::signals_route::SignalsRoute;
use super::traffic::Traffic;

/// What is served: read with every connection and every request, so that it can be changed.
#[derive(Clone)]
pub(crate) struct Serving {
    /// Handles new requests.
    pub router: Router,
    /// Takes signals beside it.
    pub signals: Option<SignalsRoute>,
    /// Forwards interactions beside it.
    pub forward: Option<ForwardRoute>,
    /// Bounds new connections.
    pub limits: Limits,
    /// Counts both.
    pub traffic: Traffic,
}

/// How the serving on a listener ends: each becomes true once.
#[derive(Clone)]
pub(crate) struct Ends {
    /// Each connection is closed with its next answer, or when it has been silent for a second. New ones are still
    /// accepted.
    pub stop: watch::Receiver<bool>,
    /// No connection is accepted any more. The backlog of a socket that was passed to this process is left to the next
    /// process; any other is served.
    pub close: watch::Receiver<bool>,
}

/// Waits until `stop` becomes true, or its sender is dropped.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
