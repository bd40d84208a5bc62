//! Where the daemon listens, from its start to its end: other addresses wait for the next start.

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::http::{Ends, Listener, Passed, Serving, serve_on};

/// Binds the addresses of ingest, and those of admin. A socket that was passed is not bound, for it listens already; one
/// that is not wanted is closed.
///
/// # Errors
/// Names the address and what to do about it.
pub(super) async fn bind(config: &Config, passed: Vec<Passed>) -> Result<(Vec<Listener>, Vec<Listener>), String> {
    let mut passed = passed.into_iter().map(Some).collect::<Vec<_>>();
    let all: Vec<_> = config.ingest.listen.iter().chain(&config.admin.listen).cloned().collect();
    let mut bound = Vec::new();
    for wanted in &all {
        let taken = passed.iter_mut().find(|passed| passed.as_ref().is_some_and(|passed| passed.address() == wanted));
        bound.push(match taken.and_then(Option::take) {
            Some(passed) => passed.into_listener()?,
            None => Listener::bind_beside(wanted, &all, config.ingest.socket_mode).await?,
        });
    }
    let admin = bound.split_off(config.ingest.listen.len());
    Ok((bound, admin))
}

/// Serves `serving` on each listener. The tasks end when every connection has been closed.
pub(super) fn serve(servers: &mut JoinSet<()>, bound: Vec<Listener>, serving: &watch::Receiver<Serving>, ends: &Ends) {
    for listener in bound {
        servers.spawn(serve_on(listener, serving.clone(), ends.clone()));
    }
}
