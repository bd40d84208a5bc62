//! Counts of the server: connections by listening address, requests by route and class of answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use axum::http::StatusCode;

use super::address::Address;

/// The counts. Cheap to clone; clones count together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traffic(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    requests: [[AtomicU64; ANSWERS.len()]; Route::ALL.len()],
    /// Each lives as long as its listener or a connection of it: there are as many as the configuration names.
    listeners: Mutex<Vec<Weak<ListenerStats>>>,
}

/// The classes of answers, by their first digit less one.
pub(crate) const ANSWERS: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Where a request goes: a closed set, whatever the caller asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// Signals of connectors.
    Signals,
    /// Streams: signals for recording, indicators for watching.
    Streams,
    /// What passes through the drop-in.
    DropIn,
    /// Alive and ready.
    Health,
    /// The metrics.
    Metrics,
    /// The console's page and what it loads.
    Console,
    /// Everything else for operators.
    Operation,
    /// No route.
    Unknown,
}

impl Route {
    /// All of them, in the order of their declaration.
    pub(crate) const ALL: [Self; 8] = [
        Self::Signals,
        Self::Streams,
        Self::DropIn,
        Self::Health,
        Self::Metrics,
        Self::Console,
        Self::Operation,
        Self::Unknown,
    ];

    /// The name in the metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Signals => "signals",
            Self::Streams => "streams",
            Self::DropIn => "drop_in",
            Self::Health => "health",
            Self::Metrics => "metrics",
            Self::Console => "console",
            Self::Operation => "operation",
            Self::Unknown => "unknown",
        }
    }

    pub(super) fn of(path: &str) -> Self {
        match path {
            "/v1/signals" => Self::Signals,
            "/v1/signals/stream" | "/v1/indicators" => Self::Streams,
            "/healthz" | "/readyz" => Self::Health,
            "/metrics" => Self::Metrics,
            "/" => Self::Console,
            "/openapi.json" => Self::Operation,
            _ if path.starts_with("/api/v1/") => Self::DropIn,
            _ if path.starts_with("/console/") => Self::Console,
            _ if path.starts_with("/v1/") => Self::Operation,
            _ => Self::Unknown,
        }
    }
}

/// The connections of one listening address.
#[derive(Debug)]
pub(super) struct ListenerStats {
    address: String,
    open: AtomicU64,
    opened: AtomicU64,
    displaced: AtomicU64,
    failed: AtomicU64,
}

/// The numbers of one listening address at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Connections {
    /// The listening address.
    pub address: String,
    /// Open now.
    pub open: u64,
    /// Accepted so far.
    pub opened: u64,
    /// Asked to make room for others.
    pub displaced: u64,
    /// Failed to be accepted.
    pub failed: u64,
}

impl Traffic {
    /// A request to `route` has been answered.
    pub(super) fn note(&self, route: Route, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, ANSWERS.len()) - 1;
        self.0.requests[route as usize][class].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn listener(&self, address: &Address) -> Arc<ListenerStats> {
        let address = address.to_string();
        let mut listeners = self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|stats| stats.strong_count() > 0);
        let known = listeners.iter().filter_map(Weak::upgrade).find(|stats| stats.address == address);
        known.unwrap_or_else(|| {
            let [open, opened, displaced, failed] = Default::default();
            let stats = Arc::new(ListenerStats { address, open, opened, displaced, failed });
            listeners.push(Arc::downgrade(&stats));
            stats
        })
    }

    /// How many requests to `route` got an answer of each class, in the order of [`ANSWERS`].
    pub(crate) fn requests(&self, route: Route) -> [u64; ANSWERS.len()] {
        self.0.requests[route as usize].each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// The connections of each listening address.
    pub(crate) fn connections(&self) -> Vec<Connections> {
        let listeners = self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = |stats: Arc<ListenerStats>| Connections {
            address: stats.address.clone(),
            open: stats.open.load(Ordering::Relaxed),
            opened: stats.opened.load(Ordering::Relaxed),
            displaced: stats.displaced.load(Ordering::Relaxed),
            failed: stats.failed.load(Ordering::Relaxed),
        };
        listeners.iter().filter_map(Weak::upgrade).map(snapshot).collect()
    }
}

impl ListenerStats {
    /// Counts a connection as open until the guard is dropped.
    pub(super) fn open(self: &Arc<Self>) -> ConnectionGuard {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        ConnectionGuard(Arc::clone(self))
    }

    pub(super) fn note_displaced(&self) {
        self.displaced.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }
}

pub(super) struct ConnectionGuard(Arc<ListenerStats>);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_caller_asks_for_is_one_of_few_routes() {
        for (path, route) in [
            ("/v1/signals", Route::Signals),
            ("/v1/signals/stream", Route::Streams),
            ("/v1/indicators", Route::Streams),
            ("/v1/timing/a%20b", Route::Operation),
            ("/api/v1/interactions", Route::DropIn),
            ("/readyz", Route::Health),
            ("/metrics", Route::Metrics),
            ("/metrics/", Route::Unknown),
            ("/", Route::Console),
            ("/console/page.js", Route::Console),
            ("/etc/passwd", Route::Unknown),
            ("", Route::Unknown),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
        assert!(Route::ALL.iter().enumerate().all(|(place, route)| *route as usize == place));
    }

    #[test]
    fn each_answer_is_counted_in_its_class() {
        let traffic = Traffic::default();
        for status in [101, 200, 202, 304, 404, 429, 503, 999] {
            traffic.clone().note(Route::Signals, StatusCode::from_u16(status).unwrap());
        }
        assert_eq!(traffic.requests(Route::Signals), [1, 2, 1, 2, 2]);
        assert_eq!(traffic.requests(Route::Metrics), [0; 5]);
    }

    #[test]
    fn a_listener_counts_until_it_and_its_last_connection_have_gone() {
        let traffic = Traffic::default();
        let address: Address = "127.0.0.1:7480".parse().unwrap();
        let stats = traffic.listener(&address);
        let guards = [stats.open(), stats.open()];
        stats.note_displaced();
        stats.note_failed();
        let [first, second] = guards;
        drop(first);
        let count = Connections { address: address.to_string(), open: 1, opened: 2, displaced: 1, failed: 1 };
        assert_eq!(traffic.connections(), std::slice::from_ref(&count));
        drop(stats);
        assert_eq!(traffic.connections(), [count], "a connection is still open");
        assert!(Arc::ptr_eq(&traffic.listener(&address), &second.0), "the same address counts on");
        drop(second);
        assert_eq!(traffic.connections(), []);
    }
}
