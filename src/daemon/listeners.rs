//! Where the daemon can be reached, which may change while it runs: what is new is bound before what is old retires.

use std::sync::{Arc, Weak};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::info;

use crate::http::{Address, Ends, Listener, Passed, Serving, serve_on};

/// A listener that serves nobody yet.
pub(super) struct Bound {
    wanted: Address,
    listener: Arc<Listener>,
}

impl Bound {
    /// Where it listens; the port is the real one.
    pub(super) fn address(&self) -> &Address {
        self.listener.address()
    }
}

/// The listeners in use.
pub(super) struct Doors {
    open: Vec<Door>,
    /// Those that retire may still hold their addresses for a moment.
    retiring: Vec<Weak<Listener>>,
    serving: watch::Receiver<Serving>,
    stop: watch::Receiver<bool>,
    close: watch::Receiver<bool>,
    servers: JoinSet<()>,
}

struct Door {
    wanted: Address,
    listener: Weak<Listener>,
    retire: watch::Sender<bool>,
}

/// Binds what the configuration wants. What was passed is not bound, for it listens already.
///
/// # Errors
/// Names the address and what to do about it.
pub(super) async fn bind(wanted: &[Address], passed: Vec<Passed>) -> Result<Vec<Bound>, String> {
    let mut passed = passed.into_iter().map(Some).collect::<Vec<_>>();
    let mut bound = Vec::new();
    for wanted in wanted {
        let taken = passed.iter_mut().find(|passed| passed.as_ref().is_some_and(|passed| passed.address() == wanted));
        let listener = match taken.and_then(Option::take) {
            Some(passed) => passed.into_listener()?,
            None => Listener::bind(wanted).await?,
        };
        bound.push(Bound { wanted: wanted.clone(), listener: Arc::new(listener) });
    }
    Ok(bound)
}

impl Doors {
    /// No listener yet. Each serves what `serving` says; from `stop` on it closes its connections one by one, and from
    /// `close` on it accepts none.
    pub(super) fn new(
        serving: watch::Receiver<Serving>,
        stop: watch::Receiver<bool>,
        close: watch::Receiver<bool>,
    ) -> Self {
        Self { open: Vec::new(), retiring: Vec::new(), serving, stop, close, servers: JoinSet::new() }
    }

    /// Serves what has been bound.
    pub(super) fn open(&mut self, bound: Vec<Bound>) {
        for Bound { wanted, listener } in bound {
            info!(address = %listener.address(), "listening");
            let (retire, retiring) = watch::channel(false);
            self.open.push(Door { wanted, listener: Arc::downgrade(&listener), retire });
            let ends = Ends { stop: self.stop.clone(), close: self.close.clone(), retire: retiring };
            self.servers.spawn(serve_on(listener, self.serving.clone(), ends));
        }
    }

    /// Binds those of `wanted` that are not open yet.
    ///
    /// # Errors
    /// Names the address and what to do about it.
    pub(super) async fn bind_missing(&self, wanted: &[Address]) -> Result<Vec<Bound>, String> {
        let own = self.open.iter().map(|door| &door.listener).chain(&self.retiring);
        let own: Vec<_> = own.filter_map(Weak::upgrade).collect();
        let mut open: Vec<_> = self.open.iter().map(|door| &door.wanted).collect();
        let mut bound: Vec<Bound> = Vec::new();
        for wanted in wanted {
            if let Some(place) = open.iter().position(|open| *open == wanted) {
                open.swap_remove(place);
                continue;
            }
            let listener = Listener::bind_beside(wanted, &own).await?;
            bound.push(Bound { wanted: wanted.clone(), listener: Arc::new(listener) });
        }
        Ok(bound)
    }

    /// From now on `wanted` is open, of which `bound` was missing; everything else retires.
    pub(super) fn turn_to(&mut self, wanted: &[Address], bound: Vec<Bound>) {
        let mut missing: Vec<_> = wanted.iter().collect();
        let kept = |door: &Door| {
            let place = missing.iter().position(|wanted| **wanted == door.wanted);
            place.map(|place| missing.swap_remove(place)).is_some()
        };
        let (kept, retired): (Vec<_>, Vec<_>) = std::mem::take(&mut self.open).into_iter().partition(kept);
        self.open = kept;
        self.open(bound);
        self.retiring.retain(|listener| listener.strong_count() > 0);
        for door in retired {
            if let Some(listener) = door.listener.upgrade() {
                info!(address = %listener.address(), "no longer listening; what is under way there is finished");
                listener.take_file_away();
            }
            let _ = door.retire.send(true);
            self.retiring.push(door.listener);
        }
        while self.servers.try_join_next().is_some() {}
    }

    /// Where the daemon listens; ports are the real ones.
    pub(super) fn addresses(&self) -> Vec<String> {
        let listeners = self.open.iter().filter_map(|door| door.listener.upgrade());
        listeners.map(|listener| listener.address().to_string()).collect()
    }

    /// Ends when every connection has been closed.
    pub(super) async fn closed(&mut self) {
        while self.servers.join_next().await.is_some() {}
    }
}
