//! The routes of `/v1`, health and metrics: what is going on, and what operators may change.

mod candidates;
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
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{any, get, post, put};
use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::base::clock::Clock;
use crate::driver::Controls;
use crate::http::{Gates, Problem, TokenAuth, Traffic, media_type, read_body};
use crate::http::{require_signaller, require_token, require_token_or_signaller};
use crate::observe::events::Feed;
use crate::observe::snapshot::Snapshot;
use control::{Ending, Order};
use signals::Ingest;
use timing::{Ask, TimingChange};

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
    /// The last change of the timing.
    pub(crate) timing_changes: watch::Receiver<Option<Arc<TimingChange>>>,
    pub(crate) orders: mpsc::Sender<Order>,
    /// Becomes true when the daemon begins to stop.
    pub(crate) stopping: watch::Receiver<bool>,
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

/// The routes for each kind of listening address.
#[derive(Clone)]
pub(crate) struct Routes {
    /// Served on the addresses of ingest.
    pub(crate) ingest: Router,
    /// Served on those of admin, where it has its own.
    pub(crate) admin: Option<Router>,
    /// Takes signals on either.
    pub(crate) signals: Ingest,
}

/// All routes, each but health behind the gate of its callers. Those in `others` are for operators. With addresses of
/// their own for operators (`apart`) those of ingest take signals only; operators' take signals too, for the console.
pub(crate) fn router(
    api: Api,
    ingest: Ingest,
    gates: &Gates,
    others: impl IntoIterator<Item = Router>,
    apart: bool,
) -> Routes {
    let api = Arc::new(api);
    let behind = |auth: &TokenAuth, routes: Router| routes.route_layer(from_fn_with_state(auth.clone(), require_token));
    let health = health::router(api.clone());
    let signals = ingest.clone().router();
    let reports = signals.clone().merge(reports(api.clone()));
    // Who may send the process a SIGHUP may as well ask for its answer: `systemctl reload` knows no token, and no address
    // of operators.
    let reload = || post(control::reload);
    let elsewhere = async || Problem::of_operators();
    let local_reload =
        Router::new().route("/v1/reload", reload().layer(from_fn(require_signaller)).fallback(elsewhere));
    let local_reload = local_reload.with_state(api.clone());
    let reload = Router::new().route("/v1/reload", reload()).with_state(api.clone());
    let reload = reload.route_layer(from_fn_with_state(gates.admin.clone(), require_token_or_signaller));
    let steering = behind(&gates.admin, others.into_iter().fold(steering(api), Router::merge));
    let steering = steering.merge(reload).merge(health.clone());
    match apart {
        false => Routes { ingest: behind(&gates.ingest, reports).merge(steering), admin: None, signals: ingest },
        true => Routes {
            ingest: OPERATORS
                .iter()
                .fold(behind(&gates.ingest, signals).merge(local_reload), |routes, path| {
                    routes.route(path, any(elsewhere))
                })
                .merge(health),
            admin: Some(behind(&gates.either, reports).merge(steering)),
            signals: ingest,
        },
    }
}

/// What callers of signals are pointed elsewhere for, where operators have addresses of their own.
const OPERATORS: [&str; 12] = [
    "/v1/conversations",
    "/v1/indicators",
    "/v1/log",
    "/v1/shutdown",
    "/v1/signals/stream",
    "/v1/simulate",
    "/v1/status",
    "/v1/timing",
    "/v1/timing/{*rest}",
    "/v1/tune",
    "/metrics",
    "/openapi.json",
];

/// What reports, and neither changes anything nor goes on for long.
fn reports(api: Arc<Api>) -> Router {
    Router::new()
        .route("/v1/conversations", get(conversations::conversations))
        .route("/v1/timing", get(timing::read))
        .route("/v1/status", get(status::status))
        .route("/openapi.json", get(openapi::document))
        .route("/metrics", get(metrics::metrics))
        .with_state(api)
}

/// What changes, records, watches or computes.
fn steering(api: Arc<Api>) -> Router {
    Router::new()
        .route("/v1/signals/stream", get(stream::record))
        .route("/v1/indicators", get(indicators::indicators))
        .route("/v1/timing", put(timing::change).delete(timing::change))
        .route("/v1/timing/candidates", put(candidates::change))
        .route("/v1/timing/{to}", put(timing::change).delete(timing::change))
        .route("/v1/timing/", any(timing::unnamed))
        .route("/v1/tune", post(tune::study))
        .route("/v1/simulate", post(simulate::simulate))
        .route("/v1/log", get(log::read).put(log::change))
        .route("/v1/shutdown", post(control::shut_down))
        .with_state(api)
}

