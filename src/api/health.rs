//! Alive and ready, for supervisors: `GET /healthz` and `GET /readyz`.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use super::{PATIENCE, loop_silent};
use crate::driver::Controls;
use crate::http::{NoOptions, Options, Problem};

pub(super) fn router(controls: Controls) -> Router {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).with_state(controls)
}

/// Alive: the loop goes round.
async fn healthz(State(controls): State<Controls>, _: Options<NoOptions>) -> Response {
    match controls.snapshot(PATIENCE).await {
        Some(_) => answer(&json!({"status": "alive"})),
        None => loop_silent().into_response(),
    }
}

/// Ready to deliver: a token in hand, an upstream that isn't failing, and no Stopped that waits for credentials.
async fn readyz(State(controls): State<Controls>, _: Options<NoOptions>) -> Response {
    let Some(snapshot) = controls.snapshot(PATIENCE).await else { return loop_silent().into_response() };
    match snapshot.not_ready {
        None => answer(&json!({"status": "ready"})),
        Some(why) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, why).into_response(),
    }
}

fn answer(body: &serde_json::Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
