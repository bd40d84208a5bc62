//! Alive and ready, for supervisors: `GET /healthz` and `GET /readyz`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use super::{Api, PATIENCE, loop_silent};
use crate::http::{NoOptions, Options, Problem};

pub(super) fn router(api: Arc<Api>) -> Router {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).with_state(api)
}

/// Alive: the loop goes round. Also while the daemon is stopping: it must not be killed for it.
async fn healthz(State(api): State<Arc<Api>>, _: Options<NoOptions>) -> Response {
    match api.controls.snapshot(PATIENCE).await {
        Some(_) => answer(&json!({"status": "alive"})),
        None => loop_silent().into_response(),
    }
}

/// Ready to deliver: a token in hand, an upstream that isn't failing, and no Stopped that waits for credentials. A daemon
/// that is stopping no longer is: signals are still accepted, and a balancer sends new callers elsewhere.
async fn readyz(State(api): State<Arc<Api>>, _: Options<NoOptions>) -> Response {
    let not_ready = |why| Problem::new(StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    if *api.stopping.borrow() {
        return not_ready("typingd is stopping".to_owned());
    }
    let Some(snapshot) = api.controls.snapshot(PATIENCE).await else { return loop_silent().into_response() };
    match snapshot.not_ready {
        None => answer(&json!({"status": "ready"})),
        Some(why) => not_ready(why),
    }
}

fn answer(body: &serde_json::Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