#[cfg(test)]
fn routes(api: Arc<Api>) -> Router {
    let reload = Router::new().route("/v1/reload", post(control::reload)).with_state(api.clone());
    reports(api.clone()).merge(reload).merge(steering(api))
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
    use crate::http::{CallerTokens, NoOptions, Options};
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
            timing_changes: watch::channel(None).1,
            orders: mpsc::channel(1).0,
            stopping: watch::channel(false).1,
            ending: watch::channel(None).1,
            places: Places::default(),
        }
    }

    /// Asks for each described call with `token`, and gives `answer` the call and the status.
    async fn call_each(router: &Router, token: &str, mut answer: impl FnMut(&str, StatusCode)) {
        /// Health is open, the others are other folders' routes.
        const ELSEWHERE: [&str; 4] = ["/healthz", "/readyz", "/v1/sandbox/icons", "/v1/drop_in"];
        let axum::Json(document) = openapi::document(Options(NoOptions {})).await;
        for (path, methods) in document["paths"].as_object().unwrap() {
            let methods = methods.as_object().unwrap().keys().filter(|name| *name != "parameters");
            for method in methods.filter(|_| !ELSEWHERE.contains(&&**path)) {
                let method = method.to_uppercase();
                let mut request = Request::builder().method(&*method).uri(path.replace("{to}", "c"));
                if !token.is_empty() {
                    request = request.header("authorization", format!("Bearer {token}"));
                }
                // Most handlers wait for a part that is not there; by then they have been let in.
                let call = router.clone().oneshot(request.body(Body::empty()).unwrap());
                let status = tokio::time::timeout(Duration::from_millis(1), call).await;
                answer(&format!("{method} {path}"), status.map_or(StatusCode::OK, |answer| answer.unwrap().status()));
            }
        }
    }

    fn all_routes(ingest: Option<&str>, admin: Option<&str>, apart: bool) -> Routes {
        let tokens = CallerTokens { ingest: ingest.map(Into::into), admin: admin.map(Into::into) };
        let ingest = Ingest::new(inbox::inbox().0, watch::channel(1).1);
        router(api(), ingest, &Gates::new(&tokens), [], apart)
    }

    #[tokio::test]
    async fn every_described_call_but_health_needs_the_token() {
        let mut calls = 0;
        for token in ["", "wr0ng"] {
            call_each(&all_routes(Some("t0ken"), None, false).ingest, token, |call, status| {
                assert_eq!(status, StatusCode::UNAUTHORIZED, "{call}");
                calls += 1;
            })
            .await;
        }
        assert!(calls > 24, "{calls}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_token_of_ingest_reports_and_takes_signals_only() {
        const FOR_INGEST: [&str; 6] = [
            "POST /v1/signals",
            "GET /v1/conversations",
            "GET /v1/timing",
            "GET /v1/status",
            "GET /openapi.json",
            "GET /metrics",
        ];
        let is_let_in = |status| !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        for (ingest, token) in [(Some("t0ken"), "t0ken"), (None, "")] {
            let shared = all_routes(ingest, Some("adm1n"), false).ingest;
            let refused = if ingest.is_some() { StatusCode::FORBIDDEN } else { StatusCode::UNAUTHORIZED };
            call_each(&shared, token, |call, status| match FOR_INGEST.contains(&call) {
                true => assert!(is_let_in(status), "{call}: {status}"),
                false => assert_eq!(status, refused, "{call}"),
            })
            .await;
            call_each(&shared, "adm1n", |call, status| {
                assert!(call == "GET /v1/signals/stream" || is_let_in(status), "{call}: {status}")
            })
            .await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_of_their_own_part_operators_from_callers() {
        let Routes { ingest, admin, .. } = all_routes(None, Some("adm1n"), true);
        call_each(&ingest, "adm1n", |call, status| match call {
            "POST /v1/signals" => assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE),
            _ => assert_eq!(status, StatusCode::NOT_FOUND, "{call}"),
        })
        .await;
        for path in OPERATORS.iter().map(|path| path.replace("{*rest}", "c")).chain(["/v1/reload".to_owned()]) {
            let call = Request::builder().method("POST").uri(path.as_str()).body(Body::empty()).unwrap();
            let answer = ingest.clone().oneshot(call).await.unwrap();
            let said = axum::body::to_bytes(answer.into_body(), 1_024).await.unwrap();
            assert!(String::from_utf8_lossy(&said).contains("served at the addresses of admin.listen"), "{path}");
        }
        // What needs no token on the addresses of ingest needs one here.
        call_each(&admin.unwrap(), "", |call, status| assert_eq!(status, StatusCode::UNAUTHORIZED, "{call}")).await;
    }
}
