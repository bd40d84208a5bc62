//! What a listener serves, and how its serving ends.

use std::time::Duration;

use axum::Router;
use tokio::sync::watch;

use super::settings::Limits;
use super::traffic::Traffic;

/// What is served to whom: looked at with every connection and every request, so that it can be changed.
#[derive(Clone)]
pub struct Serving {
    /// Where requests go that come from now on.
    pub router: Router,
    /// What connections are granted that come from now on.
    pub limits: Limits,
    /// Where they are counted.
    pub traffic: Traffic,
}

/// How the serving on a listener ends: each becomes true once.
#[derive(Clone)]
pub struct Ends {
    /// The end is near: each connection is closed with its next answer, or when it has been silent for a second. New ones
    /// are accepted all the same.
    pub stop: watch::Receiver<bool>,
    /// No connection is accepted any more. What waits to be accepted is left to whoever holds the socket next, if it was
    /// passed to this process; else it is served, for nobody else would.
    pub close: watch::Receiver<bool>,
    /// As `close`, but connections have time to leave: each is closed with its next answer, or when its idle time or
    /// [`RETIREMENT_MAX`] is over.
    pub retire: watch::Receiver<bool>,
}

/// Waits until `stop` becomes true, or nobody is left who could say so.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// How long a connection may go on after its listener has retired: longer than any wait but that for the next line of a
/// stream, whose caller connects anew.
pub const RETIREMENT_MAX: Duration = Duration::from_secs(600);
