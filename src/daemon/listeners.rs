//! Where the daemon listens, from its start to its end: other addresses wait for the next start.

use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::info;

use super::upstream::Upstream;
use crate::api::Routes;
use crate::config::Config;
use crate::http::{Ends, Listener, Passed, Serving, serve_on};

/// Binds the addresses of ingest, and those of admin. A socket that was passed is not bound, for it listens already.
///
/// # Errors
/// Names the address and what to do about it.
pub(super) async fn bind(config: &Config, passed: &[Passed]) -> Result<(Vec<Listener>, Vec<Listener>), String> {
    let all: Vec<_> = config.ingest.listen.iter().chain(&config.admin.listen).cloned().collect();
    let mut bound = Vec::new();
    for (place, wanted) in all.iter().enumerate() {
        let key = if place < config.ingest.listen.len() { "ingest.listen" } else { "admin.listen" };
        let located = |why: String| config.located(key, &format!("{key}: {why}"));
        bound.push(match passed.iter().find(|passed| passed.address() == wanted) {
            Some(passed) => passed.listener()?,
            None => Listener::bind_beside(wanted, &all, config.ingest.socket_mode).await.map_err(located)?,
        });
    }
    let admin = bound.split_off(config.ingest.listen.len());
    Ok((bound, admin))
}

/// What is served on the addresses of ingest, and on those of admin, where it has its own. It can be changed.
pub(super) struct Served {
    /// The daemon's own routes, to which the drop-in adds its own.
    own: Routes,
    ingest: watch::Sender<Serving>,
    admin: Option<watch::Sender<Serving>>,
}

impl Served {
    pub(super) fn new(own: Routes, upstream: &Upstream, console: bool) -> Self {
        let (ingest, admin) = upstream.serving(&own, console);
        Self { own, ingest: watch::Sender::new(ingest), admin: admin.map(watch::Sender::new) }
    }

    /// Serves it anew, with what `upstream` has changed.
    pub(super) fn renew(&self, upstream: &Upstream, console: bool) {
        let (ingest, admin) = upstream.serving(&self.own, console);
        self.ingest.send_replace(ingest);
        if let (Some(sender), Some(admin)) = (&self.admin, admin) {
            sender.send_replace(admin);
        }
    }

    /// Serves it on each listener. The tasks end when every connection has been closed.
    pub(super) fn listen(&self, bound: Vec<Listener>, bound_admin: Vec<Listener>, ends: &Ends) -> JoinSet<()> {
        let mut servers = JoinSet::new();
        for listener in bound {
            info!(address = %listener.address(), "listening");
            servers.spawn(serve_on(listener, self.ingest.subscribe(), ends.clone()));
        }
        for (listener, serving) in bound_admin.into_iter().zip(self.admin.iter().cycle()) {
            info!(address = %listener.address(), "admin listening");
            servers.spawn(serve_on(listener, serving.subscribe(), ends.clone()));
        }
        servers
    }
}
