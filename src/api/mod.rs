//! The routes of `/v1`, health and metrics: what is going on, and what operators may change.

pub(crate) mod control;
mod conversations;
mod events;
mod health;
mod indicators;
mod log;
mod metrics;
mod openapi;
mod options;
pub mod signals;
mod simulate;
mod status;
mod stream;
pub(crate) mod timing;
mod tune;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::routing::{any, get, post, put};
use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::base::clock::Clock;
use crate::driver::Controls;
use crate::http::{Problem, TokenAuth, Traffic, media_type, read_body, require_token};
use crate::observe::events::Feed;
use crate::observe::snapshot::Snapshot;
use control::{Ending, Order};
use signals::Ingest;
use timing::Ask;

/// The loop answers within microseconds; one that takes this long is stuck.
const PATIENCE: Duration = Duration::from_secs(1);
/// When to try again, in seconds, if the daemon is busy or about to stop.
const RETRY_AFTER_SECONDS: u64 = 1;

/// What the handlers share.
pub(crate) struct Api {
    pub(crate) controls: Controls,
    pub(crate) clock: Clock,
    pub(crate) feed: Feed,
    pub(crate) traffic: Traffic,
    /// Whether signals may be recorded. A recording ends when they may no longer.
    pub(crate) recording: watch::Receiver<bool>,
    /// To the owner of the settings.
    pub(crate) timing: mpsc::Sender<Ask>,
    pub(crate) orders: mpsc::Sender<Order>,
    pub(crate) ending: watch::Receiver<Option<Ending>>,
    pub(crate) places: Places,
}

/// How many calls of a kind are served at a time.
pub(crate) struct Places {
    readers: Arc<Semaphore>,
    studies: Arc<Semaphore>,
    simulations: Arc<Semaphore>,
}

impl Default for Places {
    fn default() -> Self {
        let [readers, studies, simulations] =
            [indicators::READERS_MAX, tune::STUDIES_MAX, simulate::SIMULATIONS_MAX].map(Semaphore::new).map(Arc::new);
        Self { readers, studies, simulations }
    }
}

/// All routes. Every one but health asks callers for the token, those in `others` too.
pub(crate) fn router(api: Api, ingest: Ingest, auth: TokenAuth, others: impl IntoIterator<Item = Router>) -> Router {
    let health = health::router(api.controls.clone());
    let own = [routes(Arc::new(api)), ingest.router()];
    let asked = own.into_iter().chain(others).fold(Router::new(), Router::merge);
    asked.route_layer(from_fn_with_state(auth, require_token)).merge(health)
}

fn routes(api: Arc<Api>) -> Router {
    Router::new()
        .route("/v1/signals/stream", get(stream::record))
        .route("/v1/conversations", get(conversations::conversations))
        .route("/v1/indicators", get(indicators::indicators))
        .route("/v1/timing", get(timing::read).put(timing::change))
        .route("/v1/timing/{to}", put(timing::change).delete(timing::change))
        .route("/v1/timing/", any(timing::unnamed))
        .route("/v1/tune", post(tune::study))
        .route("/v1/simulate", post(simulate::simulate))
        .route("/v1/log", get(log::read).put(log::change))
        .route("/v1/reload", post(control::reload))
        .route("/v1/shutdown", post(control::shut_down))
        .route("/openapi.json", get(openapi::document))
        .route("/v1/status", get(status::status))
        .route("/metrics", get(metrics::metrics))
        .with_state(api)
}

impl Api {
    async fn snapshot(&self) -> Result<Snapshot, Problem> {
        self.controls.snapshot(PATIENCE).await.ok_or_else(loop_silent)
    }
}

fn loop_silent() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the driver does not answer")
}

fn busy(detail: &str) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(RETRY_AFTER_SECONDS)
}

/// Asks the owner of the settings for something, and waits for its answer.
async fn ask<R, T>(
    owner: &mpsc::Sender<R>,
    timeout: Duration,
    request: impl FnOnce(oneshot::Sender<T>) -> R,
) -> Result<T, Problem> {
    let (answer, answered) = oneshot::channel();
    let asked = async {
        owner.send(request(answer)).await.ok()?;
        answered.await.ok()
    };
    match tokio::time::timeout(timeout, asked).await {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => Err(busy("the daemon is shutting down")),
        Err(_) => Err(busy("the daemon is behind with its work; what was asked for may still be done")),
    }
}

/// A trace as the body of a call; `command` takes longer ones.
async fn read_trace(headers: &HeaderMap, body: Body, bytes_max: usize, command: &str) -> Result<Bytes, Problem> {
    if !media_type(headers).is_some_and(|media| media.eq_ignore_ascii_case("application/x-ndjson")) {
        let detail = "the content type must be application/x-ndjson: a trace, one signal a line";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    read_body(headers, body, bytes_max, &format!("typingd {command}, the command, takes traces of any length")).await
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;
    use crate::driver::{self, inbox};
    use crate::observe::events::EventLog;

    /// What handlers need that call no other part.
    pub(super) fn api() -> Api {
        Api {
            controls: driver::controls().0,
            clock: Clock::start(),
            feed: EventLog::new(1).1,
            traffic: Traffic::default(),
            recording: watch::channel(false).1,
            timing: mpsc::channel(1).0,
            orders: mpsc::channel(1).0,
            ending: watch::channel(None).1,
            places: Places::default(),
        }
    }

    #[tokio::test]
    async fn every_described_call_but_health_needs_the_token() {
        /// Health is open, the others are other folders' routes.
        const ELSEWHERE: [&str; 4] = ["/healthz", "/readyz", "/v1/sandbox/icons", "/v1/drop_in"];
        let ingest = Ingest::new(inbox::inbox().0, watch::channel(1).1);
        let router = router(api(), ingest, TokenAuth::new(Some("t0ken")), []);
        let axum::Json(document) = openapi::document().await;
        let mut calls = 0;
        for (path, methods) in document["paths"].as_object().unwrap() {
            let methods = methods.as_object().unwrap().keys().filter(|name| *name != "parameters");
            for method in methods.filter(|_| !ELSEWHERE.contains(&&**path)) {
                let request = Request::builder().method(&*method.to_uppercase()).uri(path.replace("{to}", "c"));
                let answer = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
                assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{method} {path}");
                calls += 1;
            }
        }
        assert!(calls > 12, "{calls}");
    }
}
