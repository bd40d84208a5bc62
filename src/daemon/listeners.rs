//! Where the daemon listens, from its start to its end: other addresses wait for the next start.

use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::info;

use crate::http::{Address, Ends, Listener, Passed, Serving, serve_on};

/// Binds `wanted`. A socket that was passed is not bound, for it listens already; one that is not wanted is closed.
///
/// # Errors
/// Names the address and what to do about it.
pub(super) async fn bind(wanted: &[Address], passed: Vec<Passed>) -> Result<Vec<Listener>, String> {
    let mut passed = passed.into_iter().map(Some).collect::<Vec<_>>();
    let mut bound = Vec::new();
    for wanted in wanted {
        let taken = passed.iter_mut().find(|passed| passed.as_ref().is_some_and(|passed| passed.address() == wanted));
        bound.push(match taken.and_then(Option::take) {
            Some(passed) => passed.into_listener()?,
            None => Listener::bind(wanted).await?,
        });
    }
    Ok(bound)
}

/// Serves `serving` on each listener. The tasks end when every connection has been closed.
pub(super) fn serve(bound: Vec<Listener>, serving: &watch::Receiver<Serving>, ends: &Ends) -> JoinSet<()> {
    let mut servers = JoinSet::new();
    for listener in bound {
        info!(address = %listener.address(), "listening");
        servers.spawn(serve_on(listener, serving.clone(), ends.clone()));
    }
    servers
}
